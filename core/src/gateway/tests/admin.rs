//! Tenants, providers, models, keys: shapes, statuses, and what tenants see of each other.

use super::*;
use crate::ports::Platform;
use crate::testing::Answer;

#[test]
fn a_tenants_life() {
    let bench = Bench::new();
    bench.world.pass(1);
    let (status, tenant) = bench.admin("POST", "/v1/tenant", json!({"name": "Second", "secrets_manager": "builtin"}));
    assert_eq!(status, 201);
    let key = tenant["api_key"].as_str().unwrap();
    assert_eq!(tenant["id"], tenant["uuid"]);
    assert_eq!(bench.call(key, "GET", "/v1/tenant", Value::Null).1["name"], "Second");
    assert_eq!(bench.admin("POST", "/v1/tenant", json!({"name": "SECOND"})).0, 409);
    assert_eq!(bench.call(key, "POST", "/v1/tenant", json!({"name": "x"})).0, 403);
    assert_eq!(bench.call(key, "PATCH", "/v1/tenant", json!({"name": "Third"})).0, 200);
    bench.world.pass(1);
    assert_eq!(bench.admin("POST", "/v1/tenant", json!({"name": "second"})).0, 201);
    assert_eq!(bench.call(key, "PUT", "/v1/tenant", json!({"name": "second"})).0, 409);
    let (_, list) = bench.admin("GET", "/v1/tenants", Value::Null);
    let names: Vec<_> = list["data"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["test", "third", "second"]);
    assert_eq!(bench.call(key, "DELETE", "/v1/tenant", Value::Null).0, 204);
    assert_eq!(bench.call(key, "GET", "/v1/tenant", Value::Null).0, 401);
    assert_eq!(bench.admin("POST", "/v1/tenant", json!({"name": "third"})).0, 201);
}

#[test]
fn the_operator_acts_for_the_tenant_named_else_for_the_first() {
    let bench = Bench::new();
    bench.world.pass(10);
    let (_, second) = bench.admin("POST", "/v1/tenant", json!({"name": "two"}));
    let named = |value: &str| {
        let mut request = request(OPERATOR, "GET", "/v1/tenant", Bytes::new());
        request.headers_mut().insert("x-gateway-tenant", value.parse().unwrap());
        let response = bench.world.run(bench.gateway.handle(bench.world.clone(), request));
        let (status, text) = bench.read(response);
        (status, serde_json::from_str::<Value>(&text).unwrap()["name"].as_str().map(str::to_owned))
    };
    assert_eq!(bench.admin("GET", "/v1/tenant", Value::Null).1["name"], "test");
    assert_eq!(named("TWO"), (200, Some("two".into())));
    assert_eq!(named(second["id"].as_str().unwrap()), (200, Some("two".into())));
    assert_eq!(named("three").0, 404);
    assert_eq!(bench.admin("DELETE", "/v1/tenant", Value::Null).0, 204);
    assert_eq!(bench.admin("GET", "/v1/tenant", Value::Null).1["name"], "two");
    assert_eq!(bench.admin("DELETE", "/v1/tenant", Value::Null).0, 204);
    let (status, body) = bench.admin("GET", "/v1/tenant", Value::Null);
    assert_eq!((status, body["error"]["code"].as_str()), (409, Some("tenant_required")));
}

#[test]
fn a_credential_is_never_seen_again() {
    let bench = Bench::new();
    let provider = &bench.provider;
    for (method, path, body) in [
        ("GET", "/v1/providers".to_owned(), Value::Null),
        ("GET", format!("/v1/providers/{provider}"), Value::Null),
        ("POST", "/v1/providers/openai".to_owned(), json!({"name": "MAIN", "data": {"apikey": SK}})),
        ("POST", "/v1/providers/openai".to_owned(), json!({"name": "b", "data": {"apikey": [SK]}})),
        ("POST", "/v1/providers/openai".to_owned(), json!({"name": "b", "data": {SK: 1}})),
        ("PUT", format!("/v1/providers/{provider}/openai"), json!({"name": "main", "data": {"apikey": SK}})),
        ("POST", "/v1/tenant/export".to_owned(), json!({})),
    ] {
        let (_, text) = bench.read(bench.send(OPERATOR, method, &path, body.to_string()));
        assert!(!text.contains("canary"), "{path}: {text}");
    }
    assert!(!bench.world.store().dump().contains("canary"));
    assert!(!bench.world.take_log().concat().contains("canary"));
}

