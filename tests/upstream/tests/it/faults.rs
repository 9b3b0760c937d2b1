//! Every fault of a script really happens on the wire.

use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::client::{Ended, Received, Simulator};

fn ask(stream: bool) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "one two three"}], "stream": stream})
}

/// The answer to a call that the step was made for.
async fn with(step: Value, stream: bool) -> Received {
    let simulator = Simulator::start().await;
    simulator.step("a", step).await;
    simulator.chat("a", &ask(stream)).await
}

#[tokio::test]
async fn an_answer_ends_as_the_script_says() {
    let cases = [
        (json!({}), true, Ended::Complete, None),
        (json!({}), false, Ended::Complete, None),
        (json!({"cut_at": 100}), true, Ended::Closed, Some(100)),
        (json!({"cut_at": 100}), false, Ended::Closed, Some(100)),
        (json!({"cut_at": 0}), true, Ended::Closed, Some(0)),
        (json!({"cut_at": 100, "rst": true}), true, Ended::Reset, Some(100)),
        (json!({"cut_at": 100, "rst": true}), false, Ended::Reset, Some(100)),
        (json!({"clean_end_at": 100}), true, Ended::Complete, Some(100)),
        (json!({"clean_end_at": 100}), false, Ended::Complete, Some(100)),
        (json!({"clean_end_at": 0}), true, Ended::Complete, Some(0)),
        (json!({"close_without_answer": true}), true, Ended::Closed, Some(0)),
        (json!({"close_without_answer": true, "rst": true}), false, Ended::Reset, Some(0)),
        (json!({"content_length": "+5"}), false, Ended::Closed, None),
        (json!({"content_length": "-5"}), false, Ended::Complete, None),
        (json!({"content_length": 3}), false, Ended::Complete, Some(3)),
        (json!({"content_length": 1_000_000}), true, Ended::Closed, None),
        (json!({"cut_at": 1_000_000}), false, Ended::Complete, None),
        (json!({"cut_at": 1_000_000}), true, Ended::Closed, None),
        (json!({"rst": true}), true, Ended::Reset, None),
    ];
    for (step, stream, ended, bytes) in cases {
        let answer = with(step.clone(), stream).await;
        assert_eq!(answer.ended, ended, "{step}");
        if let Some(bytes) = bytes {
            assert_eq!(answer.body.len(), bytes, "{step}");
        }
    }
}

#[tokio::test]
async fn a_reset_after_the_whole_answer_takes_nothing_away() {
    let answer = with(json!({"rst": true}), true).await;
    assert_eq!(answer.events().last().unwrap(), "[DONE]");
}

#[tokio::test]
async fn a_body_comes_in_the_pieces_asked_for() {
    let split = with(json!({"split_every": 7}), true).await;
    let (last, others) = split.chunks.split_last().unwrap();
    assert!(others.iter().all(|size| *size == 7) && (1..=7).contains(last), "{:?}", split.chunks);
    assert_eq!(split.events().last().unwrap(), "[DONE]");

    let begun = Instant::now();
    let dripped = with(json!({"raw_sse": "data: 12\n\n", "drip": {"bytes": 2, "every_ms": 20}}), true).await;
    assert_eq!(dripped.chunks, [2; 5]);
    assert!(begun.elapsed() >= Duration::from_millis(100));

    let begun = Instant::now();
    let slow = with(json!({"chunks": 5, "chunk_delay_ms": 20, "delay_ms": 100}), true).await;
    assert_eq!(slow.chunks.len(), 8, "role, five, finish, done");
    assert!(begun.elapsed() >= Duration::from_millis(100 + 7 * 20));
}

#[tokio::test]
async fn a_status_comes_with_the_body_of_the_provider() {
    let cases = [
        (400, "invalid_request_error", Value::Null),
        (401, "invalid_request_error", json!("invalid_api_key")),
        (404, "invalid_request_error", json!("model_not_found")),
        (429, "requests", json!("rate_limit_exceeded")),
        (500, "server_error", Value::Null),
        (529, "server_error", Value::Null),
    ];
    for (status, kind, code) in cases {
        let answer = with(json!({"status": status, "retry_after": 7}), false).await;
        let error = answer.json()["error"].clone();
        assert_eq!(
            (answer.status, &error["type"], &error["code"], answer.header("retry-after")),
            (status, &json!(kind), &code, Some("7"))
        );
    }
    for status in [103, 204, 304] {
        let answer = with(json!({"status": status}), false).await;
        assert_eq!((answer.status, answer.body.len(), answer.header("content-length")), (status, 0, None));
    }
    assert_eq!(with(json!({"status": 206}), false).await.json()["object"], "chat.completion");
}

