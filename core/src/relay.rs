//! One stream on its way from a provider to a client, as a value: bytes, ends and times go in, bytes come out.
//!
//! Invariants: nothing leaves before the first content (the commit point), so that until then the true status
//! can be answered; `[DONE]` leaves only when the provider showed its own end; every other end leaves exactly
//! one error event; after the end nothing leaves.

use bytes::Bytes;

use crate::account::{Meter, Usage};
use crate::deployment::Timeouts;
use crate::dialect::failure;
use crate::dialect::openai_chat::{self, Event};
use crate::error::{ErrorCode, Failure};
use crate::frame::sse;
use crate::limits;
use crate::ports::HttpError;

/// A stream between two ends of OpenAI's dialect.
pub(crate) struct Relay {
    decoder: sse::Decoder,
    state: State,
    seen: u128,
    finished: u128,
    hide_usage: bool,
    meter: Meter,
    held: Vec<u8>,
    times: Times,
    secrets: Vec<crate::secret::Secret>,
}

#[derive(Debug, PartialEq)]
enum State {
    /// Nothing has been sent to the client.
    Waiting,
    /// The answer is on its way.
    Flowing,
    /// It is over; how.
    Ended(End),
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With the provider's own end mark.
    Complete,
    /// With an error event, or before any content with a status.
    Failed(ErrorCode),
}

struct Times {
    heard_ms: u64,
    sent_ms: u64,
    deadline_ms: u64,
    idle_ms: u64,
    keep_alive_ms: u64,
}

/// What to do after an input.
#[derive(Debug)]
pub struct Step {
    /// Bytes for the client, possibly none.
    pub bytes: Bytes,
    /// The stream is over: no input is expected any more, the upstream is to be let go.
    pub done: bool,
}

/// What a relay does before its commit point.
#[derive(Debug)]
pub(crate) enum Hold {
    /// More input is needed.
    More,
    /// The first content is here: answer 200 and go on with [`Relay::begin`].
    Commit,
    /// Nothing was sent: answer with this.
    Fail(Box<Failure>),
}

const DONE: &[u8] = b"data: [DONE]\n\n";
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// What a relay is made from.
pub(crate) struct Setup {
    /// Leave out the usage that we asked for and the client did not.
    pub hide_usage: bool,
    /// The upstream's credential, to keep it out of passed errors.
    pub secrets: Vec<crate::secret::Secret>,
    /// Now.
    pub now_ms: u64,
    /// When the whole request must be over.
    pub deadline_ms: u64,
    /// The deployment's times.
    pub timeouts: Timeouts,
}

impl Relay {
    /// A relay that has seen nothing.
    pub(crate) fn new(setup: Setup) -> Self {
        Self {
            decoder: sse::Decoder::default(),
            state: State::Waiting,
            seen: 0,
            finished: 0,
            hide_usage: setup.hide_usage,
            meter: Meter::default(),
            held: Vec::new(),
            times: Times {
                heard_ms: setup.now_ms,
                sent_ms: setup.now_ms,
                deadline_ms: setup.deadline_ms,
                idle_ms: setup.timeouts.idle_ms,
                keep_alive_ms: setup.timeouts.keep_alive_ms,
            },
            secrets: setup.secrets,
        }
    }

    /// Bytes of the provider, before the commit point.
    pub(crate) fn hold(&mut self, chunk: &Bytes, now_ms: u64) -> Hold {
        let mut held = std::mem::take(&mut self.held);
        let (bytes, failure) = self.take(chunk, now_ms);
        held.extend_from_slice(&bytes);
        self.held = held;
        self.held_back(failure)
    }

    /// The provider's body ended before the commit point.
    pub(crate) fn hold_end(&mut self, end: Result<(), HttpError>) -> Hold {
        let mut held = std::mem::take(&mut self.held);
        let (bytes, failure) = self.close(end);
        held.extend_from_slice(&bytes);
        self.held = held;
        self.held_back(failure)
    }

