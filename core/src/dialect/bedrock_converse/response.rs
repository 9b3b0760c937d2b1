//! Whole answers and errors of Converse.

use std::borrow::Cow;

use http::StatusCode;
use http::header::{HeaderMap, HeaderValue};

use super::wire::{self, Block, Citations, ErrorBody, Message, Output, Reasoning, ReasoningText, Text, ToolUse};
use crate::chat::{self, Answer, Choice, Expect, Finish, FinishReason, Identity};
use crate::dialect::failure::{Report, Vocabulary, by_status, constant, told, with_waits};
use crate::error::{ErrorCode, Failure, SHOULD_RETRY};

/// Reads a whole answer.
///
/// # Errors
/// `upstream_protocol` if it is not what the API promises.
pub(crate) fn decode_response<'a>(body: &'a [u8], expect: &Expect) -> Result<Answer<'a>, Failure> {
    let answer: wire::Answer<'a> = wire::object(body).ok_or_else(|| protocol("answer is no object"))?;
    let output: Option<Output<'a>> = answer.output.and_then(wire::object_of);
    let message: Option<Message<'a>> = output.and_then(|output| wire::object_of(output.message));
    let blocks = message.ok_or_else(|| protocol("answer has no message"))?.content;
    let reason = answer.stop_reason.ok_or_else(|| protocol("answer has no stop reason"))?;
    let mut reading = Reading::of(expect);
    for block in blocks {
        reading.block(wire::object_of(block).ok_or_else(|| protocol("a content block is no object"))?)?;
    }
    let finish = finish(&reason.0, !reading.tools.is_empty());
    let choice = Choice {
        content: reading.json.or(reading.content),
        refusal: None,
        reasoning: reading.reasoning,
        thinking: reading.thinking,
        tools: reading.tools,
        logprobs: None,
        finish,
    };
    Ok(Answer { identity: Identity::default(), choices: vec![choice], usage: answer.usage.and_then(wire::usage) })
}

/// A content that is being read.
struct Reading<'a, 'e> {
    expect: &'e Expect,
    content: Option<Cow<'a, str>>,
    /// The arguments of the tool that stands for a response format.
    json: Option<Cow<'a, str>>,
    reasoning: Option<Cow<'a, str>>,
    thinking: Vec<chat::Thinking<'a>>,
    tools: Vec<chat::ToolUse<'a>>,
}

impl<'a, 'e> Reading<'a, 'e> {
    fn of(expect: &'e Expect) -> Self {
        Self { expect, content: None, json: None, reasoning: None, thinking: Vec::new(), tools: Vec::new() }
    }

    fn block(&mut self, block: Block<'a>) -> Result<(), Failure> {
        if let Some(text) = block.text {
            append(&mut self.content, text.0);
        }
        if let Some(raw) = block.tool_use {
            self.tool(wire::object_of(raw).ok_or_else(|| protocol("a tool use is incomplete"))?);
        }
        if let Some(raw) = block.reasoning {
            self.reasoning(&wire::object_of(raw).ok_or_else(|| protocol("a reasoning is no object"))?)?;
        }
        if let Some(raw) = block.citations {
            let citations: Citations<'a> = wire::object_of(raw).ok_or_else(|| protocol("citations are no object"))?;
            for part in citations.content {
                if let Some(Block { text: Some(text), .. }) = wire::object_of(part) {
                    append(&mut self.content, text.0);
                }
            }
        }
        Ok(())
    }

    fn tool(&mut self, tool: ToolUse<'a>) {
        let arguments = match tool.input.map(|raw| raw.get()) {
            None | Some("null" | "\"\"") => "{}",
            Some(input) => input,
        };
        if self.expect.json_tool.is_some_and(|name| name == tool.name.0) {
            self.json.get_or_insert(Cow::Borrowed(arguments));
        } else if !self.expect.no_tools {
            let name = match self.expect.name(&tool.name.0) {
                name if name == tool.name.0 => tool.name.0,
                name => Cow::Owned(name.to_owned()),
            };
            self.tools.push(chat::ToolUse { id: tool.id.0, name, arguments: Cow::Borrowed(arguments) });
        }
    }

    fn reasoning(&mut self, reasoning: &Reasoning<'a>) -> Result<(), Failure> {
        if let Some(raw) = reasoning.text {
            let shown: ReasoningText<'a> = wire::object_of(raw).ok_or_else(|| protocol("a reasoning has no text"))?;
            let text: Text<'a> =
                serde_json::from_str(shown.text.get()).map_err(|_| protocol("a reasoning's text is no string"))?;
            append(&mut self.reasoning, text.0);
            // Without a signature there is nothing that the provider would take back.
            if let Some(signature) = shown.signature.filter(|raw| raw.get().starts_with('"')) {
                self.thinking.push(Cow::Owned(wire::thinking(shown.text.get(), signature.get())));
            }
        }
        if let Some(data) = reasoning.redacted.filter(|raw| raw.get().starts_with('"')) {
            self.thinking.push(Cow::Owned(wire::redacted_thinking(data.get())));
        }
        Ok(())
    }
}

