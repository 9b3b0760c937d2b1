//! What requests leave in the ledger, and what `GET /v1/usage` makes of it.

use std::task::{Context, Waker};

use futures_util::future::join_all;

use super::*;
use crate::deferred::Deferred;
use crate::limits;
use crate::ports::{Entry, Kind, Ledger, Place, Platform};
use crate::testing::{Answer, Chunk};

const ANSWER: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{"index":0,
    "message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],
    "usage":{"prompt_tokens":19,"completion_tokens":2,"total_tokens":21,"prompt_tokens_details":{"cached_tokens":3}}}"#;

impl Bench {
    /// Does what was deferred.
    fn later(&self, patience_ms: u64) -> bool {
        let work = self.world.take_deferred();
        self.world.run(self.gateway.carry_out(&self.world, work, patience_ms))
    }

    fn usage(&self, query: &str) -> Value {
        let (status, body) = self.call(&self.key, "GET", &format!("/v1/usage?{query}"), Value::Null);
        assert_eq!(status, 200, "{body}");
        body
    }

    /// The one result of the day.
    fn today(&self, query: &str) -> Value {
        let day = 1_760_000_000 / 86_400 * 86_400;
        let page = self.usage(&format!("start_time={day}&{query}"));
        let results: Vec<Value> =
            page["data"].as_array().unwrap().iter().flat_map(|b| b["results"].as_array().unwrap().clone()).collect();
        assert!(results.len() <= 1, "{page}");
        results.into_iter().next().unwrap_or_default()
    }

    fn answers(&self) {
        self.world.http().push(Answer::json(200, ANSWER));
        assert_eq!(self.chat(json!({})).0, 200);
    }
}

fn delta(text: &str) -> Chunk {
    Chunk::from(format!("data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n").as_str())
}

#[test]
fn an_answer_leaves_one_row_that_says_whose_and_how_much() {
    let bench = Bench::new();
    bench.answers();
    assert!(bench.world.ledger().rows().is_empty(), "nothing is written before the answer");
    assert!(bench.later(0));
    let rows = bench.world.ledger().rows();
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    let key = bench.call(&bench.key, "GET", "/v1/keys", Value::Null).1["data"][0]["id"].clone();
    for (name, value) in [
        ("schema", json!(1)),
        ("attempt", json!(1)),
        ("key", key),
        ("alias", json!("fast")),
        ("model", json!("gpt-4o")),
        ("provider", json!(bench.provider)),
        ("type", json!("openai")),
        ("use", json!("completion")),
        ("class", json!("success")),
        ("status", json!(200)),
        ("calls", json!(1)),
        ("in", json!(19)),
        ("out", json!(2)),
        ("cr", json!(3)),
    ] {
        assert_eq!(row[name], value, "{name}: {row}");
    }
    assert!(!row.to_string().contains(SK) && !row.to_string().contains(&bench.key));
    let sums = bench.today("");
    for (name, value) in
        [("input_tokens", 19), ("output_tokens", 2), ("input_cached_tokens", 3), ("num_requests", 1), ("num_errors", 0)]
    {
        assert_eq!(sums[name], value, "{name}");
    }
    assert_eq!(sums["cost"], Value::Null);
}

#[test]
fn every_attempt_of_a_request_has_its_row() {
    let bench = Bench::new();
    bench.world.http().push(Answer::json(500, "{}"));
    bench.answers();
    bench.later(0);
    let mut rows = bench.world.ledger().rows();
    rows.sort_by_key(|row| row["attempt"].as_u64());
    let of = |name: &str| rows.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("class"), ["failed", "success"]);
    assert_eq!(of("attempt"), [1, 2]);
    assert_eq!(rows[0]["request"], rows[1]["request"]);
    let sums = bench.today("");
    assert_eq!(
        (&sums["num_model_requests"], &sums["num_requests"], &sums["num_errors"]),
        (&json!(2), &json!(1), &json!(1))
    );
}

