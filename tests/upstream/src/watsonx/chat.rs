//! Chat: OpenAI's answers with IBM's members, in events that have names and numbers.

use serde_json::{Map, Value, json};

use crate::{
    answer::named_event,
    dialect::{Ask, Reply, flag, items, member, put},
    openai::{self, Endpoint, Twist, message},
    shape::Refusal,
};

static TWIST: Twist = Twist {
    reasoning: Some("reasoning_content"),
    call: "chatcmpl-tool-",
    usage: openai::plain_usage,
    whole: |ask, answer| with_members(ask, &answer),
    chunks,
    failed: |given, message| given.unwrap_or_else(|| failure(message)),
    event,
    done: false,
    dress: super::dress,
};

/// Rules between the members.
pub(super) fn check(body: &Map<String, Value>) -> Result<(), Refusal> {
    message::check_order(items(body, "messages"))?;
    let given = |name: &str| body.contains_key(name);
    if given("tool_choice") && given("tool_choice_option") {
        return Err(Refusal::plain(
            "tool_choice",
            "only one of 'tool_choice' and 'tool_choice_option' may be specified",
        ));
    }
    if (given("tool_choice") || given("tool_choice_option")) && !given("tools") {
        return Err(Refusal::plain("tool_choice", "'tools' must be specified with a tool choice"));
    }
    if given("top_logprobs") && !flag(body, "logprobs") {
        return Err(Refusal::plain("top_logprobs", "'logprobs' must be true"));
    }
    Ok(())
}

/// The body as OpenAI would have it, for the answer to be made as OpenAI's.
pub(super) fn accept<'a>(ask: &'a Ask<'a>, mut body: Map<String, Value>, model: &str, stream: bool) -> Reply<'a> {
    body.insert("model".to_owned(), json!(model));
    body.insert("stream".to_owned(), json!(stream));
    if let Some(option) = body.shift_remove("tool_choice_option") {
        body.insert("tool_choice".to_owned(), option);
    }
    if body.get("include_reasoning") == Some(&json!(false)) {
        body.shift_remove("reasoning_effort");
    }
    openai::accept(ask, Endpoint::Chat, body, &TWIST)
}

fn with_members(ask: &Ask<'_>, answer: &Value) -> Value {
    let whole = member(answer, "object") == "chat.completion";
    let model = answer.get("model").cloned().unwrap_or_default();
    let mut out = Map::new();
    for (name, value) in answer.as_object().into_iter().flatten() {
        match name.as_str() {
            "service_tier" | "system_fingerprint" => continue,
            "model" => {
                out.insert("model_id".to_owned(), model.clone());
                out.insert("model".to_owned(), model.clone());
                out.insert("model_version".to_owned(), json!("1.0.0"));
            }
            "created" => {
                out.insert("created".to_owned(), value.clone());
                out.insert("created_at".to_owned(), json!(super::created_at(ask)));
            }
            _ => {
                out.insert(name.clone(), value.clone());
            }
        }
    }
    for choice in out.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
        for part in ["message", "delta"] {
            let Some(Value::Object(part)) = choice.get_mut(part) else { continue };
            part.retain(|name, value| name != "annotations" && !value.is_null());
        }
        if let Some(choice) = choice.as_object_mut().filter(|choice| choice.get("logprobs").is_some_and(Value::is_null))
        {
            choice.shift_remove("logprobs");
        }
    }
    if whole {
        let warning = json!({"message": "This model is a Non-IBM Product governed by a third-party license.", "id": "disclaimer_warning"});
        out.insert("system".to_owned(), json!({"warnings": [warning]}));
    }
    Value::Object(out)
}

/// The role comes with the first delta, and again with calls, as do their ids and names; the usage is always told.
fn chunks(ask: &Ask<'_>, chunks: Vec<Value>, usage: Option<&Value>) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    let mut begun: Vec<u64> = Vec::new();
    let mut call = Value::Null;
    for (at, chunk) in chunks.into_iter().enumerate() {
        let mut chunk = with_members(ask, &chunk);
        let Some(choice) = chunk.pointer_mut("/choices/0") else { continue };
        let index = choice.get("index").and_then(Value::as_u64).unwrap_or_default();
        let finishes = !member(choice, "finish_reason").is_empty();
        let Some(delta) = choice.get_mut("delta").and_then(Value::as_object_mut) else { continue };
        let only_role = delta.contains_key("role") && delta.values().all(|value| value == "assistant" || value == "");
        if only_role && !finishes {
            continue;
        }
        let repeats = delta.contains_key("tool_calls") && at % 2 == 0;
        if (!finishes && !begun.contains(&index)) || repeats {
            begun.push(index);
            delta.shift_insert(0, "role".to_owned(), json!("assistant"));
        }
        if let Some(one) = delta.get_mut("tool_calls").and_then(|calls| calls.get_mut(0)) {
            if one.get("id").is_some() {
                call = one.clone();
            } else if repeats {
                for name in ["id", "type"] {
                    put(one, name, call.get(name).cloned().unwrap_or_default());
                }
                if let Some(function) = one.get_mut("function") {
                    put(function, "name", call.pointer("/function/name").cloned().unwrap_or_default());
                }
            }
        }
        if let Some(members) = chunk.as_object_mut() {
            members.shift_remove("usage");
        }
        out.push(chunk);
    }
    if let (Some(usage), Some(mut last)) = (usage, out.last().cloned()) {
        put(&mut last, "choices", json!([]));
        put(&mut last, "usage", usage.clone());
        out.push(last);
    }
    out
}

/// Events have numbers and names.
pub(super) fn event(at: usize, payload: &Value) -> String {
    let name = if payload.get("errors").is_some() { "error" } else { "message" };
    format!("id: {}\n{}", at + 1, named_event(name, payload))
}

/// The body of an error in a stream.
pub(super) fn failure(message: Option<&str>) -> Value {
    let message = message.unwrap_or("Downstream request failed");
    json!({"errors": [{"code": "downstream_request_failed", "message": message, "more_info": super::MORE}], "trace": "simulated", "status_code": 500})
}
