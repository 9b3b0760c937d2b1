//! Embeddings on AWS Bedrock: `InvokeModel` with each model's own JSON. Which one it is says the model's family, since
//! an ARN hides the name. <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embeddings.html>
//!
//! The client's `encoding_format` never goes there: vectors are written by the gateway.

mod cohere;
mod titan;

use http::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::failure::constant;
use crate::chat::Destination;
use crate::embed::{Batch, EmbedCall, Request, Vectors, no_embeddings};
use crate::error::{ErrorCode, Failure, Outcome};
use crate::model::Family;

/// The calls of a request.
///
/// # Errors
/// A code of status 400 for what the model cannot take.
pub(crate) fn encode(request: &Request<'_>, to: &Destination<'_>) -> Outcome<Batch> {
    match to.can.family {
        Family::TitanEmbed1 | Family::TitanEmbed2 => titan::encode(request, to),
        Family::CohereEmbed3 | Family::CohereEmbed4 => cohere::encode(request, to),
        Family::Claude | Family::Nova | Family::GptOss | Family::Other => {
            Err(no_embeddings(". If its id hides an embedding model, enable it with the capability 'base_model'."))
        }
    }
}

/// The vectors of one call's answer.
///
/// # Errors
/// `upstream_protocol` if it is not the model's API.
pub(crate) fn decode<'a>(family: Family, headers: &HeaderMap, body: &'a [u8]) -> Result<Vectors<'a>, Failure> {
    match family {
        Family::CohereEmbed3 | Family::CohereEmbed4 => cohere::decode(headers, body),
        Family::TitanEmbed1 | Family::TitanEmbed2 | Family::Claude | Family::Nova | Family::GptOss | Family::Other => {
            titan::decode(body)
        }
    }
}

/// The headers of a call.
fn headers() -> Vec<(HeaderName, HeaderValue)> {
    vec![(ACCEPT, HeaderValue::from_static("application/json"))]
}

fn call(body: Vec<u8>, inputs: std::ops::Range<usize>) -> EmbedCall {
    EmbedCall { body: body.into(), inputs, headers: headers() }
}

/// Reads an answer that must be an object.
fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    crate::json::read_object(body).ok_or_else(|| protocol("answer is not the model's"))
}

fn protocol(cause: &str) -> Failure {
    constant(ErrorCode::UpstreamProtocol).caused_by(cause)
}
