//! What isolates tell each other of a tenant's targets, through one small record: who wants to be left alone and until
//! when, who is ejected; and, where a process has one request at a time and learns next to nothing by itself, how targets
//! fail and how quick they are. Losing it costs a failed attempt, never a wrong answer.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::TargetId;
use super::breaker::{EJECT_MOST_MS, EJECT_MS, ENOUGH, FORGIVE_MS, SHARE};
use super::ewma::Ewma;
use super::health::{Cool, KINDS};
use crate::limits;
use crate::model::record::{Members, bytes, record};

/// Time constant of forgetting how targets failed, in milliseconds.
const WINDOW_MS: f64 = 30_000.0;
/// A fact that is so old is dropped, in milliseconds.
const OLD_MS: u64 = 15 * 60_000;

/// What is known of a tenant's targets.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Digest {
    facts: BTreeMap<TargetId, Fact>,
    rest: Map<String, Value>,
}

/// What is known of one target.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fact {
    /// Why it wants to be left alone, and until when.
    pub cool: Option<(Cool, u64)>,
    /// Its latest ejection or return.
    pub open: Option<Open>,
    /// Outcomes of calls, and how many of them were failures; fading.
    pub all: f64,
    pub failed: f64,
    /// Until when they have faded, and when the fact was changed last, in milliseconds since the epoch.
    pub at_ms: u64,
    /// How quick it is, by kind of request.
    pub pace: [Ewma; KINDS],
}

/// An ejection, or a return from one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Open {
    /// When, in milliseconds since the epoch.
    pub at_ms: u64,
    /// Until when it is ejected; 0 if it is back.
    pub until_ms: u64,
    /// How many would probe it at once when its time is over.
    pub holders: u32,
    /// Ejections in a row.
    pub count: u32,
}

/// What an isolate has to tell. Only this crate makes one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct News(pub(super) BTreeMap<TargetId, Report>);

/// What it has to tell of one target.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Report {
    pub cool: Option<(Cool, u64)>,
    pub open: Option<Open>,
    pub all: f64,
    pub failed: f64,
    /// The longest time to first content of each kind, in milliseconds; 0 for none.
    pub paces: [f64; KINDS],
}

impl Report {
    pub(super) fn is_empty(&self) -> bool {
        self.cool.is_none() && self.open.is_none() && self.all == 0.0
    }
}

impl Fact {
    /// Outcomes and failures as they count now.
    pub(super) fn window(&self, now_ms: u64) -> (f64, f64) {
        let keep = (-(now_ms.saturating_sub(self.at_ms) as f64) / WINDOW_MS).exp();
        (self.all * keep, self.failed * keep)
    }

    fn take(&mut self, report: &Report, now_ms: u64) {
        if let Some((cool, until)) = report.cool
            && self.cool.is_none_or(|(_, known)| known < until)
        {
            self.cool = Some((cool, until));
        }
        (self.all, self.failed) = self.window(now_ms);
        self.at_ms = now_ms;
        self.all += report.all;
        self.failed += report.failed;
        for (pace, ms) in self.pace.iter_mut().zip(report.paces) {
            if ms > 0.0 {
                pace.sample(ms, now_ms);
            }
        }
        match report.open {
            Some(open) => self.turn(open),
            None if report.all > 0.0 => self.judge(report, now_ms),
            None => {}
        }
    }

    /// Another isolate's breaker has turned.
    fn turn(&mut self, open: Open) {
        match &mut self.open {
            Some(known) if known.until_ms > open.at_ms && open.until_ms > 0 => {
                known.holders = known.holders.saturating_add(1);
                known.until_ms = known.until_ms.max(open.until_ms);
            }
            Some(known) if known.at_ms > open.at_ms => {}
            known => *known = Some(Open { holders: 1, ..open }),
        }
    }

    /// Nobody sees enough alone: the record itself is the breaker.
    fn judge(&mut self, report: &Report, now_ms: u64) {
        let known = self.open.unwrap_or_default();
        if known.until_ms > now_ms {
            return;
        }
        let probed = known.until_ms > 0;
        if probed && report.failed < report.all {
            self.open = Some(Open { at_ms: now_ms, until_ms: 0, ..known });
            (self.all, self.failed) = (report.all - report.failed, 0.0);
            return;
        }
        // Half a call is for what has faded meanwhile.
        let fails = self.all + 0.5 >= ENOUGH && self.failed / self.all >= SHARE;
        if (probed && report.failed > 0.0) || fails {
            let count = if now_ms.saturating_sub(known.at_ms) > FORGIVE_MS { 0 } else { known.count };
            let ms = EJECT_MS.saturating_mul(1 << count.min(5)).min(EJECT_MOST_MS);
            // As many as come in a second would probe in that second.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
            let holders = (self.all * 1000.0 / WINDOW_MS).max(f64::from(known.holders)).max(1.0) as u32;
            self.open = Some(Open { at_ms: now_ms, until_ms: now_ms + ms, holders, count: count + 1 });
        }
    }

