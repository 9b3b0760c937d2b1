//! One object per book of the usage ledger: its entries and its mark. Its alarm rolls up and removes what has ended; what
//! that means is core's.

use std::sync::LazyLock;

use bytes::Bytes;
use gateway_core::model::TenantId;
use gateway_core::ports::{Book, Entry, Fault, Kind, Ledger, Level, Place, PortError};
use gateway_core::{limits, roll_up};
use wasm_bindgen::prelude::*;

use super::{Column, Row, Tables, answer_pairs, received, reply};
use crate::wire::{Fields, Message, Verb};
use crate::{host, isolate};

/// The writer and truth of one book.
#[wasm_bindgen]
pub struct UsageObject {
    tables: Tables,
}

#[wasm_bindgen]
impl UsageObject {
    /// Made by the platform when it is first asked, and again after it was put to rest.
    #[wasm_bindgen(constructor)]
    pub fn new(state: JsValue, _env: JsValue) -> Result<Self, JsValue> {
        Ok(Self { tables: Tables::new(state, SCHEMA)? })
    }

    /// Answers one message.
    pub async fn fetch(&self, request: JsValue) -> Result<JsValue, JsValue> {
        Ok(reply(self.answer(received(&request).await?)?))
    }

    /// Rolls up.
    pub async fn alarm(&self) -> Result<JsValue, JsValue> {
        let now = host::now() as u64;
        // Nothing in it waits, so it is one turn of the object.
        let next = match roll_up(&self.tables, SELF, now).await {
            Ok(next) => next,
            Err(error) => {
                let line = format!(r#"{{"level":"error","event":"roll_up","cause":"{error}"}}"#);
                isolate::log(Level::Error, &line);
                Some(now + limits::ROLL_MS)
            }
        };
        self.ring_at(next.unwrap_or(0))?;
        Ok(JsValue::UNDEFINED)
    }
}

impl UsageObject {
    fn answer(&self, mut fields: Fields) -> Result<Option<Message>, JsValue> {
        Ok(match fields.verb() {
            Some(Verb::WriteUsage) => {
                let mut entries = Vec::new();
                while !fields.is_empty() {
                    let (Some(place), Some(Some(ends)), Some(record)) =
                        (fields.text(), fields.number(), fields.bytes())
                    else {
                        return Ok(None);
                    };
                    entries.push((place, ends, record));
                }
                self.tables.enter_all(&entries)?;
                self.wake()?;
                Some(Message::default())
            }
            Some(Verb::ScanUsage) => {
                let (Some(after), Some(to), Some(Some(most))) = (fields.text(), fields.text(), fields.number()) else {
                    return Ok(None);
                };
                let rows = self.tables.between(&after, &to, most)?;
                Some(answer_pairs(&rows.iter().map(|row| (row.bytes(0), row.bytes(1))).collect::<Vec<_>>()))
            }
            Some(Verb::Mark) => Some(Message::default().number(self.tables.at()?)),
            Some(Verb::MoveMark) => {
                let (Some(expected), Some(Some(mark)), Some(again)) = (fields.number(), fields.number(), fields.flag())
                else {
                    return Ok(None);
                };
                let done = (again && self.tables.at()? == Some(mark)) || self.tables.replace_mark(expected, mark)?;
                self.wake()?;
                Some(Message::default().flag(done))
            }
            Some(_) | None => None,
        })
    }

    /// New rows are rolled up some time later, whatever the alarm was set to.
    fn wake(&self) -> Result<(), JsValue> {
        let now = host::now() as u64;
        let rows = self.tables.query("SELECT alarm FROM book", &[])?;
        let alarm = rows.first().map_or(0, |row| row.number(0));
        let soon = alarm > 0 && alarm <= now + limits::ROLL_MS && alarm + LOST_MS > now;
        if soon { Ok(()) } else { self.ring_at(now + limits::ROLL_MS) }
    }

    fn ring_at(&self, time: u64) -> Result<(), JsValue> {
        self.tables.query("UPDATE book SET alarm = ?", &[Column::Number(time)])?;
        if time > 0 {
            self.tables.ring_at(time);
        }
        Ok(())
    }
}

impl Tables {
    /// Enters what one call brings. A statement costs far more than a row, so one of them adds many.
    fn enter_all(&self, entries: &[Columns]) -> Result<(), JsValue> {
        let (rows, others): (Vec<_>, Vec<_>) = entries.iter().partition(|(place, ..)| is_row(place));
        for entry in others {
            self.query(PUT, &columns(entry))?;
        }
        let mut rows = rows.as_slice();
        for (count, statement) in ADDS.iter() {
            while let Some((now, rest)) = rows.split_at_checked(*count) {
                let bound: Vec<_> = now.iter().flat_map(|entry| columns(entry)).collect();
                self.query(statement, &bound)?;
                rows = rest;
            }
        }
        Ok(())
    }

