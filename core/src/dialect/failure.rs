//! Failures of providers, in one vocabulary: what a dialect read out of an error body becomes our error here.
//!
//! Only the message of errors that concern the caller's request is passed on, cleaned; all else gets a constant text.

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use serde_json::value::RawValue;

use crate::error::{ErrorCode, Failure, SHOULD_RETRY, UpstreamError};
use crate::limits;

/// What a provider said about a failure.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Its text.
    pub message: Option<String>,
    /// Its `type`, if it speaks OpenAI's vocabulary.
    pub kind: Option<String>,
    /// The parameter at fault.
    pub param: Option<String>,
    /// Its code.
    pub code: Option<String>,
    /// Further members that OpenAI-like clients know (Azure's `innererror`), as JSON.
    pub extra: Vec<(&'static str, Box<RawValue>)>,
}

/// Whose words an error is told in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vocabulary {
    /// The provider's own `type` and `code` are OpenAI's and pass.
    Theirs,
    /// Ours.
    Ours,
}

/// Our code for a provider's status, where nothing else is known.
pub(crate) fn by_status(status: StatusCode) -> ErrorCode {
    match status.as_u16() {
        300..=399 => ErrorCode::UpstreamRedirect,
        400 | 422 => ErrorCode::UpstreamRejected,
        401 | 403 => ErrorCode::UpstreamAuthFailed,
        402 => ErrorCode::InsufficientQuota,
        404 => ErrorCode::ModelNotFound,
        413 => ErrorCode::ContextLengthExceeded,
        429 => ErrorCode::UpstreamRateLimited,
        504 => ErrorCode::UpstreamTimeout,
        529 => ErrorCode::UpstreamOverloaded,
        408 | 409 | 424 | 425 | 500..=599 => ErrorCode::UpstreamError,
        _ => ErrorCode::UpstreamProtocol,
    }
}

/// The failure of `code`, with what the provider said as far as it may be passed on.
pub(crate) fn told(code: ErrorCode, report: &Report, vocabulary: Vocabulary) -> Failure {
    match code {
        ErrorCode::UpstreamRejected
        | ErrorCode::ContextLengthExceeded
        | ErrorCode::ModelNotFound
        | ErrorCode::UpstreamRateLimited
        | ErrorCode::InsufficientQuota
        | ErrorCode::UpstreamOverloaded => passed(code, report, vocabulary),
        _ => constant(code),
    }
}

/// A failure whose text is ours.
pub(crate) fn constant(code: ErrorCode) -> Failure {
    Failure::new(
        code,
        match code {
            ErrorCode::UpstreamRedirect => "The provider answered with a redirect, which the gateway does not follow.",
            ErrorCode::UpstreamAuthFailed => "The provider rejected the stored credential.",
            ErrorCode::UpstreamAuthUnavailable => "The provider's token service cannot be reached. Try again shortly.",
            ErrorCode::UpstreamTimeout => "The provider timed out.",
            ErrorCode::UpstreamRejected => "The provider rejected the request.",
            ErrorCode::ModelNotFound => "The provider does not know this model.",
            ErrorCode::UpstreamRateLimited => "The provider's rate limit is reached. Try again later.",
            ErrorCode::InsufficientQuota => "The provider's account has no quota left.",
            ErrorCode::ContextLengthExceeded => "The request is too long for the model.",
            ErrorCode::UpstreamOverloaded => "The provider is overloaded. Try again shortly.",
            ErrorCode::UpstreamUnreachable => "The provider could not be reached.",
            ErrorCode::UpstreamProtocol => "The provider's answer is not what its API promises.",
            ErrorCode::UpstreamTooLarge => "The provider's answer is too large.",
            ErrorCode::UpstreamDisconnected => "The provider's connection broke before the answer was complete.",
            ErrorCode::UpstreamIncomplete => "Upstream stream ended before completion.",
            _ => "The provider failed to process the request.",
        },
    )
}

/// A failure that keeps the provider's message, kind, parameter and code as far as they are fit to be shown.
fn passed(code: ErrorCode, report: &Report, vocabulary: Vocabulary) -> Failure {
    let Some(message) = report.message.as_deref().map(printable).filter(|text| !text.is_empty()) else {
        return constant(code);
    };
    let quota = || "insufficient_quota".to_owned();
    let ours = || if code == ErrorCode::InsufficientQuota { quota() } else { code.kind().to_owned() };
    let theirs = vocabulary == Vocabulary::Theirs;
    let mut failure = constant(code);
    failure.upstream = Some(Box::new(UpstreamError {
        status: code.status(),
        message,
        kind: report.kind.as_deref().filter(|_| theirs).and_then(word).unwrap_or_else(ours),
        param: report.param.as_deref().map(printable).filter(|text| !text.is_empty() && text.len() <= 64),
        // A provider of OpenAI's vocabulary that gives no code keeps none; a length that a status tells is named.
        code: match &report.code {
            _ if !theirs || code == ErrorCode::ContextLengthExceeded => Some(code.as_str().to_owned()),
            None => None,
            Some(text) => Some(word(text).unwrap_or_else(|| code.as_str().to_owned())),
        },
        extra: report.extra.clone(),
    }));
    failure
}

