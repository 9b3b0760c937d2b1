//! Managers that fail, and many requests at once.

use super::*;

/// Fault matrix: S17, R9.
#[test]
fn a_hundred_cold_requests_read_once() {
    let (bench, made) = Bench::at(SM);
    let uuid = bench.ibm_provider();
    bench.model(&uuid);
    let cold = bench.cold();
    // The head is known, the credential is not.
    assert_eq!(cold.admin("GET", "/v1/models", Value::Null).0, 200);
    bench.sent();
    let tenant = TenantId::parse(&id(&made)).unwrap();
    let mut reference = CredentialRef::new(Manager::named(SM), uuid);
    reference.place = Some(PLACE.to_owned());
    cold.token();
    let body = kv(&id(&made), SK).to_string();
    let chunks = vec![Chunk::Wait(300), Chunk::Bytes(Bytes::from(body))];
    cold.world.http().push(Answer::with(200, "application/json", chunks));
    let read = || {
        let mut exchange = Exchange::new(cold.world.clone());
        let (gateway, reference) = (&cold.gateway, &reference);
        let read: Pin<Box<dyn Future<Output = _>>> =
            Box::pin(
                async move { read(gateway, &mut exchange, tenant, reference).await.map(|c| c.get("apikey").cloned()) },
            );
        read
    };
    let answers = cold.world.run(all((0..100).map(|_| read()).collect()));
    assert!(answers.into_iter().all(|key| key.unwrap().unwrap().open() == SK));
    assert_eq!(cold.sent().len(), 2, "one token and one read");
}

#[test]
fn while_the_manager_is_down_the_warm_go_on_and_the_cold_are_told() {
    let (bench, made) = Bench::at(SM);
    let uuid = bench.ibm_provider();
    bench.model(&uuid);
    bench.sent();
    let cold = bench.cold();
    // For ten minutes every call to the manager fails; the provider works.
    for minute in 0..10 {
        bench.world.pass(MINUTE);
        if minute >= 4 {
            bench.push(503, json!({}));
            bench.push(503, json!({}));
        }
        bench.answer();
        assert_eq!(bench.chat().0, 200, "minute {minute}");
        bench.sent();
    }
    cold.token();
    cold.push(503, json!({}));
    cold.push(503, json!({}));
    assert_eq!(cold.chat(), (503, "secrets_unavailable".into()));
    // It is back: no restart is needed.
    bench.world.pass(limits::TOKEN_FAILED_MS);
    cold.push(200, kv(&id(&made), "sk-canary-second"));
    cold.answer();
    assert_eq!(cold.chat().0, 200);
    // Past fifteen minutes the old one is used no more.
    bench.world.pass(6 * MINUTE);
    bench.push(503, json!({}));
    bench.push(503, json!({}));
    assert_eq!(bench.chat(), (503, "secrets_unavailable".into()));
}

#[test]
fn answers_of_a_manager_mean_what_they_should() {
    for (answers, want, calls) in [
        (vec![(429, json!({})), (200, Value::Null)], (200, ""), 4),
        (vec![(429, json!({})), (429, json!({}))], (503, "secrets_unavailable"), 3),
        (vec![(403, json!({}))], (503, "secrets_unavailable"), 2),
        (vec![(404, json!({}))], (502, "upstream_auth_failed"), 2),
        (vec![(200, json!({"id": PLACE, "name": "n"}))], (503, "secrets_unavailable"), 2),
        (vec![(302, json!({}))], (503, "secrets_unavailable"), 2),
        (
            vec![(
                200,
                json!({"id": PLACE, "name": "another-tenants", "secret_type": "kv", "data": {"apikey": "canary"}}),
            )],
            (502, "upstream_auth_failed"),
            2,
        ),
        (
            vec![(
                200,
                json!({"id": PLACE, "name": "model-gateway-TENANT-a", "secret_type": "arbitrary", "payload": "canary"}),
            )],
            (502, "upstream_auth_failed"),
            2,
        ),
    ] {
        let (bench, made) = Bench::at(SM);
        let uuid = bench.ibm_provider();
        bench.model(&uuid);
        bench.sent();
        let cold = bench.cold();
        cold.token();
        for (status, body) in answers.clone() {
            let body = if body.is_null() { kv(&id(&made), SK) } else { body };
            let body = serde_json::from_str(&body.to_string().replace("TENANT", &id(&made))).unwrap();
            cold.push(status, body);
        }
        cold.answer();
        let (status, code) = cold.chat();
        assert_eq!((status, code.as_str()), want, "{answers:?}");
        assert_eq!(cold.sent().len(), calls, "{answers:?}");
        assert!(!cold.world.take_log().concat().contains("canary"));
    }
}

