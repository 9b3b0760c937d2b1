//! Sums by group: what buckets hold and answers are made of.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

use super::row;
use crate::limits;
use crate::model::record::{Members, bytes, record, texts};

/// What usage can be grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Dimension {
    /// The provider's id of the model.
    Model,
    /// The name that clients called.
    Alias,
    /// The provider's uuid.
    Provider,
    /// The provider's type.
    ProviderType,
    /// The caller's key, by its id.
    Key,
    /// What was used: completion or embedding.
    UsageType,
}

impl Dimension {
    /// All, in the order in which they are stored.
    pub(crate) const ALL: [Self; 6] =
        [Self::Model, Self::Alias, Self::Provider, Self::ProviderType, Self::Key, Self::UsageType];

    /// Its member of a row.
    pub(super) const fn stored(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Alias => "alias",
            Self::Provider => "provider",
            Self::ProviderType => "type",
            Self::Key => "key",
            Self::UsageType => "use",
        }
    }
}

/// One combination of values, in the order of [`Dimension::ALL`].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group([String; 6]);

impl Group {
    pub(super) fn set(&mut self, dimension: Dimension, value: String) {
        if let Some(slot) = self.0.get_mut(dimension as usize) {
            *slot = value;
        }
    }

    /// Its value of a dimension; empty where it is grouped away.
    pub(crate) fn value(&self, dimension: Dimension) -> &str {
        self.0.get(dimension as usize).map_or("", String::as_str)
    }

    /// The group with these dimensions only.
    fn only(&self, kept: &[Dimension]) -> Self {
        let mut group = Self::default();
        for dimension in kept {
            group.set(*dimension, self.value(*dimension).to_owned());
        }
        group
    }
}

/// What is counted. The numbers are places in stored sums: new ones come at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Counter {
    Attempts,
    Requests,
    Successes,
    Errors,
    Cancelled,
    Calls,
    Estimated,
    MaybeBilled,
    Input,
    Output,
    CacheRead,
    CacheWrite5m,
    Reasoning,
    CostPico,
    Priced,
    SuccessMs,
    FirstContents,
    FirstContentMs,
    CacheWrite1h,
    InputAudio,
    InputImage,
    OutputAudio,
    Unpriced,
}

/// Counters by their places. Those that this version does not know are summed like the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums(Vec<u64>);

impl Sums {
    /// A counter; 0 if nothing was counted.
    pub(crate) fn of(&self, counter: Counter) -> u64 {
        self.0.get(counter as usize).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, counter: Counter, count: u64) {
        self.add_at(counter as usize, count);
    }

    fn add_at(&mut self, at: usize, count: u64) {
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        if let Some(sum) = self.0.get_mut(at) {
            *sum = sum.saturating_add(count);
        }
    }

    fn add_all(&mut self, other: &Self) {
        for (at, count) in other.0.iter().enumerate() {
            self.add_at(at, *count);
        }
    }
}

/// Sums of groups, in the order of the groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally(pub BTreeMap<Group, Sums>);

/// The version of the shape of stored sums.
const SCHEMA: u32 = 1;

impl Tally {
    /// Counts a stored row. `None` if it cannot be understood.
    pub(super) fn count(&mut self, record: &[u8]) -> Option<()> {
        let (group, sums) = row::counted(record)?;
        self.0.entry(group).or_default().add_all(&sums);
        Some(())
    }

    /// Adds stored sums. `None` if they cannot be understood.
    pub(super) fn add(&mut self, record: &[u8]) -> Option<()> {
        let mut members = Members::parse(record)?;
        members.schema()?;
        for group in members.list("groups")? {
            let mut group = Members::of(group)?;
            let by: [String; 6] = texts(group.list("by")?)?.try_into().ok()?;
            let counts = group.list("n")?.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>()?;
            self.0.entry(Group(by)).or_default().add_all(&Sums(counts));
        }
        Some(())
    }

    /// Adds another one, grouped by `kept` alone, of its groups those that have one of the values asked for.
    pub(crate) fn add_grouped(&mut self, other: &Self, kept: &[Dimension], only: &[(Dimension, Vec<String>)]) {
        for (group, sums) in &other.0 {
            if only.iter().all(|(dimension, values)| values.iter().any(|value| value == group.value(*dimension))) {
                self.0.entry(group.only(kept)).or_default().add_all(sums);
            }
        }
    }

    /// As stored: one record, or more if it would be too long. The same sums always give the same records.
    pub(super) fn records(&self) -> Vec<Bytes> {
        let mut records = Vec::new();
        let (mut groups, mut length) = (Vec::new(), 0);
        let close = |groups: Vec<Value>| {
            let known = [("schema", SCHEMA.into()), ("groups", Value::Array(groups))];
            bytes(&record(known, &serde_json::Map::new()))
        };
        for (group, sums) in &self.0 {
            let by = group.0.iter().map(String::as_str).collect::<Value>();
            let counts = sums.0.iter().copied().collect::<Value>();
            let value = record([("by", by), ("n", counts)], &serde_json::Map::new());
            let adds = bytes(&value).len() + 1;
            if length + adds > limits::SUMS_BYTES - ENVELOPE && !groups.is_empty() {
                records.push(close(std::mem::take(&mut groups)));
                length = 0;
            }
            length += adds;
            groups.push(value);
        }
        if !groups.is_empty() {
            records.push(close(groups));
        }
        records
    }
}

/// What a record has around its groups, in bytes, and a little more.
const ENVELOPE: usize = 64;
