//! Whole answers, errors and the list of models.
//!
//! <https://platform.claude.com/docs/en/api/messages>, <https://platform.claude.com/docs/en/api/errors>

mod time;

use std::borrow::Cow;

use http::StatusCode;
use http::header::{DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use serde_json::value::RawValue;

use super::wire::{Answer as Wire, ErrorBody, ErrorWire, ModelList, Part, Tally, explanation, unescaped};
use crate::chat::{Answer, Choice, Expect, Finish, FinishReason, Identity, ToolUse};
use crate::dialect::failure::{Report, Vocabulary, by_status, constant, told, with_waits};
use crate::error::{ErrorCode, Failure, SHOULD_RETRY, UpstreamError};

/// Reads a whole answer.
///
/// # Errors
/// What the provider reports in the place of an answer, or that it is none.
pub(crate) fn decode_response<'a>(body: &'a [u8], expect: &Expect) -> Result<Answer<'a>, Failure> {
    let protocol = |cause: &str| constant(ErrorCode::UpstreamProtocol).caused_by(cause);
    let text = std::str::from_utf8(body).map_err(|_| protocol("answer is not UTF-8"))?;
    let wire: Wire<'a> = serde_json::from_str(text).map_err(|_| protocol("answer is no message"))?;
    if let Some(error) = wire.error {
        return Err(embedded(error));
    }
    let parts = wire.content.ok_or_else(|| protocol("answer lacks its content"))?;
    let stop_reason = wire.stop_reason.ok_or_else(|| protocol("answer lacks its end"))?.0;

    let mut texts = Joined::default();
    let mut reasoning = Joined::default();
    let mut thinking = Vec::new();
    let mut tools = Vec::new();
    let mut json = None;
    for raw in parts {
        let part: Part<'a> = serde_json::from_str(raw.get()).map_err(|_| protocol("a block is no object"))?;
        let string = |raw: Option<&'a RawValue>| raw.and_then(unescaped).ok_or_else(|| protocol("a block lacks text"));
        match part.kind.as_ref().map(|kind| &*kind.0) {
            Some("text") => texts.push(string(part.text)?),
            Some("thinking") => {
                reasoning.push(string(part.thinking)?);
                // Without a signature it could not be sent back.
                if part.signature.is_some_and(|raw| raw.get() != "\"\"") {
                    thinking.push(Cow::Borrowed(raw.get()));
                }
            }
            Some("redacted_thinking") => thinking.push(Cow::Borrowed(raw.get())),
            Some("tool_use") => {
                let name = string(part.name)?;
                let arguments = input(part.input).ok_or_else(|| protocol("arguments are no object"))?;
                if expect.json_tool == Some(&*name) {
                    // One answer was asked for; a second one would spoil the first.
                    json.get_or_insert(arguments);
                } else {
                    let name = client_name(expect, name);
                    tools.push(ToolUse { id: string(part.id)?, name, arguments });
                }
            }
            // Blocks of the provider's own tools, and what comes later.
            _ => {}
        }
    }
    let finish = finish(&stop_reason, json.is_some() && tools.is_empty());
    let refusal = explanation(wire.stop_details).filter(|_| finish.reason == FinishReason::ContentFilter);
    let mut tally = Tally::default();
    if let Some(usage) = wire.usage {
        tally.report(usage);
    }
    let choice = Choice {
        content: json.or(texts.0),
        refusal: refusal.and_then(unescaped),
        reasoning: reasoning.0.filter(|text| !text.is_empty()),
        thinking,
        tools,
        logprobs: None,
        finish,
    };
    let identity = Identity { model: wire.model.map(|model| model.0), ..Identity::default() };
    Ok(Answer { identity, choices: vec![choice], usage: tally.usage() })
}

/// Texts in a row. `None` if there was none.
#[derive(Default)]
struct Joined<'a>(Option<Cow<'a, str>>);

impl<'a> Joined<'a> {
    fn push(&mut self, text: Cow<'a, str>) {
        match &mut self.0 {
            None => self.0 = Some(text),
            Some(all) => all.to_mut().push_str(&text),
        }
    }
}

