//! What core gets to see of this process.

use std::sync::{Arc, Mutex, PoisonError};

use gateway_core::Deferred;
use gateway_core::ports::{Level, NoManager, Platform};
use gateway_native::{Log, Timer, Upstream};
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::buckets::ProcessBuckets;
use crate::store::RedbStore;

/// The platform of the local entry.
#[derive(Clone)]
pub(crate) struct Local {
    parts: Arc<Parts>,
    log: Log,
}

struct Parts {
    store: RedbStore,
    buckets: ProcessBuckets,
    upstream: Upstream,
    later: Sender<Deferred>,
    queue: Mutex<Option<Receiver<Deferred>>>,
}

impl Local {
    pub(crate) fn new(store: RedbStore, log: Log) -> Self {
        let (later, queue) = mpsc::channel(QUEUE);
        let buckets = ProcessBuckets::default();
        let parts = Parts { store, buckets, upstream: Upstream::default(), later, queue: Mutex::new(Some(queue)) };
        Self { parts: Arc::new(parts), log }
    }

    /// Where deferred work arrives; the first caller gets it.
    pub(crate) fn queue(&self) -> Option<Receiver<Deferred>> {
        self.parts.queue.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The same with another log.
    pub(crate) fn logging_to(&self, log: Log) -> Self {
        Self { log, ..self.clone() }
    }
}

impl Platform for Local {
    type Store = RedbStore;
    type Ledger = RedbStore;
    type Buckets = ProcessBuckets;
    type Manager = NoManager;
    type Http = Upstream;
    type Timer = Timer;

    fn store(&self) -> &RedbStore {
        &self.parts.store
    }

    fn buckets(&self) -> &ProcessBuckets {
        &self.parts.buckets
    }

    fn ledger(&self) -> &RedbStore {
        &self.parts.store
    }

    fn manager(&self) -> &NoManager {
        &NoManager
    }

    fn http(&self) -> &Upstream {
        &self.parts.upstream
    }

    fn now_ms(&self) -> u64 {
        gateway_native::now_ms()
    }

    fn timer(&self, ms: u64) -> Timer {
        gateway_native::timer(ms)
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        gateway_native::fill_random(bytes);
    }

    fn log(&self, level: Level, line: &str) {
        self.log.write(level, line);
    }

    fn defer(&self, work: Deferred) {
        if self.parts.later.try_send(work).is_err() {
            self.log.write(Level::Error, r#"{"level":"error","event":"deferred_work_lost"}"#);
        }
    }
}

/// Pieces of work that wait; thousands of requests a second fill it only while the disk stands still.
const QUEUE: usize = 20_000;

/// The handler runs on a thread pool: this compiles only while its future is `Send`.
#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use gateway_core::Gateway;

    use super::*;

    fn assert_send<T: Send>(_: &T) {}

    #[expect(dead_code, reason = "compiled, never run")]
    fn the_handlers_future_is_send(gateway: &Gateway, platform: Local, request: http::Request<Bytes>) {
        assert_send(&gateway_native::handle(gateway, platform, request));
    }
}
