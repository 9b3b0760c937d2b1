//! Secrets of the tenants' own, addresses that nobody configured, and the deployment's own key.

use super::*;

#[test]
fn a_tenants_own_secret_is_read_and_never_written() {
    let (bench, made) = Bench::at("builtin");
    let tenant = id(&made);
    let crn = format!("crn:v1:bluemix:public:secrets-manager:us-south:a/abc:1a2b:secret:{PLACE}");
    let secret = |data: Value| json!({"id": PLACE, "name": format!("model-gateway-{tenant}-mine"), "secret_type": "arbitrary", "payload": data.to_string()});
    bench.token();
    bench.push(200, secret(json!({"apiKey": SK, "resourceName": "my-res"})));
    let body = json!({"name": "p", "data_reference": {"resource": crn}});
    let (status, provider) = bench.admin("POST", "/v1/providers/azure-openai", body.clone());
    assert_eq!(status, 201, "{provider}");
    assert_eq!(provider["data_reference"], json!({"resource": crn}));
    let uuid = provider["uuid"].as_str().unwrap().to_owned();
    let dump = bench.world.store().dump();
    assert!(!dump.contains("canary") && dump.contains("my-res") && dump.contains(&crn), "{dump}");
    assert_eq!(bench.admin("GET", &format!("/v1/providers/{uuid}"), Value::Null).1["data_reference"]["resource"], crn);
    bench.model(&uuid);
    bench.sent();
    bench.push(200, secret(json!({"apiKey": "sk-second", "resourceName": "other"})));
    bench.answer();
    assert_eq!(bench.chat().0, 200);
    let sent = bench.sent();
    assert_eq!(sent[0].target, format!("GET {SM}/api/v2/secrets/{PLACE}"));
    assert!(sent[1].target.starts_with("POST https://my-res.openai.azure.com/"), "{}", sent[1].target);
    assert!(sent[1].headers.contains(&("api-key".into(), "sk-second".into())));
    // An export with credentials does not take it along.
    let (status, export) = bench.admin("POST", "/v1/tenant/export", json!({"sealing_key": key(5)}));
    assert_eq!((status, &export["credentials"]), (200, &json!([])));
    assert_eq!(bench.admin("DELETE", &format!("/v1/providers/{uuid}"), Value::Null).0, 204);
    assert_eq!(bench.sent().len(), 0, "nothing is deleted there");

    for (resource, answer, word) in [
        (
            crn.clone(),
            Some(json!({"id": PLACE, "name": "model-gateway-other-x", "secret_type": "arbitrary", "payload": "{}"})),
            "not one of this tenant's",
        ),
        (crn.clone(), Some(secret(json!({"apikey": SK}))), "resource_name"),
        (crn.clone(), Some(secret(json!([SK]))), "object"),
        (crn.clone(), Some(secret(json!({"apikey": SK, "resource_name": "r", "sk-canary": 1}))), "cannot be used"),
        (crn.replace("us-south", "eu-de"), None, "SECRETS_MANAGERS"),
        ("http://169.254.169.254/latest/meta-data".to_owned(), None, "SECRETS_MANAGERS"),
        (
            format!("arn:aws:secretsmanager:us-east-1:999999999999:secret:model-gateway/{tenant}/x"),
            None,
            "SECRETS_MANAGERS",
        ),
        (
            "arn:aws:secretsmanager:us-east-1:123456789012:secret:model-gateway/5f0c8a1e-0d0e-4a53-8a7b-3d7b1c1a2f44/x"
                .to_owned(),
            None,
            "SECRETS_MANAGERS",
        ),
    ] {
        let calls = usize::from(answer.is_some());
        if let Some(answer) = answer {
            bench.push(200, answer);
        }
        let body = json!({"name": "q", "data_reference": {"resource": resource}});
        let (status, failed) = bench.admin("POST", "/v1/providers/azure-openai", body);
        assert_eq!((status, failed["error"]["param"].as_str()), (400, Some("data_reference")), "{resource}: {failed}");
        assert!(failed["error"]["message"].as_str().unwrap().contains(word), "{resource}: {failed}");
        assert!(!failed.to_string().contains("canary"));
        assert_eq!(bench.sent().len(), calls, "{resource}");
    }
    for wrong in [json!(crn), json!({}), json!({"resource": 1}), json!({"resource": crn, "x": 1})] {
        let (status, failed) =
            bench.admin("POST", "/v1/providers/openai", json!({"name": "q", "data_reference": wrong}));
        assert_eq!((status, failed["error"]["param"].as_str()), (400, Some("data_reference")), "{failed}");
    }
    let both = json!({"name": "q", "data": {"apikey": "k"}, "data_reference": {"resource": crn}});
    assert_eq!(bench.admin("POST", "/v1/providers/openai", both).0, 400);
    bench.push(503, json!({}));
    bench.push(503, json!({}));
    assert_eq!(bench.admin("POST", "/v1/providers/azure-openai", body).1["error"]["code"], "secrets_unavailable");
}

