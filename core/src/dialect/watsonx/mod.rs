//! IBM watsonx.ai. <https://cloud.ibm.com/apidocs/watsonx-ai>

pub(crate) mod embeddings;
pub(crate) mod generation;
