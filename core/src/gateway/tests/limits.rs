//! Rate limits through the whole of core: CRUD, what is counted when, and what clients are told.

use super::failover::Seen;
use super::*;
use crate::limits;
use crate::ports::Platform;
use crate::testing::Answer;

const OK: &str = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],
    "usage":{"prompt_tokens":20,"completion_tokens":10,"total_tokens":30}}"#;

impl Bench {
    fn limit(&self, body: Value) -> Value {
        let (status, answer) = self.admin("POST", "/v1/rate-limits", body);
        assert_eq!(status, 201, "{answer}");
        answer
    }

    /// One chat; its upstream answers with 30 tokens. Deferred work is carried out, as a runtime does.
    fn one(&self) -> Seen {
        self.world.http().push(Answer::json(200, OK));
        let seen = self.ask(json!({}), &[]);
        self.world.http().clear();
        self.carry_out();
        seen
    }

    fn carry_out(&self) -> bool {
        let work = self.world.take_deferred();
        self.world.run(self.gateway.carry_out(&self.world, work, 1_000))
    }

    fn statuses(&self, calls: usize) -> Vec<u16> {
        (0..calls).map(|_| self.one().status).collect()
    }

    /// The record of the tenant's buckets.
    fn record(&self) -> String {
        let tenant = self.admin("GET", "/v1/tenant", Value::Null).1["id"].as_str().unwrap().to_owned();
        let record = self.world.buckets().record(crate::model::TenantId::parse(&tenant).unwrap());
        String::from_utf8(record.unwrap().to_vec()).unwrap()
    }

    fn models(&self) -> Vec<Value> {
        self.admin("GET", "/ml/gateway/v1/models", Value::Null).1["data"].as_array().unwrap().clone()
    }
}

fn bucket(capacity: u64, amount: u64, duration: &str) -> Value {
    json!({"capacity": capacity, "amount": amount, "duration": duration})
}

#[test]
fn limits_are_made_read_replaced_and_removed() {
    let bench = Bench::new();
    let model = bench.models()[0]["uuid"].clone();
    let made = bench.limit(json!({"type": "model", "modelId": model, "request": bucket(60, 10, "1m"), "token": null}));
    let uuid = made["uuid"].as_str().unwrap();
    let mut want = json!({"uuid": uuid, "type": "model", "model_uuid": model, "request": bucket(60, 10, "1m"),
        "created_at": 1_760_000_000, "updated_at": 1_760_000_000});
    assert_eq!(made, want);
    // Ids that the type has no use for are passed over.
    let tenant = bench.limit(json!({"type": "tenant", "modelId": "x", "token": bucket(5, 5, "1h30m")}));
    assert_eq!(tenant["model_uuid"], Value::Null);
    let list = bench.admin("GET", "/v1/rate-limits", Value::Null).1;
    assert_eq!(list, json!({"object": "list", "data": [made, tenant]}));
    let path = format!("/v1/rate-limits/{uuid}");
    bench.world.pass(5_000);
    let token = bucket(100, 1, "1d");
    let replaced = bench.admin("PUT", &path, json!({"type": "model", "model_uuid": model, "token": token}));
    want["updated_at"] = json!(1_760_000_005);
    want["token"] = token;
    want.as_object_mut().unwrap().remove("request");
    assert_eq!(replaced, (200, want.clone()));
    assert_eq!(bench.admin("GET", &path, Value::Null), (200, want));
    assert_eq!(bench.admin("DELETE", &path, Value::Null).0, 204);
    for method in ["GET", "DELETE"] {
        assert_eq!(bench.admin(method, &path, Value::Null).0, 404, "{method}");
    }
    // What it was for is gone, and so is the limit.
    let provider =
        bench.limit(json!({"type": "provider", "provider_id": bench.provider, "request": bucket(1, 1, "1s")}));
    assert_eq!(provider["provider_uuid"], json!(bench.provider));
    bench.limit(json!({"type": "model", "model_id": model, "request": bucket(1, 1, "1s")}));
    assert_eq!(bench.admin("DELETE", &format!("/v1/providers/{}", bench.provider), Value::Null).0, 204);
    assert_eq!(bench.admin("GET", "/v1/rate-limits", Value::Null).1["data"], json!([tenant]));
}

