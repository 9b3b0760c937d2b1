//! The OpenAI dialect: endpoints, key check, errors and the headers every answer carries.
//!
//! API: <https://platform.openai.com/docs/api-reference>

mod chat;
mod choice;
mod completions;
mod embeddings;
mod message;
mod models;
mod shapes;
mod stream;

use serde_json::{Map, Value, json};

use crate::{
    account,
    answer::{Answer, header},
    http::Head,
    json as strict,
    shape::Refusal,
    step::{EchoKey, Settings, Step},
    text,
};

/// One call as the dialect sees it.
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    /// Without the account's name.
    pub(crate) path: &'a str,
    pub(crate) name: &'a str,
    pub(crate) number: u64,
    pub(crate) key: Option<&'a str>,
    pub(crate) body: &'a [u8],
    pub(crate) settings: &'a Settings,
}

/// A call that passed every check.
pub(crate) enum Request {
    Chat(Map<String, Value>),
    Completions(Map<String, Value>),
    Embeddings(Map<String, Value>),
    Models,
    Model(String),
}

/// A call that did not.
pub(crate) struct Refused {
    pub(crate) answer: Answer,
    pub(crate) message: String,
    pub(crate) violation: bool,
}

type Checked = Result<Request, Box<Refused>>;

/// The bearer key of a request, if there is one.
pub(crate) fn key(head: &Head) -> Option<&str> {
    head.value("authorization")?
        .strip_prefix("Bearer ")
        .filter(|key| !key.is_empty() && key.bytes().all(|b| b.is_ascii_graphic()))
}

/// Checks method, path, key and body.
pub(crate) fn check(ask: &Ask<'_>) -> Checked {
    let Some(key) = ask.key else {
        let message = "You didn't provide an API key. Send it as a bearer token in the Authorization header.";
        return Err(refused(401, message, None, None, true));
    };
    if ask.settings.keys.as_ref().is_some_and(|keys| !keys.iter().any(|k| k == key)) {
        return Err(refused(401, &wrong_key(key), None, Some("invalid_api_key"), false));
    }
    let check: fn(&Map<String, Value>) -> Result<(), Refusal> = match (ask.path, ask.method) {
        ("/v1/models", "GET") if ask.body.is_empty() => return Ok(Request::Models),
        ("/v1/chat/completions", "POST") => chat::check,
        ("/v1/completions", "POST") => completions::check,
        ("/v1/embeddings", "POST") => embeddings::check,
        ("/v1/models" | "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings", method) => {
            let message = format!(
                "Not allowed to {method} on {} (HINT: Perhaps you meant to use a different HTTP method?)",
                ask.path
            );
            return Err(refused(405, &message, None, Some("method_not_supported"), true));
        }
        (path, method) => match path.strip_prefix("/v1/models/") {
            Some(id) if method == "GET" && !id.is_empty() => return models::known(ask, id),
            _ => {
                return Err(refused(404, &format!("Invalid URL ({method} {path})"), None, None, true));
            }
        },
    };
    let body = match strict::parse(ask.body) {
        Ok(Value::Object(body)) => body,
        Ok(_) => {
            return Err(refused(400, "The body must be a JSON object.", None, None, true));
        }
        Err(error) => {
            return Err(refused(
                400,
                &format!("We could not parse the JSON body of your request: {error}."),
                None,
                None,
                true,
            ));
        }
    };
    if let Err(Refusal { message, param, code, violation }) = check(&body) {
        return Err(refused(400, &message, param.as_deref(), code, violation));
    }
    models::known(ask, model(&body))?;
    Ok(match ask.path {
        "/v1/chat/completions" => Request::Chat(body),
        "/v1/completions" => Request::Completions(body),
        _ => Request::Embeddings(body),
    })
}

impl Request {
    /// The normal answer, with what the step changes in it.
    pub(crate) fn answer(&self, ask: &Ask<'_>, step: &Step) -> Answer {
        let mut answer = match self {
            Self::Chat(body) => chat::answer(ask, body, step),
            Self::Completions(body) => completions::answer(ask, body, step),
            Self::Embeddings(body) => embeddings::answer(body, step),
            Self::Models => models::list(ask),
            Self::Model(id) => models::one(ask, id),
        };
        if let Some(status) = step.status {
            answer.status = status;
        }
        dress(&mut answer, ask);
        if let (Some(EchoKey::Header), Some(key)) = (step.echo_key, ask.key) {
            for name in ["x-request-id", "x-ratelimit-reset-tokens", "openai-organization", "x-echo-key"] {
                answer.set(name, key);
            }
        }
        answer
    }
}

/// The error body OpenAI sends with a status.
pub(crate) fn error_for(ask: &Ask<'_>, status: u16) -> Answer {
    let (message, kind, code) = match status {
        401 => {
            return with_headers(
                error(
                    401,
                    &wrong_key(ask.key.unwrap_or_default()),
                    "invalid_request_error",
                    None,
                    Some("invalid_api_key"),
                ),
                ask,
            );
        }
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
    with_headers(error(status, message, kind, None, code), ask)
}

/// The answer to something that is not even HTTP as it should be.
pub(crate) fn bad_request(message: &str) -> Answer {
    error(400, message, "invalid_request_error", None, None)
}

/// The refusal of a header that no provider should see.
pub(crate) fn forbidden(violation: &str) -> Box<Refused> {
    // The violation is on record already.
    refused(400, violation, None, Some("forbidden_header"), false)
}

fn refused(status: u16, message: &str, param: Option<&str>, code: Option<&str>, violation: bool) -> Box<Refused> {
    let answer = error(status, message, "invalid_request_error", param, code);
    Box::new(Refused { answer, message: message.to_owned(), violation })
}

fn error(status: u16, message: &str, kind: &str, param: Option<&str>, code: Option<&str>) -> Answer {
    let mut answer =
        Answer::json(status, &json!({"error": {"message": message, "type": kind, "param": param, "code": code}}));
    answer.set("x-request-id", &format!("req_{:016x}{:016x}", text::hash(message.as_bytes()), u64::from(status)));
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

fn with_headers(mut answer: Answer, ask: &Ask<'_>) -> Answer {
    dress(&mut answer, ask);
    answer
}

/// Request id and rate-limit headers.
fn dress(answer: &mut Answer, ask: &Ask<'_>) {
    let seed = seed(ask);
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

/// The same for the same call on the same account.
fn seed(ask: &Ask<'_>) -> u64 {
    text::hash(format!("{} {} {}", ask.name, ask.number, text::hash(ask.body)).as_bytes())
}

fn created(ask: &Ask<'_>) -> i64 {
    ask.settings.created.unwrap_or_else(account::unix_seconds)
}

fn model(body: &Map<String, Value>) -> &str {
    body.get("model").and_then(Value::as_str).unwrap_or_default()
}

fn flag(body: &Map<String, Value>, name: &str) -> bool {
    body.get(name).and_then(Value::as_bool).unwrap_or_default()
}

fn count(body: &Map<String, Value>, name: &str) -> Option<usize> {
    body.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
}
