//! Load balancers: what may be in one, what its alias stands for, and which algorithm is in effect.

use super::*;
use crate::limits;
use crate::ports::HttpError;
use crate::testing::Answer;

const OK: &str = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}"#;

impl Bench {
    /// The enabled models' uuids, in the order of their providers.
    fn uuids(&self) -> Vec<String> {
        let (_, list) = self.admin_get("/ml/gateway/v1/models");
        let uuid = |model: &Value| model["uuid"].as_str().unwrap().to_owned();
        list["data"].as_array().unwrap().iter().map(uuid).collect()
    }

    fn admin_get(&self, path: &str) -> (u16, Value) {
        self.call(&self.key, "GET", path, Value::Null)
    }

    fn status(&self, alias: &str) -> u16 {
        self.world.take_log();
        self.ask(json!({"model": alias}), &[]).status
    }

    fn balance(&self, body: Value) -> (u16, Value) {
        self.call(&self.key, "POST", "/v1/load-balancers", body)
    }

    /// Which of the providers took how many of `count` calls to `alias`.
    fn counts(&self, alias: &str, count: usize) -> [usize; 4] {
        let mut counts = [0; 4];
        self.world.take_log();
        for _ in 0..count {
            self.world.http().push(Answer::json(200, OK));
            let seen = self.ask(json!({"model": alias}), &[]);
            assert_eq!((seen.status, seen.called.len()), (200, 1), "{}", seen.text);
            counts[seen.called[0][1..].parse::<usize>().unwrap()] += 1;
        }
        counts
    }
}

fn over(models: &[Value]) -> (Bench, Vec<String>) {
    let bench = Bench::over(models);
    let uuids = bench.uuids();
    (bench, uuids)
}

fn backends(uuids: &[String]) -> Value {
    uuids.iter().map(|uuid| json!({"model_uuid": uuid})).collect()
}

#[test]
fn it_is_made_read_replaced_and_removed() {
    let (bench, uuids) = over(&[json!({"alias": "a"}), json!({"alias": "b"})]);
    let body = json!({"name": "Main", "alias": "lb", "algorithm": "round_robin",
        "backends": [{"model_uuid": uuids[0], "weight": 3, "quota": 10, "priority": 1}, {"model_uuid": uuids[1]}]});
    let (status, made) = bench.balance(body.clone());
    assert_eq!(status, 201, "{made}");
    let uuid = made["uuid"].as_str().unwrap();
    assert_eq!(made["object"], "load_balancer");
    assert_eq!((&made["algorithm"], &made["algorithm_in_effect"]), (&json!("round_robin"), &json!("round_robin")));
    assert_eq!(made["backends"], body["backends"]);
    let path = format!("/v1/load-balancers/{uuid}");
    assert_eq!(bench.admin_get(&path), (200, made.clone()));
    assert_eq!(bench.admin_get("/v1/load-balancers").1["data"], json!([made]));
    assert_eq!(bench.counts("lb", 10), [0, 10, 0, 0], "the better priority");
    let listed = bench.admin_get("/v1/models").1;
    assert_eq!(listed["data"][0]["id"], "lb");
    assert_eq!(listed["data"][0]["models"].as_array().unwrap().len(), 2);

    let other = json!({"name": "main", "alias": "lb2", "backends": [{"model_uuid": uuids[1]}]});
    let (status, replaced) = bench.call(&bench.key, "PUT", &path, other);
    assert_eq!((status, &replaced["uuid"], &replaced["algorithm"]), (200, &made["uuid"], &json!("latency")));
    assert_eq!(bench.counts("lb2", 3), [0, 3, 0, 0]);
    assert_eq!(bench.status("lb"), 404);
    assert_eq!(bench.call(&bench.key, "DELETE", &path, Value::Null).0, 204);
    for method in ["GET", "DELETE"] {
        assert_eq!(bench.call(&bench.key, method, &path, Value::Null).0, 404, "{method}");
    }
    let body = json!({"name": "x", "alias": "y", "backends": backends(&uuids)});
    assert_eq!(bench.call(&bench.key, "PUT", &path, body).0, 404);
    assert_eq!(bench.status("lb2"), 404);
}

