//! A head made ready for requests: names resolved, URLs judged. Immutable; replaced as a whole.

use std::collections::HashMap;

use http::Uri;

use crate::egress::url::{self, AllowedOrigins, BaseUrl, Refusal};
use crate::model::{Head, Model, Provider};
use crate::provider::{self, Endpoint};
use crate::route::TargetId;

/// A tenant's configuration as requests use it.
pub(crate) struct Config {
    head: Head,
    /// Alias, or an enabled model's id that is no alias, to indexes of models.
    names: HashMap<String, Vec<usize>>,
    /// The judged addresses of each provider, in the head's order.
    places: Vec<Option<Result<Places, Refusal>>>,
    /// What routing knows each model by, in the head's order.
    ids: Vec<TargetId>,
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
    /// Where the provider is reached, if its type has an address that this version knows.
    pub places: Option<&'a Result<Places, Refusal>>,
}

impl Config {
    /// Prepares a head. URLs are judged again here, so that a rule that became stricter holds for old records.
    pub(crate) fn new(head: Head, allowed: &AllowedOrigins) -> Self {
        let mut names: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, model) in head.models.iter().enumerate() {
            if let Some(alias) = &model.alias {
                names.entry(alias.as_str().to_owned()).or_default().push(index);
            }
        }
        // An alias hides a provider's id of the same spelling.
        let mut ids: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, model) in head.models.iter().enumerate() {
            if !names.contains_key(model.id.as_str()) {
                ids.entry(model.id.as_str().to_owned()).or_default().push(index);
            }
        }
        names.extend(ids);
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
        let indexes = self.names.get(name).map(Vec::as_slice).unwrap_or_default();
        indexes.iter().filter_map(|index| self.target(*index)).collect()
    }

    /// The target of an enabled model, by its index in the head.
    pub(crate) fn target(&self, at: usize) -> Option<Target<'_>> {
        let (model, id) = (self.head.models.get(at)?, *self.ids.get(at)?);
        let by = self.head.providers.iter().position(|p| p.uuid == model.provider)?;
        Some(Target { id, at, model, provider: self.head.providers.get(by)?, places: self.places.get(by)?.as_ref() })
    }

    /// Where a provider is reached.
    pub(crate) fn places(&self, uuid: &str) -> Option<&Result<Places, Refusal>> {
        let at = self.head.providers.iter().position(|p| p.uuid == uuid)?;
        self.places.get(at)?.as_ref()
    }
}
