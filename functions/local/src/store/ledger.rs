//! The usage ledger in the embedded store.

use bytes::{BufMut, Bytes, BytesMut};
use gateway_core::ports::{Book, Entry, Kind, Ledger, Place, PortError};
use redb::ReadableTable;

use super::{Change, MARKS, RedbStore, USAGE};

impl Ledger for RedbStore {
    async fn write(&self, book: Book, entries: &[Entry]) -> Result<(), PortError> {
        let entries = entries.to_vec();
        self.write("ledger.write", move |transaction| {
            let mut usage = transaction.open_table(USAGE)?;
            for entry in entries {
                let at = under(book, &entry.place.to_string());
                let mut stored = BytesMut::with_capacity(8 + entry.record.len());
                stored.put_u64(entry.ends_ms);
                stored.put_slice(&entry.record);
                let before = usage.insert(at.as_str(), stored.as_ref())?.map(|before| before.value().to_vec());
                // A row stays as it was first written, which is seldom written again: looking first would cost every row.
                if let (Kind::Row, Some(before)) = (entry.place.kind, before) {
                    usage.insert(at.as_str(), before.as_slice())?;
                }
            }
            Ok(Change::Made(()))
        })
        .await
    }

    async fn scan(&self, book: Book, after: &Place, to_ms: u64, most: usize) -> Result<Vec<(Place, Bytes)>, PortError> {
        let from = under(book, &after.to_string());
        let to = under(book, &Place::start(after.kind, to_ms).to_string());
        self.read("ledger.scan", move |snapshot| {
            let mut found = Vec::new();
            if from >= to {
                return Ok(found);
            }
            let usage = snapshot.open_table(USAGE)?;
            for entry in usage.range(from.as_str()..to.as_str())? {
                let (at, stored) = entry?;
                if at.value() == from {
                    continue;
                }
                if found.len() == most {
                    break;
                }
                let place = at.value().rsplit_once('/').and_then(|(_, place)| Place::parse(place));
                let (Some(place), Some((_, record))) = (place, stored.value().split_first_chunk::<8>()) else {
                    return Err(redb::Error::Corrupted("entry of usage".to_owned()));
                };
                found.push((place, Bytes::copy_from_slice(record)));
            }
            Ok(found)
        })
        .await
    }

    async fn mark(&self, book: Book) -> Result<Option<u64>, PortError> {
        let at = of(book);
        self.read("ledger.mark", move |snapshot| {
            let marks = snapshot.open_table(MARKS)?;
            Ok(match marks.get(at.as_str())? {
                Some(stored) => Some(number(stored.value())?),
                None => None,
            })
        })
        .await
    }

    async fn move_mark(&self, book: Book, expected: Option<u64>, mark: u64) -> Result<bool, PortError> {
        let at = of(book);
        self.write("ledger.move_mark", move |transaction| {
            let mut marks = transaction.open_table(MARKS)?;
            let found = match marks.get(at.as_str())? {
                Some(stored) => Some(number(stored.value())?),
                None => None,
            };
            if found != expected {
                return Ok(Change::None(false));
            }
            marks.insert(at.as_str(), mark.to_be_bytes().as_slice())?;
            Ok(Change::Made(true))
        })
        .await
    }

    async fn expire(&self, book: Book, now_ms: u64) -> Result<(), PortError> {
        let ended = self
            .read("ledger.expire", move |snapshot| {
                let usage = snapshot.open_table(USAGE)?;
                let mut ended = Vec::new();
                for kind in Kind::ALL {
                    let (from, to) = (Place::start(kind, 0), Place::start(kind, LAST_MS));
                    let (from, to) = (under(book, &from.to_string()), under(book, &to.to_string()));
                    // The oldest end first.
                    for entry in usage.range(from.as_str()..to.as_str())?.take(EXPIRED_AT_ONCE) {
                        let (at, stored) = entry?;
                        if number(stored.value())? > now_ms {
                            break;
                        }
                        ended.push(at.value().to_owned());
                    }
                }
                Ok(ended)
            })
            .await?;
        if ended.is_empty() {
            return Ok(());
        }
        self.write("ledger.expire", move |transaction| {
            let mut usage = transaction.open_table(USAGE)?;
            for at in ended {
                usage.remove(at.as_str())?;
            }
            Ok(Change::Made(()))
        })
        .await
    }
}

fn of(book: Book) -> String {
    format!("{}/{}", book.tenant, book.number)
}

fn under(book: Book, place: &str) -> String {
    format!("{}/{}/{place}", book.tenant, book.number)
}

fn number(stored: &[u8]) -> Result<u64, redb::Error> {
    let bytes = stored.first_chunk().ok_or_else(|| redb::Error::Corrupted("number of usage".to_owned()))?;
    Ok(u64::from_be_bytes(*bytes))
}

/// The last time that a place can have.
const LAST_MS: u64 = 99_999_999_999_999;
const EXPIRED_AT_ONCE: usize = 5_000;
