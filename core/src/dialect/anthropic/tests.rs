//! The exchanges of `tests/golden/anthropic` and those of `tests/golden/edge` that are Anthropic's, without a gateway
//! around the dialect.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::*;
use crate::chat::{Destination, Encoded, Event, Expect, Inlined};
use crate::dialect::openai_chat::{self, Encoder, Envelope, Shape, encode_response};
use crate::error::{Failure, Outcome};
use crate::frame::sse;
use crate::json;
use crate::model::{Capabilities, Overrides};
use crate::provider::{ProviderKind, Settings};

/// Encodes a client's body.
pub(super) fn encoded(front: &Value, model: &str, said: &Value) -> Outcome<Encoded> {
    let body = front.to_string();
    let object = json::object(body.as_bytes()).unwrap();
    let said: Option<Overrides> = serde_json::from_value(said.clone()).unwrap();
    let can = Capabilities::of(ProviderKind::Anthropic, model, said.as_ref());
    let to = Destination {
        kind: ProviderKind::Anthropic,
        model,
        can: &can,
        settings: &Settings::default(),
        inlined: &Inlined::default(),
    };
    let request = openai_chat::decode_request(&object)?;
    encode_request(&request, &to)
}

/// What a client sees of a stream that came in `chunks`, and how it ended. The text of the gateway's own end is not ours.
pub(super) fn streamed<'a>(
    chunks: impl Iterator<Item = &'a [u8]>,
    expect: &Expect,
    envelope: &Envelope,
) -> (Vec<u8>, End) {
    let mut frames = sse::Decoder::default();
    let mut decoder = Decoder::new(expect.clone());
    let mut encoder = Encoder::new(Shape::Chat, envelope.clone());
    let (mut out, mut end) = (Vec::new(), End::Cut);
    let mut started = false;
    let mut emit = |event: Event<'_>| {
        assert!(end == End::Cut, "something behind the end: {event:?}");
        match &event {
            Event::Start(_) => assert!(!std::mem::replace(&mut started, true), "two starts"),
            Event::Delta(_) => assert!(started, "a delta before the start"),
            Event::Usage(_) => {}
            Event::Done => end = End::Done,
            Event::Failed(failure) => end = End::Failed(failure.clone()),
        }
        encoder.event(&event, &mut out);
    };
    for chunk in chunks {
        frames.push(&Bytes::copy_from_slice(chunk), |frame| decoder.push(&frame, &mut emit)).unwrap();
    }
    frames.finish(|frame| decoder.push(&frame, &mut emit));
    decoder.finish(&mut emit);
    (out, end)
}

/// How a stream ended.
#[derive(Debug, PartialEq)]
pub(super) enum End {
    Done,
    Failed(Box<Failure>),
    Cut,
}

pub(super) fn payloads(stream: &[u8]) -> Vec<Value> {
    std::str::from_utf8(stream)
        .unwrap()
        .split("\n\n")
        .filter_map(|event| event.trim().strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap_or_else(|_| Value::from(data)))
        .collect()
}

pub(super) fn envelope(front: &Value, model: &str) -> Envelope {
    Envelope {
        id: "chatcmpl-FIXTURE0001".into(),
        created: 1_760_000_000,
        model: Some(front["model"].as_str().unwrap_or(model).to_owned()),
        legacy_functions: front.get("functions").is_some(),
        include_usage: front["stream_options"]["include_usage"] == true,
    }
}

fn body_of(folder: &Path, case: &Value) -> Vec<u8> {
    match (case["body_file"].as_str(), &case["body"]) {
        (Some(file), _) => fs::read(folder.join(file)).unwrap(),
        (None, Value::String(text)) => text.clone().into_bytes(),
        (None, json) => json.to_string().into_bytes(),
    }
}

/// Compares a failure with what the client is to see of it.
fn refused(name: &str, failure: &Failure, want: &Value) {
    assert_eq!(u64::from(failure.status().as_u16()), want["status"], "{name}: status");
    assert_eq!(serde_json::from_slice::<Value>(&failure.body()).unwrap(), want["body"], "{name}");
    let response = failure.response();
    for (header, value) in want["headers"].as_object().into_iter().flatten() {
        let seen = response.headers().get(header.as_str()).and_then(|v| v.to_str().ok());
        assert_eq!(seen, value.as_str(), "{name}: {header}");
    }
}

