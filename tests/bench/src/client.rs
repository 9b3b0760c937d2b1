//! Calls that set a gateway up.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::Outcome;
use crate::upstream::Wire;

pub(crate) async fn get(url: &str) -> Outcome<StatusCode> {
    Ok(call(Method::GET, url, "none", None).await?.0)
}

/// Makes a tenant with a provider and a model for each wire format, and answers with a key for inference.
pub(crate) async fn provision(origin: &str, admin_key: &str, provider: &str) -> Outcome<String> {
    let tenant = post(&format!("{origin}/v1/tenant"), admin_key, json!({"name": "bench"})).await?;
    let admin = member(&tenant, "api_key")?;
    let providers = [
        (Wire::OpenAi, "openai", format!("{provider}/v1"), "gpt-4o-mini"),
        (Wire::Anthropic, "anthropic", provider.to_owned(), "claude-sonnet-4-6"),
    ];
    for (wire, kind, base, id) in providers {
        let made = json!({"name": kind, "data": {"apikey": "sk-bench", "base_url": base}});
        let made = post(&format!("{origin}/v1/providers/{kind}"), &admin, made).await?;
        let models = format!("{origin}/v1/providers/{}/models", member(&made, "uuid")?);
        post(&models, &admin, json!({"id": id, "alias": model(wire)})).await?;
    }
    let key = json!({"name": "bench", "scopes": ["inference"]});
    member(&post(&format!("{origin}/v1/keys"), &admin, key).await?, "api_key")
}

/// What the tenant's application calls the model behind a wire format.
pub(crate) fn model(wire: Wire) -> &'static str {
    match wire {
        Wire::OpenAi => "bench",
        Wire::Anthropic => "bench-translated",
    }
}

async fn post(url: &str, bearer: &str, body: Value) -> Outcome<Value> {
    let (status, answer) = call(Method::POST, url, bearer, Some(body)).await?;
    if !status.is_success() {
        return Err(format!("POST {url}: {status} {answer}").into());
    }
    Ok(answer)
}

async fn call(method: Method, url: &str, bearer: &str, body: Option<Value>) -> Outcome<(StatusCode, Value)> {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let request = Request::builder()
        .method(method)
        .uri(url)
        .header("authorization", format!("Bearer {bearer}"))
        .header("content-type", "application/json")
        .body(body.map(|body| Full::from(body.to_string())).unwrap_or_default())?;
    let answer = client.request(request).await?;
    let status = answer.status();
    let bytes = answer.into_body().collect().await?.to_bytes();
    Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
}

fn member(value: &Value, name: &str) -> Outcome<String> {
    Ok(value.get(name).and_then(Value::as_str).ok_or_else(|| format!("no {name} in {value}"))?.to_owned())
}
