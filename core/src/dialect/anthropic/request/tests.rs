use serde_json::{Value, json};

use super::super::tests::encoded;
use super::*;
use crate::error::ErrorCode;

const SONNET: &str = "claude-sonnet-4-6";
const HAIKU: &str = "claude-haiku-4-5";
const NEWER: &str = "claude-opus-4-8";
const OLDER: &str = "claude-3-5-sonnet-20241022";

/// The body and the dropped parameters of a request that says `rest` beside one message.
fn encode(model: &str, rest: &Value, said: &Value) -> (Value, String) {
    let mut front = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
    for (name, value) in rest.as_object().unwrap() {
        front[name] = value.clone();
    }
    let encoded = encoded(&front, model, said).unwrap();
    (serde_json::from_slice(&encoded.body).unwrap(), encoded.drops.header())
}

#[test]
fn parameters_are_written_or_named() {
    let check = |model: &str, rest: Value, said: Value, want: Value, dropped: &str| {
        let (body, drops) = encode(model, &rest, &said);
        for (name, value) in want.as_object().unwrap() {
            assert_eq!(body.get(name).unwrap_or(&Value::Null), value, "{model} {rest}: {name} in {body}");
        }
        assert_eq!(drops, dropped, "{model} {rest}");
    };
    for (rest, want, dropped) in [
        (json!({}), json!({"max_tokens": 4096, "stream": null, "system": null, "tools": null}), ""),
        (json!({"max_tokens": 7, "max_completion_tokens": 9}), json!({"max_tokens": 9}), ""),
        (json!({"max_tokens": 0}), json!({"max_tokens": 0}), ""),
        (
            json!({"seed": 1, "logprobs": true, "top_logprobs": 2, "logit_bias": {"1": 1}, "frequency_penalty": 1,
                "presence_penalty": 0, "metadata": {"a": "b"}, "store": true, "verbosity": "low", "x_new": 1,
                "prompt_cache_key": "k", "prediction": {"type": "content"}, "store_": null}),
            json!({"metadata": null, "x_new": null, "seed": null}),
            "seed, logprobs, top_logprobs, logit_bias, frequency_penalty, metadata, store, verbosity, x_new, \
             prompt_cache_key, prediction",
        ),
        (json!({"temperature": 0.25}), json!({"temperature": 0.25, "top_p": null}), ""),
        (json!({"top_p": 0.9}), json!({"temperature": null, "top_p": 0.9}), ""),
        (json!({"temperature": 2}), json!({"temperature": 1.0}), ""),
        (json!({"stop": ["a", " ", "b"]}), json!({"stop_sequences": ["a", "b"]}), "stop"),
        (json!({"stop": "a"}), json!({"stop_sequences": ["a"]}), ""),
        (json!({"user": "u-7", "safety_identifier": "s"}), json!({"metadata": {"user_id": "u-7"}}), ""),
        (json!({"safety_identifier": "s"}), json!({"metadata": {"user_id": "s"}}), ""),
        (json!({"user": "a@b.example"}), json!({"metadata": null}), "user"),
        (json!({"safety_identifier": "+47 22 22 55 55"}), json!({"metadata": null}), "safety_identifier"),
        (json!({"user": "12345678"}), json!({"metadata": {"user_id": "12345678"}}), ""),
        (json!({"user": "x".repeat(256)}), json!({"metadata": {"user_id": "x".repeat(256)}}), ""),
        (json!({"user": "x".repeat(257)}), json!({"metadata": null}), "user"),
        (json!({"service_tier": "auto"}), json!({"service_tier": null}), ""),
        (json!({"service_tier": "default"}), json!({"service_tier": "standard_only"}), ""),
        (json!({"service_tier": "flex"}), json!({"service_tier": null}), "service_tier"),
        (
            json!({"stream": true, "stream_options": {"include_usage": true, "include_obfuscation": true}}),
            json!({"stream": true, "stream_options": null}),
            "stream_options.include_obfuscation",
        ),
        (
            json!({"cache_control": {"type": "ephemeral", "ttl": "1h"}}),
            json!({"cache_control": {"type": "ephemeral", "ttl": "1h"}}),
            "",
        ),
        (json!({"response_format": {"type": "text"}}), json!({"output_config": null, "system": null}), ""),
        (
            json!({"response_format": {"type": "json_object"}}),
            json!({"output_config": null, "system": [{"type": "text", "text": JSON_INSTRUCTION}]}),
            "",
        ),
    ] {
        check(SONNET, rest, Value::Null, want, dropped);
    }
    for (said, want) in [
        (json!({"default_max_tokens": 9000}), 9000),
        (json!({"max_output_tokens": 2000}), 2000),
        (json!({"default_max_tokens": 9000, "max_output_tokens": 8000}), 8000),
    ] {
        check(SONNET, json!({}), said, json!({"max_tokens": want}), "");
    }
    let said = json!({"unsupported_parameters": ["temperature", "stop", "user", "reasoning_effort", "service_tier"]});
    let rest = json!({"temperature": 0.5, "stop": "x", "user": "u", "reasoning_effort": "low", "top_p": 0.5,
        "service_tier": "default"});
    let want = json!({"temperature": null, "top_p": 0.5, "stop_sequences": null, "metadata": null, "thinking": null});
    check(SONNET, rest, said, want, "reasoning_effort, temperature, stop, user, service_tier");
}

