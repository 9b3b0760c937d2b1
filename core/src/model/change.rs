//! Every rule about changing a head. [`Head::apply`] is pure: it answers with the next head or with the reason why not.
//! Nothing else changes a head.

use super::balancer::Balancer;
use super::enabled::Model;
use super::head::Head;
use super::limit::{LimitScope, RateLimit};
use super::names::TenantName;
use super::policy::{Policy, Resource};
use super::provider::Provider;
use crate::limits;

/// One change of a head.
#[derive(Clone, Debug)]
pub enum Change {
    /// The tenant's own settings. A new name has been reserved in the registry.
    Tenant {
        /// Its name.
        name: TenantName,
        /// See `strict_parameters` of the tenant.
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

impl Head {
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
}

#[cfg(test)]
mod tests;
