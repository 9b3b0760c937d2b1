//! The server: connections, and which of its three parts a request is for.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time,
};

use crate::{
    account::Accounts,
    answer::Answer,
    call, control, fault,
    http::{Conn, Head, ReadError},
    send::{self, End, Outcome},
};

/// Serves until `shutdown` resolves; open connections are then dropped.
pub async fn serve(listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let accounts = Arc::new(Accounts::default());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let mut number = 0;
    loop {
        tokio::select! {
            () = &mut shutdown => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    number += 1;
                    connections.spawn(connection(stream, number, Arc::clone(&accounts)));
                }
                // Out of descriptors or the like: later ones may work.
                Err(_) => time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, number: u64, accounts: Arc<Accounts>) {
    // Pieces are to leave when they are written; without this some would only travel together.
    stream.set_nodelay(true).ok();
    let mut conn = Conn::new(stream);
    loop {
        let kept = match conn.head().await {
            Ok(head) => one_request(&mut conn, &head, number, &accounts).await,
            Err(ReadError::Malformed(why)) => reply(&mut conn, malformed(why), false).await,
            Err(ReadError::Closed) => false,
        };
        if !kept {
            return;
        }
    }
}

async fn one_request(conn: &mut Conn, head: &Head, connection: u64, accounts: &Accounts) -> bool {
    let path = head.path();
    if path == "/healthz" {
        return reply(conn, Answer::json(200, &json!({"status": "ok"})), true).await;
    }
    if let Some(rest) = path.strip_prefix("/_control/") {
        let answer = match conn.body(head).await {
            Ok(body) => control::answer(&head.method, rest, &body, accounts),
            Err(ReadError::Malformed(why)) => malformed(why),
            Err(ReadError::Closed) => return false,
        };
        return reply(conn, answer, true).await;
    }
    match place(path) {
        Some((name, rest)) => call::exchange(conn, head, connection, &accounts.of(name), name, rest).await,
        None => reply(conn, Answer::json(404, &json!({"error": format!("no account at {path}")})), false).await,
    }
}

/// The account a path belongs to, and the path as that account's provider sees it.
fn place(path: &str) -> Option<(&str, &str)> {
    let inner = path.strip_prefix('/')?;
    if inner == "v1" || inner.starts_with("v1/") {
        return Some(("default", path));
    }
    let name = inner.split('/').next()?;
    let rest = inner.get(name.len()..)?;
    (control::is_name(name) && !rest.is_empty()).then_some((name, rest))
}

fn malformed(why: &str) -> Answer {
    Answer::json(400, &json!({"error": {"message": why, "type": "invalid_request_error", "param": null, "code": null}}))
}

async fn reply(conn: &mut Conn, answer: Answer, keep: bool) -> bool {
    let mut plan = fault::plain(answer);
    if !keep {
        plan.end = End::Close;
    }
    send::send(conn, plan).await.0 == Outcome::Kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_account() {
        let cases = [
            ("/v1/models", Some(("default", "/v1/models"))),
            ("/a-1/v1/chat/completions", Some(("a-1", "/v1/chat/completions"))),
            ("/A/v1/models", None),
            ("/a", None),
            ("/", None),
            ("//v1/models", None),
        ];
        for (path, wanted) in cases {
            assert_eq!(place(path), wanted, "{path}");
        }
    }
}
