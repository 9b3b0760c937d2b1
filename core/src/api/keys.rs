//! `/v1/keys`: bearer keys of a tenant. A key is shown once, when it is made.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Serialize;
use serde_json::Map;

use super::input::{Input, bad_name, fields, optional, required};
use super::repeat::Repeat;
use super::{List, json, no_content};
use crate::error::{ErrorCode, Failure, Outcome};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::limits;
use crate::model::{Alias, Change, KeyHash, KeyRecord, ModelId, ObjectName, Scope, TenantId, random_uuid};
use crate::ports::{Platform, RequestBody, Store};
use crate::tenancy::{self, Caller};

#[derive(Serialize)]
struct View<'a> {
    id: &'a str,
    object: &'static str,
    name: &'a str,
    scopes: &'a [String],
    created: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    models: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<&'a str>,
}

impl<'a> View<'a> {
    fn of(record: &'a KeyRecord, api_key: Option<&'a str>) -> Self {
        Self {
            id: &record.id,
            object: "key",
            name: &record.name,
            scopes: &record.scopes,
            created: record.created,
            expires_at: record.expires_at,
            models: record.models.as_deref(),
            api_key,
        }
    }
}

/// What a new key shall be.
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) scopes: Vec<Scope>,
    pub(super) expires_at: Option<u64>,
    pub(super) models: Option<Vec<String>>,
}

/// Where a record keeps what its key was made from, together with what only the deployment knows.
const SALT: &str = "salt";

/// A key just made.
pub(super) struct Minted {
    pub(super) key: String,
    pub(super) hash: KeyHash,
    pub(super) record: KeyRecord,
}

impl Minted {
    /// Lets this isolate know the key, so that its first use costs no store read.
    pub(super) fn learn<P: Platform>(&self, gateway: &Gateway, exchange: &Exchange<P>, tenant: TenantId) {
        let record = Some(Arc::new(self.record.clone()));
        gateway.cache.learn_key(tenant, self.hash, record, exchange.platform().now_ms());
    }
}

/// Makes a key and stores its record. One that may be asked for again (`repeat`) is made so that it can be shown again.
pub(super) async fn mint<P: Platform>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    tenant: TenantId,
    draft: &Draft,
    repeat: Option<&Repeat<'_>>,
) -> Outcome<Minted> {
    let platform = exchange.platform();
    let (mut random, mut id) = ([0_u8; 32], [0_u8; 16]);
    platform.fill_random(&mut random);
    platform.fill_random(&mut id);
    let (mut id, mut rest) = (random_uuid(id).to_string(), Map::new());
    if let Some(repeat) = repeat {
        let salt = KeyHash::from(random).to_string();
        id = repeat.id();
        random = repeat.random(&salt);
        repeat.note(&mut rest);
        rest.insert(SALT.to_owned(), salt.into());
    }
    let key = gateway.deployment.bearers.mint(tenant, random).ok_or_else(|| Failure::internal("no tag key"))?;
    let now = platform.now_ms();
    let record = KeyRecord {
        schema: KeyRecord::SCHEMA,
        id,
        name: draft.name.clone(),
        scopes: draft.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
        created: now / 1000,
        expires_at: draft.expires_at,
        models: draft.models.clone(),
        rest,
    };
    exchange.store().put_key(tenant, key.hash, record.encode()).await.map_err(|e| Failure::store(&e))?;
    Ok(Minted { key: key.key.open().to_owned(), hash: key.hash, record })
}

/// The key that a request made before, if it did.
fn made_before(
    gateway: &Gateway,
    tenant: TenantId,
    repeat: &Repeat<'_>,
    stored: &[(KeyHash, Bytes)],
) -> Outcome<Option<Minted>> {
    let id = repeat.id();
    let found = stored.iter().find_map(|(hash, bytes)| {
        let record = KeyRecord::decode(bytes).filter(|record| record.id == id)?;
        Some((*hash, record))
    });
    let Some((hash, record)) = found else { return Ok(None) };
    repeat.same(&record.rest)?;
    let salt = record.rest.get(SALT).and_then(serde_json::Value::as_str).unwrap_or_default();
    let made = gateway.deployment.bearers.mint(tenant, repeat.random(salt)).filter(|key| key.hash == hash);
    let made = made.ok_or_else(|| Failure::new(ErrorCode::Conflict, "This key was made and cannot be shown again."))?;
    Ok(Some(Minted { key: made.key.open().to_owned(), hash, record }))
}

/// Makes the key of a request that may be a repeat. Of several such requests at the same time one makes it: whoever finds
/// another one's beside its own takes its own back. A key that was found to stand alone is never taken back.
async fn mint_once<P: Platform>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    tenant: TenantId,
    draft: &Draft,
    repeat: &Repeat<'_>,
    mut stored: Vec<(KeyHash, Bytes)>,
) -> Outcome<Minted> {
    for tried in 0..limits::REPEAT_TRIES {
        if let Some(made) = made_before(gateway, tenant, repeat, &stored)? {
            return Ok(made);
        }
        let made = mint(gateway, exchange, tenant, draft, Some(repeat)).await?;
        stored = exchange.store().keys(tenant).await.map_err(|e| Failure::store(&e))?;
        let twin = |(hash, bytes): &(KeyHash, Bytes)| {
            *hash != made.hash && KeyRecord::decode(bytes).is_some_and(|record| record.id == made.record.id)
        };
        if !stored.iter().any(twin) {
            return Ok(made);
        }
        exchange.store().delete_key(tenant, made.hash).await.map_err(|e| Failure::store(&e))?;
        tenancy::pause(exchange.platform(), tried).await;
        stored = exchange.store().keys(tenant).await.map_err(|e| Failure::store(&e))?;
    }
    Err(Failure::new(ErrorCode::StoreUnavailable, "This key is being made by another request. Try again.")
        .retry_after(1)
        .caused_by("repeated at the same time"))
}

