//! Values that are fetched once for all requests of an isolate (tokens, credentials): who fetches, who waits, and how
//! long a value may be used.
//!
//! On Workers many requests share an isolate and none may wait for another one's I/O, so a [`Slot`] never wakes anybody:
//! the request that is told to fetch holds a lease, and the others look again after a while. A leader that vanishes is
//! replaced when its lease is over.

use crate::egress;
use crate::error::{ErrorCode, Failure, Outcome};
use crate::limits;
use crate::ports::Platform;
use crate::secret::Secret;

/// What a slot can hold.
pub(crate) trait Kept: Clone {
    /// Whether both are the same value.
    fn same(&self, other: &Self) -> bool;
    /// Whether a value that is due, but good, may still be used after this failure to renew it.
    fn outlives(failure: &Failure) -> bool;
}

impl Kept for Secret {
    fn same(&self, other: &Self) -> bool {
        self.matches(other.open())
    }

    fn outlives(_: &Failure) -> bool {
        true
    }
}

/// A value with its times, in milliseconds since the epoch.
#[derive(Clone, Debug)]
pub(crate) struct Timed<T> {
    /// The value.
    pub value: T,
    /// From when on it should be renewed.
    pub refresh_at_ms: u64,
    /// From when on it must not be used.
    pub expires_ms: u64,
}

/// Where values of one kind are kept and fetched.
pub(crate) trait Source<P: Platform> {
    /// What is fetched.
    type Value: Kept;

    /// Does something with the value's slot.
    fn slot<R>(&self, now_ms: u64, act: impl FnOnce(&mut Slot<Self::Value>) -> R) -> R;

    /// Fetches the value, at the latest until `end_ms`.
    async fn fetch(&self, platform: &P, end_ms: u64) -> Outcome<Timed<Self::Value>>;

    /// The failure of a request that waited in vain.
    fn late(&self) -> Failure;
}

/// The value, kept or fetched, at the latest at `deadline_ms`; beside a value that should have been renewed, why it was
/// not.
///
/// # Errors
/// What fetching gave, also to those who waited for it.
pub(crate) async fn obtain<P: Platform, S: Source<P>>(
    source: &S,
    platform: &P,
    deadline_ms: u64,
) -> Outcome<(S::Value, Option<Failure>)> {
    loop {
        let now_ms = platform.now_ms();
        match source.slot(now_ms, |slot| slot.plan(now_ms)) {
            Plan::Use(kept) => return Ok((kept.value, None)),
            Plan::Fail(failure) => return Err(*failure),
            Plan::Wait(_) if now_ms >= deadline_ms => return Err(source.late()),
            Plan::Wait(ms) => platform.timer(ms.min(deadline_ms - now_ms)).await,
            Plan::Fetch { lease, before } => {
                let longest = if before.is_some() { limits::TOKEN_RENEW_MS } else { limits::TOKEN_LEASE_MS };
                let end_ms = deadline_ms.min(now_ms + longest);
                let mut flight =
                    Flight::<P, S> { source, lease: Some(lease), now_ms, platform: std::marker::PhantomData };
                let fetched = egress::before(platform, end_ms, source.fetch(platform, end_ms)).await;
                let outcome = fetched.unwrap_or_else(|| Err(source.late()));
                // That this request has no time left says nothing to the others.
                let hurried = end_ms < now_ms + longest && platform.now_ms() >= end_ms;
                if outcome.is_ok() || !hurried {
                    flight.land(&outcome, platform.now_ms());
                }
                drop(flight);
                return match (outcome, before) {
                    (Ok(kept), _) => Ok((kept.value, None)),
                    // It is due, but good: the failure is for the next to mend.
                    (Err(failure), Some(kept))
                        if platform.now_ms() < kept.expires_ms && S::Value::outlives(&failure) =>
                    {
                        Ok((kept.value, Some(failure)))
                    }
                    (Err(failure), _) => Err(failure),
                };
            }
        }
    }
}

