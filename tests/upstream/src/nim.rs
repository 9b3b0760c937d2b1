//! NVIDIA NIM: OpenAI's API as vLLM and TensorRT-LLM have it, behind NVIDIA's gateway.
//!
//! API: <https://docs.api.nvidia.com/nim/reference/llm-apis>

use serde_json::{Map, Value, json};

use crate::{
    answer::{Answer, header},
    dialect::{Ask, Checked, Problem, count, given, items, put, string},
    openai::{self, Endpoint, Route, Twist, chat, completions, embeddings, message, shapes::*},
    shape::{Kind, Refusal, Shape, needed, optional, set},
};

use Kind::{Bool, Either, Free, Int, List, Num, Object, OneOf, Rule, Tagged, Text};

const OFFERED: &[&str] =
    &["meta/llama-3.3-70b-instruct", "openai/gpt-oss-120b", "nvidia/nv-embedqa-e5-v5", "baai/bge-m3"];
/// Embedding models that tell queries from passages.
const ASYMMETRIC: &[&str] = &["nv-embedqa", "arctic-embed", "nv-embed-v1", "nemoretriever"];
/// Those whose vectors may be cut.
const MATRYOSHKA: &[&str] = &["llama-3.2-nv-embedqa", "llama-3.2-nemoretriever"];

static TWIST: Twist = Twist {
    reasoning: Some("reasoning_content"),
    call: "chatcmpl-tool-",
    usage: openai::plain_usage,
    whole: |_, answer| as_vllm(answer),
    chunks: |_, chunks, _| chunks.into_iter().map(as_vllm).collect(),
    failed: |given, message| match given {
        Some(error) => json!({"error": error}),
        None => {
            json!({"object": "error", "message": message.unwrap_or("EngineCore encountered an issue."), "type": "InternalServerError", "param": null, "code": 500})
        }
    },
    event: openai::plain_event,
    done: true,
    dress,
};

/// Checks key, path and body.
pub(crate) fn check<'a>(ask: &'a Ask<'a>) -> Checked<'a> {
    let endpoints = &[Endpoint::Chat, Endpoint::Completions, Endpoint::Embeddings];
    let endpoint = match openai::route(ask, endpoints, Problem { status: 404, ..Problem::default() })? {
        Route::Models(id) => return Ok(Route::models(ask, id, OFFERED)),
        Route::Body(endpoint) => endpoint,
    };
    let body = openai::parsed(ask)?;
    let table = match endpoint {
        Endpoint::Chat => &CHAT,
        Endpoint::Completions => &COMPLETIONS,
        Endpoint::Embeddings => &EMBEDDINGS,
    };
    table.check_made(&body).map_err(|refusal| {
        let (place, objection) = refusal.pydantic();
        let message = format!("body -> {}\n  {objection}", place.replace('.', " -> "));
        ask.refuse(Problem::of(422, &message), refusal.violation)
    })?;
    let checked = match endpoint {
        Endpoint::Chat => check_chat(&body),
        Endpoint::Completions => completions::check_rules(&body),
        Endpoint::Embeddings => check_embeddings(&body),
    };
    checked.map_err(|refusal| openai::refused(ask, 400, &refusal))?;
    if !ask.offers(string(&body, "model")) {
        return Err(ask.refuse(Problem { status: 404, ..Problem::default() }, false));
    }
    Ok(openai::accept(ask, endpoint, body, &TWIST))
}

/// An error of NVIDIA's gateway (a problem document, or text) or of vLLM behind it.
pub(crate) fn error(problem: Problem<'_>) -> Answer {
    let Problem { status, message, .. } = problem;
    match status {
        404 => Answer::whole(404, "text/plain; charset=utf-8", b"404 page not found\n".to_vec()),
        422 => Answer::json(
            status,
            &json!({"type": "urn:inference-service:problem-details:unprocessable-entity", "title": "Unprocessable Entity", "status": status,
                "detail": message.unwrap_or("The request is refused by the script."), "instance": "/v2/nvcf/pexec/functions/f1", "requestId": "r1"}),
        ),
        400 => {
            let message = message.unwrap_or("The request is refused by the script.");
            Answer::json(
                400,
                &json!({"error": {"message": message, "type": "BadRequestError", "param": null, "code": 400}}),
            )
        }
        _ => {
            let (title, detail) = match status {
                401 => ("Unauthorized", "Authentication failed"),
                402 => ("Payment Required", "Account credits exhausted"),
                403 => ("Forbidden", "Authorization failed"),
                429 => ("Too Many Requests", "Too many requests"),
                400..=499 => ("Refused", "The request is refused by the script."),
                503 => ("Service Unavailable", "ResourceExhausted: worker local total request limit reached"),
                _ => ("Internal Server Error", "Inference error"),
            };
            Answer::json(status, &json!({"status": status, "title": title, "detail": message.unwrap_or(detail)}))
        }
    }
}

fn check_chat(body: &Map<String, Value>) -> Result<(), Refusal> {
    message::check_order(items(body, "messages"))?;
    chat::check_rules(body)
}

