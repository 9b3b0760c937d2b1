//! Anthropic: `POST /v1/messages`, `GET /v1/models`, its errors and the headers of its answers.
//!
//! API: <https://platform.claude.com/docs/en/api/messages>

mod answer;
mod rules;
mod shapes;

use serde_json::{Value, json};

pub(crate) use rules::{NO_PREFILL, PREFILLED, generation};

use crate::{
    answer::{Answer, header},
    dialect::{Ask, Checked, Problem, Refused, string},
    shape::Refusal,
    text,
};

const OFFERED: &[&str] = &["claude-opus-5", "claude-sonnet-4-6", "claude-haiku-4-5", "claude-3-7-sonnet-20250219"];

/// The two values of `anthropic-version` that are alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V2023,
    V2026,
}

/// Checks credential, version, path and body.
pub(crate) fn check<'a>(ask: &'a Ask<'a>) -> Checked<'a> {
    let Some(key) = ask.key() else {
        return Err(ask.refuse(Problem::of(401, "x-api-key header is required"), true));
    };
    if !ask.knows(key) {
        return Err(ask.refuse(Problem::of(401, "invalid x-api-key"), false));
    }
    let version = version(ask)?;
    match (ask.path, ask.method()) {
        ("/v1/models", "GET") => return Ok(Box::new(|_| models(ask))),
        ("/v1/messages", "POST") => {}
        ("/v1/models" | "/v1/messages", _) => return Err(ask.refuse(Problem::of(405, "Method Not Allowed"), true)),
        (path, method) => match path.strip_prefix("/v1/models/") {
            Some(id) if method == "GET" && ask.offers(id) => {
                return Ok(Box::new(move |_| dressed(Answer::json(200, &model(ask, id)), ask)));
            }
            Some(id) if method == "GET" => return Err(unknown_model(ask, id)),
            _ => return Err(ask.refuse(Problem::of(404, "Not Found"), true)),
        },
    }
    let body = ask
        .object()
        .map_err(|error| ask.refuse(Problem::of(400, &format!("The request body is not valid JSON: {error}")), true))?;
    let checked = shapes::MESSAGES.check_made(&body).map_err(worded).and_then(|()| rules::check(&body, version));
    checked.map_err(|refusal| ask.refuse(Problem::of(400, &refusal.message), refusal.violation))?;
    let model = string(&body, "model");
    if !ask.offers(model) {
        return Err(unknown_model(ask, model));
    }
    Ok(Box::new(move |step| dressed(answer::answer(ask, &body, step), ask)))
}

/// An error in Anthropic's shape; the code of a problem is its type.
pub(crate) fn error(ask: &Ask<'_>, problem: Problem<'_>) -> Answer {
    let Problem { status, message, .. } = problem;
    let (kind, usual) = match status {
        401 => ("authentication_error", "invalid x-api-key"),
        402 => ("billing_error", "Your credit balance is too low to access the Anthropic API."),
        403 => ("permission_error", "Your API key does not have permission to use the specified resource."),
        404 => ("not_found_error", "Not Found"),
        409 => ("conflict_error", "The request conflicts with another one."),
        413 => ("request_too_large", "Request exceeds the maximum size"),
        429 => ("rate_limit_error", "This request would exceed your organization's rate limit."),
        504 => ("timeout_error", "The request timed out."),
        529 => ("overloaded_error", "Overloaded"),
        400..=499 => ("invalid_request_error", "The request is refused by the script."),
        _ => ("api_error", "Internal server error"),
    };
    let id = request_id(ask);
    let body = json!({"type": "error", "error": {"type": kind, "message": message.unwrap_or(usual)}, "request_id": id});
    Answer::json(status, &body).add("request-id", &id)
}

fn version(ask: &Ask<'_>) -> Result<Version, Box<Refused>> {
    let message = match ask.head.value("anthropic-version") {
        Some("2023-06-01") => return Ok(Version::V2023),
        Some("2026-10-21") => return Ok(Version::V2026),
        Some(other) => format!("anthropic-version: {other:?} is not a valid version."),
        None => "anthropic-version: header is required".to_owned(),
    };
    Err(ask.refuse(Problem::of(400, &message), true))
}

/// A refusal of the tables in the words of the service.
fn worded(refusal: Refusal) -> Refusal {
    let (place, objection) = refusal.pydantic();
    Refusal { message: format!("{place}: {objection}"), ..refusal }
}

fn unknown_model(ask: &Ask<'_>, id: &str) -> Box<Refused> {
    ask.refuse(Problem::of(404, &format!("model: {id}")), false)
}

fn models(ask: &Ask<'_>) -> Answer {
    let data: Vec<Value> = ask.models(OFFERED).iter().map(|id| model(ask, id)).collect();
    let end = |entry: Option<&Value>| entry.and_then(|entry| entry.get("id")).cloned().unwrap_or_default();
    let body = json!({"first_id": end(data.first()), "last_id": end(data.last()), "has_more": false, "data": data});
    dressed(Answer::json(200, &body), ask)
}

fn model(ask: &Ask<'_>, id: &str) -> Value {
    json!({"type": "model", "id": id, "display_name": id, "created_at": text::rfc3339(ask.created()), "lifecycle": "active",
        "max_input_tokens": 200_000, "max_tokens": 64_000})
}

fn dressed(mut answer: Answer, ask: &Ask<'_>) -> Answer {
    let reset = text::rfc3339(ask.created() + 60);
    answer.headers.push(header("request-id", &request_id(ask)));
    answer.headers.push(header("anthropic-organization-id", "11111111-2222-3333-4444-555555555555"));
    for (what, limit, left) in [
        ("requests", 4000, 3999),
        ("tokens", 480_000, 479_000),
        ("input-tokens", 400_000, 399_500),
        ("output-tokens", 80_000, 79_500),
    ] {
        answer.headers.push((format!("anthropic-ratelimit-{what}-limit"), limit.to_string()));
        answer.headers.push((format!("anthropic-ratelimit-{what}-remaining"), left.to_string()));
        answer.headers.push((format!("anthropic-ratelimit-{what}-reset"), reset.clone()));
    }
    answer
}

fn request_id(ask: &Ask<'_>) -> String {
    format!("req_011{:016x}", ask.seed())
}
