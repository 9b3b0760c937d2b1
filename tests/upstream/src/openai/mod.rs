//! The OpenAI dialect: endpoints, key check, errors and the headers every answer carries.
//!
//! Azure OpenAI, Cerebras and NIM speak it with a twist: their own tables and errors, and changes to the answers.
//! API: <https://platform.openai.com/docs/api-reference>

pub(crate) mod chat;
mod choice;
pub(crate) mod completions;
pub(crate) mod embeddings;
pub(crate) mod message;
pub(crate) mod models;
pub(crate) mod shapes;
mod stream;

use serde_json::{Map, Value, json};

use crate::{
    answer::{Answer, data_event, header},
    dialect::{Ask, Checked, Problem, Refused, Reply, string},
    shape::Refusal,
    step::Step,
    text,
};

/// What a provider of this dialect does differently.
pub(crate) struct Twist {
    /// The member of a message or delta that carries the thinking; none if it is never shown.
    pub(crate) reasoning: Option<&'static str>,
    /// What the id of a tool call starts with.
    pub(crate) call: &'static str,
    /// The counts it tells, out of those of OpenAI.
    pub(crate) usage: fn(Value) -> Value,
    /// Changes the answer that is not streamed.
    pub(crate) whole: fn(&Ask<'_>, Value) -> Value,
    /// Changes the chunks of a stream; the usage is given whether it was asked for or not.
    pub(crate) chunks: fn(&Ask<'_>, Vec<Value>, Option<&Value>) -> Vec<Value>,
    /// The payload of an error in a stream, around what the script gives or with a message.
    pub(crate) failed: fn(Option<Value>, Option<&str>) -> Value,
    /// One event of a stream, with its number.
    pub(crate) event: fn(usize, &Value) -> String,
    /// A stream ends with `[DONE]`.
    pub(crate) done: bool,
    /// Adds the headers of an answer.
    pub(crate) dress: fn(&mut Answer, &Ask<'_>),
}

/// An exchange under way.
#[derive(Clone, Copy)]
pub(crate) struct Turn<'a> {
    pub(crate) ask: &'a Ask<'a>,
    pub(crate) body: &'a Map<String, Value>,
    pub(crate) step: &'a Step,
    pub(crate) twist: &'static Twist,
}

/// What a call with a body is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Chat,
    Completions,
    Embeddings,
}

/// Where a call goes.
pub(crate) enum Route<'a> {
    /// The list of models, or one of them.
    Models(Option<&'a str>),
    Body(Endpoint),
}

impl<'a> Route<'a> {
    /// What answers a call that has no body.
    pub(crate) fn models(ask: &'a Ask<'a>, id: Option<&'a str>, offered: &'static [&'static str]) -> Reply<'a> {
        Box::new(move |_| match id {
            Some(id) => models::one(ask, id),
            None => models::list(ask, offered),
        })
    }
}

static TWIST: Twist = Twist {
    reasoning: None,
    call: "call_",
    usage: |usage| usage,
    whole: |_, answer| answer,
    chunks: |_, chunks, _| chunks,
    failed: |given, message| json!({"error": given.unwrap_or_else(|| stream_error(message))}),
    event: plain_event,
    done: true,
    dress,
};

/// An event without name and number.
pub(crate) fn plain_event(_: usize, payload: &Value) -> String {
    data_event(payload)
}

/// Checks method, path, key and body.
pub(crate) fn check<'a>(ask: &'a Ask<'a>) -> Checked<'a> {
    let Some(key) = ask.key() else {
        let message = "You didn't provide an API key. Send it as a bearer token in the Authorization header.";
        return Err(ask.refuse(Problem::of(401, message), true));
    };
    if !ask.knows(key) {
        return Err(ask.refuse(Problem::of(401, &wrong_key(key)).code("invalid_api_key"), false));
    }
    let endpoint = match (ask.path, ask.method()) {
        ("/v1/models", "GET") if ask.body.is_empty() => {
            return Ok(Box::new(|_| dressed(models::list(ask, models::OFFERED), ask)));
        }
        ("/v1/chat/completions", "POST") => Endpoint::Chat,
        ("/v1/completions", "POST") => Endpoint::Completions,
        ("/v1/embeddings", "POST") => Endpoint::Embeddings,
        ("/v1/models" | "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings", method) => {
            let message = format!(
                "Not allowed to {method} on {} (HINT: Perhaps you meant to use a different HTTP method?)",
                ask.path
            );
            return Err(ask.refuse(Problem::of(405, &message).code("method_not_supported"), true));
        }
        (path, method) => match path.strip_prefix("/v1/models/") {
            Some(id) if method == "GET" && !id.is_empty() => {
                known(ask, id)?;
                return Ok(Box::new(move |_| dressed(models::one(ask, id), ask)));
            }
            _ => {
                return Err(ask.refuse(Problem::of(404, &format!("Invalid URL ({method} {path})")), true));
            }
        },
    };
    let body = parsed(ask)?;
    check_body(endpoint, &body).map_err(|refusal| refused(ask, 400, &refusal))?;
    known(ask, string(&body, "model"))?;
    Ok(accept(ask, endpoint, body, &TWIST))
}

/// What a call is for, where a provider has OpenAI's paths and keys; `unknown` refuses any other path.
pub(crate) fn route<'a>(
    ask: &'a Ask<'a>,
    endpoints: &[Endpoint],
    unknown: Problem<'_>,
) -> Result<Route<'a>, Box<Refused>> {
    let key = ask.key();
    if !key.is_some_and(|key| ask.knows(key)) {
        return Err(ask.refuse(Problem { status: 401, ..Problem::default() }, key.is_none()));
    }
    let endpoint = match (ask.path, ask.method()) {
        ("/v1/models", "GET") => return Ok(Route::Models(None)),
        ("/v1/chat/completions", "POST") => Some(Endpoint::Chat),
        ("/v1/completions", "POST") => Some(Endpoint::Completions),
        ("/v1/embeddings", "POST") => Some(Endpoint::Embeddings),
        (path, "GET") => match path.strip_prefix("/v1/models/") {
            Some(id) if ask.offers(id) => return Ok(Route::Models(Some(id))),
            _ => None,
        },
        _ => None,
    };
    match endpoint {
        Some(endpoint) if endpoints.contains(&endpoint) => Ok(Route::Body(endpoint)),
        _ => Err(ask.refuse(unknown, true)),
    }
}

/// The tables and rules of OpenAI's own bodies.
pub(crate) fn check_body(endpoint: Endpoint, body: &Map<String, Value>) -> Result<(), Refusal> {
    match endpoint {
        Endpoint::Chat => chat::check(body),
        Endpoint::Completions => completions::check(body),
        Endpoint::Embeddings => embeddings::check(body),
    }
}

/// The body, or the refusal of what is none.
pub(crate) fn parsed(ask: &Ask<'_>) -> Result<Map<String, Value>, Box<Refused>> {
    ask.object().map_err(|error| {
        let message = format!("We could not parse the JSON body of your request: {error}.");
        ask.refuse(Problem::of(400, &message), true)
    })
}

/// A refusal of the tables, as this provider words errors.
pub(crate) fn refused(ask: &Ask<'_>, status: u16, refusal: &Refusal) -> Box<Refused> {
    let Refusal { message, param, code, violation } = refusal;
    ask.refuse(Problem { status, message: Some(message), param: param.as_deref(), code: *code }, *violation)
}

/// What answers an accepted call.
pub(crate) fn accept<'a>(
    ask: &'a Ask<'a>,
    endpoint: Endpoint,
    body: Map<String, Value>,
    twist: &'static Twist,
) -> Reply<'a> {
    Box::new(move |step| {
        let turn = Turn { ask, body: &body, step, twist };
        let mut answer = match endpoint {
            Endpoint::Chat => chat::answer(turn),
            Endpoint::Completions => completions::answer(turn),
            Endpoint::Embeddings => embeddings::answer(turn),
        };
        (twist.dress)(&mut answer, ask);
        answer
    })
}

