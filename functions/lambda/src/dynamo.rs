//! The store on DynamoDB: one table, every write conditional where it must be, every read that decides consistent.
//!
//! | pk | sk | attributes |
//! |---|---|---|
//! | `TENANT#<id>` | `HEAD` | `version` N, `data` B, `write` S |
//! | `TENANT#<id>` | `KEY#<hash in hex>` | `data` B |
//! | `TENANT#<id>` | `SECRET#<id>` | `data` B |
//! | `TENANT#<id>` | `DIGEST` | `data` B, `ttl` N |
//! | `TENANT#<id>` | `LIMITS` | `version` N, `data` B, `write` S |
//! | `REGISTRY` | `NAME#<name>` | `data` B |
//! | `USAGE#<id>#<day>#<book>` | place of a row | `data` B, `ttl` N |
//! | `USAGE#<id>#SUMS#<book>` | place of sums | `data` B, `ttl` N |
//! | `USAGE#<id>#SUMS#<book>` | `MARK` | `data` B: digits |
//!
//! `write` is the random id of the swap that wrote the head: when the answer to a conditional write is lost, it tells
//! whether the write that won was this one.

mod buckets;
mod item;
mod ledger;
mod write;

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use bytes::Bytes;
use gateway_core::model::{KeyHash, TenantId};
use gateway_core::ports::{Fault, HeadRecord, HeadState, Loaded, PortError, Store, Swap};

use crate::account::Account;
use crate::fault::{self, Failed};
use buckets::Queues;
use item::{Item, Place};
use write::Condition;

/// The store. Clones share the client.
#[derive(Clone, Debug)]
pub struct DynamoStore {
    account: Arc<Account>,
    table: Arc<str>,
    queues: Arc<Queues>,
}

impl DynamoStore {
    /// The store in `table` of `account`. Does nothing yet.
    pub fn new(account: Arc<Account>, table: &str) -> Self {
        Self { account, table: table.into(), queues: Arc::default() }
    }

    fn client(&self) -> &Client {
        self.account.dynamo()
    }

    /// Several items of one tenant in one round trip; what the service left over is asked for again. A failure is not
    /// repeated: core does that for the one operation that needs this.
    async fn get_all(&self, operation: &'static str, places: &[Place]) -> Result<Vec<Item>, PortError> {
        let keys = places.iter().map(Place::key).collect();
        let wanted = KeysAndAttributes::builder().consistent_read(true).set_keys(Some(keys)).build();
        let mut wanted = wanted.map_err(|_| PortError::new(operation, Fault::Corrupt, "request"))?;
        let mut items = Vec::with_capacity(places.len());
        for tried in 0..BATCH_TRIES {
            let request = self.client().batch_get_item().request_items(self.table.as_ref(), wanted.clone());
            match request.send().await {
                Ok(mut answer) => {
                    let found = answer.responses.as_mut().and_then(|tables| tables.remove(self.table.as_ref()));
                    items.extend(found.unwrap_or_default().into_iter().map(Item::new));
                    let left = answer.unprocessed_keys.and_then(|mut tables| tables.remove(self.table.as_ref()));
                    match left.filter(|left| !left.keys.is_empty()) {
                        None => return Ok(items),
                        Some(left) => wanted = left,
                    }
                }
                Err(error) => return Err(table_fault(Failed::of(&error)).into_error(operation)),
            }
            fault::pause(tried).await;
        }
        Err(PortError::new(operation, Fault::Throttled, "unprocessed_keys"))
    }

    async fn get(&self, operation: &'static str, place: &Place) -> Result<Option<Item>, PortError> {
        let mut tried = 0;
        loop {
            let request = self.client().get_item().table_name(self.table.as_ref()).consistent_read(true);
            match request.set_key(Some(place.key())).send().await {
                Ok(answer) => return Ok(answer.item.map(Item::new)),
                Err(error) => self.again(operation, Failed::of(&error), &mut tried, READ_TRIES).await?,
            }
        }
    }

    /// All items of a partition whose sort key begins with `prefix`, page by page.
    async fn list(&self, operation: &'static str, pk: &str, prefix: &str) -> Result<Vec<(String, Bytes)>, PortError> {
        let mut entries = Vec::new();
        let mut from: Option<HashMap<String, AttributeValue>> = None;
        let mut tried = 0;
        loop {
            let request = self
                .client()
                .query()
                .table_name(self.table.as_ref())
                .consistent_read(true)
                .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
                .expression_attribute_values(":pk", AttributeValue::S(pk.to_owned()))
                .expression_attribute_values(":prefix", AttributeValue::S(prefix.to_owned()))
                .set_exclusive_start_key(from.clone());
            let page = match request.send().await {
                Ok(page) => page,
                Err(error) => {
                    self.again(operation, Failed::of(&error), &mut tried, READ_TRIES).await?;
                    continue;
                }
            };
            tried = 0;
            for item in page.items.unwrap_or_default().into_iter().map(Item::new) {
                let name = item.sk().and_then(|sk| sk.strip_prefix(prefix)).map(str::to_owned);
                let Some((name, data)) = name.zip(item.data()) else { return Err(corrupt(operation)) };
                entries.push((name, data));
            }
            match page.last_evaluated_key.filter(|key| !key.is_empty()) {
                None => return Ok(entries),
                Some(key) => from = Some(key),
            }
        }
    }

    /// Waits if the call may be tried again, else gives its error.
    async fn again(
        &self,
        operation: &'static str,
        failed: Failed,
        tried: &mut u32,
        most: u32,
    ) -> Result<(), PortError> {
        *tried += 1;
        if !failed.passing() || *tried >= most {
            return Err(table_fault(failed).into_error(operation));
        }
        fault::pause(*tried - 1).await;
        Ok(())
    }
}

