//! The Lambda Runtime API: fetch an event, post its answer, one after the other over one connection.
//!
//! Written by hand because `lambda_runtime` 1.5 offers no way to its connector: its socket has Nagle's algorithm on, so that
//! the end of an answer waits for the acknowledgement of its beginning, up to 40 ms. The prelude of an
//! answer is `lambda_runtime`'s.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// An event and what belongs to it.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) id: String,
    /// When Lambda ends it, in milliseconds since the epoch.
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) event: Bytes,
}

/// What is being posted for an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// To a client of the function URL, with a prelude.
    Streamed,
    /// To whoever invoked the function.
    Buffered,
    /// The invocation failed.
    Error,
}

/// Why the Runtime API could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// No connection.
    #[error("the Runtime API cannot be reached")]
    Connect,
    /// The connection broke.
    #[error("the Runtime API broke off")]
    Broken,
    /// It refused.
    #[error("the Runtime API answered {0}")]
    Refused(StatusCode),
    /// Something is missing in what it sent.
    #[error("the Runtime API sent something else")]
    Protocol,
}

/// A client of the Runtime API. `B` is the body of everything sent.
#[derive(Debug)]
pub(crate) struct RuntimeApi<B> {
    address: HeaderValue,
    sender: Option<SendRequest<B>>,
}

impl<B> RuntimeApi<B>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// A client of the API at `address` (`AWS_LAMBDA_RUNTIME_API`).
    pub(crate) fn new(address: &str) -> Result<Self, ApiError> {
        let address = HeaderValue::from_str(address).map_err(|_| ApiError::Connect)?;
        Ok(Self { address, sender: None })
    }

    /// Waits for the next event. `nothing` is an empty body.
    pub(crate) async fn next(&mut self, nothing: B) -> Result<Invocation, ApiError> {
        let request = self.request(Method::GET, "/2018-06-01/runtime/invocation/next", nothing)?;
        let response = self.send(request).await?;
        let (head, body) = response.into_parts();
        let header = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
        let id = header(REQUEST_ID).ok_or(ApiError::Protocol)?.to_owned();
        let deadline_ms = header(DEADLINE_MS).and_then(|text| text.parse().ok());
        let event = Limited::new(body, EVENT_BYTES).collect().await.map_err(|_| ApiError::Broken)?.to_bytes();
        Ok(Invocation { id, deadline_ms, event })
    }

    /// Posts the answer to the end of its body.
    pub(crate) async fn answer(&mut self, id: &str, answer: Answer, body: B) -> Result<(), ApiError> {
        let kind = if answer == Answer::Error { "error" } else { "response" };
        let mut request = self.request(Method::POST, &format!("/2018-06-01/runtime/invocation/{id}/{kind}"), body)?;
        let headers = request.headers_mut();
        match answer {
            Answer::Streamed => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(WITH_PRELUDE));
                headers.insert(RESPONSE_MODE, HeaderValue::from_static("streaming"));
                headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
            Answer::Buffered => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            Answer::Error => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                headers.insert(ERROR_TYPE, HeaderValue::from_static("Gateway.Failed"));
            }
        }
        let response = self.send(request).await?;
        let _ = response.into_body().collect().await;
        Ok(())
    }

    fn request(&self, method: Method, path: &str, body: B) -> Result<Request<B>, ApiError> {
        let request = Request::builder().method(method).uri(path).header(HOST, &self.address);
        request
            .header(USER_AGENT, concat!("model-gateway/", env!("CARGO_PKG_VERSION")))
            .body(body)
            .map_err(|_| ApiError::Protocol)
    }

    async fn send(&mut self, request: Request<B>) -> Result<Response<Incoming>, ApiError> {
        let kept = match self.sender.take() {
            Some(mut sender) => sender.ready().await.is_ok().then_some(sender),
            None => None,
        };
        let mut sender = match kept {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let response = sender.send_request(request).await.map_err(|_| ApiError::Broken)?;
        if !response.status().is_success() {
            return Err(ApiError::Refused(response.status()));
        }
        self.sender = Some(sender);
        Ok(response)
    }

    async fn connect(&self) -> Result<SendRequest<B>, ApiError> {
        let address = self.address.to_str().map_err(|_| ApiError::Connect)?;
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, open(address));
        let stream = connecting.await.map_err(|_| ApiError::Connect)?.map_err(|_| ApiError::Connect)?;
        let (sender, connection) =
            http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(|_| ApiError::Connect)?;
        drop(tokio::spawn(connection));
        Ok(sender)
    }
}

async fn open(address: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

const REQUEST_ID: HeaderName = HeaderName::from_static("lambda-runtime-aws-request-id");
const DEADLINE_MS: HeaderName = HeaderName::from_static("lambda-runtime-deadline-ms");
const RESPONSE_MODE: HeaderName = HeaderName::from_static("lambda-runtime-function-response-mode");
const ERROR_TYPE: HeaderName = HeaderName::from_static("lambda-runtime-function-error-type");
const WITH_PRELUDE: &str = "application/vnd.awslambda.http-integration-response";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Lambda's own limit is 6 MB; JSON may double it.
const EVENT_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests;
