//! The providers that do not speak OpenAI's dialect as OpenAI does: what each refuses, and that faults are those of its own shapes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Ended, Received, Simulator, post};

const PATIENCE: Duration = Duration::from_secs(5);

/// A provider as a test calls it.
struct Caller {
    simulator: Simulator,
    provider: &'static str,
    path: &'static str,
    headers: Vec<String>,
}

impl Caller {
    async fn of(provider: &'static str) -> Self {
        let simulator = Simulator::start().await;
        simulator.configure("a", &json!({"provider": provider})).await;
        let (path, headers) = match provider {
            "anthropic" => (
                "/v1/messages",
                vec!["authorization", "x-api-key: sk-test-0123456789", "anthropic-version: 2026-10-21"],
            ),
            "bedrock" => ("/model/anthropic.claude-sonnet-4-6/converse", Vec::new()),
            "azure-openai" => (
                "/openai/deployments/d/chat/completions?api-version=2024-10-21",
                vec!["authorization", "api-key: sk-test-0123456789"],
            ),
            "watsonxai" => ("/ml/v1/text/chat?version=2026-10-14", Vec::new()),
            _ => ("/v1/chat/completions", Vec::new()),
        };
        let mut headers: Vec<String> = headers.into_iter().map(str::to_owned).collect();
        if provider == "watsonxai" {
            let form = b"grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Aapikey&apikey=k";
            let request = post("/a/identity/token", &["content-type: application/x-www-form-urlencoded"], form);
            let token = simulator.raw(&request, PATIENCE).await.json()["access_token"].as_str().unwrap().to_owned();
            headers.push(format!("authorization: Bearer {token}"));
        }
        Self { simulator, provider, path, headers }
    }

    async fn send(&self, path: &str, more: &[&str], body: &Value) -> Received {
        let mut headers: Vec<&str> = self.headers.iter().map(String::as_str).collect();
        headers.extend(more);
        self.simulator.raw(&post(&format!("/a{path}"), &headers, body.to_string().as_bytes()), PATIENCE).await
    }

    async fn call(&self, body: &Value) -> Received {
        self.send(self.path, &[], body).await
    }

    /// A call that streams.
    async fn stream(&self) -> Received {
        let mut body = good(self.provider);
        let path = match self.provider {
            "bedrock" => "/model/anthropic.claude-sonnet-4-6/converse-stream",
            "watsonxai" => "/ml/v1/text/chat_stream?version=2026-10-14",
            _ => {
                body["stream"] = json!(true);
                self.path
            }
        };
        self.send(path, &[], &body).await
    }

    async fn step(&self, step: Value) {
        self.simulator.configure("a", &json!({"provider": self.provider, "script": [step]})).await;
    }
}

/// The smallest body that passes.
fn good(provider: &str) -> Value {
    let messages = json!([{"role": "user", "content": "hi"}]);
    match provider {
        "anthropic" => json!({"model": "claude-sonnet-4-6", "max_tokens": 4000, "messages": messages}),
        "bedrock" => json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}]}),
        "watsonxai" => json!({"model_id": "m", "project_id": "p", "messages": messages}),
        _ => json!({"model": "m", "messages": messages}),
    }
}

const ALL: &[&str] = &["anthropic", "bedrock", "azure-openai", "watsonxai", "cerebras", "nim"];

