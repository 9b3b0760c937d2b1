//! What an isolate remembers of targets: how quick they are, how they fail, how long to leave them alone; and what follows
//! from it for a request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::breaker::{Turn, spread};
use super::budget::{AGAIN, Budget, ELSEWHERE};
use super::health::{Fit, Health};
use super::pick::{self, Choice};
use super::{
    Algorithm, AliasId, Candidate, Class, Digest, Entropy, News, Next, Pick, Plan, Reason, Size, Stop, TargetId,
};
use crate::limits;
use crate::model::TenantId;

/// Longest wait for a target that wants to be left alone, in milliseconds.
const WAIT_MS: u64 = 2_000;
/// First wait before the same target again, in milliseconds; doubled with each further call.
const AGAIN_MS: u64 = 200;
/// Repeats as a share of requests where nobody can count them.
const REPEATS: f64 = 0.1;
/// Of a priority with so many targets, at most half are ejected.
const MANY: usize = 4;

/// The isolate's memory of targets. Shared: a stream that is under way reports to it.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    targets: HashMap<TargetId, Health>,
    budgets: HashMap<AliasId, Budget>,
    /// When each tenant's digest was read, in milliseconds since the epoch.
    heard: HashMap<TenantId, u64>,
    /// The isolate's own order among equals, so that rotations of many isolates do not all begin at the same target.
    seed: Option<u64>,
    /// What stands for a target that was never met.
    unknown: Health,
}

/// How a call went, for the board.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// What the outcome means.
    pub class: Class,
    /// How long the provider asks to be left alone, in milliseconds.
    pub wait_ms: Option<u64>,
    /// The provider found a part of the prompt in its cache.
    pub cached: bool,
}

/// A call under way at a target. Dropped without an end, it counts as cancelled.
#[derive(Debug)]
pub(crate) struct Ticket {
    board: Arc<Board>,
    target: TargetId,
    size: Size,
    stream: bool,
    /// The provider may know the prompt: what it takes is taken in only when it is known whether it did.
    affine: bool,
    began_ms: u64,
    content_ms: Option<u64>,
    open: bool,
    alone: bool,
    seed: u64,
}

/// A target's state in an explanation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Standing {
    /// Why it would not be picked; `None` if it can be.
    pub out: Option<&'static str>,
    /// For how long, in milliseconds.
    pub for_ms: Option<u64>,
    /// Its expected time to the first content, in milliseconds, if it is known.
    pub expected_ms: Option<u64>,
    /// Calls under way.
    pub in_flight: u32,
}

