//! What is known of one target.

use super::breaker::{Breaker, Gate, Turn, spread};
use super::digest::{Fact, Open, Report};
use super::ewma::Ewma;
use super::{Class, Entropy, Plan, Seen, Size};
use crate::limits;

/// Kinds of requests whose times are kept apart: four sizes, streamed and whole.
pub(super) const KINDS: usize = 8;
/// A target that is new, or back, comes to its full weight within this time, in milliseconds.
const RAMP_MS: u64 = 30_000;
/// The share of its weight that it begins with.
const RAMP_FROM: f64 = 0.1;
/// How long a refused credential or an unknown model is let alone, in milliseconds.
const FAULT_MS: u64 = 60_000;
/// How long an account without quota is let alone unless it says otherwise, in milliseconds.
const QUOTA_MS: u64 = 15 * 60_000;
/// First wait after a limit that states none, in milliseconds; doubled with each further one.
const LIMIT_MS: u64 = 5_000;
/// Longest wait of that kind, in milliseconds.
const LIMIT_MOST_MS: u64 = 60_000;
/// Of so many requests about one probes a target that the isolate was only told of.
const HEARERS: u32 = 64;
/// Shortest and longest wait that a provider's word is taken for, in milliseconds.
const STATED_MS: (u64, u64) = (250, 15 * 60_000);

/// Why a target is let alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cool {
    /// Too many calls, or no quota.
    Limited,
    /// Too many calls of everybody.
    Overloaded,
    /// It refused the credential.
    Credential,
    /// It does not know the model.
    NotFound,
}

impl Cool {
    /// As it is written in records.
    pub(super) const fn number(self) -> u64 {
        match self {
            Self::Limited => 1,
            Self::Overloaded => 2,
            Self::Credential => 3,
            Self::NotFound => 4,
        }
    }

    pub(super) fn of(number: u64) -> Option<Self> {
        [Self::Limited, Self::Overloaded, Self::Credential, Self::NotFound].into_iter().find(|c| c.number() == number)
    }
}

/// Whether a target can be called now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It can.
    Yes,
    /// It wants to be left alone, for so many milliseconds.
    Waits(u64, bool),
    /// It is out for its faults, for so many milliseconds.
    Faulty(u64, &'static str),
}

/// The state of one target.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    pace: [Ewma; KINDS],
    pub(super) breaker: Breaker,
    cool: Option<(Cool, u64)>,
    /// Limits in a row that stated no wait.
    limits: u32,
    pub(super) in_flight: u32,
    /// From when its weight grows, in milliseconds since the epoch; 0 if it has it all.
    ramp_ms: u64,
    /// When it was asked for last, in milliseconds since the epoch.
    pub(super) used_ms: u64,
    /// Calls begun in the minute of that number.
    minute: (u64, u32),
    /// The running number of smooth weighted rotation.
    pub(super) turn: f64,
    /// What others have to be told.
    report: Report,
    /// What others have seen: outcomes, failures, and when that was, in milliseconds since the epoch.
    shared: (f64, f64, u64),
    /// How many would probe it at once.
    holders: u32,
}

fn kind(size: Size, stream: bool) -> usize {
    let size = match size {
        Size::Small => 0,
        Size::Medium => 1,
        Size::Large => 2,
        Size::Huge => 3,
    };
    size * 2 + usize::from(stream)
}

impl Health {
    /// A target that joins an alias that was called before: it is not given its whole share at once.
    pub(super) fn joining(now_ms: u64) -> Self {
        Self { ramp_ms: now_ms, ..Self::default() }
    }

    /// Whether it can be called.
    pub(super) fn fit(&self, now_ms: u64) -> Fit {
        if let Some((cool, until)) = self.cool
            && until > now_ms
        {
            let left = until - now_ms;
            return match cool {
                Cool::Limited => Fit::Waits(left, false),
                Cool::Overloaded => Fit::Waits(left, true),
                Cool::Credential => Fit::Faulty(left, "credential"),
                Cool::NotFound => Fit::Faulty(left, "not_found"),
            };
        }
        match self.breaker.gate(now_ms) {
            Gate::Closed | Gate::Probe => Fit::Yes,
            Gate::Open(left) => Fit::Faulty(left, "ejected"),
        }
    }

