//! Rate limits at work: which buckets stand before a call, what this isolate knows of them, and what it owes to them.
//!
//! Small limits are asked for every call. Of a large one an isolate that is busy is given some calls ahead, for a moment; it
//! is given as much as it used up in the moment before, so that one which serves a single request holds nothing. That a
//! bucket is empty is remembered for a moment too. Tokens are owed when an answer is over, and go along with the isolate's
//! next question: so a client that calls one after the other never gets round its limit.

mod admit;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use self::admit::{Admission, Dues, Rates, admit, forget, limited, settle};
use super::bucket::{Ask, Debit, Question, Rule, Standing};
use crate::config::Target;
use crate::limits;
use crate::model::{Head, LimitScope, TenantId};

/// What this isolate knows of buckets. Shared: bills under way report to it.
#[derive(Default)]
pub(crate) struct Limiter(Mutex<HashMap<TenantId, Known>>);

/// What is known of one tenant's buckets.
#[derive(Default)]
struct Known {
    memos: HashMap<String, Memo>,
    owed: Vec<Owed>,
    used_ms: u64,
}

/// A debit that was not taken in yet.
struct Owed {
    debit: Debit,
    /// It was sent, and may have been taken in: it must stay as it is.
    sent: bool,
}

/// What is known of a bucket.
struct Memo {
    rule: Rule,
    standing: Standing,
    /// When that was.
    at_ms: u64,
    /// Calls that were given ahead, and until when they are good.
    spare: u64,
    spare_until_ms: u64,
    /// How many to ask for, and whether somebody is asking.
    portion: u64,
    asking: bool,
}

/// What a bucket counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counts {
    /// Calls.
    Requests,
    /// Tokens.
    Tokens,
}

/// A bucket that stands before a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gate {
    /// What it counts.
    counts: Counts,
    /// The bucket's name.
    name: String,
    rule: Rule,
    /// It is the caller's, whatever target is called: its tenant's or its key's.
    callers: bool,
}

/// How a bucket stands, for the headers of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    counts: Counts,
    name: String,
    limit: u64,
    remaining: u64,
    full_ms: Option<u64>,
}

/// A bucket that is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short {
    callers: bool,
    wait_ms: Option<u64>,
}

/// What is to be done about a call.
enum Step<'a> {
    /// It may go.
    Open,
    /// It may not.
    Shut(Short),
    /// The keeper of the buckets must be asked.
    Ask(Held<'a>),
}

/// What was taken out of an isolate's memory for a question. Dropped without an answer, it goes back.
struct Held<'a> {
    limiter: &'a Limiter,
    tenant: TenantId,
    question: Question,
    /// The gates that were asked for, in the order of the question.
    asked: Vec<Gate>,
    /// Buckets of which a spare call was taken.
    spares: Vec<String>,
    /// Buckets of which calls ahead are asked for: nobody else does so meanwhile.
    leads: Vec<String>,
    answered: bool,
}

/// The buckets that stand before a call of a key at a target.
fn gates(head: &Head, target: Target<'_>, key: Option<&str>) -> Vec<Gate> {
    let mut gates = Vec::new();
    for limit in &head.rate_limits {
        let (applies, callers) = match &limit.scope {
            LimitScope::Tenant => (true, true),
            LimitScope::Key(id) => (Some(id.as_str()) == key, true),
            LimitScope::Provider(uuid) => (*uuid == target.provider.uuid, false),
            LimitScope::Model(uuid) => (*uuid == target.model.uuid, false),
        };
        if !applies {
            continue;
        }
        let buckets = [(Counts::Requests, "r", &limit.request), (Counts::Tokens, "t", &limit.token)];
        for (counts, mark, bucket) in buckets {
            if let Some(bucket) = bucket {
                gates.push(Gate { counts, name: format!("{}{mark}", limit.uuid), rule: Rule::of(bucket), callers });
            }
        }
    }
    gates
}

impl Limiter {
    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Known>> {
        // A panic elsewhere leaves whole entries behind, so what is inside is good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known<T>(&self, tenant: TenantId, now_ms: u64, work: impl FnOnce(&mut Known) -> T) -> T {
        let mut all = self.lock();
        if all.len() >= limits::CACHED_TENANTS && !all.contains_key(&tenant) {
            let free = all.iter().filter(|(_, known)| known.owed.is_empty());
            if let Some(oldest) = free.min_by_key(|(_, known)| known.used_ms).map(|(id, _)| *id) {
                all.remove(&oldest);
            }
        }
        let known = all.entry(tenant).or_default();
        known.used_ms = now_ms;
        work(known)
    }

    /// Whether a target of a tenant is known to be shut by a limit of its own, and for how long, in milliseconds.
    pub(crate) fn shut(&self, head: &Head, target: Target<'_>, now_ms: u64) -> Option<u64> {
        if head.rate_limits.is_empty() {
            return None;
        }
        let all = self.lock();
        let known = all.get(&head.tenant.id)?;
        let shorts = gates(head, target, None).into_iter().filter(|gate| !gate.callers);
        let waits = shorts.filter_map(|gate| known.short(&gate, now_ms));
        waits.map(|short| short.wait_ms.unwrap_or(limits::NEVER_MS)).max()
    }

