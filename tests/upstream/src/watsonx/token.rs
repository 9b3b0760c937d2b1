//! IBM's identity service: an API key is exchanged for a token that lives for a while.
//!
//! API: <https://cloud.ibm.com/apidocs/iam-identity-token-api>

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    account,
    answer::Answer,
    dialect::{Ask, Checked, Problem, Refused},
    text,
};

pub(crate) const PATH: &str = "/identity/token";
const GRANT: &str = "urn:ibm:params:oauth:grant-type:apikey";
const SECONDS: u64 = 3600;

/// Checks the form of an exchange.
pub(crate) fn check<'a>(ask: &'a Ask<'a>) -> Checked<'a> {
    if ask.method() != "POST" {
        return Err(ask.refuse(Problem::of(405, "Method not allowed").code("BXNIM0404E"), true));
    }
    let form = String::from_utf8_lossy(ask.body).into_owned();
    let field = |name: &str| {
        let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(found, _)| *found == name).map(|(_, value)| text::unescaped(&value.replace('+', " "))).next()
    };
    if field("grant_type").as_deref() != Some(GRANT) {
        return Err(ask
            .refuse(Problem::of(400, "Property missing or empty or not known: grant_type.").code("BXNIM0109E"), true));
    }
    let Some(key) = field("apikey").filter(|key| !key.is_empty()) else {
        return Err(ask.refuse(Problem::of(400, "Property missing or empty: apikey.").code("BXNIM0109E"), true));
    };
    if !ask.knows(&key) {
        return Err(ask.refuse(Problem::of(400, "Provided API key could not be found.").code("BXNIM0415E"), false));
    }
    Ok(Box::new(|_| issued(ask)))
}

/// Refuses a call without a token that was issued here and is still alive.
pub(crate) fn known(ask: &Ask<'_>) -> Result<(), Box<Refused>> {
    let now = account::unix_ms();
    let (code, message) = match ask.key().map(|token| ask.account.token_ends(token)) {
        Some(Some(end)) if now < end => return Ok(()),
        Some(Some(_)) => ("authentication_token_expired", "Failed to authenticate the request due to an expired token"),
        Some(None) => ("authentication_token_not_valid", "Failed to authenticate the request due to invalid token"),
        None => ("authorization_rejected", "Authorization header is missing"),
    };
    Err(ask.refuse(Problem::of(401, message).code(code), ask.key().is_none()))
}

/// An error of the identity service.
pub(crate) fn error(problem: Problem<'_>) -> Answer {
    let Problem { status, message, code, .. } = problem;
    let (usual, said) = match status {
        400..=499 => ("BXNIM0415E", "Provided API key could not be found."),
        _ => ("BXNIM0500E", "Internal server error."),
    };
    let body = json!({"errorCode": code.unwrap_or(usual), "errorMessage": message.unwrap_or(said), "context": {"requestId": "r1"}});
    Answer::json(status, &body)
}

fn issued(ask: &Ask<'_>) -> Answer {
    let seconds = ask.settings.token_seconds.unwrap_or(SECONDS);
    let now = account::unix_ms();
    let expiration = now / 1000 + seconds;
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let token = format!(
        "{}.{}.{:016x}",
        part(json!({"kid": "simulated", "alg": "RS256"})),
        part(json!({"iam_id": "iam-ServiceId-simulated", "iat": now / 1000, "exp": expiration, "jti": ask.number})),
        ask.seed()
    );
    ask.account.issue_token(&token, now + seconds * 1000);
    let body = json!({"access_token": token, "refresh_token": "not_supported", "ims_user_id": 1, "token_type": "Bearer",
        "expires_in": seconds, "expiration": expiration, "scope": "ibm openid"});
    Answer::json(200, &body)
}