#[test]
fn replacing_a_provider_changes_its_key_and_leaves_no_old_secret() {
    let bench = Bench::new();
    let path = format!("/v1/providers/{}/openai", bench.provider);
    assert_eq!(bench.admin("PUT", &path, json!({"name": "main", "data": {"apikey": "sk-second"}})).0, 200);
    bench.world.http().push(Answer::json(200, "{\"choices\":[]}"));
    assert_eq!(bench.chat(Value::Null).0, 200);
    let sent = bench.world.http().take_sent();
    assert!(sent[0].headers.contains(&("authorization".into(), "Bearer sk-second".into())));
    assert_eq!(bench.world.store().dump().matches("\"sealed\"").count(), 1);
    assert_eq!(bench.admin("DELETE", &format!("/v1/providers/{}", bench.provider), Value::Null).0, 204);
    assert_eq!(bench.world.store().dump().matches("\"sealed\"").count(), 0);
    assert_eq!(bench.chat(Value::Null).0, 404);
}

#[test]
fn lists_have_the_shape_of_their_mount() {
    let bench = Bench::new();
    let get = |path: &str| bench.admin("GET", path, Value::Null).1;
    assert!(get("/v1/providers").is_array());
    assert!(get("/ml/gateway/v1/providers")["data"].is_array());
    assert!(get("/v1/providers?format=list")["data"].is_array());
    assert!(get("/ml/gateway/v1/providers?format=array").is_array());
    assert_eq!(get("/v1/providers?name=nobody"), json!([]));
    let path = format!("/v1/providers/{}/models", bench.provider);
    let (status, again) = bench.admin("POST", &path, json!({"id": "gpt-4o", "alias": "fast"}));
    assert_eq!((status, again["alias"].as_str()), (200, Some("fast")));
    bench.admin("POST", &path, json!({"id": "gpt-4o-mini", "alias": "fast"}));
    let plain = get("/v1/models");
    assert_eq!(plain["data"].as_array().unwrap().len(), 1);
    assert_eq!((&plain["data"][0]["id"], plain["data"][0]["models"].as_array().unwrap().len()), (&json!("fast"), 2));
    let ibm = get("/ml/gateway/v1/models");
    assert_eq!(ibm["data"].as_array().unwrap().len(), 2);
    assert_eq!((&ibm["data"][0]["id"], &ibm["data"][0]["alias"]), (&json!("gpt-4o"), &json!("fast")));
    assert_eq!(get("/v1/models/fast")["id"], "fast");
    assert_eq!(get("/v1/models/gpt-4o-mini")["id"], "gpt-4o-mini");
}

#[test]
fn another_tenants_ids_are_as_absent_as_any() {
    let bench = Bench::new();
    let (_, other) = bench.admin("POST", "/v1/tenant", json!({"name": "b"}));
    let key = other["api_key"].as_str().unwrap();
    let (_, models) = bench.admin("GET", &format!("/v1/providers/{}/models", bench.provider), Value::Null);
    let theirs = [bench.provider.clone(), models["data"][0]["uuid"].as_str().unwrap().to_owned()];
    let unused = "00000000-0000-4000-8000-000000000000";
    for id in &theirs {
        for (method, path, body) in [
            ("GET", "/v1/providers/ID", Value::Null),
            ("DELETE", "/v1/providers/ID", Value::Null),
            ("PUT", "/v1/providers/ID/openai", json!({"name": "x", "data": {"apikey": "k"}})),
            ("GET", "/v1/providers/ID/models", Value::Null),
            ("GET", "/v1/providers/ID/models/available", Value::Null),
            ("POST", "/v1/providers/ID/models", json!({"id": "x"})),
            ("GET", "/v1/models/ID", Value::Null),
            ("DELETE", "/v1/models/ID", Value::Null),
            ("DELETE", "/v1/keys/ID", Value::Null),
            ("POST", "/v1/chat/completions", json!({"model": "ID", "messages": [{}]})),
        ] {
            let send = |id: &str| {
                let body = body.to_string().replace("ID", id);
                bench.call(key, method, &path.replace("ID", id), serde_json::from_str(&body).unwrap())
            };
            let (theirs, absent) = (send(id), send(unused));
            assert_eq!(theirs, absent, "{method} {path}");
            assert_eq!(theirs.0, 404, "{method} {path}");
        }
    }
    assert_eq!(bench.call(key, "POST", "/v1/chat/completions", json!({"model": "fast", "messages": [{}]})).0, 404);
    assert_eq!(
        bench.call(key, "POST", "/v1/providers/openai", json!({"name": "main", "data": {"apikey": "k"}})).0,
        201
    );
}

