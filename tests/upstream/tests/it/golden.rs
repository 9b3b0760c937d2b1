//! The golden cases: their requests pass the strict check, and their answers can be scripted byte for byte.

use std::{fs, path::PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::client::{Ended, Simulator};

#[tokio::test]
async fn every_golden_case_can_be_replayed() {
    let simulator = Simulator::start().await;
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/openai_chat"));
    let mut names: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    names.sort();
    assert!(names.len() >= 25, "cases are missing");
    for path in names {
        let case: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().replace('_', "-");
        replay(&simulator, &name, &case, &folder).await;
    }
}

async fn replay(simulator: &Simulator, name: &str, case: &Value, folder: &std::path::Path) {
    let (request, wanted) = (&case["upstream_request"], &case["upstream_response"]);
    let path = request["url"].as_str().unwrap().strip_prefix("https://api.openai.com").unwrap();
    let normal = simulator.post(name, path, &request["body"]).await;
    assert_eq!(normal.status, 200, "{name}: {}", normal.text());

    let (body, mut step) = match wanted["body_file"].as_str() {
        Some(file) => {
            let text = fs::read_to_string(folder.join(file)).unwrap();
            (text.clone().into_bytes(), json!({"raw_sse": text}))
        }
        None => {
            let bytes = wanted["body"].to_string().into_bytes();
            let encoded = STANDARD.encode(&bytes);
            (bytes, json!({"raw_body": encoded}))
        }
    };
    step["status"] = wanted["status"].clone();
    step["headers"] = wanted["headers"].as_object().unwrap().iter().map(|(name, value)| json!([name, value])).collect();
    simulator.step(name, step).await;
    let scripted = simulator.post(name, path, &request["body"]).await;
    assert_eq!(json!(scripted.status), wanted["status"], "{name}");
    assert_eq!(scripted.body, body, "{name}");
    assert_eq!(scripted.ended, Ended::Complete, "{name}");
    for (header, value) in wanted["headers"].as_object().unwrap() {
        assert_eq!(scripted.header(header), value.as_str(), "{name}: {header}");
    }
    for call in simulator.calls(name).await {
        assert_eq!(call["violations"], json!([]), "{name}");
    }
}
