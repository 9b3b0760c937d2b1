//! The control API: configure an account, read its record, reset it.

use serde_json::{Value, json};

use crate::{
    account::Accounts,
    answer::{Answer, Body},
    step::Settings,
};

/// Answers `<method> /_control/<rest>`.
pub(crate) fn answer(method: &str, rest: &str, body: &[u8], accounts: &Accounts) -> Answer {
    let (name, what) = rest.split_once('/').unwrap_or((rest, ""));
    if !is_name(name) {
        return problem(404, "an account name is [a-z0-9-]+");
    }
    let account = accounts.of(name);
    match (method, what) {
        ("PUT", "") => match serde_json::from_slice::<Settings>(body) {
            Ok(settings) => {
                account.configure(settings);
                Answer { status: 204, headers: Vec::new(), body: Body::Empty }
            }
            Err(error) => problem(400, &error.to_string()),
        },
        ("DELETE", "") => {
            account.clear();
            Answer { status: 204, headers: Vec::new(), body: Body::Empty }
        }
        ("GET", "calls") => match serde_json::to_value(account.calls()) {
            Ok(calls) => Answer::json(200, &calls),
            Err(error) => problem(500, &error.to_string()),
        },
        ("GET", "open") => Answer::json(200, &json!({"open": account.open_exchanges()})),
        _ => problem(404, "PUT or DELETE /_control/<name>, GET /_control/<name>/calls or /open"),
    }
}

/// Whether an account may be called so.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn problem(status: u16, message: &str) -> Answer {
    Answer::json(status, &Value::from_iter([("error", message)]))
}
