//! Several targets under one alias: who is asked next, what the client sees of it, and what is written down.

use http::HeaderMap;

use super::*;
use crate::deployment::DefaultManager;
use crate::ports::{HttpError, Platform};
use crate::testing::{Answer, Chunk};

const OK: &str = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}"#;
const ROLE: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n";
const TEXT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"finish_reason\":null}]}\n\n";
const STOP: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// What one chat came to.
pub(super) struct Seen {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// The hosts called, in order.
    pub called: Vec<String>,
    pub line: Value,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Bench {
    /// With an alias `fast` on as many openai providers as there are `models`, at `p0.example`, `p1.example` and so on.
    pub(super) fn over(models: &[Value]) -> Self {
        let mut bench = Self::empty();
        for (at, extra) in models.iter().enumerate() {
            let data = json!({"apikey": SK, "base_url": format!("https://p{at}.example/v1")});
            let provider = bench.admin("POST", "/v1/providers/openai", json!({"name": format!("p{at}"), "data": data}));
            bench.provider = provider.1["uuid"].as_str().unwrap().to_owned();
            let mut body = json!({"id": "gpt-4o", "alias": "fast"});
            for (name, value) in extra.as_object().into_iter().flatten() {
                body[name] = value.clone();
            }
            let enabled = bench.admin("POST", &format!("/v1/providers/{}/models", bench.provider), body);
            assert_eq!(enabled.0, 201, "{}", enabled.1);
        }
        bench.world.take_log();
        bench
    }

    /// Another isolate over the same stores: it remembers nothing of any target.
    pub(super) fn fresh(&self) -> Self {
        Self { world: self.world.clone(), gateway: gateway(), key: self.key.clone(), provider: self.provider.clone() }
    }

    pub(super) fn ask(&self, extra: Value, headers: &[(&str, &str)]) -> Seen {
        let mut body = json!({"model": "fast", "messages": [{"role": "user", "content": "hi"}]});
        for (name, value) in extra.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let mut request = request(&self.key, "POST", "/v1/chat/completions", body.to_string().into());
        for (name, value) in headers {
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().insert(name, http::HeaderValue::from_str(value).unwrap());
        }
        self.world.http().take_sent();
        self.world.take_log();
        let response = self.world.run(self.gateway.handle(self.world.clone(), request));
        let headers = response.headers().clone();
        let (status, text) = self.read(response);
        let called = self.world.http().take_sent();
        let host = |target: &str| target.split('/').nth(2).unwrap().split('.').next().unwrap().to_owned();
        let lines = self.world.take_log();
        let line = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let line = line.filter(|line| line["http.route"].is_string()).collect::<Vec<_>>();
        assert_eq!(line.len(), 1, "{lines:?}");
        assert!(!lines.concat().contains("canary"));
        let called = called.iter().map(|sent| host(&sent.target)).collect();
        Seen { status, headers, text, called, line: line[0].clone() }
    }

    fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        for answer in answers {
            self.world.http().push(answer);
        }
    }
}

fn error(status: u16, body: &str) -> Answer {
    Answer::json(status, body.to_owned())
}

fn with_header(answer: Answer, name: &str, value: &str) -> Answer {
    match answer {
        Answer::Head { status, mut headers, body } => {
            headers.push((name.to_owned(), value.to_owned()));
            Answer::Head { status, headers, body }
        }
        other => other,
    }
}

