//! Everything the model gateway decides, without I/O, clock, randomness or environment.
//!
//! A runtime implements [`ports::Platform`], builds one [`Gateway`] per process or isolate and hands it requests;
//! see `ARCHITECTURE.md`.

mod account;
mod api;
mod attempt;
mod auth;
#[cfg(any(test, feature = "test-support"))]
pub mod balance;
pub mod body;
mod cache;
mod chat;
mod config;
mod credentials;
mod deferred;
mod deployment;
mod dialect;
mod digest;
pub mod egress;
mod embed;
mod error;
mod exchange;
mod frame;
#[cfg(any(test, feature = "test-support"))]
pub mod fuzz;
mod gateway;
mod inline;
mod json;
mod lease;
pub mod limits;
mod line;
pub mod model;
pub mod ports;
mod provider;
mod registry;
mod relay;
mod route;
pub mod secret;
mod sign;
mod span;
pub mod sweep;
mod tenancy;
#[cfg(any(test, feature = "test-support"))]
pub mod testing;
mod token;

pub use account::bucket;
pub use account::{Row, roll_up};
pub use body::{Body, Live};
pub use deferred::Deferred;
pub use deployment::{DefaultManager, Deployment, DeploymentError};
pub use error::ErrorCode;
pub use gateway::{Gateway, failure};
pub use relay::Step;
