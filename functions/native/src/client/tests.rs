use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use gateway_core::ports::UpstreamBody;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;

/// A server that answers the nth request of all connections with the nth script, byte for byte.
struct Server {
    address: SocketAddr,
    requests: mpsc::UnboundedReceiver<(usize, String)>,
}

#[derive(Clone, Copy)]
enum Then {
    Keep,
    Close,
}

impl Server {
    async fn start(script: &[(&'static str, Then)]) -> Self {
        let answers = Arc::new(std::sync::Mutex::new(VecDeque::from(script.to_vec())));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (seen, answers) = (seen.clone(), answers.clone());
                tokio::spawn(async move {
                    let mut stream = stream;
                    while let Some(request) = read_request(&mut stream).await {
                        seen.send((connection, request)).unwrap();
                        let Some((answer, then)) = answers.lock().unwrap().pop_front() else { return };
                        stream.write_all(answer.as_bytes()).await.unwrap();
                        if matches!(then, Then::Close) {
                            return;
                        }
                    }
                    seen.send((connection, "closed".into())).unwrap_or_default();
                });
            }
        });
        Self { address, requests }
    }

    fn call(&self, method: &str, body: &'static str) -> Outgoing {
        let url = format!("http://{}/v1/chat?x=1", self.address);
        let request = Request::builder().method(method).uri(url).body(Bytes::from_static(body.as_bytes())).unwrap();
        Outgoing { request, private_allowed: true, connect_timeout_ms: 5_000 }
    }

    async fn seen(&mut self) -> (usize, String) {
        tokio::time::timeout(Duration::from_secs(5), self.requests.recv()).await.unwrap().unwrap()
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let n = stream.read(&mut chunk).await.ok().filter(|&n| n > 0)?;
        bytes.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |n| n.parse().unwrap()) {
                return Some(text);
            }
        }
    }
}

async fn all(response: Response<UpstreamStream>) -> Result<String, HttpError> {
    let mut body = response.into_body();
    let mut text = String::new();
    while let Some(bytes) = body.chunk().await? {
        text.push_str(std::str::from_utf8(&bytes).unwrap());
    }
    Ok(text)
}

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nset-cookie: a=b\r\n\r\nhello";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

/// Lets connection tasks notice what happened.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(30)).await;
}

#[tokio::test]
async fn a_connection_is_used_again_and_carries_nothing_over() {
    let mut server = Server::start(&[(HELLO, Then::Keep), (CHUNKED, Then::Keep), (HELLO, Then::Keep)]).await;
    let client = Upstream::default();
    for round in 0..3 {
        let response = client.send(server.call("POST", "{}")).await.unwrap();
        assert_eq!(all(response).await.unwrap(), "hello");
        settle().await;
        let (connection, request) = server.seen().await;
        assert_eq!(connection, 0, "round {round}");
        let head = format!("POST /v1/chat?x=1 HTTP/1.1\r\nhost: {}\r\ncontent-length: 2\r\n\r\n{{}}", server.address);
        assert_eq!(request, head);
    }
}

#[tokio::test]
async fn redirects_are_answers() {
    let moved = "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
    let server = Server::start(&[(moved, Then::Keep), (HELLO, Then::Keep)]).await;
    let response = Upstream::default().send(server.call("GET", "")).await.unwrap();
    assert_eq!(response.status(), 302);
    let mut server = server;
    server.seen().await;
    assert!(server.requests.try_recv().is_err());
}

