//! Cerebras: OpenAI's chat and completions with fewer members, thinking in `reasoning`, and flat errors.
//!
//! API: <https://inference-docs.cerebras.ai/api-reference>

use serde_json::{Map, Value, json};

use crate::{
    answer::{Answer, header},
    dialect::{Ask, Checked, Problem, given, items, list, member, put, string},
    openai::{self, Endpoint, Route, Twist, chat, completions, message, shapes::*},
    shape::{Kind, Refusal, Shape, UNKNOWN, needed, optional},
};

use Kind::{Bool, Either, Free, Int, List, Num, Object, OneOf, Tagged, Text};

const OFFERED: &[&str] = &["gpt-oss-120b", "llama3.1-8b", "qwen-3-235b-a22b-instruct-2507", "zai-glm-4.6"];

static TWIST: Twist = Twist {
    reasoning: Some("reasoning"),
    call: "",
    usage: few_counts,
    whole: |ask, mut answer| {
        put(&mut answer, "time_info", time_info(ask));
        trimmed(answer)
    },
    chunks: finish_with_usage,
    failed: |given, message| {
        let usual = || json!({"message": message.unwrap_or("Encountered a server error"), "type": "server_error", "param": null, "code": "server_error", "id": ""});
        json!({"error": given.unwrap_or_else(usual), "status_code": 500})
    },
    event: openai::plain_event,
    done: true,
    dress,
};

/// Checks key, path and body.
pub(crate) fn check<'a>(ask: &'a Ask<'a>) -> Checked<'a> {
    // There are no embeddings, so their path is as unknown as any other.
    let endpoints = &[Endpoint::Chat, Endpoint::Completions];
    let endpoint = match openai::route(ask, endpoints, Problem::of(404, "Unknown request URL.").code("not_found"))? {
        Route::Models(id) => return Ok(Route::models(ask, id, OFFERED)),
        Route::Body(endpoint) => endpoint,
    };
    let body = openai::parsed(ask)?;
    let checked = match endpoint {
        Endpoint::Chat => check_chat(&body),
        Endpoint::Completions | Endpoint::Embeddings => check_completion(&body),
    };
    checked.map_err(|refusal| {
        let (place, objection) = refusal.pydantic();
        let message = match refusal.code {
            Some(UNKNOWN) => format!("body.{place}: property '{place}' is unsupported"),
            _ => format!("body.{place}: {objection}"),
        };
        let problem = Problem {
            status: 400,
            message: Some(&message),
            param: refusal.param.as_deref(),
            code: Some("wrong_api_format"),
        };
        ask.refuse(problem, refusal.violation)
    })?;
    let model = string(&body, "model");
    if !ask.offers(model) {
        let message = format!("Model {model} does not exist or you do not have access to it.");
        let problem =
            Problem { status: 404, message: Some(&message), param: Some("model"), code: Some("model_not_found") };
        return Err(ask.refuse(problem, false));
    }
    Ok(openai::accept(ask, endpoint, body, &TWIST))
}

/// An error as Cerebras sends it: the object itself, without a wrapper.
pub(crate) fn error(problem: Problem<'_>) -> Answer {
    let Problem { status, message, param, code } = problem;
    let (usual, kind, usual_code) = match status {
        400 => ("The request is refused by the script.", "invalid_request_error", "wrong_api_format"),
        401 => ("Wrong API Key", "invalid_request_error", "wrong_api_key"),
        402 => ("Payment required", "payment_required_error", "payment_required"),
        404 => ("Model does not exist or you do not have access to it.", "not_found_error", "model_not_found"),
        429 => (
            "Requests per minute limit exceeded - too many requests sent.",
            "too_many_requests_error",
            "request_quota_exceeded",
        ),
        _ if status < 500 => ("The request is refused by the script.", "invalid_request_error", "invalid_request"),
        503 => ("We're experiencing high traffic right now! Please try again soon.", "server_error", "queue_exceeded"),
        _ => ("Encountered a server error, please try again.", "server_error", "server_error"),
    };
    let param = param.or((status == 429).then_some("quota"));
    Answer::json(
        status,
        &json!({"message": message.unwrap_or(usual), "type": kind, "param": param, "code": code.unwrap_or(usual_code)}),
    )
}

fn check_chat(body: &Map<String, Value>) -> Result<(), Refusal> {
    CHAT.check_made(body)?;
    let messages = items(body, "messages");
    message::check_order(messages)?;
    chat::check_rules(body)
}

fn check_completion(body: &Map<String, Value>) -> Result<(), Refusal> {
    if given(body, "suffix") {
        return Err(Refusal::plain("suffix", "suffix is not supported"));
    }
    COMPLETIONS.check_made(body)?;
    completions::check_rules(body)
}

/// The usage and the times ride on the chunk with the last finish reason, asked for or not.
fn finish_with_usage(ask: &Ask<'_>, chunks: Vec<Value>, usage: Option<&Value>) -> Vec<Value> {
    let mut chunks: Vec<Value> =
        chunks.into_iter().filter(|chunk| !list(chunk, "choices").is_empty()).map(trimmed).collect();
    for chunk in &mut chunks {
        if let Some(members) = chunk.as_object_mut() {
            members.shift_remove("usage");
        }
    }
    let finish =
        |chunk: &Value| chunk.pointer("/choices/0").is_some_and(|choice| !member(choice, "finish_reason").is_empty());
    if let Some(last) = chunks.last_mut().filter(|chunk| finish(chunk)) {
        if let Some(usage) = usage {
            put(last, "usage", usage.clone());
        }
        put(last, "time_info", time_info(ask));
    }
    chunks
}