    fn held_back(&mut self, failure: Option<Box<Failure>>) -> Hold {
        if let Some(failure) = failure {
            if self.state == State::Waiting {
                self.state = State::Ended(End::Failed(failure.code));
                return Hold::Fail(failure);
            }
            // Content came before the failure in the same bytes: it is too late for a status.
            let event = self.error_event(&failure);
            self.held.extend_from_slice(&event);
            return Hold::Commit;
        }
        match self.state {
            State::Waiting if self.held.len() > limits::HELD_BACK_BYTES => {
                self.state = State::Flowing;
                Hold::Commit
            }
            State::Waiting => Hold::More,
            State::Flowing | State::Ended(_) => Hold::Commit,
        }
    }

    /// The bytes held back until the commit point; to be sent first.
    pub(crate) fn begin(&mut self, now_ms: u64) -> Step {
        self.times.sent_ms = now_ms;
        Step { bytes: Bytes::from(std::mem::take(&mut self.held)), done: self.ended().is_some() }
    }

    /// Bytes of the provider, after the commit point.
    pub(crate) fn push(&mut self, chunk: &Bytes, now_ms: u64) -> Step {
        if self.ended().is_some() {
            return Step { bytes: Bytes::new(), done: true };
        }
        let (bytes, failure) = self.take(chunk, now_ms);
        self.step(bytes, failure, now_ms)
    }

    /// The provider's body ended, after the commit point.
    pub(crate) fn end(&mut self, end: Result<(), HttpError>, now_ms: u64) -> Step {
        if self.ended().is_some() {
            return Step { bytes: Bytes::new(), done: true };
        }
        let (bytes, failure) = self.close(end);
        self.step(bytes, failure, now_ms)
    }

    /// The time asked for by [`Self::due_ms`] has come: keep the connection open, or give the provider up.
    pub(crate) fn wake(&mut self, now_ms: u64) -> Step {
        if self.ended().is_some() {
            return Step { bytes: Bytes::new(), done: true };
        }
        let times = &self.times;
        if now_ms >= times.deadline_ms || now_ms >= times.heard_ms.saturating_add(times.idle_ms) {
            let failure = failure::constant(ErrorCode::UpstreamTimeout);
            return self.step(Bytes::new(), Some(Box::new(failure)), now_ms);
        }
        if now_ms >= times.sent_ms.saturating_add(times.keep_alive_ms) {
            self.times.sent_ms = now_ms;
            return Step { bytes: Bytes::from_static(KEEP_ALIVE), done: false };
        }
        Step { bytes: Bytes::new(), done: false }
    }

    /// When [`Self::wake`] wants to be called if nothing else happens, in milliseconds since the epoch.
    pub(crate) fn due_ms(&self) -> u64 {
        let times = &self.times;
        let idle = times.heard_ms.saturating_add(times.idle_ms);
        let alive = times.sent_ms.saturating_add(times.keep_alive_ms);
        times.deadline_ms.min(idle).min(alive)
    }

    /// How the stream ended, once it has.
    pub(crate) fn ended(&self) -> Option<End> {
        match self.state {
            State::Ended(end) => Some(end),
            State::Waiting | State::Flowing => None,
        }
    }

    /// The usage, the first time it is asked for.
    pub(crate) fn settle(&mut self) -> Option<Option<Usage>> {
        self.meter.settle()
    }

    fn step(&mut self, bytes: Bytes, failure: Option<Box<Failure>>, now_ms: u64) -> Step {
        let bytes = match failure {
            None => bytes,
            Some(failure) => {
                let event = self.error_event(&failure);
                if bytes.is_empty() { event } else { Bytes::from([bytes, event].concat()) }
            }
        };
        if !bytes.is_empty() {
            self.times.sent_ms = now_ms;
        }
        Step { bytes, done: self.ended().is_some() }
    }

    fn error_event(&mut self, failure: &Failure) -> Bytes {
        self.state = State::Ended(End::Failed(failure.code));
        Bytes::from([b"data: ".as_slice(), &failure.body(), b"\n\n"].concat())
    }

    /// Decodes a chunk into what the client may see.
    fn take(&mut self, chunk: &Bytes, now_ms: u64) -> (Bytes, Option<Box<Failure>>) {
        self.times.heard_ms = now_ms;
        let mut decoder = std::mem::take(&mut self.decoder);
        let mut out = Output::new(chunk);
        let mut failure = None;
        let pushed = decoder.push(chunk, |event| {
            if failure.is_none() && !matches!(self.state, State::Ended(_)) {
                failure = self.event(&event, &mut out);
            }
        });
        self.decoder = decoder;
        if pushed.is_err() && failure.is_none() && self.ended().is_none() {
            failure = Some(Box::new(failure::constant(ErrorCode::UpstreamTooLarge)));
        }
        (out.finish(), failure)
    }

