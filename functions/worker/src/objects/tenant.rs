//! One object per tenant: its head, key records and secret records, and their publication to KV.

use bytes::Bytes;
use gateway_core::ports::{HeadRecord, Level};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::publication::Publication;
use super::{Column, Tables, answer_pairs, received, reply};
use crate::copy::Copy;
use crate::wire::{Fields, Message, Verb};
use crate::{host, isolate};

/// The writer and truth of one tenant's configuration.
#[wasm_bindgen]
pub struct TenantObject {
    tables: Tables,
    env: JsValue,
}

#[wasm_bindgen]
impl TenantObject {
    /// Made by the platform when it is first asked, and again after it was put to rest.
    #[wasm_bindgen(constructor)]
    pub fn new(state: JsValue, env: JsValue) -> Result<Self, JsValue> {
        Ok(Self { tables: Tables::new(state, SCHEMA)?, env })
    }

    /// Answers one message.
    pub async fn fetch(&self, request: JsValue) -> Result<JsValue, JsValue> {
        Ok(reply(self.answer(received(&request).await?)?))
    }

    /// Publishes, and looks for orphaned secrets.
    pub async fn alarm(&self) -> Result<JsValue, JsValue> {
        let mut publication = self.publication()?;
        if publication.rings(now_ms()) && self.sweep()? > 0 {
            publication.changed();
        }
        let begun = publication.begin(now_ms());
        self.remember(&publication)?;
        if begun {
            let sequence = publication.sequence;
            let good = self.publish(sequence).await;
            // What changed while we waited is in the tables, not in our copy of them.
            publication = self.publication()?;
            publication.end(now_ms(), sequence, good);
        }
        self.schedule(publication)?;
        Ok(JsValue::UNDEFINED)
    }
}

impl TenantObject {
    fn answer(&self, mut fields: Fields) -> Result<Option<Message>, JsValue> {
        let Some(verb) = fields.verb() else { return Ok(None) };
        match verb {
            Verb::Load => self.load(&mut fields),
            Verb::Keys => Ok(Some(answer_pairs(&self.tables.pairs(KEYS)?))),
            Verb::Secrets => Ok(Some(answer_pairs(&self.tables.pairs(SECRETS)?))),
            Verb::Secret => self.secret(&mut fields),
            Verb::Swap | Verb::PutKey | Verb::DeleteKey | Verb::PutSecret | Verb::DeleteSecret => {
                let Some(tenant) = fields.text() else { return Ok(None) };
                self.write(verb, &tenant, &mut fields)
            }
            Verb::Name
            | Verb::SwapName
            | Verb::Names
            | Verb::Ping
            | Verb::WriteUsage
            | Verb::ScanUsage
            | Verb::Mark
            | Verb::MoveMark
            | Verb::AskBuckets
            | Verb::Digest
            | Verb::SwapDigest => Ok(None),
        }
    }

    fn load(&self, fields: &mut Fields) -> Result<Option<Message>, JsValue> {
        let (Some(key), Some(known)) = (fields.next(), fields.number()) else { return Ok(None) };
        let record = match &key {
            Some(hash) => self.record("SELECT record FROM keys WHERE hash = ?", Column::Blob(hash))?,
            None => None,
        };
        let version = self.version()?;
        let unchanged = version.is_some() && version == known;
        let head = if unchanged { None } else { self.head()? };
        Ok(Some(
            Message::default()
                .flag(unchanged)
                .number(version)
                .bytes(head.as_ref().map(|head| head.bytes.as_ref()))
                .bytes(record.as_deref()),
        ))
    }

    fn secret(&self, fields: &mut Fields) -> Result<Option<Message>, JsValue> {
        let Some(id) = fields.text() else { return Ok(None) };
        let record = self.record("SELECT record FROM secrets WHERE id = ?", Column::Text(&id))?;
        Ok(Some(Message::default().bytes(record.as_deref())))
    }