/// One word of a closed alphabet, or nothing.
fn word(text: &str) -> Option<String> {
    let fits = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b));
    fits.then(|| text.to_owned())
}

/// Without control characters other than line feeds, and cut to the limit at a character's end.
fn printable(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }) {
        if out.len() + c.len_utf8() > limits::UPSTREAM_MESSAGE_BYTES {
            break;
        }
        out.push(c);
    }
    out.trim().to_owned()
}

/// Longest wait that is passed on, in seconds.
const LONGEST_WAIT_S: u64 = limits::LONGEST_WAIT_MS / 1000;

/// Copies what the provider says about waiting, checked: `retry-after`, `retry-after-ms`, `x-ratelimit-*`.
pub(crate) fn with_waits(mut failure: Failure, headers: &HeaderMap) -> Failure {
    let waits = matches!(
        failure.code,
        ErrorCode::UpstreamRateLimited
            | ErrorCode::UpstreamOverloaded
            | ErrorCode::UpstreamError
            | ErrorCode::UpstreamTimeout
    );
    if failure.code == ErrorCode::InsufficientQuota {
        failure = failure.with_header(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    if waits {
        let number = |name: &str| {
            headers
                .get(name)
                .and_then(|v| v.to_str().ok())
                .and_then(|v| crate::json::number(v.trim()))
                .filter(|n| *n >= 0.0)
        };
        // Clamped to 0..=60 s and rounded up, so the casts cannot lose anything.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped just before")]
        let whole = |n: f64, most: u64| n.ceil().clamp(0.0, most as f64) as u64;
        let ms = number("retry-after-ms").map(|ms| whole(ms, LONGEST_WAIT_S * 1000));
        let seconds = number("retry-after")
            .map(|s| whole(s, LONGEST_WAIT_S))
            .or_else(|| ms.map(|ms| ms.div_ceil(1000)))
            .or_else(|| matches!(failure.code, ErrorCode::UpstreamRateLimited).then_some(LONGEST_WAIT_S / 12))
            .or_else(|| matches!(failure.code, ErrorCode::UpstreamOverloaded).then_some(LONGEST_WAIT_S / 12));
        if let Some(seconds) = seconds {
            failure = failure.with_header(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(ms) = ms {
            failure = failure.with_header(HeaderName::from_static("retry-after-ms"), HeaderValue::from(ms));
        }
    }
    if matches!(failure.code, ErrorCode::UpstreamRateLimited | ErrorCode::InsufficientQuota) {
        for what in ["limit", "remaining", "reset"] {
            for unit in ["requests", "tokens"] {
                let Ok(name) = HeaderName::try_from(format!("x-ratelimit-{what}-{unit}")) else { continue };
                let Some(value) = headers.get(&name).filter(|v| plain(v)) else { continue };
                failure = failure.with_header(name, value.clone());
            }
        }
    }
    failure
}

fn plain(value: &HeaderValue) -> bool {
    value.len() <= 32 && value.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || *b == b'.')
}

/// Replaces the provider's message if it tells of one of `secrets`.
pub(crate) fn scrub<'a>(failure: &mut Failure, mut secrets: impl Iterator<Item = &'a str>) {
    let Some(upstream) = &failure.upstream else { return };
    let texts = [Some(&upstream.message), upstream.param.as_ref(), upstream.code.as_ref(), Some(&upstream.kind)];
    let extra = || upstream.extra.iter().map(|(_, raw)| raw.get());
    if secrets
        .any(|secret| texts.into_iter().flatten().map(String::as_str).chain(extra()).any(|text| tells(text, secret)))
    {
        failure.upstream = None;
    }
}

/// Whether `text` holds `secret`, or eight or more characters in a row of it.
pub(crate) fn tells(text: &str, secret: &str) -> bool {
    const PIECE: usize = 8;
    if secret.len() < PIECE {
        return text.contains(secret);
    }
    text.as_bytes().windows(PIECE).any(|piece| memory_contains(secret.as_bytes(), piece))
}

fn memory_contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
