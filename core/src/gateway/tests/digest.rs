//! What one isolate learns of targets, others know too; and nothing depends on it.

use super::*;
use crate::ports::{Platform, Store};
use crate::testing::{Answer, Chunk};

const OK: &str = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}"#;

fn limited(seconds: u64) -> Answer {
    let headers = vec![
        ("content-type".to_owned(), "application/json".to_owned()),
        ("retry-after".to_owned(), seconds.to_string()),
    ];
    Answer::Head { status: 429, headers, body: vec!["{}".into()] }
}

impl Bench {
    fn told(&self) {
        let work = self.world.take_deferred();
        self.world.run(self.gateway.carry_out(&self.world, work, 0));
    }

    fn script_ok(&self, count: usize) {
        for _ in 0..count {
            // It takes a while, so that there is something to read beside.
            self.world.http().push(Answer::with(200, "application/json", vec![Chunk::Wait(5), OK.into()]));
        }
    }
}

#[test]
fn a_limit_that_one_isolate_met_is_kept_by_all() {
    let one = Bench::over(&[json!({"priority": 0}), json!({"priority": 1})]);
    one.world.store().set_shares();
    one.world.http().push(limited(20));
    one.script_ok(1);
    assert_eq!(one.ask(json!({}), &[]).called, ["p0", "p1"]);
    one.told();
    // Another isolate, that knows nothing yet: it reads it with the head.
    let other = one.fresh();
    other.script_ok(1);
    assert_eq!(other.ask(json!({}), &[]).called, ["p1"]);
    // It is over after its time.
    one.world.pass(22_001);
    let later = one.fresh();
    later.script_ok(1);
    assert_eq!(later.ask(json!({}), &[]).called, ["p0"]);
    assert!(!one.world.store().dump().contains("canary"));
}

#[test]
fn an_isolate_that_is_warm_reads_it_beside_a_call_and_not_often() {
    let one = Bench::over(&[json!({"priority": 0}), json!({"priority": 1})]);
    one.world.store().set_shares();
    let other = one.fresh();
    other.script_ok(1);
    assert_eq!(other.ask(json!({}), &[]).called, ["p0"]);
    other.told();
    let reads = |calls: usize| {
        let before = other.world.store().calls();
        for _ in 0..calls {
            other.script_ok(1);
            assert_eq!(other.ask(json!({}), &[]).line["store_reads"], 0);
            other.told();
        }
        other.world.store().calls() - before
    };
    assert_eq!(reads(10), 0, "it was read just now, and there is no news");
    one.world.pass(5_000);
    assert_eq!(reads(10), 1);
    one.world.http().push(limited(30));
    one.script_ok(1);
    one.ask(json!({}), &[]);
    one.told();
    one.world.pass(5_000);
    // This call reads it; the next one knows.
    other.script_ok(2);
    other.ask(json!({}), &[]);
    assert_eq!(other.ask(json!({}), &[]).called, ["p1"]);
}

#[test]
fn those_who_are_alone_see_with_the_eyes_of_all() {
    let one = Bench::over(&[json!({"priority": 0}), json!({"priority": 1})]);
    one.world.store().set_shares();
    one.world.set_alone();
    // Each environment has one request; the first provider fails each time that it is asked.
    let mut asked = 0;
    for _ in 0..40 {
        one.world.pass(100);
        let environment = one.fresh();
        let body = json!({"model": "fast", "messages": [{"role": "user", "content": "hi"}]});
        // Explaining reads the digest, as the call itself will.
        let explained = environment.call(&environment.key, "POST", "/v1/route/explain", body).1;
        if explained["targets"][0]["eligible"] == true {
            asked += 1;
            environment.world.http().push(Answer::json(500, "{}"));
        }
        environment.script_ok(1);
        environment.world.take_log();
        let seen = environment.ask(json!({}), &[]);
        assert_eq!(*seen.called.last().unwrap(), "p1", "{:?} {}", seen.called, seen.text);
        environment.told();
    }
    assert_eq!(asked, 5, "then all know that it fails");
}

#[test]
fn nothing_depends_on_it() {
    let bench = Bench::over(&[json!({})]);
    bench.world.store().set_shares();
    // Nonsense in the record.
    let tenant = bench.admin("GET", "/v1/tenant", Value::Null).1["id"].as_str().map(crate::model::TenantId::parse);
    let tenant = tenant.flatten().unwrap();
    let nonsense = Bytes::from_static(b"{\"schema\":");
    assert!(bench.world.run(bench.world.store().swap_digest(tenant, None, nonsense, 0)).unwrap());
    bench.world.http().push(limited(5));
    bench.world.take_log();
    assert_eq!(bench.ask(json!({}), &[("x-stainless-retry-count", "1")]).status, 429);
    bench.told();
    let stored = bench.world.run(bench.world.store().digest(tenant)).unwrap().unwrap();
    assert!(stored.starts_with(b"{\"schema\":1"), "it is replaced");
    // A store that fails.
    bench.world.pass(6_000);
    bench.world.store().set_down(true);
    bench.script_ok(1);
    assert_eq!(bench.ask(json!({}), &[]).status, 200);
    bench.told();
}
