//! Requests that are framed in two ways, too large or too slow: one answer at most, and nobody else is kept waiting.

use std::io::Write;

use crate::process::{Running, kept, request};

#[test]
fn ambiguous_framing_gets_one_answer_and_the_end_of_the_connection() {
    let directory = tempfile::tempdir().unwrap();
    let running = Running::start(directory.path(), &[]);
    let hidden = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let chunked = "0\r\n\r\n";
    for (name, headers, body) in [
        ("length and chunked", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", chunked),
        ("chunked and length", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", chunked),
        ("two lengths", "Content-Length: 0\r\nContent-Length: 5\r\n", ""),
        ("a list of lengths", "Content-Length: 0, 5\r\n", ""),
        ("a signed length", "Content-Length: +0\r\n", ""),
        ("a hexadecimal length", "Content-Length: 0x0\r\n", ""),
        ("an unknown coding", "Transfer-Encoding: xchunked\r\n", chunked),
        ("chunked not last", "Transfer-Encoding: chunked, identity\r\n", chunked),
        ("a space before the colon", "Transfer-Encoding : chunked\r\n", chunked),
        ("a folded header", "X: a\r\n Transfer-Encoding: chunked\r\n", chunked),
        ("a bare CR", "X: a\rTransfer-Encoding: chunked\r\n", chunked),
        ("a bad chunk size", "Transfer-Encoding: chunked\r\n", "0x0\r\n\r\n"),
        ("a negative chunk size", "Transfer-Encoding: chunked\r\n", "-1\r\n\r\n"),
    ] {
        let sent = format!("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n{headers}\r\n{body}{hidden}");
        let answer = running.exchange(sent.as_bytes());
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{name}: {answer}");
        assert!(!answer.starts_with("HTTP/1.1 200"), "{name}: {answer}");
    }
    let old = running.exchange(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert!(!old.starts_with("HTTP/1.1 200"), "{old}");
}

/// Fault matrix: C1.
#[test]
fn heads_and_bodies_have_limits() {
    let directory = tempfile::tempdir().unwrap();
    let running = Running::start(directory.path(), &[]);
    let key = kept(directory.path(), "admin-key");
    let padded =
        |n: usize| format!("GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: {}\r\n\r\n", "x".repeat(n));
    assert!(running.exchange(padded(16 << 10).as_bytes()).starts_with("HTTP/1.1 200"));
    let answer = running.exchange(padded(128 << 10).as_bytes());
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Judged by the length announced: no byte of it is sent.
    let announced = request("POST", "/v1/tenant", &key, "").replace("Content-Length: 0", "Content-Length: 300000");
    let answer = running.exchange(announced.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("request_too_large"), "{answer}");
}

/// Fault matrix: C14.
#[test]
fn slow_clients_keep_nobody_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let running = Running::start(directory.path(), &[]);
    let slow: Vec<_> = (0..60)
        .map(|n| {
            let mut stream = running.connect();
            let head: &[u8] = if n % 2 == 0 { b"POST /v1/chat/completions HTTP/1.1\r\nHo" } else { b"" };
            stream.write_all(head).unwrap();
            stream
        })
        .collect();
    let answer = running.exchange(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(slow);
}
