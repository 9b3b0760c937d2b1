use bytes::Bytes;

use super::*;

/// The events of a stream, one word or line for each.
fn events(expect: &Expect, frames: &[&str]) -> Vec<String> {
    let mut decoder = Decoder::new(ProviderKind::Cerebras, expect.clone());
    let mut all = Vec::new();
    let mut emit = |event: Event<'_>| all.push(shown(&event));
    for data in frames {
        let name = data.starts_with("error:").then(|| Bytes::from_static(b"error"));
        let data = Bytes::copy_from_slice(data.strip_prefix("error:").unwrap_or(data).as_bytes());
        decoder.push(&sse::Event { name, data, span: None }, &mut emit);
    }
    decoder.finish(&mut emit);
    all
}

fn shown(event: &Event<'_>) -> String {
    match event {
        Event::Start(identity) => format!("start {}", identity.id.as_deref().unwrap_or("-")),
        Event::Delta(delta) => {
            let mut words = vec![delta.choice.to_string()];
            if delta.role {
                words.push("role".into());
            }
            for (name, text) in
                [("content", &delta.content), ("refusal", &delta.refusal), ("reasoning", &delta.reasoning)]
            {
                words.extend(text.as_ref().map(|text| format!("{name}={}", text.as_json())));
            }
            for tool in &delta.tools {
                let begin = tool.begin.as_ref().map(|(id, name)| format!("({},{})", id.as_json(), name.as_json()));
                words.push(format!("#{}{}{}", tool.index, begin.unwrap_or_default(), tool.arguments.as_json()));
            }
            words.extend(delta.logprobs.map(|_| "logprobs".to_owned()));
            words.extend(delta.finish.as_ref().map(|finish| finish.reason.as_str().to_owned()));
            words.join(" ")
        }
        Event::Usage(usage) => format!("usage {}+{}", usage.input_tokens, usage.output_tokens),
        Event::Done => "done".into(),
        Event::Failed(failure) => format!("failed {}", failure.code.as_str()),
    }
}

