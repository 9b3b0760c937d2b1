//! The recorded exchanges of embeddings, from a client's body to its answer, without the network between.

use std::fs;
use std::path::{Path, PathBuf};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::*;
use crate::chat::{Destination, Inlined};
use crate::dialect::{bedrock_invoke, nim_embeddings, watsonx};
use crate::error::Failure;
use crate::json;
use crate::model::{Capabilities, Overrides};
use crate::provider::{ProviderKind, Settings};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

/// The provider's id of the model: said, or in the call's address or body.
fn model_of(case: &Value, calls: &[Value]) -> String {
    let said = || case["model_id"].as_str().map(str::to_owned);
    let call = calls.first();
    let body = || {
        let body = &call?["request"]["body"];
        ["model", "model_id"].iter().find_map(|name| body[*name].as_str()).map(str::to_owned)
    };
    let address = || {
        let (_, rest) = call?["request"]["url"].as_str()?.split_once("/model/")?;
        let (id, _) = rest.split_once('/')?;
        Some(percent_encoding::percent_decode_str(id).decode_utf8().unwrap().into_owned())
    };
    said().or_else(body).or_else(address).unwrap_or_else(|| "no-model".to_owned())
}

fn headers(of: &Value) -> HeaderMap {
    let header = |(name, value): (&String, &Value)| {
        (HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value.as_str().unwrap()).unwrap())
    };
    of.as_object().into_iter().flatten().map(header).collect()
}

/// Plays a case, its calls answered last to first.
fn answer(case: &Value, kind: ProviderKind, calls: &[Value]) -> Result<(Value, Drops), Failure> {
    let said: Overrides = serde_json::from_value(case.get("capabilities").cloned().unwrap_or(json!({}))).unwrap();
    let id = model_of(case, calls);
    let can = Capabilities::of(kind, &id, Some(&said));
    let usual = json!({"project_id": "11111111-aaaa-4bbb-8ccc-222222222222"});
    let settings: Settings = serde_json::from_value(case.get("data").cloned().unwrap_or(usual)).unwrap();
    let inlined = Inlined::default();
    let to = Destination { kind, model: &id, can: &can, settings: &settings, inlined: &inlined };
    let body = case["front_request"].to_string();
    let object = json::object(body.as_bytes()).unwrap();
    let request = decode_request(&object)?;
    let batch = match kind {
        ProviderKind::Bedrock => bedrock_invoke::encode(&request, &to),
        ProviderKind::WatsonxAi => watsonx::embeddings::encode(&request, &to),
        _ => nim_embeddings::encode(&request, &to),
    }?;
    assert_eq!(batch.calls.len(), calls.len(), "{}: calls", case["name"]);
    let mut answer = Answer::new(&request);
    for (call, want) in batch.calls.iter().zip(calls).rev() {
        let body: Value = serde_json::from_slice(&call.body).unwrap();
        assert_eq!(body, want["request"]["body"], "{}: body", case["name"]);
        let (head, body) = (headers(&want["response"]["headers"]), want["response"]["body"].to_string());
        let vectors = match kind {
            ProviderKind::Bedrock => bedrock_invoke::decode(can.family, &head, body.as_bytes()),
            ProviderKind::WatsonxAi => watsonx::embeddings::decode(&head, body.as_bytes()),
            _ => nim_embeddings::decode(&head, body.as_bytes()),
        }?;
        answer.take(call, &vectors)?;
    }
    let (body, _) = answer.write(case["front_request"]["model"].as_str().unwrap())?;
    Ok((serde_json::from_slice(&body).unwrap(), batch.drops))
}