    /// What is to be done about a call. If its callers' buckets are `paid`, they are not taken from again.
    fn step(&self, tenant: TenantId, gates: &[Gate], paid: bool, now_ms: u64) -> Step<'_> {
        self.known(tenant, now_ms, |known| {
            let wanted = || gates.iter().filter(|gate| !(paid && gate.callers));
            if let Some(short) = worst(wanted().filter_map(|gate| known.short(gate, now_ms))) {
                return Step::Shut(short);
            }
            let (mut question, mut asked) = (Question::default(), Vec::new());
            let (mut spares, mut leads) = (Vec::new(), Vec::new());
            for gate in wanted() {
                match gate.counts {
                    Counts::Requests if known.take_spare(gate, now_ms) => spares.push(gate.name.clone()),
                    Counts::Tokens if known.has_plenty(gate, now_ms) => {}
                    _ => {
                        let most = match gate.counts {
                            Counts::Tokens => 0,
                            Counts::Requests => match known.portion(gate, now_ms) {
                                Some(portion) => {
                                    leads.push(gate.name.clone());
                                    portion
                                }
                                None => 1,
                            },
                        };
                        question.asks.push(Ask { name: gate.name.clone(), rule: gate.rule, most });
                        asked.push(gate.clone());
                    }
                }
            }
            if asked.is_empty() {
                return Step::Open;
            }
            question.debits = known.take_owed();
            Step::Ask(Held { limiter: self, tenant, question, asked, spares, leads, answered: false })
        })
    }

    /// Debits of a tenant that are owed, for a question of their own.
    fn owing(&self, tenant: TenantId, now_ms: u64) -> Option<Held<'_>> {
        let debits = self.known(tenant, now_ms, Known::take_owed);
        if debits.is_empty() {
            return None;
        }
        let question = Question { debits, ..Question::default() };
        let (asked, spares, leads) = (Vec::new(), Vec::new(), Vec::new());
        Some(Held { limiter: self, tenant, question, asked, spares, leads, answered: false })
    }

    /// Tenants whose buckets are owed something.
    fn debtors(&self) -> Vec<TenantId> {
        self.lock().iter().filter(|(_, known)| !known.owed.is_empty()).map(|(id, _)| *id).collect()
    }

    /// Whether anything is owed.
    pub(crate) fn owes(&self) -> bool {
        self.lock().values().any(|known| !known.owed.is_empty())
    }

    fn owe(&self, tenant: TenantId, debits: Vec<Debit>, now_ms: u64) {
        self.known(tenant, now_ms, |known| {
            for debit in debits {
                let same =
                    |owed: &&mut Owed| !owed.sent && owed.debit.name == debit.name && owed.debit.rule == debit.rule;
                match known.owed.iter_mut().find(same) {
                    Some(owed) => owed.debit.tokens = owed.debit.tokens.saturating_add(debit.tokens),
                    None => known.owed.push(Owed { debit, sent: false }),
                }
            }
        });
    }

    /// How buckets stand, as far as this isolate knows.
    fn readings(&self, tenant: TenantId, gates: &[Gate], now_ms: u64) -> Vec<Reading> {
        self.known(tenant, now_ms, |known| gates.iter().filter_map(|gate| known.reading(gate, now_ms)).collect())
    }
}

impl Known {
    fn memo(&self, gate: &Gate) -> Option<&Memo> {
        self.memos.get(&gate.name).filter(|memo| memo.rule == gate.rule)
    }

    fn memo_mut(&mut self, gate: &Gate) -> Option<&mut Memo> {
        self.memos.get_mut(&gate.name).filter(|memo| memo.rule == gate.rule)
    }

    fn owed_to(&self, name: &str) -> u64 {
        let owed = self.owed.iter().filter(|owed| owed.debit.name == name);
        owed.fold(0, |sum, owed| sum.saturating_add(owed.debit.tokens))
    }

    /// Whether a bucket was found to be empty a moment ago.
    fn short(&self, gate: &Gate, now_ms: u64) -> Option<Short> {
        let memo = self.memo(gate)?;
        let (age, wait) = (now_ms.saturating_sub(memo.at_ms), memo.standing.wait_ms);
        let good = memo.spare == 0 && memo.standing.left < 1;
        let lasts = wait.unwrap_or(u64::MAX).min(limits::SHUT_MS);
        (good && age < lasts)
            .then(|| Short { callers: gate.callers, wait_ms: wait.map(|wait| wait.saturating_sub(age)) })
    }

    fn take_spare(&mut self, gate: &Gate, now_ms: u64) -> bool {
        let Some(memo) = self.memo_mut(gate).filter(|memo| memo.spare > 0 && memo.spare_until_ms > now_ms) else {
            return false;
        };
        memo.spare -= 1;
        true
    }

