//! The gateway as one native binary: a hyper listener in front, a redb file behind, core in between.
//!
//! Adapters only: anything that decides about the product is in `gateway-core`.

mod buckets;
mod connection;
mod demo;
mod later;
mod options;
#[cfg(test)]
mod panics;
mod platform;
mod request;
mod run;
mod server;
mod state;
mod store;

pub use buckets::ProcessBuckets;
pub use options::{HELP, Options, Usage};
pub use run::{StartError, run};
pub use store::{OpenError, RedbStore};
