//! The members we read of watsonx.ai's answers that OpenAI's format does not have.

use serde::Deserialize;

/// `GET /ml/v1/foundation_model_specs`.
#[derive(Deserialize)]
pub(super) struct Specs {
    pub(super) resources: Vec<Spec>,
}

/// A model that the region offers.
#[derive(Deserialize)]
pub(super) struct Spec {
    pub(super) model_id: String,
}
