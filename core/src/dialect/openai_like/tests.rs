//! The exchanges of Azure OpenAI, Cerebras, NIM and watsonx.ai, played between this dialect and the front door.

use std::fs;
use std::path::{Path, PathBuf};

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::*;
use crate::chat::{Destination, Encoded, Event, Expect, Inlined, Request};
use crate::dialect::openai_chat::{self, Encoder, Envelope, Shape, decode_request, encode_response};
use crate::dialect::watsonx;
use crate::egress::url::AllowedOrigins;
use crate::error::{Failure, Outcome};
use crate::frame::sse;
use crate::json;
use crate::model::{Capabilities, Overrides};
use crate::provider::{self, Endpoint, Operation, Settings};
use crate::secret::Credential;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

fn encode(request: &Request<'_>, to: &Destination<'_>) -> Outcome<Encoded> {
    if to.kind == ProviderKind::WatsonxAi { watsonx::encode_request(request, to) } else { encode_request(request, to) }
}

/// What a client sees of a stream whose bytes come in `pieces`, and the events in between.
fn stream(kind: ProviderKind, expect: &Expect, envelope: &Envelope, pieces: &[&[u8]]) -> (String, Vec<String>) {
    let mut frames = sse::Decoder::default();
    let mut decoder = Decoder::new(kind, expect.clone());
    let mut encoder = Encoder::new(Shape::Chat, envelope.clone());
    let (mut out, mut events) = (Vec::new(), Vec::new());
    let mut emit = |event: Event<'_>| {
        events.push(format!("{event:?}"));
        if let Event::Failed(failure) = &event {
            out.extend_from_slice(&[b"data: ".as_slice(), &failure.body(), b"\n\n"].concat());
        }
        encoder.event(&event, &mut out);
    };
    for piece in pieces {
        frames.push(&bytes::Bytes::copy_from_slice(piece), |frame| decoder.push(&frame, &mut emit)).unwrap();
    }
    frames.finish(|frame| decoder.push(&frame, &mut emit));
    decoder.finish(&mut emit);
    (String::from_utf8(out).unwrap(), events)
}

fn payloads(stream: &str) -> Vec<Value> {
    stream
        .split("\n\n")
        .filter_map(|event| event.trim().strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap_or_else(|_| Value::from(data)))
        .collect()
}

struct Case {
    folder: PathBuf,
    name: String,
    case: Value,
}

impl Case {
    fn body(&self, message: &Value) -> Vec<u8> {
        match (message["body_file"].as_str(), &message["body"]) {
            (Some(file), _) => fs::read(self.folder.join(file)).unwrap(),
            (None, Value::String(text)) => text.clone().into_bytes(),
            (None, value) => value.to_string().into_bytes(),
        }
    }

    fn model_id(&self) -> String {
        let upstream = &self.case["upstream_request"];
        let said = [&self.case["model_id"], &upstream["body"]["model"], &upstream["body"]["model_id"]];
        if let Some(id) = said.into_iter().find_map(Value::as_str) {
            return id.to_owned();
        }
        let deployment = upstream["url"].as_str().and_then(|url| url.split_once("/deployments/"));
        deployment.map_or_else(|| "m".to_owned(), |(_, rest)| rest.split('/').next().unwrap().to_owned())
    }

    fn settings(&self, kind: ProviderKind) -> (Settings, Credential) {
        let mut data = match kind {
            ProviderKind::AzureOpenAi => json!({"apikey": "azure-key-EXAMPLE", "resource_name": "my-res"}),
            ProviderKind::WatsonxAi => json!({"apikey": "k", "project_id": "11111111-aaaa-4bbb-8ccc-222222222222"}),
            ProviderKind::Cerebras => json!({"apikey": "csk-EXAMPLE"}),
            _ => json!({"apikey": "nvapi-EXAMPLE"}),
        };
        for (name, value) in self.case["data"].as_object().into_iter().flatten() {
            data[name] = value.clone();
        }
        let raw = RawValue::from_string(data.to_string()).unwrap();
        provider::parse_data(kind, &raw, &AllowedOrigins::default()).unwrap()
    }

