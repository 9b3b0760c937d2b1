//! From a bearer to a tenant: the one place where a request gets its tenant, and where heads are read and changed.

use std::sync::Arc;

use futures_util::future::{Either, join, select};
use http::HeaderMap;

use crate::auth::Bearer;
use crate::config::Config;
use crate::digest;
use crate::error::{ErrorCode, Failure, Outcome};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::limits;
use crate::model::{Change, Conflict, Head, KeyHash, KeyRecord, Scope, TenantId, TenantName, decode_head};
use crate::ports::{HeadState, Platform, PortError, Store, Swap};
use crate::registry::NameEntry;

/// An authenticated caller. Everything that reads a tenant's data takes one.
#[derive(Clone)]
pub(crate) struct Caller {
    /// The tenant.
    pub tenant: TenantId,
    /// Its configuration, as of at most the revocation bound ago.
    pub config: Arc<Config>,
    /// The key's record; `None` for the operator.
    pub key: Option<Arc<KeyRecord>>,
    /// The key's hash.
    pub hash: Option<KeyHash>,
    /// Whether the configuration should be confirmed beside the call.
    pub confirm: bool,
    /// Whether the store was asked in this very request.
    pub fresh: bool,
}

impl Caller {
    /// Refuses a key without the scope. The operator has every scope.
    pub(crate) fn require(&self, scope: Scope) -> Outcome<()> {
        match &self.key {
            Some(key) if !key.may(scope) => Err(Failure::new(
                ErrorCode::PermissionDenied,
                match scope {
                    Scope::Admin => "This key lacks the scope 'admin'.",
                    Scope::Inference => "This key lacks the scope 'inference'.",
                },
            )),
            _ => Ok(()),
        }
    }
}

/// Who sent the request.
pub(crate) async fn authenticate<P: Platform>(
    gateway: &Gateway,
    exchange: &mut Exchange<P>,
    headers: &HeaderMap,
) -> Outcome<Identity> {
    match gateway.deployment.bearers.judge(headers, exchange.platform().now_ms()) {
        None => Err(Failure::unauthenticated()),
        Some(Bearer::Operator) => {
            exchange.line().key = Some("operator".to_owned());
            Ok(Identity::Operator)
        }
        Some(Bearer::Tenant { tenant, hash }) => {
            let Recalled { config, key, confirm, fresh } = recall(gateway, exchange, tenant, Some(hash)).await?;
            let now = exchange.platform().now_ms();
            let (Some(config), Some(key)) = (config, key.filter(|key| key.live(now))) else {
                return Err(Failure::unauthenticated());
            };
            exchange.line().key = Some(key.id.clone());
            exchange.line().tenant = Some(tenant);
            Ok(Identity::Tenant(Caller { tenant, config, key: Some(key), hash: Some(hash), confirm, fresh }))
        }
    }
}

/// A known bearer.
pub(crate) enum Identity {
    /// The operator, who may act for any tenant.
    Operator,
    /// A tenant's key.
    Tenant(Caller),
}

/// The caller of a tenant's route: a tenant's key stands for its tenant; the operator for the one that
/// `X-Gateway-Tenant` names, else for the default tenant. To `manage`, the store is asked for the newest state: what was
/// changed a moment ago through another isolate must be seen.
pub(crate) async fn act<P: Platform>(
    gateway: &Gateway,
    exchange: &mut Exchange<P>,
    identity: Identity,
    headers: &HeaderMap,
    manage: bool,
) -> Outcome<Caller> {
    if let Identity::Tenant(caller) = identity {
        return if manage { confirmed(gateway, exchange, caller).await } else { Ok(caller) };
    }
    // A remembered name can belong to a tenant that is gone; the second round asks the registry.
    for fresh in [false, true] {
        let tenant = chosen_tenant(gateway, exchange, headers, fresh).await?;
        let Recalled { config, confirm, fresh: asked, .. } = recall(gateway, exchange, tenant, None).await?;
        if let Some(config) = config {
            let caller = Caller { tenant, config, key: None, hash: None, confirm, fresh: asked };
            let caller = if manage { confirmed(gateway, exchange, caller).await } else { Ok(caller) };
            match caller {
                Err(failure) if failure.code == ErrorCode::NotFound => {}
                caller => {
                    exchange.line().tenant = Some(tenant);
                    return caller;
                }
            }
        }
        gateway.cache.forget(tenant);
    }
    Err(no_tenant(headers.contains_key(TENANT_HEADER)))
}

