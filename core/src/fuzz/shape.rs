//! What every stream that leaves must be: events of OpenAI's chunks, and one end.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::must;
use super::play::Played;
use crate::dialect::openai_chat::Shape;
use crate::error::ErrorCode;
use crate::json;
use crate::relay::End;

/// How much of a chunk is ours to answer for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rigour {
    /// All of it: we wrote it.
    Ours(Shape),
    /// That it is a JSON object on one line: it is the provider's own.
    Theirs,
}

/// Deepest nesting of what is read as a tree here. Raw values of a provider may be deeper.
const DEPTH: usize = 100;

/// Checks what a client got of a stream.
///
/// # Panics
/// When it is not as promised.
pub(crate) fn judge(played: &Played, rigour: Rigour) {
    if let Some((code, body)) = &played.refused {
        assert_eq!(played.end, End::Failed(*code), "the status and the end differ");
        assert!(played.bytes.is_empty(), "a status and a stream");
        error(body);
        return;
    }
    let payloads = payloads(&played.bytes);
    let (last, before) = payloads.split_last().map_or((&[][..], &[][..]), |(last, before)| (*last, before));
    match played.end {
        End::Complete => assert_eq!(text(last), "[DONE]", "a complete stream ends otherwise"),
        End::Failed(code) => error_of(last, code),
    }
    let mut seen = Stream::default();
    for payload in before {
        assert!(!payload.starts_with(b"[DONE]"), "an end mark before the end");
        match rigour {
            Rigour::Ours(shape) => seen.chunk(payload, shape),
            Rigour::Theirs => theirs(payload),
        }
    }
}

