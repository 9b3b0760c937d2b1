//! Neutral events, written as the chunks of our front door. Nothing is allocated per chunk but what the output buffer
//! grows by.

use super::super::response::encode::{Envelope, member, number, reason, write_usage};
use super::super::wire::text;
use crate::account::Usage;
use crate::chat::{Delta, Event, Identity, ToolDelta};

/// Which object the chunks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `chat.completion.chunk`.
    Chat,
    /// `text_completion`, of the legacy endpoint.
    Completion,
}

/// Writes one stream.
pub(crate) struct Encoder {
    shape: Shape,
    envelope: Envelope,
    /// Everything before a chunk's choices; empty until the stream says who answers.
    head: Vec<u8>,
    /// Everything behind them, but for the usage.
    tail: Vec<u8>,
    /// Bit `i` is set when the role of choice `i` was sent (choices from 127 up share the last bit).
    roles: u128,
    /// Thinking blocks sent so far, of all choices.
    blocks: u64,
    usage: Option<Usage>,
}

impl Encoder {
    /// A stream that has written nothing.
    pub(crate) fn new(shape: Shape, envelope: Envelope) -> Self {
        Self { shape, envelope, head: Vec::new(), tail: Vec::new(), roles: 0, blocks: 0, usage: None }
    }

    /// How many bytes the chunks for so many bytes of the provider's will likely take.
    pub(crate) fn room(&self, bytes: usize) -> usize {
        // What is the same in all chunks, what stands around the text, and the provider's own framing for the text.
        self.head.len() + self.tail.len() + 64 + bytes
    }

