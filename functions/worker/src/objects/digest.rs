//! One object per tenant for what isolates tell each other of its targets. It is kept for an hour; losing it costs a failed
//! attempt.

use bytes::Bytes;
use wasm_bindgen::prelude::*;

use super::{Column, Tables, received, reply};
use crate::host;
use crate::wire::{Fields, Message, Verb};

/// The keeper of one tenant's digest, compared byte for byte.
#[wasm_bindgen]
pub struct DigestObject {
    tables: Tables,
}

#[wasm_bindgen]
impl DigestObject {
    /// Made by the platform when it is first asked, and again after it was put to rest.
    #[wasm_bindgen(constructor)]
    pub fn new(state: JsValue, _env: JsValue) -> Result<Self, JsValue> {
        Ok(Self { tables: Tables::new(state, SCHEMA)? })
    }

    /// Answers one message.
    pub async fn fetch(&self, request: JsValue) -> Result<JsValue, JsValue> {
        Ok(reply(self.answer(received(&request).await?)?))
    }

    /// What was told last has ended.
    pub async fn alarm(&self) -> Result<JsValue, JsValue> {
        self.tables.query("DELETE FROM digest", &[])?;
        Ok(JsValue::UNDEFINED)
    }
}

impl DigestObject {
    fn answer(&self, mut fields: Fields) -> Result<Option<Message>, JsValue> {
        let verb = fields.verb();
        let current = self.record()?;
        Ok(match verb {
            Some(Verb::Digest) => Some(Message::default().bytes(current.as_deref())),
            Some(Verb::SwapDigest) => {
                let (Some(expected), Some(record), Some(Some(ends))) = (fields.next(), fields.bytes(), fields.number())
                else {
                    return Ok(None);
                };
                let same = current == expected;
                if same {
                    self.tables.query(PUT, &[Column::Blob(&record), Column::Number(ends)])?;
                    self.tables.ring_at(ends * 1000);
                }
                Some(Message::default().flag(same))
            }
            Some(_) | None => None,
        })
    }

    fn record(&self) -> Result<Option<Bytes>, JsValue> {
        let now = host::now() as u64 / 1000;
        let rows = self.tables.query("SELECT record FROM digest WHERE ends > ?", &[Column::Number(now)])?;
        Ok(rows.first().and_then(|row| row.blob(0)))
    }
}

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS digest
  (one INTEGER PRIMARY KEY CHECK (one = 1), record BLOB NOT NULL, ends INTEGER NOT NULL)";
const PUT: &str = "INSERT INTO digest (one, record, ends) VALUES (1, ?, ?)
  ON CONFLICT (one) DO UPDATE SET record = excluded.record, ends = excluded.ends";
