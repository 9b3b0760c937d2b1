//! What happens when DynamoDB throttles, fails or lets an answer get lost: a scripted service on loopback.

use std::sync::{Arc, Mutex};

use gateway_native::Upstream;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What the service does with one call.
enum Act {
    /// Answers.
    Answer(u16, Value),
    /// Answers with the item that the first put of this test wanted to write.
    ReadBack,
    /// Breaks the connection off without an answer.
    Lose,
}

/// A service that goes through its script, and keeps the calls.
struct Service {
    store: DynamoStore,
    calls: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Service {
    async fn start(script: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let calls = Arc::new(Mutex::new(Vec::new()));
        let kept = calls.clone();
        tokio::spawn(async move {
            let mut script = script.into_iter();
            while let Ok((mut stream, _)) = listener.accept().await {
                while let Some((operation, body)) = read(&mut stream).await {
                    kept.lock().unwrap().push((operation, body));
                    let answer = match script.next().unwrap() {
                        Act::Lose => break,
                        Act::Answer(status, body) => (status, body),
                        Act::ReadBack => (200, json!({"Item": kept.lock().unwrap()[0].1["Item"]})),
                    };
                    write(&mut stream, answer.0, &answer.1).await;
                }
            }
        });
        let environment = move |name: &str| match name {
            "AWS_ENDPOINT_URL" => Some(url.clone()),
            _ => Some("testing".to_owned()),
        };
        let account = Arc::new(Account::new(Upstream::default(), environment));
        Self { store: DynamoStore::new(account, "table"), calls }
    }

    fn operations(&self) -> Vec<String> {
        self.calls.lock().unwrap().iter().map(|(operation, _)| operation.clone()).collect()
    }
}

async fn read(stream: &mut TcpStream) -> Option<(String, Value)> {
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let n = stream.read(&mut piece).await.ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&piece[..n]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
        };
        let length: usize = header("content-length").unwrap().parse().unwrap();
        if body.len() >= length {
            let operation = header("x-amz-target").unwrap().split_once('.').unwrap().1.to_owned();
            return Some((operation, serde_json::from_str(body).unwrap()));
        }
    }
}

async fn write(stream: &mut TcpStream, status: u16, body: &Value) {
    let body = body.to_string();
    let head =
        format!("HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}", body.len());
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
}

fn done() -> Act {
    Act::Answer(200, json!({}))
}

