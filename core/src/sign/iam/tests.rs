use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::lease::{Lease, Plan, Slot};

const T0: u64 = 1_760_000_000_000;

fn case(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/watsonxai").join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn address(auth_url: Option<&str>) -> Result<String, Refusal> {
    Address::of(auth_url, &AllowedOrigins::default()).map(|address| address.uri.to_string())
}

fn token(name: &str, refresh_at_ms: u64, expires_ms: u64) -> Token {
    Token { value: Secret::new(name.to_owned()), refresh_at_ms, expires_ms }
}

/// The words of a plan: what it is, and the token in it.
fn words(plan: &Plan) -> String {
    match plan {
        Plan::Use(token) => format!("use {}", token.value.open()),
        Plan::Fetch { before: None, .. } => "fetch".to_owned(),
        Plan::Fetch { before: Some(token), .. } => format!("fetch, have {}", token.value.open()),
        Plan::Wait(ms) => format!("wait {ms}"),
        Plan::Fail(failure) => format!("fail {}", failure.code.as_str()),
    }
}

fn lease(plan: &Plan) -> Lease {
    match plan {
        Plan::Fetch { lease, .. } => *lease,
        other => panic!("no lease but {}", words(other)),
    }
}

fn check(slot: &mut Slot, now_ms: u64, want: &str) -> Plan {
    let plan = slot.plan(now_ms);
    assert_eq!(words(&plan), want, "at {now_ms}");
    plan
}

#[test]
fn the_recorded_exchange_is_as_recorded() {
    let case = case("iam_token.json");
    let want = &case["upstream_request"];
    assert_eq!(address(None).unwrap(), want["url"].as_str().unwrap());
    assert_eq!(form(&Secret::new("IBM-KEY-EXAMPLE".to_owned())), want["body_text"].as_str().unwrap());
    assert_eq!(FORM, want["headers"]["content-type"].as_str().unwrap());
    let body = case["upstream_response"]["body"].to_string();
    let token = read(StatusCode::OK, body.as_bytes(), T0).unwrap();
    assert_eq!(token.value.open(), "IAM.JWT.EXAMPLE");
    assert_eq!(token.refresh_at_ms / 1000, case["cache"]["use_until"].as_u64().unwrap());
    assert_eq!(token.expires_ms, T0 + 3_600_000);
}

#[test]
fn the_recorded_refusal_is_the_stored_credentials() {
    let case = case("iam_token_error.json");
    let body = case["upstream_response"]["body"].to_string();
    let failure = read(StatusCode::BAD_REQUEST, body.as_bytes(), T0).unwrap_err();
    assert_eq!(failure.cause.as_deref(), Some("iam status 400 BXNIM0415E"));
    let response = failure.response();
    assert_eq!(response.headers()["x-should-retry"], "false");
    assert_eq!(response.status(), 502);
    assert_eq!(serde_json::from_slice::<Value>(response.body()).unwrap(), case["front_response"]["body"]);
}

#[test]
fn an_origin_gets_the_path_and_a_whole_url_is_used_as_it_is() {
    for (auth_url, want) in [
        ("https://iam.test.cloud.ibm.com", "https://iam.test.cloud.ibm.com/identity/token"),
        ("https://iam.test.cloud.ibm.com/", "https://iam.test.cloud.ibm.com/identity/token"),
        ("https://iam.cloud.ibm.com:8443", "https://iam.cloud.ibm.com:8443/identity/token"),
        ("https://iam.cloud.ibm.com/identity/token", "https://iam.cloud.ibm.com/identity/token"),
        ("https://example.com/oidc/token/", "https://example.com/oidc/token"),
    ] {
        assert_eq!(address(Some(auth_url)).unwrap(), want, "{auth_url}");
    }
    for bad in ["http://iam.cloud.ibm.com", "https://169.254.169.254/x", "https://localhost", "iam.cloud.ibm.com", ""] {
        assert!(address(Some(bad)).is_err(), "{bad}");
    }
    let allowed = AllowedOrigins::parse("http://127.0.0.1:9").unwrap();
    let open = Address::of(Some("http://127.0.0.1:9/iam"), &allowed).unwrap();
    assert_eq!((open.uri.to_string().as_str(), open.private_allowed), ("http://127.0.0.1:9/iam", true));
}

