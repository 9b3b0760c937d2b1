//! Wire formats. Each dialect has a folder with the same five files; none knows URLs or credentials.
//!
//! The functions have the same names everywhere: `encode_request`, `decode_response`, `classify`, `stream::Decoder` with
//! `push` and `finish`; a front door has `decode_request`, `encode_response` and `stream::Encoder` with `event` and
//! `finish`.

pub(crate) mod anthropic;
pub(crate) mod bedrock_converse;
pub(crate) mod bedrock_invoke;
pub(crate) mod failure;
pub(crate) mod nim_embeddings;
pub(crate) mod openai_chat;
pub(crate) mod openai_completions;
pub(crate) mod openai_like;
pub(crate) mod schema;
pub(crate) mod watsonx;
