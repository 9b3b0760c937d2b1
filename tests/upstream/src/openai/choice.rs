//! What the simulated model says: one choice of a chat, before it is put on the wire.

use serde_json::{Map, Value, json};

use super::{count, flag, message};
use crate::{step::Step, text};

/// A choice in full.
pub(super) struct Choice {
    pub(super) says: Says,
    pub(super) finish_reason: String,
}

/// The content of a choice; texts in the pieces that stand for tokens.
pub(super) enum Says {
    Text(Vec<String>),
    Refusal(Vec<String>),
    Calls(Vec<Called>),
    /// The call of a function in the form before tools.
    Function(Called),
}

/// A call of a tool.
pub(super) struct Called {
    pub(super) id: String,
    pub(super) name: String,
    /// JSON text, or the free text for a custom tool.
    pub(super) arguments: String,
    pub(super) custom: bool,
}

impl Choice {
    /// The choice number `index` of the answer to a chat.
    pub(super) fn of(body: &Map<String, Value>, step: &Step, seed: u64, index: usize) -> Self {
        let mut choice = Self::spoken(body, step, seed, index);
        if let Some(reason) = &step.finish_reason {
            choice.finish_reason.clone_from(reason);
        }
        choice
    }

    fn spoken(body: &Map<String, Value>, step: &Step, seed: u64, index: usize) -> Self {
        let (role, last) = message::last(body);
        let script = if role == "user" { last.trim_start() } else { "" };
        if let Some(choice) = step.text.is_none().then(|| called(body, script, seed, index)).flatten() {
            return choice;
        }
        if let (None, Some(why)) = (&step.text, script.strip_prefix("refuse:")) {
            let words = text::words(&format!("I can't help with that.{why}"));
            return Self { says: Says::Refusal(words), finish_reason: "stop".to_owned() };
        }
        let mut said = match &step.text {
            Some(text) => text.clone(),
            None => formatted(body, reply(role, &last, body)),
        };
        if index > 0 {
            said.push_str(&format!(" (choice {})", index + 1));
        }
        let (words, finish_reason) =
            limited(&said, body.get("stop"), count(body, "max_completion_tokens").or(count(body, "max_tokens")));
        Self { says: Says::Text(words), finish_reason: finish_reason.to_owned() }
    }

    /// The number of tokens said.
    pub(super) fn tokens(&self) -> u64 {
        let calls = |list: &[Called]| list.iter().map(|call| 5 + text::tokens(&call.arguments)).sum();
        match &self.says {
            Says::Text(words) | Says::Refusal(words) => u64::try_from(words.len().max(1)).unwrap_or_default(),
            Says::Calls(list) => calls(list),
            Says::Function(call) => calls(std::slice::from_ref(call)),
        }
    }

    /// The message of an answer that is not streamed.
    pub(super) fn message(&self) -> Value {
        let (mut content, mut refusal, mut calls) = (Value::Null, Value::Null, None);
        match &self.says {
            Says::Text(words) => content = json!(words.concat()),
            Says::Refusal(words) => refusal = json!(words.concat()),
            Says::Calls(list) => calls = Some(("tool_calls", list.iter().map(Called::whole).collect())),
            Says::Function(call) => {
                calls = Some(("function_call", json!({"name": call.name, "arguments": call.arguments})))
            }
        }
        let members = [("role", json!("assistant")), ("content", content), ("refusal", refusal)];
        Value::from_iter(members.into_iter().chain(calls).chain([("annotations", json!([]))]))
    }
}

