//! A neutral answer, written as our front door answers.

use serde_json::value::RawValue;

use super::super::wire::text;
use crate::account::Usage;
use crate::chat::{Answer, Choice, FinishReason};

/// What an answer says of the gateway's side of the exchange.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    /// The answer's id, unless the provider gave one that fits.
    pub id: String,
    /// When it was made, in seconds since the epoch, unless the provider says it.
    pub created: u64,
    /// The model's name as the client sent it; `None` keeps the provider's.
    pub model: Option<String>,
    /// Calls are answered as `function_call`.
    pub legacy_functions: bool,
    /// A stream ends with its usage.
    pub include_usage: bool,
}

/// The body of a chat completion.
pub(crate) fn encode_response(answer: &Answer<'_>, envelope: &Envelope) -> Vec<u8> {
    let identity = &answer.identity;
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"{\"id\":");
    text(&mut out, identity.id.as_deref().unwrap_or(&envelope.id));
    out.extend_from_slice(b",\"object\":\"chat.completion\",\"created\":");
    number(&mut out, identity.created.unwrap_or(envelope.created));
    out.extend_from_slice(b",\"model\":");
    text(&mut out, envelope.model.as_deref().or(identity.model.as_deref()).unwrap_or_default());
    out.extend_from_slice(b",\"choices\":[");
    for (index, choice) in answer.choices.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"index\":");
        number(&mut out, index as u64);
        out.extend_from_slice(b",\"message\":");
        message(&mut out, choice, envelope.legacy_functions);
        out.extend_from_slice(b",\"logprobs\":");
        raw(&mut out, choice.logprobs);
        out.extend_from_slice(b",\"finish_reason\":\"");
        let reason = reason(choice.finish.reason, envelope.legacy_functions);
        out.extend_from_slice(reason.as_str().as_bytes());
        out.extend_from_slice(b"\"}");
    }
    out.push(b']');
    if let Some(usage) = &answer.usage {
        out.extend_from_slice(b",\"usage\":");
        write_usage(&mut out, usage);
    }
    for (name, value) in [("service_tier", identity.service_tier), ("system_fingerprint", identity.fingerprint)] {
        member(&mut out, name, value);
    }
    out.push(b'}');
    out
}

fn message(out: &mut Vec<u8>, choice: &Choice<'_>, legacy: bool) {
    out.extend_from_slice(b"{\"role\":\"assistant\",\"content\":");
    option(out, choice.content.as_deref());
    out.extend_from_slice(b",\"refusal\":");
    option(out, choice.refusal.as_deref());
    if let Some(reasoning) = &choice.reasoning {
        out.extend_from_slice(b",\"reasoning_content\":");
        text(out, reasoning);
    }
    if !choice.thinking.is_empty() {
        out.extend_from_slice(b",\"thinking_blocks\":[");
        out.extend_from_slice(choice.thinking.join(",").as_bytes());
        out.push(b']');
    }
    match choice.tools.as_slice() {
        [] => {}
        [call, ..] if legacy => {
            out.extend_from_slice(b",\"function_call\":{\"name\":");
            text(out, &call.name);
            out.extend_from_slice(b",\"arguments\":");
            text(out, &call.arguments);
            out.push(b'}');
        }
        calls => {
            for (index, call) in calls.iter().enumerate() {
                out.extend_from_slice(if index == 0 { b",\"tool_calls\":[{\"id\":" } else { b",{\"id\":" });
                text(out, &call.id);
                out.extend_from_slice(b",\"type\":\"function\",\"function\":{\"name\":");
                text(out, &call.name);
                out.extend_from_slice(b",\"arguments\":");
                text(out, &call.arguments);
                out.extend_from_slice(b"}}");
            }
            out.push(b']');
        }
    }
    out.push(b'}');
}

/// The reason as a client of `functions` or of `tools` knows it.
pub(crate) fn reason(reason: FinishReason, legacy: bool) -> FinishReason {
    match reason {
        FinishReason::ToolCalls if legacy => FinishReason::FunctionCall,
        reason => reason,
    }
}

/// Writes OpenAI's `usage`. Classes appear only where the provider reported them.
pub(crate) fn write_usage(out: &mut Vec<u8>, usage: &Usage) {
    let total = usage.input_tokens.saturating_add(usage.output_tokens);
    for (name, value) in [
        ("{\"prompt_tokens\":", usage.input_tokens),
        (",\"completion_tokens\":", usage.output_tokens),
        (",\"total_tokens\":", total),
    ] {
        out.extend_from_slice(name.as_bytes());
        number(out, value);
    }
    details(
        out,
        "prompt_tokens_details",
        &[
            ("cached_tokens", usage.cache_read_tokens),
            ("cache_write_tokens", usage.cache_write_tokens),
            ("audio_tokens", usage.input_audio_tokens),
        ],
    );
    details(
        out,
        "completion_tokens_details",
        &[
            ("reasoning_tokens", usage.reasoning_tokens),
            ("audio_tokens", usage.output_audio_tokens),
            ("accepted_prediction_tokens", usage.accepted_prediction_tokens),
            ("rejected_prediction_tokens", usage.rejected_prediction_tokens),
        ],
    );
    out.push(b'}');
}

