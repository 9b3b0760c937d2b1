//! Whole answers: those of Cerebras and NIM edited, those of others written.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::wire::{Body, Choice, object, text};
use crate::account::Usage;
use crate::chat::{Finish, FinishReason};
use crate::dialect::failure::constant;
use crate::dialect::openai_like;
use crate::error::{ErrorCode, Failure};
use crate::json::{self, Edit};
use crate::provider::ProviderKind;

/// A whole answer for the client.
#[derive(Debug)]
pub(crate) struct Whole {
    /// The body.
    pub body: Bytes,
    /// What was used, if reported.
    pub usage: Option<Usage>,
    /// The provider's name of the model.
    pub model: Option<String>,
}

/// Members that OpenAI does not have: Cerebras' times, and vLLM's reasons of its own.
const FOREIGN: &[&str] = &["time_info", "kv_transfer_params"];
const FOREIGN_OF_CHOICES: &[&str] = &["stop_reason", "prompt_logprobs", "token_ids", "prompt_token_ids"];

/// Checks an answer, and edits it: the client's name of the model, and what OpenAI's clients insist on.
///
/// # Errors
/// The failure that the answer reports in spite of its status, or `upstream_protocol`.
pub(crate) fn decode_response(kind: ProviderKind, body: &[u8], model: &str) -> Result<Whole, Failure> {
    let wire: Body<'_> = object(body).ok_or_else(|| protocol("answer is not JSON of its shape"))?;
    if wire.is_error() {
        return Err(openai_like::embedded(kind, body));
    }
    let choices = wire.choices.as_deref().unwrap_or_default();
    if choices.is_empty() {
        return Err(protocol("answer has no choices"));
    }
    let mut list = vec![b'['];
    for (place, choice) in choices.iter().enumerate() {
        if place > 0 {
            list.push(b',');
        }
        list.extend_from_slice(&edited(place, choice)?);
    }
    list.push(b']');
    let list = String::from_utf8(list).map_err(|_| protocol("answer is not UTF-8"))?;
    let members = json::object(body).map_err(|_| protocol("answer is not JSON"))?;
    let edit = |name: &str, _: &RawValue| match name {
        "model" | "choices" | "object" => Edit::Drop,
        name if FOREIGN.contains(&name) => Edit::Drop,
        _ => Edit::Keep,
    };
    let model = serde_json::Value::from(model).to_string();
    let extra = [("object", r#""text_completion""#), ("model", model.as_str()), ("choices", list.as_str())];
    Ok(Whole {
        body: Bytes::from(json::rewrite(&members, edit, &extra)),
        usage: wire.usage(),
        model: wire.identity().model.map(Cow::into_owned),
    })
}

/// A choice with what OpenAI's clients insist on: `index`, `text`, `logprobs` and one of their finish reasons.
fn edited(place: usize, raw: &RawValue) -> Result<Vec<u8>, Failure> {
    let wire: Choice<'_> = object(raw.get().as_bytes()).ok_or_else(|| protocol("choice is no object"))?;
    if !wire.text.is_some_and(|raw| raw.get().starts_with('"')) {
        return Err(protocol("choice has no text"));
    }
    let members = json::object(raw.get().as_bytes()).map_err(|_| protocol("choice is not JSON"))?;
    let edit = |name: &str, _: &RawValue| match name {
        "index" | "logprobs" | "finish_reason" => Edit::Drop,
        name if FOREIGN_OF_CHOICES.contains(&name) => Edit::Drop,
        _ => Edit::Keep,
    };
    let index = wire.number(place).to_string();
    let finish = finish(wire.finish_reason)?.map_or(FinishReason::Stop, |finish| finish.reason);
    let finish = format!(r#""{}""#, finish.as_str());
    let extra = [
        ("index", index.as_str()),
        ("logprobs", wire.logprobs.map_or("null", RawValue::get)),
        ("finish_reason", finish.as_str()),
    ];
    Ok(json::rewrite(&members, edit, &extra))
}

/// Why a choice ended; `None` if it does not say.
pub(super) fn finish(raw: Option<&RawValue>) -> Result<Option<Finish>, Failure> {
    let Some(word) = raw.and_then(text).filter(|word| !word.is_empty()) else { return Ok(None) };
    if word == "error" {
        return Err(constant(ErrorCode::UpstreamError).caused_by("finish reason 'error'"));
    }
    Ok(Some(match FinishReason::from_openai(&word) {
        Some(reason @ (FinishReason::Stop | FinishReason::Length | FinishReason::ContentFilter)) => reason.into(),
        _ => Finish::roughly(FinishReason::Stop, &word),
    }))
}

pub(super) fn protocol(cause: &str) -> Failure {
    constant(ErrorCode::UpstreamProtocol).caused_by(cause)
}

/// One text of an answer that is written here.
#[derive(Debug)]
pub(crate) struct TextChoice {
    /// The text as a JSON string.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
}

/// The texts of `parts`, JSON strings, as one. Their escapes are whole each, so they can stand side by side.
pub(crate) fn to_literal(parts: &[&str]) -> String {
    let mut out = String::with_capacity(parts.iter().map(|part| part.len()).sum());
    out.push('"');
    for part in parts {
        let inner = part.strip_prefix('"').and_then(|part| part.strip_suffix('"'));
        out.push_str(inner.unwrap_or_default());
    }
    out.push('"');
    out
}

/// Writes a whole answer: the choices in their order, and what they used together, if that is known.
pub(crate) fn encode_response(
    id: &str,
    created_s: u64,
    model: &str,
    choices: &[TextChoice],
    usage: Option<Usage>,
) -> Bytes {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut out = format!(
        r#"{{"id":{},"object":"text_completion","created":{created_s},"model":{},"choices":["#,
        quoted(id),
        quoted(model)
    );
    for (index, choice) in choices.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&format!(r#"{{"index":{index},"text":"#));
        out.push_str(&choice.text);
        out.push_str(r#","logprobs":null,"finish_reason":""#);
        out.push_str(choice.finish.reason.as_str());
        out.push_str("\"}");
    }
    out.push(']');
    if let Some(usage) = usage {
        let (input, output) = (usage.input_tokens, usage.output_tokens);
        let total = input.saturating_add(output);
        out.push_str(&format!(
            r#","usage":{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{total}}}"#
        ));
    }
    out.push('}');
    Bytes::from(out)
}
