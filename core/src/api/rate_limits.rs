//! `/v1/rate-limits`: how many calls and tokens a tenant, a provider, a model or a key may have.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Map, Value};

use super::input::{Input, fields, optional, required, string};
use super::{List, json, write};
use crate::error::{ErrorCode, Failure, Outcome};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::json::Object;
use crate::limits;
use crate::model::{Bucket, Change, KeyRecord, LimitScope, RateLimit};
use crate::ports::{Platform, RequestBody, Store};
use crate::tenancy::{Caller, no_rate_limit};

/// Spellings of the ids, ours first: IBM's SDK for Node sends `providerId` and `modelId`.
const PROVIDER: [&str; 3] = ["provider_uuid", "provider_id", "providerId"];
const MODEL: [&str; 3] = ["model_uuid", "model_id", "modelId"];
const KEY: [&str; 3] = ["key_id", "key_uuid", "keyId"];

/// A body of create and replace, judged.
struct Draft {
    scope: LimitScope,
    request: Option<Bucket>,
    token: Option<Bucket>,
}

async fn draft<P: Platform, B: RequestBody>(
    exchange: &Exchange<P>,
    caller: &Caller,
    input: Input<'_, B>,
) -> Outcome<Draft> {
    let body = input.admin().await?;
    let known: Vec<&str> = ["type", "request", "token"].into_iter().chain(PROVIDER).chain(MODEL).chain(KEY).collect();
    let object = fields(&body, &known)?;
    // Ids that the type has no use for are passed over, as IBM does.
    let scope = match required(&object, "type")?.as_str() {
        "tenant" => LimitScope::Tenant,
        "provider" => LimitScope::Provider(id(&object, &PROVIDER)?),
        "model" => LimitScope::Model(id(&object, &MODEL)?),
        "key" => LimitScope::Key(id(&object, &KEY)?),
        _ => {
            let message = "'type' must be \"tenant\", \"provider\", \"model\" or \"key\".";
            return Err(Failure::invalid("type", message));
        }
    };
    let (request, token) = (bucket(&object, "request")?, bucket(&object, "token")?);
    if ![&request, &token].into_iter().flatten().any(|bucket| bucket.amount > 0) {
        let message = "One of 'request' and 'token' at least must be given, with an 'amount' of 1 or more.";
        return Err(Failure::invalid("request", message));
    }
    if let LimitScope::Key(id) = &scope {
        let stored = exchange.store().keys(caller.tenant).await.map_err(|e| Failure::store(&e))?;
        if !stored.iter().any(|(_, bytes)| KeyRecord::decode(bytes).is_some_and(|record| record.id == *id)) {
            return Err(Failure::new(ErrorCode::NotFound, "There is no key with this id.").with_param("key_id"));
        }
    }
    Ok(Draft { scope, request, token })
}

/// An id under one of its spellings.
fn id(object: &Object<'_>, names: &[&'static str; 3]) -> Outcome<String> {
    for name in names {
        if let Some(id) = string(object, name)? {
            return Ok(id);
        }
    }
    let [name, ..] = names;
    Err(Failure::invalid(*name, format!("'{name}' is required for this type.")))
}

fn bucket(object: &Object<'_>, name: &'static str) -> Outcome<Option<Bucket>> {
    let Some(raw) = optional(object, name) else { return Ok(None) };
    let wrong = |member: &str, what: &str| {
        let param = format!("{name}.{member}");
        let message = format!("'{param}' must be {what}.");
        Failure::invalid(param, message)
    };
    let message = || {
        Failure::invalid(name, format!("'{name}' must be an object of 'capacity', 'amount' and 'duration', each once."))
    };
    let object = crate::json::object(raw.get().as_bytes()).map_err(|_| message())?;
    if object.iter().any(|(member, _)| !["capacity", "amount", "duration"].contains(&member)) {
        return Err(Failure { code: ErrorCode::UnknownField, ..message() });
    }
    let number = |member: &str| {
        let number = optional(&object, member).and_then(|raw| raw.get().parse::<u64>().ok());
        let number = number.filter(|number| *number <= limits::BUCKET);
        number.ok_or_else(|| wrong(member, "a whole number from 0 to 1000000000000"))
    };
    let (capacity, amount) = (number("capacity")?, number("amount")?);
    let text = optional(&object, "duration").and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    let bucket = text.and_then(|text| Bucket::new(capacity, amount, text));
    bucket
        .map(Some)
        .ok_or_else(|| wrong("duration", "a duration above 0 and up to 366 days, such as \"1m\" or \"1h30m\""))
}

/// `POST /v1/rate-limits`: 201.
pub(super) async fn create<P: Platform, B: RequestBody>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    caller: &Caller,
    input: Input<'_, B>,
) -> Outcome<Response<Bytes>> {
    let Draft { scope, request, token } = draft(exchange, caller, input).await?;
    let (uuid, created) = write::born(exchange.platform());
    let limit = RateLimit { uuid, scope, request, token, created, updated: created, rest: Map::new() };
    let shown = limit.to_value();
    write::put(gateway, exchange, caller, &Change::AddRateLimit(limit), StatusCode::CREATED, &shown).await
}

/// `PUT /v1/rate-limits/{id}`: replaces; a bucket that is left out goes. What was taken stays taken. 200.
pub(super) async fn replace<P: Platform, B: RequestBody>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    caller: &Caller,
    uuid: &str,
    input: Input<'_, B>,
) -> Outcome<Response<Bytes>> {
    let old = caller.config.head().rate_limit(uuid).ok_or_else(no_rate_limit)?.clone();
    let Draft { scope, request, token } = draft(exchange, caller, input).await?;
    let updated = exchange.platform().now_ms() / 1000;
    let limit = RateLimit { scope, request, token, updated, ..old };
    let shown = limit.to_value();
    write::put(gateway, exchange, caller, &Change::ReplaceRateLimit(limit), StatusCode::OK, &shown).await
}

/// `GET /v1/rate-limits`: the oldest first.
pub(super) fn list(caller: &Caller) -> Outcome<Response<Bytes>> {
    let all: Vec<Value> = caller.config.head().rate_limits.iter().map(RateLimit::to_value).collect();
    json(StatusCode::OK, &List::of(all))
}

/// `GET /v1/rate-limits/{id}`.
pub(super) fn get(caller: &Caller, uuid: &str) -> Outcome<Response<Bytes>> {
    json(StatusCode::OK, &caller.config.head().rate_limit(uuid).ok_or_else(no_rate_limit)?.to_value())
}
