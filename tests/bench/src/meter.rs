//! What the meter costs: a streamed request through the whole of core, with the meter off and on in turn.

use std::hint::black_box;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use gateway_core::ports::Platform;
use gateway_core::testing::{Answer, Chunk, World, set_metering};
use gateway_core::{Body, DefaultManager, Deployment, Gateway};
use http::Request;
use serde_json::{Value, json};

use crate::Outcome;
use crate::sample::median;

/// Time of one request in core, ns: no network, no store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    off_ns: f64,
    on_ns: f64,
}

impl Cost {
    /// The meter's part in per cent.
    pub(crate) fn share(self) -> f64 {
        (self.on_ns - self.off_ns) / self.on_ns * 100.0
    }
}

/// Measures both in many short turns, of which the quicker half was not disturbed.
pub(crate) fn measure() -> Outcome<Cost> {
    let bench = Bench::new()?;
    let (mut offs, mut ons) = (Vec::new(), Vec::new());
    for turn in 0..2 * (TURNS + WARM) {
        let on = turn % 2 == 1;
        set_metering(on);
        let began = Instant::now();
        let asked = (0..REQUESTS).try_for_each(|_| bench.ask());
        let took = began.elapsed().as_nanos() as f64 / f64::from(REQUESTS);
        set_metering(true);
        asked?;
        if turn >= 2 * WARM {
            if on { ons.push(took) } else { offs.push(took) }
        }
    }
    let quicker = |mut took: Vec<f64>| {
        took.sort_by(f64::total_cmp);
        took.truncate(took.len() / 2);
        median(took)
    };
    Ok(Cost { off_ns: quicker(offs), on_ns: quicker(ons) })
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
/// Turns with the meter off, and as many with it on.
const TURNS: usize = 400;
/// As many before them, for warmth.
const WARM: usize = 20;
/// Requests of a turn.
const REQUESTS: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(debug_assertions, ignore = "a measurement: cargo nextest run --release -p gateway-bench meter")]
    fn the_meter_takes_two_hundredths_of_a_request_at_most() {
        let cost = measure().unwrap();
        eprintln!("{cost:?}: {:.2} %", cost.share());
        assert!(cost.share() <= 2.0, "{:.2} %: {cost:?}", cost.share());
    }
}
