//! One event of OpenAI's stream: what it means to the relay, and the same event without its usage.

mod encode;

use std::ops::Range;

use super::response::embedded_failure;
use super::wire::Chunk;
use crate::account::{Usage, meter, text_in};
use crate::error::Failure;

pub(crate) use self::encode::{Encoder, Shape};

/// What the relay must know of an event.
#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    /// `[DONE]`.
    Done,
    /// The provider reports a failure.
    Error(Box<Failure>),
    /// A part of the answer.
    Chunk(Reading),
    /// Nothing that a client could use (an object without choices, a filter's note): to be left out.
    Skip,
    /// Not what OpenAI's API promises.
    Malformed,
}

/// A part of the answer.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Reading {
    /// Whether it carries more than a role: text, a call, a refusal, an end.
    pub content: bool,
    /// Bytes of its text, as JSON has it.
    pub text: u64,
    /// Bit `i` is set when choice `i` occurs (indexes from 127 up share the last bit).
    pub seen: u128,
    /// Bit `i` is set when choice `i` ends.
    pub finished: u128,
    /// The usage, when reported.
    pub usage: Option<Box<Usage>>,
    /// Where the value of a `usage` member stands in the payload, if there is one.
    pub usage_at: Option<Range<usize>>,
    /// Whether no choice of it has a delta or a text, nor an end.
    pub no_delta: bool,
    /// Whether it has no choices: with a usage it is the extra event of `include_usage`.
    pub no_choices: bool,
}

/// Reads the payload of one event. Before the first content `look_for_content` is true; after it the deltas
/// need not be looked at.
pub(crate) fn read_event(data: &[u8], look_for_content: bool) -> Event {
    if data.starts_with(b"[DONE]") {
        return Event::Done;
    }
    let Ok(text) = std::str::from_utf8(data) else { return Event::Malformed };
    // Serde would also read a struct from an array.
    if !text.trim_start().starts_with('{') {
        return Event::Malformed;
    }
    let Ok(chunk) = serde_json::from_str::<Chunk<'_>>(text) else { return Event::Malformed };
    if let Some(error) = chunk.error.filter(|raw| raw.get() != "null") {
        return Event::Error(Box::new(embedded_failure(error.get())));
    }
    if chunk.choices.is_none() && chunk.usage.is_none() {
        return Event::Skip;
    }
    let choices = chunk.choices.unwrap_or_default();
    let mut reading = Reading {
        usage_at: chunk.usage.and_then(|raw| place(text, raw.get())),
        usage: chunk.usage.filter(|_| meter::on()).and_then(|raw| Usage::from_openai(raw.get())).map(Box::new),
        no_choices: choices.is_empty(),
        no_delta: choices.iter().all(|c| c.delta.is_none() && c.text.is_none()),
        ..Reading::default()
    };
    for choice in &choices {
        let bit = 1_u128 << choice.index.min(127);
        reading.seen |= bit;
        if choice.finish_reason.is_some_and(|raw| raw.get() != "null") {
            reading.finished |= bit;
            reading.content = true;
        }
        let text = choice.text.map_or(0, |raw| raw.get().len().saturating_sub(2));
        reading.text += text as u64 + choice.delta.map_or(0, |raw| delta_text(raw.get()));
        if look_for_content && !reading.content {
            reading.content = choice.text.is_some_and(|raw| !blank(raw.get()))
                || choice.delta.is_some_and(|raw| delta_has_content(raw.get()));
        }
    }
    Event::Chunk(reading)
}

/// Bytes of a delta's text. Most have nothing but content, whose length is the delta's but for its frame.
fn delta_text(delta: &str) -> u64 {
    if !meter::on() {
        return 0;
    }
    match delta.strip_prefix("{\"content\":\"").and_then(|rest| rest.strip_suffix("\"}")) {
        // A quote inside of it may belong to a further member.
        Some(text) if !has_quote(text.as_bytes()) => text.len() as u64,
        _ => text_in(delta.as_bytes()),
    }
}

/// Most texts are one word, for which a search by vectors is not worth its beginning.
fn has_quote(text: &[u8]) -> bool {
    if text.len() < 24 { text.contains(&b'"') } else { memchr::memchr(b'"', text).is_some() }
}

fn delta_has_content(delta: &str) -> bool {
    let Ok(members) = serde_json::from_str::<Members<'_>>(delta) else { return true };
    members.0.iter().any(|(name, raw)| name != "role" && !blank(raw.get()))
}

fn blank(raw: &str) -> bool {
    matches!(raw, "null" | "\"\"" | "[]" | "{}")
}

struct Members<'a>(Vec<(std::borrow::Cow<'a, str>, &'a serde_json::value::RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    members.push(entry);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// Where `part` stands in `whole`, of which it is a slice.
fn place(whole: &str, part: &str) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}