#[test]
fn keys_have_scopes_models_and_ends() {
    let bench = Bench::new();
    let make = |body: Value| bench.admin("POST", "/v1/keys", body).1["api_key"].as_str().unwrap().to_owned();
    let inference = make(json!({"name": "app"}));
    let admin = make(json!({"name": "ops", "scopes": ["admin"]}));
    let narrow = make(json!({"name": "narrow", "models": ["other"]}));
    let now = bench.world.now_ms() / 1000;
    let brief = make(json!({"name": "brief", "expires_at": now + 10}));
    let chat = json!({"model": "fast", "messages": [{}]});
    assert_eq!(bench.call(&inference, "GET", "/v1/providers", Value::Null).0, 403);
    assert_eq!(bench.call(&inference, "GET", "/v1/models", Value::Null).0, 200);
    assert_eq!(bench.call(&admin, "GET", "/v1/providers", Value::Null).0, 200);
    assert_eq!(bench.call(&admin, "POST", "/v1/chat/completions", chat.clone()).0, 403);
    assert_eq!(bench.call(&narrow, "POST", "/v1/chat/completions", chat).0, 403);
    assert_eq!(bench.call(&narrow, "GET", "/v1/models", Value::Null).1["data"], json!([]));
    assert_eq!(bench.call(&brief, "GET", "/v1/models", Value::Null).0, 200);
    bench.world.pass(10_000);
    assert_eq!(bench.call(&brief, "GET", "/v1/models", Value::Null).0, 401);
    let (_, list) = bench.admin("GET", "/v1/keys", Value::Null);
    assert_eq!(list["data"].as_array().unwrap().len(), 5);
    assert!(list["data"].as_array().unwrap().iter().all(|key| key.get("api_key").is_none()));
}

#[test]
fn a_tenant_moves_to_another_deployment() {
    let bench = Bench::new();
    let sealing = base64::engine::general_purpose::STANDARD.encode([5_u8; 32]);
    let (status, document) = bench.admin("POST", "/v1/tenant/export", json!({"sealing_key": sealing}));
    assert_eq!(status, 200);
    assert!(!document.to_string().contains("canary"));
    let target = Bench { world: World::at(1_770_000_000_000), gateway: gateway(), ..Bench::new() };
    let import = |body: Value| target.admin("POST", "/v1/tenants/import", body);
    let wrong = base64::engine::general_purpose::STANDARD.encode([6_u8; 32]);
    assert_eq!(import(json!({"document": document})).0, 400);
    assert_eq!(import(json!({"document": document, "sealing_key": wrong})).0, 400);
    let (status, made) = import(json!({"document": document, "sealing_key": sealing}));
    assert_eq!(status, 201, "{made}");
    assert_eq!(import(json!({"document": document, "sealing_key": sealing})).0, 409);
    // Both deployments share the sealing key here, so the old key works as well as the new one.
    for key in [bench.key.as_str(), made["api_key"].as_str().unwrap()] {
        target.world.http().push(Answer::json(200, "{\"choices\":[]}"));
        let body = json!({"model": "fast", "messages": [{}]});
        assert_eq!(target.call(key, "POST", "/v1/chat/completions", body).0, 200);
        let sent = target.world.http().take_sent();
        assert!(sent[0].headers.contains(&("authorization".into(), format!("Bearer {SK}"))));
    }
}

/// Fault matrix: C17.
#[test]
fn an_endpoint_that_a_provider_lacks_is_refused_without_a_call() {
    let bench = Bench::new();
    let body = json!({"name": "claude", "data": {"apikey": "k"}});
    let (status, made) = bench.admin("POST", "/v1/providers/anthropic", body);
    assert_eq!((status, made["type"].as_str()), (201, Some("anthropic")));
    let path = format!("/v1/providers/{}", made["uuid"].as_str().unwrap());
    bench.admin("POST", &format!("{path}/models"), json!({"id": "claude-3", "alias": "c"}));
    let body = json!({"model": "c", "prompt": "x"});
    let (status, answer) = bench.call(&bench.key, "POST", "/v1/completions", body);
    assert_eq!((status, answer["error"]["code"].as_str()), (400, Some("unsupported_endpoint")));
    assert!(bench.world.http().take_sent().is_empty());
    assert_eq!(
        bench.admin("POST", "/v1/providers/cerebas", json!({"name": "x", "data": {"apikey": "k"}})).1["type"],
        "cerebras"
    );
}

