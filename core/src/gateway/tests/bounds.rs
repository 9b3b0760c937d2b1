//! How long a cached thing may be believed, and what a failing store may and may not do.

use super::*;
use crate::limits::{CONFIRM_FIRST_MS, CONFIRM_SOON_MS, SECRET_FRESH_MS, STALE_IF_ERROR_MS};
use crate::ports::Platform;
use crate::testing::{Answer, Chunk};

const OK: &str = r#"{"choices":[]}"#;

/// One chat; the status and how many calls the store got.
fn chat(bench: &Bench) -> (u16, u32) {
    let before = bench.world.store().calls();
    let body = vec![Chunk::Wait(5), OK.into()];
    bench.world.http().push(Answer::with(200, "application/json", body));
    let (status, _) = bench.chat(Value::Null);
    (status, bench.world.store().calls() - before)
}

/// Another isolate over the same stores.
fn elsewhere(bench: &Bench) -> Bench {
    Bench { world: bench.world.clone(), gateway: gateway(), key: bench.key.clone(), provider: bench.provider.clone() }
}

#[test]
fn a_warm_request_reads_no_store() {
    let bench = Bench::new();
    chat(&bench);
    assert_eq!(chat(&bench), (200, 0));
    bench.world.pass(CONFIRM_SOON_MS - 20);
    assert_eq!(chat(&bench), (200, 0));
}

#[test]
fn a_forged_key_reads_no_store() {
    let bench = Bench::new();
    let before = bench.world.store().calls();
    let mut forged = bench.key.clone();
    forged.pop();
    forged.push(if bench.key.ends_with('A') { 'B' } else { 'A' });
    for key in [forged.as_str(), "mg.x.y.z", "sk-123", ""] {
        assert_eq!(bench.call(key, "GET", "/v1/models", Value::Null).0, 401, "{key}");
    }
    assert_eq!(bench.world.store().calls(), before);
}

/// Fault matrix: S4.
#[test]
fn a_revoked_key_stops_within_the_bound_everywhere_and_at_once_here() {
    let bench = Bench::new();
    let other = elsewhere(&bench);
    let (_, made) = bench.admin("POST", "/v1/keys", json!({"name": "app"}));
    let (key, id) = (made["api_key"].as_str().unwrap(), made["id"].as_str().unwrap());
    // A new key works at once, here and elsewhere.
    assert_eq!(bench.call(key, "GET", "/v1/models", Value::Null).0, 200);
    assert_eq!(other.call(key, "GET", "/v1/models", Value::Null).0, 200);
    assert_eq!(bench.admin("DELETE", &format!("/v1/keys/{id}"), Value::Null).0, 204);
    assert_eq!(bench.call(key, "GET", "/v1/models", Value::Null).0, 401);
    let chat = || {
        let body = json!({"model": "fast", "messages": [{}]});
        other.world.http().push(Answer::json(200, OK));
        other.call(key, "POST", "/v1/chat/completions", body).0
    };
    assert_eq!(chat(), 200);
    bench.world.pass(CONFIRM_FIRST_MS);
    assert_eq!(chat(), 401);
}

/// Fault matrix: S5.
#[test]
fn what_was_made_elsewhere_is_known_at_once() {
    let bench = Bench::new();
    let other = elsewhere(&bench);
    assert_eq!(chat(&other).0, 200);
    let (_, made) = bench.admin("POST", "/v1/providers/openai", json!({"name": "new", "data": {"apikey": "k"}}));
    let path = format!("/v1/providers/{}/models", made["uuid"].as_str().unwrap());
    assert_eq!(other.admin("GET", "/v1/providers", Value::Null).1.as_array().unwrap().len(), 2);
    assert_eq!(other.admin("POST", &path, json!({"id": "m2"})).0, 201);
    // The first isolate has not heard of the model yet.
    bench.world.http().push(Answer::json(200, OK));
    let body = json!({"model": "m2", "messages": [{}]});
    assert_eq!(bench.call(&bench.key, "POST", "/v1/chat/completions", body).0, 200);
}

#[test]
fn the_operator_finds_the_next_default_tenant_when_the_first_was_deleted_elsewhere() {
    let bench = Bench::new();
    let other = elsewhere(&bench);
    assert_eq!(other.admin("GET", "/v1/tenant", Value::Null).1["name"], "test");
    bench.world.pass(1);
    assert_eq!(bench.admin("POST", "/v1/tenant", json!({"name": "next"})).0, 201);
    assert_eq!(bench.admin("DELETE", "/v1/tenant", Value::Null).0, 204);
    assert_eq!(other.admin("GET", "/v1/tenant", Value::Null).1["name"], "next");
}