/// A tool's name as the client knows it.
pub(super) fn client_name<'a>(expect: &Expect, name: Cow<'a, str>) -> Cow<'a, str> {
    let known = expect.name(&name);
    if known == name { name } else { Cow::Owned(known.to_owned()) }
}

/// The input of a tool as compact JSON; `None` if it is no object.
pub(super) fn input(raw: Option<&RawValue>) -> Option<Cow<'_, str>> {
    match raw.map(RawValue::get) {
        None => Some("{}".into()),
        Some(object) => object.starts_with('{').then(|| compact(object)),
    }
}

/// Valid JSON without the white space between its tokens.
fn compact(json: &str) -> Cow<'_, str> {
    let keeps = || {
        let mut at = Within::Tokens;
        move |c: char| at.keeps(c)
    };
    if json.chars().all(keeps()) {
        return Cow::Borrowed(json);
    }
    let mut keep = keeps();
    json.chars().filter(|c| keep(*c)).collect()
}

/// Where in a JSON document a character stands.
#[derive(Clone, Copy, PartialEq)]
enum Within {
    Tokens,
    Text,
    Escape,
}

impl Within {
    /// Goes past a character; whether it means something there.
    fn keeps(&mut self, c: char) -> bool {
        *self = match (*self, c) {
            (Self::Tokens, '"') | (Self::Escape, _) => Self::Text,
            (Self::Text, '"') => Self::Tokens,
            (Self::Text, '\\') => Self::Escape,
            (same, _) => same,
        };
        *self != Self::Tokens || !c.is_ascii_whitespace()
    }
}

/// Why an answer ended. `only_json` if the tool that stands for a response format was called and no other.
pub(super) fn finish(word: &str, only_json: bool) -> Finish {
    match word {
        "end_turn" | "stop_sequence" => FinishReason::Stop.into(),
        "max_tokens" => FinishReason::Length.into(),
        "model_context_window_exceeded" => Finish::roughly(FinishReason::Length, word),
        "tool_use" if only_json => FinishReason::Stop.into(),
        "tool_use" => FinishReason::ToolCalls.into(),
        "refusal" => FinishReason::ContentFilter.into(),
        // `pause_turn` is of the provider's own tools, which we do not offer; the rest is not known.
        _ => Finish::roughly(FinishReason::Stop, word),
    }
}

