//! The Worker as core's [`Platform`]: one value per request.

use std::cell::Cell;
use std::rc::Rc;

use gateway_core::Deferred;
use gateway_core::ports::{Level, NoManager, Platform};

use crate::call::{Call, Timer};
use crate::host;
use crate::isolate;
use crate::store::Objects;
use crate::upstream::Fetch;

/// The ports of one request.
#[derive(Clone)]
pub(crate) struct Edge {
    call: Rc<Call>,
    store: Objects,
    http: Fetch,
}

impl Edge {
    /// The ports of `call`.
    pub(crate) fn new(call: &Rc<Call>) -> Self {
        Self { call: Rc::clone(call), store: Objects::new(call), http: Fetch::new(call) }
    }
}

impl Platform for Edge {
    type Store = Objects;
    type Ledger = Objects;
    type Buckets = Objects;
    type Manager = NoManager;
    type Http = Fetch;
    type Timer = Timer;

    fn store(&self) -> &Objects {
        &self.store
    }

    fn buckets(&self) -> &Objects {
        &self.store
    }

    fn ledger(&self) -> &Objects {
        &self.store
    }

    fn manager(&self) -> &NoManager {
        &NoManager
    }

    fn http(&self) -> &Fetch {
        &self.http
    }

    fn now_ms(&self) -> u64 {
        now_ms()
    }

    fn timer(&self, ms: u64) -> Timer {
        self.call.timer(now_ms(), ms)
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        isolate::fill_random(bytes);
    }

    fn log(&self, level: Level, line: &str) {
        isolate::log(level, line);
    }

    fn defer(&self, work: Deferred) {
        self.call.defer(work);
    }
}

thread_local! {
    static NOW: Cell<f64> = const { Cell::new(0.0) };
}

/// A crossing from JavaScript begins: the clock may have moved.
pub(crate) fn enter() {
    NOW.set(0.0);
}

/// Milliseconds since the epoch, looked up once in each crossing: on Workers the clock stands still while nothing is awaited.
pub(crate) fn now_ms() -> u64 {
    let mut now = NOW.get();
    if now == 0.0 {
        now = host::now();
        NOW.set(now);
    }
    now as u64
}
