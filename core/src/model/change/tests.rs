use serde_json::{Map, Value};

use super::super::balancer::Backend;
use super::super::head::decode_head;
use super::super::names::{Alias, ModelId, ObjectName};
use super::super::provider::{CredentialRef, Manager};
use super::super::tenant::TenantRecord;
use super::*;
use crate::model::TenantId;
use crate::provider::Settings;

fn head() -> Head {
    Head::new(TenantRecord {
        id: TenantId::from_random([1; 16]),
        name: TenantName::parse("test").unwrap(),
        manager: Manager::builtin(),
        strict_parameters: false,
        created: 1,
        rest: Map::new(),
    })
}

fn provider(uuid: &str, name: &str) -> Provider {
    Provider {
        uuid: uuid.into(),
        name: ObjectName::parse(name).unwrap(),
        type_name: "openai".into(),
        settings: Settings::default(),
        credential: CredentialRef::new(Manager::builtin(), format!("{uuid}.1")),
        created: 2,
        rest: Map::new(),
    }
}

fn model(uuid: &str, provider: &str, id: &str, alias: Option<&str>) -> Model {
    Model {
        uuid: uuid.into(),
        provider: provider.into(),
        id: ModelId::parse(id).unwrap(),
        alias: alias.map(|a| Alias::parse(a).unwrap()),
        metadata: None,
        capabilities: None,
        price: None,
        weight: 1,
        priority: 0,
        created: 3,
        rest: Map::new(),
    }
}

fn with(changes: impl IntoIterator<Item = Change>) -> Head {
    changes.into_iter().fold(head(), |head, change| head.apply(change).unwrap())
}

#[test]
fn provider_names_are_unique_without_regard_to_case() {
    let one = with([Change::AddProvider(provider("p1", "Main"))]);
    assert_eq!(one.version, 2);
    assert_eq!(one.apply(Change::AddProvider(provider("p2", "mAIN"))), Err(Conflict::ProviderName));
    let two = one.apply(Change::AddProvider(provider("p2", "other"))).unwrap();
    assert_eq!(two.apply(Change::ReplaceProvider(provider("p2", "MAIN"))), Err(Conflict::ProviderName));
    assert!(two.apply(Change::ReplaceProvider(provider("p1", "MAIN"))).is_ok());
    assert_eq!(two.apply(Change::ReplaceProvider(provider("p9", "new"))), Err(Conflict::NoProvider));
}

#[test]
fn a_removed_provider_takes_its_models_along() {
    let before = with([
        Change::AddProvider(provider("p1", "a")),
        Change::AddProvider(provider("p2", "b")),
        Change::AddModel(model("m1", "p1", "x", Some("both"))),
        Change::AddModel(model("m2", "p2", "x", Some("both"))),
    ]);
    let after = before.apply(Change::RemoveProvider("p1".into())).unwrap();
    assert_eq!(after.models.iter().map(|m| m.uuid.as_str()).collect::<Vec<_>>(), ["m2"]);
    assert_eq!(after.apply(Change::RemoveProvider("p1".into())), Err(Conflict::NoProvider));
}

#[test]
fn an_exact_repeat_of_a_model_changes_nothing() {
    let base = with([Change::AddProvider(provider("p1", "a")), Change::AddModel(model("m1", "p1", "x", Some("y")))]);
    assert_eq!(base.apply(Change::AddModel(model("m2", "p1", "x", Some("y")))).unwrap(), base);
    let other = base.apply(Change::AddModel(model("m2", "p1", "x", None))).unwrap();
    assert_eq!(other.models.len(), 2);
    assert_eq!(other.apply(Change::ReplaceModel(model("m2", "p1", "x", Some("y")))), Err(Conflict::SameModel));
    assert_eq!(other.apply(Change::ReplaceModel(model("m2", "p2", "z", None))), Err(Conflict::NoModel));
    assert_eq!(base.apply(Change::AddModel(model("m3", "p9", "x", None))), Err(Conflict::NoProvider));
}

#[test]
fn a_model_is_removed_only_from_the_provider_named() {
    let base = with([Change::AddProvider(provider("p1", "a")), Change::AddModel(model("m1", "p1", "x", None))]);
    let remove = |provider: Option<&str>| Change::RemoveModel { uuid: "m1".into(), provider: provider.map(Into::into) };
    assert_eq!(base.apply(remove(Some("p2"))), Err(Conflict::NoModel));
    assert!(base.apply(remove(Some("p1"))).unwrap().models.is_empty());
    assert!(base.apply(remove(None)).unwrap().models.is_empty());
}

