//! IBM Cloud's exchange of an API key for a token, and when a token is renewed. Values only: bytes and times go in.
//! <https://cloud.ibm.com/docs/account?topic=account-iamtoken_from_apikey>
//!
//! A [`Slot`] is the place of one token. On Workers many requests share an isolate and none may wait for another one's
//! I/O, so a slot never wakes anybody: the request that is told to fetch holds a lease, and the others look again
//! after a while. A leader that vanishes is replaced when its lease is over.

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

/// A token with its times, in milliseconds since the epoch.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    /// The bearer.
    pub value: Secret,
    /// From when on it should be renewed.
    pub refresh_at_ms: u64,
    /// From when on it must not be used.
    pub expires_ms: u64,
}

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

/// The place of one token.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    state: State,
    /// How many leases were given: tells a leader whether the lease is still its own.
    leases: u64,
    /// When a token was last thrown away because a provider refused it.
    rejected_ms: Option<u64>,
}

#[derive(Debug, Default)]
enum State {
    /// There is nothing.
    #[default]
    Empty,
    /// Somebody fetches; what there was before may still be good.
    Fetching { since_ms: u64, before: Option<Token> },
    /// Here it is. `retry_ms`: not to be renewed earlier, since that failed a moment ago.
    Ready { token: Token, retry_ms: u64 },
    /// Fetching failed, and is not tried again before.
    Failed { failure: Box<Failure>, until_ms: u64 },
}

/// What a request does that needs a token.
#[derive(Debug)]
pub(crate) enum Plan {
    /// Use this.
    Use(Token),
    /// Fetch one, then say how it went with [`Slot::done`]. `before` still serves should that fail.
    Fetch {
        /// To be given back.
        lease: Lease,
        /// A token that is due but good.
        before: Option<Token>,
    },
    /// Somebody else fetches: ask again after so many milliseconds.
    Wait(u64),
    /// It failed a moment ago, for all who wait.
    Fail(Box<Failure>),
}

/// The right to fetch, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease(u64);

impl Slot {
    /// What to do now.
    pub(crate) fn plan(&mut self, now_ms: u64) -> Plan {
        let before = match &self.state {
            State::Ready { token, retry_ms } if now_ms < token.expires_ms => {
                if now_ms < token.refresh_at_ms.max(*retry_ms) {
                    return Plan::Use(token.clone());
                }
                Some(token.clone())
            }
            State::Fetching { since_ms, before } => {
                // A clock that went back must not make a lease endless.
                let held = now_ms.checked_sub(*since_ms).filter(|held| *held < limits::TOKEN_LEASE_MS);
                let good = before.clone().filter(|token| now_ms < token.expires_ms);
                match (held, good) {
                    (Some(_), Some(token)) => return Plan::Use(token),
                    (Some(held), None) => return Plan::Wait(limits::TOKEN_POLL_MS.min(limits::TOKEN_LEASE_MS - held)),
                    (None, good) => good,
                }
            }
            State::Failed { failure, until_ms } if now_ms < *until_ms => return Plan::Fail(failure.clone()),
            State::Ready { .. } | State::Failed { .. } | State::Empty => None,
        };
        self.leases += 1;
        self.state = State::Fetching { since_ms: now_ms, before: before.clone() };
        Plan::Fetch { lease: Lease(self.leases), before }
    }

    /// How fetching went. A leader that comes too late still brings its token, if there is none that lasts longer; its
    /// failure then is nobody's business.
    pub(crate) fn done(&mut self, lease: Lease, outcome: &Result<Token, Failure>, now_ms: u64) {
        let mine = lease.0 == self.leases && matches!(self.state, State::Fetching { .. });
        match outcome {
            Ok(token) => {
                let known = match &self.state {
                    State::Ready { token, .. } => token.expires_ms,
                    State::Fetching { before, .. } if !mine => before.as_ref().map_or(0, |token| token.expires_ms),
                    State::Fetching { .. } | State::Empty | State::Failed { .. } => 0,
                };
                if token.expires_ms > known {
                    self.state = State::Ready { token: token.clone(), retry_ms: 0 };
                }
            }
            Err(failure) if mine => {
                let before = match std::mem::take(&mut self.state) {
                    State::Fetching { before, .. } => before.filter(|token| now_ms < token.expires_ms),
                    State::Empty | State::Ready { .. } | State::Failed { .. } => None,
                };
                self.state = match before {
                    Some(token) => State::Ready { token, retry_ms: now_ms + limits::TOKEN_RENEW_AGAIN_MS },
                    None => {
                        let rejected = failure.code == ErrorCode::UpstreamAuthFailed;
                        let pause = if rejected { limits::TOKEN_REJECTED_MS } else { limits::TOKEN_FAILED_MS };
                        State::Failed { failure: Box::new(failure.clone()), until_ms: now_ms + pause }
                    }
                };
            }
            Err(_) => {}
        }
    }

    /// The leader was dropped before it came to an end.
    pub(crate) fn abandon(&mut self, lease: Lease) {
        if lease.0 != self.leases {
            return;
        }
        if let State::Fetching { before, .. } = &mut self.state {
            let before = before.take();
            self.state = before.map_or(State::Empty, |token| State::Ready { token, retry_ms: 0 });
        }
    }

    /// A provider refused a token. Only if it still is the one that is kept, it is thrown away; so of many calls that
    /// were refused together one fetches. Whether there is, or can be, another one: if tokens are refused again and
    /// again, the key is to blame and not they.
    pub(crate) fn reject(&mut self, refused: &Secret, now_ms: u64) -> bool {
        let is_refused = |token: &Token| token.value.matches(refused.open());
        match &mut self.state {
            State::Ready { token, .. } if is_refused(token) => {
                let again = self.rejected_ms.and_then(|at| now_ms.checked_sub(at));
                if again.is_some_and(|ms| ms < limits::TOKEN_REJECT_AGAIN_MS) {
                    return false;
                }
                self.rejected_ms = Some(now_ms);
                self.state = State::Empty;
            }
            State::Fetching { before, .. } => {
                before.take_if(|token| is_refused(token));
            }
            State::Ready { .. } | State::Empty | State::Failed { .. } => {}
        }
        true
    }

    /// Until when it is worth keeping, in milliseconds since the epoch.
    pub(crate) fn kept_until_ms(&self) -> u64 {
        match &self.state {
            State::Empty => 0,
            State::Ready { token, .. } => token.expires_ms,
            State::Fetching { since_ms, before } => {
                let lease = since_ms.saturating_add(limits::TOKEN_LEASE_MS);
                before.as_ref().map_or(lease, |token| token.expires_ms.max(lease))
            }
            State::Failed { until_ms, .. } => *until_ms,
        }
    }
}

#[cfg(test)]
mod tests;
