//! Cohere Embed 3 and 4: up to 96 texts in a call, and a purpose that must be said.
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html> and `…-embed-v4.html`

use http::header::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{call, object, protocol};
use crate::account::tokens;
use crate::chat::Destination;
use crate::embed::{Batch, Request, Vectors, split, write_texts};
use crate::error::{ErrorCode, Failure, Outcome};
use crate::model::Family;

/// Texts of one call.
const TEXTS: usize = 96;
/// Lengths that version 4 makes.
const DIMENSIONS: [u64; 4] = [256, 512, 1024, 1536];
/// Where Bedrock counts the input tokens of a call.
const TOKENS: HeaderName = HeaderName::from_static("x-amzn-bedrock-input-token-count");

pub(super) fn encode(request: &Request<'_>, to: &Destination<'_>) -> Outcome<Batch> {
    let texts = request.texts(to.kind)?;
    let said = request.input_type.as_deref().or(to.can.input_type.as_deref());
    let mut rest = format!(r#","input_type":"{}""#, purpose(said.unwrap_or("search_document"))?);
    if to.can.family == Family::CohereEmbed4 {
        // Without it the answer has the older form; with it vectors are keyed by their type.
        rest.push_str(r#","embedding_types":["float"]"#);
        if let Some(dimensions) = request.dimensions_of(&DIMENSIONS)? {
            rest.push_str(&format!(r#","output_dimension":{dimensions}"#));
        }
    } else {
        request.without_dimensions()?;
    }
    rest.push('}');
    let most = to.can.batch_size.map_or(TEXTS, |size| size.min(TEXTS));
    let body = |texts: &[&RawValue]| {
        let mut body = br#"{"texts":"#.to_vec();
        write_texts(&mut body, texts);
        body.extend_from_slice(rest.as_bytes());
        body
    };
    let calls = split(texts, most).map(|(inputs, texts)| call(body(texts), inputs)).collect();
    Ok(Batch { calls, drops: request.drops(&[], to.can) })
}

/// Cohere's word for a purpose. NVIDIA's words for the same two are taken too, so that one alias can stand for models
/// of both (our policy).
fn purpose(said: &str) -> Outcome<&'static str> {
    Ok(match said {
        "search_document" | "passage" => "search_document",
        "search_query" | "query" => "search_query",
        "classification" => "classification",
        "clustering" => "clustering",
        _ => {
            let message = "'input_type' must be one of search_document, search_query, classification and clustering.";
            return Err(Failure::new(ErrorCode::UnsupportedValue, message).with_param("input_type"));
        }
    })
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    embeddings: &'a RawValue,
}

#[derive(Deserialize)]
struct ByType<'a> {
    #[serde(borrow)]
    float: Vec<&'a RawValue>,
}

/// Reads either form of `embeddings`: a list of vectors, or lists of vectors by type.
pub(super) fn decode<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<Vectors<'a>, Failure> {
    let wire: Wire<'a> = object(body)?;
    let text = wire.embeddings.get();
    let raw = if text.starts_with('{') {
        serde_json::from_str::<ByType<'a>>(text).ok().map(|by_type| by_type.float)
    } else {
        serde_json::from_str(text).ok()
    };
    Ok(Vectors {
        raw: raw.ok_or_else(|| protocol("answer has no vectors"))?,
        tokens: headers.get(TOKENS).and_then(|value| value.to_str().ok()).and_then(tokens),
    })
}