fn play(folder: &Path, case: &Value) {
    let name = case["name"].as_str().unwrap();
    let front = &case["front_request"];
    let want = &case["front_response"];
    let sent = &case["upstream_request"];
    let model = case["model_id"].as_str().or(sent["body"]["model"].as_str()).unwrap_or("claude-sonnet-4-6");
    let encoded = match encoded(front, model, &case["capabilities"]) {
        Ok(encoded) if case["strict"] == true && !encoded.drops.is_empty() => {
            return refused(name, &encoded.drops.strict().unwrap(), want);
        }
        Ok(encoded) => encoded,
        Err(failure) => return refused(name, &failure, want),
    };
    let body: Value = serde_json::from_slice(&encoded.body).unwrap();
    assert_eq!(body, sent["body"], "{name}: upstream body");
    for (header, value) in &encoded.headers {
        assert_eq!(sent["headers"][header.as_str()], value.to_str().unwrap(), "{name}: {header}");
    }
    let dropped = want["headers"]["x-gateway-dropped-params"].as_str();
    if dropped.is_some() || case["edge"].is_number() {
        assert_eq!(encoded.drops.header(), dropped.unwrap_or_default(), "{name}: dropped");
    }

    let Some(answer) = case.get("upstream_response") else { return };
    let bytes = body_of(folder, answer);
    let status = StatusCode::from_u16(u16::try_from(answer["status"].as_u64().unwrap()).unwrap()).unwrap();
    let envelope = envelope(front, model);
    if status != StatusCode::OK {
        let mut headers = HeaderMap::new();
        for (name, value) in answer["headers"].as_object().into_iter().flatten() {
            let name = HeaderName::try_from(name).unwrap();
            headers.insert(name, HeaderValue::from_str(value.as_str().unwrap()).unwrap());
        }
        return refused(name, &classify(status, &headers, &bytes), want);
    }
    if front["stream"] != true {
        return match decode_response(&bytes, &encoded.expect) {
            Ok(answer) => {
                let seen: Value = serde_json::from_slice(&encode_response(&answer, &envelope)).unwrap();
                assert_eq!(seen, want["body"], "{name}: answer");
            }
            Err(failure) => refused(name, &failure, want),
        };
    }
    let whole = streamed(std::iter::once(&bytes[..]), &encoded.expect, &envelope);
    let (out, end) = &whole;
    if let (Some(_), End::Failed(failure)) = (want.get("body"), end) {
        return refused(name, failure, want);
    }
    let mut seen = payloads(out);
    match end {
        End::Done => {}
        End::Failed(failure) => seen.push(serde_json::from_slice(&failure.body()).unwrap()),
        // What the relay says of a cut stream is its own.
        End::Cut => seen.push(payloads(&body_of(folder, want)).pop().unwrap()),
    }
    assert_eq!(seen, payloads(&body_of(folder, want)), "{name}: stream");
    for at in 0..=bytes.len() {
        let parts = [&bytes[..at], &bytes[at..]];
        assert!(whole == streamed(parts.into_iter(), &encoded.expect, &envelope), "{name}: cut at {at}");
    }
    let mut noise = Noise::new(7);
    for round in 0..50 {
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (part, tail) = rest.split_at((1 + noise.below(40)).min(rest.len()));
            parts.push(part);
            rest = tail;
        }
        assert!(whole == streamed(parts.into_iter(), &encoded.expect, &envelope), "{name}: chunks of round {round}");
    }
}

/// xorshift64: the same noise every time.
pub(super) struct Noise(u64);

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

fn cases(folder: &str) -> Vec<(PathBuf, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    let read = |path: PathBuf| {
        let case: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let shared = || case["front_request"]["model"].as_str().is_some_and(|model| model.starts_with("anthropic/"));
        let ours = case["provider"] == "anthropic" || (case["provider"] == "gateway" && shared());
        (ours && case.get("front_request").is_some()).then(|| (folder.clone(), case))
    };
    files.into_iter().filter_map(read).collect()
}

#[test]
fn every_exchange_is_as_recorded() {
    let mut played = 0;
    for folder in ["anthropic", "edge"] {
        for (folder, case) in cases(folder) {
            play(&folder, &case);
            played += 1;
        }
    }
    assert!(played >= 110, "only {played} were found");
}

/// What the gateway refuses before this dialect is asked.
const NOT_OURS: [&str; 2] = ["gateway/completions_on_anthropic", "gateway/embeddings_on_anthropic"];

#[test]
fn what_cannot_be_expressed_is_refused_as_recorded() {
    let mut played = 0;
    for (folder, case) in cases("gateway") {
        if !NOT_OURS.contains(&case["name"].as_str().unwrap()) {
            play(&folder, &case);
            played += 1;
        }
    }
    assert_eq!(played, 4);
}
