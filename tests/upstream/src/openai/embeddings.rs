//! `POST /v1/embeddings`: vectors from a hash of the input, always the same for the same text.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{Turn, shapes};
use crate::{
    answer::Answer,
    dialect::{self, count, object, string},
    shape::Refusal,
    text,
};

const MAX_TOKENS: u64 = 8192;
const MAX_TOKENS_IN_ALL: u64 = 300_000;

pub(crate) fn check(body: &Map<String, Value>) -> Result<(), Refusal> {
    shapes::EMBEDDINGS.check(body, "")?;
    if body.contains_key("dimensions") && string(body, "model") == "text-embedding-ada-002" {
        return Err(Refusal::plain("dimensions", "This model does not support specifying dimensions."));
    }
    if count(body, "dimensions").is_some_and(|wanted| wanted > size(string(body, "model"))) {
        return Err(Refusal::plain("dimensions", "The number of dimensions is above what this model gives."));
    }
    let counts: Vec<u64> = inputs(body).iter().map(|(_, tokens)| *tokens).collect();
    if let Some(tokens) = counts.iter().find(|tokens| **tokens > MAX_TOKENS) {
        let message = format!(
            "This model's maximum context length is {MAX_TOKENS} tokens, however you requested {tokens} tokens. Please reduce your prompt."
        );
        return Err(Refusal::of("input", "context_length_exceeded", message));
    }
    if counts.iter().sum::<u64>() > MAX_TOKENS_IN_ALL {
        return Err(Refusal::of(
            "input",
            "max_tokens_per_request",
            format!("Requested more than {MAX_TOKENS_IN_ALL} tokens in one request."),
        ));
    }
    Ok(())
}

pub(super) fn answer(turn: Turn<'_>) -> Answer {
    let Turn { ask, body, step, twist } = turn;
    let inputs = inputs(body);
    let dimensions = count(body, "dimensions").unwrap_or_else(|| size(string(body, "model")));
    let base64 = body.get("encoding_format").and_then(Value::as_str) == Some("base64");
    let data = inputs.iter().enumerate().map(|(index, (seed, _))| {
        let vector = text::vector(*seed, dimensions);
        let embedding = match base64 {
            true => json!(STANDARD.encode(vector.iter().flat_map(|part| part.to_le_bytes()).collect::<Vec<u8>>())),
            false => json!(vector),
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    });
    let data: Value = data.collect();
    let tokens: u64 = inputs.iter().map(|(_, tokens)| tokens).sum();
    let named = step.model.as_deref().unwrap_or_else(|| string(body, "model"));
    let usage = dialect::usage(json!({"prompt_tokens": tokens, "total_tokens": tokens}), step);
    let answer = object([
        ("object", Some(json!("list"))),
        ("data", Some(data)),
        ("model", Some(json!(named))),
        ("usage", usage),
    ]);
    Answer::json(200, &(twist.whole)(ask, answer))
}

/// A seed and a number of tokens for each input.
fn inputs(body: &Map<String, Value>) -> Vec<(u64, u64)> {
    let one = |item: &Value| match item {
        Value::Array(tokens) => {
            (text::hash(item.to_string().as_bytes()), u64::try_from(tokens.len()).unwrap_or(u64::MAX))
        }
        other => {
            let input = other.as_str().unwrap_or_default();
            (text::hash(input.as_bytes()), text::tokens(input))
        }
    };
    match body.get("input") {
        Some(Value::Array(list)) if !list.first().is_some_and(Value::is_number) => list.iter().map(one).collect(),
        Some(single) => vec![one(single)],
        None => Vec::new(),
    }
}

/// The native size of a model's vectors.
fn size(model: &str) -> usize {
    let families = [
        ("text-embedding-3-large", 3072),
        ("embedqa-e5", 1024),
        ("bge-m3", 1024),
        ("arctic-embed", 1024),
        ("llama-3.2-n", 2048),
    ];
    families.iter().find(|(family, _)| model.contains(family)).map_or(1536, |(_, size)| *size)
}
