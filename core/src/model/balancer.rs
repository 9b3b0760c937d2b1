//! A load balancer: a name for several enabled models, and how calls are spread over them.

use serde_json::{Map, Value};

use super::change::Conflict;
use super::head::Head;
use super::names::{Alias, ObjectName};
use super::record::{Members, record};
use crate::limits;

/// A load balancer.
#[derive(Clone, Debug, PartialEq)]
pub struct Balancer {
    /// Its id, a UUID.
    pub uuid: String,
    /// Its name, unique among the tenant's load balancers without regard to case.
    pub name: ObjectName,
    /// What clients call. Models that have the same alias are all among the backends.
    pub alias: Alias,
    /// How calls are spread, as written in the API; a newer version may have written what this one does not know.
    pub algorithm: String,
    /// The models that it spreads calls over.
    pub backends: Vec<Backend>,
    /// When it was made, in seconds since the epoch.
    pub created: u64,
    /// Unknown members, kept.
    pub rest: Map<String, Value>,
}

/// A model behind a load balancer.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// The enabled model's UUID.
    pub model: String,
    /// Its share of the calls instead of the model's own.
    pub weight: Option<u32>,
    /// Its priority instead of the model's own.
    pub priority: Option<u32>,
    /// Calls in a minute that it takes before others are asked (`quota_priority`).
    pub quota: Option<u32>,
    /// Unknown members, kept.
    pub rest: Map<String, Value>,
}

impl Backend {
    fn read(value: Value) -> Option<Self> {
        let mut members = Members::of(value)?;
        Some(Self {
            model: members.text("model")?,
            weight: members.optional_small("weight")?,
            priority: members.optional_small("priority")?,
            quota: members.optional_small("quota")?,
            rest: members.rest(),
        })
    }

    fn to_value(&self) -> Value {
        let known = [
            ("model", self.model.as_str().into()),
            ("weight", self.weight.into()),
            ("priority", self.priority.into()),
            ("quota", self.quota.into()),
        ];
        record(known, &self.rest)
    }
}

impl Balancer {
    pub(super) fn read(value: Value) -> Option<Self> {
        let mut members = Members::of(value)?;
        let mut balancer = Self {
            uuid: members.text("uuid")?,
            name: ObjectName::stored(members.text("name")?),
            alias: Alias::stored(members.text("alias")?),
            algorithm: members.text("algorithm")?,
            backends: Vec::new(),
            created: members.number("created")?,
            rest: Map::new(),
        };
        for backend in members.list("backends")? {
            balancer.backends.push(Backend::read(backend)?);
        }
        balancer.rest = members.rest();
        Some(balancer)
    }

    pub(super) fn to_value(&self) -> Value {
        let known = [
            ("uuid", self.uuid.as_str().into()),
            ("name", self.name.as_str().into()),
            ("alias", self.alias.as_str().into()),
            ("algorithm", self.algorithm.as_str().into()),
            ("backends", self.backends.iter().map(Backend::to_value).collect()),
            ("created", self.created.into()),
        ];
        record(known, &self.rest)
    }
}

impl Head {
    /// The load balancer of that UUID.
    pub fn balancer(&self, uuid: &str) -> Option<&Balancer> {
        self.balancers.iter().find(|known| known.uuid == uuid)
    }

    /// Puts a load balancer in, new or in place of the one with its UUID.
    pub(super) fn put_balancer(&mut self, balancer: Balancer, new: bool) -> Result<(), Conflict> {
        let others = || self.balancers.iter().filter(|known| known.uuid != balancer.uuid);
        if others().any(|known| known.name.same(&balancer.name)) {
            return Err(Conflict::BalancerName);
        }
        let behind = |uuid: &str| balancer.backends.iter().any(|backend| backend.model == uuid);
        let outside =
            self.models.iter().any(|model| model.alias.as_ref() == Some(&balancer.alias) && !behind(&model.uuid));
        if outside || others().any(|known| known.alias == balancer.alias) {
            return Err(Conflict::BalancerAlias);
        }
        if balancer.backends.iter().any(|backend| self.model(&backend.model).is_none()) {
            return Err(Conflict::NoBackend);
        }
        let known = self.balancers.iter().position(|known| known.uuid == balancer.uuid);
        match known {
            None if !new => return Err(Conflict::NoBalancer),
            None if self.balancers.len() >= limits::BALANCERS => return Err(Conflict::TooManyBalancers),
            None => self.balancers.push(balancer),
            Some(at) => {
                if let Some(old) = self.balancers.get_mut(at) {
                    let (created, rest) = (old.created, std::mem::take(&mut old.rest));
                    *old = Balancer { created, rest, ..balancer };
                }
            }
        }
        Ok(())
    }

    pub(super) fn remove_balancer(&mut self, uuid: &str) -> Result<(), Conflict> {
        let at = self.balancers.iter().position(|known| known.uuid == uuid).ok_or(Conflict::NoBalancer)?;
        self.balancers.remove(at);
        Ok(())
    }

    /// Backends go with their models.
    pub(super) fn prune_backends(&mut self) {
        let models = &self.models;
        for balancer in &mut self.balancers {
            balancer.backends.retain(|backend| models.iter().any(|model| model.uuid == backend.model));
        }
    }

    /// Whether a load balancer has that alias and does not have the model behind it.
    pub(super) fn balanced_without(&self, alias: Option<&Alias>, model: &str) -> bool {
        self.balancers
            .iter()
            .any(|known| Some(&known.alias) == alias && !known.backends.iter().any(|backend| backend.model == model))
    }
}
