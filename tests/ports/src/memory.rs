//! A store in memory: the contract at its simplest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use gateway_core::model::{KeyHash, TenantId};
use gateway_core::ports::{HeadRecord, HeadState, Loaded, PortError, Store, Swap};

/// The store. Clones share what is in it.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Records>>);

#[derive(Debug, Default)]
struct Records {
    tenants: BTreeMap<TenantId, Tenant>,
    names: BTreeMap<String, Bytes>,
}

#[derive(Debug, Default)]
struct Tenant {
    head: Option<HeadRecord>,
    keys: BTreeMap<[u8; 32], (KeyHash, Bytes)>,
    secrets: BTreeMap<String, Bytes>,
    digest: Option<Bytes>,
}

impl MemoryStore {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tenant<T>(&self, tenant: TenantId, work: impl FnOnce(&mut Tenant) -> T) -> T {
        work(self.records().tenants.entry(tenant).or_default())
    }
}

impl Store for MemoryStore {
    async fn load(&self, tenant: TenantId, key: Option<KeyHash>, known: Option<u64>) -> Result<Loaded, PortError> {
        Ok(self.tenant(tenant, |records| {
            let head = match &records.head {
                None => HeadState::Absent,
                Some(head) if Some(head.version) == known => HeadState::Unchanged,
                Some(head) => HeadState::Current(head.clone()),
            };
            let key = key.and_then(|hash| records.keys.get(hash.as_bytes()).map(|(_, record)| record.clone()));
            Loaded { head, key, stale: false }
        }))
    }

    async fn swap(&self, tenant: TenantId, expected: Option<u64>, head: Option<HeadRecord>) -> Result<Swap, PortError> {
        Ok(self.tenant(tenant, |records| {
            if records.head.as_ref().map(|head| head.version) != expected {
                return Swap::Lost;
            }
            records.head = head;
            Swap::Done
        }))
    }

    async fn put_key(&self, tenant: TenantId, key: KeyHash, record: Bytes) -> Result<(), PortError> {
        self.tenant(tenant, |records| records.keys.insert(*key.as_bytes(), (key, record)));
        Ok(())
    }

    async fn delete_key(&self, tenant: TenantId, key: KeyHash) -> Result<bool, PortError> {
        Ok(self.tenant(tenant, |records| records.keys.remove(key.as_bytes()).is_some()))
    }

    async fn keys(&self, tenant: TenantId) -> Result<Vec<(KeyHash, Bytes)>, PortError> {
        Ok(self.tenant(tenant, |records| records.keys.values().cloned().collect()))
    }

    async fn put_secret(&self, tenant: TenantId, id: &str, record: Bytes) -> Result<(), PortError> {
        self.tenant(tenant, |records| records.secrets.insert(id.to_owned(), record));
        Ok(())
    }

    async fn secret(&self, tenant: TenantId, id: &str) -> Result<Option<Bytes>, PortError> {
        Ok(self.tenant(tenant, |records| records.secrets.get(id).cloned()))
    }

    async fn delete_secret(&self, tenant: TenantId, id: &str) -> Result<(), PortError> {
        self.tenant(tenant, |records| records.secrets.remove(id));
        Ok(())
    }

    async fn secrets(&self, tenant: TenantId) -> Result<Vec<(String, Bytes)>, PortError> {
        Ok(self.tenant(tenant, |records| records.secrets.clone().into_iter().collect()))
    }

    async fn name(&self, name: &str) -> Result<Option<Bytes>, PortError> {
        Ok(self.records().names.get(name).cloned())
    }

    async fn swap_name(&self, name: &str, expected: Option<Bytes>, entry: Option<Bytes>) -> Result<bool, PortError> {
        let names = &mut self.records().names;
        if names.get(name) != expected.as_ref() {
            return Ok(false);
        }
        match entry {
            Some(entry) => drop(names.insert(name.to_owned(), entry)),
            None => drop(names.remove(name)),
        }
        Ok(true)
    }

    async fn names(&self) -> Result<Vec<(String, Bytes)>, PortError> {
        Ok(self.records().names.clone().into_iter().collect())
    }

    fn shares(&self) -> bool {
        true
    }

    async fn digest(&self, tenant: TenantId) -> Result<Option<Bytes>, PortError> {
        Ok(self.tenant(tenant, |records| records.digest.clone()))
    }

    async fn swap_digest(
        &self,
        tenant: TenantId,
        expected: Option<Bytes>,
        record: Bytes,
        _: u64,
    ) -> Result<bool, PortError> {
        Ok(self.tenant(tenant, |records| {
            let same = records.digest == expected;
            if same {
                records.digest = Some(record);
            }
            same
        }))
    }

    async fn ping(&self) -> Result<(), PortError> {
        Ok(())
    }
}
