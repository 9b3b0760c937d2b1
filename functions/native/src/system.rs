//! Clock, timer and randomness of the operating system.

use std::cell::RefCell;
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
/// Small amounts come out of a stock of 256 bytes per thread, because every request needs a few and a system call
/// costs more than they do. What was handed out is overwritten.
///
/// # Panics
/// If the system has no randomness: nothing that would be made from `bytes` could be safe. The entry turns the panic
/// into a 500.
#[expect(clippy::panic, reason = "see Panics")]
pub fn fill_random(bytes: &mut [u8]) {
    let filled = RANDOM.with_borrow_mut(|stock| stock.take(bytes));
    if filled.is_err() {
        std::panic::panic_any(RandomFailed);
    }
}

thread_local! {
    static RANDOM: RefCell<Stock> = const { RefCell::new(Stock { bytes: [0; STOCK], left: 0 }) };
}

/// Random bytes that were fetched ahead; the last `left` are unused.
struct Stock {
    bytes: [u8; STOCK],
    left: usize,
}

impl Stock {
    fn take(&mut self, wanted: &mut [u8]) -> Result<(), getrandom::Error> {
        if wanted.len() > STOCK / 4 {
            return getrandom::fill(wanted);
        }
        if self.left < wanted.len() {
            self.left = 0;
            getrandom::fill(&mut self.bytes)?;
            self.left = STOCK;
        }
        let unused = self.bytes.iter_mut().skip(STOCK - self.left);
        for (wanted, stocked) in wanted.iter_mut().zip(unused) {
            *wanted = std::mem::take(stocked);
        }
        self.left -= wanted.len();
        Ok(())
    }
}

/// The most that one system call gives without ever being interrupted.
const STOCK: usize = 256;

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
    fn random_bytes_are_handed_out_once() {
        let mut seen = std::collections::HashSet::new();
        for length in (8..=70).cycle().take(2_000) {
            let mut bytes = vec![0; length];
            fill_random(&mut bytes);
            assert!(bytes.iter().any(|byte| *byte != 0));
            assert!(seen.insert(bytes[..8].to_vec()));
        }
        let mut large = vec![0; 1 << 16];
        fill_random(&mut large);
        assert!(large.iter().filter(|byte| **byte == 0).count() < 1_000);
    }

    #[test]
    fn what_was_handed_out_is_overwritten() {
        let mut stock = Stock { bytes: [0; STOCK], left: 0 };
        stock.take(&mut [0; 40]).unwrap();
        assert_eq!(stock.bytes[..40], [0; 40]);
        assert_eq!(stock.left, STOCK - 40);
    }
}