#[test]
fn efforts_are_written_as_the_model_takes_them() {
    let adaptive = |word: &str| json!([{"type": "adaptive", "display": "summarized"}, {"effort": word}]);
    let budget = |tokens: u64| json!([{"type": "enabled", "budget_tokens": tokens}, null]);
    let off = || json!([null, null]);
    for (model, said, effort, want, dropped) in [
        (SONNET, json!({}), "minimal", adaptive("low"), ""),
        (SONNET, json!({}), "low", adaptive("low"), ""),
        (SONNET, json!({}), "medium", adaptive("medium"), ""),
        (SONNET, json!({}), "high", adaptive("high"), ""),
        (NEWER, json!({}), "xhigh", adaptive("xhigh"), ""),
        (NEWER, json!({}), "max", adaptive("max"), ""),
        (SONNET, json!({}), "none", json!([{"type": "disabled"}, null]), ""),
        (NEWER, json!({}), "none", off(), "reasoning_effort"),
        (HAIKU, json!({}), "none", off(), ""),
        (HAIKU, json!({}), "minimal", budget(1024), ""),
        (HAIKU, json!({}), "low", budget(2048), ""),
        (HAIKU, json!({}), "medium", budget(8192), ""),
        (HAIKU, json!({}), "high", budget(16_384), ""),
        (HAIKU, json!({}), "xhigh", budget(24_576), ""),
        (HAIKU, json!({}), "max", budget(32_000), ""),
        (OLDER, json!({}), "none", off(), ""),
        (OLDER, json!({}), "low", off(), "reasoning_effort"),
        (SONNET, json!({"thinking": "effort"}), "high", json!([null, {"effort": "high"}]), ""),
    ] {
        let rest = json!({"max_tokens": 40_000, "reasoning_effort": effort});
        let (body, drops) = encode(model, &rest, &said);
        assert_eq!(json!([body["thinking"], body["output_config"]]), want, "{model} {effort}");
        assert_eq!(drops, dropped, "{model} {effort}");
    }
    for (most, want) in [(1024, Value::Null), (1025, json!(1024)), (2048, json!(2047)), (2049, json!(2048))] {
        let (body, _) = encode(HAIKU, &json!({"max_tokens": most, "reasoning_effort": "low"}), &Value::Null);
        assert_eq!(body["thinking"]["budget_tokens"], want, "{most}");
    }
}