    /// Why it is let alone, for explanations.
    pub(super) fn why(&self, now_ms: u64) -> Option<(&'static str, u64)> {
        match self.fit(now_ms) {
            Fit::Yes => None,
            Fit::Waits(left, true) => Some(("overloaded", left)),
            Fit::Waits(left, false) => Some(("rate_limited", left)),
            Fit::Faulty(left, why) => Some((why, left)),
        }
    }

    /// The share of its weight that it gets now.
    pub(super) fn ramp(&self, now_ms: u64) -> f64 {
        let age = now_ms.saturating_sub(self.ramp_ms);
        if self.ramp_ms == 0 || age >= RAMP_MS {
            return 1.0;
        }
        RAMP_FROM + (1.0 - RAMP_FROM) * age as f64 / RAMP_MS as f64
    }

    /// The time that was seen for such requests, in milliseconds.
    pub(super) fn seen(&self, plan: &Plan) -> Option<f64> {
        self.pace(plan).known()
    }

    /// The time that is expected for such a request, in milliseconds.
    pub(super) fn expected(&self, plan: &Plan, usual: f64, now_ms: u64) -> f64 {
        self.pace(plan).expected(usual, now_ms)
    }

    fn pace(&self, plan: &Plan) -> Ewma {
        self.pace.get(kind(plan.size, plan.stream)).copied().unwrap_or_default()
    }

    /// The first content came after so many milliseconds.
    pub(super) fn content(&mut self, size: Size, stream: bool, ms: u64, now_ms: u64) {
        let kind = kind(size, stream);
        if let Some(pace) = self.pace.get_mut(kind) {
            pace.sample(ms as f64, now_ms);
        }
        if let Some(pace) = self.report.paces.get_mut(kind) {
            *pace = pace.max(ms as f64);
        }
    }

    /// A call begins.
    pub(super) fn begin(&mut self, now_ms: u64) {
        self.in_flight += 1;
        self.used_ms = now_ms;
        self.breaker.begin(now_ms);
        let minute = now_ms / 60_000;
        let before = if self.minute.0 == minute { self.minute.1 } else { 0 };
        self.minute = (minute, before.saturating_add(1));
    }

    /// Calls begun in the current minute.
    pub(super) fn this_minute(&self, now_ms: u64) -> u32 {
        if self.minute.0 == now_ms / 60_000 { self.minute.1 } else { 0 }
    }

    /// A call that began at `began_ms` ended.
    pub(super) fn end(&mut self, seen: Seen, began_ms: u64, now_ms: u64, entropy: &mut Entropy) -> Option<Turn> {
        self.in_flight = self.in_flight.saturating_sub(1);
        let turn = match seen.class.failure() {
            _ if self.breaker.stale(began_ms) => None,
            Some(failure) => self.breaker.end(failure, now_ms, entropy),
            None => {
                self.breaker.neutral();
                None
            }
        };
        if turn == Some(Turn::Restored) {
            self.ramp_ms = now_ms;
        }
        if let Some(failure) = seen.class.failure() {
            self.report.all += 1.0;
            self.report.failed += failure;
        }
        if let Some(turn) = turn {
            let until_ms = if let Turn::Ejected(ms) = turn { now_ms + ms } else { 0 };
            self.holders = 1;
            self.report.open = Some(Open { at_ms: now_ms, until_ms, holders: 1, count: 0 });
        }
        let stated = seen.wait_ms.map(|ms| ms.clamp(STATED_MS.0, STATED_MS.1));
        // A little more, so that isolates do not return together.
        let stated = stated.map(|ms| ms + spread(ms / 20, 1.0, entropy));
        let cool = match seen.class {
            Class::RateLimited => Some((Cool::Limited, stated.unwrap_or_else(|| self.unstated(entropy)))),
            Class::Overloaded => Some((Cool::Overloaded, stated.unwrap_or_else(|| self.unstated(entropy)))),
            Class::Quota => Some((Cool::Limited, stated.unwrap_or(QUOTA_MS))),
            Class::Credential => Some((Cool::Credential, FAULT_MS)),
            Class::NotFound => Some((Cool::NotFound, FAULT_MS)),
            // The provider failed, and says for how long.
            Class::Failed => stated.map(|ms| (Cool::Overloaded, ms)),
            _ => None,
        };
        if let Some((cool, ms)) = cool {
            let until = now_ms + ms;
            // A shorter wait does not undo a longer one.
            if self.cool.is_none_or(|(_, known)| known < until) {
                self.cool = Some((cool, until));
                self.report.cool = self.cool;
            }
        } else if seen.class == Class::Success {
            self.limits = 0;
            // It works again, whatever it said before.
            self.cool = self.cool.filter(|(cool, _)| matches!(cool, Cool::Limited | Cool::Overloaded));
        }
        turn
    }