impl Store for DynamoStore {
    async fn load(&self, tenant: TenantId, key: Option<KeyHash>, known: Option<u64>) -> Result<Loaded, PortError> {
        const OPERATION: &str = "store.load";
        let mut places = vec![Place::head(tenant)];
        places.extend(key.map(|hash| Place::key_record(tenant, hash)));
        let mut loaded = Loaded { head: HeadState::Absent, key: None, stale: false };
        for item in self.get_all(OPERATION, &places).await? {
            if item.is_head() {
                let (Some(version), Some(bytes)) = (item.version(), item.data()) else {
                    return Err(corrupt(OPERATION));
                };
                loaded.head = if Some(version) == known {
                    HeadState::Unchanged
                } else {
                    HeadState::Current(HeadRecord { version, bytes })
                };
            } else {
                loaded.key = Some(item.data().ok_or_else(|| corrupt(OPERATION))?);
            }
        }
        Ok(loaded)
    }

    async fn swap(&self, tenant: TenantId, expected: Option<u64>, head: Option<HeadRecord>) -> Result<Swap, PortError> {
        let place = Place::head(tenant);
        let condition = expected.map_or(Condition::Absent, Condition::Version);
        let new = head.map(|head| Item::head(&place, &head));
        let done = self.write_if("store.swap", &place, &condition, new).await?;
        Ok(if done { Swap::Done } else { Swap::Lost })
    }

    async fn put_key(&self, tenant: TenantId, key: KeyHash, record: Bytes) -> Result<(), PortError> {
        self.put("store.put_key", &Place::key_record(tenant, key), &record).await
    }

    async fn delete_key(&self, tenant: TenantId, key: KeyHash) -> Result<bool, PortError> {
        self.delete("store.delete_key", &Place::key_record(tenant, key)).await
    }

    async fn keys(&self, tenant: TenantId) -> Result<Vec<(KeyHash, Bytes)>, PortError> {
        const OPERATION: &str = "store.keys";
        let entries = self.list(OPERATION, &item::partition(tenant), item::KEY).await?;
        let parsed = entries.into_iter().map(|(hash, record)| Some((KeyHash::from_hex(&hash)?, record)));
        parsed.collect::<Option<_>>().ok_or_else(|| corrupt(OPERATION))
    }

    async fn put_secret(&self, tenant: TenantId, id: &str, record: Bytes) -> Result<(), PortError> {
        self.put("store.put_secret", &Place::secret(tenant, id), &record).await
    }

    async fn secret(&self, tenant: TenantId, id: &str) -> Result<Option<Bytes>, PortError> {
        const OPERATION: &str = "store.secret";
        let found = self.get(OPERATION, &Place::secret(tenant, id)).await?;
        found.map(|item| item.data().ok_or_else(|| corrupt(OPERATION))).transpose()
    }

    async fn delete_secret(&self, tenant: TenantId, id: &str) -> Result<(), PortError> {
        self.delete("store.delete_secret", &Place::secret(tenant, id)).await.map(drop)
    }

    async fn secrets(&self, tenant: TenantId) -> Result<Vec<(String, Bytes)>, PortError> {
        self.list("store.secrets", &item::partition(tenant), item::SECRET).await
    }

    async fn name(&self, name: &str) -> Result<Option<Bytes>, PortError> {
        const OPERATION: &str = "store.name";
        let found = self.get(OPERATION, &Place::name(name)).await?;
        found.map(|item| item.data().ok_or_else(|| corrupt(OPERATION))).transpose()
    }

    async fn swap_name(&self, name: &str, expected: Option<Bytes>, entry: Option<Bytes>) -> Result<bool, PortError> {
        let place = Place::name(name);
        let condition = expected.map_or(Condition::Absent, Condition::Data);
        let new = entry.map(|entry| Item::record(&place, &entry));
        self.write_if("store.swap_name", &place, &condition, new).await
    }

    async fn names(&self) -> Result<Vec<(String, Bytes)>, PortError> {
        self.list("store.names", item::REGISTRY, item::NAME).await
    }

    fn shares(&self) -> bool {
        true
    }

    async fn digest(&self, tenant: TenantId) -> Result<Option<Bytes>, PortError> {
        const OPERATION: &str = "store.digest";
        let found = self.get(OPERATION, &Place::digest(tenant)).await?;
        found.map(|item| item.data().ok_or_else(|| corrupt(OPERATION))).transpose()
    }

    async fn swap_digest(
        &self,
        tenant: TenantId,
        expected: Option<Bytes>,
        record: Bytes,
        ends: u64,
    ) -> Result<bool, PortError> {
        let place = Place::digest(tenant);
        let condition = expected.map_or(Condition::Absent, Condition::Data);
        self.write_if("store.swap_digest", &place, &condition, Some(Item::ending(&place, &record, ends))).await
    }

    async fn ping(&self) -> Result<(), PortError> {
        self.get("store.ping", &Place::name("")).await.map(drop)
    }
}

/// A missing table is a broken deployment, not a missing record.
fn table_fault(failed: Failed) -> Failed {
    match failed.fault {
        Fault::Missing => Failed { fault: Fault::Denied, ..failed },
        _ => failed,
    }
}

fn corrupt(operation: &'static str) -> PortError {
    PortError::new(operation, Fault::Corrupt, "item")
}

/// The data path waits for these: one repetition.
const READ_TRIES: u32 = 2;
/// Rounds for what a batch leaves over.
const BATCH_TRIES: u32 = 4;

#[cfg(test)]
mod tests;
