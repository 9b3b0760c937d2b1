//! What a call used, and the one place where it is settled.

mod bill;
pub mod bucket;
mod ledger;
pub(crate) mod limiter;

use serde::Deserialize;

pub(crate) use self::bill::{Bill, Closing, Facts};
pub(crate) use self::ledger::{Counter, Dimension, Filed, Group, OPERATOR, Sums, Tally, read, roll};
pub use self::ledger::{Row, roll::roll_up};

/// Tokens of one call, as the provider reported them. Totals include their classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// All input tokens.
    pub input_tokens: u64,
    /// All output tokens.
    pub output_tokens: u64,
    /// Input tokens read from the provider's prompt cache, part of `input_tokens`.
    pub cache_read_tokens: Option<u64>,
    /// Input tokens written into the provider's prompt cache, part of `input_tokens`.
    pub cache_write_tokens: Option<u64>,
    /// Output tokens spent on reasoning, part of `output_tokens`.
    pub reasoning_tokens: Option<u64>,
}

impl Usage {
    /// The sum of two calls. A class is known if either call reported it.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cache_read_tokens: sum(self.cache_read_tokens, other.cache_read_tokens),
            cache_write_tokens: sum(self.cache_write_tokens, other.cache_write_tokens),
            reasoning_tokens: sum(self.reasoning_tokens, other.reasoning_tokens),
        }
    }
}

/// Takes the reports of one call and gives up their sum exactly once.
///
/// Every end of a call settles: a full answer, a cut stream, a client that left. What asks second gets nothing.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    usage: Option<Usage>,
    settled: bool,
}

impl Meter {
    /// Takes a report; the last one counts (fault matrix U39).
    pub(crate) fn report(&mut self, usage: Usage) {
        self.usage = Some(usage);
    }

    /// The usage, the first time; `None` inside when the provider reported none.
    pub(crate) fn settle(&mut self) -> Option<Option<Usage>> {
        if self.settled {
            return None;
        }
        self.settled = true;
        Some(self.usage)
    }
}

/// OpenAI's `usage` object. Numbers that are absent, negative or absurd count as not reported.
#[derive(Deserialize)]
struct OpenAiUsage<'a> {
    #[serde(borrow)]
    prompt_tokens: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow)]
    completion_tokens: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow)]
    prompt_tokens_details: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow)]
    completion_tokens_details: Option<&'a serde_json::value::RawValue>,
}

#[derive(Deserialize)]
struct Details<'a> {
    #[serde(borrow)]
    cached_tokens: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow)]
    cache_write_tokens: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow)]
    reasoning_tokens: Option<&'a serde_json::value::RawValue>,
}

/// More tokens than any call can have; beyond it a report is a mistake.
const ABSURD: u64 = 1 << 40;

/// A count of tokens as providers write it; `None` if it is no whole number, or absurd.
pub(crate) fn tokens(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|count| *count < ABSURD)
}

impl Usage {
    /// Reads OpenAI's `usage`; `None` when it is `null`, no object, or without usable numbers.
    pub(crate) fn from_openai(json: &str) -> Option<Self> {
        // Serde would read arrays too.
        let object = |json: &str| json.trim_start().starts_with('{');
        let raw: OpenAiUsage<'_> = object(json).then(|| serde_json::from_str(json).ok()).flatten()?;
        let count = |raw: Option<&serde_json::value::RawValue>| raw.and_then(|raw| tokens(raw.get()));
        let details = |raw: Option<&serde_json::value::RawValue>, pick: fn(&Details<'_>) -> Option<u64>| {
            let raw = raw.filter(|raw| object(raw.get()));
            raw.and_then(|r| serde_json::from_str::<Details<'_>>(r.get()).ok()).as_ref().and_then(pick)
        };
        Some(Self {
            input_tokens: count(raw.prompt_tokens)?,
            output_tokens: count(raw.completion_tokens).unwrap_or(0),
            cache_read_tokens: details(raw.prompt_tokens_details, |d| tokens(d.cached_tokens?.get())),
            cache_write_tokens: details(raw.prompt_tokens_details, |d| tokens(d.cache_write_tokens?.get())),
            reasoning_tokens: details(raw.completion_tokens_details, |d| tokens(d.reasoning_tokens?.get())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openai_usage_is_read_and_odd_numbers_are_not() {
        let full = r#"{"prompt_tokens":19,"completion_tokens":2,"total_tokens":21,"prompt_tokens_details":{"cached_tokens":3},
            "completion_tokens_details":{"reasoning_tokens":1}}"#;
        let want = Usage {
            input_tokens: 19,
            output_tokens: 2,
            cache_read_tokens: Some(3),
            cache_write_tokens: None,
            reasoning_tokens: Some(1),
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

    #[test]
    fn a_meter_settles_once() {
        let mut meter = Meter::default();
        meter.report(Usage { input_tokens: 1, ..Usage::default() });
        meter.report(Usage { input_tokens: 2, ..Usage::default() });
        assert_eq!(meter.settle(), Some(Some(Usage { input_tokens: 2, ..Usage::default() })));
        assert_eq!(meter.settle(), None);
        assert_eq!(Meter::default().settle(), Some(None));
    }
}