#[tokio::test]
async fn the_head_is_what_the_script_makes_it() {
    let headers = json!([["x-odd", "1"], ["x-odd", "2"], ["x-request-id", "mine"]]);
    let answer = with(json!({"headers": headers, "set_cookie": "a=b", "big_headers": 2500, "content_type": "text/html", "retry_after": "soon"}), false).await;
    let odd: Vec<&str> =
        answer.headers.iter().filter(|(name, _)| name == "x-odd").map(|(_, value)| value.as_str()).collect();
    assert_eq!(odd, ["1", "2"]);
    let single =
        [("x-request-id", "mine"), ("set-cookie", "a=b"), ("content-type", "text/html"), ("retry-after", "soon")];
    for (name, value) in single {
        let all: Vec<&str> = answer.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect();
        assert_eq!(all, [value], "{name}");
    }
    let big: usize =
        answer.headers.iter().filter(|(name, _)| name.starts_with("x-big-")).map(|(_, value)| value.len()).sum();
    assert_eq!(big, 2500);

    let moved = with(json!({"redirect": {"status": 307, "location": "http://169.254.169.254/"}}), false).await;
    assert_eq!((moved.status, moved.header("location")), (307, Some("http://169.254.169.254/")));
}

#[tokio::test]
async fn a_body_can_be_anything() {
    let bytes = [0_u8, 255, 10];
    let cases = [
        (json!({"raw_body": STANDARD.encode(bytes)}), bytes.to_vec()),
        (json!({"raw_sse": "data:x\r\n\r\n: y\n\n\u{feff}"}), "data:x\r\n\r\n: y\n\n\u{feff}".as_bytes().to_vec()),
        (json!({"body": "<html>", "content_type": "text/html"}), b"<html>".to_vec()),
        (json!({"body": {"choices": 1}}), br#"{"choices":1}"#.to_vec()),
        (json!({"raw_response": "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"}), b"hi".to_vec()),
    ];
    for (step, body) in cases {
        assert_eq!(with(step.clone(), false).await.body, body, "{step}");
    }
    let zipped = with(json!({"content_encoding": "gzip"}), false).await;
    assert_eq!((zipped.header("content-encoding"), &zipped.body[..2]), (Some("gzip"), &[0x1f, 0x8b][..]));
}

#[tokio::test]
async fn an_oversize_body_has_exactly_its_size() {
    for bytes in [100_000, 100_001] {
        let whole = with(json!({"oversize": {"bytes": bytes}}), false).await;
        assert_eq!((whole.body.len(), &whole.json()["object"]), (bytes, &json!("chat.completion")));
        let streamed = with(json!({"oversize": {"bytes": bytes}}), true).await;
        assert_eq!(streamed.text().lines().next().unwrap().len(), bytes);
        assert_eq!(streamed.events().last().unwrap(), "[DONE]");
    }
}

#[tokio::test]
async fn a_stream_lacks_what_the_script_leaves_out() {
    let finish = |answer: &Received| {
        answer.events().iter().filter(|event| event["choices"][0]["finish_reason"].is_string()).count()
    };
    let done = |answer: &Received| answer.events().last().unwrap() == "[DONE]";
    let normal = with(json!({"chunks": 3}), true).await;
    assert_eq!((normal.events().len(), finish(&normal), done(&normal)), (6, 1, true));
    let no_done = with(json!({"no_done": true}), true).await;
    assert_eq!((finish(&no_done), done(&no_done), no_done.ended), (1, false, Ended::Complete));
    let no_finish = with(json!({"no_finish": true}), true).await;
    assert_eq!((finish(&no_finish), done(&no_finish)), (0, true));
    for after in [0, 2] {
        let failed = with(json!({"error_event": {"after": after, "error": {"message": "m", "code": "c"}}}), true).await;
        assert_eq!(failed.events().len(), after + 1);
        assert_eq!(failed.events().last().unwrap(), &json!({"error": {"message": "m", "code": "c"}}));
    }
    assert_eq!(with(json!({"stream": true}), false).await.events().last().unwrap(), "[DONE]");
    assert_eq!(with(json!({"stream": false}), true).await.json()["object"], "chat.completion");
}

#[tokio::test]
async fn the_key_comes_back_where_the_script_puts_it() {
    let key = "sk-test-0123456789";
    let body = with(json!({"echo_key": "body"}), false).await;
    assert!(body.status == 400 && body.text().contains(key));
    let header = with(json!({"echo_key": "header"}), false).await;
    assert!(header.status == 200 && header.header("x-request-id") == Some(key));
    let event = with(json!({"echo_key": "event"}), true).await;
    assert!(event.status == 200 && event.events().last().unwrap()["error"]["message"].as_str().unwrap().contains(key));
}

#[tokio::test]
async fn a_normal_answer_takes_changes() {
    let changed =
        with(json!({"text": "t", "finish_reason": "odd", "model": "other", "usage": {"prompt_tokens": -1}}), false)
            .await
            .json();
    assert_eq!(changed["choices"][0]["message"]["content"], "t");
    assert_eq!(changed["choices"][0]["finish_reason"], "odd");
    assert_eq!((&changed["model"], &changed["usage"]), (&json!("other"), &json!({"prompt_tokens": -1})));
    assert!(with(json!({"usage": "absent"}), false).await.json().get("usage").is_none());
}
