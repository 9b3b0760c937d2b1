//! Key records.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use gateway_core::ports::{HeadState, Store, Swap};

use crate::check::{done, same};
use crate::swaps::head;
use crate::{fresh_tenant, key_hash};

pub(crate) async fn all<S: Store>(store: &S) {
    a_key_comes_with_the_head(store).await;
    a_key_is_replaced_and_removed(store).await;
    more_keys_than_a_page_are_listed_once_each(store).await;
    keys_of_others_are_not_seen(store).await;
}

async fn a_key_comes_with_the_head<S: Store>(store: &S) {
    let tenant = fresh_tenant();
    let (hash, other) = (key_hash(tenant, 1), key_hash(tenant, 2));
    done(store.put_key(tenant, hash, "record".into()).await, "put key");
    let loaded = done(store.load(tenant, Some(hash), None).await, "load");
    same((loaded.head, loaded.key), (HeadState::Absent, Some("record".into())), "a key without a head");
    same(done(store.swap(tenant, None, Some(head(1, "h"))).await, "swap"), Swap::Done, "head beside keys");
    let loaded = done(store.load(tenant, Some(hash), Some(1)).await, "load");
    same((loaded.head, loaded.key), (HeadState::Unchanged, Some("record".into())), "key and known head");
    let loaded = done(store.load(tenant, Some(other), None).await, "load");
    same((loaded.head, loaded.key), (HeadState::Current(head(1, "h")), None), "head and unknown key");
    same(done(store.load(tenant, None, None).await, "load").key, None, "no key asked for");
}

async fn a_key_is_replaced_and_removed<S: Store>(store: &S) {
    let tenant = fresh_tenant();
    let hash = key_hash(tenant, 1);
    for record in ["one", "two"] {
        done(store.put_key(tenant, hash, record.into()).await, "put key");
        let key = done(store.load(tenant, Some(hash), None).await, "load").key;
        same(key, Some(record.into()), "a key just written");
    }
    same(done(store.delete_key(tenant, hash).await, "delete key"), true, "deleting a key");
    same(done(store.delete_key(tenant, hash).await, "delete key"), false, "deleting it again");
    same(done(store.load(tenant, Some(hash), None).await, "load").key, None, "a deleted key");
    same(done(store.keys(tenant).await, "keys"), Vec::new(), "no keys left");
}

/// Fault matrix: P12.
async fn more_keys_than_a_page_are_listed_once_each<S: Store>(store: &S) {
    let tenant = fresh_tenant();
    // 1.2 MB: DynamoDB's pages end at 1 MB.
    let record = |n: usize| Bytes::from(format!("{n:>1000}"));
    let writes = (0..COUNT).map(|n| store.put_key(tenant, key_hash(tenant, n), record(n)));
    for outcome in stream::iter(writes).buffer_unordered(16).collect::<Vec<_>>().await {
        done(outcome, "put key");
    }
    let mut listed = done(store.keys(tenant).await, "keys");
    let mut wanted: Vec<_> = (0..COUNT).map(|n| (key_hash(tenant, n), record(n))).collect();
    listed.sort_by(|a, b| a.1.cmp(&b.1));
    wanted.sort_by(|a, b| a.1.cmp(&b.1));
    same(listed.len(), COUNT, "number of keys listed");
    same(listed == wanted, true, "the keys listed are the keys written");
}

async fn keys_of_others_are_not_seen<S: Store>(store: &S) {
    let (a, b) = (fresh_tenant(), fresh_tenant());
    let hash = key_hash(a, 1);
    done(store.put_key(a, hash, "a".into()).await, "put key");
    same(done(store.load(b, Some(hash), None).await, "load").key, None, "another tenant's key");
    same(done(store.delete_key(b, hash).await, "delete key"), false, "deleting another tenant's key");
    same(done(store.keys(b).await, "keys"), Vec::new(), "another tenant's keys");
    same(done(store.keys(a).await, "keys"), vec![(hash, "a".into())], "own keys");
}

const COUNT: usize = 1_200;
