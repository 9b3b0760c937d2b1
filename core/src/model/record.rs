//! Reading and writing stored records: members that are known are taken out, all others stay as they are.

use bytes::Bytes;
use serde_json::{Map, Value};

/// The members of a record that are still to be read. Every method is `None` for a member of the wrong kind.
pub(crate) struct Members(Map<String, Value>);

impl Members {
    /// The members of a stored record.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        crate::json::read(bytes).and_then(Self::of)
    }

    /// The members of an object.
    pub(crate) fn of(value: Value) -> Option<Self> {
        match value {
            Value::Object(members) => Some(Self(members)),
            _ => None,
        }
    }

    /// Takes a member; `null` counts as none.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.shift_remove(name).filter(|value| !value.is_null())
    }

    /// Takes a string.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        text(self.take(name)?)
    }

    /// Takes a string that may be missing.
    pub(crate) fn optional_text(&mut self, name: &str) -> Option<Option<String>> {
        self.take(name).map_or(Some(None), |value| text(value).map(Some))
    }

    /// Takes a whole number.
    pub(crate) fn number(&mut self, name: &str) -> Option<u64> {
        self.take(name)?.as_u64()
    }

    /// Takes a whole number of 32 bits that may be missing.
    pub(crate) fn small(&mut self, name: &str, otherwise: u32) -> Option<u32> {
        self.take(name).map_or(Some(otherwise), |value| value.as_u64()?.try_into().ok())
    }

    /// Takes a whole number of 32 bits, if it is there.
    pub(crate) fn optional_small(&mut self, name: &str) -> Option<Option<u32>> {
        self.take(name).map_or(Some(None), |value| value.as_u64()?.try_into().ok().map(Some))
    }

    /// Takes the version of the record's shape.
    pub(crate) fn schema(&mut self) -> Option<u32> {
        self.number("schema")?.try_into().ok()
    }

    /// Takes an array, which may be missing.
    pub(crate) fn list(&mut self, name: &str) -> Option<Vec<Value>> {
        match self.0.shift_remove(name) {
            None => Some(Vec::new()),
            Some(Value::Array(items)) => Some(items),
            Some(_) => None,
        }
    }

    /// Takes an object that may be missing.
    pub(crate) fn object(&mut self, name: &str) -> Option<Option<Map<String, Value>>> {
        match self.take(name) {
            None => Some(None),
            Some(Value::Object(members)) => Some(Some(members)),
            Some(_) => None,
        }
    }

    /// What was not taken.
    pub(crate) fn rest(self) -> Map<String, Value> {
        self.0
    }
}

/// An array's strings.
pub(crate) fn texts(items: Vec<Value>) -> Option<Vec<String>> {
    let mut all = Vec::with_capacity(items.len());
    for item in items {
        all.push(text(item)?);
    }
    Some(all)
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// A record from its members, those that are known first; `null` is left out.
pub(crate) fn record<const N: usize>(known: [(&str, Value); N], rest: &Map<String, Value>) -> Value {
    join(&mut known.into_iter(), rest)
}

fn join(known: &mut dyn Iterator<Item = (&str, Value)>, rest: &Map<String, Value>) -> Value {
    let mut members = Map::new();
    for (name, value) in known.filter(|(_, value)| !value.is_null()) {
        members.insert(name.to_owned(), value);
    }
    for (name, value) in rest {
        members.insert(name.clone(), value.clone());
    }
    Value::Object(members)
}

/// The bytes of a record.
pub(crate) fn bytes(value: &Value) -> Bytes {
    serde_json::to_vec(value).map(Bytes::from).unwrap_or_default()
}
