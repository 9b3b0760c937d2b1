//! Streams: the commit point, ends of every kind, clients that leave.

use super::*;
use crate::limits;
use crate::ports::{HttpError, Platform};
use crate::testing::{Answer, Chunk};

const ROLE: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n";
const TEXT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"finish_reason\":null}]}\n\n";
const STOP: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn streamed(body: Vec<Chunk>) -> (Bench, u16, String) {
    let bench = Bench::new();
    // Twice: what fails before content is asked for once more.
    bench.world.http().push(Answer::stream(body.clone()));
    bench.world.http().push(Answer::stream(body));
    let (status, text) = bench.chat(json!({"stream": true}));
    (bench, status, text)
}

#[test]
fn one_log_line_tells_a_stream_with_its_usage() {
    let (bench, status, text) =
        streamed(vec![ROLE.into(), Chunk::Wait(70), TEXT.into(), STOP.into(), USAGE.into(), DONE.into()]);
    assert_eq!((status, text.as_str()), (200, format!("{ROLE}{TEXT}{STOP}{DONE}").as_str()));
    let lines = bench.world.take_log();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(line["http.route"], "/v1/chat/completions");
    assert_eq!(line["gen_ai.usage.input_tokens"], 3);
    assert_eq!(line["first_content_ms"], 70);
    assert_eq!(line["store_reads"], 0);
    assert!(!lines[0].contains("canary"));
}

#[test]
fn a_failure_before_content_is_a_status() {
    for (body, want) in [
        (vec![ROLE.into(), Chunk::Break], (502, "upstream_disconnected")),
        (vec![ROLE.into()], (502, "upstream_incomplete")),
        (vec![], (502, "upstream_incomplete")),
        (vec!["data: <html>\n\n".into()], (502, "upstream_protocol")),
        (
            vec!["data: {\"error\":{\"message\":\"x\",\"code\":\"rate_limit_exceeded\"}}\n\n".into()],
            (429, "rate_limit_exceeded"),
        ),
    ] {
        let (bench, status, text) = streamed(body);
        assert_eq!((status, code(&text).as_str()), want, "{text}");
        let lines = bench.world.take_log();
        assert_eq!(lines.len(), 1);
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["http.response.status_code"], want.0);
    }
}

#[test]
fn a_stream_that_nobody_could_take_over_is_begun_before_its_content() {
    let (bench, status, text) = streamed(vec![ROLE.into(), Chunk::Wait(20_000), TEXT.into(), STOP.into(), DONE.into()]);
    assert_eq!((status, text.as_str()), (200, format!("{ROLE}{TEXT}{STOP}{DONE}").as_str()));
    let line: Value = serde_json::from_str(&bench.world.take_log()[0]).unwrap();
    assert_eq!(line["duration_ms"], 20_000);
    // Nothing at all: a comment begins it, and what was promised for content is an event.
    let (bench, status, text) = streamed(vec![Chunk::Hang]);
    assert_eq!(status, 200);
    assert!(text.starts_with(": keep-alive\n\ndata: {\"error\":{"), "{text}");
    assert!(text.contains("upstream_timeout") && !text.contains("[DONE]"), "{text}");
    let line: Value = serde_json::from_str(&bench.world.take_log()[0]).unwrap();
    assert_eq!((line["duration_ms"].as_u64(), line["error.type"].as_str()), (Some(30_000), Some("upstream_timeout")));
}

#[test]
fn a_failure_after_content_is_one_error_event_and_no_end_mark() {
    for (tail, want) in [
        (vec![Chunk::Break], "upstream_disconnected"),
        (vec![], "upstream_incomplete"),
        (vec![Chunk::Hang], "upstream_timeout"),
        (vec!["data: nonsense\n\n".into()], "upstream_protocol"),
        (vec!["data: {\"error\":{\"type\":\"server_error\"}}\n\n".into(), DONE.into()], "upstream_error"),
    ] {
        let mut body = vec![ROLE.into(), TEXT.into()];
        body.extend(tail);
        let (bench, status, text) = streamed(body);
        assert_eq!(status, 200);
        assert!(text.starts_with(&format!("{ROLE}{TEXT}")));
        assert_eq!(text.matches("\"error\"").count(), 1, "{text}");
        assert!(text.contains(want), "{text}");
        assert!(!text.contains("[DONE]"));
        let line: Value = serde_json::from_str(&bench.world.take_log()[0]).unwrap();
        assert_eq!((&line["error.type"], &line["level"]), (&json!(want), &json!("error")));
    }
}

#[test]
fn silence_after_content_is_bridged_by_comments() {
    let quiet = limits::KEEP_ALIVE_MS * 2 + 1;
    let (_, _, text) = streamed(vec![TEXT.into(), Chunk::Wait(quiet), STOP.into(), DONE.into()]);
    assert_eq!(text.matches(": keep-alive\n\n").count(), 2);
    assert!(text.ends_with(DONE));
}