impl Called {
    fn whole(&self) -> Value {
        match self.custom {
            true => {
                json!({"id": self.id, "type": "custom", "custom": {"name": self.name, "input": self.arguments}})
            }
            false => {
                json!({"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}})
            }
        }
    }
}

/// Cuts a text at a stop sequence and after `most` tokens; with the reason for its end.
pub(super) fn limited(said: &str, stop: Option<&Value>, most: Option<usize>) -> (Vec<String>, &'static str) {
    let stops: Vec<&str> = match stop {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let end = stops.into_iter().filter(|stop| !stop.is_empty()).filter_map(|stop| said.find(stop)).min();
    let mut words = text::words(said.get(..end.unwrap_or(said.len())).unwrap_or(said));
    match most {
        Some(most) if words.len() > most => {
            words.truncate(most);
            (words, "length")
        }
        _ => (words, "stop"),
    }
}

/// Log probabilities as they stand beside words; the numbers mean nothing but are always the same.
pub(super) fn logprobs(words: &[String], refusal: bool, top: usize) -> Value {
    let members = |word: &str, rank: usize| {
        let rank = u32::try_from(rank).unwrap_or_default();
        let logprob = -0.01 - 1.5 * f64::from(rank);
        [("token", json!(word)), ("logprob", json!(logprob)), ("bytes", json!(word.as_bytes()))]
    };
    let one = |word: &String| {
        let others = (0..top).map(|rank| match rank {
            0 => Value::from_iter(members(word, 0)),
            _ => Value::from_iter(members(&format!("{word}{rank}"), rank)),
        });
        Value::from_iter(members(word, 0).into_iter().chain([("top_logprobs", others.collect())]))
    };
    let list: Value = words.iter().map(one).collect();
    match refusal {
        true => json!({"content": null, "refusal": list}),
        false => json!({"content": list, "refusal": null}),
    }
}

fn reply(role: &str, last: &str, body: &Map<String, Value>) -> String {
    match role {
        "tool" | "function" => format!("Hello from the simulated provider. The tool said: {last}"),
        _ => format!("Hello from the simulated provider. You said: {}", message::last_of_user(body)),
    }
}

fn formatted(body: &Map<String, Value>, said: String) -> String {
    let format = body.get("response_format");
    match format.and_then(|format| format.get("type")).and_then(Value::as_str) {
        Some("json_object") => json!({"reply": said}).to_string(),
        Some("json_schema") => {
            let schema = format.and_then(|format| format.pointer("/json_schema/schema"));
            text::sample(schema.unwrap_or(&Value::Null), &said).to_string()
        }
        _ => said,
    }
}

/// The tool calls of a choice, where the request forces one or the user's text asks for some with `call:` lines.
fn called(body: &Map<String, Value>, script: &str, seed: u64, index: usize) -> Option<Choice> {
    let legacy = !body.contains_key("tools");
    let tools = body.get("tools").or_else(|| body.get("functions"))?.as_array()?;
    let choice = body.get(if legacy { "function_call" } else { "tool_choice" });
    let named = choice.and_then(|choice| {
        let name =
            choice.get("name").or_else(|| choice.pointer("/function/name")).or_else(|| choice.pointer("/custom/name"));
        name?.as_str()
    });
    let allowed = choice.and_then(|choice| choice.get("allowed_tools"));
    let mode = choice.and_then(Value::as_str).or_else(|| allowed?.get("mode")?.as_str());
    let tools: Vec<&Value> = match allowed.and_then(|allowed| allowed.get("tools")).and_then(Value::as_array) {
        Some(only) => tools.iter().filter(|tool| only.iter().any(|one| name_of(one) == name_of(tool))).collect(),
        None => tools.iter().collect(),
    };
    let asked: Vec<&str> = script.lines().filter_map(|line| line.trim().strip_prefix("call:")).collect();
    let asked = match (named, mode) {
        (_, Some("none")) => return None,
        (Some(name), _) => vec![asked.first().copied().filter(|line| line.trim().starts_with(name)).unwrap_or(name)],
        (None, Some("required")) if asked.is_empty() => vec![""],
        (None, _) if asked.is_empty() => return None,
        (None, _) => asked,
    };
    let single = legacy || (body.contains_key("parallel_tool_calls") && !flag(body, "parallel_tool_calls"));
    let most = if single { 1 } else { asked.len() };
    let calls = asked.iter().take(most).enumerate();
    let mut calls: Vec<Called> =
        calls.filter_map(|(at, line)| one_call(line.trim(), &tools, seed, index * 128 + at)).collect();
    if calls.is_empty() {
        return None;
    }
    // A function forced by name ends with "stop", as if the model had said all it wanted to say.
    let finish_reason = match (named, legacy) {
        (Some(_), _) => "stop",
        (None, true) => "function_call",
        (None, false) => "tool_calls",
    };
    let says = if legacy { Says::Function(calls.remove(0)) } else { Says::Calls(calls) };
    Some(Choice { says, finish_reason: finish_reason.to_owned() })
}

/// A line is `name`, `name {"argument": 1}` or nothing; what it leaves out comes from the tool's schema.
fn one_call(line: &str, tools: &[&Value], seed: u64, number: usize) -> Option<Called> {
    let (name, arguments) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let tool = match name {
        "" => tools.first(),
        _ => tools.iter().find(|tool| name_of(tool) == name),
    };
    let tool = tool?;
    let custom = tool.get("custom").is_some();
    let schema = tool.pointer("/function/parameters").or_else(|| tool.get("parameters")).unwrap_or(&Value::Null);
    let arguments = match arguments.trim() {
        "" if custom => "sample".to_owned(),
        "" => text::sample(schema, "sample").to_string(),
        given => given.to_owned(),
    };
    let id = format!("call_{:016x}{number:08x}", text::hash(&seed.to_be_bytes()));
    Some(Called { id, name: name_of(tool).to_owned(), arguments, custom })
}

fn name_of(tool: &Value) -> &str {
    let inner = tool.get("function").or_else(|| tool.get("custom")).unwrap_or(tool);
    inner.get("name").and_then(Value::as_str).unwrap_or_default()
}
