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

#[test]
fn a_hundred_cold_requests_read_once() {
    let (bench, made) = Bench::at(SM);
    let uuid = bench.ibm_provider();
    bench.model(&uuid);
    let cold = bench.cold();
    // The head is known, the credential is not.
    assert_eq!(cold.admin("GET", "/v1/models", Value::Null).0, 200);
    bench.sent();
    let tenant = TenantId::parse(&id(&made)).unwrap();
    let mut reference = CredentialRef::new(Manager::named(SM), uuid);
    reference.place = Some(PLACE.to_owned());
    cold.token();
    let body = kv(&id(&made), SK).to_string();
    let chunks = vec![Chunk::Wait(300), Chunk::Bytes(Bytes::from(body))];
    cold.world.http().push(Answer::with(200, "application/json", chunks));
    let read = || {
        let mut exchange = Exchange::new(cold.world.clone());
        let (gateway, reference) = (&cold.gateway, &reference);
        let read: Pin<Box<dyn Future<Output = _>>> =
            Box::pin(
                async move { read(gateway, &mut exchange, tenant, reference).await.map(|c| c.get("apikey").cloned()) },
            );
        read
    };
    let answers = cold.world.run(all((0..100).map(|_| read()).collect()));
    assert!(answers.into_iter().all(|key| key.unwrap().unwrap().open() == SK));
    assert_eq!(cold.sent().len(), 2, "one token and one read");
}

#[test]
fn while_the_manager_is_down_the_warm_go_on_and_the_cold_are_told() {
    let (bench, made) = Bench::at(SM);
    let uuid = bench.ibm_provider();
    bench.model(&uuid);
    bench.sent();
    let cold = bench.cold();
    // For ten minutes every call to the manager fails; the provider works.
    for minute in 0..10 {
        bench.world.pass(MINUTE);
        if minute >= 4 {
            bench.push(503, json!({}));
            bench.push(503, json!({}));
        }
        bench.answer();
        assert_eq!(bench.chat().0, 200, "minute {minute}");
        bench.sent();
    }
    cold.token();
    cold.push(503, json!({}));
    cold.push(503, json!({}));
    assert_eq!(cold.chat(), (503, "secrets_unavailable".into()));
    // It is back: no restart is needed.
    bench.world.pass(limits::TOKEN_FAILED_MS);
    cold.push(200, kv(&id(&made), "sk-canary-second"));
    cold.answer();
    assert_eq!(cold.chat().0, 200);
    // Past fifteen minutes the old one is used no more.
    bench.world.pass(6 * MINUTE);
    bench.push(503, json!({}));
    bench.push(503, json!({}));
    assert_eq!(bench.chat(), (503, "secrets_unavailable".into()));
}

#[test]
fn answers_of_a_manager_mean_what_they_should() {
    for (answers, want, calls) in [
        (vec![(429, json!({})), (200, Value::Null)], (200, ""), 4),
        (vec![(429, json!({})), (429, json!({}))], (503, "secrets_unavailable"), 3),
        (vec![(403, json!({}))], (503, "secrets_unavailable"), 2),
        (vec![(404, json!({}))], (502, "upstream_auth_failed"), 2),
        (vec![(200, json!({"id": PLACE, "name": "n"}))], (503, "secrets_unavailable"), 2),
        (vec![(302, json!({}))], (503, "secrets_unavailable"), 2),
        (
            vec![(
                200,
                json!({"id": PLACE, "name": "another-tenants", "secret_type": "kv", "data": {"apikey": "canary"}}),
            )],
            (502, "upstream_auth_failed"),
            2,
        ),
        (
            vec![(
                200,
                json!({"id": PLACE, "name": "model-gateway-TENANT-a", "secret_type": "arbitrary", "payload": "canary"}),
            )],
            (502, "upstream_auth_failed"),
            2,
        ),
    ] {
        let (bench, made) = Bench::at(SM);
        let uuid = bench.ibm_provider();
        bench.model(&uuid);
        bench.sent();
        let cold = bench.cold();
        cold.token();
        for (status, body) in answers.clone() {
            let body = if body.is_null() { kv(&id(&made), SK) } else { body };
            let body = serde_json::from_str(&body.to_string().replace("TENANT", &id(&made))).unwrap();
            cold.push(status, body);
        }
        cold.answer();
        let (status, code) = cold.chat();
        assert_eq!((status, code.as_str()), want, "{answers:?}");
        assert_eq!(cold.sent().len(), calls, "{answers:?}");
        assert!(!cold.world.take_log().concat().contains("canary"));
    }
}

