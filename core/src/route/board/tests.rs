//! The board on a virtual clock: who is picked, who is let alone, and what happens when nobody is left.

use super::*;
use crate::route::{Algorithm, Candidate, Out};

const T0: u64 = 1_760_000_000_000;

struct Bench {
    board: Arc<Board>,
    now: u64,
    entropy: Entropy,
    candidates: Vec<Candidate>,
    algorithm: Algorithm,
    affinity: Option<u64>,
}

fn bench(weights: &[(f64, u32)]) -> Bench {
    let candidates = weights.iter().enumerate().map(|(at, (weight, priority))| Candidate {
        id: TargetId(at as u64 + 1),
        weight: *weight,
        priority: *priority,
        quota: None,
        out: (*weight == 0.0).then_some(Out::Drained),
    });
    Bench {
        board: Arc::default(),
        now: T0,
        entropy: Entropy::new(7),
        candidates: candidates.collect(),
        algorithm: Algorithm::Latency,
        affinity: None,
    }
}

impl Bench {
    fn plan(&self) -> Plan {
        Plan {
            alias: AliasId(1),
            candidates: self.candidates.clone(),
            algorithm: self.algorithm,
            affinity: self.affinity,
            size: Size::Small,
            stream: true,
            alone: false,
            deadline_ms: self.now + 600_000,
            most: 3,
            tried: Vec::new(),
            last: None,
            panicked: false,
            counted: false,
        }
    }

    /// One request; `outcome` says what each call comes to. The calls made, and what was said at the end.
    fn request(&mut self, mut outcome: impl FnMut(usize) -> (Class, Option<u64>, u64)) -> (Vec<Pick>, Option<Stop>) {
        let mut plan = self.plan();
        let mut calls = Vec::new();
        loop {
            let pick = match self.board.next(&mut plan, self.now, &mut self.entropy) {
                Next::Call(pick) => pick,
                Next::Stop(stop) => return (calls, Some(stop)),
            };
            self.now += pick.after_ms;
            calls.push(pick);
            let (class, wait_ms, took_ms) = outcome(pick.at);
            let id = self.candidates[pick.at].id;
            let mut ticket = self.board.begin(&plan, id, self.now, self.entropy.next());
            if class == Class::Success {
                ticket.content(self.now + took_ms);
            }
            ticket.end(Seen { class, wait_ms, cached: false }, self.now + took_ms);
            if class == Class::Success {
                return (calls, None);
            }
            plan.ended(class);
        }
    }

    fn shares(&mut self, requests: usize, took: impl Fn(usize) -> u64) -> Vec<f64> {
        let mut counts = vec![0.0; self.candidates.len()];
        for _ in 0..requests {
            self.now += 20;
            let (calls, _) = self.request(|at| (Class::Success, None, took(at)));
            counts[calls[0].at] += 1.0;
        }
        counts.into_iter().map(|count| count / requests as f64).collect()
    }
}

fn fails(class: Class) -> impl FnMut(usize) -> (Class, Option<u64>, u64) {
    move |_| (class, None, 5)
}

#[test]
fn equal_targets_share_and_a_slow_one_keeps_a_part() {
    let calm = bench(&[(1.0, 0), (1.0, 0)]).shares(4000, |_| 100);
    assert!((0.45..0.55).contains(&calm[0]), "{calm:?}");
    let weighted = bench(&[(3.0, 0), (1.0, 0)]).shares(4000, |_| 100);
    assert!((0.72..0.78).contains(&weighted[0]), "{weighted:?}");
    let slow = bench(&[(1.0, 0), (1.0, 0)]).shares(4000, |at| if at == 0 { 900 } else { 100 });
    assert!((0.2..0.32).contains(&slow[0]), "two of two draws, and some to learn: {slow:?}");
}

#[test]
fn weighted_random_passes_a_chi_square_test() {
    let mut bench = bench(&[(1.0, 0), (2.0, 0), (3.0, 0), (4.0, 0)]);
    bench.algorithm = Algorithm::WeightedRandom;
    let shares = bench.shares(100_000, |_| 100);
    let chi: f64 =
        shares.iter().zip([0.1, 0.2, 0.3, 0.4]).map(|(share, want)| (share - want).powi(2) / want * 100_000.0).sum();
    println!("chi-square of 100,000 picks by weights 1:2:3:4: {chi:.2} (3 degrees of freedom, 16.27 at p = 0.001)");
    assert!(chi < 16.27, "{shares:?}");
}

