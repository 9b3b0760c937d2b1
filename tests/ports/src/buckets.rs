//! The contract of [`gateway_core::ports::Buckets`].

use bytes::Bytes;
use futures_util::future::join_all;
use gateway_core::model::TenantId;
use gateway_core::ports::{Buckets, Fault};
use serde_json::{Value, json};

use crate::check::{done, same};
use crate::fresh_tenant;

const NOW: u64 = 1_760_000_000_000;

/// Runs every case; `calls` is how many come at once.
pub async fn buckets_contract<B: Buckets>(buckets: &B, calls: usize) {
    no_more_and_no_fewer_than_there_are(buckets, calls).await;
    all_or_none(buckets).await;
    debits_count_once(buckets).await;
    tenants_are_apart_and_can_be_forgotten(buckets).await;
    nonsense_is_refused(buckets).await;
}

async fn ask<B: Buckets>(buckets: &B, tenant: TenantId, question: Value) -> Value {
    let answer = done(buckets.ask(tenant, Bytes::from(question.to_string()), now()).await, "ask");
    serde_json::from_slice(&answer).unwrap_or_default()
}

/// Whether all was granted.
fn granted(answer: &Value) -> Option<bool> {
    answer.get("granted")?.as_bool()
}

/// What is left in the first bucket.
fn left(answer: &Value) -> Option<i64> {
    answer.pointer("/standings/0/1")?.as_i64()
}

/// Keepers with a clock of their own do not look at the asker's: intervals here are long.
fn now() -> u64 {
    NOW
}

fn one(name: &str, capacity: u64) -> Value {
    json!([name, capacity, 1, 86_400_000, 1])
}

async fn no_more_and_no_fewer_than_there_are<B: Buckets>(buckets: &B, calls: usize) {
    let tenant = fresh_tenant();
    let question = || ask(buckets, tenant, json!({"asks": [one("a", 45), one("b", 1_000_000)]}));
    let answers = join_all((0..calls).map(|_| question())).await;
    let granted = answers.iter().filter(|answer| granted(answer) == Some(true)).count();
    same(granted, 45, "calls granted by a bucket of 45");
    let standing = ask(buckets, tenant, json!({"asks": [one("b", 1_000_000)]})).await;
    same(left(&standing), Some(1_000_000 - 46), "nothing was taken for calls that were refused");
}

async fn all_or_none<B: Buckets>(buckets: &B) {
    let tenant = fresh_tenant();
    let both = json!({"asks": [one("w", 9), one("n", 1)]});
    same(granted(&ask(buckets, tenant, both.clone()).await), Some(true), "room in both");
    let refused = ask(buckets, tenant, both).await;
    same(granted(&refused), Some(false), "room in one");
    same(left(&refused), Some(8), "the other keeps what it has");
}

async fn debits_count_once<B: Buckets>(buckets: &B) {
    let tenant = fresh_tenant();
    let look = || json!(["t", 100, 1, 86_400_000, 0]);
    let debit = json!({"debits": [["t", 100, 1, 86_400_000, 150, 7]], "asks": [look()]});
    let answer = ask(buckets, tenant, debit.clone()).await;
    same((granted(&answer), left(&answer)), (Some(false), Some(-50)), "below zero");
    same(left(&ask(buckets, tenant, debit).await), Some(-50), "said twice");
}

async fn tenants_are_apart_and_can_be_forgotten<B: Buckets>(buckets: &B) {
    let (tenant, other) = (fresh_tenant(), fresh_tenant());
    let question = json!({"asks": [one("a", 1)]});
    for (tenant, want) in [(tenant, true), (tenant, false), (other, true), (other, false)] {
        same(granted(&ask(buckets, tenant, question.clone()).await), Some(want), "each tenant has its own");
    }
    ask(buckets, tenant, json!({"forget": true})).await;
    ask(buckets, fresh_tenant(), json!({"forget": true})).await;
    same(granted(&ask(buckets, tenant, question.clone()).await), Some(true), "forgotten");
    same(granted(&ask(buckets, other, question).await), Some(false), "another is not");
}

async fn nonsense_is_refused<B: Buckets>(buckets: &B) {
    let outcome = buckets.ask(fresh_tenant(), Bytes::from_static(b"{\"asks\":[[1]]}"), now()).await;
    same(outcome.map_err(|error| error.fault), Err(Fault::Corrupt), "a question that cannot be understood");
}
