//! The tenant's own record in its head.

use serde_json::{Map, Value};

use super::TenantId;
use super::names::TenantName;
use super::provider::Manager;
use super::record::{Members, record};

/// The tenant's own record.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantRecord {
    /// Its id.
    pub id: TenantId,
    /// Its unique name.
    pub name: TenantName,
    /// Where new credentials are kept.
    pub manager: Manager,
    /// Refuse what a provider cannot take instead of leaving it out.
    pub strict_parameters: bool,
    /// When it was made, in seconds since the epoch.
    pub created: u64,
    /// Unknown members, kept.
    pub rest: Map<String, Value>,
}

impl TenantRecord {
    pub(super) fn read(value: Value) -> Option<Self> {
        let mut members = Members::of(value)?;
        Some(Self {
            id: TenantId::stored(&members.text("id")?)?,
            name: TenantName::stored(members.text("name")?),
            manager: Manager::stored(members.text("manager")?),
            strict_parameters: members.take("strict_parameters").map_or(Some(false), |value| value.as_bool())?,
            created: members.number("created")?,
            rest: members.rest(),
        })
    }

    pub(super) fn to_value(&self) -> Value {
        let known = [
            ("id", self.id.to_string().into()),
            ("name", self.name.as_str().into()),
            ("manager", self.manager.as_str().into()),
            ("strict_parameters", if self.strict_parameters { Value::Bool(true) } else { Value::Null }),
            ("created", self.created.into()),
        ];
        record(known, &self.rest)
    }
}
