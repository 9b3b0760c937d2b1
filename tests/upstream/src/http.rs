//! The reading side of HTTP/1.1: request heads and bodies, exactly as they came.
//!
//! Header names keep their order and repetition, because the checks and the record need what was really sent.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const MAX_HEAD: usize = 256 * 1024;
const MAX_BODY: usize = 256 * 1024 * 1024;

/// A connection and the bytes read from it that nobody has used yet.
pub(crate) struct Conn {
    pub(crate) stream: TcpStream,
    pub(crate) unread: Vec<u8>,
}

/// A request line with its headers; names in lower case.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// Why a request could not be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The client closed or reset the connection.
    Closed,
    /// What came is not a request; the text says why.
    Malformed(&'static str),
}

impl From<io::Error> for ReadError {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

impl Conn {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, unread: Vec::new() }
    }

    /// Reads the next request head; `Closed` when the client is done.
    pub(crate) async fn head(&mut self) -> Result<Head, ReadError> {
        let end = self.find(b"\r\n\r\n", MAX_HEAD).await?;
        let bytes: Vec<u8> = self.unread.drain(..end + 4).collect();
        parse_head(bytes.get(..end).unwrap_or_default())
    }

    /// Reads the body that `head` announces.
    pub(crate) async fn body(&mut self, head: &Head) -> Result<Vec<u8>, ReadError> {
        if head.value("expect").is_some_and(|v| v.eq_ignore_ascii_case("100-continue")) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        match (head.value("transfer-encoding"), head.value("content-length")) {
            (Some(_), Some(_)) => Err(ReadError::Malformed("both transfer-encoding and content-length")),
            (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => self.chunked().await,
            (Some(_), None) => Err(ReadError::Malformed("unknown transfer-encoding")),
            (None, Some(length)) => {
                let length = length.parse().map_err(|_| ReadError::Malformed("content-length is not a number"))?;
                self.exactly(length).await
            }
            (None, None) => Ok(Vec::new()),
        }
    }

    async fn chunked(&mut self) -> Result<Vec<u8>, ReadError> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| ReadError::Malformed("chunk size"))?;
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(body);
            }
            if body.len() + size > MAX_BODY {
                return Err(ReadError::Malformed("body too large"));
            }
            body.extend(self.exactly(size).await?);
            if !self.line().await?.is_empty() {
                return Err(ReadError::Malformed("chunk not ended by CRLF"));
            }
        }
    }

    async fn line(&mut self) -> Result<String, ReadError> {
        let end = self.find(b"\r\n", MAX_HEAD).await?;
        let bytes: Vec<u8> = self.unread.drain(..end + 2).collect();
        Ok(String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned())
    }

    async fn exactly(&mut self, length: usize) -> Result<Vec<u8>, ReadError> {
        if length > MAX_BODY {
            return Err(ReadError::Malformed("body too large"));
        }
        while self.unread.len() < length {
            self.more().await?;
        }
        Ok(self.unread.drain(..length).collect())
    }

    async fn find(&mut self, mark: &[u8], limit: usize) -> Result<usize, ReadError> {
        let mut from = 0;
        loop {
            let window = self.unread.get(from..).unwrap_or_default();
            if let Some(at) = window.windows(mark.len()).position(|part| part == mark) {
                return Ok(from + at);
            }
            if self.unread.len() > limit {
                return Err(ReadError::Malformed("line or head too long"));
            }
            from = self.unread.len().saturating_sub(mark.len());
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), ReadError> {
        self.unread.reserve(16 * 1024);
        match self.stream.read_buf(&mut self.unread).await? {
            0 => Err(ReadError::Closed),
            _ => Ok(()),
        }
    }
}

impl Head {
    /// The value of the first header of this (lower-case) name.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// What follows the question mark, undecoded.
    pub(crate) fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// The target without its query.
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

fn parse_head(bytes: &[u8]) -> Result<Head, ReadError> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1"), None) = (first.next(), first.next(), first.next(), first.next())
    else {
        return Err(ReadError::Malformed("request line"));
    };
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').ok_or(ReadError::Malformed("header without colon"))?;
        if name.is_empty() || name.contains([' ', '\t']) {
            return Err(ReadError::Malformed("space in a header name"));
        }
        Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Ok(Head { method: method.to_owned(), target: target.to_owned(), headers: headers.collect::<Result<_, _>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_keeps_order_and_repetition() {
        let head = parse_head(b"POST /v1/x?y=1 HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a:  2 ");
        let seen = head.map(|head| (head.path().to_owned(), head.headers)).ok();
        let headers = [("host", "a"), ("x-a", "1"), ("x-a", "2")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(seen, Some(("/v1/x".to_owned(), headers.to_vec())));
    }

    #[test]
    fn what_is_not_a_head_is_refused() {
        for head in
            ["GET /", "GET / HTTP/1.0", "GET / a HTTP/1.1", "GET / HTTP/1.1\r\nno colon", "GET / HTTP/1.1\r\nx y: 1"]
        {
            assert!(matches!(parse_head(head.as_bytes()), Err(ReadError::Malformed(_))), "{head}");
        }
    }
}
