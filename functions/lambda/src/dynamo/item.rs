//! Keys and items of the table.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use gateway_core::model::{KeyHash, TenantId};
use gateway_core::ports::HeadRecord;

pub(super) const HEAD: &str = "HEAD";
pub(super) const LIMITS: &str = "LIMITS";
pub(super) const KEY: &str = "KEY#";
pub(super) const SECRET: &str = "SECRET#";
pub(super) const NAME: &str = "NAME#";
pub(super) const REGISTRY: &str = "REGISTRY";

/// The partition of a tenant.
pub(super) fn partition(tenant: TenantId) -> String {
    format!("TENANT#{tenant}")
}

/// Where an item is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pk: String,
    sk: String,
}

impl Place {
    pub(super) fn head(tenant: TenantId) -> Self {
        Self { pk: partition(tenant), sk: HEAD.to_owned() }
    }

    /// The buckets of a tenant's rate limits.
    pub(super) fn limits(tenant: TenantId) -> Self {
        Self { pk: partition(tenant), sk: LIMITS.to_owned() }
    }

    pub(super) fn key_record(tenant: TenantId, hash: KeyHash) -> Self {
        Self { pk: partition(tenant), sk: format!("{KEY}{hash}") }
    }

    pub(super) fn secret(tenant: TenantId, id: &str) -> Self {
        Self { pk: partition(tenant), sk: format!("{SECRET}{id}") }
    }

    pub(super) fn digest(tenant: TenantId) -> Self {
        Self { pk: partition(tenant), sk: "DIGEST".to_owned() }
    }

    pub(super) fn name(name: &str) -> Self {
        Self { pk: REGISTRY.to_owned(), sk: format!("{NAME}{name}") }
    }

    /// In a partition of the ledger.
    pub(super) fn usage(pk: String, sk: String) -> Self {
        Self { pk, sk }
    }

    pub(super) fn key(&self) -> HashMap<String, AttributeValue> {
        [("pk", &self.pk), ("sk", &self.sk)]
            .map(|(name, value)| (name.to_owned(), AttributeValue::S(value.clone())))
            .into()
    }
}

/// An item as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Item(HashMap<String, AttributeValue>);

impl Item {
    pub(super) fn new(attributes: HashMap<String, AttributeValue>) -> Self {
        Self(attributes)
    }

    pub(super) fn record(place: &Place, data: &[u8]) -> Self {
        let mut attributes = place.key();
        attributes.insert("data".to_owned(), AttributeValue::B(Blob::new(data)));
        Self(attributes)
    }

    /// A record that DynamoDB may remove from a time on, in seconds since the epoch.
    pub(super) fn ending(place: &Place, data: &[u8], ends: u64) -> Self {
        let mut item = Self::record(place, data);
        item.0.insert("ttl".to_owned(), AttributeValue::N(ends.to_string()));
        item
    }

    /// A head with the id of the write that puts it there.
    pub(super) fn head(place: &Place, head: &HeadRecord) -> Self {
        let mut item = Self::record(place, &head.bytes);
        let mut id = [0; 16];
        gateway_native::fill_random(&mut id);
        item.0.insert("version".to_owned(), AttributeValue::N(head.version.to_string()));
        item.0.insert("write".to_owned(), AttributeValue::S(format!("{:032x}", u128::from_be_bytes(id))));
        item
    }

    pub(super) fn attributes(&self) -> HashMap<String, AttributeValue> {
        self.0.clone()
    }

    pub(super) fn sk(&self) -> Option<&str> {
        self.0.get("sk")?.as_s().ok().map(String::as_str)
    }

    pub(super) fn is_head(&self) -> bool {
        self.sk() == Some(HEAD)
    }

    pub(super) fn version(&self) -> Option<u64> {
        self.0.get("version")?.as_n().ok()?.parse().ok()
    }

    pub(super) fn data(&self) -> Option<Bytes> {
        self.0.get("data")?.as_b().ok().map(|blob| Bytes::copy_from_slice(blob.as_ref()))
    }

    /// Whether `other` was put by the same write: by its id where there is one, else by what it wrote.
    pub(super) fn same_write(&self, other: &Self) -> bool {
        match (self.0.get("write"), other.0.get("write")) {
            (None, None) => self.data() == other.data(),
            (ours, theirs) => ours == theirs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_writes_of_the_same_head_are_told_apart() {
        let place = Place::head(TenantId::from_random([1; 16]));
        let head = HeadRecord { version: 3, bytes: Bytes::from_static(b"{}") };
        let (a, b) = (Item::head(&place, &head), Item::head(&place, &head));
        assert!(a.same_write(&a.clone()));
        assert!(!a.same_write(&b));
        assert!(!a.same_write(&Item::record(&place, b"{}")));
        assert_eq!((a.version(), a.data()), (Some(3), Some(head.bytes)));
    }

    #[test]
    fn two_registry_entries_are_told_apart_by_their_bytes() {
        let place = Place::name("acme");
        let entry = |bytes: &[u8]| Item::record(&place, bytes);
        assert!(entry(b"a").same_write(&entry(b"a")));
        assert!(!entry(b"a").same_write(&entry(b"b")));
    }

    #[test]
    fn items_that_are_not_ours_have_no_values() {
        let item = Item::new([("data".to_owned(), AttributeValue::S("text".to_owned()))].into());
        assert_eq!((item.data(), item.version(), item.sk()), (None, None, None));
    }
}
