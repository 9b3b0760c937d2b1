//! Token buckets: how much may be taken, and what a tenant's record of them says. Pure: whoever keeps the record (a Durable
//! Object, DynamoDB, a process) hands it over with a question and keeps what comes back.
//!
//! A bucket is full at first. Its interval begins when something is taken out of a full one, and every whole interval adds
//! its amount: so in any time never more leaves than a bucketful and what whole intervals add. A full bucket needs no record.

mod wire;

use std::collections::BTreeMap;

use bytes::Bytes;

pub(crate) use self::wire::{read_answer, write_question};
use crate::limits;
use crate::model::Bucket;
use crate::model::record::Members;

/// The rules of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The most that it holds.
    pub capacity: u64,
    /// What a whole interval adds.
    pub amount: u64,
    /// The interval, in milliseconds.
    pub every_ms: u64,
}

/// A wish to take from a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Which bucket.
    pub name: String,
    /// Its rules, as the asker knows them.
    pub rule: Rule,
    /// The most that is of use: one at least is needed. 0: nothing is taken, but one must be there.
    pub most: u64,
}

/// What was used afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Debit {
    /// A number of its own: the same debit said twice counts once.
    pub id: u64,
    /// Which bucket.
    pub name: String,
    /// Its rules, as the asker knows them.
    pub rule: Rule,
    /// How much; the bucket may go below zero.
    pub tokens: u64,
}

/// What is asked of a tenant's buckets, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Question {
    /// Debits come first.
    pub debits: Vec<Debit>,
    /// All are granted, or none.
    pub asks: Vec<Ask>,
    /// The tenant is gone: forget everything.
    pub forget: bool,
}

/// How a bucket stands after a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// What was taken for the asker.
    pub taken: u64,
    /// What is left.
    pub left: i64,
    /// How long until one is there, in milliseconds; 0 if it is, `None` if never.
    pub wait_ms: Option<u64>,
    /// How long until it is full, in milliseconds; `None` if never.
    pub full_ms: Option<u64>,
}

/// What comes back for a question, for the keeper of the record.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The answer.
    pub answer: Bytes,
    /// The record from now on; `None` if it stays as it is. An empty one may be removed.
    pub record: Option<Bytes>,
}

/// Answers a question about a tenant's buckets, given the record that is kept of them. `None` if one of the two cannot be
/// understood: then nothing may be granted.
pub fn answer(record: Option<&[u8]>, question: &[u8], now_ms: u64) -> Option<Answered> {
    let question = wire::read_question(question)?;
    if question.forget {
        return Some(Answered { answer: wire::write_answer(true, &[]), record: record.map(|_| Bytes::new()) });
    }
    let mut shelf = match record.filter(|record| !record.is_empty()) {
        Some(record) => wire::read_record(record)?,
        None => Shelf::default(),
    };
    let (granted, standings, changed) = shelf.answer(&question, now_ms);
    let record = changed.then(|| shelf.write(now_ms));
    Some(Answered { answer: wire::write_answer(granted, &standings), record })
}

/// The buckets of a tenant that are not full.
#[derive(Default)]
struct Shelf {
    buckets: BTreeMap<String, Level>,
    /// The debits taken in last, the newest at the end.
    seen: Vec<u64>,
    /// The rest of the record.
    rest: Option<Members>,
}

/// How full a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    left: i64,
    /// When the interval that runs began; it stands still while the bucket is full.
    since_ms: u64,
    rule: Rule,
}

impl Rule {
    /// Of a configured bucket.
    pub(crate) const fn of(bucket: &Bucket) -> Self {
        Self { capacity: bucket.capacity, amount: bucket.amount, every_ms: bucket.every_ms }
    }
}

