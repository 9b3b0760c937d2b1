//! A connection to a provider, and where its credential is.

use serde_json::{Map, Value};

use super::names::ObjectName;
use super::record::{Members, record};
use crate::provider::{ProviderKind, Settings};

/// A connection to a provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    /// Its id, a UUID.
    pub uuid: String,
    /// Its name, unique in the tenant without regard to case.
    pub name: ObjectName,
    /// Its type as written in the API; see [`Self::kind`].
    pub type_name: String,
    /// Settings that are no secrets.
    pub settings: Settings,
    /// Where its credential is.
    pub credential: CredentialRef,
    /// When it was made, in seconds since the epoch.
    pub created: u64,
    /// Unknown members, kept.
    pub rest: Map<String, Value>,
}

impl Provider {
    pub(super) fn read(value: Value) -> Option<Self> {
        let mut members = Members::of(value)?;
        Some(Self {
            uuid: members.text("uuid")?,
            name: ObjectName::stored(members.text("name")?),
            type_name: members.text("type")?,
            settings: Settings::stored(members.object("settings")?.unwrap_or_default()),
            credential: CredentialRef::read(members.take("credential")?)?,
            created: members.number("created")?,
            rest: members.rest(),
        })
    }

    pub(super) fn to_value(&self) -> Value {
        let known = [
            ("uuid", self.uuid.as_str().into()),
            ("name", self.name.as_str().into()),
            ("type", self.type_name.as_str().into()),
            ("settings", Value::Object(self.settings.members().clone())),
            ("credential", self.credential.to_value()),
            ("created", self.created.into()),
        ];
        record(known, &self.rest)
    }

    /// The type, unless a newer version wrote one that this version does not know.
    pub fn kind(&self) -> Option<ProviderKind> {
        ProviderKind::from_stored(&self.type_name)
    }
}

/// Where one provider's credential is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialRef {
    /// The manager that holds it.
    pub manager: Manager,
    /// Its id: a part of the record's key or of the secret's name. Never reused.
    pub id: String,
    /// The manager's own id of it, where that is not its name (IBM Cloud).
    pub place: Option<String>,
    /// The ARN or CRN of a secret of the tenant's own: it is read, and never written or deleted.
    pub resource: Option<String>,
    /// Unknown members, kept.
    pub rest: Map<String, Value>,
}

impl CredentialRef {
    /// A credential that is ours to write and to delete.
    pub(crate) fn new(manager: Manager, id: String) -> Self {
        Self { manager, id, place: None, resource: None, rest: Map::new() }
    }

    fn read(value: Value) -> Option<Self> {
        let mut members = Members::of(value)?;
        Some(Self {
            manager: Manager::stored(members.text("manager")?),
            id: members.text("id")?,
            place: members.optional_text("place")?,
            resource: members.optional_text("resource")?,
            rest: members.rest(),
        })
    }

    fn to_value(&self) -> Value {
        let known = [
            ("manager", self.manager.as_str().into()),
            ("id", self.id.as_str().into()),
            ("place", self.place.as_deref().into()),
            ("resource", self.resource.as_deref().into()),
        ];
        record(known, &self.rest)
    }
}

/// Where credentials are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager(String);

impl Manager {
    /// Sealed under the deployment's key, in the deployment's own store.
    pub fn builtin() -> Self {
        Self("builtin".to_owned())
    }

    /// The secrets manager of the deployment's own cloud account.
    pub fn account() -> Self {
        Self("aws".to_owned())
    }

    /// Its name in records and answers.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As a record names it.
    pub(super) fn stored(name: String) -> Self {
        Self(name)
    }

    /// A manager that the operator configured, by its address.
    pub(crate) fn named(address: &str) -> Self {
        Self(address.to_owned())
    }

    /// Whether credentials are sealed in our own store.
    pub fn is_builtin(&self) -> bool {
        self.0 == "builtin"
    }

    /// Whether they are in the secrets manager of the deployment's own account.
    pub fn is_account(&self) -> bool {
        self.0 == "aws"
    }
}
