//! A stand-in for AWS Lambda on loopback: the Runtime API for one `bootstrap`, and the function URL before it.
//!
//! One event at a time, as in one environment of Lambda; payload format 2.0; answers are buffered or streamed (a prelude
//! of JSON, eight zero bytes, the body). Unlike Lambda it never freezes the process, so that all its CPU time shows.

mod reply;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::reply::Reply;
use crate::arguments::Arguments;
use crate::child::Child;
use crate::{Outcome, serve, upstream};

pub(crate) async fn main(given: Vec<String>) -> Outcome<()> {
    let arguments = Arguments::read(given, &["port", "cpu"])?;
    let front = serve::listen(arguments.parsed("port", 0)?).await?;
    let (function, _) = Function::start(&arguments.rest, arguments.text("cpu")).await?;
    println!("{}", function.child.id());
    let events = function.events.clone();
    serve::serve(front, move |request| client(events.clone(), request)).await
}

/// A running `bootstrap` with a Runtime API of its own.
pub(crate) struct Function {
    pub(crate) child: Child,
    pub(crate) begun: Instant,
    pub(crate) events: mpsc::UnboundedSender<Event>,
}

/// What the function is to answer, and where the answer goes.
pub(crate) struct Event {
    pub(crate) payload: Bytes,
    pub(crate) answer: oneshot::Sender<Response<Reply>>,
}

impl Function {
    /// Starts the program; the second value is the moment when it first asks for an event.
    pub(crate) async fn start(command: &[String], cpu: Option<&str>) -> Outcome<(Self, oneshot::Receiver<Instant>)> {
        let listener: TcpListener = serve::listen(0).await?;
        let address = listener.local_addr()?;
        let (events, waiting) = mpsc::unbounded_channel();
        let (asked, first_ask) = oneshot::channel();
        let runtime = Arc::new(RuntimeApi {
            waiting: tokio::sync::Mutex::new(waiting),
            running: Mutex::default(),
            asked: Mutex::new(Some(asked)),
        });
        tokio::spawn(serve::serve(listener, move |request| {
            let runtime = runtime.clone();
            async move { runtime.answer(request).await }
        }));
        let environment = [
            ("AWS_LAMBDA_RUNTIME_API", address.to_string()),
            ("AWS_LAMBDA_FUNCTION_NAME", "model-gateway".to_owned()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
        ];
        let begun = Instant::now();
        let child = Child::start(command, &environment, cpu)?;
        Ok((Self { child, begun, events }, first_ask))
    }
}

/// The API that Lambda gives to a process.
struct RuntimeApi {
    waiting: tokio::sync::Mutex<mpsc::UnboundedReceiver<Event>>,
    running: Mutex<HashMap<String, oneshot::Sender<Response<Reply>>>>,
    asked: Mutex<Option<oneshot::Sender<Instant>>>,
}

impl RuntimeApi {
    async fn answer(&self, request: Request<Incoming>) -> Outcome<Response<Full<Bytes>>> {
        let path = request.uri().path().to_owned();
        let mut parts = path.rsplit('/');
        let (action, id) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if request.method() == Method::GET && action == "next" {
            return self.next().await;
        }
        let client = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        match client {
            Some(client) if action == "response" => reply::forward(request, client).await?,
            _ => {
                let body = request.into_body().collect().await?.to_bytes();
                eprintln!("{path}: {}", String::from_utf8_lossy(&body));
            }
        }
        Ok(Response::builder().status(StatusCode::ACCEPTED).body(Full::default())?)
    }

    async fn next(&self) -> Outcome<Response<Full<Bytes>>> {
        if let Some(asked) = self.asked.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = asked.send(Instant::now());
        }
        let event = self.waiting.lock().await.recv().await.ok_or("nobody is left to ask")?;
        let id = format!("{:032x}", upstream::now_ns());
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), event.answer);
        let deadline = upstream::now_ns() / 1_000_000 + 60_000;
        let arn = "arn:aws:lambda:us-east-1:123456789012:function:model-gateway";
        Ok(Response::builder()
            .header("content-type", "application/json")
            .header("lambda-runtime-aws-request-id", id)
            .header("lambda-runtime-deadline-ms", deadline)
            .header("lambda-runtime-invoked-function-arn", arn)
            .body(Full::new(event.payload))?)
    }
}

/// The function URL.
async fn client(events: mpsc::UnboundedSender<Event>, request: Request<Incoming>) -> Outcome<Response<Reply>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let headers = head.headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())));
    let payload = payload(head.method.as_str(), head.uri.path(), &headers.collect(), &body);
    let (answer, answered) = oneshot::channel();
    events.send(Event { payload, answer }).map_err(|_| "the function is gone")?;
    Ok(answered.await.unwrap_or_else(|_| reply::failed("the function gave no answer")))
}

/// An event of a function URL.
pub(crate) fn payload(method: &str, path: &str, headers: &HashMap<&str, Cow<'_, str>>, body: &[u8]) -> Bytes {
    let text = std::str::from_utf8(body);
    let event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "bench",
            "domainName": "bench.lambda-url.us-east-1.on.aws",
            "domainPrefix": "bench",
            "http": {
                "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "bench",
            },
            "requestId": "5b1f5d0c-0b5e-4a44-9a52-0d1c6d0b9a11",
            "routeKey": "$default",
            "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000",
            "timeEpoch": 1_767_225_600_000_u64,
        },
        "body": text.map_or_else(|_| BASE64.encode(body), str::to_owned),
        "isBase64Encoded": text.is_err(),
    });
    Bytes::from(event.to_string())
}