/// Fault matrix: U2, U3, U4, U7, U8, U9, U10, U13, U14, U15, U16, U17, U27, U28, U34.
#[test]
fn what_one_target_cannot_do_the_next_one_does() {
    for (name, fault, class) in [
        ("U2", error(401, "{}"), "credential"),
        ("U2", error(403, "{}"), "credential"),
        ("U3", error(404, "{}"), "not_found"),
        ("U4", error(409, "{}"), "failed"),
        ("U4", error(425, "{}"), "failed"),
        ("U7", error(429, "{}"), "rate_limited"),
        ("quota", error(429, r#"{"error":{"code":"insufficient_quota"}}"#), "quota"),
        ("quota", error(402, "{}"), "quota"),
        ("U8", error(500, "{}"), "failed"),
        ("U8", error(503, "{}"), "failed"),
        ("U9", error(529, "{}"), "overloaded"),
        ("U10", error(504, "{}"), "unfit"),
        ("U13", Answer::Fail(HttpError::Connect), "failed"),
        ("U14", Answer::Fail(HttpError::Disconnected), "failed"),
        ("U15", Answer::Fail(HttpError::ConnectTimeout), "failed"),
        ("U16", Answer::Hang, "unfit"),
        ("U17", Answer::with(200, "application/json", vec![Chunk::Hang]), "unfit"),
        ("U27", Answer::with(200, "text/html", vec!["<html>".into()]), "unfit"),
        ("U28", error(200, "{\"choices\":["), "failed"),
        ("U34", Answer::with(200, "application/json", vec!["{".into(), Chunk::Break]), "failed"),
    ] {
        let bench = Bench::over(&[json!({}), json!({})]);
        bench.script([fault, error(200, OK)]);
        let seen = bench.ask(json!({}), &[]);
        assert_eq!((seen.status, seen.called.len()), (200, 2), "{name}: {}", seen.text);
        assert_ne!(seen.called[0], seen.called[1], "{name}");
        assert!(seen.header("x-gateway-route").ends_with("; attempt=2; reason=failover"), "{name}");
        assert_eq!(seen.line["attempts"], 2, "{name}");
        let failed = seen.line["failed_attempts"].as_str().unwrap();
        assert!(failed.ends_with(&format!(":{class}")), "{name}: {failed}");
        assert_eq!(seen.line["route_reason"], "failover");
    }
}

/// Fault matrix: U1, U5, U11, U12, U29, U33, U35.
#[test]
fn what_no_target_could_do_is_asked_once() {
    let compressed = with_header(error(200, OK), "content-encoding", "gzip");
    let large = Answer::with(200, "application/json", vec![Chunk::Bytes(vec![b' '; (16 << 20) + 1].into())]);
    for (name, fault, want) in [
        ("U1", error(400, r#"{"error":{"message":"no"}}"#), (400, "upstream_rejected")),
        ("U1", error(422, "{}"), (400, "upstream_rejected")),
        ("U5", error(413, "{}"), (400, "context_length_exceeded")),
        ("U11", error(302, "{}"), (502, "upstream_redirect")),
        ("U12", error(204, ""), (502, "upstream_protocol")),
        ("U12", error(418, ""), (502, "upstream_protocol")),
        ("U29", error(200, "{}"), (502, "upstream_protocol")),
        ("U33", large, (502, "upstream_too_large")),
        ("U35", compressed, (502, "upstream_protocol")),
    ] {
        let bench = Bench::over(&[json!({}), json!({})]);
        bench.script([fault, error(200, OK)]);
        let seen = bench.ask(json!({}), &[]);
        assert_eq!((seen.status, seen.called.len()), (want.0, 1), "{name}: {}", seen.text);
        if name != "U1" || seen.text.contains("upstream_rejected") {
            assert_eq!(code(&seen.text), want.1, "{name}: {}", seen.text);
        }
        assert!(seen.header("x-gateway-route").contains("; attempt=1; "), "{name}");
    }
}

/// Fault matrix: U20, U21, U25, U31.
#[test]
fn a_stream_that_fails_before_content_is_taken_over() {
    for fault in [
        vec![ROLE.into(), Chunk::Break],
        vec![ROLE.into()],
        vec![],
        vec![ROLE.into(), Chunk::Hang],
        vec!["data: nonsense\n\n".into()],
        vec!["data: {\"error\":{\"code\":\"rate_limit_exceeded\"}}\n\n".into()],
    ] {
        let bench = Bench::over(&[json!({}), json!({})]);
        let name = format!("{fault:?}");
        bench.script([Answer::stream(fault), Answer::stream(vec![ROLE.into(), TEXT.into(), STOP.into(), DONE.into()])]);
        let seen = bench.ask(json!({"stream": true}), &[]);
        assert_eq!((seen.status, seen.text.as_str()), (200, format!("{ROLE}{TEXT}{STOP}{DONE}").as_str()), "{name}");
        assert_eq!(seen.called.len(), 2, "{name}");
    }
}

/// Fault matrix: U20.
#[test]
fn after_content_nobody_takes_over() {
    let bench = Bench::over(&[json!({}), json!({})]);
    bench.script([Answer::stream(vec![ROLE.into(), TEXT.into(), Chunk::Break]), Answer::stream(vec![])]);
    let seen = bench.ask(json!({"stream": true}), &[]);
    assert_eq!((seen.status, seen.called.len()), (200, 1));
    assert_eq!(seen.text.matches("\"error\"").count(), 1);
    assert!(!seen.text.contains("[DONE]"));
}

/// Fault matrix: R16.
#[test]
fn the_body_of_a_failed_attempt_is_let_go_before_the_next() {
    let bench = Bench::over(&[json!({}), json!({})]);
    bench.script([Answer::with(200, "text/html", vec!["<".into(), Chunk::Hang]), error(200, OK)]);
    let before = bench.world.http().cancelled();
    assert_eq!(bench.ask(json!({}), &[]).status, 200);
    assert_eq!(bench.world.http().cancelled() - before, 1);
}

#[test]
fn lower_priorities_come_first_and_weight_0_takes_nothing() {
    let bench = Bench::over(&[json!({"priority": 1}), json!({}), json!({"weight": 0})]);
    for _ in 0..20 {
        bench.script([error(200, OK)]);
        assert_eq!(bench.ask(json!({}), &[]).called, ["p1"]);
    }
    bench.script([error(400, "{}")]);
    bench.ask(json!({}), &[]);
    bench.script([error(500, "{}"), error(200, OK)]);
    assert_eq!(bench.ask(json!({}), &[]).called, ["p1", "p0"]);

    let bench = Bench::over(&[json!({"weight": 0}), json!({"weight": 0})]);
    let seen = bench.ask(json!({}), &[]);
    assert_eq!((seen.status, code(&seen.text).as_str(), seen.called.len()), (503, "no_healthy_provider", 0));
    assert!(!seen.header("retry-after").is_empty());
}

#[test]
fn at_most_three_calls_are_made_and_two_for_a_repeat_of_the_client() {
    let four = [json!({}), json!({}), json!({}), json!({})];
    for (headers, calls) in
        [(&[][..], 3), (&[("x-stainless-retry-count", "1")], 2), (&[("x-stainless-retry-count", "0")], 3)]
    {
        let bench = Bench::over(&four);
        bench.script((0..4).map(|_| error(500, "{}")));
        let seen = bench.ask(json!({}), headers);
        assert_eq!((seen.status, seen.called.len()), (502, calls), "{headers:?}");
        // The gateway has tried again already: an SDK that did so too would multiply the calls.
        assert_eq!(seen.header("x-should-retry"), "false");
        bench.world.http().take_sent();
    }
}

#[test]
fn a_client_that_waits_briefly_is_answered_before_it_gives_up() {
    for (name, seconds) in [("x-stainless-read-timeout", "8"), ("x-stainless-timeout", "8.0")] {
        let bench = Bench::over(&[json!({}), json!({})]);
        bench.script([Answer::Hang, Answer::Hang, Answer::Hang]);
        let began = bench.world.now_ms();
        let seen = bench.ask(json!({}), &[(name, seconds)]);
        assert_eq!((seen.status, code(&seen.text).as_str()), (504, "upstream_timeout"));
        assert_eq!(bench.world.now_ms() - began, 7200);
        assert_eq!(seen.called.len(), 1);
    }
    for odd in ["0", "-1", "soon", "1e9", ""] {
        let bench = Bench::over(&[json!({})]);
        bench.script([error(200, OK)]);
        assert_eq!(bench.ask(json!({}), &[("x-stainless-read-timeout", odd)]).status, 200, "{odd}");
    }
}

#[test]
fn what_one_target_cannot_take_another_may() {
    let mut bench = Bench::empty();
    for (kind, data) in [("cerebras", json!({"apikey": SK})), ("openai", json!({"apikey": SK}))] {
        let provider = bench.admin("POST", &format!("/v1/providers/{kind}"), json!({"name": kind, "data": data}));
        bench.provider = provider.1["uuid"].as_str().unwrap().to_owned();
        let priority = u32::from(kind == "openai");
        let body = json!({"id": "m", "alias": "fast", "priority": priority, "capabilities": {"images": false}});
        assert_eq!(bench.admin("POST", &format!("/v1/providers/{}/models", bench.provider), body).0, 201);
    }
    bench.world.take_log();
    bench.script([error(200, OK)]);
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}});
    let seen = bench.ask(json!({"messages": [{"role": "user", "content": [image]}]}), &[]);
    assert_eq!((seen.status, seen.called.as_slice()), (200, ["api".to_owned()].as_slice()), "{}", seen.text);
    assert!(seen.line["failed_attempts"].as_str().unwrap().ends_with(":incapable"));
}

/// Fault matrix: U30.
#[test]
fn an_answer_in_the_other_way_than_it_was_asked_for_is_turned() {
    let bench = Bench::over(&[json!({})]);
    bench.script([error(200, OK)]);
    let seen = bench.ask(json!({"stream": true}), &[]);
    assert_eq!(seen.status, 200, "{}", seen.text);
    assert!(seen.header("content-type").starts_with("text/event-stream"));
    assert!(seen.text.contains(r#""content":"Hi""#) && seen.text.ends_with(DONE), "{}", seen.text);
    bench.script([Answer::stream(vec![ROLE.into(), TEXT.into(), STOP.into(), DONE.into()])]);
    let seen = bench.ask(json!({}), &[]);
    let answer: Value = serde_json::from_str(&seen.text).unwrap();
    assert_eq!((seen.status, &answer["choices"][0]["message"]["content"]), (200, &json!("Hi")));
    // Not a whole stream: no answer, but what another target could give.
    let bench = Bench::over(&[json!({}), json!({})]);
    bench.script([Answer::stream(vec![ROLE.into(), TEXT.into()]), error(200, OK)]);
    let seen = bench.ask(json!({}), &[]);
    assert_eq!((seen.status, seen.called.len()), (200, 2));
}

#[test]
fn explain_tells_where_a_chat_would_go_and_calls_nobody() {
    let bench = Bench::over(&[json!({"weight": 0}), json!({"weight": 3}), json!({"priority": 2})]);
    let body = json!({"model": "fast", "messages": [{"role": "user", "content": "hi"}]});
    let (status, answer) = bench.call(&bench.key, "POST", "/v1/route/explain", body);
    assert_eq!(status, 200, "{answer}");
    assert_eq!((&answer["object"], &answer["algorithm"]), (&json!("route"), &json!("latency")));
    let targets = answer["targets"].as_array().unwrap();
    let part = |name: &str| targets.iter().map(|target| target[name].clone()).collect::<Vec<_>>();
    assert_eq!(part("weight"), [json!(0), json!(3), json!(1)]);
    assert_eq!(part("eligible"), [json!(false), json!(true), json!(true)]);
    assert_eq!(targets[0]["why_not"], "drained");
    assert_eq!(answer["pick"]["model_uuid"], targets[1]["model_uuid"]);
    assert!(bench.world.http().take_sent().is_empty());
    let unknown = json!({"model": "nobody", "messages": [{}]});
    assert_eq!(bench.call(&bench.key, "POST", "/v1/route/explain", unknown).0, 404);
}

/// Fault matrix: U2, S19.
#[test]
fn a_credential_that_was_rotated_outside_is_read_once_more() {
    let bench = Bench::keeping(DefaultManager::Aws);
    let body = json!({"name": "main", "data": {"apikey": SK, "base_url": "https://p0.example/v1"}});
    let (_, provider) = bench.admin("POST", "/v1/providers/openai", body);
    let path = format!("/v1/providers/{}/models", provider["uuid"].as_str().unwrap());
    assert_eq!(bench.admin("POST", &path, json!({"id": "gpt-4o", "alias": "fast"})).0, 201);
    bench.world.take_log();
    // The same as before: one call, and the truth.
    bench.script([error(401, "{}")]);
    let seen = bench.ask(json!({}), &[]);
    assert_eq!((seen.status, code(&seen.text).as_str(), seen.called.len()), (502, "upstream_auth_failed", 1));
    bench.world.pass(60_000);
    bench.world.manager().rotate(r#"{"apikey":"sk-another-0123456789"}"#);
    bench.script([error(401, "{}"), error(200, OK)]);
    let body = json!({"model": "fast", "messages": [{"role": "user", "content": "hi"}]}).to_string();
    bench.world.http().take_sent();
    assert_eq!(bench.read(bench.send(&bench.key, "POST", "/v1/chat/completions", body)).0, 200);
    let used: Vec<String> = bench
        .world
        .http()
        .take_sent()
        .iter()
        .map(|sent| sent.headers.iter().find(|(name, _)| name == "authorization").unwrap().1.clone())
        .collect();
    assert_eq!(used, [format!("Bearer {SK}"), "Bearer sk-another-0123456789".to_owned()]);
}

#[test]
fn a_target_that_was_added_elsewhere_takes_over_at_once() {
    let bench = Bench::over(&[json!({})]);
    bench.script([error(200, OK)]);
    bench.ask(json!({}), &[]);
    let here = bench.fresh();
    here.script([error(200, OK)]);
    here.ask(json!({}), &[]);
    let data = json!({"apikey": SK, "base_url": "https://p9.example/v1"});
    let (_, provider) = bench.admin("POST", "/v1/providers/openai", json!({"name": "p9", "data": data}));
    let path = format!("/v1/providers/{}/models", provider["uuid"].as_str().unwrap());
    assert_eq!(bench.admin("POST", &path, json!({"id": "gpt-4o", "alias": "fast"})).0, 201);
    bench.world.take_log();
    bench.world.pass(1000);
    here.script([error(401, "{}"), error(200, OK)]);
    let seen = here.ask(json!({}), &[]);
    assert_eq!((seen.status, seen.called.as_slice()), (200, ["p0".to_owned(), "p9".to_owned()].as_slice()));
    // Nobody new: one question a second, however many fail.
    for _ in 0..3 {
        let before = here.world.store().calls();
        here.script((0..2).map(|_| error(400, "{}")));
        here.ask(json!({}), &[]);
        assert_eq!(here.world.store().calls() - before, 0);
        here.world.http().take_sent();
    }
}

#[test]
fn weights_and_priorities_have_bounds_and_are_kept() {
    let bench = Bench::new();
    let path = format!("/v1/providers/{}/models", bench.provider);
    for (body, want) in [
        (json!({"id": "a", "weight": 1000, "priority": 100}), 201),
        (json!({"id": "b", "weight": 1001}), 400),
        (json!({"id": "b", "weight": -1}), 400),
        (json!({"id": "b", "weight": 1.5}), 400),
        (json!({"id": "b", "weight": "1"}), 400),
        (json!({"id": "b", "priority": 101}), 400),
    ] {
        let (status, answer) = bench.admin("POST", &path, body.clone());
        assert_eq!(status, want, "{body} {answer}");
    }
    let (_, list) = bench.admin("GET", &path, Value::Null);
    let model = list["data"].as_array().unwrap().iter().find(|model| model["id"] == "a").unwrap().clone();
    assert_eq!((&model["weight"], &model["priority"]), (&json!(1000), &json!(100)));
    let at = format!("{path}/{}", model["uuid"].as_str().unwrap());
    let (_, patched) = bench.admin("PATCH", &at, json!({"weight": 0}));
    assert_eq!((&patched["weight"], &patched["priority"]), (&json!(0), &json!(100)));
    let (_, put) = bench.admin("PUT", &at, json!({"id": "a"}));
    // What is usual is left out.
    assert_eq!((put.get("weight"), put.get("priority")), (None, None));
}
