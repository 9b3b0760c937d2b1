//! The body of a client's request.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gateway_core::ports::{ReadError, RequestBody};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// A body that is read only when core asks for it, within a time and a size.
#[derive(Debug)]
pub(crate) struct ClientBody<B = Incoming>(pub(crate) B);

impl<B: Body<Data = Bytes> + Unpin> RequestBody for ClientBody<B> {
    async fn read(self, limit: usize) -> Result<Bytes, ReadError> {
        let announced = self.0.size_hint().lower();
        if announced > limit as u64 {
            return Err(ReadError::TooLarge);
        }
        let reading = collected(self.0, usize::try_from(announced).unwrap_or(0), limit);
        tokio::time::timeout(BODY_TIMEOUT, reading).await.unwrap_or(Err(ReadError::Incomplete))
    }
}

/// A body that the gateway may leave unread: what an answer leaves behind decides what becomes of the connection.
#[derive(Debug)]
pub(crate) struct LeftBody<B = Incoming>(Arc<Mutex<Option<B>>>);

/// The other end of a [`LeftBody`].
#[derive(Debug)]
pub(crate) struct Leftover<B = Incoming>(Arc<Mutex<Option<B>>>);

impl<B> LeftBody<B> {
    pub(crate) fn new(body: B) -> (Self, Leftover<B>) {
        let shared = Arc::new(Mutex::new(Some(body)));
        (Self(Arc::clone(&shared)), Leftover(shared))
    }
}

impl<B: Body<Data = Bytes> + Unpin> RequestBody for LeftBody<B> {
    async fn read(self, limit: usize) -> Result<Bytes, ReadError> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(body) = taken else { return Err(ReadError::Incomplete) };
        if body.size_hint().lower() > limit as u64 {
            // Put back: the connection has to know that the client is still sending.
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
            return Err(ReadError::TooLarge);
        }
        ClientBody(body).read(limit).await
    }
}

impl<B: Body<Data = Bytes, Error: Send> + Unpin + Send + 'static> Leftover<B> {
    /// Lets a small rest be read away while the answer leaves, so that the connection can be used again; false if it
    /// must be closed instead. The answer waits for nobody.
    pub(crate) fn clear(self) -> bool {
        let left = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(body) = left else { return true };
        if body.is_end_stream() {
            return true;
        }
        let small = body.size_hint().upper().is_some_and(|bytes| bytes <= CLEARED_BYTES as u64);
        if small {
            // Given up, it is dropped, and the connection ends with it.
            tokio::spawn(tokio::time::timeout(CLEAR_TIMEOUT, collected(body, 0, CLEARED_BYTES)));
        }
        small
    }
}

async fn collected<B>(mut body: B, announced: usize, limit: usize) -> Result<Bytes, ReadError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|_| ReadError::Incomplete)?.into_data() else { continue };
        if whole.len() + piece.len() > limit {
            return Err(ReadError::TooLarge);
        }
        // Most bodies come in one piece: pass it on as it is.
        if whole.is_empty() && piece.len() == announced {
            return Ok(piece);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// From the first read of a body to its end.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A rest that is read away after an answer that did not need it.
const CLEARED_BYTES: usize = 64 << 10;
const CLEAR_TIMEOUT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt, stream};
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};

    use super::*;

    fn pieces(texts: &'static [&'static str]) -> impl Body<Data = Bytes, Error = Infallible> + Unpin + Send {
        StreamBody::new(stream::iter(texts.iter().map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes()))))))
    }

    #[tokio::test]
    async fn a_body_may_be_as_long_as_the_limit() {
        assert_eq!(ClientBody(Full::new(Bytes::from_static(b"12345"))).read(5).await.unwrap(), "12345");
        assert_eq!(ClientBody(pieces(&["12", "", "345"])).read(5).await.unwrap(), "12345");
        assert_eq!(ClientBody(Full::new(Bytes::new())).read(0).await.unwrap(), "");
    }

    #[tokio::test]
    async fn one_byte_more_is_too_large_whether_announced_or_counted() {
        assert_eq!(ClientBody(Full::new(Bytes::from_static(b"123456"))).read(5).await, Err(ReadError::TooLarge));
        assert_eq!(ClientBody(pieces(&["123", "456"])).read(5).await, Err(ReadError::TooLarge));
    }

    #[tokio::test]
    async fn a_small_rest_is_read_away_and_a_large_one_ends_the_connection() {
        let (body, rest) = LeftBody::new(Full::new(Bytes::from_static(b"123456")));
        drop(body);
        assert!(rest.clear());
        let (body, rest) = LeftBody::new(Full::new(Bytes::from_static(b"123456")));
        assert_eq!(body.read(6).await.unwrap(), "123456");
        assert!(rest.clear());
        let (body, rest) = LeftBody::new(Full::new(Bytes::from(vec![b' '; CLEARED_BYTES + 1])));
        assert_eq!(body.read(5).await, Err(ReadError::TooLarge));
        assert!(!rest.clear());
        let (_, rest) = LeftBody::new(pieces(&["of", "unknown", "length"]));
        assert!(!rest.clear());
    }

    /// Fault matrix: C14.
    #[tokio::test(start_paused = true)]
    async fn a_slow_sender_is_given_up() {
        let never = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"{")))]).chain(stream::pending());
        assert_eq!(ClientBody(StreamBody::new(never)).read(5).await, Err(ReadError::Incomplete));
    }
}
