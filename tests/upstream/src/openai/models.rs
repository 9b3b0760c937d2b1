//! `GET /v1/models`, `GET /v1/models/{id}`, and the names behind which a dated model stands.

use serde_json::{Value, json};

use crate::{answer::Answer, dialect::Ask};

/// What an account without a list of its own offers; it accepts every other name too.
pub(crate) const OFFERED: &[&str] = &[
    "gpt-4.1",
    "gpt-4.1-mini",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-5",
    "gpt-3.5-turbo-instruct",
    "text-embedding-3-small",
    "text-embedding-3-large",
];
/// Answers name the dated model.
const DATED: &[(&str, &str)] = &[
    ("gpt-4.1", "gpt-4.1-2025-04-14"),
    ("gpt-4.1-mini", "gpt-4.1-mini-2025-04-14"),
    ("gpt-4o", "gpt-4o-2024-08-06"),
    ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
    ("gpt-5", "gpt-5-2025-08-07"),
];

pub(crate) fn list(ask: &Ask<'_>, usual: &[&str]) -> Answer {
    let data: Vec<Value> = ask.models(usual).iter().map(|id| entry(ask, id)).collect();
    Answer::json(200, &json!({"object": "list", "data": data}))
}

pub(crate) fn one(ask: &Ask<'_>, id: &str) -> Answer {
    Answer::json(200, &entry(ask, id))
}

/// The name an answer gives for the model of a request.
pub(super) fn dated(id: &str) -> &str {
    DATED.iter().find(|(name, _)| *name == id).map_or(id, |(_, dated)| dated)
}

fn entry(ask: &Ask<'_>, id: &str) -> Value {
    json!({"id": id, "object": "model", "created": ask.created(), "owned_by": "system"})
}
