//! The neutral form of embeddings: what a request asks, the calls that a provider needs for it, and the answer that is
//! made of their vectors.
//!
//! An encoder turns a [`Request`] into a [`Batch`] of calls, a decoder turns each call's answer into [`Vectors`], and
//! [`Answer`] puts them together in the order of the inputs, whatever the order in which the calls end. Texts are JSON
//! string literals and vectors JSON arrays all the way: neither is read more than it must be.

mod inputs;
mod request;
mod response;

use std::ops::Range;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};

use crate::chat::Drops;

pub(crate) use inputs::{Empty, Inputs};
pub(crate) use request::{Format, Request, decode_request, no_embeddings};
pub(crate) use response::{Answer, Vectors};

/// The calls that together answer one request.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The calls in the order of their inputs; at least one. They do not depend on each other, and the first failure
    /// fails the request.
    pub calls: Vec<EmbedCall>,
    /// What was left out.
    pub drops: Drops,
}

/// One call to a provider.
#[derive(Debug)]
pub(crate) struct EmbedCall {
    /// The JSON body.
    pub body: Bytes,
    /// Which of the request's inputs it carries.
    pub inputs: Range<usize>,
    /// Headers that belong to the wire format.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// The inputs of each call, at most `most` of them in one.
pub(crate) fn split<'a, 'b>(
    texts: &'b [&'a serde_json::value::RawValue],
    most: usize,
) -> impl Iterator<Item = (Range<usize>, &'b [&'a serde_json::value::RawValue])> {
    let most = most.max(1);
    texts.chunks(most).enumerate().map(move |(call, chunk)| {
        let start = call * most;
        (start..start + chunk.len(), chunk)
    })
}

/// Writes texts as a JSON array.
pub(crate) fn write_texts(out: &mut Vec<u8>, texts: &[&serde_json::value::RawValue]) {
    for (at, text) in texts.iter().enumerate() {
        out.push(if at == 0 { b'[' } else { b',' });
        out.extend_from_slice(text.get().as_bytes());
    }
    out.push(b']');
}

#[cfg(test)]
mod tests;