/// Whether the case is one of embeddings on a provider that is translated.
fn play(case: &Value) -> bool {
    let name = case["name"].as_str().unwrap();
    let by_path = case["path"].as_str().is_some_and(|path| path.ends_with("/embeddings"));
    if !by_path && case["endpoint"] != "embeddings" {
        return false;
    }
    // Cases of the gateway itself name their provider in the model.
    let front = case["front_request"]["model"].as_str().unwrap();
    let provider = case["provider"].as_str().filter(|provider| *provider != "gateway");
    let Some(kind) = ProviderKind::from_stored(provider.unwrap_or(front.split('/').next().unwrap())) else {
        panic!("{name}: no provider");
    };
    if !matches!(kind, ProviderKind::Bedrock | ProviderKind::WatsonxAi | ProviderKind::Nim) {
        return false;
    }
    let calls: Vec<Value> = match (case["upstream_calls"].as_array(), case.get("upstream_request")) {
        (Some(calls), _) => calls.clone(),
        (None, Some(request)) => vec![json!({"request": request, "response": case["upstream_response"]})],
        (None, None) => Vec::new(),
    };
    let mut case = case.clone();
    if provider.is_none() {
        case["model_id"] = json!("amazon.titan-embed-text-v2:0");
    }
    let want = &case["front_response"];
    match answer(&case, kind, &calls) {
        Ok((body, drops)) => {
            assert_eq!(want["status"], 200, "{name}");
            assert_eq!(body, want["body"], "{name}");
            assert_eq!(
                want["headers"]["x-gateway-dropped-params"].as_str().unwrap_or_default(),
                drops.header(),
                "{name}"
            );
        }
        Err(failure) => {
            assert_eq!(want["status"], failure.status().as_u16(), "{name}");
            assert_eq!(want["body"], serde_json::from_slice::<Value>(&failure.body()).unwrap(), "{name}");
        }
    }
    true
}

#[test]
fn every_recorded_exchange_is_as_recorded() {
    let mut played = 0;
    for part in ["bedrock", "watsonxai", "nim", "gateway", "edge"] {
        for entry in fs::read_dir(folder().join(part)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let case: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
                played += u32::from(case.get("front_request").is_some() && play(&case));
            }
        }
    }
    assert!(played >= 20, "only {played}");
}

fn plan<T>(
    kind: ProviderKind,
    id: &str,
    said: Value,
    body: &Value,
    look: impl FnOnce(Result<Batch, Failure>) -> T,
) -> T {
    let said: Overrides = serde_json::from_value(said).unwrap();
    let can = Capabilities::of(kind, id, Some(&said));
    let settings: Settings = serde_json::from_value(json!({"space_id": "s"})).unwrap();
    let inlined = Inlined::default();
    let to = Destination { kind, model: id, can: &can, settings: &settings, inlined: &inlined };
    let body = body.to_string();
    let object = json::object(body.as_bytes()).unwrap();
    let request = decode_request(&object).unwrap();
    look(match kind {
        ProviderKind::Bedrock => bedrock_invoke::encode(&request, &to),
        ProviderKind::WatsonxAi => watsonx::embeddings::encode(&request, &to),
        _ => nim_embeddings::encode(&request, &to),
    })
}

#[test]
fn inputs_are_split_at_each_providers_limit() {
    let many = |n: usize| json!({"model": "m", "input": vec!["a"; n]});
    for (kind, id, said, n, want) in [
        (ProviderKind::Bedrock, "amazon.titan-embed-text-v1", json!({}), 3, &[1, 1, 1][..]),
        (ProviderKind::Bedrock, "cohere.embed-english-v3", json!({}), 96, &[96]),
        (ProviderKind::Bedrock, "cohere.embed-english-v3", json!({}), 97, &[96, 1]),
        (ProviderKind::Bedrock, "us.cohere.embed-v4:0", json!({}), 200, &[96, 96, 8]),
        (ProviderKind::Bedrock, "us.cohere.embed-v4:0", json!({"batch_size": 2}), 3, &[2, 1]),
        (ProviderKind::Bedrock, "us.cohere.embed-v4:0", json!({"batch_size": 500}), 97, &[96, 1]),
        (ProviderKind::WatsonxAi, "ibm/slate", json!({}), 1000, &[1000]),
        (ProviderKind::WatsonxAi, "ibm/slate", json!({}), 2048, &[1000, 1000, 48]),
        (ProviderKind::WatsonxAi, "ibm/slate", json!({"batch_size": 0}), 2, &[1, 1]),
        (ProviderKind::Nim, "nvidia/nv-embedqa-e5-v5", json!({}), 2048, &[2048]),
        (ProviderKind::Nim, "nvidia/nv-embedqa-e5-v5", json!({"batch_size": 50}), 120, &[50, 50, 20]),
    ] {
        plan(kind, id, said, &many(n), |batch| {
            let batch = batch.unwrap();
            let sizes: Vec<usize> = batch.calls.iter().map(|call| call.inputs.len()).collect();
            assert_eq!(sizes, want, "{id}");
            let mut next = 0;
            for call in &batch.calls {
                assert_eq!(call.inputs.start, next, "{id}");
                next = call.inputs.end;
                let body: Value = serde_json::from_slice(&call.body).unwrap();
                let texts = ["texts", "inputs", "input"].iter().find_map(|name| body[*name].as_array());
                assert_eq!(texts.map_or(1, Vec::len), call.inputs.len(), "{id}");
            }
            assert_eq!(next, n, "{id}");
        });
    }
}

