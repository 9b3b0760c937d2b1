//! A fleet of isolates on a virtual clock, each with a board of its own, over upstreams that are slow, fail or are limited:
//! what the balancer comes to as a whole, beside simpler ones. `tests/balance` judges the figures. Never part of a build
//! that serves.

mod fleet;
mod rival;

pub use self::fleet::{Behaviour, Figures, Router, Scene, run};

use std::sync::Arc;

use crate::model::TenantId;
use crate::route::{Algorithm, AliasId, Board, Candidate, Class, Entropy, Next, Out, Plan, Seen, Size, TargetId};

/// The share of picks of each target, drawn by weight.
pub fn shares(weights: &[f64], picks: u32) -> Vec<f64> {
    let (board, mut entropy) = (Board::default(), Entropy::new(1));
    let mut counts = vec![0_u32; weights.len()];
    for _ in 0..picks {
        let mut plan = plan(weights, Algorithm::WeightedRandom, None, 0);
        if let Next::Call(pick) = board.next(&mut plan, 1, &mut entropy)
            && let Some(count) = counts.get_mut(pick.at)
        {
            *count += 1;
        }
    }
    counts.into_iter().map(|count| f64::from(count) / f64::from(picks)).collect()
}

/// Where each of `keys` prompts goes among the first `count` targets without the one called `gone`.
pub fn homes(keys: u64, count: usize, gone: Option<usize>) -> Vec<usize> {
    let (board, mut entropy) = (Board::default(), Entropy::new(1));
    let home = |key: u64| {
        let mut plan = plan(&vec![1.0; count], Algorithm::Latency, Some(crate::route::hash(&[&key.to_le_bytes()])), 0);
        if let Some(gone) = gone.and_then(|at| plan.candidates.get_mut(at)) {
            gone.out = Some(Out::Drained);
        }
        match board.next(&mut plan, 1, &mut entropy) {
            Next::Call(pick) => pick.at,
            Next::Stop(_) => usize::MAX,
        }
    };
    (0..keys).map(home).collect()
}

/// A board that knows `count` targets, and a request among them; for a clock.
pub struct Decision {
    board: Arc<Board>,
    plan: Plan,
    entropy: Entropy,
}

impl Decision {
    /// All targets were called some times; `key` ties the request to one of them.
    pub fn among(count: usize, key: Option<u64>) -> Self {
        let (board, mut entropy) = (Arc::<Board>::default(), Entropy::new(1));
        let mut plan = plan(&vec![1.0; count], Algorithm::Latency, None, 0);
        for now in (0..30_000).step_by(3_000) {
            plan.tried.clear();
            board.next(&mut plan, now, &mut entropy);
            for candidate in &plan.candidates {
                let mut ticket = board.begin(&plan, candidate.id, now, entropy.next());
                let end = now + 300 + entropy.next() % 300;
                ticket.content(end);
                ticket.end(Seen { class: Class::Success, wait_ms: None, cached: false }, end);
            }
        }
        plan.affinity = key;
        Self { board, plan, entropy }
    }

    /// Decides so many times.
    pub fn make(&mut self, times: u32) -> usize {
        let mut sum = 0;
        for _ in 0..times {
            self.plan.tried.clear();
            if let Next::Call(pick) = self.board.next(&mut self.plan, 30_000, &mut self.entropy) {
                sum += pick.at;
            }
        }
        sum
    }
}

fn plan(weights: &[f64], algorithm: Algorithm, affinity: Option<u64>, now_ms: u64) -> Plan {
    let tenant = TenantId::from_random([1; 16]);
    let candidate = |(at, weight): (usize, &f64)| Candidate {
        id: TargetId::of(tenant, "p", &at.to_string()),
        weight: *weight,
        priority: 0,
        quota: None,
        out: None,
    };
    Plan {
        alias: AliasId::of(tenant, "a"),
        candidates: weights.iter().enumerate().map(candidate).collect(),
        algorithm,
        affinity,
        size: Size::Small,
        stream: true,
        alone: false,
        deadline_ms: now_ms + 600_000,
        most: crate::limits::ATTEMPTS,
        tried: Vec::new(),
        last: None,
        panicked: false,
        counted: false,
    }
}
