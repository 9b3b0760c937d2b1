//! Whether a target is let alone because it fails: a sliding window of outcomes, ejection with growing time, and one
//! probe at a time afterwards.
//!
//! Numbers after Envoy's outlier detection: <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier>.

use super::Entropy;

/// Buckets of the window.
const BUCKETS: usize = 10;
/// Length of a bucket, in milliseconds.
const BUCKET_MS: u64 = 3_000;
/// Failures in a row that open it.
const CONSECUTIVE: u32 = 5;
/// Outcomes in the window before their share counts.
pub(super) const ENOUGH: f64 = 5.0;
/// Share of failures that opens it.
pub(super) const SHARE: f64 = 0.5;
/// First ejection, in milliseconds; doubled with each further one.
pub(super) const EJECT_MS: u64 = 10_000;
/// Longest ejection, in milliseconds.
pub(super) const EJECT_MOST_MS: u64 = 300_000;
/// After so long without an ejection the next one is a first one again, in milliseconds.
pub(super) const FORGIVE_MS: u64 = 600_000;
/// A probe that has not come back after so long has lost its place, in milliseconds.
const PROBE_MS: u64 = 10_000;

/// What a breaker does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// It goes.
    Closed,
    /// It may go as the one probe.
    Probe,
    /// It does not, for so many milliseconds.
    Open(u64),
}

/// A change of a breaker's state, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The target is let alone, for so many milliseconds.
    Ejected(u64),
    /// The target is back.
    Restored,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    began_ms: u64,
    all: f64,
    failed: f64,
}

/// The breaker of one target.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker {
    buckets: [Bucket; BUCKETS],
    in_a_row: u32,
    /// Until when it is open, in milliseconds since the epoch; 0 while it is closed.
    open_until_ms: u64,
    /// Ejections in a row.
    ejections: u32,
    ejected_ms: u64,
    /// When it was found well again.
    closed_ms: u64,
    /// When the probe that is out has lost its place.
    probe_until_ms: u64,
}

impl Breaker {
    /// What it does with a call now.
    pub(super) fn gate(&self, now_ms: u64) -> Gate {
        if self.open_until_ms == 0 {
            Gate::Closed
        } else if now_ms < self.open_until_ms {
            Gate::Open(self.open_until_ms - now_ms)
        } else if now_ms < self.probe_until_ms {
            Gate::Open(self.probe_until_ms - now_ms)
        } else {
            Gate::Probe
        }
    }

    /// A call begins; after an ejection it is the probe.
    pub(super) fn begin(&mut self, now_ms: u64) {
        if self.gate(now_ms) == Gate::Probe {
            self.probe_until_ms = now_ms + PROBE_MS;
        }
    }

    /// Whether a call is of the time before the target was ejected: however it ends, that says nothing new.
    pub(super) fn stale(&self, began_ms: u64) -> bool {
        self.open_until_ms != 0 && began_ms < self.ejected_ms
    }

    /// A call says nothing of the target's health: a probe gives its place back.
    pub(super) fn neutral(&mut self) {
        self.probe_until_ms = 0;
    }

    /// A call ended; `failure` is how much of a failure it was, 0 to 1.
    pub(super) fn end(&mut self, failure: f64, now_ms: u64, entropy: &mut Entropy) -> Option<Turn> {
        let was_open = self.open_until_ms != 0;
        // What began before the ejection and fails later says nothing new.
        if was_open && now_ms < self.open_until_ms && failure > 0.0 {
            return None;
        }
        self.probe_until_ms = 0;
        let bucket = self.bucket(now_ms);
        bucket.all += 1.0;
        bucket.failed += failure;
        if failure == 0.0 {
            self.in_a_row = 0;
            if !was_open {
                return None;
            }
            self.close(now_ms);
            return Some(Turn::Restored);
        }
        self.in_a_row += u32::from(failure >= 1.0);
        let (all, failed) = self.window(now_ms);
        if was_open || self.in_a_row >= CONSECUTIVE || (all >= ENOUGH && failed / all >= SHARE) {
            return Some(self.eject(now_ms, entropy));
        }
        None
    }

    /// Another isolate ejected the target until `until_ms`, or found it well (0).
    pub(super) fn learn(&mut self, at_ms: u64, until_ms: u64, now_ms: u64) -> Option<Turn> {
        if until_ms > now_ms && until_ms > self.open_until_ms && at_ms > self.closed_ms {
            let was_open = self.open_until_ms > now_ms;
            self.ejected_ms = self.ejected_ms.max(at_ms);
            self.probe_until_ms = 0;
            self.open_until_ms = until_ms.min(now_ms + EJECT_MOST_MS * 6 / 5);
            if !was_open {
                return Some(Turn::Ejected(self.open_until_ms - now_ms));
            }
        } else if until_ms == 0 && self.open_until_ms != 0 && at_ms > self.ejected_ms {
            self.close(at_ms);
            return Some(Turn::Restored);
        }
        None
    }

    fn close(&mut self, now_ms: u64) {
        self.open_until_ms = 0;
        self.closed_ms = now_ms;
        self.in_a_row = 0;
        self.buckets = Default::default();
    }