/// By which the operator names the tenant to act for.
const TENANT_HEADER: &str = "x-gateway-tenant";

fn no_tenant(named: bool) -> Failure {
    if named {
        return Failure::new(ErrorCode::NotFound, "The tenant named in 'X-Gateway-Tenant' does not exist.")
            .with_param("X-Gateway-Tenant");
    }
    Failure::new(
        ErrorCode::TenantRequired,
        "There is no tenant yet. Create one with the operator key: curl $GATEWAY_URL/v1/tenant \
         -H \"Authorization: Bearer $GATEWAY_ADMIN_KEY\" -H \"Content-Type: application/json\" -d '{\"name\": \"test\"}'",
    )
}

async fn chosen_tenant<P: Platform>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    headers: &HeaderMap,
    fresh: bool,
) -> Outcome<TenantId> {
    let now = exchange.platform().now_ms();
    let mut named = headers.get_all(TENANT_HEADER).iter();
    let Some(value) = named.next() else {
        if let Some(tenant) = gateway.cache.default_tenant(now).filter(|_| !fresh) {
            return Ok(tenant);
        }
        let entries = exchange.store().names().await.map_err(|e| Failure::store(&e))?;
        let first = entries
            .iter()
            .filter_map(|(_, bytes)| NameEntry::decode(bytes).filter(NameEntry::active))
            .min_by_key(|entry| (entry.created, entry.tenant))
            .ok_or_else(|| no_tenant(false))?;
        gateway.cache.learn_default(first.tenant, now);
        return Ok(first.tenant);
    };
    let text = value.to_str().unwrap_or_default();
    if named.next().is_some() {
        return Err(no_tenant(true));
    }
    if let Some(tenant) = TenantId::parse(text) {
        return Ok(tenant);
    }
    let name = TenantName::parse(text).map_err(|_| no_tenant(true))?.canonical();
    if let Some(tenant) = gateway.cache.name(&name, now).filter(|_| !fresh) {
        return Ok(tenant);
    }
    let entry = exchange.store().name(&name).await.map_err(|e| Failure::store(&e))?;
    let entry =
        entry.as_deref().and_then(NameEntry::decode).filter(NameEntry::active).ok_or_else(|| no_tenant(true))?;
    gateway.cache.learn_name(&name, entry.tenant, now);
    Ok(entry.tenant)
}

/// What is known of a tenant, from the cache or the store.
struct Recalled {
    config: Option<Arc<Config>>,
    key: Option<Arc<KeyRecord>>,
    confirm: bool,
    fresh: bool,
}

impl Recalled {
    /// As remembered.
    fn cached(config: &Arc<Config>, key: Option<Arc<KeyRecord>>, confirm: bool) -> Self {
        Self { config: Some(Arc::clone(config)), key, confirm, fresh: false }
    }
}

