//! Simulated model providers: strict about what they receive, scripted in what they answer.
//!
//! The HTTP/1.1 serving is written by hand, because a fault must really happen on the wire: a reset, a body that ends
//! early, a length that lies. Each account (`/<name>/...`) has its own script and record, so that tests running in
//! parallel do not disturb each other. Never reachable from a deployed gateway.

mod account;
mod answer;
mod anthropic;
mod azure;
mod bedrock;
mod call;
mod cerebras;
mod control;
mod dialect;
mod fault;
mod headers;
mod http;
mod json;
mod mind;
mod nim;
mod openai;
mod provider;
mod secrets;
mod send;
mod serve;
mod shape;
mod step;
mod text;
mod watsonx;

pub use serve::serve;
