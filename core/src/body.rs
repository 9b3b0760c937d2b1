//! The body of an answer: whole bytes, or a live stream that the runtime drives.

use bytes::Bytes;
use futures_util::future::{Either, select};

use crate::account::{Bill, Closing, Estimate, Measure, Total};
use crate::exchange::Exchange;
use crate::ports::{HttpClient, HttpError, Platform, UpstreamBody};
use crate::relay::{End, Relay, Step};
use crate::route::Class;

/// The body of an upstream's answer on platform `P`.
pub type Upstream<P> = <<P as Platform>::Http as HttpClient>::Body;

/// What a runtime sends to the client.
pub enum Body<P: Platform> {
    /// All of it.
    Full(Bytes),
    /// A stream.
    Live(Box<Live<P>>),
}

/// A committed stream. Drive it with [`Self::next`], or take the upstream and call the synchronous inputs.
///
/// Dropping it before it is done means that the client left: what was used is settled and logged, and the
/// upstream is cancelled.
pub struct Live<P: Platform> {
    relay: Relay,
    upstream: Option<Upstream<P>>,
    exchange: Exchange<P>,
    bill: Option<Bill<P>>,
    timer: Option<P::Timer>,
    begun: bool,
    bytes_out: u64,
}

impl<P: Platform> Live<P> {
    pub(crate) fn new(relay: Relay, upstream: Upstream<P>, exchange: Exchange<P>, bill: Bill<P>) -> Self {
        Self { relay, upstream: Some(upstream), exchange, bill: Some(bill), timer: None, begun: false, bytes_out: 0 }
    }

    /// The rest of the upstream's body, for a runtime that reads it by itself.
    pub fn take_upstream(&mut self) -> Option<Upstream<P>> {
        self.upstream.take()
    }

    /// What was held back until the first content; to be sent first.
    pub fn begin(&mut self) -> Step {
        self.begun = true;
        let now = self.exchange.platform().now_ms();
        let step = self.relay.begin(now);
        self.after(step)
    }

    /// Bytes of the upstream.
    pub fn push(&mut self, chunk: &Bytes) -> Step {
        let now = self.exchange.platform().now_ms();
        let step = self.relay.push(chunk, now);
        self.after(step)
    }

    /// The upstream's body ended properly.
    pub fn end(&mut self) -> Step {
        let now = self.exchange.platform().now_ms();
        let step = self.relay.end(Ok(()), now);
        self.after(step)
    }

    /// The upstream's body broke.
    pub fn fail(&mut self, error: HttpError) -> Step {
        let now = self.exchange.platform().now_ms();
        let step = self.relay.end(Err(error), now);
        self.after(step)
    }

    /// The time of [`Self::due_ms`] has come.
    pub fn wake(&mut self) -> Step {
        let now = self.exchange.platform().now_ms();
        let step = self.relay.wake(now);
        self.after(step)
    }

    /// When [`Self::wake`] wants to be called, in milliseconds since the epoch.
    pub fn due_ms(&self) -> u64 {
        self.relay.due_ms()
    }

    fn after(&mut self, step: Step) -> Step {
        self.bytes_out += step.bytes.len() as u64;
        if self.relay.has_content()
            && let Some(bill) = &mut self.bill
        {
            bill.content();
        }
        if step.done {
            // Let go of the upstream before anything else: what follows its end is of no use.
            self.upstream = None;
            self.settle();
            self.exchange.close();
        }
        step
    }

    fn settle(&mut self) {
        let asked = self.bill.as_ref().map_or(Estimate::NONE, Bill::asked);
        let Some(Measure { usage, estimated }) = self.relay.settle(asked) else { return };
        let mut total = Total::default();
        if let Some(bill) = self.bill.take() {
            let (class, code) = match self.relay.ended() {
                None => (Class::Cancelled, None),
                Some(End::Complete) => (Class::Success, None),
                Some(End::Failed(code)) if self.relay.has_content() => (Class::Cut, Some(code)),
                Some(End::Failed(code)) => (Class::Failed, Some(code)),
            };
            let closing = Closing { class, code, usage, estimated, ..bill.so_far };
            total = bill.close(closing);
        }
        let line = self.exchange.line();
        line.total = total;
        line.native_finish = self.relay.native_finish().map(str::to_owned);
        if let Some(End::Failed(code)) = self.relay.ended() {
            line.code = Some(code.as_str());
        }
    }

    /// The next bytes for the client; `None` at the end. Errors of the upstream are part of the bytes.
    pub async fn next(&mut self) -> Option<Bytes> {
        if !self.begun {
            let step = self.begin();
            if !step.bytes.is_empty() {
                return Some(step.bytes);
            }
        }
        loop {
            if self.relay.ended().is_some() {
                return None;
            }
            let step = self.input().await;
            if !step.bytes.is_empty() {
                return Some(step.bytes);
            }
        }
    }

    async fn input(&mut self) -> Step {
        let due = self.relay.due_ms();
        let now = self.exchange.platform().now_ms();
        // A timer is made once and left running; when it fires early it is made anew.
        let mut timer = self.timer.take().unwrap_or_else(|| self.exchange.platform().timer(due.saturating_sub(now)));
        let Some(mut upstream) = self.upstream.take() else { return self.fail(HttpError::Disconnected) };
        let heard = {
            let chunk = std::pin::pin!(upstream.chunk());
            match select(chunk, &mut timer).await {
                Either::Left((chunk, _)) => Some(chunk),
                Either::Right(((), _)) => None,
            }
        };
        let Some(heard) = heard else {
            self.upstream = Some(upstream);
            return self.wake();
        };
        self.timer = Some(timer);
        match heard {
            Ok(Some(chunk)) => {
                self.upstream = Some(upstream);
                self.push(&chunk)
            }
            Ok(None) => self.end(),
            Err(error) => self.fail(error),
        }
    }
}

impl<P: Platform> Drop for Live<P> {
    fn drop(&mut self) {
        if self.relay.ended().is_none() {
            self.settle();
        }
    }
}
