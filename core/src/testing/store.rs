//! A store in memory, linearizable, that fails as a test asks.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::faults::Faults;
use crate::model::{KeyHash, TenantId};
use crate::ports::{Fault, HeadRecord, HeadState, Loaded, PortError, Store, Swap};

/// A [`Store`] that forgets everything when dropped.
#[derive(Default)]
pub struct MemoryStore {
    state: Mutex<State>,
    down: AtomicBool,
    shares: AtomicBool,
    calls: AtomicU32,
    faults: Faults,
}

/// The kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// Heads.
    Heads,
    /// Keys.
    Keys,
    /// Sealed credentials and markers.
    Secrets,
    /// Names of tenants.
    Names,
}

#[derive(Default)]
struct State {
    heads: HashMap<TenantId, HeadRecord>,
    keys: HashMap<TenantId, BTreeMap<[u8; 32], Bytes>>,
    secrets: HashMap<TenantId, BTreeMap<String, Bytes>>,
    names: BTreeMap<String, Bytes>,
    digests: HashMap<TenantId, Bytes>,
}

impl MemoryStore {
    /// Makes every call fail, or work again.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// From now on isolates tell each other of targets.
    pub fn set_shares(&self) {
        self.shares.store(true, Ordering::SeqCst);
    }

    /// Calls so far.
    pub fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    /// What goes wrong with which of the next calls.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Replaces every record by `bytes`: heads, keys, secrets and names, where the test says so.
    pub fn spoil(&self, what: Record, bytes: &'static [u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let spoilt = Bytes::from_static(bytes);
        match what {
            Record::Heads => state.heads.values_mut().for_each(|head| head.bytes = spoilt.clone()),
            Record::Keys => {
                state.keys.values_mut().flat_map(BTreeMap::values_mut).for_each(|key| *key = spoilt.clone())
            }
            Record::Secrets => {
                state.secrets.values_mut().flat_map(BTreeMap::values_mut).for_each(|secret| *secret = spoilt.clone());
            }
            Record::Names => state.names.values_mut().for_each(|name| *name = spoilt.clone()),
        }
    }

    /// How many secret records there are, of all tenants.
    pub fn secret_records(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).secrets.values().map(BTreeMap::len).sum()
    }

    /// Everything stored, as text, to search for what must not be there.
    pub fn dump(&self) -> String {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let heads = state.heads.values().map(|head| &head.bytes);
        let keys = state.keys.values().flat_map(BTreeMap::values);
        let secrets = state.secrets.values().flat_map(BTreeMap::values);
        let all = heads.chain(keys).chain(secrets).chain(state.names.values());
        all.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect::<Vec<_>>().join("\n")
    }

    fn open(&self, operation: &'static str) -> Result<MutexGuard<'_, State>, PortError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) {
            return Err(PortError::new(operation, Fault::Unavailable, "down"));
        }
        self.faults.before(operation)?;
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store for MemoryStore {
    async fn load(&self, tenant: TenantId, key: Option<KeyHash>, known: Option<u64>) -> Result<Loaded, PortError> {
        let state = self.open("store.load")?;
        let head = match state.heads.get(&tenant) {
            None => HeadState::Absent,
            Some(head) if known == Some(head.version) => HeadState::Unchanged,
            Some(head) => HeadState::Current(head.clone()),
        };
        let key = key.and_then(|hash| state.keys.get(&tenant)?.get(hash.as_bytes()).cloned());
        Ok(Loaded { head, key, stale: false })
    }

    async fn swap(&self, tenant: TenantId, expected: Option<u64>, head: Option<HeadRecord>) -> Result<Swap, PortError> {
        let mut state = self.open("store.swap")?;
        if state.heads.get(&tenant).map(|head| head.version) != expected {
            return Ok(Swap::Lost);
        }
        match head {
            Some(head) => state.heads.insert(tenant, head),
            None => state.heads.remove(&tenant),
        };
        self.faults.after("store.swap").map(|()| Swap::Done)
    }

    async fn put_key(&self, tenant: TenantId, key: KeyHash, record: Bytes) -> Result<(), PortError> {
        self.open("store.put_key")?.keys.entry(tenant).or_default().insert(*key.as_bytes(), record);
        self.faults.after("store.put_key")
    }
    async fn delete_key(&self, tenant: TenantId, key: KeyHash) -> Result<bool, PortError> {
        let mut state = self.open("store.delete_key")?;
        Ok(state.keys.get_mut(&tenant).is_some_and(|keys| keys.remove(key.as_bytes()).is_some()))
    }
    async fn keys(&self, tenant: TenantId) -> Result<Vec<(KeyHash, Bytes)>, PortError> {
        let state = self.open("store.keys")?;
        let keys = state.keys.get(&tenant).into_iter().flatten();
        Ok(keys.map(|(hash, record)| (KeyHash::from(*hash), record.clone())).collect())
    }

    async fn put_secret(&self, tenant: TenantId, id: &str, record: Bytes) -> Result<(), PortError> {
        self.open("store.put_secret")?.secrets.entry(tenant).or_default().insert(id.to_owned(), record);
        self.faults.after("store.put_secret")
    }
    async fn secret(&self, tenant: TenantId, id: &str) -> Result<Option<Bytes>, PortError> {
        Ok(self.open("store.secret")?.secrets.get(&tenant).and_then(|secrets| secrets.get(id).cloned()))
    }
    async fn delete_secret(&self, tenant: TenantId, id: &str) -> Result<(), PortError> {
        if let Some(secrets) = self.open("store.delete_secret")?.secrets.get_mut(&tenant) {
            secrets.remove(id);
        }
        Ok(())
    }
    async fn secrets(&self, tenant: TenantId) -> Result<Vec<(String, Bytes)>, PortError> {
        let state = self.open("store.secrets")?;
        let secrets = state.secrets.get(&tenant).into_iter().flatten();
        Ok(secrets.map(|(id, record)| (id.clone(), record.clone())).collect())
    }

    async fn name(&self, name: &str) -> Result<Option<Bytes>, PortError> {
        Ok(self.open("store.name")?.names.get(name).cloned())
    }
    async fn swap_name(&self, name: &str, expected: Option<Bytes>, entry: Option<Bytes>) -> Result<bool, PortError> {
        let mut state = self.open("store.swap_name")?;
        if state.names.get(name) != expected.as_ref() {
            return Ok(false);
        }
        match entry {
            Some(entry) => state.names.insert(name.to_owned(), entry),
            None => state.names.remove(name),
        };
        self.faults.after("store.swap_name").map(|()| true)
    }
    async fn names(&self) -> Result<Vec<(String, Bytes)>, PortError> {
        Ok(self.open("store.names")?.names.iter().map(|(name, entry)| (name.clone(), entry.clone())).collect())
    }

    fn shares(&self) -> bool {
        self.shares.load(Ordering::SeqCst)
    }
    async fn digest(&self, tenant: TenantId) -> Result<Option<Bytes>, PortError> {
        Ok(self.open("store.digest")?.digests.get(&tenant).cloned())
    }
    async fn swap_digest(
        &self,
        tenant: TenantId,
        expected: Option<Bytes>,
        record: Bytes,
        _: u64,
    ) -> Result<bool, PortError> {
        let mut state = self.open("store.swap_digest")?;
        let same = state.digests.get(&tenant) == expected.as_ref();
        if same {
            state.digests.insert(tenant, record);
        }
        Ok(same)
    }

    async fn ping(&self) -> Result<(), PortError> {
        self.open("store.ping").map(|_| ())
    }
}