impl Shelf {
    fn answer(&mut self, question: &Question, now_ms: u64) -> (bool, Vec<Standing>, bool) {
        let mut changed = false;
        for debit in &question.debits {
            if self.seen.contains(&debit.id) {
                continue;
            }
            let level = self.level(&debit.name, debit.rule, now_ms);
            self.buckets.insert(debit.name.clone(), level.less(debit.tokens, now_ms));
            self.seen.push(debit.id);
            changed = true;
        }
        let excess = self.seen.len().saturating_sub(limits::SEEN_DEBITS);
        self.seen.drain(..excess);
        let levels: Vec<Level> = question.asks.iter().map(|ask| self.level(&ask.name, ask.rule, now_ms)).collect();
        let granted = levels.iter().all(|level| level.left >= 1);
        let mut standings = Vec::with_capacity(levels.len());
        for (ask, level) in question.asks.iter().zip(levels) {
            let taken = if granted { level.portion(ask.most) } else { 0 };
            let level = level.less(taken, now_ms);
            if taken > 0 {
                self.buckets.insert(ask.name.clone(), level);
                changed = true;
            }
            standings.push(Standing {
                taken,
                left: level.left,
                wait_ms: level.wait_ms(1, now_ms),
                full_ms: level.wait_ms(level.rule.capacity, now_ms),
            });
        }
        (granted, standings, changed)
    }

    fn level(&self, name: &str, rule: Rule, now_ms: u64) -> Level {
        self.buckets.get(name).map_or_else(|| Level::full(rule, now_ms), |level| level.at(now_ms).under(rule, now_ms))
    }

    fn write(mut self, now_ms: u64) -> Bytes {
        self.buckets.retain(|_, level| !level.at(now_ms).is_full());
        while self.buckets.len() > limits::KEPT_BUCKETS {
            let oldest = self.buckets.iter().min_by_key(|(_, level)| level.since_ms).map(|(name, _)| name.clone());
            oldest.and_then(|name| self.buckets.remove(&name));
        }
        wire::write_record(self)
    }
}

impl Level {
    const fn full(rule: Rule, now_ms: u64) -> Self {
        Self { left: rule.capacity.cast_signed(), since_ms: now_ms, rule }
    }

    const fn is_full(&self) -> bool {
        self.left >= self.rule.capacity.cast_signed()
    }

    /// With what whole intervals have added up to now.
    fn at(self, now_ms: u64) -> Self {
        let steps = now_ms.saturating_sub(self.since_ms) / self.rule.every_ms.max(1);
        let added = i64::try_from(steps.saturating_mul(self.rule.amount)).unwrap_or(i64::MAX);
        Self {
            left: self.left.saturating_add(added).min(self.rule.capacity.cast_signed()),
            since_ms: self.since_ms + steps * self.rule.every_ms,
            ..self
        }
    }

    /// Under other rules: what was taken stays taken. Another interval begins anew.
    fn under(self, rule: Rule, now_ms: u64) -> Self {
        let grown = rule.capacity.cast_signed().saturating_sub(self.rule.capacity.cast_signed());
        let since_ms = if rule.every_ms == self.rule.every_ms { self.since_ms } else { now_ms };
        Self { left: self.left.saturating_add(grown).min(rule.capacity.cast_signed()), since_ms, rule }
    }

    fn less(self, taken: u64, now_ms: u64) -> Self {
        // Nothing taken from a full bucket leaves it full.
        let since_ms = if self.is_full() && taken > 0 { now_ms } else { self.since_ms };
        Self { left: self.left.saturating_sub_unsigned(taken), since_ms, ..self }
    }

    /// How much of what is wanted is given: little of what is left, so that others find some.
    fn portion(&self, most: u64) -> u64 {
        let share = u64::try_from(self.left).unwrap_or(0) / limits::SHARE_OF_LEFT;
        if most == 0 { 0 } else { most.min(share).max(1) }
    }

    fn wait_ms(&self, need: u64, now_ms: u64) -> Option<u64> {
        let missing = need.cast_signed().saturating_sub(self.left);
        if missing <= 0 && need > 0 {
            return Some(0);
        }
        if self.rule.amount == 0 || need > self.rule.capacity || need == 0 {
            return (missing <= 0).then_some(0);
        }
        let steps = missing.unsigned_abs().div_ceil(self.rule.amount);
        Some(self.since_ms.saturating_add(steps.saturating_mul(self.rule.every_ms)).saturating_sub(now_ms))
    }
}

#[cfg(test)]
mod tests;
