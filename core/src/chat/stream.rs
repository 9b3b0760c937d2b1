//! The parts of a streamed answer, as a decoder hands them to an encoder.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{Finish, Identity};
use crate::account::Usage;
use crate::error::Failure;

/// A JSON string as it is written, quotes and escapes included. It goes from one document into another unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Literal<'a>(Cow<'a, str>);

impl<'a> Literal<'a> {
    /// `""`.
    pub(crate) const EMPTY: Literal<'static> = Literal(Cow::Borrowed("\"\""));

    /// A raw value that is a string; `None` for every other kind.
    pub(crate) fn of(raw: &'a RawValue) -> Option<Self> {
        raw.get().starts_with('"').then(|| Self(Cow::Borrowed(raw.get())))
    }

    /// Text of ours, escaped.
    pub(crate) fn from_text(text: &str) -> Literal<'static> {
        Literal(Cow::Owned(serde_json::Value::from(text).to_string()))
    }

    /// As it is written.
    pub(crate) fn as_json(&self) -> &str {
        &self.0
    }

    /// Whether it is the empty string.
    pub(crate) fn is_empty(&self) -> bool {
        self.0 == "\"\""
    }
}

/// What a decoder says. Within one stream: at most one [`Event::Start`], and first; nothing after [`Event::Done`] or
/// [`Event::Failed`].
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// Who answers.
    Start(Identity<'a>),
    /// A part of the answer.
    Delta(Delta<'a>),
    /// The usage of the whole call so far; a later report replaces an earlier one.
    Usage(Usage),
    /// The provider showed its own end: the answer is complete.
    Done,
    /// The provider reported a failure, or broke its own format.
    Failed(Box<Failure>),
}

/// A part of one choice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delta<'a> {
    /// Which choice, from 0.
    pub choice: u32,
    /// Whether the provider names the role here. The encoder sends it once, and sends it by itself if no delta names it.
    pub role: bool,
    /// Text of the answer.
    pub content: Option<Literal<'a>>,
    /// Text of a refusal.
    pub refusal: Option<Literal<'a>>,
    /// Text of the model's reasoning.
    pub reasoning: Option<Literal<'a>>,
    /// A whole thinking block as the client must send it back: a JSON object without an `index`.
    pub thinking: Option<Cow<'a, str>>,
    /// Parts of tool calls.
    pub tools: Vec<ToolDelta<'a>>,
    /// `logprobs` of this part, as OpenAI writes it.
    pub logprobs: Option<&'a RawValue>,
    /// Why the choice ends, with its last part.
    pub finish: Option<Finish>,
}

impl Delta<'_> {
    /// Whether it holds something to show: the commit point of a stream.
    pub(crate) fn has_content(&self) -> bool {
        let some = |text: &Option<Literal<'_>>| text.as_ref().is_some_and(|text| !text.is_empty());
        some(&self.content)
            || some(&self.refusal)
            || some(&self.reasoning)
            || self.thinking.is_some()
            || !self.tools.is_empty()
            || self.finish.is_some()
    }

    /// Bytes of text that the model wrote, as JSON has it.
    pub(crate) fn text_bytes(&self) -> u64 {
        let length = |text: &Literal<'_>| text.as_json().len().saturating_sub(2) as u64;
        let texts = [&self.content, &self.refusal, &self.reasoning].into_iter().flatten().map(length).sum::<u64>();
        let calls = self
            .tools
            .iter()
            .map(|tool| length(&tool.arguments) + tool.begin.as_ref().map_or(0, |(_, name)| length(name)));
        texts + calls.sum::<u64>()
    }
}

/// A part of a tool call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ToolDelta<'a> {
    /// The call's number within its choice: 0, 1, … in the order of their first parts, counting calls only.
    pub index: u32,
    /// Id and name, with the call's first part and no other.
    pub begin: Option<(Literal<'a>, Literal<'a>)>,
    /// The next piece of the arguments' text (itself JSON, here inside a string). At the end all pieces together are
    /// an object: a call without arguments gets `{}`.
    pub arguments: Literal<'a>,
}
