//! The members we read of text completions. Those that are of another type than OpenAI's count as absent.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::account::Usage;
use crate::chat::Identity;

/// A whole answer, or one chunk of a stream.
#[derive(Deserialize)]
pub(super) struct Body<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    created: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    system_fingerprint: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) choices: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
}

/// One choice.
#[derive(Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(borrow)]
    index: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) text: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) finish_reason: Option<&'a RawValue>,
}

impl<'a> Body<'a> {
    /// Whether it is no answer at all: OpenAI's `error`, or vLLM's object of type `error`.
    pub(super) fn is_error(&self) -> bool {
        self.error.is_some() || self.object.is_some_and(|raw| raw.get() == r#""error""#)
    }

    /// Who answers.
    pub(super) fn identity(&self) -> Identity<'a> {
        let word = |raw: Option<&'a RawValue>| raw.and_then(text).filter(|text| !text.is_empty());
        Identity {
            id: word(self.id),
            created: self.created.and_then(|raw| raw.get().parse().ok()),
            model: word(self.model),
            fingerprint: self.system_fingerprint,
            service_tier: None,
        }
    }

    /// What was used, if it is reported.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.usage.filter(|raw| raw.get().starts_with('{')).and_then(|raw| Usage::from_openai(raw.get()))
    }
}

impl Choice<'_> {
    /// Its number; `place` if it has none.
    pub(super) fn number(&self, place: usize) -> usize {
        self.index.and_then(|raw| raw.get().parse().ok()).unwrap_or(place)
    }
}

/// A string; `None` for everything else.
pub(super) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|text| text.0)
}

pub(super) use crate::json::read_object as object;
