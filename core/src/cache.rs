//! What an isolate remembers between requests: heads and keys, tenant names, credentials.
//!
//! The cache never decides: it says how old a thing is, and the caller confirms it in time (design rule: a revoked
//! key stops within the revocation bound). Entries are immutable and shared; nothing of a request is kept.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::Config;
use crate::lease::Slot;
use crate::limits;
use crate::model::{KeyHash, KeyRecord, TenantId};
use crate::secret::Credential;
use crate::sign::iam::TokenKey;

/// The isolate's memory.
#[derive(Default)]
pub(crate) struct Cache {
    tenants: Mutex<HashMap<TenantId, Entry>>,
    names: Mutex<HashMap<String, (TenantId, u64)>>,
    default_tenant: Mutex<Option<(TenantId, u64)>>,
    credentials: Mutex<HashMap<(TenantId, String), Slot<Credential>>>,
    tokens: Mutex<HashMap<TokenKey, Slot>>,
    /// Deployments of Azure OpenAI that want `max_completion_tokens`: of a model's uuid, its id.
    completion_limits: Mutex<HashMap<String, (String, u64)>>,
}

struct Entry {
    config: Arc<Config>,
    confirmed_ms: u64,
    keys: HashMap<KeyHash, (Option<Arc<KeyRecord>>, u64)>,
    /// Since when the store has not answered for it, and when it was last asked.
    failing: Option<(u64, u64)>,
}

/// A remembered head, and a key if one was asked for.
#[derive(Clone)]
pub(crate) struct Remembered {
    /// The configuration.
    pub config: Arc<Config>,
    /// The key's record; outer `None`: not known whether there is one.
    pub key: Option<Option<Arc<KeyRecord>>>,
    /// Milliseconds since both were confirmed by the authority.
    pub age_ms: u64,
    /// The store does not answer.
    pub failing: Option<Failing>,
}

