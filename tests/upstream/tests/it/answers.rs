//! Answers without a script: complete in their members, and the same for the same request.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::client::Simulator;

async fn chat(user: &str, changes: Value) -> Value {
    let simulator = Simulator::start().await;
    let mut body = json!({"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": user}]});
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    let answer = simulator.chat("a", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    if body["stream"] == true { Value::Array(answer.events()) } else { answer.json() }
}

#[tokio::test]
async fn a_chat_has_every_member() {
    let simulator = Simulator::start().await;
    simulator.configure("a", &json!({"created": 1_760_000_000})).await;
    let body = json!({"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "hi"}], "x_a": {"b": [1]}});
    let answer = simulator.chat("a", &body).await;
    let mut value = answer.json();
    let id = value["id"].take();
    assert!(id.as_str().unwrap().starts_with("chatcmpl-"));
    let wanted = json!({
        "id": null, "object": "chat.completion", "created": 1_760_000_000, "model": "gpt-4.1-mini-2025-04-14",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello from the simulated provider. You said: hi",
            "refusal": null, "annotations": []}, "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 8, "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}},
        "service_tier": "default", "system_fingerprint": "fp_simulated", "echo": {"x_a": {"b": [1]}},
    });
    assert_eq!(value, wanted);
    for name in [
        "x-request-id",
        "openai-processing-ms",
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-requests",
    ] {
        assert!(answer.header(name).is_some(), "{name}");
    }
    assert!(answer.header("x-request-id").unwrap().starts_with("req_"));
    simulator.control("DELETE", "a", &Value::Null).await;
    assert_eq!(simulator.chat("a", &body).await.json()["id"], id, "the same call has the same answer");
}

#[tokio::test]
async fn a_stream_says_what_the_whole_answer_says() {
    for (changes, usage) in
        [(json!({"stream": true}), false), (json!({"stream": true, "stream_options": {"include_usage": true}}), true)]
    {
        let events = chat("one two", changes).await;
        let (done, chunks) = events.as_array().unwrap().split_last().unwrap();
        assert_eq!(done, "[DONE]");
        let said: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(said, "Hello from the simulated provider. You said: one two");
        assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": "", "refusal": null}));
        for chunk in chunks {
            assert_eq!((&chunk["id"], &chunk["object"]), (&chunks[0]["id"], &json!("chat.completion.chunk")));
            assert_eq!(chunk.get("usage").is_some(), usage);
        }
        let last = chunks.last().unwrap();
        match usage {
            true => assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(17))),
            false => assert_eq!(
                last["choices"][0],
                json!({"index": 0, "delta": {}, "logprobs": null, "finish_reason": "stop"})
            ),
        }
    }
}

#[tokio::test]
async fn parameters_shape_the_reply() {
    let cases = [
        (json!({"max_tokens": 2}), "Hello from", "length"),
        (json!({"max_completion_tokens": 100}), "Hello from the simulated provider. You said: json", "stop"),
        (json!({"stop": " said"}), "Hello from the simulated provider. You", "stop"),
        (json!({"stop": ["zz", " the"]}), "Hello from", "stop"),
        (
            json!({"response_format": {"type": "json_object"}}),
            r#"{"reply":"Hello from the simulated provider. You said: json"}"#,
            "stop",
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema":
            {"type": "object", "properties": {"n": {"type": "integer"}, "ok": {"type": "boolean"}}}}}}),
            r#"{"n":1,"ok":true}"#,
            "stop",
        ),
    ];
    for (changes, said, reason) in cases {
        let choice = chat("json", changes.clone()).await["choices"][0].clone();
        assert_eq!(
            (&choice["message"]["content"], &choice["finish_reason"]),
            (&json!(said), &json!(reason)),
            "{changes}"
        );
    }
    let two = chat("x", json!({"n": 2, "logprobs": true, "top_logprobs": 3})).await;
    assert_eq!(two["choices"].as_array().unwrap().len(), 2);
    assert_eq!(two["choices"][1]["index"], 1);
    assert_eq!(two["choices"][1]["logprobs"]["content"][0]["top_logprobs"].as_array().unwrap().len(), 3);
    assert_eq!(chat("x", json!({"service_tier": "fast"})).await["service_tier"], "priority");
    let thought = chat("x", json!({"model": "gpt-5"})).await;
    assert_eq!(thought["usage"]["completion_tokens_details"]["reasoning_tokens"], 64);
    let refused = chat("refuse: no", json!({})).await["choices"][0]["message"].clone();
    assert!(refused["content"].is_null() && refused["refusal"].is_string());
}

