//! Proofs of identity that must be made for a call: signatures and tokens.

pub(crate) mod iam;
pub(crate) mod sigv4;
