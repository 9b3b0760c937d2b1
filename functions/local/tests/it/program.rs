//! Start, end, state and configuration.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::process::{Running, command, kept, request, rest};

#[test]
fn the_operator_key_is_made_once_shown_once_and_works() {
    let directory = tempfile::tempdir().unwrap();
    let first = Running::start(directory.path(), &[]);
    let key = kept(directory.path(), "admin-key");
    assert!(first.greeting.contains(&key));
    assert_eq!(first.greeting.matches("curl ").count(), 3, "{}", first.greeting);
    assert!(first.call("GET", "/v1/tenants", &key, "").starts_with("HTTP/1.1 200"));
    assert!(first.call("GET", "/v1/tenants", &key[1..], "").starts_with("HTTP/1.1 401"));
    drop(first);
    let second = Running::start(directory.path(), &[]);
    assert!(!second.greeting.contains(&key));
    assert!(second.call("GET", "/v1/tenants", &key, "").starts_with("HTTP/1.1 200"));
}

#[test]
fn the_state_is_for_its_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("new/state");
    let running = Running::start(&state, &[]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    let files: Vec<_> = std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(files.iter().all(|file| mode(file) == 0o600));
    drop(running);
}

#[test]
fn keys_of_the_environment_come_first_and_are_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let key = "operator-key-operator-key-operator-key";
    let sealing = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let mut process = command(directory.path(), &[]);
    process.env("GATEWAY_ADMIN_KEY", key).env("GATEWAY_SEALING_KEY", sealing);
    let mut child = process.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut greeting = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("listening on") {
        line.clear();
        std::io::BufRead::read_line(&mut greeting, &mut line).unwrap();
        assert!(!line.is_empty() && !line.contains(key));
    }
    assert!(!directory.path().join("admin-key").exists());
    assert!(!directory.path().join("sealing-key").exists());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn wrong_configuration_is_named_and_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    for variable in ["GATEWAY_ADMIN_KEY", "GATEWAY_SEALING_KEY", "EGRESS_ALLOW_ORIGINS", "GATEWAY_MAX_CONCURRENT"] {
        let value = "canary";
        let ended = command(directory.path(), &[]).env(variable, value).output().unwrap();
        let text = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{text}");
        assert!(text.contains(variable) && !text.contains("canary"), "{text}");
    }
    let ended = command(directory.path(), &["--nope"]).output().unwrap();
    assert_eq!(ended.status.code(), Some(2));
}

#[test]
fn a_second_process_cannot_have_the_state() {
    let directory = tempfile::tempdir().unwrap();
    let running = Running::start(directory.path(), &[]);
    let ended = command(directory.path(), &[]).output().unwrap();
    let text = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(text.contains("another gateway is running"), "{text}");
    drop(running);
}

/// Fault matrix: R2.
#[test]
fn what_was_created_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut running = Running::start(directory.path(), &[]);
    let key = kept(directory.path(), "admin-key");
    for n in 0..5 {
        let made = running.call("POST", "/v1/tenant", &key, &format!(r#"{{"name": "tenant {n}"}}"#));
        assert!(made.starts_with("HTTP/1.1 201"), "{made}");
        running.signal("-KILL");
        assert_eq!(running.wait().code(), None);
        running = Running::start(directory.path(), &[]);
        let list = running.call("GET", "/v1/tenants", &key, "");
        assert!((0..=n).all(|n| list.contains(&format!(r#""tenant {n}""#))), "{list}");
    }
}

#[test]
fn a_stop_lets_open_answers_finish_and_takes_no_new_ones() {
    let directory = tempfile::tempdir().unwrap();
    let mut running = Running::start(directory.path(), &["--demo"]);
    let key = kept(directory.path(), "demo-key");
    let mut open = running.connect();
    let body = r#"{"model": "demo", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}"#;
    open.write_all(request("POST", "/v1/chat/completions", &key, body).as_bytes()).unwrap();
    let mut first = [0; 1];
    std::io::Read::read_exact(&mut open, &mut first).unwrap();
    let idle = running.connect();
    running.signal("-TERM");
    let answer = rest(open);
    assert!(answer.contains("data: [DONE]"), "{answer}");
    assert!(running.wait().success());
    assert_eq!(rest(idle), "");
    assert!(std::net::TcpStream::connect(("127.0.0.1", running.port)).is_err());
}
