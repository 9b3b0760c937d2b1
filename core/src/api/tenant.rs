//! `/v1/tenant` and `/v1/tenants`: creating (operator), listing (operator), reading, renaming and removing tenants.
//!
//! A tenant exists from the moment its registry entry is active; until then nothing of it can be seen. What a crash
//! leaves before that is cleared by whoever wants the name ten minutes later.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Serialize;
use serde_json::Map;

use super::input::{Input, bad_name, fields, flag, required, string};
use super::keys;
use super::{List, json, no_content};
use crate::credentials;
use crate::error::{ErrorCode, Failure, Outcome};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::model::{Change, Head, Manager, Scope, TenantId, TenantName, TenantRecord};
use crate::ports::{HeadState, Platform, RequestBody, Store, Swap};
use crate::registry::NameEntry;
use crate::tenancy::{self, Caller};

#[derive(Serialize)]
struct View<'a> {
    id: String,
    uuid: String,
    name: &'a str,
    secrets_manager: &'a str,
    created: u64,
    strict_parameters: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<&'a str>,
}

impl<'a> View<'a> {
    fn of(tenant: &'a TenantRecord, api_key: Option<&'a str>) -> Self {
        Self {
            id: tenant.id.to_string(),
            uuid: tenant.id.to_string(),
            name: tenant.name.as_str(),
            secrets_manager: tenant.manager.as_str(),
            created: tenant.created,
            strict_parameters: tenant.strict_parameters,
            api_key,
        }
    }
}

/// `POST /v1/tenant`: creates a tenant and its first key. 201; a taken name is 409.
pub(super) async fn create<P: Platform, B: RequestBody>(
    gateway: &Gateway,
    exchange: &mut Exchange<P>,
    input: Input<'_, B>,
) -> Outcome<Response<Bytes>> {
    let body = input.admin().await?;
    let object = fields(&body, &["name", "secrets_manager", "strict_parameters"])?;
    let name = TenantName::parse(&required(&object, "name")?).map_err(bad_name("name"))?;
    let strict_parameters = flag(&object, "strict_parameters")?.unwrap_or(false);
    let manager = manager(gateway, string(&object, "secrets_manager")?.as_deref())?;

    let platform = exchange.platform();
    let now = platform.now_ms();
    let mut random = [0_u8; 16];
    platform.fill_random(&mut random);
    let tenant = TenantId::from_random(random);
    let record = TenantRecord { id: tenant, name, manager, strict_parameters, created: now / 1000, rest: Map::new() };
    let head = Head::new(record);
    let key = establish(gateway, exchange, &head, now).await?;
    exchange.line().tenant = Some(tenant);
    json(StatusCode::CREATED, &View::of(&head.tenant, Some(&key)))
}

/// Reserves the name, writes the first key and the head, then makes the tenant visible. The key, to be shown once.
pub(super) async fn establish<P: Platform>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    head: &Head,
    now: u64,
) -> Outcome<String> {
    let tenant = head.tenant.id;
    let canonical = head.tenant.name.canonical();
    let pending = NameEntry::pending(tenant, now, now);
    reserve(gateway, exchange, &canonical, &pending).await?;
    let made = async {
        let record =
            keys::Draft { name: "first".to_owned(), scopes: Scope::ALL.to_vec(), expires_at: None, models: None };
        let key = keys::mint(gateway, exchange, tenant, &record, None).await?;
        let swap = exchange.store().swap(tenant, None, Some(head.encode())).await.map_err(|e| Failure::store(&e))?;
        if swap == Swap::Lost {
            return Err(Failure::new(ErrorCode::Conflict, "A tenant with this id exists."));
        }
        activate(exchange, &canonical, &pending).await?;
        Ok(key)
    };
    match made.await {
        Ok(key) => {
            tenancy::remember(gateway, exchange, tenant, head.clone());
            gateway.cache.learn_name(&canonical, tenant, now);
            key.learn(gateway, exchange, tenant);
            Ok(key.key)
        }
        Err(failure) => {
            if failure.code != ErrorCode::Conflict {
                // Best effort; what stays is invisible and cleared with the name.
                let _ = clear(gateway, exchange, tenant).await;
            }
            let _ = exchange.store().swap_name(&canonical, Some(pending.encode()), None).await;
            Err(failure)
        }
    }
}

async fn activate<P: Platform>(exchange: &Exchange<P>, name: &str, pending: &NameEntry) -> Outcome<()> {
    let active = pending.activated(exchange.platform().now_ms());
    let won = exchange.store().swap_name(name, Some(pending.encode()), Some(active.encode())).await;
    match won.map_err(|e| Failure::store(&e))? {
        true => Ok(()),
        false => Err(Failure::new(ErrorCode::StoreUnavailable, "The tenant could not be completed. Try again.")
            .retry_after(1)
            .caused_by("reservation lost")),
    }
}

