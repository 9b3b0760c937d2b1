use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::chat::Inlined;
use crate::dialect::openai_completions::{decode_request, encode_response};
use crate::json;
use crate::model::{Capabilities, Overrides};
use crate::provider::Settings;

fn folder(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(part)
}

/// Bodies, echoes and drops.
type Planned = (Vec<Value>, Vec<Option<String>>, String);

/// What would be sent.
fn planned(model: &str, said: Value, settings: Value, front: &Value) -> Result<Planned, Failure> {
    let kind = ProviderKind::WatsonxAi;
    let said: Overrides = serde_json::from_value(said).unwrap();
    let can = Capabilities::of(kind, model, Some(&said));
    let settings: Settings = serde_json::from_value(settings).unwrap();
    let inlined = Inlined::default();
    let to = Destination { kind, model, can: &can, settings: &settings, inlined: &inlined };
    let body = front.to_string();
    let object = json::object(body.as_bytes()).unwrap();
    let request = decode_request(&object)?;
    let batch = encode(&request, &to)?;
    let stream = front["stream"] == true;
    assert_eq!(batch.headers[0].1, if stream { "text/event-stream" } else { "application/json" });
    let bodies = batch.calls.iter().map(|call| serde_json::from_slice(&call.body).unwrap()).collect();
    let echoes = batch.calls.iter().map(|call| call.echo.map(|raw| raw.get().to_owned())).collect();
    Ok((bodies, echoes, batch.drops.header()))
}

fn project() -> Value {
    json!({"project_id": "11111111-aaaa-4bbb-8ccc-222222222222", "space_id": "unused"})
}

/// What a stream says, one word for each event.
fn told(pieces: &[&[u8]], echo: Option<&str>) -> Vec<String> {
    let echo = echo.map(|echo| RawValue::from_string(echo.to_owned()).unwrap());
    let mut frames = sse::Decoder::default();
    let mut decoder = Decoder::new(echo.as_deref());
    let mut said = Vec::new();
    let mut hear = |event: Event<'_>| {
        said.push(match event {
            Event::Start(who) => format!("start {}", who.model.unwrap_or_default()),
            Event::Delta(delta) => {
                assert_eq!(delta.choice, 0);
                let finish = delta.finish.map_or(String::new(), |finish| format!(" {}", finish.reason.as_str()));
                format!("{}{finish}", delta.content.as_ref().map_or("-", |text| text.as_json()))
            }
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

#[test]
fn every_recorded_exchange_is_as_recorded() {
    let mut played = 0;
    for part in ["watsonxai", "edge"] {
        for entry in fs::read_dir(folder(part)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let case: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            if case["provider"] != "watsonxai" || case["endpoint"] != "completions" {
                continue;
            }
            played += 1;
            let (name, front, want) = (&case["name"], &case["front_request"], &case["front_response"]);
            let id = case["upstream_request"]["body"]["model_id"].as_str().unwrap_or("m");
            let planned = match planned(id, json!({}), project(), front) {
                Ok(planned) => planned,
                Err(failure) => {
                    assert_eq!(serde_json::from_slice::<Value>(&failure.body()).unwrap(), want["body"], "{name}");
                    continue;
                }
            };
            assert_eq!(planned.0, [case["upstream_request"]["body"].clone()], "{name}");
            assert_eq!(planned.2, "", "{name}");
            if front["stream"] == true {
                continue;
            }
            let text = decode(case["upstream_response"]["body"].to_string().as_bytes(), None).unwrap();
            assert_eq!(text.model.as_deref(), Some(id), "{name}");
            let model = front["model"].as_str().unwrap();
            let body = encode_response("cmpl-FIXTURE0001", 1_760_000_000, model, &[text.choice], text.usage);
            assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), want["body"], "{name}");
        }
    }
    assert!(played >= 5, "only {played}");
}

#[test]
fn the_recorded_stream_is_read_however_it_is_cut() {
    let bytes = fs::read(folder("watsonxai").join("generation_stream.upstream.sse")).unwrap();
    let want = [
        "start meta-llama/llama-3-3-70b-instruct",
        "\" This\"",
        "usage 1 1",
        "\" is\"",
        "usage 1 2",
        "- length",
        "done",
    ];
    assert_eq!(told(&[&bytes], None), want);
    for at in 0..bytes.len() {
        let (left, right) = bytes.split_at(at);
        assert_eq!(told(&[left, right], None), want, "cut at {at}");
    }
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(told(&bytes.chunks(size).collect::<Vec<_>>(), None), want, "pieces of {size}");
    }
}