#[test]
fn wrong_limits_are_refused_by_name() {
    let bench = Bench::new();
    let most = limits::BUCKET;
    let good = bucket(most, most, "366d");
    bench.limit(json!({"type": "tenant", "request": good}));
    for (body, status, param) in [
        (json!({}), 400, json!("type")),
        (json!({"type": "moon"}), 400, json!("type")),
        (json!({"type": "tenant"}), 400, json!("request")),
        (json!({"type": "tenant", "request": bucket(9, 0, "1m")}), 400, json!("request")),
        (json!({"type": "tenant", "request": 5}), 400, json!("request")),
        (json!({"type": "tenant", "request": []}), 400, json!("request")),
        (
            json!({"type": "tenant", "request": {"capacity": 1, "amount": 1, "duration": "1m", "x": 1}}),
            400,
            json!("request"),
        ),
        (json!({"type": "tenant", "request": {"amount": 1, "duration": "1m"}}), 400, json!("request.capacity")),
        (json!({"type": "tenant", "token": bucket(most + 1, 1, "1m")}), 400, json!("token.capacity")),
        (
            json!({"type": "tenant", "token": {"capacity": 1, "amount": -1, "duration": "1m"}}),
            400,
            json!("token.amount"),
        ),
        (
            json!({"type": "tenant", "token": {"capacity": 1, "amount": 1.5, "duration": "1m"}}),
            400,
            json!("token.amount"),
        ),
        (json!({"type": "tenant", "token": bucket(1, most + 1, "1m")}), 400, json!("token.amount")),
        (json!({"type": "tenant", "token": bucket(1, 1, "0s")}), 400, json!("token.duration")),
        (json!({"type": "tenant", "token": bucket(1, 1, "-1m")}), 400, json!("token.duration")),
        (json!({"type": "tenant", "token": bucket(1, 1, "366d1ns")}), 400, json!("token.duration")),
        (
            json!({"type": "tenant", "token": {"capacity": 1, "amount": 1, "duration": 60}}),
            400,
            json!("token.duration"),
        ),
        (json!({"type": "provider", "request": good}), 400, json!("provider_uuid")),
        (json!({"type": "model", "request": good}), 400, json!("model_uuid")),
        (json!({"type": "key", "request": good}), 400, json!("key_id")),
        (json!({"type": "provider", "provider_uuid": "x", "request": good}), 404, Value::Null),
        (json!({"type": "model", "model_uuid": "x", "request": good}), 404, json!("model")),
        (json!({"type": "key", "key_id": "x", "request": good}), 404, json!("key_id")),
        (json!({"type": "tenant", "request": good}), 409, json!("type")),
        (json!({"type": "tenant", "request": good, "sk-canary": 1}), 400, Value::Null),
    ] {
        let (got, answer) = bench.admin("POST", "/v1/rate-limits", body.clone());
        assert_eq!((got, &answer["error"]["param"]), (status, &param), "{body}: {answer}");
        assert!(!answer.to_string().contains("canary"));
    }
    let list = bench.admin("GET", "/v1/rate-limits", Value::Null).1;
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
}

/// Fault matrix C16.
#[test]
fn a_limit_that_is_reached_is_told_before_any_call() {
    let bench = Bench::new();
    bench.limit(json!({"type": "tenant", "request": bucket(2, 1, "1m")}));
    let first = bench.one();
    assert_eq!((first.status, first.header("x-ratelimit-limit-requests")), (200, "2"));
    assert_eq!(first.header("x-ratelimit-remaining-requests"), "1");
    assert_eq!((first.header("x-ratelimit-reset-requests"), first.header("x-ratelimit-limit-tokens")), ("1m0s", ""));
    bench.world.pass(10_000);
    assert_eq!(bench.one().header("x-ratelimit-remaining-requests"), "0");
    let refused = bench.one();
    assert_eq!((refused.status, code(&refused.text).as_str()), (429, "rate_limited"));
    assert!(refused.called.is_empty());
    assert_eq!((refused.header("retry-after"), refused.header("retry-after-ms")), ("50", "50000"));
    assert_eq!((refused.header("x-should-retry"), refused.header("x-ratelimit-remaining-requests")), ("true", "0"));
    assert_eq!(refused.header("x-ratelimit-reset-requests"), "1m50s");
    assert_eq!(refused.line["error.type"], "rate_limited");
    let asked = bench.world.buckets().asked();
    assert_eq!(bench.one().status, 429);
    assert_eq!(bench.world.buckets().asked(), asked, "an empty bucket is remembered for a moment");
    bench.world.pass(50_000);
    assert_eq!(bench.statuses(2), [200, 429]);
    // Management is never limited.
    assert_eq!(bench.admin("GET", "/v1/providers", Value::Null).0, 200);
}

#[test]
fn a_long_wait_is_told_and_not_to_be_repeated_by_an_sdk() {
    let bench = Bench::new();
    bench.limit(json!({"type": "tenant", "request": bucket(1, 1, "1h")}));
    assert_eq!(bench.one().status, 200);
    let refused = bench.one();
    assert_eq!(
        (refused.status, refused.header("retry-after"), refused.header("x-should-retry")),
        (429, "3600", "false")
    );
}

