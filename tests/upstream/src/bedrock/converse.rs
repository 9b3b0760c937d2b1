//! What Converse says: one answer, or the frames of a stream.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::frame;
use crate::{
    answer::Answer,
    dialect::{Ask, items, list, member, object, put, usage},
    mind::{Asked, Choice, Format, Said, Tool, Why},
    step::Step,
    text,
};

const STREAM: &str = "application/vnd.amazon.eventstream";
/// Events carry padding of changing length, so that their sizes tell nothing.
const PADDING: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

pub(super) fn answer(ask: &Ask<'_>, id: &str, body: &Map<String, Value>, step: &Step, stream: bool) -> Answer {
    let said = asked(body).said(step, ask.seed(), 0);
    let reason = match &said.why {
        Why::Done => "end_turn",
        Why::Stop(_) => "stop_sequence",
        Why::Length => "max_tokens",
        Why::Calls => "tool_use",
        Why::Refused => "content_filtered",
    };
    let reason = step.finish_reason.as_deref().unwrap_or(reason);
    let usage = usage(counts(ask, id, body, &said), step);
    let metrics = json!({"latencyMs": 42});
    if step.stream.unwrap_or(stream) {
        let metadata = object([("usage", usage), ("metrics", Some(metrics))]);
        return Answer::pieces(STREAM, frames(ask, step, &said, reason, &metadata));
    }
    let content: Value = blocks(&said).into_iter().map(|block| block.whole).collect();
    let message = json!({"message": {"role": "assistant", "content": content}});
    let answer =
        [("output", Some(message)), ("stopReason", Some(json!(reason))), ("usage", usage), ("metrics", Some(metrics))];
    Answer::json(200, &object(answer))
}

/// A block, and how it comes in a stream.
struct Block {
    whole: Value,
    /// Only calls have a start.
    start: Option<Value>,
    deltas: Vec<Value>,
}

fn blocks(said: &Said) -> Vec<Block> {
    let mut blocks = Vec::new();
    if let Some(data) = &said.redacted {
        let data = json!({"redactedContent": STANDARD.encode(data)});
        blocks.push(Block {
            whole: json!({"reasoningContent": data}),
            start: None,
            deltas: vec![json!({"reasoningContent": data})],
        });
    }
    if let Some(thinking) = &said.thinking {
        let signature = format!("{:016x}", text::hash(thinking.as_bytes()));
        let words = text::words(thinking).into_iter().map(|word| json!({"reasoningContent": {"text": word}}));
        blocks.push(Block {
            whole: json!({"reasoningContent": {"reasoningText": {"text": thinking, "signature": signature}}}),
            start: None,
            deltas: words.chain([json!({"reasoningContent": {"signature": signature}})]).collect(),
        });
    }
    let words = said.refusal.as_ref().unwrap_or(&said.text);
    if !words.is_empty() {
        let deltas = words.iter().map(|word| json!({"text": word})).collect();
        blocks.push(Block { whole: json!({"text": words.concat()}), start: None, deltas });
    }
    for call in &said.calls {
        let (id, input) = (format!("tooluse_{}", call.id), call.input());
        // A call without arguments has no deltas at all.
        let pieces = if input == json!({}) { Vec::new() } else { text::pieces(&input.to_string()) };
        blocks.push(Block {
            whole: json!({"toolUse": {"toolUseId": id, "name": call.name, "input": input}}),
            start: Some(json!({"toolUse": {"toolUseId": id, "name": call.name}})),
            deltas: pieces.into_iter().map(|piece| json!({"toolUse": {"input": piece}})).collect(),
        });
    }
    blocks
}

fn frames(ask: &Ask<'_>, step: &Step, said: &Said, reason: &str, metadata: &Value) -> Vec<Vec<u8>> {
    let mut events = vec![("messageStart", json!({"role": "assistant"}))];
    for (index, block) in blocks(said).into_iter().enumerate() {
        if let Some(start) = block.start {
            events.push(("contentBlockStart", json!({"contentBlockIndex": index, "start": start})));
        }
        for delta in regrouped(block.deltas, ask.content_chunks(step)) {
            events.push(("contentBlockDelta", json!({"contentBlockIndex": index, "delta": delta})));
        }
        events.push(("contentBlockStop", json!({"contentBlockIndex": index})));
    }
    if !step.no_finish {
        events.push(("messageStop", json!({"stopReason": reason})));
    }
    if !step.no_done {
        events.push(("metadata", metadata.clone()));
    }
    let mut frames: Vec<Vec<u8>> = events
        .into_iter()
        .enumerate()
        .map(|(at, (name, payload))| {
            let short = padded(name, payload.clone(), 1 + (at * 7) % PADDING.len());
            match (&step.oversize, at) {
                (Some(size), 0) => padded(name, payload, (1 + size.bytes).saturating_sub(short.len()).max(1)),
                _ => short,
            }
        })
        .collect();
    let usual = |message: Option<&str>| match message {
        Some(message) => json!({"type": "modelStreamErrorException", "message": message, "originalStatusCode": 500}),
        None => {
            json!({"type": "internalServerException", "message": "The system encountered an unexpected error during processing. Try your request again."})
        }
    };
    if let Some((after, error)) = ask.error_event(step, usual) {
        frames.truncate(after);
        frames.push(failed(error));
    }
    if let Some(bad) = &step.bad_crc
        && let Some(frame) = frames.get_mut(bad.frame)
    {
        frame::spoil(frame, bad.prelude);
    }
    frames
}

