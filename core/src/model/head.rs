//! A tenant's whole configuration as one versioned document. Only [`Head::apply`] changes it.

use serde_json::{Map, Value};

use super::balancer::Balancer;
use super::enabled::Model;
use super::limit::RateLimit;
use super::policy::Policy;
use super::provider::Provider;
use super::record::{self, Members, record};
use super::tenant::TenantRecord;
use crate::ports::HeadRecord;

/// A tenant's configuration. Lists keep the order of creation.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Version of this document's shape.
    pub schema: u32,
    /// Grows by one with every change.
    pub version: u64,
    /// The tenant itself.
    pub tenant: TenantRecord,
    /// Its providers, without credentials.
    pub providers: Vec<Provider>,
    /// Its enabled models.
    pub models: Vec<Model>,
    /// Its rate limits.
    pub rate_limits: Vec<RateLimit>,
    /// Its policies.
    pub policies: Vec<Policy>,
    /// Its load balancers.
    pub balancers: Vec<Balancer>,
    /// Members that this version does not know, kept when the document is rewritten.
    pub rest: Map<String, Value>,
}

/// Why a stored head cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadError;

impl Head {
    /// The newest shape this version writes.
    pub const SCHEMA: u32 = 1;

    /// The first version of a new tenant's head.
    pub fn new(tenant: TenantRecord) -> Self {
        Self {
            schema: Self::SCHEMA,
            version: 1,
            tenant,
            providers: vec![],
            models: vec![],
            rate_limits: vec![],
            policies: vec![],
            balancers: vec![],
            rest: Map::new(),
        }
    }

    /// The provider of that UUID.
    pub fn provider(&self, uuid: &str) -> Option<&Provider> {
        self.providers.iter().find(|p| p.uuid == uuid)
    }

    /// The model of that UUID.
    pub fn model(&self, uuid: &str) -> Option<&Model> {
        self.models.iter().find(|m| m.uuid == uuid)
    }

    /// The rate limit of that UUID.
    pub fn rate_limit(&self, uuid: &str) -> Option<&RateLimit> {
        self.rate_limits.iter().find(|limit| limit.uuid == uuid)
    }

    /// The policy of that UUID.
    pub fn policy(&self, uuid: &str) -> Option<&Policy> {
        self.policies.iter().find(|policy| policy.uuid == uuid)
    }

    /// The same id under the same alias on the same provider.
    pub fn twin(&self, model: &Model) -> Option<&Model> {
        self.models.iter().find(|m| m.provider == model.provider && m.id == model.id && m.alias == model.alias)
    }

    /// The stored form.
    pub fn encode(&self) -> HeadRecord {
        HeadRecord { version: self.version, bytes: record::bytes(&self.to_value()) }
    }

    /// As an object, its version at the front.
    pub(crate) fn to_value(&self) -> Value {
        let balancers = match self.balancers.as_slice() {
            [] => Value::Null,
            some => some.iter().map(Balancer::to_value).collect(),
        };
        let known = [
            ("schema", self.schema.into()),
            ("version", self.version.into()),
            ("tenant", self.tenant.to_value()),
            ("providers", self.providers.iter().map(Provider::to_value).collect()),
            ("models", self.models.iter().map(Model::to_value).collect()),
            ("rate_limits", list(self.rate_limits.iter().map(RateLimit::to_value))),
            ("policies", list(self.policies.iter().map(Policy::to_value))),
            ("load_balancers", balancers),
        ];
        record(known, &self.rest)
    }

    /// From an object; `None` if it cannot be understood.
    pub(crate) fn read(value: Value) -> Option<Self> {
        let mut members = Members::of(value)?;
        let mut head = Self {
            schema: members.schema()?,
            version: members.number("version")?,
            tenant: TenantRecord::read(members.take("tenant")?)?,
            providers: Vec::new(),
            models: Vec::new(),
            rate_limits: Vec::new(),
            policies: Vec::new(),
            balancers: Vec::new(),
            rest: Map::new(),
        };
        for provider in members.list("providers")? {
            head.providers.push(Provider::read(provider)?);
        }
        for model in members.list("models")? {
            head.models.push(Model::read(model)?);
        }
        for limit in members.list("rate_limits")? {
            head.rate_limits.push(RateLimit::read(limit)?);
        }
        for policy in members.list("policies")? {
            head.policies.push(Policy::read(policy)?);
        }
        for balancer in members.list("load_balancers")? {
            head.balancers.push(Balancer::read(balancer)?);
        }
        head.rest = members.rest();
        Some(head)
    }
}

/// A list, left out when it is empty.
fn list(items: impl ExactSizeIterator<Item = Value>) -> Value {
    if items.len() == 0 { Value::Null } else { items.collect() }
}

/// Reads a stored head. A head that cannot be understood is an error, never an absent tenant.
pub fn decode_head(bytes: &[u8]) -> Result<Head, HeadError> {
    crate::json::read(bytes).and_then(Head::read).ok_or(HeadError)
}

#[cfg(test)]
mod tests;
