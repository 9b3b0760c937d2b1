use serde_json::{Value, json};

use super::super::tests::Noise;
use super::*;

fn decode(message: &Value, expect: &Expect) -> Result<Answer<'static>, Failure> {
    decode_response(Box::leak(message.to_string().into_boxed_str()).as_bytes(), expect)
}

fn message(content: &Value, stop: &str) -> Value {
    json!({"type": "message", "model": "claude-x", "content": content, "stop_reason": stop,
        "usage": {"input_tokens": 1, "output_tokens": 2}})
}

#[test]
fn words_for_the_end_are_translated() {
    for (word, want, native) in [
        ("end_turn", FinishReason::Stop, None),
        ("stop_sequence", FinishReason::Stop, None),
        ("max_tokens", FinishReason::Length, None),
        ("tool_use", FinishReason::ToolCalls, None),
        ("refusal", FinishReason::ContentFilter, None),
        ("model_context_window_exceeded", FinishReason::Length, Some("model_context_window_exceeded")),
        ("pause_turn", FinishReason::Stop, Some("pause_turn")),
        ("some thing\n", FinishReason::Stop, Some("something")),
    ] {
        let finish = finish(word, false);
        assert_eq!((finish.reason, finish.native.as_deref()), (want, native), "{word}");
    }
    assert_eq!(finish("tool_use", true).reason, FinishReason::Stop);
    assert_eq!(finish("max_tokens", true).reason, FinishReason::Length);
}

