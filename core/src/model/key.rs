//! Bearer keys of a tenant, as records. The key itself is shown once and never stored.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::record::{self, Members, record, texts};

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything under the tenant's management routes.
    Admin,
    /// Chat, completions, embeddings and the list of models.
    Inference,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 2] = [Self::Admin, Self::Inference];

    /// Its name in the API and in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Inference => "inference",
        }
    }

    /// The scope of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

/// A key as stored under its hash.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyRecord {
    /// Version of this record's shape.
    pub schema: u32,
    /// The id by which it is listed and revoked.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Names of what it may do; those that this version does not know give nothing and are kept.
    pub scopes: Vec<String>,
    /// When it was made, in seconds since the epoch.
    pub created: u64,
    /// When it ends, in seconds since the epoch.
    pub expires_at: Option<u64>,
    /// The only names of models it may call; `None`: all.
    pub models: Option<Vec<String>>,
    /// Members that this version does not know, kept when the record is rewritten.
    pub rest: Map<String, Value>,
}

impl KeyRecord {
    /// The newest shape this version writes.
    pub const SCHEMA: u32 = 1;

    /// Reads a stored record; `None` if it cannot be understood.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        crate::json::read(bytes).and_then(Self::read)
    }

    /// The stored form.
    pub fn encode(&self) -> Bytes {
        record::bytes(&self.to_value())
    }

    /// As an object.
    pub(crate) fn to_value(&self) -> Value {
        let list = |names: &[String]| names.iter().map(String::as_str).collect::<Value>();
        let known = [
            ("schema", self.schema.into()),
            ("id", self.id.as_str().into()),
            ("name", self.name.as_str().into()),
            ("scopes", list(&self.scopes)),
            ("created", self.created.into()),
            ("expires_at", self.expires_at.into()),
            ("models", self.models.as_deref().map_or(Value::Null, list)),
        ];
        record(known, &self.rest)
    }

    /// From an object; `None` if it cannot be understood.
    pub(crate) fn read(value: Value) -> Option<Self> {
        let mut members = Members::of(value)?;
        Some(Self {
            schema: members.schema()?,
            id: members.text("id")?,
            name: members.text("name")?,
            scopes: match members.take("scopes")? {
                Value::Array(scopes) => texts(scopes)?,
                _ => return None,
            },
            created: members.number("created")?,
            expires_at: members.take("expires_at").map_or(Some(None), |end| end.as_u64().map(Some))?,
            models: match members.take("models") {
                None => None,
                Some(Value::Array(models)) => Some(texts(models)?),
                // Never a key without its limits.
                Some(_) => return None,
            },
            rest: members.rest(),
        })
    }

    /// Whether it may be used at `now_ms`.
    pub fn live(&self, now_ms: u64) -> bool {
        self.expires_at.is_none_or(|end| now_ms / 1000 < end)
    }

    /// Whether it has `scope`.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|name| name == scope.as_str())
    }

    /// Whether it may call the model that clients name `name`.
    pub fn may_call(&self, name: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.iter().any(|m| m == name))
    }
}