/// Each change must be refused with a status and with words in its body; `"-"` removes a member.
async fn refuses(provider: &'static str, cases: Vec<(Value, u16, &str)>) {
    let caller = Caller::of(provider).await;
    let passed = caller.call(&good(provider)).await;
    assert_eq!(passed.status, 200, "{provider}: {}", passed.text());
    for (changes, status, words) in cases {
        let mut body = good(provider);
        for (name, value) in changes.as_object().unwrap() {
            match value.as_str() {
                Some("-") => {
                    body.as_object_mut().unwrap().remove(name);
                }
                _ => body[name] = value.clone(),
            }
        }
        let answer = caller.call(&body).await;
        let text = answer.text();
        assert!(
            answer.status == status && text.contains(words),
            "{changes}: {} {text}, not {status} {words}",
            answer.status
        );
    }
    // What a client may have asked for is its own fault; a member that nobody knows is that of the gateway.
    for call in caller.simulator.calls("a").await {
        let refused = call["refused"].as_str().unwrap_or_default();
        let unknown = ["Extra inputs", "extraneous key", "is unsupported"].iter().any(|words| refused.contains(words));
        assert!(!unknown || call["violations"] == json!([refused]), "{call}");
        assert!(!call["refused"].is_null() || call["violations"] == json!([]), "{call}");
    }
}

fn turns(turns: &[(&str, Value)]) -> Value {
    let one = |(role, content): &(&str, Value)| json!({"role": role, "content": content});
    Value::from_iter([("messages", turns.iter().map(one).collect::<Value>())])
}

fn and(mut first: Value, second: &Value) -> Value {
    for (name, value) in second.as_object().unwrap() {
        first[name] = value.clone();
    }
    first
}

