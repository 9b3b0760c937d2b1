//! NVIDIA NIM, hosted or in a container: one bearer, OpenAI's paths below a base that ends in `/v1`. Model ids have a
//! slash and go into the body only. <https://docs.api.nvidia.com/nim/reference/llm-apis>

pub(crate) use super::openai::headers;
