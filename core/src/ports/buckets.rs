//! The port of rate limits' buckets: one record of bytes per tenant, and questions to it. What stands in them is made and
//! read in core (`account/bucket`).

use bytes::Bytes;

use super::PortError;
use crate::model::TenantId;

/// Where a tenant's buckets are kept, for all isolates and processes of the deployment; `tests/ports` is the contract.
pub trait Buckets {
    /// Gives the tenant's record and the question to [`crate::bucket::answer`], keeps the record that comes back, if one
    /// does, and hands over the answer. Linearizable: questions of one tenant come one after the other, each with the record
    /// that the one before left. `now_ms` is the asker's clock, for keepers without one of their own.
    ///
    /// When it fails, the question may have been answered all the same. A question that cannot be understood, or a record,
    /// is [`super::Fault::Corrupt`].
    async fn ask(&self, tenant: TenantId, question: Bytes, now_ms: u64) -> Result<Bytes, PortError>;
}