#[test]
fn rotation_is_exact() {
    let mut even = bench(&[(5.0, 0), (1.0, 0), (1.0, 0)]);
    even.algorithm = Algorithm::RoundRobin;
    let order: Vec<usize> = (0..6).map(|_| even.request(|_| (Class::Success, None, 1)).0[0].at).collect();
    assert_eq!(order[..3], order[3..]);
    assert_eq!(order[..3].iter().sum::<usize>(), 3, "each once: {order:?}");
    // Isolates do not begin at the same target.
    let mut firsts = [0; 3];
    for seed in 0..300 {
        let mut isolate = self::bench(&[(1.0, 0), (1.0, 0), (1.0, 0)]);
        isolate.algorithm = Algorithm::RoundRobin;
        isolate.entropy = Entropy::new(seed);
        firsts[isolate.request(|_| (Class::Success, None, 1)).0[0].at] += 1;
    }
    assert!(firsts.iter().all(|count| *count > 60), "{firsts:?}");
    let mut weighted = bench(&[(5.0, 0), (1.0, 0), (1.0, 0)]);
    weighted.algorithm = Algorithm::WeightedRoundRobin;
    let order: Vec<usize> = (0..7).map(|_| weighted.request(|_| (Class::Success, None, 1)).0[0].at).collect();
    let other = order[2];
    assert_eq!(order, [0, 0, other, 0, 3 - other, 0, 0]);
}

#[test]
fn the_fewest_calls_and_the_quota_decide_where_they_are_asked_to() {
    let mut bench = bench(&[(1.0, 0), (1.0, 0), (2.0, 0)]);
    bench.algorithm = Algorithm::LeastConnections;
    let mut open = Vec::new();
    let mut counts = [0; 3];
    for _ in 0..8 {
        let mut plan = bench.plan();
        let Next::Call(pick) = bench.board.next(&mut plan, bench.now, &mut bench.entropy) else { panic!() };
        counts[pick.at] += 1;
        open.push(bench.board.begin(&plan, bench.candidates[pick.at].id, bench.now, 1));
    }
    assert_eq!(counts, [2, 2, 4]);

    let mut bench = self::bench(&[(1.0, 0), (1.0, 0), (1.0, 1)]);
    bench.algorithm = Algorithm::QuotaPriority;
    bench.candidates[0].quota = Some(3);
    bench.candidates[1].quota = Some(2);
    let order: Vec<usize> = (0..7).map(|_| bench.request(|_| (Class::Success, None, 1)).0[0].at).collect();
    assert_eq!(order, [0, 0, 0, 1, 1, 0, 1], "in order while the quota lasts, then who is over it the least");
    bench.now += 60_000;
    assert_eq!(bench.request(|_| (Class::Success, None, 1)).0[0].at, 0, "the next minute begins anew");
}

/// Fault matrix: U42.
#[test]
fn a_failing_target_is_left_alone_and_comes_back() {
    let mut bench = bench(&[(1.0, 0), (1.0, 0)]);
    let mut dead_calls = 0;
    for _ in 0..500 {
        bench.now += 10;
        let (calls, stop) =
            bench.request(|at| if at == 0 { (Class::Failed, None, 5) } else { (Class::Success, None, 50) });
        assert_eq!(stop, None, "nobody notices");
        dead_calls += calls.iter().filter(|pick| pick.at == 0).count();
    }
    assert!(dead_calls <= 6, "{dead_calls}");
    bench.now += 20_000;
    let shares = bench.shares(200, |_| 50);
    assert!(shares[0] > 0.02, "{shares:?}");
    bench.now += 40_000;
    let shares = bench.shares(1000, |_| 50);
    assert!(shares[0] > 0.4, "{shares:?}");
}

