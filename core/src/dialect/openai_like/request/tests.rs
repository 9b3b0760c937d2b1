use serde_json::{Value, json};

use super::*;
use crate::chat::{ImageKind, Inlined};
use crate::dialect::openai_chat::decode_request;
use crate::model::{Capabilities, Overrides};
use crate::provider::Settings;

const PNG: &str = "data:image/jpeg;base64,iVBORw0KGgoAAAAN";

/// The body and the names of what was left out, or the failure's code and parameter.
fn encode(kind: ProviderKind, said: &Value, front: &Value) -> Result<(Value, String), (&'static str, String)> {
    let text = front.to_string();
    let object = json::object(text.as_bytes()).unwrap();
    let request = decode_request(&object).unwrap();
    let said: Overrides = serde_json::from_value(said.clone()).unwrap();
    let can = Capabilities::of(kind, "m", Some(&said));
    let mut inlined = Inlined::default();
    inlined.put("https://example.com/a.png", ImageKind::Png, b"png");
    let settings = Settings::default();
    let to = Destination { kind, model: "m", can: &can, settings: &settings, inlined: &inlined };
    match encode_with(&request, &to, &[]) {
        Ok(encoded) => Ok((serde_json::from_slice(&encoded.body).unwrap(), encoded.drops.header())),
        Err(failure) => {
            let text = failure.message.to_string();
            assert!(!text.contains("canary"), "{text}");
            Err((failure.code.as_str(), failure.param.unwrap().into_owned()))
        }
    }
}

