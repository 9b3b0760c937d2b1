//! Tokens that stand for a credential at its provider: fetched, shared by all requests of an isolate, renewed in time.
//!
//! Who fetches and who waits is for [`crate::lease`] to say.

use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::cache::Cache;
use crate::dialect::failure::constant;
use crate::egress::{self, Departure};
use crate::error::{ErrorCode, Failure, Outcome};
use crate::gateway::Gateway;
use crate::lease::{self, Slot};
use crate::limits;
use crate::ports::Platform;
use crate::provider::Settings;
use crate::secret::{Credential, Secret};
use crate::sign::iam::{self, Address, Token, TokenKey};

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
    Ok(lease::obtain(&source, platform, deadline_ms).await?.0)
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
    Source::of(gateway, settings, credential)?.another(platform, refused, deadline_ms).await
}

/// The token for an API key of the operator's, as [`bearer`].
pub(crate) async fn of_key<P: Platform>(
    gateway: &Gateway,
    platform: &P,
    address: &Address,
    apikey: &Secret,
    deadline_ms: u64,
) -> Outcome<Secret> {
    let source = Source::new(&gateway.cache, address.clone(), apikey.clone());
    Ok(lease::obtain(&source, platform, deadline_ms).await?.0)
}

/// Another token for an API key of the operator's, as [`another`].
pub(crate) async fn another_of_key<P: Platform>(
    gateway: &Gateway,
    platform: &P,
    address: &Address,
    apikey: &Secret,
    refused: &Secret,
    deadline_ms: u64,
) -> Outcome<Option<Secret>> {
    let source = Source::new(&gateway.cache, address.clone(), apikey.clone());
    source.another(platform, refused, deadline_ms).await
}

/// Where a token comes from.
struct Source<'a> {
    cache: &'a Cache,
    address: Address,
    key: TokenKey,
    apikey: Secret,
}

impl<'a> Source<'a> {
    fn of(gateway: &'a Gateway, settings: &Settings, credential: &Credential) -> Outcome<Self> {
        let lacks = || constant(ErrorCode::UpstreamAuthFailed).caused_by("credential lacks its key");
        let apikey = credential.get("apikey").ok_or_else(lacks)?.clone();
        let address = Address::of(settings.get("auth_url"), &gateway.deployment.allowed)
            .map_err(|_| constant(ErrorCode::UpstreamUnreachable).caused_by("auth URL refused"))?;
        Ok(Self::new(&gateway.cache, address, apikey))
    }

    fn new(cache: &'a Cache, address: Address, apikey: Secret) -> Self {
        Self { cache, key: TokenKey::of(&address, &apikey), address, apikey }
    }

    async fn another<P: Platform>(&self, platform: &P, refused: &Secret, deadline_ms: u64) -> Outcome<Option<Secret>> {
        let now_ms = platform.now_ms();
        if !self.cache.token(self.key, now_ms, |slot| slot.reject(refused, now_ms)) {
            return Ok(None);
        }
        let (token, _) = lease::obtain(self, platform, deadline_ms).await?;
        Ok(Some(token).filter(|token| !token.matches(refused.open())))
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

impl<P: Platform> lease::Source<P> for Source<'_> {
    type Value = Secret;

    fn slot<R>(&self, now_ms: u64, act: impl FnOnce(&mut Slot) -> R) -> R {
        self.cache.token(self.key, now_ms, act)
    }

    async fn fetch(&self, platform: &P, end_ms: u64) -> Outcome<Token> {
        self.exchange(platform, end_ms).await.map_err(unavailable)
    }

    fn late(&self) -> Failure {
        constant(ErrorCode::UpstreamAuthUnavailable).caused_by("no token in time")
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

#[cfg(test)]
mod tests;