#[test]
fn cooldowns_last_as_long_as_they_should() {
    for (class, wait, least, most) in [
        (Class::RateLimited, Some(20_000), 20_000, 22_000),
        (Class::RateLimited, Some(1), 250, 280),
        (Class::RateLimited, Some(9_999_999_999), 900_000, 990_000),
        (Class::RateLimited, None, 4_000, 6_000),
        (Class::Overloaded, None, 4_000, 6_000),
        (Class::Overloaded, Some(7_000), 7_000, 7_700),
        (Class::Failed, Some(7_000), 7_000, 7_700),
        (Class::Quota, None, 900_000, 900_001),
        (Class::Quota, Some(60_000), 60_000, 66_000),
        (Class::Credential, None, 60_000, 60_001),
        (Class::NotFound, None, 60_000, 60_001),
    ] {
        let mut bench = bench(&[(1.0, 0), (1.0, 1)]);
        bench.request(|at| if at == 0 { (class, wait, 0) } else { (Class::Success, None, 0) });
        let first = |bench: &mut Bench| bench.request(|_| (Class::Success, None, 0)).0[0].at;
        let began = bench.now;
        bench.now = began + least - 1;
        assert_eq!(first(&mut bench), 1, "{class:?} {wait:?}");
        bench.now = began + most;
        assert_eq!(first(&mut bench), 0, "{class:?} {wait:?}");
    }
}

#[test]
fn limits_without_a_stated_wait_double_up_to_a_minute() {
    let mut bench = bench(&[(1.0, 0), (1.0, 1)]);
    for round in 0..8 {
        let base = (5_000_u64 << round.min(5)).min(60_000);
        bench.request(|at| if at == 0 { (Class::RateLimited, None, 0) } else { (Class::Success, None, 0) });
        let wait = bench.board.standings(&bench.plan(), bench.now)[0].for_ms.unwrap();
        assert!(wait >= base * 79 / 100 && wait <= 60_000.min(base * 121 / 100), "{round}: {wait}");
        bench.now += wait;
    }
}

#[test]
fn a_neutral_outcome_never_opens_a_breaker() {
    for class in [Class::Request, Class::Cancelled, Class::Ours, Class::Incapable] {
        let mut bench = bench(&[(1.0, 0)]);
        for _ in 0..50 {
            bench.request(fails(class));
        }
        assert_eq!(bench.board.standings(&bench.plan(), bench.now)[0].out, None, "{class:?}");
    }
}

/// Fault matrix: U41.
#[test]
fn when_all_are_out_one_is_tried_all_the_same() {
    let mut bench = bench(&[(1.0, 0), (1.0, 0), (1.0, 1)]);
    for _ in 0..30 {
        bench.now += 100;
        bench.request(fails(Class::Failed));
    }
    let (calls, stop) = bench.request(fails(Class::Failed));
    assert_eq!((calls.len(), calls[0].reason, stop), (1, Reason::Panic, Some(Stop::Last)));
    // And it is well again: the first success brings it back.
    let (calls, stop) = bench.request(|_| (Class::Success, None, 5));
    assert_eq!((calls.len(), calls[0].reason, stop), (1, Reason::Panic, None));
}

#[test]
fn who_wants_to_be_left_alone_is_waited_for_briefly_or_not_at_all() {
    // The only target, and a short wait: it is asked again after it.
    let mut one = bench(&[(1.0, 0)]);
    let mut first = true;
    let (calls, stop) = one.request(|_| {
        if std::mem::take(&mut first) { (Class::RateLimited, Some(1000), 0) } else { (Class::Success, None, 0) }
    });
    assert_eq!((calls.len(), calls[1].reason, stop), (2, Reason::Waited, None));
    assert!((1000..=1100).contains(&calls[1].after_ms));
    // A long one: no further call, and the next request makes none at all.
    let mut one = bench(&[(1.0, 0)]);
    let (calls, stop) = one.request(|_| (Class::RateLimited, Some(20_000), 0));
    assert_eq!((calls.len(), stop), (1, Some(Stop::Last)));
    let (calls, stop) = one.request(fails(Class::Failed));
    assert_eq!(calls, []);
    assert!(matches!(stop, Some(Stop::Cooling { wait_ms: 20_000..=22_000, overloaded: false })), "{stop:?}");
    // Two that are limited: the one that is ready first is waited for.
    let mut two = bench(&[(1.0, 0), (1.0, 0)]);
    two.request(|at| (Class::Overloaded, Some(if at == 0 { 30_000 } else { 20_000 }), 0));
    two.now += 19_500;
    let (calls, _) = two.request(|_| (Class::Success, None, 0));
    assert_eq!((calls[0].at, calls[0].reason), (1, Reason::Waited));
}

