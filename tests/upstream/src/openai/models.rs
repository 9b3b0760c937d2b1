//! `GET /v1/models`, `GET /v1/models/{id}`, and the names behind which a dated model stands.

use serde_json::{Value, json};

use super::{Ask, Checked, Request, created, refused};
use crate::answer::Answer;

/// What an account without a list of its own offers; it accepts every other name too.
const OFFERED: &[&str] = &[
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

/// Refuses a model that the account does not know.
pub(super) fn known(ask: &Ask<'_>, id: &str) -> Checked {
    match &ask.settings.models {
        Some(models) if !models.iter().any(|model| model == id) => {
            let message = format!("The model `{id}` does not exist or you do not have access to it.");
            Err(refused(404, &message, None, Some("model_not_found"), false))
        }
        _ => Ok(Request::Model(id.to_owned())),
    }
}

pub(super) fn list(ask: &Ask<'_>) -> Answer {
    let data: Vec<Value> = match &ask.settings.models {
        Some(models) => models.iter().map(|id| entry(ask, id)).collect(),
        None => OFFERED.iter().map(|id| entry(ask, id)).collect(),
    };
    Answer::json(200, &json!({"object": "list", "data": data}))
}

pub(super) fn one(ask: &Ask<'_>, id: &str) -> Answer {
    Answer::json(200, &entry(ask, id))
}

/// The name an answer gives for the model of a request.
pub(super) fn dated(id: &str) -> &str {
    DATED.iter().find(|(name, _)| *name == id).map_or(id, |(_, dated)| dated)
}

fn entry(ask: &Ask<'_>, id: &str) -> Value {
    json!({"id": id, "object": "model", "created": created(ask), "owned_by": "system"})
}
