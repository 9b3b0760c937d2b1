//! Reading usage: sums as far as rows are rolled up, rows from there on. So what was used is seen within seconds.

use std::collections::BTreeMap;

use super::roll::{self, DAY_MS, HOUR_MS, MINUTE_MS, sums};
use super::tally::{Dimension, Tally};
use crate::limits;
use crate::model::TenantId;
use crate::ports::{Book, Kind, Ledger, PortError};

/// How wide buckets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    Minute,
    Hour,
    Day,
}

impl Width {
    /// In milliseconds.
    pub(crate) const fn ms(self) -> u64 {
        match self {
            Self::Minute => MINUTE_MS,
            Self::Hour => HOUR_MS,
            Self::Day => DAY_MS,
        }
    }
}

/// Which usage is asked for.
#[derive(Debug)]
pub(crate) struct Question {
    /// From when on, a whole bucket, in milliseconds since the epoch.
    pub from: u64,
    /// Up to when, a whole bucket.
    pub to: u64,
    /// How wide buckets are.
    pub width: Width,
    /// What is kept apart.
    pub group_by: Vec<Dimension>,
    /// Only these values of a dimension.
    pub only: Vec<(Dimension, Vec<String>)>,
}

/// The usage of a tenant by the beginnings of buckets; those without any are not in it.
pub(crate) async fn usage<L: Ledger>(
    ledger: &L,
    tenant: TenantId,
    question: &Question,
) -> Result<BTreeMap<u64, Tally>, PortError> {
    let mut buckets = BTreeMap::new();
    for number in 0..limits::BOOKS {
        of_book(ledger, Book { tenant, number }, question, &mut buckets).await?;
    }
    Ok(buckets)
}

async fn of_book<L: Ledger>(
    ledger: &L,
    book: Book,
    question: &Question,
    buckets: &mut BTreeMap<u64, Tally>,
) -> Result<(), PortError> {
    let Question { from, to, width, group_by, only } = question;
    // The mark comes first: what it says of the past stays true while it moves on.
    let mark = roll::time_of(ledger.mark(book).await?.unwrap_or(0));
    let (hour, day) = (mark - mark % HOUR_MS, mark - mark % DAY_MS);
    let rows = (Kind::Row, u64::MAX);
    let parts: &[(Kind, u64)] = match width {
        Width::Minute => &[(Kind::Minute, mark), rows],
        Width::Hour => &[(Kind::Hour, hour), (Kind::Minute, mark), rows],
        Width::Day => &[(Kind::Day, day), (Kind::Hour, hour), (Kind::Minute, mark), rows],
    };
    let mut at = *from;
    for (kind, until) in parts {
        let end = (*until).min(*to);
        if end <= at {
            continue;
        }
        for (start, tally) in sums(ledger, book, *kind, at, end, width.ms()).await? {
            buckets.entry(start).or_default().add_grouped(&tally, group_by, only);
        }
        at = end;
    }
    Ok(())
}
