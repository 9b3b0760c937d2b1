//! A panic anywhere in a request ends that request only (tests).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use gateway_core::ports::{HttpClient, HttpError, Level, NoManager, Outgoing, Platform, UpstreamBody};
use gateway_core::{Body, DefaultManager, Deferred, Deployment, Gateway};
use gateway_native::{Log, Timer, Upstream, UpstreamStream};
use http::{Request, Response};
use http_body_util::BodyExt;

use crate::buckets::ProcessBuckets;
use crate::demo::Demo;
use crate::platform::Local;
use crate::server::{self, Server};
use crate::state::State;
use crate::store::RedbStore;

/// The local platform, whose upstream panics while `armed` is set: at once, or after the first piece of a stream.
#[derive(Clone)]
struct Brittle {
    local: Local,
    http: BrittleHttp,
}

#[derive(Clone)]
struct BrittleHttp {
    upstream: Upstream,
    at_once: Arc<AtomicBool>,
    later: Arc<AtomicBool>,
}

struct BrittleBody {
    stream: UpstreamStream,
    later: Arc<AtomicBool>,
    pieces: u32,
}

impl HttpClient for BrittleHttp {
    type Body = BrittleBody;

    async fn send(&self, outgoing: Outgoing) -> Result<Response<BrittleBody>, HttpError> {
        assert!(!self.at_once.load(Ordering::Relaxed), "canary");
        let answer = self.upstream.send(outgoing).await?;
        Ok(answer.map(|stream| BrittleBody { stream, later: self.later.clone(), pieces: 0 }))
    }
}

impl UpstreamBody for BrittleBody {
    async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        self.pieces += 1;
        assert!(self.pieces < 4 || !self.later.load(Ordering::Relaxed), "canary");
        self.stream.chunk().await
    }
}

impl Platform for Brittle {
    type Store = RedbStore;
    type Ledger = RedbStore;
    type Buckets = ProcessBuckets;
    type Manager = NoManager;
    type Http = BrittleHttp;
    type Timer = Timer;

    fn store(&self) -> &RedbStore {
        self.local.store()
    }

    fn buckets(&self) -> &ProcessBuckets {
        self.local.buckets()
    }

    fn ledger(&self) -> &RedbStore {
        self.local.ledger()
    }

    fn manager(&self) -> &NoManager {
        self.local.manager()
    }

    fn http(&self) -> &BrittleHttp {
        &self.http
    }

    fn now_ms(&self) -> u64 {
        self.local.now_ms()
    }

    fn timer(&self, ms: u64) -> Timer {
        self.local.timer(ms)
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.local.fill_random(bytes);
    }

    fn log(&self, level: Level, line: &str) {
        self.local.log(level, line);
    }

    fn defer(&self, work: Deferred) {
        self.local.defer(work);
    }
}

const ADMIN: &str = "operator-key-operator-key-operator-key";
const SEALING: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// A gateway with the demo's tenant, its platform, and a key.
async fn gateway(state: &State) -> (Arc<Gateway>, Brittle, String) {
    let demo = Demo::start(state).await.unwrap();
    let lookup = |name: &str| match name {
        "GATEWAY_ADMIN_KEY" => Some(ADMIN.to_owned()),
        "GATEWAY_SEALING_KEY" => Some(SEALING.to_owned()),
        "EGRESS_ALLOW_ORIGINS" => Some(demo.origin().to_owned()),
        _ => None,
    };
    let gateway = Arc::new(Gateway::new(Deployment::read(lookup, DefaultManager::Builtin).unwrap()));
    let local = Local::new(RedbStore::open_path(&state.store()).unwrap(), Log::off());
    let server = Server { gateway: gateway.clone(), platform: local.clone(), room: server::room(None).unwrap() };
    let key = demo.provision(&server, state, ADMIN).await.unwrap();
    let http = BrittleHttp { upstream: Upstream::default(), at_once: Arc::default(), later: Arc::default() };
    (gateway, Brittle { local, http }, key)
}

/// Status and text of a chat completion.
async fn ask(gateway: &Gateway, platform: &Brittle, key: &str, stream: bool) -> (u16, String) {
    let body = format!(r#"{{"model": "demo", "stream": {stream}, "messages": [{{"role": "user", "content": "Hi"}}]}}"#);
    let request = Request::post("/v1/chat/completions")
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .body(Bytes::from(body))
        .unwrap();
    let answer = gateway_native::handle(gateway, platform.clone(), request).await;
    let status = answer.status().as_u16();
    assert_eq!(matches!(answer.body(), Body::Live(_)), stream && status == 200);
    let bytes = gateway_native::http_body(answer.into_body()).collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

/// Fault matrix: R1.
#[tokio::test]
async fn a_panic_before_the_answer_is_a_500_and_the_next_request_works() {
    let directory = tempfile::tempdir().unwrap();
    let (gateway, platform, key) = gateway(&State::open(directory.path()).unwrap()).await;
    platform.http.at_once.store(true, Ordering::Relaxed);
    for stream in [false, true] {
        let (status, text) = ask(&gateway, &platform, &key, stream).await;
        assert_eq!(status, 500);
        assert!(text.contains("\"internal_error\"") && !text.contains("canary"), "{text}");
    }
    platform.http.at_once.store(false, Ordering::Relaxed);
    assert_eq!(ask(&gateway, &platform, &key, false).await.0, 200);
}

/// Fault matrix: R1.
#[tokio::test]
async fn a_panic_in_a_stream_ends_it_with_an_error_event() {
    let directory = tempfile::tempdir().unwrap();
    let (gateway, platform, key) = gateway(&State::open(directory.path()).unwrap()).await;
    platform.http.later.store(true, Ordering::Relaxed);
    let (status, text) = ask(&gateway, &platform, &key, true).await;
    assert_eq!(status, 200);
    assert!(text.ends_with("\n\n") && text.contains("\n\ndata: {\"error\":"), "{text}");
    assert!(!text.contains("[DONE]") && !text.contains("canary"), "{text}");
    platform.http.later.store(false, Ordering::Relaxed);
    assert!(ask(&gateway, &platform, &key, true).await.1.contains("[DONE]"));
}
