//! Rules between the members of a conversation, and what the families of models do not take.

use serde_json::{Map, Value};

use crate::{
    anthropic,
    dialect::{items, list, member},
    shape::Refusal,
};

const MAX_IMAGES: usize = 20;
const MAX_DOCUMENTS: usize = 5;
const MAX_CACHE_POINTS: usize = 4;

type Checked = Result<(), Refusal>;

pub(super) fn check(id: &str, body: &Map<String, Value>) -> Checked {
    let messages = items(body, "messages");
    turns(messages)?;
    blocks(messages)?;
    documents(messages)?;
    tools(id, body)?;
    caching(id, body)?;
    family(id, body)
}

fn refuse(message: &str) -> Checked {
    Err(Refusal::plain("messages", message))
}

fn turns(messages: &[Value]) -> Checked {
    if messages.first().is_some_and(|first| member(first, "role") != "user") {
        return refuse(
            "A conversation must start with a user message. Try again with a conversation that starts with a user message.",
        );
    }
    if messages.windows(2).any(|pair| pair.first().map(role) == pair.get(1).map(role)) {
        return refuse(
            "A conversation must alternate between user and assistant roles. Make sure the conversation alternates between user and assistant roles and try again.",
        );
    }
    let mut waiting: Vec<&str> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let found: Vec<&str> = ids(message, "toolResult");
        if !waiting.is_empty() && waiting.iter().any(|id| !found.contains(id)) {
            return refuse(&format!(
                "Expected toolResult blocks at messages.{at}.content for the following Ids: {}",
                waiting.join(", ")
            ));
        }
        if found.len() > waiting.len() || found.iter().any(|id| !waiting.contains(id)) {
            return refuse(&format!(
                "The number of toolResult blocks at messages.{at}.content exceeds the number of toolUse blocks of previous turn."
            ));
        }
        waiting = ids(message, "toolUse");
    }
    match waiting.as_slice() {
        [] => Ok(()),
        open => refuse(&format!(
            "Expected toolResult blocks at messages.{}.content for the following Ids: {}",
            messages.len(),
            open.join(", ")
        )),
    }
}

fn role(message: &Value) -> &str {
    member(message, "role")
}

fn ids<'a>(message: &'a Value, kind: &str) -> Vec<&'a str> {
    list(message, "content")
        .iter()
        .filter_map(|block| block.get(kind))
        .map(|block| member(block, "toolUseId"))
        .collect()
}

/// Which blocks stand in whose turns.
fn blocks(messages: &[Value]) -> Checked {
    for (at, message) in messages.iter().enumerate() {
        let only: &[&str] = match role(message) {
            "user" => &["toolUse", "reasoningContent", "citationsContent"],
            _ => &["toolResult", "image", "document", "video", "audio"],
        };
        let names = list(message, "content").iter().flat_map(|block| block.as_object().into_iter().flat_map(Map::keys));
        if let Some(name) = names.into_iter().find(|name| only.contains(&name.as_str())) {
            return refuse(&format!(
                "The {name} block at messages.{at}.content is not allowed in a turn of the {}.",
                role(message)
            ));
        }
    }
    Ok(())
}

fn documents(messages: &[Value]) -> Checked {
    let mut names: Vec<&str> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let content = list(message, "content");
        let count = |name: &str| content.iter().filter(|block| block.get(name).is_some()).count();
        if count("image") > MAX_IMAGES || count("document") > MAX_DOCUMENTS {
            return refuse(&format!("messages.{at} holds more than {MAX_IMAGES} images or {MAX_DOCUMENTS} documents."));
        }
        if count("document") > 0 && count("text") == 0 {
            return refuse(&format!("A text block must be included with documents at messages.{at}.content."));
        }
        for document in content.iter().filter_map(|block| block.get("document")) {
            let name = member(document, "name");
            if names.contains(&name) {
                return refuse(&format!("Found duplicate document names: {name}. Document names must be unique."));
            }
            names.push(name);
        }
    }
    Ok(())
}

fn tools(id: &str, body: &Map<String, Value>) -> Checked {
    let config = body.get("toolConfig").unwrap_or(&Value::Null);
    let used = items(body, "messages")
        .iter()
        .any(|message| !ids(message, "toolUse").is_empty() || !ids(message, "toolResult").is_empty());
    if used && config.is_null() {
        return refuse("The toolConfig field must be defined when using toolUse and toolResult content blocks.");
    }
    let names: Vec<&str> =
        list(config, "tools").iter().filter_map(|tool| tool.get("toolSpec")).map(|tool| member(tool, "name")).collect();
    if !config.is_null() && names.is_empty() {
        return refuse("toolConfig.tools must hold a toolSpec.");
    }
    if let Some(name) =
        names.iter().enumerate().find_map(|(at, name)| names.iter().skip(at + 1).find(|other| *other == name))
    {
        return refuse(&format!("The model returned the following errors: tools: Tool names must be unique: {name}"));
    }
    let choice = config.get("toolChoice").unwrap_or(&Value::Null);
    if choice.get("tool").is_some_and(|tool| !names.contains(&member(tool, "name"))) {
        return refuse("toolConfig.toolChoice.tool.name is not among toolConfig.tools.");
    }
    let forces = ["any", "tool"].into_iter().find(|name| choice.get(name).is_some());
    match forces {
        // The reference names the families that can be forced; profiles hide theirs.
        Some(name) if ["meta.", "cohere.", "openai.", "deepseek."].iter().any(|family| id.contains(family)) => {
            refuse(&format!(
                "This model doesn't support the toolConfig.toolChoice.{name} field. Remove toolConfig.toolChoice.{name} and try again."
            ))
        }
        _ => Ok(()),
    }
}

