//! The members we read of an OpenAI-shaped answer, and the plain writer of requests.
//!
//! Members that some server writes in another type than OpenAI are raw: they count as absent then, and break nothing.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::account::Usage;
use crate::chat::Identity;

/// A struct that is written as an object: serde's own reading would take an array too.
pub(super) struct Member<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Member<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MemberVisitor(PhantomData)).map(Self)
    }
}

struct MemberVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for MemberVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

/// What answers and chunks have in common. `choices` are whole or in parts.
#[derive(Deserialize)]
#[serde(bound(deserialize = "C: Deserialize<'de>"))]
pub(super) struct Body<'a, C> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    created: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    /// watsonx.ai.
    #[serde(borrow)]
    model_id: Option<&'a RawValue>,
    #[serde(borrow)]
    system_fingerprint: Option<&'a RawValue>,
    #[serde(borrow)]
    service_tier: Option<&'a RawValue>,
    pub(super) choices: Option<Vec<Member<C>>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    /// watsonx.ai.
    #[serde(borrow)]
    errors: Option<&'a RawValue>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
}

impl<'a, C> Body<'a, C> {
    /// Whether it is no answer at all: OpenAI's `error`, watsonx.ai's `errors`, vLLM's object of type `error`.
    pub(super) fn is_error(&self) -> bool {
        self.error.is_some() || self.errors.is_some() || self.object.is_some_and(|raw| raw.get() == r#""error""#)
    }

    /// Who answers. Azure's events about filters have ids and names that are empty and times that are 0.
    pub(super) fn identity(&self) -> Identity<'a> {
        let word = |raw: Option<&'a RawValue>| raw.and_then(text).filter(|text| !text.is_empty());
        Identity {
            id: word(self.id),
            created: self.created.and_then(|raw| raw.get().parse().ok()).filter(|seconds| *seconds > 0),
            model: word(self.model).or_else(|| word(self.model_id)),
            fingerprint: self.system_fingerprint,
            service_tier: self.service_tier,
        }
    }

    /// What was used, if it is reported.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.usage.filter(|raw| raw.get().starts_with('{')).and_then(|raw| Usage::from_openai(raw.get()))
    }
}

/// A choice of a whole answer.
#[derive(Deserialize)]
pub(super) struct ChoiceWire<'a> {
    #[serde(borrow)]
    pub(super) index: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) message: Option<Member<SaidWire<'a>>>,
    #[serde(borrow)]
    pub(super) finish_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) logprobs: Option<&'a RawValue>,
}

/// A choice of a chunk.
#[derive(Deserialize)]
pub(super) struct PartWire<'a> {
    #[serde(borrow)]
    pub(super) index: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) delta: Option<Member<SaidWire<'a>>>,
    #[serde(borrow)]
    pub(super) finish_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) logprobs: Option<&'a RawValue>,
}

/// What the model says: a message, or the next part of one.
#[derive(Default, Deserialize)]
pub(super) struct SaidWire<'a> {
    #[serde(borrow)]
    pub(super) role: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    /// Cerebras, and newer versions of vLLM.
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) tool_calls: Option<Vec<Member<CallWire<'a>>>>,
    /// Answers to `functions`.
    #[serde(borrow)]
    pub(super) function_call: Option<Member<CalledWire<'a>>>,
}

impl<'a> SaidWire<'a> {
    /// The reasoning, under either of its names.
    pub(super) fn reasoning(&self) -> Option<&'a RawValue> {
        self.reasoning_content.or(self.reasoning)
    }

    /// The calls, also one of the legacy kind, which has no id.
    pub(super) fn calls(&mut self) -> impl Iterator<Item = CallWire<'a>> + use<'a> {
        let legacy = self.function_call.take();
        let legacy = legacy.map(|function| CallWire { index: None, id: None, function: Some(function) });
        self.tool_calls.take().unwrap_or_default().into_iter().map(|call| call.0).chain(legacy)
    }
}

/// A tool call, or a part of one.
#[derive(Deserialize)]
pub(super) struct CallWire<'a> {
    #[serde(borrow)]
    pub(super) index: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) function: Option<Member<CalledWire<'a>>>,
}

impl<'a> CallWire<'a> {
    /// The function's name, unless empty.
    pub(super) fn name(&self) -> Option<&'a RawValue> {
        self.function.as_ref().and_then(|function| function.0.name).filter(|raw| is_text(raw))
    }

    /// The arguments: text of JSON, by some servers the JSON itself.
    pub(super) fn arguments(&self) -> Option<&'a RawValue> {
        self.function.as_ref().and_then(|function| function.0.arguments)
    }
}

/// The function of a call.
#[derive(Deserialize)]
pub(super) struct CalledWire<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

/// A string, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A raw value that is a string.
pub(super) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    raw.get().starts_with('"').then(|| serde_json::from_str::<Text<'_>>(raw.get()).ok()).flatten().map(|text| text.0)
}

/// Whether a raw value is a string that is not empty.
pub(super) fn is_text(raw: &RawValue) -> bool {
    raw.get().starts_with('"') && raw.get() != "\"\""
}

/// Reads a document that is an object.
pub(super) fn object<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    let text = std::str::from_utf8(bytes).ok()?;
    serde_json::from_str::<Member<T>>(text).ok().map(|member| member.0)
}

/// Writes JSON by hand. It knows where commas belong.
pub(super) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// Nothing written, room for `bytes`.
    pub(super) fn new(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes) }
    }

    /// `{` or `[`.
    pub(super) fn open(&mut self, bracket: u8) {
        self.comma();
        self.out.push(bracket);
    }

    /// `}` or `]`.
    pub(super) fn close(&mut self, bracket: u8) {
        self.out.push(bracket);
    }

    /// A member's name; its value comes next.
    pub(super) fn name(&mut self, name: &str) {
        self.string(name);
        self.out.push(b':');
    }

    /// A string.
    pub(super) fn string(&mut self, text: &str) {
        self.comma();
        // A `Vec` takes every write, and a string is always JSON.
        let written = serde_json::to_writer(&mut self.out, text);
        debug_assert!(written.is_ok());
    }

    /// A value that is JSON already.
    pub(super) fn raw(&mut self, json: &str) {
        self.comma();
        self.out.extend_from_slice(json.as_bytes());
    }

    /// A member that is a string.
    pub(super) fn text_member(&mut self, name: &str, text: &str) {
        self.name(name);
        self.string(text);
    }

    /// A member that is JSON already.
    pub(super) fn raw_member(&mut self, name: &str, json: &str) {
        self.name(name);
        self.raw(json);
    }

    /// What was written.
    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }

    fn comma(&mut self) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[' | b':')) {
            self.out.push(b',');
        }
    }
}