#[tokio::test]
async fn tools_are_called_when_asked_for() {
    let weather = json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}});
    let tools = json!([weather, {"type": "function", "function": {"name": "time"}}, {"type": "custom", "custom": {"name": "note"}}]);
    let named = json!({"type": "function", "function": {"name": "time"}});
    let only_time = json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "time"}}]}});
    let cases = [
        ("hi", json!({}), vec![], "stop"),
        ("hi", json!({"tool_choice": "required"}), vec![("weather", r#"{"city":"sample"}"#)], "tool_calls"),
        ("hi", json!({"tool_choice": named}), vec![("time", "{}")], "stop"),
        ("hi", json!({"tool_choice": only_time}), vec![("time", "{}")], "tool_calls"),
        ("call:", json!({}), vec![("weather", r#"{"city":"sample"}"#)], "tool_calls"),
        ("call:", json!({"tool_choice": "none"}), vec![], "stop"),
        (
            "call:weather {\"city\":\"Oslo\"}\ncall:time",
            json!({}),
            vec![("weather", r#"{"city":"Oslo"}"#), ("time", "{}")],
            "tool_calls",
        ),
        ("call:time\ncall:time", json!({"parallel_tool_calls": false}), vec![("time", "{}")], "tool_calls"),
        ("call:note", json!({}), vec![("note", "sample")], "tool_calls"),
    ];
    for (user, mut changes, wanted, reason) in cases {
        changes["tools"] = tools.clone();
        let choice = chat(user, changes.clone()).await["choices"][0].clone();
        let calls = choice["message"]["tool_calls"].as_array().cloned().unwrap_or_default();
        let found: Vec<(&str, &str)> = calls.iter().map(called).collect();
        assert_eq!((found, choice["finish_reason"].as_str()), (wanted.clone(), Some(reason)), "{user} {changes}");

        changes["stream"] = json!(true);
        let events = chat(user, changes).await;
        let mut streamed = vec![(String::new(), String::new()); wanted.len()];
        for delta in events
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|event| event["choices"][0]["delta"]["tool_calls"].as_array())
            .flatten()
        {
            let call = &mut streamed[usize::try_from(delta["index"].as_u64().unwrap()).unwrap()];
            let inner = delta.get("function").or_else(|| delta.get("custom")).unwrap();
            assert_eq!(delta.get("id").is_some(), inner.get("name").is_some(), "id and name come together");
            call.0.push_str(inner["name"].as_str().unwrap_or_default());
            call.1.push_str(inner.get("arguments").or_else(|| inner.get("input")).unwrap().as_str().unwrap());
        }
        assert_eq!(
            streamed.iter().map(|(name, arguments)| (name.as_str(), arguments.as_str())).collect::<Vec<_>>(),
            wanted,
            "{user}"
        );
    }
    let legacy = chat("call:f", json!({"functions": [{"name": "f"}]})).await["choices"][0].clone();
    assert_eq!(
        (&legacy["message"]["function_call"], &legacy["finish_reason"]),
        (&json!({"name": "f", "arguments": "{}"}), &json!("function_call"))
    );
}

fn called(call: &Value) -> (&str, &str) {
    let inner = call.get("function").or_else(|| call.get("custom")).unwrap();
    (inner["name"].as_str().unwrap(), inner.get("arguments").or_else(|| inner.get("input")).unwrap().as_str().unwrap())
}

#[tokio::test]
async fn the_number_of_chunks_is_the_one_asked_for() {
    let simulator = Simulator::start().await;
    for chunks in [1, 3, 9, 50] {
        simulator.configure("a", &json!({"chunks": chunks})).await;
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true});
        assert_eq!(simulator.chat("a", &body).await.events().len(), chunks + 3, "role, finish, done");
    }
}

#[tokio::test]
async fn completions_give_one_choice_per_prompt() {
    let simulator = Simulator::start().await;
    let cases = [
        (json!({"prompt": "a"}), 1),
        (json!({"prompt": ["a", "b"], "n": 2, "logprobs": 1}), 4),
        (json!({"prompt": [1, 2, 3]}), 1),
        (json!({"prompt": [[1], [2, 3]], "echo": true}), 2),
        (json!({"prompt": null, "max_tokens": 3}), 1),
    ];
    for (mut body, choices) in cases {
        body["model"] = json!("gpt-3.5-turbo-instruct");
        let whole = simulator.post("a", "/v1/completions", &body).await.json();
        assert_eq!(
            (&whole["object"], whole["choices"].as_array().unwrap().len()),
            (&json!("text_completion"), choices),
            "{body}"
        );
        body["stream"] = json!(true);
        let events = simulator.post("a", "/v1/completions", &body).await.events();
        for (index, choice) in whole["choices"].as_array().unwrap().iter().enumerate() {
            let own = |event: &&Value| event["choices"][0]["index"] == index;
            let text: String =
                events.iter().filter(own).filter_map(|event| event["choices"][0]["text"].as_str()).collect();
            assert_eq!(choice["text"], text, "{body}");
            assert_eq!(events.iter().rfind(own).unwrap()["choices"][0]["finish_reason"], choice["finish_reason"]);
        }
    }
}

#[tokio::test]
async fn embeddings_are_the_same_in_both_formats() {
    let simulator = Simulator::start().await;
    let ask = async |format: &str, dimensions: usize| {
        let body = json!({"model": "text-embedding-3-small", "input": ["a", "b", "a"], "encoding_format": format, "dimensions": dimensions});
        simulator.post("a", "/v1/embeddings", &body).await.json()
    };
    let (float, base64) = (ask("float", 8).await, ask("base64", 8).await);
    for index in 0..3 {
        let floats: Vec<f64> = serde_json::from_value(float["data"][index]["embedding"].clone()).unwrap();
        let bytes = STANDARD.decode(base64["data"][index]["embedding"].as_str().unwrap()).unwrap();
        let decoded: Vec<f32> = bytes.chunks(4).map(|part| f32::from_le_bytes(part.try_into().unwrap())).collect();
        assert_eq!(floats.len(), 8);
        assert!(floats.iter().zip(&decoded).all(|(a, b)| (a - f64::from(*b)).abs() < 1e-7));
    }
    assert_eq!(float["data"][0]["embedding"], float["data"][2]["embedding"]);
    assert_ne!(float["data"][0]["embedding"], float["data"][1]["embedding"]);
    assert_eq!(float["usage"], json!({"prompt_tokens": 3, "total_tokens": 3}));
    let plain = simulator
        .post("a", "/v1/embeddings", &json!({"model": "text-embedding-3-large", "input": [1, 2]}))
        .await
        .json();
    assert_eq!(plain["data"][0]["embedding"].as_array().unwrap().len(), 3072);
}

#[tokio::test]
async fn models_are_listed() {
    let simulator = Simulator::start().await;
    let list = async |path: &str| {
        let request = format!("GET /a{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\n\r\n");
        simulator.raw(request.as_bytes(), std::time::Duration::from_secs(5)).await
    };
    assert!(list("/v1/models").await.json()["data"].as_array().unwrap().len() > 3);
    simulator.configure("a", &json!({"models": ["m"], "created": 5})).await;
    let entry = json!({"id": "m", "object": "model", "created": 5, "owned_by": "system"});
    assert_eq!(list("/v1/models").await.json(), json!({"object": "list", "data": [entry]}));
    assert_eq!(list("/v1/models/m").await.json(), entry);
    assert_eq!(list("/v1/models/n").await.status, 404);
}