#[test]
fn the_version_follows_what_is_sent() {
    let (old, new) = ("2023-06-01", "2026-10-21");
    for (model, rest, said, want) in [
        (SONNET, json!({}), json!({}), new),
        (SONNET, json!({"temperature": 0.5}), json!({}), old),
        (SONNET, json!({"top_p": 0.5}), json!({}), old),
        (SONNET, json!({"temperature": 0.5, "reasoning_effort": "low"}), json!({}), new),
        (SONNET, json!({"temperature": 0.5}), json!({"anthropic_version": new}), new),
        (SONNET, json!({}), json!({"anthropic_version": old}), old),
        (NEWER, json!({"temperature": 0.5}), json!({}), new),
        (NEWER, json!({"temperature": 0.5}), json!({"anthropic_version": old}), old),
        (HAIKU, json!({}), json!({}), old),
        (OLDER, json!({}), json!({}), new),
    ] {
        let mut front = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
        for (name, value) in rest.as_object().unwrap() {
            front[name] = value.clone();
        }
        let encoded = encoded(&front, model, &said).unwrap();
        let [(name, value)] = encoded.headers.as_slice() else { panic!("one header") };
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("anthropic-version", want), "{model} {rest} {said}");
        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        let samples = body.get("temperature").is_some() || body.get("top_p").is_some();
        assert!(!samples || want == old, "{model} {rest} {said}");
    }
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    let hi = json!([{"role": "user", "content": "Hi"}]);
    let part = |part: Value| json!([{"role": "user", "content": [{"type": "text", "text": "x"}, part]}]);
    let file = |data: &str| part(json!({"type": "file", "file": {"file_data": data}}));
    let schema = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}});
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let content = ErrorCode::UnsupportedContent;
    let cannot = json!({"forced_tool_choice": false});
    let no_schema = json!({"forced_tool_choice": false, "structured_output": false});
    let at = "messages[0].content[1]";
    for (messages, rest, said, code, param) in [
        (&hi, json!({"n": 2}), json!({}), ErrorCode::UnsupportedValue, "n"),
        (&hi, json!({"modalities": ["text", "audio"]}), json!({}), ErrorCode::UnsupportedParameter, "modalities"),
        (&hi, json!({"audio": {"voice": "x"}}), json!({}), ErrorCode::UnsupportedParameter, "audio"),
        (&hi, json!({"moderation": {}}), json!({}), ErrorCode::UnsupportedParameter, "moderation"),
        (&hi, json!({"web_search_options": {}}), json!({}), ErrorCode::UnsupportedParameter, "web_search_options"),
        (&hi, json!({"tools": tools, "tool_choice": "required"}), cannot, ErrorCode::UnsupportedValue, "tool_choice"),
        (&hi, json!({"response_format": schema}), no_schema, ErrorCode::UnsupportedValue, "response_format"),
        (&json!([{"role": "system", "content": "x"}]), json!({}), json!({}), ErrorCode::InvalidRequest, "messages"),
        (
            &json!([{"role": "system", "content": "x"}, {"role": "assistant", "content": "y"}]),
            json!({}),
            json!({}),
            ErrorCode::InvalidRequest,
            "messages[1]",
        ),
        (&json!([{"role": "user", "content": " \n"}]), json!({}), json!({}), ErrorCode::InvalidRequest, "messages[0]"),
        (
            &part(json!({"type": "image_url", "image_url": {"url": "https://x.example/a"}})),
            json!({}),
            json!({"images": false}),
            content,
            at,
        ),
        (&part(json!({"type": "file", "file": {"file_id": "file-1"}})), json!({}), json!({}), content, at),
        (&part(json!({"type": "video", "video": {}})), json!({}), json!({}), content, at),
        (&part(json!({"type": "refusal", "refusal": "no"})), json!({}), json!({}), content, at),
        (&file("data:application/zip;base64,UEsDBA=="), json!({}), json!({}), content, at),
        (
            &file("data:text/plain;base64,//8="),
            json!({}),
            json!({}),
            ErrorCode::InvalidRequest,
            "messages[0].content[1].file.file_data",
        ),
        (
            &json!([{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://x.example/a"}}]},
                {"role": "user", "content": "x"}]),
            json!({}),
            json!({}),
            content,
            "messages[0].content[0]",
        ),
    ] {
        let mut front = json!({"model": "m", "messages": messages});
        for (name, value) in rest.as_object().unwrap() {
            front[name] = value.clone();
        }
        let failure = encoded(&front, SONNET, &said).unwrap_err();
        assert_eq!((failure.code, failure.param.as_deref()), (code, Some(param)), "{front}");
        assert!(!failure.message.contains("video"), "{}", failure.message);
    }
}