#[test]
fn what_leaves_for_a_provider_is_exactly_ours() {
    let bench = Bench::new();
    bench.world.http().push(Answer::json(200, "{\"choices\":[]}"));
    let body =
        json!({"model": "fast", "messages": [{}], "base_url": "https://evil.example", "api_key": "x"}).to_string();
    let mut request = request(&bench.key, "POST", "/v1/chat/completions", body.into());
    for name in ["cookie", "x-forwarded-for", "x-amz-date", "x-stainless-lang", "openai-organization", "x-api-key"] {
        request.headers_mut().insert(name, "evil".parse().unwrap());
    }
    let response = bench.world.run(bench.gateway.handle(bench.world.clone(), request));
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let sent = bench.world.http().take_sent();
    let mut names: Vec<_> = sent[0].headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept-encoding", "authorization", "content-type", "user-agent"]);
    assert_eq!(sent[0].target, "POST https://api.openai.com/v1/chat/completions");
}

#[test]
fn browsers_are_let_in_only_from_named_origins() {
    let open = |cors: Option<&str>| {
        let sealing = base64::engine::general_purpose::STANDARD.encode([7_u8; 32]);
        let lookup = |name: &str| match name {
            "GATEWAY_ADMIN_KEY" => Some(OPERATOR.to_owned()),
            "GATEWAY_SEALING_KEY" => Some(sealing.clone()),
            "CORS_ALLOW_ORIGINS" => cors.map(str::to_owned),
            _ => None,
        };
        let gateway = Gateway::new(Deployment::read(lookup, DefaultManager::Builtin).unwrap());
        let mut request = request("", "OPTIONS", "/v1/chat/completions", Bytes::new());
        request.headers_mut().insert("origin", "https://app.example".parse().unwrap());
        request.headers_mut().insert("access-control-request-method", "POST".parse().unwrap());
        let world = World::at(1);
        let response = world.run(gateway.handle(world.clone(), request));
        (response.status().as_u16(), response.headers().contains_key("access-control-allow-origin"))
    };
    assert_eq!(open(None), (401, false));
    assert_eq!(open(Some("https://other.example")), (401, false));
    assert_eq!(open(Some("https://other.example https://app.example")), (204, true));
}

#[test]
fn metadata_is_as_deep_as_it_can_be_read_back() {
    let bench = Bench::new();
    let path = format!("/v1/providers/{}/models", bench.provider);
    let nested = |depth: usize| {
        format!(r#"{{"id":"deep{depth}","metadata":{}1{}}}"#, "{\"a\":".repeat(depth), "}".repeat(depth))
    };
    for (depth, want) in [(crate::limits::METADATA_DEPTH, 201), (crate::limits::METADATA_DEPTH + 1, 400), (120, 400)] {
        let (status, text) = bench.read(bench.send(OPERATOR, "POST", &path, nested(depth)));
        assert_eq!(status, want, "{depth}: {text}");
    }
    // Another isolate has to decode it.
    let other = Bench { gateway: gateway(), ..bench };
    assert_eq!(other.admin("GET", "/v1/models", Value::Null).1["data"].as_array().unwrap().len(), 2);
}

#[test]
fn what_a_model_can_do_is_kept_changed_and_taken_away() {
    let bench = Bench::new();
    let models = format!("/v1/providers/{}/models", bench.provider);
    let said = json!({"sampling": false, "thinking": "effort"});
    let body = json!({"id": "o", "alias": "o", "capabilities": said});
    let (status, made) = bench.admin("POST", &models, body);
    assert_eq!((status, &made["capabilities"]), (201, &said));
    let path = format!("{models}/{}", made["uuid"].as_str().unwrap());
    let patched = |body: Value| bench.admin("PATCH", &path, body).1["capabilities"].clone();
    assert_eq!(patched(json!({"alias": "p"})), said);
    assert_eq!(patched(json!({"capabilities": {"images": true}})), json!({"images": true}));
    assert_eq!(patched(json!({"capabilities": null})), Value::Null);
    for (wrong, code, param) in [
        (json!({"sampling": "no"}), "invalid_request", Some("capabilities.sampling")),
        (json!({"thinking": "deep"}), "invalid_request", Some("capabilities.thinking")),
        (json!({"colour": 1}), "unknown_field", Some("capabilities")),
        (json!([]), "invalid_request", Some("capabilities")),
    ] {
        let (status, answer) = bench.admin("PATCH", &path, json!({"capabilities": wrong}));
        let error = &answer["error"];
        assert_eq!((status, error["code"].as_str(), error["param"].as_str()), (400, Some(code), param), "{wrong}");
    }
}
