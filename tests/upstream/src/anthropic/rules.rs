//! Rules between the members of a message: order of turns, tools, thinking, caching and what a model does not take.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::{Version, answer};
use crate::{
    dialect::{given, items, list, member, string},
    shape::Refusal,
    text,
};

/// Breakpoints of the cache that a request may hold.
const MAX_BREAKPOINTS: usize = 4;

/// The generation from which a conversation must end with the user, and what is said if it does not.
pub(crate) const NO_PREFILL: (u32, u32) = (4, 6);
pub(crate) const PREFILLED: &str =
    "This model does not support assistant message prefill. The conversation must end with a user message.";

type Checked = Result<(), Refusal>;

pub(super) fn check(body: &Map<String, Value>, version: Version) -> Checked {
    let generation = generation(string(body, "model"));
    sampling(body, version, generation)?;
    thinking(body, generation)?;
    let messages = items(body, "messages");
    turns(messages)?;
    tool_order(messages)?;
    tools(body)?;
    cache(body)?;
    for (at, message) in messages.iter().enumerate() {
        for (number, block) in list(message, "content").iter().enumerate() {
            one_block(block, member(message, "role"), version)
                .map_err(|objection| refuse(&format!("messages.{at}.content.{number}"), objection))?;
        }
    }
    last_turn(messages, generation)
}

/// `claude-sonnet-4-6` is (4, 6), `claude-3-7-sonnet-20250219` is (3, 7); a name without numbers counts as (4, 6).
pub(crate) fn generation(model: &str) -> (u32, u32) {
    let mut numbers =
        model.split(['-', '.', '@', ':']).filter_map(|part| part.parse::<u32>().ok()).filter(|n| *n < 100);
    match (numbers.next(), numbers.next()) {
        (Some(major), minor) => (major, minor.unwrap_or_default()),
        (None, _) => (4, 6),
    }
}

fn refuse(place: &str, objection: &str) -> Refusal {
    Refusal::plain(place, &format!("{place}: {objection}"))
}

fn sampling(body: &Map<String, Value>, version: Version, generation: (u32, u32)) -> Checked {
    for name in ["temperature", "top_p", "top_k"] {
        if given(body, name) && version == Version::V2026 {
            let mut refusal = refuse(name, "Extra inputs are not permitted");
            refusal.violation = true;
            return Err(refusal);
        }
        if given(body, name) && generation >= (4, 7) {
            return Err(Refusal::plain(name, &format!("`{name}` is deprecated for this model.")));
        }
    }
    // Reported since Opus 4.1.
    if given(body, "temperature") && given(body, "top_p") && generation >= (4, 1) {
        let message = "`temperature` and `top_p` cannot both be specified for this model. Please use only one.";
        return Err(Refusal::plain("top_p", message));
    }
    Ok(())
}

fn thinking(body: &Map<String, Value>, generation: (u32, u32)) -> Checked {
    let thinking = body.get("thinking").unwrap_or(&Value::Null);
    let plain = |message: &str| Err(Refusal::plain("thinking", message));
    let effort = body.get("output_config").is_some_and(|config| !member(config, "effort").is_empty());
    if effort && generation < (4, 5) {
        return plain("This model does not support the effort parameter.");
    }
    match member(thinking, "type") {
        "adaptive" | "between_tools" if generation < (4, 6) => {
            plain("adaptive thinking is not supported on this model")
        }
        "enabled" if generation >= (4, 7) => plain(
            "\"thinking.type.enabled\" is not supported for this model. Use \"thinking.type.adaptive\" and \"output_config.effort\" to control thinking behavior.",
        ),
        "enabled" if generation < (3, 7) => plain("This model does not support thinking."),
        "enabled" => budget(body, thinking),
        _ => Ok(()),
    }
}

