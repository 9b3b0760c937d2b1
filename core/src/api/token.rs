//! `POST /identity/token`: IBM's exchange of an API key for a token, so that `api_key=` works in its SDKs. Public; the
//! SDK's `Authorization: Basic` is ignored. Errors have IBM's shape here, since only its SDKs call this.

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use serde_json::json;

use super::json;
use crate::auth::{Bearer, TOKEN_S};
use crate::error::Outcome;
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::ports::{Platform, RequestBody};
use crate::tenancy::{self, Identity};

/// Largest form, in bytes.
const FORM_BYTES: usize = 8 << 10;

pub(crate) async fn exchange_key<P: Platform, B: RequestBody>(
    gateway: &Gateway,
    exchange: &mut Exchange<P>,
    body: B,
) -> Outcome<Response<Bytes>> {
    let refused = || {
        let body = json!({"errorCode": "BXNIM0415E", "errorMessage": "Provided API key could not be found."});
        json(StatusCode::BAD_REQUEST, &body)
    };
    let Ok(form) = body.read(FORM_BYTES).await else { return refused() };
    let mut keys = url::form_urlencoded::parse(&form).filter(|(name, _)| name == "apikey").map(|(_, value)| value);
    let (Some(key), None) = (keys.next(), keys.next()) else { return refused() };
    let Some(header) = bearer(&key) else { return refused() };
    let now_s = exchange.platform().now_ms() / 1000;
    let bearers = &gateway.deployment.bearers;
    // A token cannot be exchanged for another: it would never end.
    let Some(Bearer::Tenant { tenant, hash }) = bearers.judge_key(&header) else { return refused() };
    let caller = match tenancy::authenticate(gateway, exchange, &header).await {
        Ok(Identity::Tenant(caller)) => caller,
        Ok(Identity::Operator) => return refused(),
        Err(failure) if failure.status() == StatusCode::UNAUTHORIZED => return refused(),
        Err(failure) => return Err(failure),
    };
    let end_s = caller.key.and_then(|key| key.expires_at).unwrap_or(u64::MAX).min(now_s + TOKEN_S);
    let token = bearers
        .issue(tenant, hash, now_s, end_s)
        .ok_or_else(|| crate::error::Failure::internal("token cannot be issued"))?;
    json(
        StatusCode::OK,
        &json!({
            "access_token": token, "refresh_token": "not_supported", "token_type": "Bearer",
            "expires_in": end_s - now_s, "expiration": end_s, "scope": "ibm openid",
        }),
    )
}

fn bearer(key: &str) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {key}")).ok()?);
    Some(headers)
}
