//! The answer to a request for embeddings, made of the vectors of its calls.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::value::RawValue;

use super::{EmbedCall, Format, Request};
use crate::account::Usage;
use crate::dialect::failure::constant;
use crate::error::{ErrorCode, Failure};
use crate::limits;

/// What one call brought.
#[derive(Debug)]
pub(crate) struct Vectors<'a> {
    /// The vectors in the order of the call's inputs: JSON arrays of numbers, or the strings of
    /// [`Format::Base64`] where the provider was asked for them.
    pub raw: Vec<&'a RawValue>,
    /// The input tokens, if the provider says so.
    pub tokens: Option<u64>,
}

/// Collects the vectors of all calls, in any order, and writes them in the order of the inputs.
#[derive(Debug)]
pub(crate) struct Answer {
    format: Format,
    /// Inputs whose vectors are still to come.
    missing: usize,
    /// Entries of `data`, written: the first input of a call and what belongs to it.
    parts: Vec<(usize, String)>,
    tokens: Option<u64>,
}

impl Answer {
    /// An answer that has no vector yet.
    pub(crate) fn new(request: &Request<'_>) -> Self {
        Self { format: request.format, missing: request.inputs.len(), parts: Vec::new(), tokens: None }
    }

    /// Takes what a call brought.
    ///
    /// # Errors
    /// `upstream_protocol` if it is not one vector of finite numbers for each input, `upstream_too_large` if all
    /// together is more than [`limits::EMBED_ANSWER_BYTES`].
    pub(crate) fn take(&mut self, call: &EmbedCall, vectors: &Vectors<'_>) -> Result<(), Failure> {
        if vectors.raw.len() != call.inputs.len() {
            return Err(protocol("not one vector for each input"));
        }
        let before: usize = self.parts.iter().map(|(_, part)| part.len()).sum();
        let mut part = String::new();
        for (index, raw) in call.inputs.clone().zip(&vectors.raw) {
            if !part.is_empty() {
                part.push(',');
            }
            part.push_str(r#"{"object":"embedding","index":"#);
            part.push_str(&index.to_string());
            part.push_str(r#","embedding":"#);
            write_vector(&mut part, raw.get(), self.format)?;
            part.push('}');
            if before + part.len() > limits::EMBED_ANSWER_BYTES {
                return Err(constant(ErrorCode::UpstreamTooLarge).caused_by("vectors over their limit"));
            }
        }
        self.missing = self.missing.saturating_sub(vectors.raw.len());
        self.parts.push((call.inputs.start, part));
        if let Some(tokens) = vectors.tokens {
            self.tokens = Some(self.tokens.unwrap_or(0).saturating_add(tokens));
        }
        Ok(())
    }

    /// Writes OpenAI's list under the client's name of the model. The usage is `None` if no call reported any; the
    /// client then reads 0, since its SDK wants a number.
    ///
    /// # Errors
    /// `internal_error` if the vectors of a call are missing.
    pub(crate) fn write(mut self, model: &str) -> Result<(Bytes, Option<Usage>), Failure> {
        if self.missing > 0 {
            return Err(Failure::internal("vectors of a call are missing"));
        }
        self.parts.sort_unstable_by_key(|(start, _)| *start);
        let size: usize = self.parts.iter().map(|(_, part)| part.len() + 1).sum();
        let mut out = String::with_capacity(size + model.len() + 160);
        out.push_str(r#"{"object":"list","data":["#);
        for (at, (_, part)) in self.parts.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            out.push_str(part);
        }
        let tokens = self.tokens.unwrap_or(0);
        out.push_str(r#"],"model":"#);
        out.push_str(&serde_json::Value::from(model).to_string());
        out.push_str(&format!(r#","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}}}"#));
        let usage = self.tokens.map(|tokens| Usage { input_tokens: tokens, ..Usage::default() });
        Ok((Bytes::from(out), usage))
    }
}

fn protocol(cause: &str) -> Failure {
    constant(ErrorCode::UpstreamProtocol).caused_by(cause)
}

fn write_vector(out: &mut String, raw: &str, format: Format) -> Result<(), Failure> {
    if let Some(text) = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
        if format != Format::Base64 || !plain || text.is_empty() {
            return Err(protocol("a vector is a text"));
        }
        out.push_str(raw);
        return Ok(());
    }
    let numbers = numbers(raw).ok_or_else(|| protocol("a vector is no list of numbers"))?;
    match format {
        Format::Float => out.push_str(raw),
        Format::Base64 => {
            let mut bytes = Vec::with_capacity(numbers.len() / 2);
            for number in numbers.split(',') {
                bytes.extend_from_slice(
                    &single(number).ok_or_else(|| protocol("a number beyond 32 bits"))?.to_le_bytes(),
                );
            }
            out.push('"');
            STANDARD.encode_string(&bytes, out);
            out.push('"');
        }
    }
    Ok(())
}

/// What stands between the brackets of a list of numbers that is not empty. `raw` is valid JSON, so the characters
/// that occur tell what it is.
fn numbers(raw: &str) -> Option<&str> {
    let inner = raw.strip_prefix('[')?.strip_suffix(']')?;
    let plain = |b: u8| b.is_ascii_digit() || b"+-.eE, \t\r\n".contains(&b);
    (inner.bytes().all(plain) && inner.bytes().any(|b| b.is_ascii_digit())).then_some(inner)
}

/// The nearest 32-bit float, unless that is infinite.
#[expect(clippy::cast_possible_truncation, reason = "the nearest float is what is asked for")]
fn single(number: &str) -> Option<f32> {
    let number = crate::json::number(number)? as f32;
    number.is_finite().then_some(number)
}
