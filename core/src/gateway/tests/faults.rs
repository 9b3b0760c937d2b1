//! Faults of the store and of the secrets manager: what the client sees, what is asked how often, what is left behind.

use super::*;
use crate::deployment::DefaultManager;
use crate::limits::{CONFIRM_FIRST_MS, ORPHAN_MS, SECRET_FRESH_MS, SECRET_HARD_MS, TOKEN_FAILED_MS};
use crate::ports::{Fault, Platform};
use crate::testing::{Answer, Mishap, Record};

const OK: &str = r#"{"choices":[]}"#;

/// What one request came to.
#[derive(Debug)]
struct Seen {
    status: u16,
    code: String,
    body: Value,
    retry_after: Option<String>,
    /// Calls of the store.
    store: u32,
    /// Calls of the secrets manager.
    manager: u32,
    /// Calls of providers.
    upstream: usize,
    line: Value,
}

fn gateway_of(manager: DefaultManager) -> Gateway {
    let sealing = base64::engine::general_purpose::STANDARD.encode([7_u8; 32]);
    let lookup = |name: &str| match name {
        "GATEWAY_ADMIN_KEY" => Some(OPERATOR.to_owned()),
        "GATEWAY_SEALING_KEY" => Some(sealing.clone()),
        _ => None,
    };
    Gateway::new(Deployment::read(lookup, manager).unwrap())
}

impl Bench {
    /// As [`Bench::new`], with credentials in the account's secrets manager.
    fn with_manager() -> Self {
        let gateway = gateway_of(DefaultManager::Aws);
        let world = World::at(1_760_000_000_000);
        let mut bench = Self { world, gateway, key: String::new(), provider: String::new() };
        bench.key =
            bench.admin("POST", "/v1/tenant", json!({"name": "test"})).1["api_key"].as_str().unwrap().to_owned();
        let provider = bench.admin("POST", "/v1/providers/openai", json!({"name": "main", "data": {"apikey": SK}}));
        bench.provider = provider.1["uuid"].as_str().unwrap().to_owned();
        let path = format!("/v1/providers/{}/models", bench.provider);
        assert_eq!(bench.admin("POST", &path, json!({"id": "gpt-4o", "alias": "fast"})).0, 201);
        bench.world.take_log();
        bench
    }

    fn see(&self, key: &str, method: &str, path: &str, body: Value) -> Seen {
        self.world.take_log();
        self.world.http().take_sent();
        let (store, manager) = (self.world.store().calls(), self.world.manager().calls());
        let bytes = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let response = self.send(key, method, path, bytes);
        let retry_after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        let (status, text) = self.read(response);
        let lines = self.world.take_log();
        assert!(!lines.concat().contains("canary") && !text.contains("canary"), "{lines:?} {text}");
        let line = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let line: Vec<_> = line.filter(|line| line["http.route"].is_string()).collect();
        assert_eq!(line.len(), 1, "{lines:?}");
        Seen {
            status,
            code: code(&text),
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
            retry_after,
            store: self.world.store().calls() - store,
            manager: self.world.manager().calls() - manager,
            upstream: self.world.http().take_sent().len(),
            line: line[0].clone(),
        }
    }

    fn chats(&self) -> Seen {
        self.world.http().push(Answer::json(200, OK));
        self.see(&self.key, "POST", "/v1/chat/completions", json!({"model": "fast", "messages": [{}]}))
    }

    /// Another isolate, that remembers nothing.
    fn cold(&self) -> Self {
        let gateway = gateway_of(DefaultManager::Builtin);
        Self { world: self.world.clone(), gateway, key: self.key.clone(), provider: self.provider.clone() }
    }

    fn add_provider(&self, name: &str) -> Seen {
        self.see(OPERATOR, "POST", "/v1/providers/openai", json!({"name": name, "data": {"apikey": SK}}))
    }

    fn provider_names(&self) -> Vec<String> {
        let list = self.cold().admin("GET", "/v1/providers", Value::Null).1;
        list.as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap().to_owned()).collect()
    }
}