#[test]
fn parameters_are_translated() {
    let sample = |rest: Value| {
        let mut want = json!({"decoding_method": "sample", "max_new_tokens": 16});
        want.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        want
    };
    let greedy = json!({"decoding_method": "greedy", "max_new_tokens": 16});
    for (said, rest, want, drops) in [
        (json!({}), json!({}), sample(json!({})), ""),
        (json!({}), json!({"temperature": 0.0, "top_p": 0.5, "seed": 3}), greedy, ""),
        (
            json!({}),
            json!({"temperature": 1, "max_tokens": 0}),
            sample(json!({"temperature": 1, "max_new_tokens": 0})),
            "",
        ),
        (json!({"default_max_tokens": 99}), json!({}), sample(json!({"max_new_tokens": 99})), ""),
        (json!({}), json!({"seed": 0}), sample(json!({})), "seed"),
        (json!({}), json!({"seed": -4}), sample(json!({})), "seed"),
        (
            json!({}),
            json!({"stop": "a\u{e9}\""}),
            sample(json!({"stop_sequences": ["a\u{e9}\""], "include_stop_sequence": false})),
            "",
        ),
        (json!({}), json!({"stop": [""]}), sample(json!({})), ""),
        (
            json!({}),
            json!({"logprobs": 2, "presence_penalty": 1, "user": "u", "metadata": {"a": "b"}, "x": 1}),
            sample(json!({})),
            "logprobs, presence_penalty, user, metadata, x",
        ),
        (
            json!({}),
            json!({"n": 1, "best_of": 1, "suffix": null, "logit_bias": {}, "frequency_penalty": 0, "cache": {}}),
            sample(json!({})),
            "",
        ),
        (
            json!({"unsupported_parameters": ["seed", "stop"], "sampling": false}),
            json!({"seed": 5, "stop": "x", "temperature": 0.5}),
            sample(json!({})),
            "seed, stop, temperature",
        ),
    ] {
        let mut front = json!({"model": "m", "prompt": "x"});
        front.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let (bodies, _, dropped) = planned("ibm/x", said, project(), &front).unwrap();
        assert_eq!(bodies[0]["parameters"], want, "{rest}");
        let sorted = |text: &str| {
            let mut names: Vec<String> = text.split(", ").map(str::to_owned).collect();
            names.sort();
            names
        };
        assert_eq!(sorted(&dropped), sorted(drops), "{rest}");
    }
}

