//! The registry of tenant names: which tenant a name belongs to, and whether its creation was completed.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::limits;
use crate::model::TenantId;
use crate::model::record::{self, Members, record};

/// What the registry holds under a tenant's canonical name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NameEntry {
    /// Version of this record's shape.
    pub schema: u32,
    /// The tenant.
    pub tenant: TenantId,
    /// `pending` while its head is being written, then `active`.
    pub state: String,
    /// When the tenant was created, in milliseconds since the epoch; the first is the default tenant.
    pub created: u64,
    /// When this entry was written, in milliseconds since the epoch.
    pub since: u64,
    /// Unknown members, kept.
    pub rest: Map<String, Value>,
}

impl NameEntry {
    /// A name taken for a tenant that does not exist yet.
    pub(crate) fn pending(tenant: TenantId, created: u64, now_ms: u64) -> Self {
        Self { schema: 1, tenant, state: "pending".to_owned(), created, since: now_ms, rest: Map::new() }
    }

    /// The same, in use.
    #[must_use]
    pub(crate) fn activated(&self, now_ms: u64) -> Self {
        Self { state: "active".to_owned(), since: now_ms, ..self.clone() }
    }

    /// Whether the tenant is complete.
    pub(crate) fn active(&self) -> bool {
        self.state == "active"
    }

    /// Whether it was left half-made so long ago that it may be cleared.
    pub(crate) fn abandoned(&self, now_ms: u64) -> bool {
        !self.active() && now_ms.saturating_sub(self.since) >= limits::ORPHAN_MS
    }

    /// The stored form.
    pub(crate) fn encode(&self) -> Bytes {
        let known = [
            ("schema", self.schema.into()),
            ("tenant", self.tenant.to_string().into()),
            ("state", self.state.as_str().into()),
            ("created", self.created.into()),
            ("since", self.since.into()),
        ];
        record::bytes(&record(known, &self.rest))
    }

    /// Reads the stored form; `None` if it cannot be understood.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut members = Members::parse(bytes)?;
        Some(Self {
            schema: members.schema()?,
            tenant: TenantId::stored(&members.text("tenant")?)?,
            state: members.text("state")?,
            created: members.number("created")?,
            since: members.number("since")?,
            rest: members.rest(),
        })
    }
}
