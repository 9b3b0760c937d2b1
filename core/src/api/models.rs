//! `/v1/models` and `/v1/providers/{id}/models`: enabled models, as a tenant manages them and as clients see them.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};

use super::input::{Input, bad_name, fields, optional, required, string};
use super::policies::{may_read, may_use};
use super::{List, Mount, Verb, json, write};
use crate::account::{Price, PriceError};
use crate::error::{ErrorCode, Failure, Outcome};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::json::{self as raw_json, Object};
use crate::limits;
use crate::model::{Alias, Change, Head, Model, ModelId, Overrides, Provider};
use crate::ports::{Platform, RequestBody};
use crate::tenancy::{self, Caller, no_model, no_provider};

/// An enabled model in answers.
#[derive(Serialize)]
pub(super) struct View<'a> {
    object: &'static str,
    uuid: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<&'a str>,
    created: u64,
    owned_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capabilities: Option<&'a Overrides>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u32>,
}

impl<'a> View<'a> {
    pub(super) fn of(model: &'a Model, provider: &Provider) -> Self {
        Self {
            object: "model",
            uuid: &model.uuid,
            id: model.id.as_str(),
            alias: model.alias.as_ref().map(Alias::as_str),
            created: model.created,
            owned_by: owner(provider),
            metadata: model.metadata.as_ref(),
            capabilities: model.capabilities.as_ref(),
            price: model.price.as_ref().map(|price| price.members()),
            weight: Some(model.weight).filter(|weight| *weight != 1),
            priority: Some(model.priority).filter(|priority| *priority != 0),
        }
    }
}

/// `owned_by`: the type and the name of the provider.
pub(super) fn owner(provider: &Provider) -> String {
    format!("{}:{}", provider.type_name, provider.name.as_str())
}

fn views<'a>(head: &'a Head, pick: impl Fn(&Model) -> bool) -> Vec<View<'a>> {
    head.models
        .iter()
        .filter(|model| pick(model))
        .filter_map(|model| Some(View::of(model, head.provider(&model.provider)?)))
        .collect()
}

/// A callable name in `GET /v1/models`.
#[derive(Serialize)]
struct Callable<'a> {
    object: &'static str,
    id: &'a str,
    uuid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<&'a str>,
    created: u64,
    owned_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    models: Vec<View<'a>>,
}

fn callables<'a>(head: &'a Head, caller: &Caller) -> Vec<Callable<'a>> {
    let mut list: Vec<Callable<'_>> = Vec::new();
    let named = |name: &str| caller.key.as_ref().is_none_or(|key| key.may_call(name));
    for balancer in head.balancers.iter().filter(|b| named(b.alias.as_str()) && may_use(caller, b)) {
        let behind = |model: &Model| balancer.backends.iter().any(|backend| backend.model == model.uuid);
        let models = views(head, |model| behind(model) && may_read(caller, model));
        if !models.is_empty() {
            list.push(Callable {
                object: "model",
                id: balancer.alias.as_str(),
                uuid: &balancer.uuid,
                alias: Some(balancer.alias.as_str()),
                created: balancer.created,
                owned_by: format!("load-balancer:{}", balancer.name.as_str()),
                metadata: None,
                models,
            });
        }
    }
    let balanced = list.len();
    for model in head.models.iter().filter(|model| may_see(caller, model)) {
        let Some(provider) = head.provider(&model.provider) else { continue };
        if let Some(at) = list.iter().position(|known| known.id == model.callable()) {
            let Some(known) = list.get_mut(at).filter(|_| at >= balanced) else { continue };
            known.models.push(View::of(model, provider));
            continue;
        }
        list.push(Callable {
            object: "model",
            id: model.callable(),
            uuid: &model.uuid,
            alias: model.alias.as_ref().map(Alias::as_str),
            created: model.created,
            owned_by: owner(provider),
            metadata: model.metadata.as_ref(),
            models: vec![View::of(model, provider)],
        });
    }
    for callable in list.iter_mut().skip(balanced) {
        if callable.models.len() == 1 {
            callable.models.clear();
        }
    }
    list
}

/// Whether the caller's key and its tenant's policies let it call a model: others are not shown.
fn may_see(caller: &Caller, model: &Model) -> bool {
    caller.key.as_ref().is_none_or(|key| key.may_call(model.callable())) && may_read(caller, model)
}

/// `GET /v1/models`: one entry per callable name; under IBM's mount one per enabled model.
pub(super) fn list(caller: &Caller, mount: Mount) -> Outcome<Response<Bytes>> {
    let head = caller.config.head();
    match mount {
        Mount::Ibm => json(StatusCode::OK, &List::of(views(head, |model| may_see(caller, model)))),
        Mount::Plain => json(StatusCode::OK, &List::of(callables(head, caller))),
    }
}

