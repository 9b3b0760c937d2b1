//! Framing: bytes to frames and back. Knows nothing of what a frame says.

pub(crate) mod eventstream;
pub(crate) mod sse;
