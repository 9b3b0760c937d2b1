//! OpenAI's `usage` object, as all servers of its shape write it.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{InputTotal, Usage, count};
use crate::json::read_object;

/// OpenAI counts cached tokens as input: <https://developers.openai.com/api/docs/guides/prompt-caching>.
const TOTAL: InputTotal = InputTotal::WithCache;

/// The object. Numbers that are absent, negative or absurd count as not reported.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    prompt_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens_details: Option<&'a RawValue>,
    /// Cerebras, which has it outside of the details.
    #[serde(borrow)]
    image_tokens: Option<&'a RawValue>,
}

/// Both kinds of details.
#[derive(Default, Deserialize)]
struct Details<'a> {
    #[serde(borrow)]
    cached_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_write_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    audio_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    image_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    accepted_prediction_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    rejected_prediction_tokens: Option<&'a RawValue>,
}

impl Usage {
    /// Reads OpenAI's `usage`; `None` when it is `null`, no object, or without usable numbers.
    pub(crate) fn from_openai(json: &str) -> Option<Self> {
        let wire: Wire<'_> = read_object(json.as_bytes())?;
        let (input, output) = (details(wire.prompt_tokens_details), details(wire.completion_tokens_details));
        Some(TOTAL.settle(Self {
            input_tokens: count(wire.prompt_tokens)?,
            output_tokens: count(wire.completion_tokens).unwrap_or(0),
            cache_read_tokens: count(input.cached_tokens),
            cache_write_tokens: count(input.cache_write_tokens),
            cache_write_1h_tokens: None,
            input_audio_tokens: count(input.audio_tokens),
            input_image_tokens: count(input.image_tokens).or_else(|| count(wire.image_tokens)),
            reasoning_tokens: count(output.reasoning_tokens),
            output_audio_tokens: count(output.audio_tokens),
            accepted_prediction_tokens: count(output.accepted_prediction_tokens),
            rejected_prediction_tokens: count(output.rejected_prediction_tokens),
        }))
    }
}

fn details(raw: Option<&RawValue>) -> Details<'_> {
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