#[test]
fn a_client_that_leaves_a_stream_leaves_a_row() {
    let bench = Bench::new();
    bench.world.http().push(Answer::stream(vec![delta("a"), Chunk::Hang]));
    let body = json!({"model": "fast", "stream": true, "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let Body::Live(mut live) = bench.send(&bench.key, "POST", "/v1/chat/completions", body).into_body() else {
        panic!()
    };
    bench.world.run_for(100, live.next());
    drop(live);
    bench.later(0);
    let rows = bench.world.ledger().rows();
    assert_eq!(rows.len(), 1);
    assert_eq!((&rows[0]["class"], &rows[0]["est"]), (&json!("cancelled"), &json!(true)));
    let sums = bench.today("");
    assert_eq!(
        (&sums["num_cancelled"], &sums["num_estimated"], &sums["num_errors"]),
        (&json!(1), &json!(1), &json!(0))
    );
}

#[test]
fn a_client_that_leaves_before_the_answer_leaves_a_row() {
    let bench = Bench::new();
    bench.world.http().push(Answer::Hang);
    let body = json!({"model": "fast", "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let request = request(&bench.key, "POST", "/v1/chat/completions", body.into());
    assert!(bench.world.run_for(1_000, bench.gateway.handle(bench.world.clone(), request)).is_none());
    bench.later(0);
    let rows = bench.world.ledger().rows();
    assert_eq!((&rows[0]["class"], &rows[0]["calls"]), (&json!("cancelled"), &json!(1)));
    let log = bench.world.take_log();
    let line: Value = serde_json::from_str(log.last().unwrap()).unwrap();
    assert_eq!((&line["http.response.status_code"], &line["attempts"]), (&json!(499), &json!(1)));
}

#[test]
fn an_outage_of_the_ledger_loses_nothing_and_counts_nothing_twice() {
    let bench = Bench::new();
    bench.world.ledger().set_down(true);
    for _ in 0..20 {
        bench.answers();
        assert!(!bench.later(1_000));
        bench.world.pass(1_000);
    }
    assert!(bench.gateway.has_backlog());
    bench.world.ledger().set_down(false);
    bench.answers();
    assert!(bench.later(1_000));
    assert!(!bench.gateway.has_backlog());
    assert_eq!(bench.world.ledger().rows().len(), 21);
    assert_eq!(bench.today("")["input_tokens"], 21 * 19);
    assert!(bench.later(0));
    assert_eq!(bench.world.ledger().rows().len(), 21);
}

#[test]
fn a_write_that_fails_is_repeated_within_the_patience() {
    let bench = Bench::new();
    bench.world.ledger().set_down(true);
    bench.answers();
    let work = bench.world.take_deferred();
    let before = bench.world.now_ms();
    assert!(!bench.world.run(bench.gateway.carry_out(&bench.world, work, 25_000)));
    let took = bench.world.now_ms() - before;
    assert!((20_000..=25_000).contains(&took), "{took}");
}

#[test]
fn work_that_is_let_go_is_done_by_the_next_one() {
    let bench = Bench::new();
    bench.world.ledger().set_down(true);
    bench.answers();
    let work = bench.world.take_deferred();
    assert!(bench.world.run_for(300, bench.gateway.carry_out(&bench.world, work, 25_000)).is_none());
    bench.world.ledger().set_down(false);
    assert!(bench.later(0));
    assert_eq!(bench.world.ledger().rows().len(), 1);
}

/// The work of `count` requests, each of which does its own.
fn many(bench: &Bench, count: usize) -> Vec<Vec<Deferred>> {
    let one = |_| {
        bench.answers();
        bench.world.take_deferred()
    };
    (0..count).map(one).collect()
}

#[test]
fn requests_that_end_together_share_a_write() {
    let bench = Bench::new();
    let work = many(&bench, 20);
    let before = bench.world.now_ms();
    let all = work.into_iter().map(|work| bench.gateway.carry_out_gathered(&bench.world, work, 25_000));
    assert_eq!(bench.world.run(join_all(all)), [true; 20]);
    assert_eq!(bench.world.now_ms() - before, limits::GATHER_MS);
    assert_eq!((bench.world.ledger().rows().len(), bench.world.ledger().writes()), (20, 1));
    assert!(!bench.gateway.has_backlog());
    assert_eq!(bench.today("")["num_requests"], 20);
}

#[test]
fn more_rows_than_one_write_takes_go_in_several() {
    let bench = Bench::new();
    let work = many(&bench, limits::LEDGER_WRITE_ROWS + 1).into_iter().flatten().collect();
    assert!(bench.world.run(bench.gateway.carry_out_gathered(&bench.world, work, 25_000)));
    let ledger = bench.world.ledger();
    assert_eq!((ledger.rows().len(), ledger.writes()), (limits::LEDGER_WRITE_ROWS + 1, 2));
}

/// A platform may forget a request: what it was about to write is neither polled nor dropped.
#[test]
fn rows_of_a_writer_that_is_not_heard_of_again_are_written_by_another() {
    let bench = Bench::new();
    let [first, second] = <[_; 2]>::try_from(many(&bench, 2)).unwrap_or_default();
    bench.world.ledger().set_down(true);
    let mut lost = Box::pin(bench.gateway.carry_out_gathered(&bench.world, first, 25_000));
    let mut other = Box::pin(bench.gateway.carry_out_gathered(&bench.world, second, 25_000));
    let mut polled = Context::from_waker(Waker::noop());
    assert!(other.as_mut().poll(&mut polled).is_pending());
    assert!(bench.world.run_for(limits::GATHER_MS, lost.as_mut()).is_none(), "it has both rows and tries again");
    bench.world.ledger().set_down(false);
    let before = bench.world.now_ms();
    assert!(bench.world.run(other));
    let took = bench.world.now_ms() - before;
    assert!((limits::ROWS_TAKEN_MS..2 * limits::ROWS_TAKEN_MS).contains(&took), "{took}");
    assert_eq!((bench.world.ledger().rows().len(), bench.gateway.has_backlog()), (2, false));
    // Heard of after all, it does no harm.
    assert!(bench.world.run(lost));
    assert_eq!(bench.today("")["num_requests"], 2);
}

#[test]
fn whoever_is_done_does_not_wait_for_rows_that_another_has() {
    let bench = Bench::new();
    let [first, second] = <[_; 2]>::try_from(many(&bench, 2)).unwrap_or_default();
    bench.world.ledger().set_down(true);
    let mut lost = Box::pin(bench.gateway.carry_out_gathered(&bench.world, first, 25_000));
    assert!(bench.world.run_for(limits::GATHER_MS, lost.as_mut()).is_none());
    bench.world.ledger().set_down(false);
    let before = bench.world.now_ms();
    assert!(bench.world.run(bench.gateway.carry_out_gathered(&bench.world, second, 25_000)));
    assert_eq!(bench.world.now_ms() - before, limits::GATHER_MS);
    assert_eq!((bench.world.ledger().rows().len(), bench.gateway.has_backlog()), (1, true));
    // Once its time is over, the row goes with the next ones.
    bench.world.pass(limits::ROWS_TAKEN_MS);
    bench.answers();
    assert!(bench.later(0));
    assert_eq!((bench.world.ledger().rows().len(), bench.gateway.has_backlog()), (3, false));
}

#[test]
fn rows_of_a_writer_that_is_dropped_are_free_at_once() {
    let bench = Bench::new();
    let [first, second] = <[_; 2]>::try_from(many(&bench, 2)).unwrap_or_default();
    bench.world.ledger().set_down(true);
    let left = bench.gateway.carry_out_gathered(&bench.world, first, 25_000);
    assert!(bench.world.run_for(limits::GATHER_MS, left).is_none());
    bench.world.ledger().set_down(false);
    assert!(bench.world.run(bench.gateway.carry_out_gathered(&bench.world, second, 25_000)));
    assert_eq!((bench.world.ledger().rows().len(), bench.gateway.has_backlog()), (2, false));
}

#[test]
fn an_outage_ends_the_waiting_of_all_and_keeps_their_rows() {
    let bench = Bench::new();
    bench.world.ledger().set_down(true);
    let work = many(&bench, 5);
    let before = bench.world.now_ms();
    let all = work.into_iter().map(|work| bench.gateway.carry_out_gathered(&bench.world, work, 25_000));
    assert_eq!(bench.world.run(join_all(all)), [false; 5]);
    assert!(bench.world.now_ms() - before <= 25_000);
    assert!(bench.gateway.has_backlog());
    bench.world.ledger().set_down(false);
    assert!(bench.later(0));
    assert_eq!(bench.world.ledger().rows().len(), 5);
}

#[test]
fn what_waits_is_told_once_and_written_all_the_same() {
    let bench = Bench::new();
    bench.world.ledger().set_down(true);
    bench.answers();
    assert!(!bench.later(0));
    bench.world.take_log();
    bench.gateway.tell_backlog(&bench.world);
    bench.gateway.tell_backlog(&bench.world);
    let log = bench.world.take_log();
    assert_eq!(log.len(), 1, "{log:?}");
    let line: Value = serde_json::from_str(&log[0]).unwrap();
    assert_eq!((&line["event"], &line["row"]["in"]), (&json!("ledger_row_waits"), &json!(19)));
    // A further one is told alone, and both are written.
    bench.answers();
    assert!(!bench.later(0));
    bench.world.take_log();
    bench.gateway.tell_backlog(&bench.world);
    assert_eq!(bench.world.take_log().len(), 1);
    bench.world.ledger().set_down(false);
    assert!(bench.later(0));
    assert_eq!(bench.world.ledger().rows().len(), 2);
}

#[test]
fn the_backlog_is_bounded_and_what_is_beyond_is_told() {
    let bench = Bench::new();
    bench.world.ledger().set_down(true);
    let mut work = Vec::new();
    for _ in 0..=limits::BACKLOG_ROWS {
        bench.answers();
        work.append(&mut bench.world.take_deferred());
    }
    bench.world.take_log();
    assert!(!bench.world.run(bench.gateway.carry_out(&bench.world, work, 0)));
    let lost = |log: Vec<String>| log.into_iter().filter(|line| line.contains("ledger_row_lost")).collect::<Vec<_>>();
    let lost = lost(bench.world.take_log());
    assert_eq!(lost.len(), 1);
    let line: Value = serde_json::from_str(&lost[0]).unwrap();
    assert_eq!(line["row"]["in"], 19);
    bench.world.ledger().set_down(false);
    assert!(bench.later(0));
    assert_eq!(bench.world.ledger().rows().len(), limits::BACKLOG_ROWS);
}

#[test]
fn a_row_that_is_a_day_late_is_told_to_the_log_and_one_that_is_less_is_counted() {
    let bench = Bench::new();
    for (wait, rows, lost) in [(limits::LATEST_MS, 0, 1), (limits::LATEST_MS - 1, 1, 0)] {
        bench.answers();
        let work = bench.world.take_deferred();
        bench.world.pass(wait);
        bench.world.run(bench.gateway.roll_up(bench.world.clone()));
        assert!(bench.world.run(bench.gateway.carry_out(&bench.world, work, 0)));
        assert_eq!(bench.world.ledger().rows().len(), rows);
        let log = bench.world.take_log();
        assert_eq!(log.iter().filter(|line| line.contains("ledger_row_lost")).count(), lost);
    }
    bench.world.pass(limits::ROLL_MS);
    assert!(bench.world.run(bench.gateway.roll_up(bench.world.clone())));
    assert_eq!(bench.today("")["num_requests"], 1);
}

#[test]
fn a_key_sees_its_own_usage_and_only_an_admin_sees_all() {
    let bench = Bench::new();
    let body = json!({"name": "app", "scopes": ["inference"]});
    let made = bench.call(&bench.key, "POST", "/v1/keys", body).1;
    let app = made["api_key"].as_str().unwrap();
    bench.answers();
    bench.world.http().push(Answer::json(200, ANSWER));
    let chat = json!({"model": "fast", "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(bench.call(app, "POST", "/v1/chat/completions", chat.clone()).0, 200);
    bench.world.http().push(Answer::json(200, ANSWER));
    assert_eq!(bench.call(OPERATOR, "POST", "/v1/chat/completions", chat).0, 200);
    bench.later(0);
    assert_eq!(bench.today("")["num_requests"], 3);
    let sum = |key: &str, path: &str| {
        let (status, page) = bench.call(key, "GET", &format!("{path}?group_by=user_uuid"), Value::Null);
        (
            status,
            page["data"]
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|b| b["results"].as_array().unwrap().clone())
                .collect::<Vec<_>>(),
        )
    };
    for path in ["/v1/usage/user", "/ml/v1/usage/user", "/ml/gateway/v1/usage/user"] {
        let (status, results) = sum(app, path);
        assert_eq!(
            (status, results.len(), &results[0]["num_requests"], &results[0]["user_uuid"]),
            (200, 1, &json!(1), &made["id"])
        );
        assert_eq!(sum(OPERATOR, path).1[0]["user_uuid"], "operator");
    }
    for path in ["/v1/usage", "/ml/v1/usage", "/ml/gateway/v1/usage"] {
        assert_eq!(sum(app, path).0, 403);
        assert_eq!(sum(&bench.key, path).1.len(), 3);
    }
    let other = bench.admin("POST", "/v1/tenant", json!({"name": "other"})).1;
    assert!(sum(other["api_key"].as_str().unwrap(), "/v1/usage").1.is_empty(), "another tenant's usage");
}

#[test]
fn the_ledgers_outage_is_503_and_its_nonsense_500() {
    let bench = Bench::new();
    bench.world.ledger().set_down(true);
    let (status, body) = bench.call(&bench.key, "GET", "/v1/usage", Value::Null);
    assert_eq!((status, body["error"]["code"].as_str()), (503, Some("store_unavailable")));
}

#[test]
fn a_page_has_ten_thousand_results_at_most() {
    let bench = Bench::new();
    bench.answers();
    bench.later(0);
    let ledger = bench.world.ledger();
    let (place, record) = ledger.records(Kind::Row).remove(0);
    let (book, text) = (ledger.books()[0], String::from_utf8(record.to_vec()).unwrap());
    let write = |numbers: std::ops::Range<usize>| {
        let entry = |number| Entry {
            place: Place { name: format!("x{number}"), ..place.clone() },
            ends_ms: u64::MAX,
            record: text.replace("\"fast\"", &format!("\"alias{number}\"")).into(),
        };
        bench.world.run(ledger.write(book, &numbers.map(entry).collect::<Vec<_>>())).unwrap();
    };
    let path = "/v1/usage?limit=1&group_by=alias";
    // One is there already.
    write(1..limits::USAGE_RESULTS);
    let (status, page) = bench.call(&bench.key, "GET", path, Value::Null);
    assert_eq!((status, page["data"][0]["results"].as_array().unwrap().len()), (200, limits::USAGE_RESULTS));
    write(limits::USAGE_RESULTS..limits::USAGE_RESULTS + 1);
    let (status, body) = bench.call(&bench.key, "GET", path, Value::Null);
    assert_eq!((status, &body["error"]["param"]), (400, &json!("limit")));
}

#[test]
fn pages_follow_each_other_without_gap_or_overlap() {
    let bench = Bench::new();
    for _ in 0..5 {
        bench.answers();
        bench.world.pass(60_000);
    }
    bench.later(0);
    let start = 1_760_000_000 - 600;
    let mut query = format!("start_time={start}&bucket_width=1m&limit=4&group_by=model,alias");
    let (mut times, mut requests, mut pages) = (Vec::new(), 0, 0);
    loop {
        let page = bench.usage(&query);
        pages += 1;
        for bucket in page["data"].as_array().unwrap() {
            times.push(bucket["start_time"].as_u64().unwrap());
            assert_eq!(bucket["end_time"].as_u64().unwrap(), times.last().unwrap() + 60);
            for result in bucket["results"].as_array().unwrap() {
                assert_eq!((&result["model"], &result["alias"]), (&json!("gpt-4o"), &json!("fast")));
                requests += result["num_requests"].as_u64().unwrap();
            }
        }
        let Some(next) = page["next_page"].as_str() else {
            assert_eq!(page["has_more"], false);
            break;
        };
        query = format!("start_time={start}&bucket_width=1m&limit=4&group_by=model,alias&page={next}");
    }
    assert_eq!(requests, 5);
    assert!(pages > 3 && times.windows(2).all(|pair| pair[1] - pair[0] == 60));
}
