//! The neutral request, written for watsonx.ai.

use crate::chat::{Destination, Encoded, Request};
use crate::dialect::openai_like;
use crate::error::Outcome;

/// Writes a request: by id with the project or space that pays for it (the project, if both are set); of a deployment
/// with neither, because it has its own and refuses others.
///
/// # Errors
/// As [`openai_like::encode_request`].
pub(crate) fn encode_request(request: &Request<'_>, to: &Destination<'_>) -> Outcome<Encoded> {
    if to.can.deployment {
        return openai_like::encode_with(request, to, &[]);
    }
    let payer = ["project_id", "space_id"].into_iter().find_map(|name| Some((name, to.settings.get(name)?)));
    match payer {
        Some(payer) => openai_like::encode_with(request, to, &[("model_id", to.model), payer]),
        // Not possible for a provider that passed its checks; the service says what is missing.
        None => openai_like::encode_with(request, to, &[("model_id", to.model)]),
    }
}
