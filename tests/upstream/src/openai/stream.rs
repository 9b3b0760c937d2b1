//! What the streams of chat and completions have in common: members of a chunk, their end and what a step does to it.

use serde_json::{Map, Value, json};

use super::Turn;
use crate::{
    answer::Answer,
    dialect::{self, flag, string},
    shape::FREE_PREFIX,
    step::Step,
};

/// The members that every chunk (or the one answer) of an exchange shares.
pub(super) struct Frame {
    id: String,
    object: &'static str,
    created: i64,
    model: String,
    /// `service_tier` and `system_fingerprint`, which only chats have.
    tier: Option<&'static str>,
    echo: Option<Value>,
    usage: Option<Value>,
}

/// The parts of a stream between which faults are put.
pub(super) struct Parts {
    pub(super) before: Vec<Value>,
    /// The choices that carry content, one chunk each.
    pub(super) content: Vec<Value>,
    pub(super) finish: Vec<Value>,
}

impl Frame {
    /// With the usage the answer really has; a step may have its own.
    pub(super) fn of(turn: Turn<'_>, object: &'static str, usage: Value) -> Self {
        let Turn { ask, body, step, twist } = turn;
        let prefix = if object == "text_completion" { "cmpl" } else { "chatcmpl" };
        let model = super::models::dated(string(body, "model"));
        let tier = (object != "text_completion").then(|| match body.get("service_tier").and_then(Value::as_str) {
            Some("flex") => "flex",
            Some("priority" | "fast") => "priority",
            Some("scale") => "scale",
            _ => "default",
        });
        let echo: Map<String, Value> = body
            .iter()
            .filter(|(name, _)| name.starts_with(FREE_PREFIX))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect();
        Self {
            id: format!("{prefix}-{:016x}", ask.seed()),
            object,
            created: ask.created(),
            model: step.model.clone().unwrap_or_else(|| model.to_owned()),
            tier,
            echo: (!echo.is_empty()).then_some(Value::Object(echo)),
            usage: dialect::usage((twist.usage)(usage), step),
        }
    }

    /// The answer that is not streamed.
    pub(super) fn whole(&self, turn: Turn<'_>, choices: Value) -> Answer {
        let usage = self.usage.clone();
        let answer = self.members(self.object, choices, usage, self.echo.clone());
        Answer::json(200, &(turn.twist.whole)(turn.ask, answer))
    }

    /// The streamed answer.
    pub(super) fn stream(&self, turn: Turn<'_>, parts: Parts) -> Answer {
        let Turn { ask, body, step, twist } = turn;
        let usage_asked = body
            .get("stream_options")
            .and_then(|options| options.get("include_usage"))
            .and_then(Value::as_bool)
            .unwrap_or_default();
        let mut choices = parts.before;
        choices.extend(parts.content);
        if !step.no_finish {
            choices.extend(parts.finish);
        }
        let object = if self.object == "chat.completion" { "chat.completion.chunk" } else { self.object };
        let mut echo = self.echo.clone();
        let no_usage = usage_asked.then_some(Value::Null);
        let one = |choice| self.members(object, json!([choice]), no_usage.clone(), echo.take());
        let mut chunks: Vec<Value> = choices.into_iter().map(one).collect();
        if let (true, Some(usage)) = (usage_asked, &self.usage) {
            chunks.push(self.members(object, json!([]), Some(usage.clone()), None));
        }
        // Where no `[DONE]` is the last event, the usage is.
        let usage = self.usage.as_ref().filter(|_| twist.done || !step.no_done);
        let chunks = (twist.chunks)(ask, chunks, usage);
        let mut events: Vec<String> = chunks.iter().enumerate().map(|(at, chunk)| (twist.event)(at, chunk)).collect();
        let given = step.error_event.as_ref().and_then(|event| event.error.clone());
        match ask.error_event(step, |message| (twist.failed)(None, message)) {
            Some((after, usual)) => {
                events.truncate(after);
                let failed = given.map_or(usual, |error| (twist.failed)(Some(error), None));
                events.push((twist.event)(events.len(), &failed));
            }
            None if step.no_done || !twist.done => {}
            None => events.push("data: [DONE]\n\n".to_owned()),
        }
        Answer::events(events)
    }

    fn members(&self, object: &str, choices: Value, usage: Option<Value>, echo: Option<Value>) -> Value {
        let members = [
            ("id", Some(json!(self.id))),
            ("object", Some(json!(object))),
            ("created", Some(json!(self.created))),
            ("model", Some(json!(self.model))),
            ("service_tier", self.tier.map(|tier| json!(tier))),
            ("system_fingerprint", self.tier.map(|_| json!("fp_simulated"))),
            ("choices", Some(choices)),
            ("usage", usage),
            ("echo", echo),
        ];
        Value::from_iter(members.into_iter().filter_map(|(name, value)| Some((name, value?))))
    }
}

/// Whether the answer is streamed; a step may insist on what was not asked for.
pub(super) fn streamed(body: &Map<String, Value>, step: &Step) -> bool {
    step.stream.unwrap_or_else(|| flag(body, "stream"))
}
