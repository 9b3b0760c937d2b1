use serde_json::json;

use super::super::tests::{body_of, encode};
use super::*;

const CLAUDE: &str = "us.anthropic.claude-sonnet-4-6";

/// A one-message request with these members more.
fn front(more: &Value) -> Value {
    let mut front = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
    for (name, value) in more.as_object().unwrap() {
        front[name] = value.clone();
    }
    front
}

fn call(arguments: &str) -> Value {
    json!({"role": "assistant", "tool_calls": [
        {"id": "t", "type": "function", "function": {"name": "f", "arguments": arguments}}]})
}

#[test]
fn thinking_is_said_in_the_models_form() {
    let thinking = |value: Value| json!({"thinking": value});
    let enabled = |tokens: u64| thinking(json!({"type": "enabled", "budget_tokens": tokens}));
    let tool = json!([{"type": "function", "function": {"name": "f"}}]);
    let history =
        json!([{"role": "user", "content": "x"}, call("{}"), {"role": "tool", "tool_call_id": "t", "content": "1"}]);
    for (model, more, additional, effort, most, drops) in [
        (
            CLAUDE,
            json!({"reasoning_effort": "minimal"}),
            thinking(json!({"type": "adaptive"})),
            json!("low"),
            Value::Null,
            "",
        ),
        (
            CLAUDE,
            json!({"reasoning_effort": "xhigh"}),
            thinking(json!({"type": "adaptive"})),
            json!("xhigh"),
            Value::Null,
            "",
        ),
        (
            CLAUDE,
            json!({"reasoning_effort": "none"}),
            thinking(json!({"type": "disabled"})),
            Value::Null,
            Value::Null,
            "",
        ),
        (
            "claude-opus-4-8",
            json!({"reasoning_effort": "none"}),
            Value::Null,
            Value::Null,
            Value::Null,
            "reasoning_effort",
        ),
        (
            CLAUDE,
            json!({"reasoning_effort": "high", "tools": tool, "tool_choice": "required"}),
            Value::Null,
            Value::Null,
            Value::Null,
            "reasoning_effort",
        ),
        ("claude-haiku-4-5", json!({"reasoning_effort": "low"}), enabled(2_048), Value::Null, json!(6_144), ""),
        (
            "claude-haiku-4-5",
            json!({"reasoning_effort": "high", "max_tokens": 2000}),
            enabled(1_999),
            Value::Null,
            json!(2_000),
            "",
        ),
        (
            "claude-haiku-4-5",
            json!({"reasoning_effort": "low", "max_tokens": 1025}),
            enabled(1_024),
            Value::Null,
            json!(1_025),
            "",
        ),
        (
            "claude-haiku-4-5",
            json!({"reasoning_effort": "low", "max_tokens": 1024}),
            Value::Null,
            Value::Null,
            json!(1_024),
            "reasoning_effort",
        ),
        ("claude-haiku-4-5", json!({"reasoning_effort": "none"}), Value::Null, Value::Null, Value::Null, ""),
        (
            "claude-haiku-4-5",
            json!({"reasoning_effort": "low", "messages": history, "tools": tool}),
            Value::Null,
            Value::Null,
            Value::Null,
            "reasoning_effort",
        ),
        (
            "claude-haiku-4-5",
            json!({"reasoning_effort": "low", "temperature": 0.5, "top_k": 3, "top_p": 0.5}),
            enabled(2_048),
            Value::Null,
            json!(6_144),
            "temperature, top_p, top_k",
        ),
        (
            "openai.gpt-oss-20b-1:0",
            json!({"reasoning_effort": "max"}),
            json!({"reasoning_effort": "high"}),
            Value::Null,
            Value::Null,
            "",
        ),
        (
            "openai.gpt-oss-20b-1:0",
            json!({"reasoning_effort": "none"}),
            Value::Null,
            Value::Null,
            Value::Null,
            "reasoning_effort",
        ),
        ("amazon.nova-pro-v1:0", json!({"reasoning_effort": "none"}), Value::Null, Value::Null, Value::Null, ""),
        (CLAUDE, json!({"top_k": 5}), json!({"top_k": 5}), Value::Null, Value::Null, ""),
    ] {
        let encoded = encode(model, &json!({}), &front(&more)).unwrap();
        let body = body_of(&encoded);
        let seen = (
            &body["additionalModelRequestFields"],
            &body["outputConfig"]["effort"],
            &body["inferenceConfig"]["maxTokens"],
        );
        assert_eq!(seen, (&additional, &effort, &most), "{model} {more}");
        assert_eq!(encoded.drops.header(), drops, "{model} {more}");
    }
}

