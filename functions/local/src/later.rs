//! Work that no client waits for: carried out in the background, in the order in which it came, and to its end before the
//! process ends.

use std::time::Duration;

use gateway_core::{Deferred, limits};
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;

use crate::server::Server;

/// Carries out what arrives in `queue`, until `stop` is ready and the queue is empty.
pub(crate) async fn carry_out(server: Server, mut queue: Receiver<Deferred>, mut stop: oneshot::Receiver<()>) {
    let mut stopping = false;
    loop {
        let mut work = Vec::new();
        tokio::select! {
            count = queue.recv_many(&mut work, AT_ONCE) => {
                if count == 0 {
                    break;
                }
                if !stopping && work.len() < AT_ONCE {
                    gather(&mut queue, &mut work, &mut stop, &mut stopping).await;
                }
            }
            _ = &mut stop, if !stopping => {
                stopping = true;
                queue.close();
                continue;
            }
            () = tokio::time::sleep(AGAIN), if server.gateway.has_backlog() => {}
        }
        server.gateway.carry_out(&server.platform, work, PATIENCE_MS).await;
    }
    server.gateway.carry_out(&server.platform, Vec::new(), PATIENCE_MS).await;
}

/// Waits a little for more: a write to the disk costs far more than what is in it.
async fn gather(
    queue: &mut Receiver<Deferred>,
    work: &mut Vec<Deferred>,
    stop: &mut oneshot::Receiver<()>,
    stopping: &mut bool,
) {
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(limits::GATHER_MS)) => {}
        _ = stop => {
            *stopping = true;
            queue.close();
        }
    }
    while work.len() < AT_ONCE
        && let Ok(more) = queue.try_recv()
    {
        work.push(more);
    }
}

/// Rolls up what has come together, every minute.
pub(crate) async fn roll_up(server: Server) {
    loop {
        server.gateway.roll_up(server.platform.clone()).await;
        tokio::time::sleep(ROLL_UP).await;
    }
}

/// Pieces of work that share one write to the disk.
const AT_ONCE: usize = 4_096;
/// How long a failing write is repeated before newer work gets its turn.
const PATIENCE_MS: u64 = 5_000;
/// When to try again what could not be written.
const AGAIN: Duration = Duration::from_secs(2);
const ROLL_UP: Duration = Duration::from_secs(60);
