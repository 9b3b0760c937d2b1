//! Clock, timer and randomness of the operating system.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Sleep;

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Ready `ms` milliseconds from now.
pub fn timer(ms: u64) -> Timer {
    Timer(Box::pin(tokio::time::sleep(Duration::from_millis(ms))))
}

/// A running timer.
#[derive(Debug)]
pub struct Timer(Pin<Box<Sleep>>);

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

/// The system's random source failed; carried by the panic of [`fill_random`].
#[derive(Clone, Copy, Debug)]
pub struct RandomFailed;

/// Fills `bytes` from the system's cryptographic random source.
///
/// # Panics
/// If the system has no randomness: nothing that would be made from `bytes` could be safe. The entry turns the panic
/// into a 500.
#[expect(clippy::panic, reason = "see Panics")]
pub fn fill_random(bytes: &mut [u8]) {
    if getrandom::fill(bytes).is_err() {
        std::panic::panic_any(RandomFailed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_timer_runs_before_it_is_polled() {
        let timer = timer(50);
        tokio::time::advance(Duration::from_millis(60)).await;
        assert!(futures_util::FutureExt::now_or_never(timer).is_some());
    }

    #[test]
    fn random_bytes_differ() {
        let (mut a, mut b) = ([0; 32], [0; 32]);
        fill_random(&mut a);
        fill_random(&mut b);
        assert_ne!(a, b);
    }
}