fn with(base: &Value, more: &Value) -> Value {
    let mut all = base.clone();
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

/// A request of one message with these members besides.
fn front(more: &Value) -> Value {
    with(&json!({"model": "a", "messages": [{"role": "user", "content": "x"}]}), more)
}

/// The same as it goes upstream.
fn plain(more: &Value) -> Value {
    with(&json!({"messages": [{"role": "user", "content": "x"}]}), more)
}

const WATSONX: ProviderKind = ProviderKind::WatsonxAi;
const CEREBRAS: ProviderKind = ProviderKind::Cerebras;
const NIM: ProviderKind = ProviderKind::Nim;

#[test]
fn each_server_gets_the_members_that_it_takes() {
    let all = json!({
        "max_tokens": 5, "temperature": 0.10, "top_p": 1, "frequency_penalty": -1.5, "presence_penalty": 1, "seed": 12_345_678_901_i64,
        "stop": "E", "logprobs": true, "top_logprobs": 2, "logit_bias": {"5": 1}, "parallel_tool_calls": false,
        "reasoning_effort": "high", "verbosity": "low", "user": "u", "safety_identifier": "s", "metadata": {"a": "b"},
        "store": true, "service_tier": "flex", "prediction": {"type": "content", "content": "x"},
        "prompt_cache_key": "k", "prompt_cache_retention": "24h", "x_new": 1, "cache_control": {"type": "ephemeral"},
        "tools": [{"type": "function", "function": {"name": "f", "strict": true, "parameters": {"type": "object"}}}],
        "time_limit": 5, "reasoning_format": "parsed", "n": 1, "stop_token_ids": [], "tool_choice": "none"});
    let tool = |strict: bool| {
        let mut function = json!({"name": "f", "parameters": {"type": "object"}});
        if strict {
            function["strict"] = true.into();
        }
        json!([{"type": "function", "function": function}])
    };
    let sampling = json!({"temperature": 0.10, "top_p": 1, "frequency_penalty": -1.5, "presence_penalty": 1,
        "seed": 12_345_678_901_i64, "logprobs": true, "top_logprobs": 2});
    let base = plain(&sampling);
    for (kind, want, dropped) in [
        (
            WATSONX,
            json!({"max_tokens": 5, "stop": ["E"], "logit_bias": {"5": 1}, "reasoning_effort": "high",
                "include_reasoning": true, "time_limit": 5, "tools": tool(false), "tool_choice_option": "none"}),
            "parallel_tool_calls, verbosity, user, safety_identifier, metadata, store, service_tier, prediction, \
             prompt_cache_key, prompt_cache_retention, x_new, reasoning_format, stop_token_ids, tools.strict",
        ),
        (
            CEREBRAS,
            json!({"max_completion_tokens": 5, "stop": "E", "logit_bias": {"5": 1}, "reasoning_effort": "high",
                "parallel_tool_calls": false, "user": "u", "service_tier": "flex", "prompt_cache_key": "k",
                "prediction": {"type": "content", "content": "x"}, "reasoning_format": "parsed", "tools": tool(true),
                "tool_choice": "none"}),
            "verbosity, safety_identifier, metadata, store, prompt_cache_retention, x_new, time_limit, stop_token_ids",
        ),
        (
            NIM,
            json!({"max_tokens": 5, "stop": "E", "tools": tool(false), "tool_choice": "none"}),
            "logit_bias, parallel_tool_calls, reasoning_effort, verbosity, user, safety_identifier, metadata, store, \
             service_tier, prediction, prompt_cache_key, prompt_cache_retention, x_new, time_limit, reasoning_format, \
             stop_token_ids, tools.strict",
        ),
    ] {
        let (body, drops) = encode(kind, &json!({}), &front(&all)).unwrap();
        assert_eq!(body, with(&base, &want), "{kind:?}");
        assert_eq!(drops, dropped, "{kind:?}");
    }
}

#[test]
fn numbers_and_schemas_keep_their_spelling() {
    let text = r#"{"messages":[{"role":"user","content":"é\n\u0000"}],"temperature":1.0,
        "response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"b":1,"a":[ 1.00 ]},"strict":true}}}"#;
    let object = json::object(text.as_bytes()).unwrap();
    let request = decode_request(&object).unwrap();
    let can = Capabilities::of(NIM, "m", None);
    let (settings, inlined) = (Settings::default(), Inlined::default());
    let to = Destination { kind: NIM, model: "m\"", can: &can, settings: &settings, inlined: &inlined };
    let encoded = encode_request(&request, &to).unwrap();
    let want = r#"{"model":"m\"","messages":[{"role":"user","content":"é\n\u0000"}],"temperature":1.0,"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"b":1,"a":[ 1.00 ]},"strict":true}}}"#;
    assert_eq!(std::str::from_utf8(&encoded.body).unwrap(), want);
    assert!(encoded.drops.is_empty());
}

#[test]
fn records_of_models_are_followed() {
    let none = json!({});
    for (kind, said, more, want, dropped) in [
        (NIM, json!({"sampling": false}), json!({"temperature": 1, "top_p": 1}), none.clone(), "temperature, top_p"),
        (NIM, json!({"default_max_tokens": 9}), none.clone(), json!({"max_tokens": 9}), ""),
        (NIM, json!({"default_max_tokens": 9}), json!({"max_completion_tokens": 5}), json!({"max_tokens": 5}), ""),
        (
            NIM,
            json!({"max_tokens_parameter": "max_completion_tokens", "unsupported_parameters": ["max_tokens"]}),
            json!({"max_tokens": 5}),
            json!({"max_completion_tokens": 5}),
            "",
        ),
        (
            NIM,
            json!({"unsupported_parameters": ["max_tokens"]}),
            json!({"max_completion_tokens": 5}),
            none.clone(),
            "max_completion_tokens",
        ),
        (
            NIM,
            json!({"unsupported_parameters": ["seed", "stop"]}),
            json!({"seed": 1, "stop": ["a"]}),
            none.clone(),
            "seed, stop",
        ),
        (NIM, json!({"multiple_choices": true}), json!({"n": 2}), json!({"n": 2}), ""),
        (WATSONX, none.clone(), json!({"n": 2}), json!({"n": 2}), ""),
        (WATSONX, none.clone(), json!({"max_completion_tokens": 5}), json!({"max_completion_tokens": 5}), ""),
        (
            WATSONX,
            none.clone(),
            json!({"reasoning_effort": "low", "include_reasoning": false}),
            json!({"reasoning_effort": "low", "include_reasoning": false}),
            "",
        ),
        (
            NIM,
            json!({"thinking": "effort"}),
            json!({"reasoning_effort": "minimal"}),
            json!({"reasoning_effort": "low"}),
            "",
        ),
        (NIM, json!({"thinking": "effort"}), json!({"reasoning_effort": "none"}), none.clone(), "reasoning_effort"),
        (CEREBRAS, none.clone(), json!({"service_tier": "scale"}), none.clone(), "service_tier"),
        (CEREBRAS, none.clone(), json!({"safety_identifier": "s"}), json!({"user": "s"}), ""),
        (
            CEREBRAS,
            none.clone(),
            json!({"response_format": {"type": "json_object"}}),
            json!({"response_format": {"type": "json_object"}}),
            "",
        ),
        (
            CEREBRAS,
            none.clone(),
            json!({"response_format": {"type": "text"}, "stop": null, "tools": [], "tool_choice": "auto"}),
            none.clone(),
            "",
        ),
        (CEREBRAS, none.clone(), json!({"stream": true}), json!({"stream": true}), ""),
        (
            CEREBRAS,
            none.clone(),
            json!({"stream": true, "stream_options": {"include_usage": true, "include_obfuscation": false}}),
            json!({"stream": true, "stream_options": {"include_usage": true}}),
            "stream_options.include_obfuscation",
        ),
        (
            NIM,
            none.clone(),
            json!({"stream": true}),
            json!({"stream": true, "stream_options": {"include_usage": true}}),
            "",
        ),
        (
            NIM,
            json!({"unsupported_parameters": ["stream_options"]}),
            json!({"stream": true}),
            json!({"stream": true}),
            "",
        ),
        (WATSONX, none.clone(), json!({"stream": true, "stream_options": {"include_usage": true}}), none, ""),
    ] {
        let seen = encode(kind, &said, &front(&more));
        assert_eq!(seen, Ok((plain(&want), dropped.to_owned())), "{kind:?} {said} {more}");
    }
}

#[test]
fn what_can_be_checked_is_refused() {
    let schema = json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}});
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let none = json!({});
    for (kind, said, more, code, param) in [
        (NIM, none.clone(), json!({"n": 2}), "unsupported_value", "n"),
        (CEREBRAS, json!({"unsupported_parameters": ["n"]}), json!({"n": 2}), "unsupported_value", "n"),
        (NIM, json!({"structured_output": false}), schema, "unsupported_value", "response_format"),
        (
            NIM,
            json!({"unsupported_parameters": ["response_format"]}),
            json!({"response_format": {"type": "json_object"}}),
            "unsupported_value",
            "response_format",
        ),
        (
            NIM,
            json!({"forced_tool_choice": false}),
            json!({"tools": tools, "tool_choice": "required"}),
            "unsupported_value",
            "tool_choice",
        ),
        (CEREBRAS, none.clone(), json!({"modalities": ["text", "audio"]}), "unsupported_parameter", "modalities"),
        (CEREBRAS, none.clone(), json!({"audio": {"voice": "canary"}}), "unsupported_parameter", "audio"),
        (NIM, none.clone(), json!({"web_search_options": {}}), "unsupported_parameter", "web_search_options"),
        (WATSONX, none, json!({"moderation": {"canary": 1}}), "unsupported_parameter", "moderation"),
    ] {
        assert_eq!(encode(kind, &said, &front(&more)), Err((code, param.to_owned())), "{kind:?} {more}");
    }
}