/// `GET /v1/providers/{id}/models`.
pub(super) fn list_of_provider(caller: &Caller, uuid: &str) -> Outcome<Response<Bytes>> {
    let head = caller.config.head();
    head.provider(uuid).ok_or_else(no_provider)?;
    json(StatusCode::OK, &List::of(views(head, |model| model.provider == uuid && may_read(caller, model))))
}

/// `GET /v1/models/{model}`: by uuid, then by callable name, percent-encoded or not.
pub(super) fn get(caller: &Caller, name: &str) -> Outcome<Response<Bytes>> {
    let head = caller.config.head();
    let may = |model: &&Model| may_see(caller, model);
    if let Some(model) = head.model(name).filter(may) {
        let provider = head.provider(&model.provider).ok_or_else(no_model)?;
        return json(StatusCode::OK, &View::of(model, provider));
    }
    let decoded = percent_encoding::percent_decode_str(name).decode_utf8().map_err(|_| no_model())?;
    if let Some(callable) = callables(head, caller).into_iter().find(|callable| callable.id == decoded) {
        return json(StatusCode::OK, &callable);
    }
    // A provider's id that an alias stands for is still known by itself.
    let model = head.models.iter().find(|model| model.id.as_str() == decoded && may(model)).ok_or_else(no_model)?;
    let provider = head.provider(&model.provider).ok_or_else(no_model)?;
    json(StatusCode::OK, &View::of(model, provider))
}

fn alias(object: &Object<'_>) -> Outcome<Option<Alias>> {
    string(object, "alias")?.map(|text| Alias::parse(&text).map_err(bad_name("alias"))).transpose()
}

fn metadata(object: &Object<'_>) -> Outcome<Option<Map<String, Value>>> {
    let Some(raw) = optional(object, "metadata") else { return Ok(None) };
    if raw.get().len() > limits::METADATA_BYTES {
        return Err(Failure::invalid("metadata", "'metadata' must have at most 8192 bytes."));
    }
    if raw_json::within(raw.get().as_bytes(), limits::METADATA_DEPTH).is_err() {
        return Err(Failure::invalid("metadata", "'metadata' must not be nested deeper than 32 levels."));
    }
    serde_json::from_str(raw.get()).map(Some).map_err(|_| Failure::invalid("metadata", "'metadata' must be an object."))
}

/// What the tenant says of a model's capabilities: each member is judged by itself, so that the wrong one is named.
fn capabilities(object: &Object<'_>) -> Outcome<Option<Overrides>> {
    let Some(raw) = optional(object, "capabilities") else { return Ok(None) };
    let wrong = || Failure::invalid("capabilities", "'capabilities' must be an object.");
    if raw.get().len() > limits::CAPABILITIES_BYTES {
        return Err(Failure::invalid("capabilities", "'capabilities' must have at most 4096 bytes."));
    }
    let members: Map<String, Value> = serde_json::from_str(raw.get()).map_err(|_| wrong())?;
    for (name, value) in &members {
        if !Overrides::knows(name) {
            let message = "'capabilities' has a member that is not known. The README lists those that are.";
            return Err(Failure::new(ErrorCode::UnknownField, message).with_param("capabilities"));
        }
        // The name is one of ours.
        if !Overrides::fits(name, value) {
            let param = format!("capabilities.{name}");
            return Err(Failure::invalid(param.clone(), format!("'{param}' has a value of the wrong kind.")));
        }
    }
    Overrides::of(members).map(Some).ok_or_else(wrong)
}

/// What a model's tokens cost the tenant: each member is judged by itself, so that the wrong one is named.
fn price(object: &Object<'_>) -> Outcome<Option<Arc<Price>>> {
    let Some(raw) = optional(object, "price") else { return Ok(None) };
    if raw.get().len() > limits::PRICE_BYTES {
        return Err(Failure::invalid("price", "'price' must have at most 2048 bytes."));
    }
    let members: Map<String, Value> = raw_json::read_object(raw.get().as_bytes())
        .ok_or_else(|| Failure::invalid("price", "'price' must be an object."))?;
    let known = members.keys().all(|name| Price::knows(name));
    let price = Price::of(members).map_err(|error| match error {
        PriceError::Empty => Failure::invalid("price", "'price' must have the price of a class of tokens."),
        PriceError::Value(name) => {
            let param = format!("price.{name}");
            let must = match name {
                "tiers" => "at most 8 objects, each with 'above' (a number of tokens) and prices".to_owned(),
                _ => format!(
                    "USD per million tokens, a decimal from 0 to {} with at most 9 fraction digits",
                    limits::PRICE_USD
                ),
            };
            Failure::invalid(param.clone(), format!("'{param}' must be {must}."))
        }
    })?;
    if !known || !price.knows_tiers() {
        let message = "'price' has a member that is not known. The README lists those that are.";
        return Err(Failure::new(ErrorCode::UnknownField, message).with_param("price"));
    }
    Ok(Some(Arc::new(price)))
}

