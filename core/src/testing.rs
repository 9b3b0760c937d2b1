//! In-memory ports and a virtual clock, for tests of core and of its adapters. Never part of a build that serves.

mod buckets;
mod faults;
mod http;
mod ledger;
mod manager;
mod store;

use std::collections::BTreeSet;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

pub use self::buckets::MemoryBuckets;
pub use self::faults::{Faults, Mishap};
pub use self::http::{Answer, Chunk, ScriptedBody, ScriptedHttp, Sent};
pub use self::ledger::MemoryLedger;
pub use self::manager::MemoryManager;
pub use self::store::{MemoryStore, Record};
use crate::deferred::Deferred;
use crate::ports::{Level, Platform};

/// Switches the meter of this process off and on. For benches: with it off no text is measured and no usage read.
pub fn set_metering(on: bool) {
    crate::account::meter::switch::set(on);
}

/// A platform whose time, randomness and neighbours a test controls.
#[derive(Clone, Default)]
pub struct World(Arc<Inner>);

#[derive(Default)]
struct Inner {
    store: MemoryStore,
    ledger: MemoryLedger,
    buckets: MemoryBuckets,
    deferred: Mutex<Vec<Deferred>>,
    http: ScriptedHttp,
    manager: MemoryManager,
    now_ms: AtomicU64,
    timers: Mutex<BTreeSet<u64>>,
    random: AtomicU64,
    alone: AtomicBool,
    lines: Mutex<Vec<(Level, String)>>,
}

impl World {
    /// A world that begins at `now_ms`.
    pub fn at(now_ms: u64) -> Self {
        let world = Self::default();
        world.0.now_ms.store(now_ms, Ordering::SeqCst);
        world
    }

    /// From now on as on Lambda: one request at a time.
    pub fn set_alone(&self) {
        self.0.alone.store(true, Ordering::SeqCst);
    }

    /// Lets time pass.
    pub fn pass(&self, ms: u64) {
        self.0.now_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// The log so far, emptied.
    pub fn take_log(&self) -> Vec<String> {
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.drain(..).map(|(_, line)| line).collect()
    }

    /// What was deferred so far, emptied; for [`crate::Gateway::carry_out`].
    pub fn take_deferred(&self) -> Vec<Deferred> {
        std::mem::take(&mut *self.0.deferred.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs a future to its end; whenever it waits, time jumps to the next timer.
    ///
    /// # Panics
    /// When the future waits and no timer is set: it would wait for ever.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
                return value;
            }
            let next = self.0.timers.lock().unwrap_or_else(PoisonError::into_inner).pop_first();
            #[expect(clippy::expect_used, reason = "a test that waits for nothing must fail")]
            let next = next.expect("a future waits for ever");
            self.0.now_ms.fetch_max(next, Ordering::SeqCst);
        }
    }

    /// Polls a future for a while: as long as timers up to `ms` from now are due. Then drops it.
    pub fn run_for<T>(&self, ms: u64, future: impl Future<Output = T>) -> Option<T> {
        let end = self.now_ms() + ms;
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
                return Some(value);
            }
            let mut timers = self.0.timers.lock().unwrap_or_else(PoisonError::into_inner);
            match timers.pop_first().filter(|next| *next <= end) {
                Some(next) => self.0.now_ms.fetch_max(next, Ordering::SeqCst),
                None => return None,
            };
        }
    }

    fn wait_until(&self, due_ms: u64) -> Poll<()> {
        if self.now_ms() >= due_ms {
            return Poll::Ready(());
        }
        self.0.timers.lock().unwrap_or_else(PoisonError::into_inner).insert(due_ms);
        Poll::Pending
    }
}

/// Ready when the virtual clock has come so far.
pub struct VirtualTimer {
    world: World,
    due_ms: u64,
}

impl Future for VirtualTimer {
    type Output = ();
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.world.wait_until(self.due_ms)
    }
}

impl Platform for World {
    type Store = MemoryStore;
    type Ledger = MemoryLedger;
    type Buckets = MemoryBuckets;
    type Manager = MemoryManager;
    type Http = ScriptedHttp;
    type Timer = VirtualTimer;

    fn store(&self) -> &MemoryStore {
        &self.0.store
    }
    fn buckets(&self) -> &MemoryBuckets {
        &self.0.buckets
    }
    fn ledger(&self) -> &MemoryLedger {
        &self.0.ledger
    }
    fn defer(&self, work: Deferred) {
        self.0.deferred.lock().unwrap_or_else(PoisonError::into_inner).push(work);
    }
    fn manager(&self) -> &MemoryManager {
        &self.0.manager
    }
    fn http(&self) -> &ScriptedHttp {
        self.0.http.attach(self);
        &self.0.http
    }
    fn now_ms(&self) -> u64 {
        self.0.now_ms.load(Ordering::SeqCst)
    }
    fn timer(&self, ms: u64) -> VirtualTimer {
        VirtualTimer { world: self.clone(), due_ms: self.now_ms().saturating_add(ms) }
    }
    fn fill_random(&self, bytes: &mut [u8]) {
        // SplitMix64: well mixed, and the same in every run.
        for chunk in bytes.chunks_mut(8) {
            let mut z = self.0.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            for (byte, random) in chunk.iter_mut().zip((z ^ (z >> 31)).to_le_bytes()) {
                *byte = random;
            }
        }
    }
    fn alone(&self) -> bool {
        self.0.alone.load(Ordering::SeqCst)
    }
    fn log(&self, level: Level, line: &str) {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner).push((level, line.to_owned()));
    }
}