/// The first message as it goes upstream, of a conversation that begins with `message`.
fn message(kind: ProviderKind, said: &Value, message: &Value) -> Result<(Value, String), (&'static str, String)> {
    let front = json!({"model": "a", "messages": [message, {"role": "user", "content": "x"}]});
    encode(kind, said, &front).map(|(mut body, drops)| (body["messages"][0].take(), drops))
}

#[test]
fn contents_are_written_as_each_server_takes_them() {
    let user = |part: Value| json!({"role": "user", "content": [{"type": "text", "text": "t"}, part]});
    let image = |url: &str, detail: Option<&str>| {
        let mut image = json!({"type": "image_url", "image_url": {"url": url}});
        if let Some(detail) = detail {
            image["image_url"]["detail"] = detail.into();
        }
        image
    };
    let sound = json!({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}});
    let (https, png) = ("https://example.com/a.png", "data:image/png;base64,iVBORw0KGgoAAAAN");
    let fetched = "data:image/png;base64,cG5n";
    let (none, see, hear) = (json!({}), json!({"images": true}), json!({"audio": true}));
    let (detail, name) = ("image_url.detail", "messages.name");
    for (kind, said, front, want, dropped) in [
        // Labels of images are put right, and addresses were fetched before.
        (WATSONX, &none, user(image(PNG, Some("original"))), user(image(png, Some("high"))), ""),
        (WATSONX, &none, user(image(https, None)), user(image(fetched, None)), ""),
        (NIM, &none, user(image(https, Some("low"))), user(image(https, None)), detail),
        (NIM, &none, user(image(PNG, Some("auto"))), user(image(PNG, None)), ""),
        (CEREBRAS, &see, user(image(https, Some("low"))), user(image(https, Some("low"))), ""),
        (WATSONX, &hear, user(sound.clone()), user(sound), ""),
        (
            NIM,
            &none,
            json!({"role": "user", "name": "n", "content": "x"}),
            json!({"role": "user", "content": "x"}),
            name,
        ),
        (
            CEREBRAS,
            &none,
            json!({"role": "user", "name": "n", "content": "x", "cache_control": {"type": "ephemeral"}}),
            json!({"role": "user", "name": "n", "content": "x"}),
            "",
        ),
        // Refusals are what the model said, where they have no member of their own.
        (
            WATSONX,
            &none,
            json!({"role": "assistant", "content": null, "refusal": "no"}),
            json!({"role": "assistant", "refusal": "no"}),
            "",
        ),
        (
            NIM,
            &none,
            json!({"role": "assistant", "content": null, "refusal": "no"}),
            json!({"role": "assistant", "content": "no"}),
            "",
        ),
        (
            CEREBRAS,
            &none,
            json!({"role": "assistant", "content": "x", "refusal": "no"}),
            json!({"role": "assistant", "content": "x\nno"}),
            "",
        ),
        (
            CEREBRAS,
            &none,
            json!({"role": "assistant", "content": [{"type": "text", "text": "x"}, {"type": "refusal", "refusal": "y"}], "refusal": "z"}),
            json!({"role": "assistant", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}, {"type": "text", "text": "z"}]}),
            "",
        ),
        (WATSONX, &none, json!({"role": "assistant"}), json!({"role": "assistant", "content": ""}), ""),
        (CEREBRAS, &none, json!({"role": "user", "content": []}), json!({"role": "user", "content": ""}), ""),
        (CEREBRAS, &none, json!({"role": "assistant", "content": []}), json!({"role": "assistant", "content": ""}), ""),
    ] {
        assert_eq!(message(kind, said, &front), Ok((want, dropped.to_owned())), "{kind:?} {front}");
    }
    // Instructions for a model without a system role, where the user speaks in parts.
    let front = json!({"model": "a", "messages": [{"role": "system", "content": "s"}, user(image(https, None))]});
    let (body, _) = encode(NIM, &json!({"system_role": false}), &front).unwrap();
    let want = json!([{"type": "text", "text": "s"}, {"type": "text", "text": "t"}, image(https, None)]);
    assert_eq!(body["messages"], json!([{"role": "user", "content": want}]));
    let front =
        json!({"model": "a", "messages": [{"role": "system", "content": "s"}, {"role": "assistant", "content": "x"}]});
    let (body, _) = encode(NIM, &json!({"system_role": false}), &front).unwrap();
    let want = json!([{"role": "user", "content": "s"}, {"role": "assistant", "content": "x"}]);
    assert_eq!(body["messages"], want);
}

