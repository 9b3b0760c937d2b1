//! The gateway as a Cloudflare Worker: adapters only. What is decided is decided in `gateway-core`.
//!
//! A request comes in through [`entry`], runs as a [`call`] on the ports of [`platform`], and is answered by `js/host.js`.
//! Configuration lives in Durable Objects ([`objects`]) with a published copy in KV, both behind [`store`].

mod body;
mod call;
mod copy;
pub mod entry;
mod host;
mod isolate;
mod objects;
mod panic;
mod platform;
mod store;
mod upstream;
mod wire;

// Linked for its start-up code: worker-build's shim asks it for the state by which a lost instance is replaced.
use worker as _;
