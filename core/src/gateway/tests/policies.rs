//! Policies through the whole of core: who may call, see and change what.

use super::*;
use crate::ports::Platform;
use crate::testing::Answer;

const OK: &str = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}"#;

impl Bench {
    fn key(&self, scopes: &[&str]) -> (String, String) {
        let key = self.admin("POST", "/v1/keys", json!({"name": "k", "scopes": scopes})).1;
        (key["id"].as_str().unwrap().to_owned(), key["api_key"].as_str().unwrap().to_owned())
    }

    fn policy(&self, text: &str) -> Value {
        let words: Vec<&str> = text.split(' ').collect();
        let body = json!({"effect": words[0], "action": words[1], "resource": words[2], "subject": words[3]});
        let (status, answer) = self.admin("POST", "/v1/policies", body);
        assert_eq!(status, 201, "{answer}");
        answer
    }

    /// The status of a chat with a key, and the host that was called.
    fn try_chat(&self, key: &str) -> (u16, Option<String>) {
        self.world.http().clear();
        self.world.http().take_sent();
        self.world.http().push(Answer::json(200, OK));
        let body = json!({"model": "fast", "messages": [{"role": "user", "content": "hi"}]});
        let status = self.call(key, "POST", "/v1/chat/completions", body).0;
        let sent = self.world.http().take_sent();
        (status, sent.first().map(|sent| sent.target.split('/').nth(2).unwrap().to_owned()))
    }

