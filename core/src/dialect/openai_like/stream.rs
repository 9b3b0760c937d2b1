//! A stream of chunks in OpenAI's format, read into neutral events.
//!
//! Numbers of calls are ours: servers leave them out, repeat ids and names, or give one number to several calls.

use serde_json::value::RawValue;

use super::failure::embedded;
use super::response::{finish, made_up_id, protocol, unsaid};
use super::wire::{Body, CallWire, PartWire, SaidWire, is_text, object};
use crate::chat::{Delta, Event, Expect, Literal, ToolDelta};
use crate::error::Failure;
use crate::frame::sse;
use crate::limits;
use crate::provider::ProviderKind;

/// Reads one stream.
#[derive(Debug)]
pub(crate) struct Decoder {
    kind: ProviderKind,
    expect: Expect,
    state: State,
    choices: Vec<Choice>,
}

/// How far a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was said.
    Waiting,
    /// It is known who answers.
    Open,
    /// Nothing will be said any more.
    Ended,
}

/// A choice that was seen.
#[derive(Debug)]
struct Choice {
    index: u32,
    phase: Phase,
    calls: Vec<Call>,
}

/// How far a choice has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its role is not said.
    New,
    /// Its role is said.
    Speaking,
    /// Its end is said.
    Finished,
}

/// A tool call that was begun.
#[derive(Debug)]
struct Call {
    /// The server's number for it.
    theirs: Option<u64>,
    /// Its id as it is written.
    id: String,
    /// Its name as it is written.
    name: String,
    arguments: Arguments,
}

/// Id and name of a call.
type Begin<'a> = (Literal<'a>, Literal<'a>);

/// What was seen of a call's arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arguments {
    None,
    Some,
}

impl Decoder {
    /// A decoder that has read nothing.
    pub(crate) fn new(kind: ProviderKind, expect: Expect) -> Self {
        Self { kind, expect, state: State::Waiting, choices: Vec::new() }
    }

    /// Reads an event of the stream.
    pub(crate) fn push(&mut self, frame: &sse::Event, emit: &mut impl FnMut(Event<'_>)) {
        let data = frame.data.trim_ascii();
        if self.state == State::Ended || data.is_empty() {
            return;
        }
        if data.starts_with(b"[DONE]") {
            return self.done(emit);
        }
        let read = if frame.name.as_ref().is_some_and(|name| &**name == b"error") {
            Err(embedded(self.kind, data))
        } else {
            self.chunk(data, emit)
        };
        if let Err(failure) = read {
            self.state = State::Ended;
            emit(Event::Failed(Box::new(failure)));
        }
    }

    /// The stream's bytes are over. Servers that send no end mark have ended if every choice has.
    pub(crate) fn finish(&mut self, emit: &mut impl FnMut(Event<'_>)) {
        let finished = !self.choices.is_empty() && self.choices.iter().all(|choice| choice.phase == Phase::Finished);
        if self.state != State::Ended && finished {
            emit(Event::Done);
        }
        self.state = State::Ended;
    }

    /// The end mark. Choices that did not say why they ended have ended as well.
    fn done(&mut self, emit: &mut impl FnMut(Event<'_>)) {
        self.state = State::Ended;
        if self.choices.is_empty() {
            return emit(Event::Failed(Box::new(protocol("stream without a choice"))));
        }
        for choice in &mut self.choices {
            if choice.phase != Phase::Finished {
                let mut tools = Vec::new();
                choice.complete(&mut tools);
                let finish = Some(unsaid(!choice.calls.is_empty()));
                emit(Event::Delta(Delta { choice: choice.index, tools, finish, ..Delta::default() }));
            }
        }
        emit(Event::Done);
    }

    fn chunk(&mut self, data: &[u8], emit: &mut impl FnMut(Event<'_>)) -> Result<(), Failure> {
        let body: Body<'_, PartWire<'_>> = object(data).ok_or_else(|| protocol("chunk is not JSON of its shape"))?;
        if body.is_error() {
            return Err(embedded(self.kind, data));
        }
        let (identity, usage) = (body.identity(), body.usage());
        let parts: Vec<PartWire<'_>> = body.choices.unwrap_or_default().into_iter().map(|part| part.0).collect();
        // Azure's notes about filters: no choice, or one that says nothing. They must not count as the first chunk.
        let says = |part: &PartWire<'_>| part.delta.is_some() || part.finish_reason.is_some();
        if self.state == State::Waiting && (usage.is_some() || parts.iter().any(says)) {
            self.state = State::Open;
            emit(Event::Start(identity));
        }
        for part in parts.into_iter().filter(says) {
            if let Some(delta) = self.part(part)? {
                emit(Event::Delta(delta));
            }
        }
        if let Some(usage) = usage {
            emit(Event::Usage(usage));
        }
        Ok(())
    }

    /// What a part of a choice says, if anything.
    fn part<'a>(&mut self, part: PartWire<'a>) -> Result<Option<Delta<'a>>, Failure> {
        let index = part.index.and_then(|raw| raw.get().parse().ok()).unwrap_or(0);
        let choice = self.choice(index)?;
        if choice.phase == Phase::Finished {
            return Ok(None);
        }
        let mut said = part.delta.map(|delta| delta.0).unwrap_or_default();
        let role = choice.phase == Phase::New && said.role.is_some();
        if role {
            choice.phase = Phase::Speaking;
        }
        let literal = |raw: Option<&'a RawValue>| raw.and_then(Literal::of).filter(|text| !text.is_empty());
        let mut delta = Delta {
            choice: index,
            role,
            // An empty text beside the role is how OpenAI begins; elsewhere it is nothing.
            content: said.content.and_then(Literal::of).filter(|text| role || !text.is_empty()),
            refusal: literal(said.refusal),
            reasoning: literal(said.reasoning()),
            tools: choice.tools(&mut said)?,
            logprobs: part.logprobs,
            ..Delta::default()
        };
        let calls = !choice.calls.is_empty();
        if part.finish_reason.is_some_and(is_text) {
            choice.phase = Phase::Finished;
            choice.complete(&mut delta.tools);
            delta.finish = finish(part.finish_reason, calls, &self.expect)?;
        }
        let empty = !delta.role && delta.logprobs.is_none() && delta.content.is_none() && !delta.has_content();
        Ok((!empty).then_some(delta))
    }

    fn choice(&mut self, index: u32) -> Result<&mut Choice, Failure> {
        let at = match self.choices.iter().position(|choice| choice.index == index) {
            Some(at) => at,
            None => {
                self.choices.push(Choice { index, phase: Phase::New, calls: Vec::new() });
                self.choices.len() - 1
            }
        };
        self.choices.get_mut(at).filter(|_| at < limits::STREAMED_CALLS).ok_or_else(|| protocol("too many choices"))
    }
}

impl Choice {
    /// The parts of calls in what is said.
    fn tools<'a>(&mut self, said: &mut SaidWire<'a>) -> Result<Vec<ToolDelta<'a>>, Failure> {
        let mut tools = Vec::new();
        for call in said.calls() {
            let (index, begin) = self.find(&call)?;
            let arguments = match call.arguments() {
                None => Literal::EMPTY,
                // By some servers the arguments are not text of JSON but JSON.
                Some(raw) => Literal::of(raw).unwrap_or_else(|| Literal::from_text(raw.get())),
            };
            if arguments.is_empty() && begin.is_none() {
                continue;
            }
            if let Some(known) = self.calls.get_mut(index).filter(|_| !arguments.is_empty()) {
                known.arguments = Arguments::Some;
            }
            tools.push(ToolDelta { index: u32::try_from(index).unwrap_or(u32::MAX), begin, arguments });
        }
        Ok(tools)
    }