/// A lease in use: given back also when the request that holds it is let go.
struct Flight<'a, P: Platform, S: Source<P>> {
    source: &'a S,
    lease: Option<Lease>,
    now_ms: u64,
    platform: std::marker::PhantomData<P>,
}

impl<P: Platform, S: Source<P>> Flight<'_, P, S> {
    fn land(&mut self, outcome: &Result<Timed<S::Value>, Failure>, now_ms: u64) {
        if let Some(lease) = self.lease.take() {
            self.source.slot(now_ms, |slot| slot.done(lease, outcome, now_ms));
        }
    }
}

impl<P: Platform, S: Source<P>> Drop for Flight<'_, P, S> {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.source.slot(self.now_ms, |slot| slot.abandon(lease));
        }
    }
}

/// The place of one value.
#[derive(Debug)]
pub(crate) struct Slot<T = Secret> {
    state: State<T>,
    /// How many leases were given: tells a leader whether the lease is still its own.
    leases: u64,
    /// When a value was last thrown away because a provider refused it.
    rejected_ms: Option<u64>,
}

#[derive(Debug)]
enum State<T> {
    /// There is nothing.
    Empty,
    /// Somebody fetches; what there was before may still be good.
    Fetching { since_ms: u64, before: Option<Timed<T>> },
    /// Here it is. `retry_ms`: not to be renewed earlier, since that failed a moment ago.
    Ready { kept: Timed<T>, retry_ms: u64 },
    /// Fetching failed, and is not tried again before.
    Failed { failure: Box<Failure>, until_ms: u64 },
}

/// What a request does that needs a value.
#[derive(Debug)]
pub(crate) enum Plan<T = Secret> {
    /// Use this.
    Use(Timed<T>),
    /// Fetch one, then say how it went with [`Slot::done`]. `before` still serves should that fail.
    Fetch {
        /// To be given back.
        lease: Lease,
        /// A value that is due but good.
        before: Option<Timed<T>>,
    },
    /// Somebody else fetches: ask again after so many milliseconds.
    Wait(u64),
    /// It failed a moment ago, for all who wait.
    Fail(Box<Failure>),
}

/// The right to fetch, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease(u64);

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { state: State::Empty, leases: 0, rejected_ms: None }
    }
}

impl<T: Kept> Slot<T> {
    /// What to do now.
    pub(crate) fn plan(&mut self, now_ms: u64) -> Plan<T> {
        let before = match &self.state {
            State::Ready { kept, retry_ms } if now_ms < kept.expires_ms => {
                if now_ms < kept.refresh_at_ms.max(*retry_ms) {
                    return Plan::Use(kept.clone());
                }
                Some(kept.clone())
            }
            State::Fetching { since_ms, before } => {
                // A clock that went back must not make a lease endless.
                let held = now_ms.checked_sub(*since_ms).filter(|held| *held < limits::TOKEN_LEASE_MS);
                let good = before.clone().filter(|kept| now_ms < kept.expires_ms);
                match (held, good) {
                    (Some(_), Some(kept)) => return Plan::Use(kept),
                    (Some(held), None) => return Plan::Wait(limits::TOKEN_POLL_MS.min(limits::TOKEN_LEASE_MS - held)),
                    (None, good) => good,
                }
            }
            State::Failed { failure, until_ms } if now_ms < *until_ms => return Plan::Fail(failure.clone()),
            State::Ready { .. } | State::Failed { .. } | State::Empty => None,
        };
        self.leases += 1;
        self.state = State::Fetching { since_ms: now_ms, before: before.clone() };
        Plan::Fetch { lease: Lease(self.leases), before }
    }