fn budget(body: &Map<String, Value>, thinking: &Value) -> Checked {
    let plain = |message: &str| Err(Refusal::plain("thinking", message));
    let number = |value: Option<&Value>| value.and_then(Value::as_i64).unwrap_or_default();
    if number(thinking.get("budget_tokens")) >= number(body.get("max_tokens")) {
        return plain("`max_tokens` must be greater than `thinking.budget_tokens`.");
    }
    if body
        .get("temperature")
        .and_then(Value::as_f64)
        .is_some_and(|temperature| (temperature - 1.0).abs() > f64::EPSILON)
    {
        return plain("`temperature` may only be set to 1 when thinking is enabled.");
    }
    if given(body, "top_k") || body.get("top_p").and_then(Value::as_f64).is_some_and(|top_p| top_p < 0.95) {
        return plain("`top_k` must be unset and `top_p` at least 0.95 when thinking is enabled.");
    }
    if body.get("tool_choice").is_some_and(|choice| matches!(member(choice, "type"), "any" | "tool")) {
        return plain("Thinking may not be enabled when tool_choice forces tool use.");
    }
    let messages = items(body, "messages");
    let last = messages.iter().rposition(|message| member(message, "role") == "assistant");
    let Some(at) = last else { return Ok(()) };
    let blocks = messages.get(at).map(|message| list(message, "content")).unwrap_or_default();
    let calls = blocks.iter().any(|block| member(block, "type") == "tool_use");
    let first = blocks.first().map(|block| member(block, "type")).unwrap_or_default();
    if calls && !matches!(first, "thinking" | "redacted_thinking") {
        let message = format!(
            "Expected `thinking` or `redacted_thinking`, but found `{first}`. When `thinking` is enabled, a final `assistant` message must start with a thinking block."
        );
        return Err(refuse(&format!("messages.{at}.content.0.type"), &message));
    }
    Ok(())
}

fn turns(messages: &[Value]) -> Checked {
    if messages.first().is_some_and(|first| member(first, "role") != "user") {
        return Err(Refusal::plain("messages", "messages: first message must use the \"user\" role"));
    }
    // Stricter than the service, which merges neighbours: a gateway has merged them already, as it must where tools are called.
    let same = messages.windows(2).position(|pair| pair.first().map(role) == pair.get(1).map(role));
    match same {
        Some(at) => {
            Err(refuse(&format!("messages.{}", at + 1), "roles must alternate between \"user\" and \"assistant\""))
        }
        None => Ok(()),
    }
}

fn role(message: &Value) -> &str {
    member(message, "role")
}

/// Results stand first in the turn after the calls: one for each, and none for anything else.
fn tool_order(messages: &[Value]) -> Checked {
    let mut waiting: Vec<&str> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let blocks = list(message, "content");
        let mut others = false;
        for (number, block) in blocks.iter().enumerate() {
            let place = format!("messages.{at}.content.{number}");
            if member(block, "type") != "tool_result" {
                others = true;
                continue;
            }
            let id = member(block, "tool_use_id");
            if others {
                return Err(refuse(&place, "`tool_result` blocks must come before other content"));
            }
            let Some(found) = waiting.iter().position(|call| *call == id) else {
                let twice = blocks.iter().filter(|block| member(block, "tool_use_id") == id).count() > 1;
                let message = match twice {
                    true => format!(
                        "each tool_use must have a single result. Found multiple `tool_result` blocks with id: {id}"
                    ),
                    false => format!(
                        "unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
                    ),
                };
                return Err(refuse(&place, &message));
            };
            waiting.remove(found);
        }
        unanswered(&waiting, at)?;
        let calls = blocks.iter().filter(|block| member(block, "type") == "tool_use");
        waiting = calls.map(|block| member(block, "id")).collect();
        if let Some(id) =
            waiting.iter().enumerate().find_map(|(n, id)| waiting.iter().skip(n + 1).find(|other| *other == id))
        {
            return Err(refuse(&format!("messages.{at}.content"), &format!("`tool_use` ids must be unique: {id}")));
        }
    }
    unanswered(&waiting, messages.len())
}

fn unanswered(waiting: &[&str], at: usize) -> Checked {
    if waiting.is_empty() {
        return Ok(());
    }
    let message = format!(
        "`tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
        waiting.join(", ")
    );
    Err(refuse(&format!("messages.{}", at.saturating_sub(1)), &message))
}

