//! The usage ledger.

use bytes::Bytes;
use gateway_core::ports::{Book, Entry, Kind, Ledger, Place};
use gateway_core::roll_up;

use crate::check::{done, same};
use crate::fresh_tenant;

/// Runs every case against `ledger`. Panics with the name of what does not hold.
pub async fn ledger_contract<L: Ledger>(ledger: &L) {
    rows_are_kept_as_they_were_first_written(ledger).await;
    entries_come_in_order_and_in_parts(ledger).await;
    kinds_books_and_tenants_stand_alone(ledger).await;
    the_mark_is_compared_and_swapped(ledger).await;
    what_has_not_ended_stays(ledger).await;
    rolling_up_reads_what_it_wrote(ledger).await;
}

fn fresh_book() -> Book {
    Book { tenant: fresh_tenant(), number: 3 }
}

/// Yesterday, at a full hour: stores may know that no row is older than a month.
fn yesterday() -> u64 {
    let now = gateway_native::now_ms();
    now - now % HOUR_MS - 24 * HOUR_MS
}

fn entry(kind: Kind, time_ms: u64, name: &str, record: &str) -> Entry {
    let place = Place { kind, time_ms, name: name.to_owned() };
    Entry { place, ends_ms: gateway_native::now_ms() + 48 * HOUR_MS, record: Bytes::copy_from_slice(record.as_bytes()) }
}

async fn all<L: Ledger>(ledger: &L, book: Book, kind: Kind, from: u64, to: u64, most: usize) -> Vec<String> {
    let (mut after, mut found) = (Place::start(kind, from), Vec::new());
    loop {
        let page = done(ledger.scan(book, &after, to, most).await, "scan");
        assert!(page.len() <= most, "more than asked for");
        let Some((last, _)) = page.last() else { return found };
        after = last.clone();
        found.extend(page.into_iter().map(|(_, record)| String::from_utf8_lossy(&record).into_owned()));
    }
}

async fn rows_are_kept_as_they_were_first_written<L: Ledger>(ledger: &L) {
    let (book, time) = (fresh_book(), yesterday());
    for text in ["one", "two"] {
        done(ledger.write(book, &[entry(Kind::Row, time, "a.1", text)]).await, "write");
        done(ledger.write(book, &[entry(Kind::Hour, time, "0000", text)]).await, "write");
    }
    same(all(ledger, book, Kind::Row, time, time + 1, 10).await, vec!["one".to_owned()], "a row written twice");
    same(all(ledger, book, Kind::Hour, time, time + 1, 10).await, vec!["two".to_owned()], "sums written twice");
}

async fn entries_come_in_order_and_in_parts<L: Ledger>(ledger: &L) {
    let (book, time) = (fresh_book(), yesterday());
    let mut entries: Vec<Entry> = (0..40_u64)
        // Over midnight, several of one time.
        .map(|n| entry(Kind::Row, time + n / 3 * HOUR_MS * 2, &format!("{n:02}.1"), &n.to_string()))
        .collect();
    entries.reverse();
    done(ledger.write(book, &entries).await, "write");
    let numbers = |range: std::ops::Range<u64>| range.map(|n| n.to_string()).collect::<Vec<_>>();
    for most in [1, 7, 100] {
        same(all(ledger, book, Kind::Row, 0, FAR, most).await, numbers(0..40), "all rows");
        let (from, to) = (time + 2 * HOUR_MS, time + 10 * HOUR_MS);
        same(all(ledger, book, Kind::Row, from, to, most).await, numbers(3..15), "rows of some hours");
    }
    same(all(ledger, book, Kind::Row, time + 1, time + 2, 10).await, Vec::new(), "rows of no time");
    same(all(ledger, book, Kind::Row, time, time, 10).await, Vec::new(), "an empty range");
    same(all(ledger, book, Kind::Row, time + 5, time, 10).await, Vec::new(), "a range that ends before it begins");
}

async fn kinds_books_and_tenants_stand_alone<L: Ledger>(ledger: &L) {
    let (book, time) = (fresh_book(), yesterday());
    let others = [Book { number: 2, ..book }, Book { tenant: fresh_tenant(), ..book }];
    for kind in Kind::ALL {
        done(ledger.write(book, &[entry(kind, time, "n", &format!("{kind:?}"))]).await, "write");
    }
    for kind in Kind::ALL {
        same(all(ledger, book, kind, 0, FAR, 10).await, vec![format!("{kind:?}")], "one kind");
        for other in others {
            same(all(ledger, other, kind, 0, FAR, 10).await, Vec::new(), "another book");
        }
    }
}

async fn the_mark_is_compared_and_swapped<L: Ledger>(ledger: &L) {
    let book = fresh_book();
    let time = yesterday();
    same(done(ledger.mark(book).await, "mark"), None, "a new book's mark");
    assert!(!done(ledger.move_mark(book, Some(1), time).await, "move"), "there is no mark to be replaced");
    assert!(done(ledger.move_mark(book, None, time).await, "move"), "the first mark");
    assert!(!done(ledger.move_mark(book, None, time + 1).await, "move"), "there is a mark already");
    assert!(!done(ledger.move_mark(book, Some(time + 1), time + 2).await, "move"), "it is another mark");
    assert!(done(ledger.move_mark(book, Some(time), 0).await, "move"), "back");
    same(done(ledger.mark(book).await, "mark"), Some(0), "a mark of 0");
    assert!(done(ledger.move_mark(book, Some(0), FAR).await, "move"), "forth");
    same(done(ledger.mark(book).await, "mark"), Some(FAR), "the last mark");
    same(done(ledger.mark(Book { number: 0, ..book }).await, "mark"), None, "another book's mark");
}

async fn what_has_not_ended_stays<L: Ledger>(ledger: &L) {
    let (book, time) = (fresh_book(), yesterday());
    let now = gateway_native::now_ms();
    let mut ended = entry(Kind::Row, time, "a", "ended");
    ended.ends_ms = now - 1;
    done(ledger.write(book, &[ended, entry(Kind::Row, time, "b", "here")]).await, "write");
    done(ledger.expire(book, now).await, "expire");
    let left = all(ledger, book, Kind::Row, 0, FAR, 10).await;
    // DynamoDB takes its time with what has ended.
    assert!(left.contains(&"here".to_owned()) && left.len() <= 2, "{left:?}");
}

async fn rolling_up_reads_what_it_wrote<L: Ledger>(ledger: &L) {
    let (book, time) = (fresh_book(), yesterday());
    for n in 0..3_u64 {
        let record = format!(
            r#"{{"schema":1,"attempt":1,"class":"success","began":{time},"ended":{},"in":{n},"key":"k"}}"#,
            time + n
        );
        done(ledger.write(book, &[entry(Kind::Row, time + n, &format!("{n}.1"), &record)]).await, "write");
    }
    let now = gateway_native::now_ms();
    for _ in 0..2 {
        done(roll_up(ledger, book, now).await, "roll up");
        same(all(ledger, book, Kind::Minute, 0, FAR, 10).await.len(), 1, "minutes");
        same(all(ledger, book, Kind::Hour, 0, FAR, 10).await.len(), 1, "hours");
    }
    assert!(done(ledger.mark(book).await, "mark") > Some(time + HOUR_MS), "the mark has moved on");
}

const HOUR_MS: u64 = 3_600_000;
const FAR: u64 = 99_999_999_999_999;