    /// Which call a part belongs to, and its id and name if it is the first: by the server's number, else by its id,
    /// else the one that was begun last.
    ///
    /// Numbers come first because vLLM made a new id for each part of a call before 0.9; but where id and name are both
    /// new, it is another call under a number that is not.
    fn find<'a>(&mut self, call: &CallWire<'a>) -> Result<(usize, Option<Begin<'a>>), Failure> {
        let theirs = call.index.and_then(|raw| raw.get().parse::<u64>().ok());
        let (id, name) = (call.id.filter(|raw| is_text(raw)), call.name());
        let differs = |raw: Option<&RawValue>, known: &str| raw.is_some_and(|raw| raw.get() != known);
        let same = |known: &Call| !(differs(id, &known.id) && differs(name, &known.name));
        let by_number = || self.calls.iter().rposition(|known| known.theirs == theirs && same(known));
        let by_id = || self.calls.iter().rposition(|known| id.is_some_and(|id| id.get() == known.id));
        let last = || self.calls.len().checked_sub(1).filter(|_| theirs.is_none() && id.is_none() && name.is_none());
        if let Some(known) = theirs.and_then(|_| by_number()).or_else(by_id).or_else(last) {
            return Ok((known, None));
        }
        let at = self.calls.len();
        if at >= limits::STREAMED_CALLS {
            return Err(protocol("too many calls"));
        }
        let id = id.and_then(Literal::of).unwrap_or_else(|| Literal::from_text(&made_up_id(at)));
        let name = name.and_then(Literal::of).unwrap_or(Literal::EMPTY);
        self.calls.push(Call {
            theirs,
            id: id.as_json().to_owned(),
            name: name.as_json().to_owned(),
            arguments: Arguments::None,
        });
        Ok((at, Some((id, name))))
    }

    /// Adds `{}` to the calls that came without arguments: text that is not JSON breaks clients.
    fn complete(&mut self, tools: &mut Vec<ToolDelta<'_>>) {
        for (index, call) in self.calls.iter_mut().enumerate().filter(|(_, call)| call.arguments == Arguments::None) {
            call.arguments = Arguments::Some;
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            match tools.iter_mut().find(|tool| tool.index == index) {
                Some(tool) => tool.arguments = Literal::from_text("{}"),
                None => tools.push(ToolDelta { index, begin: None, arguments: Literal::from_text("{}") }),
            }
        }
    }
}

#[cfg(test)]
mod tests;
