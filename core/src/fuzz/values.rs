//! Targets for small things from outside and from the store: JSON, addresses, bearers, sealed values, records.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use super::{Dice, Material, Target, none, shape};
use crate::auth::{Bearer, BearerKeys};
use crate::chat::DataUrl;
use crate::credentials::SecretRecord;
use crate::egress::url::{self, AllowedOrigins};
use crate::json::{self, Edit};
use crate::model::{KeyHash, KeyRecord, TenantId, decode_head};
use crate::registry::NameEntry;
use crate::secret::seal::SealingKeys;
use crate::secret::{Credential, Secret};

pub(super) const JSON: Target =
    Target { name: "json", material: &[Material::Requests, Material::Answers(ALL)], examples: none, run: documents };
pub(super) const URL: Target = Target { name: "url", material: &[], examples: addresses, run: address };
pub(super) const BEARER: Target = Target { name: "bearer", material: &[], examples: bearers, run: bearer };
pub(super) const SEALED: Target = Target { name: "sealed", material: &[], examples: sealed, run: unseal };
pub(super) const RECORDS: Target = Target { name: "records", material: &[], examples: records, run: record };

const ALL: &[&str] = &["openai", "azure-openai", "anthropic", "bedrock", "watsonxai", "cerebras", "nim"];

/// What is taken stays what it was: rewriting edits the named members only, and nothing twice.
fn documents(input: &[u8]) {
    let Ok(object) = json::object(input) else { return };
    let read = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes);
    let copy = json::rewrite(&object, |_, _| Edit::Keep, &[]);
    let again = json::object(&copy);
    assert!(again.is_ok(), "a copy is refused");
    if json::within(input, 100).is_ok() {
        assert_eq!(read(input).ok(), read(&copy).ok(), "a copy differs");
    }
    let names = ["model", "content", "cache_control", "thinking_blocks", "role"];
    let edit = |name: &str, raw: &serde_json::value::RawValue| match name {
        "model" => Edit::Set("\"up\"".to_owned()),
        "stream_options" => Edit::Drop,
        _ => json::strip(raw, &names).map_or(Edit::Keep, Edit::Set),
    };
    let edited = json::rewrite(&object, edit, &[("stream_options", "{}")]);
    let edited = json::object(&edited);
    assert!(edited.is_ok(), "an edited object is refused");
    for (name, raw) in edited.iter().flat_map(json::Object::iter).filter(|(name, _)| *name != "model") {
        assert_eq!(json::strip(raw, &names), None, "{name} is stripped twice");
        if json::within(raw.get().as_bytes(), 100).is_ok() {
            let value = read(raw.get().as_bytes());
            assert!(value.is_ok_and(|value| !has(&value, &names)), "{name} still has a member");
        }
    }
}

fn has(value: &serde_json::Value, names: &[&str]) -> bool {
    match value {
        serde_json::Value::Object(members) => {
            members.iter().any(|(name, value)| names.contains(&name.as_str()) || has(value, names))
        }
        serde_json::Value::Array(items) => items.iter().any(|item| has(item, names)),
        _ => false,
    }
}

fn addresses() -> Vec<Vec<u8>> {
    [
        "https://api.openai.com/v1",
        "https://my-res.openai.azure.com/openai/deployments/gpt%204o",
        "https://bedrock-runtime.us-east-1.amazonaws.com:443/",
        "https://iam.cloud.ibm.com/identity/token",
        "http://127.0.0.1:8080/v1",
        "http://localhost:9/a/b",
        "https://user:pass@[::1]:65535/%2e%2e/x?y#z",
        "https://images.example.com/a/cat.png?size=1&x=%2F",
        "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abc",
        "data:image/png;base64,iVBORw0KGgo=",
        "0x7f.1",
        "xn--bcher-kva.example",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// A judged address is judged the same again, and no path leads out of it.
fn address(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Ok(allowed) = AllowedOrigins::parse("http://127.0.0.1:8080 http://localhost:9") else { return };
    let (first, second) = text.split_once(['\n', ' ']).unwrap_or((&text, "gpt-4o"));
    let segment = url::segment(second);
    if let Ok(segment) = &segment {
        assert!(!segment.contains(['/', '?', '#', '\\']) && segment != "." && segment != "..", "{segment}");
    }
    for allowed in [&AllowedOrigins::default(), &allowed] {
        if let Ok(base) = url::judge(first, allowed) {
            assert_eq!(url::judge(base.as_str(), allowed).as_ref(), Ok(&base), "judged otherwise");
            let private = ["http://127.0.0.1:8080", "http://localhost:9"];
            let public = base.as_str().starts_with("https://");
            assert!(public || private.iter().any(|origin| base.as_str().starts_with(origin)), "{base}");
            assert!(!base.as_str().ends_with('/') && base.as_str().is_ascii(), "{base}");
            if let Ok(segment) = &segment {
                let joined = url::join(&base, &format!("/models/{segment}/x?y=1"));
                let joined = joined.map(|uri| uri.to_string());
                assert_eq!(joined, Ok(format!("{base}/models/{segment}/x?y=1")), "joined otherwise");
            }
            if let Ok(uri) = url::join(&base, second) {
                assert!(uri.to_string().starts_with(base.as_str()), "{uri} is outside of {base}");
            }
        }
        if let Ok(download) = url::judge_download(first, allowed) {
            let again = url::judge_download(&download.uri.to_string(), allowed);
            assert_eq!(again.as_ref(), Ok(&download), "judged otherwise");
        }
    }
    if let Some(data) = DataUrl::read(&text) {
        assert!(data.image().is_none_or(|kind| kind.media_type().starts_with("image/")));
        assert!(data.decode().len() <= text.len());
    }
}

const OPERATOR: &str = "operator-key-0123456789-0123456789";

fn keys() -> BearerKeys {
    BearerKeys::new(&[Secret::new(OPERATOR.to_owned())], vec![[1; 32], [2; 32]])
}

fn tenant() -> TenantId {
    TenantId::from_random([1; 16])
}

fn bearers() -> Vec<Vec<u8>> {
    let minted = keys().mint(tenant(), [3; 32]).map(|key| key.key.open().to_owned());
    let token = keys().issue(tenant(), KeyHash::of("k"), 1_760_000_000, 1_760_003_600);
    let operator = Some(OPERATOR.to_owned());
    [minted, token, operator].into_iter().flatten().map(|bearer| format!("Bearer {bearer}").into_bytes()).collect()
}

/// Only bearers that the keys made are taken.
fn bearer(input: &[u8]) {
    let mut headers = HeaderMap::new();
    for value in input.split(|byte| *byte == b'\n') {
        let Ok(value) = HeaderValue::from_bytes(value) else { continue };
        headers.append(AUTHORIZATION, value);
    }
    let made = bearers();
    let text = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let known = made.iter().position(|bearer| {
        // The scheme is written in any case.
        text.len() == bearer.len()
            && text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"Bearer "))
            && text.get(7..) == bearer.get(7..)
    });
    match keys().judge(&headers, 1_760_000_100_000) {
        None => assert!(known.is_none() || headers.len() > 1, "a key is refused"),
        Some(Bearer::Operator) => assert_eq!(known, Some(2)),
        Some(Bearer::Tenant { tenant: named, .. }) => {
            assert!(matches!(known, Some(0 | 1)), "a made-up key is taken");
            assert_eq!(named, tenant());
        }
    }
}

