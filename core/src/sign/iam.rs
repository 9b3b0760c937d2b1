//! IBM Cloud's exchange of an API key for a token. Values only: bytes and times go in.
//! <https://cloud.ibm.com/docs/account?topic=account-iamtoken_from_apikey>
//!
//! When a token is fetched and by whom is for [`crate::lease`] to say.

use std::fmt::Write as _;

use http::StatusCode;
use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::dialect::failure::constant;
use crate::egress::url::{self, AllowedOrigins, Refusal};
use crate::error::{ErrorCode, Failure};
use crate::lease::Timed;
use crate::limits;
use crate::secret::Secret;

/// IBM Cloud's own origin for tokens.
const DEFAULT_ORIGIN: &str = "https://iam.cloud.ibm.com";
/// The path that is appended where only an origin is configured.
const TOKEN_PATH: &str = "/identity/token";
/// The content type of the exchange's body.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// Where tokens are exchanged.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// The whole address.
    pub uri: Uri,
    /// Whether the operator opened this very origin.
    pub private_allowed: bool,
}

impl Address {
    /// From the setting `auth_url`: an origin gets IBM's path, anything longer is the whole address.
    ///
    /// # Errors
    /// When egress refuses it.
    pub(crate) fn of(auth_url: Option<&str>, allowed: &AllowedOrigins) -> Result<Self, Refusal> {
        let base = url::judge(auth_url.unwrap_or(DEFAULT_ORIGIN), allowed)?;
        let is_origin = base.as_str().split_once("://").is_some_and(|(_, rest)| !rest.contains('/'));
        let uri = if is_origin {
            url::join(&base, TOKEN_PATH)?
        } else {
            Uri::try_from(base.as_str()).map_err(|_| Refusal::Malformed)?
        };
        Ok(Self { uri, private_allowed: base.private_allowed() })
    }
}

/// Which token: a hash of where it comes from and of the key it stands for. Never a tenant's or provider's name, so
/// that a replaced key finds no old token. It cannot be printed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenKey([u8; 32]);

impl TokenKey {
    /// The key of an exchange.
    pub(crate) fn of(address: &Address, apikey: &Secret) -> Self {
        let place = address.uri.to_string();
        let mut hash = Sha256::new();
        // The length keeps the two parts apart.
        hash.update((place.len() as u64).to_be_bytes());
        hash.update(place.as_bytes());
        hash.update(apikey.open().as_bytes());
        Self(hash.finalize().into())
    }
}

/// Everything but letters, digits and `-._~` (RFC 3986 unreserved).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The body of the exchange.
pub(crate) fn form(apikey: &Secret) -> String {
    let mut form = String::from("grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Aapikey&apikey=");
    // A `String` takes every write.
    let written = write!(form, "{}", utf8_percent_encode(apikey.open(), ENCODED));
    debug_assert!(written.is_ok());
    form
}

/// A token with its times.
pub(crate) type Token = Timed<Secret>;

/// Lifetime when the answer names none, in seconds (RFC 6749 lets it; our policy).
const UNKNOWN_LIFETIME_S: u64 = 300;
/// Longest lifetime that is believed, in seconds (our policy; IBM's tokens live for an hour).
const LONGEST_LIFETIME_S: u64 = 24 * 3600;

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    access_token: &'a RawValue,
    #[serde(borrow)]
    expires_in: Option<&'a RawValue>,
    #[serde(borrow)]
    expiration: Option<&'a RawValue>,
}

/// Reads an answer to an exchange that was sent at `sent_ms`.
///
/// The lifetime counts from our sending: `expires_in` needs no agreement on the time of day, `expiration` does.
///
/// # Errors
/// See [`refused`]; `upstream_protocol` for an answer without a usable token.
pub(crate) fn read(status: StatusCode, body: &[u8], sent_ms: u64) -> Result<Token, Failure> {
    if status != StatusCode::OK {
        return Err(refused(status, body));
    }
    let protocol = |cause: &str| constant(ErrorCode::UpstreamProtocol).caused_by(cause);
    let answer: Option<Answer<'_>> = crate::json::read_object(body);
    let answer = answer.ok_or_else(|| protocol("iam answer is no token"))?;
    let value: String =
        serde_json::from_str(answer.access_token.get()).map_err(|_| protocol("iam token is no string"))?;
    let fits = (1..=limits::CREDENTIAL_BYTES).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_graphic());
    let value = Secret::new(value);
    if !fits {
        return Err(protocol("iam token fits no header"));
    }
    let number = |raw: Option<&RawValue>| raw.and_then(|raw| raw.get().parse::<u64>().ok());
    let sent_s = sent_ms / 1000;
    let life_s = number(answer.expires_in)
        .or_else(|| number(answer.expiration).map(|end| end.saturating_sub(sent_s)))
        .unwrap_or(UNKNOWN_LIFETIME_S)
        .min(LONGEST_LIFETIME_S);
    if life_s == 0 {
        return Err(protocol("iam token has expired already"));
    }
    let (life_ms, early_ms) = (life_s * 1000, early_ms(life_s));
    Ok(Token { value, refresh_at_ms: sent_ms + (life_ms - early_ms), expires_ms: sent_ms + life_ms })
}

/// How long before its end a token of that lifetime is renewed, in milliseconds: the rule of IBM's Python SDK 1.8.1. It
/// would renew a token of less than a minute at every use; half of its life is ours.
fn early_ms(life_s: u64) -> u64 {
    match life_s {
        1801.. => 15 * 60_000,
        181..=1800 => life_s * 1000 / 3,
        121..=180 => 60_000,
        _ => life_s * 1000 / 2,
    }
}

/// The failure that an error of the exchange means: a key that is not taken, but for statuses that say nothing about
/// the key. IBM's text stays out of it; its code goes to the log.
fn refused(status: StatusCode, body: &[u8]) -> Failure {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(rename = "errorCode", borrow)]
        code: Option<&'a str>,
    }
    let code = match status.as_u16() {
        300..=399 => ErrorCode::UpstreamRedirect,
        408 | 429 => ErrorCode::UpstreamError,
        400..=499 => ErrorCode::UpstreamAuthFailed,
        504 => ErrorCode::UpstreamTimeout,
        500..=599 => ErrorCode::UpstreamError,
        _ => ErrorCode::UpstreamProtocol,
    };
    let word = crate::json::read::<Wire<'_>>(body).and_then(|wire| wire.code);
    let word = word.filter(|word| word.len() <= 32 && word.bytes().all(|b| b.is_ascii_alphanumeric()));
    constant(code).caused_by(format!("iam status {} {}", status.as_u16(), word.unwrap_or_default()).trim_end())
}

#[cfg(test)]
mod tests;
