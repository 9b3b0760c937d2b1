use super::*;
use crate::route::Entropy;

const MINUTE: u64 = 60_000;

fn rule(capacity: u64, amount: u64, every_ms: u64) -> Rule {
    Rule { capacity, amount, every_ms }
}

fn ask(name: &str, rule: Rule, most: u64) -> Ask {
    Ask { name: name.to_owned(), rule, most }
}

/// A keeper of one tenant's record.
#[derive(Default)]
struct Keeper(Option<Bytes>);

impl Keeper {
    fn question(&mut self, question: &Question, now_ms: u64) -> (bool, Vec<Standing>) {
        let answered = answer(self.0.as_deref(), &write_question(question), now_ms).unwrap();
        if let Some(record) = answered.record {
            self.0 = Some(record);
        }
        read_answer(&answered.answer).unwrap()
    }

    fn take(&mut self, asks: &[Ask], now_ms: u64) -> (bool, Vec<Standing>) {
        self.question(&Question { asks: asks.to_vec(), ..Question::default() }, now_ms)
    }

    fn settle(&mut self, id: u64, name: &str, rule: Rule, tokens: u64, now_ms: u64) {
        let debit = Debit { id, name: name.to_owned(), rule, tokens };
        self.question(&Question { debits: vec![debit], ..Question::default() }, now_ms);
    }
}

#[test]
fn a_bucketful_then_what_whole_intervals_add() {
    let (mut keeper, one) = (Keeper::default(), [ask("a", rule(3, 2, MINUTE), 1)]);
    let mut at = |now: u64| keeper.take(&one, now).0;
    assert_eq!([at(5), at(5), at(6), at(7)], [true, true, true, false]);
    assert!(!at(5 + MINUTE - 1));
    assert_eq!([at(5 + MINUTE), at(5 + MINUTE), at(5 + MINUTE)], [true, true, false]);
    // Ten minutes later it is full, not more.
    assert_eq!([at(5 + 11 * MINUTE); 1], [true]);
    assert_eq!([at(5 + 11 * MINUTE), at(5 + 11 * MINUTE), at(5 + 11 * MINUTE)], [true, true, false]);
}

#[test]
fn the_interval_of_a_full_bucket_stands_still() {
    let (mut keeper, one) = (Keeper::default(), [ask("a", rule(1, 1, MINUTE), 1)]);
    assert!(keeper.take(&one, MINUTE - 1).0);
    assert!(!keeper.take(&one, MINUTE + 1).0);
    let (granted, standings) = keeper.take(&one, 2 * MINUTE - 2);
    assert!(!granted);
    assert_eq!((standings[0].wait_ms, standings[0].full_ms, standings[0].left), (Some(1), Some(1), 0));
    assert!(keeper.take(&one, 2 * MINUTE - 1).0);
}

#[test]
fn all_or_none() {
    let mut keeper = Keeper::default();
    let (wide, narrow) = (ask("w", rule(10, 1, MINUTE), 1), ask("n", rule(1, 1, MINUTE), 1));
    assert!(keeper.take(&[wide.clone(), narrow.clone()], 0).0);
    let before = keeper.0.clone();
    let (granted, standings) = keeper.take(&[wide, narrow], 1);
    assert!(!granted);
    assert_eq!(standings.iter().map(|s| (s.taken, s.left)).collect::<Vec<_>>(), [(0, 9), (0, 0)]);
    assert_eq!(keeper.0, before, "a refusal is not written");
}

#[test]
fn tokens_need_one_and_are_taken_afterwards() {
    let (mut keeper, tokens) = (Keeper::default(), rule(100, 60, MINUTE));
    let look = [ask("t", tokens, 0)];
    let (granted, standings) = keeper.take(&look, 0);
    assert!(granted && standings[0].left == 100 && standings[0].taken == 0);
    assert_eq!(keeper.0, None, "nothing taken, nothing kept");
    keeper.settle(7, "t", tokens, 150, 10);
    keeper.settle(7, "t", tokens, 150, 11);
    let (granted, standings) = keeper.take(&look, 12);
    assert!(!granted);
    assert_eq!(
        (standings[0].left, standings[0].wait_ms, standings[0].full_ms),
        (-50, Some(MINUTE - 2), Some(3 * MINUTE - 2))
    );
    assert!(keeper.take(&look, 10 + MINUTE).0);
}

