//! The members we read of Converse's answers and events, and the writer of its requests.

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::account::{InputTotal, Usage, count};

/// A string, borrowed where it has no escapes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// A whole answer.
#[derive(Deserialize)]
pub(super) struct Answer<'a> {
    #[serde(borrow)]
    pub(super) output: Option<&'a RawValue>,
    #[serde(borrow, rename = "stopReason")]
    pub(super) stop_reason: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
}

/// `output`.
#[derive(Deserialize)]
pub(super) struct Output<'a> {
    #[serde(borrow)]
    pub(super) message: &'a RawValue,
}

/// The message of an answer.
#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) content: Vec<&'a RawValue>,
}

/// A block of an answer's content; one member is there.
#[derive(Deserialize)]
pub(super) struct Block<'a> {
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
    #[serde(borrow, rename = "toolUse")]
    pub(super) tool_use: Option<&'a RawValue>,
    #[serde(borrow, rename = "reasoningContent")]
    pub(super) reasoning: Option<&'a RawValue>,
    #[serde(borrow, rename = "citationsContent")]
    pub(super) citations: Option<&'a RawValue>,
}

/// `toolUse`.
#[derive(Deserialize)]
pub(super) struct ToolUse<'a> {
    #[serde(borrow, rename = "toolUseId")]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
}

/// `reasoningContent` of an answer.
#[derive(Deserialize)]
pub(super) struct Reasoning<'a> {
    #[serde(borrow, rename = "reasoningText")]
    pub(super) text: Option<&'a RawValue>,
    #[serde(borrow, rename = "redactedContent")]
    pub(super) redacted: Option<&'a RawValue>,
}

/// `reasoningText`.
#[derive(Deserialize)]
pub(super) struct ReasoningText<'a> {
    #[serde(borrow)]
    pub(super) text: &'a RawValue,
    #[serde(borrow)]
    pub(super) signature: Option<&'a RawValue>,
}

/// `citationsContent`.
#[derive(Deserialize)]
pub(super) struct Citations<'a> {
    #[serde(borrow, default)]
    pub(super) content: Vec<&'a RawValue>,
}

/// An event that concerns one block: `contentBlockStart`, `contentBlockDelta`, `contentBlockStop`.
#[derive(Deserialize)]
pub(super) struct BlockEvent<'a> {
    #[serde(rename = "contentBlockIndex")]
    pub(super) index: u64,
    #[serde(borrow)]
    pub(super) start: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) delta: Option<&'a RawValue>,
}

/// `start` of a block.
#[derive(Deserialize)]
pub(super) struct Start<'a> {
    #[serde(borrow, rename = "toolUse")]
    pub(super) tool_use: Option<&'a RawValue>,
}

/// `toolUse` of a starting block.
#[derive(Deserialize)]
pub(super) struct StartedTool<'a> {
    #[serde(borrow, rename = "toolUseId")]
    pub(super) id: &'a RawValue,
    #[serde(borrow)]
    pub(super) name: &'a RawValue,
}

/// `delta` of a block; one member is there.
#[derive(Deserialize)]
pub(super) struct Delta<'a> {
    #[serde(borrow)]
    pub(super) text: Option<&'a RawValue>,
    #[serde(borrow, rename = "toolUse")]
    pub(super) tool_use: Option<&'a RawValue>,
    #[serde(borrow, rename = "reasoningContent")]
    pub(super) reasoning: Option<&'a RawValue>,
}

/// `toolUse` of a delta.
#[derive(Deserialize)]
pub(super) struct ToolInput<'a> {
    #[serde(borrow)]
    pub(super) input: &'a RawValue,
}

/// `reasoningContent` of a delta; one member is there.
#[derive(Deserialize)]
pub(super) struct ReasoningDelta<'a> {
    #[serde(borrow)]
    pub(super) text: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) signature: Option<&'a RawValue>,
    #[serde(borrow, rename = "redactedContent")]
    pub(super) redacted: Option<&'a RawValue>,
}

/// `messageStop`.
#[derive(Deserialize)]
pub(super) struct MessageStop<'a> {
    #[serde(borrow, rename = "stopReason")]
    pub(super) reason: Text<'a>,
}

/// `metadata`, at the end of a stream.
#[derive(Deserialize)]
pub(super) struct Metadata<'a> {
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
}

/// `usage`. `inputTokens` leaves out what the cache had.
#[derive(Deserialize)]
struct Tokens<'a> {
    #[serde(borrow, rename = "inputTokens")]
    input: Option<&'a RawValue>,
    #[serde(borrow, rename = "outputTokens")]
    output: Option<&'a RawValue>,
    #[serde(borrow, rename = "cacheReadInputTokens")]
    cache_read: Option<&'a RawValue>,
    #[serde(borrow, rename = "cacheWriteInputTokens")]
    cache_write: Option<&'a RawValue>,
    #[serde(borrow, rename = "cacheDetails")]
    cache_details: Option<&'a RawValue>,
}

/// One of `cacheDetails`: what was written into the cache for how long.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CacheDetail.html>
#[derive(Deserialize)]
struct CacheDetail<'a> {
    #[serde(borrow)]
    ttl: Option<Text<'a>>,
    #[serde(borrow, rename = "inputTokens")]
    tokens: Option<&'a RawValue>,
}

