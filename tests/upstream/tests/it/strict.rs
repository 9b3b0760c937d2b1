//! What the simulator refuses, as the provider would, and what it holds against a gateway.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Simulator, post};

const CHAT: &str = "/v1/chat/completions";
const PATIENCE: Duration = Duration::from_secs(5);

/// A body that passes, with members set or (null written as `"-"`) removed.
fn chat(changes: &Value) -> Value {
    let mut body = json!({"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "hi"}]});
    for (name, value) in changes.as_object().unwrap() {
        if value == "-" {
            body.as_object_mut().unwrap().remove(name);
        } else {
            body[name] = value.clone();
        }
    }
    body
}

fn one_message(message: Value) -> Value {
    Value::from_iter([("messages", Value::Array(vec![message]))])
}

fn user_part(part: Value) -> Value {
    one_message(Value::from_iter([("role", json!("user")), ("content", Value::Array(vec![part]))]))
}

#[tokio::test]
async fn a_chat_with_a_fault_is_refused_with_its_param() {
    let simulator = Simulator::start().await;
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let call = |id: &str| json!({"role": "assistant", "tool_calls": [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
    let tool = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "x"});
    let user = json!({"role": "user", "content": "hi"});
    let cases: Vec<(Value, &str)> = vec![
        (json!({"model": "-"}), "model"),
        (json!({"model": 1}), "model"),
        (json!({"messages": "-"}), "messages"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": "hi"}), "messages"),
        (json!({"temperature": 2.1}), "temperature"),
        (json!({"temperature": -0.1}), "temperature"),
        (json!({"temperature": "1"}), "temperature"),
        (json!({"top_p": 1.01}), "top_p"),
        (json!({"n": 0}), "n"),
        (json!({"n": 129}), "n"),
        (json!({"n": 1.5}), "n"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"max_tokens": 5, "max_completion_tokens": 5}), "max_tokens"),
        (json!({"model": "o3-mini", "max_tokens": 5}), "max_tokens"),
        (json!({"presence_penalty": 3}), "presence_penalty"),
        (json!({"frequency_penalty": -3}), "frequency_penalty"),
        (json!({"logit_bias": {"a": 1}}), "logit_bias"),
        (json!({"logit_bias": {"1": 101}}), "logit_bias"),
        (json!({"logprobs": 3}), "logprobs"),
        (json!({"top_logprobs": 3}), "top_logprobs"),
        (json!({"logprobs": true, "top_logprobs": 21}), "top_logprobs"),
        (json!({"metadata": {"a": 1}}), "metadata"),
        (json!({"stop": ["a", "b", "c", "d", "e"]}), "stop"),
        (json!({"stop": [1]}), "stop[0]"),
        (json!({"stream": "true"}), "stream"),
        (json!({"stream_options": {"include_usage": true}}), "stream_options"),
        (json!({"stream": true, "stream_options": {"x": 1}}), "stream_options.x"),
        (json!({"service_tier": "gold"}), "service_tier"),
        (json!({"reasoning_effort": "huge"}), "reasoning_effort"),
        (json!({"modalities": ["audio"]}), "audio"),
        (json!({"response_format": {"type": "xml"}}), "response_format.type"),
        (json!({"response_format": {"type": "json_object"}}), "messages"),
        (json!({"response_format": {"type": "json_schema"}}), "response_format.json_schema"),
        (json!({"tools": []}), "tools"),
        (json!({"tools": null}), "tools"),
        (json!({"tools": [{"type": "function", "function": {"name": "a b"}}]}), "tools[0].function.name"),
        (
            json!({"tools": [{"type": "function", "function": {"name": "f", "strikt": true}}]}),
            "tools[0].function.strikt",
        ),
        (json!({"tool_choice": "auto"}), "tool_choice"),
        (json!({"tools": tools, "tool_choice": "any"}), "tool_choice"),
        (json!({"tools": tools, "tool_choice": {"type": "function", "function": {"name": "g"}}}), "tool_choice"),
        (json!({"parallel_tool_calls": true}), "parallel_tool_calls"),
        (json!({"function_call": "auto"}), "function_call"),
        (json!({"surprise": 1}), "surprise"),
        (one_message(json!({"role": "robot", "content": "x"})), "messages[0].role"),
        (one_message(json!({"content": "x"})), "messages[0].role"),
        (one_message(json!({"role": "user"})), "messages[0].content"),
        (one_message(json!({"role": "user", "content": null})), "messages[0].content"),
        (one_message(json!({"role": "assistant"})), "messages[0].content"),
        (one_message(json!({"role": "user", "content": "x", "surprise": 1})), "messages[0].surprise"),
        (
            one_message(
                json!({"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://a"}}]}),
            ),
            "messages[0].content[0].type",
        ),
        (user_part(json!({"type": "image_url", "image_url": "https://a"})), "messages[0].content[0].image_url"),
        (
            user_part(json!({"type": "image_url", "image_url": {"url": "ftp://a"}})),
            "messages[0].content[0].image_url.url",
        ),
        (
            user_part(json!({"type": "image_url", "image_url": {"url": "https://a", "detail": "max"}})),
            "messages[0].content[0].image_url.detail",
        ),
        (
            user_part(json!({"type": "input_audio", "input_audio": {"data": "x", "format": "ogg"}})),
            "messages[0].content[0].input_audio.format",
        ),
        (user_part(json!({"type": "file", "file": {}})), "messages[0].content[0].file"),
        (user_part(json!({"type": "file", "file": {"file_data": "JVBERi0="}})), "messages[0].content[0].file"),
        (user_part(json!({"type": "video"})), "messages[0].content[0].type"),
        (one_message(tool("a")), "messages[0].role"),
        (json!({"messages": [user, call("a"), tool("b")]}), "messages[2].role"),
        (json!({"messages": [user, call("a"), tool("a"), tool("a")]}), "messages[3].role"),
        (json!({"messages": [user, call("a"), user]}), "messages[1].tool_calls"),
        (json!({"messages": [user, call("a")]}), "messages[1].tool_calls"),
        (json!({"messages": [user, {"role": "function", "name": "f", "content": "x"}]}), "messages[1].role"),
    ];
    for (changes, param) in cases {
        let answer = simulator.chat("a", &chat(&changes)).await;
        let error = &answer.json()["error"];
        assert_eq!(
            (answer.status, &error["param"], &error["type"]),
            (400, &json!(param), &json!("invalid_request_error")),
            "{changes}: {error}"
        );
        assert_eq!(simulator.calls("a").await.last().unwrap()["violations"], json!([]), "{changes}");
    }
}