#[test]
fn the_same_target_is_asked_once_more_only_if_it_is_the_only_one() {
    let mut one = bench(&[(1.0, 0)]);
    let (calls, stop) = one.request(fails(Class::Failed));
    assert_eq!((calls.len(), calls[1].reason, stop), (2, Reason::Again, Some(Stop::Last)));
    assert!(calls[1].after_ms <= 400);
    let (calls, _) = bench(&[(1.0, 0)]).request(fails(Class::Unfit));
    assert_eq!(calls.len(), 1);
    let (calls, _) = bench(&[(1.0, 0), (1.0, 0)]).request(fails(Class::Failed));
    assert_eq!(calls.iter().map(|pick| pick.after_ms).collect::<Vec<_>>(), [0, 0]);
    for class in [Class::Request, Class::Broken] {
        assert_eq!(bench(&[(1.0, 0), (1.0, 0)]).request(fails(class)).0.len(), 1, "{class:?}");
    }
}

#[test]
fn an_outage_of_all_is_not_multiplied() {
    let mut bench = bench(&[(1.0, 0), (1.0, 0), (1.0, 0)]);
    let mut calls = 0;
    for _ in 0..1000 {
        bench.now += 50;
        calls += bench.request(fails(Class::Failed)).0.len();
    }
    println!("calls per request while every target fails: {:.3}", calls as f64 / 1000.0);
    assert!(calls <= 1100, "{calls}");
}

#[test]
fn at_most_half_of_many_are_ejected() {
    let mut bench = bench(&[(1.0, 0), (1.0, 0), (1.0, 0), (1.0, 0)]);
    for _ in 0..40 {
        bench.now += 10;
        bench.request(fails(Class::Failed));
    }
    let plan = bench.plan();
    let out = bench.board.standings(&plan, bench.now).iter().filter(|standing| standing.out.is_some()).count();
    assert!(out >= 3, "{out}");
    let fit = bench.board.lock().open(&plan, bench.now).iter().filter(|place| place.fit == Fit::Yes).count();
    assert_eq!(fit, 2.max(4 - out));
}

#[test]
fn a_long_prompt_stays_at_its_target_while_that_is_well_and_has_room() {
    let mut bench = bench(&[(1.0, 0), (1.0, 0), (1.0, 0), (1.0, 0)]);
    let mut homes = Vec::new();
    for key in 0..200 {
        bench.affinity = Some(crate::route::hash(&[&[key]]));
        let (calls, _) = bench.request(|_| (Class::Success, None, 10));
        assert_eq!(calls[0].reason, Reason::Affinity);
        homes.push(calls[0].at);
        assert_eq!(bench.request(|_| (Class::Success, None, 10)).0[0].at, calls[0].at);
    }
    // Its home fails: the next in its own order takes over, always the same one.
    bench.affinity = Some(crate::route::hash(&[&[0]]));
    let home = homes[0];
    let taken: Vec<usize> = (0..4)
        .map(|_| bench.request(|at| if at == home { (Class::Failed, None, 1) } else { (Class::Success, None, 1) }).0)
        .map(|calls| calls.last().unwrap().at)
        .collect();
    assert!(taken.iter().all(|at| *at == taken[0] && *at != home), "{taken:?}");
    // Far more at once than its share: some go elsewhere.
    let mut open = Vec::new();
    let mut elsewhere = 0;
    bench.affinity = Some(crate::route::hash(&[&[1]]));
    for _ in 0..40 {
        let mut plan = bench.plan();
        let Next::Call(pick) = bench.board.next(&mut plan, bench.now, &mut bench.entropy) else { panic!() };
        elsewhere += u32::from(pick.at != homes[1]);
        open.push(bench.board.begin(&plan, bench.candidates[pick.at].id, bench.now, 1));
    }
    assert!((20..35).contains(&elsewhere), "{elsewhere}");
}

#[test]
fn a_new_target_is_given_its_share_slowly() {
    let mut bench = bench(&[(1.0, 0), (1.0, 0)]);
    bench.shares(100, |_| 100);
    bench.candidates.push(Candidate { id: TargetId(9), ..bench.candidates[0] });
    let first = bench.shares(200, |_| 100);
    bench.now += 40_000;
    let later = bench.shares(2000, |_| 100);
    assert!(first[2] < 0.2 && later[2] > 0.27, "{first:?} {later:?}");
}