#[test]
fn without_limits_nothing_is_asked() {
    let bench = Bench::new();
    let seen = bench.one();
    assert_eq!((seen.status, bench.world.buckets().asked()), (200, 0));
    assert!(!seen.headers.keys().any(|name| name.as_str().starts_with("x-ratelimit")));
    // Nor for limits of other keys.
    let key = bench.admin("POST", "/v1/keys", json!({"name": "other"})).1;
    bench.limit(json!({"type": "key", "key_id": key["id"], "request": bucket(1, 1, "1h")}));
    assert_eq!((bench.statuses(3), bench.world.buckets().asked()), (vec![200, 200, 200], 0));
}

#[test]
fn a_key_has_a_limit_of_its_own_and_takes_it_along() {
    let mut bench = Bench::new();
    let key = bench.admin("POST", "/v1/keys", json!({"name": "app"})).1;
    bench.limit(json!({"type": "key", "keyId": key["id"], "request": bucket(1, 1, "1h")}));
    let first = std::mem::replace(&mut bench.key, key["api_key"].as_str().unwrap().to_owned());
    assert_eq!(bench.statuses(2), [200, 429]);
    bench.key = first;
    assert_eq!(bench.statuses(2), [200, 200]);
    assert_eq!(bench.admin("DELETE", &format!("/v1/keys/{}", key["id"].as_str().unwrap()), Value::Null).0, 204);
    assert_eq!(bench.admin("GET", "/v1/rate-limits", Value::Null).1["data"], json!([]));
}

#[test]
fn tokens_are_taken_when_the_answer_is_over() {
    let bench = Bench::new();
    bench.limit(json!({"type": "tenant", "token": bucket(50, 20, "1m"), "request": bucket(100, 1, "1h")}));
    let first = bench.one();
    assert_eq!((first.status, first.header("x-ratelimit-remaining-tokens")), (200, "50"));
    let second = bench.one();
    assert_eq!((second.status, second.header("x-ratelimit-remaining-tokens")), (200, "20"));
    // 60 of 50 are used: one interval makes 10 of it.
    let third = bench.one();
    assert_eq!(
        (third.status, third.header("x-ratelimit-remaining-tokens"), third.header("retry-after")),
        (429, "0", "60")
    );
    assert_eq!(third.header("x-ratelimit-remaining-requests"), "98", "what is refused counts nowhere");
    bench.world.pass(60_000);
    assert_eq!(bench.one().header("x-ratelimit-remaining-tokens"), "10");
}

#[test]
fn a_client_that_calls_one_after_the_other_does_not_get_round_its_tokens() {
    let bench = Bench::new();
    bench.limit(json!({"type": "tenant", "token": bucket(25, 1, "1h")}));
    // Nothing that was deferred is carried out between the calls.
    for want in [200, 429, 429] {
        bench.world.http().push(Answer::json(200, OK));
        assert_eq!(bench.ask(json!({}), &[]).status, want);
    }
    assert!(bench.carry_out());
    // Neither does it in another isolate.
    assert_eq!(bench.fresh().one().status, 429);
}

