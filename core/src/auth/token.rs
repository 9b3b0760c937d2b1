//! Short-lived bearers for IBM's SDKs, which exchange an API key for a JWT and read its `exp`.
//!
//! A token stands for its key: it has the key's scopes and ends with it. Only our own header and HMAC are taken
//! (RFC 7519 with HS256, RFC 7515 for the form), so there is no algorithm to choose.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde_json::Map;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::Bearer;
use crate::model::record::{self, Members, record};
use crate::model::{KeyHash, TenantId};

/// `{"alg":"HS256","typ":"JWT"}`.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// How long a token lasts, in seconds.
pub(crate) const TOKEN_S: u64 = 3_600;

/// Clock differences that are forgiven, in seconds (fault matrix R13).
const LEEWAY_S: u64 = 60;

/// A token for a key of a tenant, signed with the newest of `keys`.
pub(crate) fn issue(keys: &[[u8; 32]], tenant: TenantId, hash: KeyHash, now_s: u64, until_s: u64) -> Option<String> {
    let claims = [
        ("iss", "model-gateway".into()),
        // The tenant, and the hash of the key.
        ("tid", tenant.to_string().into()),
        ("sub", hash.to_string().into()),
        ("iat", now_s.into()),
        ("exp", until_s.into()),
    ];
    let payload = URL_SAFE_NO_PAD.encode(record::bytes(&record(claims, &Map::new())));
    let body = format!("{HEADER}.{payload}");
    let signature = sign(keys.first()?, &body)?;
    Some(format!("{body}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Who a token stands for, if it is one of ours and not over.
pub(crate) fn read(keys: &[[u8; 32]], token: &str, now_s: u64) -> Option<Bearer> {
    let (body, signature) = token.rsplit_once('.')?;
    let payload = body.strip_prefix(HEADER)?.strip_prefix('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let mut good = subtle::Choice::from(0);
    for key in keys {
        good |= sign(key, body)?.ct_eq(&signature);
    }
    if !bool::from(good) {
        return None;
    }
    let mut claims = Members::parse(&URL_SAFE_NO_PAD.decode(payload).ok()?)?;
    let fits = claims.number("iat")? <= now_s + LEEWAY_S && now_s < claims.number("exp")? + LEEWAY_S;
    let tenant = TenantId::stored(&claims.text("tid")?)?;
    fits.then_some(Bearer::Tenant { tenant, hash: KeyHash::from_hex(&claims.text("sub")?)? })
}

fn sign(key: &[u8; 32], body: &str) -> Option<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(body.as_bytes());
    Some(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault matrix: R13.
    #[test]
    fn only_our_own_unexpired_tokens_are_read() {
        let (tenant, hash) = (TenantId::from_random([1; 16]), KeyHash::of("k"));
        let token = issue(&[[1; 32]], tenant, hash, 1_000, 4_600).unwrap();
        let want = Some(Bearer::Tenant { tenant, hash });
        assert_eq!(read(&[[1; 32]], &token, 2_000), want);
        assert_eq!(read(&[[2; 32], [1; 32]], &token, 4_600), want);
        assert_eq!(read(&[[2; 32]], &token, 2_000), None);
        assert_eq!(read(&[[1; 32]], &token, 4_660), None);
        assert_eq!(read(&[[1; 32]], &token, 900), None);
        for at in 0..token.len() {
            let mut broken = token.clone().into_bytes();
            broken[at] = if broken[at] == b'A' { b'B' } else { b'A' };
            // The last character of base64 has spare bits: a decoder that ignored them would take two spellings.
            assert_eq!(read(&[[1; 32]], &String::from_utf8(broken).unwrap(), 2_000), None, "{at}");
        }
        let none = token.replacen(HEADER, "eyJhbGciOiJub25lIn0", 1);
        assert_eq!(read(&[[1; 32]], &none, 2_000), None);
    }
}
