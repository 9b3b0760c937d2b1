//! Converse's stream: frames to neutral events.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::response::{exception, finish, protocol};
use super::wire::{self, BlockEvent, MessageStop, Metadata, ReasoningDelta, Start, StartedTool, Text, ToolInput};
use crate::chat::{Delta, Event, Expect, Identity, Literal, ToolDelta};
use crate::dialect::failure::constant;
use crate::error::{ErrorCode, Failure};
use crate::frame::eventstream::{Frame, Message};
use crate::limits;

/// Reads one stream.
#[derive(Debug)]
pub(crate) struct Decoder {
    expect: Expect,
    state: State,
    json: Json,
    /// The blocks that have begun and not ended. Blocks of text are not among them: nothing says that they begin.
    open: Vec<Open>,
    /// Calls of tools that the client has got.
    calls: u32,
}

/// How far the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing has come.
    Before,
    /// The answer is coming.
    Within,
    /// The provider said why the answer ended; its usage may follow.
    Finished,
    /// Nothing more counts.
    Over,
}

/// Where an answer is expected as the arguments of a tool.
#[derive(Debug)]
enum Json {
    /// It is not: text is the content.
    Off,
    /// It has not come yet. Text is kept (the inside of a JSON string), in case it does not come at all.
    Awaited(String),
    /// It has begun: text around it is not JSON, and left out.
    Begun,
}

/// A block that has begun.
#[derive(Debug)]
struct Open {
    /// Its `contentBlockIndex`.
    at: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// A call of a tool: its number, and whether arguments came.
    Tool { index: u32, arguments: bool },
    /// The call whose arguments are the content, and whether any came.
    Json { arguments: bool },
    /// A call that the client does not get.
    Withheld,
    /// Reasoning: the inside of the text's JSON string, and the JSON string of the signature.
    Thinking { text: String, signature: Option<String> },
    /// Reasoning that is hidden: JSON strings, one for each part.
    Redacted(Vec<String>),
}

type Step = Result<(), Failure>;

impl Decoder {
    /// A stream of which nothing was read.
    pub(crate) fn new(expect: Expect) -> Self {
        let json = if expect.json_tool.is_some() { Json::Awaited(String::new()) } else { Json::Off };
        Self { expect, state: State::Before, json, open: Vec::new(), calls: 0 }
    }