/// The payloads of what left: nothing but `data:` events of one line.
pub(crate) fn payloads(bytes: &[u8]) -> Vec<&[u8]> {
    let mut rest = bytes;
    let mut payloads = Vec::new();
    while !rest.is_empty() {
        let end = must(memchr::memmem::find(rest, b"\n\n"), "an event without its end");
        let (event, tail) = rest.split_at(end);
        assert!(event.starts_with(b"data: "), "not a data event: {}", text(event));
        let payload = event.get(6..).unwrap_or_default();
        assert!(memchr::memchr2(b'\n', b'\r', payload).is_none(), "an event of several lines: {}", text(event));
        payloads.push(payload);
        rest = tail.get(2..).unwrap_or_default();
    }
    payloads
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// The payload as a tree. `None` if it is JSON that cannot be one here: raw values of a provider pass unread, and they may
/// be deep, have lone surrogates or numbers beyond a double.
fn value(payload: &[u8]) -> Option<Value> {
    let value = json::within(payload, DEPTH).is_ok().then(|| serde_json::from_slice(payload).ok()).flatten();
    if value.is_none() {
        let raw = serde_json::from_slice::<&serde_json::value::RawValue>(payload);
        assert!(raw.is_ok(), "not JSON: {}", text(payload));
    }
    value
}

/// A body: a JSON object.
pub(super) fn object(body: &[u8]) {
    assert!(value(body).is_none_or(|value| value.is_object()), "not an object: {}", text(body));
}

/// The body of an error, with nothing in it that OpenAI's clients do not know the type of.
pub(super) fn error(body: &[u8]) {
    let Some(value) = value(body) else { return };
    let error = value.get("error").and_then(Value::as_object);
    let has = |name: &str, nullable: bool| {
        let member = error.and_then(|error| error.get(name));
        member.is_some_and(|member| member.is_string() || (nullable && member.is_null()))
    };
    assert!(has("message", false) && has("type", false) && has("param", true) && has("code", true), "{value}");
}

fn error_of(payload: &[u8], code: ErrorCode) {
    assert!(payload.starts_with(b"{\"error\":"), "{code:?} without an error event: {}", text(payload));
    error(payload);
}

fn theirs(payload: &[u8]) {
    let Some(value) = value(payload) else { return };
    assert!(value.is_object(), "not an object: {value}");
    assert!(value.get("error").is_none_or(Value::is_null), "an error before the end: {value}");
}

/// What a stream of ours has shown so far.
#[derive(Default)]
struct Stream {
    /// `id`, `created` and `model`, which never change.
    head: Option<[Value; 3]>,
    choices: BTreeMap<u64, Choice>,
    /// A chunk could not be read as a tree, so that nothing is known of what came before.
    missed: bool,
}

/// What one choice has shown.
#[derive(Default)]
struct Choice {
    said: bool,
    finished: bool,
    calls: u64,
}

impl Stream {
    fn chunk(&mut self, payload: &[u8], shape: Shape) {
        let Some(value) = value(payload).filter(|_| !self.missed) else {
            self.missed = true;
            return;
        };
        let chunk = must(value.as_object(), "a chunk that is no object");
        let known =
            ["id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint"].as_slice();
        only(chunk, known);
        let object = if shape == Shape::Chat { "chat.completion.chunk" } else { "text_completion" };
        assert_eq!(chunk.get("object").and_then(Value::as_str), Some(object), "{value}");
        let member = |name: &str| chunk.get(name).cloned().unwrap_or_default();
        let head = ["id", "created", "model"].map(member);
        assert!(matches!(&head, [Value::String(_), Value::Number(_), Value::String(_)]), "{value}");
        assert_eq!(self.head.get_or_insert_with(|| head.clone()), &head, "the head changed");
        assert!(chunk.get("usage").is_none_or(|usage| usage.is_null() || usage.is_object()), "{value}");
        for choice in must(chunk.get("choices").and_then(Value::as_array), "a chunk without choices") {
            let choice = must(choice.as_object(), "a choice that is no object");
            let index = must(choice.get("index").and_then(Value::as_u64), "a choice without an index");
            self.choices.entry(index).or_default().take(index, choice, shape);
        }
    }
}

impl Choice {
    fn take(&mut self, index: u64, choice: &Map<String, Value>, shape: Shape) {
        only(choice, &["index", "delta", "text", "logprobs", "finish_reason"]);
        assert!(!self.finished, "a choice goes on after its end: {choice:?}");
        assert!(choice.contains_key("logprobs"), "no logprobs: {choice:?}");
        match choice.get("finish_reason") {
            Some(Value::Null) => {}
            Some(Value::String(reason)) => {
                let known = ["stop", "length", "tool_calls", "content_filter", "function_call"];
                assert!(known.contains(&reason.as_str()), "{choice:?}");
                self.finished = true;
            }
            _ => assert!(choice.is_empty(), "no finish_reason: {choice:?}"),
        }
        match shape {
            Shape::Completion => {
                assert!(choice.get("text").is_some_and(Value::is_string), "no text: {choice:?}");
                assert!(!choice.contains_key("delta"), "{choice:?}");
            }
            Shape::Chat => {
                self.delta(index, must(choice.get("delta").and_then(Value::as_object), "a choice without a delta"));
                assert!(!choice.contains_key("text"), "{choice:?}");
            }
        }
    }

    fn delta(&mut self, index: u64, delta: &Map<String, Value>) {
        let texts = ["content", "refusal", "reasoning_content"];
        only(
            delta,
            &["role", "content", "refusal", "reasoning_content", "thinking_blocks", "tool_calls", "function_call"],
        );
        for name in texts {
            let Some(member) = delta.get(name) else { continue };
            assert!(member.is_string() || (name == "content" && member.is_null()), "{delta:?}");
        }
        // A part that has nothing but logprobs needs no role, and the encoder knows choices from 127 up as one.
        let role = delta.get("role").map(|role| role.as_str() == Some("assistant"));
        assert_ne!(role, Some(false), "{delta:?}");
        if index < 127 && !delta.is_empty() {
            assert_eq!(role.is_some(), !self.said, "{delta:?}");
            self.said = true;
        }
        let list = |name: &str| match delta.get(name) {
            None => [].as_slice(),
            Some(value) => {
                assert!(value.as_array().is_some_and(|list| !list.is_empty()), "{name}: {delta:?}");
                value.as_array().map(Vec::as_slice).unwrap_or_default()
            }
        };
        for block in list("thinking_blocks") {
            assert!(block.get("index").is_some_and(Value::is_u64), "{block}");
        }
        for call in list("tool_calls") {
            self.call(call);
        }
        if let Some(call) = delta.get("function_call") {
            assert!(call.get("arguments").is_some_and(Value::is_string), "{call}");
        }
    }

    /// Calls are numbered without gaps, and only the first part of one has its id and name.
    fn call(&mut self, call: &Value) {
        let index = must(call.get("index").and_then(Value::as_u64), "a call without an index");
        let function = call.get("function");
        assert!(function.and_then(|f| f.get("arguments")).is_some_and(Value::is_string), "{call}");
        let first = index == self.calls;
        assert!(index <= self.calls, "call {index} after {}: {call}", self.calls);
        self.calls += u64::from(first);
        let is = |value: Option<&Value>| value.is_some_and(Value::is_string) == first && value.is_some() == first;
        assert!(is(call.get("id")) && is(function.and_then(|f| f.get("name"))), "{call}");
        assert_eq!(call.get("type").and_then(Value::as_str), first.then_some("function"), "{call}");
    }
}

fn only(object: &Map<String, Value>, known: &[&str]) {
    for name in object.keys() {
        assert!(known.contains(&name.as_str()), "a member that OpenAI does not have: {name}");
    }
}
