//! What calls used and cost: as the provider says, once, and estimated where it says nothing.

use super::golden::Case;
use super::*;
use crate::account::TokenClass;
use crate::frame::{eventstream, sse};
use crate::testing::{Answer, Chunk};

/// A price of 1 USD per million tokens for every class: a million pico-USD are a token.
pub(super) fn flat_price() -> Value {
    TokenClass::ALL.into_iter().map(|class| (class.as_str().to_owned(), json!("1"))).collect::<Value>()
}

/// A number of a provider's report.
fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// What a provider itself says was used in all: its own total, or the sum of what it counts apart. The last report of
/// a stream counts; Anthropic's add to each other.
fn told(documents: &[Value]) -> Option<u64> {
    let mut anthropic = serde_json::Map::new();
    let (mut total, mut generation) = (None, (0, 0));
    for document in documents {
        for usage in [&document["usage"], &document["message"]["usage"]] {
            if let Some(own) = usage["total_tokens"].as_u64() {
                total = Some(own);
            } else if usage["inputTokens"].is_u64() {
                let names = ["inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"];
                total = Some(names.iter().map(|name| number(&usage[*name])).sum());
            } else if usage["input_tokens"].is_u64() || usage["output_tokens"].is_u64() {
                anthropic.extend(usage.as_object().unwrap().clone());
            }
        }
        let entry = &document["results"][0];
        if document.get("input_token_count").is_some() {
            total = document["input_token_count"].as_u64();
        } else if document.get("inputTextTokenCount").is_some() {
            total = document["inputTextTokenCount"].as_u64();
        } else if entry["input_token_count"].is_u64() || entry["generated_token_count"].is_u64() {
            // A stream tells each where it grows.
            let count = |at: &mut u64, name: &str| *at = number(&entry[name]).max(*at);
            count(&mut generation.0, "input_token_count");
            count(&mut generation.1, "generated_token_count");
            total = Some(generation.0 + generation.1);
        }
    }
    if anthropic.contains_key("input_tokens") {
        let names = ["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"];
        total = Some(names.iter().filter_map(|name| anthropic.get(*name)).map(number).sum());
    }
    total
}

/// The JSON documents of an answer: the whole of it, the data of its events, or the payloads of its frames.
fn documents(body: &Bytes) -> Vec<Value> {
    if let Ok(whole) = serde_json::from_slice(body) {
        return vec![whole];
    }
    let mut all = Vec::new();
    if std::str::from_utf8(body).is_ok() {
        let mut decoder = sse::Decoder::default();
        let _ = decoder.push(body, |event| all.extend(serde_json::from_slice::<Value>(&event.data)));
        decoder.finish(|event| all.extend(serde_json::from_slice::<Value>(&event.data)));
        return all;
    }
    let mut decoder = eventstream::Decoder::default();
    let _ = decoder.push(body, |frame| all.extend(serde_json::from_slice::<Value>(&frame.payload)));
    all
}

/// Whether the log of a case has the tokens that its provider told, and their price.
pub(super) fn judge(case: &Case, log: &[String]) {
    let name = &case.name;
    let line: Value = serde_json::from_str(log.last().unwrap()).unwrap();
    let used =
        line["gen_ai.usage.input_tokens"].as_u64().map(|input| input + number(&line["gen_ai.usage.output_tokens"]));
    let Some(used) = used else {
        assert!(line["cost_pico_usd"].is_null(), "{name}: {line}");
        return;
    };
    assert_eq!(line["cost_pico_usd"].as_u64(), Some(used * 1_000_000), "{name}: the classes' sum; {line}");
    if line["usage_estimated"] == true {
        return;
    }
    let header = |answer: &Value| answer["headers"]["x-amzn-bedrock-input-token-count"].as_str()?.parse::<u64>().ok();
    let own = |answer: &Value| told(&documents(&case.body(answer))).or_else(|| header(answer));
    let each: Vec<_> = case.calls().iter().map(|(_, answer)| own(answer)).collect();
    assert!(each.iter().any(Option::is_some), "{name}: nothing was told; {line}");
    let own: u64 = each.into_iter().flatten().sum();
    assert_eq!(used, own, "{name}: the provider's own total; {line}");
}

impl Bench {
    /// The last line of the log.
    fn last_line(&self) -> Value {
        serde_json::from_str(self.world.take_log().last().unwrap()).unwrap()
    }

    /// Puts a price on the model.
    fn price(&self, price: Value) -> (u16, Value) {
        let models = format!("/v1/providers/{}/models", self.provider);
        let uuid = self.admin("GET", &models, Value::Null).1["data"][0]["uuid"].as_str().unwrap().to_owned();
        self.admin("PATCH", &format!("{models}/{uuid}"), json!({"price": price}))
    }
}

fn sse(events: &[&str]) -> Vec<Chunk> {
    events.iter().map(|event| Chunk::Bytes(Bytes::from(format!("data: {event}\n\n")))).collect()
}

