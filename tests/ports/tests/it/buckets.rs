//! The buckets of rate limits, wherever they are kept natively; those of Workers are asked in `tests/e2e` and
//! `tests/worker`.

use std::sync::Arc;

use gateway_core::testing::MemoryBuckets;
use gateway_lambda::{Account, DynamoStore};
use gateway_local::ProcessBuckets;
use gateway_native::Upstream;
use gateway_port_tests::buckets_contract;

use crate::dynamo::create_table;
use crate::moto::Moto;

#[tokio::test]
async fn buckets_in_memory_keep_the_contract() {
    buckets_contract(&MemoryBuckets::default(), 10_000).await;
    buckets_contract(&ProcessBuckets::default(), 10_000).await;
}

#[tokio::test]
async fn buckets_in_dynamodb_keep_the_contract() {
    let Some(moto) = Moto::start().await else { return };
    create_table(&moto, "gateway").await;
    let account = Arc::new(Account::new(Upstream::default(), moto.environment()));
    buckets_contract(&DynamoStore::new(account, "gateway"), 10_000).await;
}