/// How long the store has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failing {
    /// Milliseconds since it began.
    pub for_ms: u64,
    /// Milliseconds since it was asked last.
    pub asked_ms: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves whole entries behind, so what is inside is good.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cache {
    /// What is remembered of a tenant.
    pub(crate) fn tenant(&self, tenant: TenantId, key: Option<KeyHash>, now_ms: u64) -> Option<Remembered> {
        let tenants = lock(&self.tenants);
        let entry = tenants.get(&tenant)?;
        let (key, confirmed_ms) = match key {
            None => (Some(None), entry.confirmed_ms),
            Some(hash) => match entry.keys.get(&hash) {
                None => (None, entry.confirmed_ms),
                Some((record, at)) => (Some(record.clone()), entry.confirmed_ms.min(*at)),
            },
        };
        Some(Remembered {
            config: Arc::clone(&entry.config),
            key,
            age_ms: now_ms.saturating_sub(confirmed_ms),
            failing: entry.failing.map(|(since, asked)| Failing {
                for_ms: now_ms.saturating_sub(since),
                asked_ms: now_ms.saturating_sub(asked),
            }),
        })
    }

    /// Remembers a head that was current at `now_ms`, unless something later is known. Keys stay.
    pub(crate) fn learn(&self, tenant: TenantId, config: Arc<Config>, now_ms: u64) {
        let mut tenants = lock(&self.tenants);
        make_room(&mut tenants, &tenant, limits::CACHED_TENANTS, |entry| entry.confirmed_ms);
        let entry = tenants.entry(tenant).or_insert_with(|| Entry {
            config: Arc::clone(&config),
            confirmed_ms: now_ms,
            keys: HashMap::new(),
            failing: None,
        });
        // A tenant that was imported anew begins at version 1 again, so time counts first.
        if now_ms > entry.confirmed_ms || config.head().version >= entry.config.head().version {
            entry.config = config;
        }
        entry.confirmed_ms = entry.confirmed_ms.max(now_ms);
        entry.failing = None;
    }

    /// Remembers that the head is still the newest.
    pub(crate) fn confirm(&self, tenant: TenantId, now_ms: u64) {
        if let Some(entry) = lock(&self.tenants).get_mut(&tenant) {
            entry.confirmed_ms = entry.confirmed_ms.max(now_ms);
            entry.failing = None;
        }
    }

    /// Remembers a key's record, or that there is none.
    pub(crate) fn learn_key(&self, tenant: TenantId, hash: KeyHash, record: Option<Arc<KeyRecord>>, now_ms: u64) {
        if let Some(entry) = lock(&self.tenants).get_mut(&tenant) {
            make_room(&mut entry.keys, &hash, limits::CACHED_KEYS, |(_, at)| *at);
            entry.keys.insert(hash, (record, now_ms));
        }
    }

    /// Remembers that the authority does not answer, and with which published copy it was replaced, if any.
    /// Since when it fails.
    pub(crate) fn failing(&self, tenant: TenantId, copy: Option<Arc<Config>>, now_ms: u64) -> u64 {
        let mut tenants = lock(&self.tenants);
        if let Some(config) = copy {
            make_room(&mut tenants, &tenant, limits::CACHED_TENANTS, |entry| entry.confirmed_ms);
            let entry = tenants.entry(tenant).or_insert_with(|| Entry {
                config: Arc::clone(&config),
                confirmed_ms: 0,
                keys: HashMap::new(),
                failing: None,
            });
            if config.head().version > entry.config.head().version {
                entry.config = config;
            }
        }
        let Some(entry) = tenants.get_mut(&tenant) else { return now_ms };
        let since = entry.failing.map_or(now_ms, |(since, _)| since);
        entry.failing = Some((since, now_ms));
        since
    }

    /// Forgets a tenant that is gone.
    pub(crate) fn forget(&self, tenant: TenantId) {
        lock(&self.tenants).remove(&tenant);
        lock(&self.names).retain(|_, (id, _)| *id != tenant);
        lock(&self.default_tenant).take_if(|(id, _)| *id == tenant);
        lock(&self.credentials).retain(|(id, _), _| *id != tenant);
    }

    /// The tenant of a name, if confirmed within the revocation bound.
    pub(crate) fn name(&self, name: &str, now_ms: u64) -> Option<TenantId> {
        fresh(lock(&self.names).get(name), now_ms)
    }

    /// Remembers whose a name is.
    pub(crate) fn learn_name(&self, name: &str, tenant: TenantId, now_ms: u64) {
        let mut names = lock(&self.names);
        make_room(&mut names, &name.to_owned(), limits::CACHED_TENANTS, |(_, at)| *at);
        names.insert(name.to_owned(), (tenant, now_ms));
    }

    /// Forgets what a name stood for.
    pub(crate) fn forget_name(&self, name: &str) {
        lock(&self.names).remove(name);
    }

    /// The default tenant, if confirmed within the revocation bound.
    pub(crate) fn default_tenant(&self, now_ms: u64) -> Option<TenantId> {
        fresh(lock(&self.default_tenant).as_ref(), now_ms)
    }

    /// Remembers the default tenant.
    pub(crate) fn learn_default(&self, tenant: TenantId, now_ms: u64) {
        *lock(&self.default_tenant) = Some((tenant, now_ms));
    }

    /// Does something with the slot of a credential; a new one is made where there is none. Ids are never reused, so a
    /// replaced credential is simply not asked for again.
    pub(crate) fn credential<T>(
        &self,
        tenant: TenantId,
        id: &str,
        now_ms: u64,
        act: impl FnOnce(&mut Slot<Credential>) -> T,
    ) -> T {
        let mut credentials = lock(&self.credentials);
        let key = (tenant, id.to_owned());
        if !credentials.contains_key(&key) {
            credentials.retain(|_, slot| slot.kept_until_ms() > now_ms);
            make_room(&mut credentials, &key, limits::CACHED_SECRETS, Slot::kept_until_ms);
        }
        act(credentials.entry(key).or_default())
    }

    /// Forgets a credential that an upstream refused or that was deleted.
    pub(crate) fn forget_credential(&self, tenant: TenantId, id: &str) {
        lock(&self.credentials).remove(&(tenant, id.to_owned()));
    }

    /// Whether an enabled model was found to want `max_completion_tokens`.
    pub(crate) fn wants_completion_limit(&self, uuid: &str, id: &str) -> bool {
        lock(&self.completion_limits).get(uuid).is_some_and(|(known, _)| known == id)
    }

    /// An enabled model refused `max_tokens` and pointed to `max_completion_tokens`.
    pub(crate) fn learn_completion_limit(&self, uuid: &str, id: &str, now_ms: u64) {
        let mut known = lock(&self.completion_limits);
        let key = uuid.to_owned();
        make_room(&mut known, &key, limits::MODELS, |(_, at)| *at);
        known.insert(key, (id.to_owned(), now_ms));
    }

    /// Does something with a token's slot; a new one is made where there is none.
    pub(crate) fn token<T>(&self, key: TokenKey, now_ms: u64, act: impl FnOnce(&mut Slot) -> T) -> T {
        let mut tokens = lock(&self.tokens);
        if !tokens.contains_key(&key) {
            tokens.retain(|_, slot| slot.kept_until_ms() > now_ms);
            make_room(&mut tokens, &key, limits::CACHED_TOKENS, Slot::kept_until_ms);
        }
        act(tokens.entry(key).or_default())
    }
}

fn fresh(entry: Option<&(TenantId, u64)>, now_ms: u64) -> Option<TenantId> {
    entry.filter(|(_, at)| now_ms.saturating_sub(*at) < limits::CONFIRM_FIRST_MS).map(|(tenant, _)| *tenant)
}

/// Drops the oldest entry when a new key would pass the limit.
fn make_room<K: Clone + Eq + Hash, V>(map: &mut HashMap<K, V>, key: &K, limit: usize, at: impl Fn(&V) -> u64) {
    if map.len() < limit || map.contains_key(key) {
        return;
    }
    if let Some(oldest) = map.iter().min_by_key(|(_, value)| at(value)).map(|(key, _)| key.clone()) {
        map.remove(&oldest);
    }
}
