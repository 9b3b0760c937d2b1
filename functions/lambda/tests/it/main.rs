//! `bootstrap` as Lambda runs it: a Runtime API and an AWS endpoint on loopback, both scripted by the test.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that finds something else than it expects has failed"
)]

mod bootstrap;
mod stand;
