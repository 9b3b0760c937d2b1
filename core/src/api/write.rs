//! What management routes do alike when they write a tenant's head: a new object's id and age, the change, and its answer.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::Value;

use super::{json, no_content};
use crate::error::Outcome;
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::model::{Change, random_uuid};
use crate::ports::Platform;
use crate::tenancy::{self, Caller};

/// The id of a new object, a UUID, and when it was made, in seconds since the epoch.
pub(super) fn born<P: Platform>(platform: &P) -> (String, u64) {
    let mut random = [0; 16];
    platform.fill_random(&mut random);
    (random_uuid(random).to_string(), platform.now_ms() / 1000)
}

/// Makes the change that puts an object into the head, and shows the object.
///
/// # Errors
/// Those of [`tenancy::change`]: the conflict, or a store that fails.
pub(super) async fn put<P: Platform>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    caller: &Caller,
    change: &Change,
    status: StatusCode,
    shown: &Value,
) -> Outcome<Response<Bytes>> {
    tenancy::change(gateway, exchange, caller, change).await?;
    json(status, shown)
}

/// Makes the change that takes something out of the head: 204.
///
/// # Errors
/// As those of [`put`]; among them that there is no such object.
pub(super) async fn remove<P: Platform>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    caller: &Caller,
    change: &Change,
) -> Outcome<Response<Bytes>> {
    tenancy::change(gateway, exchange, caller, change).await?;
    Ok(no_content())
}