/// How a target of a plan stands now.
struct Place<'a> {
    at: usize,
    candidate: &'a Candidate,
    health: &'a Health,
    fit: Fit,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves whole entries behind, so what is inside is good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to do next.
    pub(crate) fn next(&self, plan: &mut Plan, now_ms: u64, entropy: &mut Entropy) -> Next {
        let mut state = self.lock();
        state.seed.get_or_insert_with(|| entropy.next());
        state.meet(plan, now_ms);
        if !std::mem::replace(&mut plan.counted, true) {
            state.budgets.entry(plan.alias).or_default().request(now_ms);
        }
        let next = state.decide(plan, now_ms, entropy);
        let Next::Call(pick) = next else { return next };
        let price = match pick.reason {
            _ if plan.tried.is_empty() => None,
            Reason::Again | Reason::Waited if plan.tried.contains(&pick.at) => Some(AGAIN),
            _ => Some(ELSEWHERE),
        };
        if let Some(price) = price
            && !(state.budgets.entry(plan.alias).or_default().take(price, now_ms)
                && (!plan.alone || state.may_repeat(plan, pick.at, now_ms, entropy)))
        {
            return Next::Stop(Stop::Last);
        }
        if pick.reason == Reason::Turn {
            state.turn(plan, pick.at, now_ms);
        }
        plan.panicked |= pick.reason == Reason::Panic;
        plan.tried.push(pick.at);
        next
    }

    /// What [`Self::next`] would say to a new request; nothing is remembered of it.
    pub(crate) fn peek(&self, plan: &Plan, now_ms: u64, entropy: &mut Entropy) -> Next {
        self.lock().decide(plan, now_ms, entropy)
    }

    /// Whether a target that was not tried could take over.
    pub(crate) fn has_other(&self, plan: &Plan, now_ms: u64) -> bool {
        let state = self.lock();
        plan.tried.len() < plan.most as usize && state.open(plan, now_ms).iter().any(|place| place.fit == Fit::Yes)
    }

    /// A call at a candidate begins.
    pub(crate) fn begin(self: &Arc<Self>, plan: &Plan, target: TargetId, now_ms: u64, seed: u64) -> Ticket {
        if let Some(health) = self.lock().targets.get_mut(&target) {
            health.begin(now_ms);
        }
        Ticket {
            board: Arc::clone(self),
            target,
            size: plan.size,
            stream: plan.stream,
            affine: plan.affinity.is_some(),
            began_ms: now_ms,
            content_ms: None,
            open: true,
            // Of an only target nobody needs to know how quick it is.
            alone: plan.alone && plan.candidates.len() > 1,
            seed,
        }
    }

    /// Whether a tenant's digest was not read for a while.
    pub(crate) fn is_old(&self, tenant: TenantId, now_ms: u64) -> bool {
        self.lock().heard.get(&tenant).is_none_or(|at| now_ms.saturating_sub(*at) >= limits::DIGEST_READ_MS)
    }

    /// A tenant's digest is being read.
    pub(crate) fn heard(&self, tenant: TenantId, now_ms: u64) {
        let mut state = self.lock();
        if state.heard.len() >= limits::CACHED_TENANTS && !state.heard.contains_key(&tenant) {
            state.heard.clear();
        }
        state.heard.insert(tenant, now_ms);
    }

    /// Takes what other isolates told. `alone`: this process sees one request at a time.
    pub(crate) fn learn(&self, digest: &Digest, alone: bool, now_ms: u64) {
        let mut state = self.lock();
        for (id, fact) in digest.facts() {
            if !state.targets.contains_key(&id) {
                make_room(&mut state.targets, limits::BOARD_TARGETS, |health| (health.in_flight > 0, health.used_ms));
                let mut health = Health::default();
                health.used_ms = now_ms;
                state.targets.insert(id, health);
            }
            if let Some(health) = state.targets.get_mut(&id) {
                health.learn(fact, alone, now_ms);
            }
        }
    }

    /// How the candidates of a plan stand.
    pub(crate) fn standings(&self, plan: &Plan, now_ms: u64) -> Vec<Standing> {
        let state = self.lock();
        let standing = |candidate: &Candidate| {
            let health = state.health(candidate);
            let why = health.why(now_ms);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive time")]
            let expected_ms = health.seen(plan).map(|ms| ms as u64);
            Standing {
                out: why.map(|(why, _)| why),
                for_ms: why.map(|(_, ms)| ms),
                expected_ms,
                in_flight: health.in_flight,
            }
        };
        plan.candidates.iter().map(standing).collect()
    }
}

impl State {
    fn health(&self, candidate: &Candidate) -> &Health {
        self.targets.get(&candidate.id).unwrap_or(&self.unknown)
    }

    /// Makes the candidates known. Who joins an alias that was called before is not given its whole share at once; who is
    /// met with the alias may have been there for long, whatever else is known from other aliases and isolates.
    fn meet(&mut self, plan: &Plan, now_ms: u64) {
        let mut unknown = Vec::new();
        for candidate in &plan.candidates {
            match self.targets.get_mut(&candidate.id) {
                Some(health) => health.used_ms = now_ms,
                None => unknown.push(candidate),
            }
        }
        let joins = self.budgets.contains_key(&plan.alias);
        for candidate in unknown {
            make_room(&mut self.targets, limits::BOARD_TARGETS, |health| (health.in_flight > 0, health.used_ms));
            let mut health = if joins { Health::joining(now_ms) } else { Health::default() };
            health.used_ms = now_ms;
            self.targets.insert(candidate.id, health);
        }
        if !self.budgets.contains_key(&plan.alias) && self.budgets.len() >= limits::BOARD_TARGETS {
            self.budgets.clear();
        }
    }

    /// The targets that were not tried and can take the request, and how they stand.
    fn open<'a>(&'a self, plan: &'a Plan, now_ms: u64) -> Vec<Place<'a>> {
        let mut places = Vec::with_capacity(plan.candidates.len());
        for (at, candidate) in plan.candidates.iter().enumerate() {
            if usable(candidate) && !plan.tried.contains(&at) {
                let health = self.health(candidate);
                places.push(Place { at, candidate, health, fit: health.fit(now_ms) });
            }
        }
        spare_half(plan, &mut places);
        places
    }

