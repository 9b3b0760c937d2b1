//! watsonx.ai: tokens of IBM's identity service, chat, text generation, embeddings and the list of models.
//!
//! API: <https://cloud.ibm.com/apidocs/watsonx-ai>

mod chat;
mod generation;
mod shapes;
pub(crate) mod token;

use serde_json::{Map, Value, json};

pub(crate) use token::PATH as TOKEN_PATH;

use crate::{
    answer::{Answer, header},
    dialect::{Ask, Checked, Problem, Refused, string},
    shape::{Refusal, Shape},
    text,
};

const OFFERED: &[&str] =
    &["ibm/granite-4-h-small", "meta-llama/llama-3-3-70b-instruct", "ibm/slate-125m-english-rtrvr-v2"];
/// Members that say whose model is called; a deployment says so itself.
const OWNERS: &[&str] = &["project_id", "space_id"];
const NAMES: &[&str] = &["model_id", "model"];
const MORE: &str = "https://cloud.ibm.com/apidocs/watsonx-ai";

/// Checks version, token, path and body.
pub(crate) fn check<'a>(ask: &'a Ask<'a>) -> Checked<'a> {
    if ask.path == TOKEN_PATH {
        return token::check(ask);
    }
    let Some(rest) = ask.path.strip_prefix("/ml/v1/") else {
        return Err(unknown_path(ask));
    };
    // A missing version is a 400; the words are our inference.
    if !ask.query("version").is_some_and(is_date) {
        let message = "Missing or invalid query parameter 'version': expected YYYY-MM-DD";
        return Err(ask.refuse(Problem::of(400, message).code("invalid_request_entity"), true));
    }
    if (rest, ask.method()) == ("foundation_model_specs", "GET") {
        // It is public.
        return Ok(Box::new(|_| dressed(specs(ask), ask)));
    }
    token::known(ask)?;
    let (deployment, operation) = match rest.strip_prefix("deployments/").and_then(|rest| rest.split_once('/')) {
        Some((id, operation)) => (Some(id), operation),
        None => (None, rest),
    };
    let table: &Shape = match (operation, ask.method(), deployment) {
        ("text/chat" | "text/chat_stream", "POST", _) => &shapes::CHAT,
        ("text/generation" | "text/generation_stream", "POST", _) => &shapes::GENERATION,
        ("text/embeddings", "POST", None) => &shapes::EMBEDDINGS,
        _ => return Err(unknown_path(ask)),
    };
    let body = ask.object().map_err(|error| {
        let message = format!("Json document validation error: {error}");
        ask.refuse(Problem::of(400, &message).code("json_validation_error"), true)
    })?;
    owner(ask, &body, deployment)?;
    let rules = match operation {
        "text/chat" | "text/chat_stream" => chat::check,
        _ => |_: &Map<String, Value>| Ok(()),
    };
    table.check_made(&body).and_then(|()| rules(&body)).map_err(|refusal| invalid(ask, &refusal))?;
    let model = deployment.unwrap_or_else(|| string(&body, "model_id")).to_owned();
    if !ask.offers(&model) {
        let (code, message) = match deployment {
            Some(id) => ("deployment_not_found", format!("The deployment '{id}' does not exist")),
            None => ("model_not_supported", format!("Model '{model}' is not supported for this environment")),
        };
        return Err(ask.refuse(Problem::of(404, &message).code(code), false));
    }
    let stream = operation.ends_with("_stream");
    Ok(match operation {
        "text/chat" | "text/chat_stream" => chat::accept(ask, body, &model, stream),
        "text/embeddings" => Box::new(move |step| dressed(generation::embeddings(ask, &body, step), ask)),
        _ => Box::new(move |step| dressed(generation::answer(ask, &body, &model, step, stream), ask)),
    })
}