#[tokio::test]
async fn anthropic_refuses_what_it_does_not_take() {
    let tools = json!({"tools": [{"name": "f", "input_schema": {"type": "object"}}]});
    let text = |text: &str| json!([{"type": "text", "text": text}]);
    let calls = |id: &str| json!([{"type": "tool_use", "id": id, "name": "f", "input": {}}]);
    let result = |id: &str| json!([{"type": "tool_result", "tool_use_id": id}]);
    let tool_turns =
        |id: &str, last: Value| and(turns(&[("user", json!("a")), ("assistant", calls(id)), ("user", last)]), &tools);
    let marked = json!({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}});
    let image = |media: &str, data: &str| json!([{"type": "image", "source": {"type": "base64", "media_type": media, "data": data}}]);
    let closed = |schema: Value| json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}});
    refuses(
        "anthropic",
        vec![
            (json!({"max_tokens": "-"}), 400, "max_tokens: Field required"),
            (json!({"max_tokens": 1.5}), 400, "max_tokens"),
            (json!({"temperature": 1}), 400, "temperature: Extra inputs are not permitted"),
            (json!({"top_p": 1}), 400, "top_p"),
            (json!({"top_k": 1}), 400, "top_k"),
            (json!({"n": 1}), 400, "n: Extra inputs"),
            (json!({"x_more": 1}), 400, "x_more: Extra inputs"),
            (turns(&[("user", json!([{"type": "text", "text": "a", "more": 1}]))]), 400, "messages.0.content.0.more"),
            (turns(&[]), 400, "messages"),
            (turns(&[("assistant", json!("a"))]), 400, "first message must use"),
            (turns(&[("user", json!("a")), ("user", json!("b"))]), 400, "roles must alternate"),
            (turns(&[("system", json!("a"))]), 400, "messages.0.role"),
            (turns(&[("user", json!(""))]), 400, "non-whitespace"),
            (turns(&[("user", text(" "))]), 400, "non-whitespace"),
            (turns(&[("user", json!([]))]), 400, "messages.0.content"),
            (json!({"system": ""}), 400, "non-whitespace"),
            (json!({"system": null}), 400, "system"),
            (json!({"stop_sequences": ["a", "\n"]}), 400, "stop_sequences.1"),
            (turns(&[("user", json!("a")), ("assistant", json!("b"))]), 400, "assistant message prefill"),
            (
                and(turns(&[("user", json!("a")), ("assistant", json!("b "))]), &json!({"model": "claude-haiku-4-5"})),
                400,
                "trailing whitespace",
            ),
            (tool_turns("a.b", result("a.b")), 400, "String should match pattern"),
            (tool_turns("a", json!("b")), 400, "without `tool_result` blocks immediately after: a"),
            (tool_turns("a", result("b")), 400, "unexpected `tool_use_id`"),
            (
                tool_turns("a", json!([{"type": "text", "text": "x"}, result("a")[0]])),
                400,
                "must come before other content",
            ),
            (tool_turns("a", json!([result("a")[0], result("a")[0]])), 400, "Found multiple"),
            (and(tool_turns("a", result("a")), &json!({"tools": []})), 400, "must define tools"),
            (json!({"tool_choice": {"type": "auto"}}), 400, "while providing tools"),
            (and(json!({"tool_choice": {"type": "tool", "name": "g"}}), &tools), 400, "not found in provided tools"),
            (json!({"tools": [{"name": "a b", "input_schema": {"type": "object"}}]}), 400, "tools.0.name"),
            (json!({"tools": [{"name": "f", "input_schema": {}}]}), 400, "must be"),
            (json!({"thinking": {"type": "enabled", "budget_tokens": 1000}}), 400, "1024"),
            (json!({"thinking": {"type": "enabled", "budget_tokens": 4000}}), 400, "must be greater than"),
            (
                and(
                    json!({"thinking": {"type": "enabled", "budget_tokens": 1024}, "tool_choice": {"type": "any"}}),
                    &tools,
                ),
                400,
                "forces tool use",
            ),
            (
                and(json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}), &tool_turns("a", result("a"))),
                400,
                "Expected `thinking`",
            ),
            (
                json!({"model": "claude-opus-5", "thinking": {"type": "enabled", "budget_tokens": 1024}}),
                400,
                "adaptive",
            ),
            (json!({"model": "claude-3-7-sonnet", "thinking": {"type": "adaptive"}}), 400, "not supported"),
            (json!({"output_config": {"effort": "minimal"}}), 400, "output_config.effort"),
            (closed(json!({"type": "object", "properties": {}})), 400, "additionalProperties"),
            (turns(&[("user", Value::Array(vec![marked; 5]))]), 400, "A maximum of 4 blocks"),
            (turns(&[("user", image("image/jpg", "iVBORw0KGgo="))]), 400, "media_type"),
            (turns(&[("user", image("image/jpeg", "iVBORw0KGgo="))]), 400, "media type"),
            (turns(&[("user", image("image/png", "?"))]), 400, "base64"),
            (
                turns(&[("user", json!([{"type": "image", "source": {"type": "url", "url": "http://a/b"}}]))]),
                400,
                "HTTPS",
            ),
            (json!({"metadata": {"user_id": "a@b.example"}}), 400, "email"),
            (json!({"metadata": {"job": "a"}}), 400, "metadata.job"),
            (
                turns(&[
                    ("user", json!("a")),
                    ("assistant", json!([{"type": "document", "source": {"type": "url", "url": "https://a"}}])),
                    ("user", json!("b")),
                ]),
                400,
                "not permitted in assistant",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn the_version_of_anthropic_decides() {
    let caller = Caller::of("anthropic").await;
    let warm = and(good("anthropic"), &json!({"temperature": 0.5}));
    assert_eq!(caller.send(caller.path, &["anthropic-version: 2023-06-01"], &warm).await.status, 200);
    let both = and(warm, &json!({"top_p": 0.5}));
    assert!(caller.send(caller.path, &["anthropic-version: 2023-06-01"], &both).await.text().contains("cannot both"));
    for line in ["anthropic-version: 2024-01-01", "anthropic-version"] {
        assert_eq!(caller.send(caller.path, &[line], &good("anthropic")).await.status, 400, "{line}");
    }
    let keyless = caller.send(caller.path, &["x-api-key"], &good("anthropic")).await;
    assert_eq!((keyless.status, &keyless.json()["error"]["type"]), (401, &json!("authentication_error")));
}

#[tokio::test]
async fn bedrock_refuses_what_it_does_not_take() {
    let text = |text: &str| json!([{"text": text}]);
    let tools =
        json!({"toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}]}});
    let calls = |id: &str| json!([{"toolUse": {"toolUseId": id, "name": "f", "input": {}}}]);
    let result = |id: &str| json!([{"toolResult": {"toolUseId": id, "content": [{"text": "x"}]}}]);
    let tool_turns = |id: &str, last: Value| turns(&[("user", text("a")), ("assistant", calls(id)), ("user", last)]);
    let document = |name: &str| json!({"document": {"format": "txt", "name": name, "source": {"bytes": "aGk="}}});
    let tool = |tool: Value| json!({"toolConfig": {"tools": [{"toolSpec": tool}]}});
    refuses(
        "bedrock",
        vec![
            (json!({"messages": "-"}), 400, "messages"),
            (json!({"model": "m"}), 400, "extraneous key [model]"),
            (json!({"stream": true}), 400, "extraneous key [stream]"),
            (turns(&[("assistant", text("a"))]), 400, "start with a user message"),
            (turns(&[("user", text("a")), ("user", text("b"))]), 400, "must alternate"),
            (turns(&[("user", text(" "))]), 400, "blank"),
            (turns(&[("user", text("a")), ("assistant", text("b"))]), 400, "assistant message prefill"),
            (turns(&[("user", json!("a"))]), 400, "messages.0.content"),
            (turns(&[("user", json!([{"text": "a", "image": {}}]))]), 400, "exactly one"),
            (tool_turns("a", result("a")), 400, "toolConfig field must be defined"),
            (and(tool_turns("a", text("b")), &tools), 400, "Expected toolResult blocks"),
            (and(tool_turns("a", json!([result("a")[0], result("b")[0]])), &tools), 400, "exceeds the number"),
            (and(tool_turns("a b", result("a b")), &tools), 400, "toolUseId"),
            (and(tool_turns(&"a".repeat(65), result(&"a".repeat(65))), &tools), 400, "toolUseId"),
            (tool(json!({"name": "a b", "inputSchema": {"json": {"type": "object"}}})), 400, "toolSpec.name"),
            (tool(json!({"name": "f", "description": "", "inputSchema": {"json": {"type": "object"}}})), 400, "description"),
            (tool(json!({"name": "f", "inputSchema": {"json": {"anyOf": []}}})), 400, "must be one of the following: object"),
            (json!({"toolConfig": {"tools": []}}), 400, "toolConfig.tools"),
            (and(tools.clone(), &json!({"toolConfig": {"tools": tools["toolConfig"]["tools"], "toolChoice": {"none": {}}}})), 400, "toolChoice.none"),
            (json!({"inferenceConfig": {"maxTokens": 0}}), 400, "maxTokens"),
            (json!({"inferenceConfig": {"temperature": 1.1}}), 400, "temperature"),
            (json!({"inferenceConfig": {"stopSequences": ["\n"]}}), 400, "non-whitespace"),
            (json!({"requestMetadata": {}}), 400, "requestMetadata"),
            (json!({"requestMetadata": {"a": "b!"}}), 400, "requestMetadata"),
            (turns(&[("user", json!([document("a")]))]), 400, "text block"),
            (turns(&[("user", json!([document("a.txt"), {"text": "a"}]))]), 400, "alphanumeric"),
            (turns(&[("user", json!([document("a"), document("a"), {"text": "a"}]))]), 400, "unique"),
            (turns(&[("user", json!([{"cachePoint": {"type": "default"}}, {"text": "a"}]))]), 400, "must follow"),
            (json!({"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": {}}}}}}), 400, "schema"),
            (json!({"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 10}}}), 400, "1024"),
            (json!({"system": [{"text": ""}]}), 400, "blank"),
        ],
    )
    .await;
    let caller = Caller::of("bedrock").await;
    for (path, status, kind) in [
        ("/model/a%253Ab/converse", 400, "ValidationException"),
        ("/model/arn:aws:x/y/converse", 404, "UnknownOperationException"),
        ("/model/amazon.titan-embed-text-v1/converse", 400, "ValidationException"),
    ] {
        let answer = caller.send(path, &[], &good("bedrock")).await;
        let found = answer.header("x-amzn-errortype").unwrap();
        assert!(answer.status == status && found.starts_with(&format!("{kind}:")), "{path}: {} {found}", answer.status);
    }
    let unsigned = caller.send(caller.path, &["authorization"], &good("bedrock")).await;
    assert!(unsigned.header("x-amzn-errortype").unwrap().starts_with("MissingAuthenticationTokenException:"));
    let stale = "authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260115/us-east-1/bedrock/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=00";
    let stale = caller.send(caller.path, &[stale, "x-amz-date: 20260115T120000Z"], &good("bedrock")).await;
    assert!(stale.status == 403 && stale.text().contains("5 min"), "{}", stale.text());
}

#[tokio::test]
async fn watsonx_refuses_what_it_does_not_take() {
    refuses(
        "watsonxai",
        vec![
            (json!({"project_id": "-"}), 400, "Missing either space_id or project_id"),
            (json!({"space_id": "s"}), 400, "Only one of"),
            (json!({"stream": true}), 400, "stream"),
            (json!({"stream_options": {}}), 400, "stream_options"),
            (json!({"user": "u"}), 400, "user"),
            (json!({"stop": "a"}), 400, "stop"),
            (json!({"reasoning_effort": "minimal"}), 400, "reasoning_effort"),
            (json!({"tool_choice_option": "auto"}), 400, "tools"),
            (json!({"tools": [{"type": "function", "function": {"name": "f", "strict": true}}]}), 400, "strict"),
            (turns(&[("developer", json!("a"))]), 400, "role"),
            (turns(&[("system", json!([{"type": "text", "text": "a"}]))]), 400, "content"),
            (turns(&[("user", json!([{"type": "image_url", "image_url": {"url": "https://a/b"}}]))]), 400, "data URL"),
        ],
    )
    .await;
    let caller = Caller::of("watsonxai").await;
    let chat = good("watsonxai");
    assert_eq!(caller.send("/ml/v1/text/chat", &[], &chat).await.status, 400);
    let deployment = "/ml/v1/deployments/d/text/chat?version=2026-10-14";
    assert!(caller.send(deployment, &[], &chat).await.text().contains("'model_id' or 'model' cannot be specified"));
    let bare = json!({"messages": chat["messages"]});
    assert_eq!(caller.send(deployment, &[], &bare).await.status, 200);
    let unknown = caller.send(caller.path, &["authorization: Bearer other"], &chat).await;
    assert_eq!((unknown.status, &unknown.json()["errors"][0]["code"]), (401, &json!("authentication_token_not_valid")));
}

#[tokio::test]
async fn tokens_of_watsonx_end_and_have_a_script_of_their_own() {
    let simulator = Simulator::start().await;
    let settings = json!({"provider": "watsonxai", "keys": ["k"], "token_seconds": 0, "token_script": [{"status": 503}], "script": [{"status": 429}]});
    simulator.configure("a", &settings).await;
    let form = |key: &str| format!("grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Aapikey&apikey={key}");
    let fetch = |key: &'static str| {
        let lines = ["content-type: application/x-www-form-urlencoded", "authorization"];
        let request = post("/a/identity/token", &lines, form(key).as_bytes());
        let simulator = &simulator;
        async move { simulator.raw(&request, PATIENCE).await }
    };
    let wrong = fetch("other").await;
    assert_eq!((wrong.status, &wrong.json()["errorCode"]), (400, &json!("BXNIM0415E")));
    assert_eq!(fetch("k").await.status, 503);
    let token = fetch("k").await.json();
    assert_eq!(token["expires_in"], 0);
    let bearer = format!("authorization: Bearer {}", token["access_token"].as_str().unwrap());
    let body = good("watsonxai").to_string();
    let chat = post("/a/ml/v1/text/chat?version=2026-10-14", &[&bearer], body.as_bytes());
    let expired = simulator.raw(&chat, PATIENCE).await;
    assert_eq!((expired.status, &expired.json()["errors"][0]["code"]), (401, &json!("authentication_token_expired")));
}

#[tokio::test]
async fn azure_cerebras_and_nim_refuse_what_they_do_not_take() {
    refuses("azure-openai", vec![(json!({"temperature": 3}), 400, "temperature"), (json!({"cache": 1}), 400, "cache")])
        .await;
    refuses(
        "cerebras",
        vec![
            (json!({"store": false}), 400, "property 'store' is unsupported"),
            (json!({"metadata": {}}), 400, "metadata"),
            (json!({"reasoning_effort": "minimal"}), 400, "reasoning_effort"),
            (json!({"stop": ["a", "b", "c", "d", "e"]}), 400, "stop"),
            (json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "reasoning_content": "c"}]}), 400, "reasoning_content"),
        ],
    )
    .await;
    refuses(
        "nim",
        vec![
            (json!({"max_completion_tokens": 5}), 422, "Extra inputs are not permitted"),
            (json!({"user": "u"}), 422, "body -> user"),
            (json!({"parallel_tool_calls": true}), 422, "parallel_tool_calls"),
            (turns(&[("developer", json!("a"))]), 422, "role"),
            (
                json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": null}]}),
                422,
                "content",
            ),
        ],
    )
    .await;
    let cerebras = Caller::of("cerebras").await;
    assert_eq!(cerebras.send("/v1/embeddings", &[], &json!({"model": "m", "input": "a"})).await.status, 404);
    let azure = Caller::of("azure-openai").await;
    for path in ["/openai/deployments/d/chat/completions", "/openai/chat/completions?api-version=2024-10-21"] {
        assert_eq!(azure.send(path, &[], &good("azure-openai")).await.status, 404, "{path}");
    }
    let v1 = azure.send("/openai/v1/chat/completions", &[], &good("azure-openai")).await;
    assert_eq!(v1.status, 200, "{}", v1.text());
}

