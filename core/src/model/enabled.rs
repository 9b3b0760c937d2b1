//! A model enabled on a provider.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::capabilities::Overrides;
use super::names::{Alias, ModelId};
use super::record::{Members, record};
use crate::account::Price;

/// A model enabled on a provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Its id, a UUID.
    pub uuid: String,
    /// The provider's UUID.
    pub provider: String,
    /// The provider's own identifier.
    pub id: ModelId,
    /// What clients call it.
    pub alias: Option<Alias>,
    /// Free data of the tenant.
    pub metadata: Option<Map<String, Value>>,
    /// What the tenant says of its capabilities, over what its id tells.
    pub capabilities: Option<Overrides>,
    /// What its tokens cost the tenant, over what the price books say.
    pub price: Option<Arc<Price>>,
    /// Its share of the calls of its alias; 0 takes none.
    pub weight: u32,
    /// The lowest number of an alias is called first; others when none of it can take a call.
    pub priority: u32,
    /// When it was enabled, in seconds since the epoch.
    pub created: u64,
    /// Unknown members, kept.
    pub rest: Map<String, Value>,
}

impl Model {
    pub(super) fn read(value: Value) -> Option<Self> {
        let mut members = Members::of(value)?;
        Some(Self {
            uuid: members.text("uuid")?,
            provider: members.text("provider")?,
            id: ModelId::stored(members.text("id")?),
            alias: members.optional_text("alias")?.map(Alias::stored),
            metadata: members.object("metadata")?,
            capabilities: match members.object("capabilities")? {
                Some(said) => Some(Overrides::of(said)?),
                None => None,
            },
            price: match members.object("price")? {
                Some(said) => Some(Arc::new(Price::of(said).ok()?)),
                None => None,
            },
            weight: members.small("weight", 1)?,
            priority: members.small("priority", 0)?,
            created: members.number("created")?,
            rest: members.rest(),
        })
    }

    pub(super) fn to_value(&self) -> Value {
        let object = |members: &Map<String, Value>| Value::Object(members.clone());
        let known = [
            ("uuid", self.uuid.as_str().into()),
            ("provider", self.provider.as_str().into()),
            ("id", self.id.as_str().into()),
            ("alias", self.alias.as_ref().map(Alias::as_str).into()),
            ("metadata", self.metadata.as_ref().map_or(Value::Null, object)),
            ("capabilities", self.capabilities.as_ref().map_or(Value::Null, |said| object(said.members()))),
            ("price", self.price.as_ref().map_or(Value::Null, |price| object(price.members()))),
            ("weight", if self.weight == 1 { Value::Null } else { self.weight.into() }),
            ("priority", if self.priority == 0 { Value::Null } else { self.priority.into() }),
            ("created", self.created.into()),
        ];
        record(known, &self.rest)
    }

    /// The name clients send: the alias, else the provider's id.
    pub fn callable(&self) -> &str {
        self.alias.as_ref().map_or(self.id.as_str(), Alias::as_str)
    }
}