    fn eject(&mut self, now_ms: u64, entropy: &mut Entropy) -> Turn {
        if now_ms.saturating_sub(self.ejected_ms) > FORGIVE_MS {
            self.ejections = 0;
        }
        let base = EJECT_MS.saturating_mul(1 << self.ejections.min(5)).min(EJECT_MOST_MS);
        let ms = spread(base, 0.2, entropy);
        self.ejections += 1;
        self.ejected_ms = now_ms;
        self.open_until_ms = now_ms + ms;
        self.in_a_row = 0;
        Turn::Ejected(ms)
    }

    /// The share of failures among recent calls, drawn towards 0 while there are few.
    pub(super) fn error_rate(&self, now_ms: u64) -> f64 {
        let (all, failed) = self.window(now_ms);
        failed / (all + 3.0)
    }

    fn window(&self, now_ms: u64) -> (f64, f64) {
        let young = |bucket: &&Bucket| now_ms < bucket.began_ms + BUCKET_MS * BUCKETS as u64;
        let sum = |(all, failed): (f64, f64), bucket: &Bucket| (all + bucket.all, failed + bucket.failed);
        self.buckets.iter().filter(young).fold((0.0, 0.0), sum)
    }

    fn bucket(&mut self, now_ms: u64) -> &mut Bucket {
        let number = now_ms / BUCKET_MS;
        let at = usize::try_from(number % BUCKETS as u64).unwrap_or(0);
        let began_ms = number * BUCKET_MS;
        #[expect(clippy::indexing_slicing, reason = "a remainder of the length")]
        let bucket = &mut self.buckets[at];
        if bucket.began_ms != began_ms {
            *bucket = Bucket { began_ms, ..Bucket::default() };
        }
        bucket
    }
}

/// `ms`, more or less by up to `share`, so that isolates do not act together.
pub(super) fn spread(ms: u64, share: f64, entropy: &mut Entropy) -> u64 {
    let factor = 1.0 + share * (2.0 * entropy.unit() - 1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive time")]
    let ms = (ms as f64 * factor) as u64;
    ms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(outcomes: &[f64]) -> bool {
        let (mut breaker, mut entropy) = (Breaker::default(), Entropy::new(1));
        for failure in outcomes {
            breaker.end(*failure, 1_000_000, &mut entropy);
        }
        breaker.gate(1_000_000) != Gate::Closed
    }

    #[test]
    fn it_opens_after_five_in_a_row_or_half_of_five() {
        for (outcomes, want) in [
            (&[1.0, 1.0, 1.0, 1.0][..], false),
            (&[1.0, 1.0, 1.0, 1.0, 1.0], true),
            (&[0.0, 0.0, 1.0, 1.0, 1.0], true),
            (&[0.0, 0.0, 0.0, 1.0, 1.0], false),
            (&[0.5, 0.5, 0.5, 0.5], false),
            (&[0.5, 0.5, 0.5, 0.5, 0.5], true),
            (&[0.0, 0.0, 0.5, 0.5, 0.5, 0.5], false),
        ] {
            assert_eq!(opened(outcomes), want, "{outcomes:?}");
        }
    }

    #[test]
    fn it_lets_one_probe_through_and_closes_after_its_success() {
        let (mut breaker, mut entropy) = (Breaker::default(), Entropy::new(1));
        let mut now = 1_000_000;
        let mut last = 0;
        for round in 0..8 {
            let turn = (0..5).find_map(|_| breaker.end(1.0, now, &mut entropy));
            let Some(Turn::Ejected(ms)) = turn else { panic!("{turn:?}") };
            let base = (10_000_u64 << round.min(5)).min(300_000) as f64;
            assert!((0.8 * base..=1.2 * base).contains(&(ms as f64)), "{round}: {ms}");
            assert!(ms > last || ms > 200_000);
            last = ms;
            assert!(matches!(breaker.gate(now + ms - 1), Gate::Open(1)));
            // Late ends of calls from before change nothing.
            assert_eq!(breaker.end(1.0, now + 1, &mut entropy), None);
            now += ms;
            assert_eq!(breaker.gate(now), Gate::Probe);
            breaker.begin(now);
            assert!(matches!(breaker.gate(now), Gate::Open(_)), "one probe at a time");
            breaker.neutral();
            assert_eq!(breaker.gate(now), Gate::Probe, "a probe that says nothing gives its place back");
            breaker.begin(now);
        }
        assert_eq!(breaker.end(0.0, now, &mut entropy), Some(Turn::Restored));
        assert_eq!(breaker.gate(now), Gate::Closed);
        assert_eq!(breaker.error_rate(now), 0.0);
    }

    #[test]
    fn a_probe_that_never_comes_back_loses_its_place() {
        let (mut breaker, mut entropy) = (Breaker::default(), Entropy::new(1));
        for _ in 0..5 {
            breaker.end(1.0, 1_000_000, &mut entropy);
        }
        breaker.begin(1_020_000);
        assert!(matches!(breaker.gate(1_020_000 + PROBE_MS - 1), Gate::Open(_)));
        assert_eq!(breaker.gate(1_020_000 + PROBE_MS), Gate::Probe);
    }

    #[test]
    fn old_outcomes_are_forgotten() {
        let (mut breaker, mut entropy) = (Breaker::default(), Entropy::new(1));
        for _ in 0..4 {
            breaker.end(1.0, 1_000_000, &mut entropy);
            breaker.end(0.0, 1_000_000, &mut entropy);
            breaker.end(0.0, 1_000_000, &mut entropy);
        }
        assert!(breaker.error_rate(1_000_000) > 0.25);
        assert_eq!(breaker.error_rate(1_000_000 + 31_000), 0.0);
    }
}