#[test]
fn a_token_that_the_manager_does_not_take_is_replaced_once() {
    let (bench, made) = Bench::at(SM);
    let uuid = bench.ibm_provider();
    bench.model(&uuid);
    bench.sent();
    let cold = bench.cold();
    cold.token();
    cold.push(401, json!({}));
    cold.push(200, json!({"access_token": "another", "expires_in": 3600}));
    cold.push(200, kv(&id(&made), SK));
    cold.answer();
    assert_eq!(cold.chat().0, 200);
    let sent = cold.sent();
    assert!(sent[3].headers.contains(&("authorization".into(), "Bearer another".into())));
    assert_eq!(sent.len(), 5);
}

/// Fault matrix: S19.
#[test]
fn a_refused_credential_is_read_again_once_for_all() {
    let (bench, made) = Bench::at(SM);
    let uuid = bench.ibm_provider();
    bench.sent();
    let tenant = TenantId::parse(&id(&made)).unwrap();
    let mut reference = CredentialRef::new(Manager::named(SM), uuid);
    reference.place = Some(PLACE.to_owned());
    let old = {
        let mut credential = Credential::default();
        credential.set("apikey", Secret::new(SK.to_owned()));
        credential
    };
    let again = |refused: &Credential| {
        let (gateway, world, reference, refused) = (&bench.gateway, &bench.world, &reference, refused.clone());
        let again: Pin<Box<dyn Future<Output = _>>> =
            Box::pin(async move { reread(gateway, world, tenant, reference, &refused).await });
        again
    };
    let one = |refused: &Credential| {
        bench.world.run(again(refused)).map(|found| found.map(|c| c.get("apikey").unwrap().open().to_owned()))
    };
    // The manager fails: the failure is told, and what was known stays.
    bench.push(403, json!({}));
    assert_eq!(one(&old).unwrap_err().code, ErrorCode::SecretsUnavailable);
    bench.world.pass(limits::TOKEN_FAILED_MS);
    let mut exchange = Exchange::new(bench.world.clone());
    let kept = bench.world.run(read(&bench.gateway, &mut exchange, tenant, &reference)).unwrap();
    assert!(kept.same(&old));
    assert_eq!(bench.sent().len(), 1);
    // It was not rotated: one read, and for a while none.
    bench.world.pass(limits::TOKEN_REJECT_AGAIN_MS);
    bench.push(200, kv(&id(&made), SK));
    assert_eq!(one(&old), Ok(None));
    assert_eq!(one(&old), Ok(None));
    assert_eq!(bench.sent().len(), 1);
    // It was rotated: fifty refused requests read once and get the new one.
    bench.world.pass(limits::TOKEN_REJECT_AGAIN_MS);
    let body = kv(&id(&made), "sk-second").to_string();
    let chunks = vec![Chunk::Wait(200), Chunk::Bytes(Bytes::from(body))];
    bench.world.http().push(Answer::with(200, "application/json", chunks));
    let found = bench.world.run(all((0..50).map(|_| again(&old)).collect()));
    assert!(found.into_iter().all(|f| f.unwrap().unwrap().get("apikey").unwrap().open() == "sk-second"));
    assert_eq!(bench.sent().len(), 1);
    // Who was refused with the old one a moment later gets the new one without a read.
    assert_eq!(one(&old), Ok(Some("sk-second".to_owned())));
    assert_eq!(bench.sent().len(), 0);
}
