//! Anthropic's Messages API, as an upstream.
//!
//! It never reads what it does not need: texts and arguments go from one document into the other as they are written.
//! <https://platform.claude.com/docs/en/api/messages>

mod request;
mod response;
mod stream;
mod wire;

pub(crate) use request::encode_request;
pub(crate) use response::{classify, decode_response, read_models};
pub(crate) use stream::Decoder;

#[cfg(test)]
mod tests;
