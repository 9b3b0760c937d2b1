//! Signatures of requests.

pub(crate) mod sigv4;