#[test]
fn files_are_documents_or_images() {
    for (label, data, want) in [
        ("application/pdf", "AAAA", json!({"type": "base64", "media_type": "application/pdf", "data": "AAAA"})),
        (
            "application/octet-stream",
            "JVBERi0xLjQ=",
            json!({"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQ="}),
        ),
        ("text/csv", "w7wsMQ==", json!({"type": "text", "media_type": "text/plain", "data": "ü,1"})),
        (
            "application/octet-stream",
            "R0lGODlhAQABAIAA",
            json!({"type": "base64", "media_type": "image/gif", "data": "R0lGODlhAQABAIAA"}),
        ),
    ] {
        let url = format!("data:{label};base64,{data}");
        let part = json!({"type": "file", "file": {"filename": "a", "file_data": url}});
        let (body, _) = encode(SONNET, &json!({"messages": [{"role": "user", "content": [part]}]}), &Value::Null);
        let block = &body["messages"][0]["content"][0];
        assert_eq!(block["source"], want, "{url}");
        let image = want["media_type"] == "image/gif";
        assert_eq!(block["type"], if image { "image" } else { "document" }, "{url}");
        assert_eq!(block.get("title").is_some(), !image, "{url}");
    }
}

#[test]
fn marks_for_caching_stay_where_they_fit() {
    let mark = json!({"type": "ephemeral"});
    let marked = |text: &str| json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}});
    let rest = |tail: Value| {
        json!({"tools": [{"type": "function", "function": {"name": "f"}, "cache_control": mark}],
            "messages": [{"role": "system", "content": [marked("a")]}, {"role": "user", "content": [marked("b"), tail]}]})
    };
    let count = |body: &Value| body.to_string().matches("cache_control").count();

    // A blank part gives its mark to the part before.
    let (body, drops) = encode(SONNET, &rest(marked(" ")), &Value::Null);
    assert_eq!((count(&body), drops.as_str()), (3, ""));
    let (body, drops) = encode(SONNET, &rest(marked("c")), &Value::Null);
    assert_eq!((count(&body), drops.as_str()), (4, ""));

    // Too many: the last ones stay.
    let mut five = rest(marked("c"));
    five["messages"][1]["content"].as_array_mut().unwrap().push(marked("d"));
    let (body, drops) = encode(SONNET, &five, &Value::Null);
    assert_eq!((count(&body), drops.as_str()), (4, "cache_control"));
    assert!(body["tools"][0].get("cache_control").is_none(), "{body}");
    five["cache_control"] = mark.clone();
    let (body, drops) = encode(SONNET, &five, &Value::Null);
    assert_eq!((count(&body), drops.as_str()), (4, "cache_control"));
    assert_eq!(body["cache_control"], mark);

    let (body, drops) = encode(SONNET, &five, &json!({"prompt_caching": false}));
    assert_eq!((count(&body), drops.as_str()), (0, "cache_control"));

    // A mark of a whole message is at its last block; one inside of a result belongs to the result.
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let messages = json!([{"role": "user", "content": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"role": "assistant", "content": "y", "tool_calls": [call], "cache_control": mark},
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "z", "prompt_cache_breakpoint": {}}]}]);
    let (body, _) = encode(SONNET, &json!({ "messages": messages }), &Value::Null);
    assert_eq!(body["messages"][0]["content"][0]["cache_control"], json!({"type": "ephemeral", "ttl": "1h"}));
    assert!(body["messages"][1]["content"][0].get("cache_control").is_none());
    assert_eq!(body["messages"][1]["content"][1]["cache_control"], mark);
    let result = &body["messages"][2]["content"][0];
    assert_eq!(result["cache_control"], json!({"type": "ephemeral", "ttl": "5m"}));
    assert_eq!(result["content"], json!([{"type": "text", "text": "z"}]));
}

