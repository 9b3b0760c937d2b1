//! Tokens that stand for a credential at its provider: fetched, shared by all requests of an isolate, renewed in time.
//!
//! The decisions are those of [`iam::Slot`]. Nothing here waits for another request: who does not fetch looks again
//! after a moment.

use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::cache::Cache;
use crate::dialect::failure::constant;
use crate::egress::{self, Departure};
use crate::error::{ErrorCode, Failure, Outcome};
use crate::gateway::Gateway;
use crate::limits;
use crate::ports::Platform;
use crate::provider::Settings;
use crate::secret::{Credential, Secret};
use crate::sign::iam::{self, Address, Lease, Plan, Token, TokenKey};

/// The token for a credential of IBM Cloud, at the latest at `deadline_ms`.
///
/// # Errors
/// `upstream_auth_failed` if the key is not taken, or a failure of the way there.
pub(crate) async fn bearer<P: Platform>(
    gateway: &Gateway,
    platform: &P,
    settings: &Settings,
    credential: &Credential,
    deadline_ms: u64,
) -> Outcome<Secret> {
    let source = Source::of(gateway, settings, credential)?;
    source.token(&gateway.cache, platform, deadline_ms).await
}

/// Another token, after the provider refused `refused`; `None` if there is none that differs.
///
/// # Errors
/// As [`bearer`].
pub(crate) async fn another<P: Platform>(
    gateway: &Gateway,
    platform: &P,
    settings: &Settings,
    credential: &Credential,
    refused: &Secret,
    deadline_ms: u64,
) -> Outcome<Option<Secret>> {
    let source = Source::of(gateway, settings, credential)?;
    let now_ms = platform.now_ms();
    if !gateway.cache.token(source.key, now_ms, |slot| slot.reject(refused, now_ms)) {
        return Ok(None);
    }
    let token = source.token(&gateway.cache, platform, deadline_ms).await?;
    Ok(Some(token).filter(|token| !token.matches(refused.open())))
}

/// Where a token comes from.
struct Source {
    address: Address,
    key: TokenKey,
    apikey: Secret,
}

impl Source {
    fn of(gateway: &Gateway, settings: &Settings, credential: &Credential) -> Outcome<Self> {
        let lacks = || constant(ErrorCode::UpstreamAuthFailed).caused_by("credential lacks its key");
        let apikey = credential.get("apikey").ok_or_else(lacks)?.clone();
        let address = Address::of(settings.get("auth_url"), &gateway.deployment.allowed)
            .map_err(|_| constant(ErrorCode::UpstreamUnreachable).caused_by("auth URL refused"))?;
        Ok(Self { key: TokenKey::of(&address, &apikey), address, apikey })
    }

    async fn token<P: Platform>(&self, cache: &Cache, platform: &P, deadline_ms: u64) -> Outcome<Secret> {
        loop {
            let now_ms = platform.now_ms();
            match cache.token(self.key, now_ms, |slot| slot.plan(now_ms)) {
                Plan::Use(token) => return Ok(token.value),
                Plan::Fail(failure) => return Err(*failure),
                Plan::Wait(_) if now_ms >= deadline_ms => {
                    return Err(constant(ErrorCode::UpstreamAuthUnavailable).caused_by("no token in time"));
                }
                Plan::Wait(ms) => platform.timer(ms.min(deadline_ms - now_ms)).await,
                Plan::Fetch { lease, before } => {
                    let longest = if before.is_some() { limits::TOKEN_RENEW_MS } else { limits::TOKEN_LEASE_MS };
                    let end_ms = deadline_ms.min(now_ms + longest);
                    let mut flight = Flight { cache, key: self.key, lease: Some(lease), now_ms };
                    let outcome = self.exchange(platform, end_ms).await.map_err(unavailable);
                    // That this request has no time left says nothing to the others.
                    let hurried = end_ms < now_ms + longest && platform.now_ms() >= end_ms;
                    if outcome.is_ok() || !hurried {
                        flight.land(&outcome, platform.now_ms());
                    }
                    drop(flight);
                    return match (outcome, before) {
                        (Ok(token), _) => Ok(token.value),
                        // It is due, but good: the failure is for the next to mend.
                        (Err(_), Some(token)) if platform.now_ms() < token.expires_ms => Ok(token.value),
                        (Err(failure), _) => Err(failure),
                    };
                }
            }
        }
    }

    async fn exchange<P: Platform>(&self, platform: &P, deadline_ms: u64) -> Outcome<Token> {
        let sent_ms = platform.now_ms();
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(iam::FORM));
        let departure = Departure {
            method: Method::POST,
            uri: &self.address.uri,
            private_allowed: self.address.private_allowed,
            headers,
            body: Some(Bytes::from(iam::form(&self.apikey))),
        };
        let (head, mut body) = egress::send(platform, departure, deadline_ms).await?.into_parts();
        let body = egress::read_all(platform, &mut body, limits::TOKEN_ANSWER_BYTES, deadline_ms).await;
        match body {
            // A status that is no success counts, whatever became of its body.
            Err(_) if !head.status.is_success() => iam::read(head.status, b"", sent_ms),
            body => iam::read(head.status, &body?, sent_ms),
        }
    }
}

/// Whatever is wrong with the token service is no fault of the model's provider; a key that is not taken stays one.
fn unavailable(failure: Failure) -> Failure {
    if failure.code == ErrorCode::UpstreamAuthFailed {
        return failure;
    }
    let cause = failure.cause.unwrap_or_default();
    constant(ErrorCode::UpstreamAuthUnavailable).caused_by(format!("token: {} {cause}", failure.code.as_str()))
}

/// A lease in use: given back also when the request that holds it is let go.
struct Flight<'a> {
    cache: &'a Cache,
    key: TokenKey,
    lease: Option<Lease>,
    now_ms: u64,
}

impl Flight<'_> {
    fn land(&mut self, outcome: &Result<Token, Failure>, now_ms: u64) {
        if let Some(lease) = self.lease.take() {
            self.cache.token(self.key, now_ms, |slot| slot.done(lease, outcome, now_ms));
        }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.cache.token(self.key, self.now_ms, |slot| slot.abandon(lease));
        }
    }
}

#[cfg(test)]
mod tests;