fn check_embeddings(body: &Map<String, Value>) -> Result<(), Refusal> {
    let model = string(body, "model");
    let is = |families: &[&str]| families.iter().any(|family| model.contains(family));
    if is(ASYMMETRIC) && !given(body, "input_type") {
        return Err(Refusal::plain("input_type", "'input_type' parameter is required for asymmetric models"));
    }
    // Our inference: a symmetric model ignores the member on some containers and refuses it on others.
    if given(body, "dimensions") && !is(MATRYOSHKA) {
        return Err(Refusal::plain("dimensions", "dimensions: Extra inputs are not permitted (type=extra_forbidden)"));
    }
    let wanted = count(body, "dimensions").unwrap_or_default();
    if wanted > 2048 {
        return Err(Refusal::plain("dimensions", "dimensions must be at most 2048"));
    }
    let mut plain = body.clone();
    for own in ["input_type", "truncate", "dimensions"] {
        plain.remove(own);
    }
    embeddings::check(&plain)
}

/// Members of OpenAI that are not there, those of vLLM that are, and the finish reason that hides a call.
fn as_vllm(mut answer: Value) -> Value {
    if let Some(members) = answer.as_object_mut() {
        members.shift_remove("service_tier");
        members.shift_remove("system_fingerprint");
    }
    openai::without_refusals(&mut answer);
    let whole = answer.get("object") == Some(&json!("chat.completion"));
    for choice in answer.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
        let delta = choice.get_mut("delta").and_then(Value::as_object_mut);
        if let Some(delta) = delta.filter(|delta| !delta.is_empty() && !delta.contains_key("tool_calls")) {
            delta.insert("tool_calls".to_owned(), json!([]));
        }
        if whole {
            put(choice, "stop_reason", Value::Null);
        }
        if choice.get("finish_reason") == Some(&json!("tool_calls")) {
            put(choice, "finish_reason", json!("stop"));
        }
    }
    if whole {
        put(&mut answer, "prompt_logprobs", Value::Null);
    }
    answer
}

fn dress(answer: &mut Answer, ask: &Ask<'_>) {
    answer.headers.extend([header("nvcf-reqid", &format!("{:032x}", ask.seed())), header("nvcf-status", "fulfilled")]);
}

static CHAT: Shape = Shape(&[
    needed("model", Text),
    needed("messages", List(&MESSAGE, 1, MANY)),
    optional("chat_template_kwargs", Free),
    optional("frequency_penalty", Num(-2.0, 2.0)),
    optional("logprobs", Bool),
    optional("max_tokens", Int(1, BIG)),
    optional("n", Int(1, 128)),
    optional("nvext", Free),
    optional("presence_penalty", Num(-2.0, 2.0)),
    // Only gpt-oss takes it; which model an account serves is not known here.
    optional("reasoning_effort", OneOf(&["low", "medium", "high"])),
    optional("response_format", RESPONSE_FORMAT),
    optional("seed", Int(i64::MIN, BIG)),
    STOP,
    optional("stream", Bool),
    USAGE_OPTION,
    optional("temperature", Num(0.0, 2.0)),
    optional("tool_choice", Either(&[OneOf(&["none", "auto", "required"]), Object(&NAMED_FUNCTION)])),
    optional("tools", List(&Object(&LOOSE_FUNCTION_TOOL), 1, 128)),
    optional("top_logprobs", Int(0, 20)),
    optional("top_p", Num(0.0, 1.0)),
]);

static COMPLETIONS: Shape = Shape(&[
    needed("model", Text),
    needed("prompt", Either(&[Text, List(&Text, 1, 2048)])),
    optional("echo", Bool),
    optional("frequency_penalty", Num(-2.0, 2.0)),
    optional("logprobs", Int(0, 5)),
    optional("max_tokens", Int(1, BIG)),
    optional("n", Int(1, 128)),
    optional("presence_penalty", Num(-2.0, 2.0)),
    optional("seed", Int(i64::MIN, BIG)),
    STOP,
    optional("stream", Bool),
    USAGE_OPTION,
    optional("temperature", Num(0.0, 2.0)),
    optional("top_p", Num(0.0, 1.0)),
]);

static EMBEDDINGS: Shape = Shape(&[
    needed("model", Text),
    // Token arrays are not taken.
    needed("input", Either(&[Text, List(&Text, 1, 2048)])),
    optional("dimensions", Int(1, BIG)),
    optional("encoding_format", OneOf(&["float", "base64"])),
    optional("input_type", OneOf(&["query", "passage"])),
    optional("truncate", OneOf(&["NONE", "START", "END"])),
]);

static MESSAGE: Kind = Tagged(
    "role",
    &[
        // `developer` and `name` are OpenAI's alone; content of the assistant is text, not null: some templates fail on it.
        ("system", &Shape(&[ROLE, needed("content", Text)])),
        ("user", &Shape(&[ROLE, needed("content", Either(&[Text, List(&USER_PART, 1, MANY)]))])),
        ("assistant", &Shape(&[ROLE, set("content", Text), set("tool_calls", List(&Object(&FUNCTION_CALL), 1, 128))])),
        ("tool", &Shape(&[ROLE, needed("tool_call_id", Text), needed("content", Text)])),
    ],
);

const USER_PART: Kind = Tagged(
    "type",
    &[
        ("text", &BARE_TEXT_PART),
        ("image_url", &Shape(&[TYPE, needed("image_url", Object(&Shape(&[needed("url", Rule(image_url))])))])),
    ],
);
