//! What our store holds about a secret.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::model::record::{self, Members, record};

/// The sealed value, or a marker: only that there is a secret in a manager.
pub(crate) struct SecretRecord {
    schema: u32,
    /// When it was written, in milliseconds since the epoch.
    pub(crate) written: u64,
    /// The sealed value.
    pub(crate) sealed: Option<String>,
    /// Its name in a manager.
    pub(crate) name: Option<String>,
    /// The address of that manager; `None` for the one of the function's own account.
    pub(crate) manager: Option<String>,
    rest: Map<String, Value>,
}

impl SecretRecord {
    /// A value that is kept here.
    pub(super) fn sealed(written: u64, sealed: String) -> Self {
        Self { schema: 1, written, sealed: Some(sealed), name: None, manager: None, rest: Map::new() }
    }

    /// The marker of one that is kept elsewhere.
    pub(super) fn marker(written: u64, name: &str, manager: Option<&str>) -> Self {
        let (name, manager) = (Some(name.to_owned()), manager.map(str::to_owned));
        Self { schema: 1, written, sealed: None, name, manager, rest: Map::new() }
    }

    /// The same with its value sealed anew.
    pub(super) fn renewed(self, sealed: String) -> Self {
        Self { sealed: Some(sealed), ..self }
    }

    /// The stored form.
    pub(super) fn encode(&self) -> Bytes {
        let known = [
            ("schema", self.schema.into()),
            ("written", self.written.into()),
            ("sealed", self.sealed.as_deref().into()),
            ("name", self.name.as_deref().into()),
            ("manager", self.manager.as_deref().into()),
        ];
        record::bytes(&record(known, &self.rest))
    }

    /// From the stored form.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut members = Members::parse(bytes)?;
        Some(Self {
            schema: members.schema()?,
            written: members.number("written")?,
            sealed: members.optional_text("sealed")?,
            name: members.optional_text("name")?,
            manager: members.optional_text("manager")?,
            rest: members.rest(),
        })
    }
}
