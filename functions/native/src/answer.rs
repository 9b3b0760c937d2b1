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

#[cfg(test)]
mod tests {
    use gateway_core::testing::{
        MemoryBuckets, MemoryLedger, MemoryManager, MemoryStore, ScriptedHttp, VirtualTimer, World,
    };
    use gateway_core::{DefaultManager, Deferred, Deployment};
    use http_body_util::BodyExt;

    use super::*;

    /// A world whose store panics when it is asked.
    #[derive(Clone)]
    struct Brittle(World);

    impl Platform for Brittle {
        type Store = MemoryStore;
        type Ledger = MemoryLedger;
        type Buckets = MemoryBuckets;
        type Manager = MemoryManager;
        type Http = ScriptedHttp;
        type Timer = VirtualTimer;

        fn store(&self) -> &MemoryStore {
            panic!("canary")
        }
        fn ledger(&self) -> &MemoryLedger {
            self.0.ledger()
        }
        fn buckets(&self) -> &MemoryBuckets {
            self.0.buckets()
        }
        fn defer(&self, work: Deferred) {
            self.0.defer(work);
        }
        fn manager(&self) -> &MemoryManager {
            self.0.manager()
        }
        fn http(&self) -> &ScriptedHttp {
            self.0.http()
        }
        fn now_ms(&self) -> u64 {
            self.0.now_ms()
        }
        fn timer(&self, ms: u64) -> VirtualTimer {
            self.0.timer(ms)
        }
        fn fill_random(&self, bytes: &mut [u8]) {
            self.0.fill_random(bytes);
        }
        fn log(&self, level: Level, line: &str) {
            self.0.log(level, line);
        }
    }

    /// Fault matrix: R1, R3.
    #[tokio::test]
    async fn a_panic_is_a_500_of_ours_and_the_next_request_is_served() {
        let lookup = |name: &str| match name {
            "GATEWAY_ADMIN_KEY" => Some("operator-key-operator-key-operator-key".to_owned()),
            "GATEWAY_SEALING_KEY" => Some("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned()),
            _ => None,
        };
        let gateway = Gateway::new(Deployment::read(lookup, DefaultManager::Builtin).unwrap());
        let world = World::at(1_760_000_000_000);
        let get = |path: &str| Request::get(path).body(Bytes::new()).unwrap();
        let answer = handle(&gateway, Brittle(world.clone()), get("/readyz")).await;
        assert_eq!(answer.status(), 500);
        assert_eq!(answer.headers()["content-type"], "application/json");
        let body = http_body(answer.into_body()).collect().await.unwrap().to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains("\"internal_error\"") && !text.contains("canary"), "{text}");
        // The request was logged when its exchange was dropped.
        assert_eq!(world.take_log().len(), 1);
        assert_eq!(handle(&gateway, Brittle(world), get("/healthz")).await.status(), 200);
    }
}