#[test]
fn what_a_model_cannot_take_is_refused_by_name() {
    let (titan1, titan2) = ("amazon.titan-embed-text-v1", "amazon.titan-embed-text-v2:0");
    let (cohere3, cohere4) = ("cohere.embed-multilingual-v3", "cohere.embed-v4:0");
    let (bedrock, watsonx, nim) = (ProviderKind::Bedrock, ProviderKind::WatsonxAi, ProviderKind::Nim);
    for (kind, id, said, rest, code, param) in [
        (bedrock, titan1, json!({}), json!({"dimensions": 256}), "unsupported_parameter", "dimensions"),
        (bedrock, titan2, json!({}), json!({"dimensions": 300}), "unsupported_value", "dimensions"),
        (bedrock, cohere3, json!({}), json!({"dimensions": 1024}), "unsupported_parameter", "dimensions"),
        (bedrock, cohere4, json!({}), json!({"dimensions": 2048}), "unsupported_value", "dimensions"),
        (bedrock, cohere4, json!({}), json!({"input_type": "image"}), "unsupported_value", "input_type"),
        (bedrock, cohere3, json!({}), json!({"input": [[1], [2]]}), "unsupported_value", "input"),
        (bedrock, "anthropic.claude-3", json!({}), json!({}), "unsupported_endpoint", "model"),
        (bedrock, "arn:aws:bedrock:x", json!({}), json!({}), "unsupported_endpoint", "model"),
        (watsonx, "ibm/slate", json!({}), json!({"dimensions": 8}), "unsupported_parameter", "dimensions"),
        (watsonx, "ibm/slate", json!({}), json!({"input": [1]}), "unsupported_value", "input"),
        (watsonx, "deployment/x", json!({}), json!({}), "unsupported_endpoint", "model"),
        (nim, "nvidia/nv-embedqa-e5-v5", json!({}), json!({"dimensions": 512}), "unsupported_value", "dimensions"),
        (nim, "x", json!({"dimensions": 64}), json!({"dimensions": 65}), "unsupported_value", "dimensions"),
        (
            nim,
            "x",
            json!({"unsupported_parameters": ["dimensions"]}),
            json!({"dimensions": 65}),
            "unsupported_parameter",
            "dimensions",
        ),
        (nim, "x", json!({}), json!({"input": [1]}), "unsupported_value", "input"),
        (nim, "x", json!({"input_type": "query"}), json!({"input_type": ""}), "unsupported_value", "input_type"),
    ] {
        let mut body = json!({"model": "m", "input": "a"});
        body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        plan(kind, id, said, &body, |batch| {
            let failure = batch.unwrap_err();
            assert_eq!((failure.code.as_str(), failure.param.as_deref()), (code, Some(param)), "{id} {rest}");
            assert_eq!(failure.status(), 400);
        });
    }
}

