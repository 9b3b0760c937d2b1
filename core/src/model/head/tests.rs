use super::*;
use crate::model::TenantId;

#[test]
fn the_first_schema_is_still_read() {
    let stored = include_bytes!("../../../tests/records/head-schema-1.json");
    let head = decode_head(stored).unwrap();
    assert_eq!((head.schema, head.providers.len(), head.models.len()), (1, 1, 1));
    let again: Value = serde_json::from_slice(&head.encode().bytes).unwrap();
    assert_eq!(again, serde_json::from_slice::<Value>(stored).unwrap());
}

#[test]
fn an_undecodable_head_is_an_error() {
    for bytes in [&b"{}"[..], b"", b"null", b"{\"schema\":1,\"version\":\"x\"}"] {
        assert_eq!(decode_head(bytes), Err(HeadError));
    }
}

#[test]
fn load_balancers_are_kept_with_all_that_is_in_them() {
    let stored = br#"{"schema":1,"version":3,"tenant":{"id":"00000000000000000000000000","name":"t","manager":"builtin","created":1},
        "providers":[],"models":[],"load_balancers":[{"uuid":"b","name":"n","alias":"a","algorithm":"of tomorrow",
        "backends":[{"model":"m","weight":3,"quota":9,"later":true},{"model":"k","priority":2}],"created":4,"more":[1]}]}"#;
    let mut text = String::from_utf8(stored.to_vec()).unwrap();
    text = text.replace("00000000000000000000000000", &TenantId::from_random([1; 16]).to_string());
    let head = decode_head(text.as_bytes()).unwrap();
    let balancer = &head.balancers[0];
    assert_eq!((balancer.algorithm.as_str(), balancer.backends[0].quota), ("of tomorrow", Some(9)));
    assert_eq!(decode_head(&head.encode().bytes), Ok(head.clone()));
    let written: Value = serde_json::from_slice(&head.encode().bytes).unwrap();
    let read: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(written, read);
    assert!(decode_head(text.replace("\"weight\":3", "\"weight\":\"3\"").as_bytes()).is_err());
}