#[test]
fn content_that_cannot_be_sent_is_named() {
    let user = |part: Value| json!({"role": "user", "content": [{"type": "text", "text": "t"}, part]});
    let image = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let sound = json!({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}});
    let file = json!({"type": "file", "file": {"file_data": "data:application/pdf;base64,AA=="}});
    let (part, url) = ("messages[0].content[1]", "messages[0].content[1].image_url.url");
    let none = json!({});
    for (kind, said, front, code, param) in [
        (WATSONX, &none, user(sound.clone()), "unsupported_content", part),
        (CEREBRAS, &json!({"audio": true}), user(sound.clone()), "unsupported_content", part),
        (NIM, &none, user(sound), "unsupported_content", part),
        (WATSONX, &none, user(file.clone()), "unsupported_content", part),
        (CEREBRAS, &none, user(file.clone()), "unsupported_content", part),
        (NIM, &none, user(file), "unsupported_content", part),
        (NIM, &none, user(json!({"type": "canary"})), "unsupported_content", part),
        (CEREBRAS, &none, user(image(PNG)), "unsupported_content", part),
        (NIM, &json!({"images": false}), user(image(PNG)), "unsupported_content", part),
        (WATSONX, &none, user(image("https://example.com/canary.png")), "invalid_image_url", url),
        (WATSONX, &none, user(image("data:image/png;base64,canary")), "invalid_request", url),
        (NIM, &none, user(image("data:image/png,canary")), "invalid_request", url),
        (CEREBRAS, &json!({"images": true}), user(image("DATA:image/png;base64,A")), "invalid_request", url),
        (
            CEREBRAS,
            &json!({"images": true}),
            json!({"role": "system", "content": [{"type": "text", "text": "t"}, image(PNG)]}),
            "unsupported_content",
            part,
        ),
    ] {
        assert_eq!(message(kind, said, &front), Err((code, param.to_owned())), "{kind:?} {front}");
    }
}

