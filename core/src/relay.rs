//! One stream on its way from a provider to a client, as a value: bytes, ends and times go in, bytes come out.
//!
//! Invariants: nothing leaves before the first content (the commit point), so that until then the true status
//! can be answered; `[DONE]` leaves only when the provider showed its own end; every other end leaves exactly
//! one error event; after the end nothing leaves.

mod pass;
mod translate;

use bytes::Bytes;

pub(crate) use self::pass::Pass;
pub(crate) use self::translate::{Source, Translate};
use crate::account::{Estimate, Measure, Meter, Usage};
use crate::deployment::Timeouts;
use crate::dialect::failure;
use crate::error::{ErrorCode, Failure};
use crate::limits;
use crate::ports::HttpError;

/// A stream under way.
pub(crate) struct Relay {
    codec: Codec,
    state: State,
    meter: Meter,
    native_finish: Option<String>,
    model: Option<String>,
    content: bool,
    held: Vec<u8>,
    times: Times,
    secrets: Vec<crate::secret::Secret>,
}

/// How the provider's bytes become the client's.
pub(crate) enum Codec {
    /// Both speak OpenAI's dialect.
    Pass(Pass),
    /// They speak different ones.
    Translate(Box<Translate>),
}

/// What a codec found in a piece of a stream.
#[derive(Debug, Default)]
pub(crate) struct Note {
    /// Content was seen, now or earlier: the codec need not look for it.
    content: bool,
    /// The provider showed its own end.
    done: bool,
    /// What ends the stream otherwise.
    failure: Option<Box<Failure>>,
    /// The last usage reported.
    usage: Option<Usage>,
    /// Bytes of the answer's text.
    text: u64,
    /// The provider's own word for why it ended, if ours cannot say it.
    native_finish: Option<String>,
    /// The provider's name of the model.
    model: Option<String>,
}

impl Note {
    fn open(&self) -> bool {
        !self.done && self.failure.is_none()
    }

    /// Ends the stream with a failure, unless it has ended.
    fn fail(&mut self, failure: Failure) {
        if self.open() {
            self.failure = Some(Box::new(failure));
        }
    }
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
    /// When the first content must be there, if the answer was begun without it.
    content_by_ms: u64,
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
    /// How bytes become bytes.
    pub codec: Codec,
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
            codec: setup.codec,
            state: State::Waiting,
            meter: Meter::default(),
            native_finish: None,
            model: None,
            content: false,
            held: Vec::new(),
            times: Times {
                heard_ms: setup.now_ms,
                sent_ms: setup.now_ms,
                deadline_ms: setup.deadline_ms,
                idle_ms: setup.timeouts.idle_ms,
                keep_alive_ms: setup.timeouts.keep_alive_ms,
                content_by_ms: u64::MAX,
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

    /// Begins the answer without content, which must then be there by `content_by_ms`: a failure is an event from
    /// here on.
    pub(crate) fn commit(&mut self, content_by_ms: u64) {
        if self.state == State::Waiting {
            self.state = State::Flowing;
            self.times.content_by_ms = content_by_ms;
            if self.held.is_empty() {
                self.held.extend_from_slice(KEEP_ALIVE);
            }
        }
    }

    /// Whether content has come.
    pub(crate) fn has_content(&self) -> bool {
        self.content
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
        let late = !self.content && now_ms >= times.content_by_ms;
        if late || now_ms >= times.deadline_ms || now_ms >= times.heard_ms.saturating_add(times.idle_ms) {
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
        let content = if self.content { u64::MAX } else { times.content_by_ms };
        times.deadline_ms.min(idle).min(alive).min(content)
    }

    /// How the stream ended, once it has.
    pub(crate) fn ended(&self) -> Option<End> {
        match self.state {
            State::Ended(end) => Some(end),
            State::Waiting | State::Flowing => None,
        }
    }

    /// The provider's name of the model, once it told it.
    pub(crate) fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// The provider's own word for why the answer ended, if ours cannot say it.
    pub(crate) fn native_finish(&self) -> Option<&str> {
        self.native_finish.as_deref()
    }

    /// What was used, the first time it is asked for; `asked` is for providers that did not tell.
    pub(crate) fn settle(&mut self, asked: Estimate) -> Option<Measure> {
        self.meter.settle(self.ended() == Some(End::Complete), asked)
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
        let mut note = Note { content: self.content, ..Note::default() };
        let bytes = match &mut self.codec {
            Codec::Pass(pass) => pass.push(chunk, &mut note),
            Codec::Translate(translate) => translate.push(chunk, &mut note),
        };
        (bytes, self.judge(note))
    }

    fn close(&mut self, end: Result<(), HttpError>) -> (Bytes, Option<Box<Failure>>) {
        let mut note = Note { content: self.content, ..Note::default() };
        let bytes = match &mut self.codec {
            Codec::Pass(pass) => pass.finish(end.is_ok(), &mut note),
            Codec::Translate(translate) => translate.finish(end.is_ok(), &mut note),
        };
        if note.open() {
            note.fail(failure::constant(match end {
                Ok(()) => ErrorCode::UpstreamIncomplete,
                Err(_) => ErrorCode::UpstreamDisconnected,
            }));
        }
        (bytes, self.judge(note))
    }

    /// Takes over what a codec found; the failure that ends the stream, cleaned of secrets.
    fn judge(&mut self, note: Note) -> Option<Box<Failure>> {
        self.meter.pass(note.text);
        if let Some(usage) = note.usage {
            self.meter.report(usage);
        }
        if let Some(native) = note.native_finish {
            // It goes into the log.
            let told = self.secrets.iter().any(|secret| failure::tells(&native, secret.open()));
            self.native_finish = Some(native).filter(|_| !told);
        }
        if note.model.is_some() {
            self.model = note.model;
        }
        self.content |= note.content;
        if self.content && self.state == State::Waiting {
            self.state = State::Flowing;
        }
        if note.done {
            self.state = State::Ended(End::Complete);
        }
        note.failure.map(|mut failure| {
            failure::scrub(&mut failure, self.secrets.iter().map(crate::secret::Secret::open));
            failure
        })
    }
}

#[cfg(test)]
mod tests;
