//! Secrets at rest: an envelope of ChaCha20-Poly1305 under a key of the deployment.
//!
//! The text is `v1.<key id>.<nonce>.<ciphertext>`, the last two in base64url. Version, key id, tenant and id are
//! bound as associated data, so that an envelope opens only in the place that it was sealed for.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::Secret;

const VERSION: &str = "v1";
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

/// The deployment's sealing keys: the current one, and the previous one while it is being replaced.
#[derive(Clone)]
pub struct SealingKeys {
    current: SealingKey,
    previous: Option<SealingKey>,
}

/// A sealing key of the configuration cannot be used. Never carries the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealing key must be 32 random bytes in base64; make one with `openssl rand -base64 32`")]
pub struct BadKey;

/// Why an envelope was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Sealed under a key that the deployment does not have (any more).
    #[error("sealed under a key that is not configured")]
    UnknownKey,
    /// Damaged, not an envelope, or sealed for another tenant or id.
    #[error("the sealed value is damaged or belongs elsewhere")]
    Broken,
}

impl SealingKeys {
    /// Reads the keys from base64 of 32 bytes each.
    pub fn parse(current: &str, previous: Option<&str>) -> Result<Self, BadKey> {
        Ok(Self { current: SealingKey::parse(current)?, previous: previous.map(SealingKey::parse).transpose()? })
    }

    /// Seals a value for one place.
    ///
    /// `nonce` must be fresh random bytes: 96 random bits are safe for fewer than 2^32 envelopes under one key,
    /// far more than a deployment ever writes.
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], tenant: &str, id: &str, plain: &str) -> String {
        let key = &self.current;
        let payload = Payload { msg: plain.as_bytes(), aad: &place(&key.id, tenant, id) };
        #[expect(clippy::expect_used, reason = "fails only beyond 256 GiB")]
        let ciphertext = key.cipher().encrypt(Nonce::from_slice(&nonce), payload).expect("a short text");
        format!("{VERSION}.{}.{}.{}", key.id, URL_SAFE_NO_PAD.encode(nonce), URL_SAFE_NO_PAD.encode(ciphertext))
    }

    /// Opens what [`SealingKeys::seal`] made for the same tenant and id, under the current or the previous key.
    pub fn open(&self, tenant: &str, id: &str, sealed: &str) -> Result<Secret, SealError> {
        let envelope = Envelope::parse(sealed).ok_or(SealError::Broken)?;
        let key = self.all().find(|key| key.id == envelope.key_id).ok_or(SealError::UnknownKey)?;
        let payload = Payload { msg: &envelope.ciphertext, aad: &place(&key.id, tenant, id) };
        let plain = key.cipher().decrypt(Nonce::from_slice(&envelope.nonce), payload).map_err(|_| SealError::Broken)?;
        String::from_utf8(plain).map(Secret::new).map_err(|_| SealError::Broken)
    }

    /// Whether an envelope was sealed under another key than the current one and should be sealed anew.
    pub fn outdated(&self, sealed: &str) -> bool {
        Envelope::parse(sealed).is_some_and(|envelope| envelope.key_id != self.current.id)
    }

    /// Keys for another purpose, derived by HMAC-SHA-256: of the current sealing key first, then of the previous.
    pub fn derive(&self, purpose: &str) -> Vec<[u8; KEY_BYTES]> {
        self.all().map(|key| key.derive(purpose)).collect()
    }

    fn all(&self) -> impl Iterator<Item = &SealingKey> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

impl std::fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.all().map(|key| &key.id)).finish()
    }
}

