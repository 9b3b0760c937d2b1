//! The members we read of OpenAI's answers; everything else passes unread.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

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

/// The error object; members of other types count as absent.
#[derive(Default)]
pub(super) struct ErrorObject {
    pub(super) message: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) param: Option<String>,
    pub(super) code: Option<String>,
}

impl ErrorObject {
    pub(super) fn read(json: &str) -> Self {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(json) else { return Self::default() };
        let text = |name: &str| value.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
        Self {
            message: text("message").or_else(|| value.as_str().map(str::to_owned)),
            kind: text("type"),
            param: text("param"),
            code: text("code"),
        }
    }
}

/// Keeps `null` apart from an absent member.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}
