//! `--demo`: a completion without an account anywhere.

use crate::process::{Running, kept};

#[test]
fn the_demo_answers_whole_and_streamed_also_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut keys = Vec::new();
    for _ in 0..3 {
        let mut running = Running::start(directory.path(), &["--demo"]);
        let key = kept(directory.path(), "demo-key");
        assert!(running.greeting.contains(&format!("Bearer {key}")), "{}", running.greeting);
        let ask = |stream: bool| {
            let body = format!(
                r#"{{"model": "demo", "stream": {stream}, "messages": [{{"role": "user", "content": "Hi"}}]}}"#
            );
            running.call("POST", "/v1/chat/completions", &key, &body)
        };
        let whole = ask(false);
        assert!(whole.starts_with("HTTP/1.1 200") && whole.contains("\"chat.completion\""), "{whole}");
        let streamed = ask(true);
        assert!(streamed.contains("\"chat.completion.chunk\"") && streamed.contains("data: [DONE]"), "{streamed}");
        keys.push(key);
        running.signal("-KILL");
        running.wait();
    }
    keys.dedup();
    assert_eq!(keys.len(), 1, "the key stays");
}

#[test]
fn the_demo_takes_another_port_when_its_own_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    drop(Running::start(directory.path(), &["--demo"]));
    let port: u16 = kept(directory.path(), "demo-port").parse().unwrap();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let running = Running::start(directory.path(), &["--demo"]);
    assert_ne!(kept(directory.path(), "demo-port"), port.to_string());
    let key = kept(directory.path(), "demo-key");
    let body = r#"{"model": "demo", "messages": [{"role": "user", "content": "Hi"}]}"#;
    assert!(running.call("POST", "/v1/chat/completions", &key, body).starts_with("HTTP/1.1 200"));
}
