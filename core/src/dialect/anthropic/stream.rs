//! Anthropic's event stream, as neutral events. An event is read in one pass; the text in it is not unescaped.
//! <https://platform.claude.com/docs/en/build-with-claude/streaming>

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::response::{client_name, embedded, finish, input};
use super::wire::{Answer, Kind, Part, Payload, Piece, Tally, explanation, inner, unescaped};
use crate::chat::{Delta, Event, Expect, FinishReason, Identity, Literal, ToolDelta};
use crate::dialect::failure::constant;
use crate::error::{ErrorCode, Failure};
use crate::frame::sse;
use crate::limits;

/// Reads one stream.
#[derive(Debug)]
pub(crate) struct Decoder {
    expect: Expect,
    state: State,
    /// Blocks that have begun and not ended. Plain text is not among them.
    open: Vec<Open>,
    /// Calls so far.
    calls: u32,
    json: Json,
    tally: Tally,
}

/// How far a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was said.
    Before,
    /// The answer is on its way.
    Within,
    /// The reason of its end was given.
    Finished,
    /// The stream is over, well or not.
    Over,
}

/// Whether the tool that stands for a response format was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Json {
    /// Not yet.
    Awaited,
    /// It was.
    Called,
}

/// A block that has not ended.
#[derive(Debug)]
struct Open {
    index: u32,
    block: Block,
}

#[derive(Debug)]
enum Block {
    /// The call of this number.
    Call(u32, Arguments),
    /// The answer, as arguments of the tool that stands for its form.
    Json(Arguments),
    /// Thinking so far: text and signature, escaped as they came.
    Thinking { text: String, signature: String },
    /// Nothing of ours: its pieces are left out.
    Other,
}

/// The arguments of a call.
#[derive(Debug)]
enum Arguments {
    /// No piece has come. If none does, these are they: `{}`, unless the block began with others.
    Pending(String),
    /// Pieces have come.
    Streamed,
}

type Read = Result<(), Box<Failure>>;

fn protocol(cause: &str) -> Box<Failure> {
    Box::new(constant(ErrorCode::UpstreamProtocol).caused_by(cause))
}

impl Decoder {
    /// A stream of which nothing was read.
    pub(crate) fn new(expect: Expect) -> Self {
        Self { expect, state: State::Before, open: Vec::new(), calls: 0, json: Json::Awaited, tally: Tally::default() }
    }