fn sealing() -> Option<SealingKeys> {
    SealingKeys::parse(&STANDARD.encode([7; 32]), Some(&STANDARD.encode([8; 32]))).ok()
}

const PLAIN: &str = r#"{"apikey":"sk-canary-0123456789"}"#;

fn sealed() -> Vec<Vec<u8>> {
    let old = SealingKeys::parse(&STANDARD.encode([8; 32]), None).ok();
    let keys = [sealing(), old].into_iter().flatten();
    keys.map(|keys| keys.seal([9; 44], "tenant", "id", PLAIN).into_bytes()).collect()
}

/// What opens is what was sealed.
fn unseal(input: &[u8]) {
    let (Some(keys), text) = (sealing(), String::from_utf8_lossy(input)) else { return };
    match keys.open("tenant", "id", &text) {
        Ok(plain) => {
            assert_eq!(plain.open(), PLAIN);
            assert!(sealed().iter().any(|sealed| sealed == text.as_bytes()), "another spelling opens");
        }
        Err(_) => assert!(!sealed().iter().any(|sealed| sealed == text.as_bytes()), "a sealed value is refused"),
    }
    assert!(keys.open("other", "id", &text).is_err(), "it opens for another tenant");
    let _ = keys.outdated(&text);
    // The sealed bytes may be anything that an older version or an operator put there.
    let _ = SecretRecord::decode(input);
    if let Some(credential) = Credential::decode(&Secret::new(text.into_owned())) {
        let again = Credential::decode(&credential.encode());
        assert!(again.is_some_and(|again| again.values().count() == credential.values().count()));
    }
}

fn records() -> Vec<Vec<u8>> {
    let head = include_bytes!("../../tests/records/head-schema-1.json").to_vec();
    let name = NameEntry::pending(tenant(), 1, 2).encode().to_vec();
    let key =
        br#"{"schema":1,"id":"a","name":"b","scopes":["admin","x"],"created":1,"expires_at":2,"models":["m"],"y":{}}"#;
    vec![head, name, key.to_vec()]
}

/// A record that is read is written as something that reads the same.
fn record(input: &[u8]) {
    let mut dice = Dice::of(input);
    if let Ok(head) = decode_head(input) {
        let written = head.encode().bytes;
        shape::object(&written);
        assert_eq!(decode_head(&written).ok().map(|again| again.encode().bytes), Some(written), "a head changes");
        let config = crate::config::Config::new(head, &AllowedOrigins::default());
        let names: Vec<String> = config.head().models.iter().map(|model| model.callable().to_owned()).collect();
        for name in names.iter().map(String::as_str).chain(["gpt-4o"]) {
            for target in config.targets(name) {
                assert!(target.model.callable() == name || target.model.id.as_str() == name);
            }
        }
    }
    if let Some(key) = KeyRecord::decode(input) {
        assert_eq!(KeyRecord::decode(&key.encode()), Some(key.clone()), "a key changes");
        let _ = (key.live(dice.roll()), key.may_call("gpt-4o"));
    }
    if let Some(entry) = NameEntry::decode(input) {
        assert_eq!(NameEntry::decode(&entry.encode()), Some(entry.clone()), "a name changes");
        let _ = entry.abandoned(dice.roll());
    }
}