/// Fault matrix: P8, P9.
#[test]
fn a_provider_replaced_or_removed_elsewhere_is_no_fault_of_its_callers() {
    let bench = Bench::new();
    // Knows the head, but not the credential yet.
    let other = elsewhere(&bench);
    assert_eq!(other.call(&bench.key, "GET", "/v1/models", Value::Null).0, 200);
    let path = format!("/v1/providers/{}/openai", bench.provider);
    assert_eq!(bench.admin("PUT", &path, json!({"name": "main", "data": {"apikey": "sk-new"}})).0, 200);
    assert_eq!(chat(&other).0, 200);
    let third = elsewhere(&bench);
    assert_eq!(third.call(&bench.key, "GET", "/v1/models", Value::Null).0, 200);
    assert_eq!(bench.admin("DELETE", &format!("/v1/providers/{}", bench.provider), Value::Null).0, 204);
    let (status, text) = third.chat(Value::Null);
    assert_eq!((status, code(&text).as_str()), (404, "model_not_found"));
}

#[test]
fn an_ageing_entry_is_confirmed_beside_the_call() {
    let bench = Bench::new();
    let other = elsewhere(&bench);
    chat(&other);
    let path = format!("/v1/providers/{}/models", bench.provider);
    bench.admin("POST", &path, json!({"id": "new"}));
    bench.world.pass(CONFIRM_SOON_MS);
    let (status, calls) = chat(&other);
    assert_eq!((status, calls), (200, 1));
    // What was learnt beside that call serves the next one, without a call of its own.
    other.world.http().push(Answer::json(200, OK));
    let body = json!({"model": "new", "messages": [{}]});
    assert_eq!(other.call(&bench.key, "POST", "/v1/chat/completions", body).0, 200);
}

/// Fault matrix: S1, S2.
#[test]
fn while_the_store_is_down_warm_tenants_are_served_and_cold_ones_get_503() {
    let bench = Bench::new();
    let cold = elsewhere(&bench);
    chat(&bench);
    bench.world.store().set_down(true);
    let (status, body) = cold.call(&bench.key, "GET", "/v1/models", Value::Null);
    assert_eq!((status, body["error"]["code"].as_str()), (503, Some("store_unavailable")));
    bench.world.pass(CONFIRM_FIRST_MS);
    bench.world.take_log();
    let (status, first) = chat(&bench);
    assert_eq!(status, 200);
    assert!(first > 0);
    assert!(bench.world.take_log().iter().any(|line| line.contains("\"stale\":true")));
    // A failing store is not asked by every request.
    assert_eq!(chat(&bench), (200, 0));
    bench.world.pass(SECRET_FRESH_MS - CONFIRM_FIRST_MS - 1_000);
    assert_eq!(chat(&bench).0, 200);
    bench.world.pass(STALE_IF_ERROR_MS);
    assert_eq!(chat(&bench).0, 503);
    bench.world.store().set_down(false);
    assert_eq!(chat(&bench).0, 200);
}

/// Fault matrix: S1.
#[test]
fn an_outage_is_never_a_401() {
    let bench = Bench::new();
    let cold = elsewhere(&bench);
    bench.world.store().set_down(true);
    for (method, path) in
        [("GET", "/v1/models"), ("GET", "/v1/tenant"), ("POST", "/v1/chat/completions"), ("GET", "/nowhere")]
    {
        assert_eq!(cold.call(&bench.key, method, path, Value::Null).0, 503, "{path}");
    }
    assert_eq!(cold.call("", "GET", "/readyz", Value::Null).0, 503);
    assert_eq!(cold.call("", "GET", "/healthz", Value::Null).0, 200);
}

