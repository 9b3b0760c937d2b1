use super::*;
use crate::secret::Secret;

const ROLE: &str = r#"data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
const TEXT: &str = r#"data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}"#;
const STOP: &str = r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#;
const MARK: &str = "data: [DONE]";

fn relay(hide_usage: bool) -> Relay {
    Relay::new(Setup {
        codec: Codec::Pass(Pass::new(hide_usage, false)),
        secrets: vec![Secret::new("sk-canary-0123456789".into())],
        now_ms: 0,
        deadline_ms: 600_000,
        timeouts: Timeouts::default(),
    })
}

fn stream(events: &[&str]) -> String {
    events.iter().map(|event| format!("{event}\n\n")).collect()
}

/// What the client sees of `pieces`: an error status before content, or the stream.
fn run(relay: &mut Relay, pieces: &[&[u8]], end: Result<(), HttpError>) -> Result<String, ErrorCode> {
    let mut out = Vec::new();
    let mut committed = false;
    for piece in pieces.iter().filter(|p| !p.is_empty()) {
        let chunk = Bytes::copy_from_slice(piece);
        if committed {
            out.extend_from_slice(&relay.push(&chunk, 1).bytes);
            continue;
        }
        match relay.hold(&chunk, 1) {
            Hold::More => {}
            Hold::Commit => {
                committed = true;
                out.extend_from_slice(&relay.begin(1).bytes);
            }
            Hold::Fail(failure) => return Err(failure.code),
        }
    }
    if committed {
        out.extend_from_slice(&relay.end(end, 1).bytes);
    } else {
        match relay.hold_end(end) {
            Hold::Fail(failure) => return Err(failure.code),
            Hold::Commit | Hold::More => out.extend_from_slice(&relay.begin(1).bytes),
        }
    }
    assert!(relay.ended().is_some());
    assert!(relay.push(&Bytes::from_static(b"data: {}\n\n"), 2).bytes.is_empty());
    Ok(String::from_utf8(out).unwrap())
}

fn whole(events: &[&str]) -> Result<String, ErrorCode> {
    run(&mut relay(false), &[stream(events).as_bytes()], Ok(()))
}

#[test]
fn a_finished_stream_passes_byte_for_byte_at_every_split() {
    let text = stream(&[ROLE, TEXT, STOP, USAGE, MARK]);
    for split in 0..=text.len() {
        let (a, b) = text.as_bytes().split_at(split);
        let mut relay = relay(false);
        assert_eq!(run(&mut relay, &[a, b], Ok(())), Ok(text.clone()), "split at {split}");
        assert_eq!(relay.ended(), Some(End::Complete));
        assert_eq!(relay.settle(Estimate::NONE).unwrap().usage.unwrap().input_tokens, 3);
        assert_eq!(relay.settle(Estimate::NONE), None);
    }
}

#[test]
fn a_whole_chunk_is_passed_on_uncopied() {
    let mut relay = relay(false);
    let first = Bytes::from(stream(&[ROLE, TEXT]));
    assert!(matches!(relay.hold(&first, 0), Hold::Commit));
    relay.begin(0);
    let chunk = Bytes::from(stream(&[TEXT, TEXT, STOP, MARK]));
    let step = relay.push(&chunk, 1);
    assert_eq!(step.bytes.as_ptr(), chunk.as_ptr());
    assert_eq!((step.bytes.len(), step.done), (chunk.len(), true));
}

#[test]
fn a_stream_cut_anywhere_never_ends_well() {
    let text = stream(&[ROLE, TEXT, STOP, USAGE, MARK]);
    let content_at = stream(&[ROLE]).len() + stream(&[TEXT]).len();
    let stop_at = content_at + stream(&[STOP]).len();
    for end in [Ok(()), Err(HttpError::Disconnected)] {
        for cut in 0..text.len() {
            let seen = run(&mut relay(false), &[&text.as_bytes()[..cut]], end);
            // A proper end of the body completes the last event's line; a broken connection does not.
            let slack = if end.is_ok() { 1 } else { 0 };
            match seen {
                Err(code) => {
                    assert!(cut < content_at, "{cut}");
                    assert!(matches!(code, ErrorCode::UpstreamIncomplete | ErrorCode::UpstreamDisconnected));
                }
                Ok(out) if cut + slack < stop_at => {
                    assert!(cut + slack >= content_at, "{cut}");
                    assert_eq!(out.matches("\"error\"").count(), 1, "{cut}");
                    assert!(!out.contains("[DONE]"), "{cut}");
                }
                Ok(out) => {
                    assert!(out.ends_with("data: [DONE]\n\n"), "{cut}");
                    assert!(!out.contains("\"error\""), "{cut}");
                }
            }
        }
    }
}

