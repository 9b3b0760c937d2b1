//! The writing side of HTTP/1.1: a plan of bytes, pauses and an end, carried out on the socket.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{ReadHalf, WriteHalf},
    time,
};

use crate::http::Conn;

/// Bytes that a client may send ahead while an answer is under way; more and its leaving is no longer noticed.
const MAX_AHEAD: usize = 1024 * 1024;
/// Time for the client to take what was written, before a reset throws it away.
const BEFORE_RESET: Duration = Duration::from_millis(30);

/// What to write, when, and how to end.
pub(crate) struct Plan {
    /// Pause before the first byte.
    pub(crate) wait: Duration,
    /// Status of the answer, for the record.
    pub(crate) status: u16,
    /// Status line and headers, with the empty line; none when not even these are sent.
    pub(crate) head: Option<Vec<u8>>,
    pub(crate) pieces: Vec<Piece>,
    /// Chunked coding.
    pub(crate) chunked: bool,
    pub(crate) end: End,
}

/// Part of a body, written and flushed on its own.
pub(crate) struct Piece {
    pub(crate) wait: Duration,
    pub(crate) bytes: Vec<u8>,
}

/// What follows the last piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// A proper end; the connection stays.
    Keep,
    /// A proper end, then the connection is closed.
    Close,
    /// The connection is closed although the body has not ended.
    Cut,
    /// The connection is reset.
    Reset,
    /// Nothing ever.
    Hang,
}

/// What became of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The connection can carry the next request.
    Kept,
    /// The plan ended the connection.
    Closed,
    /// The client left first.
    ClientGone,
}

/// How far a plan got.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    pub(crate) body_bytes: usize,
    /// Everything was written; leaving now is no longer leaving early.
    complete: bool,
}

/// Carries out a plan, watching the client all the time.
pub(crate) async fn send(conn: &mut Conn, plan: Plan) -> (Outcome, Progress) {
    let mut progress = Progress::default();
    let Conn { stream, unread } = conn;
    let (read, write) = stream.split();
    let outcome = tokio::select! {
        biased;
        outcome = carry_out(write, plan, &mut progress) => outcome,
        () = client_leaves(read, unread) => Outcome::ClientGone,
    };
    match outcome {
        Outcome::ClientGone if progress.complete => (Outcome::Closed, progress),
        _ => (outcome, progress),
    }
}

/// Reads on until the client closes its side; what it sends ahead is kept for the next request.
pub(crate) async fn client_leaves(mut read: ReadHalf<'_>, unread: &mut Vec<u8>) {
    while unread.len() < MAX_AHEAD {
        if matches!(read.read_buf(unread).await, Ok(0) | Err(_)) {
            return;
        }
    }
    std::future::pending().await
}

async fn carry_out(mut write: WriteHalf<'_>, plan: Plan, progress: &mut Progress) -> Outcome {
    match written(&mut write, plan, progress).await {
        Ok(End::Keep) => Outcome::Kept,
        Ok(End::Close | End::Cut) => {
            // An error here means that the client was faster.
            write.shutdown().await.ok();
            Outcome::Closed
        }
        Ok(End::Reset) => {
            time::sleep(BEFORE_RESET).await;
            reset(&write);
            Outcome::Closed
        }
        Ok(End::Hang) => std::future::pending().await,
        Err(_) => Outcome::ClientGone,
    }
}

async fn written(write: &mut WriteHalf<'_>, plan: Plan, progress: &mut Progress) -> std::io::Result<End> {
    pause(plan.wait).await;
    let mut out = plan.head.unwrap_or_default();
    let proper_end = plan.chunked && matches!(plan.end, End::Keep | End::Close);
    let last = plan.pieces.len();
    for (at, piece) in plan.pieces.into_iter().enumerate() {
        if !piece.wait.is_zero() {
            // What is ready goes out before the pause.
            write.write_all(&out).await?;
            out.clear();
            pause(piece.wait).await;
        }
        if plan.chunked && !piece.bytes.is_empty() {
            out.extend(format!("{:x}\r\n", piece.bytes.len()).into_bytes());
            out.extend(&piece.bytes);
            out.extend(b"\r\n");
        } else {
            out.extend(&piece.bytes);
        }
        if proper_end && at + 1 == last {
            out.extend(b"0\r\n\r\n");
        }
        write.write_all(&out).await?;
        out.clear();
        progress.body_bytes += piece.bytes.len();
        if at + 1 < last {
            // Lets the client see this piece on its own.
            tokio::task::yield_now().await;
        }
    }
    if proper_end && last == 0 {
        out.extend(b"0\r\n\r\n");
    }
    if !out.is_empty() {
        write.write_all(&out).await?;
    }
    write.flush().await?;
    progress.complete = plan.end != End::Hang;
    Ok(plan.end)
}

/// Makes the coming close a reset; without it the close would be an ordinary one.
fn reset(write: &WriteHalf<'_>) {
    write.as_ref().set_zero_linger().ok();
}

async fn pause(wait: Duration) {
    if !wait.is_zero() {
        time::sleep(wait).await;
    }
}
