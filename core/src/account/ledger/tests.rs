//! Rows, rolling up and reading, with runs that are cut off anywhere and rows that come late.

use bytes::Bytes;
use serde_json::json;

use super::read::{Question, Width, usage};
use super::roll::{self, DAY_MS, HOUR_MS, MINUTE_MS, roll_up};
use super::{Counter, Dimension, Tally};
use crate::limits;
use crate::model::TenantId;
use crate::ports::{Book, Entry, Fault, Kind, Ledger, Place};
use crate::testing::{MemoryLedger, World};

/// Midnight of some day.
const DAY: u64 = 1_760_054_400_000;

fn book(number: u8) -> Book {
    Book { tenant: TenantId::from_random([1; 16]), number }
}

fn row(ended: u64, n: u64) -> Entry {
    let record = json!({"schema": 1, "request": format!("req_{n}"), "attempt": 1 + n % 2, "key": "k", "alias": "fast",
        "model": format!("m{}", n % 3), "provider": "p", "type": "openai", "use": "completion", "class": "success",
        "calls": 1, "began": ended - 40, "ended": ended, "first": 10, "in": n, "out": 2, "cost": 5, "new": {"x": 1}});
    let place = Place { kind: Kind::Row, time_ms: ended, name: format!("{n}.1") };
    Entry { place, ends_ms: ended + limits::ROWS_KEPT_MS, record: Bytes::from(record.to_string()) }
}

fn put(ledger: &MemoryLedger, number: u8, entries: &[Entry]) {
    World::default().run(ledger.write(book(number), entries)).unwrap();
}

fn roll(ledger: &MemoryLedger, number: u8, now: u64) -> Result<Option<u64>, Fault> {
    World::default().run(roll_up(ledger, book(number), now)).map_err(|error| error.fault)
}

fn ask(ledger: &MemoryLedger, from: u64, to: u64, width: Width) -> Vec<(u64, Tally)> {
    let group_by = vec![Dimension::Model, Dimension::UsageType];
    let question = Question { from, to, width, group_by, only: Vec::new() };
    World::default().run(usage(ledger, book(0).tenant, &question)).unwrap().into_iter().collect()
}

/// All that can be asked of three days.
fn everything(ledger: &MemoryLedger) -> Vec<Vec<(u64, Tally)>> {
    let widths = [Width::Minute, Width::Hour, Width::Day];
    widths.map(|width| ask(ledger, DAY - DAY_MS, DAY + 2 * DAY_MS, width)).into()
}

/// Rows over a day and a half, in two books, with gaps, at the edges of minutes, hours and days.
fn filled() -> MemoryLedger {
    let ledger = MemoryLedger::default();
    let times =
        [0, 1, 59_999, 60_000, 3 * MINUTE_MS, HOUR_MS - 1, HOUR_MS, 5 * HOUR_MS + 7, DAY_MS - 1, DAY_MS, 36 * HOUR_MS];
    for (n, time) in times.into_iter().enumerate() {
        let n = n as u64;
        put(&ledger, (n % 2) as u8, &[row(DAY + time, n), row(DAY + time, 100 + n)]);
    }
    ledger
}

#[test]
fn rolled_up_or_not_the_answer_is_the_same_at_any_time() {
    let ledger = filled();
    let want = everything(&ledger);
    let total: u64 =
        want[2].iter().flat_map(|(_, tally)| tally.0.values()).map(|sums| sums.of(Counter::Attempts)).sum();
    assert_eq!(total, 22);
    assert_eq!(want[2].len(), 2);
    for hour in 0..60 {
        for number in 0..limits::BOOKS {
            roll(&ledger, number, DAY + hour * HOUR_MS + 1).unwrap();
        }
        assert_eq!(everything(&ledger), want, "hour {hour}");
    }
    // Days come from sums alone by now.
    assert_eq!(ledger.records(Kind::Day).len(), 4);
    assert!(!ledger.records(Kind::Minute).is_empty());
}

#[test]
fn a_run_that_is_cut_off_anywhere_counts_nothing_twice_and_loses_nothing() {
    let want = everything(&filled());
    let whole = filled();
    roll(&whole, 0, DAY + 40 * HOUR_MS).unwrap();
    for changes in 0..60 {
        let ledger = filled();
        ledger.fail_after(Some(changes));
        let cut = roll(&ledger, 0, DAY + 40 * HOUR_MS);
        ledger.fail_after(None);
        assert_eq!(everything(&ledger), want, "cut after {changes}");
        roll(&ledger, 0, DAY + 40 * HOUR_MS).unwrap();
        assert_eq!(everything(&ledger), want, "after {changes}, then whole");
        for kind in [Kind::Minute, Kind::Hour, Kind::Day] {
            assert_eq!(ledger.records(kind), whole.records(kind), "after {changes}");
        }
        if cut.is_ok() {
            assert!(changes >= 15, "{changes}");
            return;
        }
    }
    panic!("it never ended");
}

#[test]
fn a_row_written_again_changes_nothing() {
    let ledger = filled();
    let want = everything(&ledger);
    put(&ledger, 0, &[row(DAY, 0), row(DAY, 100)]);
    assert_eq!(everything(&ledger), want);
}