/// `POST /v1/keys`: 201 with `api_key`; a repeat of the same request shows it again.
pub(super) async fn create<P: Platform, B: RequestBody>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    caller: &Caller,
    input: Input<'_, B>,
) -> Outcome<Response<Bytes>> {
    let headers = input.headers();
    let body = input.admin().await?;
    let repeat = Repeat::read(gateway, headers, caller.tenant, "keys", &body)?;
    let object = fields(&body, &["name", "scopes", "expires_at", "models"])?;
    let name = ObjectName::parse(&required(&object, "name")?).map_err(bad_name("name"))?;
    let wrong_scopes = || Failure::invalid("scopes", "'scopes' must be a list of \"admin\" and \"inference\".");
    let scopes = match optional(&object, "scopes") {
        None => vec![Scope::Inference],
        Some(raw) => {
            let names: Vec<String> = serde_json::from_str(raw.get()).map_err(|_| wrong_scopes())?;
            let mut scopes: Vec<Scope> =
                names.iter().map(|name| Scope::parse(name)).collect::<Option<_>>().ok_or_else(wrong_scopes)?;
            scopes.dedup();
            if scopes.is_empty() || scopes.len() > Scope::ALL.len() {
                return Err(wrong_scopes());
            }
            scopes
        }
    };
    let now_s = exchange.platform().now_ms() / 1000;
    let expires_at = optional(&object, "expires_at")
        .map(|raw| {
            raw.get().parse::<u64>().ok().filter(|end| *end > now_s && *end < 1 << 40).ok_or_else(|| {
                Failure::invalid("expires_at", "'expires_at' must be a time in the future, in seconds since 1970.")
            })
        })
        .transpose()?;
    let wrong_models = || Failure::invalid("models", "'models' must be a list of 1 to 100 model names.");
    let models = optional(&object, "models")
        .map(|raw| {
            let names: Vec<String> = serde_json::from_str(raw.get()).map_err(|_| wrong_models())?;
            let fit = (1..=limits::KEY_MODELS).contains(&names.len())
                && names.iter().all(|name| Alias::parse(name).is_ok() || ModelId::parse(name).is_ok());
            fit.then_some(names).ok_or_else(wrong_models)
        })
        .transpose()?;
    let keys = exchange.store().keys(caller.tenant).await.map_err(|e| Failure::store(&e))?;
    if keys.len() >= limits::KEYS {
        return Err(Failure::new(ErrorCode::QuotaExceeded, "A tenant can have at most 5000 keys. Revoke some."));
    }
    let draft = Draft { name: name.as_str().to_owned(), scopes, expires_at, models };
    let made = match &repeat {
        None => mint(gateway, exchange, caller.tenant, &draft, None).await?,
        Some(repeat) => mint_once(gateway, exchange, caller.tenant, &draft, repeat, keys).await?,
    };
    made.learn(gateway, exchange, caller.tenant);
    json(StatusCode::CREATED, &View::of(&made.record, Some(&made.key)))
}

/// `GET /v1/keys`: the records, the oldest first. One that cannot be read is left out and logged.
pub(super) async fn list<P: Platform>(exchange: &mut Exchange<P>, caller: &Caller) -> Outcome<Response<Bytes>> {
    let stored = exchange.store().keys(caller.tenant).await.map_err(|e| Failure::store(&e))?;
    let all = stored.len();
    let mut records: Vec<KeyRecord> = stored.iter().filter_map(|(_, bytes)| KeyRecord::decode(bytes)).collect();
    if records.len() < all {
        exchange.line().cause = Some(format!("{} key records undecodable", all - records.len()));
    }
    records.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    json(StatusCode::OK, &List::of(records.iter().map(|record| View::of(record, None)).collect::<Vec<_>>()))
}

/// `DELETE /v1/keys/{id}`: revokes. In this isolate at once, everywhere within the revocation bound.
pub(super) async fn revoke<P: Platform>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    caller: &Caller,
    id: &str,
) -> Outcome<Response<Bytes>> {
    let stored = exchange.store().keys(caller.tenant).await.map_err(|e| Failure::store(&e))?;
    let hash = stored
        .iter()
        .find(|(_, bytes)| KeyRecord::decode(bytes).is_some_and(|record| record.id == id))
        .map(|(hash, _)| *hash)
        .ok_or_else(|| Failure::new(ErrorCode::NotFound, "There is no key with this id."))?;
    exchange.store().delete_key(caller.tenant, hash).await.map_err(|e| Failure::store(&e))?;
    gateway.cache.learn_key(caller.tenant, hash, None, exchange.platform().now_ms());
    // The key is gone whatever becomes of its rate limit; ids are never used again.
    let forget = Change::ForgetKey(id.to_owned());
    if caller.config.head().apply(forget.clone()).is_ok_and(|next| next != *caller.config.head()) {
        tenancy::change(gateway, exchange, caller, &forget).await?;
    }
    Ok(no_content())
}
