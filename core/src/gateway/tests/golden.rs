//! The exchanges of `tests/golden/openai_chat`: what goes up and what comes back, to the letter.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::ports::Platform;
use crate::testing::{Answer, Chunk};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/openai_chat")
}

/// The `data:` payloads of a stream.
fn payloads(stream: &str) -> Vec<Value> {
    stream
        .split("\n\n")
        .filter_map(|event| event.trim().strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap_or_else(|_| Value::from(data)))
        .collect()
}

fn body_of(case: &Value) -> Bytes {
    match case["body_file"].as_str() {
        Some(file) => Bytes::from(fs::read(folder().join(file)).unwrap()),
        None => Bytes::from(case["body"].to_string()),
    }
}

fn play(case: &Value, pieces: usize) {
    let name = case["name"].as_str().unwrap();
    let bench = Bench::new();
    let data = json!({"name": "main", "data": {"apikey": "sk-upstream-EXAMPLE"}});
    assert_eq!(bench.admin("PUT", &format!("/v1/providers/{}/openai", bench.provider), data).0, 200);
    let front = &case["front_request"];
    let upstream_id = case["upstream_request"]["body"]["model"].as_str().unwrap();
    let model = json!({"id": upstream_id, "alias": front["model"]});
    assert_eq!(bench.admin("POST", &format!("/v1/providers/{}/models", bench.provider), model).0, 201);

    let answer = &case["upstream_response"];
    let body = body_of(answer);
    let step = body.len().div_ceil(pieces).max(1);
    let headers = answer["headers"].as_object().unwrap();
    bench.world.http().push(Answer::Head {
        status: u16::try_from(answer["status"].as_u64().unwrap()).unwrap(),
        headers: headers.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect(),
        body: body.chunks(step).map(|piece| Chunk::Bytes(Bytes::copy_from_slice(piece))).collect(),
    });
    let path = match case["endpoint"].as_str().unwrap() {
        "completions" => "/v1/completions",
        "embeddings" => "/v1/embeddings",
        _ => "/v1/chat/completions",
    };
    let response = bench.send(&bench.key, "POST", path, front.to_string());
    let want = &case["front_response"];
    assert_eq!(u64::from(response.status().as_u16()), want["status"], "{name}: status");
    for (header, value) in want["headers"].as_object().unwrap() {
        let seen = response.headers().get(header.as_str()).and_then(|v| v.to_str().ok()).unwrap_or_default();
        assert!(seen.starts_with(value.as_str().unwrap()), "{name}: {header} is {seen}");
    }
    let (_, text) = bench.read(response);
    match want["body_file"].as_str() {
        Some(file) => {
            let file = fs::read_to_string(folder().join(file)).unwrap();
            assert_eq!(payloads(&text), payloads(&file), "{name}: stream in {pieces} pieces");
        }
        None => assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), want["body"], "{name}: body"),
    }

    let sent = bench.world.http().take_sent();
    assert_eq!(sent.len(), 1, "{name}: calls");
    let want = &case["upstream_request"];
    let target = format!("{} {}", want["method"].as_str().unwrap(), want["url"].as_str().unwrap());
    assert_eq!(sent[0].target, target, "{name}: target");
    for (header, value) in want["headers"].as_object().unwrap() {
        let seen = sent[0].headers.iter().find(|(name, _)| name == header).map(|(_, value)| value.as_str());
        assert_eq!(seen, value.as_str(), "{name}: upstream {header}");
    }
    let mut body: Value = serde_json::from_slice(&sent[0].body).unwrap();
    // The gateway asks for the usage of every stream; what the client did not ask for is taken out again.
    if front["stream"] == true && front.get("stream_options").is_none() {
        assert_eq!(body["stream_options"], json!({"include_usage": true}), "{name}");
        body.as_object_mut().unwrap().remove("stream_options");
    }
    assert_eq!(body, want["body"], "{name}: upstream body");
}

#[test]
fn every_exchange_is_as_recorded() {
    let mut played = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let case: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        if case.get("front_request").is_none() {
            continue;
        }
        for pieces in [1, 2, 7, 1000] {
            play(&case, pieces);
        }
        played += 1;
    }
    assert_eq!(played, 25);
}
