//! Identifiers. All are made by the gateway; ids that clients send are only looked up.

use std::fmt;

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A tenant's id, a random UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Uuid);

impl TenantId {
    /// Nobody's.
    pub const NIL: Self = Self(Uuid::nil());

    /// From 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(random_uuid(bytes))
    }

    /// As it is stored, in any spelling of a UUID.
    pub(crate) fn stored(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }

    /// The UUID's 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Accepts the lower-case hyphenated form only, so that one tenant has one spelling.
    pub fn parse(text: &str) -> Option<Self> {
        let id = Uuid::try_parse(text).ok()?;
        let mut buffer = Uuid::encode_buffer();
        (id.hyphenated().encode_lower(&mut buffer) == text).then_some(Self(id))
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// A version 4 UUID from random bytes (RFC 9562 section 5.4).
pub fn random_uuid(bytes: [u8; 16]) -> Uuid {
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// SHA-256 of a whole bearer key; the only form in which keys are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of `key`.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// From its hexadecimal form.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let digits: &[u8; 64] = hex.as_bytes().try_into().ok()?;
        let mut out = [0_u8; 32];
        for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
            let text = std::str::from_utf8(pair).ok().filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()))?;
            *byte = u8::from_str_radix(text, 16).ok()?;
        }
        Some(Self(out))
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for KeyHash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_id_has_one_spelling() {
        let id = TenantId::from_random([0xab; 16]);
        let text = id.to_string();
        assert_eq!(TenantId::parse(&text), Some(id));
        for bad in [text.to_uppercase(), text.replace('-', ""), format!("{{{text}}}"), format!("{text} ")] {
            assert_eq!(TenantId::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_key_hash_survives_its_text_form() {
        let hash = KeyHash::of("mg.a.b.c");
        assert_eq!(KeyHash::from_hex(&hash.to_string()), Some(hash));
        for bad in ["", "zz", &"g".repeat(64), &"+1".repeat(32), &"a".repeat(63)] {
            assert_eq!(KeyHash::from_hex(bad), None, "{bad}");
        }
    }
}