    fn between(&self, after: &str, to: &str, most: u64) -> Result<Vec<Row>, JsValue> {
        self.query(SCAN, &[Column::Text(after), Column::Text(to), Column::Number(most)])
    }

    fn at(&self) -> Result<Option<u64>, JsValue> {
        let rows = self.query("SELECT mark FROM book WHERE mark IS NOT NULL", &[])?;
        Ok(rows.first().map(|row| row.number(0)))
    }

    fn replace_mark(&self, expected: Option<u64>, mark: u64) -> Result<bool, JsValue> {
        let same = self.at()? == expected;
        if same {
            self.query("UPDATE book SET mark = ?", &[Column::Number(mark)])?;
        }
        Ok(same)
    }
}

/// An entry's columns: place, end, record.
type Columns = (String, u64, Bytes);

fn columns((place, ends, record): &Columns) -> [Column<'_>; 3] {
    [Column::Text(place), Column::Number(*ends), Column::Blob(record)]
}

/// Only rows are never changed; sums are made anew.
fn is_row(place: &str) -> bool {
    Place::parse(place).is_some_and(|place| place.kind == Kind::Row)
}

/// The book as its own object sees it: every answer is there at once.
impl Ledger for Tables {
    async fn write(&self, _: Book, entries: &[Entry]) -> Result<(), PortError> {
        let entries: Vec<_> =
            entries.iter().map(|entry| (entry.place.to_string(), entry.ends_ms, entry.record.clone())).collect();
        self.enter_all(&entries).map_err(|_| broken("ledger.write"))
    }

    async fn scan(&self, _: Book, after: &Place, to_ms: u64, most: usize) -> Result<Vec<(Place, Bytes)>, PortError> {
        const NAME: &str = "ledger.scan";
        let to = Place::start(after.kind, to_ms).to_string();
        let rows = self.between(&after.to_string(), &to, most as u64).map_err(|_| broken(NAME))?;
        let parsed = rows.iter().map(|row| {
            let place = row.bytes(0);
            Some((Place::parse(std::str::from_utf8(&place).ok()?)?, row.bytes(1)))
        });
        parsed.collect::<Option<_>>().ok_or_else(|| PortError::new(NAME, Fault::Corrupt, "place"))
    }

    async fn mark(&self, _: Book) -> Result<Option<u64>, PortError> {
        self.at().map_err(|_| broken("ledger.mark"))
    }

    async fn move_mark(&self, _: Book, expected: Option<u64>, mark: u64) -> Result<bool, PortError> {
        self.replace_mark(expected, mark).map_err(|_| broken("ledger.move_mark"))
    }

    async fn expire(&self, _: Book, now_ms: u64) -> Result<(), PortError> {
        self.query(EXPIRE, &[Column::Number(now_ms)]).map(drop).map_err(|_| broken("ledger.expire"))
    }
}

fn broken(operation: &'static str) -> PortError {
    PortError::new(operation, Fault::Unavailable, "sql")
}

/// An object knows one book only: its own.
const SELF: Book = Book { tenant: TenantId::NIL, number: 0 };
/// An alarm this late has been given up by the platform.
const LOST_MS: u64 = 60_000;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS entries (place TEXT PRIMARY KEY, ends INTEGER NOT NULL, record BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ends ON entries (ends);
CREATE TABLE IF NOT EXISTS book (one INTEGER PRIMARY KEY CHECK (one = 1), mark INTEGER, alarm INTEGER NOT NULL DEFAULT 0);
INSERT INTO book (one) VALUES (1) ON CONFLICT DO NOTHING;";
/// Statements that add so many rows. The platform binds 100 values at most.
static ADDS: LazyLock<[(usize, String); 3]> = LazyLock::new(|| [32, 8, 1].map(|count| (count, add(count))));

fn add(count: usize) -> String {
    let values = vec!["(?, ?, ?)"; count].join(", ");
    format!("INSERT INTO entries (place, ends, record) VALUES {values} ON CONFLICT (place) DO NOTHING")
}

const PUT: &str = "INSERT INTO entries (place, ends, record) VALUES (?, ?, ?)
  ON CONFLICT (place) DO UPDATE SET ends = excluded.ends, record = excluded.record";
const SCAN: &str = "SELECT place, record FROM entries WHERE place > ? AND place < ? ORDER BY place LIMIT ?";
const EXPIRE: &str = "DELETE FROM entries WHERE ends <= ?";
