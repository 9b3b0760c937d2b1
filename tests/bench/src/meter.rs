//! What the meter costs: a streamed request through the whole of core, and the meter's part of it by itself, in one run.

use std::hint::black_box;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use gateway_core::ports::Platform;
use gateway_core::testing::{Answer, Chunk, World, metered};
use gateway_core::{Body, DefaultManager, Deployment, Gateway};
use http::Request;
use serde_json::{Value, json};

use crate::sample::median;
use crate::{Outcome, process};

/// CPU of one request, ns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// All of it, in core: no network, no store.
    pub(crate) request_ns: f64,
    /// The meter's part.
    pub(crate) meter_ns: f64,
}

impl Cost {
    /// The meter's part in per cent.
    pub(crate) fn share(self) -> f64 {
        self.meter_ns / self.request_ns * 100.0
    }
}

/// Measures both in turn, several times; the middle ones.
pub(crate) fn measure() -> Outcome<Cost> {
    let bench = Bench::new()?;
    let deltas: Vec<String> = (0..EVENTS).map(|at| format!(r#"{{"content":" word{at}"}}"#)).collect();
    let deltas: Vec<&str> = deltas.iter().map(String::as_str).collect();
    let question = bench.question.to_string();
    let (mut whole, mut part) = (Vec::new(), Vec::new());
    for run in 0..=RUNS {
        let all = per_request(REQUESTS, || bench.ask())?;
        let meter = per_request(METERED, || {
            black_box(metered(black_box(question.as_bytes()), black_box(&deltas)));
            Ok(())
        })?;
        // The first one warms up.
        if run > 0 {
            whole.push(all);
            part.push(meter);
        }
    }
    Ok(Cost { request_ns: median(whole), meter_ns: median(part) })
}

fn per_request(count: u32, mut once: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
    let before = process::own_cpu_ns();
    for _ in 0..count {
        once()?;
    }
    Ok((process::own_cpu_ns() - before) as f64 / f64::from(count))
}

/// A gateway with a tenant whose provider streams.
struct Bench {
    world: World,
    gateway: Gateway,
    key: String,
    question: Value,
    stream: Vec<Bytes>,
}

impl Bench {
    fn new() -> Outcome<Self> {
        let lookup = |name: &str| match name {
            "GATEWAY_ADMIN_KEY" => Some(OPERATOR.to_owned()),
            "GATEWAY_SEALING_KEY" => Some(BASE64.encode([7_u8; 32])),
            _ => None,
        };
        let event = |choices: Value| {
            let head = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1760000000,"model":"gpt-4o","#;
            Bytes::from(format!("data: {head}\"choices\":{choices},\"usage\":null}}\n\n"))
        };
        let say = |at: usize| json!([{"index": 0, "delta": {"content": format!(" word{at}")}, "finish_reason": null}]);
        let mut stream: Vec<Bytes> = (0..EVENTS).map(|at| event(say(at))).collect();
        stream.push(event(json!([{"index": 0, "delta": {}, "finish_reason": "stop"}])));
        let usage =
            r#"data: {"id":"c","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":64,"total_tokens":73}}"#;
        stream.push(Bytes::from(format!("{usage}\n\ndata: [DONE]\n\n")));
        let text = "A question of some length. ".repeat(40);
        let mut bench = Self {
            world: World::at(1_790_000_000_000),
            gateway: Gateway::new(Deployment::read(lookup, DefaultManager::Builtin)?),
            key: String::new(),
            question: json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": text}]}),
            stream,
        };
        bench.key = bench.make("/v1/tenant", OPERATOR, &json!({"name": "bench"}), "api_key")?;
        let data = json!({"name": "p", "data": {"apikey": "sk-bench"}});
        let uuid = bench.make("/v1/providers/openai", &bench.key, &data, "uuid")?;
        let model = json!({"id": "gpt-4o", "alias": "m", "price": {"input": "2.50", "output": "10"}});
        bench.make(&format!("/v1/providers/{uuid}/models"), &bench.key, &model, "id")?;
        Ok(bench)
    }

    fn handle(&self, path: &str, key: &str, body: &Value) -> Outcome<Body<World>> {
        let request = Request::post(path)
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .body(Bytes::from(body.to_string()))?;
        Ok(self.world.run(self.gateway.handle(self.world.clone(), request)).into_body())
    }

    fn make(&self, path: &str, key: &str, body: &Value, member: &str) -> Outcome<String> {
        let Body::Full(bytes) = self.handle(path, key, body)? else { return Err("a stream".into()) };
        let value: Value = serde_json::from_slice(&bytes)?;
        Ok(value.get(member).and_then(Value::as_str).ok_or_else(|| format!("no {member} in {value}"))?.to_owned())
    }

    /// One request from its first byte to its last.
    fn ask(&self) -> Outcome<()> {
        self.world.http().push(Answer::stream(self.stream.iter().cloned().map(Chunk::Bytes).collect()));
        let Body::Live(mut live) = self.handle("/v1/chat/completions", &self.key, &self.question)? else {
            return Err("no stream".into());
        };
        let world = &self.world;
        world.run(async move {
            while let Some(bytes) = live.next().await {
                black_box(bytes);
            }
        });
        world.take_log();
        world.take_deferred();
        world.http().take_sent();
        Ok(())
    }
}

const OPERATOR: &str = "operator.of.a.gateway.that.is.only.measured";
/// Events with text in a stream.
const EVENTS: usize = 64;
/// Requests of a run.
const REQUESTS: u32 = 5_000;
/// So often its meter's part, that a tick of the scheduler does not count.
const METERED: u32 = 500_000;
const RUNS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(debug_assertions, ignore = "a measurement: cargo nextest run --release -p gateway-bench meter")]
    fn the_meter_takes_two_hundredths_of_a_request_at_most() {
        let cost = measure().unwrap();
        eprintln!("{:.0} ns of {:.0} ns: {:.2} %", cost.meter_ns, cost.request_ns, cost.share());
        assert!(cost.share() <= 2.0, "{:.2} %: {cost:?}", cost.share());
    }
}