/// A tenant's configuration and key out of the cache, or confirmed when they are too old for that.
async fn recall<P: Platform>(
    gateway: &Gateway,
    exchange: &mut Exchange<P>,
    tenant: TenantId,
    hash: Option<KeyHash>,
) -> Outcome<Recalled> {
    let now = exchange.platform().now_ms();
    let remembered = gateway.cache.tenant(tenant, hash, now);
    if let Some(known) = &remembered
        && let Some(key) = &known.key
    {
        if known.age_ms < limits::CONFIRM_FIRST_MS {
            return Ok(Recalled::cached(&known.config, key.clone(), known.age_ms >= limits::CONFIRM_SOON_MS));
        }
        // While the store fails it is asked again at most once a second, not by every request.
        let failing = known.failing.filter(|f| f.for_ms < limits::STALE_IF_ERROR_MS);
        if failing.is_some_and(|f| f.asked_ms < limits::STORE_RETRY_MS) {
            exchange.line().stale = true;
            return Ok(Recalled::cached(&known.config, key.clone(), false));
        }
    }
    // On the way to the store anyhow.
    let hear = digest::hear_soon(gateway, exchange.platform(), tenant);
    let error = match join(load(gateway, exchange, tenant, hash), hear).await.0 {
        Ok(found) if !found.stale => {
            return Ok(Recalled { config: found.config, key: found.key, confirm: false, fresh: true });
        }
        Ok(copy) => {
            let since = gateway.cache.failing(tenant, copy.config.clone(), now);
            if now.saturating_sub(since) < limits::STALE_IF_ERROR_MS {
                exchange.line().stale = true;
                return Ok(Recalled { config: copy.config, key: copy.key, confirm: false, fresh: false });
            }
            PortError::new("store.load", crate::ports::Fault::Unavailable, "copy_too_old")
        }
        Err(error) => error,
    };
    let since = gateway.cache.failing(tenant, None, now);
    match remembered.and_then(|known| Some((known.config, known.key?))) {
        Some((config, key)) if now.saturating_sub(since) < limits::STALE_IF_ERROR_MS => {
            exchange.line().stale = true;
            exchange.line().cause = Some(error.to_string());
            Ok(Recalled::cached(&config, key, false))
        }
        _ => Err(Failure::store(&error)),
    }
}

/// What the store knows.
struct Found {
    config: Option<Arc<Config>>,
    key: Option<Arc<KeyRecord>>,
    /// From a published copy.
    stale: bool,
}

/// Asks the store, once more on a passing fault that came quickly, and remembers the answer.
async fn load<P: Platform>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    tenant: TenantId,
    hash: Option<KeyHash>,
) -> Result<Found, PortError> {
    let platform = exchange.platform();
    let asked_ms = platform.now_ms();
    let known = gateway.cache.tenant(tenant, hash, asked_ms).map(|known| known.config);
    let version = known.as_ref().map(|config| config.head().version);
    let mut loaded = exchange.store().load(tenant, hash, version).await;
    let quick = || platform.now_ms().saturating_sub(asked_ms) < limits::STORE_RETRY_MS;
    if loaded.as_ref().is_err_and(PortError::retryable) && quick() {
        platform.timer(50).await;
        loaded = exchange.store().load(tenant, hash, version).await;
    }
    let loaded = loaded?;
    let config = match (loaded.head, known) {
        (HeadState::Absent, _) => {
            if !loaded.stale {
                gateway.cache.forget(tenant);
            }
            return Ok(Found { config: None, key: None, stale: loaded.stale });
        }
        (HeadState::Unchanged, Some(config)) => {
            if !loaded.stale {
                gateway.cache.confirm(tenant, asked_ms);
            }
            config
        }
        (HeadState::Unchanged, None) => return Err(corrupt("unchanged_without_version")),
        (HeadState::Current(record), _) => {
            let head = decode_head(&record.bytes).map_err(|_| corrupt("head_undecodable"))?;
            let config = Arc::new(Config::new(head, &gateway.deployment.allowed));
            if !loaded.stale {
                gateway.cache.learn(tenant, Arc::clone(&config), asked_ms);
            }
            config
        }
    };
    let key = match loaded.key {
        None => None,
        Some(bytes) => Some(Arc::new(KeyRecord::decode(&bytes).ok_or_else(|| corrupt("key_undecodable"))?)),
    };
    if let Some(hash) = hash
        && !loaded.stale
    {
        gateway.cache.learn_key(tenant, hash, key.clone(), asked_ms);
    }
    Ok(Found { config: Some(config), key, stale: loaded.stale })
}