/// An error in the service's shape, or in that of the identity service.
pub(crate) fn error(ask: &Ask<'_>, problem: Problem<'_>) -> Answer {
    if ask.path == TOKEN_PATH {
        return token::error(problem);
    }
    let Problem { status, message, code, .. } = problem;
    let (usual, said) = match status {
        401 => ("authentication_token_expired", "Failed to authenticate the request due to an expired token"),
        403 => ("user_authorization_failed", "User is not authorized for this action"),
        404 => ("model_not_supported", "Model is not supported for this environment"),
        429 => ("rate_limit_reached_requests", "Rate limit reached for requests"),
        400..=499 => ("invalid_request_entity", "The request is refused by the script."),
        503 => ("service_unavailable", "The service is unavailable"),
        _ => ("downstream_request_failed", "Downstream request failed"),
    };
    let error = json!({"code": code.unwrap_or(usual), "message": message.unwrap_or(said), "more_info": MORE});
    dressed(Answer::json(status, &json!({"errors": [error], "trace": trace(ask), "status_code": status})), ask)
}

/// What a call is billed to: exactly one of project and space with a model, nothing of this with a deployment.
fn owner(ask: &Ask<'_>, body: &Map<String, Value>, deployment: Option<&str>) -> Result<(), Box<Refused>> {
    let given = |names: &[&str]| names.iter().filter(|name| body.contains_key(**name)).count();
    let (message, code) = match (deployment, given(OWNERS), given(NAMES)) {
        (Some(_), 0, 0) => return Ok(()),
        (Some(_), _, 1..) => (
            "Json document validation error: 'model_id' or 'model' cannot be specified in the request body",
            "json_validation_error",
        ),
        (Some(_), ..) => (
            "Json document validation error: 'project_id' or 'space_id' cannot be specified in the request body",
            "json_validation_error",
        ),
        (None, 1, _) => return Ok(()),
        (None, 0, _) => ("Missing either space_id or project_id or wml_instance_crn", "invalid_request_entity"),
        // Our inference: the reference asks for one, the SDK sends one, and neither says what two mean.
        (None, ..) => ("Only one of space_id and project_id may be given", "invalid_request_entity"),
    };
    Err(ask.refuse(Problem::of(400, message).code(code), true))
}

fn invalid(ask: &Ask<'_>, refusal: &Refusal) -> Box<Refused> {
    let (place, objection) = refusal.pydantic();
    let code = if refusal.code == Some(crate::shape::WRONG_TYPE) { "json_type_error" } else { "json_validation_error" };
    let message = format!("Json document validation error: {place}: {objection}");
    ask.refuse(Problem::of(400, &message).code(code), refusal.violation)
}

fn unknown_path(ask: &Ask<'_>) -> Box<Refused> {
    ask.refuse(Problem::of(404, "The requested resource could not be found").code("not_found"), true)
}

fn is_date(version: &str) -> bool {
    let digits = |(at, b): (usize, u8)| if matches!(at, 4 | 7) { b == b'-' } else { b.is_ascii_digit() };
    version.len() == 10 && version.bytes().enumerate().all(digits)
}

fn specs(ask: &Ask<'_>) -> Answer {
    let one = |id: &String| {
        let embeds = id.contains("slate") || id.contains("embed");
        let functions = if embeds { vec!["embedding"] } else { vec!["text_chat", "text_generation"] };
        let functions: Value = functions.into_iter().map(|id| json!({"id": id})).collect();
        json!({"model_id": id, "label": id.rsplit('/').next(), "provider": id.split('/').next(), "source": id.split('/').next(),
            "functions": functions, "short_description": "A simulated model.", "input_tier": "class_1", "output_tier": "class_1",
            "lifecycle": [{"id": "available", "start_date": "2025-01-01"}]})
    };
    let resources: Vec<Value> = ask.models(OFFERED).iter().map(one).collect();
    let first = json!({"href": format!("{}?version={}", ask.path, ask.query("version").unwrap_or_default())});
    Answer::json(200, &json!({"total_count": resources.len(), "limit": 100, "first": first, "resources": resources}))
}

fn trace(ask: &Ask<'_>) -> String {
    format!("{:032x}", ask.seed())
}

/// `2025-10-09T08:53:20.000Z`.
fn created_at(ask: &Ask<'_>) -> String {
    text::rfc3339(ask.created()).replace('Z', ".000Z")
}

fn dressed(mut answer: Answer, ask: &Ask<'_>) -> Answer {
    dress(&mut answer, ask);
    answer
}

fn dress(answer: &mut Answer, ask: &Ask<'_>) {
    answer.headers.extend([
        header("x-global-transaction-id", &trace(ask)),
        header("x-requests-limit-rate", "8"),
        header("x-requests-limit-remaining", "7"),
    ]);
}