    /// How fetching went. A leader that comes too late still brings its value, if there is none that lasts longer; its
    /// failure then is nobody's business.
    pub(crate) fn done(&mut self, lease: Lease, outcome: &Result<Timed<T>, Failure>, now_ms: u64) {
        let mine = lease.0 == self.leases && matches!(self.state, State::Fetching { .. });
        match outcome {
            Ok(value) => {
                let known = match &self.state {
                    State::Ready { kept, .. } => kept.expires_ms,
                    State::Fetching { before, .. } if !mine => before.as_ref().map_or(0, |kept| kept.expires_ms),
                    State::Fetching { .. } | State::Empty | State::Failed { .. } => 0,
                };
                if value.expires_ms > known {
                    self.state = State::Ready { kept: value.clone(), retry_ms: 0 };
                }
            }
            Err(failure) if mine => {
                let before = match std::mem::replace(&mut self.state, State::Empty) {
                    State::Fetching { before, .. } => {
                        before.filter(|kept| now_ms < kept.expires_ms && T::outlives(failure))
                    }
                    State::Empty | State::Ready { .. } | State::Failed { .. } => None,
                };
                self.state = match before {
                    Some(kept) => State::Ready { kept, retry_ms: now_ms + limits::TOKEN_RENEW_AGAIN_MS },
                    None => {
                        let rejected = failure.code == ErrorCode::UpstreamAuthFailed;
                        let pause = if rejected { limits::TOKEN_REJECTED_MS } else { limits::TOKEN_FAILED_MS };
                        State::Failed { failure: Box::new(failure.clone()), until_ms: now_ms + pause }
                    }
                };
            }
            Err(_) => {}
        }
    }

    /// The leader was dropped before it came to an end.
    pub(crate) fn abandon(&mut self, lease: Lease) {
        if lease.0 != self.leases {
            return;
        }
        if let State::Fetching { before, .. } = &mut self.state {
            let before = before.take();
            self.state = before.map_or(State::Empty, |kept| State::Ready { kept, retry_ms: 0 });
        }
    }

    /// A provider refused a value. Only if it still is the one that is kept, it is thrown away; so of many calls that
    /// were refused together one fetches. Whether there is, or can be, another one: if values are refused again
    /// and again, they are not to blame.
    pub(crate) fn reject(&mut self, refused: &T, now_ms: u64) -> bool {
        let is_refused = |kept: &Timed<T>| kept.value.same(refused);
        match &mut self.state {
            State::Ready { kept, .. } if is_refused(kept) => {
                let again = self.rejected_ms.and_then(|at| now_ms.checked_sub(at));
                if again.is_some_and(|ms| ms < limits::TOKEN_REJECT_AGAIN_MS) {
                    return false;
                }
                self.rejected_ms = Some(now_ms);
                self.state = State::Empty;
            }
            State::Fetching { before, .. } => {
                before.take_if(|kept| is_refused(kept));
            }
            State::Ready { .. } | State::Empty | State::Failed { .. } => {}
        }
        true
    }

    /// What is kept, unless somebody is at fetching another.
    pub(crate) fn kept(&self) -> Option<Timed<T>> {
        match &self.state {
            State::Ready { kept, .. } => Some(kept.clone()),
            State::Empty | State::Fetching { .. } | State::Failed { .. } => None,
        }
    }

    /// Keeps a value that was not fetched in a lease: one that was just made.
    pub(crate) fn keep(&mut self, value: Timed<T>) {
        self.state = State::Ready { kept: value, retry_ms: 0 };
    }

    /// Puts a value back that was refused, since no other could be fetched: better one that may work again than none.
    pub(crate) fn restore(&mut self, value: Timed<T>, now_ms: u64) {
        if matches!(self.state, State::Empty | State::Failed { .. }) && now_ms < value.expires_ms {
            self.state = State::Ready { kept: value, retry_ms: now_ms + limits::TOKEN_RENEW_AGAIN_MS };
        }
    }

    /// Until when it is worth keeping, in milliseconds since the epoch.
    pub(crate) fn kept_until_ms(&self) -> u64 {
        match &self.state {
            State::Empty => 0,
            State::Ready { kept, .. } => kept.expires_ms,
            State::Fetching { since_ms, before } => {
                let lease = since_ms.saturating_add(limits::TOKEN_LEASE_MS);
                before.as_ref().map_or(lease, |kept| kept.expires_ms.max(lease))
            }
            State::Failed { until_ms, .. } => *until_ms,
        }
    }
}