/// Appends the payload without its top-level `usage` member, whose value stands at `usage_at`. The bytes of all else
/// are kept.
pub(crate) fn without_usage(data: &[u8], usage_at: &Range<usize>, out: &mut Vec<u8>) {
    let cut = std::str::from_utf8(data).ok().and_then(|text| member_span(text, usage_at));
    match cut {
        Some(cut) => {
            out.extend_from_slice(data.get(..cut.start).unwrap_or_default());
            out.extend_from_slice(data.get(cut.end..).unwrap_or_default());
        }
        None => out.extend_from_slice(data),
    }
}

/// From where to where to cut so that the member goes, with one comma.
fn member_span(text: &str, value: &Range<usize>) -> Option<Range<usize>> {
    let before = text.get(..value.start)?.trim_end().strip_suffix(':')?.trim_end().strip_suffix("\"usage\"")?;
    let before = before.trim_end();
    if let Some(rest) = before.strip_suffix(',') {
        return Some(rest.len()..value.end);
    }
    let after = text.get(value.end..)?.trim_start();
    let end = after.strip_prefix(',').map_or(value.end, |rest| text.len() - rest.len());
    Some(before.len()..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    fn content(data: &str) -> bool {
        matches!(read_event(data.as_bytes(), true), Event::Chunk(Reading { content: true, .. }))
    }

    #[test]
    fn content_is_told_from_ceremony() {
        for (delta, want) in [
            (r#"{"role":"assistant","content":""}"#, false),
            (r#"{"role":"assistant","content":null,"refusal":null}"#, false),
            (r#"{"role":"assistant","tool_calls":[]}"#, false),
            ("{}", false),
            (r#"{"content":" "}"#, true),
            (r#"{"tool_calls":[{"index":0}]}"#, true),
            (r#"{"refusal":"no"}"#, true),
            (r#"{"reasoning_content":"hm"}"#, true),
        ] {
            assert_eq!(
                content(&format!(r#"{{"choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#)),
                want,
                "{delta}"
            );
        }
        assert!(content(r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#));
        assert!(content(r#"{"choices":[{"index":0,"text":"x","finish_reason":null}]}"#));
        assert!(!content(r#"{"choices":[{"index":0,"text":"","finish_reason":null}]}"#));
        assert!(!content(r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#));
    }

    #[test]
    fn the_text_of_a_chunk_is_measured() {
        for (delta, want) in [
            (r#"{"content":""}"#, 0),
            (r#"{"content":"Hello"}"#, 5),
            (r#"{"content":"a\"b"}"#, 4),
            (r#"{"content":null}"#, 0),
            (r#"{"role":"assistant","content":"ab"}"#, 2),
            (r#"{"content":"ab","refusal":"c"}"#, 3),
            (r#"{"reasoning_content":"hmm"}"#, 3),
            (r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"a"}}]}"#, 4),
            (r#"{"tool_calls":[{"function":{"arguments": "12"}},{"function":{"arguments":"3"}}]}"#, 3),
            ("{}", 0),
        ] {
            let event = format!(r#"{{"choices":[{{"index":0,"delta":{delta}}},{{"index":1,"text":"xyz"}}]}}"#);
            let Event::Chunk(reading) = read_event(event.as_bytes(), false) else { panic!("{delta}") };
            assert_eq!(reading.text, want + 3, "{delta}");
        }
    }

    #[test]
    fn other_payloads_are_told_apart() {
        assert_eq!(read_event(b"[DONE]", true), Event::Done);
        assert_eq!(read_event(b"{}", true), Event::Skip);
        assert_eq!(read_event(br#"{"error":null,"prompt_filter_results":[]}"#, true), Event::Skip);
        for bad in
            [&b"hello"[..], b"", b"[]", b"1", b"{\"choices\":1}", b"{\"choices\":[1]}", b"{\"choices\":[", b"\xff"]
        {
            assert_eq!(read_event(bad, true), Event::Malformed, "{bad:?}");
        }
        let Event::Error(failure) = read_event(br#"{"error":{"message":"x","type":"server_error"}}"#, true) else {
            panic!("no error");
        };
        assert_eq!(failure.code, ErrorCode::UpstreamError);
    }

    #[test]
    fn the_usage_is_cut_out_and_nothing_else() {
        for (data, want) in [
            (r#"{"id":"a","usage":null}"#, r#"{"id":"a"}"#),
            (r#"{"usage":null,"id":"a"}"#, r#"{"id":"a"}"#),
            (r#"{ "usage" : {"prompt_tokens":1} , "id":"usage"}"#, r#"{ "id":"usage"}"#),
            (r#"{"usage":null}"#, "{}"),
            (r#"{"id":"a","choices":[{"usage":1}]}"#, r#"{"id":"a","choices":[{"usage":1}]}"#),
        ] {
            let mut out = Vec::new();
            match read_event(data.as_bytes(), true) {
                Event::Chunk(Reading { usage_at: Some(at), .. }) => without_usage(data.as_bytes(), &at, &mut out),
                _ => out.extend_from_slice(data.as_bytes()),
            }
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.replace(' ', ""), want.replace(' ', ""), "{data}");
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
        }
    }
}
