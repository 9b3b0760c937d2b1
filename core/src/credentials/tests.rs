#![expect(clippy::needless_pass_by_value, reason = "JSON literals read best as arguments")]

mod faults;
mod own;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use base64::Engine as _;
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use super::*;
use crate::Body;
use crate::deployment::{DefaultManager, Deployment};
use crate::ports::HttpError;
use crate::testing::{Answer, Chunk, Sent, World};

const OPERATOR: &str = "operator-key-0123456789-0123456789";
const SK: &str = "sk-canary-Zm9vYmFyYmF6cXV4";
const SM: &str = "https://1a2b.us-south.secrets-manager.appdomain.cloud";
const AWS: &str = "https://secretsmanager.us-east-1.amazonaws.com";
const PLACE: &str = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee";
const T0: u64 = 1_760_000_000_000;
const MINUTE: u64 = 60_000;

struct Bench {
    world: World,
    gateway: Gateway,
}

fn key(fill: u8) -> String {
    base64::engine::general_purpose::STANDARD.encode([fill; 32])
}

fn deployment(sealing: &str, previous: Option<&str>) -> Gateway {
    let managers = json!([
        {"address": SM, "kind": "ibm", "identity": "IBM_KEY"},
        {"address": AWS, "kind": "aws", "identity": "PAIR", "account": "123456789012"},
    ]);
    let managers = managers.to_string();
    let lookup = |name: &str| match name {
        "GATEWAY_ADMIN_KEY" => Some(OPERATOR.to_owned()),
        "GATEWAY_SEALING_KEY" => Some(sealing.to_owned()),
        "GATEWAY_SEALING_KEY_PREVIOUS" => previous.map(str::to_owned),
        "SECRETS_MANAGERS" => Some(managers.clone()),
        "IBM_KEY" => Some("ibm-canary-key".to_owned()),
        "PAIR" => Some(r#"{"access_key_id": "AKIDEXAMPLE", "secret_access_key": "aws-canary-key"}"#.to_owned()),
        _ => None,
    };
    Gateway::new(Deployment::read(lookup, DefaultManager::Builtin).unwrap())
}

impl Bench {
    fn new() -> Self {
        Self { world: World::at(T0), gateway: deployment(&key(7), None) }
    }

    /// With a tenant at that manager.
    fn at(manager: &str) -> (Self, Value) {
        let bench = Self::new();
        let (status, made) = bench.admin("POST", "/v1/tenant", json!({"name": "test", "secrets_manager": manager}));
        assert_eq!((status, made["secrets_manager"].as_str()), (201, Some(manager.trim_end_matches('/'))), "{made}");
        (bench, made)
    }

    /// Another isolate of the same deployment: it remembers nothing.
    fn cold(&self) -> Self {
        Self { world: self.world.clone(), gateway: deployment(&key(7), None) }
    }

    fn handle(&self, method: &str, path: &str, body: &Value) -> impl Future<Output = (u16, Value)> + '_ {
        let mut request =
            Request::builder().method(method).uri(path).header("authorization", format!("Bearer {OPERATOR}"));
        let mut bytes = Bytes::new();
        if !body.is_null() {
            request = request.header("content-type", "application/json");
            bytes = Bytes::from(body.to_string());
        }
        let request = request.body(bytes).unwrap();
        async move {
            let response = self.gateway.handle(self.world.clone(), request).await;
            let status = response.status().as_u16();
            let Body::Full(bytes) = response.into_body() else { panic!("streamed") };
            (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
        }
    }

    fn admin(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.world.run(self.handle(method, path, &body))
    }

    fn push(&self, status: u16, body: Value) {
        self.world.http().push(Answer::json(status, body.to_string()));
    }

    fn token(&self) {
        self.push(200, json!({"access_token": "token-canary", "expires_in": 3600}));
    }

    fn sent(&self) -> Vec<Sent> {
        self.world.http().take_sent()
    }

    fn targets(&self) -> Vec<String> {
        self.sent().into_iter().map(|sent| sent.target.replace(SM, "SM").replace(AWS, "AWS")).collect()
    }

    /// A provider whose credential is at IBM's manager.
    fn ibm_provider(&self) -> String {
        self.token();
        self.push(201, json!({"id": PLACE, "name": "n", "secret_type": "kv"}));
        let (status, made) = self.admin("POST", "/v1/providers/openai", json!({"name": "p", "data": {"apikey": SK}}));
        assert_eq!(status, 201, "{made}");
        made["uuid"].as_str().unwrap().to_owned()
    }

    fn model(&self, provider: &str) {
        let path = format!("/v1/providers/{provider}/models");
        assert_eq!(self.admin("POST", &path, json!({"id": "gpt-4o", "alias": "fast"})).0, 201);
    }

    fn chat(&self) -> (u16, String) {
        let (status, body) = self.admin("POST", "/v1/chat/completions", chat());
        (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
    }

    fn answer(&self) {
        self.push(200, json!({"choices": []}));
    }
}

fn chat() -> Value {
    json!({"model": "fast", "messages": [{"role": "user", "content": "hi"}]})
}

fn kv(tenant: &str, key: &str) -> Value {
    let name = format!("model-gateway-{tenant}-x");
    json!({"id": PLACE, "name": name, "secret_type": "kv", "data": {"apikey": key}})
}

fn id(made: &Value) -> String {
    made["id"].as_str().unwrap().to_owned()
}

/// Runs futures side by side, as requests of one isolate do.
async fn all<T>(futures: Vec<Pin<Box<dyn Future<Output = T> + '_>>>) -> Vec<T> {
    let mut running: Vec<_> = futures.into_iter().map(|future| (Some(future), None)).collect();
    poll_fn(move |context| {
        for (future, done) in &mut running {
            if let Some(Poll::Ready(value)) = future.as_mut().map(|future| future.as_mut().poll(context)) {
                (*future, *done) = (None, Some(value));
            }
        }
        match running.iter().all(|(_, done)| done.is_some()) {
            true => Poll::Ready(running.iter_mut().filter_map(|(_, done)| done.take()).collect()),
            false => Poll::Pending,
        }
    })
    .await
}

#[test]
fn a_credential_goes_to_the_tenants_manager_and_nowhere_else() {
    let (bench, made) = Bench::at(&format!("{SM}/"));
    let uuid = bench.ibm_provider();
    let sent = bench.sent();
    assert_eq!(sent[0].target, "POST https://iam.cloud.ibm.com/identity/token");
    assert_eq!(sent[1].target, format!("POST {SM}/api/v2/secrets"));
    assert!(sent[1].headers.contains(&("authorization".into(), "Bearer token-canary".into())));
    let body: Value = serde_json::from_slice(&sent[1].body).unwrap();
    let name = format!("model-gateway-{}-{uuid}", id(&made));
    let want = json!({"secret_type": "kv", "name": name, "secret_group_id": "default", "data": {"apikey": SK}});
    assert_eq!(body, want);
    let stored = bench.world.store().dump() + &bench.world.take_log().concat();
    assert!(!stored.contains("canary") && stored.contains(&name), "{stored}");

    bench.model(&uuid);
    // Warm: no call to the manager.
    bench.answer();
    assert_eq!(bench.chat().0, 200);
    assert_eq!(bench.targets(), ["POST https://api.openai.com/v1/chat/completions"]);
    // Cold: one read by its id.
    let cold = bench.cold();
    cold.token();
    cold.push(200, kv(&id(&made), SK));
    cold.answer();
    assert_eq!(cold.chat().0, 200);
    let targets = cold.targets();
    assert_eq!(
        targets[1..],
        [format!("GET SM/api/v2/secrets/{PLACE}"), "POST https://api.openai.com/v1/chat/completions".into()]
    );

    bench.push(204, Value::Null);
    assert_eq!(bench.admin("DELETE", &format!("/v1/providers/{uuid}"), Value::Null).0, 204);
    assert_eq!(bench.targets(), [format!("DELETE SM/api/v2/secrets/{PLACE}")]);
    assert!(!bench.world.store().dump().contains(&name));
}

#[test]
fn aws_is_called_with_the_operators_key_pair() {
    let (bench, made) = Bench::at(AWS);
    bench.push(200, json!({"Name": "n"}));
    let (status, provider) = bench.admin("POST", "/v1/providers/openai", json!({"name": "p", "data": {"apikey": SK}}));
    assert_eq!(status, 201, "{provider}");
    let uuid = provider["uuid"].as_str().unwrap();
    let sent = bench.sent();
    assert_eq!(sent[0].target, format!("POST {AWS}/"));
    let header =
        |sent: &Sent, name: &str| sent.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap();
    assert_eq!(header(&sent[0], "x-amz-target"), "secretsmanager.CreateSecret");
    assert!(header(&sent[0], "authorization").contains("/us-east-1/secretsmanager/aws4_request"));
    let body: Value = serde_json::from_slice(&sent[0].body).unwrap();
    assert_eq!(body["Name"], format!("model-gateway/{}/{uuid}", id(&made)));
    assert_eq!(body["SecretString"], json!({"apikey": SK}).to_string());
    assert!(!bench.world.store().dump().contains("canary"));

    bench.model(uuid);
    let cold = bench.cold();
    cold.push(200, json!({"SecretString": json!({"apikey": SK}).to_string()}));
    cold.answer();
    assert_eq!(cold.chat().0, 200);
    assert_eq!(header(&cold.sent()[0], "x-amz-target"), "secretsmanager.GetSecretValue");
    bench.push(400, json!({"__type": "ResourceNotFoundException"}));
    assert_eq!(bench.admin("DELETE", &format!("/v1/providers/{uuid}"), Value::Null).0, 204);
    let sent = bench.sent();
    let body: Value = serde_json::from_slice(&sent[0].body).unwrap();
    assert_eq!(
        (header(&sent[0], "x-amz-target").as_str(), &body["RecoveryWindowInDays"]),
        ("secretsmanager.DeleteSecret", &json!(7))
    );
    assert!(!bench.world.store().dump().contains("\"written\""), "the marker goes with the secret");
}

#[test]
fn a_creation_whose_answer_was_lost_is_not_made_twice() {
    let create = |found: Value| {
        let (bench, _) = Bench::at(SM);
        bench.token();
        bench.world.http().push(Answer::Fail(HttpError::Disconnected));
        bench.push(409, json!({"errors": [{"code": "conflict"}]}));
        bench.push(200, json!({"secrets": [found]}));
        let answer = bench.admin("POST", "/v1/providers/openai", json!({"name": "p", "data": {"apikey": SK}}));
        (bench, answer)
    };
    let entry = |name: &str| json!({"id": PLACE, "name": name, "secret_type": "kv"});
    // A search finds what is alike too; only the very name counts.
    let (bench, (status, failed)) = create(entry("model-gateway-other"));
    assert_eq!((status, failed["error"]["code"].as_str()), (503, Some("secrets_unavailable")));
    assert_eq!(bench.admin("GET", "/v1/providers", Value::Null).1, json!([]));
    let search = bench.targets().pop().unwrap();
    let (path, name) = search.split_once("&search=").unwrap();
    assert_eq!(path, "GET SM/api/v2/secrets?limit=10&groups=default");
    // Ids are the same in every run of a test.
    let (bench, (status, made)) = create(entry(name));
    assert_eq!(status, 201, "{made}");
    assert!(bench.world.store().dump().contains(&format!("\"place\":\"{PLACE}\"")));
}

#[test]
fn what_failed_half_way_is_swept_by_its_name() {
    let (bench, _) = Bench::at(SM);
    // No token is to be had, for the second try a moment later neither.
    bench.push(500, json!({}));
    let (status, failed) = bench.admin("POST", "/v1/providers/openai", json!({"name": "p", "data": {"apikey": SK}}));
    assert_eq!((status, failed["error"]["code"].as_str()), (503, Some("secrets_unavailable")), "{failed}");
    assert!(!failed.to_string().contains("canary"));
    assert_eq!(bench.admin("GET", "/v1/providers", Value::Null).1, json!([]));
    let marker = bench.world.store().dump();
    let name = marker.split("\"name\":\"model-gateway-").nth(1).unwrap().split('"').next().unwrap();
    let name = format!("model-gateway-{name}");
    bench.sent();
    bench.world.pass(limits::ORPHAN_MS);
    let sweep = || bench.world.run(bench.gateway.sweep(bench.world.clone()));
    // The manager is down: the marker stays for the next sweep.
    bench.push(500, json!({}));
    let swept = sweep();
    assert_eq!((swept.removed, swept.failed), (0, 1));
    bench.sent();
    bench.token();
    bench.push(200, json!({"secrets": [{"id": PLACE, "name": name, "secret_type": "kv"}]}));
    bench.push(204, Value::Null);
    bench.world.pass(MINUTE);
    assert_eq!(
        (sweep().removed, bench.targets()[2].as_str()),
        (1, format!("DELETE SM/api/v2/secrets/{PLACE}").as_str())
    );
    assert_eq!(sweep().removed, 0);
    assert_eq!(bench.sent().len(), 0);
}

#[test]
fn a_tenant_goes_though_its_manager_is_down_and_its_secrets_follow() {
    let (bench, _) = Bench::at(SM);
    bench.ibm_provider();
    bench.sent();
    // Twice: by the head's reference and by the record.
    bench.push(503, json!({}));
    bench.push(503, json!({}));
    assert_eq!(bench.admin("DELETE", "/v1/tenant", Value::Null).0, 204);
    assert_eq!(bench.admin("GET", "/v1/tenants", Value::Null).1["data"], json!([]));
    // The name is not given away before the secrets are gone.
    bench.push(503, json!({}));
    let (status, failed) = bench.admin("POST", "/v1/tenant", json!({"name": "test"}));
    assert_eq!((status, failed["error"]["code"].as_str()), (503, Some("secrets_unavailable")), "{failed}");
    bench.sent();
    bench.world.pass(limits::ORPHAN_MS);
    let dump = bench.world.store().dump();
    let name = dump.split("\"name\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    bench.push(200, json!({"secrets": [{"id": PLACE, "name": name, "secret_type": "kv"}]}));
    bench.push(204, Value::Null);
    assert_eq!(bench.world.run(bench.gateway.sweep(bench.world.clone())).removed, 1);
    assert_eq!(bench.world.store().dump(), "", "nothing is left");
    assert_eq!(bench.admin("POST", "/v1/tenant", json!({"name": "test"})).0, 201);
}
