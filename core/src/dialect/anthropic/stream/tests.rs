use bytes::Bytes;
use serde_json::{Value, json};

use super::super::tests::{End, Noise, envelope, payloads, streamed};
use super::*;

fn frame(data: impl Into<Bytes>) -> sse::Event {
    sse::Event { name: None, data: data.into(), span: None }
}

/// What the decoder says of payloads, in short.
fn said(expect: Expect, events: &[Value]) -> Vec<String> {
    let mut out = Vec::new();
    let mut decoder = Decoder::new(expect);
    let mut emit = |event: Event<'_>| out.push(short(&event));
    for event in events {
        let text = event.as_str().map_or_else(|| event.to_string(), str::to_owned);
        decoder.push(&frame(text), &mut emit);
    }
    decoder.finish(&mut emit);
    out
}

fn short(event: &Event<'_>) -> String {
    let delta = match event {
        Event::Start(identity) => return format!("start {}", identity.model.as_deref().unwrap_or("-")),
        Event::Usage(usage) => return format!("usage {}+{}", usage.input_tokens, usage.output_tokens),
        Event::Done => return "done".to_owned(),
        Event::Failed(failure) => return format!("failed {}", failure.code.as_str()),
        Event::Delta(delta) => delta,
    };
    if delta.role {
        return "role".to_owned();
    }
    if let Some(finish) = &delta.finish {
        return format!("finish {}", finish.reason.as_str());
    }
    if let Some(block) = &delta.thinking {
        return format!("block {block}");
    }
    for (what, text) in [("text", &delta.content), ("refusal", &delta.refusal), ("reasoning", &delta.reasoning)] {
        if let Some(text) = text {
            return format!("{what} {}", text.as_json());
        }
    }
    let [tool] = delta.tools.as_slice() else { panic!("an empty delta") };
    match &tool.begin {
        Some((id, name)) => format!("call {} {} {}", tool.index, id.as_json(), name.as_json()),
        None => format!("arguments {} {}", tool.index, tool.arguments.as_json()),
    }
}

fn start() -> Value {
    json!({"type": "message_start", "message": {"model": "claude-x", "usage": {"input_tokens": 5, "output_tokens": 1}}})
}

fn begin(index: u32, block: &Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn call(index: u32, name: &str) -> Value {
    begin(index, &json!({"type": "tool_use", "id": format!("t{index}"), "name": name, "input": {}}))
}

fn piece(index: u32, kind: &str, name: &str, text: &str) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": {"type": kind, name: text}})
}

fn text(text: &str) -> Value {
    piece(0, "text_delta", "text", text)
}

fn arguments(index: u32, text: &str) -> Value {
    piece(index, "input_json_delta", "partial_json", text)
}

fn end(index: u32) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn stop(word: &str) -> Value {
    json!({"type": "message_delta", "delta": {"stop_reason": word}, "usage": {"output_tokens": 9}})
}

fn over() -> Value {
    json!({"type": "message_stop"})
}

fn check(expect: Expect, events: &[Value], want: &[&str]) {
    assert_eq!(said(expect, events), want, "{events:?}");
}

const OPENING: [&str; 3] = ["start claude-x", "role", "usage 5+1"];