    /// Takes the next frame.
    pub(crate) fn push(&mut self, frame: &Frame, emit: &mut impl FnMut(Event<'_>)) {
        if self.state == State::Over {
            return;
        }
        let step = match &frame.message {
            Message::Event { kind } => self.event(kind, &frame.payload, emit),
            Message::Exception { kind } => Err(exception(kind, &frame.payload, b"")),
            Message::Error { code, text } => Err(exception(code, &frame.payload, text)),
            Message::Other => Ok(()),
        };
        if let Err(failure) = step {
            self.state = State::Over;
            emit(Event::Failed(Box::new(failure)));
        }
    }

    /// Whether the provider said why the answer ended.
    pub(crate) fn finished(&self) -> bool {
        self.state == State::Finished
    }

    /// The provider's stream has ended. Without a stop reason it was cut, and nothing is said here.
    pub(crate) fn finish(&mut self, emit: &mut impl FnMut(Event<'_>)) {
        if self.state == State::Finished {
            emit(Event::Done);
        }
        self.state = State::Over;
    }

    fn event(&mut self, kind: &[u8], payload: &[u8], emit: &mut impl FnMut(Event<'_>)) -> Step {
        if kind == b"metadata" {
            return self.metadata(payload, emit);
        }
        if self.state == State::Finished {
            return Ok(());
        }
        match kind {
            b"messageStart" => {
                if self.begin(emit) {
                    emit(Event::Delta(Delta { role: true, content: Some(Literal::EMPTY), ..Delta::default() }));
                }
                Ok(())
            }
            b"contentBlockStart" => self.start(&block(payload)?, emit),
            b"contentBlockDelta" => self.delta(&block(payload)?, emit),
            b"contentBlockStop" => {
                let at = block(payload)?.index;
                if let Some(place) = self.open.iter().position(|open| open.at == at) {
                    let open = self.open.remove(place);
                    close(open.kind, emit);
                }
                Ok(())
            }
            b"messageStop" => {
                self.begin(emit);
                let stop: MessageStop<'_> =
                    wire::object(payload).ok_or_else(|| protocol("a message stop has no reason"))?;
                self.stop(&stop.reason.0, emit);
                Ok(())
            }
            // Events that came later than this version.
            _ => Ok(()),
        }
    }

    /// Whether this is the beginning.
    fn begin(&mut self, emit: &mut impl FnMut(Event<'_>)) -> bool {
        if self.state != State::Before {
            return false;
        }
        self.state = State::Within;
        emit(Event::Start(Identity::default()));
        true
    }

    fn start(&mut self, event: &BlockEvent<'_>, emit: &mut impl FnMut(Event<'_>)) -> Step {
        self.begin(emit);
        let start: Option<Start<'_>> = event.start.and_then(wire::object_of);
        let Some(raw) = start.and_then(|start| start.tool_use) else { return Ok(()) };
        let tool: Option<StartedTool<'_>> = wire::object_of(raw);
        let names = tool.and_then(|tool| Some((Literal::of(tool.id)?, Literal::of(tool.name)?, tool.name)));
        let (id, name, raw) = names.ok_or_else(|| protocol("a tool use has no id or name"))?;
        let known = self.name(raw);
        let kind = if self.expect.json_tool.is_some_and(|tool| known == tool) {
            match std::mem::replace(&mut self.json, Json::Begun) {
                // There is one content.
                Json::Begun => Kind::Withheld,
                Json::Off | Json::Awaited(_) => Kind::Json { arguments: false },
            }
        } else if self.expect.no_tools {
            Kind::Withheld
        } else {
            let index = self.calls;
            self.calls += 1;
            let name = match self.expect.name(&known) {
                ours if ours == known => name,
                ours => Literal::from_text(ours),
            };
            emit_tool(ToolDelta { index, begin: Some((id, name)), arguments: Literal::EMPTY }, emit);
            Kind::Tool { index, arguments: false }
        };
        self.open(event.index, kind)
    }

    /// A tool's name as the provider writes it.
    fn name<'a>(&self, raw: &'a RawValue) -> Cow<'a, str> {
        // Names are compared only if something depends on them.
        if self.expect.json_tool.is_none() && self.expect.renamed.is_empty() {
            return Cow::Borrowed("");
        }
        serde_json::from_str::<Text<'_>>(raw.get()).map(|text| text.0).unwrap_or_default()
    }

    fn delta(&mut self, event: &BlockEvent<'_>, emit: &mut impl FnMut(Event<'_>)) -> Step {
        self.begin(emit);
        let delta: Option<wire::Delta<'_>> = event.delta.and_then(wire::object_of);
        let delta = delta.ok_or_else(|| protocol("a delta is no object"))?;
        if let Some(raw) = delta.text {
            self.text(raw, emit)?;
        }
        if let Some(raw) = delta.tool_use {
            let input: Option<ToolInput<'_>> = wire::object_of(raw);
            let input = input.and_then(|input| Literal::of(input.input));
            self.input(event.index, input.ok_or_else(|| protocol("a tool's input is no string"))?, emit)?;
        }
        if let Some(raw) = delta.reasoning {
            let reasoning = wire::object_of(raw).ok_or_else(|| protocol("a reasoning is no object"))?;
            self.reasoning(event.index, &reasoning, emit)?;
        }
        Ok(())
    }

    fn text(&mut self, raw: &RawValue, emit: &mut impl FnMut(Event<'_>)) -> Step {
        let text = Literal::of(raw).ok_or_else(|| protocol("a text is no string"))?;
        match &mut self.json {
            Json::Begun => Ok(()),
            Json::Awaited(kept) => keep(kept, inside(raw.get())),
            Json::Off => {
                if !text.is_empty() {
                    emit(Event::Delta(Delta { content: Some(text), ..Delta::default() }));
                }
                Ok(())
            }
        }
    }

    /// A piece of a call's arguments.
    fn input(&mut self, at: u64, piece: Literal<'_>, emit: &mut impl FnMut(Event<'_>)) -> Step {
        let open = self.open.iter_mut().find(|open| open.at == at);
        let kind = &mut open.ok_or_else(|| protocol("a tool's input has no tool"))?.kind;
        if piece.is_empty() {
            return Ok(());
        }
        match kind {
            Kind::Tool { index, arguments } => {
                *arguments = true;
                emit_tool(ToolDelta { index: *index, begin: None, arguments: piece }, emit);
            }
            Kind::Json { arguments } => {
                *arguments = true;
                emit(Event::Delta(Delta { content: Some(piece), ..Delta::default() }));
            }
            Kind::Withheld | Kind::Thinking { .. } | Kind::Redacted(_) => {}
        }
        Ok(())
    }

