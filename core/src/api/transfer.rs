//! Backup, and the way from one deployment to another: a tenant as one document.
//!
//! `POST /v1/tenant/export {"sealing_key": "<base64 of 32 bytes>"}` gives the head, the key records and the
//! credentials, these sealed under the key given (operator only; without a key anybody with the scope `admin`). `POST /v1/tenants/import` (operator) takes it back. Without a key
//! the document has no credentials and its providers must be replaced by hand after an import.

use std::collections::HashSet;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Map, Value};

use super::input::{Input, fields, optional, string};
use super::{json, tenant};
use crate::credentials;
use crate::error::{ErrorCode, Failure, Outcome};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::limits;
use crate::model::record::{Members, record};
use crate::model::{CredentialRef, Head, KeyHash, KeyRecord, LimitScope, Policy, RateLimit, TenantId};
use crate::ports::{Platform, RequestBody, Store};
use crate::provider::ProviderKind;
use crate::secret::{Credential, seal::SealingKeys};
use crate::tenancy::Caller;

/// A tenant on its way.
struct Document {
    head: Head,
    /// Key records with the hashes under which they are.
    keys: Vec<(String, KeyRecord)>,
    credentials: Vec<SealedEntry>,
}

struct SealedEntry {
    provider: String,
    sealed: String,
}

impl Document {
    fn to_value(&self) -> Value {
        let pair = |a: (&str, Value), b: (&str, Value)| record([a, b], &Map::new());
        let keys = self.keys.iter().map(|(hash, key)| pair(("hash", hash.as_str().into()), ("record", key.to_value())));
        let credentials = self
            .credentials
            .iter()
            .map(|entry| pair(("provider", entry.provider.as_str().into()), ("sealed", entry.sealed.as_str().into())));
        let known = [
            ("schema", 1.into()),
            ("head", self.head.to_value()),
            ("keys", Value::Array(keys.collect())),
            ("credentials", Value::Array(credentials.collect())),
        ];
        record(known, &Map::new())
    }

    /// `None` if it cannot be understood.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut members = Members::parse(bytes)?;
        members.schema()?;
        let mut document = Self { head: Head::read(members.take("head")?)?, keys: Vec::new(), credentials: Vec::new() };
        let (Value::Array(keys), Value::Array(credentials)) = (members.take("keys")?, members.take("credentials")?)
        else {
            return None;
        };
        for entry in keys {
            let mut entry = Members::of(entry)?;
            document.keys.push((entry.text("hash")?, KeyRecord::read(entry.take("record")?)?));
        }
        for entry in credentials {
            let mut entry = Members::of(entry)?;
            let (provider, sealed) = (entry.text("provider")?, entry.text("sealed")?);
            document.credentials.push(SealedEntry { provider, sealed });
        }
        Some(document)
    }
}

fn sealing_key(text: Option<&str>) -> Outcome<Option<SealingKeys>> {
    text.map(|key| {
        SealingKeys::parse(key, None)
            .map_err(|_| Failure::invalid("sealing_key", "'sealing_key' must be base64 of 32 bytes."))
    })
    .transpose()
}

/// `POST /v1/tenant/export`.
pub(super) async fn export<P: Platform, B: RequestBody>(
    gateway: &Gateway,
    exchange: &mut Exchange<P>,
    caller: &Caller,
    input: Input<'_, B>,
) -> Outcome<Response<Bytes>> {
    let body = input.admin().await?;
    let object = fields(&body, &["sealing_key"])?;
    let keys = sealing_key(string(&object, "sealing_key")?.as_deref())?;
    if keys.is_some() && caller.key.is_some() {
        // Whoever chooses the key can open what it seals: only the operator, who has the deployment's key anyway.
        return Err(Failure::new(
            ErrorCode::PermissionDenied,
            "An export with credentials needs the operator key; leave 'sealing_key' out to export without them.",
        ));
    }
    let head = caller.config.head().clone();
    let mut credentials = Vec::new();
    if let Some(keys) = keys {
        // What a tenant refers to is its own, and stays where it is.
        for provider in head.providers.iter().filter(|p| p.credential.resource.is_none()) {
            let credential = credentials::read(gateway, exchange, caller.tenant, &provider.credential).await?;
            let mut random = [0_u8; 44];
            exchange.platform().fill_random(&mut random);
            let tenant = caller.tenant.to_string();
            let sealed = keys.seal(random, &tenant, &provider.uuid, credential.encode().open());
            credentials.push(SealedEntry { provider: provider.uuid.clone(), sealed });
        }
    }
    let stored = exchange.store().keys(caller.tenant).await.map_err(|e| Failure::store(&e))?;
    let keys = stored.iter().filter_map(|(hash, bytes)| Some((hash.to_string(), KeyRecord::decode(bytes)?))).collect();
    json(StatusCode::OK, &Document { head, keys, credentials }.to_value())
}

