//! A simulator on a free port, and an HTTP client that shows how a connection really ended.

use std::{future, net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time,
};

/// Longer than anything that is supposed to end.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Simulator {
    pub(crate) address: SocketAddr,
}

/// How an answer ended for its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Its own framing says that it is complete.
    Complete,
    /// The connection was closed first.
    Closed,
    /// The connection was reset first.
    Reset,
    /// Nothing more came in the time given.
    Silent,
}

/// An answer, as far as it came.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Sizes of the chunks of the coding.
    pub(crate) chunks: Vec<usize>,
    pub(crate) ended: Ended,
}

impl Simulator {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(gateway_upstream::serve(listener, future::pending()));
        Self { address }
    }

    /// Sends bytes on a connection of its own and reads the answer.
    pub(crate) async fn raw(&self, request: &[u8], patience: Duration) -> Received {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        receive(&mut stream, patience).await
    }

    /// A well-formed POST to an account.
    pub(crate) async fn post(&self, account: &str, path: &str, body: &Value) -> Received {
        self.raw(&post(&format!("/{account}{path}"), &[], body.to_string().as_bytes()), PATIENCE).await
    }

    pub(crate) async fn chat(&self, account: &str, body: &Value) -> Received {
        self.post(account, "/v1/chat/completions", body).await
    }

    pub(crate) async fn control(&self, method: &str, path: &str, body: &Value) -> Received {
        let body = body.to_string();
        let request =
            format!("{method} /_control/{path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        self.raw(request.as_bytes(), PATIENCE).await
    }

    pub(crate) async fn configure(&self, account: &str, settings: &Value) {
        let answer = self.control("PUT", account, settings).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    /// Gives an account a script of one step.
    pub(crate) async fn step(&self, account: &str, step: Value) {
        self.configure(account, &json!({"script": [step]})).await;
    }

    pub(crate) async fn calls(&self, account: &str) -> Vec<Value> {
        let answer = self.control("GET", &format!("{account}/calls"), &Value::Null).await;
        answer.json().as_array().unwrap().clone()
    }

    /// The last call, once its exchange is over.
    pub(crate) async fn last_finished(&self, account: &str) -> Value {
        for _ in 0..200 {
            if let Some(call) = self.calls(account).await.pop().filter(|call| call["finished"] == true) {
                return call;
            }
            time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the exchange does not end");
    }
}

impl Received {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The payloads of a stream, `[DONE]` as a string.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = self.text();
        let payloads = text.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
        payloads.map(|payload| serde_json::from_str(payload).unwrap_or_else(|_| json!(payload))).collect()
    }
}

/// The bytes of a POST as a well-behaved gateway sends it, with further header lines.
pub(crate) fn post(path: &str, more: &[&str], body: &[u8]) -> Vec<u8> {
    let mut lines = vec![
        "host: 127.0.0.1".to_owned(),
        "authorization: Bearer sk-test-0123456789".to_owned(),
        "content-type: application/json".to_owned(),
        format!("content-length: {}", body.len()),
    ];
    for line in more {
        let name = line.split(':').next().unwrap();
        // A line without a value removes the usual one, one that starts with `+` stands beside it.
        if !name.starts_with('+') {
            lines.retain(|usual| usual.split(':').next() != Some(name));
        }
        if line.contains(':') {
            lines.push(line.trim_start_matches('+').to_owned());
        }
    }
    let head = format!("POST {path} HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n"));
    [head.as_bytes(), body].concat()
}

/// Reads one answer from a connection.
pub(crate) async fn receive(stream: &mut TcpStream, patience: Duration) -> Received {
    let mut bytes = Vec::new();
    loop {
        if let Some(answer) = parse(&bytes, Ended::Complete) {
            return answer;
        }
        let ended = match time::timeout(patience, stream.read_buf(&mut bytes)).await {
            Ok(Ok(0)) => Ended::Closed,
            Ok(Ok(_)) => continue,
            Ok(Err(_)) => Ended::Reset,
            Err(_) => Ended::Silent,
        };
        let nothing = Received { status: 0, headers: Vec::new(), body: Vec::new(), chunks: Vec::new(), ended };
        return parse(&bytes, ended).unwrap_or(nothing);
    }
}

/// The answer in `bytes`: when it is complete, or, if the connection has `ended` otherwise, as far as it goes.
fn parse(bytes: &[u8], ended: Ended) -> Option<Received> {
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let mut answer = Received { status, headers, body: Vec::new(), chunks: Vec::new(), ended: Ended::Complete };
    let mut rest = &bytes[end + 4..];
    let complete = if answer.header("transfer-encoding") == Some("chunked") {
        loop {
            let Some(line) = rest.windows(2).position(|part| part == b"\r\n") else {
                break false;
            };
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?, 16).ok()?;
            rest = &rest[line + 2..];
            if size == 0 {
                break rest.starts_with(b"\r\n");
            }
            answer.body.extend(&rest[..size.min(rest.len())]);
            answer.chunks.push(size.min(rest.len()));
            match rest.get(size + 2..) {
                Some(next) => rest = next,
                None => break false,
            }
        }
    } else {
        let length = answer.header("content-length").map_or(Some(0), |length| length.parse().ok())?;
        answer.body = rest[..rest.len().min(length)].to_vec();
        rest.len() >= length
    };
    if complete {
        return Some(answer);
    }
    answer.ended = ended;
    (ended != Ended::Complete).then_some(answer)
}
