//! How long a target takes, as a peak-sensitive average that forgets with time: Finagle's and tower's `PeakEwma`, with a
//! clamp, since times to the first token have long tails and one slow thought must not banish a target.

/// Time constant of forgetting, in milliseconds.
const TAU_MS: f64 = 30_000.0;
/// A sample counts as at most so many times the average.
const CLAMP: f64 = 3.0;

/// The average of one target for requests of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Ewma {
    value: f64,
    at_ms: u64,
}

impl Ewma {
    /// Takes a sample, in milliseconds.
    pub(super) fn sample(&mut self, ms: f64, now_ms: u64) {
        let ms = ms.max(1.0);
        self.value = if self.value == 0.0 {
            ms
        } else if ms > self.value {
            ms.min(CLAMP * self.value)
        } else {
            let keep = keep(now_ms.saturating_sub(self.at_ms));
            self.value * keep + ms * (1.0 - keep)
        };
        self.at_ms = now_ms;
    }

    /// As it was at some time.
    pub(super) fn of(value: f64, at_ms: u64) -> Self {
        Self { value, at_ms }
    }

    /// When it was sampled last, in milliseconds since the epoch.
    pub(super) fn at_ms(&self) -> u64 {
        self.at_ms
    }

    /// Whether there was any sample.
    pub(super) fn known(&self) -> Option<f64> {
        (self.value > 0.0).then_some(self.value)
    }

    /// What is expected now, in milliseconds: what was seen, the older the nearer to `usual`.
    pub(super) fn expected(&self, usual: f64, now_ms: u64) -> f64 {
        match self.known() {
            None => usual,
            Some(value) => {
                let keep = keep(now_ms.saturating_sub(self.at_ms));
                value * keep + usual * (1.0 - keep)
            }
        }
    }
}

fn keep(age_ms: u64) -> f64 {
    (-(age_ms as f64) / TAU_MS).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6 * b
    }

    #[test]
    fn it_rises_at_once_but_not_beyond_the_clamp_and_falls_with_time() {
        let mut ewma = Ewma::default();
        assert_eq!(ewma.known(), None);
        assert!(near(ewma.expected(700.0, 5), 700.0));
        ewma.sample(100.0, 0);
        ewma.sample(250.0, 0);
        assert_eq!(ewma.known(), Some(250.0));
        ewma.sample(60_000.0, 0);
        assert_eq!(ewma.known(), Some(750.0));
        ewma.sample(150.0, 0);
        assert_eq!(ewma.known(), Some(750.0), "no time has passed");
        ewma.sample(150.0, 30_000);
        assert!(near(ewma.known().unwrap(), 750.0 * (-1.0_f64).exp() + 150.0 * (1.0 - (-1.0_f64).exp())));
        ewma.sample(0.0, 10_000_000);
        assert!(near(ewma.known().unwrap(), 1.0));
    }

    #[test]
    fn what_is_long_past_counts_as_the_usual() {
        let mut ewma = Ewma::default();
        ewma.sample(5000.0, 0);
        assert!(ewma.expected(200.0, 0) > 4999.0);
        assert!(ewma.expected(200.0, 600_000) < 201.0);
    }
}
