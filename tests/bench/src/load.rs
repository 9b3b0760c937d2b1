//! The load maker: a closed loop of connections, each sending its next request when the last answer has ended. Every
//! answer is checked to the end; prints one line of JSON.

mod check;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use self::check::Check;
use crate::Outcome;
use crate::arguments::Arguments;
use crate::process::{self, CpuTime};
use crate::sample::{Sample, Spread};
use crate::upstream::{self, Wire};

pub(crate) async fn main(given: Vec<String>) -> Outcome<()> {
    let sample = LocalSet::new().run_until(measure(Plan::read(given)?)).await;
    println!("{}", serde_json::to_string(&sample)?);
    Ok(())
}

struct Plan {
    uri: Uri,
    address: SocketAddr,
    bearer: String,
    body: Bytes,
    /// The wire format of the answers.
    wire: Wire,
    /// Text chunks of a stream; none: a whole answer.
    chunks: Option<u32>,
    connections: usize,
    warmup: Duration,
    window: Duration,
    /// Ends sooner after so many requests.
    requests: u64,
    pid: Option<u32>,
}

impl Plan {
    fn read(given: Vec<String>) -> Outcome<Self> {
        let known = [
            "url", "bearer", "model", "stream", "prompt", "conns", "chunks", "pace-us", "secs", "warmup", "requests",
            "pid",
        ];
        let arguments = Arguments::read(given, &known)?;
        let uri: Uri = arguments.needed("url")?.parse()?;
        let address: SocketAddr = uri.authority().ok_or("the URL has no address")?.as_str().parse()?;
        if !address.ip().is_loopback() {
            return Err("only loopback is measured".into());
        }
        let stream = arguments.parsed("stream", false)?;
        let chunks = arguments.parsed("chunks", 64)?;
        let words = "all the same to the gateway, which has to read this prompt and pass it on. ";
        let prompt: String = words.chars().cycle().take(arguments.parsed("prompt", 1024)?).collect();
        let body = serde_json::json!({
            "model": arguments.text("model").unwrap_or("gpt-4o-mini"),
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": chunks,
            "seed": arguments.parsed("pace-us", 0)?,
            "stream": stream,
        });
        Ok(Self {
            address,
            bearer: format!("Bearer {}", arguments.text("bearer").unwrap_or("none")),
            body: Bytes::from(body.to_string()),
            wire: if uri.path() == Wire::Anthropic.path() { Wire::Anthropic } else { Wire::OpenAi },
            uri,
            chunks: stream.then_some(chunks),
            connections: arguments.parsed("conns", 1)?,
            warmup: Duration::from_secs_f64(arguments.parsed("warmup", 0.3)?),
            window: Duration::from_secs_f64(arguments.parsed("secs", 2.0)?),
            requests: arguments.parsed("requests", u64::MAX)?,
            pid: match arguments.parsed("pid", 0)? {
                0 => None,
                pid => Some(pid),
            },
        })
    }
}

/// What the connections share.
#[derive(Default)]
struct Tally {
    counting: Cell<bool>,
    over: Cell<bool>,
    started: Cell<u64>,
    seen: RefCell<Seen>,
}

#[derive(Default)]
struct Seen {
    bad: u64,
    fault: Option<String>,
    reads: u64,
    whole: Vec<u64>,
    first: Vec<u64>,
    tail: Vec<u64>,
}

async fn measure(plan: Plan) -> Sample {
    let (plan, tally) = (Rc::new(plan), Rc::new(Tally::default()));
    tally.counting.set(plan.warmup.is_zero());
    let workers: Vec<_> =
        (0..plan.connections).map(|_| tokio::task::spawn_local(repeat(plan.clone(), tally.clone()))).collect();
    tokio::time::sleep(plan.warmup).await;
    let used = || plan.pid.map(CpuTime::of);
    let (before, begun) = (used(), Instant::now());
    tally.counting.set(true);
    while begun.elapsed() < plan.window && workers.iter().any(|worker| !worker.is_finished()) {
        let left = plan.window.saturating_sub(begun.elapsed());
        // A run that is bounded by its number of requests should not wait for the end of its time.
        tokio::time::sleep(if plan.requests == u64::MAX { left } else { left.min(Duration::from_millis(5)) }).await;
    }
    tally.counting.set(false);
    let (after, elapsed) = (used(), begun.elapsed());
    tally.over.set(true);
    for worker in workers {
        let _ = tokio::time::timeout(PATIENCE, worker).await;
    }
    let seen = tally.seen.take();
    let good = seen.whole.len() as u64;
    let per_answer = |total: u64| total as f64 / good.max(1) as f64;
    Sample {
        good,
        bad: seen.bad,
        fault: seen.fault,
        rate: good as f64 / elapsed.as_secs_f64(),
        cpu_us: before.zip(after).map_or(0.0, |(before, after)| per_answer(after.since(&before)) / 1e3),
        peak_mb: plan.pid.map_or(0.0, process::peak_mb),
        reads: per_answer(seen.reads),
        whole: Spread::of(seen.whole),
        first: Spread::of(seen.first),
        tail: Spread::of(seen.tail),
    }
}

/// One connection's requests.
async fn repeat(plan: Rc<Plan>, tally: Rc<Tally>) {
    let mut connection = None;
    while !tally.over.get() && tally.started.replace(tally.started.get() + 1) < plan.requests {
        let result = tokio::time::timeout(PATIENCE, ask(&plan, &mut connection)).await;
        let result = result.unwrap_or_else(|_| Err("no answer in time".into()));
        if result.is_err() {
            connection = None;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tally.take(result);
    }
}

impl Tally {
    fn take(&self, result: Outcome<Answer>) {
        let mut seen = self.seen.borrow_mut();
        match result {
            Ok(answer) if self.counting.get() => {
                seen.reads += answer.reads;
                seen.whole.push(answer.whole);
                seen.first.push(answer.first);
                seen.tail.push(answer.tail);
            }
            Ok(_) => {}
            // Also outside the window: a subject that fails while it warms up is no subject.
            Err(error) => {
                seen.bad += 1;
                seen.fault.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

/// Times of one answer, ns.
struct Answer {
    whole: u64,
    first: u64,
    tail: u64,
    reads: u64,
}

async fn ask(plan: &Plan, connection: &mut Option<SendRequest<Full<Bytes>>>) -> Outcome<Answer> {
    let sender = match connection.take().filter(|sender| !sender.is_closed()) {
        Some(mut sender) => {
            sender.ready().await?;
            connection.insert(sender)
        }
        None => connection.insert(connect(plan.address).await?),
    };
    let request = Request::post(plan.uri.path())
        .header(HOST, plan.address.to_string())
        .header(AUTHORIZATION, &plan.bearer)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(plan.body.clone()))?;
    let begun = Instant::now();
    let mut response = sender.send_request(request).await?;
    let status = response.status();
    let mut check = Check::new(plan.wire, plan.chunks);
    let (mut first, mut reads) = (None, 0);
    while let Some(frame) = response.frame().await {
        if let Ok(piece) = frame?.into_data() {
            reads += 1;
            check.push(&piece);
            if first.is_none() && check.has_text() {
                first = Some(nanoseconds(begun));
            }
        }
    }
    let (whole, now) = (nanoseconds(begun), upstream::now_ns());
    if status != StatusCode::OK {
        return Err(format!("status {status}: {}", check.excerpt()).into());
    }
    let sent = check.finish()?;
    Ok(Answer { whole, first: first.unwrap_or(whole), tail: now.saturating_sub(sent), reads })
}

async fn connect(address: SocketAddr) -> Outcome<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

const PATIENCE: Duration = Duration::from_secs(20);