#[test]
fn what_cannot_be_taken_is_refused_by_name() {
    let part = |part: Value| json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, part]}]});
    let user = json!({"role": "user", "content": "x"});
    let tool = json!([{"type": "function", "function": {"name": "f"}}]);
    let other = "cohere.command-r-v1:0";
    for (model, more, code, param) in [
        (CLAUDE, json!({"n": 2}), ErrorCode::UnsupportedValue, "n"),
        (CLAUDE, json!({"modalities": ["text", "audio"]}), ErrorCode::UnsupportedParameter, "modalities"),
        (CLAUDE, json!({"web_search_options": {}}), ErrorCode::UnsupportedParameter, "web_search_options"),
        (CLAUDE, json!({"top_k": -1}), ErrorCode::InvalidRequest, "top_k"),
        (
            CLAUDE,
            part(json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}})),
            ErrorCode::UnsupportedContent,
            "messages[0].content[1]",
        ),
        (
            CLAUDE,
            part(json!({"type": "file", "file": {"file_id": "x"}})),
            ErrorCode::UnsupportedContent,
            "messages[0].content[1]",
        ),
        (
            CLAUDE,
            part(json!({"type": "file", "file": {"file_data": "data:image/png;base64,AAAA"}})),
            ErrorCode::UnsupportedContent,
            "messages[0].content[1].file.file_data",
        ),
        (
            CLAUDE,
            part(json!({"type": "file", "file": {"file_data": "AAAA"}})),
            ErrorCode::InvalidRequest,
            "messages[0].content[1].file.file_data",
        ),
        (
            CLAUDE,
            part(json!({"type": "image_url", "image_url": {"url": "data:image/png,AAAA"}})),
            ErrorCode::InvalidRequest,
            "messages[0].content[1].image_url.url",
        ),
        (
            CLAUDE,
            part(json!({"type": "image_url", "image_url": {"url": "https://never.fetched/a.png"}})),
            ErrorCode::InvalidImageUrl,
            "messages[0].content[1].image_url.url",
        ),
        (CLAUDE, part(json!({"type": "video"})), ErrorCode::UnsupportedContent, "messages[0].content[1]"),
        (CLAUDE, json!({"messages": [{"role": "system", "content": "x"}]}), ErrorCode::InvalidRequest, "messages"),
        (
            CLAUDE,
            json!({"messages": [{"role": "system", "content": "x"}, {"role": "assistant", "content": "x"}]}),
            ErrorCode::InvalidRequest,
            "messages[1]",
        ),
        (
            CLAUDE,
            json!({"messages": [user, {"role": "assistant", "content": "x"}, {"role": "user", "content": " \n"}]}),
            ErrorCode::InvalidRequest,
            "messages[2]",
        ),
        (
            CLAUDE,
            json!({"messages": [user, call("{\"a\":")]}),
            ErrorCode::InvalidToolArguments,
            "messages[1].tool_calls[0].function.arguments",
        ),
        (
            CLAUDE,
            json!({"messages": [user, call("[]")]}),
            ErrorCode::InvalidToolArguments,
            "messages[1].tool_calls[0].function.arguments",
        ),
        (
            CLAUDE,
            json!({"messages": [user, call(&format!("{{\"a\":{}1{}}}", "[".repeat(200), "]".repeat(200)))]}),
            ErrorCode::InvalidToolArguments,
            "messages[1].tool_calls[0].function.arguments",
        ),
        (other, json!({"tools": tool, "tool_choice": "required"}), ErrorCode::UnsupportedValue, "tool_choice"),
        (
            other,
            json!({"functions": [{"name": "f"}], "function_call": {"name": "f"}}),
            ErrorCode::UnsupportedValue,
            "function_call",
        ),
        (
            "amazon.nova-lite-v1:0",
            json!({"tools": [{"type": "function", "function": {"name": "json_output"}}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}}),
            ErrorCode::UnsupportedValue,
            "response_format",
        ),
    ] {
        let failure = encode(model, &json!({}), &front(&more)).unwrap_err();
        assert_eq!((failure.code, failure.param.as_deref()), (code, Some(param)), "{model} {more}");
    }
    // What a model is said to take is not refused.
    let sound = part(json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}));
    let body = body_of(&encode(CLAUDE, &json!({"audio": true}), &front(&sound)).unwrap());
    assert_eq!(body["messages"][0]["content"][1], json!({"audio": {"format": "wav", "source": {"bytes": "AAAA"}}}));
    let failure = encode(
        CLAUDE,
        &json!({"images": false}),
        &front(&part(json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}))),
    );
    assert_eq!(failure.unwrap_err().code, ErrorCode::UnsupportedContent);
}