    fn close(&mut self, end: Result<(), HttpError>) -> (Bytes, Option<Box<Failure>>) {
        let mut decoder = std::mem::take(&mut self.decoder);
        let none = Bytes::new();
        let mut out = Output::new(&none);
        let mut failure = None;
        if end.is_ok() {
            decoder.finish(|event| {
                if failure.is_none() && !matches!(self.state, State::Ended(_)) {
                    failure = self.event(&event, &mut out);
                }
            });
        }
        if failure.is_none() && self.ended().is_none() {
            if self.finished != 0 && self.finished == self.seen {
                // The provider showed its end and forgot the mark (U22), or broke off after it (U24).
                self.state = State::Ended(End::Complete);
                out.copy(DONE);
            } else {
                let code = match end {
                    Ok(()) => ErrorCode::UpstreamIncomplete,
                    Err(_) => ErrorCode::UpstreamDisconnected,
                };
                failure = Some(Box::new(failure::constant(code)));
            }
        }
        (out.finish(), failure)
    }

    fn event(&mut self, event: &sse::Event, out: &mut Output<'_>) -> Option<Box<Failure>> {
        match openai_chat::read_event(&event.data, self.state == State::Waiting) {
            Event::Done => {
                self.state = State::Ended(End::Complete);
                out.copy(DONE);
                None
            }
            Event::Skip => None,
            Event::Malformed => Some(Box::new(failure::constant(ErrorCode::UpstreamProtocol))),
            Event::Error(mut failure) => {
                failure::scrub(&mut failure, self.secrets.iter().map(crate::secret::Secret::open));
                Some(failure)
            }
            Event::Chunk(reading) => {
                self.seen |= reading.seen;
                self.finished |= reading.finished;
                if let Some(usage) = reading.usage {
                    self.meter.report(usage);
                }
                if reading.content && self.state == State::Waiting {
                    self.state = State::Flowing;
                }
                if let Some(usage_at) = reading.usage_at.filter(|_| self.hide_usage) {
                    if !reading.no_choices {
                        out.edited(|out| openai_chat::without_usage(&event.data, &usage_at, out));
                    }
                } else if let Some(span) = &event.span {
                    out.verbatim(span.start, span.end);
                } else {
                    out.edited(|out| out.extend(event.data.iter().map(|b| if *b == b'\n' { b' ' } else { *b })));
                }
                None
            }
        }
    }
}

/// Collects what leaves for one chunk; when that is the chunk itself, its bytes are passed on uncopied.
struct Output<'a> {
    chunk: &'a Bytes,
    /// Up to where the output equals the chunk's beginning; `None` once it does not.
    same: Option<usize>,
    copied: Vec<u8>,
}

impl<'a> Output<'a> {
    fn new(chunk: &'a Bytes) -> Self {
        Self { chunk, same: Some(0), copied: Vec::new() }
    }

    fn verbatim(&mut self, start: usize, end: usize) {
        if self.same == Some(start) {
            self.same = Some(end);
            return;
        }
        let piece = self.chunk.slice(start..end);
        self.copy(&piece);
    }

    fn edited(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.diverge();
        self.copied.extend_from_slice(b"data: ");
        write(&mut self.copied);
        self.copied.extend_from_slice(b"\n\n");
    }

    fn copy(&mut self, bytes: &[u8]) {
        // The end mark usually stands in the chunk just as we would write it.
        if let Some(at) = self.same
            && self.chunk.get(at..).is_some_and(|rest| rest.starts_with(bytes))
        {
            self.same = Some(at + bytes.len());
            return;
        }
        self.diverge();
        self.copied.extend_from_slice(bytes);
    }

    fn diverge(&mut self) {
        if let Some(end) = self.same.take() {
            self.copied.reserve(self.chunk.len());
            self.copied.extend_from_slice(self.chunk.get(..end).unwrap_or_default());
        }
    }

    fn finish(self) -> Bytes {
        match self.same {
            Some(end) => self.chunk.slice(..end),
            None => Bytes::from(self.copied),
        }
    }
}

#[cfg(test)]
mod tests;