/// Puts a text behind another, without a separator. An empty text is none.
fn append<'a>(place: &mut Option<Cow<'a, str>>, text: Cow<'a, str>) {
    if text.is_empty() {
        return;
    }
    match place {
        None => *place = Some(text),
        Some(before) => before.to_mut().push_str(&text),
    }
}

/// Why an answer ended; `calls` if it has calls that the client gets.
pub(super) fn finish(reason: &str, calls: bool) -> Finish {
    match reason {
        "end_turn" | "stop_sequence" => FinishReason::Stop.into(),
        "tool_use" if calls => FinishReason::ToolCalls.into(),
        // The calls were withheld, or became the content.
        "tool_use" => FinishReason::Stop.into(),
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length.into(),
        "guardrail_intervened" | "content_filtered" => FinishReason::ContentFilter.into(),
        other => Finish::roughly(FinishReason::Stop, other),
    }
}

/// An answer that is not what the API promises.
pub(super) fn protocol(cause: &str) -> Failure {
    constant(ErrorCode::UpstreamProtocol).caused_by(cause)
}

/// The header that names an error; its value may have the address of its definition behind a colon.
const ERROR_TYPE: &str = "x-amzn-errortype";

/// The failure that an answer with an error status means to the client. `body` may be cut or empty.
pub(crate) fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    let error: ErrorBody<'_> = wire::object(body).unwrap_or_default();
    let header = headers.get(ERROR_TYPE).and_then(|value| value.to_str().ok());
    let kind = header.or(error.kind.as_ref().map(|kind| &*kind.0)).map(plain_name).unwrap_or_default();
    let code = by_name(kind).unwrap_or_else(|| match status {
        // Converse has it for models that were too slow.
        StatusCode::REQUEST_TIMEOUT => ErrorCode::UpstreamTimeout,
        status => by_status(status),
    });
    let mut failure = with_waits(told(code, &report(&error), Vocabulary::Ours), headers);
    let mut cause = format!("upstream status {}", status.as_u16());
    if let Some(original) = error.original_status {
        // A model's own refusal of the request comes again with the next call.
        if original < 500 && original != 429 {
            failure = failure.with_header(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        cause.push_str(&format!(", of the model {original}"));
    }
    failure.caused_by(cause)
}

/// The failure that an exception, or an error, inside of a stream means. The status of its answer was 200, and botocore
/// calls all of them 400: the name alone counts. <https://github.com/BerriAI/litellm/issues/24608>
pub(super) fn exception(kind: &[u8], payload: &[u8], text: &[u8]) -> Failure {
    let kind = plain_name(std::str::from_utf8(kind).unwrap_or_default());
    let mut error: ErrorBody<'_> = wire::object(payload).unwrap_or_default();
    if error.message.is_none() {
        error.message = std::str::from_utf8(text).ok().map(|text| Text(Cow::Borrowed(text)));
    }
    let code = by_name(kind).unwrap_or(ErrorCode::UpstreamError);
    with_waits(told(code, &report(&error), Vocabulary::Ours), &HeaderMap::new()).caused_by("exception in the stream")
}

/// `Name` of `Name`, `Name:http://…` and `com.example#Name`.
fn plain_name(kind: &str) -> &str {
    let name = kind.split(':').next().unwrap_or_default();
    name.rsplit('#').next().unwrap_or_default().trim()
}

/// Our code for an exception. Streams write names with a small first letter.
fn by_name(name: &str) -> Option<ErrorCode> {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    let any = |known: &[&str]| known.iter().any(|known| is(known));
    Some(if any(&["ValidationException", "SerializationException"]) {
        ErrorCode::UpstreamRejected
    } else if is("ServiceQuotaExceededException") {
        ErrorCode::InsufficientQuota
    } else if any(&[
        "AccessDeniedException",
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "ExpiredTokenException",
        "ExpiredToken",
        "InvalidClientTokenId",
        "IncompleteSignatureException",
        "IncompleteSignature",
        "MissingAuthenticationTokenException",
        "MissingAuthenticationToken",
        "OptInRequired",
    ]) {
        ErrorCode::UpstreamAuthFailed
    } else if is("ResourceNotFoundException") {
        ErrorCode::ModelNotFound
    } else if is("ModelTimeoutException") {
        ErrorCode::UpstreamTimeout
    } else if is("ThrottlingException") {
        ErrorCode::UpstreamRateLimited
    } else if is("ModelNotReadyException") {
        ErrorCode::UpstreamOverloaded
    } else if any(&[
        "ModelErrorException",
        "ModelStreamErrorException",
        "InternalServerException",
        "InternalFailure",
        "ServiceUnavailableException",
        "ServiceUnavailable",
    ]) {
        ErrorCode::UpstreamError
    } else {
        return None;
    })
}

fn report(error: &ErrorBody<'_>) -> Report {
    Report { message: error.message.as_ref().map(|text| text.0.clone().into_owned()), ..Report::default() }
}

#[cfg(test)]
mod tests;
