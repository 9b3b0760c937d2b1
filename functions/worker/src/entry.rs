//! The ways from JavaScript into the wasm module: the Worker's fetch handler and the events of running calls.

use bytes::Bytes;
use gateway_core::{Body, ErrorCode, Live, Step};
use http::{Method, Request, Response, Uri, header};
use wasm_bindgen::prelude::*;

use crate::body::ClientBody;
use crate::call::{Call, Head, Outcome, Settled};
use crate::platform::{self, Edge};
use crate::{host, isolate, panic, upstream};

/// The request headers that core reads. Each costs a look-up per request, and the platform adds a score of its own that
/// nobody reads.
pub(crate) const REQUEST_HEADERS: &str = "authorization content-type content-length content-encoding user-agent \
    x-gateway-tenant idempotency-key x-session-id x-stainless-retry-count x-stainless-read-timeout x-stainless-timeout traceparent \
    origin access-control-request-method access-control-request-headers";

/// Called before the first request of an instance: the shim knows this name as the Worker's fetch handler.
#[wasm_bindgen]
pub fn fetch(_request: &JsValue, env: &JsValue) {
    panic::install();
    isolate::prepare(env);
    host::open(REQUEST_HEADERS);
}

/// What JavaScript calls; one value per wasm instance. Unknown ids are those of calls that are over.
#[wasm_bindgen(private)]
pub struct Core {}

/// A step of a stream, as a number: the stream has ended.
const DONE: u32 = 1;
/// A step of a stream: the chunk goes out as it came in.
const SAME: u32 = 2;

#[wasm_bindgen]
impl Core {
    /// A request came in; `head` has lines of its method and URL, then of header names and values in turn.
    pub fn begin(&self, id: u32, head: &str) {
        platform::enter();
        let Some(gateway) = isolate::gateway() else {
            return refuse(id, ErrorCode::InternalError);
        };
        let Some(request) = request(head) else {
            return refuse(id, ErrorCode::NotFound);
        };
        Call::start(id, move |call| async move {
            let length = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
            let request = request.map(|()| ClientBody::new(&call, length));
            let response = gateway.handle(Edge::new(&call), request).await;
            respond(&call, response);
        });
    }

    /// The schedule asks for a sweep.
    pub fn sweep(&self, id: u32) {
        platform::enter();
        let Some(gateway) = isolate::gateway() else {
            return refuse(id, ErrorCode::InternalError);
        };
        Call::start(id, move |call| async move {
            gateway.sweep(Edge::new(&call)).await;
            host::answer(call.id(), 204, "", &[]);
        });
    }

    /// An operation has ended.
    pub fn settle(&self, call: u32, operation: u32, outcome: u32, bytes: Option<Vec<u8>>) {
        platform::enter();
        if let Some(call) = Call::find(call) {
            let bytes = bytes.map(Bytes::from).unwrap_or_default();
            call.settle(operation, Settled { outcome: Outcome::from_code(outcome), bytes, head: None });
        }
    }

    /// A fetch was answered; `body` is given if it is all there already.
    pub fn answered(&self, call: u32, operation: u32, head: String, upstream: JsValue, body: Option<Vec<u8>>) {
        platform::enter();
        if let Some(call) = Call::find(call) {
            let head = Some(Head { text: head, upstream, whole: body.is_some() });
            let bytes = body.map(Bytes::from).unwrap_or_default();
            call.settle(operation, Settled { outcome: Outcome::Ok, bytes, head });
        }
    }

    /// The time has come that a call asked to be told of.
    pub fn tick(&self, call: u32) {
        platform::enter();
        if let Some(call) = Call::find(call) {
            call.tick(platform::now_ms());
        }
    }

    /// A call was woken from outside.
    pub fn resume(&self, call: u32) {
        platform::enter();
        if let Some(call) = Call::find(call) {
            call.run();
        }
    }