    fn play(&self) {
        let kind = ProviderKind::from_stored(self.case["provider"].as_str().unwrap()).unwrap();
        let (name, front) = (&self.name, &self.case["front_request"]);
        let (settings, credential) = self.settings(kind);
        let model = self.model_id();
        let said: Option<Overrides> =
            self.case.get("capabilities").map(|said| serde_json::from_value(said.clone()).unwrap());
        let can = Capabilities::of(kind, &model, said.as_ref());
        let upstream = &self.case["upstream_request"];
        if !upstream.is_null() {
            self.judge_call(kind, &settings, &credential, &model, &can);
        }
        if self.case["endpoint"] == "embeddings" {
            return;
        }

        let text = front.to_string();
        let object = json::object(text.as_bytes()).unwrap();
        let request = decode_request(&object);
        let inlined = Inlined::default();
        let to = Destination { kind, model: &model, can: &can, settings: &settings, inlined: &inlined };
        // Requests to Azure are passed on by the front door.
        let encoded = match request {
            Ok(request) if kind != ProviderKind::AzureOpenAi => encode(&request, &to),
            Ok(_) => Ok(Encoded {
                body: bytes::Bytes::from(upstream["body"].to_string()),
                headers: Vec::new(),
                drops: crate::chat::Drops::default(),
                expect: Expect::default(),
            }),
            Err(failure) => Err(failure),
        };
        let want = &self.case["front_response"];
        let strict = self.case["strict"] == true;
        let encoded = encoded.and_then(|encoded| match encoded.drops.strict().filter(|_| strict) {
            Some(failure) => Err(failure),
            None => Ok(encoded),
        });
        let encoded = match encoded {
            Ok(encoded) => encoded,
            Err(failure) => {
                assert!(upstream.is_null(), "{name}: {failure:?}");
                return self.judge_failure(&failure);
            }
        };
        let mut body: Value = serde_json::from_slice(&encoded.body).unwrap();
        if upstream["body"].get("stream_options").is_none() && kind == ProviderKind::Nim {
            body.as_object_mut().unwrap().remove("stream_options");
        }
        assert_eq!(body, upstream["body"], "{name}: upstream body");
        if let Some(dropped) = want["headers"]["x-gateway-dropped-params"].as_str() {
            assert_eq!(encoded.drops.header(), dropped, "{name}");
        }

        let answer = &self.case["upstream_response"];
        let status = StatusCode::from_u16(u16::try_from(answer["status"].as_u64().unwrap()).unwrap()).unwrap();
        let bytes = self.body(answer);
        let envelope = Envelope {
            id: "chatcmpl-FIXTURE0001".into(),
            created: 1_760_000_000,
            model: (kind != ProviderKind::AzureOpenAi).then(|| front["model"].as_str().unwrap().to_owned()),
            legacy_functions: front.get("functions").is_some(),
            include_usage: front["stream_options"]["include_usage"] == true,
        };
        if status != StatusCode::OK {
            let mut headers = HeaderMap::new();
            for (name, value) in answer["headers"].as_object().into_iter().flatten() {
                let value = HeaderValue::from_str(value.as_str().unwrap()).unwrap();
                headers.insert(HeaderName::try_from(name.as_str()).unwrap(), value);
            }
            self.judge_failure(&classify(kind, status, &headers, &bytes));
        } else if front["stream"] == true {
            self.judge_stream(kind, &encoded.expect, &envelope, &bytes);
        } else if kind != ProviderKind::AzureOpenAi || strict {
            match decode_response(kind, &bytes, &encoded.expect) {
                Ok(answer) => {
                    let seen: Value = serde_json::from_slice(&encode_response(&answer, &envelope)).unwrap();
                    assert_eq!(seen, want["body"], "{name}: body");
                }
                Err(failure) => self.judge_failure(&failure),
            }
        }
    }

