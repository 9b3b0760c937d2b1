//! One running request: its future, the outside operations it waits for and its timers.
//!
//! A small executor stands here in place of `spawn_local`: whatever JavaScript reports belongs to one call, so the
//! call's future is polled right there, in the request's own I/O context and without a hop through a task queue.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use gateway_core::{Deferred, Live};
use wasm_bindgen::JsValue;

use crate::platform::Edge;
use crate::{host, isolate};

thread_local! {
    static CALLS: RefCell<BTreeMap<u32, Rc<Call>>> = const { RefCell::new(BTreeMap::new()) };
    static RUNNING: Cell<u32> = const { Cell::new(0) };
}

/// One running request.
pub(crate) struct Call {
    id: u32,
    future: RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>,
    woken: Arc<Woken>,
    operations: RefCell<Vec<Slot>>,
    timers: RefCell<Timers>,
    live: RefCell<Option<Box<Live<Edge>>>>,
    deferred: RefCell<Vec<Deferred>>,
    /// The answer is given or not wanted any more; what was deferred is under way.
    afterwards: Cell<bool>,
}

/// How an operation ended; the numbers are those of `js/host.js`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It worked.
    Ok,
    /// It worked and there is nothing (more).
    End,
    /// The client's body is over its limit.
    TooLarge,
    /// The connection broke.
    Broken,
    /// There was no connection.
    Connect,
    /// The Durable Object is overloaded.
    Overloaded,
    /// The Durable Object was reset: a new stub may work.
    Retryable,
    /// The object or namespace could not be reached.
    Unavailable,
}

impl Outcome {
    /// From JavaScript's number.
    pub(crate) fn from_code(code: u32) -> Self {
        match code {
            0 => Self::Ok,
            1 => Self::End,
            2 => Self::TooLarge,
            3 => Self::Broken,
            4 => Self::Connect,
            5 => Self::Overloaded,
            6 => Self::Retryable,
            _ => Self::Unavailable,
        }
    }
}

/// What JavaScript reports of an operation.
pub(crate) struct Settled {
    pub(crate) outcome: Outcome,
    pub(crate) bytes: Bytes,
    /// Of a fetch that was answered.
    pub(crate) head: Option<Head>,
}

/// The head of an upstream's answer and the JavaScript object that its body is read from.
pub(crate) struct Head {
    /// Lines of the status, then of header names and values in turn.
    pub(crate) text: String,
    pub(crate) upstream: JsValue,
    /// Whether the body came along.
    pub(crate) whole: bool,
}

struct Slot {
    operation: u32,
    settled: Option<Settled>,
    waker: Option<Waker>,
}