    /// The client left.
    pub fn leave(&self, call: u32) {
        platform::enter();
        if let Some(call) = Call::find(call) {
            call.end();
        }
    }

    /// The next bytes of a stream.
    pub fn push(&self, call: u32, chunk: Vec<u8>) -> u32 {
        platform::enter();
        let chunk = Bytes::from(chunk);
        step(call, Some(&chunk), |live| live.push(&chunk))
    }

    /// The upstream's part of a stream has ended, well or not.
    pub fn finish(&self, call: u32, outcome: u32) -> u32 {
        platform::enter();
        step(call, None, |live| match Outcome::from_code(outcome) {
            Outcome::End => live.end(),
            other => live.fail(upstream::fault(other)),
        })
    }

    /// The time of [`Core::due`] has come.
    pub fn wake(&self, call: u32) -> u32 {
        platform::enter();
        step(call, None, Live::wake)
    }

    /// When a stream wants to be woken, in milliseconds since the epoch.
    pub fn due(&self, call: u32) -> f64 {
        Call::find(call).and_then(|call| call.with_live(|live| live.due_ms())).map_or(f64::MAX, |ms| ms as f64)
    }
}

/// Works on a stream and tells JavaScript what came of it. A chunk that goes out unchanged need not be copied out.
fn step(call: u32, chunk: Option<&Bytes>, work: impl FnOnce(&mut Live<Edge>) -> Step) -> u32 {
    let Some(call) = Call::find(call) else { return DONE };
    let Some(step) = call.with_live(work) else { return DONE };
    let same = chunk.is_some_and(|chunk| chunk.as_ptr() == step.bytes.as_ptr() && chunk.len() == step.bytes.len());
    if !same && !step.bytes.is_empty() {
        host::emit(&step.bytes);
    }
    if step.done {
        call.end();
    }
    u32::from(step.done) * DONE + u32::from(same) * SAME
}

/// A request as core takes it. The path and query are what the platform shows of what was sent.
fn request(head: &str) -> Option<Request<()>> {
    let mut lines = head.split('\n');
    let method = lines.next()?;
    let url = lines.next()?;
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let target = after_scheme.find(['/', '?']).map_or("/", |at| after_scheme.get(at..).unwrap_or("/"));
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method.as_bytes()).ok()?;
    *request.uri_mut() = target.parse::<Uri>().ok()?;
    *request.headers_mut() = host::read_headers(lines);
    Some(request)
}

fn respond(call: &Call, response: Response<Body<Edge>>) {
    let (head, body) = response.into_parts();
    let mut headers = String::new();
    host::write_headers(&mut headers, &head.headers);
    let status = head.status.as_u16();
    let mut live = match body {
        Body::Full(bytes) => return host::answer(call.id(), status, &headers, &bytes),
        Body::Live(live) => live,
    };
    // The upstream is gone from a stream that is over, and its body may have come whole with its head.
    let upstream = live.take_upstream().map(upstream::Upstream::into_source);
    let mut first = Vec::new();
    let mut take = |step: Step| {
        first.extend_from_slice(&step.bytes);
        step.done
    };
    let mut done = take(live.begin());
    let source = match upstream {
        Some((source, ready)) => {
            if let (Some(bytes), false) = (&ready, done) {
                done = take(live.push(bytes));
            }
            source
        }
        None => None,
    };
    match source {
        Some(source) if !done => {
            let due = live.due_ms() as f64;
            call.go_live(live);
            host::stream(call.id(), status, &headers, &first, source, due);
        }
        _ => {
            if !done {
                take(live.end());
            }
            host::answer(call.id(), status, &headers, &first);
        }
    }
}

/// Answers what core never sees.
fn refuse(id: u32, code: ErrorCode) {
    let (head, body) = gateway_core::failure(code, &isolate::request_id()).into_parts();
    let mut headers = String::new();
    host::write_headers(&mut headers, &head.headers);
    host::answer(id, head.status.as_u16(), &headers, &body);
    host::over(id);
}
