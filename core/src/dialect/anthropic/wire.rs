//! The members of Anthropic's requests that we write, and of its answers that we read.
//!
//! What is read is read from objects only (serde's derive would take arrays too) and in one pass.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Number;
use serde_json::value::RawValue;

use crate::account::{InputTotal, Usage, count};
use crate::chat::CacheControl;

/// A request. <https://platform.claude.com/docs/en/api/messages/create>
#[derive(Serialize)]
pub(super) struct Body<'a> {
    pub(super) model: &'a str,
    pub(super) max_tokens: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) system: Vec<Block<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_choice: Option<Choice<'a>>,
    pub(super) messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<Cache>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) stop_sequences: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) temperature: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) top_p: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thinking: Option<Thinking>,
    #[serde(skip_serializing_if = "OutputConfig::is_empty")]
    pub(super) output_config: OutputConfig<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metadata: Option<Metadata<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service_tier: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) stream: bool,
}

/// Who speaks in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Side {
    User,
    Assistant,
}

/// A turn of the conversation.
#[derive(Serialize)]
pub(super) struct Turn<'a> {
    pub(super) role: Side,
    pub(super) content: Content<'a>,
}

/// What is said in a turn, or what a tool gave.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Content<'a> {
    Text(Cow<'a, str>),
    Blocks(Vec<Block<'a>>),
}

impl<'a> Content<'a> {
    /// Blocks, or their plain text if there is but one.
    pub(super) fn of(mut blocks: Vec<Block<'a>>) -> Self {
        match blocks.as_mut_slice() {
            [Block::Text { text, cache_control: None }] => Self::Text(std::mem::take(text)),
            _ => Self::Blocks(blocks),
        }
    }
}

/// A part of a turn.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block<'a> {
    Text {
        text: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<Cache>,
    },
    Image {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<Cache>,
    },
    Document {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<Cache>,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: Cow<'a, str>,
        input: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<Cache>,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        content: Option<Content<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<Cache>,
    },
    /// A thinking block, whose bytes are signed.
    #[serde(untagged)]
    Thinking(Cow<'a, RawValue>),
}

impl Block<'_> {
    /// Where the request to cache up to this block stands; thinking blocks have no such place.
    pub(super) fn cache(&mut self) -> Option<&mut Option<Cache>> {
        match self {
            Self::Text { cache_control, .. }
            | Self::Image { cache_control, .. }
            | Self::Document { cache_control, .. }
            | Self::ToolUse { cache_control, .. }
            | Self::ToolResult { cache_control, .. } => Some(cache_control),
            Self::Thinking(_) => None,
        }
    }
}

/// Where an image or a document is.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Source<'a> {
    Base64 { media_type: &'static str, data: Cow<'a, str> },
    Text { media_type: &'static str, data: String },
    Url { url: &'a str },
}

/// `cache_control`.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Cache {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'static str>,
}

impl From<CacheControl> for Cache {
    fn from(control: CacheControl) -> Self {
        let ttl = match control {
            CacheControl::Default => None,
            CacheControl::FiveMinutes => Some("5m"),
            CacheControl::OneHour => Some("1h"),
        };
        Self { r#type: "ephemeral", ttl }
    }
}

/// A tool that may be called.
#[derive(Serialize)]
pub(super) struct Tool<'a> {
    pub(super) name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<&'a str>,
    pub(super) input_schema: Cow<'a, RawValue>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) strict: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<Cache>,
}

/// `tool_choice`.
#[derive(Serialize)]
pub(super) struct Choice<'a> {
    pub(super) r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) disable_parallel_tool_use: bool,
}

/// `thinking`. <https://platform.claude.com/docs/en/build-with-claude/extended-thinking>
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Thinking {
    Disabled,
    Adaptive { display: &'static str },
    Enabled { budget_tokens: u64 },
}

/// `output_config`.
#[derive(Default, Serialize)]
pub(super) struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) format: Option<Format<'a>>,
}

impl OutputConfig<'_> {
    fn is_empty(&self) -> bool {
        self.effort.is_none() && self.format.is_none()
    }
}

/// The schema of the answer.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Format<'a> {
    JsonSchema { schema: Cow<'a, RawValue> },
}

/// `metadata`.
#[derive(Serialize)]
pub(super) struct Metadata<'a> {
    pub(super) user_id: &'a str,
}

/// A struct that is read from an object: members by name, unknown ones skipped.
macro_rules! object {
    ($(#[$doc:meta])* $name:ident { $($field:ident = $key:literal: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Default)]
        pub(super) struct $name<'a> { $(pub(super) $field: Option<$kind>,)* }

        impl<'de: 'a, 'a> Deserialize<'de> for $name<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Members<'a>(PhantomData<&'a ()>);
                impl<'de: 'a, 'a> Visitor<'de> for Members<'a> {
                    type Value = $name<'a>;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }
                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        let mut read = $name::default();
                        while let Some(Text(name)) = map.next_key()? {
                            match &*name {
                                $($key => read.$field = map.next_value()?,)*
                                _ => _ = map.next_value::<IgnoredAny>()?,
                            }
                        }
                        Ok(read)
                    }
                }
                deserializer.deserialize_map(Members(PhantomData))
            }
        }
    };
}

object! {
    /// One event of a stream. Only what the frequent events hold is read at once; the rest stays raw.
    Payload {
        kind = "type": Text<'a>,
        index = "index": u32,
        delta = "delta": Piece<'a>,
        block = "content_block": &'a RawValue,
        message = "message": &'a RawValue,
        usage = "usage": &'a RawValue,
        error = "error": &'a RawValue,
    }
}