#[test]
fn a_token_that_the_manager_does_not_take_is_replaced_once() {
    let (bench, made) = Bench::at(SM);
    let uuid = bench.ibm_provider();
    bench.model(&uuid);
    bench.sent();
    let cold = bench.cold();
    cold.token();
    cold.push(401, json!({}));
    cold.push(200, json!({"access_token": "another", "expires_in": 3600}));
    cold.push(200, kv(&id(&made), SK));
    cold.answer();
    assert_eq!(cold.chat().0, 200);
    let sent = cold.sent();
    assert!(sent[3].headers.contains(&("authorization".into(), "Bearer another".into())));
    assert_eq!(sent.len(), 5);
}

#[test]
fn a_refused_credential_is_read_again_once_for_all() {
    let (bench, made) = Bench::at(SM);
    let uuid = bench.ibm_provider();
    bench.sent();
    let tenant = TenantId::parse(&id(&made)).unwrap();
    let mut reference = CredentialRef::new(Manager::named(SM), uuid);
    reference.place = Some(PLACE.to_owned());
    let old = {
        let mut credential = Credential::default();
        credential.set("apikey", Secret::new(SK.to_owned()));
        credential
    };
    let again = |refused: &Credential| {
        let (gateway, world, reference, refused) = (&bench.gateway, &bench.world, &reference, refused.clone());
        let again: Pin<Box<dyn Future<Output = _>>> =
            Box::pin(async move { reread(gateway, world, tenant, reference, &refused).await });
        again
    };
    let one = |refused: &Credential| {
        bench.world.run(again(refused)).map(|found| found.map(|c| c.get("apikey").unwrap().open().to_owned()))
    };
    // The manager fails: the failure is told, and what was known stays.
    bench.push(403, json!({}));
    assert_eq!(one(&old).unwrap_err().code, ErrorCode::SecretsUnavailable);
    bench.world.pass(limits::TOKEN_FAILED_MS);
    let mut exchange = Exchange::new(bench.world.clone());
    let kept = bench.world.run(read(&bench.gateway, &mut exchange, tenant, &reference)).unwrap();
    assert!(kept.same(&old));
    assert_eq!(bench.sent().len(), 1);
    // It was not rotated: one read, and for a while none.
    bench.world.pass(limits::TOKEN_REJECT_AGAIN_MS);
    bench.push(200, kv(&id(&made), SK));
    assert_eq!(one(&old), Ok(None));
    assert_eq!(one(&old), Ok(None));
    assert_eq!(bench.sent().len(), 1);
    // It was rotated: fifty refused requests read once and get the new one.
    bench.world.pass(limits::TOKEN_REJECT_AGAIN_MS);
    let body = kv(&id(&made), "sk-second").to_string();
    let chunks = vec![Chunk::Wait(200), Chunk::Bytes(Bytes::from(body))];
    bench.world.http().push(Answer::with(200, "application/json", chunks));
    let found = bench.world.run(all((0..50).map(|_| again(&old)).collect()));
    assert!(found.into_iter().all(|f| f.unwrap().unwrap().get("apikey").unwrap().open() == "sk-second"));
    assert_eq!(bench.sent().len(), 1);
    // Who was refused with the old one a moment later gets the new one without a read.
    assert_eq!(one(&old), Ok(Some("sk-second".to_owned())));
    assert_eq!(bench.sent().len(), 0);
}