#[test]
fn what_is_full_again_is_not_kept() {
    let mut keeper = Keeper::default();
    keeper.take(&[ask("a", rule(2, 1, 1_000), 1)], 0);
    keeper.take(&[ask("b", rule(2, 1, 1_000), 1)], 5_000);
    let text = String::from_utf8(keeper.0.clone().unwrap().to_vec()).unwrap();
    assert!(text.contains(r#""b":"#) && !text.contains(r#""a":"#), "{text}");
}

#[test]
fn a_replaced_limit_keeps_what_was_taken() {
    let mut keeper = Keeper::default();
    for _ in 0..5 {
        assert!(keeper.take(&[ask("a", rule(5, 1, MINUTE), 1)], 0).0);
    }
    let more = [ask("a", rule(7, 1, MINUTE), 1)];
    assert_eq!([keeper.take(&more, 1).0, keeper.take(&more, 1).0, keeper.take(&more, 1).0], [true, true, false]);
    assert!(!keeper.take(&[ask("a", rule(2, 1, MINUTE), 1)], 1).0);
    // Another interval begins when it is first heard of.
    let quick = [ask("a", rule(7, 1, 1_000), 1)];
    assert!(!keeper.take(&quick, 30_000).0);
    let record = keeper.0.clone();
    assert!(record.is_some());
}

#[test]
fn an_empty_rule_never_grants_and_says_so() {
    let mut keeper = Keeper::default();
    let (granted, standings) = keeper.take(&[ask("a", rule(0, 1, 1_000), 1)], 0);
    assert!(!granted);
    assert_eq!((standings[0].wait_ms, standings[0].full_ms), (None, Some(0)));
    assert!(keeper.take(&[ask("b", rule(1, 0, 1_000), 1)], 0).0);
    let (granted, standings) = keeper.take(&[ask("b", rule(1, 0, 1_000), 1)], u64::from(u32::MAX));
    assert!(!granted && standings[0].wait_ms.is_none());
}

#[test]
fn portions_are_small_against_what_is_left() {
    let mut keeper = Keeper::default();
    let (_, standings) = keeper.take(&[ask("a", rule(3_200, 1, MINUTE), 1_000)], 0);
    assert_eq!((standings[0].taken, standings[0].left), (100, 3_100));
    let (_, standings) = keeper.take(&[ask("b", rule(45, 1, MINUTE), 1_000)], 0);
    assert_eq!(standings[0].taken, 1);
}

#[test]
fn what_cannot_be_understood_grants_nothing() {
    let question = write_question(&Question { asks: vec![ask("a", rule(1, 1, 1), 1)], ..Question::default() });
    for record in [&b"x"[..], b"[]", b"{}", br#"{"schema":1,"buckets":{"a":[1]}}"#, br#"{"schema":1,"buckets":[]}"#] {
        assert!(answer(Some(record), &question, 0).is_none());
    }
    for bad in [&b""[..], br#"{"asks":[["a",1,1,0,1]]}"#, br#"{"asks":[["a",-1,1,1,1]]}"#] {
        assert!(answer(None, bad, 0).is_none());
    }
}

#[test]
fn a_newer_record_keeps_its_members_and_a_gone_tenant_leaves_none() {
    let record = br#"{"schema":2,"buckets":{"z":[0,0,5,0,1000]},"seen":[],"more":{"x":1}}"#;
    let question = write_question(&Question { asks: vec![ask("a", rule(1, 1, 1), 1)], ..Question::default() });
    let kept = answer(Some(record), &question, 0).unwrap().record.unwrap();
    let text = String::from_utf8(kept.to_vec()).unwrap();
    assert!(text.contains(r#""more":{"x":1}"#) && text.contains(r#""z":[0,0,5,0,1000]"#), "{text}");
    let forget = write_question(&Question { forget: true, ..Question::default() });
    assert_eq!(answer(Some(record), &forget, 0).unwrap().record, Some(Bytes::new()));
    assert_eq!(answer(None, &forget, 0).unwrap().record, None);
}

#[test]
fn records_and_memory_of_debits_are_bounded() {
    let mut keeper = Keeper::default();
    for n in 0..=limits::KEPT_BUCKETS {
        keeper.take(&[ask(&format!("b{n}"), rule(2, 1, 1 << 40), 1)], n as u64);
    }
    let kept = wire::read_record(keeper.0.as_deref().unwrap()).unwrap();
    assert_eq!((kept.buckets.len(), kept.buckets.contains_key("b0")), (limits::KEPT_BUCKETS, false));
    for n in 0..=limits::SEEN_DEBITS {
        keeper.settle(n as u64, "t", rule(2, 1, 1 << 40), 1, 9_999);
    }
    let kept = wire::read_record(keeper.0.as_deref().unwrap()).unwrap();
    assert_eq!((kept.seen.len(), kept.seen[0]), (limits::SEEN_DEBITS, 1));
}

/// Whatever is asked and when: no more leaves than a bucketful and what whole intervals add; and a bucket that was left alone
/// for long enough is full again.
#[test]
fn never_more_than_the_rule() {
    let mut entropy = Entropy::new(7);
    let mut below = |most: u64| entropy.next() % most;
    for _ in 0..300 {
        let rule = rule(below(50), below(20), 1 + below(500));
        let (mut keeper, mut now) = (Keeper::default(), 1_000);
        let mut taken: Vec<(u64, u64)> = Vec::new();
        for _ in 0..below(120) {
            now += below(400);
            let most = below(4);
            let (granted, standings) = keeper.take(&[ask("a", rule, most)], now);
            let Standing { left, taken: got, .. } = standings[0];
            assert!(left >= 0 && left.unsigned_abs() <= rule.capacity, "{rule:?} {left}");
            assert_eq!(granted, got > 0 || (most == 0 && left > 0), "{rule:?}");
            taken.push((now, got));
        }
        for (at, (from, _)) in taken.iter().enumerate() {
            let mut sum = 0;
            for (until, more) in &taken[at..] {
                sum += more;
                // An interval may have begun before the stretch, but not before everything.
                let begun = u64::from(at > 0);
                assert!(sum <= rule.capacity + rule.amount * ((until - from) / rule.every_ms + begun), "{rule:?}");
            }
        }
        if rule.amount > 0 {
            let (_, standings) = keeper.take(&[ask("a", rule, 0)], now + rule.every_ms * (rule.capacity + 1));
            assert_eq!(standings[0].left.unsigned_abs(), rule.capacity);
        }
    }
}
