//! Whole answers and errors of an OpenAI-like provider.

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

use super::wire::{Answer, ErrorBody, ErrorObject};
use crate::account::Usage;
use crate::error::{ErrorCode, Failure, SHOULD_RETRY, UpstreamError};
use crate::limits;
use crate::provider::Endpoint;

/// Checks a whole answer of `endpoint` as far as a client would trip over it, and reads its usage and model.
pub(crate) fn read_answer(endpoint: Endpoint, body: &[u8]) -> Result<(Option<Usage>, Option<String>), Failure> {
    let protocol = |cause: &str| {
        Failure::new(ErrorCode::UpstreamProtocol, "The provider's answer is not what its API promises.")
            .caused_by(cause)
    };
    let text = std::str::from_utf8(body).map_err(|_| protocol("answer is not UTF-8"))?;
    // Serde would also read a struct from an array.
    if !text.trim_start().starts_with('{') {
        return Err(protocol("answer is no object"));
    }
    let answer: Answer<'_> = serde_json::from_str(text).map_err(|_| protocol("answer is not JSON"))?;
    if let Some(error) = answer.error.filter(|raw| raw.get() != "null") {
        return Err(embedded_failure(error.get()));
    }
    let list = match endpoint {
        Endpoint::Chat | Endpoint::Completions => answer.choices,
        Endpoint::Embeddings => answer.data,
    };
    if !list.is_some_and(|raw| raw.get().starts_with('[')) {
        return Err(protocol("answer lacks its list"));
    }
    let usage = answer.usage.and_then(|raw| Usage::from_openai(raw.get()));
    let model = answer.model.and_then(|raw| serde_json::from_str(raw.get()).ok());
    Ok((usage, model))
}

/// The models of `GET /models`, as pairs of id and creation time.
pub(crate) fn read_models(body: &[u8]) -> Option<Vec<(String, u64)>> {
    #[derive(serde::Deserialize)]
    struct List {
        data: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        id: String,
        #[serde(default)]
        created: serde_json::Value,
    }
    let list: List = serde_json::from_slice(body).ok()?;
    Some(list.data.into_iter().map(|entry| (entry.id, entry.created.as_u64().unwrap_or(0))).collect())
}

/// The failure that an answer with an error status means to the client. `body` may be cut or empty.
pub(crate) fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    let error = serde_json::from_slice::<ErrorBody<'_>>(body)
        .map(|body| ErrorObject::read(body.error.get()))
        .unwrap_or_default();
    let quota = is_quota(&error);
    let failure = match status.as_u16() {
        300..=399 => constant(ErrorCode::UpstreamRedirect),
        400 | 422 => passed(ErrorCode::UpstreamRejected, StatusCode::BAD_REQUEST, &error),
        401 | 403 => constant(ErrorCode::UpstreamAuthFailed),
        402 => passed(ErrorCode::InsufficientQuota, StatusCode::TOO_MANY_REQUESTS, &error),
        404 => passed(ErrorCode::ModelNotFound, StatusCode::NOT_FOUND, &error),
        504 => constant(ErrorCode::UpstreamTimeout),
        413 => passed(ErrorCode::ContextLengthExceeded, StatusCode::BAD_REQUEST, &error),
        429 if quota => passed(ErrorCode::InsufficientQuota, StatusCode::TOO_MANY_REQUESTS, &error),
        429 => passed(ErrorCode::UpstreamRateLimited, StatusCode::TOO_MANY_REQUESTS, &error),
        529 => constant(ErrorCode::UpstreamOverloaded),
        408 | 409 | 424 | 425 | 500..=599 => constant(ErrorCode::UpstreamError),
        _ => constant(ErrorCode::UpstreamProtocol),
    };
    with_waits(failure, headers).caused_by(format!("upstream status {}", status.as_u16()))
}

