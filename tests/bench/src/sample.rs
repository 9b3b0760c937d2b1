//! What the load maker found in one window.

use serde::{Deserialize, Serialize};

/// One window over one subject.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Answers that were as they must be.
    pub(crate) good: u64,
    /// All others.
    pub(crate) bad: u64,
    /// What was wrong with the first of them.
    pub(crate) fault: Option<String>,
    /// Good answers in a second.
    pub(crate) rate: f64,
    /// CPU microseconds per good answer of the process that was named.
    pub(crate) cpu_us: f64,
    /// Its peak of resident memory since it started.
    pub(crate) peak_mb: f64,
    /// From the request to the answer's end, ms.
    pub(crate) whole: Spread,
    /// From the request to a stream's first text, ms.
    pub(crate) first: Spread,
    /// From the moment when the provider sent its last text to the answer's end, ms.
    pub(crate) tail: Spread,
    /// Reads of the body per answer: how many chunks of a stream arrived together.
    pub(crate) reads: f64,
}

/// A distribution.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
}

impl Spread {
    /// Of nanoseconds, in ms.
    pub(crate) fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            let place = times.len().saturating_sub(1) * percent / 100;
            times.get(place).map_or(0.0, |ns| *ns as f64 / 1e6)
        };
        Self { p50: at(50), p90: at(90), p99: at(99) }
    }
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { middle(half) } else { (middle(half.wrapping_sub(1)) + middle(half)) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_percentiles() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median([]).is_nan());
        let spread = Spread::of((1..=100).map(|n| n * 1_000_000).collect());
        assert_eq!((spread.p50, spread.p90, spread.p99), (50.0, 90.0, 99.0));
    }
}
