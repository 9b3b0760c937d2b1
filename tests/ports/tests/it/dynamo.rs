//! The Lambda entry's store and secrets manager, against moto. Moto's conditional writes are not atomic under load as
//! DynamoDB's are; what happens to lost answers and throttling is tested beside the code.

use std::sync::Arc;

use gateway_core::ports::{Fault, PortError, SecretManager, Store};
use gateway_core::secret::Secret;
use gateway_lambda::{Account, AccountSecrets, DynamoStore};
use gateway_native::Upstream;
use gateway_port_tests::{fresh_tenant, ledger_contract, store_contract};

use crate::moto::Moto;

#[tokio::test]
async fn the_dynamodb_store_keeps_the_contract() {
    let Some(moto) = Moto::start().await else { return };
    let account = Arc::new(Account::new(Upstream::default(), moto.environment()));
    let missing = DynamoStore::new(account.clone(), "missing").ping().await;
    assert_eq!(missing.map_err(|error| error.fault), Err(Fault::Denied));
    create_table(&moto, "gateway").await;
    let store = DynamoStore::new(account, "gateway");
    store_contract(&store).await;
    ledger_contract(&store).await;
}

#[tokio::test]
async fn secrets_are_written_read_and_deleted() {
    let Some(moto) = Moto::start().await else { return };
    let secrets = AccountSecrets::new(Arc::new(Account::new(Upstream::default(), moto.environment())));
    let name = format!("model-gateway/{}/a", fresh_tenant());
    assert_eq!(fault(secrets.read(&name).await), Some(Fault::Missing));
    secrets.delete(&name).await.unwrap();
    for (version, value) in [(VERSIONS[0], "one"), (VERSIONS[1], "two"), (VERSIONS[1], "two")] {
        secrets.put(&name, version, &Secret::new(value.to_owned())).await.unwrap();
        let read = secrets.read(&name).await.unwrap();
        assert_eq!((read.version.as_str(), read.value.open()), (version, value));
    }
    secrets.delete(&name).await.unwrap();
    assert_eq!(fault(secrets.read(&name).await), Some(Fault::Missing));
    secrets.delete(&name).await.unwrap();
}

/// Fault matrix: S1.
#[tokio::test]
async fn an_account_that_cannot_be_reached_is_unavailable() {
    let nobody = |name: &str| match name {
        "AWS_ENDPOINT_URL" => Some("http://127.0.0.1:1".to_owned()),
        _ => Some("testing".to_owned()),
    };
    let account = Arc::new(Account::new(Upstream::default(), nobody));
    assert_eq!(fault(DynamoStore::new(account.clone(), "t").ping().await), Some(Fault::Unavailable));
    assert_eq!(fault(AccountSecrets::new(account).read("x").await), Some(Fault::Unavailable));
}

fn fault<T>(outcome: Result<T, PortError>) -> Option<Fault> {
    outcome.err().map(|error| error.fault)
}

pub(crate) async fn create_table(moto: &Moto, table: &str) {
    use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
    let account = Account::new(Upstream::default(), moto.environment());
    let attribute = |name: &str| {
        AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build().unwrap()
    };
    let key =
        |name: &str, kind: KeyType| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap();
    account
        .dynamo()
        .create_table()
        .table_name(table)
        .attribute_definitions(attribute("pk"))
        .attribute_definitions(attribute("sk"))
        .key_schema(key("pk", KeyType::Hash))
        .key_schema(key("sk", KeyType::Range))
        .billing_mode(BillingMode::PayPerRequest)
        .send()
        .await
        .unwrap();
}

const VERSIONS: [&str; 2] = ["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"];
