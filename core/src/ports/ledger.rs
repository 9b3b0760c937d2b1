//! The port of the usage ledger: ordered text keys and bytes, in books of a tenant. What stands in them is made and read in
//! core (`account/ledger`).

use std::fmt;

use bytes::Bytes;

use super::PortError;
use crate::model::TenantId;

/// One of the books that a tenant's usage is spread over, so that no partition or object takes all writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Book {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its number, below [`crate::limits::BOOKS`].
    pub number: u8,
}

/// What an entry of a book is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The row of one attempt; never changed.
    Row,
    /// Sums of a minute.
    Minute,
    /// Sums of an hour.
    Hour,
    /// Sums of a day.
    Day,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Row, Self::Minute, Self::Hour, Self::Day];

    const fn letter(self) -> char {
        match self {
            Self::Row => 'r',
            Self::Minute => 'm',
            Self::Hour => 'h',
            Self::Day => 'd',
        }
    }
}

/// Where an entry stands. Written as text ([`fmt::Display`]) places of one kind sort by time, then by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// What it is.
    pub kind: Kind,
    /// When it ended (rows) or begins (sums), in milliseconds since the epoch.
    pub time_ms: u64,
    /// Tells entries of one time apart: ASCII letters, digits and dots, at most 64.
    pub name: String,
}

impl Place {
    /// Before everything of that time.
    pub const fn start(kind: Kind, time_ms: u64) -> Self {
        Self { kind, time_ms, name: String::new() }
    }

    /// From its text.
    pub fn parse(text: &str) -> Option<Self> {
        let kind = Kind::ALL.into_iter().find(|kind| text.starts_with(kind.letter()))?;
        let (time, name) = (text.get(1..15)?, text.get(15..)?.strip_prefix('#')?);
        let digits = time.bytes().all(|byte| byte.is_ascii_digit());
        Some(Self { kind, time_ms: time.parse().ok().filter(|_| digits)?, name: name.to_owned() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:014}#{}", self.kind.letter(), self.time_ms, self.name)
    }
}

/// An entry of a book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub place: Place,
    /// From when on it may be removed, in milliseconds since the epoch.
    pub ends_ms: u64,
    /// What it says.
    pub record: Bytes,
}

/// The usage ledger. Linearizable per entry, like the store; `tests/ports` is the contract.
pub trait Ledger {
    /// Writes entries. A row that is there already stays as it is; sums replace what was there. When it fails, some may
    /// have been written.
    async fn write(&self, book: Book, entries: &[Entry]) -> Result<(), PortError>;
    /// Entries of the kind of `after`, after it and before the time `to_ms`, in the order of their places, at most `most`.
    /// It may be fewer, so the caller goes on after the last one; none means that there are no more.
    async fn scan(&self, book: Book, after: &Place, to_ms: u64, most: usize) -> Result<Vec<(Place, Bytes)>, PortError>;
    /// Up to when rows are rolled up into sums, in milliseconds since the epoch; `None` if never.
    async fn mark(&self, book: Book) -> Result<Option<u64>, PortError>;
    /// Moves the mark if it still is `expected`; whether it now is `mark`.
    async fn move_mark(&self, book: Book, expected: Option<u64>, mark: u64) -> Result<bool, PortError>;
    /// Removes entries that have ended, where the store does not do so by itself.
    async fn expire(&self, book: Book, now_ms: u64) -> Result<(), PortError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_sort_as_text_and_come_back() {
        let place = |time_ms, name: &str| Place { kind: Kind::Row, time_ms, name: name.to_owned() };
        let sorted = [place(9, "z"), place(10, ""), place(10, "a.1"), place(10, "a.2"), place(1_760_000_000_000, "a")];
        assert!(sorted.is_sorted() && sorted.iter().map(Place::to_string).is_sorted());
        for place in sorted {
            assert_eq!(Place::parse(&place.to_string()), Some(place));
        }
        for bad in ["", "r", "x00000000000010#a", "r0000000000010#a", "r+0000000000010#a", "r00000000000010a"] {
            assert_eq!(Place::parse(bad), None, "{bad}");
        }
    }
}