    fn write(&self, verb: Verb, tenant: &str, fields: &mut Fields) -> Result<Option<Message>, JsValue> {
        let mut publication = self.publication()?;
        let before = publication.sequence;
        let answer = match verb {
            Verb::Swap => {
                let (Some(expected), Some(version), Some(head), Some(again)) =
                    (fields.number(), fields.number(), fields.next(), fields.flag())
                else {
                    return Ok(None);
                };
                let head = version.zip(head).map(|(version, bytes)| HeadRecord { version, bytes });
                let done = self.swap(expected, head.as_ref(), again)?;
                if done {
                    publication.changed();
                }
                Message::default().flag(done)
            }
            Verb::PutKey => {
                let (Some(hash), Some(record)) = (fields.bytes(), fields.bytes()) else { return Ok(None) };
                self.tables.query(PUT_KEY, &[Column::Blob(&hash), Column::Blob(&record)])?;
                publication.changed();
                Message::default()
            }
            Verb::DeleteKey => {
                let Some(hash) = fields.bytes() else { return Ok(None) };
                let existed = !self.tables.query(DELETE_KEY, &[Column::Blob(&hash)])?.is_empty();
                if existed {
                    publication.changed();
                }
                Message::default().flag(existed)
            }
            Verb::PutSecret => {
                let (Some(id), Some(record)) = (fields.text(), fields.bytes()) else { return Ok(None) };
                self.tables.query(PUT_SECRET, &[Column::Text(&id), Column::Blob(&record)])?;
                publication.secret_written(now_ms());
                Message::default()
            }
            _ => {
                let Some(id) = fields.text() else { return Ok(None) };
                if !self.tables.query(DELETE_SECRET, &[Column::Text(&id)])?.is_empty() {
                    publication.changed();
                }
                Message::default()
            }
        };
        if publication.sequence != before {
            self.tables.query("UPDATE publication SET tenant = ?", &[Column::Text(tenant)])?;
            self.schedule(publication)?;
        }
        Ok(Some(answer))
    }

    fn swap(&self, expected: Option<u64>, head: Option<&HeadRecord>, again: bool) -> Result<bool, JsValue> {
        let current = self.version()?;
        if again && self.head()?.as_ref() == head {
            return Ok(true);
        }
        if current != expected {
            return Ok(false);
        }
        match head {
            Some(head) => self.tables.query(PUT_HEAD, &[Column::Number(head.version), Column::Blob(&head.bytes)])?,
            None => self.tables.query("DELETE FROM head", &[])?,
        };
        Ok(true)
    }

    fn version(&self) -> Result<Option<u64>, JsValue> {
        Ok(self.tables.query("SELECT version FROM head", &[])?.first().map(|row| row.number(0)))
    }

    fn head(&self) -> Result<Option<HeadRecord>, JsValue> {
        let rows = self.tables.query("SELECT version, bytes FROM head", &[])?;
        Ok(rows.first().map(|row| HeadRecord { version: row.number(0), bytes: row.bytes(1) }))
    }

    fn record(&self, statement: &str, of: Column<'_>) -> Result<Option<Bytes>, JsValue> {
        Ok(self.tables.query(statement, &[of])?.first().map(|row| row.bytes(0)))
    }

