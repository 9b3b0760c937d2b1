use serde_json::{Value, json};

use super::super::tests::events;
use super::*;
use crate::chat::JSON_TOOL;
use crate::frame::eventstream::write;

fn event(kind: &str, payload: &Value) -> Vec<u8> {
    write::event(kind, &payload.to_string())
}

fn delta(at: u64, delta: &Value) -> Vec<u8> {
    event("contentBlockDelta", &json!({"contentBlockIndex": at, "delta": delta}))
}

fn text(text: &str) -> Vec<u8> {
    delta(0, &json!({"text": text}))
}

fn tool(at: u64, name: &str, pieces: &[&str]) -> Vec<u8> {
    let start = json!({"contentBlockIndex": at, "start": {"toolUse": {"toolUseId": format!("t{at}"), "name": name}}});
    let mut out = event("contentBlockStart", &start);
    for piece in pieces {
        out.extend(delta(at, &json!({"toolUse": {"input": piece}})));
    }
    out.extend(event("contentBlockStop", &json!({"contentBlockIndex": at})));
    out
}

fn stop(reason: &str) -> Vec<u8> {
    event("messageStop", &json!({"stopReason": reason}))
}

/// All text, the names of calls, all reasoning, and the last two events.
fn sum(expect: &Expect, frames: &[Vec<u8>]) -> (String, Vec<Value>, String, Vec<Value>) {
    let events = events(expect, [&*frames.concat()]);
    let join = |name: &str| events.iter().filter_map(|event| event["delta"][name].as_str()).collect::<String>();
    let names = events.iter().filter_map(|e| e["delta"]["tool_calls"][0]["function"].get("name")).cloned().collect();
    let last = events.iter().rev().take(2).rev().cloned().collect();
    (join("content"), names, join("reasoning_content"), last)
}

fn ends(reason: &str) -> Vec<Value> {
    vec![json!({"delta": {}, "finish_reason": reason}), json!("[DONE]")]
}

#[test]
fn promises_of_the_request_are_undone() {
    let plain = Expect::default();
    let forms = Expect { json_tool: Some(JSON_TOOL), ..Expect::default() };
    let none = Expect { no_tools: true, ..Expect::default() };
    let renamed = Expect { renamed: vec![("a_b".into(), "a.\"b".into())], ..Expect::default() };
    let end = || stop("tool_use");
    for (expect, frames, content, names, finish) in [
        (&plain, vec![text("x"), tool(1, "f", &["{}"]), end()], "x", vec!["f"], "tool_calls"),
        (&renamed, vec![tool(0, "a_b", &[]), tool(1, "c", &[]), end()], "", vec!["a.\"b", "c"], "tool_calls"),
        (&none, vec![text("x"), tool(1, "f", &["{\"a\"", ":1}"]), end()], "x", vec![], "stop"),
        (
            &forms,
            vec![text("Sure: "), tool(1, JSON_TOOL, &["{\"a", "\":1}"]), text("more"), end()],
            "{\"a\":1}",
            vec![],
            "stop",
        ),
        (&forms, vec![tool(1, JSON_TOOL, &[]), tool(2, JSON_TOOL, &["{\"b\":2}"]), end()], "{}", vec![], "stop"),
        (&forms, vec![text("a\"\u{e9}"), text("b"), stop("end_turn")], "a\"\u{e9}b", vec![], "stop"),
        (&forms, vec![text("x"), tool(1, "f", &["{}"]), end()], "x", vec!["f"], "tool_calls"),
    ] {
        let seen = sum(expect, &frames);
        let names: Vec<Value> = names.into_iter().map(Value::from).collect();
        assert_eq!(seen, (content.to_owned(), names, String::new(), ends(finish)), "{expect:?}");
    }
}

#[test]
fn blocks_may_be_open_together_and_ends_may_be_missing() {
    let start = |at: u64| {
        event(
            "contentBlockStart",
            &json!({"contentBlockIndex": at, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}}),
        )
    };
    let input = |at: u64, piece: &str| delta(at, &json!({"toolUse": {"input": piece}}));
    let frames = [start(3), start(5), input(5, "{\"b\":1}"), input(3, "{\"a\":1}"), start(7), stop("tool_use")];
    let all = events(&Expect::default(), [&*frames.concat()]);
    let mut arguments = [String::new(), String::new(), String::new()];
    for call in all.iter().filter_map(|event| event["delta"]["tool_calls"].get(0)) {
        let at = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
        arguments[at].push_str(call["function"]["arguments"].as_str().unwrap());
    }
    assert_eq!(arguments, ["{\"a\":1}", "{\"b\":1}", "{}"]);
    // Thinking whose block nobody ended.
    let frames = [
        delta(0, &json!({"reasoningContent": {"text": "a\n"}})),
        delta(0, &json!({"reasoningContent": {"text": "\"b"}})),
        delta(0, &json!({"reasoningContent": {"signature": "S"}})),
        stop("end_turn"),
    ];
    let all = events(&Expect::default(), [&*frames.concat()]);
    let block = json!([{"type": "thinking", "thinking": "a\n\"b", "signature": "S"}]);
    assert_eq!(all.iter().find_map(|event| event["delta"].get("thinking_blocks")), Some(&block));
    assert_eq!(sum(&Expect::default(), &frames).2, "a\n\"b");
}

