//! The exchanges of `tests/golden/bedrock`, and the edge cases of this dialect, without the gateway around it.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::{request, response, stream};
use crate::chat::{Answer, Destination, Encoded, Event, Expect, FinishReason, ImageKind, Inlined};
use crate::dialect::openai_chat;
use crate::error::Failure;
use crate::frame::eventstream;
use crate::model::{Capabilities, Overrides};
use crate::provider::{ProviderKind, Settings};

pub(super) fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

/// What a client's body becomes for a model of these overrides.
pub(super) fn encode(model: &str, said: &Value, front: &Value) -> Result<Encoded, Failure> {
    let body = front.to_string();
    let object = crate::json::object(body.as_bytes()).unwrap();
    let request = openai_chat::decode_request(&object)?;
    let said: Overrides = serde_json::from_value(said.clone()).unwrap();
    let can = Capabilities::of(ProviderKind::Bedrock, model, Some(&said));
    let (settings, mut inlined) = (Settings::default(), Inlined::default());
    inlined.put("https://images.example/a.png", ImageKind::Png, b"\x89PNG\r\n\x1a\n");
    let to = Destination { kind: ProviderKind::Bedrock, model, can: &can, settings: &settings, inlined: &inlined };
    request::encode_request(&request, &to)
}

pub(super) fn body_of(encoded: &Encoded) -> Value {
    serde_json::from_slice(&encoded.body).unwrap()
}

/// A whole answer as clients would see it, but for what the front door adds.
pub(super) fn shown(answer: &Answer<'_>) -> Value {
    let [choice] = answer.choices.as_slice() else { panic!("not one choice") };
    let mut message = json!({"role": "assistant", "content": choice.content, "refusal": choice.refusal});
    if let Some(reasoning) = &choice.reasoning {
        message["reasoning_content"] = json!(reasoning);
    }
    if !choice.thinking.is_empty() {
        message["thinking_blocks"] =
            choice.thinking.iter().map(|block| serde_json::from_str::<Value>(block).unwrap()).collect();
    }
    if !choice.tools.is_empty() {
        let call = |tool: &crate::chat::ToolUse<'_>| json!({"id": tool.id, "type": "function", "function": {"name": tool.name, "arguments": tool.arguments}});
        message["tool_calls"] = choice.tools.iter().map(call).collect();
    }
    let mut out = json!({"message": message, "finish_reason": choice.finish.reason.as_str()});
    if let Some(usage) = &answer.usage {
        out["usage"] = usage_of(usage);
    }
    out
}

fn usage_of(usage: &crate::account::Usage) -> Value {
    let mut out = json!({"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens});
    for (name, value) in [("cached_tokens", usage.cache_read_tokens), ("cache_write_tokens", usage.cache_write_tokens)]
    {
        if let Some(value) = value {
            out["prompt_tokens_details"][name] = json!(value);
        }
    }
    out
}

/// The events of a stream that arrives in these pieces, as the client's chunks would tell them.
pub(super) fn events<'a>(expect: &Expect, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Value> {
    let mut frames = eventstream::Decoder::default();
    let mut decoder = stream::Decoder::new(expect.clone());
    let mut out = Vec::new();
    let mut over = false;
    let mut emit = |event: Event<'_>| {
        assert!(!over, "something follows the end: {event:?}");
        over = matches!(event, Event::Done | Event::Failed(_));
        out.push(told(&event));
    };
    for piece in pieces {
        let pushed = frames.push(&Bytes::copy_from_slice(piece), |frame| decoder.push(&frame, &mut emit));
        if let Err(broken) = pushed {
            emit(Event::Failed(Box::new(response::protocol(&broken.to_string()))));
            return out;
        }
    }
    decoder.finish(&mut emit);
    out
}

fn told(event: &Event<'_>) -> Value {
    match event {
        Event::Start(_) => json!("start"),
        Event::Done => json!("[DONE]"),
        Event::Usage(usage) => json!({"usage": usage_of(usage)}),
        Event::Failed(failure) => serde_json::from_slice(&failure.body()).unwrap(),
        Event::Delta(delta) => {
            let text = |literal: &crate::chat::Literal<'_>| serde_json::from_str::<Value>(literal.as_json()).unwrap();
            let mut out = json!({});
            if delta.role {
                out["role"] = json!("assistant");
            }
            for (name, piece) in [("content", &delta.content), ("reasoning_content", &delta.reasoning)] {
                if let Some(piece) = piece {
                    out[name] = text(piece);
                }
            }
            if let Some(block) = &delta.thinking {
                out["thinking_blocks"] = json!([serde_json::from_str::<Value>(block).unwrap()]);
            }
            for tool in &delta.tools {
                let mut call = json!({"index": tool.index, "function": {"arguments": text(&tool.arguments)}});
                if let Some((id, name)) = &tool.begin {
                    call["id"] = text(id);
                    call["type"] = json!("function");
                    call["function"]["name"] = text(name);
                }
                out["tool_calls"] = json!([call]);
            }
            json!({"delta": out, "finish_reason": delta.finish.as_ref().map(|finish| finish.reason.as_str())})
        }
    }
}