#[tokio::test]
async fn a_chat_with_every_parameter_passes() {
    let simulator = Simulator::start().await;
    let full = json!({
        "frequency_penalty": 0.5, "logit_bias": {"50256": -100}, "logprobs": true, "top_logprobs": 2, "max_completion_tokens": 50,
        "metadata": {"a": "b"}, "modalities": ["text"], "n": 2, "parallel_tool_calls": true, "presence_penalty": null,
        "prediction": {"type": "content", "content": "x"}, "prompt_cache_key": "k", "prompt_cache_options": {"mode": "explicit", "ttl": "30m"},
        "prompt_cache_retention": "24h", "reasoning_effort": null, "response_format": {"type": "text"}, "safety_identifier": "s",
        "seed": -1, "service_tier": "flex", "stop": ["zzz"], "store": false, "stream": true,
        "stream_options": {"include_usage": true, "include_obfuscation": false}, "temperature": 2, "top_p": 0, "user": "u",
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {}, "strict": true}},
                  {"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}}],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}},
        "verbosity": "low", "web_search_options": {"search_context_size": "low"}, "x_own": [1],
        "moderation": {"a": 1},
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}]},
            {"role": "system", "content": "b", "name": "n"},
            {"role": "user", "content": "c", "x_own": {"deep": true}},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "refusal": null},
            {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": ""}},
            {"role": "function", "name": "f", "content": null},
            {"role": "assistant", "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "2", "type": "custom", "custom": {"name": "c", "input": "i"}}]},
            {"role": "tool", "tool_call_id": "2", "content": "x"},
            {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "y"}]},
            {"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]},
        ],
    });
    let answer = simulator.chat("a", &chat(&full)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.events()[0]["echo"], json!({"x_own": [1]}));
}