impl Call {
    /// Starts the call `id` and runs it as far as it goes. `make` gets the call that its operations belong to.
    pub(crate) fn start<F: Future<Output = ()> + 'static>(id: u32, make: impl FnOnce(Rc<Self>) -> F) {
        let call = Rc::new(Self {
            id,
            future: RefCell::default(),
            woken: Arc::new(Woken { call: id, due: AtomicBool::new(true) }),
            operations: RefCell::default(),
            timers: RefCell::default(),
            live: RefCell::default(),
            deferred: RefCell::default(),
            afterwards: Cell::new(false),
        });
        let future = make(Rc::clone(&call));
        *call.future.borrow_mut() = Some(Box::pin(future));
        CALLS.with_borrow_mut(|calls| calls.insert(id, Rc::clone(&call)));
        call.run();
    }

    /// The running call of that id.
    pub(crate) fn find(id: u32) -> Option<Rc<Self>> {
        CALLS.with_borrow(|calls| calls.get(&id).cloned())
    }

    /// Its id, as JavaScript knows it.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Polls the future for as long as it was woken.
    pub(crate) fn run(&self) {
        let outer = RUNNING.replace(self.id);
        let waker = Waker::from(Arc::clone(&self.woken));
        while self.woken.due.swap(false, Ordering::Relaxed) {
            let Ok(mut slot) = self.future.try_borrow_mut() else { break };
            let Some(future) = slot.as_mut() else { break };
            if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                *slot = None;
                drop(slot);
                if self.live.borrow().is_none() {
                    self.finish();
                }
            }
        }
        RUNNING.set(outer);
    }

    /// An operation that JavaScript has begun.
    pub(crate) fn operation(self: &Rc<Self>, operation: u32) -> Operation {
        self.operations.borrow_mut().push(Slot { operation, settled: None, waker: None });
        Operation { call: Rc::clone(self), id: operation }
    }

    /// JavaScript reports of `operation`. Nobody may be waiting any more.
    pub(crate) fn settle(&self, operation: u32, settled: Settled) {
        let waker = {
            let mut slots = self.operations.borrow_mut();
            let Some(slot) = slots.iter_mut().find(|slot| slot.operation == operation) else { return };
            slot.settled = Some(settled);
            slot.waker.take()
        };
        self.resume(waker);
    }

    /// The call's timer fired.
    pub(crate) fn tick(&self, now: u64) {
        let woken = self.timers.borrow_mut().fire(now);
        let outer = RUNNING.replace(self.id);
        woken.into_iter().for_each(Waker::wake);
        RUNNING.set(outer);
        self.rearm();
        self.run();
    }

    /// A timer of the call, running from now on.
    pub(crate) fn timer(self: &Rc<Self>, now: u64, ms: u64) -> Timer {
        let id = self.timers.borrow_mut().add(now.saturating_add(ms));
        self.rearm();
        Timer { call: Rc::clone(self), id }
    }

    /// From here on the call is a stream, driven by JavaScript.
    pub(crate) fn go_live(&self, live: Box<Live<Edge>>) {
        *self.live.borrow_mut() = Some(live);
    }

    /// Works on the call's stream.
    pub(crate) fn with_live<R>(&self, work: impl FnOnce(&mut Live<Edge>) -> R) -> Option<R> {
        self.live.borrow_mut().as_mut().map(|live| work(live))
    }

    /// The answer is over, or its client left: everything that made it is dropped.
    pub(crate) fn end(&self) {
        if self.afterwards.get() {
            return;
        }
        let future = self.future.try_borrow_mut().ok().and_then(|mut slot| slot.take());
        drop(future);
        let live = self.live.borrow_mut().take();
        drop(live);
        self.finish();
        self.run();
    }

    /// Takes work for when the answer is given.
    pub(crate) fn defer(&self, work: Deferred) {
        self.deferred.borrow_mut().push(work);
    }

    /// Nothing is left of the answer: what was deferred is begun, or the call is over.
    fn finish(&self) {
        let work = self.deferred.take();
        let call = Self::find(self.id);
        if let (false, Some(gateway), Some(call)) = (work.is_empty(), isolate::gateway(), call) {
            self.afterwards.set(true);
            host::hold(self.id);
            // workerd can let go of a request without a word, neither polled nor dropped: nobody may depend on another's write.
            let carrying = async move {
                gateway.carry_out_gathered(&Edge::new(&call), work, PATIENCE_MS).await;
            };
            *self.future.borrow_mut() = Some(Box::pin(carrying));
            self.woken.due.store(true, Ordering::Relaxed);
        } else {
            CALLS.with_borrow_mut(|calls| calls.remove(&self.id));
            host::over(self.id);
        }
    }

    fn resume(&self, waker: Option<Waker>) {
        let outer = RUNNING.replace(self.id);
        if let Some(waker) = waker {
            waker.wake();
        }
        RUNNING.set(outer);
        self.run();
    }

    fn rearm(&self) {
        if let Some(due) = self.timers.borrow_mut().rearm() {
            host::arm(self.id, due as f64);
        }
    }
}

/// Marks a call as worth polling. A wake from outside of the call's own events is taken up in a microtask.
struct Woken {
    call: u32,
    due: AtomicBool,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let was_due = self.due.swap(true, Ordering::Relaxed);
        if !was_due && RUNNING.get() != self.call {
            host::nudge(self.call);
        }
    }
}

/// An operation in JavaScript. Dropping it calls off what can be called off.
pub(crate) struct Operation {
    call: Rc<Call>,
    id: u32,
}

