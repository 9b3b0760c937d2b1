//! The control API: scripts, the record, and accounts that do not disturb each other.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream, time};

use crate::client::{Ended, Simulator, post, receive};

fn hi() -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
}

async fn replies(simulator: &Simulator, account: &str, times: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..times {
        statuses.push(simulator.chat(account, &hi()).await.status);
    }
    statuses
}

#[tokio::test]
async fn a_script_is_taken_step_by_step() {
    let simulator = Simulator::start().await;
    let cases = [
        (json!({"script": [{"status": 500}, {"status": 503}]}), [500, 503, 200, 200]),
        (json!({"script": [{"status": 500}, {"status": 503}], "repeat": true}), [500, 503, 503, 503]),
        (json!({"script": [{"status": 500, "repeat": true}, {"status": 503}]}), [500, 500, 500, 500]),
        (json!({"script": []}), [200, 200, 200, 200]),
    ];
    for (settings, wanted) in cases {
        simulator.configure("a", &settings).await;
        assert_eq!(replies(&simulator, "a", 4).await, wanted, "{settings}");
        assert_eq!(replies(&simulator, "b", 1).await, [200]);
    }
}

#[tokio::test]
async fn wrong_settings_are_refused() {
    let simulator = Simulator::start().await;
    for (path, settings) in [
        ("a", json!({"scripts": []})),
        ("a", json!({"script": [{"cut": 1}]})),
        ("a", json!({"script": [{"hang": "x"}]})),
        ("A", json!({})),
    ] {
        assert!(simulator.control("PUT", path, &settings).await.status >= 400, "{path} {settings}");
    }
}

#[tokio::test]
async fn a_call_is_recorded_as_it_came() {
    let simulator = Simulator::start().await;
    let body = r#"{ "model":"m","messages":[{"role":"user","content":"\u00e9"}] }"#;
    let mut stream = TcpStream::connect(simulator.address).await.unwrap();
    for _ in 0..2 {
        stream.write_all(&post("/a/v1/chat/completions", &["X-Trace: 1"], body.as_bytes())).await.unwrap();
        assert_eq!(receive(&mut stream, Duration::from_secs(5)).await.status, 200);
    }
    simulator.last_finished("a").await;
    let calls = simulator.calls("a").await;
    assert_eq!(calls.len(), 2);
    for (call, number) in calls.iter().zip(1..) {
        assert_eq!(call["number"], number);
        assert_eq!(call["connection"], calls[0]["connection"], "the connection is kept");
        assert_eq!((&call["method"], &call["path"]), (&json!("POST"), &json!("/a/v1/chat/completions")));
        assert_eq!(call["body"], body);
        assert_eq!(call["key"], "sk-test-0123456789");
        assert_eq!(
            (&call["client_closed"], &call["finished"], &call["status"]),
            (&json!(false), &json!(true), &json!(200))
        );
        assert!(call["headers"].as_array().unwrap().contains(&json!(["x-trace", "1"])));
        assert!(call["received_ms"].as_u64().unwrap() > 1_600_000_000_000);
    }
    assert_eq!(simulator.control("DELETE", "a", &Value::Null).await.status, 204);
    assert_eq!(simulator.calls("a").await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_chunked_request_body_is_read() {
    let simulator = Simulator::start().await;
    let body = hi().to_string();
    let (first, second) = body.split_at(10);
    let chunked = format!("a\r\n{first}\r\n{:x};ext=1\r\n{second}\r\n0\r\n\r\n", second.len());
    let request = post("/a/v1/chat/completions", &["content-length", "transfer-encoding: chunked"], chunked.as_bytes());
    assert_eq!(simulator.raw(&request, Duration::from_secs(5)).await.status, 200);
    assert_eq!(simulator.calls("a").await[0]["body"], body);
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_and_a_reset_ends_what_hangs() {
    let simulator = Simulator::start().await;
    let open = async || simulator.control("GET", "a/open", &Value::Null).await.json()["open"].as_u64().unwrap();
    let body = hi().to_string();
    for step in [
        json!({"hang": "accept"}),
        json!({"hang": "headers"}),
        json!({"hang": "body"}),
        json!({"hang": {"after_bytes": 9}}),
        json!({"delay_ms": 60_000}),
    ] {
        simulator.step("a", step.clone()).await;
        let mut stream = TcpStream::connect(simulator.address).await.unwrap();
        stream.write_all(&post("/a/v1/chat/completions", &[], body.as_bytes())).await.unwrap();
        let answer = receive(&mut stream, Duration::from_millis(150)).await;
        assert_eq!(answer.ended, Ended::Silent, "{step}");
        assert_eq!(open().await, 1, "{step}");
        drop(stream);
        assert_eq!(simulator.last_finished("a").await["client_closed"], true, "{step}");
        assert_eq!(open().await, 0, "{step}");
    }
    simulator.step("a", json!({"hang": "body"})).await;
    let mut stream = TcpStream::connect(simulator.address).await.unwrap();
    stream.write_all(&post("/a/v1/chat/completions", &[], body.as_bytes())).await.unwrap();
    time::sleep(Duration::from_millis(50)).await;
    simulator.control("DELETE", "a", &Value::Null).await;
    assert_eq!(receive(&mut stream, Duration::from_secs(5)).await.ended, Ended::Closed);
}

#[tokio::test]
async fn the_plain_prefix_is_the_default_account() {
    let simulator = Simulator::start().await;
    let answer =
        simulator.raw(&post("/v1/chat/completions", &[], hi().to_string().as_bytes()), Duration::from_secs(5)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(simulator.calls("default").await.len(), 1);
    let healthy = simulator.raw(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n", Duration::from_secs(5)).await;
    assert_eq!(healthy.json(), json!({"status": "ok"}));
}
