//! Secrets at rest: an envelope of ChaCha20-Poly1305. A value is encrypted under a data key of its own, and that key is
//! wrapped under a key of the deployment, so that replacing the deployment's key rewrites no value.
//!
//! The text is `v2.<key id>.<nonce>.<wrapped data key>.<ciphertext>`, the last three in base64url; the nonce is that of
//! the wrapping. Version, key id, tenant and id are bound as associated data, so that an envelope opens only in the place
//! that it was sealed for. `v1.<key id>.<nonce>.<ciphertext>`, without a data key, is read too.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::Secret;

/// Directly under the deployment's key.
const V1: &str = "v1";
/// Under a data key.
const V2: &str = "v2";
/// The wrapping of a data key, bound so that it cannot pass for a value.
const V2_KEY: &str = "v2 key";
/// A data key encrypts one value in its life, so the nonce can be the same for all.
const ONLY: [u8; NONCE_BYTES] = [0; NONCE_BYTES];
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
    /// `random` must be fresh random bytes: a data key and the nonce of its wrapping. 96 random bits are safe for fewer
    /// than 2^32 envelopes under one key, far more than a deployment ever writes.
    pub fn seal(&self, random: [u8; KEY_BYTES + NONCE_BYTES], tenant: &str, id: &str, plain: &str) -> String {
        let (data_key, nonce) = parts(&Zeroizing::new(random));
        let ciphertext = encrypt(&data_key, &ONLY, &place([V2, "", tenant, id]), plain.as_bytes());
        self.wrapped(&data_key, &nonce, tenant, id, &URL_SAFE_NO_PAD.encode(ciphertext))
    }

    fn wrapped(
        &self,
        data_key: &[u8; KEY_BYTES],
        nonce: &[u8; NONCE_BYTES],
        tenant: &str,
        id: &str,
        ciphertext: &str,
    ) -> String {
        let key = &self.current;
        let wrapped = encrypt(&key.bytes, nonce, &place([V2_KEY, &key.id, tenant, id]), data_key);
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        [V2, &key.id, &text(nonce), &text(&wrapped), ciphertext].join(".")
    }

    /// Opens what [`SealingKeys::seal`] made for the same tenant and id, under the current or the previous key.
    pub fn open(&self, tenant: &str, id: &str, sealed: &str) -> Result<Secret, SealError> {
        let envelope = Envelope::parse(sealed).ok_or(SealError::Broken)?;
        let plain = match envelope.wrapped {
            None => {
                let key = self.named(envelope.key_id)?;
                let place = place([V1, &key.id, tenant, id]);
                decrypt(&key.bytes, &envelope.nonce, &place, &envelope.ciphertext()?)?
            }
            Some(_) => {
                let data_key = self.data_key(&envelope, tenant, id)?;
                decrypt(&data_key, &ONLY, &place([V2, "", tenant, id]), &envelope.ciphertext()?)?
            }
        };
        String::from_utf8(plain).map(Secret::new).map_err(|_| SealError::Broken)
    }

    /// Whether an envelope is under another key than the current one and should be renewed.
    pub fn outdated(&self, sealed: &str) -> bool {
        Envelope::parse(sealed).is_some_and(|envelope| envelope.key_id != self.current.id)
    }

    /// The same value under the current key: its data key is wrapped anew, and the ciphertext stays. `random` as for
    /// [`SealingKeys::seal`].
    pub fn renew(
        &self,
        random: [u8; KEY_BYTES + NONCE_BYTES],
        tenant: &str,
        id: &str,
        sealed: &str,
    ) -> Result<String, SealError> {
        let envelope = Envelope::parse(sealed).ok_or(SealError::Broken)?;
        if envelope.wrapped.is_none() {
            return Ok(self.seal(random, tenant, id, self.open(tenant, id, sealed)?.open()));
        }
        let data_key = self.data_key(&envelope, tenant, id)?;
        let (_, nonce) = parts(&Zeroizing::new(random));
        Ok(self.wrapped(&data_key, &nonce, tenant, id, envelope.ciphertext))
    }

    fn data_key(
        &self,
        envelope: &Envelope<'_>,
        tenant: &str,
        id: &str,
    ) -> Result<Zeroizing<[u8; KEY_BYTES]>, SealError> {
        let key = self.named(envelope.key_id)?;
        let wrapped = envelope.wrapped.as_deref().ok_or(SealError::Broken)?;
        let place = place([V2_KEY, &key.id, tenant, id]);
        let data_key = Zeroizing::new(decrypt(&key.bytes, &envelope.nonce, &place, wrapped)?);
        data_key.as_slice().try_into().map(Zeroizing::new).map_err(|_| SealError::Broken)
    }

    fn named(&self, id: &str) -> Result<&SealingKey, SealError> {
        self.all().find(|key| key.id == id).ok_or(SealError::UnknownKey)
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

    fn derive(&self, purpose: &str) -> [u8; KEY_BYTES] {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of every length, and none may stand in for this")]
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
    /// The data key; `None` in the first version.
    wrapped: Option<Vec<u8>>,
    ciphertext: &'a str,
}

impl<'a> Envelope<'a> {
    fn parse(sealed: &'a str) -> Option<Self> {
        let mut parts = sealed.split('.');
        let (version, key_id) = (parts.next()?, parts.next()?);
        let nonce = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?.try_into().ok()?;
        let wrapped = match version {
            V1 => None,
            V2 => Some(URL_SAFE_NO_PAD.decode(parts.next()?).ok()?),
            _ => return None,
        };
        let ciphertext = parts.next()?;
        parts.next().is_none().then_some(Self { key_id, nonce, wrapped, ciphertext })
    }

    fn ciphertext(&self) -> Result<Vec<u8>, SealError> {
        URL_SAFE_NO_PAD.decode(self.ciphertext).map_err(|_| SealError::Broken)
    }
}

/// Random bytes as a data key and a nonce.
fn parts(random: &[u8; KEY_BYTES + NONCE_BYTES]) -> (Zeroizing<[u8; KEY_BYTES]>, [u8; NONCE_BYTES]) {
    let (mut data_key, mut nonce) = (Zeroizing::new([0; KEY_BYTES]), [0; NONCE_BYTES]);
    for (to, from) in data_key.iter_mut().chain(&mut nonce).zip(random) {
        *to = *from;
    }
    (data_key, nonce)
}

#[expect(clippy::expect_used, reason = "fails only beyond 256 GiB, and a credential is of some KiB")]
fn encrypt(key: &[u8; KEY_BYTES], nonce: &[u8; NONCE_BYTES], place: &[u8], plain: &[u8]) -> Vec<u8> {
    let cipher = ChaCha20Poly1305::new(key.into());
    cipher.encrypt(nonce.into(), Payload { msg: plain, aad: place }).expect("a short text")
}

fn decrypt(
    key: &[u8; KEY_BYTES],
    nonce: &[u8; NONCE_BYTES],
    place: &[u8],
    ciphertext: &[u8],
) -> Result<Vec<u8>, SealError> {
    let cipher = ChaCha20Poly1305::new(key.into());
    cipher.decrypt(nonce.into(), Payload { msg: ciphertext, aad: place }).map_err(|_| SealError::Broken)
}

/// The associated data: every part with its length before it, so that no two places give the same bytes.
fn place(parts: [&str; 4]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANDOM: [u8; KEY_BYTES + NONCE_BYTES] = [7; KEY_BYTES + NONCE_BYTES];

    #[test]
    fn what_is_sealed_opens_in_its_place_alone() {
        let keys = keys(&[1]);
        for plain in ["", "k", "canary", "ключ \n\u{10ffff}", &"x".repeat(100_000)] {
            let sealed = keys.seal(RANDOM, "tenant", "id", plain);
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
        let sealed = keys.seal(RANDOM, "tenant", "id", "canary");
        for at in 0..sealed.len() {
            for changed in ["A", "B", "0", "f", "_", "-", ".", "=", "", "  ", "é"] {
                let text = format!("{}{changed}{}", &sealed[..at], &sealed[at + 1..]);
                assert!(text == sealed || opened(&keys, "tenant", "id", &text).is_err(), "{text}");
            }
            assert!(opened(&keys, "tenant", "id", &sealed[..at]).is_err(), "{at}");
        }
        let raw = URL_SAFE_NO_PAD.decode(sealed.rsplit('.').next().unwrap_or_default()).expect("base64");
        let head = sealed.rsplit_once('.').expect("parts").0;
        let moved = sealed.replacen("v2.", "v1.", 1);
        assert!(opened(&keys, "tenant", "id", &moved).is_err());
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
        let before = old.seal(RANDOM, "tenant", "id", "canary");
        let after = both.seal(RANDOM, "tenant", "id", "canary");
        assert_eq!(opened(&both, "tenant", "id", &before).as_deref(), Ok("canary"));
        assert_eq!(opened(&both, "tenant", "id", &after).as_deref(), Ok("canary"));
        assert_eq!(opened(&new, "tenant", "id", &after).as_deref(), Ok("canary"));
        assert_eq!(opened(&new, "tenant", "id", &before), Err(SealError::UnknownKey));
        assert_eq!(opened(&old, "tenant", "id", &after), Err(SealError::UnknownKey));
        assert!(both.outdated(&before));
        assert!(!both.outdated(&after));
        // Wrapped anew under the new key, the value itself stays as it is; twice is as well as once.
        let renewed = both.renew([9; 44], "tenant", "id", &before).expect("known key");
        assert_eq!(renewed.rsplit('.').next(), before.rsplit('.').next());
        assert!(!both.outdated(&renewed));
        assert_eq!(opened(&new, "tenant", "id", &renewed).as_deref(), Ok("canary"));
        assert_eq!(opened(&old, "tenant", "id", &renewed), Err(SealError::UnknownKey));
        assert_eq!(both.renew([9; 44], "other", "id", &before), Err(SealError::Broken));
        assert_eq!(new.renew([9; 44], "tenant", "id", &before), Err(SealError::UnknownKey));
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
    fn the_formats_stay() {
        let keys = keys(&[1]);
        assert_eq!(keys.seal(RANDOM, "tenant", "id", "canary"), SEALED_V2);
        for sealed in [SEALED_V1, SEALED_V2] {
            assert_eq!(opened(&keys, "tenant", "id", sealed).as_deref(), Ok("canary"));
            assert_eq!(opened(&keys, "tenant", "di", sealed), Err(SealError::Broken));
        }
        let both = super::tests::keys(&[2, 1]);
        let renewed = both.renew([9; 44], "tenant", "id", SEALED_V1).expect("known key");
        assert!(renewed.starts_with("v2.") && !both.outdated(&renewed));
        assert_eq!(opened(&both, "tenant", "id", &renewed).as_deref(), Ok("canary"));
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

    const SEALED_V1: &str = "v1.d59137ed.BwcHBwcHBwcHBwcH.zzHZph-23CyhfWieYB7i0XqK0w_XdQ";
    const SEALED_V2: &str = "v2.d59137ed.BwcHBwcHBwcHBwcH.q1ewwGrIgpAyzVnI1yERNx0rDdQc5UORCs_yoo52Z0VPsz9XcEctXXr2PCmoHsop.VOVHbRISikExfEjJ6vkRjueIZoK-og";
}