/// Fault matrix: P13.
#[test]
fn counts_and_size_are_bounded() {
    let full = with((0..limits::PROVIDERS).map(|i| Change::AddProvider(provider(&format!("p{i}"), &format!("n{i}")))));
    assert_eq!(full.apply(Change::AddProvider(provider("px", "nx"))), Err(Conflict::TooManyProviders));
    let mut crowded = with([Change::AddProvider(provider("p", "n"))]);
    crowded.models = (0..limits::MODELS).map(|i| model(&format!("m{i}"), "p", &format!("x{i}"), None)).collect();
    assert_eq!(crowded.apply(Change::AddModel(model("mx", "p", "y", None))), Err(Conflict::TooManyModels));
    let mut heavy = with([Change::AddProvider(provider("p", "n"))]);
    heavy.rest.insert("pad".into(), Value::String("x".repeat(limits::HEAD_BYTES)));
    assert_eq!(heavy.apply(Change::AddModel(model("m", "p", "y", None))), Err(Conflict::TooLarge));
}

#[test]
fn members_of_a_newer_version_survive_a_change() {
    let stored = br#"{"schema":2,"version":7,"tenant":{"id":"01010101-0101-4101-8101-010101010101","name":"t","manager":"builtin",
        "created":1,"plan":"gold"},"providers":[{"uuid":"p1","name":"a","type":"mistral","settings":{"base_url":"https://x.example","zone":3},
        "credential":{"manager":"builtin","id":"p1.1","key_id":"k"},"created":2,"tags":["x"]}],"models":[{"uuid":"m1","provider":"p1","id":"x",
        "created":3,"weight":2}],"balancers":[{"uuid":"q"}]}"#;
    let head = decode_head(stored).unwrap();
    assert_eq!(head.providers[0].kind(), None);
    let next = head.apply(Change::AddModel(model("m2", "p1", "y", None))).unwrap();
    let json: Value = serde_json::from_slice(&next.encode().bytes).unwrap();
    assert_eq!(json["schema"], 2);
    assert_eq!(json["version"], 8);
    assert_eq!(json["tenant"]["plan"], "gold");
    assert_eq!(json["providers"][0]["type"], "mistral");
    assert_eq!(json["providers"][0]["settings"]["zone"], 3);
    assert_eq!(json["providers"][0]["credential"]["key_id"], "k");
    assert_eq!(json["providers"][0]["tags"][0], "x");
    assert_eq!(json["models"][0]["weight"], 2);
    assert_eq!(json["balancers"][0]["uuid"], "q");
}

#[test]
fn a_tenant_has_at_most_so_many_load_balancers() {
    let mut head = with([Change::AddProvider(provider("p1", "a")), Change::AddModel(model("m1", "p1", "x", None))]);
    let balancer = |at: usize| Balancer {
        uuid: format!("b{at}"),
        name: ObjectName::parse(&format!("n{at}")).unwrap(),
        alias: Alias::parse(&format!("a{at}")).unwrap(),
        algorithm: "latency".into(),
        backends: vec![Backend { model: "m1".into(), weight: None, priority: None, quota: None, rest: Map::new() }],
        created: 1,
        rest: Map::new(),
    };
    for at in 0..limits::BALANCERS {
        head = head.apply(Change::AddBalancer(balancer(at))).unwrap();
    }
    assert_eq!(head.apply(Change::AddBalancer(balancer(1000))), Err(Conflict::TooManyBalancers));
    assert!(head.apply(Change::ReplaceBalancer(balancer(7))).is_ok());
    let fewer = head.apply(Change::RemoveBalancer("b0".into())).unwrap();
    assert!(fewer.apply(Change::AddBalancer(balancer(1000))).is_ok());
    assert_eq!(fewer.apply(Change::RemoveBalancer("b0".into())), Err(Conflict::NoBalancer));
    let mut unknown = balancer(1000);
    unknown.backends[0].model = "gone".into();
    assert_eq!(fewer.apply(Change::AddBalancer(unknown)), Err(Conflict::NoBackend));
}