#[tokio::test]
async fn encoded_bodies_are_left_alone() {
    let gzip = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nraw";
    let server = Server::start(&[(gzip, Then::Keep)]).await;
    let response = Upstream::default().send(server.call("GET", "")).await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    assert_eq!(all(response).await.unwrap(), "raw");
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced() {
    let mut server = Server::start(&[(HELLO, Then::Close), (HELLO, Then::Keep)]).await;
    let client = Upstream::default();
    for connection in 0..2 {
        assert_eq!(all(client.send(server.call("POST", "{}")).await.unwrap()).await.unwrap(), "hello");
        assert_eq!(server.seen().await.0, connection);
        settle().await;
    }
}

#[tokio::test]
async fn a_written_request_is_never_sent_twice() {
    let mut server = Server::start(&[(HELLO, Then::Keep), ("", Then::Close), (HELLO, Then::Keep)]).await;
    let client = Upstream::default();
    all(client.send(server.call("POST", "{}")).await.unwrap()).await.unwrap();
    settle().await;
    assert_eq!(client.send(server.call("POST", "{}")).await.err(), Some(HttpError::Disconnected));
    settle().await;
    assert_eq!(server.seen().await.0, 0);
    assert_eq!(server.seen().await.0, 0);
    assert!(server.requests.try_recv().is_err());
}

#[tokio::test]
async fn plain_http_and_private_addresses_need_permission() {
    let mut server = Server::start(&[(HELLO, Then::Keep), (HELLO, Then::Keep)]).await;
    let client = Upstream::default();
    all(client.send(server.call("GET", "")).await.unwrap()).await.unwrap();
    settle().await;
    let refused = client.send(Outgoing { private_allowed: false, ..server.call("GET", "") }).await;
    assert_eq!(refused.err(), Some(HttpError::Forbidden));
    let mut https = server.call("GET", "");
    *https.request.uri_mut() = format!("https://{}/", server.address).parse().unwrap();
    let refused = client.send(Outgoing { private_allowed: false, ..https }).await;
    assert_eq!(refused.err(), Some(HttpError::Forbidden));
    server.seen().await;
    assert!(server.requests.try_recv().is_err());
}

#[tokio::test]
async fn a_body_dropped_early_closes_the_connection() {
    let endless = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let mut server = Server::start(&[(endless, Then::Keep)]).await;
    let mut response = Upstream::default().send(server.call("POST", "{}")).await.unwrap();
    assert_eq!(response.body_mut().chunk().await.unwrap().unwrap(), "hello");
    server.seen().await;
    drop(response);
    assert_eq!(server.seen().await.1, "closed");
}

#[tokio::test]
async fn a_call_dropped_before_its_answer_closes_the_connection() {
    let mut server = Server::start(&[("", Then::Keep)]).await;
    let client = Upstream::default();
    let call = tokio::time::timeout(Duration::from_millis(100), client.send(server.call("POST", "{}")));
    assert!(call.await.is_err());
    server.seen().await;
    assert_eq!(server.seen().await.1, "closed");
}

#[tokio::test]
async fn a_reader_that_stops_at_the_last_event_gives_the_connection_back() {
    let mut server = Server::start(&[(CHUNKED, Then::Keep), (CHUNKED, Then::Keep)]).await;
    let client = Upstream::default();
    for _ in 0..2 {
        let mut response = client.send(server.call("POST", "{}")).await.unwrap();
        assert_eq!(response.body_mut().chunk().await.unwrap().unwrap(), "hello");
        drop(response);
        settle().await;
        assert_eq!(server.seen().await.0, 0);
    }
}

/// Fault matrix: U14, U34.
#[tokio::test]
async fn broken_answers_are_told_apart() {
    let head = "HTTP/1.1 200 OK\r\n";
    for (script, expected) in [
        ([("SMTP hello\r\n\r\n", Then::Close)], HttpError::Protocol),
        ([("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", Then::Close)], HttpError::Protocol),
        ([("", Then::Close)], HttpError::Disconnected),
        ([("HTTP/1.1 200", Then::Close)], HttpError::Disconnected),
    ] {
        let server = Server::start(&script).await;
        let outcome = Upstream::default().send(server.call("POST", "{}")).await;
        assert_eq!(outcome.err(), Some(expected), "{:?}", script[0].0);
    }
    for (script, expected) in [
        ([("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", Then::Close)], HttpError::Disconnected),
        (
            [("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", Then::Close)],
            HttpError::Disconnected,
        ),
        ([("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", Then::Keep)], HttpError::Protocol),
    ] {
        let server = Server::start(&script).await;
        let response = Upstream::default().send(server.call("POST", "{}")).await.unwrap();
        assert_eq!(all(response).await.err(), Some(expected), "{:?}", script[0].0.strip_prefix(head));
    }
}

#[tokio::test]
async fn an_empty_post_has_a_length() {
    let mut server = Server::start(&[(HELLO, Then::Keep)]).await;
    Upstream::default().send(server.call("POST", "")).await.unwrap();
    assert!(server.seen().await.1.contains("content-length: 0\r\n"));
}

struct Hangs;

impl Resolve for Hangs {
    async fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        std::future::pending().await
    }
}

/// Fault matrix: U13, U15.
#[tokio::test]
async fn failing_to_connect_says_how() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let call = |url: String| Outgoing {
        request: Request::get(url).body(Bytes::new()).unwrap(),
        private_allowed: true,
        connect_timeout_ms: 50,
    };
    let refused = Upstream::default().send(call(format!("http://{closed}/"))).await;
    assert_eq!(refused.err(), Some(HttpError::Connect));
    let hangs = Upstream::new(Hangs).send(call("https://slow.example/".into())).await;
    assert_eq!(hangs.err(), Some(HttpError::ConnectTimeout));
}

/// Fault matrix: U13.
#[tokio::test]
async fn an_untrusted_certificate_or_no_tls_at_all_is_no_connection() {
    let server = Server::start(&[]).await;
    let mut call = server.call("GET", "");
    *call.request.uri_mut() = format!("https://{}/", server.address).parse().unwrap();
    call.connect_timeout_ms = 300;
    let outcome = Upstream::default().send(call).await.err();
    assert!(matches!(outcome, Some(HttpError::Connect | HttpError::ConnectTimeout)), "{outcome:?}");
}

#[test]
fn calls_and_bodies_are_send() {
    fn assert_send<T: Send>(_: T) {}
    let client = Upstream::default();
    let outgoing = Outgoing { request: Request::new(Bytes::new()), private_allowed: false, connect_timeout_ms: 1 };
    assert_send(client.send(outgoing));
}