/// Fault matrix: S1.
#[test]
fn a_store_that_does_not_answer_is_asked_twice_and_is_a_503() {
    let bench = Bench::new();
    for (fault, calls) in [(Fault::Unavailable, 2), (Fault::Throttled, 2), (Fault::Overloaded, 1), (Fault::Denied, 1)] {
        let cold = bench.cold();
        cold.world.store().faults().always("store.load", fault);
        let seen = cold.chats();
        assert_eq!((seen.status, seen.code.as_str()), (503, "store_unavailable"), "{fault:?}");
        assert_eq!((seen.retry_after.as_deref(), seen.store, seen.upstream), (Some("1"), calls, 0), "{fault:?}");
        assert_eq!(
            (seen.line["level"].as_str(), seen.line["error.type"].as_str()),
            (Some("error"), Some("store_unavailable"))
        );
        assert!(seen.line["cause"].as_str().unwrap().starts_with("store.load: "), "{}", seen.line);
        cold.world.store().faults().clear();
        assert_eq!(cold.chats().status, 200);
    }
    // Once is not noticed.
    let cold = bench.cold();
    cold.world.store().faults().once("store.load", Fault::Throttled);
    assert_eq!(cold.chats().status, 200);
}

/// Fault matrix: S2.
#[test]
fn what_is_known_is_served_while_the_store_is_down() {
    let bench = Bench::new();
    assert_eq!(bench.chats().status, 200);
    bench.world.store().faults().always("store.load", Fault::Unavailable);
    bench.world.pass(CONFIRM_FIRST_MS);
    let seen = bench.chats();
    assert_eq!((seen.status, seen.upstream), (200, 1));
    assert_eq!((seen.line["level"].as_str(), &seen.line["stale"]), (Some("warn"), &json!(true)));
    // A change is never made on what may be old.
    let seen = bench.add_provider("other");
    assert_eq!((seen.status, seen.code.as_str(), seen.retry_after.as_deref()), (503, "store_unavailable", Some("1")));
}

/// Fault matrix: S6.
#[test]
fn a_record_that_cannot_be_understood_is_a_500_and_never_absent() {
    for (record, bytes) in [
        (Record::Heads, &b"{\"schema\":1"[..]),
        (Record::Heads, b"{}"),
        (Record::Heads, b"{\"schema\":99}"),
        (Record::Keys, b"not a record"),
        (Record::Names, b"[]"),
    ] {
        let bench = Bench::new();
        let cold = bench.cold();
        bench.world.store().spoil(record, bytes);
        let before = bench.world.store().dump();
        let seen = if record == Record::Names {
            // Not free for another one because nobody can read whose it is.
            cold.see(OPERATOR, "POST", "/v1/tenant", json!({"name": "TEST"}))
        } else {
            cold.chats()
        };
        assert_eq!((seen.status, seen.code.as_str(), seen.upstream), (500, "internal_error", 0), "{record:?}");
        assert_eq!(seen.line["level"], "error");
        assert!(seen.line["cause"].as_str().unwrap().contains("undecodable"), "{}", seen.line);
        assert_eq!(bench.world.store().dump(), before, "{record:?}");
    }
}

/// Fault matrix: S6, S20.
#[test]
fn a_secret_record_that_cannot_be_understood_is_the_providers_fault_to_the_client() {
    for bytes in [&b"{}"[..], b"nonsense", b"{\"schema\":1,\"written\":1}"] {
        let bench = Bench::new();
        let cold = bench.cold();
        bench.world.store().spoil(Record::Secrets, bytes);
        let seen = cold.chats();
        assert_eq!((seen.status, seen.code.as_str(), seen.upstream), (502, "upstream_auth_failed", 0));
    }
}

