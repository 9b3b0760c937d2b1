//! One choice of a chat: what the model was asked and said, between OpenAI's messages and the simulated model.

use serde_json::{Map, Value, json};

use super::{Twist, message};
use crate::{
    dialect::{count, flag, items},
    mind::{Asked, Called, Choice as Wanted, Format, Said, Tool, Why},
    step::Step,
    text,
};

/// A choice in full.
pub(super) struct Choice {
    pub(super) said: Said,
    /// The call is told in the form before tools.
    legacy: bool,
    pub(super) finish_reason: String,
}

impl Choice {
    /// The choice number `index` of the answer to a chat.
    pub(super) fn of(body: &Map<String, Value>, step: &Step, seed: u64, index: usize) -> Self {
        let legacy = !body.contains_key("tools");
        let asked = asked(body, legacy);
        let said = asked.said(step, seed, index);
        // A function forced by name ends with "stop", as if the model had said all it wanted to say.
        let forced = matches!(asked.choice, Wanted::Named(_));
        let finish_reason = match (&step.finish_reason, &said.why) {
            (Some(reason), _) => reason,
            (None, Why::Length) => "length",
            (None, Why::Calls) if !forced && legacy => "function_call",
            (None, Why::Calls) if !forced => "tool_calls",
            (None, Why::Done | Why::Stop(_) | Why::Calls | Why::Refused) => "stop",
        };
        let finish_reason = finish_reason.to_owned();
        Self { said, legacy, finish_reason }
    }

    /// The message of an answer that is not streamed.
    pub(super) fn message(&self, twist: &Twist) -> Value {
        let said = |words: &[String]| json!(words.concat());
        let content = match (&self.said.refusal, self.said.calls.is_empty(), self.said.text.as_slice()) {
            (Some(_), ..) | (None, false, []) => Value::Null,
            (None, _, words) => said(words),
        };
        let refusal = self.said.refusal.as_deref().map_or(Value::Null, said);
        let calls = match (self.said.calls.as_slice(), self.legacy) {
            ([], _) => None,
            ([call, ..], true) => Some(("function_call", json!({"name": call.name, "arguments": call.arguments}))),
            (calls, false) => Some(("tool_calls", calls.iter().map(|call| whole(call, twist)).collect())),
        };
        let members = [("role", json!("assistant")), ("content", content), ("refusal", refusal)];
        let thinking = twist.reasoning.zip(self.said.thinking.as_ref().map(|thinking| json!(thinking)));
        Value::from_iter(members.into_iter().chain(thinking).chain(calls).chain([("annotations", json!([]))]))
    }

    /// The deltas of a stream after the one that names the role; texts with the words behind them.
    pub(super) fn deltas(&self, twist: &Twist, chunks: Option<usize>) -> Vec<Delta> {
        let spoken = |words: &[String], name: &'static str| {
            let groups = match chunks {
                Some(count) => text::regroup(words.to_vec(), count),
                None => words.to_vec(),
            };
            groups.into_iter().map(move |group| Delta {
                delta: Value::from_iter([(name, group.clone())]),
                name,
                text: group,
            })
        };
        let mut deltas: Vec<Delta> = Vec::new();
        if let (Some(name), Some(thinking)) = (twist.reasoning, &self.said.thinking) {
            deltas.extend(spoken(&text::words(thinking), name));
        }
        match &self.said.refusal {
            Some(words) => deltas.extend(spoken(words, "refusal")),
            None if self.said.calls.is_empty() || !self.said.text.is_empty() => {
                deltas.extend(spoken(&self.said.text, "content"));
            }
            None => {}
        }
        let calls = self.said.calls.iter().enumerate().flat_map(|(at, call)| match self.legacy {
            true => function_deltas(call),
            false => call_deltas(at, call, twist),
        });
        deltas.extend(calls.map(|delta| Delta { delta, name: "tool_calls", text: String::new() }));
        deltas
    }

    /// Whether the first delta has an empty text or none.
    pub(super) fn speaks(&self) -> bool {
        self.said.refusal.is_none() && self.said.calls.is_empty()
    }
}

