//! The stand: one server that is both the Runtime API and AWS, and a running `bootstrap` between them.

use std::convert::Infallible;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};

/// What the function posted for an event.
#[derive(Debug)]
pub(crate) struct Posted {
    /// `response` or `error`.
    pub(crate) kind: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Posted {
    /// Status, headers and body of an answer with a prelude.
    pub(crate) fn answer(&self) -> (u64, Value, String) {
        assert_eq!((self.kind.as_str(), &self.headers["transfer-encoding"]), ("response", &"chunked".parse().unwrap()));
        let at = self.body.windows(8).position(|window| window == [0; 8]).unwrap();
        let prelude: Value = serde_json::from_slice(&self.body[..at]).unwrap();
        let body = String::from_utf8(self.body[at + 8..].to_vec()).unwrap();
        (prelude["statusCode"].as_u64().unwrap(), prelude["headers"].clone(), body)
    }
}

/// How AWS answers: status and body by operation (`GetSecretValue`).
type Aws = Arc<Mutex<Box<dyn FnMut(&str) -> (u16, Value) + Send>>>;

struct Event {
    bytes: Bytes,
    posted: oneshot::Sender<Posted>,
}

/// A running `bootstrap`; killed when dropped.
pub(crate) struct Function {
    _process: Child,
    events: mpsc::UnboundedSender<Event>,
    aws: Aws,
    calls: Arc<Mutex<Vec<String>>>,
}

struct Stand {
    events: AsyncMutex<mpsc::UnboundedReceiver<Event>>,
    open: Mutex<Option<oneshot::Sender<Posted>>>,
    aws: Aws,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Function {
    pub(crate) async fn start(environment: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (events, queue) = mpsc::unbounded_channel();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let aws: Aws = Arc::new(Mutex::new(Box::new(|_| (500, json!({})))));
        let stand = Arc::new(Stand {
            events: AsyncMutex::new(queue),
            open: Mutex::new(None),
            aws: aws.clone(),
            calls: calls.clone(),
        });
        tokio::spawn(serve(listener, stand));
        let process = Command::new(env!("CARGO_BIN_EXE_bootstrap"))
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", &address)
            .env("AWS_ENDPOINT_URL", format!("http://{address}"))
            .envs([("AWS_REGION", "us-east-1"), ("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "key")])
            .envs([("TABLE_NAME", "table"), ("RUST_LOG", "off")])
            .envs(environment.iter().copied())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { _process: process, events, aws, calls }
    }

    /// From now on AWS answers so.
    pub(crate) fn aws(&self, answer: impl FnMut(&str) -> (u16, Value) + Send + 'static) {
        *self.aws.lock().unwrap() = Box::new(answer);
    }

    /// Operations that AWS was asked for.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    pub(crate) async fn event(&self, event: &Value) -> Posted {
        let (posted, answer) = oneshot::channel();
        self.events.send(Event { bytes: event.to_string().into(), posted }).ok().unwrap();
        tokio::time::timeout(Duration::from_secs(30), answer).await.unwrap().unwrap()
    }

    /// A request of the function URL.
    pub(crate) async fn request(&self, method: &str, path: &str, key: &str) -> Posted {
        self.event(&json!({
            "version": "2.0", "rawPath": path, "rawQueryString": "",
            "headers": {"authorization": format!("Bearer {key}")},
            "requestContext": {"http": {"method": method, "path": path}}, "isBase64Encoded": false,
        }))
        .await
    }
}

async fn serve(listener: TcpListener, stand: Arc<Stand>) {
    while let Ok((stream, _)) = listener.accept().await {
        let stand = stand.clone();
        let service = service_fn(move |request| answer(stand.clone(), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(stand: Arc<Stand>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    if path == "/2018-06-01/runtime/invocation/next" {
        let Some(event) = stand.events.lock().await.recv().await else { return std::future::pending().await };
        *stand.open.lock().unwrap() = Some(event.posted);
        let mut response = Response::new(Full::new(event.bytes));
        response.headers_mut().insert("lambda-runtime-aws-request-id", "id-1".parse().unwrap());
        response.headers_mut().insert("lambda-runtime-deadline-ms", "4000000000000".parse().unwrap());
        return Ok(response);
    }
    let body = body.collect().await.unwrap().to_bytes();
    if let Some(kind) = path.strip_prefix("/2018-06-01/runtime/invocation/id-1/") {
        let posted = Posted { kind: kind.to_owned(), headers: head.headers, body };
        stand.open.lock().unwrap().take().unwrap().send(posted).unwrap();
        return Ok(status(202, ""));
    }
    let operation = head.headers["x-amz-target"].to_str().unwrap().split_once('.').unwrap().1.to_owned();
    let (code, body) = (stand.aws.lock().unwrap())(&operation);
    stand.calls.lock().unwrap().push(operation);
    Ok(status(code, &body.to_string()))
}

fn status(code: u16, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = code.try_into().unwrap();
    response
}