/// Fault matrix: S14, S15, S16, S17.
#[test]
fn a_secrets_manager_that_fails() {
    let bench = Bench::with_manager();
    assert_eq!(bench.chats().status, 200);
    let mut texts = Vec::new();
    for (fault, calls) in [(Fault::Unavailable, 2), (Fault::Throttled, 2), (Fault::Denied, 1)] {
        bench.world.manager().faults().always("manager.read", fault);
        let cold = bench.cold().chats();
        assert_eq!((cold.status, cold.code.as_str(), cold.upstream), (503, "secrets_unavailable", 0), "{fault:?}");
        assert_eq!((cold.manager, cold.retry_after.as_deref()), (calls, Some("5")), "{fault:?}");
        assert_eq!(cold.line["level"], "error");
        texts.push(cold.body.to_string());
        bench.world.manager().faults().clear();
    }
    // The client cannot tell which it was.
    texts.dedup();
    assert_eq!(texts.len(), 1);
    // Once is not noticed.
    bench.world.manager().faults().once("manager.read", Fault::Throttled);
    assert_eq!(bench.cold().chats().status, 200);
}

/// Fault matrix: S14.
#[test]
fn a_known_credential_outlives_its_manager_for_a_while() {
    let bench = Bench::with_manager();
    assert_eq!(bench.chats().manager, 0, "who made it knows it");
    bench.world.manager().faults().always("manager.read", Fault::Unavailable);
    bench.world.pass(SECRET_FRESH_MS);
    let seen = bench.chats();
    assert_eq!((seen.status, seen.upstream, &seen.line["stale"]), (200, 1, &json!(true)));
    assert_eq!(seen.line["level"], "warn");
    bench.world.pass(SECRET_HARD_MS - SECRET_FRESH_MS);
    assert_eq!(bench.chats().code, "secrets_unavailable");
    bench.world.manager().faults().clear();
    bench.world.pass(TOKEN_FAILED_MS);
    assert_eq!(bench.chats().status, 200);
}

/// Fault matrix: S18, S20.
#[test]
fn a_secret_that_is_gone_or_something_else() {
    let bench = Bench::with_manager();
    bench.world.manager().faults().always("manager.read", Fault::Missing);
    let seen = bench.cold().chats();
    assert_eq!((seen.status, seen.code.as_str(), seen.upstream), (502, "upstream_auth_failed", 0));
    assert_eq!(seen.line["level"], "error");
    bench.world.manager().faults().clear();
    bench.world.manager().rotate("sk-canary-in-another-form");
    let seen = bench.cold().chats();
    assert_eq!((seen.status, seen.code.as_str(), seen.upstream), (502, "upstream_auth_failed", 0));
}

