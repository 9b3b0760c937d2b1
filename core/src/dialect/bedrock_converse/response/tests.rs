use serde_json::{Value, json};

use super::super::tests::shown;
use super::*;
use crate::chat::JSON_TOOL;

fn body(blocks: &Value) -> Vec<u8> {
    json!({"output": {"message": {"role": "assistant", "content": blocks}}, "stopReason": "tool_use"})
        .to_string()
        .into()
}

#[test]
fn blocks_become_one_choice() {
    let call = |name: &str| json!({"toolUse": {"toolUseId": "t", "name": name, "input": {"a": [1]}}});
    let plain = Expect::default();
    let forms = Expect { json_tool: Some(JSON_TOOL), ..Expect::default() };
    let none = Expect { no_tools: true, ..Expect::default() };
    let renamed = Expect { renamed: vec![("a_b".into(), "a.b".into())], ..Expect::default() };
    for (expect, blocks, content, name, finish) in [
        (&plain, json!([{"text": "a"}, {"text": ""}, {"text": "b"}]), json!("ab"), Value::Null, "stop"),
        (&plain, json!([]), Value::Null, Value::Null, "stop"),
        (
            &plain,
            json!([{"citationsContent": {"content": [{"text": "c"}], "citations": []}}]),
            json!("c"),
            Value::Null,
            "stop",
        ),
        (&plain, json!([{"image": {}}, {"text": "x"}, call("f")]), json!("x"), json!("f"), "tool_calls"),
        (&renamed, json!([call("a_b")]), Value::Null, json!("a.b"), "tool_calls"),
        (&none, json!([{"text": "x"}, call("f")]), json!("x"), Value::Null, "stop"),
        (&forms, json!([{"text": "x"}, call(JSON_TOOL)]), json!(r#"{"a":[1]}"#), Value::Null, "stop"),
        (&forms, json!([{"text": "x"}]), json!("x"), Value::Null, "stop"),
        (&forms, json!([{"text": "x"}, call("f")]), json!("x"), json!("f"), "tool_calls"),
    ] {
        let bytes = body(&blocks);
        let answer = shown(&decode_response(&bytes, expect).unwrap());
        let seen = (&answer["message"]["content"], &answer["message"]["tool_calls"][0]["function"]["name"]);
        assert_eq!(seen, (&content, &name), "{blocks}");
        assert_eq!(answer["finish_reason"], finish, "{blocks}");
    }
    for input in [Value::Null, json!("")] {
        let bytes = body(&json!([{"toolUse": {"toolUseId": "t", "name": "f", "input": input}}]));
        let answer = decode_response(&bytes, &plain).unwrap();
        assert_eq!(answer.choices[0].tools[0].arguments, "{}");
    }
    // Reasoning without a signature is shown, and not to be sent back.
    let bytes = body(&json!([{"reasoningContent": {"reasoningText": {"text": "hm"}}}]));
    let answer = decode_response(&bytes, &plain).unwrap();
    assert_eq!((answer.choices[0].reasoning.as_deref(), answer.choices[0].thinking.len()), (Some("hm"), 0));
}

#[test]
fn other_answers_break_the_promise() {
    for bad in [
        "",
        "null",
        "[]",
        "{}",
        "{",
        "<html>",
        r#"[{"message":{"content":[]}},"end_turn",{}]"#,
        r#"{"output":{"message":{"content":[]}}}"#,
        r#"{"output":{"message":{"content":{}}},"stopReason":"end_turn"}"#,
        r#"{"output":[{"content":[]}],"stopReason":"end_turn"}"#,
        r#"{"output":{"message":{"content":[["x"]]}},"stopReason":"end_turn"}"#,
        r#"{"output":{"message":{"content":[{"toolUse":{"name":"f"}}]}},"stopReason":"end_turn"}"#,
        r#"{"output":{"message":{"content":[{"text":1}]}},"stopReason":"end_turn"}"#,
    ] {
        let failure = decode_response(bad.as_bytes(), &Expect::default()).unwrap_err();
        assert_eq!(failure.code, ErrorCode::UpstreamProtocol, "{bad}");
    }
    assert!(decode_response(b"{\"output\":\xff}", &Expect::default()).is_err());
}

#[test]
fn usage_of_odd_numbers_is_not_reported() {
    for (usage, want) in [
        (json!({"inputTokens": 1, "outputTokens": 2, "cacheReadInputTokens": 3}), Some((4, 2, Some(3), None))),
        (json!({"inputTokens": 1}), Some((1, 0, None, None))),
        (json!({"inputTokens": -1, "outputTokens": 2}), None),
        (json!({"inputTokens": 1e30}), None),
        (json!({"inputTokens": u64::MAX, "cacheReadInputTokens": u64::MAX}), None),
        (json!({}), None),
        (json!([1, 2]), None),
        (Value::Null, None),
    ] {
        let body =
            json!({"output": {"message": {"content": []}}, "stopReason": "end_turn", "usage": usage}).to_string();
        let answer = decode_response(body.as_bytes(), &Expect::default()).unwrap();
        let seen = answer.usage.map(|u| (u.input_tokens, u.output_tokens, u.cache_read_tokens, u.cache_write_tokens));
        assert_eq!(seen, want, "{usage}");
    }
}

#[test]
fn errors_are_told_by_name_before_status() {
    for (status, header, body, code, ours) in [
        (
            400,
            "",
            r#"{"__type":"com.amazon#ThrottlingException","message":"slow"}"#,
            ErrorCode::UpstreamRateLimited,
            429,
        ),
        (400, "ThrottlingException", "{}", ErrorCode::UpstreamRateLimited, 429),
        (400, "ExpiredTokenException:http://x", "{}", ErrorCode::UpstreamAuthFailed, 502),
        (400, "LaterException", r#"{"Message":"m"}"#, ErrorCode::UpstreamRejected, 400),
        (408, "", "", ErrorCode::UpstreamTimeout, 504),
        (403, "", "<html>", ErrorCode::UpstreamAuthFailed, 502),
        (404, "UnknownOperationException", "", ErrorCode::ModelNotFound, 404),
        (500, "", "[]", ErrorCode::UpstreamError, 502),
        (302, "", "", ErrorCode::UpstreamRedirect, 502),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(ERROR_TYPE, HeaderValue::from_static(header));
        if header.is_empty() {
            headers.clear();
        }
        let failure = classify(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes());
        assert_eq!((failure.code, failure.status().as_u16()), (code, ours), "{status} {header} {body}");
    }
    let advice = |original: u16| {
        let body = json!({"message": "m", "originalStatusCode": original}).to_string();
        let failure = classify(StatusCode::FAILED_DEPENDENCY, &HeaderMap::new(), body.as_bytes());
        failure.response().headers()[SHOULD_RETRY].to_str().unwrap().to_owned()
    };
    assert_eq!([advice(400), advice(429), advice(500)], ["false", "true", "true"]);
    let limited = classify(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), br#"{"message":"m"}"#);
    assert!(limited.headers.iter().any(|(name, _)| name == "retry-after"));
}

#[test]
fn arbitrary_bytes_do_no_harm() {
    let good = body(&json!([{"text": "ü"}, {"toolUse": {"toolUseId": "t", "name": "f", "input": {}}},
        {"reasoningContent": {"reasoningText": {"text": "h", "signature": "S"}}}]));
    let mut state = 0x0BAD_CAFE_u64;
    for _ in 0..5_000 {
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap()
        };
        let mut bytes = good.clone();
        for _ in 0..=random() % 3 {
            let at = random() % bytes.len();
            bytes[at] = u8::try_from(random() % 256).unwrap();
        }
        bytes.truncate(random() % (bytes.len() * 4));
        if let Err(failure) = decode_response(&bytes, &Expect::default()) {
            assert_eq!(failure.code, ErrorCode::UpstreamProtocol);
        }
        classify(StatusCode::BAD_REQUEST, &HeaderMap::new(), &bytes);
        exception(&bytes, &bytes, &bytes);
    }
}
