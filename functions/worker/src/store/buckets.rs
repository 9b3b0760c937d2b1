//! The [`Buckets`] port: one object per tenant.

use bytes::Bytes;
use gateway_core::model::TenantId;
use gateway_core::ports::{Buckets, PortError};

use super::{Object, Objects, corrupt};
use crate::wire::{Message, Verb};

impl Buckets for Objects {
    async fn ask(&self, tenant: TenantId, question: Bytes, _: u64) -> Result<Bytes, PortError> {
        const NAME: &str = "buckets.ask";
        let message = Message::new(Verb::AskBuckets).bytes(Some(&question)).into_bytes();
        let mut fields = self.ask(NAME, Object::Limits(tenant), message).await?;
        fields.bytes().ok_or_else(|| corrupt(NAME))
    }
}
