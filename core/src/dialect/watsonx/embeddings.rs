//! Embeddings on watsonx.ai: `/ml/v1/text/embeddings`. <https://cloud.ibm.com/apidocs/watsonx-ai#text-embeddings>

use http::header::{ACCEPT, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::account::tokens;
use crate::chat::Destination;
use crate::dialect::failure::constant;
use crate::embed::{Batch, EmbedCall, Request, Vectors, no_embeddings, split, write_texts};
use crate::error::{ErrorCode, Failure, Outcome};
use crate::provider::Settings;

/// Texts of one call.
const TEXTS: usize = 1000;

/// The calls of a request.
///
/// # Errors
/// A code of status 400 for what the service cannot take.
pub(crate) fn encode(request: &Request<'_>, to: &Destination<'_>) -> Outcome<Batch> {
    if to.can.deployment {
        return Err(no_embeddings(": watsonx.ai has no embeddings of deployments."));
    }
    let texts = request.texts(to.kind)?;
    request.without_dimensions()?;
    let most = to.can.batch_size.map_or(TEXTS, |size| size.min(TEXTS));
    let body = |texts: &[&RawValue]| {
        let mut body = vec![b'{'];
        write_model(&mut body, to.model, to.settings);
        body.extend_from_slice(br#""inputs":"#);
        write_texts(&mut body, texts);
        body.push(b'}');
        body
    };
    let headers = || vec![(ACCEPT, HeaderValue::from_static("application/json"))];
    let call = |(inputs, texts)| EmbedCall { body: body(texts).into(), inputs, headers: headers() };
    Ok(Batch { calls: split(texts, most).map(call).collect(), drops: request.drops(&[], to.can) })
}

/// Writes the members that say which model is meant and who pays: a project, else a space.
pub(super) fn write_model(out: &mut Vec<u8>, model: &str, settings: &Settings) {
    let place = ["project_id", "space_id"].into_iter().find_map(|name| Some((name, settings.get(name)?)));
    for (name, value) in [Some(("model_id", model)), place].into_iter().flatten() {
        let value = serde_json::Value::from(value).to_string();
        out.extend_from_slice(format!(r#""{name}":{value},"#).as_bytes());
    }
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
    #[serde(borrow)]
    input_token_count: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    embedding: &'a RawValue,
}

/// The vectors of one call's answer: they have the order of the inputs, and no index.
///
/// # Errors
/// `upstream_protocol` if it is not the service's API.
pub(crate) fn decode<'a>(_headers: &HeaderMap, body: &'a [u8]) -> Result<Vectors<'a>, Failure> {
    let read = || {
        let wire: Wire<'a> = crate::json::read_object(body)?;
        let vector = |raw: &'a RawValue| {
            let entry = raw.get().starts_with('{').then(|| serde_json::from_str::<Entry<'a>>(raw.get()).ok());
            entry.flatten().map(|entry| entry.embedding)
        };
        let raw = wire.results.into_iter().map(vector).collect::<Option<_>>()?;
        Some(Vectors { raw, tokens: wire.input_token_count.and_then(|raw| tokens(raw.get())) })
    };
    read().ok_or_else(|| constant(ErrorCode::UpstreamProtocol).caused_by("answer has no vectors"))
}
