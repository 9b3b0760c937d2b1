//! An answer as a value: what a dialect says, before any fault is applied to it.

use serde_json::Value;

/// Status, headers and body of one answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
}

/// The body of an answer.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// No body at all.
    Empty,
    /// Sent whole, with its length.
    Whole(Vec<u8>),
    /// Sent piece by piece in chunked coding; one piece is one event.
    Events(Vec<Vec<u8>>),
}

impl Answer {
    /// A JSON answer.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::whole(status, "application/json", body.to_string().into_bytes())
    }

    /// An answer with a body sent whole.
    pub(crate) fn whole(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Self { status, headers: vec![header("content-type", content_type)], body: Body::Whole(body) }
    }

    /// An SSE stream; each text is one rendered event.
    pub(crate) fn events(events: Vec<String>) -> Self {
        let events = events.into_iter().map(String::into_bytes).collect();
        Self::pieces("text/event-stream; charset=utf-8", events).add("cache-control", "no-cache")
    }

    /// A stream of any type; each piece is one event.
    pub(crate) fn pieces(content_type: &str, events: Vec<Vec<u8>>) -> Self {
        Self { status: 200, headers: vec![header("content-type", content_type)], body: Body::Events(events) }
    }

    /// Replaces every header of that name.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.headers.push(header(name, value));
    }

    /// Adds a header beside those already there.
    pub(crate) fn add(mut self, name: &str, value: &str) -> Self {
        self.headers.push(header(name, value));
        self
    }
}

/// One rendered event of an SSE stream without event name.
pub(crate) fn data_event(payload: &Value) -> String {
    format!("data: {payload}\n\n")
}

/// One rendered event of an SSE stream with a name.
pub(crate) fn named_event(name: &str, payload: &Value) -> String {
    format!("event: {name}\ndata: {payload}\n\n")
}

pub(crate) fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}
