//! Creations that a client repeats: with the same `Idempotency-Key` they make one object and give the same answer.
//!
//! Nothing is remembered but in the object itself. Its id follows from the deployment's key, the tenant, the route and the
//! client's key, so that a repeat finds it; a mark in it tells whether the body is the same. When the object is deleted, so
//! is the memory of it.

use http::HeaderMap;
use serde_json::{Map, Value};

use crate::error::{ErrorCode, Failure, Outcome};
use crate::gateway::Gateway;
use crate::limits;
use crate::model::{KeyHash, TenantId, random_uuid};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Where a record keeps the mark of the request that made it.
const REQUEST: &str = "request";

/// A creation that may be a repeat.
pub(super) struct Repeat<'a> {
    gateway: &'a Gateway,
    /// Tenant, route and the client's key.
    scope: String,
    mark: String,
}

impl<'a> Repeat<'a> {
    /// Reads the header; `None` without one.
    ///
    /// # Errors
    /// `invalid_request` if there are several, or it is not 1 to 255 visible ASCII characters.
    pub(super) fn read(
        gateway: &'a Gateway,
        headers: &HeaderMap,
        tenant: TenantId,
        route: &str,
        body: &[u8],
    ) -> Outcome<Option<Self>> {
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let fits = |key: &&str| {
            (1..=limits::IDEMPOTENCY_KEY_BYTES).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
        };
        let key = value.to_str().ok().filter(fits).filter(|_| values.next().is_none()).ok_or_else(|| {
            Failure::invalid("Idempotency-Key", "'Idempotency-Key' must be 1 to 255 visible ASCII characters.")
        })?;
        let scope = format!("repeat {tenant} {route} {key}");
        let body = KeyHash::of(&String::from_utf8_lossy(body));
        let mark = derived(gateway, &format!("{scope} body {body}"));
        let mark = KeyHash::from(mark).to_string().chars().take(32).collect();
        Ok(Some(Self { gateway, scope, mark }))
    }

    /// The id of the object, a UUID.
    pub(super) fn id(&self) -> String {
        let mut bytes = [0; 16];
        for (byte, derived) in bytes.iter_mut().zip(derived(self.gateway, &self.scope)) {
            *byte = derived;
        }
        random_uuid(bytes).to_string()
    }

    /// What stands for 32 random bytes in the object. Without the object's own salt nobody finds them again.
    pub(super) fn random(&self, salt: &str) -> [u8; 32] {
        derived(self.gateway, &format!("{} salt {salt}", self.scope))
    }

    /// Notes in a new record which request made it.
    pub(super) fn note(&self, rest: &mut Map<String, Value>) {
        rest.insert(REQUEST.to_owned(), self.mark.as_str().into());
    }

    /// Whether a record was made by the same request.
    ///
    /// # Errors
    /// `conflict` if it was made by one with another body.
    pub(super) fn same(&self, rest: &Map<String, Value>) -> Outcome<()> {
        if rest.get(REQUEST).and_then(Value::as_str) == Some(self.mark.as_str()) {
            return Ok(());
        }
        let message = "Another request was made with this 'Idempotency-Key'. Use a new one for each object.";
        Err(Failure::new(ErrorCode::Conflict, message).with_param("Idempotency-Key"))
    }
}

fn derived(gateway: &Gateway, purpose: &str) -> [u8; 32] {
    gateway.deployment.sealing.derive(purpose).first().copied().unwrap_or_default()
}