fn corrupt(code: &str) -> PortError {
    PortError::new("store.load", crate::ports::Fault::Corrupt, code)
}

/// The same caller with what the store says now, unless this request asked it already. For management, where a caller
/// must see what it did a moment ago through another isolate, and before a name is said to be unknown.
pub(crate) async fn confirmed<P: Platform>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    caller: Caller,
) -> Outcome<Caller> {
    if caller.fresh {
        return Ok(caller);
    }
    let found = match load(gateway, exchange, caller.tenant, caller.hash).await {
        Ok(found) if !found.stale => found,
        Ok(_) => return Err(Failure::store(&copy_only())),
        Err(error) => return Err(Failure::store(&error)),
    };
    let now = exchange.platform().now_ms();
    let key = found.key.filter(|key| key.live(now));
    match found.config {
        Some(config) if caller.key.is_none() || key.is_some() => {
            Ok(Caller { config, key, confirm: false, fresh: true, ..caller })
        }
        Some(_) => Err(Failure::unauthenticated()),
        None if caller.key.is_some() => Err(Failure::unauthenticated()),
        None => Err(Failure::new(ErrorCode::NotFound, "The tenant does not exist any more.")),
    }
}

fn copy_only() -> PortError {
    PortError::new("store.load", crate::ports::Fault::Unavailable, "copy_only")
}

/// Runs `work`; meanwhile confirms the caller's configuration if it is getting old, and reads what other isolates tell. The work's end is the end.
pub(crate) async fn beside<P: Platform, T>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    caller: &Caller,
    work: impl Future<Output = T>,
) -> T {
    let work = std::pin::pin!(work);
    if !caller.confirm && !digest::due(gateway, exchange.platform(), caller.tenant) {
        return work.await;
    }
    let more = std::pin::pin!(async {
        let hear = digest::hear(gateway, exchange.platform(), caller.tenant);
        if caller.confirm {
            let _ = join(load(gateway, exchange, caller.tenant, caller.hash), hear).await;
        } else {
            hear.await;
        }
    });
    match select(work, more).await {
        Either::Left((done, _)) => done,
        Either::Right((_, work)) => work.await,
    }
}

/// The newest head, from the store itself. For changes.
pub(crate) async fn newest<P: Platform>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    tenant: TenantId,
) -> Outcome<Option<Arc<Config>>> {
    match load(gateway, exchange, tenant, None).await {
        Ok(found) if !found.stale => Ok(found.config),
        Ok(_) => Err(Failure::store(&copy_only())),
        Err(error) => Err(Failure::store(&error)),
    }
}

/// Changes a tenant's head: applies to what the caller knows, swaps, and begins again with the newest when another
/// change came first. The isolate sees its own change at once.
pub(crate) async fn change<P: Platform>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    caller: &Caller,
    change: &Change,
) -> Outcome<Arc<Config>> {
    let (platform, tenant) = (exchange.platform(), caller.tenant);
    let mut config = Arc::clone(&caller.config);
    for attempt in 0..limits::SWAP_TRIES {
        let head = config.head();
        let next = head.apply(change.clone()).map_err(conflict)?;
        if next == *head {
            return Ok(config);
        }
        let swap = exchange.store().swap(tenant, Some(head.version), Some(next.encode())).await;
        match swap.map_err(|e| Failure::store(&e))? {
            Swap::Done => return Ok(remember(gateway, exchange, tenant, next)),
            Swap::Lost => pause(platform, attempt).await,
        }
        let newest = newest(gateway, exchange, tenant).await?;
        config = newest.ok_or_else(|| Failure::new(ErrorCode::NotFound, "The tenant does not exist any more."))?;
    }
    Err(Failure::new(ErrorCode::StoreUnavailable, "The tenant is being changed by many callers. Try again shortly.")
        .retry_after(1)
        .caused_by("swap lost too often"))
}