impl Future for Operation {
    type Output = Settled;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Settled> {
        let mut slots = self.call.operations.borrow_mut();
        let Some(slot) = slots.iter_mut().find(|slot| slot.operation == self.id) else { return Poll::Pending };
        match slot.settled.take() {
            Some(settled) => Poll::Ready(settled),
            None => {
                slot.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        let mut slots = self.call.operations.borrow_mut();
        if let Some(at) = slots.iter().position(|slot| slot.operation == self.id) {
            let slot = slots.swap_remove(at);
            // A waker is left only where nothing was reported yet.
            if slot.waker.is_some() {
                host::cancel(self.call.id, self.id);
            }
        }
    }
}

/// A timer of one call.
pub(crate) struct Timer {
    call: Rc<Call>,
    id: u32,
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.call.timers.borrow_mut().poll(self.id, context.waker())
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.call.timers.borrow_mut().remove(self.id);
    }
}

/// The timers of a call behind one `setTimeout`, which is set anew only when it fires or when an earlier time is asked for.
#[derive(Default)]
struct Timers {
    next_id: u32,
    armed: Option<u64>,
    entries: Vec<Entry>,
}

struct Entry {
    id: u32,
    due: u64,
    fired: bool,
    waker: Option<Waker>,
}

impl Timers {
    fn add(&mut self, due: u64) -> u32 {
        self.next_id += 1;
        self.entries.push(Entry { id: self.next_id, due, fired: false, waker: None });
        self.next_id
    }

    fn remove(&mut self, id: u32) {
        self.entries.retain(|entry| entry.id != id);
    }

    fn poll(&mut self, id: u32, waker: &Waker) -> Poll<()> {
        match self.entries.iter_mut().find(|entry| entry.id == id) {
            Some(entry) if !entry.fired => {
                entry.waker = Some(waker.clone());
                Poll::Pending
            }
            Some(_) | None => Poll::Ready(()),
        }
    }

    /// The clock may stand a little before the time that was asked for.
    fn fire(&mut self, now: u64) -> Vec<Waker> {
        let reached = self.armed.take().unwrap_or(now).max(now);
        let due = self.entries.iter_mut().filter(|entry| !entry.fired && entry.due <= reached);
        due.filter_map(|entry| {
            entry.fired = true;
            entry.waker.take()
        })
        .collect()
    }

    /// When JavaScript's timer must fire, if it must be set anew.
    fn rearm(&mut self) -> Option<u64> {
        let due = self.entries.iter().filter(|entry| !entry.fired).map(|entry| entry.due).min()?;
        if self.armed.is_some_and(|armed| armed <= due) {
            return None;
        }
        self.armed = Some(due);
        Some(due)
    }
}

/// How long a failing write of deferred work is repeated: after an answer a request has 30 s.
const PATIENCE_MS: u64 = 25_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_timer_serves_all_and_is_set_anew_only_for_an_earlier_time() {
        let mut timers = Timers::default();
        let late = timers.add(300);
        assert_eq!(timers.rearm(), Some(300));
        let early = timers.add(200);
        assert_eq!(timers.rearm(), Some(200));
        timers.add(250);
        assert_eq!(timers.rearm(), None);
        assert!(timers.poll(early, Waker::noop()).is_pending());
        assert!(timers.poll(late, Waker::noop()).is_pending());
        assert_eq!(timers.fire(200).len(), 1);
        assert!(timers.poll(early, Waker::noop()).is_ready());
        assert_eq!(timers.rearm(), Some(250));
    }

    /// Fault matrix: R11.
    #[test]
    fn a_clock_that_stands_a_little_early_does_not_lose_the_timer() {
        let mut timers = Timers::default();
        let timer = timers.add(200);
        timers.rearm();
        assert!(timers.poll(timer, Waker::noop()).is_pending());
        assert_eq!(timers.fire(199).len(), 1);
        assert!(timers.poll(timer, Waker::noop()).is_ready());
    }

    #[test]
    fn timers_that_nobody_waits_for_ask_for_nothing() {
        let mut timers = Timers::default();
        let timer = timers.add(200);
        timers.rearm();
        timers.remove(timer);
        assert!(timers.fire(200).is_empty());
        assert_eq!(timers.rearm(), None);
    }
}
