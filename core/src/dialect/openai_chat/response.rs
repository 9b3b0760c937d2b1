//! Whole answers and errors of an OpenAI-like provider.

pub(crate) mod encode;

use http::StatusCode;
use http::header::HeaderMap;

use super::wire::{Answer, ErrorBody, report};
use crate::account::Usage;
use crate::dialect::failure::{Report, Vocabulary, by_status, constant, told, with_waits};
use crate::error::{ErrorCode, Failure};
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
    let list: List = crate::json::read(body)?;
    Some(list.data.into_iter().map(|entry| (entry.id, entry.created.as_u64().unwrap_or(0))).collect())
}

/// The failure that an answer with an error status means to the client. `body` may be cut or empty.
pub(crate) fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    let error = crate::json::read::<ErrorBody<'_>>(body).map(|body| report(body.error.get())).unwrap_or_default();
    let code = match by_status(status) {
        ErrorCode::UpstreamRateLimited if is_quota(&error) => ErrorCode::InsufficientQuota,
        // The text of an overloaded OpenAI is not for callers.
        ErrorCode::UpstreamOverloaded => {
            let failure = with_waits(constant(ErrorCode::UpstreamOverloaded), headers);
            return failure.caused_by("upstream status 529");
        }
        code => code,
    };
    with_waits(told(code, &error, Vocabulary::Theirs), headers)
        .caused_by(format!("upstream status {}", status.as_u16()))
}

/// The failure that an error object inside a stream, or inside an answer of status 200, means.
pub(crate) fn embedded_failure(error: &str) -> Failure {
    let error = report(error);
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
    told(code, &error, Vocabulary::Theirs).caused_by("error in the answer")
}

fn is_quota(error: &Report) -> bool {
    [&error.kind, &error.code]
        .into_iter()
        .flatten()
        .any(|word| matches!(word.as_str(), "insufficient_quota" | "billing_hard_limit_reached" | "billing_not_active"))
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderValue, RETRY_AFTER};

    use super::*;
    use crate::dialect::failure::scrub;
    use crate::limits;

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
            ("a \nb", "invalid_request_error", Some("ok_1"))
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