/// What a recorded stream of the front door says, in the same words. Clients count thinking blocks, decoders do not.
fn front_events(sse: &str) -> Vec<Value> {
    let mut out = vec![json!("start")];
    for data in sse.split("\n\n").filter_map(|event| event.trim().strip_prefix("data: ")) {
        let Ok(mut chunk) = serde_json::from_str::<Value>(data) else {
            out.push(json!(data));
            continue;
        };
        if !chunk["error"].is_null() {
            out.push(chunk);
        } else if chunk["choices"].as_array().unwrap().is_empty() {
            out.push(json!({"usage": chunk["usage"]}));
        } else {
            let choice = &mut chunk["choices"][0];
            let blocks = choice["delta"].get_mut("thinking_blocks").and_then(Value::as_array_mut);
            for block in blocks.into_iter().flatten() {
                block.as_object_mut().unwrap().remove("index");
            }
            out.push(json!({"delta": choice["delta"], "finish_reason": choice["finish_reason"]}));
        }
    }
    out
}

/// Every file of a folder whose provider this is, by name.
fn cases(folder: &str, prefix: &str) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(golden().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.starts_with(prefix) || path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let case: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        if case["provider"] == "bedrock" && case["front_request"]["messages"].is_array() {
            all.push((name, case));
        }
    }
    all
}

/// Replaces made-up ids by their order, after a look at their form.
fn with_plain_ids(mut body: Value) -> Value {
    let mut known: Vec<String> = Vec::new();
    for message in body["messages"].as_array_mut().into_iter().flatten() {
        for block in message["content"].as_array_mut().into_iter().flatten() {
            for kind in ["toolUse", "toolResult"] {
                let Some(id) = block[kind]["toolUseId"].as_str().map(str::to_owned) else { continue };
                let fits = |b: u8| b.is_ascii_alphanumeric() || b"_.:-".contains(&b);
                assert!((1..=64).contains(&id.len()) && id.bytes().all(fits), "{id}");
                if !known.contains(&id) {
                    known.push(id.clone());
                }
                block[kind]["toolUseId"] = json!(known.iter().position(|one| *one == id));
            }
        }
    }
    body
}

/// The model that a call goes to.
fn model_of(case: &Value, url: &str) -> String {
    let in_url = || {
        let segment = url.split("/model/").nth(1).unwrap().split('/').next().unwrap();
        percent_encoding::percent_decode_str(segment).decode_utf8().unwrap().into_owned()
    };
    case["model_id"].as_str().map_or_else(in_url, str::to_owned)
}

fn play(name: &str, case: &Value) {
    let nothing = json!({});
    let said = case.get("capabilities").unwrap_or(&nothing);
    let calls = case["upstream_calls"].as_array();
    // Only the last of several calls is the provider's: before it images are fetched.
    let last = calls.and_then(|calls| calls.last()).unwrap_or(case);
    let want = last.get("upstream_request").or_else(|| last.get("request")).unwrap_or(&Value::Null);
    let answer = last.get("upstream_response").or_else(|| last.get("response")).unwrap_or(&Value::Null);
    let front = &case["front_response"];
    let encoded =
        match encode(&model_of(case, want["url"].as_str().unwrap_or("/model/none/x")), said, &case["front_request"]) {
            Err(failure) => {
                assert!(want.is_null(), "{name}: {failure:?}");
                assert_eq!(front["status"], u64::from(failure.status().as_u16()), "{name}");
                let body: Value = serde_json::from_slice(&failure.body()).unwrap();
                assert_eq!(body, front["body"], "{name}");
                return;
            }
            Ok(encoded) => encoded,
        };
    if case["strict"] == true
        && let Some(failure) = encoded.drops.strict()
    {
        let body: Value = serde_json::from_slice(&failure.body()).unwrap();
        assert_eq!(body, front["body"], "{name}");
        return;
    }
    assert!(!want.is_null(), "{name}: no call was expected");
    // Its made-up id is an example.
    let plain = if name.starts_with("converse_invalid_names") { with_plain_ids } else { |body| body };
    assert_eq!(plain(body_of(&encoded)), plain(want["body"].clone()), "{name}");
    if let Some(drops) = front["headers"]["x-gateway-dropped-params"].as_str() {
        assert_eq!(encoded.drops.header(), drops, "{name}");
    } else {
        assert!(encoded.drops.is_empty(), "{name}: {}", encoded.drops.header());
    }
    if let Some(file) = answer["body_file"].as_str() {
        let folder = golden().join(if case["edge"].is_null() { "bedrock" } else { "edge" });
        let read = |file: &str| {
            fs::read(folder.join(file)).or_else(|_| fs::read(golden().join(file))).unwrap_or_else(|_| panic!("{file}"))
        };
        let want = front_events(std::str::from_utf8(&read(front["body_file"].as_str().unwrap())).unwrap());
        check_stream(
            name,
            &encoded.expect,
            &read(file),
            &want,
            case["front_request"]["stream_options"]["include_usage"] == true,
        );
        return;
    }
    let status = StatusCode::from_u16(u16::try_from(answer["status"].as_u64().unwrap()).unwrap()).unwrap();
    let bytes = answer["body"].to_string();
    if status == StatusCode::OK {
        let body = match response::decode_response(bytes.as_bytes(), &encoded.expect) {
            Ok(answer) => {
                let native = answer.choices[0].finish.native.clone();
                assert_eq!(front["headers"]["x-gateway-native-finish-reason"].as_str(), native.as_deref(), "{name}");
                shown(&answer)
            }
            Err(failure) => serde_json::from_slice(&failure.body()).unwrap(),
        };
        let want = match front["body"]["choices"].as_array() {
            None => front["body"].clone(),
            Some(choices) => json!({"message": choices[0]["message"], "finish_reason": choices[0]["finish_reason"],
                "usage": front["body"]["usage"]}),
        };
        assert_eq!(body, want, "{name}");
    } else {
        let mut headers = HeaderMap::new();
        for (header, value) in answer["headers"].as_object().unwrap() {
            headers.insert(
                HeaderName::try_from(header.as_str()).unwrap(),
                HeaderValue::try_from(value.as_str().unwrap()).unwrap(),
            );
        }
        let failure = response::classify(status, &headers, bytes.as_bytes());
        let told: Value = serde_json::from_slice(&failure.body()).unwrap();
        assert_eq!(
            (json!(failure.status().as_u16()), told),
            (front["status"].clone(), front["body"].clone()),
            "{name}"
        );
        for (header, value) in front["headers"].as_object().unwrap() {
            assert_eq!(failure.response().headers()[header.as_str()], value.as_str().unwrap(), "{name}");
        }
    }
}

