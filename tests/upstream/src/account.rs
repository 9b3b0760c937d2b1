//! Accounts: each name is an upstream account with its own settings, script and record.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use tokio::sync::Notify;

use crate::{
    http::Head,
    secrets::Secret,
    step::{Hang, Settings, Step},
};

/// Time between events of an account that nobody configured: a demo should look like a model at work.
const DEMO_DELAY: Duration = Duration::from_millis(15);
/// The record of an account is cut to this, oldest first.
const MAX_CALLS: usize = 10_000;
const MAX_RECORDED_BYTES: usize = 128 * 1024 * 1024;

/// All accounts; one is made when its name is first used.
#[derive(Default)]
pub(crate) struct Accounts(Mutex<HashMap<String, Arc<Account>>>);

/// One upstream account.
pub(crate) struct Account {
    name: String,
    state: Mutex<State>,
    open: AtomicUsize,
    /// Ends hanging exchanges when the account is reset.
    pub(crate) reset: Notify,
}

#[derive(Default)]
struct State {
    settings: Settings,
    script: VecDeque<Step>,
    calls: VecDeque<Call>,
    recorded: usize,
    seen: u64,
    /// Hashes of the prompts that stand in the provider's cache.
    cached: HashSet<u64>,
    /// Tokens that were issued, with the time in milliseconds at which they end.
    tokens: HashMap<String, u64>,
    /// Secrets of a secrets manager.
    secrets: Vec<Secret>,
    /// Steps of the calls for tokens.
    token_script: VecDeque<Step>,
    generation: u64,
}

/// Names a recorded call, also when the account was reset meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    pub(crate) number: u64,
    generation: u64,
}

/// One recorded call.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Call {
    /// 1 for the first call since the reset.
    pub(crate) number: u64,
    /// Calls with the same number came over the same connection.
    pub(crate) connection: u64,
    pub(crate) method: String,
    /// Path and query as received.
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) key: Option<String>,
    /// Unix time in milliseconds at which the head had arrived.
    pub(crate) received_ms: u64,
    /// What a gateway must never send and did.
    pub(crate) violations: Vec<String>,
    /// The message with which the strict check refused the call.
    pub(crate) refused: Option<String>,
    /// Status of the answer; none if not even a head is sent.
    pub(crate) status: Option<u16>,
    /// Body bytes written.
    pub(crate) sent_bytes: usize,
    /// The client left before the end of the answer (or of its own request).
    pub(crate) client_closed: bool,
    /// The exchange is over.
    pub(crate) finished: bool,
}

/// Counts an exchange as open while it lives.
pub(crate) struct Open<'a>(&'a AtomicUsize);

impl Accounts {
    pub(crate) fn of(&self, name: &str) -> Arc<Account> {
        let mut accounts = lock(&self.0);
        let account = accounts.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(Account {
                name: name.to_owned(),
                state: Mutex::default(),
                open: AtomicUsize::new(0),
                reset: Notify::new(),
            })
        });
        Arc::clone(account)
    }
}

impl Account {
    pub(crate) fn configure(&self, mut settings: Settings) {
        let mut state = lock(&self.state);
        state.script = std::mem::take(&mut settings.script).into();
        state.token_script = std::mem::take(&mut settings.token_script).into();
        if let (true, Some(last)) = (settings.repeat, state.script.back_mut()) {
            last.repeat = true;
        }
        state.settings = settings;
    }

    /// Forgets settings, script and record, and ends the exchanges that are open.
    pub(crate) fn clear(&self) {
        let mut state = lock(&self.state);
        *state = State { generation: state.generation + 1, ..State::default() };
        drop(state);
        self.reset.notify_waiters();
    }

    pub(crate) fn settings(&self) -> Settings {
        lock(&self.state).settings.clone()
    }

    /// Whether a prompt stands in the cache; from now on it does.
    pub(crate) fn cached(&self, prompt: u64) -> bool {
        !lock(&self.state).cached.insert(prompt)
    }

    pub(crate) fn issue_token(&self, token: &str, ends_ms: u64) {
        lock(&self.state).tokens.insert(token.to_owned(), ends_ms);
    }

    /// Looks at the secrets that are kept here, or changes them.
    pub(crate) fn secrets<R>(&self, act: impl FnOnce(&mut Vec<Secret>) -> R) -> R {
        act(&mut lock(&self.state).secrets)
    }

    /// When a token ends, if it was issued here.
    pub(crate) fn token_ends(&self, token: &str) -> Option<u64> {
        lock(&self.state).tokens.get(token).copied()
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        lock(&self.state).calls.iter().cloned().collect()
    }

    pub(crate) fn open_exchanges(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    pub(crate) fn opened(&self) -> Open<'_> {
        self.open.fetch_add(1, Ordering::SeqCst);
        Open(&self.open)
    }

    /// The pause between events when no step says otherwise.
    pub(crate) fn event_delay(&self) -> Duration {
        match lock(&self.state).settings.chunk_delay_ms {
            Some(ms) => Duration::from_millis(ms),
            None if self.name == "default" => DEMO_DELAY,
            None => Duration::ZERO,
        }
    }

    /// Starts the record of a call; the ticket names it in `update`.
    pub(crate) fn record(&self, connection: u64, head: &Head, key: Option<&str>) -> Ticket {
        let mut state = lock(&self.state);
        state.seen += 1;
        let number = state.seen;
        state.calls.push_back(Call {
            number,
            connection,
            method: head.method.clone(),
            path: head.target.clone(),
            headers: head.headers.clone(),
            body: String::new(),
            key: key.map(str::to_owned),
            received_ms: unix_ms(),
            violations: Vec::new(),
            refused: None,
            status: None,
            sent_bytes: 0,
            client_closed: false,
            finished: false,
        });
        Ticket { number, generation: state.generation }
    }

    /// Changes the record of a call, if it is still kept.
    pub(crate) fn update(&self, ticket: Ticket, change: impl FnOnce(&mut Call)) {
        let mut state = lock(&self.state);
        if state.generation != ticket.generation {
            return;
        }
        let Some(call) = state.calls.iter_mut().rev().find(|call| call.number == ticket.number) else {
            return;
        };
        let before = call.body.len();
        change(call);
        let after = call.body.len();
        state.recorded = (state.recorded + after).saturating_sub(before);
        while state.calls.len() > MAX_CALLS || (state.recorded > MAX_RECORDED_BYTES && state.calls.len() > 1) {
            let gone = state.calls.pop_front().map_or(0, |call| call.body.len());
            state.recorded = state.recorded.saturating_sub(gone);
        }
    }

    /// Takes the next step of the script; calls for tokens have one of their own.
    pub(crate) fn next_step(&self, token: bool) -> Step {
        self.take_step(token, |_| true).unwrap_or_default()
    }

    /// Takes the next step if it is to hang before the body is read.
    pub(crate) fn hangs_at_accept(&self, token: bool) -> bool {
        self.take_step(token, |step| step.hang == Some(Hang::Accept)).is_some()
    }

    fn take_step(&self, token: bool, wanted: impl FnOnce(&Step) -> bool) -> Option<Step> {
        let mut state = lock(&self.state);
        let script = if token { &mut state.token_script } else { &mut state.script };
        let next = script.front().filter(|step| wanted(step))?.clone();
        if !next.repeat {
            script.pop_front();
        }
        Some(next)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> i64 {
    i64::try_from(unix_ms() / 1000).unwrap_or_default()
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

/// A panic elsewhere must not make the record unreadable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