#[tokio::test]
async fn an_account_without_a_provider_is_what_its_path_says() {
    let simulator = Simulator::start().await;
    let anthropic = ["authorization", "x-api-key: k", "anthropic-version: 2026-10-21"];
    for (path, lines, body) in [
        ("/v1/messages", &anthropic[..], good("anthropic")),
        ("/model/m/converse", &[], good("bedrock")),
        ("/openai/v1/chat/completions", &["authorization", "api-key: k"], good("azure-openai")),
        ("/v1/chat/completions", &[], good("openai")),
    ] {
        let answer = simulator.raw(&post(&format!("/a{path}"), lines, body.to_string().as_bytes()), PATIENCE).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    // A key of one provider is a violation at another.
    let request = post("/b/v1/chat/completions", &["api-key: k"], good("openai").to_string().as_bytes());
    assert_eq!(simulator.raw(&request, PATIENCE).await.status, 400);
}

#[tokio::test]
async fn errors_have_the_shape_of_their_provider() {
    for provider in ALL {
        let caller = Caller::of(provider).await;
        for status in [400, 401, 403, 404, 429, 500, 503] {
            caller.step(json!({"status": status, "retry_after": 2})).await;
            let answer = caller.call(&good(provider)).await;
            assert_eq!((answer.status, answer.header("retry-after")), (status, Some("2")), "{provider}");
            if (*provider, status) == ("nim", 404) {
                assert_eq!(answer.text(), "404 page not found\n");
                continue;
            }
            let body = answer.json();
            let said = match *provider {
                "anthropic" => {
                    body["type"] == "error" && body["error"]["type"].is_string() && body["request_id"].is_string()
                }
                "bedrock" => {
                    body["message"].is_string() && answer.header("x-amzn-errortype").unwrap().contains("Exception:")
                }
                "watsonxai" => body["errors"][0]["code"].is_string() && body["status_code"] == status,
                "cerebras" => body["message"].is_string() && body.get("error").is_none(),
                "nim" => body["detail"].is_string() || body["error"]["code"] == status,
                _ => body["error"]["message"].is_string() && body["error"]["code"] != Value::Null || status == 400,
            };
            assert!(said, "{provider} {status}: {body}");
        }
    }
}

#[tokio::test]
async fn faults_happen_to_the_stream_of_every_provider() {
    for provider in ALL {
        let caller = Caller::of(provider).await;
        let whole = caller.stream().await;
        assert_eq!((whole.status, whole.ended), (200, Ended::Complete), "{provider}: {}", whole.text());
        assert!(whole.chunks.len() > 5, "{provider}");
        for (step, ended) in [
            (json!({"cut_at": 100}), Ended::Closed),
            (json!({"cut_at": 100, "rst": true}), Ended::Reset),
            (json!({"clean_end_at": 100}), Ended::Complete),
        ] {
            caller.step(step.clone()).await;
            let answer = caller.stream().await;
            assert_eq!((answer.body.len(), answer.ended), (100, ended), "{provider} {step}");
        }
        caller.step(json!({"split_every": 7})).await;
        let split = caller.stream().await;
        assert!(split.chunks.iter().all(|size| *size <= 7) && split.ended == Ended::Complete, "{provider}");
        caller.step(json!({"oversize": {"bytes": 5000}})).await;
        let first = if *provider == "bedrock" { 5000 } else { 5002 };
        assert_eq!(caller.stream().await.chunks[0], first, "{provider}");
        caller.step(json!({"error_event": {"after": 2}})).await;
        let failed = caller.stream().await;
        let mark = match *provider {
            "anthropic" => "overloaded_error",
            "bedrock" => "internalServerException",
            "watsonxai" => "event: error\n",
            "cerebras" => "status_code",
            _ => "error",
        };
        assert!(failed.chunks.len() == 3 && failed.text().contains(mark), "{provider}: {}", failed.text());
        let (finish, done) = match *provider {
            "anthropic" => ("message_delta", "message_stop"),
            "bedrock" => ("messageStop", "metadata"),
            "watsonxai" => ("\"finish_reason\":\"stop\"", "\"usage\""),
            _ => ("\"finish_reason\":\"stop\"", "[DONE]"),
        };
        caller.step(json!({"no_finish": true})).await;
        assert!(!caller.stream().await.text().contains(finish), "{provider}");
        caller.step(json!({"no_done": true})).await;
        let text = caller.stream().await.text();
        assert!(text.contains(finish) && !text.contains(done), "{provider}");
        for place in ["body", "header", "event"] {
            caller.step(json!({"echo_key": place})).await;
            let answer = caller.stream().await;
            let echoed = format!("{:?} {}", answer.headers, answer.text());
            let key = if *provider == "watsonxai" { "eyJ" } else { "sk-test-0123456789" };
            // Its 422 and 404 are the only ones of its errors without room for it.
            assert!(echoed.contains(key), "{provider} {place}: {echoed}");
        }
    }
}

#[tokio::test]
async fn frames_of_bedrock_can_be_spoiled() {
    let caller = Caller::of("bedrock").await;
    let whole = caller.stream().await;
    for (step, at) in [(json!({"frame": 0}), whole.chunks[0] - 1), (json!({"frame": 0, "prelude": true}), 11)] {
        caller.step(json!({"bad_crc": step})).await;
        let spoiled = caller.stream().await;
        let differ: Vec<usize> = (0..whole.chunks[0]).filter(|n| spoiled.body[*n] != whole.body[*n]).collect();
        assert_eq!(differ, [at]);
    }
}

#[tokio::test]
async fn watsonx_streams_have_numbers_and_no_end_mark() {
    let text = Caller::of("watsonxai").await.stream().await.text();
    assert!(text.starts_with("id: 1\nevent: message\ndata: {") && !text.contains("[DONE]"), "{text}");
    let last =
        text.trim_end().rsplit("data: ").next().map(|json| serde_json::from_str::<Value>(json).unwrap()).unwrap();
    assert_eq!((&last["choices"], last["usage"].as_object().unwrap().len()), (&json!([]), 3));
}