#[test]
fn a_tenants_own_secret_is_read_and_never_written() {
    let (bench, made) = Bench::at("builtin");
    let tenant = id(&made);
    let crn = format!("crn:v1:bluemix:public:secrets-manager:us-south:a/abc:1a2b:secret:{PLACE}");
    let secret = |data: Value| json!({"id": PLACE, "name": format!("model-gateway-{tenant}-mine"), "secret_type": "arbitrary", "payload": data.to_string()});
    bench.token();
    bench.push(200, secret(json!({"apiKey": SK, "resourceName": "my-res"})));
    let body = json!({"name": "p", "data_reference": {"resource": crn}});
    let (status, provider) = bench.admin("POST", "/v1/providers/azure-openai", body.clone());
    assert_eq!(status, 201, "{provider}");
    assert_eq!(provider["data_reference"], json!({"resource": crn}));
    let uuid = provider["uuid"].as_str().unwrap().to_owned();
    let dump = bench.world.store().dump();
    assert!(!dump.contains("canary") && dump.contains("my-res") && dump.contains(&crn), "{dump}");
    assert_eq!(bench.admin("GET", &format!("/v1/providers/{uuid}"), Value::Null).1["data_reference"]["resource"], crn);
    bench.model(&uuid);
    bench.sent();
    bench.push(200, secret(json!({"apiKey": "sk-second", "resourceName": "other"})));
    bench.answer();
    assert_eq!(bench.chat().0, 200);
    let sent = bench.sent();
    assert_eq!(sent[0].target, format!("GET {SM}/api/v2/secrets/{PLACE}"));
    assert!(sent[1].target.starts_with("POST https://my-res.openai.azure.com/"), "{}", sent[1].target);
    assert!(sent[1].headers.contains(&("api-key".into(), "sk-second".into())));
    // An export with credentials does not take it along.
    let (status, export) = bench.admin("POST", "/v1/tenant/export", json!({"sealing_key": key(5)}));
    assert_eq!((status, &export["credentials"]), (200, &json!([])));
    assert_eq!(bench.admin("DELETE", &format!("/v1/providers/{uuid}"), Value::Null).0, 204);
    assert_eq!(bench.sent().len(), 0, "nothing is deleted there");

    for (resource, answer, word) in [
        (
            crn.clone(),
            Some(json!({"id": PLACE, "name": "model-gateway-other-x", "secret_type": "arbitrary", "payload": "{}"})),
            "not one of this tenant's",
        ),
        (crn.clone(), Some(secret(json!({"apikey": SK}))), "resource_name"),
        (crn.clone(), Some(secret(json!([SK]))), "object"),
        (crn.clone(), Some(secret(json!({"apikey": SK, "resource_name": "r", "sk-canary": 1}))), "cannot be used"),
        (crn.replace("us-south", "eu-de"), None, "SECRETS_MANAGERS"),
        ("http://169.254.169.254/latest/meta-data".to_owned(), None, "SECRETS_MANAGERS"),
        (
            format!("arn:aws:secretsmanager:us-east-1:999999999999:secret:model-gateway/{tenant}/x"),
            None,
            "SECRETS_MANAGERS",
        ),
        (
            "arn:aws:secretsmanager:us-east-1:123456789012:secret:model-gateway/5f0c8a1e-0d0e-4a53-8a7b-3d7b1c1a2f44/x"
                .to_owned(),
            None,
            "SECRETS_MANAGERS",
        ),
    ] {
        let calls = usize::from(answer.is_some());
        if let Some(answer) = answer {
            bench.push(200, answer);
        }
        let body = json!({"name": "q", "data_reference": {"resource": resource}});
        let (status, failed) = bench.admin("POST", "/v1/providers/azure-openai", body);
        assert_eq!((status, failed["error"]["param"].as_str()), (400, Some("data_reference")), "{resource}: {failed}");
        assert!(failed["error"]["message"].as_str().unwrap().contains(word), "{resource}: {failed}");
        assert!(!failed.to_string().contains("canary"));
        assert_eq!(bench.sent().len(), calls, "{resource}");
    }
    for wrong in [json!(crn), json!({}), json!({"resource": 1}), json!({"resource": crn, "x": 1})] {
        let (status, failed) =
            bench.admin("POST", "/v1/providers/openai", json!({"name": "q", "data_reference": wrong}));
        assert_eq!((status, failed["error"]["param"].as_str()), (400, Some("data_reference")), "{failed}");
    }
    let both = json!({"name": "q", "data": {"apikey": "k"}, "data_reference": {"resource": crn}});
    assert_eq!(bench.admin("POST", "/v1/providers/openai", both).0, 400);
    bench.push(503, json!({}));
    bench.push(503, json!({}));
    assert_eq!(bench.admin("POST", "/v1/providers/azure-openai", body).1["error"]["code"], "secrets_unavailable");
}