#[derive(Clone)]
struct SealingKey {
    id: String,
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

impl SealingKey {
    fn parse(text: &str) -> Result<Self, BadKey> {
        let decoded = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| BadKey)?);
        let bytes: [u8; KEY_BYTES] = decoded.as_slice().try_into().map_err(|_| BadKey)?;
        let bytes = Zeroizing::new(bytes);
        let digest = Sha256::new().chain_update("model-gateway key id").chain_update(bytes.as_slice()).finalize();
        let id = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { id, bytes })
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(Key::from_slice(self.bytes.as_slice()))
    }

    fn derive(&self, purpose: &str) -> [u8; KEY_BYTES] {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(self.bytes.as_slice()).expect("any key length");
        mac.update(b"model-gateway derive ");
        mac.update(purpose.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// The parts of a sealed text.
struct Envelope<'a> {
    key_id: &'a str,
    nonce: [u8; NONCE_BYTES],
    ciphertext: Vec<u8>,
}

impl<'a> Envelope<'a> {
    fn parse(sealed: &'a str) -> Option<Self> {
        let mut parts = sealed.split('.');
        let (version, key_id) = (parts.next()?, parts.next()?);
        let nonce = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?.try_into().ok()?;
        let ciphertext = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
        (version == VERSION && parts.next().is_none()).then_some(Self { key_id, nonce, ciphertext })
    }
}

/// The associated data: every part with its length before it, so that no two places give the same bytes.
fn place(key_id: &str, tenant: &str, id: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in [VERSION, key_id, tenant, id] {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; NONCE_BYTES] = [7; NONCE_BYTES];

    #[test]
    fn what_is_sealed_opens_in_its_place_alone() {
        let keys = keys(&[1]);
        for plain in ["", "k", "canary", "ключ \n\u{10ffff}", &"x".repeat(100_000)] {
            let sealed = keys.seal(NONCE, "tenant", "id", plain);
            assert!(!sealed.contains("canary"));
            assert!(sealed.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
            assert_eq!(opened(&keys, "tenant", "id", &sealed).as_deref(), Ok(plain));
            for (tenant, id) in [
                ("tenant", "other"),
                ("other", "id"),
                ("id", "tenant"),
                ("tenanti", "d"),
                ("tenan", "tid"),
                ("", "tenantid"),
                ("Tenant", "id"),
            ] {
                assert_eq!(opened(&keys, tenant, id, &sealed), Err(SealError::Broken), "{tenant} {id}");
            }
        }
    }

    #[test]
    fn no_changed_byte_opens() {
        let keys = keys(&[1]);
        let sealed = keys.seal(NONCE, "tenant", "id", "canary");
        for at in 0..sealed.len() {
            for changed in ["A", "B", "0", "f", "_", "-", ".", "=", "", "  ", "é"] {
                let text = format!("{}{changed}{}", &sealed[..at], &sealed[at + 1..]);
                assert!(text == sealed || opened(&keys, "tenant", "id", &text).is_err(), "{text}");
            }
            assert!(opened(&keys, "tenant", "id", &sealed[..at]).is_err(), "{at}");
        }
        let raw = URL_SAFE_NO_PAD.decode(sealed.rsplit('.').next().unwrap_or_default()).expect("base64");
        let head = sealed.rsplit_once('.').expect("parts").0;
        for bit in 0..raw.len() * 8 {
            let mut flipped = raw.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let text = format!("{head}.{}", URL_SAFE_NO_PAD.encode(flipped));
            assert_eq!(opened(&keys, "tenant", "id", &text), Err(SealError::Broken), "{bit}");
        }
        for text in ["", ".", "...", "v1", "v1...", "v1.....", "v2", &format!("{sealed}."), &format!(" {sealed}")] {
            assert!(opened(&keys, "tenant", "id", text).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_are_replaced_in_two_steps() {
        let (old, both, new) = (keys(&[1]), keys(&[2, 1]), keys(&[2]));
        let before = old.seal(NONCE, "tenant", "id", "canary");
        let after = both.seal(NONCE, "tenant", "id", "canary");
        assert_eq!(opened(&both, "tenant", "id", &before).as_deref(), Ok("canary"));
        assert_eq!(opened(&both, "tenant", "id", &after).as_deref(), Ok("canary"));
        assert_eq!(opened(&new, "tenant", "id", &after).as_deref(), Ok("canary"));
        assert_eq!(opened(&new, "tenant", "id", &before), Err(SealError::UnknownKey));
        assert_eq!(opened(&old, "tenant", "id", &after), Err(SealError::UnknownKey));
        assert!(both.outdated(&before));
        assert!(!both.outdated(&after));
        // The key id is bound: naming the other key does not help.
        let renamed = before.replace(&old.current.id, &new.current.id);
        assert_eq!(opened(&both, "tenant", "id", &renamed), Err(SealError::Broken));
    }

    #[test]
    fn derived_keys_differ_by_purpose_and_key() {
        let both = keys(&[2, 1]).derive("tag");
        assert_eq!(both, [keys(&[2]).derive("tag"), keys(&[1]).derive("tag")].concat());
        assert_ne!(both[0], both[1]);
        assert_ne!(keys(&[1]).derive("tag"), keys(&[1]).derive("tags"));
        assert_ne!(both[0], [2; KEY_BYTES]);
    }

    /// Sealed values of a running deployment must open after every update.
    #[test]
    fn the_format_stays() {
        let keys = keys(&[1]);
        let sealed = SEALED_BEFORE;
        assert_eq!(keys.seal(NONCE, "tenant", "id", "canary"), sealed);
        assert_eq!(opened(&keys, "tenant", "id", sealed).as_deref(), Ok("canary"));
    }

    #[test]
    fn only_32_bytes_of_base64_are_a_key() {
        let good = STANDARD.encode([1; KEY_BYTES]);
        assert!(SealingKeys::parse(&format!("{good}\n"), None).is_ok());
        for bad in
            ["", "canary", &"A".repeat(43), &STANDARD.encode([1; 31]), &STANDARD.encode([1; 33]), &"0".repeat(64)]
        {
            assert_eq!(SealingKeys::parse(bad, None).err(), Some(BadKey), "{bad}");
            assert_eq!(SealingKeys::parse(&good, Some(bad)).err(), Some(BadKey), "{bad}");
        }
        let shown = format!("{:?}", keys(&[1, 2]));
        assert!(!shown.contains("1, 1") && shown.len() < 30, "{shown}");
    }

    fn keys(fill: &[u8]) -> SealingKeys {
        let texts: Vec<_> = fill.iter().map(|byte| STANDARD.encode([*byte; KEY_BYTES])).collect();
        SealingKeys::parse(&texts[0], texts.get(1).map(String::as_str)).expect("keys")
    }

    fn opened(keys: &SealingKeys, tenant: &str, id: &str, sealed: &str) -> Result<String, SealError> {
        keys.open(tenant, id, sealed).map(|secret| secret.open().to_owned())
    }

    const SEALED_BEFORE: &str = "v1.d59137ed.BwcHBwcHBwcHBwcH.zzHZph-23CyhfWieYB7i0XqK0w_XdQ";
}
