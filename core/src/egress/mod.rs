//! The only way out: every outgoing call goes through [`send`], built from nothing but what stands here.
//!
//! Invariants: the URL was judged; no redirect is followed; no header of a client is passed on; every body is
//! capped; every wait has an end; no credential is part of a URL.

pub mod address;
pub mod url;

use bytes::{Bytes, BytesMut};
use futures_util::future::{Either, select};
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, Uri};

use crate::body::Upstream;
use crate::dialect::failure::constant;
use crate::error::{ErrorCode, Failure};
use crate::limits;
use crate::ports::{HttpClient, HttpError, Outgoing, Platform, UpstreamBody};
use crate::route::Class;

/// A call to a provider before it leaves.
pub struct Departure<'a> {
    /// The method.
    pub method: Method,
    /// The judged address.
    pub uri: &'a Uri,
    /// Whether the operator opened this very origin.
    pub private_allowed: bool,
    /// The provider's headers (authentication).
    pub headers: HeaderMap,
    /// The body, if any: JSON, unless the headers name another content type.
    pub body: Option<Bytes>,
}

/// Sends a call and waits for the head of its answer, at the latest until `deadline_ms`.
pub async fn send<P: Platform>(
    platform: &P,
    departure: Departure<'_>,
    deadline_ms: u64,
) -> Result<Response<Upstream<P>>, Failure> {
    let outgoing = outgoing(departure);
    let sent = platform.http().send(outgoing);
    match before(platform, deadline_ms, sent).await {
        None => Err(constant(ErrorCode::UpstreamTimeout).caused_by("no head in time").after_sending()),
        Some(Err(error)) => Err(failure(error)),
        Some(Ok(response)) => Ok(response),
    }
}

fn outgoing(departure: Departure<'_>) -> Outgoing {
    let has_body = departure.body.is_some();
    let mut request = Request::new(departure.body.unwrap_or_default());
    *request.method_mut() = departure.method;
    *request.uri_mut() = departure.uri.clone();
    let headers = request.headers_mut();
    *headers = departure.headers;
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("model-gateway/", env!("CARGO_PKG_VERSION"))));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if has_body && !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Outgoing { request, private_allowed: departure.private_allowed, connect_timeout_ms: limits::CONNECT_MS }
}

/// Reads a whole body of at most `limit` bytes, at the latest until `deadline_ms`.
pub async fn read_all<P: Platform>(
    platform: &P,
    body: &mut Upstream<P>,
    limit: usize,
    deadline_ms: u64,
) -> Result<Bytes, Failure> {
    let reading = async {
        let Some(first) = body.chunk().await? else { return Ok(Ok(Bytes::new())) };
        let Some(second) = body.chunk().await? else {
            return Ok(if first.len() > limit { Err(Excess) } else { Ok(first) });
        };
        let mut all = BytesMut::from(first.as_ref());
        all.extend_from_slice(&second);
        while all.len() <= limit {
            let Some(chunk) = body.chunk().await? else { return Ok(Ok(all.freeze())) };
            all.extend_from_slice(&chunk);
        }
        Ok::<_, HttpError>(Err(Excess))
    };
    match before(platform, deadline_ms, reading).await {
        None => Err(constant(ErrorCode::UpstreamTimeout).caused_by("no body in time").after_sending()),
        Some(Err(error)) => Err(cut(error)),
        Some(Ok(Err(Excess))) => Err(constant(ErrorCode::UpstreamTooLarge).caused_by("body over its limit")),
        Some(Ok(Ok(bytes))) => Ok(bytes),
    }
}

struct Excess;

/// Runs `work` until `deadline_ms` at the latest; `None` if that came first.
pub async fn before<P: Platform, T>(platform: &P, deadline_ms: u64, work: impl Future<Output = T>) -> Option<T> {
    let left = deadline_ms.saturating_sub(platform.now_ms());
    let timer = platform.timer(left);
    match select(std::pin::pin!(work), timer).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}

/// What a failure below HTTP means to the client.
pub fn failure(error: HttpError) -> Failure {
    let failure = |code: ErrorCode| constant(code).caused_by(error.to_string());
    match error {
        HttpError::Connect => failure(ErrorCode::UpstreamUnreachable),
        // Resolved to where nothing may go: a repeat resolves to the same.
        HttpError::Forbidden => failure(ErrorCode::UpstreamUnreachable).classed(Class::Unfit),
        // Nothing was sent: a repeat costs nothing.
        HttpError::ConnectTimeout => failure(ErrorCode::UpstreamTimeout).classed(Class::Failed),
        HttpError::Disconnected => failure(ErrorCode::UpstreamUnreachable).after_sending(),
        HttpError::Protocol => failure(ErrorCode::UpstreamProtocol).classed(Class::Unfit).after_sending(),
    }
}

/// The same within an answer's body, which may come whole the next time (fault matrix U34).
fn cut(error: HttpError) -> Failure {
    match error {
        HttpError::Protocol => failure(error).classed(Class::Failed),
        _ => failure(error),
    }
}
