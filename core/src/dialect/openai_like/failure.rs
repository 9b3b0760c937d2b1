//! Failures of servers that speak OpenAI's format, in the many shapes that they write them.
//!
//! Azure OpenAI: <https://learn.microsoft.com/azure/ai-foundry/openai/how-to/content-filter>; Cerebras:
//! <https://inference-docs.cerebras.ai/support/error>; NIM: problem documents
//! ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)), vLLM's and plain text; watsonx.ai:
//! <https://cloud.ibm.com/apidocs/watsonx-ai#errorhandling>.

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::dialect::failure::{Report, Vocabulary, by_status, constant, told, with_waits};
use crate::error::{ErrorCode, Failure};
use crate::limits;
use crate::provider::ProviderKind;

/// The failure that an answer with an error status means to the client. `body` may be cut, empty or not JSON.
pub(crate) fn classify(kind: ProviderKind, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    let said = Said::read(body);
    let failure = failure(kind, by_answer(kind, status), said);
    with_waits(failure, &translated(kind, headers)).caused_by(format!("upstream status {}", status.as_u16()))
}

/// The failure that an error inside of a stream, or of an answer of status 200, means.
pub(crate) fn embedded(kind: ProviderKind, body: &[u8]) -> Failure {
    let said = Said::read(body);
    let code = match said.status {
        Some(status) => by_answer(kind, status),
        None => by_words(&said.report).unwrap_or(ErrorCode::UpstreamError),
    };
    with_waits(failure(kind, code, said), &HeaderMap::new()).caused_by("error in the answer")
}

/// Our code for a status.
fn by_answer(kind: ProviderKind, status: StatusCode) -> ErrorCode {
    match (kind, status) {
        // NVIDIA's functions that take long say to come back; nobody could read the answer then.
        (ProviderKind::Nim, StatusCode::ACCEPTED) => ErrorCode::UpstreamTimeout,
        _ => by_status(status),
    }
}

/// Our code for an error that tells no status.
fn by_words(report: &Report) -> Option<ErrorCode> {
    let words = [report.kind.as_deref().unwrap_or_default(), report.code.as_deref().unwrap_or_default()];
    let any = |known: &[&str]| words.iter().any(|word| known.contains(word));
    Some(if is_quota(report) {
        ErrorCode::InsufficientQuota
    } else if any(&["rate_limit_exceeded", "rate_limit_error", "too_many_requests_error", "tokens", "requests"]) {
        ErrorCode::UpstreamRateLimited
    } else if any(&["overloaded_error", "overloaded"]) {
        ErrorCode::UpstreamOverloaded
    } else if any(&["authentication_error", "invalid_api_key", "permission_error"]) {
        ErrorCode::UpstreamAuthFailed
    } else if any(&["model_not_found", "not_found_error"]) {
        ErrorCode::ModelNotFound
    } else if any(&["invalid_request_error", "BadRequestError", "content_filter"]) {
        ErrorCode::UpstreamRejected
    } else {
        return None;
    })
}

fn failure(kind: ProviderKind, code: ErrorCode, mut said: Said) -> Failure {
    let report = &mut said.report;
    let word = report.code.as_deref().unwrap_or_default();
    let code = match code {
        ErrorCode::UpstreamRejected if is_too_long(report) => ErrorCode::ContextLengthExceeded,
        ErrorCode::UpstreamRateLimited if is_quota(report) => ErrorCode::InsufficientQuota,
        // watsonx.ai; its status is not documented, 403 was seen.
        ErrorCode::UpstreamAuthFailed | ErrorCode::UpstreamRateLimited if word == "token_quota_reached" => {
            ErrorCode::InsufficientQuota
        }
        code => code,
    };
    if code == ErrorCode::UpstreamOverloaded {
        return constant(code);
    }
    let vocabulary = match kind {
        ProviderKind::AzureOpenAi | ProviderKind::OpenAi => Vocabulary::Theirs,
        ProviderKind::Anthropic
        | ProviderKind::Bedrock
        | ProviderKind::WatsonxAi
        | ProviderKind::Cerebras
        | ProviderKind::Nim => Vocabulary::Ours,
    };
    if vocabulary == Vocabulary::Ours {
        report.extra.clear();
    }
    told(code, report, vocabulary)
}

fn is_quota(report: &Report) -> bool {
    [&report.kind, &report.code]
        .into_iter()
        .flatten()
        .any(|word| matches!(word.as_str(), "insufficient_quota" | "billing_hard_limit_reached" | "billing_not_active"))
}