#[test]
fn addresses_that_are_not_configured_are_never_called() {
    let bench = Bench::new();
    for asked in [
        "http://127.0.0.1:1",
        "http://169.254.169.254/latest",
        "https://localhost",
        "https://secretsmanager.us-east-2.amazonaws.com",
        "https://1a2b.us-south.secrets-manager.appdomain.cloud.evil.example",
        "arn:aws:secretsmanager:us-east-1:123456789012:secret:x",
        "aws",
        "../x",
        "",
    ] {
        let (status, failed) = bench.admin("POST", "/v1/tenant", json!({"name": "t", "secrets_manager": asked}));
        assert_eq!((status, failed["error"]["param"].as_str()), (400, Some("secrets_manager")), "{asked}");
        assert!(failed["error"]["message"].as_str().unwrap().contains("SECRETS_MANAGERS"));
    }
    assert_eq!(bench.sent().len(), 0);
}

#[test]
fn a_manager_that_the_operator_took_away_is_an_outage_and_no_fallback() {
    let (bench, _) = Bench::at(SM);
    let uuid = bench.ibm_provider();
    bench.model(&uuid);
    bench.sent();
    let sealing = key(7);
    let lookup = |name: &str| match name {
        "GATEWAY_ADMIN_KEY" => Some(OPERATOR.to_owned()),
        "GATEWAY_SEALING_KEY" => Some(sealing.clone()),
        _ => None,
    };
    let without =
        Bench { world: bench.world, gateway: Gateway::new(Deployment::read(lookup, DefaultManager::Builtin).unwrap()) };
    assert_eq!(without.chat(), (503, "secrets_unavailable".into()));
    let (_, failed) = without.admin("POST", "/v1/providers/openai", json!({"name": "q", "data": {"apikey": SK}}));
    assert_eq!(failed["error"]["code"], "secrets_unavailable");
    assert_eq!(without.admin("DELETE", &format!("/v1/providers/{uuid}"), Value::Null).0, 204);
    assert!(without.world.store().dump().contains(SM), "the marker stays");
    assert_eq!(without.sent().len(), 0);
}

#[test]
fn a_wrong_sealing_key_closes_and_overwrites_nothing_and_the_right_one_is_renewed() {
    let (bench, _) = Bench::at("builtin");
    let (_, made) = bench.admin("POST", "/v1/providers/openai", json!({"name": "p", "data": {"apikey": SK}}));
    let uuid = made["uuid"].as_str().unwrap();
    bench.model(uuid);
    bench.world.take_log();
    let before = bench.world.store().dump();
    let other = |sealing: &str, previous: Option<&str>| Bench {
        world: bench.world.clone(),
        gateway: deployment(sealing, previous),
    };
    let wrong = other(&key(8), None);
    assert_eq!(wrong.chat(), (503, "secrets_unavailable".into()));
    wrong.world.run(wrong.gateway.sweep(wrong.world.clone()));
    assert_eq!(bench.world.store().dump(), before, "nothing was overwritten");
    assert!(bench.world.take_log().concat().contains("sealed secret: UnknownKey"));
    // Both keys: the first read brings the record under the new one, after that the old one can go.
    let both = other(&key(8), Some(&key(7)));
    both.answer();
    assert_eq!(both.chat().0, 200);
    assert_ne!(bench.world.store().dump(), before);
    wrong.world.pass(limits::TOKEN_FAILED_MS);
    wrong.answer();
    assert_eq!(wrong.chat().0, 200);
    // So does a sweep, without any request.
    let (_, made) = bench.admin("POST", "/v1/providers/openai", json!({"name": "q", "data": {"apikey": SK}}));
    assert_eq!(both.world.run(both.gateway.sweep(both.world.clone())).renewed, 1);
    assert_eq!(both.world.run(both.gateway.sweep(both.world.clone())).renewed, 0);
    let tenant = other(&key(8), None);
    let path = format!("/v1/providers/{}/models/available", made["uuid"].as_str().unwrap());
    tenant.push(200, json!({"data": []}));
    assert_eq!(tenant.admin("GET", &path, Value::Null).0, 200);
    assert!(!bench.world.store().dump().contains("canary"));
}