    fn decide(&self, plan: &Plan, now_ms: u64, entropy: &mut Entropy) -> Next {
        if plan.last.is_some_and(|class| !class.elsewhere()) || plan.tried.len() >= plan.most as usize {
            return Next::Stop(Stop::Last);
        }
        let mut places = self.open(plan, now_ms);
        take_turns_at_probing(&mut places, now_ms, entropy);
        let first = places.iter().filter(|place| place.fit == Fit::Yes).map(|place| place.candidate.priority).min();
        if let Some(priority) = first {
            let mut choices = Vec::with_capacity(places.len());
            for &Place { at, candidate, health, fit } in &places {
                if fit == Fit::Yes && candidate.priority == priority {
                    choices.push(Choice { at, candidate, health });
                }
            }
            let retry = !plan.tried.is_empty();
            let alone = choices.len() == 1;
            let picked = if alone && plan.algorithm != Algorithm::RoundRobin {
                Some((0, Reason::Only))
            } else {
                pick::pick(plan, &choices, self.seed.unwrap_or(0), now_ms, entropy)
            };
            if let Some((nth, reason)) = picked
                && let Some(choice) = choices.get(nth)
            {
                let reason = if retry { Reason::Failover } else { reason };
                return Next::Call(Pick { at: choice.at, after_ms: 0, reason });
            }
        }
        self.last_resort(plan, &places, now_ms, entropy)
    }

    /// Whether those who are alone with their requests may go on to a target: the more it fails others, the fewer do.
    fn may_repeat(&self, plan: &Plan, at: usize, now_ms: u64, entropy: &mut Entropy) -> bool {
        let target = plan.candidates.get(at);
        let (all, failed) = target.map_or((0.0, 0.0), |target| self.health(target).shared_window(now_ms));
        let share = failed / (all + 3.0);
        entropy.unit() * share < REPEATS + REPEATS * share
    }

