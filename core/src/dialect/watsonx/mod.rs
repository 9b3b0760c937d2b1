//! Chats with watsonx.ai: OpenAI's format with a head of its own, other paths and other errors.
//!
//! <https://cloud.ibm.com/apidocs/watsonx-ai#text-chat>, and IBM's Node SDK of June 2026.

mod request;
mod response;
mod stream;
mod wire;

pub(crate) use request::encode_request;
pub(crate) use response::{classify, decode_response, read_models};
pub(crate) use stream::Decoder;