#[test]
fn what_is_wrong_is_named() {
    let (bench, uuids) = over(&[json!({"alias": "a"}), json!({"alias": "a"}), json!({"alias": "b"})]);
    let good = json!({"name": "x", "alias": "lb", "backends": backends(&uuids)});
    let twice: Value = [&uuids[0], &uuids[0]].iter().map(|uuid| json!({"model_uuid": uuid})).collect();
    let many: Value = (0..=limits::BACKENDS).map(|_| json!({"model_uuid": uuids[0]})).collect();
    for (member, value, status, param) in [
        ("name", Value::Null, 400, "name"),
        ("name", json!(""), 400, "name"),
        ("alias", Value::Null, 400, "alias"),
        ("alias", json!(7), 400, "alias"),
        ("alias", json!("a"), 409, "alias"),
        ("algorithm", json!("fastest"), 400, "algorithm"),
        ("backends", Value::Null, 400, "backends"),
        ("backends", json!([]), 400, "backends"),
        ("backends", json!({}), 400, "backends"),
        ("backends", json!(["x"]), 400, "backends"),
        ("backends", many, 400, "backends"),
        ("backends", twice, 400, "backends[1].model_uuid"),
        ("backends", json!([{}]), 400, "backends[0].model_uuid"),
        ("backends", json!([{"model_uuid": "nope"}]), 400, "backends[0].model_uuid"),
        ("backends", json!([{"model_uuid": uuids[0], "weight": 1001}]), 400, "backends[0].weight"),
        ("backends", json!([{"model_uuid": uuids[0], "weight": -1}]), 400, "backends[0].weight"),
        ("backends", json!([{"model_uuid": uuids[0], "priority": 101}]), 400, "backends[0].priority"),
        ("backends", json!([{"model_uuid": uuids[0], "quota": 1_000_001}]), 400, "backends[0].quota"),
        ("backends", json!([{"model_uuid": uuids[0], "sk-canary": 1}]), 400, "backends[0]"),
    ] {
        let mut body = good.clone();
        // An alias of models is fine only if all of them are behind it.
        body["backends"] = backends(&uuids[1..]);
        body[member] = value;
        if member == "backends" || member == "name" {
            body["alias"] = json!("lb");
        }
        let (got, answer) = bench.balance(body.clone());
        assert_eq!((got, &answer["error"]["param"]), (status, &json!(param)), "{body}: {answer}");
        assert!(!answer.to_string().contains("canary"));
    }
    assert_eq!(bench.admin_get("/v1/load-balancers").1["data"], json!([]), "nothing was done by halves");
    // At the limits.
    let edge = json!([{"model_uuid": uuids[0], "weight": 1000, "priority": 100, "quota": 1_000_000}]);
    assert_eq!(bench.balance(json!({"name": "edge", "alias": "edge", "backends": edge})).0, 201);
    // A scope is needed, and another tenant's is not there.
    let key = bench.admin("POST", "/v1/keys", json!({"name": "app", "scopes": ["inference"]})).1;
    let key = key["api_key"].as_str().unwrap();
    assert_eq!(bench.call(key, "POST", "/v1/load-balancers", good).0, 403);
}

#[test]
fn names_and_aliases_are_unique() {
    let (bench, uuids) = over(&[json!({"alias": "a"}), json!({"alias": "a"}), json!({"alias": "b"})]);
    // It may stand before an alias whose models it has.
    let body = json!({"name": "x", "alias": "a", "algorithm": "weighted_random", "backends": backends(&uuids[..2])});
    assert_eq!(bench.balance(body).0, 201);
    let (status, answer) = bench.balance(json!({"name": "X", "alias": "c", "backends": backends(&uuids)}));
    assert_eq!((status, &answer["error"]["param"]), (409, &json!("name")));
    let (status, answer) = bench.balance(json!({"name": "y", "alias": "a", "backends": backends(&uuids)}));
    assert_eq!((status, &answer["error"]["param"]), (409, &json!("alias")));
    // No model comes under its alias unseen.
    let models = format!("/v1/providers/{}/models", bench.provider);
    let (status, answer) = bench.call(&bench.key, "POST", &models, json!({"id": "gpt-5", "alias": "a"}));
    assert_eq!((status, &answer["error"]["param"]), (409, &json!("alias")));
    let change = format!("{models}/{}", uuids[2]);
    assert_eq!(bench.call(&bench.key, "PATCH", &change, json!({"alias": "a"})).0, 409);
    let listed = bench.admin_get("/v1/models").1;
    let ids: Vec<_> = listed["data"].as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["a", "b"]);
}

