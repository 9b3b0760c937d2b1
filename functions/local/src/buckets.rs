//! The buckets of rate limits in this process's memory: after a restart all are full.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use gateway_core::bucket;
use gateway_core::model::TenantId;
use gateway_core::ports::{Buckets, Fault, PortError};

/// One record per tenant that has used a limit.
#[derive(Debug, Default)]
pub struct ProcessBuckets(Mutex<HashMap<TenantId, Bytes>>);

impl Buckets for ProcessBuckets {
    async fn ask(&self, tenant: TenantId, question: Bytes, now_ms: u64) -> Result<Bytes, PortError> {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answered = bucket::answer(records.get(&tenant).map(AsRef::as_ref), &question, now_ms)
            .ok_or_else(|| PortError::new("buckets.ask", Fault::Corrupt, "question"))?;
        match answered.record {
            Some(record) if record.is_empty() => drop(records.remove(&tenant)),
            Some(record) => drop(records.insert(tenant, record)),
            None => {}
        }
        Ok(answered.answer)
    }
}