    fn judge_call(
        &self,
        kind: ProviderKind,
        settings: &Settings,
        credential: &Credential,
        model: &str,
        can: &Capabilities,
    ) {
        let (name, want) = (&self.name, &self.case["upstream_request"]);
        let streamed = self.case["front_request"]["stream"] == true;
        let endpoint = if self.case["endpoint"] == "embeddings" { Endpoint::Embeddings } else { Endpoint::Chat };
        let operation = Operation::Call(endpoint, streamed);
        let url = want["url"].as_str().unwrap();
        let (path, headers) = match kind {
            ProviderKind::AzureOpenAi => {
                // The dated paths name the deployment, which is the model.
                let path = provider::azure_openai::path(settings, model, can, operation);
                (path, provider::azure_openai::headers(credential))
            }
            ProviderKind::WatsonxAi => {
                let path = provider::watsonxai::path(settings, model, can, operation);
                (path, provider::watsonxai::headers("IAM.JWT.EXAMPLE", streamed))
            }
            ProviderKind::Cerebras => {
                (provider::cerebras::path(settings, model, can, operation), provider::cerebras::headers(credential))
            }
            _ => (provider::nim::path(settings, model, can, operation), provider::nim::headers(credential)),
        };
        let base = provider::azure_openai::default_base(settings)
            .filter(|_| kind == ProviderKind::AzureOpenAi)
            .or_else(|| kind.default_base().map(str::to_owned))
            .unwrap();
        assert_eq!(format!("{base}{}", path.unwrap()), url, "{name}: url");
        let headers = headers.unwrap();
        for (header, value) in want["headers"].as_object().into_iter().flatten() {
            if header != "content-type" {
                let seen = headers.get(header.as_str()).map(|value| value.to_str().unwrap());
                assert_eq!(seen, value.as_str(), "{name}: {header}");
            }
        }
    }

    fn judge_failure(&self, failure: &Failure) {
        let (name, want) = (&self.name, &self.case["front_response"]);
        let response = failure.response();
        assert_eq!(u64::from(response.status().as_u16()), want["status"], "{name}: status; {failure:?}");
        let seen: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(seen, want["body"], "{name}: body");
        for (header, value) in want["headers"].as_object().into_iter().flatten() {
            let seen = response.headers().get(header.as_str()).map(|value| value.to_str().unwrap());
            assert_eq!(seen, value.as_str(), "{name}: {header}");
        }
    }

    fn judge_stream(&self, kind: ProviderKind, expect: &Expect, envelope: &Envelope, bytes: &[u8]) {
        let (name, want) = (&self.name, &self.case["front_response"]);
        let (text, events) = stream(kind, expect, envelope, &[bytes]);
        let payloads = payloads(&text);
        if want["status"] == 200 {
            let front = String::from_utf8(self.body(want)).unwrap();
            assert_eq!(payloads, self::payloads(&front), "{name}: stream");
        } else {
            // The failure came before any content: it is the answer.
            assert_eq!(payloads, [want["body"].clone()], "{name}: stream");
        }
        for at in 1..bytes.len() {
            let cut = stream(kind, expect, envelope, &[&bytes[..at], &bytes[at..]]);
            assert!(cut.0 == text && cut.1 == events, "{name}: cut at {at}");
        }
        let mut random = Random(bytes.len() as u64);
        for _ in 0..50 {
            let (mut rest, mut pieces) = (bytes, Vec::new());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(random.below(rest.len().min(90)) + 1);
                pieces.push(piece);
                rest = after;
            }
            let cut = stream(kind, expect, envelope, &pieces);
            assert!(cut.0 == text && cut.1 == events, "{name}: random pieces");
        }
    }
}

/// Deterministic and poor, which is enough to cut and to spoil.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % limit.max(1) as u64).unwrap()
    }
}

/// Plays the exchanges of a folder that `wanted` picks by file name, and counts them.
fn play(folder: &str, wanted: impl Fn(&str, &Value) -> bool) -> usize {
    let mut played = 0;
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".json") {
            continue;
        }
        let case: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        if wanted(&name, &case) {
            Case { folder: path.parent().unwrap().to_owned(), name, case }.play();
            played += 1;
        }
    }
    played
}

#[test]
fn azure_is_reached_and_its_streams_and_errors_are_read() {
    assert_eq!(play("azure_openai", |_, _| true), 11);
}

#[test]
fn exchanges_with_cerebras_are_as_recorded() {
    assert_eq!(play("cerebras", |name, _| name != "completions.json"), 8);
}

#[test]
fn exchanges_with_nim_are_as_recorded() {
    assert_eq!(play("nim", |name, _| !name.starts_with("embeddings")), 7);
}

#[test]
fn chats_with_watsonx_are_as_recorded() {
    let wanted = |name: &str| ["chat_", "tool_choice_", "error_"].iter().any(|prefix| name.starts_with(prefix));
    assert_eq!(play("watsonxai", |name, _| wanted(name)), 21);
}

