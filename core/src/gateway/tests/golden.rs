//! The exchanges of `tests/golden`: what goes up and what comes back, to the letter. Its README has the format.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::ports::Platform;
use crate::testing::{Answer, Chunk, Sent};

/// Folders of exchanges, and how many each has at least.
pub(super) const FOLDERS: &[(&str, usize)] = &[
    ("openai_chat", 25),
    ("anthropic", 35),
    ("azure_openai", 11),
    ("watsonxai", 25),
    ("bedrock", 35),
    ("cerebras", 9),
    ("nim", 8),
    ("gateway", 10),
    ("edge", 90),
];

pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

/// The `data:` payloads of a stream.
pub(super) fn payloads(stream: &str) -> Vec<Value> {
    stream
        .split("\n\n")
        .filter_map(|event| event.trim().strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap_or_else(|_| Value::from(data)))
        .collect()
}

/// One exchange at play.
pub(super) struct Case {
    pub(super) folder: PathBuf,
    pub(super) name: String,
    pub(super) case: Value,
}

impl Case {
    pub(super) fn read(path: &Path) -> Option<Self> {
        let case: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        case.get("front_request")?;
        let folder = path.parent().unwrap().to_owned();
        Some(Self { folder, name: case["name"].as_str().unwrap().to_owned(), case })
    }

    /// The provider's type: said, or the prefix of the model's name where several share a folder.
    pub(super) fn provider(&self) -> &str {
        match self.case["provider"].as_str().unwrap() {
            "gateway" => match self.case["front_request"]["model"].as_str().unwrap().split_once('/').unwrap().0 {
                "azure" => "azure-openai",
                prefix => prefix,
            },
            provider => provider,
        }
    }

