//! Azure OpenAI: OpenAI's bodies behind deployments, with the results of the content filter in every answer.
//!
//! API: <https://learn.microsoft.com/azure/ai-foundry/openai/reference>

use serde_json::{Map, Value, json};

use crate::{
    answer::{Answer, header},
    dialect::{Ask, Checked, Problem, Refused, given, list, member, put, string},
    openai::{self, Endpoint, Twist, message, models},
    provider,
    shape::Refusal,
    text,
};

/// Members that deployments of reasoning models do not take.
const NOT_WHEN_REASONING: &[&str] = &[
    "max_tokens",
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "logprobs",
    "top_logprobs",
    "logit_bias",
];

static TWIST: Twist = Twist {
    reasoning: None,
    call: "call_",
    usage: |usage| usage,
    whole: |_, answer| filtered(answer),
    chunks: |_, chunks, _| filtered_chunks(chunks),
    failed: |given, message| json!({"error": given.unwrap_or_else(|| openai::stream_error(message))}),
    event: openai::plain_event,
    done: true,
    dress,
};

/// Checks key, path, version, deployment and body.
pub(crate) fn check<'a>(ask: &'a Ask<'a>) -> Checked<'a> {
    let Some(key) = ask.key() else {
        return Err(ask.refuse(Problem::of(401, DENIED).code("401"), true));
    };
    if ask.head.value("api-key").is_some() && provider::bearer(ask.head).is_some() {
        // Our inference: which of the two counts is nowhere said, so a gateway must not rely on it.
        return Err(ask.refuse(Problem::of(400, "Both api-key and Authorization are given."), true));
    }
    if !ask.knows(key) {
        return Err(ask.refuse(Problem::of(401, DENIED).code("401"), false));
    }
    let version = ask.query("api-version");
    let path = ask.path.strip_prefix("/openai").unwrap_or_default();
    let (operation, deployment) = if let Some(operation) = path.strip_prefix("/v1/") {
        if version.is_some_and(|version| !matches!(version, "preview" | "latest" | "v1")) {
            return Err(ask.refuse(Problem::of(400, "API version not supported"), true));
        }
        (operation, None)
    } else {
        if !version.is_some_and(is_dated) {
            return Err(not_found(ask));
        }
        match path.strip_prefix("/deployments/").and_then(|rest| rest.split_once('/')) {
            Some((deployment, operation)) => (operation, Some(deployment)),
            None => (path.trim_start_matches('/'), None),
        }
    };
    let dated_list = deployment.is_none() && !path.starts_with("/v1/");
    let endpoint = match (operation, ask.method()) {
        ("models", "GET") if deployment.is_none() => return Ok(Box::new(|_| models::list(ask, models::OFFERED))),
        ("chat/completions", "POST") if !dated_list => Endpoint::Chat,
        ("completions", "POST") if !dated_list => Endpoint::Completions,
        ("embeddings", "POST") if !dated_list => Endpoint::Embeddings,
        _ => return Err(not_found(ask)),
    };
    let mut body = openai::parsed(ask)?;
    // The dated path names the deployment, whatever the body says; only the newer one reads it there.
    if let Some(deployment) = deployment {
        body.insert("model".to_owned(), json!(text::unescaped(deployment)));
    }
    let deployment = string(&body, "model").to_owned();
    if !ask.offers(&deployment) {
        let message = "The API deployment for this resource does not exist.";
        return Err(ask.refuse(Problem::of(404, message).code("DeploymentNotFound"), false));
    }
    // What stands behind a deployment is not in its name: the account says whether it reasons.
    let model = match endpoint {
        Endpoint::Embeddings => "text-embedding-3-small",
        Endpoint::Chat | Endpoint::Completions if ask.settings.reasoning => "o4-mini-2025-04-16",
        Endpoint::Chat | Endpoint::Completions => "gpt-4o-2024-11-20",
    };
    body.insert("model".to_owned(), json!(model));
    let checked = openai::check_body(endpoint, &body).and_then(|()| reasoning_rules(ask, endpoint, &body));
    checked.map_err(|refusal| openai::refused(ask, 400, &refusal))?;
    if endpoint == Endpoint::Chat && message::last_of_user(&body).starts_with("blocked:") {
        let answer = Answer::json(400, &blocked());
        return Err(Box::new(Refused {
            answer,
            message: "the prompt is blocked by the filter".to_owned(),
            violation: false,
        }));
    }
    Ok(openai::accept(ask, endpoint, body, &TWIST))
}

