//! IBM watsonx.ai: chats in OpenAI's format with a head of its own, other paths and other errors; text generation and
//! embeddings in its own. <https://cloud.ibm.com/apidocs/watsonx-ai>, and IBM's Node SDK of June 2026.

pub(crate) mod embeddings;
pub(crate) mod generation;
mod request;
mod response;
mod stream;
mod wire;

pub(crate) use request::encode_request;
pub(crate) use response::{classify, decode_response, read_models};
pub(crate) use stream::Decoder;
