//! `/v1/load-balancers`: names for several enabled models, and how calls are spread over them.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::input::{Input, bad_name, fields, optional, required, string};
use super::models::number;
use super::policies::may_use;
use super::{List, json as answer, write};
use crate::error::{Failure, Outcome};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::limits;
use crate::model::{Alias, Backend, Balancer, Change, Head, ObjectName};
use crate::ports::{Platform, RequestBody};
use crate::route::Algorithm;
use crate::tenancy::{Caller, no_balancer};

/// A load balancer in answers; `algorithm_in_effect` is what this entry can do for it.
fn view<P: Platform>(exchange: &Exchange<P>, balancer: &Balancer) -> Value {
    let backend = |backend: &Backend| {
        let mut entry = Map::new();
        entry.insert("model_uuid".into(), backend.model.as_str().into());
        for (name, value) in [("weight", backend.weight), ("quota", backend.quota), ("priority", backend.priority)] {
            if let Some(value) = value {
                entry.insert(name.into(), value.into());
            }
        }
        Value::Object(entry)
    };
    let in_effect = Algorithm::stored(&balancer.algorithm).in_effect(exchange.platform().alone());
    json!({
        "object": "load_balancer",
        "uuid": balancer.uuid,
        "name": balancer.name.as_str(),
        "alias": balancer.alias.as_str(),
        "algorithm": balancer.algorithm,
        "algorithm_in_effect": in_effect.as_str(),
        "backends": balancer.backends.iter().map(backend).collect::<Vec<_>>(),
        "created": balancer.created,
    })
}

/// Reads the body of POST and PUT; uuid and age are not in it.
fn read(body: &[u8], head: &Head) -> Outcome<Balancer> {
    let object = fields(body, &["name", "alias", "algorithm", "backends"])?;
    let name = ObjectName::parse(&required(&object, "name")?).map_err(bad_name("name"))?;
    let alias = Alias::parse(&required(&object, "alias")?).map_err(bad_name("alias"))?;
    let algorithm = match string(&object, "algorithm")? {
        None => Algorithm::default(),
        Some(text) => Algorithm::parse(&text).ok_or_else(|| {
            let known = Algorithm::ALL.map(|known| format!("'{}'", known.as_str())).join(", ");
            Failure::invalid("algorithm", format!("'algorithm' must be one of {known}."))
        })?,
    };
    let wrong =
        || Failure::invalid("backends", "'backends' must be a list of 1 to 64 models, each with its 'model_uuid'.");
    let raw = optional(&object, "backends").ok_or_else(wrong)?;
    let items: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|_| wrong())?;
    if items.is_empty() || items.len() > limits::BACKENDS || items.iter().any(|item| !item.get().starts_with('{')) {
        return Err(wrong());
    }
    let mut backends: Vec<Backend> = Vec::with_capacity(items.len());
    for (at, item) in items.into_iter().enumerate() {
        let backend = backend(item).map_err(|failure| inside(failure, at))?;
        let refused = |what: &str| Err(inside(Failure::invalid("model_uuid", format!("'model_uuid' {what}.")), at));
        if head.model(&backend.model).is_none() {
            return refused("is not that of an enabled model");
        }
        if backends.iter().any(|known| known.model == backend.model) {
            return refused("is there twice");
        }
        backends.push(backend);
    }
    let algorithm = algorithm.as_str().to_owned();
    Ok(Balancer { uuid: String::new(), name, alias, algorithm, backends, created: 0, rest: Map::new() })
}

fn backend(raw: &RawValue) -> Outcome<Backend> {
    let object = fields(raw.get().as_bytes(), &["model_uuid", "weight", "quota", "priority"])?;
    let given =
        |name: &'static str, most: u64| optional(&object, name).map(|_| number(&object, name, 0, most)).transpose();
    Ok(Backend {
        model: required(&object, "model_uuid")?,
        weight: given("weight", limits::WEIGHT)?,
        quota: given("quota", limits::QUOTA)?,
        priority: given("priority", limits::PRIORITY)?,
        rest: Map::new(),
    })
}

/// The failure of a member of a backend, with its whole way.
fn inside(failure: Failure, at: usize) -> Failure {
    let param = match &failure.param {
        Some(param) => format!("backends[{at}].{param}"),
        None => format!("backends[{at}]"),
    };
    failure.with_param(param)
}

/// `POST /v1/load-balancers`: 201.
pub(super) async fn create<P: Platform, B: RequestBody>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    caller: &Caller,
    input: Input<'_, B>,
) -> Outcome<Response<Bytes>> {
    let body = input.admin().await?;
    let mut balancer = read(&body, caller.config.head())?;
    (balancer.uuid, balancer.created) = write::born(exchange.platform());
    let shown = view(exchange, &balancer);
    write::put(gateway, exchange, caller, &Change::AddBalancer(balancer), StatusCode::CREATED, &shown).await
}

/// `GET /v1/load-balancers`.
pub(super) fn list<P: Platform>(exchange: &Exchange<P>, caller: &Caller) -> Outcome<Response<Bytes>> {
    let balancers = caller.config.head().balancers.iter().filter(|balancer| may_use(caller, balancer));
    let all = balancers.map(|balancer| view(exchange, balancer));
    answer(StatusCode::OK, &List::of(all.collect::<Vec<_>>()))
}

/// `GET /v1/load-balancers/{uuid}`.
pub(super) fn get<P: Platform>(exchange: &Exchange<P>, caller: &Caller, uuid: &str) -> Outcome<Response<Bytes>> {
    let balancer = caller.config.head().balancer(uuid).ok_or_else(no_balancer)?;
    answer(StatusCode::OK, &view(exchange, balancer))
}

/// `PUT /v1/load-balancers/{uuid}`: all of it anew. 200.
pub(super) async fn replace<P: Platform, B: RequestBody>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    caller: &Caller,
    uuid: &str,
    input: Input<'_, B>,
) -> Outcome<Response<Bytes>> {
    let head = caller.config.head();
    let created = head.balancer(uuid).ok_or_else(no_balancer)?.created;
    let body = input.admin().await?;
    let balancer = Balancer { uuid: uuid.to_owned(), created, ..read(&body, head)? };
    let shown = view(exchange, &balancer);
    write::put(gateway, exchange, caller, &Change::ReplaceBalancer(balancer), StatusCode::OK, &shown).await
}