/// An error in Azure's shape: no type and no param unless the request itself is at fault.
pub(crate) fn error(problem: Problem<'_>) -> Answer {
    let Problem { status, message, param, code } = problem;
    let said = message.unwrap_or(match status {
        401 => DENIED,
        403 => "Access denied due to Virtual Network/Firewall rules.",
        404 => "The API deployment for this resource does not exist.",
        429 => "Requests have exceeded the call rate limit. Please retry after 1 second.",
        400..=499 => "The request is refused by the script.",
        _ => "The server had an error processing your request.",
    });
    let body = match (status, message) {
        (400 | 405, Some(said)) => {
            json!({"message": said, "type": "invalid_request_error", "param": param, "code": code})
        }
        (404, None) => json!({"code": "DeploymentNotFound", "message": said}),
        _ => json!({"code": code.map_or_else(|| status.to_string(), str::to_owned), "message": said}),
    };
    Answer::json(status, &json!({"error": body})).add("apim-request-id", "11111111-2222-3333-4444-555555555555")
}

const DENIED: &str = "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource.";

fn not_found(ask: &Ask<'_>) -> Box<Refused> {
    ask.refuse(Problem::of(404, "Resource not found").code("404"), true)
}

/// `2024-10-21` or `2024-10-01-preview`.
fn is_dated(version: &str) -> bool {
    let date = version.strip_suffix("-preview").unwrap_or(version);
    date.len() == 10
        && date.bytes().enumerate().all(|(at, b)| if matches!(at, 4 | 7) { b == b'-' } else { b.is_ascii_digit() })
}

fn reasoning_rules(ask: &Ask<'_>, endpoint: Endpoint, body: &Map<String, Value>) -> Result<(), Refusal> {
    if !ask.settings.reasoning || endpoint != Endpoint::Chat {
        return Ok(());
    }
    let refused = |name: &&&str| {
        given(body, name) && (**name != "temperature" || body.get("temperature").and_then(Value::as_f64) != Some(1.0))
    };
    match NOT_WHEN_REASONING.iter().find(refused) {
        None => Ok(()),
        Some(&name) => {
            let hint = if name == "max_tokens" { " Use 'max_completion_tokens' instead." } else { "" };
            let message = format!("Unsupported parameter: '{name}' is not supported with this model.{hint}");
            Err(Refusal::of(name, "unsupported_parameter", message))
        }
    }
}

fn safe() -> Value {
    let one = |_| json!({"filtered": false, "severity": "safe"});
    Value::from_iter(["hate", "self_harm", "sexual", "violence"].map(|name| (name, one(name))))
}

fn violent() -> Value {
    let mut results = safe();
    put(&mut results, "violence", json!({"filtered": true, "severity": "high"}));
    results
}

/// What the filter says when it stops the prompt.
fn blocked() -> Value {
    json!({"error": {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify your prompt and retry.",
        "type": null, "param": "prompt", "code": "content_filter", "status": 400,
        "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": violent()}}})
}

fn prompt_results() -> Value {
    json!([{"prompt_index": 0, "content_filter_results": safe()}])
}

fn filtered(mut answer: Value) -> Value {
    let Some(choices) = answer.get_mut("choices").and_then(Value::as_array_mut) else {
        return answer;
    };
    for choice in choices {
        let cut = choice.get("finish_reason") == Some(&json!("content_filter"));
        put(choice, "content_filter_results", if cut { violent() } else { safe() });
    }
    put(&mut answer, "prompt_filter_results", prompt_results());
    answer
}

/// The results for the prompt come first, those of the asynchronous filter in an event without delta after the finish.
fn filtered_chunks(chunks: Vec<Value>) -> Vec<Value> {
    let blank = |choices: Value| json!({"id": "", "object": "", "created": 0, "model": "", "choices": choices});
    let mut first = blank(json!([]));
    put(&mut first, "prompt_filter_results", prompt_results());
    let mut out = vec![first];
    for mut chunk in chunks {
        let reason = list(&chunk, "choices").first().map(|choice| member(choice, "finish_reason").to_owned());
        if let Some(choice) = chunk.pointer_mut("/choices/0") {
            put(
                choice,
                "content_filter_results",
                match reason.as_deref() {
                    Some("content_filter") => violent(),
                    Some("") if choice.pointer("/delta/content").is_some_and(|content| content != "") => safe(),
                    _ => json!({}),
                },
            );
        }
        out.push(chunk);
        if reason.is_some_and(|reason| !reason.is_empty()) {
            out.push(blank(json!([{"index": 0, "finish_reason": null, "content_filter_results": safe(),
                "content_filter_offsets": {"check_offset": 60, "start_offset": 60, "end_offset": 66}}])));
        }
    }
    out
}

fn dress(answer: &mut Answer, ask: &Ask<'_>) {
    answer.headers.extend([
        header("apim-request-id", &format!("{:032x}", ask.seed())),
        header("x-ms-region", "East US"),
        header("x-ratelimit-remaining-requests", "999"),
        header("x-ratelimit-remaining-tokens", "99980"),
        header("x-request-id", &format!("{:032x}", text::hash(&ask.seed().to_le_bytes()))),
    ]);
}
