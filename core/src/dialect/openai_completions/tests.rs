//! What goes up to Cerebras and NIM, and what comes back.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::chat::{Destination, Encoded, Event, Inlined};
use crate::error::Failure;
use crate::frame::sse;
use crate::json;
use crate::model::{Capabilities, Overrides};
use crate::provider::{ProviderKind, Settings};

const CEREBRAS: ProviderKind = ProviderKind::Cerebras;
const NIM: ProviderKind = ProviderKind::Nim;

fn encoded(kind: ProviderKind, said: Value, front: &Value) -> Result<Encoded, Failure> {
    let said: Overrides = serde_json::from_value(said).unwrap();
    let can = Capabilities::of(kind, "up", Some(&said));
    let (settings, inlined) = (Settings::default(), Inlined::default());
    let to = Destination { kind, model: "up", can: &can, settings: &settings, inlined: &inlined };
    let body = front.to_string();
    let object = json::object(body.as_bytes()).unwrap();
    encode_request(&decode_request(&object)?, &to)
}

fn front(rest: &Value) -> Value {
    let mut body = json!({"model": "m", "prompt": "x"});
    body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    body
}

#[test]
fn the_recorded_exchange_is_as_recorded() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/cerebras/completions.json");
    let case: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let sent = encoded(CEREBRAS, json!({}), &case["front_request"]).unwrap();
    let mut want = case["upstream_request"]["body"].clone();
    want["model"] = json!("up");
    assert_eq!(serde_json::from_slice::<Value>(&sent.body).unwrap(), want);
    assert!(sent.drops.is_empty());
    let body = case["upstream_response"]["body"].to_string();
    let whole = decode_response(CEREBRAS, body.as_bytes(), case["front_request"]["model"].as_str().unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&whole.body).unwrap(), case["front_response"]["body"]);
    assert_eq!(whole.model.as_deref(), Some("gpt-oss-120b"));
    assert_eq!(whole.usage.map(|usage| (usage.input_tokens, usage.output_tokens)), Some((1, 4)));
}

#[test]
fn only_known_members_go_up() {
    let nothing = json!({"n": 1, "best_of": 1, "echo": false, "suffix": "", "logit_bias": {}, "stop": [],
        "frequency_penalty": 0, "user": null, "stream": false, "stream_options": null});
    let much = json!({"max_tokens": 5, "temperature": 0.50, "seed": 7, "stop": ["a"], "logprobs": 2, "echo": true,
        "user": "u", "logit_bias": {"1": 2}, "min_tokens": 2, "metadata": {}, "cache": {}, "x": 1});
    for (kind, said, rest, want, drops) in [
        (CEREBRAS, json!({}), &nothing, json!({}), ""),
        (NIM, json!({}), &nothing, json!({}), ""),
        (
            CEREBRAS,
            json!({}),
            &much,
            json!({"max_tokens": 5, "temperature": 0.50, "seed": 7, "stop": ["a"], "logprobs": 2, "echo": true,
                "user": "u", "logit_bias": {"1": 2}, "min_tokens": 2}),
            "x",
        ),
        (
            NIM,
            json!({}),
            &much,
            json!({"max_tokens": 5, "temperature": 0.50, "seed": 7, "stop": ["a"], "logprobs": 2, "echo": true}),
            "user, logit_bias, min_tokens, x",
        ),
        (
            NIM,
            json!({"unsupported_parameters": ["seed", "stream_options"], "sampling": false}),
            &json!({"seed": 7, "stream": true, "temperature": 0}),
            json!({"stream": true}),
            "seed, temperature",
        ),
        (
            NIM,
            json!({}),
            &json!({"stream": true, "stream_options": {"include_usage": false, "include_obfuscation": true}}),
            json!({"stream": true, "stream_options": {"include_usage": true}}),
            "",
        ),
        (CEREBRAS, json!({}), &json!({"stream": true}), json!({"stream": true}), ""),
        (
            CEREBRAS,
            json!({}),
            &json!({"stream": true, "stream_options": {"include_usage": true}}),
            json!({"stream": true, "stream_options": {"include_usage": true}}),
            "",
        ),
        (CEREBRAS, json!({}), &json!({"n": 2, "best_of": 3}), json!({"n": 2, "best_of": 3}), ""),
        (NIM, json!({"multiple_choices": true}), &json!({"n": 2}), json!({"n": 2}), ""),
        (CEREBRAS, json!({}), &json!({"prompt": [[1], [2]]}), json!({"prompt": [[1], [2]]}), ""),
        (NIM, json!({}), &json!({"prompt": ["", "b"]}), json!({"prompt": ["", "b"]}), ""),
    ] {
        let sent = encoded(kind, said, &front(rest)).unwrap();
        let mut whole = front(&want);
        whole["model"] = json!("up");
        assert_eq!(serde_json::from_slice::<Value>(&sent.body).unwrap(), whole, "{kind:?} {rest}");
        let mut seen: Vec<String> = sent.drops.header().split(", ").map(str::to_owned).collect();
        let mut named: Vec<String> = drops.split(", ").map(str::to_owned).collect();
        seen.sort();
        named.sort();
        assert_eq!(seen, named, "{kind:?} {rest}");
    }
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    for (kind, rest, code, param) in [
        (CEREBRAS, json!({"suffix": "s"}), "unsupported_parameter", "suffix"),
        (NIM, json!({"suffix": "s"}), "unsupported_parameter", "suffix"),
        (NIM, json!({"best_of": 2}), "unsupported_value", "best_of"),
        (NIM, json!({"n": 2}), "unsupported_value", "n"),
        (NIM, json!({"prompt": [1, 2]}), "unsupported_value", "prompt"),
        (NIM, json!({"prompt": [[1], [2]]}), "unsupported_value", "prompt"),
        (NIM, json!({"prompt": ["a", 1]}), "invalid_request", "prompt[1]"),
        (NIM, json!({"prompt": []}), "invalid_request", "prompt"),
        (CEREBRAS, json!({"prompt": [[]]}), "invalid_request", "prompt[0]"),
        (CEREBRAS, json!({"prompt": {}}), "invalid_request", "prompt"),
        (CEREBRAS, json!({"echo": "yes"}), "invalid_request", "echo"),
        (CEREBRAS, json!({"temperature": 2.1}), "invalid_request", "temperature"),
        (CEREBRAS, json!({"top_p": -0.1}), "invalid_request", "top_p"),
        (CEREBRAS, json!({"seed": 1.5}), "invalid_request", "seed"),
        (CEREBRAS, json!({"stop": [1]}), "invalid_request", "stop"),
        (CEREBRAS, json!({"stop": {}}), "invalid_request", "stop"),
    ] {
        let failure = encoded(kind, json!({}), &front(&rest)).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.param.as_deref()), (code, Some(param)), "{kind:?} {rest}");
        assert_eq!(failure.status(), 400);
    }
    let failure = encoded(NIM, json!({}), &front(&json!({"n": 2}))).unwrap_err();
    assert_eq!(failure.message, "Parameter 'n' greater than 1 is not supported by provider type 'nim'.");
}

