//! What Anthropic says: a message, or the events of one.

use serde_json::{Map, Value, json};

use crate::{
    answer::{Answer, named_event},
    dialect::{Ask, count, flag, items, list, member, put, string, texts, usage},
    mind::{Asked, Choice, Format, Said, Tool, Why},
    step::Step,
    text,
};

const SIGNED: &str = "c2ltdWxhdGVk";

pub(super) fn answer(ask: &Ask<'_>, body: &Map<String, Value>, step: &Step) -> Answer {
    let asked = asked(body);
    let said = asked.said(step, ask.seed(), 0);
    let hidden = body.get("thinking").is_some_and(|thinking| member(thinking, "display") == "omitted");
    let blocks = blocks(&said, hidden);
    let (stop_reason, stop_sequence) = match &said.why {
        Why::Done => ("end_turn", Value::Null),
        Why::Stop(stop) => ("stop_sequence", json!(stop)),
        Why::Length => ("max_tokens", Value::Null),
        Why::Calls => ("tool_use", Value::Null),
        Why::Refused => ("refusal", Value::Null),
    };
    let mut end =
        json!({"stop_reason": step.finish_reason.as_deref().unwrap_or(stop_reason), "stop_sequence": stop_sequence});
    if let Some(words) = &said.refusal {
        put(
            &mut end,
            "stop_details",
            json!({"type": "refusal", "category": "general_harms", "explanation": words.concat()}),
        );
    }
    let input = input_usage(ask, body);
    let output = output_usage(&said);
    let model = step.model.as_deref().unwrap_or_else(|| string(body, "model"));
    let message =
        json!({"id": format!("msg_01{:016x}", ask.seed()), "type": "message", "role": "assistant", "model": model});
    if step.stream.unwrap_or_else(|| flag(body, "stream")) {
        return Answer::events(events(ask, step, message, &blocks, &end, input, output));
    }
    let content = ("content".to_owned(), Value::from_iter(blocks.into_iter().map(|block| block.whole)));
    let total = usage(joined(input, output), step).map(|usage| ("usage".to_owned(), usage));
    let message = members(message).chain([content]).chain(members(end)).chain(total);
    Answer::json(200, &Value::from_iter(message))
}

/// A block, and how it comes in a stream.
struct Block {
    whole: Value,
    start: Value,
    deltas: Vec<Value>,
}

fn blocks(said: &Said, hidden: bool) -> Vec<Block> {
    let mut blocks = Vec::new();
    if let Some(data) = &said.redacted {
        let whole = json!({"type": "redacted_thinking", "data": data});
        // It comes in one piece.
        blocks.push(Block { start: whole.clone(), whole, deltas: Vec::new() });
    }
    if let Some(thinking) = &said.thinking {
        let signature = signature(thinking);
        let shown = if hidden { "" } else { thinking };
        let deltas = text::words(shown).into_iter().map(|word| json!({"type": "thinking_delta", "thinking": word}));
        blocks.push(Block {
            whole: json!({"type": "thinking", "thinking": shown, "signature": signature}),
            start: json!({"type": "thinking", "thinking": "", "signature": ""}),
            deltas: deltas.chain([json!({"type": "signature_delta", "signature": signature})]).collect(),
        });
    }
    if !said.text.is_empty() {
        blocks.push(Block {
            whole: json!({"type": "text", "text": said.text.concat()}),
            start: json!({"type": "text", "text": ""}),
            deltas: said.text.iter().map(|word| json!({"type": "text_delta", "text": word})).collect(),
        });
    }
    for call in &said.calls {
        let (id, input) = (format!("toolu_01{}", call.id), call.input());
        // A call without arguments has no deltas at all.
        let pieces = if input == json!({}) { Vec::new() } else { text::pieces(&input.to_string()) };
        let deltas = pieces.into_iter().map(|piece| json!({"type": "input_json_delta", "partial_json": piece}));
        blocks.push(Block {
            whole: json!({"type": "tool_use", "id": id, "name": call.name, "input": input}),
            start: json!({"type": "tool_use", "id": id, "name": call.name, "input": {}}),
            deltas: deltas.collect(),
        });
    }
    blocks
}

