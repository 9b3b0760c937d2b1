//! A stream of text completions of Cerebras or NIM, read into neutral events: `content` is the text.

use serde_json::value::RawValue;

use super::response::{finish, protocol};
use super::wire::{Body, Choice, object};
use crate::chat::{Delta, Event, FinishReason, Literal};
use crate::dialect::openai_like;
use crate::error::Failure;
use crate::frame::sse;
use crate::limits;
use crate::provider::ProviderKind;

/// Reads one stream.
#[derive(Debug)]
pub(crate) struct Decoder {
    kind: ProviderKind,
    state: State,
    /// How far each choice has come, by its number.
    choices: Vec<Phase>,
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

/// How far a choice has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It was not seen.
    Unseen,
    /// It was seen.
    Speaking,
    /// Its end is said.
    Finished,
}

impl Decoder {
    /// A decoder that has read nothing.
    pub(crate) fn new(kind: ProviderKind) -> Self {
        Self { kind, state: State::Waiting, choices: Vec::new() }
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
            Err(openai_like::embedded(self.kind, data))
        } else {
            self.chunk(data, emit)
        };
        if let Err(failure) = read {
            self.state = State::Ended;
            emit(Event::Failed(Box::new(failure)));
        }
    }

    /// The stream's bytes are over: it was whole if every choice that was seen has ended.
    pub(crate) fn finish(&mut self, emit: &mut impl FnMut(Event<'_>)) {
        let any = self.choices.contains(&Phase::Finished);
        if self.state != State::Ended && any && !self.choices.contains(&Phase::Speaking) {
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
        for (number, _) in self.choices.iter().enumerate().filter(|(_, phase)| **phase == Phase::Speaking) {
            let choice = u32::try_from(number).unwrap_or(u32::MAX);
            emit(Event::Delta(Delta { choice, finish: Some(FinishReason::Stop.into()), ..Delta::default() }));
        }
        emit(Event::Done);
    }

    fn chunk(&mut self, data: &[u8], emit: &mut impl FnMut(Event<'_>)) -> Result<(), Failure> {
        let body: Body<'_> = object(data).ok_or_else(|| protocol("chunk is not JSON of its shape"))?;
        if body.is_error() {
            return Err(openai_like::embedded(self.kind, data));
        }
        let usage = body.usage();
        let choices = body.choices.as_deref().unwrap_or_default();
        if self.state == State::Waiting && (usage.is_some() || !choices.is_empty()) {
            self.state = State::Open;
            emit(Event::Start(body.identity()));
        }
        for (place, raw) in choices.iter().enumerate() {
            if let Some(delta) = self.part(place, raw)? {
                emit(Event::Delta(delta));
            }
        }
        if let Some(usage) = usage {
            emit(Event::Usage(usage));
        }
        Ok(())
    }

    fn part<'a>(&mut self, place: usize, raw: &'a RawValue) -> Result<Option<Delta<'a>>, Failure> {
        let wire: Choice<'a> = object(raw.get().as_bytes()).ok_or_else(|| protocol("choice is no object"))?;
        let number = wire.number(place);
        if number >= limits::INPUTS {
            return Err(protocol("too many choices"));
        }
        if number >= self.choices.len() {
            self.choices.resize(number + 1, Phase::Unseen);
        }
        let Some(phase) = self.choices.get_mut(number).filter(|phase| **phase != Phase::Finished) else {
            return Ok(None);
        };
        let finish = finish(wire.finish_reason)?;
        *phase = if finish.is_some() { Phase::Finished } else { Phase::Speaking };
        let content = wire.text.and_then(Literal::of).filter(|text| !text.is_empty());
        if content.is_none() && wire.logprobs.is_none() && finish.is_none() {
            return Ok(None);
        }
        let choice = u32::try_from(number).unwrap_or(u32::MAX);
        Ok(Some(Delta { choice, content, logprobs: wire.logprobs, finish, ..Delta::default() }))
    }
}