/// A chunk of choice 0.
fn chunk(delta: &str, finish: &str) -> String {
    format!(r#"{{"id":"c","choices":[{{"index":0,"delta":{{{delta}}},"finish_reason":{finish}}}]}}"#)
}

fn check(expect: &Expect, frames: &[&str], want: &[&str]) {
    assert_eq!(events(expect, frames), want, "{frames:?}");
}

#[test]
fn calls_are_numbered_in_the_order_of_their_first_parts() {
    let part = |call: &str| chunk(&format!(r#""tool_calls":[{call}]"#), "null");
    let end = chunk("", r#""tool_calls""#);
    for (parts, want) in [
        // No number: the id tells calls apart, and no id means the last one.
        (
            vec![
                r#"{"id":"a","function":{"name":"f","arguments":"{"}}"#,
                r#"{"function":{"arguments":"}"}}"#,
                r#"{"id":"b","function":{"name":"g","arguments":"{"}}"#,
                r#"{"id":"a","function":{"arguments":" "}}"#,
                r#"{"id":"b","function":{"arguments":"}"}}"#,
            ],
            vec![r#"0 #0("a","f")"{""#, r##"0 #0"}""##, r#"0 #1("b","g")"{""#, r##"0 #0" ""##, r##"0 #1"}""##],
        ),
        // Ids and names again with every part; numbers that start at 1.
        (
            vec![
                r#"{"index":1,"id":"a","function":{"name":"f","arguments":""}}"#,
                r#"{"index":1,"id":"a","function":{"name":"f","arguments":"{}"}}"#,
                r#"{"index":1,"id":"a","function":{"name":"f","arguments":""}}"#,
            ],
            vec![r#"0 #0("a","f")"""#, r##"0 #0"{}""##],
        ),
        // A new id with every part (vLLM before 0.9).
        (
            vec![
                r#"{"index":0,"id":"x1","function":{"name":"f","arguments":"{"}}"#,
                r#"{"index":0,"id":"x2","function":{"name":"f","arguments":"}"}}"#,
                r#"{"index":0,"id":"x3","function":{"arguments":" "}}"#,
            ],
            vec![r#"0 #0("x1","f")"{""#, r##"0 #0"}""##, r##"0 #0" ""##],
        ),
        // One number for two calls.
        (
            vec![
                r#"{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}"#,
                r#"{"index":0,"id":"b","function":{"name":"g","arguments":"{"}}"#,
                r#"{"index":0,"function":{"arguments":"}"}}"#,
            ],
            vec![r#"0 #0("a","f")"{}""#, r#"0 #1("b","g")"{""#, r##"0 #1"}""##],
        ),
        // Arguments that are JSON; no id at all.
        (vec![r#"{"index":0,"function":{"name":"f","arguments":{"a":1}}}"#], vec![r#"0 #0("call_0","f")"{\"a\":1}""#]),
    ] {
        let frames: Vec<String> = parts.iter().map(|call| part(call)).chain([end.clone()]).collect();
        let frames: Vec<&str> = frames.iter().map(String::as_str).chain(["[DONE]"]).collect();
        let want = [vec!["start c"], want, vec!["0 tool_calls", "done"]].concat();
        check(&Expect::default(), &frames, &want);
    }
}

#[test]
fn a_call_without_arguments_has_an_empty_object() {
    let begin = chunk(r#""tool_calls":[{"index":0,"id":"a","function":{"name":"f"}}]"#, "null");
    let both =
        chunk(r#""tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]"#, r#""tool_calls""#);
    let end = chunk("", r#""tool_calls""#);
    check(
        &Expect::default(),
        &[&begin, &end, "[DONE]"],
        &["start c", r#"0 #0("a","f")"""#, r##"0 #0"{}" tool_calls"##, "done"],
    );
    check(&Expect::default(), &[&both, "[DONE]"], &["start c", r#"0 #0("a","f")"{}" tool_calls"#, "done"]);
    // Also when only the end mark shows the end.
    check(
        &Expect::default(),
        &[&begin, "[DONE]"],
        &["start c", r#"0 #0("a","f")"""#, r##"0 #0"{}" tool_calls"##, "done"],
    );
}

#[test]
fn a_legacy_function_is_a_call() {
    let frames = [
        chunk(r#""role":"assistant","function_call":{"name":"f","arguments":""}"#, "null"),
        chunk(r#""function_call":{"arguments":"{}"}"#, "null"),
        chunk("", r#""function_call""#),
    ];
    let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
    let want = ["start c", r#"0 role #0("call_0","f")"""#, r##"0 #0"{}""##, "0 function_call", "done"];
    check(&Expect::default(), &frames, &want);
}

#[test]
fn an_end_by_stop_after_free_calls_is_an_end_by_calls() {
    let call = chunk(r#""tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]"#, "null");
    let (stop, length) = (chunk("", r#""stop""#), chunk("", r#""length""#));
    let text = chunk(r#""content":"x","tool_calls":[]"#, "null");
    let free = Expect { free_calls: true, ..Expect::default() };
    let begin = r#"0 #0("a","f")"{}""#;
    check(&free, &[&call, &stop], &["start c", begin, "0 tool_calls", "done"]);
    check(&free, &[&call, &length], &["start c", begin, "0 length", "done"]);
    check(&free, &[&text, &stop], &["start c", r#"0 content="x""#, "0 stop", "done"]);
    check(&Expect::default(), &[&call, &stop], &["start c", begin, "0 stop", "done"]);
}

#[test]
fn ceremony_is_said_once_or_not_at_all() {
    let frames = [
        r#"{"choices":[],"id":"","prompt_filter_results":[]}"#.to_owned(),
        r#"{"choices":[{"index":0,"finish_reason":null,"content_filter_results":{}}],"id":""}"#.to_owned(),
        chunk(r#""role":"assistant","content":"","tool_calls":[]"#, "null"),
        chunk(r#""role":"assistant","content":"""#, "null"),
        chunk(r#""role":"assistant","content":"x","reasoning_content":null"#, "null"),
        chunk(r#""content":null,"refusal":"no","tool_calls":[]"#, "null"),
        chunk("", "null"),
        r#"{"id":"c","choices":[{"delta":{"content":""},"logprobs":{"content":[]},"finish_reason":null}]}"#.to_owned(),
        chunk(r#""content":"""#, r#""stop""#),
        chunk(r#""content":"late""#, "null"),
        r#"{"choices":[{"index":0,"finish_reason":null,"content_filter_results":{}}],"id":""}"#.to_owned(),
        r#"{"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#.to_owned(),
        " [DONE]".to_owned(),
        chunk(r#""content":"later""#, "null"),
    ];
    let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
    let want = [
        "start c",
        r#"0 role content="""#,
        r#"0 content="x""#,
        r#"0 refusal="no""#,
        "0 logprobs",
        "0 stop",
        "usage 3+2",
        "done",
    ];
    check(&Expect::default(), &frames, &want);
}

#[test]
fn the_end_is_the_providers_own_or_none() {
    let (text, stop) = (chunk(r#""content":"x""#, "null"), chunk("", r#""stop""#));
    let other = r#"{"id":"c","choices":[{"index":1,"delta":{"content":"y"},"finish_reason":null}]}"#;
    let x = r#"0 content="x""#;
    for (frames, want) in [
        (vec![], vec![]),
        (vec![text.as_str()], vec!["start c", x]),
        (vec![&text, &stop], vec!["start c", x, "0 stop", "done"]),
        (vec![&text, other, &stop], vec!["start c", x, r#"1 content="y""#, "0 stop"]),
        (vec![&text, other, &stop, "[DONE]"], vec!["start c", x, r#"1 content="y""#, "0 stop", "1 stop", "done"]),
        (vec![&text, "[DONE]"], vec!["start c", x, "0 stop", "done"]),
        (vec!["[DONE]"], vec!["failed upstream_protocol"]),
        (vec!["", " "], vec![]),
        (
            vec![&text, r#"{"error":{"message":"m"},"status_code":503}"#, &stop],
            vec!["start c", x, "failed upstream_error"],
        ),
        (
            vec![&text, r#"error:{"errors":[{"message":"m"}],"status_code":429}"#],
            vec!["start c", x, "failed upstream_rate_limited"],
        ),
        (vec![&text, "error:oops"], vec!["start c", x, "failed upstream_error"]),
        (vec![r#"{"object":"error","message":"m","code":400}"#], vec!["failed upstream_rejected"]),
        (vec![r#"{"choices":[{"delta":{},"finish_reason":"error"}]}"#], vec!["start -", "failed upstream_error"]),
        (vec!["{"], vec!["failed upstream_protocol"]),
        (vec!["[]"], vec!["failed upstream_protocol"]),
        (vec![r#"{"choices":[[0]]}"#], vec!["failed upstream_protocol"]),
        (vec![r#"{"choices":[{"delta":["assistant"]}]}"#], vec!["failed upstream_protocol"]),
        // Not of a chat, and no harm.
        (vec!["{}", r#"{"choices":null}"#], vec![]),
    ] {
        check(&Expect::default(), &frames, &want);
    }
}

#[test]
fn the_number_of_choices_and_calls_is_bounded() {
    let choice = |n: usize| format!(r#"{{"choices":[{{"index":{n},"delta":{{"content":"x"}}}}]}}"#);
    let call = |n: usize| chunk(&format!(r#""tool_calls":[{{"id":"{n}","function":{{"name":"f"}}}}]"#), "null");
    for make in [&choice as &dyn Fn(usize) -> String, &call] {
        let frames: Vec<String> = (0..=limits::STREAMED_CALLS).map(make).collect();
        let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
        let all = events(&Expect::default(), &frames);
        assert_eq!(
            (all.len(), all.last().map(String::as_str)),
            (limits::STREAMED_CALLS + 2, Some("failed upstream_protocol"))
        );
    }
}

#[test]
fn odd_usage_counts_as_not_reported() {
    let (text, stop) = (chunk(r#""content":"x""#, "null"), chunk("", r#""stop""#));
    for usage in ["[]", "[1,2,{},{}]", r#""x""#, "5", "null", "{}", r#"{"prompt_tokens":"x","completion_tokens":{}}"#] {
        let usage = format!(r#"{{"id":"c","choices":[],"usage":{usage}}}"#);
        let want = ["start c", r#"0 content="x""#, "0 stop", "done"];
        let seen = events(&Expect::default(), &[&text, &stop, &usage, "[DONE]"]);
        assert_eq!(seen, want, "{usage}");
    }
}
