//! The loop of the process: one event after the other, in as many loops as Lambda gives events at a time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use gateway_core::ports::{Level, Platform};
use gateway_core::{Body, ErrorCode, Gateway};
use gateway_native::Log;
use tokio::sync::OnceCell;

use crate::deploy::{self, ConfigError};
use crate::event::Event;
use crate::platform::{Cloud, Parts};
use crate::reply::Reply;
use crate::runtime::{Answer, ApiError, Invocation, RuntimeApi};

/// The function. Clones share everything.
#[derive(Clone)]
struct Function {
    parts: Arc<Parts>,
    gateway: Arc<OnceCell<Arc<Gateway>>>,
    lookup: fn(&str) -> Option<String>,
}

/// Serves events until the Runtime API is gone; the exit code then says whether that was a failure.
pub async fn run(lookup: fn(&str) -> Option<String>) -> Result<(), String> {
    let log = Log::new(lookup("RUST_LOG").as_deref());
    gateway_native::quiet_panics(log);
    let api =
        lookup("AWS_LAMBDA_RUNTIME_API").ok_or("AWS_LAMBDA_RUNTIME_API is not set: this program runs in AWS Lambda")?;
    let table = lookup("TABLE_NAME").unwrap_or_default();
    let function = Function { parts: Arc::new(Parts::new(&table, log, lookup)), gateway: Arc::default(), lookup };
    let more = (1..concurrency(lookup)).map(|_| tokio::spawn(function.clone().serve(api.clone()))).collect::<Vec<_>>();
    let ended = function.serve(api).await;
    more.iter().for_each(tokio::task::JoinHandle::abort);
    ended.map_err(|error| error.to_string())
}

/// How many events Lambda gives to this process at a time: one, but on managed instances.
pub fn concurrency(lookup: impl Fn(&str) -> Option<String>) -> usize {
    let given = lookup("AWS_LAMBDA_MAX_CONCURRENCY").and_then(|text| text.parse().ok());
    given.unwrap_or(1).clamp(1, MAX_CONCURRENCY)
}

impl Function {
    async fn serve(self, api: String) -> Result<(), ApiError> {
        let mut api = RuntimeApi::new(&api)?;
        loop {
            let invocation = api.next(Reply::<Cloud>::nothing().into_body(None)).await?;
            let platform = Cloud::new(self.parts.clone(), invocation.deadline_ms);
            // What is left of earlier events could not be written: then nobody waits long for the next try.
            let failing = self.gateway.get().is_some_and(|gateway| gateway.has_backlog());
            let (answer, reply) = self.answer(&invocation, &platform).await;
            let gateway = self.gateway.get().filter(|_| answer == Answer::Streamed && !failing);
            let later = gateway.map(|gateway| later(gateway.clone(), platform.clone()));
            // A client that is gone, or an environment at its end: the next call tells which.
            if let Err(error) = api.answer(&invocation.id, answer, reply.into_body(later)).await {
                self.log(Level::Warn, "answer", &error.to_string());
            }
            self.rest(&platform, failing).await;
            // From the next call for an event on, the process may be frozen.
            gateway_native::exchanges_settled().await;
        }
    }

    /// Carries out what could not be done before the answer's end, while the client has it already. A process that is busy
    /// with it takes no event, and one in its place may know no tenant: so it is brief, and what is left goes to the log.
    async fn rest(&self, platform: &Cloud, failing: bool) {
        let Some(gateway) = self.gateway.get() else { return };
        let work = platform.take_deferred();
        if work.is_empty() && !gateway.has_backlog() {
            return;
        }
        let most = if failing { AGAIN_MS } else { REST_MS };
        let left =
            platform.deadline_ms().map_or(most, |end| end.saturating_sub(platform.now_ms() + SPARE_MS).min(most));
        if !within(left, gateway.carry_out(platform, work, left)).await {
            gateway.tell_backlog(platform);
        }
    }

    async fn answer(&self, invocation: &Invocation, platform: &Cloud) -> (Answer, Reply<Cloud>) {
        let platform = platform.clone();
        let Some(event) = Event::read(&invocation.event) else {
            return (
                Answer::Error,
                failed("the event is neither a request of a function URL nor known from a schedule"),
            );
        };
        let gateway =
            self.gateway().await.inspect_err(|error| self.log(Level::Error, "configuration", &error.to_string()));
        match (event, gateway) {
            (Event::Http(request), Ok(gateway)) => {
                let answer = gateway_native::handle(gateway, platform, request).await;
                (Answer::Streamed, Reply::to_client(answer))
            }
            (Event::Http(_), Err(_)) => {
                let answer = gateway_native::failure(ErrorCode::SecretsUnavailable);
                (Answer::Streamed, Reply::to_client(answer.map(Body::Full)))
            }
            (Event::Sweep, Ok(gateway)) => {
                gateway.sweep(platform).await;
                (Answer::Buffered, Reply::Whole("null".into()))
            }
            (Event::RollUp, Ok(gateway)) => {
                if gateway.roll_up(platform).await {
                    (Answer::Buffered, Reply::Whole("null".into()))
                } else {
                    (Answer::Error, failed("not all usage could be rolled up"))
                }
            }
            (Event::Sweep | Event::RollUp, Err(_)) => (Answer::Error, failed("the configuration cannot be read")),
        }
    }

    /// The gateway of this process, made once; concurrent first events wait for one reading of the configuration.
    async fn gateway(&self) -> Result<&Arc<Gateway>, ConfigError> {
        let make = || async { deploy::read(self.parts.secrets(), self.lookup).await.map(Gateway::new).map(Arc::new) };
        self.gateway.get_or_try_init(make).await
    }

    fn log(&self, level: Level, event: &str, cause: &str) {
        let severity = if level == Level::Error { "error" } else { "warn" };
        let line = serde_json::json!({"level": severity, "event": event, "cause": cause});
        self.parts.log().write(level, &line.to_string());
    }
}

/// Work that the end of an answer waits for, but not for long; nothing if there is none then.
fn later(gateway: Arc<Gateway>, platform: Cloud) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let work = platform.take_deferred();
        if !work.is_empty() {
            within(BEFORE_END_MS, gateway.carry_out(&platform, work, BEFORE_END_MS)).await;
        }
    })
}

/// Whether `work` was done in time, as a store that hangs does not answer by the time `work` itself has for it. What is
/// given up waits for the next try.
async fn within(ms: u64, work: impl Future<Output = bool>) -> bool {
    tokio::time::timeout(Duration::from_millis(ms), work).await.unwrap_or(false)
}

fn failed(message: &str) -> Reply<Cloud> {
    let error = serde_json::json!({"errorType": "Gateway.Failed", "errorMessage": message});
    Reply::Whole(error.to_string().into())
}

const MAX_CONCURRENCY: usize = 256;
/// How long the end of an answer waits for a failing write.
const BEFORE_END_MS: u64 = 1_000;
/// How long the next event waits for it.
const REST_MS: u64 = 3_000;
/// How long it waits where the write failed at the event before already.
const AGAIN_MS: u64 = 1_000;
/// Time kept back before the end of the invocation.
const SPARE_MS: u64 = 1_000;