#[test]
fn a_stream_is_told_in_order() {
    let check = |events: Vec<Value>, want: &[&str]| check(Expect::default(), &events, want);
    let [a, b, c] = OPENING;
    check(
        vec![start(), text("x\n\"y"), stop("end_turn"), over(), text("late"), over()],
        &[a, b, c, r#"text "x\n\"y""#, "usage 5+9", "finish stop", "done"],
    );
    // The end of the bytes does where the reason was given.
    check(
        vec![start(), text("x"), stop("max_tokens")],
        &[a, b, c, r#"text "x""#, "usage 5+9", "finish length", "done"],
    );
    check(vec![start(), text("x")], &[a, b, c, r#"text "x""#]);
    check(vec![], &[]);
    // What comes behind the reason does not count, but for a failure.
    check(
        vec![start(), stop("end_turn"), text("late"), stop("max_tokens"), over()],
        &[a, b, c, "usage 5+9", "finish stop", "usage 5+9", "done"],
    );
    check(
        vec![start(), stop("end_turn"), json!({"type": "error", "error": {"type": "api_error"}}), over()],
        &[a, b, c, "usage 5+9", "finish stop", "failed upstream_error"],
    );
    // A server that skips the ceremony.
    check(vec![text("x"), stop("end_turn"), over()], &["start -", "role", r#"text "x""#, "finish stop", "done"]);
    check(vec![start(), start(), text("x")], &[a, b, c, c, r#"text "x""#]);
}

#[test]
fn what_is_not_known_is_left_out() {
    let events = [
        json!({"type": "ping"}),
        json!({"type": "billing_notice", "delta": "x", "index": -1}),
        start(),
        begin(0, &json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}})),
        arguments(0, "{\"q\":1}"),
        end(0),
        begin(1, &json!({"type": "text", "text": "a"})),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "citations_delta", "citation": {}}}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "mood_delta", "mood": 1}}),
        json!({"type": "message_delta", "delta": {"stop_reason": null}, "usage": null}),
        stop("end_turn"),
        over(),
    ];
    let [a, b, c] = OPENING;
    check(Expect::default(), &events, &[a, b, c, r#"text "a""#, "usage 5+9", "finish stop", "done"]);
}

#[test]
fn calls_are_numbered_and_their_arguments_are_whole() {
    let whole = json!({"type": "tool_use", "id": "t3", "name": "h", "input": {"a": 1}});
    let events = [
        start(),
        begin(0, &json!({"type": "text", "text": ""})),
        call(1, "f"),
        call(2, "g"),
        arguments(2, "{}"),
        arguments(1, "{\"a\""),
        arguments(1, ""),
        arguments(1, ":1}"),
        end(1),
        begin(3, &whole),
        end(3),
        call(4, "i"),
        stop("tool_use"),
        over(),
    ];
    let [a, b, c] = OPENING;
    let want = [
        a,
        b,
        c,
        r#"call 0 "t1" "f""#,
        r#"call 1 "t2" "g""#,
        r#"arguments 1 "{}""#,
        r#"arguments 0 "{\"a\"""#,
        r#"arguments 0 ":1}""#,
        r#"call 2 "t3" "h""#,
        r#"arguments 2 "{\"a\":1}""#,
        r#"call 3 "t4" "i""#,
        "usage 5+9",
        r#"arguments 3 "{}""#,
        "finish tool_calls",
        "done",
    ];
    check(Expect::default(), &events, &want);
    let expect = Expect { renamed: vec![("f".into(), "a.\"f".into())], ..Expect::default() };
    check(expect, &[start(), call(0, "f")], &[a, b, c, r#"call 0 "t0" "a.\"f""#]);
}

#[test]
fn the_tool_for_a_format_becomes_content() {
    let expect = || Expect { json_tool: Some("json_output"), ..Expect::default() };
    let [a, b, c] = OPENING;
    check(
        expect(),
        &[
            start(),
            call(0, "json_output"),
            arguments(0, "{\"n\":"),
            call(1, "json_output"),
            arguments(1, "{}"),
            arguments(0, "1}"),
            end(0),
            stop("tool_use"),
        ],
        &[a, b, c, r#"text "{\"n\":""#, r#"text "1}""#, "usage 5+9", "finish stop", "done"],
    );
    check(
        expect(),
        &[start(), call(0, "json_output"), end(0), stop("tool_use")],
        &[a, b, c, r#"text "{}""#, "usage 5+9", "finish stop", "done"],
    );
    check(
        expect(),
        &[start(), call(0, "json_output"), arguments(0, "{}"), end(0), call(1, "f"), end(1), stop("tool_use")],
        &[
            a,
            b,
            c,
            r#"text "{}""#,
            r#"call 0 "t1" "f""#,
            r#"arguments 0 "{}""#,
            "usage 5+9",
            "finish tool_calls",
            "done",
        ],
    );
}

#[test]
fn thinking_is_handed_over_whole() {
    let think = |text: &str| piece(0, "thinking_delta", "thinking", text);
    let sign = |text: &str| piece(0, "signature_delta", "signature", text);
    let block = || begin(0, &json!({"type": "thinking", "thinking": "", "signature": ""}));
    let [a, b, c] = OPENING;
    check(
        Expect::default(),
        &[start(), block(), think("a\""), think("\\b"), sign("S"), sign("="), end(0)],
        &[
            a,
            b,
            c,
            r#"reasoning "a\"""#,
            r#"reasoning "\\b""#,
            r#"block {"type":"thinking","thinking":"a\"\\b","signature":"S="}"#,
        ],
    );
    // One that was cut has no signature and could not be sent back.
    check(
        Expect::default(),
        &[start(), block(), think("a"), stop("max_tokens")],
        &[a, b, c, r#"reasoning "a""#, "usage 5+9", "finish length", "done"],
    );
    for (length, fits) in [(limits::KEPT_TEXT_BYTES, true), (limits::KEPT_TEXT_BYTES + 1, false)] {
        let mut decoder = Decoder::new(Expect::default());
        let mut failed = false;
        let mut emit = |event: Event<'_>| failed |= matches!(event, Event::Failed(_));
        for event in [start(), block(), think(&"x".repeat(length - 1)), sign("s")] {
            decoder.push(&frame(event.to_string()), &mut emit);
        }
        assert_eq!(!failed, fits, "{length}");
    }
}

#[test]
fn a_refusal_is_told_before_the_end() {
    let refusal =
        |details: Value| json!({"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": details}});
    let [a, b, c] = OPENING;
    for (details, told) in [
        (json!({"type": "refusal", "explanation": "No."}), Some(r#"refusal "No.""#)),
        (json!({"explanation": null}), None),
        (json!({"explanation": ""}), None),
        (json!("x"), None),
        (Value::Null, None),
    ] {
        let want: Vec<&str> = [a, b, c].into_iter().chain(told).chain(["finish content_filter", "done"]).collect();
        check(Expect::default(), &[start(), refusal(details), over()], &want);
    }
}

#[test]
fn what_breaks_the_format_fails_once() {
    let many: Vec<Value> = (0..=u32::try_from(limits::OPEN_BLOCKS).unwrap()).map(|index| call(index, "f")).collect();
    let fits = said(Expect::default(), &many[..limits::OPEN_BLOCKS]);
    assert!(!fits.iter().any(|event| event.starts_with("failed")));
    let wrong = [
        vec![json!("hello")],
        vec![json!("")],
        vec![json!("[]")],
        vec![json!("[\"content_block_delta\",0,{}]")],
        vec![json!("{}")],
        vec![json!({"type": 1})],
        vec![json!({"type": "content_block_delta", "delta": ["text_delta", "x"]})],
        vec![json!({"type": "content_block_delta"})],
        vec![json!({"type": "content_block_delta", "delta": {"type": "text_delta"}})],
        vec![json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": 1}})],
        vec![json!({"type": "content_block_start", "index": 0, "content_block": []})],
        vec![json!({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "a"}})],
        vec![json!({"type": "message_start", "message": []})],
        vec![start(), over()],
        vec![start(), arguments(0, "{}")],
        vec![call(0, "f"), call(0, "f")],
        many,
    ];
    for events in wrong {
        let mut events = events;
        events.extend([text("late"), stop("end_turn"), over()]);
        let said = said(Expect::default(), &events);
        let at = said.iter().position(|event| event == "failed upstream_protocol");
        assert_eq!(at, Some(said.len() - 1), "{events:?}: {said:?}");
    }
    let failed = said(Expect::default(), &[json!({"type": "error"}), over()]);
    assert_eq!(failed, ["failed upstream_error"]);
    let mut decoder = Decoder::new(Expect::default());
    let mut failures = 0;
    for _ in 0..2 {
        decoder.push(&frame(&b"{\"type\":\"ping\xff\"}"[..]), &mut |event| {
            failures += usize::from(matches!(event, Event::Failed(_)));
        });
    }
    assert_eq!(failures, 1);
}

#[test]
fn numbers_replace_and_absent_ones_stay() {
    let usage = |usage: Value| json!({"type": "message_delta", "delta": {}, "usage": usage});
    let events = [
        start(),
        usage(json!({"output_tokens": 7})),
        usage(json!({"input_tokens": 6, "output_tokens": -1, "cache_read_input_tokens": 100})),
        usage(
            json!({"cache_creation_input_tokens": 1_099_511_627_776_u64, "output_tokens_details": {"thinking_tokens": 3}}),
        ),
    ];
    let mut seen = Vec::new();
    let mut decoder = Decoder::new(Expect::default());
    for event in events {
        decoder.push(&frame(event.to_string()), &mut |event| {
            if let Event::Usage(usage) = event {
                let classes = (usage.cache_read_tokens, usage.cache_write_tokens, usage.reasoning_tokens);
                seen.push((usage.input_tokens, usage.output_tokens, classes));
            }
        });
    }
    let none = (None, None, None);
    assert_eq!(
        seen,
        [(5, 1, none), (5, 7, none), (106, 7, (Some(100), None, None)), (106, 7, (Some(100), None, Some(3)))]
    );
}

#[test]
fn noise_is_refused_and_nothing_worse() {
    let events = [
        start(),
        begin(0, &json!({"type": "thinking", "thinking": "", "signature": ""})),
        piece(0, "thinking_delta", "thinking", "h\u{fc}"),
        piece(0, "signature_delta", "signature", "S"),
        end(0),
        begin(1, &json!({"type": "redacted_thinking", "data": "x"})),
        text("a\u{1f600}"),
        call(2, "f"),
        arguments(2, "{\"a\":1}"),
        end(2),
        call(3, "json_output"),
        end(3),
        stop("tool_use"),
        over(),
    ];
    let seed: Vec<u8> = events.iter().flat_map(|event| format!("data: {event}\n\n").into_bytes()).collect();
    let expect = Expect { json_tool: Some("json_output"), ..Expect::default() };
    let envelope = envelope(&json!({"model": "m"}), "m");
    let mut noise = Noise::new(11);
    let mut ends = [0; 3];
    for _ in 0..5_000 {
        let mut bytes = seed.clone();
        for _ in 0..=noise.below(3) {
            let at = noise.below(bytes.len().max(1));
            match noise.below(4) {
                _ if bytes.is_empty() => {}
                0 => bytes[at] = u8::try_from(noise.below(256)).unwrap(),
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"{}[]:,\"\\1n \n"[noise.below(12)]),
                _ => bytes.truncate(at + 1),
            }
        }
        // Checks by itself that there is one start, and nothing behind an end.
        let (out, end) = streamed(bytes.chunks(1 + noise.below(200)), &expect, &envelope);
        ends[match end {
            End::Done => 0,
            End::Failed(_) => 1,
            End::Cut => 2,
        }] += 1;
        for payload in payloads(&out) {
            assert!(payload.is_object() || payload == "[DONE]", "{payload}");
        }
    }
    assert!(ends.iter().all(|count| *count > 100), "{ends:?}");
}

#[test]
fn odd_usage_counts_as_not_reported() {
    for usage in
        [json!([]), json!("x"), json!([1, 2, 3, 4]), json!({}), json!({"input_tokens": [], "output_tokens": "x"})]
    {
        let mut start = start();
        start["message"]["usage"] = usage.clone();
        let mut stop = stop("end_turn");
        stop["usage"] = usage;
        let want = ["start claude-x", "role", r#"text "x""#, "finish stop", "done"];
        check(Expect::default(), &[start, text("x"), stop, over()], &want);
    }
}
