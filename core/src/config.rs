//! A head made ready for requests: names resolved, URLs judged. Immutable; replaced as a whole.

use std::collections::HashMap;

use crate::egress::url::{self, AllowedOrigins, BaseUrl, Refusal};
use crate::model::{Head, Model, Provider};

/// A tenant's configuration as requests use it.
pub(crate) struct Config {
    head: Head,
    /// Alias, or an enabled model's id that is no alias, to indexes of models.
    names: HashMap<String, Vec<usize>>,
    /// The judged base URL of each provider, in the head's order.
    bases: Vec<Option<Result<BaseUrl, Refusal>>>,
}

/// A place where a call can go: an enabled model and its provider.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    /// The enabled model.
    pub model: &'a Model,
    /// Its provider.
    pub provider: &'a Provider,
    /// The provider's base URL, if its type has one that this version knows.
    pub base: Option<&'a Result<BaseUrl, Refusal>>,
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
        let bases = head
            .providers
            .iter()
            .map(|p| {
                let text = p.settings.get("base_url").or_else(|| p.kind()?.default_base())?;
                Some(url::judge(text, allowed))
            })
            .collect();
        Self { head, names, bases }
    }

    /// The document itself.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Where calls to the model that clients name `name` can go; empty if there is none.
    pub(crate) fn targets(&self, name: &str) -> Vec<Target<'_>> {
        let indexes = self.names.get(name).map(Vec::as_slice).unwrap_or_default();
        indexes.iter().filter_map(|index| self.target(self.head.models.get(*index)?)).collect()
    }

    /// The target of one enabled model.
    pub(crate) fn target<'a>(&'a self, model: &'a Model) -> Option<Target<'a>> {
        let at = self.head.providers.iter().position(|p| p.uuid == model.provider)?;
        Some(Target { model, provider: self.head.providers.get(at)?, base: self.bases.get(at)?.as_ref() })
    }

    /// The judged base URL of a provider.
    pub(crate) fn base(&self, uuid: &str) -> Option<&Result<BaseUrl, Refusal>> {
        let at = self.head.providers.iter().position(|p| p.uuid == uuid)?;
        self.bases.get(at)?.as_ref()
    }
}
