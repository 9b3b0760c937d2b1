//! OpenAI's legacy text completions, where they are not passed on as they are: read for watsonx.ai, edited for Cerebras
//! and NVIDIA NIM. <https://platform.openai.com/docs/api-reference/completions>,
//! <https://inference-docs.cerebras.ai/api-reference/completions>,
//! <https://docs.nvidia.com/nim/large-language-models/latest/api-reference.html>

mod request;
mod response;
mod stream;
mod wire;

pub(crate) use request::{Request, decode_request, encode_request};
pub(crate) use response::{TextChoice, decode_response, encode_response, to_literal};
pub(crate) use stream::Decoder;

#[cfg(test)]
mod tests;
