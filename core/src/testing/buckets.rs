//! Buckets in memory, with a switch that makes them fail.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::account::bucket;
use crate::model::TenantId;
use crate::ports::{Buckets, Fault, PortError};

/// [`Buckets`] that forget everything when dropped.
#[derive(Default)]
pub struct MemoryBuckets {
    records: Mutex<HashMap<TenantId, Bytes>>,
    down: AtomicBool,
    asked: AtomicU32,
}

impl MemoryBuckets {
    /// Makes every call fail, or work again.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// Questions so far.
    pub fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }

    /// A tenant's record.
    pub fn record(&self, tenant: TenantId) -> Option<Bytes> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).get(&tenant).cloned()
    }
}

impl Buckets for MemoryBuckets {
    async fn ask(&self, tenant: TenantId, question: Bytes, now_ms: u64) -> Result<Bytes, PortError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) {
            return Err(PortError::new("buckets.ask", Fault::Unavailable, "down"));
        }
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let answered = bucket::answer(records.get(&tenant).map(AsRef::as_ref), &question, now_ms)
            .ok_or_else(|| PortError::new("buckets.ask", Fault::Corrupt, "record"))?;
        match answered.record {
            Some(record) if record.is_empty() => drop(records.remove(&tenant)),
            Some(record) => drop(records.insert(tenant, record)),
            None => {}
        }
        Ok(answered.answer)
    }
}