#[test]
fn ids_and_names_fit_the_alphabet_on_both_sides() {
    let long = "n".repeat(129);
    let call =
        |id: &str, name: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}});
    let front = json!({"model": "m", "tools": [{"type": "function", "function": {"name": "a.b"}},
            {"type": "function", "function": {"name": "c"}}, {"type": "function", "function": {"name": long}}],
        "tool_choice": {"type": "function", "function": {"name": "a.b"}},
        "messages": [{"role": "user", "content": "x"},
            {"role": "assistant", "content": null, "tool_calls": [call("call:1|x", "a.b"), call("ok_-1", "$READFILE")]},
            {"role": "tool", "tool_call_id": "call:1|x", "content": "1"},
            {"role": "tool", "tool_call_id": "ok_-1", "content": "2"}]});
    let encoded = encoded(&front, SONNET, &Value::Null).unwrap();
    let body: Value = serde_json::from_slice(&encoded.body).unwrap();
    let short = "n".repeat(128);
    assert_eq!(body["tools"].as_array().unwrap().iter().map(|t| &t["name"]).collect::<Vec<_>>(), ["a_b", "c", &short]);
    assert_eq!(body["tool_choice"]["name"], "a_b");
    let calls = body["messages"][1]["content"].as_array().unwrap();
    assert_eq!(calls.iter().map(|c| &c["id"]).collect::<Vec<_>>(), ["call_1_x", "ok_-1"]);
    assert_eq!(calls.iter().map(|c| &c["name"]).collect::<Vec<_>>(), ["a_b", "_READFILE"]);
    let results = body["messages"][2]["content"].as_array().unwrap();
    assert_eq!(results.iter().map(|c| &c["tool_use_id"]).collect::<Vec<_>>(), ["call_1_x", "ok_-1"]);
    assert_eq!(
        (encoded.expect.name("a_b"), encoded.expect.name("c"), encoded.expect.name(&short)),
        ("a.b", "c", &*long)
    );
}

#[test]
fn bytes_that_only_travel_stay() {
    let front = r#"{"model":"m","messages":[{"role":"user","content":"x"},
        {"role":"assistant","content":null,"thinking_blocks":[{"signature":"S\u002b=","thinking":"a\/b","type":"thinking"},
            { "index":1, "type":"redacted_thinking", "data":"E\u002b" }],
         "tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":" {\"b\" : 1.00, \"a\":12345678901234567890} "}}]},
        {"role":"tool","tool_call_id":"c","content":"1"}],
        "tools":[{"type":"function","function":{"name":"f","parameters":{"type" : "object", "x":1e2}}}]}"#;
    let object = json::object(front.as_bytes()).unwrap();
    let request = crate::dialect::openai_chat::decode_request(&object).unwrap();
    let can = Capabilities::of(crate::provider::ProviderKind::Anthropic, SONNET, None);
    let to = Destination {
        kind: crate::provider::ProviderKind::Anthropic,
        model: SONNET,
        can: &can,
        settings: &crate::provider::Settings::default(),
        inlined: &crate::chat::Inlined::default(),
    };
    let body = String::from_utf8(encode_request(&request, &to).unwrap().body.to_vec()).unwrap();
    for part in [
        r#"{"signature":"S\u002b=","thinking":"a\/b","type":"thinking"}"#,
        r#"{"type":"redacted_thinking","data":"E\u002b"}"#,
        r#""input":{"b" : 1.00, "a":12345678901234567890}"#,
        r#""input_schema":{"type" : "object", "x":1e2}"#,
    ] {
        assert!(body.contains(part), "{part} in {body}");
    }
}