#[test]
fn addresses_that_are_not_configured_are_never_called() {
    let bench = Bench::new();
    for asked in [
        "http://127.0.0.1:1",
        "http://169.254.169.254/latest",
        "https://localhost",
        "https://secretsmanager.us-east-2.amazonaws.com",
        "https://1a2b.us-south.secrets-manager.appdomain.cloud.evil.example",
        "arn:aws:secretsmanager:us-east-1:123456789012:secret:x",
        "aws",
        "../x",
        "",
    ] {
        let (status, failed) = bench.admin("POST", "/v1/tenant", json!({"name": "t", "secrets_manager": asked}));
        assert_eq!((status, failed["error"]["param"].as_str()), (400, Some("secrets_manager")), "{asked}");
        assert!(failed["error"]["message"].as_str().unwrap().contains("SECRETS_MANAGERS"));
    }
    assert_eq!(bench.sent().len(), 0);
}

#[test]
fn a_manager_that_the_operator_took_away_is_an_outage_and_no_fallback() {
    let (bench, _) = Bench::at(SM);
    let uuid = bench.ibm_provider();
    bench.model(&uuid);
    bench.sent();
    let sealing = key(7);
    let lookup = |name: &str| match name {
        "GATEWAY_ADMIN_KEY" => Some(OPERATOR.to_owned()),
        "GATEWAY_SEALING_KEY" => Some(sealing.clone()),
        _ => None,
    };
    let without = Bench {
        world: bench.world.clone(),
        gateway: Gateway::new(Deployment::read(lookup, DefaultManager::Builtin).unwrap()),
    };
    assert_eq!(without.chat(), (503, "secrets_unavailable".into()));
    let (_, failed) = without.admin("POST", "/v1/providers/openai", json!({"name": "q", "data": {"apikey": SK}}));
    assert_eq!(failed["error"]["code"], "secrets_unavailable");
    assert_eq!(without.admin("DELETE", &format!("/v1/providers/{uuid}"), Value::Null).0, 204);
    assert!(without.world.store().dump().contains(SM), "the marker stays");
    assert_eq!(without.sent().len(), 0);
}

#[test]
fn a_wrong_sealing_key_closes_and_overwrites_nothing_and_the_right_one_is_renewed() {
    let (bench, _) = Bench::at("builtin");
    let (_, made) = bench.admin("POST", "/v1/providers/openai", json!({"name": "p", "data": {"apikey": SK}}));
    let uuid = made["uuid"].as_str().unwrap();
    bench.model(uuid);
    bench.world.take_log();
    let before = bench.world.store().dump();
    let other = |sealing: &str, previous: Option<&str>| Bench {
        world: bench.world.clone(),
        gateway: deployment(sealing, previous),
    };
    let wrong = other(&key(8), None);
    assert_eq!(wrong.chat(), (503, "secrets_unavailable".into()));
    wrong.world.run(wrong.gateway.sweep(wrong.world.clone()));
    assert_eq!(bench.world.store().dump(), before, "nothing was overwritten");
    assert!(bench.world.take_log().concat().contains("sealed secret: UnknownKey"));
    // Both keys: the first read brings the record under the new one, after that the old one can go.
    let both = other(&key(8), Some(&key(7)));
    both.answer();
    assert_eq!(both.chat().0, 200);
    assert_ne!(bench.world.store().dump(), before);
    wrong.world.pass(limits::TOKEN_FAILED_MS);
    wrong.answer();
    assert_eq!(wrong.chat().0, 200);
    // So does a sweep, without any request.
    let (_, made) = bench.admin("POST", "/v1/providers/openai", json!({"name": "q", "data": {"apikey": SK}}));
    assert_eq!(both.world.run(both.gateway.sweep(both.world.clone())).renewed, 1);
    assert_eq!(both.world.run(both.gateway.sweep(both.world.clone())).renewed, 0);
    let tenant = other(&key(8), None);
    let path = format!("/v1/providers/{}/models/available", made["uuid"].as_str().unwrap());
    tenant.push(200, json!({"data": []}));
    assert_eq!(tenant.admin("GET", &path, Value::Null).0, 200);
    assert!(!bench.world.store().dump().contains("canary"));
}