/// `POST /v1/tenants/import`: 201 with a new first key. Keys of the document work here if both deployments share a
/// sealing key (current or previous), since it is their tag that lets them in.
pub(super) async fn import<P: Platform, B: RequestBody>(
    gateway: &Gateway,
    exchange: &mut Exchange<P>,
    input: Input<'_, B>,
) -> Outcome<Response<Bytes>> {
    let body = input.read(limits::IMPORT_BODY_BYTES).await?;
    let object = fields(&body, &["sealing_key", "document"])?;
    let sealing = sealing_key(string(&object, "sealing_key")?.as_deref())?;
    let wrong = |what: &'static str| Failure::invalid("document", what);
    let raw = optional(&object, "document").ok_or_else(|| wrong("'document' is required."))?;
    // What goes into the store must be readable from there: members that this version does not know are kept.
    if crate::json::within(raw.get().as_bytes(), limits::METADATA_DEPTH + 8).is_err() {
        return Err(wrong("'document' is nested too deeply."));
    }
    let document =
        Document::parse(raw.get().as_bytes()).ok_or_else(|| wrong("'document' must be what an export answered."))?;
    let mut head = document.head;
    let tenant = head.tenant.id;
    check(gateway, &head)?;
    let found = exchange.store().load(tenant, None, None).await.map_err(|e| Failure::store(&e))?;
    if found.head != crate::ports::HeadState::Absent {
        return Err(Failure::new(ErrorCode::Conflict, "This tenant exists here already."));
    }
    let opened = open_all(tenant, sealing.as_ref(), &document.credentials)?;

    let now = exchange.platform().now_ms();
    head.version = 1;
    // Where this deployment has the same manager, new credentials go on to be kept there.
    let known = gateway.deployment.managers.at(head.tenant.manager.as_str()).is_some();
    if !known {
        head.tenant.manager = gateway.deployment.default_manager();
    }
    let manager = head.tenant.manager.clone();
    for provider in &mut head.providers {
        let mut random = [0_u8; 4];
        exchange.platform().fill_random(&mut random);
        let id = format!("{}.{:08x}", provider.uuid, u32::from_be_bytes(random));
        let referred = provider.credential.resource.take();
        let referred = referred.and_then(|resource| credentials::refer(gateway, tenant, &resource, id.clone()));
        provider.credential = match (opened.iter().find(|(uuid, _)| *uuid == provider.uuid), referred) {
            (Some((_, credential)), _) => {
                credentials::keep(gateway, exchange, tenant, &manager, &id, credential).await?
            }
            (None, Some(reference)) => reference,
            (None, None) => CredentialRef::new(manager.clone(), id),
        };
    }
    for (hash, record) in &document.keys {
        let hash = KeyHash::from_hex(hash).ok_or_else(|| wrong("'document' has a broken key entry."))?;
        exchange.store().put_key(tenant, hash, record.encode()).await.map_err(|e| Failure::store(&e))?;
    }
    let key = tenant::establish(gateway, exchange, &head, now).await?;
    exchange.line().tenant = Some(tenant);
    let answer: Map<String, Value> = [
        ("id", Value::from(tenant.to_string())),
        ("uuid", Value::from(tenant.to_string())),
        ("name", Value::from(head.tenant.name.as_str())),
        ("secrets_manager", Value::from(head.tenant.manager.as_str())),
        ("api_key", Value::from(key)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    json(StatusCode::CREATED, &answer)
}

/// An imported head is as untrusted as any body: names, sizes and URLs are judged again.
fn check(gateway: &Gateway, head: &Head) -> Outcome<()> {
    let wrong = |what: &'static str| Err(Failure::invalid("document", what));
    if crate::model::TenantName::parse(head.tenant.name.as_str()).is_err() {
        return wrong("'document' has a tenant name that breaks the rules.");
    }
    if head.providers.len() > limits::PROVIDERS || head.models.len() > limits::MODELS {
        return wrong("'document' has more providers or models than a tenant can have.");
    }
    if head.encode().bytes.len() > limits::HEAD_BYTES {
        return wrong("'document' has a configuration of more than 350 KiB.");
    }
    let config = crate::config::Config::new(head.clone(), &gateway.deployment.allowed);
    for provider in &head.providers {
        let named = crate::model::ObjectName::parse(provider.name.as_str()).is_ok();
        let id = uuid::Uuid::try_parse(&provider.uuid).is_ok();
        let known = ProviderKind::from_stored(&provider.type_name).is_some();
        if !named || !id || !known {
            return wrong("'document' has a provider that breaks the rules.");
        }
        if matches!(config.places(&provider.uuid), Some(Err(_))) {
            return wrong("'document' has a provider whose base URL is refused here.");
        }
    }
    for model in &head.models {
        let id = crate::model::ModelId::parse(model.id.as_str()).is_ok();
        let alias = model.alias.as_ref().is_none_or(|a| crate::model::Alias::parse(a.as_str()).is_ok());
        if !id || !alias {
            return wrong("'document' has a model that breaks the rules.");
        }
    }
    if head.rate_limits.len() > limits::RATE_LIMITS || head.policies.len() > limits::POLICIES {
        return wrong("'document' has more rate limits or policies than a tenant can have.");
    }
    let distinct = |mut seen: HashSet<String>, name: String| seen.insert(name).then_some(seen);
    let names = head.providers.iter().map(|p| p.name.as_str().to_ascii_lowercase());
    let uuids = head.providers.iter().map(|p| p.uuid.clone());
    if names.into_iter().try_fold(HashSet::new(), distinct).is_none()
        || uuids.into_iter().try_fold(HashSet::new(), distinct).is_none()
    {
        return wrong("'document' has two providers of one name or id.");
    }
    let mut models = HashSet::new();
    let mut twins = HashSet::new();
    let fresh = head.models.iter().all(|m| models.insert(&m.uuid) && twins.insert((&m.provider, &m.id, &m.alias)));
    if !fresh || head.models.iter().any(|m| head.provider(&m.provider).is_none()) {
        return wrong("'document' has a model twice, or one without its provider.");
    }
    let mut reaches = HashSet::new();
    let limited = |limit: &RateLimit| match &limit.scope {
        LimitScope::Provider(uuid) => head.provider(uuid).is_some(),
        LimitScope::Model(uuid) => head.model(uuid).is_some(),
        LimitScope::Tenant | LimitScope::Key(_) => true,
    };
    let fresh = |limit: &RateLimit| reaches.insert((limit.scope.type_name(), limit.scope.id().map(str::to_owned)));
    if !head.rate_limits.iter().all(limited) || !head.rate_limits.iter().all(fresh) {
        return wrong("'document' has two rate limits for one thing, or one for what is not there.");
    }
    if !head.policies.iter().all(|policy| Policy::knows_subject(&policy.subject)) {
        return wrong("'document' has a policy that breaks the rules.");
    }
    Ok(())
}

fn open_all(
    tenant: TenantId,
    sealing: Option<&SealingKeys>,
    sealed: &[SealedEntry],
) -> Outcome<Vec<(String, Credential)>> {
    let Some(keys) = sealing else {
        return if sealed.is_empty() {
            Ok(Vec::new())
        } else {
            Err(Failure::invalid("sealing_key", "'sealing_key' is required: the document has sealed credentials."))
        };
    };
    sealed
        .iter()
        .map(|entry| {
            let opened = keys.open(&tenant.to_string(), &entry.provider, &entry.sealed).ok();
            let credential = opened.as_ref().and_then(Credential::decode);
            credential.map(|credential| (entry.provider.clone(), credential)).ok_or_else(|| {
                Failure::invalid("sealing_key", "'sealing_key' does not open the credentials of the document.")
            })
        })
        .collect()
}
