use http_body::Frame;
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

type TestBody = UnsyncBoxBody<Bytes, std::convert::Infallible>;

fn body(pieces: &[&'static str]) -> TestBody {
    let frames: Vec<_> = pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).collect();
    UnsyncBoxBody::new(StreamBody::new(futures_util::stream::iter(frames)))
}

/// A Runtime API that answers with these bytes, one after the other, and gives back what it was sent.
async fn api(answers: &[&'static str]) -> (RuntimeApi<TestBody>, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = RuntimeApi::new(&listener.local_addr().unwrap().to_string()).unwrap();
    let answers = answers.to_vec();
    let served = tokio::spawn(async move {
        let mut seen = Vec::new();
        let (mut stream, _) = listener.accept().await.unwrap();
        for answer in answers {
            let mut text = String::new();
            while !(text.starts_with("GET") && text.ends_with("\r\n\r\n") || text.ends_with("\r\n0\r\n\r\n")) {
                let mut piece = [0; 4096];
                let n = stream.read(&mut piece).await.unwrap();
                assert!(n > 0, "{text}");
                text.push_str(std::str::from_utf8(&piece[..n]).unwrap());
            }
            seen.push(text);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        seen
    });
    (client, served)
}

const EVENT: &str = "HTTP/1.1 200 OK\r\nlambda-runtime-aws-request-id: id-1\r\nlambda-runtime-deadline-ms: 77\r\n\
    content-length: 2\r\n\r\n{}";
const TAKEN: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn events_are_fetched_and_answered_on_one_connection() {
    let (mut api, served) = api(&[EVENT, TAKEN, EVENT]).await;
    let invocation = api.next(body(&[])).await.unwrap();
    assert_eq!(
        (invocation.id.as_str(), invocation.deadline_ms, invocation.event.as_ref()),
        ("id-1", Some(77), &b"{}"[..])
    );
    api.answer(&invocation.id, Answer::Streamed, body(&["prelude", "rest"])).await.unwrap();
    api.next(body(&[])).await.unwrap();
    let seen = served.await.unwrap();
    assert!(seen[0].starts_with("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n"), "{}", seen[0]);
    assert!(seen[1].starts_with("POST /2018-06-01/runtime/invocation/id-1/response HTTP/1.1\r\n"), "{}", seen[1]);
    assert!(seen[1].contains("lambda-runtime-function-response-mode: streaming\r\n"), "{}", seen[1]);
    assert!(seen[1].contains("transfer-encoding: chunked\r\n"), "{}", seen[1]);
    assert!(seen[1].ends_with("7\r\nprelude\r\n4\r\nrest\r\n0\r\n\r\n"), "{}", seen[1]);
}

#[tokio::test]
async fn a_whole_answer_is_chunked_too() {
    let (mut api, served) = api(&[TAKEN]).await;
    let whole = UnsyncBoxBody::new(http_body_util::Full::new(Bytes::from_static(b"whole")));
    api.answer("id-2", Answer::Streamed, whole).await.unwrap();
    let seen = served.await.unwrap();
    assert!(seen[0].ends_with("5\r\nwhole\r\n0\r\n\r\n") && !seen[0].contains("content-length"), "{}", seen[0]);
}

#[tokio::test]
async fn pieces_do_not_wait_for_acknowledgements() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = open(&listener.local_addr().unwrap().to_string()).await.unwrap();
    assert!(stream.nodelay().unwrap());
}

#[tokio::test]
async fn a_refusal_and_a_broken_connection_are_errors() {
    let (mut refusing, _) = api(&["HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"]).await;
    assert!(matches!(refusing.next(body(&[])).await, Err(ApiError::Refused(StatusCode::FORBIDDEN))));
    let (mut breaking, _) = api(&[]).await;
    assert!(matches!(breaking.next(body(&[])).await, Err(ApiError::Broken)));
    let mut nobody: RuntimeApi<TestBody> = RuntimeApi::new("127.0.0.1:1").unwrap();
    assert!(matches!(nobody.next(body(&[])).await, Err(ApiError::Connect)));
}