/// The failure that an error object inside a stream, or inside an answer of status 200, means.
pub(crate) fn embedded_failure(error: &str) -> Failure {
    let error = ErrorObject::read(error);
    let words = [error.kind.as_deref().unwrap_or_default(), error.code.as_deref().unwrap_or_default()];
    let any = |known: &[&str]| words.iter().any(|word| known.contains(word));
    let code = if is_quota(&error) {
        ErrorCode::InsufficientQuota
    } else if any(&["context_length_exceeded"]) {
        ErrorCode::ContextLengthExceeded
    } else if any(&["rate_limit_exceeded", "rate_limit_error", "tokens", "requests", "429"]) {
        ErrorCode::UpstreamRateLimited
    } else if any(&["overloaded_error", "overloaded", "529"]) {
        ErrorCode::UpstreamOverloaded
    } else if any(&["authentication_error", "invalid_api_key", "permission_error", "401", "403"]) {
        ErrorCode::UpstreamAuthFailed
    } else if any(&["model_not_found"]) {
        ErrorCode::ModelNotFound
    } else if any(&["invalid_request_error", "400", "422"]) {
        ErrorCode::UpstreamRejected
    } else {
        return constant(ErrorCode::UpstreamError).caused_by("error in the answer");
    };
    match code {
        ErrorCode::UpstreamAuthFailed => constant(code),
        _ => passed(code, code.status(), &error),
    }
    .caused_by("error in the answer")
}

fn is_quota(error: &ErrorObject) -> bool {
    [&error.kind, &error.code]
        .into_iter()
        .flatten()
        .any(|word| matches!(word.as_str(), "insufficient_quota" | "billing_hard_limit_reached" | "billing_not_active"))
}

/// A failure whose text is ours.
pub(crate) fn constant(code: ErrorCode) -> Failure {
    Failure::new(
        code,
        match code {
            ErrorCode::UpstreamRedirect => "The provider answered with a redirect, which the gateway does not follow.",
            ErrorCode::UpstreamAuthFailed => "The provider rejected the stored credential.",
            ErrorCode::UpstreamTimeout => "The provider took too long to answer.",
            ErrorCode::UpstreamOverloaded => "The provider is overloaded. Try again shortly.",
            ErrorCode::UpstreamUnreachable => "The provider could not be reached.",
            ErrorCode::UpstreamProtocol => "The provider's answer is not what its API promises.",
            ErrorCode::UpstreamTooLarge => "The provider's answer is too large.",
            ErrorCode::UpstreamDisconnected => "The provider's connection broke before the answer was complete.",
            ErrorCode::UpstreamIncomplete => "The provider's stream ended before the answer was complete.",
            _ => "The provider failed to process the request.",
        },
    )
}

/// A failure that keeps the provider's message, kind, parameter and code as far as they are fit to be shown.
fn passed(code: ErrorCode, status: StatusCode, error: &ErrorObject) -> Failure {
    let Some(message) = error.message.as_deref().map(printable).filter(|text| !text.is_empty()) else {
        return Failure::new(
            code,
            match code {
                ErrorCode::ModelNotFound => "The provider does not know this model.",
                ErrorCode::UpstreamRateLimited => "The provider's rate limit is reached. Try again later.",
                ErrorCode::InsufficientQuota => "The provider's account has no quota left.",
                ErrorCode::ContextLengthExceeded => "The request is too long for the model.",
                _ => "The provider rejected the request.",
            },
        );
    };
    let mut failure = Failure::new(code, "The provider rejected the request.");
    failure.upstream = Some(Box::new(UpstreamError {
        status,
        message,
        kind: error.kind.as_deref().and_then(word).unwrap_or_else(|| code.kind().to_owned()),
        param: error.param.as_deref().map(printable).filter(|text| text.len() <= 64),
        // A provider that gives no code keeps none; a length that a status tells is named.
        code: if code == ErrorCode::ContextLengthExceeded {
            Some(code.as_str().to_owned())
        } else {
            error.code.as_deref().map(|text| word(text).unwrap_or_else(|| code.as_str().to_owned()))
        },
    }));
    failure
}

/// One word of a closed alphabet, or nothing.
fn word(text: &str) -> Option<String> {
    let fits = !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b));
    fits.then(|| text.to_owned())
}

/// Without control characters, and cut to the limit at a character's end.
fn printable(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if out.len() + c.len_utf8() > limits::UPSTREAM_MESSAGE_BYTES {
            break;
        }
        out.push(c);
    }
    out.trim().to_owned()
}

/// Longest wait that is passed on, in seconds (fault matrix U7).
const LONGEST_WAIT_S: u64 = 60;