/// Remembers a head that this isolate wrote.
pub(crate) fn remember<P: Platform>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    tenant: TenantId,
    head: Head,
) -> Arc<Config> {
    let config = Arc::new(Config::new(head, &gateway.deployment.allowed));
    gateway.cache.learn(tenant, Arc::clone(&config), exchange.platform().now_ms());
    config
}

/// Full jitter, growing with the attempts, so that concurrent changes spread out.
pub(crate) async fn pause<P: Platform>(platform: &P, attempt: u32) {
    let mut random = [0_u8; 2];
    platform.fill_random(&mut random);
    let span = (8_u64 << attempt.min(6)).min(400);
    platform.timer(u64::from(u16::from_le_bytes(random)) % span).await;
}

/// The answer to a change that cannot be made.
pub(crate) fn conflict(conflict: Conflict) -> Failure {
    match conflict {
        Conflict::ProviderName => {
            Failure::new(ErrorCode::Conflict, "Another provider of this tenant has that name.").with_param("name")
        }
        Conflict::NoProvider => no_provider(),
        Conflict::NoModel => no_model(),
        Conflict::SameModel => {
            Failure::new(ErrorCode::Conflict, "Another enabled model of this provider has the same id and alias.")
                .with_param("id")
        }
        Conflict::BalancerName => {
            Failure::new(ErrorCode::Conflict, "Another load balancer of this tenant has that name.").with_param("name")
        }
        Conflict::BalancerAlias => {
            let message = "The alias belongs to a load balancer, or to a model that is not among its backends.";
            Failure::new(ErrorCode::Conflict, message).with_param("alias")
        }
        Conflict::NoBalancer => no_balancer(),
        Conflict::NoBackend => Failure::invalid("backends", "'backends' names a model that is not enabled."),
        Conflict::TooManyBalancers => {
            Failure::new(ErrorCode::QuotaExceeded, "A tenant can have at most 100 load balancers.")
        }
        Conflict::TooManyProviders => {
            Failure::new(ErrorCode::QuotaExceeded, "A tenant can have at most 200 providers.")
        }
        Conflict::TooManyModels => {
            Failure::new(ErrorCode::QuotaExceeded, "A tenant can have at most 1000 enabled models.")
        }
        Conflict::NoRateLimit => no_rate_limit(),
        Conflict::SameRateLimit => {
            Failure::new(ErrorCode::Conflict, "There is a rate limit for the same already; replace it with PUT.")
                .with_param("type")
        }
        Conflict::NoPolicy => no_policy(),
        Conflict::TooManyRateLimits => {
            Failure::new(ErrorCode::QuotaExceeded, "A tenant can have at most 500 rate limits.")
        }
        Conflict::TooManyPolicies => Failure::new(ErrorCode::QuotaExceeded, "A tenant can have at most 500 policies."),
        Conflict::TooLarge => Failure::new(
            ErrorCode::QuotaExceeded,
            "The tenant's configuration would pass 350 KiB. Remove models or shorten their metadata.",
        ),
    }
}

/// No provider of that id: absent, or another tenant's.
pub(crate) fn no_provider() -> Failure {
    Failure::new(ErrorCode::ProviderNotFound, "There is no provider with this id.")
}

/// No load balancer of that id: absent, or another tenant's.
pub(crate) fn no_balancer() -> Failure {
    Failure::new(ErrorCode::NotFound, "There is no load balancer with this id.")
}

/// No rate limit of that id: absent, or another tenant's.
pub(crate) fn no_rate_limit() -> Failure {
    Failure::new(ErrorCode::NotFound, "There is no rate limit with this id.")
}

/// No policy of that id or description: absent, or another tenant's.
pub(crate) fn no_policy() -> Failure {
    Failure::new(ErrorCode::NotFound, "There is no such policy.")
}

/// No enabled model of that id or name: absent, or another tenant's.
pub(crate) fn no_model() -> Failure {
    Failure::new(ErrorCode::ModelNotFound, "There is no such model.").with_param("model")
}