    /// The provider's `data`: the usual one, with what the case says over it.
    pub(super) fn data(&self) -> Value {
        let mut data = match self.provider() {
            "openai" => json!({"apikey": "sk-upstream-EXAMPLE"}),
            "azure-openai" => json!({"apikey": "azure-key-EXAMPLE", "resource_name": "my-res"}),
            "anthropic" => json!({"apikey": "sk-ant-EXAMPLE"}),
            "bedrock" => json!({"access_key_id": "AKIDEXAMPLE", "region": "us-east-1",
                "secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}),
            "watsonxai" => json!({"apikey": "IBM-KEY-EXAMPLE", "project_id": "11111111-aaaa-4bbb-8ccc-222222222222"}),
            "cerebras" => json!({"apikey": "csk-EXAMPLE"}),
            "nim" => json!({"apikey": "nvapi-EXAMPLE"}),
            other => panic!("{}: provider {other}", self.name),
        };
        for (name, value) in self.case["data"].as_object().into_iter().flatten() {
            data[name] = value.clone();
        }
        data.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        data
    }

    /// The provider's id of the model: said, or read out of the call that is expected.
    pub(super) fn model_id(&self) -> String {
        if let Some(id) = self.case["model_id"].as_str() {
            return id.to_owned();
        }
        let calls = self.calls();
        let Some((request, _)) = calls.last() else { return "m".to_owned() };
        let url = request["url"].as_str().unwrap();
        let after = |mark: &str| {
            let id = url.split_once(mark)?.1.split(['/', '?']).next()?;
            Some(percent_encoding::percent_decode_str(id).decode_utf8().unwrap().into_owned())
        };
        let in_body =
            || ["model", "model_id"].iter().find_map(|name| request["body"][*name].as_str()).map(str::to_owned);
        match self.provider() {
            "bedrock" => after("/model/").unwrap(),
            "watsonxai" => in_body().unwrap_or_else(|| format!("deployment/{}", after("/deployments/").unwrap())),
            _ => after("/deployments/").or_else(in_body).unwrap(),
        }
    }

    /// The expected calls and their answers.
    pub(super) fn calls(&self) -> Vec<(&Value, &Value)> {
        match self.case["upstream_calls"].as_array() {
            Some(calls) => calls.iter().map(|call| (&call["request"], &call["response"])).collect(),
            None if self.case.get("upstream_request").is_none() => Vec::new(),
            None => vec![(&self.case["upstream_request"], &self.case["upstream_response"])],
        }
    }

    pub(super) fn body(&self, message: &Value) -> Bytes {
        if let Some(file) = message["body_file"].as_str() {
            return Bytes::from(fs::read(self.folder.join(file)).unwrap());
        }
        if let Some(text) = message["body_base64"].as_str() {
            return Bytes::from(base64::engine::general_purpose::STANDARD.decode(text).unwrap());
        }
        match &message["body"] {
            Value::String(text) => Bytes::from(text.clone()),
            value => Bytes::from(value.to_string()),
        }
    }

    fn answer(&self, answer: &Value, pieces: usize) -> Answer {
        let body = self.body(answer);
        let step = body.len().div_ceil(pieces).max(1);
        let headers = answer["headers"].as_object().unwrap();
        Answer::Head {
            status: u16::try_from(answer["status"].as_u64().unwrap()).unwrap(),
            headers: headers.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect(),
            body: body.chunks(step).map(|piece| Chunk::Bytes(Bytes::copy_from_slice(piece))).collect(),
        }
    }

    fn play(&self, pieces: usize) {
        let name = &self.name;
        let mut bench = Bench::empty();
        if self.case["strict"] == true {
            assert_eq!(bench.admin("PATCH", "/v1/tenant", json!({"strict_parameters": true})).0, 200);
        }
        let path = format!("/v1/providers/{}", self.provider());
        let (status, provider) = bench.admin("POST", &path, json!({"name": "main", "data": self.data()}));
        assert_eq!(status, 201, "{name}: {provider}");
        bench.provider = provider["uuid"].as_str().unwrap().to_owned();
        let front = &self.case["front_request"];
        let mut model = json!({"id": self.model_id(), "alias": front["model"]});
        if let Some(capabilities) = self.case.get("capabilities") {
            model["capabilities"] = capabilities.clone();
        }
        // Every token costs the same: a cost is a number of tokens.
        model["price"] = meter::flat_price();
        let (status, model) = bench.admin("POST", &format!("/v1/providers/{}/models", bench.provider), model);
        assert_eq!(status, 201, "{name}: {model}");

        let calls = self.calls();
        if self.provider() == "watsonxai" && !calls.is_empty() {
            let token = json!({"access_token": "IAM.JWT.EXAMPLE", "token_type": "Bearer", "expires_in": 3600,
                "expiration": 1_760_003_600});
            bench.world.http().push(Answer::json(200, token.to_string()));
        }
        for (_, answer) in &calls {
            bench.world.http().push(self.answer(answer, pieces));
        }
        // A failure that may pass is asked for once more, as there is no other target.
        if let Some((_, answer)) = calls.last() {
            bench.world.http().push(self.answer(answer, pieces));
        }
        let path = match (self.case["path"].as_str(), self.case["endpoint"].as_str()) {
            (Some(path), _) => path,
            (None, Some("completions")) => "/v1/completions",
            (None, Some("embeddings")) => "/v1/embeddings",
            (None, _) => "/v1/chat/completions",
        };
        let response = bench.send(&bench.key, "POST", path, front.to_string());
        let failed = response.status().as_u16() >= 429;
        self.judge_front(response, &bench, pieces);
        meter::judge(self, &bench.world.take_log());
        let mut sent = bench.world.http().take_sent();
        if self.provider() == "watsonxai" {
            sent.retain(|sent| !sent.target.ends_with("/identity/token"));
        }
        if let [.., before, last] = sent.as_slice()
            && sent.len() == calls.len() + 1
        {
            assert!(failed && before.target == last.target && before.body == last.body, "{name}: repeated call");
            sent.pop();
        }
        assert_eq!(sent.len(), calls.len(), "{name}: calls");
        for ((want, _), sent) in calls.iter().zip(&sent) {
            self.judge_call(want, sent);
        }
    }

    fn judge_front(&self, response: Response<Body<World>>, bench: &Bench, pieces: usize) {
        let name = &self.name;
        let want = &self.case["front_response"];
        let status = u64::from(response.status().as_u16());
        let headers = response.headers().clone();
        let (_, text) = bench.read(response);
        if let Some(file) = want["body_file"].as_str() {
            let recorded = payloads(&fs::read_to_string(self.folder.join(file)).unwrap());
            if let Some(error) = before_content(&recorded) {
                // Nothing was sent yet: the gateway tells the failure by its status.
                assert!(status >= 400, "{name}: status {status}");
                assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), *error, "{name}: body");
                return;
            }
        }
        assert_eq!(status, want["status"], "{name}: status; {text}");
        for (header, value) in want["headers"].as_object().into_iter().flatten() {
            let seen = headers.get(header.as_str()).and_then(|v| v.to_str().ok()).unwrap_or_default();
            assert!(seen.starts_with(value.as_str().unwrap()), "{name}: {header} is '{seen}'");
        }
        for header in ["x-gateway-dropped-params", "x-gateway-native-finish-reason"] {
            let told = self.case.get("edge").is_none() || want["headers"].get(header).is_some();
            assert!(told || !headers.contains_key(header), "{name}: {header} is told");
        }
        match want["body_file"].as_str() {
            Some(file) => {
                let file = fs::read_to_string(self.folder.join(file)).unwrap();
                let (mut seen, want) = (payloads(&text), payloads(&file));
                for (seen, want) in seen.iter_mut().zip(&want) {
                    same_id(seen, want);
                }
                assert_eq!(seen, want, "{name}: stream in {pieces} pieces");
            }
            None => {
                let mut seen = serde_json::from_str::<Value>(&text).unwrap_or_else(|_| panic!("{name}: {text}"));
                same_id(&mut seen, &want["body"]);
                assert_eq!(seen, want["body"], "{name}: body");
            }
        }
    }