#[test]
fn bodies_hold_what_the_model_takes() {
    let (bedrock, nim) = (ProviderKind::Bedrock, ProviderKind::Nim);
    let arn = "arn:aws:bedrock:us-east-1:1:application-inference-profile/x";
    for (kind, id, said, rest, want) in [
        (
            bedrock,
            arn,
            json!({"base_model": "cohere.embed-english-v3"}),
            json!({"input_type": "passage"}),
            json!({"texts": ["a\u{e9}\"\n"], "input_type": "search_document"}),
        ),
        (
            bedrock,
            "cohere.embed-english-v3",
            json!({"input_type": "clustering"}),
            json!({}),
            json!({"texts": ["a\u{e9}\"\n"], "input_type": "clustering"}),
        ),
        (
            bedrock,
            "amazon.titan-embed-text-v2:0",
            json!({}),
            json!({"input_type": "query"}),
            json!({"inputText": "a\u{e9}\"\n", "normalize": true, "embeddingTypes": ["float"]}),
        ),
        (
            ProviderKind::WatsonxAi,
            "ibm/slate",
            json!({}),
            json!({"input_type": "query"}),
            json!({"model_id": "ibm/slate", "space_id": "s", "inputs": ["a\u{e9}\"\n"]}),
        ),
        // A symmetric model must not see the extension; a length that may be a choice is left to the model.
        (
            nim,
            "nvidia/llama-embed",
            json!({}),
            json!({"input_type": "query", "dimensions": 384, "truncate": "END"}),
            json!({"model": "nvidia/llama-embed", "input": "a\u{e9}\"\n", "dimensions": 384, "truncate": "END"}),
        ),
        (
            nim,
            "nvidia/nv-embedqa-e5-v5",
            json!({"unsupported_parameters": ["encoding_format"]}),
            json!({"input_type": "search_document", "encoding_format": "base64"}),
            json!({"model": "nvidia/nv-embedqa-e5-v5", "input": "a\u{e9}\"\n", "input_type": "passage"}),
        ),
        (
            nim,
            "nvidia/nv-embedqa-e5-v5",
            json!({"batch_size": 1}),
            json!({"encoding_format": "base64"}),
            json!({"model": "nvidia/nv-embedqa-e5-v5", "input": "a\u{e9}\"\n", "input_type": "query", "encoding_format": "base64"}),
        ),
    ] {
        let mut body = json!({"model": "m", "input": "a\u{e9}\"\n"});
        body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        plan(kind, id, said, &body, |batch| {
            let batch = batch.unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&batch.calls[0].body).unwrap(), want, "{id} {rest}");
            assert!(batch.drops.is_empty(), "{id} {rest}: {}", batch.drops.header());
        });
    }
}

/// Assembles the answer of one call of one provider.
fn assembled(kind: ProviderKind, id: &str, front: Value, body: &[u8]) -> Result<String, Failure> {
    let mut front = front;
    front["model"] = json!("m");
    let can = Capabilities::of(kind, id, None);
    plan(kind, id, json!({}), &front, |batch| {
        let call = batch.unwrap().calls.remove(0);
        let text = front.to_string();
        let object = json::object(text.as_bytes()).unwrap();
        let mut answer = Answer::new(&decode_request(&object).unwrap());
        let head = HeaderMap::new();
        let vectors = match kind {
            ProviderKind::Bedrock => bedrock_invoke::decode(can.family, &head, body),
            ProviderKind::WatsonxAi => watsonx::embeddings::decode(&head, body),
            _ => nim_embeddings::decode(&head, body),
        }?;
        answer.take(&call, &vectors)?;
        Ok(String::from_utf8(answer.write("m")?.0.to_vec()).unwrap())
    })
}