#[test]
fn a_ticket_that_is_dropped_says_nothing_but_that_it_is_over() {
    let mut bench = bench(&[(1.0, 0)]);
    for _ in 0..20 {
        let mut plan = bench.plan();
        bench.board.next(&mut plan, bench.now, &mut bench.entropy);
        drop(bench.board.begin(&plan, TargetId(1), bench.now, 1));
    }
    let standing = bench.board.standings(&bench.plan(), bench.now)[0];
    assert_eq!((standing.out, standing.in_flight, standing.expected_ms), (None, 0, None));
}

#[test]
fn the_board_forgets_what_is_too_much() {
    let mut bench = bench(&[(1.0, 0)]);
    for id in 0..limits::BOARD_TARGETS as u64 + 50 {
        bench.now += 1;
        bench.candidates[0].id = TargetId(id);
        let mut plan = bench.plan();
        plan.alias = AliasId(id);
        bench.board.next(&mut plan, bench.now, &mut bench.entropy);
    }
    let state = bench.board.lock();
    assert_eq!(state.targets.len(), limits::BOARD_TARGETS);
    assert!(state.budgets.len() <= limits::BOARD_TARGETS);
    assert!(!state.targets.contains_key(&TargetId(0)));
}

#[test]
fn only_who_joins_an_alias_begins_small() {
    use crate::route::digest::Report;
    let share = |bench: &mut Bench| {
        let calls = |bench: &mut Bench| bench.request(|_| (Class::Success, None, 0)).0[0].at;
        (0..2_000).filter(|_| calls(bench) == 1).count() as f64 / 2_000.0
    };
    let ([mut told, mut fresh, mut joined], algorithm) =
        ([(); 3].map(|()| bench(&[(1.0, 0), (1.0, 0)])), Algorithm::WeightedRandom);
    for bench in [&mut told, &mut fresh, &mut joined] {
        bench.algorithm = algorithm;
    }
    // Others tell of the first target only; the second has been there as long.
    let mut digest = Digest::default();
    digest.merge(&News([(TargetId(1), Report { all: 1.0, ..Report::default() })].into()), T0);
    told.board.learn(&digest, true, T0);
    // The second target comes to an alias that was called before.
    let second = joined.candidates.pop().unwrap();
    joined.request(|_| (Class::Success, None, 0));
    joined.candidates.push(second);
    let [told, fresh, joined] = [&mut told, &mut fresh, &mut joined].map(share);
    println!("share of the second of two: told of the first {told:.3}, fresh {fresh:.3}, joined {joined:.3}");
    assert!((0.45..0.55).contains(&told) && (0.45..0.55).contains(&fresh));
    assert!((0.05..0.15).contains(&joined));
}

#[test]
fn a_call_from_before_an_ejection_does_not_end_it() {
    let mut bench = bench(&[(1.0, 0), (1.0, 0)]);
    let (mut plan, id) = (bench.plan(), TargetId(1));
    bench.board.next(&mut plan, T0, &mut bench.entropy);
    let end = |ticket: Ticket, class, now| ticket.end(Seen { class, wait_ms: None, cached: false }, now).0;
    let begin = |now| bench.board.begin(&plan, id, now, 1);
    let (early, dropped) = (begin(T0), begin(T0));
    let failed: Vec<_> = (0..5).map(|_| end(begin(T0 + 10), Class::Failed, T0 + 20)).collect();
    let Some(Turn::Ejected(ms)) = failed[4] else { panic!("{failed:?}") };
    assert_eq!(end(early, Class::Success, T0 + 30), None);
    let gate = |now| bench.board.lock().targets[&id].breaker.gate(now);
    assert_eq!(gate(T0 + 30), super::super::breaker::Gate::Open(ms - 10));
    // Nor does it take or give back the place of the probe.
    let back = T0 + 20 + ms;
    let probe = begin(back);
    drop(dropped);
    assert!(matches!(gate(back), super::super::breaker::Gate::Open(_)));
    assert_eq!(end(probe, Class::Success, back + 10), Some(Turn::Restored));
}
