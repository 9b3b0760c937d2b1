//! Whole answers, errors and the list of models of watsonx.ai.

use http::StatusCode;
use http::header::HeaderMap;

use super::wire::Specs;
use crate::chat::{Answer, Expect};
use crate::dialect::openai_like;
use crate::error::Failure;
use crate::provider::ProviderKind;

/// Reads a whole answer.
///
/// # Errors
/// The failure that the answer reports in spite of its status, or `upstream_protocol`.
pub(crate) fn decode_response<'a>(body: &'a [u8], expect: &Expect) -> Result<Answer<'a>, Failure> {
    openai_like::decode_response(ProviderKind::WatsonxAi, body, expect)
}

/// The failure that an answer with an error status means to the client. `body` may be cut or empty.
pub(crate) fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    openai_like::classify(ProviderKind::WatsonxAi, status, headers, body)
}

/// The models of `GET /ml/v1/foundation_model_specs`, as pairs of id and creation time, which is not told.
pub(crate) fn read_models(body: &[u8]) -> Option<Vec<(String, u64)>> {
    let specs: Specs = serde_json::from_slice(body).ok()?;
    Some(specs.resources.into_iter().map(|spec| (spec.model_id, 0)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_listed_by_their_ids() {
        let body =
            br#"{"total_count":2,"resources":[{"model_id":"ibm/granite-3-8b-instruct","label":"g"},{"model_id":"b"}]}"#;
        let want = vec![("ibm/granite-3-8b-instruct".to_owned(), 0), ("b".to_owned(), 0)];
        assert_eq!(read_models(body), Some(want));
        for odd in ["", "[]", "{}", r#"{"resources":{}}"#, r#"{"resources":[{}]}"#] {
            assert_eq!(read_models(odd.as_bytes()), None, "{odd}");
        }
    }
}