    /// Whether a large bucket was far from empty a moment ago.
    fn has_plenty(&self, gate: &Gate, now_ms: u64) -> bool {
        let owed = i64::try_from(self.owed_to(&gate.name)).unwrap_or(i64::MAX);
        self.memo(gate).is_some_and(|memo| {
            let left = memo.standing.left.saturating_sub(owed);
            gate.rule.capacity >= limits::AHEAD_TOKENS
                && now_ms.saturating_sub(memo.at_ms) < limits::AHEAD_MS
                && left > (gate.rule.capacity / 4).cast_signed()
        })
    }

    /// How many calls to ask for, if some may be asked for ahead: twice as many as were used up in time, half as many as were
    /// not.
    fn portion(&mut self, gate: &Gate, now_ms: u64) -> Option<u64> {
        let most = gate.rule.capacity / limits::SHARE_AHEAD;
        let memo = self.memo_mut(gate)?;
        if gate.rule.capacity < limits::AHEAD_REQUESTS || memo.asking {
            return None;
        }
        memo.asking = true;
        let used_up = memo.spare == 0 && memo.spare_until_ms > now_ms;
        memo.portion = if used_up { memo.portion.saturating_mul(2) } else { memo.portion / 2 }.clamp(1, most.max(1));
        Some(memo.portion)
    }

    fn take_owed(&mut self) -> Vec<Debit> {
        let count = self.owed.len().min(limits::DEBITS_AT_ONCE);
        self.owed.drain(..count).map(|owed| owed.debit).collect()
    }

    fn reading(&self, gate: &Gate, now_ms: u64) -> Option<Reading> {
        let memo = self.memo(gate)?;
        let left = u64::try_from(memo.standing.left).unwrap_or(0).saturating_add(memo.spare);
        let age = now_ms.saturating_sub(memo.at_ms);
        Some(Reading {
            counts: gate.counts,
            name: gate.name.clone(),
            limit: gate.rule.capacity,
            remaining: left.saturating_sub(self.owed_to(&gate.name)).min(gate.rule.capacity),
            full_ms: memo.standing.full_ms.map(|ms| ms.saturating_sub(age)),
        })
    }
}

impl Held<'_> {
    /// The answer has come: what it says is remembered. The bucket that is short, if any.
    fn answered(mut self, granted: bool, standings: &[Standing], now_ms: u64) -> Option<Short> {
        self.answered = true;
        let (asked, spares) = (std::mem::take(&mut self.asked), std::mem::take(&mut self.spares));
        self.limiter.known(self.tenant, now_ms, |known| {
            known.follow(&self.leads);
            for (gate, standing) in asked.iter().zip(standings) {
                known.learn(gate, *standing, now_ms);
            }
            if granted {
                return None;
            }
            known.give_back(&spares);
            let short = |(gate, standing): (&Gate, &Standing)| {
                (standing.left < 1).then_some(Short { callers: gate.callers, wait_ms: standing.wait_ms })
            };
            worst(asked.iter().zip(standings).filter_map(short))
        })
    }
}

impl Known {
    fn learn(&mut self, gate: &Gate, standing: Standing, now_ms: u64) {
        if self.memos.len() >= limits::KEPT_BUCKETS && !self.memos.contains_key(&gate.name) {
            self.memos.clear();
        }
        let new = || Memo {
            rule: gate.rule,
            standing,
            at_ms: now_ms,
            spare: 0,
            spare_until_ms: 0,
            portion: 1,
            asking: false,
        };
        if self.memo(gate).is_none() {
            self.memos.insert(gate.name.clone(), new());
        }
        let Some(memo) = self.memo_mut(gate) else { return };
        (memo.standing, memo.at_ms) = (standing, now_ms);
        if gate.counts == Counts::Requests && standing.taken > 0 {
            if memo.spare_until_ms <= now_ms {
                // What was not used in time stays taken.
                memo.spare = 0;
            }
            memo.spare += standing.taken - 1;
            memo.spare_until_ms = now_ms + limits::AHEAD_MS;
        }
    }

    fn follow(&mut self, leads: &[String]) {
        for name in leads {
            if let Some(memo) = self.memos.get_mut(name) {
                memo.asking = false;
            }
        }
    }

    fn give_back(&mut self, spares: &[String]) {
        for name in spares {
            if let Some(memo) = self.memos.get_mut(name) {
                memo.spare += 1;
            }
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let debits = std::mem::take(&mut self.question.debits);
        let mut all = self.limiter.lock();
        let known = all.entry(self.tenant).or_default();
        known.owed.extend(debits.into_iter().map(|debit| Owed { debit, sent: true }));
        known.give_back(&self.spares);
        known.follow(&self.leads);
    }
}

/// Of several that are short: one of the caller's first, then the one that takes longest.
fn worst(shorts: impl Iterator<Item = Short>) -> Option<Short> {
    shorts.max_by_key(|short| (short.callers, short.wait_ms.unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests;