#[test]
fn answers_are_made_openais() {
    let body = r#"{"id":"cmpl-1","object":"text_completion","created":1,"model":"up","kv_transfer_params":null,
        "choices":[{"index":1,"text":"b","logprobs":{"tokens":["b"]},"finish_reason":"length","stop_reason":null,
        "prompt_logprobs":null},{"text":"c\u00e9","finish_reason":null},{"index":2,"text":"","finish_reason":"abort"}],
        "usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;
    let whole = decode_response(NIM, body.as_bytes(), "m\"").unwrap();
    let want = json!({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m\"", "choices": [
        {"index": 1, "text": "b", "logprobs": {"tokens": ["b"]}, "finish_reason": "length"},
        {"index": 1, "text": "c\u{e9}", "logprobs": null, "finish_reason": "stop"},
        {"index": 2, "text": "", "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}});
    assert_eq!(serde_json::from_slice::<Value>(&whole.body).unwrap(), want);
    for (body, code) in [
        ("", "upstream_protocol"),
        ("[]", "upstream_protocol"),
        ("{}", "upstream_protocol"),
        (r#"{"choices":[]}"#, "upstream_protocol"),
        (r#"{"choices":[{"index":0}]}"#, "upstream_protocol"),
        (r#"{"choices":[{"text":1}]}"#, "upstream_protocol"),
        (r#"{"choices":[[0,"a"]]}"#, "upstream_protocol"),
        (r#"{"choices":[{"text":"a","finish_reason":"error"}]}"#, "upstream_error"),
        (r#"{"error":{"message":"x","code":400}}"#, "upstream_rejected"),
        (r#"{"object":"error","message":"x","code":404}"#, "model_not_found"),
    ] {
        let failure = decode_response(NIM, body.as_bytes(), "m").unwrap_err();
        assert_eq!(failure.code.as_str(), code, "{body}");
    }
}

/// What a stream says, one word for each event.
fn told(kind: ProviderKind, pieces: &[&[u8]]) -> Vec<String> {
    let mut frames = sse::Decoder::default();
    let mut decoder = Decoder::new(kind);
    let mut said = Vec::new();
    let mut hear = |event: Event<'_>| {
        said.push(match event {
            Event::Start(who) => format!("start {} {}", who.id.unwrap_or_default(), who.model.unwrap_or_default()),
            Event::Delta(delta) => format!(
                "{}:{}{}{}",
                delta.choice,
                delta.content.as_ref().map_or("-", |text| text.as_json()),
                delta.logprobs.map_or(String::new(), |raw| format!(" {}", raw.get())),
                delta.finish.map_or(String::new(), |finish| format!(" {}", finish.reason.as_str()))
            ),
            Event::Usage(usage) => format!("usage {} {}", usage.input_tokens, usage.output_tokens),
            Event::Done => "done".to_owned(),
            Event::Failed(failure) => format!("failed {}", failure.code.as_str()),
        });
    };
    for piece in pieces {
        let mut events = Vec::new();
        frames.push(&Bytes::copy_from_slice(piece), |event| events.push(event)).unwrap();
        events.iter().for_each(|event| decoder.push(event, &mut hear));
    }
    let mut events = Vec::new();
    frames.finish(|event| events.push(event));
    events.iter().for_each(|event| decoder.push(event, &mut hear));
    decoder.finish(&mut hear);
    said
}

fn stream(chunks: &[&str]) -> String {
    chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect()
}

#[test]
fn streams_are_read_alike_however_they_are_cut() {
    let text = stream(&[
        r#"{"id":"c","object":"text_completion","created":1,"model":"up","choices":[{"index":0,"text":"Zo\u00eb","logprobs":null,"finish_reason":null}]}"#,
        r#"{"id":"c","choices":[{"index":1,"text":"ü","logprobs":{"tokens":["x"]}},{"index":0,"text":""}]}"#,
        r#"{"id":"c","choices":[{"index":0,"text":"","finish_reason":"length"}],"time_info":{"x":1}}"#,
        r#"{"id":"c","choices":[{"index":1,"text":"!","finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#,
        r#"{"id":"c","choices":[{"index":1,"text":"late"}]}"#,
        "[DONE]",
    ]);
    let want = [
        "start c up",
        r#"0:"Zo\u00eb""#,
        r#"1:"ü" {"tokens":["x"]}"#,
        "0:- length",
        r#"1:"!" stop"#,
        "usage 3 2",
        "done",
    ];
    assert_eq!(told(CEREBRAS, &[text.as_bytes()]), want);
    for at in 0..text.len() {
        let (left, right) = text.as_bytes().split_at(at);
        assert_eq!(told(CEREBRAS, &[left, right]), want, "cut at {at}");
    }
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(told(CEREBRAS, &text.as_bytes().chunks(size).collect::<Vec<_>>()), want, "pieces of {size}");
    }
}

#[test]
fn ends_are_told_apart() {
    let first = r#"{"id":"c","model":"u","choices":[{"index":0,"text":"a"}]}"#;
    let last = r#"{"id":"c","choices":[{"index":0,"text":"","finish_reason":"stop"}]}"#;
    let far = format!(r#"{{"choices":[{{"index":{},"text":"a"}}]}}"#, crate::limits::INPUTS);
    let cerebras = r#"{"error":{"message":"m","type":"server_error"},"status_code":500}"#;
    let vllm = r#"{"object":"error","message":"too long","code":400}"#;
    for (chunks, want) in [
        (&[first, last, "[DONE]"][..], &["start c u", r#"0:"a""#, "0:- stop", "done"][..]),
        // Without its mark it has ended all the same.
        (&[first, last], &["start c u", r#"0:"a""#, "0:- stop", "done"]),
        // Its mark ends a text that did not say why.
        (&[first, "[DONE]"], &["start c u", r#"0:"a""#, "0:- stop", "done"]),
        (&[first], &["start c u", r#"0:"a""#]),
        (&[], &[]),
        (&["[DONE]"], &["failed upstream_protocol"]),
        (&[first, cerebras, last], &["start c u", r#"0:"a""#, "failed upstream_error"]),
        (&[vllm], &["failed upstream_rejected"]),
        (&[first, "{", last], &["start c u", r#"0:"a""#, "failed upstream_protocol"]),
        (&["[1]"], &["failed upstream_protocol"]),
        (&[r#"{"choices":[1]}"#], &["start  ", "failed upstream_protocol"]),
        (&[&far], &["start  ", "failed upstream_protocol"]),
    ] {
        assert_eq!(told(NIM, &[stream(chunks).as_bytes()]), want, "{chunks:?}");
    }
    let named = format!("{}event: error\ndata: {{\"message\":\"x\",\"code\":503}}\n\n", stream(&[first]));
    assert_eq!(told(NIM, &[named.as_bytes()]), ["start c u", r#"0:"a""#, "failed upstream_error"]);
}

#[test]
fn no_bytes_make_a_reader_panic() {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 33).unwrap()
    };
    let good = r#"{"id":"c","model":"u","choices":[{"index":0,"text":"a\u00e9","logprobs":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}"#;
    for _ in 0..3000 {
        let mut bytes = good.as_bytes().to_vec();
        for _ in 0..=next() % 3 {
            let at = next() % bytes.len();
            bytes[at] = b"{}[]\",:0\\\xff\x00\n"[next() % 12];
        }
        bytes.truncate(next() % (good.len() + 1));
        if let Ok(whole) = decode_response(NIM, &bytes, "m") {
            serde_json::from_slice::<Value>(&whole.body).unwrap();
        }
        let said = told(NIM, &[b"data: ", &bytes, b"\n\ndata: [DONE]\n\n"]);
        let ends = said.iter().filter(|word| *word == "done" || word.starts_with("failed")).count();
        assert_eq!(ends, 1, "{said:?}");
    }
}
