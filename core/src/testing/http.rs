//! Upstreams that answer as a test scripted them, on the virtual clock.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::World;
use crate::ports::{HttpClient, HttpError, Outgoing, Platform, UpstreamBody};

/// What an upstream does with one call.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Answers.
    Head {
        /// The status.
        status: u16,
        /// The headers.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<Chunk>,
    },
    /// Fails below HTTP.
    Fail(HttpError),
    /// Never answers.
    Hang,
}

impl Answer {
    /// A whole JSON answer.
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::with(status, "application/json", vec![Chunk::Bytes(body.into())])
    }

    /// An event stream.
    pub fn stream(body: Vec<Chunk>) -> Self {
        Self::with(200, "text/event-stream; charset=utf-8", body)
    }

    /// Any answer of one content type.
    pub fn with(status: u16, content_type: &str, body: Vec<Chunk>) -> Self {
        Self::Head { status, headers: vec![("content-type".to_owned(), content_type.to_owned())], body }
    }
}

/// One step of a body.
#[derive(Clone, Debug)]
pub enum Chunk {
    /// These bytes.
    Bytes(Bytes),
    /// Silence for so many milliseconds.
    Wait(u64),
    /// The connection breaks.
    Break,
    /// Nothing more ever comes.
    Hang,
}

impl From<&str> for Chunk {
    fn from(text: &str) -> Self {
        Self::Bytes(Bytes::copy_from_slice(text.as_bytes()))
    }
}

/// A call as it left.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Method and URL.
    pub target: String,
    /// Headers in the order of the map.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// An [`HttpClient`] that answers by script, in order; without a script it refuses connections.
#[derive(Default)]
pub struct ScriptedHttp {
    script: Mutex<VecDeque<Answer>>,
    sent: Mutex<Vec<Sent>>,
    cancelled: Arc<AtomicU32>,
    world: OnceLock<World>,
}

impl ScriptedHttp {
    /// Appends an answer.
    pub fn push(&self, answer: Answer) {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).push_back(answer);
    }

    /// Drops answers that nobody has asked for.
    pub fn clear(&self) {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The calls so far, forgotten.
    pub fn take_sent(&self) -> Vec<Sent> {
        std::mem::take(&mut self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Bodies let go before their end.
    pub fn cancelled(&self) -> u32 {
        self.cancelled.load(Ordering::SeqCst)
    }

    pub(super) fn attach(&self, world: &World) {
        self.world.get_or_init(|| world.clone());
    }

    async fn forever(&self) {
        // Far beyond every deadline, so that the gateway's own timers come first.
        if let Some(world) = self.world.get() {
            world.timer(1 << 40).await;
        }
    }
}

impl HttpClient for ScriptedHttp {
    type Body = ScriptedBody;

    async fn send(&self, outgoing: Outgoing) -> Result<Response<ScriptedBody>, HttpError> {
        let (head, body) = outgoing.request.into_parts();
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push(Sent {
            target: format!("{} {}", head.method, head.uri),
            headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body,
        });
        let answer = self.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        match answer.unwrap_or(Answer::Fail(HttpError::Connect)) {
            Answer::Fail(error) => Err(error),
            Answer::Hang => {
                self.forever().await;
                Err(HttpError::Disconnected)
            }
            Answer::Head { status, headers, body } => {
                let body = ScriptedBody {
                    steps: body.into(),
                    world: self.world.get().cloned(),
                    cancelled: Arc::clone(&self.cancelled),
                    waiting: None,
                    ended: false,
                };
                let mut response = Response::new(body);
                *response.status_mut() = StatusCode::from_u16(status).map_err(|_| HttpError::Protocol)?;
                for (name, value) in headers {
                    let name = HeaderName::try_from(name).map_err(|_| HttpError::Protocol)?;
                    let value = HeaderValue::try_from(value).map_err(|_| HttpError::Protocol)?;
                    response.headers_mut().append(name, value);
                }
                Ok(response)
            }
        }
    }
}

/// A scripted body.
pub struct ScriptedBody {
    steps: VecDeque<Chunk>,
    world: Option<World>,
    cancelled: Arc<AtomicU32>,
    /// Until when the wait at the front lasts, once it began.
    waiting: Option<u64>,
    ended: bool,
}

impl UpstreamBody for ScriptedBody {
    async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        loop {
            match self.steps.front_mut() {
                None => {
                    self.ended = true;
                    return Ok(None);
                }
                Some(Chunk::Bytes(bytes)) => {
                    let bytes = std::mem::take(bytes);
                    self.steps.pop_front();
                    return Ok(Some(bytes));
                }
                Some(Chunk::Break) => {
                    self.ended = true;
                    return Err(HttpError::Disconnected);
                }
                Some(Chunk::Wait(ms)) => {
                    let Some(world) = &self.world else { return Err(HttpError::Protocol) };
                    let due = *self.waiting.get_or_insert(world.now_ms() + *ms);
                    world.timer(due.saturating_sub(world.now_ms())).await;
                    self.waiting = None;
                    self.steps.pop_front();
                }
                Some(Chunk::Hang) => {
                    if let Some(world) = &self.world {
                        world.timer(1 << 40).await;
                    }
                }
            }
        }
    }
}

impl Drop for ScriptedBody {
    fn drop(&mut self) {
        if !self.ended {
            self.cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }
}
