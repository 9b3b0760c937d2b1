//! OpenAI's `usage` object, as all servers of its shape write it.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{InputTotal, Usage};
use crate::json::read_object;
use crate::limits;

/// OpenAI counts cached tokens as input: <https://developers.openai.com/api/docs/guides/prompt-caching>.
const TOTAL: InputTotal = InputTotal::WithCache;

/// The object. Numbers that are absent, negative or absurd count as not reported.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(default)]
    prompt_tokens: Count,
    #[serde(default)]
    completion_tokens: Count,
    #[serde(borrow)]
    prompt_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens_details: Option<&'a RawValue>,
    /// Cerebras, which has it outside of the details.
    #[serde(default)]
    image_tokens: Count,
}

/// Both kinds of details.
#[derive(Default, Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Count,
    #[serde(default)]
    cache_write_tokens: Count,
    #[serde(default)]
    audio_tokens: Count,
    #[serde(default)]
    image_tokens: Count,
    #[serde(default)]
    reasoning_tokens: Count,
    #[serde(default)]
    accepted_prediction_tokens: Count,
    #[serde(default)]
    rejected_prediction_tokens: Count,
}

impl Usage {
    /// Reads OpenAI's `usage`; `None` when it is `null`, no object, or without usable numbers.
    pub(crate) fn from_openai(json: &str) -> Option<Self> {
        let wire: Wire<'_> = read_object(json.as_bytes())?;
        let (input, output) = (details(wire.prompt_tokens_details), details(wire.completion_tokens_details));
        Some(TOTAL.settle(Self {
            input_tokens: wire.prompt_tokens.0?,
            output_tokens: wire.completion_tokens.0.unwrap_or(0),
            cache_read_tokens: input.cached_tokens.0,
            cache_write_tokens: input.cache_write_tokens.0,
            cache_write_1h_tokens: None,
            input_audio_tokens: input.audio_tokens.0,
            input_image_tokens: input.image_tokens.0.or(wire.image_tokens.0),
            reasoning_tokens: output.reasoning_tokens.0,
            output_audio_tokens: output.audio_tokens.0,
            accepted_prediction_tokens: output.accepted_prediction_tokens.0,
            rejected_prediction_tokens: output.rejected_prediction_tokens.0,
        }))
    }
}

/// A count of tokens that a server tells, if it is one.
#[derive(Default)]
struct Count(Option<u64>);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

/// Takes anything, for a member that is odd must not cost the others.
struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_u64<E>(self, tokens: u64) -> Result<Count, E> {
        Ok(Count(Some(tokens).filter(|tokens| *tokens <= limits::TOKENS)))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_unit<E>(self) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }
}

fn details(raw: Option<&RawValue>) -> Details {
    raw.and_then(|raw| read_object(raw.get().as_bytes())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openai_usage_is_read_and_odd_numbers_are_not() {
        let full = r#"{"prompt_tokens":19,"completion_tokens":9,"total_tokens":28,
            "prompt_tokens_details":{"cached_tokens":3,"cache_write_tokens":2,"audio_tokens":4,"image_tokens":5},
            "completion_tokens_details":{"reasoning_tokens":1,"audio_tokens":2,"accepted_prediction_tokens":3,
            "rejected_prediction_tokens":0}}"#;
        let want = Usage {
            input_tokens: 19,
            output_tokens: 9,
            cache_read_tokens: Some(3),
            cache_write_tokens: Some(2),
            cache_write_1h_tokens: None,
            input_audio_tokens: Some(4),
            input_image_tokens: Some(5),
            reasoning_tokens: Some(1),
            output_audio_tokens: Some(2),
            accepted_prediction_tokens: Some(3),
            rejected_prediction_tokens: Some(0),
        };
        assert_eq!(Usage::from_openai(full), Some(want));
        let embedding = r#"{"prompt_tokens":8,"total_tokens":8}"#;
        assert_eq!(Usage::from_openai(embedding), Some(Usage { input_tokens: 8, ..Usage::default() }));
        for odd in [
            "null",
            "[]",
            "{}",
            r#"{"prompt_tokens":-1}"#,
            r#"{"prompt_tokens":1e3}"#,
            r#"{"prompt_tokens":9999999999999}"#,
            r#"[1,2,null,null]"#,
        ] {
            assert_eq!(Usage::from_openai(odd), None, "{odd}");
        }
        for odd in ["[1,2,3]", "5", r#"{"cached_tokens":18446744073709551615}"#, r#"{"cached_tokens":"1"}"#] {
            let usage = format!(r#"{{"prompt_tokens":8,"prompt_tokens_details":{odd}}}"#);
            assert_eq!(Usage::from_openai(&usage), Some(Usage { input_tokens: 8, ..Usage::default() }), "{odd}");
        }
    }
}
