//! A whole answer in OpenAI's format, read into the neutral form.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::failure::embedded;
use super::wire::{Body, CallWire, ChoiceWire, object, text};
use crate::chat::{Answer, Choice, Expect, Finish, FinishReason, ToolUse};
use crate::dialect::failure::constant;
use crate::error::{ErrorCode, Failure};
use crate::provider::ProviderKind;

/// Reads a whole answer.
///
/// # Errors
/// The failure that the answer reports in spite of its status, or `upstream_protocol`.
pub(crate) fn decode_response<'a>(kind: ProviderKind, body: &'a [u8], expect: &Expect) -> Result<Answer<'a>, Failure> {
    let wire: Body<'a, ChoiceWire<'a>> = object(body).ok_or_else(|| protocol("answer is not JSON of its shape"))?;
    if wire.is_error() {
        return Err(embedded(kind, body));
    }
    let (identity, usage) = (wire.identity(), wire.usage());
    let mut choices = Vec::new();
    for (place, choice) in wire.choices.unwrap_or_default().into_iter().enumerate() {
        let index = choice.0.index.and_then(|raw| raw.get().parse().ok()).unwrap_or(place);
        choices.push((index, self::choice(choice.0, expect)?));
    }
    if choices.is_empty() {
        return Err(protocol("answer has no choices"));
    }
    choices.sort_by_key(|(index, _)| *index);
    Ok(Answer { identity, choices: choices.into_iter().map(|(_, choice)| choice).collect(), usage })
}

fn choice<'a>(wire: ChoiceWire<'a>, expect: &Expect) -> Result<Choice<'a>, Failure> {
    let mut said = wire.message.ok_or_else(|| protocol("choice has no message"))?.0;
    let tools: Vec<ToolUse<'a>> = said.calls().enumerate().map(|(at, call)| tool(at, &call)).collect();
    let finish = finish(wire.finish_reason, !tools.is_empty(), expect)?;
    let some = |raw: Option<&'a RawValue>| raw.and_then(text);
    Ok(Choice {
        content: some(said.content),
        refusal: some(said.refusal),
        reasoning: some(said.reasoning()).filter(|text| !text.is_empty()),
        thinking: Vec::new(),
        finish: finish.unwrap_or_else(|| unsaid(!tools.is_empty())),
        tools,
        logprobs: wire.logprobs,
    })
}

fn tool<'a>(at: usize, call: &CallWire<'a>) -> ToolUse<'a> {
    let id = call.id.and_then(text).filter(|id| !id.is_empty());
    let arguments = call.arguments().map(|raw| text(raw).unwrap_or(Cow::Borrowed(raw.get())));
    ToolUse {
        id: id.unwrap_or_else(|| Cow::Owned(made_up_id(at))),
        name: call.name().and_then(text).unwrap_or_default(),
        arguments: arguments.filter(|text| !text.is_empty()).unwrap_or(Cow::Borrowed("{}")),
    }
}

/// The id of a call that came without one, as legacy functions do.
pub(super) fn made_up_id(at: usize) -> String {
    format!("call_{at}")
}

/// Why a choice ended; `None` if it does not say.
///
/// # Errors
/// watsonx.ai ends a choice that failed by the word `error`.
pub(super) fn finish(raw: Option<&RawValue>, calls: bool, expect: &Expect) -> Result<Option<Finish>, Failure> {
    let Some(word) = raw.and_then(text).filter(|word| !word.is_empty()) else { return Ok(None) };
    if let Some(reason) = FinishReason::from_openai(&word) {
        let meant = reason == FinishReason::Stop && calls && expect.free_calls;
        return Ok(Some(if meant { FinishReason::ToolCalls } else { reason }.into()));
    }
    let reason = match &*word {
        "time_limit" | "max_tokens" | "token_limit" => FinishReason::Length,
        "error" => return Err(constant(ErrorCode::UpstreamError).caused_by("finish reason 'error'")),
        // `cancelled`, `eos_token`, `stop_sequence`, and what nobody knows.
        _ => FinishReason::Stop,
    };
    Ok(Some(Finish::roughly(reason, &word)))
}

/// How a choice ended that came to its end without a reason.
pub(super) fn unsaid(calls: bool) -> Finish {
    if calls { FinishReason::ToolCalls } else { FinishReason::Stop }.into()
}

