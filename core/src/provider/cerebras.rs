//! Cerebras: one bearer, OpenAI's paths below a base that ends in `/v1`, no embeddings.
//! <https://inference-docs.cerebras.ai/api-reference>

use super::{Operation, Settings};
use crate::error::Outcome;
use crate::model::Capabilities;

pub(crate) use super::openai::headers;

/// The path below the base. The model is named in the body.
///
/// # Errors
/// None; other types have some.
pub(crate) fn path(_: &Settings, _model: &str, _: &Capabilities, operation: Operation) -> Outcome<String> {
    Ok(match operation {
        Operation::Call(endpoint, _) => endpoint.path().to_owned(),
        Operation::Models => "/models".to_owned(),
    })
}
