//! The mock provider: OpenAI's chat completions, whole or streamed, with as little work as HTTP allows.
//!
//! The request steers it: `max_tokens` is the number of a stream's text chunks, `seed` the pause before each of them in
//! microseconds (none: each goes out by itself all the same, as real providers send them). What it sends carries the time
//! of its sending, so that a reader on the same machine knows how long it was under way.

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
/// What precedes a stamp in a stream's text.
pub(crate) const STAMP: &str = "\"content\":\"@";

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
    let body = request.into_body().collect().await?.to_bytes();
    let asked: Asked = serde_json::from_slice(&body).unwrap_or_default();
    if asked.stream {
        return Ok(typed(streamed(&asked), "text/event-stream"));
    }
    let now = now_ns();
    Ok(whole(format!(
        "{{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1790000000,\"model\":\"gpt-4o-mini\",\
         \"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{TEXT}\",\"refusal\":null,\
         \"annotations\":[]}},\"logprobs\":null,\"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":19,\
         \"completion_tokens\":30,\"total_tokens\":49,\"prompt_tokens_details\":{{\"cached_tokens\":0}},\
         \"completion_tokens_details\":{{\"reasoning_tokens\":0}}}},\"system_fingerprint\":\"fp_{now}\"}}"
    )))
}

#[derive(Default, Deserialize)]
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

#[derive(Default, Deserialize)]
struct Options {
    #[serde(default)]
    include_usage: bool,
}

/// The role, `max_tokens` texts, the reason of the end, usage if asked for, and the mark of the end.
fn streamed(asked: &Asked) -> UnsyncBoxBody<Bytes, Infallible> {
    let pause = Duration::from_micros(asked.seed);
    let (texts, usage_wanted) = (asked.max_tokens, asked.stream_options.include_usage);
    let chunks = stream::unfold(0, move |number| async move {
        if number > texts + 1 {
            return None;
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        } else if number > 0 {
            // Lets hyper write what it has before it gets more.
            tokio::task::yield_now().await;
        }
        let bytes = if number == 0 {
            chunk(r#"{"role":"assistant","content":"","refusal":null}"#, "null")
        } else if number <= texts {
            chunk(&format!("{{\"content\":\"@{}#{number}\"}}", now_ns()), "null")
        } else {
            let usage = if usage_wanted {
                let total = texts + 19;
                let usage = format!("{{\"prompt_tokens\":19,\"completion_tokens\":{texts},\"total_tokens\":{total}}}");
                event(&format!("[],\"usage\":{usage}"))
            } else {
                String::new()
            };
            format!("{}{usage}data: [DONE]\n\n", chunk("{}", "\"stop\""))
        };
        Some((Ok(Frame::data(Bytes::from(bytes))), number + 1))
    });
    BodyExt::boxed_unsync(StreamBody::new(chunks))
}

fn chunk(delta: &str, reason: &str) -> String {
    event(&format!("[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{reason}}}]"))
}

fn event(choices: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\
         \"model\":\"gpt-4o-mini\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_bench\",\"choices\":{choices}}}\n\n"
    )
}

fn whole(json: String) -> Answer {
    typed(Full::new(Bytes::from(json)).boxed_unsync(), "application/json")
}

fn typed(body: UnsyncBoxBody<Bytes, Infallible>, kind: &'static str) -> Answer {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    answer
}
