//! What an event of a stream costs in core: an open answer is given the provider's bytes as a network would, and nothing
//! else runs.

mod provider;

use std::hint::black_box;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use gateway_core::ports::Platform;
use gateway_core::testing::{Answer, Chunk, World};
use gateway_core::{Body, DefaultManager, Deployment, Gateway, Live};
use http::Request;
use serde_json::{Value, json};

use self::provider::Provider;
use crate::sample::median;
use crate::{Outcome, process};

/// What one provider's events cost.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    pub(crate) name: &'static str,
    /// Bytes of an event with its framing.
    pub(crate) bytes: usize,
    /// CPU of an event that comes alone, ns.
    pub(crate) single_ns: f64,
    /// CPU of an event among others in chunks of 16 KB, ns.
    pub(crate) packed_ns: f64,
}

pub(crate) fn measure() -> Outcome<Vec<Cost>> {
    let mut costs = Vec::new();
    for provider in Provider::all() {
        eprintln!("core: a stream of {}", provider.name);
        let events = provider.events(EVENTS);
        costs.push(Cost {
            name: provider.name,
            bytes: events.iter().map(Bytes::len).sum::<usize>() / events.len(),
            single_ns: cost(&provider, &events)?,
            packed_ns: cost(&provider, &packed(&events))?,
        });
    }
    Ok(costs)
}

/// The same bytes as chunks of 16 KB, wherever that cuts events.
fn packed(events: &[Bytes]) -> Vec<Bytes> {
    let all = Bytes::from(events.concat());
    (0..all.len()).step_by(CHUNK).map(|at| all.slice(at..(at + CHUNK).min(all.len()))).collect()
}

/// CPU ns per event, the middle one of some runs.
fn cost(provider: &Provider, chunks: &[Bytes]) -> Outcome<f64> {
    let mut live = open(provider)?;
    let mut run = || {
        let before = process::own_cpu_ns();
        for _ in 0..CYCLES {
            give(&mut live, chunks)?;
        }
        Outcome::Ok((process::own_cpu_ns() - before) as f64 / (CYCLES * EVENTS) as f64)
    };
    run()?;
    let runs = (0..RUNS).map(|_| run()).collect::<Outcome<Vec<f64>>>()?;
    Ok(median(runs))
}

/// Gives chunks to an open answer, which must stay open.
fn give(live: &mut Live<World>, chunks: &[Bytes]) -> Outcome<()> {
    for chunk in chunks {
        let step = live.push(black_box(chunk));
        if black_box(step).done {
            return Err("a stream ended before its end".into());
        }
    }
    Ok(())
}

/// An answer whose first text was sent, in a world without a network.
fn open(provider: &Provider) -> Outcome<Live<World>> {
    let world = World::at(1_790_000_000_000);
    let lookup = |name: &str| match name {
        "GATEWAY_ADMIN_KEY" => Some(OPERATOR.to_owned()),
        "GATEWAY_SEALING_KEY" => Some(BASE64.encode([7_u8; 32])),
        _ => None,
    };
    let gateway = Gateway::new(Deployment::read(lookup, DefaultManager::Builtin)?);
    let ask = |path: &str, key: &str, body: Value| {
        let request = Request::post(path)
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .body(Bytes::from(body.to_string()))?;
        Outcome::Ok(world.run(gateway.handle(world.clone(), request)).into_body())
    };
    let made = |path: &str, key: &str, body: Value, member: &str| {
        let Body::Full(bytes) = ask(path, key, body)? else { return Err("a stream for a configuration".into()) };
        let value: Value = serde_json::from_slice(&bytes)?;
        let made = value.get(member).and_then(Value::as_str);
        Outcome::Ok(made.ok_or_else(|| format!("no {member} in {value}"))?.to_owned())
    };
    let key = made("/v1/tenant", OPERATOR, json!({"name": "bench"}), "api_key")?;
    let data = json!({"name": "p", "data": provider.data});
    let uuid = made(&format!("/v1/providers/{}", provider.kind), &key, data, "uuid")?;
    let model = json!({"id": provider.model, "alias": "bench"});
    made(&format!("/v1/providers/{uuid}/models"), &key, model, "id")?;
    for answer in provider.token.iter().cloned() {
        world.http().push(answer);
    }
    let mut body: Vec<Chunk> = vec![Chunk::Bytes(provider.begin()), Chunk::Bytes(provider.event(0))];
    body.push(Chunk::Hang);
    world.http().push(Answer::with(200, provider.content_type(), body));
    let question = json!({"model": "bench", "messages": [{"role": "user", "content": "hi"}], "stream": true});
    match ask("/v1/chat/completions", &key, question)? {
        Body::Live(mut live) => {
            live.begin();
            live.take_upstream();
            Ok(*live)
        }
        Body::Full(bytes) => {
            Err(format!("{}: no stream but {}", provider.name, String::from_utf8_lossy(&bytes)).into())
        }
    }
}

const OPERATOR: &str = "operator.of.a.gateway.that.is.only.measured";
/// Different events that are given again and again.
const EVENTS: usize = 1_000;
/// How often, in one run.
const CYCLES: usize = 200;
const RUNS: usize = 5;
const CHUNK: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use allocation_counter::{AllocationInfo, measure};

    use super::*;

    /// What 10,000 events allocate.
    fn allocated(live: &mut Live<World>, chunks: &[Bytes]) -> AllocationInfo {
        measure(|| (0..10).for_each(|_| give(live, chunks).unwrap()))
    }

    #[test]
    fn a_long_stream_holds_no_more_than_a_short_one() {
        for provider in Provider::all() {
            let events = provider.events(EVENTS);
            for chunks in [events.clone(), packed(&events)] {
                let mut live = open(&provider).unwrap();
                // What grows to its size once has it then.
                give(&mut live, &chunks).unwrap();
                let (first, second) = (allocated(&mut live, &chunks), allocated(&mut live, &chunks));
                let name = provider.name;
                assert_eq!((first.bytes_current, second.bytes_current), (0, 0), "{name} keeps something");
                assert_eq!(first.count_total, second.count_total, "{name} allocates more and more");
                assert_eq!(first.bytes_max, second.bytes_max, "{name} allocates larger and larger");
                let most = 2 * CHUNK as u64 * 4;
                assert!(second.bytes_max < most, "{name} holds {} bytes for a chunk", second.bytes_max);
            }
        }
    }
}