/// Takes a tenant name, also from a tenant that is half-made, renamed or gone.
async fn reserve<P: Platform>(gateway: &Gateway, exchange: &Exchange<P>, name: &str, entry: &NameEntry) -> Outcome<()> {
    let taken = || Failure::new(ErrorCode::Conflict, "A tenant with this name exists.").with_param("name");
    for _ in 0..3 {
        let found = exchange.store().name(name).await.map_err(|e| Failure::store(&e))?;
        if let Some(bytes) = &found {
            let holder = NameEntry::decode(bytes).ok_or_else(|| Failure::internal("registry entry undecodable"))?;
            if holder.tenant != entry.tenant && !vacant(gateway, exchange, name, &holder).await? {
                return Err(taken());
            }
        }
        let won = exchange.store().swap_name(name, found, Some(entry.encode())).await;
        if won.map_err(|e| Failure::store(&e))? {
            return Ok(());
        }
    }
    Err(taken())
}

/// Whether the holder of a name has no right to it any more; clears what a half-made holder left.
async fn vacant<P: Platform>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    name: &str,
    holder: &NameEntry,
) -> Outcome<bool> {
    if !holder.active() && !holder.abandoned(exchange.platform().now_ms()) {
        return Ok(false);
    }
    let config = tenancy::newest(gateway, exchange, holder.tenant).await?;
    match config {
        None => {
            clear_all(gateway, exchange, holder.tenant).await?;
            Ok(true)
        }
        // A rename that was not completed, on either side of its swap.
        Some(config) if config.head().tenant.name.canonical() != name => Ok(true),
        Some(_) if holder.active() => Ok(false),
        Some(config) if config.head().version > 1 => Ok(false),
        Some(_) => {
            clear_all(gateway, exchange, holder.tenant).await?;
            Ok(true)
        }
    }
}

/// Removes everything of a tenant but its name: head first, so that its keys are dead at once. Whether all is gone: a
/// secret whose manager fails now stays for the sweep, which finds it by the tenant's name.
async fn clear<P: Platform>(gateway: &Gateway, exchange: &Exchange<P>, tenant: TenantId) -> Outcome<bool> {
    let store = |e: crate::ports::PortError| Failure::store(&e);
    let mut references = Vec::new();
    for _ in 0..crate::limits::SWAP_TRIES {
        let loaded = exchange.store().load(tenant, None, None).await.map_err(store)?;
        let HeadState::Current(record) = loaded.head else { break };
        if let Ok(head) = crate::model::decode_head(&record.bytes) {
            references.extend(head.providers.into_iter().map(|p| p.credential));
        }
        if exchange.store().swap(tenant, Some(record.version), None).await.map_err(store)? == Swap::Done {
            break;
        }
    }
    gateway.cache.forget(tenant);
    for (hash, _) in exchange.store().keys(tenant).await.map_err(store)? {
        exchange.store().delete_key(tenant, hash).await.map_err(store)?;
    }
    for reference in references {
        let _ = credentials::discard(gateway, exchange, tenant, &reference).await;
    }
    // Only counts are there, and ids are never used again.
    let _ = crate::account::limiter::forget(exchange.platform(), tenant).await;
    // Secrets that no provider referred to, and those that could not be discarded.
    let mut gone = true;
    for (id, bytes) in exchange.store().secrets(tenant).await.map_err(store)? {
        let reference = credentials::reference_of(&id, &bytes);
        gone &= credentials::discard(gateway, exchange, tenant, &reference).await.is_ok();
    }
    Ok(gone)
}

/// As [`clear`], for a name that is wanted by another tenant: the name must not go before the secrets.
async fn clear_all<P: Platform>(gateway: &Gateway, exchange: &Exchange<P>, tenant: TenantId) -> Outcome<()> {
    match clear(gateway, exchange, tenant).await? {
        true => Ok(()),
        false => Err(Failure::new(
            ErrorCode::SecretsUnavailable,
            "The former tenant of this name has credentials in a secrets manager that cannot be reached now. Try again \
             later, or take another name.",
        )
        .with_param("name")
        .retry_after(60)),
    }
}