fn caching(id: &str, body: &Map<String, Value>) -> Checked {
    let messages = items(body, "messages").iter().map(|message| list(message, "content"));
    let tools = body.get("toolConfig").map_or(&[][..], |config| list(config, "tools"));
    let lists = [tools, items(body, "system")].into_iter().chain(messages);
    let mut found = 0;
    for blocks in lists {
        let is_point = |block: &&Value| block.get("cachePoint").is_some();
        if blocks.first().is_some_and(|first| is_point(&first)) {
            return refuse("A cachePoint must follow the content it marks.");
        }
        found += blocks.iter().filter(is_point).count();
    }
    if found > MAX_CACHE_POINTS {
        return refuse(&format!("At most {MAX_CACHE_POINTS} cachePoint blocks may be provided. Found {found}."));
    }
    let caches = ["claude", "nova", "arn:", "profile"].iter().any(|family| id.contains(family));
    if found > 0 && !caches {
        return refuse(
            "You invoked an unsupported model or your request did not allow prompt caching. See the documentation for more information.",
        );
    }
    Ok(())
}

/// What Claude refuses behind Converse too, and what only Claude takes.
fn family(id: &str, body: &Map<String, Value>) -> Checked {
    let inference = body.get("inferenceConfig").unwrap_or(&Value::Null);
    let more = body.get("additionalModelRequestFields").unwrap_or(&Value::Null);
    let thinking = more.get("thinking").unwrap_or(&Value::Null);
    if !id.contains("claude") {
        // A profile does not tell its family.
        return match thinking.is_null() || id.starts_with("arn:") {
            true => Ok(()),
            false => refuse(
                "The model returned the following errors: extraneous key [thinking] is not permitted, please reformat your input and try again.",
            ),
        };
    }
    let said = |message: &str| refuse(&format!("The model returned the following errors: {message}"));
    let name = id.rsplit("claude").next().unwrap_or_default();
    let generation = anthropic::generation(name);
    // Claude refuses both at once from 4.1 on, here too by reports; whether for every model is not known, so it passes.
    let sampling = ["temperature", "topP"].into_iter().find(|name| inference.get(name).is_some());
    if let Some(name) = sampling.filter(|_| generation >= (4, 7)) {
        return said(&format!("`{name}` is deprecated for this model."));
    }
    if list(inference, "stopSequences").iter().any(|stop| stop.as_str().is_some_and(|stop| stop.trim().is_empty())) {
        return said("stop_sequences: each stop sequence must contain non-whitespace");
    }
    match member(thinking, "type") {
        "enabled" => {
            let number = |value: Option<&Value>| value.and_then(Value::as_i64);
            let budget = number(thinking.get("budget_tokens")).unwrap_or_default();
            if budget < 1024 {
                return said("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024");
            }
            if number(inference.get("maxTokens")).is_some_and(|most| budget >= most) {
                return said("`max_tokens` must be greater than `thinking.budget_tokens`.");
            }
            if inference.get("temperature").and_then(Value::as_f64).is_some_and(|n| n < 1.0) {
                return said("`temperature` may only be set to 1 when thinking is enabled.");
            }
            let choice = body.get("toolConfig").and_then(|config| config.get("toolChoice"));
            if choice.is_some_and(|choice| choice.get("any").or_else(|| choice.get("tool")).is_some()) {
                return said("Thinking may not be enabled when tool_choice forces tool use.");
            }
        }
        "adaptive" if generation < (4, 6) => return said("adaptive thinking is not supported on this model"),
        _ => {}
    }
    let last = items(body, "messages").last().filter(|last| role(last) == "assistant");
    if last.is_some() && generation >= anthropic::NO_PREFILL {
        return said(anthropic::PREFILLED);
    }
    let text =
        last.and_then(|last| list(last, "content").last()).map(|block| member(block, "text")).unwrap_or_default();
    if text.ends_with(char::is_whitespace) {
        return said("messages: final assistant content cannot end with trailing whitespace");
    }
    Ok(())
}