#[test]
fn a_late_row_is_counted_and_stops_a_run_that_began_before_it() {
    let ledger = filled();
    let now = DAY + 40 * HOUR_MS;
    let world = World::default();
    for _ in 0..2 {
        roll(&ledger, 0, now).unwrap();
    }
    let before = world.run(ledger.mark(book(0))).unwrap();
    let late = row(DAY + 5 * HOUR_MS + 7, 500);
    put(&ledger, 0, std::slice::from_ref(&late));
    assert!(world.run(ledger.move_mark(book(0), before, roll::back(before, late.place.time_ms))).unwrap());
    // A run that had read the mark before cannot move it.
    assert!(!world.run(ledger.move_mark(book(0), before, before.unwrap() + MINUTE_MS)).unwrap());
    let fresh = filled();
    put(&fresh, 0, &[late]);
    let want = everything(&fresh);
    assert_eq!(everything(&ledger), want);
    roll(&ledger, 0, now).unwrap();
    assert_eq!(everything(&ledger), want);
    roll(&ledger, 0, now + HOUR_MS).unwrap();
    assert_eq!(everything(&ledger), want);
}

#[test]
fn a_late_row_below_the_mark_moves_it_back_and_any_other_still_changes_it() {
    assert_eq!(roll::back(Some(DAY), DAY - 1), DAY - MINUTE_MS + 1);
    assert_eq!(roll::back(Some(DAY + 1), DAY + MINUTE_MS), DAY + 2);
    assert_eq!(roll::back(Some(DAY + 59_999), DAY), DAY);
    assert_eq!(roll::back(None, DAY), 1);
}

#[test]
fn nothing_is_rolled_up_before_it_has_settled() {
    let ledger = MemoryLedger::default();
    put(&ledger, 0, &[row(DAY, 1)]);
    let settles = DAY + MINUTE_MS + limits::SETTLED_MS;
    assert_eq!(roll(&ledger, 0, settles - 1), Ok(Some(settles - 1 + limits::ROLL_MS)));
    assert!(ledger.records(Kind::Minute).is_empty());
    let next = roll(&ledger, 0, settles).unwrap();
    assert_eq!(ledger.records(Kind::Minute).len(), 1);
    // Then the end of the hour, of the day, and a look at what has ended.
    assert_eq!(next, Some(DAY + HOUR_MS + limits::ROLL_MS));
    assert_eq!(roll(&ledger, 0, next.unwrap()), Ok(Some(DAY + DAY_MS + limits::ROLL_MS)));
    let day = DAY + DAY_MS + limits::ROLL_MS;
    assert_eq!(roll(&ledger, 0, day), Ok(Some(day + limits::IDLE_BOOK_MS)));
    assert_eq!(ledger.records(Kind::Day).len(), 1);
    let end = day + limits::DAYS_KEPT_MS;
    assert_eq!(roll(&ledger, 0, end), Ok(None));
    assert!(Kind::ALL.into_iter().all(|kind| ledger.records(kind).is_empty()));
}

#[test]
fn rows_and_sums_are_kept_for_their_time() {
    let ledger = MemoryLedger::default();
    put(&ledger, 0, &[row(DAY, 1)]);
    let rolled = DAY + DAY_MS + limits::ROLL_MS;
    for now in [DAY + limits::ROLL_MS, rolled] {
        roll(&ledger, 0, now).unwrap();
    }
    for (kind, end) in [
        (Kind::Minute, DAY + limits::ROLL_MS + limits::MINUTES_KEPT_MS),
        (Kind::Row, DAY + limits::ROWS_KEPT_MS),
        (Kind::Hour, rolled + limits::HOURS_KEPT_MS),
        (Kind::Day, rolled + limits::DAYS_KEPT_MS),
    ] {
        roll(&ledger, 0, end - 1).unwrap();
        assert_eq!(ledger.records(kind).len(), 1, "{kind:?}");
        roll(&ledger, 0, end).unwrap();
        assert_eq!(ledger.records(kind).len(), 0, "{kind:?}");
    }
}

#[test]
fn what_cannot_be_understood_is_a_failure_and_never_zero() {
    for record in
        ["", "{}", "[]", r#"{"schema":1}"#, r#"{"schema":1,"began":1,"ended":"2","attempt":1,"class":"success"}"#]
    {
        let ledger = filled();
        let bad = Entry { record: Bytes::from(record), ..row(DAY + 30, 77) };
        put(&ledger, 1, &[bad]);
        let question = Question { from: DAY, to: DAY + DAY_MS, width: Width::Day, group_by: vec![], only: vec![] };
        let failed = World::default().run(usage(&ledger, book(0).tenant, &question));
        assert_eq!(failed.map_err(|error| error.fault).unwrap_err(), Fault::Corrupt, "{record}");
        assert_eq!(roll(&ledger, 1, DAY + 40 * HOUR_MS), Err(Fault::Corrupt), "{record}");
    }
}

#[test]
fn sums_that_are_long_take_several_records_and_come_back_whole() {
    let mut tally = Tally::default();
    for n in 0..3_000 {
        let long = json!({"schema": 1, "attempt": 1, "key": format!("key-{n}"), "alias": "a".repeat(150), "class": "failed",
            "began": 1, "ended": 2});
        tally.count(long.to_string().as_bytes()).unwrap();
    }
    let records = tally.records();
    assert!(records.len() > 2);
    assert!(records.iter().all(|record| record.len() <= limits::SUMS_BYTES));
    let mut back = Tally::default();
    records.iter().for_each(|record| back.add(record).unwrap());
    assert_eq!(back, tally);
    assert_eq!(back.records(), records);
}

#[test]
fn counters_of_a_later_version_are_summed_too() {
    let sums = |last: u64| {
        let counts: Vec<u64> = (0..25).map(|at| if at == 24 { last } else { 1 }).collect();
        json!({"schema": 2, "groups": [{"by": ["m", "a", "p", "t", "k", "u"], "n": counts, "x": 1}], "y": 2})
            .to_string()
    };
    let mut tally = Tally::default();
    tally.add(sums(7).as_bytes()).unwrap();
    tally.add(sums(8).as_bytes()).unwrap();
    let text = String::from_utf8(tally.records()[0].to_vec()).unwrap();
    assert!(text.contains("2,15]"), "{text}");
}