#[test]
fn each_prompt_is_a_call_of_its_own() {
    let front = json!({"model": "m", "prompt": ["a", "", "b\""], "echo": true});
    let (bodies, echoes, _) = planned("ibm/x", json!({}), json!({"space_id": "s"}), &front).unwrap();
    let inputs: Vec<&Value> = bodies.iter().map(|body| &body["input"]).collect();
    assert_eq!(inputs, ["a", "", "b\""]);
    assert_eq!(echoes, [Some(r#""a""#.to_owned()), Some(r#""""#.to_owned()), Some(r#""b\"""#.to_owned())]);
    assert!(bodies.iter().all(|body| body["model_id"] == "ibm/x" && body["space_id"] == "s"));
    assert!(bodies.iter().all(|body| body.get("project_id").is_none()));
    // A deployment has its own model and place.
    let (bodies, _, _) = planned("deployment/d", json!({}), project(), &json!({"model": "m", "prompt": "a"})).unwrap();
    let mut names: Vec<&String> = bodies[0].as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["input", "parameters"]);
}

#[test]
fn what_cannot_be_expressed_is_refused_by_name() {
    for (rest, code, param) in [
        (json!({"prompt": [1]}), "unsupported_value", "prompt"),
        (json!({"prompt": [[1]]}), "unsupported_value", "prompt"),
        (json!({"prompt": ["a", "b"], "stream": true}), "unsupported_value", "prompt"),
        (json!({"prompt": vec!["a"; limits::PROMPT_CALLS + 1]}), "unsupported_value", "prompt"),
        (json!({"suffix": "s"}), "unsupported_parameter", "suffix"),
        (json!({"best_of": 2}), "unsupported_value", "best_of"),
        (json!({"n": 2}), "unsupported_value", "n"),
        (json!({"logit_bias": {"1": 2}}), "unsupported_parameter", "logit_bias"),
        (json!({"max_tokens": -1}), "invalid_request", "max_tokens"),
    ] {
        let mut front = json!({"model": "m", "prompt": "x"});
        front.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let failure = planned("ibm/x", json!({}), project(), &front).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.param.as_deref()), (code, Some(param)), "{rest}");
        assert_eq!(failure.status(), 400);
    }
    let most = json!({"model": "m", "prompt": vec!["a"; limits::PROMPT_CALLS]});
    assert_eq!(planned("ibm/x", json!({}), project(), &most).unwrap().0.len(), limits::PROMPT_CALLS);
    let one = json!({"model": "m", "prompt": ["a"], "stream": true});
    assert!(planned("ibm/x", json!({}), project(), &one).is_ok());
}

fn result(text: &str, reason: &str) -> String {
    json!({"model_id": "u", "results": [{"generated_text": text, "stop_reason": reason}]}).to_string()
}

#[test]
fn stop_reasons_have_openais_words() {
    for (theirs, ours, native) in [
        ("eos_token", "stop", None),
        ("EOS_TOKEN", "stop", None),
        ("Stop_Sequence", "stop", None),
        ("max_tokens", "length", None),
        ("token_limit", "length", None),
        ("TIME_LIMIT", "length", Some("TIME_LIMIT")),
        ("cancelled", "stop", Some("cancelled")),
        ("moon phase", "stop", Some("moonphase")),
        ("", "stop", None),
        ("not_finished", "stop", None),
    ] {
        let text = decode(result("a", theirs).as_bytes(), None).unwrap();
        assert_eq!(
            (text.choice.finish.reason.as_str(), text.choice.finish.native.as_deref()),
            (ours, native),
            "{theirs}"
        );
        assert_eq!(text.usage, None);
    }
    assert_eq!(decode(result("a", "ERROR").as_bytes(), None).unwrap_err().code, ErrorCode::UpstreamError);
}

