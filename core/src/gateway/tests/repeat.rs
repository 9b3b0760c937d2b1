//! Creations that are repeated with the same `Idempotency-Key`.

use super::*;
use crate::ports::{Fault, Platform};
use crate::testing::{Answer, Mishap};

impl Bench {
    fn again(&self, key: &str, path: &str, body: Value) -> (u16, Value) {
        let mut request = request(OPERATOR, "POST", path, body.to_string().into());
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        let response = self.world.run(self.gateway.handle(self.world.clone(), request));
        let (status, text) = self.read(response);
        (status, serde_json::from_str(&text).unwrap())
    }

    fn count(&self, path: &str) -> usize {
        let list = self.admin("GET", path, Value::Null).1;
        list.as_array().or_else(|| list["data"].as_array()).unwrap().len()
    }
}

fn provider(name: &str, key: &str) -> Value {
    json!({"name": name, "data": {"apikey": key}})
}

/// Fault matrix: C15.
#[test]
fn a_provider_is_made_once_and_answered_twice() {
    let bench = Bench::empty();
    let path = "/v1/providers/openai";
    let made = bench.again("k1", path, provider("p", SK));
    assert_eq!(made.0, 201);
    // By another isolate too.
    for bench in [&bench, &bench.fresh()] {
        assert_eq!(bench.again("k1", path, provider("p", SK)), made);
    }
    assert_eq!((bench.count("/v1/providers"), bench.world.store().secret_records()), (1, 1));
    assert!(!bench.world.store().dump().contains("k1"));
    for other in [provider("q", SK), provider("p", "sk-other")] {
        let (status, answer) = bench.again("k1", path, other);
        let error = &answer["error"];
        assert_eq!((status, &error["code"], &error["param"]), (409, &json!("conflict"), &json!("Idempotency-Key")));
    }
    // Another key is another request: the name is taken. And so is another type's route.
    assert_eq!(bench.again("k2", path, provider("p", SK)).0, 409);
    assert_ne!(bench.again("k1", "/v1/providers/nim", provider("n", SK)).1["uuid"], made.1["uuid"]);
    // What is gone is made anew, with a secret that never was another's.
    let uuid = made.1["uuid"].as_str().unwrap();
    assert_eq!(bench.admin("DELETE", &format!("{}/{uuid}", "/v1/providers"), Value::Null).0, 204);
    assert_eq!(bench.again("k1", path, provider("p", SK)).0, 201);
    assert_eq!(bench.count("/v1/providers"), 2);
}

/// Fault matrix: C15, S10.
#[test]
fn a_repeat_after_a_lost_answer_finds_what_was_made() {
    let bench = Bench::empty();
    let path = "/v1/providers/openai";
    // The write happened, and the store cannot be asked about it.
    bench.world.store().faults().add("store.swap", 0, 1, Mishap::Lost);
    bench.world.store().faults().add("store.load", 1, 2, Mishap::Fails(Fault::Unavailable));
    assert_eq!(bench.again("k1", path, provider("p", SK)).0, 503);
    bench.world.store().faults().clear();
    let (status, made) = bench.again("k1", path, provider("p", SK));
    assert_eq!(status, 201);
    assert_eq!((bench.count("/v1/providers"), bench.world.store().secret_records()), (1, 1));
    let models = format!("/v1/providers/{}/models", made["uuid"].as_str().unwrap());
    assert_eq!(bench.admin("POST", &models, json!({"id": "m", "alias": "fast"})).0, 201);
    bench.world.http().push(Answer::json(200, r#"{"choices":[]}"#));
    assert_eq!(bench.fresh().chat(Value::Null).0, 200);
}

/// Fault matrix: C15.
#[test]
fn a_key_is_made_once_and_shown_twice() {
    let bench = Bench::new();
    let body = json!({"name": "app", "scopes": ["inference"]});
    let made = bench.again("k1", "/v1/keys", body.clone());
    assert_eq!((made.0, bench.again("k1", "/v1/keys", body.clone())), (201, made.clone()));
    assert_eq!(bench.fresh().again("k1", "/v1/keys", body.clone()), made);
    assert_eq!(bench.count("/v1/keys"), 2);
    let key = made.1["api_key"].as_str().unwrap();
    assert_eq!(bench.call(key, "GET", "/v1/models", Value::Null).0, 200);
    assert_eq!(bench.again("k1", "/v1/keys", json!({"name": "other"})).0, 409);
    assert_ne!(bench.again("k2", "/v1/keys", body.clone()).1["api_key"], key);
    // A revoked key does not come back.
    let id = made.1["id"].as_str().unwrap();
    assert_eq!(bench.admin("DELETE", &format!("/v1/keys/{id}"), Value::Null).0, 204);
    let again = bench.again("k1", "/v1/keys", body);
    assert_eq!(again.0, 201);
    assert_ne!(again.1["api_key"], key);
    assert_eq!(bench.call(key, "GET", "/v1/models", Value::Null).0, 401);
    assert!(!bench.world.store().dump().contains(key.split('.').nth(2).unwrap()));
}

#[test]
fn a_wrong_idempotency_key_is_refused_and_data_calls_read_none() {
    let bench = Bench::new();
    let limit = "k".repeat(crate::limits::IDEMPOTENCY_KEY_BYTES);
    let post = |key: &str| bench.again(key, "/v1/keys", json!({"name": "app"}));
    assert_eq!(post(&limit).0, 201);
    for key in ["", "a b", "é", &format!("{limit}k")] {
        let (status, answer) = post(key);
        assert_eq!((status, &answer["error"]["param"]), (400, &json!("Idempotency-Key")), "{key}");
    }
    assert_eq!(bench.count("/v1/keys"), 2);
    for _ in 0..2 {
        bench.world.http().push(Answer::json(200, r#"{"choices":[]}"#));
        let body = json!({"model": "fast", "messages": [{}]});
        assert_eq!(bench.again("a b", "/v1/chat/completions", body).0, 200);
    }
    assert_eq!(bench.world.http().take_sent().len(), 2);
}