/// Fault matrix: C12.
#[test]
fn a_client_that_leaves_mid_stream_cancels_the_upstream_and_is_logged() {
    let bench = Bench::new();
    let usage = "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1},\"choices\"";
    bench.world.http().push(Answer::stream(vec![TEXT.replace("\"choices\"", usage).as_str().into(), Chunk::Hang]));
    let body = json!({"model": "fast", "messages": [{}], "stream": true}).to_string();
    let response = bench.send(&bench.key, "POST", "/v1/chat/completions", body);
    let Body::Live(mut live) = response.into_body() else { panic!("no stream") };
    assert!(bench.world.run(live.next()).is_some());
    assert_eq!(bench.world.http().cancelled(), 0);
    drop(live);
    assert_eq!(bench.world.http().cancelled(), 1);
    let lines = bench.world.take_log();
    assert_eq!(lines.len(), 1);
    let line: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(line["http.response.status_code"], 499);
    assert_eq!(line["gen_ai.usage.input_tokens"], 3);
}

/// Fault matrix: C11.
#[test]
fn a_client_that_leaves_before_the_answer_is_logged() {
    let bench = Bench::new();
    bench.world.http().push(Answer::Hang);
    let body = json!({"model": "fast", "messages": [{}]}).to_string();
    let request = request(&bench.key, "POST", "/v1/chat/completions", body.into());
    assert!(bench.world.run_for(1_000, bench.gateway.handle(bench.world.clone(), request)).is_none());
    let lines = bench.world.take_log();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("\"http.response.status_code\":499"), "{}", lines[0]);
}

#[test]
fn whole_answers_and_their_faults() {
    let ok = r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2},"x":1.0}"#;
    for (answer, want, calls) in [
        (Answer::json(200, ok), (200, ""), 1),
        (Answer::json(200, "{\"choices\":["), (502, "upstream_protocol"), 2),
        (Answer::with(200, "text/html", vec!["<html>".into()]), (502, "upstream_protocol"), 1),
        (Answer::json(204, ""), (502, "upstream_protocol"), 1),
        (Answer::json(302, ""), (502, "upstream_redirect"), 1),
        (Answer::json(500, "boom sk-canary"), (502, "upstream_error"), 2),
        (Answer::json(403, ""), (502, "upstream_auth_failed"), 1),
        (Answer::Fail(HttpError::Connect), (502, "upstream_unreachable"), 2),
        (Answer::Fail(HttpError::ConnectTimeout), (504, "upstream_timeout"), 2),
        (Answer::Fail(HttpError::Protocol), (502, "upstream_protocol"), 1),
        (Answer::Hang, (504, "upstream_timeout"), 1),
        (Answer::with(200, "application/json", vec!["{".into(), Chunk::Hang]), (504, "upstream_timeout"), 1),
        (Answer::with(200, "application/json", vec!["{".into(), Chunk::Break]), (502, "upstream_unreachable"), 2),
        (Answer::json(200, " ".repeat(limits::UPSTREAM_BODY_BYTES + 1)), (502, "upstream_too_large"), 1),
    ] {
        let bench = Bench::new();
        let label = format!("{answer:.80?}");
        bench.world.http().push(answer.clone());
        bench.world.http().push(answer);
        let (status, text) = bench.chat(Value::Null);
        assert_eq!((status, code(&text).as_str()), want, "{label:.80}");
        assert_eq!(bench.world.http().take_sent().len(), calls, "{label:.80}");
        assert!(!text.contains("canary"));
        if status == 200 {
            assert_eq!(text, ok);
        }
    }
}

#[test]
fn what_a_provider_says_of_itself_holds_no_piece_of_its_credential() {
    let bench = Bench::empty();
    let data = json!({"name": "claude", "data": {"apikey": SK}});
    let uuid = bench.admin("POST", "/v1/providers/anthropic", data).1["uuid"].as_str().unwrap().to_owned();
    let models = format!("/v1/providers/{uuid}/models");
    assert_eq!(bench.admin("POST", &models, json!({"id": "claude-sonnet-4-6", "alias": "fast"})).0, 201);
    let message = json!({"id": "m", "type": "message", "role": "assistant", "model": SK, "stop_reason": SK,
        "content": [{"type": "text", "text": "x"}], "usage": {"input_tokens": 1, "output_tokens": 1}});
    let start = json!({"type": "message_start", "message": {"model": SK, "content": [], "usage": {}}});
    let block = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}});
    let open = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    let close = json!({"type": "content_block_stop", "index": 0});
    let end = json!({"type": "message_delta", "delta": {"stop_reason": SK}, "usage": {"output_tokens": 1}});
    let events = [start, open, block, close, end, json!({"type": "message_stop"})];
    let stream: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    for (answer, streamed) in
        [(Answer::json(200, message.to_string()), false), (Answer::stream(vec![stream.as_str().into()]), true)]
    {
        bench.world.take_log();
        bench.world.http().push(answer);
        let body = json!({"model": "fast", "stream": streamed, "messages": [{"role": "user", "content": "hi"}]});
        let response = bench.send(&bench.key, "POST", "/v1/chat/completions", body.to_string());
        let headers = format!("{:?}", response.headers());
        let (status, text) = bench.read(response);
        assert_eq!(status, 200, "{text}");
        let log = bench.world.take_log().join("");
        assert!(!headers.contains("canary") && !log.contains("canary"), "{headers} {log}");
        assert!(headers.contains("claude-sonnet-4-6"), "{headers}");
    }
}
