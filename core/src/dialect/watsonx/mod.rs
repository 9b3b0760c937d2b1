//! IBM watsonx.ai: chats in OpenAI's format with a head of its own, other paths and other errors; text generation and
//! embeddings in its own. <https://cloud.ibm.com/apidocs/watsonx-ai>, and IBM's Node SDK of June 2026.

pub(crate) mod embeddings;
pub(crate) mod generation;
mod request;
mod response;

pub(crate) use request::encode_request;
pub(crate) use response::read_models;
