//! What core gets to see of one invocation.

use std::sync::{Arc, Mutex, PoisonError};

use gateway_core::Deferred;
use gateway_core::ports::{Level, Platform};
use gateway_native::{Log, Timer, Upstream};

use crate::account::Account;
use crate::dynamo::DynamoStore;
use crate::secrets::AccountSecrets;

/// The platform of one invocation.
#[derive(Clone)]
pub(crate) struct Cloud {
    parts: Arc<Parts>,
    deadline_ms: Option<u64>,
    later: Arc<Mutex<Vec<Deferred>>>,
}

/// What invocations share.
#[derive(Debug)]
pub(crate) struct Parts {
    store: DynamoStore,
    secrets: AccountSecrets,
    upstream: Upstream,
    log: Log,
    alone: bool,
}

impl Parts {
    /// Makes nothing that needs the network.
    pub(crate) fn new(table: &str, log: Log, lookup: impl Fn(&str) -> Option<String>) -> Self {
        let alone = crate::run::concurrency(&lookup) == 1;
        let upstream = Upstream::default();
        let account = Arc::new(Account::new(upstream.clone(), lookup));
        let store = DynamoStore::new(account.clone(), table);
        Self { store, secrets: AccountSecrets::new(account), upstream, log, alone }
    }

    pub(crate) fn secrets(&self) -> &AccountSecrets {
        &self.secrets
    }

    pub(crate) fn log(&self) -> Log {
        self.log
    }
}

impl Cloud {
    pub(crate) fn new(parts: Arc<Parts>, deadline_ms: Option<u64>) -> Self {
        Self { parts, deadline_ms, later: Arc::default() }
    }

    /// The work that was deferred so far, which is the caller's from now on.
    pub(crate) fn take_deferred(&self) -> Vec<Deferred> {
        std::mem::take(&mut *self.later.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Platform for Cloud {
    type Store = DynamoStore;
    type Ledger = DynamoStore;
    type Buckets = DynamoStore;
    type Manager = AccountSecrets;
    type Http = Upstream;
    type Timer = Timer;

    fn store(&self) -> &DynamoStore {
        &self.parts.store
    }

    fn buckets(&self) -> &DynamoStore {
        &self.parts.store
    }

    fn ledger(&self) -> &DynamoStore {
        &self.parts.store
    }

    fn manager(&self) -> &AccountSecrets {
        &self.parts.secrets
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
        self.parts.log.write(level, line);
    }

    fn alone(&self) -> bool {
        self.parts.alone
    }

    fn defer(&self, work: Deferred) {
        self.later.lock().unwrap_or_else(PoisonError::into_inner).push(work);
    }

    fn deadline_ms(&self) -> Option<u64> {
        self.deadline_ms
    }
}
