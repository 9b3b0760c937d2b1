//! Simpler balancers, to compare with. Their knowledge is shared by all isolates and 10 seconds old.

use super::Router;
use crate::route::Entropy;

/// How old shared knowledge gets, in milliseconds.
const STALE_MS: u64 = 10_000;

/// What all isolates share of such a balancer.
#[derive(Default)]
pub(super) struct Rival {
    /// Times seen at each target.
    times: Vec<Vec<f64>>,
    /// What is believed now, and since when.
    beliefs: Vec<f64>,
    since_ms: u64,
}

impl Rival {
    pub(super) fn new(count: usize) -> Self {
        Self { times: vec![Vec::new(); count], beliefs: vec![0.0; count], since_ms: 0 }
    }

    /// Takes a time to first content, in milliseconds. The list of LiteLLM's `lowest_latency` holds ten; when it is full,
    /// only its last entry is replaced. A plain router averages, the later the more.
    pub(super) fn sample(&mut self, router: Router, at: usize, ms: f64) {
        let Some(times) = self.times.get_mut(at) else { return };
        if router == Router::TenTimes {
            times.truncate(9);
            times.push(ms);
        } else {
            let last = times.pop().unwrap_or(ms);
            times.push(last * 0.7 + ms * 0.3);
        }
    }

    /// Picks among those that were not tried, or again among all.
    pub(super) fn pick(&mut self, router: Router, tried: &[usize], now_ms: u64, entropy: &mut Entropy) -> usize {
        let count = self.times.len();
        let mut open: Vec<usize> = (0..count).filter(|at| !tried.contains(at)).collect();
        if open.is_empty() {
            open = (0..count).collect();
        }
        if !matches!(router, Router::Quickest | Router::TenTimes) {
            let nth = usize::try_from(entropy.next() % open.len().max(1) as u64).unwrap_or(0);
            return open.get(nth).copied().unwrap_or(0);
        }
        if now_ms >= self.since_ms + STALE_MS || self.since_ms == 0 {
            self.since_ms = now_ms.max(1);
            let mean = |times: &Vec<f64>| times.iter().sum::<f64>() / times.len().max(1) as f64;
            self.beliefs = self.times.iter().map(mean).collect();
        }
        let belief = |at: &usize| self.beliefs.get(*at).copied().unwrap_or(0.0);
        open.into_iter().min_by(|a, b| belief(a).total_cmp(&belief(b))).unwrap_or(0)
    }
}