#[test]
fn the_usage_we_asked_for_is_hidden() {
    let with_null = TEXT.replace("}]}", r#"}],"usage":null}"#);
    let text = stream(&[ROLE, &with_null, STOP, USAGE, MARK]);
    for split in 0..=text.len() {
        let (a, b) = text.as_bytes().split_at(split);
        let mut relay = relay(true);
        assert_eq!(run(&mut relay, &[a, b], Ok(())), Ok(stream(&[ROLE, TEXT, STOP, MARK])));
        assert_eq!(relay.settle(Estimate::NONE).unwrap().usage.unwrap().output_tokens, 1);
    }
}

#[test]
fn failures_before_content_keep_their_status() {
    let error = |body: &str| format!(r#"data: {{"error":{body}}}"#);
    for (event, code) in [
        (error(r#"{"message":"x","type":"server_error"}"#), ErrorCode::UpstreamError),
        (error(r#"{"message":"x","type":"requests","code":"rate_limit_exceeded"}"#), ErrorCode::UpstreamRateLimited),
        (error(r#"{"message":"x","type":"invalid_request_error"}"#), ErrorCode::UpstreamRejected),
        ("data: hello".to_owned(), ErrorCode::UpstreamProtocol),
    ] {
        assert_eq!(whole(&[ROLE, &event]), Err(code), "{event}");
        let seen = whole(&[ROLE, TEXT, &event]).unwrap();
        assert!(seen.starts_with(&stream(&[ROLE, TEXT])));
        assert_eq!(seen.matches("\"error\"").count(), 1);
        assert!(!seen.contains("[DONE]"));
    }
    assert_eq!(whole(&[]), Err(ErrorCode::UpstreamIncomplete));
}

#[test]
fn all_choices_must_end() {
    let other = TEXT.replace("\"index\":0", "\"index\":1");
    let seen = whole(&[TEXT, &other, STOP]).unwrap();
    assert!(seen.contains("upstream_incomplete"));
    let stop1 = STOP.replace("\"index\":0", "\"index\":1");
    assert!(whole(&[TEXT, &other, STOP, &stop1]).unwrap().ends_with("data: [DONE]\n\n"));
}

#[test]
fn what_follows_the_end_is_ignored() {
    let seen = whole(&[TEXT, STOP, MARK, TEXT, "data: junk"]).unwrap();
    assert_eq!(seen, stream(&[TEXT, STOP, MARK]));
}

#[test]
fn odd_framing_leaves_in_the_plain_form() {
    let text = format!("\u{feff}: hi\r\n\r\nevent: x\r\n{TEXT}\r\n\r\ndata:{}\n\n{STOP}\n\nid: 1\n\n", &STOP[6..]);
    let seen = run(&mut relay(false), &[text.as_bytes()], Ok(())).unwrap();
    assert_eq!(seen, stream(&[TEXT, STOP, STOP, MARK]));
    let split = TEXT.replacen(",\"delta\"", ",\ndata: \"delta\"", 1);
    let seen = run(&mut relay(false), &[stream(&[&split, STOP]).as_bytes()], Ok(())).unwrap();
    assert!(!seen.trim_end().contains("\n\"delta\""));
    assert_eq!(seen.matches("data: ").count(), 3);
}

#[test]
fn an_event_of_several_lines_leaves_in_one_also_without_its_usage() {
    let text = TEXT.replacen(",\"delta\"", ",\ndata: \"delta\"", 1).replace("}]}", "}],\ndata: \"usage\":null}");
    let seen = run(&mut relay(true), &[stream(&[&text, STOP, MARK]).as_bytes()], Ok(())).unwrap();
    assert_eq!(seen, stream(&[&TEXT.replacen(",\"delta\"", ", \"delta\"", 1), STOP, MARK]));
}

#[test]
fn a_key_in_an_error_event_is_withheld() {
    let event = r#"data: {"error":{"message":"bad key sk-canary-0123456789","type":"invalid_request_error"}}"#;
    let seen = whole(&[TEXT, event]).unwrap();
    assert!(!seen.contains("canary"), "{seen}");
}

#[test]
fn silence_is_bridged_and_then_ended() {
    let mut relay = relay(false);
    assert!(matches!(relay.hold(&Bytes::from(stream(&[TEXT])), 0), Hold::Commit));
    relay.begin(0);
    assert_eq!(relay.due_ms(), limits::KEEP_ALIVE_MS);
    assert!(relay.wake(limits::KEEP_ALIVE_MS - 1).bytes.is_empty());
    assert_eq!(relay.wake(limits::KEEP_ALIVE_MS).bytes, KEEP_ALIVE);
    assert_eq!(relay.due_ms(), 2 * limits::KEEP_ALIVE_MS);
    let step = relay.wake(limits::IDLE_MS);
    assert!(step.done);
    assert!(String::from_utf8_lossy(&step.bytes).contains("upstream_timeout"));
    assert!(relay.wake(limits::IDLE_MS * 2).bytes.is_empty());
}

#[test]
fn a_line_beyond_its_limit_ends_the_stream() {
    let mut relay = relay(false);
    assert!(matches!(relay.hold(&Bytes::from(stream(&[TEXT])), 0), Hold::Commit));
    relay.begin(0);
    let line = Bytes::from(format!("data: {}", "x".repeat(limits::SSE_LINE_BYTES + 1)));
    let step = relay.push(&line, 1);
    assert!(step.done && String::from_utf8_lossy(&step.bytes).contains("upstream_too_large"));
}
