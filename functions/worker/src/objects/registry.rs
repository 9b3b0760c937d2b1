//! The one object that knows all tenants' names.

use bytes::Bytes;
use wasm_bindgen::prelude::*;

use super::{Column, Tables, answer_pairs, received, reply};
use crate::wire::{Fields, Message, Verb};

/// Tenant names and what core keeps under them, compared byte for byte.
#[wasm_bindgen]
pub struct RegistryObject {
    tables: Tables,
}

#[wasm_bindgen]
impl RegistryObject {
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

impl RegistryObject {
    fn answer(&self, mut fields: Fields) -> Result<Option<Message>, JsValue> {
        Ok(match fields.verb() {
            Some(Verb::Name) => match fields.text() {
                Some(name) => Some(Message::default().bytes(self.entry(&name)?.as_deref())),
                None => None,
            },
            Some(Verb::SwapName) => {
                let (Some(name), Some(expected), Some(entry), Some(again)) =
                    (fields.text(), fields.next(), fields.next(), fields.flag())
                else {
                    return Ok(None);
                };
                Some(Message::default().flag(self.swap(&name, expected.as_ref(), entry.as_ref(), again)?))
            }
            Some(Verb::Names) => Some(answer_pairs(&self.tables.pairs("SELECT name, entry FROM names ORDER BY name")?)),
            Some(Verb::Ping) => Some(Message::default()),
            Some(_) | None => None,
        })
    }

    fn entry(&self, name: &str) -> Result<Option<Bytes>, JsValue> {
        let rows = self.tables.query("SELECT entry FROM names WHERE name = ?", &[Column::Text(name)])?;
        Ok(rows.first().and_then(|row| row.blob(0)))
    }

    fn swap(&self, name: &str, expected: Option<&Bytes>, entry: Option<&Bytes>, again: bool) -> Result<bool, JsValue> {
        let current = self.entry(name)?;
        if again && current.as_ref() == entry {
            return Ok(true);
        }
        if current.as_ref() != expected {
            return Ok(false);
        }
        match entry {
            Some(entry) => self.tables.query(
                "INSERT INTO names (name, entry) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET entry = excluded.entry",
                &[Column::Text(name), Column::Blob(entry)],
            )?,
            None => self.tables.query("DELETE FROM names WHERE name = ?", &[Column::Text(name)])?,
        };
        Ok(true)
    }
}

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS names (name TEXT PRIMARY KEY, entry BLOB NOT NULL) WITHOUT ROWID";
