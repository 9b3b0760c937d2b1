//! What `js/host.js` offers. Headers cross as one text of lines, a name and a value in turn.

use http::{HeaderMap, HeaderName, HeaderValue};
use js_sys::{Array, Promise};
use wasm_bindgen::prelude::*;

#[wasm_bindgen(module = "/js/host.js")]
extern "C" {
    /// Names the entry points of this instance.
    pub(crate) fn install(core: crate::entry::Core);
    /// Takes requests from now on, and wants to see these headers of theirs (space-separated).
    pub(crate) fn open(headers: &str);
    /// Answers with a whole body.
    pub(crate) fn answer(call: u32, status: u16, headers: &str, body: &[u8]);
    /// Answers with a stream of what `Core.push` makes of `upstream`, after `first`; `Core.wake` is called at `due`.
    pub(crate) fn stream(call: u32, status: u16, headers: &str, first: &[u8], upstream: JsValue, due: f64);
    /// Nothing of the call is left.
    #[wasm_bindgen(js_namespace = calling)]
    pub(crate) fn over(call: u32);
    /// What the call does after its answer must come to its end.
    #[wasm_bindgen(js_namespace = calling)]
    pub(crate) fn hold(call: u32);
    /// Gives bytes to the client within the crossing that runs.
    pub(crate) fn emit(bytes: &[u8]);
    /// Begins a fetch; `head` has lines of the method and the URL, then headers.
    pub(crate) fn send(call: u32, head: &str, body: &[u8]) -> u32;
    /// Calls off a fetch that has no answer yet; nothing happens to other operations.
    #[wasm_bindgen(js_namespace = calling)]
    pub(crate) fn cancel(call: u32, operation: u32);
    /// Begins to read on in an upstream's body.
    pub(crate) fn read(call: u32, upstream: &JsValue) -> u32;
    /// Ends the interest in an upstream's body.
    pub(crate) fn discard(upstream: &JsValue);
    /// Begins to read the client's body; `known`: its Content-Length is within the limit.
    pub(crate) fn body(call: u32, known: bool, limit: u32) -> u32;
    /// Begins a call of the Durable Object `name` in the namespace that is bound as `binding`.
    pub(crate) fn ask(call: u32, binding: &str, name: &str, message: &[u8]) -> u32;
    /// Begins to read a published copy.
    pub(crate) fn copy(call: u32, key: &str) -> u32;
    /// Wants `Core.tick` at this time, in milliseconds since the epoch.
    #[wasm_bindgen(js_namespace = calling)]
    pub(crate) fn arm(call: u32, due: f64);
    /// Wants `Core.resume` in a moment.
    #[wasm_bindgen(js_namespace = calling)]
    pub(crate) fn nudge(call: u32);
    /// A variable or secret of the deployment.
    pub(crate) fn variable(env: &JsValue, name: &str) -> Option<String>;
    /// Fills `bytes` from the system's random source.
    pub(crate) fn random(bytes: &mut [u8]);
    /// Writes a line to the Worker's log: 0 error, 1 warning, otherwise neither.
    pub(crate) fn log(level: u32, line: &str);
    /// Durable Objects: the message of a request, a promise of a `Uint8Array`.
    pub(crate) fn message(request: &JsValue) -> Promise;
    /// Durable Objects: an answer.
    pub(crate) fn reply(status: u16, bytes: &[u8]) -> JsValue;
    /// Durable Objects: runs a statement with bound parameters; its rows, each an array of columns.
    #[wasm_bindgen(catch)]
    pub(crate) fn query(state: &JsValue, statement: &str, parameters: &Array) -> Result<Array, JsValue>;
    /// Durable Objects: when the alarm is to ring, in milliseconds since the epoch.
    pub(crate) fn alarm(state: &JsValue, time: f64) -> Promise;
    /// Writes a published copy; with `seconds` above 0 it ends after that time.
    pub(crate) fn publish(env: &JsValue, key: &str, bytes: &[u8], seconds: u32) -> Promise;
}

#[wasm_bindgen]
extern "C" {
    /// Milliseconds since the epoch.
    #[wasm_bindgen(js_namespace = Date)]
    pub(crate) fn now() -> f64;
}

/// Adds headers to a text. Bytes beyond ASCII are the characters of that number, as in JavaScript's byte strings.
pub(crate) fn write_headers(text: &mut String, headers: &HeaderMap) {
    text.reserve(headers.len() * 40);
    for (name, value) in headers {
        text.push_str(name.as_str());
        text.push('\n');
        match value.to_str() {
            Ok(value) => text.push_str(value),
            Err(_) => text.extend(value.as_bytes().iter().map(|byte| char::from(*byte))),
        }
        text.push('\n');
    }
}

/// Headers from the lines of a text; what is no header is left out.
pub(crate) fn read_headers<'a>(mut lines: impl Iterator<Item = &'a str>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(16);
    while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
        let value = if value.is_ascii() {
            HeaderValue::from_str(value)
        } else {
            HeaderValue::from_bytes(&value.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect::<Vec<_>>())
        };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), value) {
            headers.append(name, value);
        }
    }
    headers
}