/// One delta of a stream.
pub(super) struct Delta {
    pub(super) delta: Value,
    /// Its member.
    pub(super) name: &'static str,
    /// The text in it, where it has one.
    pub(super) text: String,
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

/// The stop sequences of a request: none, one or several.
pub(super) fn stops(body: &Map<String, Value>) -> Vec<&str> {
    match body.get("stop") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn asked(body: &Map<String, Value>, legacy: bool) -> Asked<'_> {
    let (role, last) = message::last(body);
    let choice = body.get(if legacy { "function_call" } else { "tool_choice" });
    let named = choice.and_then(|choice| {
        let name =
            choice.get("name").or_else(|| choice.pointer("/function/name")).or_else(|| choice.pointer("/custom/name"));
        name?.as_str()
    });
    let allowed = choice.and_then(|choice| choice.get("allowed_tools"));
    let mode = choice.and_then(Value::as_str).or_else(|| allowed?.get("mode")?.as_str());
    let only = allowed.and_then(|allowed| allowed.get("tools")).and_then(Value::as_array);
    let may = |tool: &&Value| only.is_none_or(|only| only.iter().any(|one| name_of(one) == name_of(tool)));
    let tools = items(body, if legacy { "functions" } else { "tools" });
    Asked {
        tool_said: matches!(role, "tool" | "function").then_some(last),
        user: message::last_of_user(body),
        tools: tools.iter().filter(may).map(tool).collect(),
        choice: match (named, mode) {
            (_, Some("none")) => Wanted::Never,
            (Some(name), _) => Wanted::Named(name),
            (None, Some("required")) => Wanted::Any,
            (None, _) => Wanted::Auto,
        },
        single: legacy || (body.contains_key("parallel_tool_calls") && !flag(body, "parallel_tool_calls")),
        format: format(body.get("response_format")),
        stop: stops(body),
        most: count(body, "max_completion_tokens").or(count(body, "max_tokens")),
        thinks: message::effort(body).is_some_and(|effort| effort != "none"),
    }
}

/// The format of the answer that a request asks for.
pub(crate) fn format(format: Option<&Value>) -> Format {
    match format.and_then(|format| format.get("type")).and_then(Value::as_str) {
        Some("json_object") => Format::Object,
        Some("json_schema") => {
            let schema = format.and_then(|format| format.pointer("/json_schema/schema"));
            Format::Schema(schema.cloned().unwrap_or_default())
        }
        _ => Format::Text,
    }
}

fn tool(tool: &Value) -> Tool<'_> {
    let schema = tool.pointer("/function/parameters").or_else(|| tool.get("parameters")).unwrap_or(&Value::Null);
    Tool { name: name_of(tool), schema, custom: tool.get("custom").is_some() }
}

fn name_of(tool: &Value) -> &str {
    let inner = tool.get("function").or_else(|| tool.get("custom")).unwrap_or(tool);
    inner.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn whole(call: &Called, twist: &Twist) -> Value {
    let id = format!("{}{}", twist.call, call.id);
    match call.custom {
        true => json!({"id": id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}),
        false => json!({"id": id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}),
    }
}

/// Id, type and name come with the first delta of a call only.
fn call_deltas(at: usize, call: &Called, twist: &Twist) -> Vec<Value> {
    let (kind, argument) = if call.custom { ("custom", "input") } else { ("function", "arguments") };
    let id = format!("{}{}", twist.call, call.id);
    let first = json!({"tool_calls": [{"index": at, "id": id, "type": kind, kind: {"name": call.name, argument: ""}}]});
    let rest = text::pieces(&call.arguments)
        .into_iter()
        .map(|piece| json!({"tool_calls": [{"index": at, kind: {argument: piece}}]}));
    std::iter::once(first).chain(rest).collect()
}

fn function_deltas(call: &Called) -> Vec<Value> {
    let first = json!({"function_call": {"name": call.name, "arguments": ""}});
    let rest = text::pieces(&call.arguments).into_iter().map(|piece| json!({"function_call": {"arguments": piece}}));
    std::iter::once(first).chain(rest).collect()
}
