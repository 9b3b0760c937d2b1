//! One call to an account: recorded, checked, then answered as the script says.

use std::pin::pin;

use crate::{
    account::{Account, Ticket},
    fault, headers,
    http::{Conn, Head, ReadError},
    openai::{self, Ask, Refused},
    send::{self, End, Outcome},
};

/// Carries out one exchange; whether the connection can carry another.
pub(crate) async fn exchange(
    conn: &mut Conn,
    head: &Head,
    connection: u64,
    account: &Account,
    name: &str,
    path: &str,
) -> bool {
    let _open = account.opened();
    let mut reset = pin!(account.reset.notified());
    reset.as_mut().enable();
    let ticket = account.record(connection, head, openai::key(head));
    let kept = tokio::select! {
        kept = answered(conn, head, account, ticket, name, path) => kept,
        () = reset => false,
    };
    account.update(ticket, |call| call.finished = true);
    kept
}

async fn answered(conn: &mut Conn, head: &Head, account: &Account, ticket: Ticket, name: &str, path: &str) -> bool {
    let mut violations = headers::violations(head);
    if head.target.contains('?') {
        violations.push("the URL has a query".to_owned());
    }
    account.update(ticket, |call| call.violations.clone_from(&violations));

    if account.hangs_at_accept() {
        let (read, _write) = conn.stream.split();
        send::client_leaves(read, &mut conn.unread).await;
        account.update(ticket, |call| call.client_closed = true);
        return false;
    }
    let body = match conn.body(head).await {
        Ok(body) => body,
        Err(ReadError::Closed) => {
            account.update(ticket, |call| call.client_closed = true);
            return false;
        }
        Err(ReadError::Malformed(why)) => {
            account.update(ticket, |call| call.violations.push(format!("malformed request: {why}")));
            let mut plan = fault::plain(openai::bad_request(why));
            plan.end = End::Close;
            send::send(conn, plan).await;
            return false;
        }
    };
    account.update(ticket, |call| call.body = String::from_utf8_lossy(&body).into_owned());

    let settings = account.settings();
    let ask = Ask {
        method: &head.method,
        path,
        name,
        number: ticket.number,
        key: openai::key(head),
        body: &body,
        settings: &settings,
    };
    let checked = match violations.first() {
        Some(violation) if !settings.lenient_headers => Err(openai::forbidden(violation)),
        _ => openai::check(&ask),
    };
    let plan = match checked {
        Ok(request) => {
            let step = account.next_step();
            let error_body = |status| openai::error_for(&ask, status);
            let answer = fault::replaced(&step, ask.key.unwrap_or_default(), error_body);
            let answer = answer.unwrap_or_else(|| request.answer(&ask, &step));
            fault::plan(answer, &step, account.event_delay())
        }
        Err(refused) => {
            let Refused { answer, message, violation } = *refused;
            account.update(ticket, |call| {
                call.violations.extend(violation.then(|| message.clone()));
                call.refused = Some(message);
            });
            fault::plain(answer)
        }
    };

    // Before the answer goes out, so that whoever has read it finds it in the record.
    let status = plan.head.is_some().then_some(plan.status);
    account.update(ticket, |call| call.status = status);
    let (outcome, progress) = send::send(conn, plan).await;
    account.update(ticket, |call| {
        call.sent_bytes = progress.body_bytes;
        call.client_closed = outcome == Outcome::ClientGone;
    });
    outcome == Outcome::Kept && head.value("connection").is_none_or(|v| !v.eq_ignore_ascii_case("close"))
}
