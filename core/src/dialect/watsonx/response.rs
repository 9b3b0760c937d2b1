//! The list of models of watsonx.ai. Answers, streams and errors of chats are read by [`crate::dialect::openai_like`].

use serde::Deserialize;

/// `GET /ml/v1/foundation_model_specs`.
#[derive(Deserialize)]
struct Specs {
    resources: Vec<Spec>,
}

/// A model that the region offers.
#[derive(Deserialize)]
struct Spec {
    model_id: String,
}

/// The models of a list, as pairs of id and creation time, which is not told.
pub(crate) fn read_models(body: &[u8]) -> Option<Vec<(String, u64)>> {
    let specs: Specs = crate::json::read(body)?;
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