fn padded(name: &str, mut payload: Value, padding: usize) -> Vec<u8> {
    put(&mut payload, "p", json!(PADDING.chars().cycle().take(padding).collect::<String>()));
    frame::json("event", name, &payload)
}

/// `{"type", "message", …}` is an exception, `{"code", "message"}` an error of the stream.
fn failed(mut error: Value) -> Vec<u8> {
    let kind = error.as_object_mut().and_then(|members| members.shift_remove("type"));
    match kind.as_ref().and_then(Value::as_str) {
        Some(kind) => frame::json("exception", kind, &error),
        None => frame::failure(member(&error, "code"), member(&error, "message")),
    }
}

/// The texts of a block in as many deltas as asked for.
fn regrouped(deltas: Vec<Value>, chunks: Option<usize>) -> Vec<Value> {
    let words: Option<Vec<String>> = deltas.iter().map(|delta| Some(delta.get("text")?.as_str()?.to_owned())).collect();
    match (chunks, words) {
        (Some(chunks), Some(words)) if !words.is_empty() => {
            text::regroup(words, chunks).into_iter().map(|text| json!({"text": text})).collect()
        }
        _ => deltas,
    }
}

fn asked(body: &Map<String, Value>) -> Asked<'_> {
    let messages = items(body, "messages");
    let last = messages.last().map(|last| list(last, "content")).unwrap_or_default();
    let results: Vec<&Value> = last.iter().filter_map(|block| block.get("toolResult")).collect();
    // A result that stands alone is answered; with a text beside it the text is.
    let only_results = !results.is_empty() && last.iter().all(|block| block.get("text").is_none());
    let users = messages.iter().rev().filter(|message| member(message, "role") == "user");
    let config = body.get("toolConfig").unwrap_or(&Value::Null);
    let choice = config.get("toolChoice").unwrap_or(&Value::Null);
    let inference = body.get("inferenceConfig").unwrap_or(&Value::Null);
    let more = body.get("additionalModelRequestFields").unwrap_or(&Value::Null);
    let schema = body.get("outputConfig").and_then(|config| config.pointer("/textFormat/structure/jsonSchema/schema"));
    let schema = schema.and_then(|schema| serde_json::from_str(schema.as_str()?).ok());
    let thinking = more.get("thinking").map(|thinking| member(thinking, "type")).unwrap_or_default();
    Asked {
        tool_said: results.last().filter(|_| only_results).map(|result| spoken(list(result, "content"))),
        user: users.map(|message| spoken(list(message, "content"))).find(|text| !text.is_empty()).unwrap_or_default(),
        tools: list(config, "tools").iter().filter_map(|tool| tool.get("toolSpec")).map(tool).collect(),
        choice: match choice.get("tool") {
            Some(tool) => Choice::Named(member(tool, "name")),
            None if choice.get("any").is_some() => Choice::Any,
            None => Choice::Auto,
        },
        single: false,
        format: schema.map_or(Format::Text, Format::Schema),
        stop: list(inference, "stopSequences").iter().filter_map(Value::as_str).collect(),
        most: inference.get("maxTokens").and_then(Value::as_u64).and_then(|most| usize::try_from(most).ok()),
        thinks: matches!(thinking, "enabled" | "adaptive") || more.get("reasoning_effort").is_some(),
    }
}

fn tool(spec: &Value) -> Tool<'_> {
    Tool {
        name: member(spec, "name"),
        schema: spec.pointer("/inputSchema/json").unwrap_or(&Value::Null),
        custom: false,
    }
}

fn spoken(blocks: &[Value]) -> String {
    blocks.iter().map(|block| member(block, "text")).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
}

/// What stands before the last cache point is written to the cache once, and read from then on; no other count includes it.
fn counts(ask: &Ask<'_>, id: &str, body: &Map<String, Value>, said: &Said) -> Value {
    let tools = body.get("toolConfig").map_or(&[][..], |config| list(config, "tools"));
    let messages = items(body, "messages").iter().flat_map(|message| list(message, "content"));
    let parts: Vec<&Value> = tools.iter().chain(items(body, "system")).chain(messages).collect();
    let before = parts.iter().rposition(|part| part.get("cachePoint").is_some()).map_or(0, |at| at + 1);
    let (prefix, rest) = parts.split_at(before);
    let tokens = |parts: &[&Value]| parts.iter().map(|part| text::tokens(&part.to_string())).sum::<u64>();
    let (input, output) = (3 + tokens(rest), said.tokens() + said.thinking_tokens());
    if before == 0 {
        return json!({"inputTokens": input, "outputTokens": output, "totalTokens": input + output});
    }
    let known = ask.account.cached(text::hash(format!("{id}{prefix:?}").as_bytes()));
    let (read, written) = if known { (tokens(prefix), 0) } else { (0, tokens(prefix)) };
    json!({"inputTokens": input, "outputTokens": output, "totalTokens": input + output + read + written,
        "cacheReadInputTokens": read, "cacheWriteInputTokens": written})
}