#[test]
fn what_another_provider_thought_is_left_out_and_named() {
    let messages = |more: Value| {
        let mut answer = json!({"role": "assistant", "content": "y"});
        for (name, value) in more.as_object().unwrap() {
            answer[name] = value.clone();
        }
        json!({"messages": [{"role": "user", "content": "x", "name": "Ann"}, answer, {"role": "user", "content": "z"}]})
    };
    let blocks = json!({"thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "s"}]});
    for (model, more, dropped) in [
        (SONNET, json!({"reasoning_content": "hm"}), "messages.name, messages.reasoning_content"),
        (SONNET, blocks.clone(), "messages.name"),
        (OLDER, blocks, "messages.name, messages.thinking_blocks"),
    ] {
        let (body, drops) = encode(model, &messages(more), &Value::Null);
        assert_eq!(drops, dropped);
        let kept = body["messages"][1]["content"][0]["type"] == "thinking";
        assert_eq!(kept, dropped == "messages.name", "{body}");
    }
}

#[test]
fn the_tool_for_a_format_has_a_name_of_its_own() {
    let schema = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": {"properties": {}}}});
    let tool = |name: &str| json!([{"type": "function", "function": {"name": name}}]);
    for (tools, want) in [(tool("f"), JSON_TOOL), (tool(JSON_TOOL), OTHER_JSON_TOOL)] {
        let front = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "response_format": schema,
            "tools": tools});
        let encoded = encoded(&front, OLDER, &Value::Null).unwrap();
        assert_eq!(encoded.expect.json_tool, Some(want));
        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        let added = &body["tools"][1];
        assert_eq!(
            (&added["name"], &added["input_schema"]),
            (&json!(want), &json!({"type": "object", "properties": {}}))
        );
    }
}

#[test]
fn thinking_that_no_claude_can_have_made_is_left_out_and_named() {
    let good = json!({"type": "thinking", "thinking": "", "signature": "S"});
    let hidden = json!({"type": "redacted_thinking", "data": "E"});
    for (blocks, want, dropped) in [
        (json!([good, hidden]), json!([good, hidden]), ""),
        (json!([{"type": "thinking"}, good]), json!([good]), "messages.thinking_blocks"),
        (json!([{"type": "thinking", "thinking": "x"}]), json!([]), "reasoning"),
        (json!([{"type": "thinking", "thinking": "x", "signature": ""}]), json!([]), "reasoning"),
        (json!([{"type": "thinking", "thinking": "x", "signature": 5}]), json!([]), "reasoning"),
        (json!([{"type": "thinking", "thinking": null, "signature": "S"}]), json!([]), "reasoning"),
        (json!([{"type": "redacted_thinking"}]), json!([]), "reasoning"),
        (json!([{"type": "redacted_thinking", "data": {}}]), json!([]), "reasoning"),
        (json!([{"type": "tool_use", "thinking": "x", "signature": "S", "data": "E"}]), json!([]), "reasoning"),
        (json!([{"thinking": "x", "signature": "S", "data": "E"}]), json!([]), "reasoning"),
    ] {
        let call = json!({"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let rest = json!({"reasoning_effort": "low", "messages": [{"role": "user", "content": "x"},
            {"role": "assistant", "reasoning_content": "x", "thinking_blocks": blocks, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "t", "content": "1"}]});
        let (body, drops) = encode(HAIKU, &rest, &Value::Null);
        let said = body["messages"][1]["content"].as_array().unwrap();
        assert_eq!(json!(said[..said.len() - 1]), want, "{blocks}");
        // Without its thinking the last call does not let a model of budgets go on thinking.
        let dropped = dropped.replace("reasoning", "messages.thinking_blocks, reasoning_effort");
        assert_eq!(drops, dropped, "{blocks}");
        assert_eq!(body["thinking"].is_null(), dropped.contains("effort"), "{blocks}");
    }
}

#[test]
fn the_schema_of_an_answer_is_closed_that_of_a_tool_is_not() {
    let open = json!({"type": "object", "properties": {"a": {"type": "array", "items": {"properties": {}}}}});
    let closed = json!({"type": "object", "additionalProperties": false, "properties": {"a": {"type": "array",
        "items": {"properties": {}, "additionalProperties": false}}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": open}});
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": open}}]);
    let (body, _) = encode(SONNET, &json!({"response_format": format, "tools": tools}), &Value::Null);
    assert_eq!(body["output_config"]["format"], json!({"type": "json_schema", "schema": closed}));
    assert_eq!(body["tools"][0]["input_schema"], open);
    let (body, _) = encode(OLDER, &json!({"response_format": format}), &Value::Null);
    assert_eq!(body["tools"][0]["input_schema"], open);
}