#[tokio::test]
async fn a_member_of_the_gateway_is_a_violation() {
    let simulator = Simulator::start().await;
    for name in ["cache", "cache_control", "input_type", "reasoning_content", "router", "thinking_blocks"] {
        let at_top = chat(&Value::from_iter([(name, json!([]))]));
        let mut message = json!({"role": "assistant", "content": "x"});
        message[name] = json!("x");
        for body in [at_top, chat(&one_message(message))] {
            assert_eq!(simulator.chat(&name.replace('_', "-"), &body).await.status, 400);
        }
        let calls = simulator.calls(&name.replace('_', "-")).await;
        assert!(
            calls.iter().all(|call| call["violations"][0].as_str().is_some_and(|text| text.contains(name))),
            "{calls:?}"
        );
    }
}

#[tokio::test]
async fn a_header_that_must_not_be_sent_is_a_violation() {
    let simulator = Simulator::start().await;
    let body = chat(&json!({})).to_string();
    let cases: &[(&[&str], u16)] = &[
        (&[], 200),
        (&["accept-encoding: identity", "accept: */*", "user-agent: x", "connection: keep-alive"], 200),
        (&["content-type: application/json; charset=utf-8"], 200),
        (&["cookie: a=b"], 400),
        (&["x-forwarded-for: 1.2.3.4"], 400),
        (&["X-Stainless-Lang: python"], 400),
        (&["x-amz-date: 1"], 400),
        (&["x-gateway-tenant: t"], 400),
        (&["accept-encoding: gzip"], 400),
        (&["connection: keep-alive, x-hop", "x-hop: 1"], 400),
        (&["te: trailers"], 400),
        (&["x-one: 1", "+x-one: 2"], 400),
        (&["+authorization: Bearer sk-other"], 400),
        (&["+content-type: application/json"], 400),
        (&["content-type: text/plain"], 400),
        (&["content-type"], 400),
        (&["authorization"], 401),
        (&["authorization: Basic YTpi"], 401),
        (&["authorization: Bearer "], 401),
    ];
    for (lines, status) in cases {
        let answer = simulator.raw(&post("/a/v1/chat/completions", lines, body.as_bytes()), PATIENCE).await;
        assert_eq!(answer.status, *status, "{lines:?}: {}", answer.text());
        let violations = simulator.calls("a").await.pop().unwrap()["violations"].clone();
        assert_eq!(violations == json!([]), *status == 200, "{lines:?}: {violations}");
    }
    simulator.configure("a", &json!({"lenient_headers": true})).await;
    let answer = simulator.raw(&post("/a/v1/chat/completions", &["cookie: a=b"], body.as_bytes()), PATIENCE).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn what_is_not_a_proper_request_is_refused() {
    let simulator = Simulator::start().await;
    let cases: &[(&str, &str, u16)] = &[
        (CHAT, "", 400),
        (CHAT, "[]", 400),
        (CHAT, "{\"model\":\"m\",", 400),
        (CHAT, r#"{"model":"m","model":"m","messages":[{"role":"user","content":"x"}]}"#, 400),
        (CHAT, r#"{"model":"m","messages":[{"role":"user","content":"x","content":"y"}]}"#, 400),
        ("/v1/chat/completions?a=b", "{}", 400),
        ("/v1/chat/completions/", "{}", 404),
        ("/v1/responses", "{}", 404),
        ("/v1/models", "{}", 405),
    ];
    for (path, body, status) in cases {
        let answer = simulator.raw(&post(&format!("/a{path}"), &[], body.as_bytes()), PATIENCE).await;
        assert_eq!(answer.status, *status, "{path} {body}: {}", answer.text());
        assert_ne!(simulator.calls("a").await.pop().unwrap()["violations"], json!([]), "{path} {body}");
    }
    for raw in [
        "GET /a/v1/models HTTP/1.0\r\n\r\n",
        "nonsense\r\n\r\n",
        "POST /a/v1/x HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n",
    ] {
        assert_eq!(simulator.raw(raw.as_bytes(), PATIENCE).await.status, 400, "{raw}");
    }
}

#[tokio::test]
async fn keys_and_models_are_those_of_the_account() {
    let simulator = Simulator::start().await;
    simulator.configure("a", &json!({"keys": ["sk-right"], "models": ["m1"], "script": [{"text": "taken"}]})).await;
    let ask = async |key: &str, model: &str| {
        let body = chat(&json!({"model": model})).to_string();
        let line = format!("authorization: Bearer {key}");
        simulator.raw(&post("/a/v1/chat/completions", &[&line], body.as_bytes()), PATIENCE).await
    };
    let wrong = ask("sk-wrong-0123456789", "m1").await;
    assert_eq!((wrong.status, &wrong.json()["error"]["code"]), (401, &json!("invalid_api_key")));
    assert!(wrong.text().contains("sk-wrong") && wrong.text().contains("6789") && !wrong.text().contains("12345"));
    let unknown = ask("sk-right", "m2").await;
    assert_eq!((unknown.status, &unknown.json()["error"]["code"]), (404, &json!("model_not_found")));
    let right = ask("sk-right", "m1").await;
    assert_eq!(right.json()["choices"][0]["message"]["content"], "taken", "a refused call takes no step");
    assert!(simulator.calls("a").await.iter().all(|call| call["violations"] == json!([])));
}

#[tokio::test]
async fn completions_and_embeddings_are_checked_too() {
    let simulator = Simulator::start().await;
    let cases = [
        ("/v1/completions", json!({"model": "m"}), "prompt"),
        ("/v1/completions", json!({"model": "m", "prompt": {}}), "prompt"),
        ("/v1/completions", json!({"model": "m", "prompt": "x", "logprobs": 6}), "logprobs"),
        ("/v1/completions", json!({"model": "m", "prompt": "x", "logprobs": true}), "logprobs"),
        ("/v1/completions", json!({"model": "m", "prompt": "x", "n": 2, "best_of": 1}), "best_of"),
        ("/v1/completions", json!({"model": "m", "prompt": "x", "best_of": 2, "stream": true}), "best_of"),
        ("/v1/completions", json!({"model": "m", "prompt": "x", "stream_options": {}}), "stream_options"),
        ("/v1/completions", json!({"model": "m", "prompt": "x", "messages": []}), "messages"),
        ("/v1/embeddings", json!({"model": "m"}), "input"),
        ("/v1/embeddings", json!({"model": "m", "input": ""}), "input"),
        ("/v1/embeddings", json!({"model": "m", "input": []}), "input"),
        ("/v1/embeddings", json!({"model": "m", "input": ["a", ""]}), "input[1]"),
        ("/v1/embeddings", json!({"model": "m", "input": vec!["a"; 2049]}), "input"),
        ("/v1/embeddings", json!({"model": "m", "input": "a ".repeat(20_000)}), "input"),
        ("/v1/embeddings", json!({"model": "m", "input": "a", "encoding_format": "hex"}), "encoding_format"),
        ("/v1/embeddings", json!({"model": "m", "input": "a", "encoding_format": null}), "encoding_format"),
        ("/v1/embeddings", json!({"model": "m", "input": "a", "dimensions": 0}), "dimensions"),
        ("/v1/embeddings", json!({"model": "text-embedding-ada-002", "input": "a", "dimensions": 8}), "dimensions"),
        ("/v1/embeddings", json!({"model": "m", "input": "a", "input_type": "query"}), "input_type"),
    ];
    for (path, body, param) in cases {
        let answer = simulator.post("a", path, &body).await;
        assert_eq!(
            (answer.status, answer.json()["error"]["param"].clone()),
            (400, json!(param)),
            "{param}: {}",
            answer.text()
        );
    }
}
