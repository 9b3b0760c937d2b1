//! `--demo`: a simulated provider beside the gateway, and a tenant that is set up through the gateway's own API.
//!
//! Every step may be repeated: a start finds what an earlier one left, however it ended.

use bytes::{Bytes, BytesMut};
use gateway_core::Body;
use gateway_native::Log;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::server::Server;
use crate::state::State;

/// Why the demo could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No port for the simulated provider, or no file for its key.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The gateway refused a step.
    #[error("{step} was answered with {status}")]
    Refused {
        /// What was tried.
        step: &'static str,
        /// The answer's status.
        status: StatusCode,
    },
}

/// A running simulated provider.
#[derive(Debug)]
pub(crate) struct Demo {
    origin: String,
}

impl Demo {
    /// Starts the provider on the port it had before, if that is free, for as long as the process lives.
    pub(crate) async fn start(state: &State) -> Result<Self, DemoError> {
        let before = state.kept("demo-port", || "0".to_owned())?.value.parse().unwrap_or(0);
        let listener = match TcpListener::bind(("127.0.0.1", before)).await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind(("127.0.0.1", 0)).await?,
        };
        let port = listener.local_addr()?.port();
        state.keep("demo-port", &port.to_string())?;
        drop(tokio::spawn(gateway_upstream::serve(listener, std::future::pending())));
        Ok(Self { origin: format!("http://127.0.0.1:{port}") })
    }

    /// The provider's origin.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// Makes the tenant, its provider and its model, and answers with a key for inference.
    pub(crate) async fn provision(&self, server: &Server, state: &State, admin: &str) -> Result<String, DemoError> {
        let operator = Caller { server, bearer: admin };
        let (status, _) = operator.call(Method::POST, "/v1/tenant", Some(json!({"name": TENANT}))).await;
        if status != StatusCode::CONFLICT {
            done("creating the tenant", status)?;
        }
        let data = json!({"apikey": "demo", "base_url": format!("{}/v1", self.origin)});
        let provider = json!({"name": PROVIDER, "data": data});
        let id = match provider_id(&operator).await? {
            Some(id) => {
                let path = format!("/v1/providers/{id}/openai");
                done("updating the provider", operator.call(Method::PUT, &path, Some(provider)).await.0)?;
                id
            }
            None => {
                let (status, made) = operator.call(Method::POST, "/v1/providers/openai", Some(provider)).await;
                done("creating the provider", status)?;
                text(&made, "uuid")
            }
        };
        let model = json!({"id": MODEL, "alias": ALIAS});
        let (status, _) = operator.call(Method::POST, &format!("/v1/providers/{id}/models"), Some(model)).await;
        done("enabling the model", status)?;
        key(&operator, state).await
    }
}

async fn provider_id(operator: &Caller<'_>) -> Result<Option<String>, DemoError> {
    let (status, list) = operator.call(Method::GET, "/v1/providers?format=array", None).await;
    done("listing the providers", status)?;
    let found = list.as_array().into_iter().flatten().find(|provider| text(provider, "name") == PROVIDER);
    Ok(found.map(|provider| text(provider, "uuid")))
}

/// The key of an earlier start if it still works, else a new one.
async fn key(operator: &Caller<'_>, state: &State) -> Result<String, DemoError> {
    let kept = state.kept("demo-key", || "none".to_owned())?.value;
    let application = Caller { server: operator.server, bearer: &kept };
    if application.call(Method::GET, "/v1/models", None).await.0.is_success() {
        return Ok(kept);
    }
    let wanted = json!({"name": "demo", "scopes": ["inference"]});
    let (status, made) = operator.call(Method::POST, "/v1/keys", Some(wanted)).await;
    done("making a key", status)?;
    let key = text(&made, "api_key");
    state.keep("demo-key", &key)?;
    Ok(key)
}

/// Someone with a bearer key in front of the gateway in this process. Leaves no lines in the log: nobody called.
struct Caller<'a> {
    server: &'a Server,
    bearer: &'a str,
}

impl Caller<'_> {
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.bearer))
            .header("content-type", "application/json")
            .header("x-gateway-tenant", TENANT)
            .body(body.map(|body| Bytes::from(body.to_string())).unwrap_or_default());
        let Ok(request) = request else { return (StatusCode::BAD_REQUEST, Value::Null) };
        let Server { gateway, platform, .. } = self.server;
        let answer = gateway_native::handle(gateway, platform.logging_to(Log::off()), request).await;
        let status = answer.status();
        let bytes = match answer.into_body() {
            Body::Full(bytes) => bytes,
            Body::Live(mut live) => {
                let mut whole = BytesMut::new();
                while let Some(piece) = live.next().await {
                    whole.extend_from_slice(&piece);
                }
                whole.freeze()
            }
        };
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }
}

fn done(step: &'static str, status: StatusCode) -> Result<(), DemoError> {
    if status.is_success() { Ok(()) } else { Err(DemoError::Refused { step, status }) }
}

fn text(value: &Value, member: &str) -> String {
    value.get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Commands to paste.
pub(crate) fn commands(url: &str, key: &str) -> String {
    format!(
        r#"A chat completion of a simulated provider:

    curl -sS {url}/v1/chat/completions -H 'Authorization: Bearer {key}' \
      -H 'Content-Type: application/json' \
      -d '{{"model": "{ALIAS}", "messages": [{{"role": "user", "content": "Hello"}}]}}'

The same, streamed:

    curl -sSN {url}/v1/chat/completions -H 'Authorization: Bearer {key}' \
      -H 'Content-Type: application/json' \
      -d '{{"model": "{ALIAS}", "stream": true, "messages": [{{"role": "user", "content": "Hello"}}]}}'

What can be called:

    curl -sS {url}/v1/models -H 'Authorization: Bearer {key}'
"#
    )
}

const TENANT: &str = "demo";
const PROVIDER: &str = "demo";
const MODEL: &str = "gpt-4o-mini";
const ALIAS: &str = "demo";