    fn sweep(&self) -> Result<usize, JsValue> {
        let secrets: Vec<_> = self
            .tables
            .pairs(SECRETS)?
            .into_iter()
            .filter_map(|(id, record)| Some((String::from_utf8(id.into()).ok()?, record)))
            .collect();
        let head = self.head()?;
        let orphans =
            gateway_core::sweep::sealed_orphans(head.as_ref().map(|head| head.bytes.as_ref()), &secrets, now_ms());
        for id in &orphans {
            self.tables.query(DELETE_SECRET, &[Column::Text(id)])?;
        }
        if !orphans.is_empty() {
            let count = orphans.len();
            isolate::log(
                Level::Warn,
                &format!(r#"{{"level":"warn","message":"orphaned secrets removed","count":{count}}}"#),
            );
        }
        Ok(orphans.len())
    }

    /// Writes the state to KV; whether that was done.
    async fn publish(&self, sequence: u64) -> bool {
        match self.try_publish(sequence).await {
            Ok(()) => true,
            Err(_) => {
                isolate::log(Level::Warn, r#"{"level":"warn","message":"copy not published, will be tried again"}"#);
                false
            }
        }
    }

    async fn try_publish(&self, sequence: u64) -> Result<(), JsValue> {
        let rows = self.tables.query("SELECT tenant FROM publication", &[])?;
        let tenant = rows.first().map(|row| row.bytes(0)).and_then(|name| String::from_utf8(name.into()).ok());
        let Some(tenant) = tenant else { return Ok(()) };
        let copy =
            Copy { sequence, head: self.head()?, keys: self.tables.pairs(KEYS)?, secrets: self.tables.pairs(SECRETS)? };
        let bytes = copy.encode();
        if bytes.len() > Copy::MOST_BYTES {
            isolate::log(Level::Error, r#"{"level":"error","message":"tenant too large for a published copy"}"#);
            return Ok(());
        }
        let seconds = if copy.is_tombstone() { TOMBSTONE_SECONDS } else { 0 };
        JsFuture::from(host::publish(&self.env, &Copy::name(&tenant), &bytes, seconds)).await.map(drop)
    }

    fn publication(&self) -> Result<Publication, JsValue> {
        let rows = self.tables.query(PUBLICATION, &[])?;
        let Some(row) = rows.first() else {
            self.tables.query("INSERT INTO publication (one) VALUES (1)", &[])?;
            return Ok(Publication::default());
        };
        Ok(Publication {
            sequence: row.number(0),
            published: row.number(1),
            published_at: row.number(2),
            writing: row.number(3) == 1,
            failures: row.number(4),
            again_at: row.number(5),
            sweep_at: row.number(6),
            alarm_at: row.number(7),
        })
    }

    fn remember(&self, publication: &Publication) -> Result<(), JsValue> {
        let numbers = [
            publication.sequence,
            publication.published,
            publication.published_at,
            u64::from(publication.writing),
            publication.failures,
            publication.again_at,
            publication.sweep_at,
            publication.alarm_at,
        ];
        self.tables.query(REMEMBER, &numbers.map(Column::Number)).map(drop)
    }

    fn schedule(&self, mut publication: Publication) -> Result<(), JsValue> {
        if let Some(time) = publication.alarm(now_ms()) {
            self.tables.ring_at(time);
        }
        self.remember(&publication)
    }
}

/// Milliseconds since the epoch.
fn now_ms() -> u64 {
    host::now() as u64
}

/// How long KV says of a deleted tenant that it is no more.
const TOMBSTONE_SECONDS: u32 = 7 * 24 * 3600;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS head (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL, bytes BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS keys (hash BLOB PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS secrets (id TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS publication (
  one INTEGER PRIMARY KEY CHECK (one = 1), tenant TEXT,
  sequence INTEGER NOT NULL DEFAULT 0, published INTEGER NOT NULL DEFAULT 0, published_at INTEGER NOT NULL DEFAULT 0,
  writing INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0, again_at INTEGER NOT NULL DEFAULT 0,
  sweep_at INTEGER NOT NULL DEFAULT 0, alarm_at INTEGER NOT NULL DEFAULT 0
);";
const KEYS: &str = "SELECT hash, record FROM keys ORDER BY hash";
const SECRETS: &str = "SELECT id, record FROM secrets ORDER BY id";
const PUT_HEAD: &str = "INSERT INTO head (one, version, bytes) VALUES (1, ?, ?)
  ON CONFLICT (one) DO UPDATE SET version = excluded.version, bytes = excluded.bytes";
const PUT_KEY: &str =
    "INSERT INTO keys (hash, record) VALUES (?, ?) ON CONFLICT (hash) DO UPDATE SET record = excluded.record";
const DELETE_KEY: &str = "DELETE FROM keys WHERE hash = ? RETURNING 1";
const PUT_SECRET: &str =
    "INSERT INTO secrets (id, record) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record";
const DELETE_SECRET: &str = "DELETE FROM secrets WHERE id = ? RETURNING 1";
const PUBLICATION: &str = "SELECT sequence, published, published_at, writing, failures, again_at, sweep_at, alarm_at
  FROM publication";
const REMEMBER: &str =
    "UPDATE publication SET sequence = ?, published = ?, published_at = ?, writing = ?, failures = ?,
  again_at = ?, sweep_at = ?, alarm_at = ?";