/// The answer to what is not OpenAI's format.
pub(super) fn protocol(cause: &str) -> Failure {
    constant(ErrorCode::UpstreamProtocol).caused_by(cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Usage;

    fn read(body: &str, expect: &Expect) -> Result<String, ErrorCode> {
        decode_response(ProviderKind::Nim, body.as_bytes(), expect)
            .map(|answer| {
                let choices: Vec<String> = answer
                    .choices
                    .iter()
                    .map(|c| {
                        let tools: Vec<String> =
                            c.tools.iter().map(|t| format!("{} {}{}", t.id, t.name, t.arguments)).collect();
                        format!(
                            "{:?}|{:?}|{}|{}",
                            c.content.as_deref().unwrap_or("-"),
                            c.reasoning.as_deref().unwrap_or("-"),
                            tools.join(","),
                            c.finish.reason.as_str()
                        )
                    })
                    .collect();
                choices.join("; ")
            })
            .map_err(|failure| failure.code)
    }

    #[test]
    fn messages_of_all_servers_are_read() {
        let free = Expect { free_calls: true, ..Expect::default() };
        let forced = Expect::default();
        let call = r#""tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]"#;
        for (message, finish, expect, want) in [
            (r#""content":"x""#.to_owned(), r#""stop""#, &forced, r#""x"|"-"||stop"#),
            (r#""content":"x""#.to_owned(), "null", &forced, r#""x"|"-"||stop"#),
            (call.to_owned(), "null", &forced, r#""-"|"-"|a f{}|tool_calls"#),
            (call.to_owned(), r#""stop""#, &free, r#""-"|"-"|a f{}|tool_calls"#),
            (call.to_owned(), r#""stop""#, &forced, r#""-"|"-"|a f{}|stop"#),
            (r#""content":"x","tool_calls":[]"#.to_owned(), r#""stop""#, &free, r#""x"|"-"||stop"#),
            (r#""content":"x","reasoning":"r""#.to_owned(), r#""length""#, &forced, r#""x"|"r"||length"#),
            (r#""content":"x","reasoning_content":"r""#.to_owned(), r#""time_limit""#, &forced, r#""x"|"r"||length"#),
            (r#""content":"","reasoning_content":"""#.to_owned(), r#""cancelled""#, &forced, r#"""|"-"||stop"#),
            (
                r#""tool_calls":[{"function":{"name":"f","arguments":{"a":1}}},{"id":"","function":{"name":"g"}}]"#
                    .to_owned(),
                r#""tool_calls""#,
                &forced,
                r#""-"|"-"|call_0 f{"a":1},call_1 g{}|tool_calls"#,
            ),
            (
                r#""content":null,"function_call":{"name":"f","arguments":""}"#.to_owned(),
                r#""function_call""#,
                &forced,
                r#""-"|"-"|call_0 f{}|function_call"#,
            ),
        ] {
            let body = format!(
                r#"{{"choices":[{{"index":0,"message":{{"role":"assistant",{message}}},"finish_reason":{finish}}}]}}"#
            );
            assert_eq!(read(&body, expect).as_deref(), Ok(want), "{body}");
        }
    }

    #[test]
    fn choices_come_in_order() {
        let choice = |index: u32| format!(r#"{{"index":{index},"message":{{"content":"{index}"}}}}"#);
        let body = format!(r#"{{"choices":[{},{},{}]}}"#, choice(2), choice(0), choice(1));
        let want = r#""0"|"-"||stop; "1"|"-"||stop; "2"|"-"||stop"#;
        assert_eq!(read(&body, &Expect::default()).as_deref(), Ok(want));
    }

    #[test]
    fn who_answers_and_what_it_took_is_told() {
        let body = br#"{"id":"i","created":7,"model_id":"m","system_fingerprint":"fp","service_tier":"flex","x":{},
            "choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
        let answer = decode_response(ProviderKind::WatsonxAi, body, &Expect::default()).unwrap();
        assert_eq!(answer.usage, Some(Usage { input_tokens: 3, output_tokens: 2, ..Usage::default() }));
        let identity = answer.identity;
        assert_eq!(
            (identity.id.as_deref(), identity.created, identity.model.as_deref()),
            (Some("i"), Some(7), Some("m"))
        );
        assert_eq!(identity.fingerprint.map(RawValue::get), Some("\"fp\""));
        assert_eq!(identity.service_tier.map(RawValue::get), Some("\"flex\""));
        let odd =
            br#"{"id":5,"created":1.5,"model":null,"choices":[{"index":"a","message":{"content":"x"}}],"usage":[1]}"#;
        let answer = decode_response(ProviderKind::Nim, odd, &Expect::default()).unwrap();
        assert_eq!((answer.identity.id, answer.identity.created, answer.usage), (None, None, None));
    }

    #[test]
    fn what_is_no_answer_is_a_failure() {
        for (body, code) in [
            ("", ErrorCode::UpstreamProtocol),
            ("[]", ErrorCode::UpstreamProtocol),
            ("<html>", ErrorCode::UpstreamProtocol),
            ("{}", ErrorCode::UpstreamProtocol),
            (r#"{"choices":[]}"#, ErrorCode::UpstreamProtocol),
            (r#"{"choices":[{}]}"#, ErrorCode::UpstreamProtocol),
            (r#"{"choices":[{"message":null}]}"#, ErrorCode::UpstreamProtocol),
            (r#"{"choices":[{"message":["assistant","x"]}]}"#, ErrorCode::UpstreamProtocol),
            (r#"{"choices":[[0,{"content":"x"}]]}"#, ErrorCode::UpstreamProtocol),
            (r#"{"choices":{"message":{}}}"#, ErrorCode::UpstreamProtocol),
            (r#"{"choices":[{"message":{"content":"x"},"finish_reason":"error"}]}"#, ErrorCode::UpstreamError),
            (r#"{"error":{"message":"m","code":400}}"#, ErrorCode::UpstreamRejected),
            (r#"{"object":"error","message":"m","code":404}"#, ErrorCode::ModelNotFound),
            (r#"{"errors":[{"message":"m"}],"status_code":503}"#, ErrorCode::UpstreamError),
        ] {
            assert_eq!(read(body, &Expect::default()), Err(code), "{body}");
        }
    }
}
