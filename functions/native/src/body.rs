//! The body of an upstream's answer, and the way of its connection back into the pool.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use gateway_core::ports::{HttpError, UpstreamBody};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tokio::runtime::Handle;

use crate::client;
use crate::pool::{Origin, Pool, Sender};

/// A body as it arrives. Dropped before its end, it closes the connection and so cancels the exchange.
#[derive(Debug)]
pub struct UpstreamStream(Option<Open>);

/// A body that has not ended, and the connection that it arrives on.
#[derive(Debug)]
struct Open {
    incoming: Incoming,
    lease: Lease,
}

/// A connection and the place where it came from.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) pool: Arc<Pool>,
    pub(crate) origin: Origin,
    pub(crate) sender: Sender,
}

impl UpstreamStream {
    pub(crate) fn new(incoming: Incoming, lease: Lease) -> Self {
        Self(Some(Open { incoming, lease }))
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, HttpError>> {
        let Some(open) = &mut self.0 else { return Poll::Ready(Ok(None)) };
        let Poll::Ready(heard) = open.poll_chunk(cx) else { return Poll::Pending };
        if !matches!(heard, Ok(Some(_))) {
            let ended = self.0.take();
            if let (Ok(None), Some(open)) = (&heard, ended) {
                open.lease.give_back();
            }
        }
        Poll::Ready(heard)
    }
}

impl Open {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, HttpError>> {
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else { return Poll::Pending };
            return Poll::Ready(match frame.map(|frame| frame.map(Frame::into_data)) {
                None => Ok(None),
                Some(Ok(Ok(bytes))) if !bytes.is_empty() => Ok(Some(bytes)),
                // Trailers say nothing that we read.
                Some(Ok(_)) => continue,
                Some(Err(error)) => Err(client::sending_failed(&error)),
            });
        }
    }

    /// A reader that stops at the last event of a stream leaves the end of the framing unread. It is here or about to
    /// come; waiting for it a moment saves the next call a TLS handshake. Anything else closes the connection.
    async fn linger(mut self) {
        let end = std::future::poll_fn(|cx| self.poll_chunk(cx));
        if let Ok(Ok(None)) = tokio::time::timeout(LINGER, end).await {
            self.lease.give_back();
        }
    }
}

impl Lease {
    /// Returns the connection to the pool once it can take another request.
    fn give_back(mut self) {
        if self.sender.is_ready() {
            return self.pool.put(self.origin, self.sender);
        }
        // The connection's own task has to notice the end of the body first; it does so at once.
        if let (false, Ok(runtime)) = (self.sender.is_closed(), Handle::try_current()) {
            drop(runtime.spawn(async move {
                if self.sender.ready().await.is_ok() {
                    self.pool.put(self.origin, self.sender);
                }
            }));
        }
    }
}

impl UpstreamBody for UpstreamStream {
    async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }
}

impl Drop for UpstreamStream {
    fn drop(&mut self) {
        let Some(open) = self.0.take() else { return };
        if open.incoming.is_end_stream() {
            return open.lease.give_back();
        }
        if let Ok(runtime) = Handle::try_current() {
            let lingering = Lingering::begin();
            drop(runtime.spawn(async move {
                open.linger().await;
                drop(lingering);
            }));
        }
    }
}

/// Counts bodies that were let go and whose connections are not back or closed yet.
struct Lingering;

static LINGERING: AtomicUsize = AtomicUsize::new(0);

impl Lingering {
    fn begin() -> Self {
        LINGERING.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        LINGERING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Ready when no exchange that was let go keeps its connection busy: before a process is frozen, so that a provider
/// learns at once that nobody waits any more.
pub async fn exchanges_settled() {
    let mut waited = false;
    for _ in 0..LINGER.as_millis() * 2 {
        if LINGERING.load(Ordering::Relaxed) == 0 {
            break;
        }
        waited = true;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // The tasks of the connections still have to notice and to close their sockets.
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    if waited {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

const LINGER: Duration = Duration::from_millis(50);
