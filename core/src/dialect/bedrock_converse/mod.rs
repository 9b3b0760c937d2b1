//! AWS Bedrock's Converse, as an upstream: JSON both ways, streams as frames of an AWS event stream.
//!
//! One request form for the models of many makers; what a model cannot take is in its capabilities.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>

pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod stream;
mod wire;

#[cfg(test)]
mod tests;