/// Whether a refusal is about the length of the prompt: OpenAI's code, or words of vLLM, TensorRT-LLM, Cerebras and
/// watsonx.ai as users report them.
fn is_too_long(report: &Report) -> bool {
    const PHRASES: [&str; 4] = [
        "maximum context length",
        "maximum sequence length",
        "reduce the length of the messages",
        "cannot exceed the total tokens limit",
    ];
    report.code.as_deref() == Some("context_length_exceeded")
        || report.message.as_deref().is_some_and(|text| PHRASES.iter().any(|phrase| text.contains(phrase)))
}

/// What an error's body says.
#[derive(Default)]
struct Said {
    report: Report,
    /// The status that it names; the only one that an error inside of a stream has.
    status: Option<StatusCode>,
}

impl Said {
    fn read(body: &[u8]) -> Self {
        match crate::json::read::<Value>(body) {
            Some(value) => Self::of(&value),
            None => Self { report: unnamed(plain_text(body)), status: None },
        }
    }

    /// Reads `{"error": {…}}`, `{"error": "…"}`, `{"errors": [{…}]}`, and objects that are the error themselves:
    /// Cerebras', vLLM's, problem documents, API management's `{"statusCode", "message"}`.
    fn of(body: &Value) -> Self {
        let error = match body.get("error") {
            Some(error @ Value::Object(_)) => error,
            Some(Value::String(text)) => {
                return Self { report: unnamed(Some(text.clone())), status: status_of(body) };
            }
            _ => body.get("errors").and_then(|errors| errors.get(0)).unwrap_or(body),
        };
        let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
        let code = match error.get("code") {
            Some(Value::String(code)) => Some(code.clone()),
            Some(Value::Number(code)) => Some(code.to_string()),
            // Who names no code keeps none, if the error has OpenAI's shape; else it gets ours.
            _ if std::ptr::eq(error, body) => Some(String::new()),
            _ => None,
        };
        let mut extra: Vec<(&'static str, Box<RawValue>)> = Vec::new();
        if let Some(inner) = error.get("innererror").filter(|inner| inner.is_object()) {
            if let Some(status) = error.get("status").filter(|status| status.is_u64()) {
                extra.extend(to_raw_value(status).ok().map(|raw| ("status", raw)));
            }
            let raw = to_raw_value(inner).ok().filter(|raw| raw.get().len() <= limits::INNER_ERROR_BYTES);
            extra.extend(raw.map(|raw| ("innererror", raw)));
        }
        let report = Report {
            message: detail(error).or_else(|| text("message")).or_else(|| text("title")),
            kind: text("type"),
            param: text("param"),
            code,
            extra,
        };
        Self { report, status: status_of(body).or_else(|| status_of(error)) }
    }
}

/// The report of an error that is text alone. The empty code gets ours in its place.
fn unnamed(message: Option<String>) -> Report {
    Report { message, code: Some(String::new()), ..Report::default() }
}

/// `detail` of a problem document, or the first of FastAPI's list of faults.
fn detail(error: &Value) -> Option<String> {
    match error.get("detail")? {
        Value::String(text) => Some(text.clone()),
        Value::Array(faults) => {
            let fault = faults.first()?;
            let place: Vec<String> = fault.get("loc").and_then(Value::as_array).map_or_else(Vec::new, |steps| {
                steps.iter().map(|step| step.as_str().map_or_else(|| step.to_string(), str::to_owned)).collect()
            });
            let message = fault.get("msg")?.as_str()?;
            Some(if place.is_empty() { message.to_owned() } else { format!("{}: {message}", place.join(".")) })
        }
        _ => None,
    }
}

/// The status that an error names: `status_code`, `statusCode`, `status`, or a `code` that is a number.
fn status_of(error: &Value) -> Option<StatusCode> {
    let number = |name: &str| match error.get(name)? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    ["status_code", "statusCode", "status", "code"]
        .into_iter()
        .filter_map(number)
        .filter_map(|number| StatusCode::from_u16(u16::try_from(number).ok()?).ok())
        .find(|status| status.is_client_error() || status.is_server_error())
}

/// The text of a body that is no JSON, without tags. A document that is cut off says nothing.
fn plain_text(body: &[u8]) -> Option<String> {
    let body = body.get(..limits::UPSTREAM_MESSAGE_BYTES * 8).unwrap_or(body);
    let text = String::from_utf8_lossy(body);
    if text.trim_start().starts_with(['{', '[', '"']) {
        return None;
    }
    let mut plain = String::new();
    let mut rest = &*text;
    while let Some((before, tag)) = rest.split_once('<') {
        plain.push_str(before);
        plain.push(' ');
        rest = tag.split_once('>').map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    let words: Vec<&str> = plain.split_whitespace().collect();
    Some(words.join(" ")).filter(|text| !text.is_empty())
}

/// The headers with what is said of limits under OpenAI's names.
fn translated(kind: ProviderKind, headers: &HeaderMap) -> HeaderMap {
    let mut all = headers.clone();
    let rename = |all: &mut HeaderMap, theirs: &str, ours: &'static str, unit: &str| {
        let value = headers.get(theirs).and_then(|value| value.to_str().ok());
        let value = value.and_then(|value| HeaderValue::try_from(format!("{}{unit}", value.trim())).ok());
        if let Some(value) = value {
            all.entry(HeaderName::from_static(ours)).or_insert(value);
        }
    };
    match kind {
        ProviderKind::WatsonxAi => {
            rename(&mut all, "x-requests-limit-rate", "x-ratelimit-limit-requests", "");
            rename(&mut all, "x-requests-limit-remaining", "x-ratelimit-remaining-requests", "");
        }
        ProviderKind::Cerebras => {
            rename(&mut all, "x-ratelimit-limit-requests-day", "x-ratelimit-limit-requests", "");
            rename(&mut all, "x-ratelimit-remaining-requests-day", "x-ratelimit-remaining-requests", "");
            rename(&mut all, "x-ratelimit-reset-requests-day", "x-ratelimit-reset-requests", "s");
            rename(&mut all, "x-ratelimit-limit-tokens-minute", "x-ratelimit-limit-tokens", "");
            rename(&mut all, "x-ratelimit-remaining-tokens-minute", "x-ratelimit-remaining-tokens", "");
            rename(&mut all, "x-ratelimit-reset-tokens-minute", "x-ratelimit-reset-tokens", "s");
            // Without an advice of its own: when the limit that is used up starts anew.
            if !headers.contains_key(RETRY_AFTER) && !headers.contains_key("retry-after-ms") {
                for unit in ["tokens-minute", "requests-day"] {
                    let spent = headers.get(format!("x-ratelimit-remaining-{unit}")).is_some_and(|left| left == "0");
                    if let Some(reset) = headers.get(format!("x-ratelimit-reset-{unit}")).filter(|_| spent) {
                        all.insert(RETRY_AFTER, reset.clone());
                    }
                }
            }
        }
        ProviderKind::OpenAi
        | ProviderKind::AzureOpenAi
        | ProviderKind::Anthropic
        | ProviderKind::Bedrock
        | ProviderKind::Nim => {}
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dialect::failure::scrub;
    use crate::error::SHOULD_RETRY;

    const AZURE: ProviderKind = ProviderKind::AzureOpenAi;
    const CEREBRAS: ProviderKind = ProviderKind::Cerebras;
    const NIM: ProviderKind = ProviderKind::Nim;
    const WATSONX: ProviderKind = ProviderKind::WatsonxAi;

    fn classified(kind: ProviderKind, status: u16, body: &str) -> Failure {
        classify(kind, StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes())
    }

    fn shown(failure: &Failure) -> Value {
        serde_json::from_slice::<Value>(&failure.body()).unwrap()["error"].take()
    }

    #[test]
    fn every_shape_is_read() {
        for (kind, status, body, code, message) in [
            (
                CEREBRAS,
                400,
                r#"{"message":"m","type":"invalid_request_error","param":"p","code":"wrong_api_format"}"#,
                "upstream_rejected",
                "m",
            ),
            (
                CEREBRAS,
                404,
                r#"{"message":"m","type":"not_found_error","param":"model","code":"model_not_found"}"#,
                "model_not_found",
                "m",
            ),
            (CEREBRAS, 402, r#"{"message":"pay","type":"x","param":"","code":"payment"}"#, "insufficient_quota", "pay"),
            (
                NIM,
                400,
                r#"{"error":{"message":"m","type":"BadRequestError","param":null,"code":400}}"#,
                "upstream_rejected",
                "m",
            ),
            (
                NIM,
                400,
                r#"{"object":"error","message":"m","type":"BadRequestError","code":400}"#,
                "upstream_rejected",
                "m",
            ),
            (NIM, 422, r#"{"type":"urn:x","title":"T","status":422,"detail":"d"}"#, "upstream_rejected", "d"),
            (
                NIM,
                422,
                r#"{"detail":[{"loc":["body","n"],"msg":"Extra inputs are not permitted","type":"extra_forbidden"}]}"#,
                "upstream_rejected",
                "body.n: Extra inputs are not permitted",
            ),
            (NIM, 404, "404 page not found\n", "model_not_found", "404 page not found"),
            (NIM, 404, r#"{"title":"Not Found","status":404}"#, "model_not_found", "Not Found"),
            (NIM, 400, r#"{"error":"bad"}"#, "upstream_rejected", "bad"),
            (
                NIM,
                400,
                r#"{"error":{"message":"This model's maximum context length is 4096 tokens.","code":400}}"#,
                "context_length_exceeded",
                "This model's maximum context length is 4096 tokens.",
            ),
            (
                WATSONX,
                400,
                r#"{"errors":[{"code":"invalid_request_entity","message":"m","more_info":"u"}],"trace":"t","status_code":400}"#,
                "upstream_rejected",
                "m",
            ),
            (WATSONX, 403, r#"{"errors":[{"code":"token_quota_reached","message":"m"}]}"#, "insufficient_quota", "m"),
            (AZURE, 404, r#"{"error":{"code":"DeploymentNotFound","message":"m"}}"#, "model_not_found", "m"),
            (
                AZURE,
                404,
                r#"{"error":{"code":"404","message":"Resource not found"}}"#,
                "model_not_found",
                "Resource not found",
            ),
            (AZURE, 429, r#"{"error":{"code":429,"message":"m"}}"#, "upstream_rate_limited", "m"),
            (AZURE, 429, r#"{"statusCode":429,"message":"m"}"#, "upstream_rate_limited", "m"),
            (
                AZURE,
                400,
                r#"{"error":{"code":"unsupported_parameter","message":"m","type":"invalid_request_error","param":"max_tokens"}}"#,
                "unsupported_parameter",
                "m",
            ),
            (
                AZURE,
                404,
                "<html><head><title>Not\nFound</title></head><body>nginx</body></html>",
                "model_not_found",
                "Not Found nginx",
            ),
        ] {
            let error = shown(&classified(kind, status, body));
            assert_eq!((error["code"].as_str(), error["message"].as_str()), (Some(code), Some(message)), "{body}");
            assert!(error["type"].is_string() && error.get("param").is_some(), "{body}");
        }
    }

    #[test]
    fn what_concerns_the_gateway_alone_is_not_told() {
        for (kind, status, body, code) in [
            (AZURE, 401, r#"{"statusCode":401,"message":"secret"}"#, ErrorCode::UpstreamAuthFailed),
            (AZURE, 401, r#"{"error":{"code":"401","message":"secret"}}"#, ErrorCode::UpstreamAuthFailed),
            (CEREBRAS, 401, r#"{"message":"secret","code":"wrong_api_key"}"#, ErrorCode::UpstreamAuthFailed),
            (NIM, 401, r#"{"status":401,"title":"Unauthorized","detail":"secret"}"#, ErrorCode::UpstreamAuthFailed),
            (
                WATSONX,
                403,
                r#"{"errors":[{"code":"user_authorization_failed","message":"secret"}]}"#,
                ErrorCode::UpstreamAuthFailed,
            ),
            (
                WATSONX,
                520,
                r#"{"errors":[{"code":"downstream_request_failed","message":"secret"}]}"#,
                ErrorCode::UpstreamError,
            ),
            (NIM, 202, "secret", ErrorCode::UpstreamTimeout),
            (CEREBRAS, 202, "secret", ErrorCode::UpstreamProtocol),
            (NIM, 504, "secret", ErrorCode::UpstreamTimeout),
            (NIM, 529, r#"{"error":{"message":"secret"}}"#, ErrorCode::UpstreamOverloaded),
            // Cut off.
            (NIM, 400, r#"{"error":{"message":"secr"#, ErrorCode::UpstreamRejected),
            (NIM, 400, "", ErrorCode::UpstreamRejected),
        ] {
            let failure = classified(kind, status, body);
            assert_eq!(failure.code, code, "{body}");
            assert_eq!(failure.upstream, None, "{body}");
        }
    }

    #[test]
    fn annotations_of_a_filter_are_kept_for_those_who_know_them() {
        let inner =
            json!({"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": true}}});
        let body = json!({"error": {"message": "m", "type": null, "param": "prompt", "code": "content_filter",
            "status": 400, "innererror": inner}});
        let error = shown(&classified(AZURE, 400, &body.to_string()));
        let want = json!({"message": "m", "type": "invalid_request_error", "param": "prompt", "code": "content_filter",
            "status": 400, "innererror": inner});
        assert_eq!(error, want);
        assert_eq!(shown(&classified(NIM, 400, &body.to_string())).get("innererror"), None);
        let mut failure = classified(AZURE, 400, &body.to_string());
        scrub(&mut failure, ["x-hate-y", "ResponsibleAI-key"].into_iter());
        assert_eq!(failure.upstream, None);
        let huge = json!({"error": {"message": "m", "innererror": {"code": "x".repeat(limits::INNER_ERROR_BYTES)}}});
        assert_eq!(shown(&classified(AZURE, 400, &huge.to_string())).get("innererror"), None);
    }

    #[test]
    fn limits_have_the_names_of_openai() {
        let of = |kind: ProviderKind, pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            let failure = classify(kind, StatusCode::TOO_MANY_REQUESTS, &headers, b"");
            let mut all: Vec<String> =
                failure.headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
            all.sort();
            all
        };
        let cerebras = [
            ("x-ratelimit-limit-requests-day", "14400"),
            ("x-ratelimit-remaining-requests-day", "9"),
            ("x-ratelimit-reset-requests-day", "3000.1"),
            ("x-ratelimit-limit-tokens-minute", "60000"),
            ("x-ratelimit-remaining-tokens-minute", "0"),
            ("x-ratelimit-reset-tokens-minute", "10.2"),
        ];
        let want = [
            "retry-after: 11",
            "x-ratelimit-limit-requests: 14400",
            "x-ratelimit-limit-tokens: 60000",
            "x-ratelimit-remaining-requests: 9",
            "x-ratelimit-remaining-tokens: 0",
            "x-ratelimit-reset-requests: 3000.1s",
            "x-ratelimit-reset-tokens: 10.2s",
        ];
        assert_eq!(of(CEREBRAS, &cerebras), want);
        assert_eq!(
            of(WATSONX, &[("x-requests-limit-rate", "8"), ("x-requests-limit-remaining", "0"), ("retry-after", "1")]),
            ["retry-after: 1", "x-ratelimit-limit-requests: 8", "x-ratelimit-remaining-requests: 0"]
        );
        assert_eq!(
            of(AZURE, &[("x-ratelimit-remaining-tokens", "0"), ("retry-after-ms", "1500")]),
            ["retry-after-ms: 1500", "retry-after: 2", "x-ratelimit-remaining-tokens: 0"]
        );
        assert_eq!(of(NIM, &[("x-ratelimit-remaining-tokens-minute", "0")]), ["retry-after: 5"]);
        let quota = classified(NIM, 402, "");
        assert_eq!(quota.headers, [(SHOULD_RETRY, HeaderValue::from_static("false"))]);
    }

    #[test]
    fn errors_inside_of_answers_are_told_apart() {
        for (kind, body, code) in [
            (
                CEREBRAS,
                r#"{"error":{"message":"m","type":"server_error","code":"server_error"},"status_code":500}"#,
                ErrorCode::UpstreamError,
            ),
            (
                CEREBRAS,
                r#"{"error":{"message":"m","type":"too_many_requests_error","code":"queue_exceeded"}}"#,
                ErrorCode::UpstreamRateLimited,
            ),
            (
                NIM,
                r#"{"object":"error","message":"m","type":"InternalServerError","code":500}"#,
                ErrorCode::UpstreamError,
            ),
            (
                NIM,
                r#"{"object":"error","message":"m","type":"BadRequestError","code":400}"#,
                ErrorCode::UpstreamRejected,
            ),
            (NIM, r#"{"error":{"message":"m","type":"BadRequestError"}}"#, ErrorCode::UpstreamRejected),
            (
                WATSONX,
                r#"{"errors":[{"code":"rate_limit_reached_requests","message":"m"}],"status_code":429}"#,
                ErrorCode::UpstreamRateLimited,
            ),
            (WATSONX, r#"{"errors":[{"code":"what","message":"m"}]}"#, ErrorCode::UpstreamError),
            (AZURE, r#"{"error":{"message":"m","type":null,"code":"content_filter"}}"#, ErrorCode::UpstreamRejected),
            (AZURE, "oops", ErrorCode::UpstreamError),
        ] {
            assert_eq!(embedded(kind, body.as_bytes()).code, code, "{body}");
        }
    }
}
