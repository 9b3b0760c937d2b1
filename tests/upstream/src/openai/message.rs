//! Rules between the messages of a chat, and what is read out of them.

use serde_json::{Map, Value};

use crate::{
    dialect::{items, list, member, texts},
    shape::Refusal,
    text,
};

/// Tool messages answer the calls of the assistant message before them, all of them, and nothing else.
pub(crate) fn check_order(messages: &[Value]) -> Result<(), Refusal> {
    let mut waiting: Vec<&str> = Vec::new();
    let mut asked_at = 0;
    let mut function_called = false;
    for (at, message) in messages.iter().enumerate() {
        let path = format!("messages[{at}]");
        let role = member(message, "role");
        if role == "tool" {
            let id = member(message, "tool_call_id");
            let Some(found) = waiting.iter().position(|call| *call == id) else {
                let text = "Invalid parameter: messages with role 'tool' must be a response to a preceding message with 'tool_calls'.";
                return Err(Refusal::plain(&format!("{path}.role"), text));
            };
            waiting.remove(found);
            continue;
        }
        unanswered(&waiting, asked_at)?;
        match role {
            "assistant" => {
                waiting = list(message, "tool_calls").iter().map(|call| member(call, "id")).collect();
                asked_at = at;
                function_called |= message.get("function_call").is_some_and(Value::is_object);
                check_assistant(message, &path)?;
            }
            "function" if !function_called => {
                let text =
                    "Invalid parameter: messages with role 'function' must follow a message with 'function_call'.";
                return Err(Refusal::plain(&format!("{path}.role"), text));
            }
            "user" => check_files(message, &path)?,
            _ => {}
        }
    }
    unanswered(&waiting, asked_at)
}

/// The text of the last message, with its role.
pub(super) fn last(body: &Map<String, Value>) -> (&str, String) {
    match items(body, "messages").last() {
        Some(message) => (member(message, "role"), texts(message)),
        None => ("", String::new()),
    }
}

/// The text of the last message of the user.
pub(crate) fn last_of_user(body: &Map<String, Value>) -> String {
    let mut backwards = items(body, "messages").iter().rev();
    backwards.find(|message| member(message, "role") == "user").map(texts).unwrap_or_default()
}

/// A plausible number of prompt tokens: the texts, a few for each message, many for each picture or file.
pub(super) fn prompt_tokens(body: &Map<String, Value>) -> u64 {
    let one = |message: &Value| {
        let other_parts = message.get("content").and_then(Value::as_array).into_iter().flatten();
        let heavy = other_parts.filter(|part| !matches!(member(part, "type"), "text" | "refusal")).count();
        let calls = list(message, "tool_calls").iter().map(|call| text::tokens(&call.to_string())).sum::<u64>();
        3 + text::tokens(&texts(message)) + calls + 85 * u64::try_from(heavy).unwrap_or_default()
    };
    let tools = body.get("tools").or_else(|| body.get("functions")).map_or(0, |tools| text::tokens(&tools.to_string()));
    3 + tools + items(body, "messages").iter().map(one).sum::<u64>()
}

/// How hard the model is told to think.
pub(super) fn effort(body: &Map<String, Value>) -> Option<&str> {
    body.get("reasoning_effort").and_then(Value::as_str)
}

/// Whether any message says "json", as JSON mode demands.
pub(super) fn mention_json(body: &Map<String, Value>) -> bool {
    items(body, "messages").iter().any(|message| texts(message).to_ascii_lowercase().contains("json"))
}

fn unanswered(waiting: &[&str], asked_at: usize) -> Result<(), Refusal> {
    if waiting.is_empty() {
        return Ok(());
    }
    let message = format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: {}",
        waiting.join(", ")
    );
    Err(Refusal::plain(&format!("messages[{asked_at}].tool_calls"), &message))
}

fn check_assistant(message: &Value, path: &str) -> Result<(), Refusal> {
    let given = |name: &str| message.get(name).is_some_and(|value| !value.is_null());
    if ["content", "tool_calls", "function_call", "refusal", "audio"].into_iter().any(given) {
        return Ok(());
    }
    let param = format!("{path}.content");
    Err(Refusal::plain(&param, "Invalid value for 'content': expected a string, got null."))
}

/// A file is named by its id or brings its data.
fn check_files(message: &Value, path: &str) -> Result<(), Refusal> {
    for (at, part) in message.get("content").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let Some(file) = part.get("file") else {
            continue;
        };
        let param = format!("{path}.content[{at}].file");
        match (file.get("file_id"), file.get("file_data").and_then(Value::as_str)) {
            (Some(_), None) => {}
            (None, Some(data)) if data.starts_with("data:") && data.contains(";base64,") => {}
            (None, Some(_)) => {
                return Err(Refusal::plain(&param, "Invalid file data: expected a base64 data URL."));
            }
            _ => {
                return Err(Refusal::plain(&param, "Expected either 'file_id' or 'file_data'."));
            }
        }
    }
    Ok(())
}
