//! A head made ready for requests: names resolved, URLs judged. Immutable; replaced as a whole.

use std::collections::HashMap;

use http::Uri;

use crate::egress::url::{self, AllowedOrigins, BaseUrl, Refusal};
use crate::model::{Backend, Head, Model, Provider};
use crate::provider::{self, Endpoint};
use crate::route::{Algorithm, TargetId};

/// A tenant's configuration as requests use it.
pub(crate) struct Config {
    head: Head,
    /// What clients can call: a load balancer's alias, else an alias, else an enabled model's id.
    names: HashMap<String, Name>,
    /// The judged addresses of each provider, in the head's order.
    places: Vec<Option<Result<Places, Refusal>>>,
    /// What routing knows each model by, in the head's order.
    ids: Vec<TargetId>,
}

/// What a callable name stands for.
#[derive(Default)]
struct Name {
    algorithm: Algorithm,
    models: Vec<Share>,
}

/// A model's part in a name.
#[derive(Clone, Copy)]
struct Share {
    /// Its index in the head.
    at: usize,
    weight: u32,
    priority: u32,
    quota: Option<u32>,
}

impl Share {
    fn of(at: usize, model: &Model) -> Self {
        Self { at, weight: model.weight, priority: model.priority, quota: None }
    }
}

/// The addresses of a provider.
pub(crate) struct Places {
    base: BaseUrl,
    /// Addresses that depend on no model, joined once; in the order of [`FIXED`].
    fixed: [Option<Uri>; FIXED.len()],
}

const FIXED: [Endpoint; 3] = [Endpoint::Chat, Endpoint::Completions, Endpoint::Embeddings];

impl Places {
    fn of(base: BaseUrl, provider: &Provider) -> Self {
        let fixed = FIXED.map(|endpoint| {
            let path = provider::fixed_path(provider.kind()?, endpoint)?;
            url::join(&base, path).ok()
        });
        Self { base, fixed }
    }

    /// Whether the operator opened this very origin.
    pub(crate) fn private_allowed(&self) -> bool {
        self.base.private_allowed()
    }

    /// The judged base.
    pub(crate) fn base(&self) -> &BaseUrl {
        &self.base
    }

    /// The address of an endpoint, if it is the same for every model.
    pub(crate) fn fixed(&self, endpoint: Endpoint) -> Option<&Uri> {
        let at = FIXED.iter().position(|known| *known == endpoint)?;
        self.fixed.get(at)?.as_ref()
    }
}

/// A place where a call can go: an enabled model and its provider.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    /// What routing knows it by.
    pub id: TargetId,
    /// The index of the enabled model in the head.
    pub at: usize,
    /// The enabled model.
    pub model: &'a Model,
    /// Its provider.
    pub provider: &'a Provider,
    /// Its share of the calls; 0 takes none.
    pub weight: u32,
    /// The lowest number is called first.
    pub priority: u32,
    /// Calls in a minute that it takes before others.
    pub quota: Option<u32>,
    /// Where the provider is reached, if its type has an address that this version knows.
    pub places: Option<&'a Result<Places, Refusal>>,
}

impl Config {
    /// Prepares a head. URLs are judged again here, so that a rule that became stricter holds for old records.
    pub(crate) fn new(head: Head, allowed: &AllowedOrigins) -> Self {
        let names = names(&head);
        let places = head
            .providers
            .iter()
            .map(|p| {
                let text = provider::base(p.kind()?, &p.settings)?;
                Some(url::judge(&text, allowed).map(|base| Places::of(base, p)))
            })
            .collect();
        let tenant = head.tenant.id;
        let ids = head.models.iter().map(|model| TargetId::of(tenant, &model.provider, model.id.as_str())).collect();
        Self { head, names, places, ids }
    }

    /// The document itself.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Where calls to the model that clients name `name` can go; empty if there is none.
    pub(crate) fn targets(&self, name: &str) -> Vec<Target<'_>> {
        let shares = self.names.get(name).map(|name| name.models.as_slice()).unwrap_or_default();
        shares.iter().filter_map(|share| self.share(*share)).collect()
    }

    /// How calls to that name are spread.
    pub(crate) fn algorithm(&self, name: &str) -> Algorithm {
        self.names.get(name).map(|name| name.algorithm).unwrap_or_default()
    }

    /// The target of an enabled model, by its index in the head.
    pub(crate) fn target(&self, at: usize) -> Option<Target<'_>> {
        self.share(Share::of(at, self.head.models.get(at)?))
    }

    fn share(&self, Share { at, weight, priority, quota }: Share) -> Option<Target<'_>> {
        let (model, id) = (self.head.models.get(at)?, *self.ids.get(at)?);
        let by = self.head.providers.iter().position(|p| p.uuid == model.provider)?;
        let (provider, places) = (self.head.providers.get(by)?, self.places.get(by)?.as_ref());
        Some(Target { id, at, model, provider, weight, priority, quota, places })
    }

    /// Where a provider is reached.
    pub(crate) fn places(&self, uuid: &str) -> Option<&Result<Places, Refusal>> {
        let at = self.head.providers.iter().position(|p| p.uuid == uuid)?;
        self.places.get(at)?.as_ref()
    }
}

/// What each callable name stands for. A load balancer's alias comes before one of models, and any alias before a
/// provider's id of the same spelling.
fn names(head: &Head) -> HashMap<String, Name> {
    let mut names: HashMap<String, Name> = HashMap::new();
    for balancer in &head.balancers {
        let share = |backend: &Backend| {
            let (at, model) = head.models.iter().enumerate().find(|(_, model)| model.uuid == backend.model)?;
            let weight = backend.weight.unwrap_or(model.weight);
            let priority = backend.priority.unwrap_or(model.priority);
            Some(Share { at, weight, priority, quota: backend.quota })
        };
        let models: Vec<Share> = balancer.backends.iter().filter_map(share).collect();
        if !models.is_empty() {
            let algorithm = Algorithm::stored(&balancer.algorithm);
            names.insert(balancer.alias.as_str().to_owned(), Name { algorithm, models });
        }
    }
    let mut aliases: HashMap<String, Name> = HashMap::new();
    let mut ids: HashMap<String, Name> = HashMap::new();
    for (at, model) in head.models.iter().enumerate() {
        let share = Share::of(at, model);
        if let Some(alias) = &model.alias {
            aliases.entry(alias.as_str().to_owned()).or_default().models.push(share);
        }
        ids.entry(model.id.as_str().to_owned()).or_default().models.push(share);
    }
    for (name, models) in aliases.into_iter().chain(ids) {
        names.entry(name).or_insert(models);
    }
    names
}
