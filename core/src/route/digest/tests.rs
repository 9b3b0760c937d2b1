//! What isolates tell each other, and what comes of it.

use super::*;
use crate::route::breaker::Turn;

const T0: u64 = 1_760_000_000_000;

fn news(report: Report) -> News {
    News(BTreeMap::from([(TargetId(0xfeed), report)]))
}

fn outcomes(all: f64, failed: f64) -> News {
    news(Report { all, failed, ..Report::default() })
}

fn fact(digest: &Digest) -> &Fact {
    digest.facts.values().next().unwrap()
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let mut digest = Digest::default();
    let mut paces = [0.0; KINDS];
    paces[1] = 812.345;
    let open = Some(Open { at_ms: T0, until_ms: T0 + 9_000, holders: 1, count: 0 });
    digest.merge(&news(Report { cool: Some((Cool::Overloaded, T0 + 5)), open, all: 3.0, failed: 1.5, paces }), T0);
    let text = digest.encode();
    assert_eq!(
        std::str::from_utf8(&text).unwrap(),
        r#"{"schema":1,"targets":{"000000000000feed":{"cool":[2,1760000000005],"open":[1760000000000,1760000009000,1,0],"seen":[3000,1500,1760000000000],"pace":[[1,812345,1760000000000]]}}}"#
    );
    assert_eq!(Digest::decode(&text), Some(digest));
    // Members of later versions are kept; nonsense is not read as something else.
    let later = br#"{"schema":2,"targets":{},"more":[1]}"#;
    assert_eq!(Digest::decode(later).unwrap().encode().len(), br#"{"schema":1,"targets":{},"more":[1]}"#.len());
    for wrong in [
        &b"[]"[..],
        b"{}",
        br#"{"schema":1,"targets":{"x":{"seen":[1,1,1]}}}"#,
        br#"{"schema":1,"targets":{"1":{}}}"#,
        br#"{"schema":1,"targets":{"1":{"seen":[1,1,1],"cool":[1]}}}"#,
        br#"{"schema":1,"targets":{"1":{"seen":[1,1,1],"open":[1,2]}}}"#,
        br#"{"schema":1,"targets":{"1":{"seen":[1,-1,1]}}}"#,
        br#"{"schema":1,"targets":{"1":{"seen":[1,1,1],"pace":[[1,2]]}}}"#,
    ] {
        assert_eq!(Digest::decode(wrong), None, "{}", String::from_utf8_lossy(wrong));
    }
}

#[test]
fn the_longest_wait_holds_and_the_latest_turn() {
    let mut digest = Digest::default();
    for until in [20_000, 30_000, 10_000] {
        digest.merge(&news(Report { cool: Some((Cool::Limited, T0 + until)), ..Report::default() }), T0);
    }
    assert_eq!(fact(&digest).cool, Some((Cool::Limited, T0 + 30_000)));
    let turn = |at: u64, until_ms: u64| {
        news(Report { open: Some(Open { at_ms: T0 + at, until_ms, holders: 1, count: 0 }), ..Report::default() })
    };
    digest.merge(&turn(0, T0 + 10_000), T0);
    digest.merge(&turn(5, T0 + 11_000), T0 + 5);
    assert_eq!(fact(&digest).open.map(|open| (open.until_ms, open.holders)), Some((T0 + 11_000, 2)));
    digest.merge(&turn(12_000, 0), T0 + 12_000);
    digest.merge(&turn(4, T0 + 12_000), T0 + 12_001);
    assert_eq!(fact(&digest).open.map(|open| open.until_ms), Some(0), "what is older comes too late");
}

#[test]
fn outcomes_of_many_open_and_close_the_breaker_of_the_record() {
    let mut digest = Digest::default();
    digest.merge(&outcomes(4.0, 4.0), T0);
    assert_eq!(fact(&digest).open, None);
    digest.merge(&outcomes(2.0, 2.0), T0);
    let open = fact(&digest).open.unwrap();
    assert_eq!((open.until_ms, open.holders), (T0 + 10_000, 1));
    // While it is open nothing is new; a failed probe doubles the time, a good one ends it.
    digest.merge(&outcomes(50.0, 50.0), T0 + 9_999);
    assert_eq!(fact(&digest).open, Some(open));
    digest.merge(&outcomes(1.0, 1.0), T0 + 10_001);
    assert_eq!(fact(&digest).open.map(|open| open.until_ms), Some(T0 + 30_001));
    digest.merge(&outcomes(1.0, 0.0), T0 + 30_002);
    assert_eq!(fact(&digest).open.map(|open| open.until_ms), Some(0));
    // 30 % of failures do not open it.
    let mut digest = Digest::default();
    for _ in 0..100 {
        digest.merge(&outcomes(1.0, 0.3), T0);
    }
    assert_eq!(fact(&digest).open, None);
    let (all, failed) = fact(&digest).window(T0 + 30_000);
    assert!((all - 36.79).abs() < 0.01 && (failed - 11.04).abs() < 0.01, "{all} {failed}");
}

#[test]
fn it_stays_small_and_forgets() {
    let mut digest = Digest::default();
    for id in 0..limits::DIGEST_TARGETS as u64 + 1 {
        digest.merge(&News(BTreeMap::from([(TargetId(id), Report { all: 1.0, ..Report::default() })])), T0 + id);
    }
    assert_eq!(digest.facts.len(), limits::DIGEST_TARGETS);
    assert!(!digest.facts.contains_key(&TargetId(0)), "the oldest went");
    digest.merge(&News::default(), T0 + 2 * OLD_MS);
    assert_eq!(digest, Digest::default());
}

#[test]
fn a_breaker_learns_the_later_of_two_turns() {
    let mut breaker = crate::route::breaker::Breaker::default();
    assert_eq!(breaker.learn(T0, T0 + 10_000, T0 + 1), Some(Turn::Ejected(9_999)));
    assert_eq!(breaker.learn(T0, T0 + 10_000, T0 + 2), None);
    assert_eq!(breaker.learn(T0 - 1, 0, T0 + 3), None, "an older return");
    assert_eq!(breaker.learn(T0 + 4, 0, T0 + 5), Some(Turn::Restored));
    assert_eq!(breaker.learn(T0, T0 + 10_000, T0 + 6), None, "an older ejection");
    assert_eq!(
        breaker.learn(T0 + 7, T0 + 1_000_000_000, T0 + 8),
        Some(Turn::Ejected(360_000)),
        "nobody is believed more"
    );
}