#[test]
fn edge_cases_are_as_described() {
    let mine = |provider: &Value| ["azure-openai", "cerebras", "nim", "watsonxai"].iter().any(|name| provider == name);
    let chat = |case: &Value| case["endpoint"].is_null() || case["endpoint"] == "chat";
    // What Azure's requests need is done by the front door, which passes them on.
    let here = |case: &Value| {
        let azure = case["provider"] == "azure-openai";
        !azure
            || (case.get("capabilities").is_none()
                && (case["strict"] == true || case["front_response"]["status"] != 200))
    };
    let played = play("edge", |_, case| mine(&case["provider"]) && chat(case) && here(case));
    assert!(played >= 30, "{played}");
}

#[test]
fn spoiled_bytes_never_panic_and_end_once() {
    let kinds = [ProviderKind::AzureOpenAi, ProviderKind::Cerebras, ProviderKind::Nim, ProviderKind::WatsonxAi];
    let envelope = Envelope { id: "i".into(), created: 1, model: None, legacy_functions: false, include_usage: true };
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for folder in ["azure_openai", "cerebras", "nim", "watsonxai"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().ends_with(".upstream.sse") {
                seeds.push(fs::read(path).unwrap());
            } else if path.extension().is_some_and(|extension| extension == "json") {
                let case: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
                seeds.push(case["upstream_response"]["body"].to_string().into_bytes());
            }
        }
    }
    assert!(seeds.len() > 40);
    let mut random = Random(7);
    for round in 0..4_000 {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] = b"\"{}[],:0nt\\\n\xff"[random.below(13)],
                1 => drop(bytes.remove(at)),
                2 => bytes.truncate(at),
                _ => {
                    let from = random.below(bytes.len());
                    let piece = bytes[from..].iter().take(30).copied().collect::<Vec<u8>>();
                    bytes.splice(at..at, piece);
                }
            }
            if bytes.is_empty() {
                break;
            }
        }
        let kind = kinds[round % kinds.len()];
        let expect = Expect { free_calls: true, ..Expect::default() };
        if let Ok(answer) = decode_response(kind, &bytes, &expect) {
            let written = encode_response(&answer, &envelope);
            serde_json::from_slice::<Value>(&written).unwrap();
        }
        let status = StatusCode::from_u16(400 + u16::try_from(random.below(130)).unwrap()).unwrap();
        serde_json::from_slice::<Value>(&classify(kind, status, &HeaderMap::new(), &bytes).body()).unwrap();
        let (text, events) = stream(kind, &expect, &envelope, &[&bytes]);
        let ends = |event: &&String| *event == "Done" || event.starts_with("Failed");
        assert!(events.iter().filter(ends).count() <= 1, "{events:?}");
        assert!(events.iter().position(|event| ends(&event)).is_none_or(|at| at + 1 == events.len()), "{events:?}");
        assert!(events.iter().skip(1).all(|event| !event.starts_with("Start")), "{events:?}");
        for payload in payloads(&text) {
            assert!(payload.is_object() || payload == "[DONE]", "{text}");
        }
    }
}

#[test]
fn what_the_front_door_reads_is_what_it_wrote() {
    // A whole answer that went through this dialect can be read by it again.
    let body = br#"{"id":"i","created":1,"model":"m","choices":[{"index":0,"message":{"content":"x","reasoning":"r",
        "tool_calls":[{"id":"a","function":{"name":"f","arguments":"{\"a\":\"\\u00e9\"}"}}]},"finish_reason":"tool_calls"}],
        "usage":{"prompt_tokens":1,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":1}}}"#;
    let envelope =
        Envelope { id: String::new(), created: 0, model: None, legacy_functions: false, include_usage: false };
    let once = encode_response(&decode_response(ProviderKind::Cerebras, body, &Expect::default()).unwrap(), &envelope);
    let twice =
        encode_response(&decode_response(ProviderKind::Cerebras, &once, &Expect::default()).unwrap(), &envelope);
    assert_eq!(String::from_utf8(once).unwrap(), String::from_utf8(twice.clone()).unwrap());
    assert!(openai_chat::read_answer(Endpoint::Chat, &twice).is_ok());
}
