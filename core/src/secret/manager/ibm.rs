//! Calls to IBM Cloud Secrets Manager, API version 2: values only.
//! <https://cloud.ibm.com/apidocs/secrets-manager/secrets-manager-v2>
//!
//! A credential becomes a key-value secret, so that its fields can be seen to and changed by name; of secrets that
//! tenants refer to, arbitrary ones are read too.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value};

use crate::model::record::{self, Members, record};
use crate::ports::Fault;
use crate::secret::Secret;

/// The collection of secrets.
pub(crate) const SECRETS: &str = "/api/v2/secrets";

/// The path of one secret.
pub(crate) fn secret_path(id: &str) -> String {
    format!("{SECRETS}/{id}")
}

/// The path of a search for the secret of one name. Ours have only letters, digits and `_-`.
pub(crate) fn search_path(group: &str, name: &str) -> String {
    format!("{SECRETS}?limit=10&groups={group}&search={name}")
}

/// The body that creates a secret. `None` if `value` is no object, which a credential always is.
pub(crate) fn creation(group: &str, name: &str, value: &Secret) -> Option<Bytes> {
    let data: Value = crate::json::read(value.open().as_bytes())?;
    let known =
        [("secret_type", "kv".into()), ("name", name.into()), ("secret_group_id", group.into()), ("data", data)];
    Some(record::bytes(&record(known, &Map::new())))
}

/// A secret as it was read.
pub(crate) struct Found {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its value, if it has one that is text or an object.
    pub value: Option<Secret>,
}

/// Reads the answer to a creation or to a read.
pub(crate) fn secret(body: &[u8]) -> Option<Found> {
    found(Members::parse(body)?)
}

/// The id of the secret of exactly that name, among those that a search found. Outer `None`: not understood.
pub(crate) fn id_of(body: &[u8], name: &str) -> Option<Option<String>> {
    let mut members = Members::parse(body)?;
    for entry in members.list("secrets")? {
        let entry = found(Members::of(entry)?)?;
        if entry.name == name {
            return Some(Some(entry.id));
        }
    }
    Some(None)
}

fn found(mut members: Members) -> Option<Found> {
    let (id, name) = (members.text("id")?, members.text("name")?);
    let value = match members.text("secret_type")?.as_str() {
        "kv" => members.object("data")?.map(|data| Value::Object(data).to_string()),
        "arbitrary" => members.optional_text("payload")?,
        _ => None,
    };
    is_id(&id).then(|| Found { id, name, value: value.map(Secret::new) })
}

/// What a status that is no success means, for all calls.
pub(crate) fn fault(status: StatusCode) -> Fault {
    match status.as_u16() {
        401 | 403 => Fault::Denied,
        404 | 410 => Fault::Missing,
        429 => Fault::Throttled,
        408 | 500..=599 => Fault::Unavailable,
        _ => Fault::Corrupt,
    }
}

/// Whether it looks like the id of a secret, and is one segment of a path.
pub(crate) fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Instance and region, as a host of IBM's tells them: `INSTANCE.REGION.secrets-manager.appdomain.cloud`, with
/// `private` between for the private network.
pub(super) fn of_host(host: &str) -> Option<(String, String)> {
    let labels = host.strip_suffix(".secrets-manager.appdomain.cloud")?;
    let (instance, region) = labels.split_once('.')?;
    let region = region.strip_prefix("private.").unwrap_or(region);
    (!instance.is_empty() && !region.is_empty() && !region.contains('.'))
        .then(|| (instance.to_owned(), region.to_owned()))
}