#[test]
fn a_wrong_sealing_key_fails_closed() {
    let bench = Bench::new();
    let sealing = base64::engine::general_purpose::STANDARD.encode([8_u8; 32]);
    let previous = base64::engine::general_purpose::STANDARD.encode([7_u8; 32]);
    let other = |previous: Option<String>| {
        let lookup = |name: &str| match name {
            "GATEWAY_ADMIN_KEY" => Some(OPERATOR.to_owned()),
            "GATEWAY_SEALING_KEY" => Some(sealing.clone()),
            "GATEWAY_SEALING_KEY_PREVIOUS" => previous.clone(),
            _ => None,
        };
        let gateway = Gateway::new(Deployment::read(lookup, DefaultManager::Builtin).unwrap());
        Bench { world: bench.world.clone(), gateway, key: OPERATOR.into(), provider: bench.provider.clone() }
    };
    let before = bench.world.store().dump();
    let (status, text) = other(None).chat(Value::Null);
    assert_eq!((status, code(&text).as_str()), (503, "secrets_unavailable"));
    assert_eq!(bench.world.store().dump(), before);
    let rotated = other(Some(previous));
    rotated.world.http().push(Answer::json(200, OK));
    assert_eq!(rotated.chat(Value::Null).0, 200);
}

/// Fault matrix: P3.
#[test]
fn a_crash_between_the_steps_of_a_create_leaves_nothing_visible() {
    let bench = Bench::new();
    // The name is reserved, and then nothing follows.
    let now = bench.world.now_ms();
    let entry = crate::registry::NameEntry::pending(crate::model::TenantId::from_random([3; 16]), now, now);
    bench.world.run(async {
        use crate::ports::Store;
        bench.world.store().swap_name("half", None, Some(entry.encode())).await.unwrap();
    });
    let (_, list) = bench.admin("GET", "/v1/tenants", Value::Null);
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    assert_eq!(bench.admin("POST", "/v1/tenant", json!({"name": "Half"})).0, 409);
    bench.world.pass(crate::limits::ORPHAN_MS);
    assert_eq!(bench.admin("POST", "/v1/tenant", json!({"name": "Half"})).0, 201);
}

/// Fault matrix: P3.
#[test]
fn secrets_without_a_provider_are_swept() {
    let bench = Bench::new();
    let (_, tenant) = bench.admin("GET", "/v1/tenant", Value::Null);
    let tenant = crate::model::TenantId::parse(tenant["id"].as_str().unwrap()).unwrap();
    bench.world.run(async {
        use crate::ports::Store;
        let record = Bytes::from(format!(r#"{{"schema":1,"written":{},"sealed":"x"}}"#, bench.world.now_ms()));
        bench.world.store().put_secret(tenant, "orphan", record).await.unwrap();
    });
    assert_eq!(bench.world.run(bench.gateway.sweep(bench.world.clone())).removed, 0);
    bench.world.pass(crate::limits::ORPHAN_MS);
    assert_eq!(bench.world.run(bench.gateway.sweep(bench.world.clone())).removed, 1);
    assert_eq!(chat(&bench).0, 200);
}

#[test]
fn the_limit_that_a_deployment_wants_is_asked_for_once() {
    let bench = Bench::empty();
    let data = json!({"name": "azure", "data": {"apikey": "k", "resource_name": "my-res"}});
    let uuid = bench.admin("POST", "/v1/providers/azure-openai", data).1["uuid"].as_str().unwrap().to_owned();
    let models = format!("/v1/providers/{uuid}/models");
    let model = bench.admin("POST", &models, json!({"id": "reasoner", "alias": "fast"})).1["uuid"].clone();
    let refusal =
        json!({"error": {"message": "m", "param": "max_tokens", "code": "unsupported_parameter"}}).to_string();
    let limits = |bench: &Bench| {
        bench.chat(json!({"max_tokens": 7}));
        let sent = bench.world.http().take_sent();
        let limit = |sent: crate::testing::Sent| {
            let body: Value = serde_json::from_slice(&sent.body).unwrap();
            if body["max_tokens"] == 7 { "old" } else { "new" }
        };
        sent.into_iter().map(limit).collect::<Vec<_>>()
    };
    bench.world.http().push(Answer::json(400, refusal.clone()));
    bench.world.http().push(Answer::json(200, OK));
    assert_eq!(limits(&bench), ["old", "new"]);
    bench.world.http().push(Answer::json(200, OK));
    assert_eq!(limits(&bench), ["new"]);
    // Another id may be another model.
    let path = format!("{models}/{}", model.as_str().unwrap());
    assert_eq!(bench.admin("PATCH", &path, json!({"id": "chatter"})).0, 200);
    bench.world.http().push(Answer::json(200, OK));
    assert_eq!(limits(&bench), ["old"]);
    // What says it a second time is not asked a third time.
    bench.world.http().push(Answer::json(400, refusal.clone()));
    bench.world.http().push(Answer::json(400, refusal));
    assert_eq!(limits(&bench), ["old", "new"]);
}
