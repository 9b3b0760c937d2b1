//! How many repeats an alias may have: a share of its requests, so that an outage is not multiplied.
//!
//! After the retry budgets of Finagle and of Google's SRE book: <https://sre.google/sre-book/handling-overload/>.

/// What a request adds.
const DEPOSIT: f64 = 0.1;
/// What time adds, in a second, up to [`FLOOR`].
const PER_SECOND: f64 = 0.3;
/// So much is there also where there are few requests.
const FLOOR: f64 = 3.0;
/// So much a budget begins with: enough for what an isolate has under way when a target dies.
const START: f64 = 10.0;
/// So much it holds.
const CAP: f64 = 30.0;

/// What going on to an untried target costs.
pub(super) const ELSEWHERE: f64 = 0.5;
/// What repeating at the same one costs.
pub(super) const AGAIN: f64 = 1.0;

/// The budget of an alias.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    left: f64,
    at_ms: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: START, at_ms: 0 }
    }
}

impl Budget {
    /// A request has come.
    pub(super) fn request(&mut self, now_ms: u64) {
        self.refill(now_ms);
        self.left = (self.left + DEPOSIT).min(CAP);
    }

    /// Takes `cost`, if it is there.
    pub(super) fn take(&mut self, cost: f64, now_ms: u64) -> bool {
        self.refill(now_ms);
        // A little slack: tenths do not add up exactly.
        let enough = self.left + 1e-9 >= cost;
        if enough {
            self.left -= cost;
        }
        enough
    }

    fn refill(&mut self, now_ms: u64) {
        let seconds = now_ms.saturating_sub(self.at_ms) as f64 / 1000.0;
        self.at_ms = self.at_ms.max(now_ms);
        if self.left < FLOOR {
            self.left = (self.left + PER_SECOND * seconds).min(FLOOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_a_tenth_of_requests_and_some_at_any_rate() {
        let mut budget = Budget::default();
        let at_first = (0..100).filter(|_| budget.take(AGAIN, 0)).count();
        assert_eq!(at_first, 10);
        let taken = (0..1000).filter(|_| {
            budget.request(0);
            budget.take(AGAIN, 0)
        });
        assert_eq!(taken.count(), 100);
        // Ten seconds without a request: three again, an hour: not more.
        assert_eq!((0..100).filter(|_| budget.take(AGAIN, 10_000)).count(), 3);
        assert_eq!((0..100).filter(|_| budget.take(AGAIN, 3_610_000)).count(), 3);
        for _ in 0..10_000 {
            budget.request(3_610_000);
        }
        assert_eq!((0..100).filter(|_| budget.take(AGAIN, 3_610_000)).count(), 30);
    }
}