/// Copies what the provider says about waiting, checked: `retry-after`, `retry-after-ms`, `x-ratelimit-*`.
fn with_waits(mut failure: Failure, headers: &HeaderMap) -> Failure {
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
                .and_then(|v| v.trim().parse::<f64>().ok())
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
    if secrets.any(|secret| texts.into_iter().flatten().any(|text| tells(text, secret))) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn classified(status: u16, body: &str) -> Failure {
        classify(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn statuses_map_to_our_codes() {
        for (status, code, ours) in [
            (301, ErrorCode::UpstreamRedirect, 502),
            (400, ErrorCode::UpstreamRejected, 400),
            (422, ErrorCode::UpstreamRejected, 400),
            (401, ErrorCode::UpstreamAuthFailed, 502),
            (403, ErrorCode::UpstreamAuthFailed, 502),
            (402, ErrorCode::InsufficientQuota, 429),
            (404, ErrorCode::ModelNotFound, 404),
            (408, ErrorCode::UpstreamError, 502),
            (409, ErrorCode::UpstreamError, 502),
            (413, ErrorCode::ContextLengthExceeded, 400),
            (418, ErrorCode::UpstreamProtocol, 502),
            (429, ErrorCode::UpstreamRateLimited, 429),
            (500, ErrorCode::UpstreamError, 502),
            (503, ErrorCode::UpstreamError, 502),
            (504, ErrorCode::UpstreamTimeout, 504),
            (529, ErrorCode::UpstreamOverloaded, 503),
        ] {
            for body in ["", "<html>", r#"{"error":{"message":"m","type":"t","code":"c"}}"#] {
                let failure = classified(status, body);
                assert_eq!((failure.code, failure.status().as_u16()), (code, ours), "{status} {body}");
            }
        }
    }

    #[test]
    fn text_of_a_provider_is_cleaned_or_withheld() {
        let failure =
            classified(400, r#"{"error":{"message":"a\r\nb\u0000","type":"Bad Type","param":"x","code":"ok_1"}}"#);
        let upstream = failure.upstream.unwrap();
        assert_eq!(
            (upstream.message.as_str(), upstream.kind.as_str(), upstream.code.as_deref()),
            ("a  b", "invalid_request_error", Some("ok_1"))
        );
        let long = format!(r#"{{"error":{{"message":"{}"}}}}"#, "ü".repeat(600));
        assert_eq!(classified(400, &long).upstream.unwrap().message.len(), limits::UPSTREAM_MESSAGE_BYTES);
        let mut failure = classified(400, r#"{"error":{"message":"your key is sk-abc...wxyz12345"}}"#);
        scrub(&mut failure, ["sk-0000000-wxyz12345"].into_iter());
        assert!(failure.upstream.is_none());
        assert!(classified(500, r#"{"error":{"message":"secret"}}"#).upstream.is_none());
    }

    #[test]
    fn waits_are_checked_and_capped() {
        for (header, value, want) in [
            ("retry-after", "7", Some("7")),
            ("retry-after", "1000000000", Some("60")),
            ("retry-after", "-5", Some("5")),
            ("retry-after", "1.2", Some("2")),
            ("retry-after-ms", "1500", Some("2")),
            ("retry-after", "soon", Some("5")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header, HeaderValue::from_static(value));
            let failure = classify(StatusCode::TOO_MANY_REQUESTS, &headers, b"");
            assert_eq!(
                failure.headers.iter().find(|(name, _)| name == RETRY_AFTER).map(|(_, v)| v.to_str().unwrap()),
                want,
                "{header}: {value}"
            );
        }
    }

    #[test]
    fn an_answer_must_have_its_list() {
        assert!(read_answer(Endpoint::Chat, br#"{"choices":[],"usage":{"prompt_tokens":1}}"#).is_ok());
        assert!(read_answer(Endpoint::Embeddings, br#"{"data":[]}"#).is_ok());
        for bad in [&br#"{"choices":{}}"#[..], br#"{"data":[]}"#, b"[]", b"null", b"", b"{\"choices\":[", b"<html>"] {
            assert_eq!(read_answer(Endpoint::Chat, bad).unwrap_err().code, ErrorCode::UpstreamProtocol, "{bad:?}");
        }
    }
}
