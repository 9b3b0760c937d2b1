//! One object per tenant for the buckets of its rate limits: a record of core's, and core's answers to questions about it.

use bytes::Bytes;
use gateway_core::bucket;
use wasm_bindgen::prelude::*;

use super::{Column, Tables, received, reply};
use crate::host;
use crate::wire::{Fields, Message, Verb};

/// The keeper of one tenant's buckets. Its own clock counts.
#[wasm_bindgen]
pub struct LimitsObject {
    tables: Tables,
}

#[wasm_bindgen]
impl LimitsObject {
    /// Made by the platform when it is first asked, and again after it was put to rest.
    #[wasm_bindgen(constructor)]
    pub fn new(state: JsValue, _env: JsValue) -> Result<Self, JsValue> {
        Ok(Self { tables: Tables::new(state, SCHEMA)? })
    }

    /// Answers one message.
    pub async fn fetch(&self, request: JsValue) -> Result<JsValue, JsValue> {
        Ok(reply(self.answer(received(&request).await?)?))
    }
}

impl LimitsObject {
    fn answer(&self, mut fields: Fields) -> Result<Option<Message>, JsValue> {
        let (Some(Verb::AskBuckets), Some(question)) = (fields.verb(), fields.bytes()) else { return Ok(None) };
        let Some(answered) = bucket::answer(self.record()?.as_deref(), &question, host::now() as u64) else {
            return Ok(Some(Message::default().bytes(None)));
        };
        match answered.record {
            Some(record) if record.is_empty() => drop(self.tables.query("DELETE FROM buckets", &[])?),
            Some(record) => drop(self.tables.query(PUT, &[Column::Blob(&record)])?),
            None => {}
        }
        Ok(Some(Message::default().bytes(Some(&answered.answer))))
    }

    fn record(&self) -> Result<Option<Bytes>, JsValue> {
        Ok(self.tables.query("SELECT record FROM buckets", &[])?.first().and_then(|row| row.blob(0)))
    }
}

const SCHEMA: &str =
    "CREATE TABLE IF NOT EXISTS buckets (one INTEGER PRIMARY KEY CHECK (one = 1), record BLOB NOT NULL)";
const PUT: &str =
    "INSERT INTO buckets (one, record) VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET record = excluded.record";
