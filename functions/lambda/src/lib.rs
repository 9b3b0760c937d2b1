//! The gateway on AWS Lambda: a function URL with response streaming in front, DynamoDB and Secrets Manager behind,
//! core in between.
//!
//! Adapters only: anything that decides about the product is in `gateway-core`.

mod account;
mod deploy;
mod dynamo;
mod event;
mod fault;
mod platform;
mod reply;
mod run;
mod runtime;
mod secrets;

pub use account::Account;
pub use dynamo::DynamoStore;
pub use run::{concurrency, run};
pub use secrets::AccountSecrets;
