//! Rows of the ledger that are not written yet. They stay here until their write is confirmed, whoever writes them: who
//! takes rows has them for a while only, so that rows of a writer that is never heard of again are written by the next one.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::account::{Filed, Row};
use crate::limits;
use crate::ports::{Book, Entry};

/// The rows of one isolate or process.
#[derive(Default)]
pub(crate) struct Backlog {
    rows: Mutex<Rows>,
    book: OnceLock<u8>,
}

#[derive(Default)]
struct Rows {
    /// By the order in which they came.
    rows: BTreeMap<u64, Waiting>,
    next: u64,
}

struct Waiting {
    filed: Filed,
    /// Until when a writer has it, in milliseconds since the epoch; 0: nobody has.
    taken_until_ms: u64,
    /// It is in the log, too.
    told: bool,
}

/// Rows of one book that are written in one call.
pub(super) struct Batch {
    pub book: Book,
    pub numbers: Vec<u64>,
    pub entries: Vec<Entry>,
}

/// How it stands with some rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// All are written.
    Written,
    /// Nobody writes at least one of them.
    Free,
    /// A writer has those that are left.
    Taken,
}

impl Backlog {
    /// The number of the book that this isolate writes in, whosever the rows are: so that few calls write many rows, while
    /// all isolates together use all books.
    pub(super) fn book(&self, row: &Row) -> u8 {
        *self.book.get_or_init(|| row.first_book())
    }

    /// Keeps rows; their numbers, and those that there is no room for.
    pub(super) fn put(&self, filed: Vec<Filed>) -> (Vec<u64>, Vec<Filed>) {
        let mut kept = self.lock();
        let room = limits::BACKLOG_ROWS.saturating_sub(kept.rows.len());
        let mut numbers = Vec::with_capacity(filed.len());
        let mut lost = Vec::new();
        for filed in filed {
            if numbers.len() == room {
                lost.push(filed);
                continue;
            }
            numbers.push(kept.next);
            let next = kept.next;
            kept.rows.insert(next, Waiting { filed, taken_until_ms: 0, told: false });
            kept.next += 1;
        }
        (numbers, lost)
    }

    /// How it stands with rows.
    pub(super) fn standing(&self, numbers: &[u64], now_ms: u64) -> Standing {
        let kept = self.lock();
        let mut left = numbers.iter().filter_map(|number| kept.rows.get(number)).peekable();
        if left.peek().is_none() {
            return Standing::Written;
        }
        if left.any(|row| row.taken_until_ms <= now_ms) { Standing::Free } else { Standing::Taken }
    }

    /// All rows that nobody has, in batches; the taker has them for [`limits::ROWS_TAKEN_MS`].
    pub(super) fn take(&self, now_ms: u64) -> Vec<Batch> {
        let mut batches: Vec<Batch> = Vec::new();
        for (number, row) in self.lock().rows.iter_mut().filter(|(_, row)| row.taken_until_ms <= now_ms) {
            row.taken_until_ms = now_ms.saturating_add(limits::ROWS_TAKEN_MS);
            let Filed { book, entry } = row.filed.clone();
            let room = |batch: &&mut Batch| batch.book == book && batch.entries.len() < limits::LEDGER_WRITE_ROWS;
            match batches.iter_mut().rev().find(room) {
                Some(batch) => {
                    batch.numbers.push(*number);
                    batch.entries.push(entry);
                }
                None => batches.push(Batch { book, numbers: vec![*number], entries: vec![entry] }),
            }
        }
        batches
    }

    /// Whoever took them has them for longer.
    pub(super) fn keep(&self, batches: &[Batch], now_ms: u64) {
        self.set(batches, now_ms.saturating_add(limits::ROWS_TAKEN_MS));
    }

    /// Whoever took them has them no longer.
    pub(super) fn release(&self, batches: &[Batch]) {
        self.set(batches, 0);
    }

    fn set(&self, batches: &[Batch], taken_until_ms: u64) {
        let mut kept = self.lock();
        for number in batches.iter().flat_map(|batch| &batch.numbers) {
            if let Some(row) = kept.rows.get_mut(number) {
                row.taken_until_ms = taken_until_ms;
            }
        }
    }

    /// They are written, or given up.
    pub(super) fn remove(&self, numbers: &[u64]) {
        let mut kept = self.lock();
        for number in numbers {
            kept.rows.remove(number);
        }
    }

    /// The entries that were not told yet; now they are.
    pub(super) fn tell(&self, mut tell: impl FnMut(&Entry)) {
        for row in self.lock().rows.values_mut().filter(|row| !row.told) {
            row.told = true;
            tell(&row.filed.entry);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().rows.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
