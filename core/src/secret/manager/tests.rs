#![expect(clippy::needless_pass_by_value, reason = "JSON literals read best as arguments")]

use serde_json::json;

use super::*;

const TENANT: &str = "5f0c8a1e-0d0e-4a53-8a7b-3d7b1c1a2f44";
const OTHER: &str = "5f0c8a1e-0d0e-4a53-8a7b-3d7b1c1a2f45";
const PAIR: &str = r#"{"access_key_id": "AKIDEXAMPLE", "secret_access_key": "canary"}"#;
const IBM: &str = "https://1a2b.us-south.secrets-manager.appdomain.cloud";
const AWS: &str = "https://secretsmanager.us-east-1.amazonaws.com";

fn tenant(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

fn lookup(name: &str) -> Option<String> {
    match name {
        "IBM_KEY" => Some("canary".to_owned()),
        "PAIR" => Some(PAIR.to_owned()),
        "EMPTY" => Some(" ".to_owned()),
        "GATEWAY_ADMIN_KEY" | "GATEWAY_SEALING_KEY_PREVIOUS" => Some("canary".to_owned()),
        _ => None,
    }
}

fn parse(list: Value, role: Option<&str>) -> Result<Managers, String> {
    let surroundings = Surroundings { role_region: role, prefix: "model-gateway" };
    Managers::parse(&list.to_string(), surroundings, &lookup)
}

fn managers() -> Managers {
    let list = json!([
        {"address": IBM, "kind": "ibm", "identity": "IBM_KEY", "account": "abc"},
        {"address": AWS, "kind": "aws", "identity": "PAIR", "account": "123456789012", "prefix": "team/gateway"},
        {"address": "http://127.0.0.1:9/sm", "kind": "ibm", "identity": "IBM_KEY", "group": "g-1", "auth_url": "http://127.0.0.1:9/iam/token"},
    ]);
    parse(list, None).unwrap()
}

#[test]
fn entries_are_read_with_what_goes_without_saying() {
    let all = managers();
    let [ibm, aws, own] = all.0.as_slice() else { panic!("three") };
    assert_eq!((ibm.prefix.as_str(), ibm.region.as_deref()), ("model-gateway", Some("us-south")));
    let Service::Ibm { group, instance, iam, .. } = &ibm.service else { panic!("ibm") };
    assert_eq!((group.as_str(), instance.as_deref()), ("default", Some("1a2b")));
    assert_eq!(iam.uri, "https://iam.cloud.ibm.com/identity/token");
    assert!(!iam.private_allowed);
    assert_eq!((aws.prefix.as_str(), aws.region.as_deref()), ("team/gateway", Some("us-east-1")));
    assert!(matches!(aws.service, Service::Aws(_)));
    let Service::Ibm { group, instance: None, iam, .. } = &own.service else { panic!("ibm") };
    assert_eq!((group.as_str(), iam.uri.to_string().as_str()), ("g-1", "http://127.0.0.1:9/iam/token"));
    assert!(iam.private_allowed && own.address.private_allowed());
    assert!(!format!("{all:?}").contains("canary"));
}

#[test]
fn regions_and_instances_are_those_of_the_host() {
    for (host, want) in [
        ("secretsmanager.eu-central-1.amazonaws.com", Some("eu-central-1")),
        ("secretsmanager-fips.us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
        ("vpce-1-a.secretsmanager.us-east-1.vpce.amazonaws.com", Some("us-east-1")),
        ("secretsmanager.cn-north-1.amazonaws.com.cn:443", Some("cn-north-1")),
        ("secretsmanager.us-east-1.example.com", None),
        ("secretsmanager.amazonaws.com", None),
        ("127.0.0.1:5000", None),
    ] {
        assert_eq!(aws::region_of_host(host).as_deref(), want, "{host}");
    }
    let known = |host| ibm::of_host(host);
    let want = Some(("1a2b".to_owned(), "eu-de".to_owned()));
    assert_eq!(known("1a2b.eu-de.secrets-manager.appdomain.cloud"), want);
    assert_eq!(known("1a2b.private.eu-de.secrets-manager.appdomain.cloud"), want);
    for host in
        ["eu-de.secrets-manager.appdomain.cloud", "a.b.c.secrets-manager.appdomain.cloud", "1a2b.eu-de.example.com"]
    {
        assert_eq!(known(host), None, "{host}");
    }
}

#[test]
fn wrong_entries_are_named_and_not_shown() {
    let ibm = |more: Value| {
        let mut entry = json!({"address": IBM, "kind": "ibm", "identity": "IBM_KEY"});
        for (name, value) in more.as_object().unwrap() {
            entry[name] = value.clone();
        }
        json!([entry])
    };
    for (list, word) in [
        (json!({}), "array"),
        (json!("canary"), "array"),
        (json!(["canary"]), "object"),
        (json!([{"kind": "ibm"}]), "'address'"),
        (ibm(json!({"address": "canary"})), "'address'"),
        (ibm(json!({"address": "https://user:canary@host.example.com"})), "'address'"),
        (ibm(json!({"address": "https://host.example.com/?canary"})), "'address'"),
        (ibm(json!({"address": 1})), "'address'"),
        (ibm(json!({"kind": "canary"})), "'kind'"),
        (ibm(json!({"prefix": "canary/a"})), "'prefix'"),
        (ibm(json!({"prefix": ""})), "'prefix'"),
        (ibm(json!({"prefix": "p".repeat(65)})), "'prefix'"),
        (ibm(json!({"group": "canary*"})), "'group'"),
        (ibm(json!({"account": "canary/"})), "'account'"),
        (ibm(json!({"region": "canary."})), "'region'"),
        (ibm(json!({"instance": "canary:"})), "'instance'"),
        (ibm(json!({"auth_url": "canary"})), "'auth_url'"),
        (ibm(json!({"canary": "x"})), "not known"),
        (ibm(json!({"identity": null})), "'identity'"),
        (ibm(json!({"identity": "MISSING"})), "'identity'"),
        (ibm(json!({"identity": "EMPTY"})), "'identity'"),
        (ibm(json!({"identity": "GATEWAY_ADMIN_KEY"})), "'identity'"),
        (ibm(json!({"identity": "GATEWAY_SEALING_KEY_PREVIOUS"})), "'identity'"),
        (json!([{"address": AWS, "kind": "aws"}]), "'identity'"),
        (json!([{"address": AWS, "kind": "aws", "identity": "IBM_KEY"}]), "access_key_id"),
        (json!([{"address": AWS, "kind": "aws", "identity": "PAIR", "group": "g"}]), "'group'"),
        (json!([{"address": "https://sm.example.com", "kind": "aws", "identity": "PAIR"}]), "'region'"),
    ] {
        let error = parse(list.clone(), None).err().unwrap_or_else(|| panic!("{list} is taken"));
        assert!(error.contains(word) && !error.contains("canary"), "{list}: {error}");
    }
    let entry =
        |n: usize| json!({"address": format!("https://sm-{n}.example.com"), "kind": "ibm", "identity": "IBM_KEY"});
    let many = |count| Value::Array((0..count).map(entry).collect());
    assert!(parse(many(limits::MANAGERS), None).is_ok());
    assert!(parse(many(limits::MANAGERS + 1), None).unwrap_err().contains("at most 20"));
    assert!(parse(json!([entry(1), entry(1)]), None).unwrap_err().starts_with("entry 2: repeats"));
}

#[test]
fn a_role_is_for_its_own_region_of_a_function() {
    let list = json!([{"address": AWS, "kind": "aws"}]);
    assert!(matches!(parse(list.clone(), Some("us-east-1")).unwrap().0[0].service, Service::Role));
    assert!(parse(list, Some("eu-west-1")).unwrap_err().contains("own region"));
}

#[test]
fn key_pairs_are_whole() {
    for (text, good) in [
        (PAIR, true),
        (r#"{"access_key_id": "a", "secret_access_key": "b", "session_token": "c"}"#, true),
        (r#"{"access_key_id": "a"}"#, false),
        (r#"{"access_key_id": "a", "secret_access_key": ""}"#, false),
        (r#"{"access_key_id": "a", "secret_access_key": "b c"}"#, false),
        (r#"{"access_key_id": "a", "secret_access_key": "b", "other": "c"}"#, false),
        ("canary", false),
    ] {
        assert_eq!(aws::KeyPair::read(text).is_some(), good, "{text}");
    }
}

#[test]
fn tenants_name_what_is_configured_and_nothing_else() {
    let all = managers();
    for (asked, found) in [
        (IBM, true),
        ("https://1a2b.us-south.secrets-manager.appdomain.cloud/", true),
        ("HTTPS://1A2B.us-south.secrets-manager.appdomain.cloud:443", true),
        ("http://127.0.0.1:9/sm", true),
        ("http://127.0.0.1:9", false),
        ("http://127.0.0.1:9/sm/..", false),
        ("http://127.0.0.1:9/SM", false),
        ("http://1a2b.us-south.secrets-manager.appdomain.cloud", false),
        ("https://1a2b.us-south.secrets-manager.appdomain.cloud.evil.example", false),
        ("https://1a2b.us-south.secrets-manager.appdomain.cloud@evil.example", false),
        ("https://9z9z.us-south.secrets-manager.appdomain.cloud", false),
        ("http://169.254.169.254", false),
        ("https://localhost", false),
        ("arn:aws:secretsmanager:us-east-1:123456789012:secret:x", false),
        ("", false),
    ] {
        assert_eq!(all.asked(asked).is_some(), found, "{asked}");
    }
}

#[test]
fn names_hold_the_tenant() {
    let all = managers();
    let id = "11111111-2222-4333-8444-555555555555.0a0b0c0d";
    let name = |at: usize| all.0[at].name(tenant(TENANT), id);
    assert_eq!(name(0), format!("model-gateway-{TENANT}-11111111-2222-4333-8444-555555555555-0a0b0c0d"));
    assert_eq!(name(1), format!("team/gateway/{TENANT}/11111111-2222-4333-8444-555555555555/0a0b0c0d"));
}

#[test]
fn tenants_refer_to_their_own_secrets_at_configured_managers() {
    let all = managers();
    let arn = format!("arn:aws:secretsmanager:us-east-1:123456789012:secret:team/gateway/{TENANT}/mine-AbCdEf");
    let crn = format!("crn:v1:bluemix:public:secrets-manager:us-south:a/abc:1a2b:secret:{OTHER}");
    let place = |resource: &str, id: &str| all.covering(resource, tenant(id)).map(|(_, place)| place);
    assert_eq!(place(&arn, TENANT), Some(arn.clone()));
    // The id of IBM Cloud tells nothing of the tenant; the name that comes with the answer does.
    assert_eq!(place(&crn, TENANT).as_deref(), Some(OTHER));
    for (whole, from, to) in [
        (&arn, TENANT, OTHER),
        (&arn, "us-east-1", "us-east-2"),
        (&arn, "123456789012", "210987654321"),
        (&arn, "123456789012", ""),
        (&arn, "arn:aws", "arn:awx"),
        (&arn, "arn:", "crn:"),
        (&arn, "secretsmanager", "ssm"),
        (&arn, ":secret:", ":secrets:"),
        (&arn, "team/gateway/", "team/"),
        (&arn, "team/gateway/", ""),
        (&arn, "mine-AbCdEf", ""),
        (&arn, "mine", "mi ne"),
        (&arn, "mine", "mi\nne"),
        (&arn, "mine", "mi:ne"),
        (&crn, "us-south", "eu-de"),
        (&crn, "a/abc", "a/def"),
        (&crn, "a/abc", "abc"),
        (&crn, "1a2b", "1a2c"),
        (&crn, "secrets-manager", "kms"),
        (&crn, OTHER, ""),
        (&crn, OTHER, "../x"),
        (&crn, OTHER, "a?b"),
        (&crn, "crn:v1", "crn:v2"),
        (&crn, ":secret:", ":secret:x:"),
    ] {
        assert_eq!(place(&whole.replacen(from, to, 1), TENANT), None, "{from} -> {to}");
    }
    let long = |extra: usize| {
        let mut long = arn.clone();
        long.push_str(&"x".repeat(limits::RESOURCE_BYTES + extra - arn.len()));
        place(&long, TENANT).is_some()
    };
    assert!(long(0) && !long(1));
    // Without an account nothing of AWS can be referred to: the ARN of a stranger's would be as good.
    let list = json!([{"address": AWS, "kind": "aws", "identity": "PAIR"}]);
    let open = parse(list, None).unwrap();
    assert!(open.covering(&arn.replace("team/gateway", "model-gateway"), tenant(TENANT)).is_none());
}

#[test]
fn calls_to_ibm_are_as_its_sdk_writes_them() {
    let value = Secret::new(r#"{"apikey":"k"}"#.to_owned());
    let body: Value = serde_json::from_slice(&ibm::creation("default", "n", &value).unwrap()).unwrap();
    assert_eq!(body, json!({"secret_type": "kv", "name": "n", "secret_group_id": "default", "data": {"apikey": "k"}}));
    let kv = json!({"id": OTHER, "name": "n", "secret_type": "kv", "data": {"apikey": "k"}, "crn": "x"}).to_string();
    let text = |body: &str| ibm::secret(body.as_bytes()).unwrap().value.map(|value| value.open().to_owned());
    assert_eq!(text(&kv).as_deref(), Some(r#"{"apikey":"k"}"#));
    let arbitrary = json!({"id": OTHER, "name": "n", "secret_type": "arbitrary", "payload": "p"}).to_string();
    assert_eq!(text(&arbitrary).as_deref(), Some("p"));
    for none in [
        json!({"id": OTHER, "name": "n", "secret_type": "arbitrary"}),
        json!({"id": OTHER, "name": "n", "secret_type": "username_password", "password": "p"}),
    ] {
        assert_eq!(text(&none.to_string()), None);
    }
    for broken in ["", "[]", r#"{"id":"a/b","name":"n","secret_type":"kv"}"#, r#"{"name":"n","secret_type":"kv"}"#] {
        assert!(ibm::secret(broken.as_bytes()).is_none(), "{broken}");
    }
    let list = json!({"secrets": [{"id": "a", "name": "n2", "secret_type": "kv"}, {"id": "b", "name": "n", "secret_type": "kv"}]});
    let find = |name: &str| ibm::id_of(list.to_string().as_bytes(), name);
    assert_eq!((find("n"), find("n3")), (Some(Some("b".to_owned())), Some(None)));
    assert_eq!(ibm::id_of(b"{\"secrets\": 1}", "n"), None);
}

/// Made by botocore 1.44.5: `SigV4Auth(Credentials("AKIDEXAMPLE", "canary"), "secretsmanager", "us-east-1")` at
/// 2026-01-15T12:00:00Z.
#[test]
fn calls_to_aws_are_signed_as_botocore_signs_them() {
    let pair = aws::KeyPair::read(PAIR).unwrap();
    let body = aws::body(aws::Action::Read, "model-gateway/a/b", None);
    assert_eq!(body, r#"{"SecretId":"model-gateway/a/b"}"#);
    let uri = "https://secretsmanager.us-east-1.amazonaws.com/".parse().unwrap();
    let headers = aws::headers(&pair, "us-east-1", aws::Action::Read, &uri, &body, 1_768_478_400_000).unwrap();
    assert_eq!(headers["x-amz-target"], "secretsmanager.GetSecretValue");
    assert_eq!(headers["authorization"], SIGNED);
    let value = Secret::new("v".to_owned());
    for (action, want) in [
        (aws::Action::Create, r#"{"Name":"n","ClientRequestToken":"t","SecretString":"v"}"#),
        (aws::Action::Put, r#"{"SecretId":"n","ClientRequestToken":"t","SecretString":"v"}"#),
    ] {
        assert_eq!(aws::body(action, "n", Some(("t", &value))), want);
    }
    assert_eq!(aws::body(aws::Action::Delete, "n", None), r#"{"SecretId":"n","RecoveryWindowInDays":7}"#);
}

#[test]
fn faults_of_aws_are_told_apart() {
    use crate::ports::Fault;
    for (status, body, fault, code) in [
        (400, r#"{"__type":"ResourceNotFoundException"}"#, Fault::Missing, "ResourceNotFoundException"),
        (400, r#"{"__type":"com.amazonaws.x#InvalidRequestException"}"#, Fault::Missing, "InvalidRequestException"),
        (400, r#"{"__type":"ThrottlingException"}"#, Fault::Throttled, "ThrottlingException"),
        (400, r#"{"__type":"AccessDeniedException","Message":"canary"}"#, Fault::Denied, "AccessDeniedException"),
        (500, r#"{"__type":"InternalServiceError"}"#, Fault::Unavailable, "InternalServiceError"),
        (400, r#"{"__type":"canary!"}"#, Fault::Corrupt, "status_400"),
        (403, "<html>", Fault::Denied, "status_403"),
        (429, "", Fault::Throttled, "status_429"),
        (503, "", Fault::Unavailable, "status_503"),
        (302, "", Fault::Corrupt, "status_302"),
    ] {
        let status = http::StatusCode::from_u16(status).unwrap();
        assert_eq!(aws::fault(status, body.as_bytes()), (fault, code.to_owned()), "{body}");
    }
}

const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260115/us-east-1/secretsmanager/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=4ddb1038c2f5e933f59d74f2bc8ab98413b60a00281eb0cff8b49f06ceaf798e";
