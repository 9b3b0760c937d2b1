//! Configuration from a secret, events of all kinds, and what a client sees when something is down.

use serde_json::json;

use crate::stand::Function;

const ADMIN: &str = "operator-key-operator-key-operator-key";
const SEALING: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const ARN: (&str, &str) = ("GATEWAY_SECRET_ARN", "arn:aws:secretsmanager:us-east-1:000000000000:secret:x");

fn keys() -> [(&'static str, &'static str); 2] {
    [("GATEWAY_ADMIN_KEY", ADMIN), ("GATEWAY_SEALING_KEY", SEALING)]
}

#[tokio::test]
async fn keys_come_from_the_secret_and_an_unreadable_one_is_asked_for_again() {
    let function = Function::start(&[ARN]).await;
    for _ in 0..2 {
        let (status, headers, body) = function.request("GET", "/v1/tenants", ADMIN).await.answer();
        assert_eq!((status, headers["retry-after"].as_str()), (503, Some("1")));
        assert!(body.contains("secrets_unavailable"), "{body}");
    }
    let secret = json!({"GATEWAY_ADMIN_KEY": ADMIN, "GATEWAY_SEALING_KEY": SEALING}).to_string();
    function.aws(move |operation| match operation {
        "GetSecretValue" => (200, json!({"SecretString": secret, "VersionId": "v"})),
        "Query" => (200, json!({"Items": []})),
        _ => (500, json!({})),
    });
    for _ in 0..2 {
        assert_eq!(function.request("GET", "/v1/tenants", ADMIN).await.answer().0, 200);
        assert_eq!(function.request("GET", "/v1/tenants", "not-the-key").await.answer().0, 401);
    }
    let reads = function.calls().iter().filter(|call| *call == "GetSecretValue").count();
    assert_eq!(reads, 3, "two that failed and one that did not");
}

#[tokio::test]
async fn a_secret_that_holds_something_else_is_no_configuration_and_is_not_shown() {
    let function = Function::start(&[ARN]).await;
    for secret in ["canary", r#"["canary"]"#, r#"{"GATEWAY_ADMIN_KEY": "canary"}"#, "{}"] {
        function.aws(move |_| (200, json!({"SecretString": secret, "VersionId": "v"})));
        let (status, _, body) = function.request("GET", "/v1/tenants", "canary").await.answer();
        assert_eq!(status, 503);
        assert!(!body.contains("canary"), "{body}");
    }
}

/// Fault matrix: R9.
#[tokio::test]
async fn with_keys_in_the_environment_nothing_is_fetched_for_a_known_caller() {
    let function = Function::start(&keys()).await;
    let (status, headers, body) = function.request("GET", "/healthz", "").await.answer();
    assert_eq!((status, headers["content-type"].as_str()), (200, Some("application/json")), "{body}");
    assert_eq!(function.request("GET", "/v1/nothing", ADMIN).await.answer().0, 404);
    assert_eq!(function.request("GET", "/v1//models", "mg.forged").await.answer().0, 401);
    assert_eq!(function.calls(), Vec::<String>::new());
}

/// Fault matrix: S1.
#[tokio::test]
async fn a_store_that_is_down_is_a_503_and_never_a_401() {
    let function = Function::start(&keys()).await;
    let (status, _, body) = function.request("GET", "/readyz", "").await.answer();
    assert_eq!(status, 503, "{body}");
    let (status, _, body) = function.request("GET", "/v1/tenants", ADMIN).await.answer();
    assert!(status == 503 && body.contains("store_unavailable"), "{status} {body}");
}

#[tokio::test]
async fn a_roll_up_that_fails_is_a_failed_invocation() {
    let function = Function::start(&keys()).await;
    assert_eq!(function.event(&json!({"gateway": "roll_up"})).await.kind, "error");
}

#[tokio::test]
async fn schedules_sweep_and_roll_up_and_other_events_fail() {
    let function = Function::start(&keys()).await;
    function.aws(|_| (200, json!({"Items": []})));
    for event in [
        json!({"gateway": "sweep"}),
        json!({"gateway": "roll_up"}),
        json!({"source": "aws.events", "detail-type": "Scheduled Event"}),
    ] {
        let posted = function.event(&event).await;
        assert_eq!((posted.kind.as_str(), posted.body.as_ref()), ("response", &b"null"[..]));
        assert!(!posted.headers.contains_key("lambda-runtime-function-response-mode"));
    }
    assert!(!function.calls().is_empty());
    for event in [json!({}), json!(null), json!({"Records": []})] {
        let posted = function.event(&event).await;
        assert_eq!(posted.kind, "error");
        assert!(posted.headers.contains_key("lambda-runtime-function-error-type"));
    }
    assert_eq!(function.request("GET", "/healthz", "").await.answer().0, 200);
}