    fn unstated(&mut self, entropy: &mut Entropy) -> u64 {
        let ms = LIMIT_MS.saturating_mul(1 << self.limits.min(5)).min(LIMIT_MOST_MS);
        self.limits += 1;
        spread(ms, 0.2, entropy).min(LIMIT_MOST_MS)
    }

    /// Takes what is to be told. What happened is told by those who are `alone` with their requests: one of so many reports
    /// that about as many as `limits::DIGEST_REPORTS` are made in half a minute, and it counts for the others.
    pub(super) fn tell(&mut self, alone: bool, now_ms: u64, entropy: &mut Entropy) -> Option<Report> {
        let mut report = std::mem::take(&mut self.report);
        let times = (self.shared_window(now_ms).0 / limits::DIGEST_REPORTS).max(1.0);
        if alone && entropy.unit() * times < 1.0 {
            report.all *= times;
            report.failed *= times;
            // The breaker is the record's.
            report.open = None;
        } else {
            report.all = 0.0;
            report.open = report.open.filter(|_| !alone);
        }
        (!report.is_empty()).then_some(report)
    }

    /// Takes what others have seen.
    pub(super) fn learn(&mut self, fact: &Fact, alone: bool, now_ms: u64) {
        if let Some((cool, until)) = fact.cool
            && until > now_ms
            && until <= now_ms + STATED_MS.1 * 11 / 10
            && self.cool.is_none_or(|(_, known)| known < until)
        {
            self.cool = Some((cool, until));
        }
        if let Some(open) = fact.open {
            self.holders = self.holders.max(open.holders);
            match self.breaker.learn(open.at_ms, open.until_ms, now_ms) {
                Some(Turn::Restored) => {
                    self.ramp_ms = now_ms;
                    self.holders = 0;
                }
                // Nobody counts who has heard of it.
                Some(Turn::Ejected(_)) => self.holders = if alone { open.holders } else { HEARERS.max(open.holders) },
                None => {}
            }
        }
        if alone {
            self.shared = (fact.all, fact.failed, fact.at_ms);
            for (known, told) in self.pace.iter_mut().zip(fact.pace) {
                if told.at_ms() > known.at_ms() {
                    *known = told;
                }
            }
        }
    }

    /// Outcomes and failures that others have seen, as they count now.
    pub(super) fn shared_window(&self, now_ms: u64) -> (f64, f64) {
        let (all, failed, at_ms) = self.shared;
        Fact { all, failed, at_ms, ..Fact::default() }.window(now_ms)
    }

    /// The share of failures among recent calls, as far as it is known.
    pub(super) fn error_rate(&self, now_ms: u64) -> f64 {
        let (all, failed) = self.shared_window(now_ms);
        self.breaker.error_rate(now_ms).max(failed / (all + 3.0))
    }

    /// How many would probe it now; 0 if it is not to be probed.
    pub(super) fn probers(&self, now_ms: u64) -> u32 {
        if self.breaker.gate(now_ms) == Gate::Probe { self.holders.max(1) } else { 0 }
    }
}
