//! A tenant's whole configuration as one versioned document, and every rule about changing it.
//!
//! [`Head::apply`] is pure: it answers with the next head or with the reason why not. Nothing else changes a head.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::balancer::Balancer;
use super::capabilities::Overrides;
use super::limit::{LimitScope, RateLimit};
use super::names::{Alias, ModelId, ObjectName, TenantName};
use super::policy::{Policy, Resource};
use super::record::{self, Members, record};
use crate::account::Price;
use crate::limits;
use crate::model::TenantId;
use crate::ports::HeadRecord;
use crate::provider::{ProviderKind, Settings};

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

impl CredentialRef {
    /// A credential that is ours to write and to delete.
    pub(crate) fn new(manager: Manager, id: String) -> Self {
        Self { manager, id, place: None, resource: None, rest: Map::new() }
    }

    fn read(value: Value) -> Option<Self> {
        let mut members = Members::of(value)?;
        Some(Self {
            manager: Manager(members.text("manager")?),
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

impl TenantRecord {
    fn read(value: Value) -> Option<Self> {
        let mut members = Members::of(value)?;
        Some(Self {
            id: TenantId::stored(&members.text("id")?)?,
            name: TenantName::stored(members.text("name")?),
            manager: Manager(members.text("manager")?),
            strict_parameters: members.take("strict_parameters").map_or(Some(false), |value| value.as_bool())?,
            created: members.number("created")?,
            rest: members.rest(),
        })
    }

    fn to_value(&self) -> Value {
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

impl Provider {
    fn read(value: Value) -> Option<Self> {
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

    fn to_value(&self) -> Value {
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
    fn read(value: Value) -> Option<Self> {
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

    fn to_value(&self) -> Value {
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

/// One change of a head.
#[derive(Clone, Debug)]
pub enum Change {
    /// The tenant's own settings. A new name has been reserved in the registry.
    Tenant {
        /// Its name.
        name: TenantName,
        /// See [`TenantRecord::strict_parameters`].
        strict_parameters: bool,
    },
    /// A new provider.
    AddProvider(Provider),
    /// Another name, settings and credential for a provider; its uuid, type, models and age stay.
    ReplaceProvider(Provider),
    /// A provider and its models go.
    RemoveProvider(String),
    /// A new model, unless the provider has the same id under the same alias.
    AddModel(Model),
    /// Another id, alias and metadata for a model; its uuid, provider and age stay.
    ReplaceModel(Model),
    /// A model goes. With a provider given, only if it is that provider's.
    RemoveModel {
        /// The model's UUID.
        uuid: String,
        /// The provider it must belong to.
        provider: Option<String>,
    },
    /// A new rate limit.
    AddRateLimit(RateLimit),
    /// Another reach and other buckets for a rate limit; its uuid and age stay.
    ReplaceRateLimit(RateLimit),
    /// A rate limit goes.
    RemoveRateLimit(String),
    /// A key is gone, and its rate limit with it.
    ForgetKey(String),
    /// A new policy, unless there is the same already.
    AddPolicy(Policy),
    /// Policies go: those of these UUIDs, of which one at least must be there.
    RemovePolicies(Vec<String>),
    /// A new load balancer.
    AddBalancer(Balancer),
    /// Another name, alias, algorithm and other backends for a load balancer; its uuid and age stay.
    ReplaceBalancer(Balancer),
    /// A load balancer goes; its models stay.
    RemoveBalancer(String),
}

/// Why a change cannot be made. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Another provider has that name.
    ProviderName,
    /// There is no such provider.
    NoProvider,
    /// There is no such model.
    NoModel,
    /// Another enabled model of the provider has the same id and alias.
    SameModel,
    /// Another load balancer has that name.
    BalancerName,
    /// The alias is a load balancer's, or that of a model that would not be behind it.
    BalancerAlias,
    /// There is no such load balancer.
    NoBalancer,
    /// A load balancer names a model that there is not.
    NoBackend,
    /// The tenant has as many load balancers as it may.
    TooManyBalancers,
    /// The tenant has as many providers as it may.
    TooManyProviders,
    /// The tenant has as many models as it may.
    TooManyModels,
    /// There is no such rate limit.
    NoRateLimit,
    /// There is a rate limit for the same already.
    SameRateLimit,
    /// There is no such policy.
    NoPolicy,
    /// The tenant has as many rate limits as it may.
    TooManyRateLimits,
    /// The tenant has as many policies as it may.
    TooManyPolicies,
    /// The document would be too large.
    TooLarge,
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

    /// The same id under the same alias on the same provider.
    pub fn twin(&self, model: &Model) -> Option<&Model> {
        self.models.iter().find(|m| m.provider == model.provider && m.id == model.id && m.alias == model.alias)
    }

    /// The head after `change`, one version on. An exact repeat of [`Change::AddModel`] gives an equal head.
    pub fn apply(&self, change: Change) -> Result<Self, Conflict> {
        let mut next = self.clone();
        next.version += 1;
        match change {
            Change::Tenant { name, strict_parameters } => {
                next.tenant.name = name;
                next.tenant.strict_parameters = strict_parameters;
            }
            Change::AddProvider(provider) => {
                if self.providers.iter().any(|p| p.uuid == provider.uuid || p.name.same(&provider.name)) {
                    return Err(Conflict::ProviderName);
                }
                if self.providers.len() >= limits::PROVIDERS {
                    return Err(Conflict::TooManyProviders);
                }
                next.providers.push(provider);
            }
            Change::ReplaceProvider(provider) => {
                if self.providers.iter().any(|p| p.uuid != provider.uuid && p.name.same(&provider.name)) {
                    return Err(Conflict::ProviderName);
                }
                let old = next.providers.iter_mut().find(|p| p.uuid == provider.uuid).ok_or(Conflict::NoProvider)?;
                old.name = provider.name;
                old.settings = provider.settings;
                old.credential = provider.credential;
            }
            Change::RemoveProvider(uuid) => {
                next.providers.retain(|p| p.uuid != uuid);
                if next.providers.len() == self.providers.len() {
                    return Err(Conflict::NoProvider);
                }
                next.models.retain(|m| m.provider != uuid);
                next.forget_dangling(self);
                next.prune_backends();
            }
            Change::AddModel(model) => {
                self.provider(&model.provider).ok_or(Conflict::NoProvider)?;
                if self.twin(&model).is_some() {
                    return Ok(self.clone());
                }
                if self.balanced_without(model.alias.as_ref(), &model.uuid) {
                    return Err(Conflict::BalancerAlias);
                }
                if self.models.len() >= limits::MODELS {
                    return Err(Conflict::TooManyModels);
                }
                next.models.push(model);
            }
            Change::ReplaceModel(model) => {
                if self.twin(&model).is_some_and(|twin| twin.uuid != model.uuid) {
                    return Err(Conflict::SameModel);
                }
                if self.balanced_without(model.alias.as_ref(), &model.uuid) {
                    return Err(Conflict::BalancerAlias);
                }
                let old = next
                    .models
                    .iter_mut()
                    .find(|m| m.uuid == model.uuid && m.provider == model.provider)
                    .ok_or(Conflict::NoModel)?;
                old.id = model.id;
                old.alias = model.alias;
                old.metadata = model.metadata;
                old.capabilities = model.capabilities;
                old.price = model.price;
                old.weight = model.weight;
                old.priority = model.priority;
            }
            Change::RemoveModel { uuid, provider } => {
                next.models.retain(|m| m.uuid != uuid || provider.as_ref().is_some_and(|p| *p != m.provider));
                if next.models.len() == self.models.len() {
                    return Err(Conflict::NoModel);
                }
                next.prune_backends();
                next.forget_dangling(self);
            }
            Change::AddRateLimit(limit) => {
                self.check_reach(&limit)?;
                if self.rate_limits.len() >= limits::RATE_LIMITS {
                    return Err(Conflict::TooManyRateLimits);
                }
                next.rate_limits.push(limit);
            }
            Change::ReplaceRateLimit(limit) => {
                self.check_reach(&limit)?;
                let old =
                    next.rate_limits.iter_mut().find(|old| old.uuid == limit.uuid).ok_or(Conflict::NoRateLimit)?;
                *old = RateLimit { created: old.created, rest: std::mem::take(&mut old.rest), ..limit };
            }
            Change::RemoveRateLimit(uuid) => {
                next.rate_limits.retain(|limit| limit.uuid != uuid);
                if next.rate_limits.len() == self.rate_limits.len() {
                    return Err(Conflict::NoRateLimit);
                }
            }
            Change::ForgetKey(id) => {
                next.rate_limits.retain(|limit| limit.scope != LimitScope::Key(id.clone()));
                if next.rate_limits.len() == self.rate_limits.len() {
                    return Ok(self.clone());
                }
            }
            Change::AddPolicy(policy) => {
                if self.policies.iter().any(|known| known.same(&policy)) {
                    return Ok(self.clone());
                }
                if self.policies.len() >= limits::POLICIES {
                    return Err(Conflict::TooManyPolicies);
                }
                next.policies.push(policy);
            }
            Change::RemovePolicies(uuids) => {
                next.policies.retain(|policy| !uuids.contains(&policy.uuid));
                if next.policies.len() == self.policies.len() {
                    return Err(Conflict::NoPolicy);
                }
            }
            Change::AddBalancer(balancer) => next.put_balancer(balancer, true)?,
            Change::ReplaceBalancer(balancer) => next.put_balancer(balancer, false)?,
            Change::RemoveBalancer(uuid) => {
                next.remove_balancer(&uuid)?;
                next.policies.retain(|policy| !policy.names(Resource::LoadBalancer(&uuid)));
            }
        }
        if next.encode().bytes.len() > limits::HEAD_BYTES {
            return Err(Conflict::TooLarge);
        }
        Ok(next)
    }

    /// Whether a rate limit may be there: what it is for exists, and no other limit is for the same. Keys are not known here.
    fn check_reach(&self, limit: &RateLimit) -> Result<(), Conflict> {
        match &limit.scope {
            LimitScope::Provider(uuid) => drop(self.provider(uuid).ok_or(Conflict::NoProvider)?),
            LimitScope::Model(uuid) => drop(self.model(uuid).ok_or(Conflict::NoModel)?),
            LimitScope::Tenant | LimitScope::Key(_) => {}
        }
        let taken = self.rate_limits.iter().any(|known| known.uuid != limit.uuid && known.scope == limit.scope);
        if taken { Err(Conflict::SameRateLimit) } else { Ok(()) }
    }

    /// Removes rate limits and policies of providers and models that `before` still had.
    fn forget_dangling(&mut self, before: &Self) {
        let Self { providers, models, rate_limits, policies, .. } = self;
        let gone_providers: Vec<&str> = before
            .providers
            .iter()
            .map(|old| old.uuid.as_str())
            .filter(|uuid| !providers.iter().any(|provider| provider.uuid == *uuid))
            .collect();
        let gone_models: Vec<&str> = before
            .models
            .iter()
            .map(|old| old.uuid.as_str())
            .filter(|uuid| !models.iter().any(|model| model.uuid == *uuid))
            .collect();
        rate_limits.retain(|limit| match &limit.scope {
            LimitScope::Provider(uuid) => !gone_providers.contains(&uuid.as_str()),
            LimitScope::Model(uuid) => !gone_models.contains(&uuid.as_str()),
            LimitScope::Tenant | LimitScope::Key(_) => true,
        });
        policies.retain(|policy| {
            !gone_providers.iter().any(|uuid| policy.names(Resource::Provider(uuid)))
                && !gone_models.iter().any(|uuid| policy.names(Resource::Model(uuid)))
        });
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