const HELLO: &str = r#"{"id":"c","choices":[{"index":0,"delta":{"content":"Hello you"},"finish_reason":null}]}"#;
const STOP: &str = r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"{"id":"c","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}"#;

#[test]
fn an_answer_without_usage_is_estimated() {
    let bench = Bench::new();
    bench.price(flat_price());
    for (answer, output) in [
        (r#"{"choices":[{"message":{"role":"assistant","content":"Hello you"}}]}"#, 3),
        (r#"{"choices":[{"message":{"content":""}}],"usage":{"prompt_tokens":-1}}"#, 0),
        (r#"{"choices":[],"usage":null}"#, 0),
    ] {
        bench.world.http().push(Answer::json(200, answer));
        assert_eq!(bench.chat(json!({})).0, 200);
        let line = bench.last_line();
        let body = json!({"model": "fast", "messages": [{"role": "user", "content": "hi"}]}).to_string();
        let input = body.len().div_ceil(4) as u64;
        assert_eq!(line["gen_ai.usage.input_tokens"], input, "{line}");
        assert_eq!(line["gen_ai.usage.output_tokens"], output, "{line}");
        assert_eq!(line["usage_estimated"], true);
        assert_eq!(line["cost_pico_usd"], (input + output) * 1_000_000);
    }
}

#[test]
fn a_stream_is_metered_as_told_or_else_as_it_passed() {
    let bench = Bench::new();
    let play = |chunks: Vec<Chunk>| {
        bench.world.http().push(Answer::stream(chunks));
        bench.chat(json!({"stream": true}));
        let line = bench.last_line();
        (line["gen_ai.usage.output_tokens"].as_u64(), line["usage_estimated"] == true)
    };
    assert_eq!(play(sse(&[HELLO, STOP, USAGE, "[DONE]"])), (Some(2), false));
    // The last report counts.
    let twice = USAGE.replace("\"completion_tokens\":2", "\"completion_tokens\":5");
    assert_eq!(play(sse(&[HELLO, USAGE, STOP, &twice, "[DONE]"])), (Some(5), false));
    // No report: nine letters are three tokens.
    assert_eq!(play(sse(&[HELLO, STOP, "[DONE]"])), (Some(3), true));
    assert_eq!(play(sse(&[HELLO, HELLO, STOP, "[DONE]"])), (Some(5), true));
    // Cut.
    assert_eq!(play(sse(&[HELLO])), (Some(3), true));
    // Cut after a report that was followed by more.
    assert_eq!(play(sse(&[USAGE, HELLO, HELLO])), (Some(5), true));
}

#[test]
fn a_client_that_leaves_is_metered_once() {
    let bench = Bench::new();
    bench.world.http().push(Answer::stream(sse(&[HELLO, STOP, USAGE, "[DONE]"])));
    let body = json!({"model": "fast", "stream": true, "messages": [{"role": "user", "content": "hi"}]});
    let response = bench.send(&bench.key, "POST", "/v1/chat/completions", body.to_string());
    let Body::Live(mut live) = response.into_body() else { panic!("no stream") };
    assert!(!live.begin().bytes.is_empty());
    drop(live);
    let log = bench.world.take_log();
    assert_eq!(log.len(), 1, "{log:?}");
    let line: Value = serde_json::from_str(&log[0]).unwrap();
    assert_eq!((&line["gen_ai.usage.output_tokens"], &line["usage_estimated"]), (&json!(3), &json!(true)), "{line}");
}

#[test]
fn a_model_costs_what_its_tenant_says_else_what_the_books_say() {
    let whole = r#"{"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":10,
        "prompt_tokens_details":{"cached_tokens":400}}}"#;
    let bench = Bench::new();
    let cost = |extra: Value| {
        bench.world.http().push(Answer::json(200, whole));
        assert_eq!(bench.chat(extra).0, 200);
        let line = bench.last_line();
        (line["cost_pico_usd"].as_u64(), line["price_version"].as_str().map(str::to_owned))
    };
    assert_eq!(cost(json!({})), (None, None), "nobody knows the price");
    let (status, model) = bench.price(json!({"input": "2.50", "cache_read": 1.25, "output": "10.000000001"}));
    assert_eq!((status, &model["price"]["cache_read"]), (200, &json!(1.25)), "{model}");
    let (pico, version) = cost(json!({}));
    assert_eq!(pico, Some(600 * 2_500_000 + 400 * 1_250_000 + 10 * 10_000_000));
    assert!(version.is_some_and(|version| version.starts_with("tenant:")));
    // A class without a price: the cost is not known, and not 0.
    bench.price(json!({"input": "2.50", "output": "10"}));
    assert_eq!(cost(json!({})), (None, None));
    assert_eq!(bench.price(Value::Null).1["price"], Value::Null);
    // Ours knows this one, at its list price.
    let models = format!("/v1/providers/{}/models", bench.provider);
    assert_eq!(bench.admin("POST", &models, json!({"id": "gpt-5-nano", "alias": "small"})).0, 201);
    let (pico, version) = cost(json!({"model": "small"}));
    assert_eq!(pico, Some(600 * 50_000 + 400 * 5_000 + 10 * 400_000));
    assert!(version.is_some_and(|version| version.starts_with("20")));
    assert!(cost(json!({"model": "small", "service_tier": "auto"})).0.is_some());
    assert_eq!(cost(json!({"model": "small", "service_tier": "priority"})), (None, None));
}

#[test]
fn prices_of_providers_elsewhere_are_not_listed() {
    let mut bench = Bench::empty();
    let data = json!({"apikey": SK, "base_url": "https://llm.example.com/v1"});
    let provider = bench.admin("POST", "/v1/providers/openai", json!({"name": "other", "data": data}));
    bench.provider = provider.1["uuid"].as_str().unwrap().to_owned();
    let models = format!("/v1/providers/{}/models", bench.provider);
    assert_eq!(bench.admin("POST", &models, json!({"id": "gpt-5-nano", "alias": "fast"})).0, 201);
    bench.world.http().push(Answer::json(200, r#"{"choices":[],"usage":{"prompt_tokens":1}}"#));
    assert_eq!(bench.chat(json!({})).0, 200);
    assert_eq!(bench.last_line()["cost_pico_usd"], Value::Null);
}

#[test]
fn a_wrong_price_is_refused_by_its_member() {
    let bench = Bench::new();
    for (price, param) in [
        (json!("1"), "price"),
        (json!([]), "price"),
        (json!({}), "price"),
        (json!({"input": "1", "speed": "1"}), "price"),
        (json!({"input": "1", "tiers": [{"above": 1, "speed": "1"}]}), "price"),
        (json!({"input": "-1"}), "price.input"),
        (json!({"input": "1", "output": "10001"}), "price.output"),
        (json!({"input": "1", "tiers": [{}]}), "price.tiers"),
        (json!({"input": "1", "tiers": [{"above": 1, "output": "x"}]}), "price.output"),
        (json!({"input": format!("1.{}", "0".repeat(crate::limits::PRICE_BYTES))}), "price"),
    ] {
        let (status, body) = bench.price(price.clone());
        assert_eq!((status, &body["error"]["param"]), (400, &json!(param)), "{price}: {body}");
    }
    // Padded to the limit and one beyond: members that are null say nothing.
    let padded = |bytes: usize| {
        let text = r#"{"input":"1","output":null}"#;
        format!("{}{}}}", &text[..text.len() - 1], " ".repeat(bytes - text.len()))
    };
    let models = format!("/v1/providers/{}/models", bench.provider);
    for (bytes, status) in [(crate::limits::PRICE_BYTES, 201), (crate::limits::PRICE_BYTES + 1, 400)] {
        let body = format!(r#"{{"id":"m{bytes}","price":{}}}"#, padded(bytes));
        assert_eq!(bench.send(OPERATOR, "POST", &models, body).status(), status, "{bytes}");
    }
}

#[test]
fn a_trace_is_joined_and_passed_on() {
    let bench = Bench::new();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let chat = |parent: Option<String>| {
        bench.world.http().push(Answer::json(200, r#"{"choices":[]}"#));
        let body = json!({"model": "fast", "messages": [{"role": "user", "content": "hi"}]}).to_string();
        let mut request = request(&bench.key, "POST", "/v1/chat/completions", body.into());
        if let Some(parent) = parent {
            request.headers_mut().insert("traceparent", parent.parse().unwrap());
            request.headers_mut().insert("tracestate", "vendor=parrot".parse().unwrap());
        }
        let response = bench.world.run(bench.gateway.handle(bench.world.clone(), request));
        assert_eq!(response.status(), 200);
        let sent = bench.world.http().take_sent().remove(0);
        assert!(!sent.headers.iter().any(|(name, value)| name == "tracestate" || value.contains("parrot")));
        let header = sent.headers.into_iter().find(|(name, _)| name == "traceparent").map(|(_, value)| value);
        (header, bench.last_line())
    };
    let (header, line) = chat(Some(format!("00-{trace}-b7ad6b7169203331-01")));
    let span = line["span_id"].as_str().unwrap();
    assert_eq!((span.len(), line["trace_id"].as_str()), (16, Some(trace)));
    assert_eq!(header, Some(format!("00-{trace}-{span}-01")));
    assert_ne!(span, "b7ad6b7169203331");
    for none in [None, Some(format!("00-{trace}-0000000000000000-01")), Some("canary".to_owned())] {
        let (header, line) = chat(none);
        assert_eq!((header, line.get("trace_id"), line.get("span_id")), (None, None, None));
    }
}
