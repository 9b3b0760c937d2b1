//! `POST /v1/chat/completions`.

use serde_json::{Map, Value, json};

use super::{
    Turn, Twist,
    choice::{self, Choice},
    message, shapes,
    stream::{self, Frame, Parts},
};
use crate::{
    answer::Answer,
    dialect::{count, flag, given, string},
    shape::Refusal,
    text,
};

/// Models that think before they answer take `max_completion_tokens` only.
const REASONING: &[&str] = &["o1", "o3", "o4", "gpt-5"];

/// The table of a chat, and the rules between its members.
pub(super) fn check(body: &Map<String, Value>) -> Result<(), Refusal> {
    shapes::CHAT.check(body, "")?;
    check_rules(body)?;
    if given(body, "max_tokens") && is_reasoning(string(body, "model")) {
        let message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
        return Err(Refusal::of("max_tokens", "unsupported_parameter", message.to_owned()));
    }
    Ok(())
}

/// The rules between the members of a chat that hold for every provider of this dialect.
pub(crate) fn check_rules(body: &Map<String, Value>) -> Result<(), Refusal> {
    if let Some(Value::Array(messages)) = body.get("messages") {
        message::check_order(messages)?;
    }
    check_stream_options(body)?;
    let given = |name: &str| given(body, name);
    let plain = Refusal::plain;
    for (dependent, needs) in
        [("tool_choice", "tools"), ("parallel_tool_calls", "tools"), ("function_call", "functions")]
    {
        if given(dependent) && !given(needs) {
            return Err(plain(
                dependent,
                &format!(
                    "Invalid value for '{dependent}': '{dependent}' is only allowed when '{needs}' are specified."
                ),
            ));
        }
    }
    if given("top_logprobs") && !flag(body, "logprobs") {
        return Err(plain("top_logprobs", "The 'logprobs' parameter must be true when 'top_logprobs' is given."));
    }
    if given("max_tokens") && given("max_completion_tokens") {
        return Err(plain(
            "max_tokens",
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
        ));
    }
    check_tool_choice(body)?;
    let speaks = body.get("modalities").and_then(Value::as_array).is_some_and(|list| list.contains(&json!("audio")));
    if speaks && !given("audio") {
        return Err(plain("audio", "The 'audio' parameter is required when audio is one of the modalities."));
    }
    if body.get("response_format").and_then(|f| f.get("type")) == Some(&json!("json_object"))
        && !message::mention_json(body)
    {
        let message =
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.";
        return Err(plain("messages", message));
    }
    Ok(())
}

pub(super) fn answer(turn: Turn<'_>) -> Answer {
    let Turn { ask, body, step, twist } = turn;
    let choices: Vec<Choice> =
        (0..count(body, "n").unwrap_or(1)).map(|index| Choice::of(body, step, ask.seed(), index)).collect();
    let frame = Frame::of(turn, "chat.completion", usage(body, &choices));
    let top = flag(body, "logprobs").then(|| count(body, "top_logprobs").unwrap_or_default());
    if stream::streamed(body, step) {
        return frame.stream(turn, parts(&choices, twist, top, ask.content_chunks(step)));
    }
    let whole = choices.iter().enumerate().map(|(index, choice)| {
        let logprobs = match &choice.said.refusal {
            Some(words) => top.map(|top| choice::logprobs(words, true, top)),
            None if choice.speaks() => top.map(|top| choice::logprobs(&choice.said.text, false, top)),
            None => None,
        };
        json!({"index": index, "message": choice.message(twist), "logprobs": logprobs, "finish_reason": choice.finish_reason})
    });
    frame.whole(turn, whole.collect())
}

/// Shared with completions: options of a stream need a stream.
pub(super) fn check_stream_options(body: &Map<String, Value>) -> Result<(), Refusal> {
    if body.get("stream_options").is_some_and(Value::is_object) && !flag(body, "stream") {
        let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(Refusal::plain("stream_options", message));
    }
    Ok(())
}

/// Shared with completions: the details OpenAI gives beside the counts.
pub(super) fn usage_of(prompt: u64, completion: u64, reasoning: u64) -> Value {
    let completion = completion + reasoning;
    json!({
        "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
    })
}

fn check_tool_choice(body: &Map<String, Value>) -> Result<(), Refusal> {
    let choice = body.get("tool_choice");
    let Some(name) = choice.and_then(|c| c.pointer("/function/name").or_else(|| c.pointer("/custom/name"))) else {
        return Ok(());
    };
    let tools = body.get("tools").and_then(Value::as_array).into_iter().flatten();
    let known = tools
        .into_iter()
        .any(|tool| [tool.pointer("/function/name"), tool.pointer("/custom/name")].contains(&Some(name)));
    if known {
        Ok(())
    } else {
        Err(Refusal::plain("tool_choice", "Tool choice names a function that is not among the 'tools'."))
    }
}

fn is_reasoning(model: &str) -> bool {
    REASONING.iter().any(|family| model.starts_with(family))
}

fn usage(body: &Map<String, Value>, choices: &[Choice]) -> Value {
    let reasoning = match message::effort(body) {
        Some("none") => 0,
        Some(_) => 64,
        None if is_reasoning(string(body, "model")) => 64,
        None => 0,
    };
    usage_of(message::prompt_tokens(body), choices.iter().map(|choice| choice.said.tokens()).sum(), reasoning)
}

/// The choices as chunks; several choices take turns.
fn parts(choices: &[Choice], twist: &Twist, top: Option<usize>, chunks: Option<usize>) -> Parts {
    let delta = |index: usize, delta: Value, logprobs: Option<Value>| json!({"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": null});
    let mut parts = Parts { before: Vec::new(), content: Vec::new(), finish: Vec::new() };
    let mut streams: Vec<std::vec::IntoIter<Value>> = Vec::new();
    for (index, choice) in choices.iter().enumerate() {
        let content = if choice.speaks() { json!("") } else { Value::Null };
        parts.before.push(delta(index, json!({"role": "assistant", "content": content, "refusal": null}), None));
        parts
            .finish
            .push(json!({"index": index, "delta": {}, "logprobs": null, "finish_reason": choice.finish_reason}));
        let deltas = choice.deltas(twist, chunks).into_iter().map(|one| {
            let top = top.filter(|_| matches!(one.name, "content" | "refusal"));
            let logprobs = top.map(|top| choice::logprobs(&text::words(&one.text), one.name == "refusal", top));
            delta(index, one.delta, logprobs)
        });
        streams.push(deltas.collect::<Vec<_>>().into_iter());
    }
    loop {
        let round: Vec<Value> = streams.iter_mut().filter_map(Iterator::next).collect();
        if round.is_empty() {
            return parts;
        }
        parts.content.extend(round);
    }
}
