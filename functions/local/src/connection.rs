//! Time limits of one client connection.
//!
//! hyper's own header timer also runs while a connection waits for its next request, so one number would have to be
//! both short enough for slow senders and long enough for the pools of SDKs. Here a connection has a state and a time
//! since when; a watchdog looks at it every second. No timer is set or reset per request.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// What a connection is doing, shared by its stream, its requests and its watchdog.
#[derive(Clone, Debug)]
pub(crate) struct Activity(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    started: Instant,
    /// Milliseconds since `started`, shifted left by two bits for the [`State`].
    word: AtomicU64,
    /// When a write began to wait for the client, in milliseconds since `started` plus one; 0 while none waits.
    stalled: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits for the first byte of a request.
    Idle = 0,
    /// Receives the head of a request.
    Head = 1,
    /// Answers.
    Busy = 2,
}

impl Activity {
    pub(crate) fn new() -> Self {
        // A fresh connection has to send its first head in time: it is no idle one.
        let shared =
            Shared { started: Instant::now(), word: AtomicU64::new(State::Head as u64), stalled: AtomicU64::new(0) };
        Self(Arc::new(shared))
    }

    /// A request has begun; it ends when the answer's last part is dropped.
    pub(crate) fn request(&self) -> Request {
        self.enter(State::Busy);
        Request(self.clone())
    }

    /// Ready when the connection has used up one of its times.
    pub(crate) async fn overdue(&self) {
        loop {
            tokio::time::sleep(CHECK_EVERY).await;
            if self.late() {
                return;
            }
        }
    }

    fn late(&self) -> bool {
        let now = self.elapsed();
        let stalled = self.0.stalled.load(Ordering::Relaxed);
        let (state, since) = self.state();
        let waited = Duration::from_millis(now.saturating_sub(since));
        let over = match state {
            State::Idle => waited > IDLE_TIMEOUT,
            State::Head => waited > HEAD_TIMEOUT,
            State::Busy => false,
        };
        over || stalled > 0 && Duration::from_millis(now.saturating_sub(stalled)) > STALL_TIMEOUT
    }

    fn state(&self) -> (State, u64) {
        let word = self.0.word.load(Ordering::Relaxed);
        let state = match word & 3 {
            0 => State::Idle,
            1 => State::Head,
            _ => State::Busy,
        };
        (state, word >> 2)
    }

    fn enter(&self, state: State) {
        self.0.word.store(self.elapsed() << 2 | state as u64, Ordering::Relaxed);
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX >> 2)
    }

    fn received(&self) {
        if self.state().0 == State::Idle {
            self.enter(State::Head);
        }
    }

    fn written(&self, waits: bool) {
        let stalled = self.0.stalled.load(Ordering::Relaxed);
        match (waits, stalled) {
            (true, 0) => self.0.stalled.store(self.elapsed() + 1, Ordering::Relaxed),
            (false, 1..) => self.0.stalled.store(0, Ordering::Relaxed),
            (true, 1..) | (false, 0) => {}
        }
    }
}

/// Held while a request is answered.
#[derive(Debug)]
pub(crate) struct Request(Activity);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.enter(State::Idle);
    }
}

/// The client's stream; tells [`Activity`] what happens on it.
#[derive(Debug)]
pub(crate) struct Watched {
    stream: TcpStream,
    activity: Activity,
}

impl Watched {
    pub(crate) fn new(stream: TcpStream, activity: Activity) -> Self {
        Self { stream, activity }
    }

    fn noted<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.activity.written(outcome.is_pending());
        outcome
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.received();
        }
        outcome
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.noted(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.noted(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// From a request's first byte to the end of its head; of a new connection, from its beginning.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two requests. Longer than the pools of common SDKs keep a connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// For a client that reads nothing of its answer.
const STALL_TIMEOUT: Duration = Duration::from_secs(300);
const CHECK_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    async fn after(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    /// Fault matrix: C14.
    #[tokio::test(start_paused = true)]
    async fn a_head_has_ten_seconds() {
        let activity = Activity::new();
        after(9).await;
        assert!(!activity.late());
        after(2).await;
        assert!(activity.late());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_may_take_long_and_the_next_one_may_come_later() {
        let activity = Activity::new();
        let request = activity.request();
        after(800).await;
        assert!(!activity.late());
        drop(request);
        after(89).await;
        assert!(!activity.late());
        activity.received();
        after(9).await;
        assert!(!activity.late(), "the head's time starts with its first byte");
        activity.received();
        after(2).await;
        assert!(activity.late(), "and more bytes do not prolong it");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends() {
        let activity = Activity::new();
        drop(activity.request());
        tokio::time::timeout(Duration::from_secs(95), activity.overdue()).await.unwrap();
    }

    /// Fault matrix: C13.
    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stands_still_ends() {
        let activity = Activity::new();
        let _request = activity.request();
        activity.written(true);
        after(299).await;
        activity.written(true);
        assert!(!activity.late());
        after(2).await;
        assert!(activity.late());
        activity.written(false);
        assert!(!activity.late());
    }
}