/// The failure that an answer with an error status means to the client. `body` may be cut, empty or no JSON.
pub(crate) fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let body: ErrorBody<'_> = serde_json::from_str(text).unwrap_or_default();
    let (_, report) = report(body.error);
    let code = refined(by_status(status), &report);
    let mut failure = with_waits(failure(code, &report), headers).caused_by(format!("upstream status {status}"));
    if status == StatusCode::CONFLICT {
        failure = under(failure, StatusCode::CONFLICT).with_header(SHOULD_RETRY, HeaderValue::from_static("true"));
    }
    if code == ErrorCode::UpstreamRateLimited {
        failure = with_limits(failure, headers);
        // A limit on speed says when it is over; one on spending does not.
        if !headers.contains_key(RETRY_AFTER) && !headers.contains_key("retry-after-ms") {
            failure.headers.retain(|(name, _)| name != RETRY_AFTER);
            failure = failure.with_header(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
    }
    if code.retryable() && headers.get(&SHOULD_RETRY).is_some_and(|advice| advice == "false") {
        failure = failure.with_header(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    failure
}

/// The failure that an error object within a stream, or in the place of an answer, means.
pub(super) fn embedded(error: &RawValue) -> Failure {
    let (kind, report) = report(Some(error));
    let code = match kind.as_deref().unwrap_or_default() {
        "invalid_request_error" => ErrorCode::UpstreamRejected,
        "authentication_error" | "permission_error" => ErrorCode::UpstreamAuthFailed,
        "billing_error" => ErrorCode::InsufficientQuota,
        "not_found_error" => ErrorCode::ModelNotFound,
        "request_too_large" => ErrorCode::ContextLengthExceeded,
        "rate_limit_error" => ErrorCode::UpstreamRateLimited,
        "timeout_error" => ErrorCode::UpstreamTimeout,
        "overloaded_error" => ErrorCode::UpstreamOverloaded,
        _ => ErrorCode::UpstreamError,
    };
    failure(refined(code, &report), &report).caused_by("error in the answer")
}

fn failure(code: ErrorCode, report: &Report) -> Failure {
    let failure = told(code, report, Vocabulary::Ours);
    if code == ErrorCode::InsufficientQuota { under(failure, StatusCode::PAYMENT_REQUIRED) } else { failure }
}

/// The same failure under another status than its code's.
fn under(mut failure: Failure, status: StatusCode) -> Failure {
    let code = failure.code;
    let ours = |message: &str| UpstreamError {
        status,
        message: message.to_owned(),
        kind: if code == ErrorCode::InsufficientQuota { code.as_str() } else { code.kind() }.to_owned(),
        param: None,
        code: Some(code.as_str().to_owned()),
        extra: Vec::new(),
    };
    let mut upstream = failure.upstream.take().unwrap_or_else(|| Box::new(ours(&failure.message)));
    upstream.status = status;
    failure.upstream = Some(upstream);
    failure
}

/// The type of an error, and what is told of it.
fn report(error: Option<&RawValue>) -> (Option<Cow<'_, str>>, Report) {
    let wire: ErrorWire<'_> = error.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let message = wire.message.and_then(unescaped).map(Cow::into_owned);
    (wire.kind.and_then(unescaped), Report { message, ..Report::default() })
}

/// What the API does not tell apart by status or type, but in words (seen in 2024 to 2026).
fn refined(code: ErrorCode, report: &Report) -> ErrorCode {
    let says = |words: &str| report.message.as_ref().is_some_and(|message| message.contains(words));
    match code {
        ErrorCode::UpstreamRejected if says("prompt is too long") || says("exceed context limit") => {
            ErrorCode::ContextLengthExceeded
        }
        ErrorCode::UpstreamRejected if says("credit balance is too low") => ErrorCode::InsufficientQuota,
        code => code,
    }
}

/// Copies Anthropic's limits under OpenAI's names. <https://platform.claude.com/docs/en/api/rate-limits>
fn with_limits(mut failure: Failure, headers: &HeaderMap) -> Failure {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let now = text(DATE.as_str()).and_then(time::of_http);
    for unit in ["requests", "tokens"] {
        for what in ["limit", "remaining", "reset"] {
            let Some(theirs) = text(&format!("anthropic-ratelimit-{unit}-{what}")) else { continue };
            let ours = match what {
                // A moment, where OpenAI gives a duration: told by the provider's own clock, if it shows it.
                "reset" => now.zip(time::of_rfc3339(theirs)).map(|(now, then)| duration(then.saturating_sub(now))),
                _ => theirs.parse::<u64>().ok().map(|count| count.to_string()),
            };
            let name = HeaderName::try_from(format!("x-ratelimit-{what}-{unit}"));
            if let (Ok(name), Some(Ok(value))) = (name, ours.map(HeaderValue::try_from)) {
                failure = failure.with_header(name, value);
            }
        }
    }
    failure
}

/// A duration as OpenAI writes it: `13s`, `6m0s`, `1h0m5s`.
fn duration(seconds: u64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// A page of the list of models.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Models {
    /// Ids with the time of their release, in seconds since the epoch; 0 if it is not known.
    pub models: Vec<(String, u64)>,
    /// Whether the list goes on.
    pub has_more: bool,
}

/// Reads the answer of `GET /v1/models`; `None` if it is no such list.
pub(crate) fn read_models(body: &[u8]) -> Option<Models> {
    let list: ModelList<'_> = serde_json::from_str(std::str::from_utf8(body).ok()?).ok()?;
    let created = |raw: &RawValue| unescaped(raw).as_deref().and_then(time::of_rfc3339);
    let mut models = Vec::new();
    for model in list.data? {
        models.push((model.id?.0.into_owned(), model.created_at.and_then(created).unwrap_or(0)));
    }
    Some(Models { models, has_more: list.has_more.unwrap_or(false) })
}

#[cfg(test)]
mod tests;
