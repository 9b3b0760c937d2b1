//! `GET /healthz` (the process answers) and `GET /readyz` (its store does too). Public, no tenant's data.

use bytes::Bytes;
use http::{Response, StatusCode};

use super::json_bytes;
use crate::error::{Failure, Outcome};
use crate::exchange::Exchange;
use crate::ports::{Platform, Store};

pub(crate) fn live() -> Response<Bytes> {
    const BODY: &str = concat!(r#"{"status":"ok","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);
    json_bytes(StatusCode::OK, Bytes::from_static(BODY.as_bytes()))
}

pub(crate) async fn ready<P: Platform>(exchange: &Exchange<P>) -> Outcome<Response<Bytes>> {
    exchange.store().ping().await.map_err(|error| Failure::store(&error))?;
    Ok(json_bytes(StatusCode::OK, Bytes::from_static(br#"{"status":"ok"}"#)))
}