    fn judge_call(&self, want: &Value, sent: &Sent) {
        let name = &self.name;
        let target = format!("{} {}", want["method"].as_str().unwrap(), want["url"].as_str().unwrap());
        assert_eq!(sent.target, target, "{name}: target");
        for (header, value) in want["headers"].as_object().into_iter().flatten() {
            let seen = sent.headers.iter().find(|(name, _)| name == header).map(|(_, value)| value.as_str());
            if self.provider() == "bedrock" && matches!(header.as_str(), "authorization" | "x-amz-date") {
                assert!(seen.is_some(), "{name}: upstream {header}");
                continue;
            }
            assert_eq!(seen, value.as_str(), "{name}: upstream {header}");
        }
        if sent.body.is_empty() {
            assert!(want["body"].is_null(), "{name}: no body");
            return;
        }
        let mut body: Value = serde_json::from_slice(&sent.body).unwrap();
        // The gateway asks for the usage of every stream; what the client did not ask for is taken out again.
        let front = &self.case["front_request"];
        if front["stream"] == true
            && want["body"].get("stream_options").is_none()
            && body.get("stream_options").is_some()
        {
            assert_eq!(body["stream_options"], json!({"include_usage": true}), "{name}");
            body.as_object_mut().unwrap().remove("stream_options");
        }
        assert_eq!(body, want["body"], "{name}: upstream body");
    }
}

/// The error of a recorded stream that has nothing but roles before it.
pub(super) fn before_content(recorded: &[Value]) -> Option<&Value> {
    let (last, before) = recorded.split_last()?;
    let says = |payload: &Value| {
        let choice = &payload["choices"][0];
        let empty = |member: (&String, &Value)| member.0 == "role" || member.1 == "" || member.1.is_null();
        !choice["finish_reason"].is_null() || !choice["delta"].as_object().is_some_and(|delta| delta.iter().all(empty))
    };
    (last.get("error").is_some() && !before.iter().any(says)).then_some(last)
}

/// Where an answer's id is the gateway's own, any will do.
pub(super) fn same_id(seen: &mut Value, want: &Value) {
    let Some(prefix) = want["id"].as_str().and_then(|id| id.strip_suffix("FIXTURE0001")) else { return };
    assert!(seen["id"].as_str().is_some_and(|id| id.starts_with(prefix) && id.len() > prefix.len()), "{seen}");
    seen["id"] = want["id"].clone();
}

#[test]
fn every_exchange_is_as_recorded() {
    #[expect(clippy::disallowed_methods, reason = "to play a single exchange by hand")]
    let only = std::env::var("GOLDEN").ok();
    let mut faults = Vec::new();
    for (folder, least) in FOLDERS {
        let mut played = 0;
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let Some(case) = Case::read(&path) else { continue };
            played += 1;
            if only.as_ref().is_some_and(|only| !path.to_string_lossy().contains(only.as_str())) {
                continue;
            }
            for pieces in [1, 2, 7, 10_000] {
                let play = std::panic::AssertUnwindSafe(|| case.play(pieces));
                if let Err(panic) = std::panic::catch_unwind(play) {
                    let text = panic.downcast::<String>().map_or_else(|_| "panicked".to_owned(), |text| *text);
                    faults.push(format!("{}: {text}", path.display()));
                    break;
                }
            }
        }
        if played < *least {
            faults.push(format!("{folder}: {played} exchanges instead of {least}"));
        }
    }
    assert!(faults.is_empty(), "{} exchanges differ:\n{}", faults.len(), faults.join("\n\n"));
}

#[test]
fn every_edge_case_is_shown() {
    let folder = root().join("edge");
    let readme = fs::read_to_string(folder.join("README.md")).unwrap();
    let mut numbers = Vec::new();
    let mut listed = BTreeMap::new();
    for line in readme.lines() {
        let cells: Vec<&str> = line.split(" | ").map(|cell| cell.trim_matches(['|', ' '])).collect();
        let Ok(number) = cells[0].parse::<u64>() else { continue };
        numbers.push(number);
        let shown = cells[3];
        if let Some(places) = shown.strip_prefix("elsewhere: ") {
            let mut paths = places.split('`').filter(|place| place.contains('/')).peekable();
            assert!(paths.peek().is_some(), "{line}");
            for path in paths {
                assert!(root().join("../..").join(path).is_file(), "{number}: {path}");
            }
        } else if !shown.starts_with("later: ") {
            listed.extend(shown.split(", ").map(|name| (name.to_owned(), number)));
        }
    }
    assert_eq!(numbers, Vec::from_iter(1..=99));

    let mut files = BTreeMap::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let case: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            assert_eq!(case["name"], format!("edge/{name}"));
            let edge = case["edge"].as_u64().unwrap();
            let begin = name.split(|c: char| !c.is_ascii_digit()).next().unwrap();
            assert_eq!(begin, format!("{edge:02}"), "{name}");
            files.insert(name, edge);
        }
    }
    assert_eq!(listed, files);
}