    /// Writes what the client sees of an event. Failures are the relay's to write.
    pub(crate) fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Start(identity) => self.begin(identity),
            Event::Delta(delta) => self.delta(delta, out),
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Done => self.finish(out),
            Event::Failed(_) => {}
        }
    }

    /// Fixes what all chunks have in common. Only the first call counts.
    fn begin(&mut self, identity: &Identity<'_>) {
        if !self.head.is_empty() {
            return;
        }
        let head = &mut self.head;
        head.extend_from_slice(b"data: {\"id\":");
        text(head, identity.id.as_deref().unwrap_or(&self.envelope.id));
        head.extend_from_slice(match self.shape {
            Shape::Chat => b",\"object\":\"chat.completion.chunk\",\"created\":".as_slice(),
            Shape::Completion => b",\"object\":\"text_completion\",\"created\":",
        });
        number(head, identity.created.unwrap_or(self.envelope.created));
        head.extend_from_slice(b",\"model\":");
        text(head, self.envelope.model.as_deref().or(identity.model.as_deref()).unwrap_or_default());
        head.extend_from_slice(b",\"choices\":[");
        member(&mut self.tail, "service_tier", identity.service_tier);
        member(&mut self.tail, "system_fingerprint", identity.fingerprint);
    }

    fn delta(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) {
        self.begin(&Identity::default());
        let start = out.len();
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"{\"index\":");
        number(out, u64::from(delta.choice));
        let written = match self.shape {
            Shape::Chat => self.chat_delta(delta, out),
            Shape::Completion => completion_text(delta, out),
        };
        if !written && delta.finish.is_none() && delta.logprobs.is_none() {
            out.truncate(start);
            return;
        }
        out.extend_from_slice(b",\"logprobs\":");
        out.extend_from_slice(delta.logprobs.map_or("null", serde_json::value::RawValue::get).as_bytes());
        out.extend_from_slice(b",\"finish_reason\":");
        match &delta.finish {
            None => out.extend_from_slice(b"null"),
            Some(finish) => {
                out.push(b'"');
                let reason = reason(finish.reason, self.envelope.legacy_functions);
                out.extend_from_slice(reason.as_str().as_bytes());
                out.push(b'"');
            }
        }
        out.extend_from_slice(b"}]");
        if self.envelope.include_usage {
            out.extend_from_slice(b",\"usage\":null");
        }
        out.extend_from_slice(&self.tail);
        out.extend_from_slice(b"}\n\n");
    }

    /// Writes `"delta":{…}`; whether there was anything to say.
    fn chat_delta(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(b",\"delta\":{");
        let start = out.len();
        let bit = 1_u128 << delta.choice.min(127);
        let role = self.roles & bit == 0;
        let pieces =
            [("content", &delta.content), ("refusal", &delta.refusal), ("reasoning_content", &delta.reasoning)];
        let says = |piece: &Option<crate::chat::Literal<'_>>| piece.as_ref().is_some_and(|piece| !piece.is_empty());
        let any = delta.role
            || delta.thinking.is_some()
            || !delta.tools.is_empty()
            || pieces.iter().any(|(_, piece)| says(piece));
        if role && (any || delta.finish.is_some()) {
            self.roles |= bit;
            out.extend_from_slice(b"\"role\":\"assistant\"");
            if !delta.tools.is_empty() && delta.content.is_none() {
                out.extend_from_slice(b",\"content\":null");
            }
        }
        for (name, piece) in pieces {
            // An empty text is told beside the role only, where clients look for it.
            let Some(piece) = piece.as_ref().filter(|piece| !piece.is_empty() || (role && name == "content")) else {
                continue;
            };
            name_of_member(out, start, name);
            out.extend_from_slice(piece.as_json().as_bytes());
        }
        if let Some(block) = &delta.thinking {
            name_of_member(out, start, "thinking_blocks");
            out.extend_from_slice(b"[{\"index\":");
            number(out, self.blocks);
            self.blocks += 1;
            let rest = block.strip_prefix('{').unwrap_or("}");
            if rest.trim_start() != "}" {
                out.push(b',');
            }
            out.extend_from_slice(rest.as_bytes());
            out.push(b']');
        }
        if self.envelope.legacy_functions {
            legacy(&delta.tools, start, out);
        } else {
            tools(&delta.tools, start, out);
        }
        let written = out.len() > start;
        out.push(b'}');
        written
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(usage) = self.usage.filter(|_| self.envelope.include_usage) {
            self.begin(&Identity::default());
            out.extend_from_slice(&self.head);
            out.extend_from_slice(b"],\"usage\":");
            write_usage(out, &usage);
            out.extend_from_slice(&self.tail);
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

/// Writes `"text":"…"`; whether there was anything to say.
fn completion_text(delta: &Delta<'_>, out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(b",\"text\":");
    let text = delta.content.as_ref();
    out.extend_from_slice(text.map_or("\"\"", |text| text.as_json()).as_bytes());
    text.is_some_and(|text| !text.is_empty())
}

fn name_of_member(out: &mut Vec<u8>, start: usize, name: &str) {
    if out.len() > start {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn tools(tools: &[ToolDelta<'_>], start: usize, out: &mut Vec<u8>) {
    for (at, tool) in tools.iter().enumerate() {
        if at == 0 {
            name_of_member(out, start, "tool_calls");
            out.push(b'[');
        } else {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"index\":");
        number(out, u64::from(tool.index));
        out.push(b',');
        if let Some((id, name)) = &tool.begin {
            out.extend_from_slice(b"\"id\":");
            out.extend_from_slice(id.as_json().as_bytes());
            out.extend_from_slice(b",\"type\":\"function\",\"function\":{\"name\":");
            out.extend_from_slice(name.as_json().as_bytes());
            out.push(b',');
        } else {
            out.extend_from_slice(b"\"function\":{");
        }
        out.extend_from_slice(b"\"arguments\":");
        out.extend_from_slice(tool.arguments.as_json().as_bytes());
        out.extend_from_slice(b"}}");
    }
    if !tools.is_empty() {
        out.push(b']');
    }
}

/// The first call only: a client of `functions` knows no second one.
fn legacy(tools: &[ToolDelta<'_>], start: usize, out: &mut Vec<u8>) {
    for tool in tools.iter().filter(|tool| tool.index == 0).take(1) {
        name_of_member(out, start, "function_call");
        out.push(b'{');
        if let Some((_, name)) = &tool.begin {
            out.extend_from_slice(b"\"name\":");
            out.extend_from_slice(name.as_json().as_bytes());
            out.push(b',');
        }
        out.extend_from_slice(b"\"arguments\":");
        out.extend_from_slice(tool.arguments.as_json().as_bytes());
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::chat::{FinishReason, Literal};

    fn envelope() -> Envelope {
        Envelope {
            id: "chatcmpl-1".into(),
            created: 5,
            model: Some("m\"".into()),
            legacy_functions: false,
            include_usage: false,
        }
    }

    fn write(envelope: Envelope, shape: Shape, events: &[Event<'_>]) -> Vec<Value> {
        let mut encoder = Encoder::new(shape, envelope);
        let mut out = Vec::new();
        for event in events {
            encoder.event(event, &mut out);
        }
        let text = String::from_utf8(out).unwrap();
        text.split_terminator("\n\n")
            .map(|event| event.strip_prefix("data: ").unwrap())
            .map(|data| serde_json::from_str(data).unwrap_or_else(|_| Value::from(data)))
            .collect()
    }

    fn tool(index: u32, begin: bool, arguments: &'static str) -> Delta<'static> {
        let begin = begin.then(|| (Literal::from_text("id"), Literal::from_text("f")));
        let tool = ToolDelta { index, begin, arguments: Literal::from_text(arguments) };
        Delta { tools: vec![tool], ..Delta::default() }
    }

    fn content(text: &str) -> Delta<'static> {
        Delta { content: Some(Literal::from_text(text)), ..Delta::default() }
    }

    #[test]
    fn every_chunk_is_whole_and_the_role_comes_once() {
        let end = Delta { finish: Some(FinishReason::Stop.into()), ..Delta::default() };
        let events = vec![
            Event::Delta(Delta { role: true, ..content("") }),
            Event::Delta(Delta { role: true, ..content("Hi \"there\"") }),
            Event::Delta(content("")),
            Event::Delta(Delta { reasoning: Some(Literal::from_text("r")), ..Delta::default() }),
            Event::Delta(Delta { thinking: Some("{\"type\":\"t\"}".into()), ..Delta::default() }),
            Event::Delta(Delta { thinking: Some("{}".into()), ..Delta::default() }),
            Event::Delta(end),
            Event::Usage(Usage { input_tokens: 1, output_tokens: 2, ..Usage::default() }),
            Event::Done,
        ];
        let chunks = write(Envelope { include_usage: true, ..envelope() }, Shape::Chat, &events);
        let deltas: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
        assert_eq!(
            deltas[..6],
            [
                &json!({"role": "assistant", "content": ""}),
                &json!({"content": "Hi \"there\""}),
                &json!({"reasoning_content": "r"}),
                &json!({"thinking_blocks": [{"index": 0, "type": "t"}]}),
                &json!({"thinking_blocks": [{"index": 1}]}),
                &json!({}),
            ]
        );
        assert_eq!(chunks[0]["usage"], Value::Null);
        assert_eq!(chunks[0]["model"], "m\"");
        assert_eq!(chunks[5]["choices"][0]["finish_reason"], "stop");
        assert_eq!(chunks[6]["choices"], json!([]));
        assert_eq!(chunks[6]["usage"]["total_tokens"], 3);
        assert_eq!(chunks[7], "[DONE]");
        assert_eq!(chunks.len(), 8);
    }

    #[test]
    fn calls_are_written_for_tools_and_for_functions() {
        let events = || {
            vec![Event::Delta(tool(0, true, "")), Event::Delta(tool(0, false, "{}")), Event::Delta(tool(1, true, ""))]
        };
        let chunks = write(envelope(), Shape::Chat, &events());
        assert_eq!(
            chunks[0]["choices"][0]["delta"],
            json!({"role": "assistant", "content": null, "tool_calls":
                [{"index": 0, "id": "id", "type": "function", "function": {"name": "f", "arguments": ""}}]})
        );
        assert_eq!(
            chunks[1]["choices"][0]["delta"],
            json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]})
        );
        let chunks = write(Envelope { legacy_functions: true, ..envelope() }, Shape::Chat, &events());
        assert_eq!(
            chunks[0]["choices"][0]["delta"],
            json!({"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": ""}})
        );
        assert_eq!(chunks[1]["choices"][0]["delta"], json!({"function_call": {"arguments": "{}"}}));
        assert_eq!(chunks.len(), 2);
    }

    #[test]
    fn completions_have_their_own_shape() {
        let end = Delta { finish: Some(FinishReason::Length.into()), ..Delta::default() };
        let chunks =
            write(envelope(), Shape::Completion, &[Event::Delta(content("a")), Event::Delta(end), Event::Done]);
        assert_eq!(chunks[0]["object"], "text_completion");
        assert_eq!(chunks[0]["choices"][0], json!({"index": 0, "text": "a", "logprobs": null, "finish_reason": null}));
        assert_eq!(
            chunks[1]["choices"][0],
            json!({"index": 0, "text": "", "logprobs": null, "finish_reason": "length"})
        );
    }
}
