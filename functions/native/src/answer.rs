//! Running core's handler so that a panic fails one request only, and turning its answer into an HTTP body.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use gateway_core::model::random_uuid;
use gateway_core::ports::{Level, Platform, RequestBody};
use gateway_core::{Body, ErrorCode, Gateway, Live};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{Either, Full, StreamBody};

use crate::log::Log;
use crate::system;

/// What hyper takes as the error of a body. Ours never fail.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Answers `request`; a panic becomes a 500.
pub async fn handle<P, B>(gateway: &Gateway, platform: P, request: Request<B>) -> Response<Body<P>>
where
    P: Platform,
    B: RequestBody,
{
    let handling = AssertUnwindSafe(gateway.handle(platform, request));
    handling.catch_unwind().await.unwrap_or_else(|_| failure(ErrorCode::InternalError).map(Body::Full))
}

/// What the entry itself answers, under a request id of its own.
pub fn failure(code: ErrorCode) -> Response<Bytes> {
    let mut random = [0; 16];
    system::fill_random(&mut random);
    gateway_core::failure(code, &random_uuid(random).to_string())
}

/// The pieces of a live answer as they come. A panic ends them with an error event.
pub fn pieces<P: Platform>(live: Box<Live<P>>) -> impl Stream<Item = Bytes> {
    stream::unfold(Some(live), |live| async move {
        let mut live = live?;
        match AssertUnwindSafe(live.next()).catch_unwind().await {
            Ok(bytes) => Some((bytes?, Some(live))),
            Err(_) => Some((error_event(), None)),
        }
    })
}

/// Begins with an empty line, since nobody knows where the piece before it ended.
fn error_event() -> Bytes {
    let error = failure(ErrorCode::InternalError).into_body();
    Bytes::from([b"\n\ndata: ", error.as_ref(), b"\n\n"].concat())
}

/// The body as hyper takes it: whole answers with their length, live ones chunk by chunk.
pub fn http_body<P: Platform>(body: Body<P>) -> impl http_body::Body<Data = Bytes, Error = BodyError> {
    match body {
        Body::Full(bytes) => Either::Left(Full::new(bytes)),
        Body::Live(live) => Either::Right(StreamBody::new(pieces(live).map(frame))),
    }
}

fn frame(piece: Bytes) -> Result<Frame<Bytes>, Infallible> {
    Ok(Frame::data(piece))
}

/// Lets a panic say where it was, and nothing else: its text could hold a secret.
pub fn quiet_panics(log: Log) {
    std::panic::set_hook(Box::new(move |panic| {
        let at = panic.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
        log.write(Level::Error, &format!(r#"{{"level":"error","event":"panic","at":"{}"}}"#, at.escape_default()));
    }));
}