/// A whole number from 0 to `most`.
pub(super) fn number(object: &Object<'_>, name: &'static str, otherwise: u32, most: u64) -> Outcome<u32> {
    let Some(raw) = optional(object, name) else { return Ok(otherwise) };
    let number = raw.get().parse::<u32>().ok().filter(|number| u64::from(*number) <= most);
    number.ok_or_else(|| Failure::invalid(name, format!("'{name}' must be a whole number from 0 to {most}.")))
}

/// `POST /v1/providers/{id}/models`: 201; 200 with the same object when it is there already.
pub(super) async fn enable<P: Platform, B: RequestBody>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    caller: &Caller,
    provider: &str,
    input: Input<'_, B>,
) -> Outcome<Response<Bytes>> {
    caller.config.head().provider(provider).ok_or_else(no_provider)?;
    let body = input.admin().await?;
    let object = fields(&body, &["id", "alias", "metadata", "capabilities", "price", "weight", "priority"])?;
    let id = ModelId::parse(&required(&object, "id")?).map_err(bad_name("id"))?;
    let (uuid, created) = write::born(exchange.platform());
    let model = Model {
        uuid,
        provider: provider.to_owned(),
        id,
        alias: alias(&object)?,
        metadata: metadata(&object)?,
        capabilities: capabilities(&object)?,
        price: price(&object)?,
        weight: number(&object, "weight", 1, limits::WEIGHT)?,
        priority: number(&object, "priority", 0, limits::PRIORITY)?,
        created,
        rest: Map::new(),
    };
    let config = tenancy::change(gateway, exchange, caller, &Change::AddModel(model.clone())).await?;
    let head = config.head();
    let provider = head.provider(provider).ok_or_else(no_provider)?;
    let stored = head.twin(&model).ok_or_else(no_model)?;
    let status = if stored.uuid == model.uuid { StatusCode::CREATED } else { StatusCode::OK };
    json(status, &View::of(stored, provider))
}

/// `PUT` and `PATCH /v1/providers/{id}/models/{uuid}`: PUT replaces, PATCH keeps what it does not name and takes
/// away what it names as `null`. 200.
pub(super) async fn change<P: Platform, B: RequestBody>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    caller: &Caller,
    verb: Verb,
    provider: &str,
    uuid: &str,
    input: Input<'_, B>,
) -> Outcome<Response<Bytes>> {
    let head = caller.config.head();
    head.provider(provider).ok_or_else(no_provider)?;
    let old = head.model(uuid).filter(|model| model.provider == provider).ok_or_else(no_model)?;
    let body = input.admin().await?;
    let object = fields(&body, &["id", "alias", "metadata", "capabilities", "price", "weight", "priority"])?;
    let mut model = old.clone();
    let replaces = verb == Verb::Put;
    if replaces || object.get("id").is_some() {
        let given = string(&object, "id")?;
        let id = given.unwrap_or_else(|| old.id.as_str().to_owned());
        model.id = ModelId::parse(&id).map_err(bad_name("id"))?;
    }
    if replaces || object.get("alias").is_some() {
        model.alias = alias(&object)?;
    }
    if replaces || object.get("metadata").is_some() {
        model.metadata = metadata(&object)?;
    }
    if replaces || object.get("capabilities").is_some() {
        model.capabilities = capabilities(&object)?;
    }
    if replaces || object.get("price").is_some() {
        model.price = price(&object)?;
    }
    if replaces || object.get("weight").is_some() {
        model.weight = number(&object, "weight", 1, limits::WEIGHT)?;
    }
    if replaces || object.get("priority").is_some() {
        model.priority = number(&object, "priority", 0, limits::PRIORITY)?;
    }
    let config = tenancy::change(gateway, exchange, caller, &Change::ReplaceModel(model)).await?;
    let head = config.head();
    let provider = head.provider(provider).ok_or_else(no_provider)?;
    let stored = head.model(uuid).ok_or_else(no_model)?;
    json(StatusCode::OK, &View::of(stored, provider))
}
