//! Rolling up: rows into sums of minutes, those into hours, those into days, and the mark that says how far that is done.
//!
//! Order of every step: sums first, then the mark, by compare-and-swap. A run that is cut off leaves sums above the mark,
//! which nobody reads and the next run writes again.

use std::collections::BTreeMap;

use super::Tally;
use crate::limits;
use crate::ports::{Book, Entry, Fault, Kind, Ledger, Place, PortError};

pub(crate) const MINUTE_MS: u64 = 60_000;
pub(crate) const HOUR_MS: u64 = 60 * MINUTE_MS;
pub(crate) const DAY_MS: u64 = 24 * HOUR_MS;

/// The time of a mark: rows before it are in sums.
///
/// What a mark has beyond a whole minute counts its moves by late rows: a run that began before such a move does not move
/// the mark any more.
pub(crate) const fn time_of(mark: u64) -> u64 {
    mark - mark % MINUTE_MS
}

/// The mark after a late row of the time `row_ms`.
pub(crate) fn back(mark: Option<u64>, row_ms: u64) -> u64 {
    let mark = mark.unwrap_or(0);
    time_of(mark).min(time_of(row_ms)) + (mark % MINUTE_MS + 1) % MINUTE_MS
}

/// Rolls up what has settled in a book. When the next run is of use; `None`: not before a row is written.
///
/// # Errors
/// The ledger failed, or holds what cannot be understood. What was done is kept, and the next run goes on from there.
pub async fn roll_up<L: Ledger>(ledger: &L, book: Book, now_ms: u64) -> Result<Option<u64>, PortError> {
    // Before this time no row comes any more, but late ones, which move the mark.
    let settled = time_of(now_ms.saturating_sub(limits::SETTLED_MS));
    let mut mark = ledger.mark(book).await?;
    let mut waiting = None;
    for done in 0..=limits::ROLLED_MINUTES {
        waiting = first(ledger, book, Kind::Row, time_of(mark.unwrap_or(0))).await?.map(time_of);
        let Some(minute) = waiting.filter(|minute| *minute < settled && done < limits::ROLLED_MINUTES) else { break };
        let tally = sums(ledger, book, Kind::Row, minute, minute + MINUTE_MS, MINUTE_MS).await?;
        write(ledger, book, Kind::Minute, &tally, now_ms).await?;
        mark = advance(ledger, book, mark, (minute, minute + MINUTE_MS), now_ms).await?;
        if mark.is_none() {
            // Another run, or a late row, was faster.
            return Ok(Some(now_ms + limits::ROLL_MS));
        }
    }
    if let Some(minute) = waiting.filter(|minute| *minute < settled) {
        return Ok(Some(minute.max(now_ms)));
    }
    // Nothing comes before that time: hours and days that are over are closed. The first mark of a book without rows saves
    // the next run from looking for them in all the past.
    if mark.map_or(0, time_of) < settled && (mark.is_some() || waiting.is_none()) {
        mark = advance(ledger, book, mark, (settled, settled), now_ms).await?;
    }
    ledger.expire(book, now_ms).await?;
    let wanted = match (waiting, mark) {
        (Some(_), _) => Some(now_ms + limits::ROLL_MS),
        (None, None) => None,
        (None, Some(mark)) => {
            let at = time_of(mark);
            let (hour, day) = (at - at % HOUR_MS, at - at % DAY_MS);
            if first(ledger, book, Kind::Minute, hour).await?.is_some() {
                Some(hour + HOUR_MS + limits::ROLL_MS)
            } else if first(ledger, book, Kind::Hour, day).await?.is_some() {
                Some(day + DAY_MS + limits::ROLL_MS)
            } else {
                let any = first(ledger, book, Kind::Day, 0).await?;
                any.map(|_| now_ms + limits::IDLE_BOOK_MS)
            }
        }
    };
    Ok(wanted)
}

/// The time of the first entry of a kind at or after `from`.
async fn first<L: Ledger>(ledger: &L, book: Book, kind: Kind, from: u64) -> Result<Option<u64>, PortError> {
    let found = ledger.scan(book, &Place::start(kind, from), LAST_MS, 1).await?;
    Ok(found.first().map(|(place, _)| place.time_ms))
}

/// Moves the mark to `to`, after hours and days that end on the way have got their sums; those of a book without a mark
/// begin at `from`. `None` if the mark was moved by others.
async fn advance<L: Ledger>(
    ledger: &L,
    book: Book,
    mark: Option<u64>,
    (from, to): (u64, u64),
    now_ms: u64,
) -> Result<Option<u64>, PortError> {
    let at = mark.map(time_of).filter(|at| *at > 0).unwrap_or(from);
    close(ledger, book, (Kind::Minute, Kind::Hour), (at - at % HOUR_MS, to), HOUR_MS, now_ms).await?;
    close(ledger, book, (Kind::Hour, Kind::Day), (at - at % DAY_MS, to), DAY_MS, now_ms).await?;
    let moved = to + mark.unwrap_or(0) % MINUTE_MS;
    Ok(ledger.move_mark(book, mark, moved).await?.then_some(moved))
}

/// Sums up buckets of one kind into the next wider ones, from `from` on as far as they are over at `to`.
async fn close<L: Ledger>(
    ledger: &L,
    book: Book,
    (narrow, wide): (Kind, Kind),
    (from, to): (u64, u64),
    width: u64,
    now_ms: u64,
) -> Result<(), PortError> {
    let end = to - to % width;
    if end <= from {
        return Ok(());
    }
    let closed = sums(ledger, book, narrow, from, end, width).await?;
    write(ledger, book, wide, &closed, now_ms).await
}

/// Everything of one kind from `from` up to `to`, in buckets of `width`.
pub(super) async fn sums<L: Ledger>(
    ledger: &L,
    book: Book,
    kind: Kind,
    from: u64,
    to: u64,
    width: u64,
) -> Result<BTreeMap<u64, Tally>, PortError> {
    let mut buckets: BTreeMap<u64, Tally> = BTreeMap::new();
    let mut after = Place::start(kind, from);
    while after.time_ms < to {
        let page = ledger.scan(book, &after, to, limits::LEDGER_PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = last.clone();
        for (place, record) in page {
            let tally = buckets.entry(place.time_ms - place.time_ms % width).or_default();
            let understood = if kind == Kind::Row { tally.count(&record) } else { tally.add(&record) };
            understood.ok_or_else(|| PortError::new("ledger.scan", Fault::Corrupt, "record"))?;
        }
    }
    Ok(buckets)
}

async fn write<L: Ledger>(
    ledger: &L,
    book: Book,
    kind: Kind,
    buckets: &BTreeMap<u64, Tally>,
    now_ms: u64,
) -> Result<(), PortError> {
    let kept = match kind {
        Kind::Row => limits::ROWS_KEPT_MS,
        Kind::Minute => limits::MINUTES_KEPT_MS,
        Kind::Hour => limits::HOURS_KEPT_MS,
        Kind::Day => limits::DAYS_KEPT_MS,
    };
    for (time_ms, tally) in buckets {
        for (part, record) in tally.records().into_iter().enumerate() {
            let place = Place { kind, time_ms: *time_ms, name: format!("{part:04}") };
            // From now on, not from the bucket on: what is rolled up late must last until it is summed up further.
            ledger.write(book, &[Entry { place, ends_ms: now_ms + kept, record }]).await?;
        }
    }
    Ok(())
}

/// After all times: the last one that a place can have.
pub(super) const LAST_MS: u64 = 99_999_999_999_999;