#[test]
fn tuning_that_cannot_be_taken_is_named() {
    let long = "x".repeat(257);
    for (model, said, more, gone, drops) in [
        (
            CLAUDE,
            json!({}),
            json!({"seed": 1, "logit_bias": {"1": 1}, "user": "u", "store": true, "x_new": 1}),
            "",
            "seed, logit_bias, user, store, x_new",
        ),
        (
            CLAUDE,
            json!({}),
            json!({"frequency_penalty": 0, "logprobs": false, "verbosity": "medium", "seed": null, "n": 1, "parallel_tool_calls": false}),
            "",
            "",
        ),
        (
            CLAUDE,
            json!({}),
            json!({"parallel_tool_calls": false, "tools": [{"type": "function", "function": {"name": "f"}}]}),
            "",
            "parallel_tool_calls",
        ),
        (CLAUDE, json!({}), json!({"stop": ["\n", "", "END"]}), "", "stop"),
        ("amazon.nova-lite-v1:0", json!({}), json!({"stop": "\n"}), "", ""),
        (CLAUDE, json!({}), json!({"service_tier": "scale"}), "serviceTier", "service_tier"),
        (CLAUDE, json!({}), json!({"service_tier": "auto"}), "serviceTier", ""),
        (CLAUDE, json!({}), json!({"service_tier": "flex"}), "", ""),
        (CLAUDE, json!({}), json!({"metadata": {"a": "ü"}}), "requestMetadata", "metadata"),
        (CLAUDE, json!({}), json!({"metadata": {"a": long}}), "requestMetadata", "metadata"),
        (CLAUDE, json!({}), json!({"metadata": {"a": 1}}), "requestMetadata", "metadata"),
        (CLAUDE, json!({}), json!({"metadata": {}}), "requestMetadata", ""),
        (
            CLAUDE,
            json!({"unsupported_parameters": ["temperature", "stop"]}),
            json!({"temperature": 0.1, "stop": "x"}),
            "inferenceConfig",
            "temperature, stop",
        ),
        ("claude-sonnet-4-5", json!({}), json!({"temperature": 0.1, "top_p": 0.5}), "", "top_p"),
        (
            CLAUDE,
            json!({}),
            json!({"stream": true, "stream_options": {"include_obfuscation": true}}),
            "stream",
            "stream_options.include_obfuscation",
        ),
    ] {
        let encoded = encode(model, &said, &front(&more)).unwrap();
        assert_eq!(encoded.drops.header(), drops, "{more}");
        assert!(body_of(&encoded).get(gone).is_none(), "{more}");
    }
    let body =
        body_of(&encode(CLAUDE, &json!({"default_max_tokens": 77}), &front(&json!({"service_tier": "flex"}))).unwrap());
    assert_eq!((&body["serviceTier"], &body["inferenceConfig"]["maxTokens"]), (&json!({"type": "flex"}), &json!(77)));
}

