//! What the local and the Lambda entry share: the upstream HTTPS client, clock, timer, randomness and log writer.
//!
//! Adapters only. Nothing here knows tenants, providers or the API; whether a call may be made is decided in core,
//! and only the address a name resolves to is judged here, because nobody else sees it.

mod answer;
mod body;
mod client;
mod connect;
mod log;
mod pool;
mod system;

pub use answer::{BodyError, failure, handle, http_body, pieces, quiet_panics};
pub use body::{UpstreamStream, exchanges_settled};
pub use client::Upstream;
pub use connect::{Resolve, SystemResolver};
pub use log::Log;
pub use system::{RandomFailed, Timer, fill_random, now_ms, timer};