fn error(status: u16, kind: &str) -> Act {
    Act::Answer(status, json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{kind}"), "message": "canary"}))
}

fn refused() -> Act {
    error(400, "ConditionalCheckFailedException")
}

fn throttled() -> Act {
    error(400, "ProvisionedThroughputExceededException")
}

fn tenant() -> TenantId {
    TenantId::from_random([1; 16])
}

fn head() -> Option<HeadRecord> {
    Some(HeadRecord { version: 2, bytes: Bytes::from_static(b"head") })
}

async fn swap(script: Vec<Act>) -> (Result<Swap, PortError>, Vec<String>) {
    let service = Service::start(script).await;
    (service.store.swap(tenant(), Some(1), head()).await, service.operations())
}

/// Fault matrix: S10.
#[tokio::test]
async fn a_lost_answer_to_a_write_that_happened_is_a_success() {
    let (outcome, calls) = swap(vec![Act::Lose, refused(), Act::ReadBack]).await;
    assert_eq!(outcome, Ok(Swap::Done));
    assert_eq!(calls, ["PutItem", "PutItem", "GetItem"]);
}

/// Fault matrix: S10.
#[tokio::test]
async fn a_lost_answer_to_a_write_that_another_one_overtook_is_a_lost_swap() {
    let other = json!({"Item": {"pk": {"S": "p"}, "sk": {"S": "HEAD"}, "version": {"N": "2"},
        "data": {"B": "aGVhZA=="}, "write": {"S": "other"}}});
    let (outcome, _) = swap(vec![Act::Lose, refused(), Act::Answer(200, other)]).await;
    assert_eq!(outcome, Ok(Swap::Lost));
}

/// Fault matrix: S9.
#[tokio::test]
async fn a_write_that_did_not_happen_is_made_again() {
    let (outcome, calls) = swap(vec![Act::Lose, error(500, "InternalServerError"), throttled(), done()]).await;
    assert_eq!(outcome, Ok(Swap::Done));
    assert_eq!(calls.len(), 4);
}

/// Fault matrix: S8.
#[tokio::test]
async fn a_refusal_is_a_lost_swap_and_not_tried_again() {
    let (outcome, calls) = swap(vec![refused()]).await;
    assert_eq!((outcome, calls.len()), (Ok(Swap::Lost), 1));
    // A throttled try did nothing, so that what is there now was not written by it.
    let (outcome, calls) = swap(vec![throttled(), refused()]).await;
    assert_eq!((outcome, calls.len()), (Ok(Swap::Lost), 2));
}

/// Fault matrix: S7, S9.
#[tokio::test]
async fn errors_end_after_a_few_tries_and_show_no_text() {
    let (outcome, calls) = swap(vec![throttled(), throttled(), throttled(), throttled()]).await;
    let failed = outcome.unwrap_err();
    assert_eq!((failed.fault, calls.len()), (Fault::Throttled, 4));
    assert!(!failed.to_string().contains("canary"), "{failed}");
    let (outcome, calls) = swap(vec![error(400, "AccessDeniedException")]).await;
    assert_eq!((outcome.unwrap_err().fault, calls.len()), (Fault::Denied, 1));
}

#[tokio::test]
async fn a_deletion_whose_answer_was_lost_was_a_deletion() {
    let service = Service::start(vec![Act::Lose, refused(), done()]).await;
    assert_eq!(service.store.swap(tenant(), Some(1), None).await, Ok(Swap::Done));
    assert_eq!(service.operations(), ["DeleteItem", "DeleteItem", "GetItem"]);
}

#[tokio::test]
async fn a_name_that_was_taken_without_an_answer_is_taken() {
    let service = Service::start(vec![Act::Lose, refused(), Act::ReadBack]).await;
    assert_eq!(service.store.swap_name("acme", None, Some("entry".into())).await, Ok(true));
}

/// Fault matrix: S7.
#[tokio::test]
async fn reads_are_consistent_and_repeated_once() {
    let service = Service::start(vec![throttled(), throttled(), throttled()]).await;
    // Core repeats this one.
    assert_eq!(service.store.load(tenant(), None, None).await.unwrap_err().fault, Fault::Throttled);
    assert_eq!(service.store.secret(tenant(), "id").await.unwrap_err().fault, Fault::Throttled);
    assert_eq!(service.operations(), ["BatchGetItem", "GetItem", "GetItem"]);
    let calls = service.calls.lock().unwrap();
    assert_eq!(calls[0].1["RequestItems"]["table"]["ConsistentRead"], true);
    assert_eq!(calls[1].1["ConsistentRead"], true);
}

#[tokio::test]
async fn keys_that_a_batch_left_over_are_asked_for_again() {
    let hash = KeyHash::of("key");
    let pk = format!("TENANT#{}", tenant());
    let key = json!({"pk": {"S": pk}, "sk": {"S": format!("KEY#{hash}")}});
    let head = json!({"pk": {"S": pk}, "sk": {"S": "HEAD"}, "version": {"N": "7"}, "data": {"B": "aGVhZA=="}});
    let record = json!({"pk": {"S": pk}, "sk": {"S": format!("KEY#{hash}")}, "data": {"B": "a2V5"}});
    let service = Service::start(vec![
        Act::Answer(200, json!({"Responses": {"table": [head]}, "UnprocessedKeys": {"table": {"Keys": [key]}}})),
        Act::Answer(200, json!({"Responses": {"table": [record]}, "UnprocessedKeys": {}})),
    ])
    .await;
    let loaded = service.store.load(tenant(), Some(hash), Some(7)).await.unwrap();
    assert_eq!((loaded.head, loaded.key), (HeadState::Unchanged, Some("key".into())));
    assert_eq!(service.calls.lock().unwrap()[1].1["RequestItems"]["table"]["Keys"].as_array().unwrap().len(), 1);
}

/// Fault matrix: S6.
#[tokio::test]
async fn an_item_that_is_not_ours_is_corrupt_and_never_absent() {
    let item = json!({"pk": {"S": "p"}, "sk": {"S": "HEAD"}, "version": {"N": "x"}, "data": {"B": "aGVhZA=="}});
    let service = Service::start(vec![Act::Answer(200, json!({"Responses": {"table": [item]}}))]).await;
    assert_eq!(service.store.load(tenant(), None, None).await.unwrap_err().fault, Fault::Corrupt);
}