#[test]
fn an_answer_without_usage_and_a_failed_call_are_settled_too() {
    let bench = Bench::new();
    bench.limit(json!({"type": "tenant", "token": bucket(1_000, 1, "1h")}));
    bench
        .world
        .http()
        .push(Answer::json(200, r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"}}]}"#));
    let left = |seen: &Seen| seen.header("x-ratelimit-remaining-tokens").parse::<u64>().unwrap();
    assert_eq!(left(&bench.ask(json!({"max_tokens": 5}), &[])), 1_000);
    let after = left(&bench.one());
    assert!((900..1_000).contains(&after), "an estimate by the request's length: {after}");
    let before = left(&bench.one());
    bench.world.http().push(Answer::json(400, "{}"));
    bench.ask(json!({}), &[]);
    assert_eq!(left(&bench.one()), before - 30, "nothing is known to have been used");
}

#[test]
fn a_stream_settles_at_its_end() {
    let bench = Bench::new();
    bench.limit(json!({"type": "tenant", "token": bucket(10, 1, "1h")}));
    let events = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"finish_reason\":null}]}\n\n\
        data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
        data: {\"choices\":[],\"usage\":{\"prompt_tokens\":6,\"completion_tokens\":6,\"total_tokens\":12}}\n\ndata: [DONE]\n\n";
    bench.world.http().push(Answer::stream(vec![events.into()]));
    let seen = bench.ask(json!({"stream": true}), &[]);
    assert_eq!((seen.status, seen.header("x-ratelimit-remaining-tokens")), (200, "10"));
    assert_eq!(bench.ask(json!({}), &[]).status, 429);
}

#[test]
fn at_a_shared_alias_a_limited_target_drops_out_first() {
    let bench = Bench::over(&[json!({}), json!({})]);
    let models = bench.models();
    bench.limit(json!({"type": "model", "model_uuid": models[0]["uuid"], "request": bucket(1, 1, "1m")}));
    bench.limit(json!({"type": "provider", "provider_uuid": bench.provider, "request": bucket(3, 1, "1h")}));
    bench.limit(json!({"type": "tenant", "request": bucket(100, 1, "1h")}));
    let mut called = Vec::new();
    for _ in 0..4 {
        let seen = bench.one();
        assert_eq!((seen.status, seen.called.len()), (200, 1), "{}", seen.text);
        called.extend(seen.called);
    }
    called.sort();
    assert_eq!(called, ["p0", "p1", "p1", "p1"]);
    let refused = bench.one();
    assert_eq!((refused.status, code(&refused.text).as_str()), (429, "rate_limited"));
    assert!(refused.called.is_empty());
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!(wait <= 60, "the target that is free first counts: {wait}");
    assert_eq!(bench.record().matches(":[96,").count(), 1, "what was refused cost the tenant nothing");
}

#[test]
fn failing_over_costs_the_tenant_one_call_and_each_target_its_own() {
    let bench = Bench::over(&[json!({"priority": 0}), json!({"priority": 1})]);
    let models = bench.models();
    for model in &models {
        bench.limit(json!({"type": "model", "model_uuid": model["uuid"], "request": bucket(10, 1, "1h")}));
    }
    bench.limit(json!({"type": "tenant", "request": bucket(5, 1, "1h")}));
    bench.world.http().push(Answer::json(500, "{}"));
    let seen = bench.one();
    assert_eq!((seen.status, seen.called.len(), seen.header("x-ratelimit-remaining-requests")), (200, 2, "4"));
    let record = bench.record();
    assert_eq!(record.matches(":[9,").count(), 2, "{record}");
}

/// Fault matrix: S11.
#[test]
fn without_its_buckets_a_limited_call_fails_closed_unless_the_operator_opened_it() {
    let mut bench = Bench::new();
    bench.limit(json!({"type": "tenant", "request": bucket(5, 1, "1h"), "token": bucket(5, 1, "1h")}));
    bench.world.buckets().set_down(true);
    let refused = bench.one();
    assert_eq!((refused.status, code(&refused.text).as_str()), (503, "store_unavailable"));
    assert!(refused.called.is_empty() && refused.header("retry-after") == "1");
    assert_eq!(refused.line["level"], "error");
    bench.gateway.deployment.limits_open = true;
    let open = bench.one();
    assert_eq!(
        (open.status, open.line["unlimited"].as_bool(), open.line["level"].as_str()),
        (200, Some(true), Some("warn"))
    );
    bench.world.buckets().set_down(false);
    let seen = bench.one();
    assert_eq!((seen.status, seen.line["unlimited"].as_bool()), (200, None));
    assert_eq!(seen.header("x-ratelimit-remaining-requests"), "4");
}

#[test]
fn what_is_owed_outlives_an_outage_of_the_buckets() {
    let bench = Bench::new();
    bench.limit(json!({"type": "tenant", "token": bucket(100, 1, "1h")}));
    bench.world.http().push(Answer::json(200, OK));
    assert_eq!(bench.ask(json!({}), &[]).status, 200);
    bench.world.buckets().set_down(true);
    assert!(!bench.carry_out() && bench.gateway.has_backlog());
    bench.world.buckets().set_down(false);
    assert!(bench.carry_out() && !bench.gateway.has_backlog());
    assert_eq!(bench.fresh().one().header("x-ratelimit-remaining-tokens"), "70");
}

#[test]
fn isolates_share_a_limit_to_the_last_call() {
    let bench = Bench::new();
    bench.limit(json!({"type": "tenant", "request": bucket(45, 1, "1h")}));
    let isolates: Vec<Bench> = (0..60).map(|_| bench.fresh()).collect();
    let granted = isolates.iter().filter(|isolate| isolate.one().status == 200).count();
    assert_eq!(granted, 45);
}

#[test]
fn of_a_large_limit_a_busy_isolate_takes_calls_ahead_and_never_too_many() {
    let bench = Bench::new();
    bench.limit(json!({"type": "tenant", "request": bucket(1_000, 1, "1h")}));
    let (mut granted, mut isolates) = (0, vec![bench.fresh(), bench.fresh()]);
    isolates.push(bench);
    for round in 0..500 {
        for isolate in &isolates {
            granted += u32::from(isolate.one().status == 200);
        }
        if round == 100 {
            let asked = isolates[0].world.buckets().asked();
            assert!(asked < 200, "300 calls cost {asked} questions");
        }
    }
    assert!((950..=1_000).contains(&granted), "{granted}");
}