#[test]
fn turns_take_turns() {
    let text = |text: &str| json!({"text": text});
    let thinking = json!([{"type": "thinking", "thinking": "h", "signature": "S", "index": 0}, {"type": "redacted_thinking", "data": "ZA=="}, {"type": "thinking", "thinking": "unsigned"}]);
    for (messages, want) in [
        (
            json!([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": ""}, {"role": "user", "content": "c"}]),
            json!([{"role": "user", "content": [text("a"), text("b"), text("c")]}]),
        ),
        (
            json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b "}, {"role": "assistant", "content": "Say: \n"}]),
            json!([{"role": "user", "content": [text("a")]}, {"role": "assistant", "content": [text("b "), text("Say:")]}]),
        ),
        (
            json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}]),
            json!([{"role": "user", "content": [text("a")]}]),
        ),
        (
            json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "refusal": "no", "thinking_blocks": thinking}, {"role": "user", "content": "c"}]),
            json!([{"role": "user", "content": [text("a")]},
                {"role": "assistant", "content": [
                    {"reasoningContent": {"reasoningText": {"text": "h", "signature": "S"}}},
                    {"reasoningContent": {"redactedContent": "ZA=="}}, text("b"), text("no")]},
                {"role": "user", "content": [text("c")]}]),
        ),
    ] {
        let body = body_of(&encode(CLAUDE, &json!({}), &front(&json!({"messages": messages}))).unwrap());
        assert_eq!(body["messages"], want);
    }
    let front = front(&json!({"messages": [{"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "thinking_blocks": thinking}, {"role": "user", "name": "Ann", "content": "c"}]}));
    let encoded = encode("amazon.nova-lite-v1:0", &json!({}), &front).unwrap();
    assert_eq!(encoded.drops.header(), "messages.thinking_blocks, messages.name");
}

#[test]
fn forms_of_answers_are_asked_for() {
    let schema = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}});
    let tool = json!([{"type": "function", "function": {"name": "f"}}]);
    let nova = "amazon.nova-lite-v1:0";
    for (model, more, choice, tools, json_tool) in [
        (nova, json!({"response_format": schema}), json!({"tool": {"name": "json_output"}}), 1, true),
        (nova, json!({"response_format": schema, "tools": tool}), json!({"any": {}}), 2, true),
        (
            nova,
            json!({"response_format": schema, "tools": tool, "tool_choice": "none"}),
            json!({"tool": {"name": "json_output"}}),
            1,
            true,
        ),
        (
            nova,
            json!({"response_format": schema, "tools": tool, "tool_choice": "required"}),
            json!({"any": {}}),
            1,
            false,
        ),
        (
            CLAUDE,
            json!({"response_format": schema, "tools": tool, "tool_choice": "auto"}),
            json!({"auto": {}}),
            1,
            false,
        ),
    ] {
        let encoded = encode(model, &json!({}), &front(&more)).unwrap();
        let body = body_of(&encoded);
        assert_eq!(body["toolConfig"]["toolChoice"], choice, "{more}");
        assert_eq!(body["toolConfig"]["tools"].as_array().unwrap().len(), tools, "{more}");
        assert_eq!(encoded.expect.json_tool.is_some(), json_tool, "{more}");
    }
    for format in [json!({"type": "json_object"}), json!({"type": "json_schema", "json_schema": {"name": "a"}})] {
        let body = body_of(&encode(nova, &json!({}), &front(&json!({"response_format": format}))).unwrap());
        assert!(body["system"][0]["text"].as_str().unwrap().contains("JSON object"));
        assert!(body.get("toolConfig").is_none() && body.get("outputConfig").is_none());
    }
}

#[test]
fn white_space_goes_between_tokens_only() {
    for (json, want) in [
        ("{ \"a b\" : [ 1 , \"x \\\" y\" ] }", r#"{"a b":[1,"x \" y"]}"#),
        ("{\n\t\"a\\\\\" : \" \"\r}", r#"{"a\\":" "}"#),
    ] {
        assert_eq!(compact(json), want);
    }
}

#[test]
fn schemas_are_made_to_fit() {
    let spec = |parameters: Value| {
        let more = json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": parameters, "strict": true}}]});
        let encoded = encode(CLAUDE, &json!({}), &front(&more)).unwrap();
        body_of(&encoded)["toolConfig"]["tools"][0]["toolSpec"].clone()
    };
    for (parameters, want) in [
        (Value::Null, json!({"type": "object", "properties": {}})),
        (json!({}), json!({"type": "object"})),
        (json!({"type": null, "$schema": "x"}), json!({"type": "object"})),
        (
            json!({"$schema": "x", "type": "object", "properties": {"$schema": {}}}),
            json!({"type": "object", "properties": {"$schema": {}}}),
        ),
    ] {
        let spec = spec(parameters);
        assert_eq!((&spec["inputSchema"]["json"], &spec["strict"]), (&want, &json!(true)));
    }
}

#[test]
fn thinking_that_no_claude_can_have_made_is_left_out_and_named() {
    let good = json!({"type": "thinking", "thinking": "", "signature": "S"});
    for (block, want, drops) in [
        (good, json!({"reasoningText": {"text": "", "signature": "S"}}), ""),
        (json!({"type": "redacted_thinking", "data": "E", "thinking": 1}), json!({"redactedContent": "E"}), ""),
        (json!({"type": "thinking"}), Value::Null, "both"),
        (json!({"type": "thinking", "signature": "S"}), Value::Null, "both"),
        (json!({"type": "thinking", "thinking": "x"}), Value::Null, "both"),
        (json!({"type": "thinking", "thinking": "x", "signature": ""}), Value::Null, "both"),
        (json!({"type": "thinking", "data": "E"}), Value::Null, "both"),
        (json!({"type": "redacted_thinking", "data": 5}), Value::Null, "both"),
        (json!({"type": "x", "thinking": "x", "signature": "S", "data": "E"}), Value::Null, "both"),
        (json!({"thinking": "x", "signature": "S", "data": "E"}), Value::Null, "both"),
    ] {
        let mut call = call("{}");
        call["thinking_blocks"] = json!([block]);
        let front = front(&json!({"reasoning_effort": "low", "max_tokens": 5000, "messages": [
            {"role": "user", "content": "x"}, call, {"role": "tool", "tool_call_id": "t", "content": "1"}]}));
        let encoded = encode("anthropic.claude-haiku-4-5", &json!({}), &front).unwrap();
        let body = body_of(&encoded);
        assert_eq!(body["messages"][1]["content"][0]["reasoningContent"], want, "{block}");
        assert_eq!(body["additionalModelRequestFields"].is_null(), drops == "both", "{block}");
        let mut dropped: Vec<String> = encoded.drops.header().split(", ").map(str::to_owned).collect();
        dropped.sort();
        assert_eq!(dropped.join(", "), drops.replace("both", "messages.thinking_blocks, reasoning_effort"), "{block}");
    }
}

#[test]
fn the_schema_of_claudes_answer_is_closed() {
    let format = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}});
    for (model, want) in [
        (CLAUDE, r#"{"additionalProperties":false,"type":"object"}"#),
        ("openai.gpt-oss-120b-1:0", r#"{"type":"object"}"#),
    ] {
        let said = json!({"structured_output": true});
        let body = body_of(&encode(model, &said, &front(&json!({"response_format": format}))).unwrap());
        let schema = &body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"];
        assert_eq!(schema, want, "{model}");
    }
}

#[test]
fn the_last_four_cache_points_stay() {
    let mark = || json!({"type": "ephemeral"});
    let text = |text: &str| json!({"type": "text", "text": text, "cache_control": mark()});
    let tool = json!({"type": "function", "function": {"name": "f"}, "cache_control": mark()});
    let point = r#"{"cachePoint":{"type":"default"}}"#;
    let places = |users: usize| {
        // Points that are but text, or a call's arguments, are none.
        let mut call = call(point);
        call["content"] = json!(point);
        let mut messages = vec![
            json!({"role": "system", "content": [text("s"), text("t")]}),
            json!({"role": "user", "content": "x"}),
            call,
            json!({"role": "tool", "tool_call_id": "t", "content": "1"}),
        ];
        messages.extend((0..users).map(|at| json!({"role": "user", "content": [text(&format!("u{at}"))]})));
        let front = front(&json!({"messages": messages, "tools": [tool]}));
        let encoded = encode(CLAUDE, &json!({}), &front).unwrap();
        let body = body_of(&encoded);
        let points = |list: &Value| {
            let points: String = list
                .as_array()
                .unwrap()
                .iter()
                .map(|block| if block["cachePoint"].is_null() { '-' } else { '+' })
                .collect();
            points
        };
        let said = &body["messages"][1]["content"];
        assert_eq!(
            (&said[0]["text"], &said[1]["toolUse"]["input"]),
            (&json!(point), &json!({"cachePoint": {"type": "default"}}))
        );
        let last = body["messages"].as_array().unwrap().last().unwrap();
        [
            points(&body["toolConfig"]["tools"]),
            points(&body["system"]),
            points(&last["content"]),
            encoded.drops.header(),
        ]
    };
    for (users, want) in [
        (1, ["-+", "-+-+", "--+", ""]),
        (2, ["-", "-+-+", "--+-+", "cache_control"]),
        (3, ["-", "--+", "--+-+-+", "cache_control"]),
        (6, ["-", "--", "----+-+-+-+", "cache_control"]),
    ] {
        assert_eq!(places(users), want, "{users}");
    }
}