#[test]
fn the_prompt_is_repeated_before_the_text() {
    let prompt = RawValue::from_string(r#""\u00e9 \"a""#.to_owned()).unwrap();
    let text = decode(result(" \n\"b\"", "eos_token").as_bytes(), Some(&prompt)).unwrap();
    assert_eq!(serde_json::from_str::<String>(&text.choice.text).unwrap(), "\u{e9} \"a \n\"b\"");
    let stream = format!("data: {}\n\n", result("b", "eos_token"));
    assert_eq!(told(&[stream.as_bytes()], Some(prompt.get())), ["start u", prompt.get(), "\"b\" stop", "done"]);
    assert_eq!(told(&[stream.as_bytes()], Some("\"\"")), ["start u", "\"b\" stop", "done"]);
}

#[test]
fn several_texts_make_one_answer() {
    let body = |text: &str, input: u64, output: u64| {
        json!({"results": [{"generated_text": text, "stop_reason": "eos_token", "input_token_count": input,
            "generated_token_count": output}]})
        .to_string()
    };
    let texts = [("a", 1, 2), ("b", 10, 20)]
        .map(|(text, input, output)| decode(body(text, input, output).as_bytes(), None).unwrap());
    let mut usage = Usage::default();
    for text in &texts {
        usage.input_tokens += text.usage.unwrap().input_tokens;
        usage.output_tokens += text.usage.unwrap().output_tokens;
    }
    let choices: Vec<TextChoice> = texts.into_iter().map(|text| text.choice).collect();
    let whole: Value = serde_json::from_slice(&encode_response("i", 1, "m\"", &choices, Some(usage))).unwrap();
    let choice =
        |index: u32, text: &str| json!({"index": index, "text": text, "logprobs": null, "finish_reason": "stop"});
    let want = json!({"id": "i", "object": "text_completion", "created": 1, "model": "m\"",
        "choices": [choice(0, "a"), choice(1, "b")],
        "usage": {"prompt_tokens": 11, "completion_tokens": 22, "total_tokens": 33}});
    assert_eq!(whole, want);
}

#[test]
fn what_is_no_answer_is_a_failure() {
    for (body, code) in [
        ("", "upstream_protocol"),
        ("[]", "upstream_protocol"),
        ("{}", "upstream_protocol"),
        (r#"{"results":[]}"#, "upstream_protocol"),
        (r#"{"results":[["a"]]}"#, "upstream_protocol"),
        (r#"{"results":[{"stop_reason":"eos_token"}]}"#, "upstream_protocol"),
        (r#"{"results":[{"generated_text":5}]}"#, "upstream_protocol"),
        (r#"{"errors":[{"code":"x","message":"m"}],"status_code":500}"#, "upstream_error"),
        (r#"{"errors":[{"code":"x","message":"m"}],"status_code":404}"#, "model_not_found"),
    ] {
        assert_eq!(decode(body.as_bytes(), None).unwrap_err().code.as_str(), code, "{body}");
    }
}

#[test]
fn ends_of_streams_are_told_apart() {
    let event = |body: &str| format!("event: message\ndata: {body}\n\n");
    let (more, last) = (event(&result("a", "not_finished")), event(&result("", "eos_token")));
    let errors = r#"{"errors":[{"code":"x","message":"m"}],"status_code":500}"#;
    for (text, want) in [
        (format!("{more}{last}"), &["start u", "\"a\"", "- stop", "done"][..]),
        (format!("{more}{last}data: [DONE]\n\n"), &["start u", "\"a\"", "- stop", "done"]),
        (format!("{more}{last}{more}"), &["start u", "\"a\"", "- stop", "done"]),
        (more.clone(), &["start u", "\"a\""]),
        (format!("{more}data: [DONE]\n\n"), &["start u", "\"a\""]),
        (String::new(), &[]),
        (format!("{more}event: error\ndata: {errors}\n\n{last}"), &["start u", "\"a\"", "failed upstream_error"]),
        (event(errors), &["failed upstream_error"]),
        (format!("{}{last}", event(r#"{"system":{"warnings":[]}}"#)), &["start u", "- stop", "done"]),
        (event("{"), &["failed upstream_protocol"]),
        (event("[1]"), &["failed upstream_protocol"]),
        (event(r#"{"results":[1]}"#), &["failed upstream_protocol"]),
        (event(&result("", "error")), &["failed upstream_error"]),
    ] {
        assert_eq!(told(&[text.as_bytes()], None), want, "{text}");
    }
}

#[test]
fn no_bytes_make_a_reader_panic() {
    let mut random = 0x853c_49e6_748f_ea9b_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 33).unwrap()
    };
    let good = r#"{"model_id":"u","results":[{"generated_text":"a\u00e9","generated_token_count":1,"input_token_count":1,"stop_reason":"eos_token"}]}"#;
    for _ in 0..3000 {
        let mut bytes = good.as_bytes().to_vec();
        for _ in 0..=next() % 3 {
            let at = next() % bytes.len();
            bytes[at] = b"{}[]\",:0\\\xff\x00\n"[next() % 12];
        }
        bytes.truncate(next() % (good.len() + 1));
        if let Ok(text) = decode(&bytes, None) {
            serde_json::from_str::<String>(&text.choice.text).unwrap();
        }
        let said = told(&[b"data: ", &bytes, b"\n\n"], Some("\"p\""));
        assert!(said.iter().filter(|word| *word == "done" || word.starts_with("failed")).count() <= 1, "{said:?}");
    }
}