/// `GET /v1/tenants`: every complete tenant, the oldest first.
pub(super) async fn list<P: Platform>(exchange: &Exchange<P>) -> Outcome<Response<Bytes>> {
    #[derive(Serialize)]
    struct Entry {
        id: String,
        uuid: String,
        name: String,
        created: u64,
    }
    let names = exchange.store().names().await.map_err(|e| Failure::store(&e))?;
    let mut entries: Vec<(NameEntry, String)> = names
        .into_iter()
        .filter_map(|(name, bytes)| Some((NameEntry::decode(&bytes).filter(NameEntry::active)?, name)))
        .collect();
    entries.sort_by_key(|(entry, _)| (entry.created, entry.tenant, std::cmp::Reverse(entry.since)));
    // While a tenant is renamed it has two names for a moment; the newer one counts.
    entries.dedup_by_key(|(entry, _)| entry.tenant);
    let data: Vec<Entry> = entries
        .into_iter()
        .map(|(entry, name)| Entry {
            id: entry.tenant.to_string(),
            uuid: entry.tenant.to_string(),
            name,
            created: entry.created / 1000,
        })
        .collect();
    json(StatusCode::OK, &List::of(data))
}

/// `GET /v1/tenant`.
pub(super) fn get(caller: &Caller) -> Outcome<Response<Bytes>> {
    json(StatusCode::OK, &View::of(&caller.config.head().tenant, None))
}

/// `PUT` and `PATCH /v1/tenant`: the name, and whether parameters that a provider cannot take are refused. What is not
/// given stays.
pub(super) async fn change<P: Platform, B: RequestBody>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    caller: &Caller,
    input: Input<'_, B>,
) -> Outcome<Response<Bytes>> {
    let body = input.admin().await?;
    let object = fields(&body, &["name", "secrets_manager", "strict_parameters"])?;
    let old = &caller.config.head().tenant;
    let asked = string(&object, "secrets_manager")?;
    // The same in another spelling is the same; so is one that the operator took away meanwhile.
    let same = |asked: &str| {
        asked == old.manager.as_str() || credentials::asked(gateway, asked).as_ref() == Some(&old.manager)
    };
    if asked.is_some_and(|asked| !same(&asked)) {
        return Err(Failure::invalid("secrets_manager", "The secrets manager of a tenant cannot be changed."));
    }
    let strict = flag(&object, "strict_parameters")?;
    let name = match string(&object, "name")? {
        None if strict.is_some() => old.name.clone(),
        _ => TenantName::parse(&required(&object, "name")?).map_err(bad_name("name"))?,
    };
    let strict_parameters = strict.unwrap_or(old.strict_parameters);
    let (from, to) = (old.name.canonical(), name.canonical());
    let config = if from == to {
        tenancy::change(gateway, exchange, caller, &Change::Tenant { name, strict_parameters }).await?
    } else {
        let now = exchange.platform().now_ms();
        let current = exchange.store().name(&from).await.map_err(|e| Failure::store(&e))?;
        let created = current.as_deref().and_then(NameEntry::decode).map_or(old.created * 1000, |entry| entry.created);
        let pending = NameEntry::pending(caller.tenant, created, now);
        reserve(gateway, exchange, &to, &pending).await?;
        let settings = Change::Tenant { name, strict_parameters };
        let changed = tenancy::change(gateway, exchange, caller, &settings).await;
        if changed.is_err() {
            let _ = exchange.store().swap_name(&to, Some(pending.encode()), None).await;
        }
        let config = changed?;
        activate(exchange, &to, &pending).await?;
        if current.as_deref().and_then(NameEntry::decode).is_some_and(|entry| entry.tenant == caller.tenant) {
            exchange.store().swap_name(&from, current, None).await.map_err(|e| Failure::store(&e))?;
        }
        gateway.cache.forget_name(&from);
        config
    };
    json(StatusCode::OK, &View::of(&config.head().tenant, None))
}

/// `DELETE /v1/tenant`: keys are dead at once; credentials, keys and the name follow.
pub(super) async fn delete<P: Platform>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    caller: &Caller,
) -> Outcome<Response<Bytes>> {
    let name = caller.config.head().tenant.name.canonical();
    let gone = clear(gateway, exchange, caller.tenant).await?;
    let entry = exchange.store().name(&name).await.map_err(|e| Failure::store(&e))?;
    let known = entry.as_deref().and_then(NameEntry::decode).filter(|entry| entry.tenant == caller.tenant);
    if let Some(known) = known {
        // By its name the sweep finds what is left; nobody sees it, and it can be wanted at once.
        let left = (!gone).then(|| NameEntry::pending(caller.tenant, known.created, 0).encode());
        exchange.store().swap_name(&name, entry, left).await.map_err(|e| Failure::store(&e))?;
    }
    Ok(no_content())
}

/// The manager that a tenant asks for.
fn manager(gateway: &Gateway, asked: Option<&str>) -> Outcome<Manager> {
    let Some(asked) = asked else { return Ok(gateway.deployment.default_manager()) };
    credentials::asked(gateway, asked).ok_or_else(|| {
        Failure::invalid(
            "secrets_manager",
            "This secrets manager is not configured. Use \"builtin\", or ask the operator to add the address to \
             SECRETS_MANAGERS of the deployment.",
        )
    })
}
