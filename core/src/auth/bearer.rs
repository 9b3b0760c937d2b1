//! Bearer keys: `mg.<tenant id>.<256 random bits>.<tag>`, and the operator's key.
//!
//! The tag is an HMAC under a deployment key, so that a made-up key is refused without touching a store.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::token;
use crate::limits;
use crate::model::{KeyHash, TenantId};
use crate::secret::Secret;

const PREFIX: &str = "mg";
const TAG_BYTES: usize = 9;

/// Who a well-formed bearer stands for. Whether a tenant's key is live is for the store to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bearer {
    /// The deployment's operator.
    Operator,
    /// A key of a tenant.
    Tenant {
        /// The tenant it names.
        tenant: TenantId,
        /// Under which its record is found.
        hash: KeyHash,
    },
}

/// The deployment's keys for telling bearers.
#[derive(Clone)]
pub(crate) struct BearerKeys {
    operator: Vec<[u8; 32]>,
    tags: Vec<[u8; 32]>,
}

/// A key just made; shown once.
#[derive(Debug)]
pub(crate) struct NewKey {
    /// The key itself.
    pub key: Secret,
    /// Its hash.
    pub hash: KeyHash,
}

impl BearerKeys {
    /// From the operator's keys and the tag keys, the newest tag key first.
    pub(crate) fn new(operator: &[Secret], tags: Vec<[u8; 32]>) -> Self {
        Self { operator: operator.iter().map(|key| Sha256::digest(key.open().as_bytes()).into()).collect(), tags }
    }

    /// Judges the request's `Authorization`. `None` for every fault: no header, several, another scheme, odd
    /// characters, a wrong tag.
    pub(crate) fn judge(&self, headers: &HeaderMap, now_ms: u64) -> Option<Bearer> {
        let text = bearer_of(headers)?;
        if text.starts_with("eyJ") {
            return token::read(&self.tags, text, now_ms / 1000);
        }
        self.judge_key(headers)
    }

    /// The same for keys alone.
    pub(crate) fn judge_key(&self, headers: &HeaderMap) -> Option<Bearer> {
        let token = bearer_of(headers)?;

        let digest = Sha256::digest(token.as_bytes());
        let operator = self.operator.iter().fold(subtle::Choice::from(0), |hit, key| hit | key.ct_eq(&digest));
        if operator.into() {
            return Some(Bearer::Operator);
        }
        let tenant = self.tenant_of(token)?;
        Some(Bearer::Tenant { tenant, hash: KeyHash::from(<[u8; 32]>::from(digest)) })
    }

    fn tenant_of(&self, token: &str) -> Option<TenantId> {
        let (body, tag) = token.rsplit_once('.')?;
        let mut parts = body.split('.');
        let (prefix, tenant, random) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || prefix != PREFIX || random.len() != 43 {
            return None;
        }
        let tenant = TenantId::parse(tenant)?;
        let right = self
            .tags
            .iter()
            .fold(subtle::Choice::from(0), |hit, key| hit | tag_of(key, body).as_bytes().ct_eq(tag.as_bytes()));
        bool::from(right).then_some(tenant)
    }

    /// A token that stands for a key.
    pub(crate) fn issue(&self, tenant: TenantId, hash: KeyHash, now_s: u64, until_s: u64) -> Option<String> {
        token::issue(&self.tags, tenant, hash, now_s, until_s)
    }

    /// A new key of `tenant` from 32 random bytes.
    pub(crate) fn mint(&self, tenant: TenantId, random: [u8; 32]) -> Option<NewKey> {
        let body = format!("{PREFIX}.{tenant}.{}", URL_SAFE_NO_PAD.encode(random));
        let key = format!("{body}.{}", tag_of(self.tags.first()?, &body));
        Some(NewKey { hash: KeyHash::of(&key), key: Secret::new(key) })
    }
}

fn bearer_of(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    let text = value.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.len() > limits::BEARER_BYTES {
        return None;
    }
    if !token.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~+/=-".contains(&b)) {
        return None;
    }
    Some(token)
}

fn tag_of(key: &[u8; 32], body: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(body.as_bytes());
    let full = mac.finalize().into_bytes();
    URL_SAFE_NO_PAD.encode(full.get(..TAG_BYTES).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const OPERATOR: &str = "operator-key-operator-key-operator-key";

    fn keys() -> BearerKeys {
        BearerKeys::new(&[Secret::new(OPERATOR.into())], vec![[1; 32], [2; 32]])
    }

    fn judge(values: &[&[u8]]) -> Option<Bearer> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        keys().judge(&headers, 0)
    }

    fn minted() -> String {
        keys().mint(TenantId::from_random([9; 16]), [5; 32]).unwrap().key.open().to_owned()
    }

    #[test]
    fn a_minted_key_is_known_under_either_tag_key() {
        let key = minted();
        let want = Bearer::Tenant { tenant: TenantId::from_random([9; 16]), hash: KeyHash::of(&key) };
        assert_eq!(judge(&[format!("Bearer {key}").as_bytes()]), Some(want));
        assert_eq!(judge(&[format!("bEARER {key}").as_bytes()]), Some(want));
        let older = BearerKeys::new(&[], vec![[2; 32]]).mint(TenantId::from_random([9; 16]), [5; 32]).unwrap();
        assert!(judge(&[format!("Bearer {}", older.key.open()).as_bytes()]).is_some());
        let foreign = BearerKeys::new(&[], vec![[3; 32]]).mint(TenantId::from_random([9; 16]), [5; 32]).unwrap();
        assert_eq!(judge(&[format!("Bearer {}", foreign.key.open()).as_bytes()]), None);
    }

    #[test]
    fn only_one_plain_bearer_counts() {
        let key = minted();
        for bad in [
            format!("Basic {key}"),
            format!("Token {key}"),
            key.clone(),
            format!("Bearer  {key}"),
            format!("Bearer {key} "),
            format!("Bearer {key},x"),
            format!("Bearer {key}, Bearer {key}"),
            format!("Bearer {key}x"),
            format!("Bearer {}", &key[..key.len() - 1]),
            format!("Bearer {}", key.to_uppercase()),
            format!("Bearer {}", KeyHash::of(&key)),
            "Bearer eyJhbGciOiJub25lIn0.e30.".to_owned(),
            "Bearer ".to_owned(),
            "Bearer".to_owned(),
            String::new(),
            "Bearer mg.' OR 1=1.x.y".to_owned(),
            format!("Bearer {}", "a".repeat(60_000)),
        ] {
            assert_eq!(judge(&[bad.as_bytes()]), None, "{bad:.80}");
        }
        assert_eq!(judge(&[]), None);
        let good = format!("Bearer {key}");
        assert_eq!(judge(&[good.as_bytes(), good.as_bytes()]), None);
        assert_eq!(judge(&[b"Bearer \xff\xfe"]), None);
    }

    #[test]
    fn the_operator_is_told_by_hash() {
        assert_eq!(judge(&[format!("Bearer {OPERATOR}").as_bytes()]), Some(Bearer::Operator));
        assert_eq!(judge(&[format!("Bearer {OPERATOR}x").as_bytes()]), None);
        assert_eq!(judge(&[format!("Bearer {}", &OPERATOR[1..]).as_bytes()]), None);
    }
}
