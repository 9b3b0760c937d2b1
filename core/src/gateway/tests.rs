//! Requests through the whole of core, on the virtual clock.

#![expect(clippy::needless_pass_by_value, reason = "JSON literals read best as arguments")]

mod admin;
mod balancers;
mod bounds;
mod cuts;
mod digest;
mod failover;
mod faults;
mod golden;
mod limits;
mod meter;
mod pieces;
mod policies;
mod repeat;
mod streams;
mod usage;

use base64::Engine as _;
use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};

use super::*;
use crate::deployment::DefaultManager;
use crate::testing::World;

const OPERATOR: &str = "operator-key-0123456789-0123456789";
const SK: &str = "sk-canary-Zm9vYmFyYmF6cXV4";

/// A gateway in its world, with a tenant that has one openai provider and one model.
struct Bench {
    world: World,
    gateway: Gateway,
    key: String,
    provider: String,
}

fn gateway() -> Gateway {
    gateway_with(DefaultManager::Builtin)
}

fn gateway_with(manager: DefaultManager) -> Gateway {
    let sealing = base64::engine::general_purpose::STANDARD.encode([7_u8; 32]);
    let lookup = |name: &str| match name {
        "GATEWAY_ADMIN_KEY" => Some(OPERATOR.to_owned()),
        "GATEWAY_SEALING_KEY" => Some(sealing.clone()),
        _ => None,
    };
    Gateway::new(Deployment::read(lookup, manager).unwrap())
}

impl Bench {
    /// With a tenant that has nothing.
    fn empty() -> Self {
        Self::keeping(DefaultManager::Builtin)
    }

    /// The same, with credentials in that manager.
    fn keeping(manager: DefaultManager) -> Self {
        let mut bench = Self {
            world: World::at(1_760_000_000_000),
            gateway: gateway_with(manager),
            key: String::new(),
            provider: String::new(),
        };
        let tenant = bench.admin("POST", "/v1/tenant", json!({"name": "test"}));
        bench.key = tenant.1["api_key"].as_str().unwrap().to_owned();
        bench
    }

    fn new() -> Self {
        let mut bench = Self::empty();
        let body = json!({"name": "main", "data": {"apikey": SK}});
        let provider = bench.admin("POST", "/v1/providers/openai", body);
        bench.provider = provider.1["uuid"].as_str().unwrap().to_owned();
        let path = format!("/v1/providers/{}/models", bench.provider);
        assert_eq!(bench.admin("POST", &path, json!({"id": "gpt-4o", "alias": "fast"})).0, 201);
        bench.world.take_log();
        bench
    }

    fn send(&self, key: &str, method: &str, path: &str, body: impl Into<Bytes>) -> Response<Body<World>> {
        self.world.run(self.gateway.handle(self.world.clone(), request(key, method, path, body.into())))
    }

    fn call(&self, key: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        let bytes = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let (status, text) = self.read(self.send(key, method, path, bytes));
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    fn admin(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.call(OPERATOR, method, path, body)
    }

    /// The whole body as text.
    fn read(&self, response: Response<Body<World>>) -> (u16, String) {
        let status = response.status().as_u16();
        let bytes = match response.into_body() {
            Body::Full(bytes) => bytes.to_vec(),
            Body::Live(mut live) => self.world.run(async move {
                let mut all = Vec::new();
                while let Some(bytes) = live.next().await {
                    all.extend_from_slice(&bytes);
                }
                all
            }),
        };
        (status, String::from_utf8(bytes).unwrap())
    }

    fn chat(&self, extra: Value) -> (u16, String) {
        let mut body = json!({"model": "fast", "messages": [{"role": "user", "content": "hi"}]});
        for (name, value) in extra.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        self.read(self.send(&self.key, "POST", "/v1/chat/completions", body.to_string()))
    }
}

fn request(key: &str, method: &str, path: &str, body: Bytes) -> Request<Bytes> {
    let mut request = Request::builder().method(method).uri(path);
    if !key.is_empty() {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    request.body(body).unwrap()
}

fn code(text: &str) -> String {
    let value: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    value["error"]["code"].as_str().unwrap_or_default().to_owned()
}