#[test]
fn backends_go_with_their_models() {
    let (bench, uuids) = over(&[json!({"alias": "a"}), json!({"alias": "b"})]);
    let (_, made) = bench.balance(json!({"name": "x", "alias": "lb", "backends": backends(&uuids)}));
    let path = format!("/v1/load-balancers/{}", made["uuid"].as_str().unwrap());
    assert_eq!(bench.call(&bench.key, "DELETE", &format!("/v1/models/{}", uuids[0]), Value::Null).0, 204);
    assert_eq!(bench.admin_get(&path).1["backends"], json!([{"model_uuid": uuids[1]}]));
    assert_eq!(bench.counts("lb", 2), [0, 2, 0, 0]);
    let provider = format!("/v1/providers/{}", bench.provider);
    assert_eq!(bench.call(&bench.key, "DELETE", &provider, Value::Null).0, 204);
    assert_eq!(bench.admin_get(&path).1["backends"], json!([]));
    assert_eq!(bench.status("lb"), 404);
    assert_eq!(bench.admin_get("/v1/models").1["data"], json!([]));
}

#[test]
fn a_backend_has_its_own_weight_priority_and_quota() {
    let (bench, uuids) = over(&[json!({"weight": 0}), json!({}), json!({})]);
    let make = |name: &str, algorithm: &str, extras: [Value; 3]| {
        let mut list = backends(&uuids);
        for (at, extra) in extras.iter().enumerate() {
            for (member, value) in extra.as_object().unwrap() {
                list[at][member] = value.clone();
            }
        }
        assert_eq!(
            bench.balance(json!({"name": name, "alias": name, "algorithm": algorithm, "backends": list})).0,
            201
        );
    };
    make("wrr", "weighted_round_robin", [json!({"weight": 2}), json!({"weight": 1}), json!({"weight": 0})]);
    assert_eq!(bench.counts("wrr", 9), [6, 3, 0, 0]);
    make("tier", "latency", [json!({"weight": 1, "priority": 2}), json!({"priority": 1}), json!({"priority": 3})]);
    assert_eq!(bench.counts("tier", 9), [0, 9, 0, 0]);
    bench.world.pass(60_000);
    make("quota", "quota_priority", [json!({}), json!({"quota": 4}), json!({})]);
    assert_eq!(bench.counts("quota", 9), [0, 4, 5, 0], "a weight of 0 takes none");
}

#[test]
fn what_cannot_be_counted_is_said() {
    let (bench, uuids) = over(&[json!({"alias": "a"}), json!({"alias": "b"})]);
    bench.world.set_alone();
    for (algorithm, in_effect) in [
        ("latency", "latency"),
        ("weighted_random", "weighted_random"),
        ("round_robin", "weighted_random"),
        ("weighted_round_robin", "weighted_random"),
        ("least_connections", "weighted_random"),
        ("quota_priority", "weighted_random"),
    ] {
        let body = json!({"name": algorithm, "alias": algorithm, "algorithm": algorithm, "backends": backends(&uuids)});
        let (status, made) = bench.balance(body);
        assert_eq!((status, &made["algorithm_in_effect"]), (201, &json!(in_effect)), "{algorithm}");
        let body = json!({"model": algorithm, "messages": [{"role": "user", "content": "hi"}]});
        let (status, explained) = bench.call(&bench.key, "POST", "/v1/route/explain", body);
        assert_eq!((status, &explained["algorithm"]), (200, &json!(in_effect)), "{explained}");
    }
    let counts = bench.counts("round_robin", 200);
    assert!(counts[0] > 60 && counts[1] > 60, "{counts:?}");
}

/// Claims held from outside: a 3:1 `weighted_random` load balancer passes a chi-square test, also after a failure.
#[test]
fn three_to_one_is_three_to_one() {
    let (bench, uuids) = over(&[json!({"alias": "a"}), json!({"alias": "b"})]);
    let list = json!([{"model_uuid": uuids[0], "weight": 3}, {"model_uuid": uuids[1], "weight": 1}]);
    let body = json!({"name": "x", "alias": "lb", "algorithm": "weighted_random", "backends": list});
    assert_eq!(bench.balance(body).0, 201);
    let counts = bench.counts("lb", 2000);
    let chi = |got: usize, want: f64| (got as f64 - want).powi(2) / want;
    let chi = chi(counts[0], 1500.0) + chi(counts[1], 500.0);
    assert!(chi < 10.83, "{counts:?}: {chi}");
    bench.world.http().push(Answer::Fail(HttpError::Connect));
    bench.world.http().push(Answer::json(200, OK));
    assert_eq!(bench.ask(json!({"model": "lb"}), &[]).called.len(), 2, "one takes over from the other");
}
