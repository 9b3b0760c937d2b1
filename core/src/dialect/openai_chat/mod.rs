//! OpenAI's chat completions, completions and embeddings, both as our front door and as an upstream.
//!
//! Between the two of them bodies are not re-encoded: named members are edited and all else keeps its bytes.
//! <https://platform.openai.com/docs/api-reference/chat>

mod request;
mod response;
mod stream;
mod wire;

pub(crate) use request::json_failure;
pub(crate) use request::{Call, decode_request, read_call};
pub(crate) use response::encode::{Envelope, encode_response};
pub(crate) use response::{classify, read_answer, read_models};
pub(crate) use stream::{Encoder, Shape};
pub(crate) use stream::{Event, read_event, without_usage};