#[test]
fn blocks_become_the_parts_of_a_choice() {
    let content = json!([
        {"type": "thinking", "thinking": "a", "signature": "s"},
        {"type": "thinking", "thinking": "b", "signature": ""},
        {"type": "text", "text": "x"},
        {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {}},
        {"type": "text", "text": "y"},
        {"type": "tool_use", "id": "t1", "name": "f_x", "input": {"k": " a \" b", "n": [1, 2]}},
        {"type": "tool_use", "id": "t2", "name": "g"}
    ]);
    let expect = Expect { renamed: vec![("f_x".into(), "f.x".into())], ..Expect::default() };
    // White space between tokens goes, that in strings stays.
    let pretty = serde_json::to_string_pretty(&message(&content, "tool_use")).unwrap();
    let answer = decode_response(pretty.as_bytes(), &expect).unwrap();
    let [choice] = answer.choices.as_slice() else { panic!("one choice") };
    assert_eq!((choice.content.as_deref(), choice.reasoning.as_deref()), (Some("xy"), Some("ab")));
    let [thinking] = choice.thinking.as_slice() else { panic!("one block: the other could not be sent back") };
    assert_eq!(serde_json::from_str::<Value>(thinking).unwrap(), content[0]);
    let tools: Vec<_> = choice.tools.iter().map(|tool| (&*tool.id, &*tool.name, &*tool.arguments)).collect();
    assert_eq!(tools, [("t1", "f.x", r#"{"k":" a \" b","n":[1,2]}"#), ("t2", "g", "{}")]);
    assert_eq!(answer.identity.model.as_deref(), Some("claude-x"));
    assert_eq!(answer.usage.map(|usage| (usage.input_tokens, usage.cache_read_tokens)), Some((1, None)));
}

#[test]
fn only_the_tool_for_a_format_becomes_content() {
    let expect = Expect { json_tool: Some("json_output"), ..Expect::default() };
    let json_call = |n: u64| json!({"type": "tool_use", "id": "j", "name": "json_output", "input": {"n": n}});
    let real = json!({"type": "tool_use", "id": "r", "name": "f", "input": {}});
    let text = json!({"type": "text", "text": "Here:"});
    for (content, stop, want, tools, reason) in [
        (json!([text, json_call(1)]), "tool_use", Some(r#"{"n":1}"#), 0, FinishReason::Stop),
        (json!([json_call(1), json_call(2)]), "tool_use", Some(r#"{"n":1}"#), 0, FinishReason::Stop),
        (json!([json_call(1), real]), "tool_use", Some(r#"{"n":1}"#), 1, FinishReason::ToolCalls),
        (json!([text, real]), "tool_use", Some("Here:"), 1, FinishReason::ToolCalls),
        (json!([text]), "end_turn", Some("Here:"), 0, FinishReason::Stop),
        (json!([]), "end_turn", None, 0, FinishReason::Stop),
    ] {
        let answer = decode(&message(&content, stop), &expect).unwrap();
        let choice = &answer.choices[0];
        assert_eq!(
            (choice.content.as_deref(), choice.tools.len(), choice.finish.reason),
            (want, tools, reason),
            "{content}"
        );
    }
    let answer = decode(&message(&json!([json_call(1)]), "tool_use"), &Expect::default()).unwrap();
    assert_eq!(answer.choices[0].tools.len(), 1);
}

#[test]
fn what_is_no_answer_is_told_apart() {
    let protocol = ErrorCode::UpstreamProtocol;
    for (body, code) in [
        ("", protocol),
        ("null", protocol),
        ("[]", protocol),
        ("<html>", protocol),
        ("{}", protocol),
        (r#"{"content":[]}"#, protocol),
        (r#"{"stop_reason":"end_turn"}"#, protocol),
        (r#"{"content":{},"stop_reason":"end_turn"}"#, protocol),
        (r#"{"content":[["text","x"]],"stop_reason":"end_turn"}"#, protocol),
        (r#"{"content":[{"type":"text"}],"stop_reason":"end_turn"}"#, protocol),
        (r#"{"content":[{"type":"tool_use","id":"a","name":"f","input":[]}],"stop_reason":"tool_use"}"#, protocol),
        (r#"{"content":[{"type":"tool_use","name":"f","input":{}}],"stop_reason":"tool_use"}"#, protocol),
        (r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#, ErrorCode::UpstreamOverloaded),
    ] {
        assert_eq!(decode_response(body.as_bytes(), &Expect::default()).unwrap_err().code, code, "{body}");
    }
    assert_eq!(decode_response(b"\xff", &Expect::default()).unwrap_err().code, protocol);
    assert!(
        decode_response(br#"{"content":[],"stop_reason":"end_turn"}"#, &Expect::default()).unwrap().usage.is_none()
    );
}

fn classified(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Failure {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, HeaderValue::from_static(value));
    }
    classify(StatusCode::from_u16(status).unwrap(), &map, body.as_bytes())
}

fn error(kind: &str, message: &str) -> String {
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "r"}).to_string()
}

#[test]
fn statuses_and_types_map_to_our_codes() {
    for (status, kind, code, ours) in [
        (400, "invalid_request_error", ErrorCode::UpstreamRejected, 400),
        (401, "authentication_error", ErrorCode::UpstreamAuthFailed, 502),
        (402, "billing_error", ErrorCode::InsufficientQuota, 402),
        (403, "permission_error", ErrorCode::UpstreamAuthFailed, 502),
        (404, "not_found_error", ErrorCode::ModelNotFound, 404),
        (409, "conflict_error", ErrorCode::UpstreamError, 409),
        (413, "request_too_large", ErrorCode::ContextLengthExceeded, 400),
        (429, "rate_limit_error", ErrorCode::UpstreamRateLimited, 429),
        (500, "api_error", ErrorCode::UpstreamError, 502),
        (504, "timeout_error", ErrorCode::UpstreamTimeout, 504),
        (529, "overloaded_error", ErrorCode::UpstreamOverloaded, 503),
    ] {
        for body in ["", "<html>", "[]", r#"{"error":[]}"#, r#"{"error":"x"}"#, &error(kind, "m")] {
            let failure = classified(status, &[], body);
            assert_eq!((failure.code, failure.status().as_u16()), (code, ours), "{status} {body}");
            let shown: Value = serde_json::from_slice(&failure.body()).unwrap();
            assert_eq!(shown["error"]["code"], code.as_str(), "{status} {body}");
        }
        // The same word in a stream, where the status is lost. A conflict is there any failure.
        let raw = RawValue::from_string(json!({"type": kind, "message": "m"}).to_string()).unwrap();
        let failure = embedded(&raw);
        let ours = if status == 409 { 502 } else { ours };
        assert_eq!((failure.code, failure.status().as_u16()), (code, ours), "{kind}");
    }
    for (message, code, status) in [
        ("prompt is too long: 210000 tokens > 200000 maximum", ErrorCode::ContextLengthExceeded, 400),
        (
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
            ErrorCode::ContextLengthExceeded,
            400,
        ),
        ("Your credit balance is too low to access the API.", ErrorCode::InsufficientQuota, 402),
        ("messages: at least one message is required", ErrorCode::UpstreamRejected, 400),
    ] {
        let failure = classified(400, &[], &error("invalid_request_error", message));
        assert_eq!((failure.code, failure.status().as_u16()), (code, status), "{message}");
        assert_eq!(failure.upstream.unwrap().message, message);
    }
}

#[test]
fn limits_and_waits_are_translated() {
    let all: &[(&str, &str)] = &[
        ("retry-after", "13"),
        ("date", "Thu, 15 Jan 2026 12:00:00 GMT"),
        ("anthropic-ratelimit-requests-limit", "50"),
        ("anthropic-ratelimit-requests-remaining", "0"),
        ("anthropic-ratelimit-requests-reset", "2026-01-15T12:00:13Z"),
        ("anthropic-ratelimit-tokens-limit", "80000"),
        ("anthropic-ratelimit-tokens-remaining", "many"),
        ("anthropic-ratelimit-tokens-reset", "2026-01-15T14:01:05Z"),
        ("anthropic-ratelimit-input-tokens-limit", "1"),
    ];
    let shown = |failure: &Failure| {
        let mut headers: Vec<String> =
            failure.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        headers.sort();
        headers
    };
    assert_eq!(
        shown(&classified(429, all, "")),
        [
            "retry-after: 13",
            "x-ratelimit-limit-requests: 50",
            "x-ratelimit-limit-tokens: 80000",
            "x-ratelimit-remaining-requests: 0",
            "x-ratelimit-reset-requests: 13s",
            "x-ratelimit-reset-tokens: 2h1m5s",
        ]
    );
    // Without the provider's clock a moment is no duration.
    let reset = ("anthropic-ratelimit-requests-reset", "2026-01-15T12:00:13Z");
    for (status, headers, want) in [
        (429, &[("retry-after", "13"), reset][..], &["retry-after: 13"][..]),
        (429, &[("retry-after-ms", "1500")], &["retry-after-ms: 1500", "retry-after: 2"]),
        (429, &[], &["x-should-retry: false"]),
        (429, &[("x-should-retry", "false"), ("retry-after", "1")], &["retry-after: 1", "x-should-retry: false"]),
        (529, &[("retry-after", "3")], &["retry-after: 3"]),
        (500, &[("x-should-retry", "false")], &["x-should-retry: false"]),
        (500, &[("x-should-retry", "true")], &[]),
        (400, &[("x-should-retry", "true"), reset], &[]),
        (402, &[], &["x-should-retry: false"]),
        (409, &[], &["x-should-retry: true"]),
    ] {
        assert_eq!(shown(&classified(status, headers, "")), want, "{status} {headers:?}");
    }
}

#[test]
fn models_are_listed() {
    let page = json!({"data": [
        {"type": "model", "id": "claude-a", "display_name": "A", "created_at": "2026-01-15T12:00:13Z"},
        {"id": "claude-b", "created_at": "soon"}, {"id": "claude-c", "created_at": 7}, {"id": "claude-d"}],
        "has_more": true, "first_id": "claude-a"});
    let models = read_models(page.to_string().as_bytes()).unwrap();
    assert!(models.has_more);
    let want = [("claude-a", 1_768_478_413), ("claude-b", 0), ("claude-c", 0), ("claude-d", 0)];
    assert_eq!(models.models, want.map(|(id, at)| (id.to_owned(), at)));
    assert_eq!(read_models(br#"{"data":[]}"#), Some(Models { models: Vec::new(), has_more: false }));
    for bad in ["", "[]", "{}", r#"{"data":{}}"#, r#"{"data":[{}]}"#, r#"{"data":[["x"]]}"#] {
        assert_eq!(read_models(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn noise_is_refused_and_nothing_worse() {
    let content = json!([{"type": "thinking", "thinking": "a", "signature": "s"}, {"type": "text", "text": "x\u{fc}"},
        {"type": "tool_use", "id": "t1", "name": "json_output", "input": {"k": [1]}}]);
    let seed = message(&content, "tool_use").to_string().into_bytes();
    let expect = Expect { json_tool: Some("json_output"), ..Expect::default() };
    let mut noise = Noise::new(3);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..20_000 {
        let mut body = seed.clone();
        for _ in 0..=noise.below(3) {
            let at = noise.below(body.len().max(1));
            match noise.below(4) {
                _ if body.is_empty() => {}
                0 => body[at] = u8::try_from(noise.below(256)).unwrap(),
                1 => drop(body.remove(at)),
                2 => body.insert(at, b"{}[]:,\"\\1n "[noise.below(11)]),
                _ => body.truncate(at + 1),
            }
        }
        match decode_response(&body, &expect) {
            Ok(answer) => {
                good += 1;
                assert_eq!(answer.choices.len(), 1);
            }
            Err(failure) => {
                bad += 1;
                assert!(failure.upstream.is_none());
            }
        }
        let _ = read_models(&body);
        assert_eq!(classify(StatusCode::BAD_REQUEST, &HeaderMap::new(), &body).code, ErrorCode::UpstreamRejected);
    }
    assert!(good > 1000 && bad > 1000, "{good} {bad}");
}

#[test]
fn odd_usage_counts_as_not_reported() {
    for (usage, want) in [
        ("[]", None),
        (r#""x""#, None),
        ("5", None),
        ("null", None),
        ("{}", None),
        (r#"[1,2,3,4,{}]"#, None),
        (r#"{"input_tokens":"x","output_tokens":[]}"#, None),
        (r#"{"input_tokens":3,"output_tokens":{},"output_tokens_details":[7],"cache_read_input_tokens":-1}"#, Some(3)),
    ] {
        let body = format!(r#"{{"content":[{{"type":"text","text":"x"}}],"stop_reason":"end_turn","usage":{usage}}}"#);
        let answer = decode_response(body.as_bytes(), &Expect::default()).unwrap();
        assert_eq!(answer.usage.map(|usage| usage.input_tokens), want, "{usage}");
    }
}
