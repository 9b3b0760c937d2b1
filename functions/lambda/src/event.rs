//! What Lambda hands in: a request of the function URL (payload 2.0), or a word from a schedule.
//!
//! Read by hand: the event types of `lambda_http` refuse a whole event for one header that is not ASCII, and Lambda would
//! answer 502 in our place.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use serde::Deserialize;

/// An event that the function knows.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "made and moved once per event")]
pub(crate) enum Event {
    /// A client's request.
    Http(Request<Bytes>),
    /// Time to clear orphaned secrets.
    Sweep,
    /// Time to roll up usage.
    RollUp,
}

impl Event {
    /// Reads an event; `None` if it is of no known kind.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let payload: Payload<'_> = serde_json::from_slice(bytes).ok()?;
        if payload.gateway.as_deref() == Some("roll_up") {
            return Some(Self::RollUp);
        }
        if payload.gateway.as_deref() == Some("sweep") || payload.source.as_deref() == Some("aws.events") {
            return Some(Self::Sweep);
        }
        let method = Method::from_bytes(payload.request_context?.http?.method.as_bytes()).ok()?;
        let mut request = Request::new(body(payload.body, payload.is_base64_encoded)?);
        *request.method_mut() = method;
        *request.uri_mut() = uri(&payload.raw_path, &payload.raw_query_string)?;
        *request.headers_mut() = headers(&payload.headers.unwrap_or_default());
        Some(Self::Http(request))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    #[serde(default, borrow)]
    source: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    gateway: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    request_context: Option<RequestContext<'a>>,
    #[serde(default, borrow)]
    raw_path: Cow<'a, str>,
    #[serde(default, borrow)]
    raw_query_string: Cow<'a, str>,
    #[serde(default, borrow)]
    headers: Option<HashMap<Cow<'a, str>, Cow<'a, str>>>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[derive(Deserialize)]
struct RequestContext<'a> {
    #[serde(default, borrow)]
    http: Option<Http<'a>>,
}

#[derive(Deserialize)]
struct Http<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
}

fn body(text: Option<String>, base64: bool) -> Option<Bytes> {
    match text {
        None => Some(Bytes::new()),
        Some(text) if base64 => STANDARD.decode(text).ok().map(Bytes::from),
        Some(text) => Some(Bytes::from(text)),
    }
}

/// The path as the client wrote it; core matches it without decoding. Characters that no URI has are encoded, so that
/// such a path is an unknown one and not an error of ours.
fn uri(path: &str, query: &str) -> Option<Uri> {
    let mut text = String::with_capacity(path.len() + query.len() + 1);
    if !path.starts_with('/') {
        text.push('/');
    }
    push_encoded(&mut text, path, b"?#");
    if !query.is_empty() {
        text.push('?');
        push_encoded(&mut text, query, b"#");
    }
    text.parse().ok()
}

fn push_encoded(text: &mut String, part: &str, refused: &[u8]) {
    for byte in part.bytes() {
        if byte.is_ascii_graphic() && !br#"<>"\^`{|}"#.contains(&byte) && !refused.contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

/// Repeated headers come joined by commas. What is no header is left out.
fn headers(given: &HashMap<Cow<'_, str>, Cow<'_, str>>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(given.len());
    for (name, value) in given {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(extra: &Value) -> Value {
        let mut event = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": "/v1/models", "rawQueryString": "",
            "headers": {"authorization": "Bearer a,Bearer b", "content-type": "application/json"},
            "requestContext": {"http": {"method": "GET", "path": "/v1/models", "sourceIp": "192.0.2.1"}},
            "isBase64Encoded": false,
        });
        event.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        event
    }

    fn request(extra: &Value) -> Request<Bytes> {
        match Event::read(event(extra).to_string().as_bytes()) {
            Some(Event::Http(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_is_read_as_it_was_sent() {
        let read = request(&json!({"rawPath": "/v1//models/a%2Fb;x", "rawQueryString": "a=1&b=%20"}));
        assert_eq!(read.uri(), "/v1//models/a%2Fb;x?a=1&b=%20");
        assert_eq!(read.method(), "GET");
        assert_eq!(read.headers()["authorization"], "Bearer a,Bearer b");
        assert!(read.body().is_empty());
    }

    #[test]
    fn bodies_come_as_text_or_base64() {
        assert_eq!(request(&json!({"body": "{\"a\":\"ü\"}"})).body(), "{\"a\":\"ü\"}".as_bytes());
        assert_eq!(request(&json!({"body": "/wD+", "isBase64Encoded": true})).body(), &[0xff, 0, 0xfe][..]);
        assert_eq!(request(&json!({"body": null})).body(), &[][..]);
        let broken = event(&json!({"body": "%", "isBase64Encoded": true})).to_string();
        assert!(Event::read(broken.as_bytes()).is_none());
    }

    #[test]
    fn odd_paths_stay_odd_paths() {
        for (raw, uri) in [
            ("", "/"),
            ("/a b", "/a%20b"),
            ("/a?b#c", "/a%3Fb%23c"),
            ("/ü", "/%C3%BC"),
            ("//evil.example/v1", "//evil.example/v1"),
            ("/a\\b\"", "/a%5Cb%22"),
        ] {
            assert_eq!(request(&json!({"rawPath": raw})).uri().to_string(), uri);
        }
    }

    #[test]
    fn headers_that_are_none_are_left_out() {
        let read = request(&json!({"headers": {"good": "1", "bad name": "2", "bad": "a\nb"}}));
        assert_eq!(read.headers().keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["good"]);
    }

    #[test]
    fn schedules_mean_what_they_say_and_unknown_events_nothing() {
        for text in [r#"{"source":"aws.events","detail-type":"Scheduled Event"}"#, r#"{"gateway":"sweep"}"#] {
            assert!(matches!(Event::read(text.as_bytes()), Some(Event::Sweep)), "{text}");
        }
        for text in [r#"{"gateway":"roll_up"}"#, r#"{"source":"aws.events","gateway":"roll_up"}"#] {
            assert!(matches!(Event::read(text.as_bytes()), Some(Event::RollUp)), "{text}");
        }
        for text in ["", "null", "{}", "[]", r#"{"gateway":"x"}"#, r#"{"requestContext":{"http":{"method":"a b"}}}"#] {
            assert!(Event::read(text.as_bytes()).is_none(), "{text}");
        }
    }
}