#[test]
fn a_key_is_encoded_whatever_it_holds() {
    let form = form(&Secret::new("a+b/c=d&e%f~-._\u{7f}g".to_owned()));
    assert!(form.ends_with("&apikey=a%2Bb%2Fc%3Dd%26e%25f~-._%7Fg"), "{form}");
    let read: Vec<_> = ::url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
    assert_eq!(read[0], ("grant_type".to_owned(), "urn:ibm:params:oauth:grant-type:apikey".to_owned()));
    assert_eq!(read[1], ("apikey".to_owned(), "a+b/c=d&e%f~-._\u{7f}g".to_owned()));
    assert_eq!(read.len(), 2);
}

#[test]
fn keys_of_the_cache_differ_with_place_and_key() {
    let of = |place: Option<&str>, key: &str| {
        TokenKey::of(&Address::of(place, &AllowedOrigins::default()).unwrap(), &Secret::new(key.to_owned()))
    };
    assert!(of(None, "k") == of(Some("https://iam.cloud.ibm.com/identity/token"), "k"));
    assert!(of(None, "k") == of(Some("https://IAM.cloud.ibm.com/"), "k"));
    assert!(of(None, "k") != of(None, "K"));
    assert!(of(None, "k") != of(Some("https://iam.cloud.ibm.com/identity"), "k"));
    // No part can be moved into the other.
    assert!(of(Some("https://a.example/x"), "yk") != of(Some("https://a.example/xy"), "k"));
}

#[test]
fn a_token_is_renewed_before_its_end() {
    for (life_s, early_ms) in [
        (86_400, 900_000),
        (3600, 900_000),
        (1801, 900_000),
        (1800, 600_000),
        (300, 100_000),
        (181, 60_333),
        (180, 60_000),
        (121, 60_000),
        (120, 60_000),
        (60, 30_000),
        (1, 500),
    ] {
        let body = json!({"access_token": "t", "expires_in": life_s}).to_string();
        let token = read(StatusCode::OK, body.as_bytes(), T0).unwrap();
        assert_eq!(token.expires_ms, T0 + life_s * 1000, "{life_s}");
        assert_eq!(token.expires_ms - token.refresh_at_ms, early_ms, "{life_s}");
    }
}

#[test]
fn odd_lifetimes_are_bounded() {
    for (rest, want_s) in [
        (json!({}), Some(300)),
        (json!({"expires_in": null, "expiration": "soon"}), Some(300)),
        (json!({"expires_in": -5}), Some(300)),
        (json!({"expires_in": 1e300}), Some(300)),
        (json!({"expires_in": u64::MAX}), Some(86_400)),
        (json!({"expiration": u64::MAX}), Some(86_400)),
        (json!({"expires_in": 60, "expiration": 5}), Some(60)),
        (json!({"expiration": T0 / 1000 + 90}), Some(90)),
        (json!({"expires_in": 0}), None),
        (json!({"expiration": T0 / 1000}), None),
        (json!({"expiration": 5}), None),
    ] {
        let mut body = rest.clone();
        body["access_token"] = json!("t");
        let read = read(StatusCode::OK, body.to_string().as_bytes(), T0);
        let life_s = read.as_ref().ok().map(|token| (token.expires_ms - T0) / 1000);
        assert_eq!(life_s, want_s, "{rest}");
        assert!(read.is_ok() || read.unwrap_err().code == ErrorCode::UpstreamProtocol);
    }
}