/// Converse counts what goes through the cache apart:
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html>.
const TOTAL: InputTotal = InputTotal::WithoutCache;

/// The body of an error, or the payload of an exception.
#[derive(Default, Deserialize)]
pub(super) struct ErrorBody<'a> {
    #[serde(borrow, alias = "Message")]
    pub(super) message: Option<Text<'a>>,
    #[serde(borrow, rename = "__type")]
    pub(super) kind: Option<Text<'a>>,
    #[serde(rename = "originalStatusCode")]
    pub(super) original_status: Option<u16>,
}

/// Reads a struct from an object; serde would take an array too.
pub(super) fn object_of<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    object(raw.get().as_bytes())
}

pub(super) use crate::json::read_object as object;

/// Reads `usage`; `None` without a usable number of input tokens.
pub(super) fn usage(raw: &RawValue) -> Option<Usage> {
    let tokens: Tokens<'_> = object_of(raw)?;
    let hour = |detail: &&RawValue| {
        let detail: CacheDetail<'_> = object_of(detail)?;
        detail.ttl.is_some_and(|ttl| ttl.0 == "1h").then(|| count(detail.tokens)).flatten()
    };
    let details = tokens.cache_details.and_then(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok());
    Some(TOTAL.settle(Usage {
        input_tokens: count(tokens.input)?,
        output_tokens: count(tokens.output).unwrap_or(0),
        cache_read_tokens: count(tokens.cache_read),
        cache_write_tokens: count(tokens.cache_write),
        cache_write_1h_tokens: details.unwrap_or_default().iter().find_map(hour),
        ..Usage::default()
    }))
}

/// A thinking block as clients get it and send it back; `text` and `signature` are JSON strings.
pub(super) fn thinking(text: &str, signature: &str) -> String {
    format!(r#"{{"type":"thinking","thinking":{text},"signature":{signature}}}"#)
}

/// The same where the provider hid the text; `data` is a JSON string.
pub(super) fn redacted_thinking(data: &str) -> String {
    format!(r#"{{"type":"redacted_thinking","data":{data}}}"#)
}

/// Writes JSON. Commas come by themselves; the caller pairs the brackets.
#[derive(Debug, Default)]
pub(super) struct Json {
    bytes: Vec<u8>,
    /// Where the cache points are, each with the comma before it.
    points: Vec<Range<usize>>,
}

impl Json {
    /// Begins a member: its name, which needs no escape.
    pub(super) fn name(&mut self, name: &'static str) -> &mut Self {
        self.comma();
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b"\":");
        self
    }

    /// A value, or the beginning or end of one, as it is.
    pub(super) fn raw(&mut self, json: &str) -> &mut Self {
        if !json.starts_with(['}', ']']) {
            self.comma();
        }
        self.bytes.extend_from_slice(json.as_bytes());
        self
    }

    /// A string.
    pub(super) fn string(&mut self, text: &str) -> &mut Self {
        self.comma();
        // A `Vec` takes every write, and a string is always JSON.
        let written = serde_json::to_writer(&mut self.bytes, text);
        debug_assert!(written.is_ok());
        self
    }

    /// A string that needs no escape, such as base64.
    pub(super) fn plain(&mut self, text: &str) -> &mut Self {
        self.comma();
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(b'"');
        self
    }

    /// Whether nothing was written.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// A cache point behind a value, unless there is one.
    pub(super) fn cache_point(&mut self, json: &str) {
        let start = self.bytes.len();
        if self.points.last().is_none_or(|point| point.end != start) {
            self.raw(json);
            self.points.push(start..self.bytes.len());
        }
    }

    /// How many cache points there are.
    pub(super) fn cache_points(&self) -> usize {
        self.points.len()
    }

    /// Takes out all cache points but the last `most`, if there are more. Those from the `first` on count as the first.
    pub(super) fn limit_cache_points(&mut self, most: usize, first: usize) -> bool {
        let all = self.points.len();
        let surplus = all.saturating_sub(most);
        if surplus == 0 {
            return false;
        }
        self.points.rotate_left(first.min(all));
        self.points.truncate(surplus);
        self.points.sort_unstable_by_key(|point| point.start);
        let mut kept = Vec::with_capacity(self.bytes.len());
        let mut copied = 0;
        for point in self.points.drain(..) {
            kept.extend_from_slice(self.bytes.get(copied..point.start).unwrap_or_default());
            copied = point.end;
        }
        kept.extend_from_slice(self.bytes.get(copied..).unwrap_or_default());
        self.bytes = kept;
        true
    }

    /// What was written, for good.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Values that were written elsewhere, with their commas.
    pub(super) fn splice(&mut self, values: &Self) -> &mut Self {
        if !values.is_empty() {
            self.comma();
            let start = self.bytes.len();
            self.points.extend(values.points.iter().map(|point| point.start + start..point.end + start));
            self.bytes.extend_from_slice(&values.bytes);
        }
        self
    }

    /// A comma, unless a value begins a list or follows its name.
    fn comma(&mut self) {
        if !matches!(self.bytes.last(), None | Some(b'{' | b'[' | b':')) {
            self.bytes.push(b',');
        }
    }
}