/// Fault matrix: S19.
#[test]
fn a_secret_that_was_rotated_outside_is_read_again_once_the_old_one_is_refused() {
    let bench = Bench::with_manager();
    assert_eq!(bench.chats().status, 200);
    bench.world.manager().rotate(r#"{"apikey":"sk-rotated"}"#);
    assert_eq!(bench.chats().manager, 0, "nobody knows yet");
    bench.world.http().push(Answer::json(401, "{}"));
    bench.see(&bench.key, "POST", "/v1/chat/completions", json!({"model": "fast", "messages": [{}]}));
    bench.world.http().push(Answer::json(200, OK));
    let body = json!({"model": "fast", "messages": [{}]});
    assert_eq!(bench.call(&bench.key, "POST", "/v1/chat/completions", body).0, 200);
    let sent = bench.world.http().take_sent();
    assert!(sent.last().unwrap().headers.contains(&("authorization".into(), "Bearer sk-rotated".into())));
    assert_eq!(bench.chats().manager, 0);
}

/// Fault matrix: P1, P2, P3.
#[test]
fn a_provider_whose_record_cannot_be_written_does_not_exist_and_leaves_no_secret() {
    for bench in [Bench::new(), Bench::with_manager()] {
        let kept = (bench.world.store().secret_records(), bench.world.manager().names());
        bench.world.store().faults().always("store.swap", Fault::Unavailable);
        let seen = bench.add_provider("second");
        assert_eq!(
            (seen.status, seen.code.as_str(), seen.retry_after.as_deref()),
            (503, "store_unavailable", Some("1"))
        );
        assert_eq!(seen.line["level"], "error");
        bench.world.store().faults().clear();
        assert_eq!(bench.provider_names(), ["main"]);
        // The secret went at once.
        assert_eq!((bench.world.store().secret_records(), bench.world.manager().names()), kept);
        assert_eq!(bench.add_provider("second").status, 201);
    }
}

/// Fault matrix: P1, P3.
#[test]
fn a_secret_that_cannot_be_removed_is_swept_later() {
    for bench in [Bench::new(), Bench::with_manager()] {
        let kept = (bench.world.store().secret_records(), bench.world.manager().names());
        // As if the process had ended between the steps: nothing works any more.
        for operation in ["store.swap", "store.load", "store.delete_secret"] {
            bench.world.store().faults().add(
                operation,
                u32::from(operation == "store.load"),
                u32::MAX,
                Mishap::Fails(Fault::Unavailable),
            );
        }
        bench.world.manager().faults().always("manager.delete", Fault::Unavailable);
        assert_eq!(bench.add_provider("second").code, "store_unavailable");
        bench.world.store().faults().clear();
        bench.world.manager().faults().clear();
        assert_eq!(bench.provider_names(), ["main"]);
        assert_eq!(bench.world.store().secret_records(), kept.0 + 1, "left behind");
        bench.world.pass(ORPHAN_MS);
        assert_eq!(bench.world.run(bench.gateway.sweep(bench.world.clone())).removed, 1);
        assert_eq!((bench.world.store().secret_records(), bench.world.manager().names()), kept);
        assert_eq!(bench.chats().status, 200);
    }
}

/// Fault matrix: P1, P2.
#[test]
fn a_provider_whose_secret_cannot_be_written_does_not_exist() {
    let bench = Bench::with_manager();
    for fault in [Fault::Unavailable, Fault::Denied, Fault::Throttled] {
        bench.world.manager().faults().always("manager.put", fault);
        let seen = bench.add_provider("second");
        assert_eq!((seen.status, seen.code.as_str()), (503, "secrets_unavailable"), "{fault:?}");
        bench.world.manager().faults().clear();
        assert_eq!(bench.provider_names(), ["main"]);
    }
    let bench = Bench::new();
    bench.world.store().faults().always("store.put_secret", Fault::Unavailable);
    assert_eq!(bench.add_provider("second").code, "store_unavailable");
    assert_eq!(bench.provider_names(), ["main"]);
}

/// Fault matrix: S10.
#[test]
fn a_write_whose_answer_is_lost_is_reported_as_what_is_true() {
    for bench in [Bench::new(), Bench::with_manager()] {
        bench.world.store().faults().add("store.swap", 0, 1, Mishap::Lost);
        let seen = bench.add_provider("second");
        assert_eq!(seen.status, 201, "{}", seen.body);
        assert_eq!(bench.provider_names(), ["main", "second"]);
        // And its secret is there.
        let path = format!("/v1/providers/{}/models", seen.body["uuid"].as_str().unwrap());
        assert_eq!(bench.admin("POST", &path, json!({"id": "m", "alias": "second"})).0, 201);
        bench.world.http().push(Answer::json(200, OK));
        let body = json!({"model": "second", "messages": [{}]});
        assert_eq!(bench.cold().call(&bench.key, "POST", "/v1/chat/completions", body).0, 200);
    }
}

/// Fault matrix: P11.
#[test]
fn a_deletion_whose_secret_stays_behind_is_one_and_the_sweep_finishes_it() {
    for bench in [Bench::new(), Bench::with_manager()] {
        bench.world.store().faults().always("store.delete_secret", Fault::Unavailable);
        bench.world.manager().faults().always("manager.delete", Fault::Unavailable);
        let seen = bench.see(OPERATOR, "DELETE", &format!("/v1/providers/{}", bench.provider), Value::Null);
        assert_eq!((seen.status, seen.store > 0), (204, true));
        assert!(seen.line["cause"].as_str().unwrap().starts_with("secret left to the sweep: "), "{}", seen.line);
        assert_eq!(bench.chats().status, 404);
        bench.world.store().faults().clear();
        bench.world.manager().faults().clear();
        bench.world.pass(ORPHAN_MS);
        assert_eq!(bench.world.run(bench.gateway.sweep(bench.world.clone())).removed, 1);
        assert_eq!((bench.world.store().secret_records(), bench.world.manager().names().len()), (0, 0));
    }
}

/// Fault matrix: S8, S9.
#[test]
fn a_change_that_loses_is_made_again_and_one_that_is_refused_is_a_503() {
    let bench = Bench::new();
    let other = bench.cold();
    // Both know version 3; the other one's change comes first.
    assert_eq!(other.add_provider("theirs").status, 201);
    assert_eq!(bench.add_provider("ours").status, 201);
    assert_eq!(bench.provider_names(), ["main", "theirs", "ours"]);
    assert_eq!(bench.add_provider("THEIRS").code, "conflict");
    bench.world.store().faults().always("store.swap", Fault::Throttled);
    let seen = bench.add_provider("third");
    assert_eq!((seen.status, seen.code.as_str(), seen.retry_after.as_deref()), (503, "store_unavailable", Some("1")));
}

/// Fault matrix: P7.
#[test]
fn a_name_is_free_again_though_the_old_secret_is_not() {
    let bench = Bench::with_manager();
    let old = bench.world.manager().names();
    // A manager that only schedules deletions keeps the old name taken.
    bench.world.manager().faults().always("manager.delete", Fault::Unavailable);
    assert_eq!(bench.admin("DELETE", &format!("/v1/providers/{}", bench.provider), Value::Null).0, 204);
    assert_eq!(bench.add_provider("main").status, 201);
    let names = bench.world.manager().names();
    assert_eq!(names.len(), 2);
    assert!(names.contains(&old[0]));
}

/// Fault matrix: P9.
#[test]
fn a_provider_that_is_deleted_while_it_is_called_is_not_missed() {
    let bench = Bench::over(&[json!({}), json!({"priority": 1})]);
    let providers = bench.admin("GET", "/v1/providers", Value::Null).1;
    // The first target's credential is gone before it was read: its provider was deleted elsewhere.
    let other = bench.fresh();
    assert_eq!(other.call(&bench.key, "GET", "/v1/models", Value::Null).0, 200);
    let first = providers[0]["uuid"].as_str().unwrap();
    assert_eq!(bench.admin("DELETE", &format!("/v1/providers/{first}"), Value::Null).0, 204);
    bench.world.http().push(Answer::json(200, OK));
    bench.world.take_log();
    let seen = other.ask(json!({}), &[]);
    assert_eq!((seen.status, seen.called), (200, vec!["p1".to_owned()]));
}

/// Fault matrix: R17.
#[test]
fn a_request_makes_ten_calls_at_most() {
    let four = [json!({}), json!({}), json!({}), json!({})];
    // A cold isolate, a store and providers that fail as often as that is put up with.
    let bench = Bench::over(&four).fresh();
    bench.world.store().faults().once("store.load", Fault::Unavailable);
    for _ in 0..4 {
        bench.world.http().push(Answer::json(500, "{}"));
    }
    let before = bench.world.store().calls();
    let seen = bench.ask(json!({}), &[]);
    let (store, upstream) = (bench.world.store().calls() - before, seen.called.len());
    assert_eq!((seen.status, store, upstream), (502, 5, 3), "two for the head, one for each credential");
    // Of a cold management call, as the operator by the tenant's name.
    let bench = Bench::with_manager();
    let cold = bench.cold();
    let seen = cold.add_provider("second");
    assert_eq!(seen.status, 201);
    assert!(seen.store + seen.manager <= 10, "{} and {}", seen.store, seen.manager);
}