    fn old(&self, now_ms: u64) -> bool {
        let until = self.cool.map_or(0, |(_, until)| until).max(self.open.map_or(0, |open| open.until_ms));
        now_ms.saturating_sub(self.at_ms.max(until)) > OLD_MS
    }

    fn read(value: Value) -> Option<Self> {
        let mut members = Members::of(value)?;
        let mut fact = Self::default();
        match numbers(&members.list("cool")?)?.as_slice() {
            [] => {}
            [kind, until] => fact.cool = Cool::of(*kind).map(|cool| (cool, *until)),
            _ => return None,
        }
        match numbers(&members.list("open")?)?.as_slice() {
            [] => {}
            [at_ms, until_ms, holders, count, ..] => {
                let (holders, count) = (u32::try_from(*holders).ok()?, u32::try_from(*count).ok()?);
                fact.open = Some(Open { at_ms: *at_ms, until_ms: *until_ms, holders, count });
            }
            _ => return None,
        }
        match numbers(&members.list("seen")?)?.as_slice() {
            [all, failed, at_ms, ..] => {
                (fact.all, fact.failed, fact.at_ms) = (*all as f64 / 1000.0, *failed as f64 / 1000.0, *at_ms);
            }
            _ => return None,
        }
        for pace in members.list("pace")? {
            let Value::Array(pace) = pace else { return None };
            let [kind, ms, at_ms] = *numbers(&pace)?.as_slice() else { return None };
            if let Some(known) = usize::try_from(kind).ok().and_then(|kind| fact.pace.get_mut(kind)) {
                *known = Ewma::of(ms as f64 / 1000.0, at_ms);
            }
        }
        Some(fact)
    }

    fn to_value(&self) -> Value {
        let list = |numbers: &[u64]| Value::Array(numbers.iter().map(|number| (*number).into()).collect());
        let cool = self.cool.map_or(Value::Null, |(cool, until)| list(&[cool.number(), until]));
        let open = self
            .open
            .map_or(Value::Null, |open| list(&[open.at_ms, open.until_ms, open.holders.into(), open.count.into()]));
        let paces = self
            .pace
            .iter()
            .enumerate()
            .filter_map(|(kind, pace)| Some(list(&[kind as u64, thousandths(pace.known()?), pace.at_ms()])));
        let paces: Vec<Value> = paces.collect();
        let paces = if paces.is_empty() { Value::Null } else { Value::Array(paces) };
        let seen = list(&[thousandths(self.all), thousandths(self.failed), self.at_ms]);
        record([("cool", cool), ("open", open), ("seen", seen), ("pace", paces)], &Map::new())
    }
}

/// Written whole: no digits after a point.
fn thousandths(number: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number; casts saturate")]
    let whole = (number * 1000.0).round() as u64;
    whole
}

fn numbers(values: &[Value]) -> Option<Vec<u64>> {
    values.iter().map(Value::as_u64).collect()
}

impl Digest {
    /// Reads a record; `None` if it cannot be understood. It is no more than a hint: whoever cannot read it goes on
    /// without.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut members = Members::parse(bytes)?;
        members.schema()?;
        let mut digest = Self::default();
        for (id, fact) in members.object("targets")?.unwrap_or_default() {
            digest.facts.insert(TargetId(u64::from_str_radix(&id, 16).ok()?), Fact::read(fact)?);
        }
        digest.rest = members.rest();
        Some(digest)
    }

    /// The stored form.
    pub(crate) fn encode(&self) -> Bytes {
        let fact = |(id, fact): (&TargetId, &Fact)| (hex(id.bits()), fact.to_value());
        let targets = Value::Object(self.facts.iter().map(fact).collect());
        bytes(&record([("schema", 1.into()), ("targets", targets)], &self.rest))
    }

    /// Takes an isolate's news in.
    pub(crate) fn merge(&mut self, news: &News, now_ms: u64) {
        for (id, report) in &news.0 {
            self.facts.entry(*id).or_default().take(report, now_ms);
        }
        self.facts.retain(|_, fact| !fact.old(now_ms));
        while self.facts.len() > limits::DIGEST_TARGETS {
            let oldest = self.facts.iter().min_by_key(|(_, fact)| fact.at_ms).map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                self.facts.remove(&oldest);
            }
        }
    }

    pub(super) fn facts(&self) -> impl Iterator<Item = (TargetId, &Fact)> {
        self.facts.iter().map(|(id, fact)| (*id, fact))
    }
}

fn hex(bits: u64) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |at: u32| DIGITS.get((bits >> (60 - 4 * at)) as usize & 15).copied().map_or('0', char::from);
    (0..16).map(digit).collect()
}

#[cfg(test)]
mod tests;
