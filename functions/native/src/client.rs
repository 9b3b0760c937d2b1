//! The outgoing HTTPS client: HTTP/1.1, no redirects, no cookies, no decompression, no retries.
//!
//! A pooled connection may have been closed by the other side while it was idle. If that shows before a byte of the
//! request was written, hyper hands the request back and it is sent on another connection; in every other case the
//! caller gets the error.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gateway_core::ports::{HttpClient, HttpError, Outgoing};
use http::header::{CONTENT_LENGTH, HOST};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::body::{Lease, UpstreamStream};
use crate::connect::{self, Resolve, SystemResolver, Tls};
use crate::pool::{Origin, Pool, Sender};

/// The client of a process. Clones share their connections.
#[derive(Debug)]
pub struct Upstream<R = SystemResolver> {
    shared: Arc<Shared<R>>,
}

#[derive(Debug)]
struct Shared<R> {
    pool: Arc<Pool>,
    resolver: R,
    tls: Tls,
}

impl<R> Clone for Upstream<R> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl Default for Upstream {
    fn default() -> Self {
        Self::new(SystemResolver)
    }
}

impl<R: Resolve> Upstream<R> {
    /// A client without connections. Does no work yet.
    pub fn new(resolver: R) -> Self {
        Self { shared: Arc::new(Shared { pool: Arc::default(), resolver, tls: Tls::default() }) }
    }

    async fn open(&self, origin: &Origin, timeout: Duration) -> Result<Sender, HttpError> {
        let stream = connect::connect(&self.shared.resolver, &self.shared.tls, origin, timeout).await?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(READ_BUFFER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| HttpError::Connect)?;
        // Ends with the connection, which closes when its sender and its body are gone.
        drop(tokio::spawn(connection));
        Ok(sender)
    }
}

impl<R: Resolve> HttpClient for Upstream<R> {
    type Body = UpstreamStream;

    async fn send(&self, outgoing: Outgoing) -> Result<Response<UpstreamStream>, HttpError> {
        let origin = Origin::of(outgoing.request.uri(), outgoing.private_allowed).ok_or(HttpError::Forbidden)?;
        let mut request = on_the_wire(outgoing.request, &origin)?;
        while let Some(mut sender) = self.shared.pool.take(&origin) {
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(self.leased(response, origin, sender)),
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(sending_failed(failed.error())),
                },
            }
        }
        // Connecting needs much room, and rarely: every future around this one is the smaller for it.
        let timeout = Duration::from_millis(outgoing.connect_timeout_ms);
        let mut sender = Box::pin(self.open(&origin, timeout)).await?;
        match sender.try_send_request(request).await {
            Ok(response) => Ok(self.leased(response, origin, sender)),
            // Closed before a byte of the request was written.
            Err(mut failed) => match failed.take_message() {
                Some(_) => Err(HttpError::Connect),
                None => Err(sending_failed(failed.error())),
            },
        }
    }
}

impl<R> Upstream<R> {
    fn leased(&self, response: Response<Incoming>, origin: Origin, sender: Sender) -> Response<UpstreamStream> {
        let lease = Lease { pool: self.shared.pool.clone(), origin, sender };
        response.map(|body| UpstreamStream::new(body, lease))
    }
}

/// The request as HTTP/1.1 wants it: origin form, a Host header, a length also where the body is empty.
fn on_the_wire(request: Request<Bytes>, origin: &Origin) -> Result<Request<Full<Bytes>>, HttpError> {
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    head.uri = Uri::from(path);
    head.version = http::Version::HTTP_11;
    if !head.headers.contains_key(HOST) {
        let host = HeaderValue::from_str(origin.authority().as_str()).map_err(|_| HttpError::Protocol)?;
        head.headers.insert(HOST, host);
    }
    if body.is_empty() && matches!(head.method, Method::POST | Method::PUT | Method::PATCH) {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    Ok(Request::from_parts(head, Full::new(body)))
}

/// What went wrong after the request may have been written.
pub(crate) fn sending_failed(error: &hyper::Error) -> HttpError {
    if error.is_parse() || error.is_parse_status() || error.is_user() {
        return HttpError::Protocol;
    }
    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    match io.map(std::io::Error::kind) {
        // hyper reports broken chunk framing of a body so.
        Some(std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData) => HttpError::Protocol,
        _ => HttpError::Disconnected,
    }
}

/// Bounds the head of an answer and what is read ahead of a body.
const READ_BUFFER: usize = 64 << 10;

#[cfg(test)]
mod tests;
