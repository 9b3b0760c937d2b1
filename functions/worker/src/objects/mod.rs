//! The Durable Objects: linearizable storage that knows nothing of what it stores.
//!
//! Every request is answered within one turn of the object and without waiting in between, so that it is atomic.
//! Statements are constant; what comes from outside is bound.

pub(crate) mod digest;
pub(crate) mod limits;
pub(crate) mod publication;
pub(crate) mod registry;
pub(crate) mod tenant;
pub(crate) mod usage;

use bytes::Bytes;
use js_sys::{Array, Uint8Array};
use wasm_bindgen::prelude::*;

use crate::host;
use crate::wire::{Fields, Message};

/// The SQLite storage of one object.
pub(crate) struct Tables {
    state: JsValue,
}

/// A column to bind or to read.
#[derive(Clone, Copy)]
pub(crate) enum Column<'a> {
    Number(u64),
    Text(&'a str),
    Blob(&'a [u8]),
}

impl Tables {
    /// The storage of a Durable Object that is being made, with these tables. Panics are logged from here on.
    pub(crate) fn new(state: JsValue, schema: &str) -> Result<Self, JsValue> {
        crate::panic::install();
        host::query(&state, schema, &Array::new())?;
        Ok(Self { state })
    }

    /// Runs a statement; its rows.
    pub(crate) fn query(&self, statement: &str, parameters: &[Column<'_>]) -> Result<Vec<Row>, JsValue> {
        let bound = parameters.iter().copied().map(bind).collect();
        Ok(host::query(&self.state, statement, &bound)?.iter().map(|row| Row(row.unchecked_into())).collect())
    }

    /// All rows of a statement with two columns, as the fields of an answer.
    pub(crate) fn pairs(&self, statement: &str) -> Result<Vec<(Bytes, Bytes)>, JsValue> {
        Ok(self.query(statement, &[])?.iter().map(|row| (row.bytes(0), row.bytes(1))).collect())
    }

    /// Sets the object's alarm.
    pub(crate) fn ring_at(&self, time: u64) {
        // What the returned promise reports is reported by the object's output gate as well.
        let _ = host::alarm(&self.state, time as f64);
    }
}

/// One row of a result.
pub(crate) struct Row(Array);

impl Row {
    /// A column of text or bytes; empty if it is null.
    pub(crate) fn bytes(&self, column: u32) -> Bytes {
        self.blob(column).unwrap_or_default()
    }

    /// A column of text or bytes that may be null.
    pub(crate) fn blob(&self, column: u32) -> Option<Bytes> {
        let value = self.0.get(column);
        if value.is_null() || value.is_undefined() {
            return None;
        }
        Some(match value.as_string() {
            Some(text) => Bytes::from(text),
            None => Bytes::from(Uint8Array::new(&value).to_vec()),
        })
    }

    /// A column of a number; 0 if it is null.
    pub(crate) fn number(&self, column: u32) -> u64 {
        self.0.get(column).as_f64().unwrap_or_default() as u64
    }
}

fn bind(column: Column<'_>) -> JsValue {
    match column {
        Column::Number(number) => JsValue::from_f64(number as f64),
        Column::Text(text) => JsValue::from_str(text),
        Column::Blob(bytes) => Uint8Array::from(bytes).into(),
    }
}

/// Answers with pairs.
pub(crate) fn answer_pairs(pairs: &[(Bytes, Bytes)]) -> Message {
    pairs.iter().fold(Message::default(), |message, (name, record)| message.bytes(Some(name)).bytes(Some(record)))
}

/// The fields of the message of a request to an object.
pub(crate) async fn received(request: &JsValue) -> Result<Fields, JsValue> {
    let bytes = wasm_bindgen_futures::JsFuture::from(host::message(request)).await?;
    Ok(Fields::new(Bytes::from(Uint8Array::new(&bytes).to_vec())))
}

/// An answer, or a refusal of what makes no sense.
pub(crate) fn reply(answer: Option<Message>) -> JsValue {
    match answer {
        Some(message) => host::reply(200, &message.into_bytes()),
        None => host::reply(400, &[]),
    }
}