fn details(out: &mut Vec<u8>, name: &str, classes: &[(&str, Option<u64>)]) {
    let mut separator = format!(",\"{name}\":{{");
    let mut any = false;
    for (class, count) in classes {
        let Some(count) = count else { continue };
        out.extend_from_slice(separator.as_bytes());
        out.extend_from_slice(format!("\"{class}\":{count}").as_bytes());
        ",".clone_into(&mut separator);
        any = true;
    }
    if any {
        out.push(b'}');
    }
}

fn option(out: &mut Vec<u8>, value: Option<&str>) {
    match value {
        Some(value) => text(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

fn raw(out: &mut Vec<u8>, value: Option<&RawValue>) {
    out.extend_from_slice(value.map_or("null", RawValue::get).as_bytes());
}

/// Appends a member of an object that has one already, unless there is no value.
pub(crate) fn member(out: &mut Vec<u8>, name: &str, value: Option<&RawValue>) {
    if let Some(value) = value.filter(|value| value.get() != "null") {
        out.extend_from_slice(format!(",\"{name}\":").as_bytes());
        out.extend_from_slice(value.get().as_bytes());
    }
}

/// Writes a number in decimal.
pub(crate) fn number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0_u8; 20];
    let mut rest = number;
    let mut at = digits.len();
    while let Some(digit) = at.checked_sub(1).and_then(|at| digits.get_mut(at)) {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        at -= 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::chat::{Identity, ToolUse};

    #[test]
    fn numbers_are_decimal() {
        for n in [0, 7, 10, 1_760_000_000, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, n);
            assert_eq!(String::from_utf8(out).unwrap(), n.to_string());
        }
    }

    #[test]
    fn usage_shows_only_what_was_reported() {
        let some = Usage { input_tokens: 2510, output_tokens: 4, cache_read_tokens: Some(500), ..Usage::default() };
        for (usage, want) in [
            (Usage::default(), json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0})),
            (
                Usage { cache_write_tokens: Some(0), ..some },
                json!({"prompt_tokens": 2510, "completion_tokens": 4, "total_tokens": 2514,
                    "prompt_tokens_details": {"cached_tokens": 500, "cache_write_tokens": 0}}),
            ),
            (
                Usage { cache_read_tokens: None, reasoning_tokens: Some(1), ..some },
                json!({"prompt_tokens": 2510, "completion_tokens": 4, "total_tokens": 2514,
                    "completion_tokens_details": {"reasoning_tokens": 1}}),
            ),
        ] {
            let mut out = Vec::new();
            write_usage(&mut out, &usage);
            assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), want);
        }
    }

    #[test]
    fn an_answer_is_written_with_all_that_clients_expect() {
        let tool = |id: &'static str| ToolUse { id: id.into(), name: "f".into(), arguments: "{\"a\":1}".into() };
        let answer = Answer {
            identity: Identity { id: Some("c\"1".into()), ..Identity::default() },
            choices: vec![Choice {
                content: None,
                refusal: None,
                reasoning: Some("hm".into()),
                thinking: vec!["{\"type\":\"x\"}".into(), "{}".into()],
                tools: vec![tool("a"), tool("b")],
                logprobs: None,
                finish: FinishReason::ToolCalls.into(),
            }],
            usage: None,
        };
        let mut envelope = Envelope {
            id: "chatcmpl-1".into(),
            created: 5,
            model: Some("m".into()),
            legacy_functions: false,
            include_usage: false,
        };
        let write = |envelope: &Envelope| serde_json::from_slice::<Value>(&encode_response(&answer, envelope)).unwrap();
        let call =
            |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}});
        assert_eq!(
            write(&envelope),
            json!({"id": "c\"1", "object": "chat.completion", "created": 5, "model": "m", "choices": [{"index": 0,
                "message": {"role": "assistant", "content": null, "refusal": null, "reasoning_content": "hm",
                    "thinking_blocks": [{"type": "x"}, {}], "tool_calls": [call("a"), call("b")]},
                "logprobs": null, "finish_reason": "tool_calls"}]})
        );
        envelope.legacy_functions = true;
        let choice = &write(&envelope)["choices"][0];
        assert_eq!(choice["finish_reason"], "function_call");
        assert_eq!(choice["message"]["function_call"], json!({"name": "f", "arguments": "{\"a\":1}"}));
        assert!(choice["message"].get("tool_calls").is_none());
    }
}