/// Refuses a model that the account does not know.
pub(crate) fn known(ask: &Ask<'_>, id: &str) -> Result<(), Box<Refused>> {
    if ask.offers(id) {
        return Ok(());
    }
    let message = format!("The model `{id}` does not exist or you do not have access to it.");
    Err(ask.refuse(Problem::of(404, &message).code("model_not_found"), false))
}

/// An error in OpenAI's shape; without a message, what OpenAI sends with the status.
pub(crate) fn error(ask: &Ask<'_>, problem: Problem<'_>) -> Answer {
    let Problem { status, message: Some(message), param, code } = problem else {
        return usual_error(ask, problem.status);
    };
    let kind = "invalid_request_error";
    shaped(status, &json!({"message": message, "type": kind, "param": param, "code": code}))
}

/// Takes out of messages and deltas what only OpenAI has; what a refusal says is text elsewhere.
pub(crate) fn without_refusals(answer: &mut Value) {
    for choice in answer.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
        for part in ["message", "delta"] {
            let Some(Value::Object(part)) = choice.get_mut(part) else { continue };
            part.shift_remove("annotations");
            if let Some(refusal) = part.shift_remove("refusal").filter(Value::is_string) {
                part.insert("content".to_owned(), refusal);
            }
        }
    }
}

/// A usage without any details.
pub(crate) fn plain_usage(mut usage: Value) -> Value {
    if let Some(members) = usage.as_object_mut() {
        members.retain(|name, _| !name.ends_with("_details"));
    }
    usage
}