#[test]
fn only_free_calls_of_nim_end_by_calls() {
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let named = json!({"type": "function", "function": {"name": "f"}});
    for (kind, choice, want) in [
        (NIM, Value::Null, true),
        (NIM, "auto".into(), true),
        (NIM, "required".into(), true),
        (NIM, named, false),
        (NIM, "none".into(), false),
        (CEREBRAS, "auto".into(), false),
    ] {
        let text = front(&json!({"tools": tools, "tool_choice": choice})).to_string();
        let object = json::object(text.as_bytes()).unwrap();
        let request = decode_request(&object).unwrap();
        let can = Capabilities::of(kind, "m", None);
        let (settings, inlined) = (Settings::default(), Inlined::default());
        let to = Destination { kind, model: "m", can: &can, settings: &settings, inlined: &inlined };
        assert_eq!(encode_request(&request, &to).unwrap().expect.free_calls, want, "{kind:?} {choice}");
    }
}

#[test]
fn other_types_have_no_profile() {
    let kind = ProviderKind::AzureOpenAi;
    let text = front(&json!({})).to_string();
    let object = json::object(text.as_bytes()).unwrap();
    let request = decode_request(&object).unwrap();
    let can = Capabilities::of(kind, "m", None);
    let (settings, inlined) = (Settings::default(), Inlined::default());
    let to = Destination { kind, model: "m", can: &can, settings: &settings, inlined: &inlined };
    assert_eq!(encode_request(&request, &to).unwrap_err().code, ErrorCode::InternalError);
}

#[test]
fn empty_text_parts_are_left_out() {
    let part = |text: &str| json!({"type": "text", "text": text});
    let no_system = json!({"system_role": false});
    let system = json!({"role": "system", "content": "S"});
    let call = json!({"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let x = json!({"role": "user", "content": "x"});
    for kind in [WATSONX, CEREBRAS, NIM] {
        for (content, want) in [
            (json!([part(""), part("x"), part("")]), json!([part("x")])),
            (json!([part(" ")]), json!([part(" ")])),
            (json!(""), json!("")),
        ] {
            let front = json!({"model": "m", "messages": [{"role": "user", "content": content}]});
            let (body, drops) = encode(kind, &json!({}), &front).unwrap();
            assert_eq!((&body["messages"][0]["content"], drops.as_str()), (&want, ""), "{kind:?}");
        }
        for said in [json!({}), no_system.clone()] {
            let front =
                json!({"model": "m", "messages": [system, x, {"role": "user", "content": [part(""), part("")]}]});
            assert_eq!(encode(kind, &said, &front), Err(("invalid_request", "messages[2]".to_owned())), "{kind:?}");
        }
        // What the model, a tool or the operator says may be nothing.
        let front = json!({"model": "m", "messages": [{"role": "system", "content": [part("a"), part(""), part("b")]}, x,
            {"role": "assistant", "content": [part("")], "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "t", "content": [part("")]}]});
        let (body, _) = encode(kind, &json!({}), &front).unwrap();
        let text = body.to_string();
        assert!(!text.contains(r#""text":"""#) && !text.contains(r"a\n\nb"), "{kind:?} {text}");
        assert_eq!(body["messages"][3]["content"], "", "{kind:?}");
    }
}
