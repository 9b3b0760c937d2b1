//! Embeddings on NVIDIA NIM: OpenAI's API with `input_type` and `truncate`, and servers that refuse members which they
//! do not know. <https://docs.nvidia.com/nim/nemo-retriever/text-embedding/latest/reference.html>
//!
//! The answer is made anew from the vectors: its `model` is the client's name.

use std::borrow::Cow;

use http::header::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::failure::constant;
use super::openai_like;
use crate::account::Usage;
use crate::chat::Destination;
use crate::embed::{Batch, EmbedCall, Request, Vectors, split, write_texts};
use crate::error::{ErrorCode, Failure, Outcome};
use crate::provider::ProviderKind;

/// The calls of a request.
///
/// # Errors
/// A code of status 400 for what the model cannot take.
pub(crate) fn encode(request: &Request<'_>, to: &Destination<'_>) -> Outcome<Batch> {
    let texts = request.texts(to.kind)?;
    let refused = |name: &str| to.can.unsupported_parameters.iter().any(|refused| refused == name);
    let mut rest = String::new();
    let mut set = |name: &str, raw: &str| {
        if !refused(name) {
            rest.push_str(&format!(r#","{name}":{raw}"#));
        }
    };
    if let Some(format) = request.raw("encoding_format") {
        set("encoding_format", format.get());
    }
    // Symmetric models know no input type, and asymmetric ones insist on it.
    if let Some(default) = &to.can.input_type {
        let said = purpose(request.input_type.as_deref().unwrap_or(default))?;
        set("input_type", &serde_json::Value::from(&*said).to_string());
    }
    if let Some(truncate) = request.raw("truncate") {
        set("truncate", truncate.get());
    }
    match (request.dimensions, to.can.dimensions) {
        (Some(_), None) if refused("dimensions") => request.without_dimensions()?,
        (Some(wanted), None) => set("dimensions", &wanted.to_string()),
        (_, Some(native)) => {
            request.dimensions_of(&[native])?;
        }
        (None, None) => {}
    }
    let model = serde_json::Value::from(to.model).to_string();
    let most = to.can.batch_size.unwrap_or(usize::MAX);
    let body = |part: &[&RawValue]| {
        let mut body = [br#"{"model":"#, model.as_bytes(), br#","input":"#].concat();
        match request.raw("input") {
            Some(raw) if part.len() == texts.len() => body.extend_from_slice(raw.get().as_bytes()),
            _ => write_texts(&mut body, part),
        }
        body.extend_from_slice(rest.as_bytes());
        body.push(b'}');
        body
    };
    let call = |(inputs, texts)| EmbedCall { body: body(texts).into(), inputs, headers: Vec::new() };
    Ok(Batch { calls: split(texts, most).map(call).collect(), drops: request.drops(&["truncate"], to.can) })
}

/// NVIDIA's word for a purpose. Cohere's words for the same two are taken too, so that one alias can stand for models
/// of both (our policy); what else a model knows is left to it.
fn purpose(said: &str) -> Outcome<Cow<'_, str>> {
    Ok(match said {
        "search_query" => "query".into(),
        "search_document" => "passage".into(),
        "" => {
            let message = "'input_type' must be 'query' or 'passage'.";
            return Err(Failure::new(ErrorCode::UnsupportedValue, message).with_param("input_type"));
        }
        other => other.into(),
    })
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

/// Whether an answer of status 200 reports an error: OpenAI's, or vLLM's object of type `error`.
fn is_error(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        error: Option<&'a RawValue>,
        #[serde(borrow)]
        object: Option<&'a RawValue>,
    }
    let wire: Option<Wire<'_>> = crate::json::read(body);
    wire.is_some_and(|wire| wire.error.is_some() || wire.object.is_some_and(|raw| raw.get() == r#""error""#))
}

#[derive(Deserialize)]
struct Entry<'a> {
    index: Option<usize>,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

/// The vectors of one call's answer, in the order of their indexes.
///
/// # Errors
/// `upstream_protocol` if it is not OpenAI's API.
pub(crate) fn decode<'a>(_headers: &HeaderMap, body: &'a [u8]) -> Result<Vectors<'a>, Failure> {
    let read = || {
        let wire: Wire<'a> = crate::json::read_object(body)?;
        let mut places: Vec<Option<&'a RawValue>> = vec![None; wire.data.len()];
        for (at, raw) in wire.data.iter().enumerate() {
            let entry = raw.get().starts_with('{').then(|| serde_json::from_str::<Entry<'a>>(raw.get()).ok());
            let entry = entry.flatten()?;
            let place = places.get_mut(entry.index.unwrap_or(at))?;
            if place.replace(entry.embedding).is_some() {
                return None;
            }
        }
        let tokens = wire.usage.and_then(|raw| Usage::from_openai(raw.get())).map(|usage| usage.input_tokens);
        Some(Vectors { raw: places.into_iter().collect::<Option<_>>()?, tokens })
    };
    read().ok_or_else(|| {
        if is_error(body) {
            return openai_like::embedded(ProviderKind::Nim, body);
        }
        constant(ErrorCode::UpstreamProtocol).caused_by("answer has no vectors")
    })
}