    /// No target can be called as it should: one that is out for its faults is tried all the same, one that wants to be
    /// left alone is waited for, or the only one is asked again.
    fn last_resort(&self, plan: &Plan, places: &[Place<'_>], now_ms: u64, entropy: &mut Entropy) -> Next {
        let patience = WAIT_MS.min(plan.deadline_ms.saturating_sub(now_ms) / 4);
        let faulty = places.iter().filter_map(|place| match place.fit {
            Fit::Faulty(left, _) => Some((left, place.at)),
            _ => None,
        });
        if let Some((_, at)) = faulty.min()
            && !plan.panicked
        {
            return Next::Call(Pick { at, after_ms: 0, reason: Reason::Panic });
        }
        let mut overloaded = false;
        let waits = places.iter().filter_map(|place| match place.fit {
            Fit::Waits(left, busy) => {
                overloaded |= busy;
                Some((left, place.at))
            }
            _ => None,
        });
        if let Some((left, at)) = waits.min() {
            return if left <= patience {
                Next::Call(Pick { at, after_ms: left, reason: Reason::Waited })
            } else {
                Next::Stop(Stop::Cooling { wait_ms: left, overloaded })
            };
        }
        let usable = plan.candidates.iter().filter(|candidate| usable(candidate)).count();
        let ([at], 1, Some(last)) = (plan.tried.as_slice(), usable, plan.last) else {
            return Next::Stop(if plan.tried.is_empty() { Stop::Nothing } else { Stop::Last });
        };
        let health = plan.candidates.get(*at).and_then(|candidate| self.targets.get(&candidate.id));
        match (last, health.map(|health| health.fit(now_ms))) {
            (Class::RateLimited, Some(Fit::Waits(left, _))) if left <= patience => {
                Next::Call(Pick { at: *at, after_ms: left, reason: Reason::Waited })
            }
            (class, Some(Fit::Yes)) if class.again() => {
                let most = patience.min(AGAIN_MS << plan.tried.len().min(8)).max(1);
                Next::Call(Pick { at: *at, after_ms: spread(most / 2, 1.0, entropy), reason: Reason::Again })
            }
            _ => Next::Stop(Stop::Last),
        }
    }

    /// A target had its turn: all are owed more, and it has been paid.
    fn turn(&mut self, plan: &Plan, at: usize, now_ms: u64) {
        let fit: Vec<usize> = (0..plan.candidates.len())
            .filter(|at| {
                plan.candidates.get(*at).is_some_and(|candidate| {
                    usable(candidate)
                        && self.targets.get(&candidate.id).is_none_or(|health| health.fit(now_ms) == Fit::Yes)
                })
            })
            .collect();
        let mut total = 0.0;
        for other in fit {
            let Some(candidate) = plan.candidates.get(other) else { continue };
            let share = pick::share(plan.algorithm, candidate);
            total += share;
            if let Some(health) = self.targets.get_mut(&candidate.id) {
                health.turn += share;
            }
        }
        if let Some(health) = plan.candidates.get(at).and_then(|candidate| self.targets.get_mut(&candidate.id)) {
            health.turn -= total;
        }
    }
}

/// Of a priority with many targets at most half are ejected: those that come back soonest are called all the same.
fn spare_half(plan: &Plan, places: &mut [Place<'_>]) {
    let ejected = |place: &Place<'_>| matches!(place.fit, Fit::Faulty(_, "ejected"));
    let mut priorities: Vec<u32> =
        places.iter().filter(|place| ejected(place)).map(|place| place.candidate.priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    for priority in priorities {
        let members = plan.candidates.iter().filter(|known| usable(known) && known.priority == priority).count();
        if members < MANY {
            continue;
        }
        let of_it = |place: &&mut Place<'_>| place.candidate.priority == priority && ejected(place);
        let mut out: Vec<&mut Place<'_>> = places.iter_mut().filter(of_it).collect();
        out.sort_by_key(|place| match place.fit {
            Fit::Faulty(left, _) => left,
            _ => 0,
        });
        let spared = out.len().saturating_sub(members / 2);
        for place in out.into_iter().take(spared) {
            place.fit = Fit::Yes;
        }
    }
}

/// Of many isolates that could probe a target at once only some do.
fn take_turns_at_probing(places: &mut [Place<'_>], now_ms: u64, entropy: &mut Entropy) {
    for place in places.iter_mut().filter(|place| place.fit == Fit::Yes) {
        let probers = place.health.probers(now_ms);
        if probers > 1 && entropy.unit() * f64::from(probers) >= 1.0 {
            place.fit = Fit::Faulty(0, "ejected");
        }
    }
}

fn usable(candidate: &Candidate) -> bool {
    candidate.out.is_none()
}

impl Ticket {
    /// The first content is there.
    pub(crate) fn content(&mut self, now_ms: u64) {
        self.content_ms = Some(now_ms);
        if !self.affine {
            self.sample();
        }
    }

    fn sample(&mut self) {
        let Some(at) = self.content_ms.take() else { return };
        if let Some(health) = self.board.lock().targets.get_mut(&self.target) {
            health.content(self.size, self.stream, at.saturating_sub(self.began_ms), at);
        }
    }

    /// The call is over. What changed in how the target is treated, for the log; and what others should know.
    pub(crate) fn end(mut self, seen: Seen, now_ms: u64) -> (Option<Turn>, Option<News>) {
        self.open = false;
        if !seen.cached && seen.class == Class::Success {
            self.sample();
        }
        let mut entropy = Entropy::new(self.seed);
        let mut state = self.board.lock();
        let Some(health) = state.targets.get_mut(&self.target) else { return (None, None) };
        let turn = health.end(seen, self.began_ms, now_ms, &mut entropy);
        let report = health.tell(self.alone, now_ms, &mut entropy);
        (turn, report.map(|report| News([(self.target, report)].into())))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open
            && let Some(health) = self.board.lock().targets.get_mut(&self.target)
        {
            health.in_flight = health.in_flight.saturating_sub(1);
            if !health.breaker.stale(self.began_ms) {
                health.breaker.neutral();
            }
        }
    }
}

/// Drops the entry that was used the longest time ago, when a new one would pass the limit.
fn make_room<V>(map: &mut HashMap<TargetId, V>, limit: usize, used: impl Fn(&V) -> (bool, u64)) {
    if map.len() >= limit
        && let Some(oldest) = map.iter().min_by_key(|(_, value)| used(value)).map(|(id, _)| *id)
    {
        map.remove(&oldest);
    }
}

#[cfg(test)]
mod tests;
