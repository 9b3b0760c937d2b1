//! Which of several targets that can be called is called.

use super::health::Health;
use super::{Algorithm, Candidate, Entropy, Plan, Reason, affinity, entropy};

/// A target must be expected to be so many times as quick for a second draw to replace the first.
const BAND: f64 = 1.5;
/// The share of calls that go to the first draw whatever is expected, so that all stay observed.
const EXPLORE: f64 = 0.02;
/// How much of its fair share of calls under way a target takes for the sake of affinity.
const BOUND: f64 = 1.25;
/// So many calls under way are no reason to give affinity up: among so few, a fair share is chance.
const ROOM: f64 = 4.0;
/// How much a share of failures adds to what a call at a target costs.
const ERRORS: f64 = 10.0;

/// A target that can be called.
pub(super) struct Choice<'a> {
    /// Its index in the plan.
    pub at: usize,
    /// As the plan sees it.
    pub candidate: &'a Candidate,
    /// What is known of it.
    pub health: &'a Health,
}

/// Picks one; its place among `choices`. `seed` is the isolate's own order among equals.
pub(super) fn pick(
    plan: &Plan,
    choices: &[Choice<'_>],
    seed: u64,
    now_ms: u64,
    entropy: &mut Entropy,
) -> Option<(usize, Reason)> {
    let draw = |entropy: &mut Entropy| weighted(choices, now_ms, entropy);
    match plan.algorithm {
        Algorithm::WeightedRandom => draw(entropy).map(|at| (at, Reason::Weighted)),
        Algorithm::RoundRobin | Algorithm::WeightedRoundRobin => turn(plan, choices, seed).map(|at| (at, Reason::Turn)),
        Algorithm::LeastConnections => least(choices, entropy).map(|at| (at, Reason::LeastConnections)),
        Algorithm::QuotaPriority => {
            let left = |choice: &Choice<'_>| {
                choice.candidate.quota.is_none_or(|quota| choice.health.this_minute(now_ms) < quota)
            };
            // When every quota is used up, the one that is over it the least goes on.
            let over = || {
                let share = |choice: &Choice<'_>| {
                    f64::from(choice.health.this_minute(now_ms)) / f64::from(choice.candidate.quota.unwrap_or(1).max(1))
                };
                (0..choices.len()).min_by(|a, b| match (choices.get(*a), choices.get(*b)) {
                    (Some(a), Some(b)) => share(a).total_cmp(&share(b)),
                    _ => std::cmp::Ordering::Equal,
                })
            };
            choices.iter().position(left).or_else(over).map(|at| (at, Reason::Quota))
        }
        Algorithm::Latency => {
            if let Some(key) = plan.affinity {
                return at_home(key, choices).map(|at| (at, Reason::Affinity));
            }
            let (one, other) = (draw(entropy)?, draw(entropy)?);
            if entropy.unit() < EXPLORE {
                return Some((one, Reason::Explore));
            }
            if one == other {
                return Some((one, Reason::Weighted));
            }
            let [a, b] = costs(plan, choices, [one, other], now_ms);
            Some(if b < a / BAND { (other, Reason::Latency) } else { (one, Reason::Weighted) })
        }
    }
}

/// What a call at each of two targets is expected to cost, in milliseconds of waiting.
fn costs(plan: &Plan, choices: &[Choice<'_>], two: [usize; 2], now_ms: u64) -> [f64; 2] {
    let usual = median(plan, choices);
    let mean = choices.iter().map(|choice| choice.candidate.weight).sum::<f64>() / choices.len().max(1) as f64;
    let cost = |choice: &Choice<'_>| {
        let load = f64::from(choice.health.in_flight) * mean / choice.candidate.weight;
        let errors = 1.0 + ERRORS * choice.health.error_rate(now_ms);
        choice.health.expected(plan, usual, now_ms) * (1.0 + load) * errors
    };
    two.map(|at| choices.get(at).map_or(f64::INFINITY, cost))
}

/// The middle of what was seen at the targets; where a new one begins.
pub(super) fn median(plan: &Plan, choices: &[Choice<'_>]) -> f64 {
    let mut seen: Vec<f64> = choices.iter().filter_map(|choice| choice.health.seen(plan)).collect();
    if seen.is_empty() {
        return 1000.0;
    }
    let middle = seen.len() / 2;
    *seen.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// A draw by weight.
fn weighted(choices: &[Choice<'_>], now_ms: u64, entropy: &mut Entropy) -> Option<usize> {
    let weight = |choice: &Choice<'_>| choice.candidate.weight * choice.health.ramp(now_ms);
    let total: f64 = choices.iter().map(weight).sum();
    let mut left = entropy.unit() * total;
    for (at, choice) in choices.iter().enumerate() {
        left -= weight(choice);
        if left < 0.0 {
            return Some(at);
        }
    }
    choices.len().checked_sub(1)
}

/// Smooth weighted rotation, as nginx has it: who is owed most.
fn turn(plan: &Plan, choices: &[Choice<'_>], seed: u64) -> Option<usize> {
    let owed = |choice: &Choice<'_>| {
        let owed = choice.health.turn + share(plan.algorithm, choice.candidate);
        (owed, entropy::mix(seed ^ choice.candidate.id.bits()))
    };
    let mut best: Option<(usize, (f64, u64))> = None;
    for (at, choice) in choices.iter().enumerate() {
        let owed = owed(choice);
        if best.is_none_or(|(_, most)| owed > most) {
            best = Some((at, owed));
        }
    }
    best.map(|(at, _)| at)
}

/// What a turn adds to what a target is owed.
pub(super) fn share(algorithm: Algorithm, candidate: &Candidate) -> f64 {
    if algorithm == Algorithm::RoundRobin { 1.0 } else { candidate.weight }
}

/// Where the fewest calls run for its weight; among equals any.
fn least(choices: &[Choice<'_>], entropy: &mut Entropy) -> Option<usize> {
    let load = |choice: &Choice<'_>| f64::from(choice.health.in_flight) / choice.candidate.weight;
    let fewest = choices.iter().map(load).min_by(f64::total_cmp)?;
    let equal: Vec<usize> = (0..choices.len())
        .filter(|at| choices.get(*at).is_some_and(|choice| load(choice) <= fewest + f64::EPSILON))
        .collect();
    let nth = usize::try_from(entropy.next() % equal.len().max(1) as u64).unwrap_or(0);
    equal.get(nth).copied()
}

/// The home of a key: the first in its order that is not far over its fair share of calls under way (bounded loads:
/// Mirrokni, Thorup and Zadimoghaddam, 2018).
fn at_home(key: u64, choices: &[Choice<'_>]) -> Option<usize> {
    let under_way: f64 = choices.iter().map(|choice| f64::from(choice.health.in_flight)).sum();
    let weights: f64 = choices.iter().map(|choice| choice.candidate.weight).sum();
    let (mut home, mut with_room) = (None, None);
    for (at, choice) in choices.iter().enumerate() {
        let score = affinity::score(key, choice.candidate.id, choice.candidate.weight);
        let fair = (under_way + 1.0) * choice.candidate.weight / weights.max(f64::MIN_POSITIVE);
        let beats = |known: Option<(f64, usize)>| known.is_none_or(|(best, _)| score > best);
        if beats(home) {
            home = Some((score, at));
        }
        if f64::from(choice.health.in_flight) < (BOUND * fair).ceil().max(ROOM) && beats(with_room) {
            with_room = Some((score, at));
        }
    }
    with_room.or(home).map(|(_, at)| at)
}