/// Without members of OpenAI that Cerebras does not have.
fn trimmed(mut answer: Value) -> Value {
    if let Some(members) = answer.as_object_mut() {
        members.shift_remove("service_tier");
        // Completions have it too.
        members.entry("system_fingerprint").or_insert_with(|| json!("fp_simulated"));
    }
    openai::without_refusals(&mut answer);
    answer
}

/// Few of the details.
fn few_counts(mut usage: Value) -> Value {
    for (details, kept) in
        [("prompt_tokens_details", "cached_tokens"), ("completion_tokens_details", "reasoning_tokens")]
    {
        if let Some(Value::Object(details)) = usage.get_mut(details) {
            details.retain(|name, _| name == kept);
        }
    }
    usage
}

fn time_info(ask: &Ask<'_>) -> Value {
    json!({"queue_time": 0.0001, "prompt_time": 0.001, "completion_time": 0.01, "total_time": 0.012, "created": ask.created()})
}

fn dress(answer: &mut Answer, ask: &Ask<'_>) {
    let left = 14_400_u64.saturating_sub(ask.number);
    answer.headers.extend([
        header("x-request-id", &format!("{:032x}", ask.seed())),
        header("x-ratelimit-limit-requests-day", "14400"),
        header("x-ratelimit-remaining-requests-day", &left.to_string()),
        header("x-ratelimit-reset-requests-day", "3000.1"),
        header("x-ratelimit-limit-tokens-minute", "60000"),
        header("x-ratelimit-remaining-tokens-minute", "59900"),
        header("x-ratelimit-reset-tokens-minute", "10.2"),
    ]);
}

static CHAT: Shape = Shape(&[
    needed("model", Text),
    needed("messages", List(&MESSAGE, 1, MANY)),
    optional("clear_thinking", Bool),
    optional("disable_reasoning", Bool),
    optional("frequency_penalty", Num(-2.0, 2.0)),
    optional("logit_bias", Free),
    optional("logprobs", Bool),
    optional("max_completion_tokens", Int(-1, BIG)),
    optional("max_tokens", Int(-1, BIG)),
    optional("min_completion_tokens", Int(-1, BIG)),
    optional("min_tokens", Int(-1, BIG)),
    optional("model_parameters", Free),
    optional("n", Int(1, 128)),
    optional("parallel_tool_calls", Bool),
    optional("prediction", Object(&Shape(&[needed("type", OneOf(&["content"])), needed("content", TEXT_OR_PARTS)]))),
    optional("presence_penalty", Num(-2.0, 2.0)),
    optional("prompt_cache_key", Text),
    optional("reasoning_effort", OneOf(&["none", "low", "medium", "high"])),
    optional("reasoning_format", OneOf(&["none", "parsed", "text_parsed", "raw", "hidden"])),
    optional("response_format", RESPONSE_FORMAT),
    optional("seed", Int(i64::MIN, BIG)),
    optional("service_tier", OneOf(&["auto", "default", "flex", "priority"])),
    STOP,
    optional("stream", Bool),
    USAGE_OPTION,
    optional("temperature", Num(0.0, 2.0)),
    optional("tool_choice", Either(&[OneOf(&["none", "auto", "required"]), Object(&NAMED_FUNCTION)])),
    optional("tools", List(&Object(&FUNCTION_TOOL), 1, 128)),
    optional("top_logprobs", Int(0, 20)),
    optional("top_p", Num(0.0, 1.0)),
    optional("user", Text),
]);

static COMPLETIONS: Shape = Shape(&[
    needed("model", Text),
    needed("prompt", PROMPT),
    optional("best_of", Int(1, 20)),
    optional("echo", Bool),
    optional("frequency_penalty", Num(-2.0, 2.0)),
    optional("grammar_root", Text),
    optional("logit_bias", Free),
    optional("logprobs", Int(0, 5)),
    optional("max_tokens", Int(-1, BIG)),
    optional("min_tokens", Int(-1, BIG)),
    optional("n", Int(1, 128)),
    optional("presence_penalty", Num(-2.0, 2.0)),
    optional("prompt_cache_key", Text),
    optional("reasoning_format", OneOf(&["none", "parsed", "text_parsed", "raw", "hidden"])),
    optional("return_raw_tokens", Bool),
    optional("seed", Int(i64::MIN, BIG)),
    STOP,
    optional("stream", Bool),
    USAGE_OPTION,
    optional("temperature", Num(0.0, 2.0)),
    optional("top_p", Num(0.0, 1.0)),
    optional("user", Text),
]);

static MESSAGE: Kind = Tagged(
    "role",
    &[
        ("developer", &INSTRUCTION),
        ("system", &INSTRUCTION),
        ("user", &Shape(&[ROLE, NAME, needed("content", Either(&[Text, List(&USER_PART, 1, MANY)]))])),
        // `reasoning_content` is a 400 on every model; Cerebras's own word for it is `reasoning`.
        (
            "assistant",
            &Shape(&[
                ROLE,
                NAME,
                optional("content", TEXT_OR_BARE_PARTS),
                optional("reasoning", Text),
                optional("tool_calls", List(&Object(&FUNCTION_CALL), 0, 128)),
            ]),
        ),
        ("tool", &Shape(&[ROLE, NAME, needed("tool_call_id", Text), needed("content", TEXT_OR_BARE_PARTS)])),
    ],
);

static INSTRUCTION: Shape = Shape(&[ROLE, NAME, needed("content", TEXT_OR_BARE_PARTS)]);

const USER_PART: Kind = Tagged(
    "type",
    &[("text", &BARE_TEXT_PART), ("image_url", &Shape(&[TYPE, needed("image_url", Object(&IMAGE_URL))]))],
);