const KINDS: [(ProviderKind, &str, &str); 4] = [
    (ProviderKind::Bedrock, "amazon.titan-embed-text-v2:0", r#"{"embedding":V,"inputTextTokenCount":1}"#),
    (ProviderKind::Bedrock, "cohere.embed-english-v3", r#"{"embeddings":[V]}"#),
    (ProviderKind::WatsonxAi, "ibm/slate", r#"{"results":[{"embedding":V}],"input_token_count":1}"#),
    (ProviderKind::Nim, "x", r#"{"data":[{"index":0,"embedding":V}],"usage":{"prompt_tokens":1}}"#),
];

#[test]
fn digits_stay_as_the_provider_wrote_them() {
    for (kind, id, form) in KINDS {
        let vector = "[0.10000000000000000555, -1e-7,\n1E+2,0]";
        let body = form.replace('V', vector);
        let text = assembled(kind, id, json!({"input": "a"}), body.as_bytes()).unwrap();
        assert!(text.contains(&format!(r#""embedding":{vector}"#)), "{text}");
        let text = assembled(kind, id, json!({"input": "a", "encoding_format": "base64"}), body.as_bytes()).unwrap();
        assert!(text.contains(r#""embedding":"zczMPZW/1rMAAMhCAAAAAA==""#), "{text}");
    }
}

#[test]
fn what_is_no_vector_is_no_answer() {
    for (kind, id, form) in KINDS {
        for vector in ["[]", "null", "\"float\"", "[null]", "[[1]]", "{}", "[\"1\"]", "[true]", "[NaN]", "[1,]", "1"] {
            let failure = assembled(kind, id, json!({"input": "a"}), form.replace('V', vector).as_bytes()).unwrap_err();
            assert_eq!(failure.code.as_str(), "upstream_protocol", "{id} {vector}");
        }
        for vector in ["[1e39]", "\"float!\"", "\"\""] {
            let front = json!({"input": "a", "encoding_format": "base64"});
            let failure = assembled(kind, id, front, form.replace('V', vector).as_bytes()).unwrap_err();
            assert_eq!(failure.code.as_str(), "upstream_protocol", "{id} {vector}");
        }
        for body in ["", "null", "[]", "{}", "<html>", "[[1.0]]", r#"{"error":{"message":"x"}}"#] {
            assert!(assembled(kind, id, json!({"input": "a"}), body.as_bytes()).is_err(), "{id} {body}");
        }
    }
    // One vector too many, one too few, one twice.
    let (kind, id) = (ProviderKind::WatsonxAi, "ibm/slate");
    let two = json!({"input": ["a", "b"]});
    assert!(assembled(kind, id, two.clone(), br#"{"results":[{"embedding":[1]}]}"#).is_err());
    assert!(
        assembled(kind, id, json!({"input": "a"}), br#"{"results":[{"embedding":[1]},{"embedding":[1]}]}"#).is_err()
    );
    for indexes in ["0,0", "0,2", "-1,0"] {
        let (first, second) = indexes.split_once(',').unwrap();
        let body = format!(r#"{{"data":[{{"index":{first},"embedding":[1]}},{{"index":{second},"embedding":[2]}}]}}"#);
        assert!(assembled(ProviderKind::Nim, "x", two.clone(), body.as_bytes()).is_err(), "{indexes}");
    }
    let swapped = br#"{"data":[{"index":1,"embedding":[1]},{"index":0,"embedding":[2]}]}"#;
    let text = assembled(ProviderKind::Nim, "x", two, swapped).unwrap();
    assert!(text.contains(r#""index":0,"embedding":[2]"#), "{text}");
}

#[test]
fn an_answer_without_all_vectors_is_not_written() {
    let body = r#"{"model":"m","input":["a","b"]}"#;
    let object = json::object(body.as_bytes()).unwrap();
    let answer = Answer::new(&decode_request(&object).unwrap());
    assert_eq!(answer.write("m").unwrap_err().code.as_str(), "internal_error");
}

#[test]
fn the_size_of_all_vectors_has_a_limit() {
    let body = r#"{"model":"m","input":"a"}"#;
    let object = json::object(body.as_bytes()).unwrap();
    let request = decode_request(&object).unwrap();
    let around = r#"{"object":"embedding","index":0,"embedding":}"#.len();
    for (size, fits) in [(crate::limits::EMBED_ANSWER_BYTES, true), (crate::limits::EMBED_ANSWER_BYTES + 1, false)] {
        let vector = format!("[{}1]", " ".repeat(size - around - 3));
        let raw = serde_json::value::RawValue::from_string(vector).unwrap();
        let call = EmbedCall { body: Bytes::new(), inputs: 0..1, headers: Vec::new() };
        let taken = Answer::new(&request).take(&call, &Vectors { raw: vec![&raw], tokens: None });
        assert_eq!(taken.is_ok(), fits, "{size}");
    }
}

#[test]
fn no_bytes_make_a_decoder_panic() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 33).unwrap()
    };
    for (kind, id, form) in KINDS {
        let good = form.replace('V', "[0.5,-1e-7]").into_bytes();
        for _ in 0..2000 {
            let mut bytes = good.clone();
            for _ in 0..=next() % 3 {
                let at = next() % bytes.len();
                bytes[at] = b"{}[]\",:0\\\xff\x00"[next() % 11];
            }
            bytes.truncate(next() % (good.len() + 1));
            for format in ["float", "base64"] {
                if let Ok(text) = assembled(kind, id, json!({"input": "a", "encoding_format": format}), &bytes) {
                    serde_json::from_str::<Value>(&text).unwrap();
                }
            }
        }
    }
}
