//! The program itself: started, called over raw sockets, stopped and killed.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds something else than it expects has failed"
)]

mod demo;
mod framing;
mod process;
mod program;