    fn ids(&self, key: &str, path: &str) -> Vec<String> {
        let (status, answer) = self.call(key, "GET", path, Value::Null);
        assert_eq!(status, 200, "{answer}");
        let list = answer["data"].as_array().or(answer.as_array()).unwrap();
        list.iter().map(|item| item["uuid"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn policies_are_made_read_and_removed() {
    let bench = Bench::new();
    let resource = "model:9a6c5c0d-6a5c-4c58-8d6e-7f9b3a6f2f10";
    let subject = "AccessGroupId-56c5e703-6a5c-4c58-8d6e-7f9b3a6f2f10";
    let body = json!({"action": "read", "resource": resource, "subject": subject});
    let (status, made) = bench.admin("POST", "/ml/gateway/v1/policies", body.clone());
    let uuid = made["uuid"].as_str().unwrap();
    let want = json!({"uuid": uuid, "action": "read", "effect": "allow", "resource": resource, "subject": subject,
        "created_at": 1_760_000_000});
    assert_eq!((status, &made), (201, &want));
    assert_eq!(bench.admin("POST", "/v1/policies", body.clone()), (200, want.clone()), "an exact repeat");
    assert_eq!(bench.admin("GET", "/v1/policies", Value::Null).1, json!({"object": "list", "data": [want]}));
    let path = format!("/v1/policies/{uuid}");
    assert_eq!(bench.admin("GET", &path, Value::Null), (200, want));
    assert_eq!(bench.admin("PUT", &path, body.clone()).0, 405);
    assert_eq!(bench.admin("DELETE", &path, Value::Null).0, 204);
    assert_eq!(bench.admin("DELETE", &path, Value::Null).0, 404);
    // The older way, by description.
    assert_eq!(bench.admin("DELETE", "/v1/policies", body.clone()).0, 404);
    bench.policy(&format!("deny read {resource} {subject}"));
    bench.policy(&format!("allow read {resource} {subject}"));
    let mut denied = body.clone();
    denied["effect"] = "deny".into();
    assert_eq!(bench.admin("DELETE", "/v1/policies", denied).0, 204);
    assert_eq!(bench.admin("DELETE", "/v1/policies", body).0, 204);
    assert_eq!(bench.admin("GET", "/v1/policies", Value::Null).1["data"], json!([]));
}

#[test]
fn wrong_policies_are_refused_by_name() {
    let bench = Bench::new();
    let good = json!({"action": "read", "effect": "deny", "resource": "*", "subject": "*"});
    for (name, value) in [
        ("action", json!("call")),
        ("action", Value::Null),
        ("effect", json!("audit")),
        ("effect", json!(1)),
        ("resource", json!("model:")),
        ("resource", json!("galaxy:*")),
        ("subject", json!("")),
        ("subject", json!("a b")),
        ("subject", json!("x".repeat(201))),
    ] {
        let mut body = good.clone();
        body[name] = value;
        let (status, answer) = bench.admin("POST", "/v1/policies", body);
        assert_eq!((status, &answer["error"]["param"]), (400, &json!(name)), "{answer}");
    }
}

#[test]
fn a_model_that_may_not_be_read_is_neither_called_nor_shown() {
    let bench = Bench::new();
    let (id, key) = bench.key(&["inference"]);
    let (_, other) = bench.key(&["inference"]);
    let model = bench.ids(&key, "/v1/models").remove(0);
    assert_eq!(bench.try_chat(&key).0, 200);
    let policy = bench.policy(&format!("deny read model:{model} key:{id}"));
    for path in ["/v1/models", "/ml/gateway/v1/models"] {
        assert!(bench.ids(&key, path).is_empty(), "{path}");
        assert_eq!(bench.ids(&other, path).len(), 1, "{path}");
    }
    for name in ["fast", "gpt-4o", model.as_str()] {
        assert_eq!(bench.call(&key, "GET", &format!("/v1/models/{name}"), Value::Null).0, 404, "{name}");
    }
    assert_eq!(bench.try_chat(&key), (403, None));
    assert_eq!(bench.try_chat(&other).0, 200);
    // Nobody that holds the tenant is bound.
    assert_eq!(bench.try_chat(&bench.key.clone()).0, 200);
    assert_eq!(bench.try_chat(OPERATOR).0, 200);
    let path = format!("/v1/policies/{}", policy["uuid"].as_str().unwrap());
    assert_eq!(bench.admin("DELETE", &path, Value::Null).0, 204);
    assert_eq!(bench.try_chat(&key).0, 200);
    // What is allowed to one is not for the others.
    bench.policy(&format!("allow read provider:{} key:{id}", bench.provider));
    assert_eq!((bench.try_chat(&key).0, bench.try_chat(&other)), (200, (403, None)));
    bench.policy("deny read provider:* *");
    assert_eq!(bench.try_chat(&key), (403, None));
}

#[test]
fn at_a_shared_alias_targets_that_may_not_be_read_drop_out() {
    let bench = Bench::over(&[json!({}), json!({})]);
    let (id, key) = bench.key(&["inference"]);
    let models = bench.ids(OPERATOR, "/ml/gateway/v1/models");
    bench.policy(&format!("deny read model:{} key:{id}", models[0]));
    for _ in 0..8 {
        assert_eq!(bench.try_chat(&key), (200, Some("p1.example".to_owned())));
    }
    let (_, list) = bench.call(&key, "GET", "/v1/models", Value::Null);
    assert_eq!(
        (list["data"][0]["uuid"].as_str(), &list["data"][0]["models"]),
        (Some(models[1].as_str()), &Value::Null)
    );
    bench.policy(&format!("deny read model:{} *", models[1]));
    assert_eq!(bench.try_chat(&key), (403, None));
}

#[test]
fn a_load_balancer_is_a_resource_of_its_own() {
    let bench = Bench::over(&[json!({}), json!({})]);
    let (id, key) = bench.key(&["inference"]);
    let models = bench.ids(OPERATOR, "/ml/gateway/v1/models");
    let backends: Vec<Value> = models.iter().map(|uuid| json!({"model_uuid": uuid})).collect();
    let body = json!({"name": "b", "alias": "both", "algorithm": "round_robin", "backends": backends});
    let (status, balancer) = bench.admin("POST", "/v1/load-balancers", body);
    assert_eq!(status, 201, "{balancer}");
    let call = || {
        bench.world.http().push(Answer::json(200, OK));
        let body = json!({"model": "both", "messages": [{"role": "user", "content": "hi"}]});
        bench.call(&key, "POST", "/v1/chat/completions", body).0
    };
    assert_eq!((call(), bench.ids(&key, "/v1/models").len()), (200, 2));
    bench.policy(&format!("deny read load-balancer:{} key:{id}", balancer["uuid"].as_str().unwrap()));
    assert_eq!((call(), bench.ids(&key, "/v1/models").len()), (403, 1));
    let path = format!("/v1/load-balancers/{}", balancer["uuid"].as_str().unwrap());
    let (admin, admin_key) = bench.key(&["admin"]);
    bench.policy(&format!("deny write load-balancer:* key:{admin}"));
    assert_eq!(bench.call(&admin_key, "DELETE", &path, Value::Null).0, 403);
    assert_eq!(bench.admin("DELETE", &path, Value::Null).0, 204);
    assert_eq!(bench.ids(OPERATOR, "/v1/policies").len(), 1);
}

#[test]
fn management_asks_policies_of_keys_that_are_not_the_whole_tenant() {
    let bench = Bench::new();
    let (id, key) = bench.key(&["admin"]);
    let model = bench.ids(OPERATOR, "/ml/gateway/v1/models").remove(0);
    let provider = bench.provider.clone();
    let providers = format!("/v1/providers/{provider}");
    let body = json!({"name": "x", "data": {"apikey": SK}});
    let enable = json!({"id": "m2"});
    let limit = json!({"type": "tenant", "request": {"capacity": 1, "amount": 1, "duration": "1h"}});
    for (policy, method, path, body) in [
        ("deny write tenant", "POST", "/v1/keys".to_owned(), json!({"name": "a"})),
        ("deny write tenant", "PATCH", "/v1/tenant".to_owned(), json!({"name": "a"})),
        ("deny write tenant", "DELETE", "/v1/tenant".to_owned(), Value::Null),
        ("deny write tenant", "DELETE", format!("/v1/keys/{id}"), Value::Null),
        ("deny write tenant", "POST", "/v1/rate-limits".to_owned(), limit.clone()),
        ("deny write tenant", "DELETE", "/v1/rate-limits/x".to_owned(), Value::Null),
        ("deny read tenant", "GET", "/v1/tenant".to_owned(), Value::Null),
        ("deny read tenant", "GET", "/v1/keys".to_owned(), Value::Null),
        ("deny read tenant", "GET", "/v1/rate-limits".to_owned(), Value::Null),
        ("deny read tenant", "POST", "/v1/tenant/export".to_owned(), json!({})),
        ("deny read tenant", "GET", "/v1/usage".to_owned(), Value::Null),
        (
            "deny write policies",
            "POST",
            "/v1/policies".to_owned(),
            json!({"action": "read", "resource": "*", "subject": "*"}),
        ),
        ("deny write policies", "DELETE", "/v1/policies/x".to_owned(), Value::Null),
        ("deny read policies", "GET", "/v1/policies".to_owned(), Value::Null),
        ("deny write provider:*", "POST", "/v1/providers/openai".to_owned(), body.clone()),
        ("deny write provider:{p}", "PUT", format!("{providers}/openai"), body),
        ("deny write provider:{p}", "DELETE", providers.clone(), Value::Null),
        ("deny write provider:{p}", "POST", format!("{providers}/models"), enable.clone()),
        ("deny write model:*", "POST", format!("{providers}/models"), enable),
        ("deny write model:{m}", "DELETE", format!("/v1/models/{model}"), Value::Null),
        ("deny write provider:{p}", "DELETE", format!("/v1/models/{model}"), Value::Null),
        ("deny write model:{m}", "PATCH", format!("{providers}/models/{model}"), json!({"alias": "b"})),
        ("deny write *", "DELETE", format!("{providers}/models/{model}"), Value::Null),
        ("deny read provider:{p}", "GET", providers.clone(), Value::Null),
        ("deny read provider:{p}", "GET", format!("{providers}/models"), Value::Null),
        ("deny read provider:{p}", "GET", format!("{providers}/models/available"), Value::Null),
    ] {
        let policy = policy.replace("{p}", &provider).replace("{m}", &model);
        let made = bench.policy(&format!("{policy} key:{id}"));
        let (status, answer) = bench.call(&key, method, &path, body.clone());
        assert_eq!((status, &answer["error"]["code"]), (403, &json!("permission_denied")), "{policy}: {method} {path}");
        let made = format!("/v1/policies/{}", made["uuid"].as_str().unwrap());
        assert_eq!(bench.admin("DELETE", &made, Value::Null).0, 204);
    }
    bench.policy(&format!("deny read provider:{provider} key:{id}"));
    assert!(bench.ids(&key, "/v1/providers").is_empty());
    assert_eq!(bench.ids(OPERATOR, "/v1/providers").len(), 1);
    assert_eq!(bench.call(&key, "POST", "/v1/rate-limits", limit).0, 201);
}

#[test]
fn policies_of_what_is_gone_are_gone_but_not_those_of_keys() {
    let bench = Bench::new();
    let model = bench.ids(OPERATOR, "/ml/gateway/v1/models").remove(0);
    let (id, _) = bench.key(&["inference"]);
    bench.policy(&format!("allow read model:{model} *"));
    bench.policy(&format!("allow read provider:{} *", bench.provider));
    bench.policy(&format!("allow read model:* key:{id}"));
    // An allowance for a key that is gone still keeps the others out.
    assert_eq!(bench.admin("DELETE", &format!("/v1/keys/{id}"), Value::Null).0, 204);
    assert_eq!(bench.ids(OPERATOR, "/v1/policies").len(), 3);
    assert_eq!(bench.admin("DELETE", &format!("/v1/models/{model}"), Value::Null).0, 204);
    assert_eq!(bench.ids(OPERATOR, "/v1/policies").len(), 2);
    assert_eq!(bench.admin("DELETE", &format!("/v1/providers/{}", bench.provider), Value::Null).0, 204);
    assert_eq!(bench.ids(OPERATOR, "/v1/policies").len(), 1);
}
