//! The mock provider: OpenAI's chat completions and Anthropic's messages, whole or streamed, with as little work as HTTP
//! allows.
//!
//! The request steers it: `max_tokens` is the number of a stream's text chunks, `seed` the pause before each of them in
//! microseconds (none: each goes out by itself all the same, as real providers send them). What it sends carries the time
//! of its sending, so that a reader on the same machine knows how long it was under way.

mod anthropic;
mod openai;

use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response};
use serde::Deserialize;

use crate::arguments::Arguments;
use crate::{Outcome, serve};

/// The text of a whole answer.
pub(crate) const TEXT: &str = "Plain answers are measured here: always this text, always of this length, so that \
                               one request is like another and what differs is what stands between.";

/// A wire format that the provider speaks, and in which a floor passes its answers on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Wire {
    OpenAi,
    Anthropic,
}

impl Wire {
    /// Where it is asked.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::OpenAi => "/v1/chat/completions",
            Self::Anthropic => "/v1/messages",
        }
    }
}

/// Nanoseconds since 1970, comparable between processes.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or_default()
}

pub(crate) async fn main(given: Vec<String>) -> Outcome<()> {
    let arguments = Arguments::read(given, &["port"])?;
    serve::serve(serve::listen(arguments.parsed("port", 0)?).await?, answer).await
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

async fn answer(request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    if request.method() != Method::POST {
        return Ok(whole("{\"status\":\"ok\"}".into()));
    }
    let wire = if request.uri().path() == Wire::Anthropic.path() { Wire::Anthropic } else { Wire::OpenAi };
    let body = request.into_body().collect().await?.to_bytes();
    let asked: Asked = serde_json::from_slice(&body).unwrap_or_default();
    Ok(match (wire, asked.stream) {
        (Wire::OpenAi, false) => whole(openai::whole()),
        (Wire::OpenAi, true) => streamed(asked, openai::piece),
        (Wire::Anthropic, false) => whole(anthropic::whole()),
        (Wire::Anthropic, true) => streamed(asked, anthropic::piece),
    })
}

#[derive(Clone, Copy, Default, Deserialize)]
struct Asked {
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    max_tokens: u32,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    stream_options: Options,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct Options {
    #[serde(default)]
    include_usage: bool,
}

/// Sends piece after piece, each by itself, until there is none.
fn streamed(asked: Asked, piece: fn(&Asked, u32) -> Option<String>) -> Answer {
    let pause = Duration::from_micros(asked.seed);
    let chunks = stream::unfold(0, move |number| async move {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        } else if number > 0 {
            // Lets hyper write what it has before it gets more.
            tokio::task::yield_now().await;
        }
        Some((Ok(Frame::data(Bytes::from(piece(&asked, number)?))), number + 1))
    });
    typed(BodyExt::boxed_unsync(StreamBody::new(chunks)), "text/event-stream")
}

fn whole(json: String) -> Answer {
    typed(Full::new(Bytes::from(json)).boxed_unsync(), "application/json")
}

fn typed(body: UnsyncBoxBody<Bytes, Infallible>, kind: &'static str) -> Answer {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    answer
}
