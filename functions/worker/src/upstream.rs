//! Calls upstream by `fetch`: redirects stay answers, bodies stay as they were encoded.
//!
//! The platform resolves names and connects by itself, refuses private addresses (`global_fetch_strictly_public`) and has
//! no time-out of its own for connecting: core's time-outs drop the future, which aborts the fetch.

use std::rc::Rc;

use bytes::Bytes;
use gateway_core::ports::{HttpClient, HttpError, Outgoing, UpstreamBody};
use http::Response;
use wasm_bindgen::JsValue;

use crate::call::{Call, Outcome};
use crate::host;

/// The outgoing client of one request.
#[derive(Clone)]
pub(crate) struct Fetch {
    call: Rc<Call>,
}

impl Fetch {
    pub(crate) fn new(call: &Rc<Call>) -> Self {
        Self { call: Rc::clone(call) }
    }
}

impl HttpClient for Fetch {
    type Body = Upstream;

    async fn send(&self, outgoing: Outgoing) -> Result<Response<Upstream>, HttpError> {
        let (head, body) = outgoing.request.into_parts();
        let mut text = format!("{}\n{}\n", head.method, head.uri);
        host::write_headers(&mut text, &head.headers);
        let operation = host::send(self.call.id(), &text, &body);
        let settled = self.call.operation(operation).await;
        let Some(answer) = settled.head else { return Err(fault(settled.outcome)) };
        let upstream = Upstream {
            call: Rc::clone(&self.call),
            source: answer.upstream,
            ready: answer.whole.then_some(settled.bytes),
            ended: answer.whole,
        };
        let mut response = Response::new(upstream);
        let mut lines = answer.text.split('\n');
        let status = lines.next().and_then(|status| status.parse().ok());
        *response.status_mut() = status.ok_or(HttpError::Protocol)?;
        *response.headers_mut() = host::read_headers(lines);
        Ok(response)
    }
}

/// The body of an upstream's answer.
pub(crate) struct Upstream {
    call: Rc<Call>,
    source: JsValue,
    /// A body that came with its head.
    ready: Option<Bytes>,
    ended: bool,
}

impl Upstream {
    /// Hands the rest of the body over to JavaScript, which reads and cancels it from now on, unless nothing is left to
    /// read; and what came already.
    pub(crate) fn into_source(mut self) -> (Option<JsValue>, Option<Bytes>) {
        let ended = std::mem::replace(&mut self.ended, true);
        let source = std::mem::replace(&mut self.source, JsValue::UNDEFINED);
        ((!ended).then_some(source), self.ready.take())
    }
}

impl UpstreamBody for Upstream {
    async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        if let Some(bytes) = self.ready.take().filter(|bytes| !bytes.is_empty()) {
            return Ok(Some(bytes));
        }
        while !self.ended {
            let operation = host::read(self.call.id(), &self.source);
            let settled = self.call.operation(operation).await;
            match settled.outcome {
                Outcome::Ok if settled.bytes.is_empty() => {}
                Outcome::Ok => return Ok(Some(settled.bytes)),
                Outcome::End => self.ended = true,
                other => {
                    self.ended = true;
                    return Err(fault(other));
                }
            }
        }
        Ok(None)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if !self.ended {
            host::discard(&self.source);
        }
    }
}

/// What core calls the failure of a fetch.
pub(crate) fn fault(outcome: Outcome) -> HttpError {
    match outcome {
        Outcome::Connect => HttpError::Connect,
        Outcome::Broken => HttpError::Disconnected,
        Outcome::Ok
        | Outcome::End
        | Outcome::TooLarge
        | Outcome::Overloaded
        | Outcome::Retryable
        | Outcome::Unavailable => HttpError::Protocol,
    }
}