/// Plays a stream whole, cut in two at every byte, byte by byte and in pieces of several lengths.
fn check_stream(name: &str, expect: &Expect, bytes: &[u8], want: &[Value], include_usage: bool) {
    let mut seen = events(expect, [bytes]);
    for cut in 0..=bytes.len() {
        let (head, tail) = bytes.split_at(cut);
        assert_eq!(events(expect, [head, tail]), seen, "{name} cut at {cut}");
    }
    for length in [1, 2, 3, 7, 31, 97] {
        assert_eq!(events(expect, bytes.chunks(length)), seen, "{name} in pieces of {length}");
    }
    if !include_usage {
        seen.retain(|event| event["usage"].is_null());
    }
    let mut want = want.to_vec();
    // The relay tells of a stream that was cut; decoders say nothing then.
    want.retain(|event| event["error"]["code"] != "upstream_incomplete");
    assert_eq!(seen, want, "{name}");
}

#[test]
fn recorded_exchanges_are_played() {
    for (prefix, least) in [("converse_", 11), ("error_", 11), ("stream_", 9)] {
        let cases = cases("bedrock", prefix);
        assert!(cases.len() >= least, "{prefix}: {}", cases.len());
        for (name, case) in cases {
            play(&name, &case);
        }
    }
}

#[test]
fn edge_cases_are_played() {
    let cases = cases("edge", "");
    assert!(cases.len() >= 49, "{}", cases.len());
    for (name, case) in &cases {
        play(name, case);
    }
}

#[test]
fn an_answer_and_its_stream_end_alike() {
    for (reason, calls, want) in [
        ("end_turn", false, FinishReason::Stop),
        ("stop_sequence", false, FinishReason::Stop),
        ("tool_use", true, FinishReason::ToolCalls),
        ("tool_use", false, FinishReason::Stop),
        ("max_tokens", false, FinishReason::Length),
        ("model_context_window_exceeded", false, FinishReason::Length),
        ("guardrail_intervened", false, FinishReason::ContentFilter),
        ("content_filtered", false, FinishReason::ContentFilter),
        ("malformed_tool_use", false, FinishReason::Stop),
        ("later_word", false, FinishReason::Stop),
    ] {
        let block =
            if calls { json!({"toolUse": {"toolUseId": "t", "name": "f", "input": {}}}) } else { json!({"text": "x"}) };
        let body = json!({"output": {"message": {"role": "assistant", "content": [block]}}, "stopReason": reason});
        let body = body.to_string();
        let whole = response::decode_response(body.as_bytes(), &Expect::default()).unwrap();
        assert_eq!(whole.choices[0].finish.reason, want, "{reason}");
        let native = whole.choices[0].finish.native.clone();
        assert_eq!(native.as_deref(), (reason.contains("malformed") || reason == "later_word").then_some(reason));
        let start = json!({"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}}).to_string();
        let mut bytes = Vec::new();
        if calls {
            bytes.extend(eventstream::write::event("contentBlockStart", &start));
        }
        bytes.extend(eventstream::write::event("messageStop", &json!({"stopReason": reason}).to_string()));
        let seen = events(&Expect::default(), [&*bytes]);
        assert_eq!(seen[seen.len() - 2]["finish_reason"], want.as_str(), "{reason}");
        assert_eq!(seen.last(), Some(&json!("[DONE]")));
    }
}
