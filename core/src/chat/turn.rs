//! A whole answer as a stream's events, and a stream's events as a whole answer: for providers that answer in the other
//! way than they were asked (fault matrix U30).

use std::borrow::Cow;

use super::{Answer, Choice, Delta, Event, Finish, FinishReason, Identity, Literal, ToolDelta, ToolUse};
use crate::account::Usage;
use crate::error::Failure;
use crate::limits;

/// Tells a whole answer as events.
pub(crate) fn events(answer: &Answer<'_>, emit: &mut impl FnMut(Event<'_>)) {
    emit(Event::Start(answer.identity.clone()));
    for (index, choice) in (0_u32..).zip(&answer.choices) {
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().map(Literal::from_text);
        for block in &choice.thinking {
            let thinking = Some(Cow::Borrowed(block.as_ref()));
            emit(Event::Delta(Delta { choice: index, thinking, ..Delta::default() }));
        }
        let tools = (0_u32..).zip(&choice.tools).map(|(at, call)| ToolDelta {
            index: at,
            begin: Some((Literal::from_text(&call.id), Literal::from_text(&call.name))),
            arguments: Literal::from_text(&call.arguments),
        });
        emit(Event::Delta(Delta {
            choice: index,
            role: true,
            content: text(&choice.content),
            refusal: text(&choice.refusal),
            reasoning: text(&choice.reasoning),
            tools: tools.collect(),
            logprobs: choice.logprobs,
            ..Delta::default()
        }));
        emit(Event::Delta(Delta { choice: index, finish: Some(choice.finish.clone()), ..Delta::default() }));
    }
    if let Some(usage) = answer.usage {
        emit(Event::Usage(usage));
    }
    emit(Event::Done);
}

/// Puts a stream's events together. What a client rarely reads of a stream (`logprobs`, fingerprints) is not kept.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    id: Option<String>,
    created: Option<u64>,
    model: Option<String>,
    choices: Vec<Parts>,
    usage: Option<Usage>,
    done: bool,
    failure: Option<Box<Failure>>,
}

#[derive(Debug, Default)]
struct Parts {
    content: Option<String>,
    refusal: Option<String>,
    reasoning: Option<String>,
    thinking: Vec<String>,
    tools: Vec<(String, String, String)>,
    finish: Option<Finish>,
}

impl Gather {
    /// Takes an event.
    pub(crate) fn take(&mut self, event: Event<'_>) {
        if self.done || self.failure.is_some() {
            return;
        }
        match event {
            Event::Start(identity) => {
                self.id = identity.id.map(Cow::into_owned);
                self.created = identity.created;
                self.model = identity.model.map(Cow::into_owned);
            }
            Event::Delta(delta) => self.delta(delta),
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Done => self.done = true,
            Event::Failed(failure) => self.failure = Some(failure),
        }
    }

    fn delta(&mut self, delta: Delta<'_>) {
        let at = delta.choice as usize;
        if at >= limits::STREAMED_CALLS {
            return;
        }
        while self.choices.len() <= at {
            self.choices.push(Parts::default());
        }
        let Some(parts) = self.choices.get_mut(at) else { return };
        add(&mut parts.content, delta.content);
        add(&mut parts.refusal, delta.refusal);
        add(&mut parts.reasoning, delta.reasoning);
        parts.thinking.extend(delta.thinking.map(Cow::into_owned));
        for tool in delta.tools {
            if let Some((id, name)) = tool.begin {
                parts.tools.push((plain(&id), plain(&name), String::new()));
            }
            if let Some((_, _, arguments)) = parts.tools.get_mut(tool.index as usize) {
                arguments.push_str(&plain(&tool.arguments));
            }
        }
        parts.finish = delta.finish.or_else(|| parts.finish.take());
    }

    /// The answer; `Ok(None)` if the stream did not show its end.
    pub(crate) fn answer(self) -> Result<Option<Answer<'static>>, Box<Failure>> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if !self.done || self.choices.is_empty() {
            return Ok(None);
        }
        let choice = |parts: Parts| Choice {
            content: parts.content.map(Cow::Owned),
            refusal: parts.refusal.map(Cow::Owned),
            reasoning: parts.reasoning.map(Cow::Owned),
            thinking: parts.thinking.into_iter().map(Cow::Owned).collect(),
            tools: parts.tools.into_iter().map(call).collect(),
            logprobs: None,
            finish: parts.finish.unwrap_or_else(|| FinishReason::Stop.into()),
        };
        let identity = Identity {
            id: self.id.map(Cow::Owned),
            created: self.created,
            model: self.model.map(Cow::Owned),
            ..Identity::default()
        };
        Ok(Some(Answer { identity, choices: self.choices.into_iter().map(choice).collect(), usage: self.usage }))
    }
}

fn call((id, name, arguments): (String, String, String)) -> ToolUse<'static> {
    ToolUse { id: id.into(), name: name.into(), arguments: arguments.into() }
}

fn add(text: &mut Option<String>, more: Option<Literal<'_>>) {
    if let Some(more) = more {
        text.get_or_insert_default().push_str(&plain(&more));
    }
}

fn plain(literal: &Literal<'_>) -> String {
    serde_json::from_str(literal.as_json()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_told_as_events_is_gathered_to_the_same_answer() {
        let tool = |id: &str| call((id.to_owned(), "lookup".to_owned(), "{\"a\":\"\\\"\"}".to_owned()));
        let choice = |text: &str| Choice {
            content: Some(Cow::Owned(text.to_owned())),
            refusal: None,
            reasoning: Some(Cow::Borrowed("because")),
            thinking: vec![Cow::Borrowed("{\"type\":\"thinking\"}")],
            tools: vec![tool("a"), tool("b")],
            logprobs: None,
            finish: FinishReason::ToolCalls.into(),
        };
        let answer = Answer {
            identity: Identity {
                id: Some("x".into()),
                created: Some(7),
                model: Some("m".into()),
                ..Identity::default()
            },
            choices: vec![choice("one \"two\"\n"), choice("")],
            usage: Some(Usage { input_tokens: 3, ..Usage::default() }),
        };
        let mut gather = Gather::default();
        events(&answer, &mut |event| gather.take(event));
        let back = gather.answer().unwrap().unwrap();
        assert_eq!(format!("{back:?}"), format!("{answer:?}"));
    }

    #[test]
    fn a_stream_without_its_end_is_no_answer() {
        let mut gather = Gather::default();
        gather.take(Event::Delta(Delta { content: Some(Literal::from_text("x")), ..Delta::default() }));
        assert!(matches!(gather.answer(), Ok(None)));
        let mut gather = Gather::default();
        gather.take(Event::Failed(Box::new(Failure::internal("x"))));
        gather.take(Event::Done);
        assert!(gather.answer().is_err());
    }
}
