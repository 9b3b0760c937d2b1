//! A tenant as published to KV: its head, key records and sealed secrets in one document.

use bytes::Bytes;
use gateway_core::ports::HeadRecord;

use crate::wire::{Fields, Message};

/// The published state of one tenant.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Copy {
    /// Grows with every change of the tenant: of two copies the larger is the newer.
    pub(crate) sequence: u64,
    /// The head, if the tenant has not been deleted.
    pub(crate) head: Option<HeadRecord>,
    /// Key records by hash.
    pub(crate) keys: Vec<(Bytes, Bytes)>,
    /// Secret records by id.
    pub(crate) secrets: Vec<(Bytes, Bytes)>,
}

impl Copy {
    /// KV takes 25 MiB; a larger copy is not published.
    pub(crate) const MOST_BYTES: usize = 20 << 20;
    const SCHEMA: u64 = 1;

    /// The KV key of a tenant's copy.
    pub(crate) fn name(tenant: &str) -> String {
        format!("tenant:{tenant}")
    }

    /// A tenant that is no more.
    pub(crate) fn is_tombstone(&self) -> bool {
        self.head.is_none() && self.keys.is_empty() && self.secrets.is_empty()
    }

    /// The document.
    pub(crate) fn encode(&self) -> Bytes {
        let message = Message::default()
            .number(Some(Self::SCHEMA))
            .number(Some(self.sequence))
            .number(self.head.as_ref().map(|head| head.version))
            .bytes(self.head.as_ref().map(|head| head.bytes.as_ref()))
            .number(u64::try_from(self.keys.len()).ok());
        let pairs = self.keys.iter().chain(&self.secrets);
        pairs.fold(message, |message, (name, record)| message.bytes(Some(name)).bytes(Some(record))).into_bytes()
    }

    /// From the document; `None` if it is of another schema or damaged.
    pub(crate) fn decode(bytes: Bytes) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        if fields.number()? != Some(Self::SCHEMA) {
            return None;
        }
        let sequence = fields.number()??;
        let head = match (fields.number()?, fields.next()?) {
            (Some(version), Some(bytes)) => Some(HeadRecord { version, bytes }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return None,
        };
        let count = usize::try_from(fields.number()??).ok()?;
        let mut keys = fields.pairs()?;
        if keys.len() < count {
            return None;
        }
        let secrets = keys.split_off(count);
        Some(Self { sequence, head, keys, secrets })
    }

    /// The record of the key with that hash.
    pub(crate) fn key(&self, hash: &[u8]) -> Option<Bytes> {
        find(&self.keys, hash)
    }

    /// The secret record of that id.
    pub(crate) fn secret(&self, id: &str) -> Option<Bytes> {
        find(&self.secrets, id.as_bytes())
    }
}

fn find(pairs: &[(Bytes, Bytes)], name: &[u8]) -> Option<Bytes> {
    pairs.iter().find(|(of, _)| of.as_ref() == name).map(|(_, record)| record.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Copy {
        let pair = |name: &'static [u8], record: &'static [u8]| (Bytes::from_static(name), Bytes::from_static(record));
        Copy {
            sequence: 7,
            head: Some(HeadRecord { version: 3, bytes: Bytes::from_static(b"head") }),
            keys: vec![pair(b"k1", b"one"), pair(b"k2", b"two")],
            secrets: vec![pair(b"s1", b"")],
        }
    }

    #[test]
    fn a_copy_comes_back_as_it_was_written() {
        for copy in [sample(), Copy { sequence: 9, ..Copy::default() }] {
            assert_eq!(Copy::decode(copy.encode()), Some(copy));
        }
        assert_eq!(sample().key(b"k2"), Some(Bytes::from_static(b"two")));
        assert_eq!(sample().secret("s1"), Some(Bytes::new()));
        assert_eq!(sample().secret("s2"), None);
    }

    #[test]
    fn a_cut_copy_is_no_copy() {
        let whole = sample().encode();
        let cut = (0..whole.len()).filter(|end| Copy::decode(whole.slice(..*end)).is_some());
        // Only a cut between two secrets leaves something that reads well; KV gives values whole.
        assert_eq!(cut.count(), 1);
    }
}
