//! The members we read of OpenAI's requests and answers; everything else passes unread.

use std::borrow::Cow;
use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::dialect::failure::Report;

/// One payload of a stream.
#[derive(Deserialize)]
pub(super) struct Chunk<'a> {
    #[serde(borrow, default)]
    pub(super) choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) error: Option<&'a RawValue>,
}

/// One choice of a streamed payload.
#[derive(Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(default)]
    pub(super) index: u32,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) delta: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) text: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) finish_reason: Option<&'a RawValue>,
}

/// A whole answer.
#[derive(Deserialize)]
pub(super) struct Answer<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) choices: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) data: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) error: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) model: Option<&'a RawValue>,
}

/// `{"error": …}` of any OpenAI-like server.
#[derive(Deserialize)]
pub(super) struct ErrorBody<'a> {
    #[serde(borrow)]
    pub(super) error: &'a RawValue,
}

/// Appends a string as JSON.
pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    // A `Vec` takes every write, and a string is always JSON.
    let written = serde_json::to_writer(out, text);
    debug_assert!(written.is_ok());
}

/// Reads an error object; members of other types count as absent.
pub(super) fn report(json: &str) -> Report {
    let Ok(value) = serde_json::from_str::<serde_json::Value>(json) else { return Report::default() };
    let text = |name: &str| value.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
    Report {
        message: text("message").or_else(|| value.as_str().map(str::to_owned)),
        kind: text("type"),
        param: text("param"),
        code: text("code"),
        extra: Vec::new(),
    }
}

/// Keeps `null` apart from an absent member.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A string, borrowed where it has no escapes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// A message of a request.
#[derive(Deserialize)]
pub(super) struct MessageWire<'a> {
    #[serde(borrow)]
    pub(super) role: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) content: ContentWire<'a>,
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) tool_calls: Option<Vec<ToolCallWire<'a>>>,
    #[serde(borrow)]
    pub(super) tool_call_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) function_call: Option<CalledWire<'a>>,
    #[serde(borrow)]
    pub(super) refusal: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) audio: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) reasoning_content: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) thinking_blocks: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    pub(super) cache_control: Option<CacheWire<'a>>,
    #[serde(borrow)]
    pub(super) prompt_cache_breakpoint: Option<CacheWire<'a>>,
}

/// A message's content: read in one pass, since it may be large.
#[derive(Default)]
pub(super) enum ContentWire<'a> {
    #[default]
    None,
    Text(Cow<'a, str>),
    Parts(Vec<&'a RawValue>),
    /// Neither a string nor an array.
    Wrong,
}

impl<'de: 'a, 'a> Deserialize<'de> for ContentWire<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = ContentWire<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array")
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(ContentWire::Text(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(ContentWire::Text(Cow::Owned(text.to_owned())))
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(ContentWire::None)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(ContentWire::Wrong)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(ContentWire::Wrong)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(ContentWire::Wrong)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(ContentWire::Wrong)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = seq.next_element()? {
            parts.push(part);
        }
        Ok(ContentWire::Parts(parts))
    }
    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
        Ok(ContentWire::Wrong)
    }
}

/// A part of a message's content.
#[derive(Deserialize)]
pub(super) struct PartWire<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) refusal: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) image_url: Option<ImageWire<'a>>,
    #[serde(borrow)]
    pub(super) input_audio: Option<AudioWire<'a>>,
    #[serde(borrow)]
    pub(super) file: Option<FileWire<'a>>,
    #[serde(borrow)]
    pub(super) cache_control: Option<CacheWire<'a>>,
    #[serde(borrow)]
    pub(super) prompt_cache_breakpoint: Option<CacheWire<'a>>,
}

/// `image_url`.
#[derive(Deserialize)]
pub(super) struct ImageWire<'a> {
    #[serde(borrow)]
    pub(super) url: Text<'a>,
    #[serde(borrow)]
    pub(super) detail: Option<Text<'a>>,
}

/// `input_audio`.
#[derive(Deserialize)]
pub(super) struct AudioWire<'a> {
    #[serde(borrow)]
    pub(super) data: Text<'a>,
    #[serde(borrow)]
    pub(super) format: Text<'a>,
}

/// `file`.
#[derive(Deserialize)]
pub(super) struct FileWire<'a> {
    #[serde(borrow)]
    pub(super) file_data: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) filename: Option<Text<'a>>,
}

/// `cache_control` and `prompt_cache_breakpoint`.
#[derive(Deserialize)]
pub(super) struct CacheWire<'a> {
    #[serde(borrow)]
    pub(super) ttl: Option<Text<'a>>,
}

/// A call in the history.
#[derive(Deserialize)]
pub(super) struct ToolCallWire<'a> {
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    #[serde(rename = "type", borrow)]
    pub(super) kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) function: Option<CalledWire<'a>>,
}

/// The function of a call.
#[derive(Deserialize)]
pub(super) struct CalledWire<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) arguments: Option<Text<'a>>,
}

/// A tool.
#[derive(Deserialize)]
pub(super) struct ToolWire<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) function: Option<FunctionWire<'a>>,
    #[serde(borrow)]
    pub(super) cache_control: Option<CacheWire<'a>>,
}

/// A function that may be called.
#[derive(Deserialize)]
pub(super) struct FunctionWire<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) description: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) parameters: Option<&'a RawValue>,
    pub(super) strict: Option<bool>,
}
