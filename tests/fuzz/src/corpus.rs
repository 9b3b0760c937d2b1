//! What inputs are made of: the exchanges of `tests/golden`.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gateway_core::fuzz::Material;
use serde_json::Value;

/// The bodies of all exchanges.
#[derive(Default)]
pub(crate) struct Golden {
    requests: Vec<Vec<u8>>,
    answers: Vec<(String, Vec<u8>)>,
    streams: Vec<(String, Vec<u8>)>,
}

impl Golden {
    /// Reads all files, in the same order everywhere.
    pub(crate) fn read() -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden");
        let mut golden = Self::default();
        for folder in list(&root)? {
            if !Path::new(&folder).is_dir() {
                continue;
            }
            for file in list(&folder)? {
                let bytes = || fs::read(&file).map_err(|error| format!("{}: {error}", file.display()));
                match file.extension().and_then(|extension| extension.to_str()) {
                    Some("json") => {
                        let case = serde_json::from_slice(&bytes()?).map_err(|error| error.to_string())?;
                        golden.take(&folder, &case);
                    }
                    // Streams that belong to no exchange.
                    Some("sse") if folder.ends_with("sse") => golden.streams.push(("openai".to_owned(), bytes()?)),
                    _ => {}
                }
            }
        }
        Ok(golden)
    }

    fn take(&mut self, folder: &Path, case: &Value) {
        if let Some(front) = case.get("front_request") {
            self.requests.push(front.to_string().into_bytes());
        }
        let provider = case["provider"].as_str().unwrap_or_default();
        let calls = case["upstream_calls"].as_array().into_iter().flatten().filter_map(|call| call.get("response"));
        for answer in calls.chain(case.get("upstream_response")) {
            let Some(body) = body(folder, answer) else { continue };
            let kind = answer.pointer("/headers/content-type").and_then(Value::as_str).unwrap_or_default();
            let streamed = kind.contains("event");
            let list = if streamed { &mut self.streams } else { &mut self.answers };
            list.push((provider.to_owned(), body));
        }
    }

    /// The inputs of one material.
    pub(crate) fn of(&self, material: Material) -> Vec<Vec<u8>> {
        let of = |all: &[(String, Vec<u8>)], kinds: &[&str]| -> Vec<Vec<u8>> {
            all.iter().filter(|(kind, _)| kinds.contains(&kind.as_str())).map(|(_, body)| body.clone()).collect()
        };
        match material {
            Material::Requests => self.requests.clone(),
            Material::Answers(kinds) => of(&self.answers, kinds),
            Material::Events(kinds) => of(&self.streams, kinds),
            Material::Frames => of(&self.streams, &["bedrock"]),
            Material::Lines => of(&self.streams, &["bedrock"]).iter().map(|body| lines(body)).collect(),
        }
    }
}

fn list(folder: &Path) -> Result<Vec<std::path::PathBuf>, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(wrong)? {
        entries.push(entry.map_err(wrong)?.path());
    }
    entries.sort();
    Ok(entries)
}

fn body(folder: &Path, answer: &Value) -> Option<Vec<u8>> {
    if let Some(file) = answer["body_file"].as_str() {
        return fs::read(folder.join(file)).ok();
    }
    if let Some(text) = answer["body_base64"].as_str() {
        return STANDARD.decode(text).ok();
    }
    match answer.get("body")? {
        Value::String(text) => Some(text.clone().into_bytes()),
        body => Some(body.to_string().into_bytes()),
    }
}

/// Frames as lines of message type, event type and payload. What cannot be read is left out.
fn lines(mut frames: &[u8]) -> Vec<u8> {
    let number = |bytes: &[u8], at: usize| Some(u32::from_be_bytes(bytes.get(at..)?.first_chunk().copied()?) as usize);
    let mut lines = Vec::new();
    while let (Some(total), Some(length)) = (number(frames, 0), number(frames, 4)) {
        let Some((frame, tail)) = frames.split_at_checked(total) else { break };
        frames = tail;
        let headers = frame.get(12..12 + length).unwrap_or_default();
        let payload = frame.get(12 + length..total.saturating_sub(4)).unwrap_or_default();
        let value = |name: &str| {
            // All headers of Bedrock are strings: name, type 7, two bytes of length, value.
            let at = headers.windows(name.len()).position(|window| window == name.as_bytes())? + name.len();
            let length = headers.get(at + 1..)?.first_chunk().map(|length| u16::from_be_bytes(*length))?;
            headers.get(at + 3..at + 3 + usize::from(length))
        };
        let kind = [":event-type", ":exception-type", ":error-code"].into_iter().find_map(value);
        lines.extend_from_slice(value(":message-type").unwrap_or(b"event"));
        lines.push(b' ');
        lines.extend_from_slice(kind.unwrap_or_default());
        lines.push(b' ');
        lines.extend_from_slice(payload);
        lines.push(b'\n');
    }
    lines
}