    fn reasoning(&mut self, at: u64, delta: &ReasoningDelta<'_>, emit: &mut impl FnMut(Event<'_>)) -> Step {
        let (text, signature, redacted) = (string(delta.text), string(delta.signature), string(delta.redacted));
        if self.open.iter().all(|open| open.at != at) {
            let kind = match redacted {
                Some(_) => Kind::Redacted(Vec::new()),
                None => Kind::Thinking { text: String::new(), signature: None },
            };
            self.open(at, kind)?;
        }
        let kind = self.open.iter_mut().find(|open| open.at == at).map(|open| &mut open.kind);
        match kind {
            Some(Kind::Thinking { text: kept, signature: signed }) => {
                if let Some(text) = text {
                    keep(kept, inside(text))?;
                }
                if let Some(signature) = signature {
                    // A signature could come in pieces, as a text does.
                    let whole = signed.get_or_insert_default();
                    keep(whole, inside(signature))?;
                }
            }
            Some(Kind::Redacted(parts)) => {
                if let Some(data) = redacted {
                    let kept: usize = parts.iter().map(String::len).sum();
                    if kept + data.len() > limits::KEPT_TEXT_BYTES {
                        return Err(constant(ErrorCode::UpstreamTooLarge));
                    }
                    parts.push(data.to_owned());
                }
            }
            Some(Kind::Tool { .. } | Kind::Json { .. } | Kind::Withheld) | None => {
                return Err(protocol("a reasoning is in a tool's block"));
            }
        }
        if let Some(text) = delta.text.and_then(Literal::of).filter(|text| !text.is_empty()) {
            emit(Event::Delta(Delta { reasoning: Some(text), ..Delta::default() }));
        }
        Ok(())
    }

    fn open(&mut self, at: u64, kind: Kind) -> Step {
        if self.open.len() >= limits::OPEN_BLOCKS || self.open.iter().any(|open| open.at == at) {
            return Err(protocol("a block begins twice, or too many are open"));
        }
        self.open.push(Open { at, kind });
        Ok(())
    }

    fn stop(&mut self, reason: &str, emit: &mut impl FnMut(Event<'_>)) {
        for open in std::mem::take(&mut self.open) {
            close(open.kind, emit);
        }
        if let Json::Awaited(kept) = &self.json
            && !kept.is_empty()
        {
            let text = literal(kept);
            emit(Event::Delta(Delta { content: text.as_deref().and_then(Literal::of), ..Delta::default() }));
        }
        let finish = finish(reason, self.calls > 0);
        emit(Event::Delta(Delta { finish: Some(finish), ..Delta::default() }));
        self.state = State::Finished;
    }

    fn metadata(&mut self, payload: &[u8], emit: &mut impl FnMut(Event<'_>)) -> Step {
        let metadata: Metadata<'_> = wire::object(payload).ok_or_else(|| protocol("metadata are no object"))?;
        self.begin(emit);
        if let Some(usage) = metadata.usage.and_then(wire::usage) {
            emit(Event::Usage(usage));
        }
        if self.state == State::Finished {
            self.state = State::Over;
            emit(Event::Done);
        }
        Ok(())
    }
}

/// What an open block still owes at its end.
fn close(kind: Kind, emit: &mut impl FnMut(Event<'_>)) {
    match kind {
        // No arguments are an empty object.
        Kind::Tool { index, arguments: false } => {
            emit_tool(ToolDelta { index, begin: None, arguments: Literal::from_text("{}") }, emit);
        }
        Kind::Json { arguments: false } => {
            emit(Event::Delta(Delta { content: Some(Literal::from_text("{}")), ..Delta::default() }));
        }
        Kind::Thinking { text, signature: Some(signature) } => {
            let block = wire::thinking(&format!("\"{text}\""), &format!("\"{signature}\""));
            emit(Event::Delta(Delta { thinking: Some(block.into()), ..Delta::default() }));
        }
        Kind::Redacted(parts) => {
            for data in parts {
                let block = wire::redacted_thinking(&data);
                emit(Event::Delta(Delta { thinking: Some(block.into()), ..Delta::default() }));
            }
        }
        // Without a signature there is nothing that the provider would take back.
        Kind::Thinking { signature: None, .. } | Kind::Tool { .. } | Kind::Json { .. } | Kind::Withheld => {}
    }
}

fn emit_tool(tool: ToolDelta<'_>, emit: &mut impl FnMut(Event<'_>)) {
    emit(Event::Delta(Delta { tools: vec![tool], ..Delta::default() }));
}

fn block(payload: &[u8]) -> Result<BlockEvent<'_>, Failure> {
    wire::object(payload).ok_or_else(|| protocol("a block's event is incomplete"))
}

/// A value that is a string, as it is written.
fn string(raw: Option<&RawValue>) -> Option<&str> {
    raw.map(RawValue::get).filter(|text| text.starts_with('"'))
}

/// What stands between the quotes of a JSON string.
fn inside(string: &str) -> &str {
    string.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default()
}

/// Puts more behind a text that is kept, within its limit.
fn keep(kept: &mut String, more: &str) -> Step {
    if kept.len() + more.len() > limits::KEPT_TEXT_BYTES {
        return Err(constant(ErrorCode::UpstreamTooLarge));
    }
    kept.push_str(more);
    Ok(())
}

/// The JSON string around what stands between its quotes.
fn literal(inside: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(format!("\"{inside}\"")).ok()
}

#[cfg(test)]
mod tests;
