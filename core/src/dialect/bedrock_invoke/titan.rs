//! Amazon Titan Text Embeddings: one text in each call.
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html>

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{call, object, protocol};
use crate::account::tokens;
use crate::chat::Destination;
use crate::embed::{Batch, Request, Vectors, split};
use crate::error::{Failure, Outcome};
use crate::model::Family;

/// Lengths that version 2 makes.
const DIMENSIONS: [u64; 3] = [256, 512, 1024];

pub(super) fn encode(request: &Request<'_>, to: &Destination<'_>) -> Outcome<Batch> {
    let texts = request.texts(to.kind)?;
    let mut rest = Vec::new();
    if to.can.family == Family::TitanEmbed2 {
        if let Some(dimensions) = request.dimensions_of(&DIMENSIONS)? {
            rest.extend_from_slice(format!(r#","dimensions":{dimensions}"#).as_bytes());
        }
        rest.extend_from_slice(br#","normalize":true,"embeddingTypes":["float"]"#);
    } else {
        request.without_dimensions()?;
    }
    rest.push(b'}');
    let body = |text: &[&RawValue]| {
        let text = text.first().map_or("\"\"", |raw| raw.get());
        [br#"{"inputText":"#, text.as_bytes(), &rest].concat()
    };
    let calls = split(texts, 1).map(|(inputs, text)| call(body(text), inputs)).collect();
    Ok(Batch { calls, drops: request.drops(&[], to.can) })
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    embedding: Option<&'a RawValue>,
    #[serde(borrow, rename = "embeddingsByType")]
    by_type: Option<ByType<'a>>,
    #[serde(borrow, rename = "inputTextTokenCount")]
    tokens: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ByType<'a> {
    #[serde(borrow)]
    float: Option<&'a RawValue>,
}

pub(super) fn decode(body: &[u8]) -> Result<Vectors<'_>, Failure> {
    let wire: Wire<'_> = object(body)?;
    let vector = wire.embedding.or_else(|| wire.by_type?.float).ok_or_else(|| protocol("answer has no vector"))?;
    Ok(Vectors { raw: vec![vector], tokens: wire.tokens.and_then(|raw| tokens(raw.get())) })
}
