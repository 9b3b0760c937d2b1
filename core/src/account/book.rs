//! Price books: which price a provider's model has. Ours is in the repository with its sources; the operator's comes first,
//! and what a tenant says of its own model before both.

use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::{Price, Tariff};
use crate::config::Target;
use crate::dialect::openai_chat::Call;
use crate::limits;

/// A versioned list of prices.
#[derive(Debug)]
pub(crate) struct Book {
    version: Arc<str>,
    rows: Vec<Row>,
}

/// The price of a model, or of several.
#[derive(Debug)]
struct Row {
    /// The provider's type.
    kind: String,
    /// The provider's id of the model; with a star at its end the beginning of ids.
    model: String,
    price: Arc<Price>,
}

/// How well a row fits a model; the best comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// It names the beginning of so many bytes.
    Beginning(usize),
    /// It names the model whose snapshot of a date it is.
    Snapshot,
    /// It names it.
    Exact,
}

impl Book {
    /// Reads `{"version": "…", "rows": [{"type": "…", "model": "…", "input": "…", …}]}`; further members are notes. `None`
    /// if any of it cannot be understood.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut book: serde_json::Map<String, Value> = crate::json::read_object(text.as_bytes())?;
        let Value::String(version) = book.shift_remove("version")? else { return None };
        let good = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if version.is_empty() || version.len() > limits::PRICE_VERSION_BYTES || !version.bytes().all(good) {
            return None;
        }
        let Value::Array(items) = book.shift_remove("rows")? else { return None };
        let rows: Option<Vec<Row>> = items.into_iter().map(Row::read).collect();
        Some(Self { version: version.into(), rows: rows? })
    }

    /// The price of a provider's model.
    fn find(&self, kind: &str, model: &str) -> Option<Tariff> {
        let fits = self.rows.iter().filter(|row| row.kind == kind).filter_map(|row| Some((row.fit(model)?, row)));
        let (_, row) = fits.max_by_key(|(fit, _)| *fit)?;
        Some(Tariff { price: Arc::clone(&row.price), version: Arc::clone(&self.version) })
    }
}

impl Row {
    fn read(value: Value) -> Option<Self> {
        let Value::Object(mut members) = value else { return None };
        let (Value::String(kind), Value::String(model)) =
            (members.shift_remove("type")?, members.shift_remove("model")?)
        else {
            return None;
        };
        Some(Self { kind, model, price: Arc::new(Price::of(members).ok()?) })
    }

    fn fit(&self, model: &str) -> Option<Fit> {
        if let Some(beginning) = self.model.strip_suffix('*') {
            return model.starts_with(beginning).then_some(Fit::Beginning(beginning.len()));
        }
        let rest = model.strip_prefix(self.model.as_str())?;
        match rest {
            "" => Some(Fit::Exact),
            _ => is_date(rest).then_some(Fit::Snapshot),
        }
    }
}

/// Whether it is what providers put behind a model's name for a snapshot: `-2024-08-06` or `-20241022`.
fn is_date(suffix: &str) -> bool {
    let Some(date) = suffix.strip_prefix('-') else { return false };
    let shape: Vec<bool> = date.bytes().map(|b| b.is_ascii_digit()).collect();
    let dashed = [true, true, true, true, false, true, true, false, true, true];
    shape == [true; 8] || (shape == dashed && date.bytes().filter(|b| *b == b'-').count() == 2)
}

/// The price books of a deployment.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// The operator's.
    operator: Option<Book>,
    /// Ours, once it was needed.
    own: OnceLock<Option<Book>>,
}

impl Books {
    /// With one of the operator.
    pub(crate) const fn new(operator: Option<Book>) -> Self {
        Self { operator, own: OnceLock::new() }
    }