object! {
    /// What an event says of its type, if nothing else of it can be read.
    Kind { kind = "type": Text<'a>, }
}

object! {
    /// The `delta` of an event: a piece of a block, or the end of the message.
    Piece {
        kind = "type": Text<'a>,
        text = "text": &'a RawValue,
        partial_json = "partial_json": &'a RawValue,
        thinking = "thinking": &'a RawValue,
        signature = "signature": &'a RawValue,
        stop_reason = "stop_reason": Text<'a>,
        stop_details = "stop_details": &'a RawValue,
    }
}

object! {
    /// A whole answer, or what is known of it when it begins.
    Answer {
        kind = "type": Text<'a>,
        model = "model": Text<'a>,
        content = "content": Vec<&'a RawValue>,
        stop_reason = "stop_reason": Text<'a>,
        stop_details = "stop_details": &'a RawValue,
        usage = "usage": &'a RawValue,
        error = "error": &'a RawValue,
    }
}

object! {
    /// A block of an answer.
    Part {
        kind = "type": Text<'a>,
        text = "text": &'a RawValue,
        thinking = "thinking": &'a RawValue,
        signature = "signature": &'a RawValue,
        id = "id": &'a RawValue,
        name = "name": &'a RawValue,
        input = "input": &'a RawValue,
    }
}

object! {
    /// Why an answer ended early.
    StopDetails { explanation = "explanation": &'a RawValue, }
}

object! {
    /// `usage`. Numbers stay raw: odd ones count as not reported.
    Counts {
        input = "input_tokens": &'a RawValue,
        cache_write = "cache_creation_input_tokens": &'a RawValue,
        cache_read = "cache_read_input_tokens": &'a RawValue,
        output = "output_tokens": &'a RawValue,
        details = "output_tokens_details": &'a RawValue,
        creation = "cache_creation": &'a RawValue,
    }
}

object! {
    /// `usage.cache_creation`: `cache_creation_input_tokens` by their time to live.
    CacheCreation { hour = "ephemeral_1h_input_tokens": &'a RawValue, }
}

object! {
    /// `usage.output_tokens_details`.
    OutputDetails { thinking = "thinking_tokens": &'a RawValue, }
}

object! {
    /// The body of an error.
    ErrorBody { error = "error": &'a RawValue, }
}

object! {
    /// The error in it.
    ErrorWire { kind = "type": &'a RawValue, message = "message": &'a RawValue, }
}

object! {
    /// The list of models. <https://platform.claude.com/docs/en/api/models/list>
    ModelList { data = "data": Vec<ModelWire<'a>>, has_more = "has_more": bool, }
}

object! {
    /// One of them.
    ModelWire { id = "id": Text<'a>, created_at = "created_at": &'a RawValue, }
}

/// A string, borrowed where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// The text of a raw value that is a string.
pub(super) fn unescaped(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|text| text.0)
}

/// What is between the quotes of a raw string; empty for every other kind.
pub(super) fn inner(raw: &RawValue) -> &str {
    raw.get().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default()
}

/// The explanation of a refusal, as it is written.
pub(super) fn explanation(details: Option<&RawValue>) -> Option<&RawValue> {
    let details: StopDetails<'_> = serde_json::from_str(details?.get()).ok()?;
    details.explanation.filter(|raw| raw.get().starts_with('"') && raw.get() != "\"\"")
}

/// The tokens of one call, as its reports come in. Each report holds totals: a number replaces the one before, and one
/// that is absent leaves it. <https://platform.claude.com/docs/en/build-with-claude/streaming>
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    input: Option<u64>,
    cache_write: Option<u64>,
    cache_write_1h: Option<u64>,
    cache_read: Option<u64>,
    output: Option<u64>,
    thinking: Option<u64>,
}

/// Anthropic counts what goes through the cache apart:
/// <https://platform.claude.com/docs/en/build-with-claude/prompt-caching>.
const TOTAL: InputTotal = InputTotal::WithoutCache;

impl Tally {
    /// Takes a report. One of another type reports nothing.
    pub(super) fn report(&mut self, usage: &RawValue) {
        let counts: Counts<'_> = serde_json::from_str(usage.get()).unwrap_or_default();
        let set = |place: &mut Option<u64>, raw: Option<&RawValue>| {
            *place = count(raw).or(*place);
        };
        set(&mut self.input, counts.input);
        set(&mut self.cache_write, counts.cache_write);
        set(&mut self.cache_read, counts.cache_read);
        set(&mut self.output, counts.output);
        let details = counts.details.and_then(|raw| serde_json::from_str::<OutputDetails<'_>>(raw.get()).ok());
        set(&mut self.thinking, details.and_then(|details| details.thinking));
        let creation = counts.creation.and_then(|raw| serde_json::from_str::<CacheCreation<'_>>(raw.get()).ok());
        set(&mut self.cache_write_1h, creation.and_then(|creation| creation.hour));
    }

    /// The usage so far.
    pub(super) fn usage(&self) -> Option<Usage> {
        Some(TOTAL.settle(Usage {
            input_tokens: self.input?,
            output_tokens: self.output.unwrap_or(0),
            cache_read_tokens: self.cache_read,
            cache_write_tokens: self.cache_write,
            cache_write_1h_tokens: self.cache_write_1h,
            reasoning_tokens: self.thinking,
            ..Usage::default()
        }))
    }
}