#[test]
fn an_end_is_told_once_and_only_if_shown() {
    let usage = || event("metadata", &json!({"usage": {"inputTokens": 1, "outputTokens": 1}}));
    let done =
        |frames: &[Vec<u8>]| events(&Expect::default(), [&*frames.concat()]).iter().filter(|e| **e == "[DONE]").count();
    assert_eq!(done(&[text("x"), stop("end_turn"), usage(), usage(), text("late")]), 1);
    assert_eq!(done(&[text("x"), usage(), stop("end_turn")]), 1);
    assert_eq!(done(&[text("x"), stop("end_turn"), stop("end_turn"), text("late")]), 1);
    assert_eq!(done(&[text("x"), usage()]), 0);
    assert_eq!(done(&[]), 0);
    let late = events(&Expect::default(), [&*[text("x"), stop("end_turn"), text("late"), usage()].concat()]);
    assert!(!late.iter().any(|event| event["delta"]["content"] == "late"));
}

#[test]
fn failures_end_a_stream() {
    let failed = |bytes: Vec<u8>| {
        let all = events(&Expect::default(), [&*[text("x"), bytes, stop("end_turn")].concat()]);
        all.last().unwrap()["error"]["code"].as_str().unwrap().to_owned()
    };
    for (bytes, code) in [
        (write::exception("throttlingException", "m"), "upstream_rate_limited"),
        (write::exception("validationException", "m"), "upstream_rejected"),
        (write::exception("modelTimeoutException", "m"), "upstream_timeout"),
        (write::exception("serviceUnavailableException", "m"), "upstream_error"),
        (write::exception("laterException", "m"), "upstream_error"),
        (
            write::frame(&[(":message-type", "error"), (":error-code", "ThrottlingException")], b""),
            "upstream_rate_limited",
        ),
        (write::event("contentBlockDelta", "[0,null,{\"text\":\"x\"}]"), "upstream_protocol"),
        (write::event("contentBlockDelta", "{\"contentBlockIndex\":0}"), "upstream_protocol"),
        (write::event("contentBlockDelta", "not json"), "upstream_protocol"),
        (delta(0, &json!({"text": 1})), "upstream_protocol"),
        (delta(9, &json!({"toolUse": {"input": "x"}})), "upstream_protocol"),
        (
            event("contentBlockStart", &json!({"contentBlockIndex": 1, "start": {"toolUse": {"name": "f"}}})),
            "upstream_protocol",
        ),
        (event("messageStop", &json!({})), "upstream_protocol"),
    ] {
        assert_eq!(failed(bytes), code);
    }
    // What a later version adds is passed by.
    for bytes in [
        write::event("laterEvent", "?"),
        delta(0, &json!({"later": {}})),
        write::frame(&[(":message-type", "later")], b""),
    ] {
        let all = events(&Expect::default(), [&*[text("x"), bytes, stop("end_turn")].concat()]);
        assert_eq!(all.last(), Some(&json!("[DONE]")));
    }
}

#[test]
fn what_is_kept_has_limits() {
    let start = |at: usize| {
        let start = json!({"contentBlockIndex": at, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}});
        event("contentBlockStart", &start)
    };
    let mut frames: Vec<Vec<u8>> = (0..limits::OPEN_BLOCKS).map(start).collect();
    let all = events(&Expect::default(), [&*frames.concat()]);
    assert!(all.iter().all(|event| event["error"].is_null()));
    frames.push(start(limits::OPEN_BLOCKS));
    let all = events(&Expect::default(), [&*frames.concat()]);
    assert_eq!(all.last().unwrap()["error"]["code"], "upstream_protocol");

    let piece = "x".repeat(1 << 20);
    let thought = |text: &str| delta(0, &json!({"reasoningContent": {"text": text}}));
    let mut frames = vec![thought(&piece); limits::KEPT_TEXT_BYTES >> 20];
    let ended = |frames: &[Vec<u8>]| events(&Expect::default(), frames.iter().map(Vec::as_slice)).last().cloned();
    assert_eq!(ended(&frames).unwrap()["error"], Value::Null);
    frames.push(thought("x"));
    assert_eq!(ended(&frames).unwrap()["error"]["code"], "upstream_too_large");
}

#[test]
fn arbitrary_payloads_do_no_harm() {
    let good = [
        ("messageStart", json!({"role": "assistant"})),
        ("contentBlockStart", json!({"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}})),
        ("contentBlockDelta", json!({"contentBlockIndex": 1, "delta": {"toolUse": {"input": "{}"}}})),
        (
            "contentBlockDelta",
            json!({"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "x", "signature": "S"}}}),
        ),
        ("contentBlockStop", json!({"contentBlockIndex": 1})),
        ("messageStop", json!({"stopReason": "tool_use"})),
        ("metadata", json!({"usage": {"inputTokens": 1}})),
    ];
    let mut state = 0x5EED_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap()
    };
    for round in 0..3_000 {
        let mut bytes = Vec::new();
        for _ in 0..8 {
            let (kind, payload) = &good[random() % good.len()];
            let mut payload = payload.to_string().into_bytes();
            if random() % 3 == 0 {
                let at = random() % payload.len();
                payload[at] = u8::try_from(random() % 256).unwrap();
            }
            bytes.extend(write::frame(&[(":event-type", kind), (":message-type", "event")], &payload));
        }
        let json_tool = (round % 2 == 0).then_some(JSON_TOOL);
        // `events` checks that nothing follows an end.
        events(&Expect { json_tool, no_tools: round % 3 == 0, renamed: Vec::new(), ..Expect::default() }, [&*bytes]);
    }
}

#[test]
fn odd_usage_counts_as_not_reported() {
    for usage in
        [json!([]), json!([1, 2, 3, 4]), json!("x"), json!({}), json!({"inputTokens": [], "outputTokens": "x"})]
    {
        let metadata = event("metadata", &json!({"usage": usage}));
        assert_eq!(sum(&Expect::default(), &[text("x"), stop("end_turn"), metadata]).3, ends("stop"), "{usage}");
    }
}