fn tools(body: &Map<String, Value>) -> Checked {
    let tools = items(body, "tools");
    let names: Vec<&str> = tools.iter().map(|tool| member(tool, "name")).collect();
    if let Some(name) =
        names.iter().enumerate().find_map(|(at, name)| names.iter().skip(at + 1).find(|other| *other == name))
    {
        return Err(refuse("tools", &format!("Tool names must be unique. Found {name} twice.")));
    }
    let choice = body.get("tool_choice").unwrap_or(&Value::Null);
    if choice.is_object() && names.is_empty() {
        return Err(refuse("tool_choice", "may only be specified while providing tools."));
    }
    if member(choice, "type") == "tool" && !names.contains(&member(choice, "name")) {
        return Err(refuse("tool_choice", &format!("Tool '{}' not found in provided tools", member(choice, "name"))));
    }
    let blocks = items(body, "messages").iter().flat_map(|message| list(message, "content"));
    let used = blocks.into_iter().any(|block| matches!(member(block, "type"), "tool_use" | "tool_result"));
    // Seen in reports, not in the reference.
    if used && names.is_empty() {
        let message = "Requests which include `tool_use` or `tool_result` blocks must define tools.";
        return Err(Refusal::plain("tools", message));
    }
    Ok(())
}

/// At most four breakpoints, and none of an hour behind one of five minutes.
fn cache(body: &Map<String, Value>) -> Checked {
    let mut found = Vec::new();
    for part in ["tools", "system", "messages"] {
        breakpoints(body.get(part).unwrap_or(&Value::Null), &mut found);
    }
    found.extend(body.get("cache_control").filter(|control| control.is_object()));
    if found.len() > MAX_BREAKPOINTS {
        let message =
            format!("A maximum of {MAX_BREAKPOINTS} blocks with cache_control may be provided. Found {}.", found.len());
        return Err(Refusal::plain("cache_control", &message));
    }
    let long = |control: &&Value| member(control, "ttl") == "1h";
    let first_short = found.iter().position(|control| !long(control)).unwrap_or(found.len());
    if found.iter().skip(first_short).any(long) {
        let message = "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block.";
        return Err(Refusal::plain("cache_control", message));
    }
    Ok(())
}

fn breakpoints<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Array(list) => list.iter().for_each(|item| breakpoints(item, found)),
        Value::Object(members) => {
            found.extend(members.get("cache_control").filter(|control| control.is_object()));
            if let Some(content) = members.get("content") {
                breakpoints(content, found);
            }
        }
        _ => {}
    }
}

fn one_block(block: &Value, role: &str, version: Version) -> Result<(), &'static str> {
    match (member(block, "type"), role) {
        ("document", "assistant") if version == Version::V2026 => {
            return Err("`document` blocks are not permitted in assistant messages");
        }
        ("text", "user") if version == Version::V2026 && !list(block, "citations").is_empty() => {
            return Err("`citations` are not permitted on user text blocks");
        }
        ("thinking", _) => {
            let (thinking, signature) = (member(block, "thinking"), member(block, "signature"));
            // Only signatures of our own can be checked; the text may be missing where it was not displayed.
            let ours = answer::is_signature(signature) && !thinking.is_empty();
            if ours && signature != answer::signature(thinking) {
                return Err("Invalid `signature` in `thinking` block");
            }
        }
        ("image", _) => {
            let source = block.get("source").unwrap_or(&Value::Null);
            let bytes = STANDARD.decode(member(source, "data")).unwrap_or_default();
            if text::image_type(&bytes).is_some_and(|real| format!("image/{real}") != member(source, "media_type")) {
                return Err("The image does not have the media type that was specified");
            }
        }
        _ => {}
    }
    Ok(())
}

fn last_turn(messages: &[Value], generation: (u32, u32)) -> Checked {
    let Some(last) = messages.last().filter(|last| member(last, "role") == "assistant") else { return Ok(()) };
    if generation >= NO_PREFILL {
        return Err(Refusal::plain("messages", PREFILLED));
    }
    let blocks = list(last, "content").last().filter(|block| member(block, "type") == "text");
    let said = blocks.map_or_else(|| member(last, "content"), |block| member(block, "text"));
    if said.ends_with(char::is_whitespace) {
        let message = "messages: final assistant content cannot end with trailing whitespace";
        return Err(Refusal::plain("messages", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::generation;

    #[test]
    fn a_name_tells_its_generation() {
        let cases = [
            ("claude-sonnet-4-6", (4, 6)),
            ("claude-3-7-sonnet-20250219", (3, 7)),
            ("claude-sonnet-4-20250514", (4, 0)),
            ("claude-opus-5", (5, 0)),
            ("anything", (4, 6)),
        ];
        for (model, wanted) in cases {
            assert_eq!(generation(model), wanted, "{model}");
        }
    }
}
