//! One call to an account: recorded, checked, then answered as the script says.

use std::pin::pin;

use crate::{
    account::{Account, Ticket},
    answer::Answer,
    dialect::{Ask, Problem, Refused},
    fault, headers,
    http::{Conn, Head, ReadError},
    provider::Provider,
    send::{self, End, Outcome},
    step::{EchoKey, Step},
    watsonx,
};

/// Headers that a step fills with the key it received.
const ECHOES: &[&str] = &["x-request-id", "x-ratelimit-reset-tokens", "openai-organization", "x-echo-key"];

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
    let ticket = account.record(connection, head, Provider::of(&account.settings(), head, path).key(head));
    let kept = tokio::select! {
        kept = answered(conn, head, account, ticket, name, path) => kept,
        () = reset => false,
    };
    account.update(ticket, |call| call.finished = true);
    kept
}

async fn answered(conn: &mut Conn, head: &Head, account: &Account, ticket: Ticket, name: &str, path: &str) -> bool {
    let provider = Provider::of(&account.settings(), head, path);
    let violations = headers::violations(head, provider, path);
    let token = matches!(provider, Provider::Watsonx | Provider::SecretsManager) && path == watsonx::TOKEN_PATH;
    account.update(ticket, |call| call.violations.clone_from(&violations));

    if account.hangs_at_accept(token) {
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
            let settings = account.settings();
            let ask =
                Ask { head, path, name, number: ticket.number, body: &[], settings: &settings, account, provider };
            let mut plan = fault::plain(provider.error(&ask, Problem::of(400, why)));
            plan.end = End::Close;
            send::send(conn, plan).await;
            return false;
        }
    };
    account.update(ticket, |call| call.body = String::from_utf8_lossy(&body).into_owned());

    let settings = account.settings();
    let ask = Ask { head, path, name, number: ticket.number, body: &body, settings: &settings, account, provider };
    let checked = match violations.first() {
        // The violation is on record already.
        Some(violation) if !settings.lenient_headers => {
            Err(ask.refuse(Problem::of(400, violation).code("forbidden_header"), false))
        }
        _ => provider.check(&ask),
    };
    let plan = match checked {
        Ok(reply) => {
            let step = account.next_step(token);
            let error = |problem: Problem<'_>| provider.error(&ask, problem);
            let answer = fault::replaced(&step, ask.key().unwrap_or_default(), error);
            let answer = answer.unwrap_or_else(|| changed(reply(&step), &step, ask.key()));
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

/// What a step changes in a normal answer, whoever gives it.
fn changed(mut answer: Answer, step: &Step, key: Option<&str>) -> Answer {
    if let Some(status) = step.status {
        answer.status = status;
    }
    if let (Some(EchoKey::Header), Some(key)) = (step.echo_key, key) {
        for name in ECHOES {
            answer.set(name, key);
        }
    }
    answer
}
