//! The simulator seen through raw sockets: what it refuses, what it answers, and that its faults happen on the wire.
#![recursion_limit = "256"]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds something else than it expects has failed"
)]

mod answers;
mod client;
mod control;
mod faults;
mod golden;
mod providers;
mod strict;
