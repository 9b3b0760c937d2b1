//! A ledger in memory, with a switch that makes it fail and one that cuts it off.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::ports::{Book, Entry, Fault, Kind, Ledger, Place, PortError};

/// A [`Ledger`] that forgets everything when dropped.
#[derive(Default)]
pub struct MemoryLedger {
    books: Mutex<BTreeMap<Book, Pages>>,
    down: AtomicBool,
    /// Writes and moves that still work, plus one; 0: all do.
    left: AtomicI64,
    writes: AtomicU64,
}

#[derive(Default)]
struct Pages {
    entries: BTreeMap<Place, (u64, Bytes)>,
    mark: Option<u64>,
}

impl MemoryLedger {
    /// Makes every call fail, or work again.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// After so many changes every further one fails; `None`: no more.
    pub fn fail_after(&self, changes: Option<u32>) {
        self.left.store(changes.map_or(0, |changes| i64::from(changes) + 1), Ordering::SeqCst);
    }

    /// How often something was written so far.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// All rows of all books, oldest first.
    pub fn rows(&self) -> Vec<serde_json::Value> {
        let mut rows: Vec<_> = self.records(Kind::Row);
        rows.sort_by_key(|(place, _)| place.clone());
        rows.into_iter().filter_map(|(_, record)| serde_json::from_slice(&record).ok()).collect()
    }

    /// All entries of a kind.
    pub fn records(&self, kind: Kind) -> Vec<(Place, Bytes)> {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = books.values().flat_map(|pages| pages.entries.iter());
        entries
            .filter(|(place, _)| place.kind == kind)
            .map(|(place, (_, record))| (place.clone(), record.clone()))
            .collect()
    }

    /// The books that have entries.
    pub fn books(&self) -> Vec<Book> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    fn open(&self, operation: &'static str) -> Result<MutexGuard<'_, BTreeMap<Book, Pages>>, PortError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(PortError::new(operation, Fault::Unavailable, "down"));
        }
        Ok(self.books.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, operation: &'static str) -> Result<MutexGuard<'_, BTreeMap<Book, Pages>>, PortError> {
        let left = self.left.load(Ordering::SeqCst);
        if left == 1 {
            return Err(PortError::new(operation, Fault::Unavailable, "cut"));
        }
        self.left.store((left - 1).max(0), Ordering::SeqCst);
        self.open(operation)
    }
}

impl Ledger for MemoryLedger {
    async fn write(&self, book: Book, entries: &[Entry]) -> Result<(), PortError> {
        let mut books = self.change("ledger.write")?;
        self.writes.fetch_add(1, Ordering::SeqCst);
        let pages = books.entry(book).or_default();
        for entry in entries {
            let value = (entry.ends_ms, entry.record.clone());
            if entry.place.kind == Kind::Row {
                pages.entries.entry(entry.place.clone()).or_insert(value);
            } else {
                pages.entries.insert(entry.place.clone(), value);
            }
        }
        Ok(())
    }

    async fn scan(&self, book: Book, after: &Place, to_ms: u64, most: usize) -> Result<Vec<(Place, Bytes)>, PortError> {
        let books = self.open("ledger.scan")?;
        let Some(pages) = books.get(&book) else { return Ok(Vec::new()) };
        let found = pages.entries.range(after..&Place::start(after.kind, to_ms.max(after.time_ms)));
        let found = found.filter(|(place, _)| *place != after).take(most.min(PAGE));
        Ok(found.map(|(place, (_, record))| (place.clone(), record.clone())).collect())
    }

    async fn mark(&self, book: Book) -> Result<Option<u64>, PortError> {
        Ok(self.open("ledger.mark")?.get(&book).and_then(|pages| pages.mark))
    }

    async fn move_mark(&self, book: Book, expected: Option<u64>, mark: u64) -> Result<bool, PortError> {
        let mut books = self.change("ledger.move_mark")?;
        let pages = books.entry(book).or_default();
        if pages.mark != expected {
            return Ok(false);
        }
        pages.mark = Some(mark);
        Ok(true)
    }

    async fn expire(&self, book: Book, now_ms: u64) -> Result<(), PortError> {
        if let Some(pages) = self.change("ledger.expire")?.get_mut(&book) {
            pages.entries.retain(|_, (ends_ms, _)| *ends_ms > now_ms);
        }
        Ok(())
    }
}

/// Small, so that tests go over pages.
const PAGE: usize = 7;