/// The error OpenAI puts in a stream.
pub(crate) fn stream_error(message: Option<&str>) -> Value {
    let message = message.unwrap_or("The server had an error while processing your request. Sorry about that!");
    json!({"message": message, "type": "server_error", "param": null, "code": null})
}

fn usual_error(ask: &Ask<'_>, status: u16) -> Answer {
    let wrong = wrong_key(ask.key().unwrap_or_default());
    let (message, kind, code) = match status {
        401 => (wrong.as_str(), "invalid_request_error", Some("invalid_api_key")),
        403 => (
            "Country, region, or territory not supported",
            "request_forbidden",
            Some("unsupported_country_region_territory"),
        ),
        404 => (
            "The model does not exist or you do not have access to it.",
            "invalid_request_error",
            Some("model_not_found"),
        ),
        408 => ("The request timed out.", "server_error", Some("timeout")),
        413 => ("The request is too large.", "invalid_request_error", None),
        429 => ("Rate limit reached for requests", "requests", Some("rate_limit_exceeded")),
        503 => ("The engine is currently overloaded, please try again later", "server_error", None),
        400..=499 => ("The request is refused by the script.", "invalid_request_error", None),
        _ => ("The server had an error while processing your request. Sorry about that!", "server_error", None),
    };
    dressed(shaped(status, &json!({"message": message, "type": kind, "param": null, "code": code})), ask)
}

fn shaped(status: u16, error: &Value) -> Answer {
    let mut answer = Answer::json(status, &json!({"error": error}));
    let seed = text::hash(error.to_string().as_bytes());
    answer.set("x-request-id", &format!("req_{seed:016x}{:016x}", u64::from(status)));
    answer
}

/// OpenAI shows both ends of a key it does not know.
fn wrong_key(key: &str) -> String {
    let shown = match (key.get(..8), key.len().checked_sub(4).and_then(|at| key.get(at..))) {
        (Some(start), Some(end)) if key.len() > 12 => {
            format!("{start}{}{end}", "*".repeat(key.len() - 12))
        }
        _ => "*".repeat(key.len()),
    };
    format!(
        "Incorrect API key provided: {shown}. You can find your API key at https://platform.openai.com/account/api-keys."
    )
}

fn dressed(mut answer: Answer, ask: &Ask<'_>) -> Answer {
    dress(&mut answer, ask);
    answer
}

/// Request id and rate-limit headers.
fn dress(answer: &mut Answer, ask: &Ask<'_>) {
    let seed = ask.seed();
    let left = 5000_u64.saturating_sub(ask.number);
    answer.headers.extend([
        header("openai-organization", "org-simulated"),
        header("openai-processing-ms", "12"),
        header("openai-version", "2020-10-01"),
        header("x-ratelimit-limit-requests", "5000"),
        header("x-ratelimit-limit-tokens", "400000"),
        header("x-ratelimit-remaining-requests", &left.to_string()),
        header("x-ratelimit-remaining-tokens", "399980"),
        header("x-ratelimit-reset-requests", "12ms"),
        header("x-ratelimit-reset-tokens", "3ms"),
    ]);
    answer.set("x-request-id", &format!("req_{seed:016x}{:016x}", text::hash(&seed.to_le_bytes())));
}