    /// Takes the next event.
    pub(crate) fn push(&mut self, frame: &sse::Event, emit: &mut impl FnMut(Event<'_>)) {
        if self.state == State::Over {
            return;
        }
        if let Err(failure) = self.read(&frame.data, emit) {
            self.state = State::Over;
            emit(Event::Failed(failure));
        }
    }

    /// The provider's stream ended. An answer is whole if the reason of its end was given.
    pub(crate) fn finish(&mut self, emit: &mut impl FnMut(Event<'_>)) {
        if self.state == State::Finished {
            self.state = State::Over;
            emit(Event::Done);
        }
    }

    fn read(&mut self, data: &[u8], emit: &mut impl FnMut(Event<'_>)) -> Read {
        let text = std::str::from_utf8(data).map_err(|_| protocol("an event is not UTF-8"))?;
        let Ok(event) = serde_json::from_str::<Payload<'_>>(text) else { return unread(text) };
        let index = event.index.unwrap_or(0);
        match event.kind.as_ref().map(|kind| &*kind.0) {
            Some("content_block_delta" | "content_block_start") if !self.flows(emit) => Ok(()),
            Some("content_block_delta") => {
                self.piece(index, &event.delta.ok_or_else(|| protocol("a piece is missing"))?, emit)
            }
            Some("content_block_start") => {
                self.begin(index, event.block.ok_or_else(|| protocol("a block is missing"))?, emit)
            }
            Some("content_block_stop") => {
                if let Some(at) = self.open.iter().position(|open| open.index == index) {
                    end(self.open.remove(at).block, emit);
                }
                Ok(())
            }
            Some("message_start") => {
                let message = event.message.ok_or_else(|| protocol("a message is missing"))?;
                let message: Answer<'_> =
                    serde_json::from_str(message.get()).map_err(|_| protocol("a message is no object"))?;
                self.start(Identity { model: message.model.map(|model| model.0), ..Identity::default() }, emit);
                self.count(message.usage, emit);
                Ok(())
            }
            Some("message_delta") => {
                self.count(event.usage, emit);
                if let Some(reason) = event.delta.as_ref().and_then(|piece| piece.stop_reason.as_ref()) {
                    self.stop(&reason.0, event.delta.as_ref().and_then(|piece| piece.stop_details), emit);
                }
                Ok(())
            }
            Some("message_stop") if self.state == State::Finished => {
                self.finish(emit);
                Ok(())
            }
            Some("message_stop") => Err(protocol("a stream ends without a reason")),
            Some("error") => {
                let silent = || constant(ErrorCode::UpstreamError).caused_by("an error without words");
                Err(Box::new(event.error.map_or_else(silent, embedded)))
            }
            None => Err(protocol("an event has no type")),
            // `ping`, and what comes later.
            Some(_) => Ok(()),
        }
    }

    /// Says who answers, once.
    fn start(&mut self, identity: Identity<'_>, emit: &mut impl FnMut(Event<'_>)) {
        if self.state == State::Before {
            self.state = State::Within;
            emit(Event::Start(identity));
            emit(Event::Delta(Delta { role: true, content: Some(Literal::EMPTY), ..Delta::default() }));
        }
    }

    /// Whether content counts. Behind the reason of the end it does not.
    fn flows(&mut self, emit: &mut impl FnMut(Event<'_>)) -> bool {
        self.start(Identity::default(), emit);
        self.state == State::Within
    }

    fn count(&mut self, usage: Option<&RawValue>, emit: &mut impl FnMut(Event<'_>)) {
        let Some(usage) = usage else { return };
        self.tally.report(usage);
        if let Some(usage) = self.tally.usage() {
            emit(Event::Usage(usage));
        }
    }

    fn piece(&mut self, index: u32, piece: &Piece<'_>, emit: &mut impl FnMut(Event<'_>)) -> Read {
        let missing = || protocol("a piece lacks its text");
        match piece.kind.as_ref().map(|kind| &*kind.0) {
            Some("text_delta") => {
                say(piece.text.and_then(Literal::of).ok_or_else(missing)?, emit);
            }
            Some("input_json_delta") => {
                let json = piece.partial_json.and_then(Literal::of).ok_or_else(missing)?;
                self.block(index)?.arguments(json, emit);
            }
            Some("thinking_delta") => {
                let raw = piece.thinking.ok_or_else(missing)?;
                self.block(index)?.think(inner(raw), "")?;
                reason(Literal::of(raw).ok_or_else(missing)?, emit);
            }
            Some("signature_delta") => {
                self.block(index)?.think("", inner(piece.signature.ok_or_else(missing)?))?;
            }
            // Citations, and what comes later.
            _ => {}
        }
        Ok(())
    }

    fn block(&mut self, index: u32) -> Result<&mut Block, Box<Failure>> {
        let open = self.open.iter_mut().find(|open| open.index == index);
        open.map(|open| &mut open.block).ok_or_else(|| protocol("a piece of no block"))
    }

    fn begin(&mut self, index: u32, raw: &RawValue, emit: &mut impl FnMut(Event<'_>)) -> Read {
        let part: Part<'_> = serde_json::from_str(raw.get()).map_err(|_| protocol("a block is no object"))?;
        let block = match part.kind.as_ref().map(|kind| &*kind.0) {
            Some("text") => {
                say(part.text.and_then(Literal::of).unwrap_or(Literal::EMPTY), emit);
                return Ok(());
            }
            Some("redacted_thinking") => {
                emit(Event::Delta(Delta { thinking: Some(Cow::Borrowed(raw.get())), ..Delta::default() }));
                return Ok(());
            }
            Some("thinking") => {
                let mut block = Block::Thinking { text: String::new(), signature: String::new() };
                block.think(part.thinking.map_or("", inner), part.signature.map_or("", inner))?;
                reason(part.thinking.and_then(Literal::of).unwrap_or(Literal::EMPTY), emit);
                block
            }
            Some("tool_use") => self.call(&part, emit)?,
            // Blocks of the provider's own tools, and what comes later.
            _ => Block::Other,
        };
        if self.open.len() >= limits::OPEN_BLOCKS || self.open.iter().any(|open| open.index == index) {
            return Err(protocol("blocks begin and do not end"));
        }
        self.open.push(Open { index, block });
        Ok(())
    }

    fn call(&mut self, part: &Part<'_>, emit: &mut impl FnMut(Event<'_>)) -> Result<Block, Box<Failure>> {
        let nameless = || protocol("a call lacks id or name");
        // An empty object stands for what is still to come.
        let input = input(part.input).ok_or_else(|| protocol("arguments are no object"))?;
        let arguments = Arguments::Pending(input.into_owned());
        let raw = part.name.ok_or_else(nameless)?;
        let name = unescaped(raw).ok_or_else(nameless)?;
        if self.expect.json_tool == Some(&*name) {
            // One answer was asked for; a second one would spoil the first.
            let first = std::mem::replace(&mut self.json, Json::Called) == Json::Awaited;
            return Ok(if first { Block::Json(arguments) } else { Block::Other });
        }
        let id = part.id.and_then(Literal::of).ok_or_else(nameless)?;
        let name = match client_name(&self.expect, Cow::Borrowed(&*name)) {
            Cow::Borrowed(_) => Literal::of(raw).ok_or_else(nameless)?,
            Cow::Owned(name) => Literal::from_text(&name),
        };
        let number = self.calls;
        self.calls += 1;
        tool(ToolDelta { index: number, begin: Some((id, name)), arguments: Literal::EMPTY }, emit);
        Ok(Block::Call(number, arguments))
    }

    fn stop(&mut self, word: &str, details: Option<&RawValue>, emit: &mut impl FnMut(Event<'_>)) {
        if !self.flows(emit) {
            return;
        }
        for open in self.open.drain(..) {
            end(open.block, emit);
        }
        let finish = finish(word, self.json == Json::Called && self.calls == 0);
        if finish.reason == FinishReason::ContentFilter {
            let refusal = explanation(details).and_then(Literal::of);
            if refusal.is_some() {
                emit(Event::Delta(Delta { refusal, ..Delta::default() }));
            }
        }
        emit(Event::Delta(Delta { finish: Some(finish), ..Delta::default() }));
        self.state = State::Finished;
    }
}

impl Block {
    /// Takes a piece of arguments.
    fn arguments(&mut self, json: Literal<'_>, emit: &mut impl FnMut(Event<'_>)) {
        if json.is_empty() {
            return;
        }
        match self {
            Self::Call(number, arguments) => {
                *arguments = Arguments::Streamed;
                tool(ToolDelta { index: *number, begin: None, arguments: json }, emit);
            }
            Self::Json(arguments) => {
                *arguments = Arguments::Streamed;
                say(json, emit);
            }
            Self::Thinking { .. } | Self::Other => {}
        }
    }

    /// Takes pieces of a thinking block, without their quotes.
    fn think(&mut self, more: &str, signed: &str) -> Read {
        let Self::Thinking { text, signature } = self else { return Ok(()) };
        if text.len() + signature.len() + more.len() + signed.len() > limits::KEPT_TEXT_BYTES {
            return Err(Box::new(constant(ErrorCode::UpstreamTooLarge)));
        }
        text.push_str(more);
        signature.push_str(signed);
        Ok(())
    }
}

/// Hands over what a block keeps until its end.
fn end(block: Block, emit: &mut impl FnMut(Event<'_>)) {
    match block {
        Block::Call(index, Arguments::Pending(json)) => {
            tool(ToolDelta { index, begin: None, arguments: Literal::from_text(&json) }, emit);
        }
        Block::Json(Arguments::Pending(json)) => say(Literal::from_text(&json), emit),
        // Without a signature it could not be sent back.
        Block::Thinking { text, signature } if !signature.is_empty() => {
            let block = format!(r#"{{"type":"thinking","thinking":"{text}","signature":"{signature}"}}"#);
            emit(Event::Delta(Delta { thinking: Some(Cow::Owned(block)), ..Delta::default() }));
        }
        Block::Call(_, Arguments::Streamed)
        | Block::Json(Arguments::Streamed)
        | Block::Thinking { .. }
        | Block::Other => {}
    }
}

fn say(text: Literal<'_>, emit: &mut impl FnMut(Event<'_>)) {
    if !text.is_empty() {
        emit(Event::Delta(Delta { content: Some(text), ..Delta::default() }));
    }
}

fn reason(text: Literal<'_>, emit: &mut impl FnMut(Event<'_>)) {
    if !text.is_empty() {
        emit(Event::Delta(Delta { reasoning: Some(text), ..Delta::default() }));
    }
}

fn tool(delta: ToolDelta<'_>, emit: &mut impl FnMut(Event<'_>)) {
    emit(Event::Delta(Delta { tools: vec![delta], ..Delta::default() }));
}

/// What is meant by an event that cannot be read: nothing, if its type is none of those that we read.
fn unread(text: &str) -> Read {
    let kind: Kind<'_> = serde_json::from_str(text).map_err(|_| protocol("an event is no object"))?;
    match kind.kind.as_ref().map(|kind| &*kind.0) {
        None
        | Some(
            "message_start"
            | "content_block_start"
            | "content_block_delta"
            | "content_block_stop"
            | "message_delta"
            | "message_stop"
            | "error",
        ) => Err(protocol("an event has a wrong member")),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