fn events(
    ask: &Ask<'_>,
    step: &Step,
    message: Value,
    blocks: &[Block],
    end: &Value,
    input: Value,
    output: Value,
) -> Vec<String> {
    // The input side comes first, with one token of output; the output side is cumulative and comes last.
    let first = joined(input, json!({"output_tokens": 1}));
    let empty = [("content", json!([])), ("stop_reason", Value::Null), ("stop_sequence", Value::Null)];
    let empty = empty.into_iter().map(|(name, value)| (name.to_owned(), value));
    let start = usage(first, step).map(|usage| ("usage".to_owned(), usage));
    let message = Value::from_iter(members(message).chain(empty).chain(start));
    let mut events = vec![json!({"type": "message_start", "message": message})];
    for (index, block) in blocks.iter().enumerate() {
        events.push(json!({"type": "content_block_start", "index": index, "content_block": block.start}));
        if index == 0 {
            events.push(json!({"type": "ping"}));
        }
        for delta in regrouped(&block.deltas, ask.content_chunks(step)) {
            events.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    if !step.no_finish {
        let mut delta = json!({"type": "message_delta", "delta": end});
        if let Some(usage) = usage(output, step) {
            put(&mut delta, "usage", usage);
        }
        events.push(delta);
    }
    if !step.no_done {
        events.push(json!({"type": "message_stop"}));
    }
    let usual = |message: Option<&str>| match message {
        Some(message) => json!({"type": "api_error", "message": message}),
        None => json!({"type": "overloaded_error", "message": "Overloaded"}),
    };
    if let Some((after, error)) = ask.error_event(step, usual) {
        events.truncate(after);
        events.push(json!({"type": "error", "error": error, "request_id": super::request_id(ask)}));
    }
    events.iter().map(|event| named_event(member(event, "type"), event)).collect()
}

/// The texts of a block in as many deltas as asked for.
fn regrouped(deltas: &[Value], chunks: Option<usize>) -> Vec<Value> {
    let words: Option<Vec<String>> = deltas.iter().map(|delta| Some(delta.get("text")?.as_str()?.to_owned())).collect();
    match (chunks, words) {
        (Some(chunks), Some(words)) if !words.is_empty() => {
            text::regroup(words, chunks).into_iter().map(|text| json!({"type": "text_delta", "text": text})).collect()
        }
        _ => deltas.to_vec(),
    }
}

fn asked(body: &Map<String, Value>) -> Asked<'_> {
    let messages = items(body, "messages");
    let last = messages.last().unwrap_or(&Value::Null);
    // A result that stands alone is answered; with a text beside it the text is.
    let results: Vec<&Value> =
        list(last, "content").iter().filter(|block| member(block, "type") == "tool_result").collect();
    let only_results = !results.is_empty() && results.len() == list(last, "content").len();
    let users = messages.iter().rev().filter(|message| member(message, "role") == "user");
    let choice = body.get("tool_choice").unwrap_or(&Value::Null);
    let schema = body.get("output_config").and_then(|config| config.pointer("/format/schema"));
    Asked {
        tool_said: results.last().filter(|_| only_results).map(|result| texts(result)),
        user: users.map(texts).find(|text| !text.is_empty()).unwrap_or_default(),
        tools: items(body, "tools")
            .iter()
            .map(|tool| Tool {
                name: member(tool, "name"),
                schema: tool.get("input_schema").unwrap_or(&Value::Null),
                custom: false,
            })
            .collect(),
        choice: match member(choice, "type") {
            "any" => Choice::Any,
            "none" => Choice::Never,
            "tool" => Choice::Named(member(choice, "name")),
            _ => Choice::Auto,
        },
        single: choice.get("disable_parallel_tool_use") == Some(&json!(true)),
        format: schema.map_or(Format::Text, |schema| Format::Schema(schema.clone())),
        stop: items(body, "stop_sequences").iter().filter_map(Value::as_str).collect(),
        most: count(body, "max_tokens"),
        thinks: body.get("thinking").is_some_and(|thinking| matches!(member(thinking, "type"), "enabled" | "adaptive")),
    }
}

/// The input side of the usage: what stands before the last breakpoint is written to the cache once, and read from then on.
fn input_usage(ask: &Ask<'_>, body: &Map<String, Value>) -> Value {
    let messages = items(body, "messages").iter().flat_map(|message| match message.get("content") {
        Some(Value::Array(blocks)) => blocks.iter().collect(),
        Some(text) => vec![text],
        None => Vec::new(),
    });
    let system = body.get("system").into_iter().flat_map(|system| match system {
        Value::Array(blocks) => blocks.iter().collect(),
        text => vec![text],
    });
    let parts: Vec<&Value> = items(body, "tools").iter().chain(system).chain(messages).collect();
    let marked = parts.iter().rposition(|part| part.get("cache_control").is_some_and(Value::is_object));
    let marked = if body.get("cache_control").is_some_and(Value::is_object) { Some(parts.len() - 1) } else { marked };
    let before = marked.map_or(0, |at| at + 1);
    let tokens = |parts: &[&Value]| parts.iter().map(|part| text::tokens(&part.to_string())).sum::<u64>();
    let (prefix, rest) = parts.split_at(before);
    let prefix_tokens = tokens(prefix);
    let known = before > 0 && ask.account.cached(text::hash(format!("{prefix:?}").as_bytes()));
    let long = marked.and_then(|at| parts.get(at)?.pointer("/cache_control/ttl")) == Some(&json!("1h"));
    let (written, read) = if known { (0, prefix_tokens) } else { (prefix_tokens, 0) };
    json!({
        "input_tokens": 3 + tokens(rest), "cache_creation_input_tokens": written, "cache_read_input_tokens": read,
        "cache_creation": {"ephemeral_5m_input_tokens": if long { 0 } else { written }, "ephemeral_1h_input_tokens": if long { written } else { 0 }},
        "service_tier": "standard"})
}

fn output_usage(said: &Said) -> Value {
    let thinking = said.thinking_tokens();
    let mut usage = json!({"output_tokens": said.tokens() + thinking});
    if thinking > 0 {
        put(&mut usage, "output_tokens_details", json!({"thinking_tokens": thinking}));
    }
    usage
}

/// The signature of a thinking block, which comes back with it unchanged.
pub(super) fn signature(thinking: &str) -> String {
    format!("{SIGNED}{:016x}", text::hash(thinking.as_bytes()))
}

/// Whether a signature is one of ours.
pub(super) fn is_signature(signature: &str) -> bool {
    signature.starts_with(SIGNED)
}

fn joined(first: Value, second: Value) -> Value {
    Value::from_iter(members(first).chain(members(second)))
}

fn members(object: Value) -> serde_json::map::IntoIter {
    match object {
        Value::Object(members) => members.into_iter(),
        _ => Map::new().into_iter(),
    }
}
