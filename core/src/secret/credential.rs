//! A provider's credential: a few named secrets, and its stored form.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::Secret;

/// The secret fields of one provider (`apikey`, at Bedrock `api_key`; or `access_key_id`, `secret_access_key`, `session_token`).
#[derive(Clone, Debug, Default)]
pub struct Credential(Vec<(String, Arc<Secret>)>);

impl Credential {
    /// Sets a field.
    pub fn set(&mut self, name: &str, value: Secret) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), Arc::new(value)));
    }

    /// One field.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, secret)| secret.as_ref())
    }

    /// Every value, to remove it from texts of others.
    pub fn values(&self) -> impl Iterator<Item = &Secret> {
        self.0.iter().map(|(_, secret)| secret.as_ref())
    }

    /// Whether both have the same fields with the same values.
    pub fn same(&self, other: &Self) -> bool {
        let equal = |(name, secret): &(String, Arc<Secret>)| other.get(name).is_some_and(|o| o.matches(secret.open()));
        self.0.len() == other.0.len() && self.0.iter().all(equal)
    }

    /// The stored form: a JSON object of strings, as in a provider's `data`.
    pub fn encode(&self) -> Secret {
        let fields: Map<String, Value> =
            self.0.iter().map(|(name, secret)| (name.clone(), Value::String(secret.open().to_owned()))).collect();
        Secret::new(Value::Object(fields).to_string())
    }

    /// From the stored form. Members that are no strings are ignored; `None` if it is no object at all.
    pub fn decode(stored: &Secret) -> Option<Self> {
        let fields: Map<String, Value> = serde_json::from_str(stored.open()).ok()?;
        let mut credential = Self::default();
        for (name, value) in fields {
            if let Value::String(text) = value {
                credential.set(&name, Secret::new(text));
            }
        }
        Some(credential)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_read_back() {
        let mut credential = Credential::default();
        credential.set("apikey", Secret::new("a\"b".into()));
        let again = Credential::decode(&credential.encode()).unwrap();
        assert_eq!(again.get("apikey").map(Secret::open), Some("a\"b"));
        assert!(!format!("{again:?}").contains("a\\\"b"));
        assert!(Credential::decode(&Secret::new("[]".into())).is_none());
    }
}