#[test]
fn an_answer_without_a_token_is_none() {
    let long = |n: usize| json!({"access_token": "t".repeat(n), "expires_in": 60}).to_string();
    assert!(read(StatusCode::OK, long(limits::CREDENTIAL_BYTES).as_bytes(), T0).is_ok());
    let too_long = long(limits::CREDENTIAL_BYTES + 1);
    let odd = ["", "null", "[]", "{}", "<html>", r#"["t",60,null]"#, r#"{"access_token":""}"#, r#"{"access_token":1}"#];
    let headers = [r#"{"access_token":"a\r\nb"}"#, r#"{"access_token":"a b"}"#, r#"{"access_token":"ü"}"#, &too_long];
    for body in odd.into_iter().chain(headers) {
        let failure = read(StatusCode::OK, body.as_bytes(), T0).unwrap_err();
        assert_eq!(failure.code, ErrorCode::UpstreamProtocol, "{body}");
    }
}

#[test]
fn statuses_of_the_exchange_map_to_our_codes() {
    for (status, code, retry) in [
        (302, ErrorCode::UpstreamRedirect, false),
        (400, ErrorCode::UpstreamAuthFailed, false),
        (401, ErrorCode::UpstreamAuthFailed, false),
        (403, ErrorCode::UpstreamAuthFailed, false),
        (404, ErrorCode::UpstreamAuthFailed, false),
        (408, ErrorCode::UpstreamError, true),
        (429, ErrorCode::UpstreamError, true),
        (500, ErrorCode::UpstreamError, true),
        (503, ErrorCode::UpstreamError, true),
        (504, ErrorCode::UpstreamTimeout, true),
        (204, ErrorCode::UpstreamProtocol, true),
    ] {
        for body in ["", "{", r#"{"errorCode":"secret text of IBM"}"#, r#"{"access_token":"t","expires_in":60}"#] {
            let failure = read(StatusCode::from_u16(status).unwrap(), body.as_bytes(), T0).unwrap_err();
            assert_eq!((failure.code, failure.code.retryable()), (code, retry), "{status}");
            assert_eq!(failure.cause.as_deref(), Some(format!("iam status {status}").as_str()));
            assert!(failure.upstream.is_none());
        }
    }
}

#[test]
fn one_fetches_and_the_others_wait() {
    let mut slot = Slot::default();
    let leader = lease(&check(&mut slot, 0, "fetch"));
    check(&mut slot, 0, "wait 40");
    check(&mut slot, 9_970, "wait 30");
    slot.done(leader, &Ok(token("a", 100_000, 200_000)), 9_980);
    check(&mut slot, 9_980, "use a");
    check(&mut slot, 99_999, "use a");
    let leader = lease(&check(&mut slot, 100_000, "fetch, have a"));
    check(&mut slot, 100_001, "use a");
    slot.done(leader, &Ok(token("b", 300_000, 400_000)), 100_002);
    check(&mut slot, 100_003, "use b");
}

#[test]
fn a_token_is_not_used_past_its_end() {
    let mut slot = Slot::default();
    let leader = lease(&check(&mut slot, 0, "fetch"));
    slot.done(leader, &Ok(token("a", 100, 200)), 0);
    // Nobody came while it was due.
    check(&mut slot, 200, "fetch");
    check(&mut slot, 201, "wait 40");
    let mut slot = Slot::default();
    let leader = lease(&check(&mut slot, 0, "fetch"));
    slot.done(leader, &Ok(token("a", 100, 200)), 0);
    // It ends while somebody renews it.
    check(&mut slot, 199, "fetch, have a");
    check(&mut slot, 200, "wait 40");
}

#[test]
fn a_lease_ends_and_its_holder_may_still_bring_something() {
    let mut slot = Slot::default();
    let first = lease(&check(&mut slot, 0, "fetch"));
    check(&mut slot, limits::TOKEN_LEASE_MS - 1, "wait 1");
    let second = lease(&check(&mut slot, limits::TOKEN_LEASE_MS, "fetch"));
    assert_ne!(first, second);
    // What the first has to say of its failure, or its leaving, is not for the second.
    slot.done(first, &Err(constant(ErrorCode::UpstreamTimeout)), 10_001);
    slot.abandon(first);
    check(&mut slot, 10_002, "wait 40");
    slot.done(first, &Ok(token("late", 50_000, 60_000)), 10_003);
    check(&mut slot, 10_004, "use late");
    slot.done(second, &Ok(token("short", 20_000, 30_000)), 10_005);
    check(&mut slot, 10_006, "use late");
    slot.done(second, &Ok(token("long", 70_000, 80_000)), 10_007);
    check(&mut slot, 10_008, "use long");
    slot.done(second, &Err(constant(ErrorCode::UpstreamTimeout)), 10_009);
    check(&mut slot, 10_010, "use long");
    // A clock that goes back ends a lease, too.
    let mut slot = Slot::default();
    check(&mut slot, 5_000, "fetch");
    check(&mut slot, 4_999, "fetch");
}

#[test]
fn who_leaves_gives_the_lease_back() {
    let mut slot = Slot::default();
    let leader = lease(&check(&mut slot, 0, "fetch"));
    slot.abandon(leader);
    let leader = lease(&check(&mut slot, 1, "fetch"));
    slot.done(leader, &Ok(token("a", 100, 200)), 2);
    let leader = lease(&check(&mut slot, 100, "fetch, have a"));
    slot.abandon(leader);
    check(&mut slot, 101, "fetch, have a");
}

#[test]
fn a_failure_is_shared_for_a_moment() {
    for (code, pause) in [
        (ErrorCode::UpstreamError, limits::TOKEN_FAILED_MS),
        (ErrorCode::UpstreamTimeout, limits::TOKEN_FAILED_MS),
        (ErrorCode::UpstreamAuthFailed, limits::TOKEN_REJECTED_MS),
    ] {
        let mut slot = Slot::default();
        let leader = lease(&check(&mut slot, 0, "fetch"));
        slot.done(leader, &Err(constant(code)), 10);
        check(&mut slot, 10, &format!("fail {}", code.as_str()));
        check(&mut slot, 9 + pause, &format!("fail {}", code.as_str()));
        check(&mut slot, 10 + pause, "fetch");
    }
}

#[test]
fn a_renewal_that_fails_leaves_the_token() {
    let mut slot = Slot::default();
    let leader = lease(&check(&mut slot, 0, "fetch"));
    slot.done(leader, &Ok(token("a", 100_000, 200_000)), 0);
    let leader = lease(&check(&mut slot, 100_000, "fetch, have a"));
    slot.done(leader, &Err(constant(ErrorCode::UpstreamError)), 100_010);
    check(&mut slot, 100_010 + limits::TOKEN_RENEW_AGAIN_MS - 1, "use a");
    let leader = lease(&check(&mut slot, 100_010 + limits::TOKEN_RENEW_AGAIN_MS, "fetch, have a"));
    // It ended meanwhile.
    slot.done(leader, &Err(constant(ErrorCode::UpstreamError)), 200_000);
    check(&mut slot, 200_001, "fail upstream_error");
}

#[test]
fn only_the_kept_token_can_be_rejected() {
    let secret = |name: &str| Secret::new(name.to_owned());
    let mut slot = Slot::default();
    assert!(slot.reject(&secret("a"), 0));
    let leader = lease(&check(&mut slot, 0, "fetch"));
    slot.done(leader, &Ok(token("a", 100_000, 200_000)), 0);
    assert!(slot.reject(&secret("older"), 1));
    check(&mut slot, 1, "use a");
    assert!(slot.reject(&secret("a"), 2));
    let leader = lease(&check(&mut slot, 2, "fetch"));
    assert!(slot.reject(&secret("a"), 3));
    check(&mut slot, 3, "wait 40");
    slot.done(leader, &Ok(token("b", 100_000, 200_000)), 4);
    assert!(slot.reject(&secret("a"), 5));
    check(&mut slot, 5, "use b");
    // Refused again so soon: another one would not help.
    assert!(!slot.reject(&secret("b"), 1 + limits::TOKEN_REJECT_AGAIN_MS));
    check(&mut slot, 1 + limits::TOKEN_REJECT_AGAIN_MS, "use b");
    assert!(slot.reject(&secret("b"), 2 + limits::TOKEN_REJECT_AGAIN_MS));
    check(&mut slot, 2 + limits::TOKEN_REJECT_AGAIN_MS, "fetch");
    // One that is refused while it is renewed is no longer good.
    let mut slot = Slot::default();
    let leader = lease(&check(&mut slot, 0, "fetch"));
    slot.done(leader, &Ok(token("a", 100, 200_000)), 0);
    check(&mut slot, 100, "fetch, have a");
    check(&mut slot, 100, "use a");
    assert!(slot.reject(&secret("a"), 101));
    check(&mut slot, 101, "wait 40");
}

#[test]
fn nothing_prints_a_token() {
    let mut slot = Slot::default();
    let leader = lease(&check(&mut slot, 0, "fetch"));
    slot.done(leader, &Ok(token("canary", 1, 2)), 0);
    assert!(!format!("{slot:?}").contains("canary"));
}