    /// What a call at a target costs, at version `version` of its tenant's configuration; `None` if nobody knows it.
    ///
    /// What the tenant says of its model holds for every call. Price books have list prices: they say nothing of
    /// calls in a tier of service that is asked for by name; and ours knows the providers' own addresses only.
    pub(crate) fn tariff(&self, target: Target<'_>, call: &Call<'_>, version: u64) -> Option<Tariff> {
        let Target { model, provider, .. } = target;
        if let Some(price) = &model.price {
            return Some(Tariff { price: Arc::clone(price), version: format!("tenant:{version}").into() });
        }
        if !call.standard() {
            return None;
        }
        let (kind, id) = (provider.type_name.as_str(), model.id.as_str());
        let operator = self.operator.as_ref().and_then(|book| book.find(kind, id));
        let listed = || {
            let elsewhere = provider.settings.get("base_url").is_some();
            let own = self.own.get_or_init(|| Book::read(OWN)).as_ref().filter(|_| !elsewhere);
            own?.find(kind, id)
        };
        operator.or_else(listed)
    }
}

/// Our book. Every row names its source.
const OWN: &str = include_str!("prices.json");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::ProviderKind;

    fn book(rows: &str) -> Option<Book> {
        Book::read(&format!(r#"{{"version":"v1","rows":[{rows}]}}"#))
    }

    #[test]
    fn every_row_of_our_book_names_its_source() {
        let book = Book::read(OWN).unwrap();
        let text: Value = serde_json::from_str(OWN).unwrap();
        let date = |text: &str| is_date(&format!("-{text}")) && text.len() == 10;
        assert!(date(&book.version), "{}", book.version);
        let mut seen = std::collections::HashSet::new();
        for (row, read) in text["rows"].as_array().unwrap().iter().zip(&book.rows) {
            assert!(row["source"].as_str().is_some_and(|url| url.starts_with("https://")), "{row}");
            assert!(row["retrieved"].as_str().is_some_and(date), "{row}");
            assert!(ProviderKind::from_stored(&read.kind).is_some(), "{row}");
            assert!(seen.insert((read.kind.clone(), read.model.clone())), "twice: {row}");
            let known = |name: &str| Price::knows(name) || ["type", "model", "source", "retrieved"].contains(&name);
            assert!(row.as_object().unwrap().keys().all(|name| known(name)) && read.price.knows_tiers(), "{row}");
        }
        assert!(!book.rows.is_empty());
    }

    #[test]
    fn the_closest_row_counts() {
        let rows = r#"{"type":"openai","model":"gpt*","input":"1"},{"type":"openai","model":"gpt-4o","input":"2"},
            {"type":"openai","model":"gpt-4o-2024-05-13","input":"3"},{"type":"openai","model":"gpt-4*","input":"4"},
            {"type":"nim","model":"gpt-4o","input":"5"}"#;
        let book = book(rows).unwrap();
        for (model, want) in [
            ("gpt-4o", Some("2")),
            ("gpt-4o-2024-08-06", Some("2")),
            ("gpt-4o-20240806", Some("2")),
            ("gpt-4o-2024-05-13", Some("3")),
            ("gpt-4o-mini", Some("4")),
            ("gpt-4o-2024-08-0x", Some("4")),
            ("gpt-4o-2024x08-06", Some("4")),
            ("gpt-3.5", Some("1")),
            ("o1", None),
        ] {
            let found = book.find("openai", model);
            let input = found.as_ref().map(|tariff| tariff.price.members()["input"].as_str().unwrap());
            assert_eq!(input, want, "{model}");
        }
        assert!(book.find("cerebras", "gpt-4o").is_none());
    }

    #[test]
    fn a_book_that_cannot_be_understood_is_none() {
        assert!(book("").is_some());
        for rows in ["1", "{}", r#"{"type":"openai","model":"m"}"#, r#"{"type":"openai","model":"m","input":"x"}"#] {
            assert!(book(rows).is_none(), "{rows}");
        }
        let version = |version: &str| Book::read(&format!(r#"{{"version":"{version}","rows":[]}}"#)).is_some();
        assert!(version(&"v".repeat(limits::PRICE_VERSION_BYTES)));
        assert!(!version(&"v".repeat(limits::PRICE_VERSION_BYTES + 1)) && !version("") && !version("tenant:1"));
        for text in ["", "[]", r#"{"rows":[]}"#, r#"{"version":1,"rows":[]}"#, r#"{"version":"v"}"#] {
            assert!(Book::read(text).is_none(), "{text}");
        }
    }
}
