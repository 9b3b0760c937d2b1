//! AWS Bedrock: Converse, its streams, InvokeModel for embeddings and the list of models, all of it signed.
//!
//! API: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>

mod converse;
mod frame;
mod invoke;
mod rules;
mod shapes;
mod sigv4;

use serde_json::{Value, json};

pub(crate) use sigv4::access_key;

use crate::{
    answer::{Answer, header},
    dialect::{Ask, Checked, Problem, Refused},
    shape::{MISSING, Refusal, UNKNOWN},
    text,
};

const OFFERED: &[&str] = &[
    "anthropic.claude-sonnet-4-6",
    "anthropic.claude-3-7-sonnet-20250219-v1:0",
    "amazon.nova-lite-v1:0",
    "openai.gpt-oss-120b-1:0",
    "amazon.titan-embed-text-v2:0",
    "cohere.embed-v4:0",
];
const COMMON: &str = "http://internal.amazon.com/coral/com.amazon.bedrock/";

/// Checks the signature or the API key, then path, model and body.
pub(crate) fn check<'a>(ask: &'a Ask<'a>) -> Checked<'a> {
    sigv4::verify(ask)?;
    if (ask.path, ask.method()) == ("/foundation-models", "GET") {
        return Ok(Box::new(|_| dressed(models(ask), ask)));
    }
    let segments: Vec<&str> = ask.path.trim_start_matches('/').split('/').collect();
    let (["model", id, operation], "POST") = (segments.as_slice(), ask.method()) else {
        return Err(unknown_operation(ask));
    };
    let id = model_id(ask, id)?;
    let body = ask.object().map_err(|error| {
        ask.refuse(
            Problem::of(400, &format!("The request body is not valid JSON: {error}")).code("SerializationException"),
            true,
        )
    })?;
    let stream = match *operation {
        "converse" => false,
        "converse-stream" => true,
        "invoke" => {
            let table = invoke::table(&id).ok_or_else(|| unsupported(ask))?;
            table.check_made(&body).map_err(|refusal| malformed(ask, &refusal))?;
            return Ok(Box::new(move |step| dressed(invoke::answer(ask, &id, &body, step), ask)));
        }
        _ => return Err(unknown_operation(ask)),
    };
    if invoke::table(&id).is_some() {
        return Err(unsupported(ask));
    }
    let checked = shapes::CONVERSE.check_made(&body).map_err(worded).and_then(|()| rules::check(&id, &body));
    checked.map_err(|refusal| ask.refuse(Problem::of(400, &refusal.message), refusal.violation))?;
    Ok(Box::new(move |step| dressed(converse::answer(ask, &id, &body, step, stream), ask)))
}

/// An error in AWS's shape: its type in a header, its message in the body.
pub(crate) fn error(ask: &Ask<'_>, problem: Problem<'_>) -> Answer {
    let Problem { status, message, code, .. } = problem;
    let (kind, usual) = match status {
        403 => ("AccessDeniedException", "You don't have access to the model with the specified model ID."),
        404 => ("ResourceNotFoundException", "Could not find the requested resource."),
        408 => ("ModelTimeoutException", "Model processing timed out."),
        424 => ("ModelErrorException", "The model returned an error."),
        429 => ("ThrottlingException", "Too many requests, please wait before trying again."),
        400..=499 => ("ValidationException", "The request is refused by the script."),
        503 => ("ServiceUnavailableException", "Bedrock is unable to process your request."),
        _ => (
            "InternalServerException",
            "The system encountered an unexpected error during processing. Try your request again.",
        ),
    };
    let kind = code.filter(|code| code.ends_with("Exception")).unwrap_or(kind);
    let answer = Answer::json(status, &json!({"message": message.unwrap_or(usual)}));
    dressed(answer.add("x-amzn-errortype", &format!("{kind}:{COMMON}")), ask)
}

/// The model in the path, which is one encoded segment.
fn model_id(ask: &Ask<'_>, segment: &str) -> Result<String, Box<Refused>> {
    let id = text::unescaped(segment);
    // The service's pattern has a branch for each kind of name; this is what all branches have in common.
    let fits = (1..=2048).contains(&id.len())
        && !matches!(id.as_str(), "." | "..")
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/".contains(&b));
    if !fits {
        return Err(ask.refuse(Problem::of(400, "The provided model identifier is invalid."), true));
    }
    if !ask.offers(&id) {
        let message = "Could not resolve the foundation model from the provided model identifier.";
        return Err(ask.refuse(Problem::of(404, message), false));
    }
    Ok(id)
}

fn unknown_operation(ask: &Ask<'_>) -> Box<Refused> {
    ask.refuse(Problem::of(404, "Unknown operation").code("UnknownOperationException"), true)
}

fn unsupported(ask: &Ask<'_>) -> Box<Refused> {
    ask.refuse(Problem::of(400, "The provided model doesn't support this operation."), true)
}

/// A refusal of the tables in the words of the service.
fn worded(refusal: Refusal) -> Refusal {
    let (place, objection) = refusal.pydantic();
    let message = match refusal.code {
        // Our inference: the runtime says so about the bodies of models; botocore never sends an unknown member of its own.
        Some(UNKNOWN) => format!("extraneous key [{place}] is not permitted"),
        Some(MISSING) => format!(
            "1 validation error detected: Value at '{place}' failed to satisfy constraint: Member must not be null"
        ),
        _ => format!("1 validation error detected: Value at '{place}' failed to satisfy constraint: {objection}"),
    };
    Refusal { message, ..refusal }
}

/// What InvokeModel says about the body of a model.
fn malformed(ask: &Ask<'_>, refusal: &Refusal) -> Box<Refused> {
    let (place, objection) = refusal.pydantic();
    let objection = match refusal.code {
        Some(UNKNOWN) => format!("extraneous key [{place}] is not permitted"),
        Some(MISSING) => format!("required key [{place}] not found"),
        _ => format!("{place}: {objection}"),
    };
    let message = format!("Malformed input request: #: {objection}, please reformat your input and try again.");
    ask.refuse(Problem::of(400, &message), refusal.violation)
}

fn models(ask: &Ask<'_>) -> Answer {
    let one = |id: &String| {
        let provider = id.split('.').next().unwrap_or_default();
        let embeds = id.contains("embed");
        json!({
            "modelArn": format!("arn:aws:bedrock:us-east-1::foundation-model/{id}"), "modelId": id, "modelName": id, "providerName": provider,
            "inputModalities": ["TEXT"], "outputModalities": [if embeds { "EMBEDDING" } else { "TEXT" }],
            "responseStreamingSupported": !embeds, "customizationsSupported": [], "inferenceTypesSupported": ["ON_DEMAND"],
            "modelLifecycle": {"status": "ACTIVE"}})
    };
    let models: Value = ask.models(OFFERED).iter().map(one).collect();
    Answer::json(200, &Value::from_iter([("modelSummaries", models)]))
}

fn dressed(mut answer: Answer, ask: &Ask<'_>) -> Answer {
    let id = format!("{:016x}", ask.seed());
    let parts = [id.get(..8), id.get(8..12), id.get(12..16)].map(Option::unwrap_or_default);
    let [first, second, third] = parts;
    answer.headers.push(header(
        "x-amzn-requestid",
        &format!("{first}-{second}-{third}-8000-00000000{:04x}", ask.number % 0x1_0000),
    ));
    answer
}
