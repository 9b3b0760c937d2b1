//! What isolates tell each other: a hint that is compared when it is replaced. Stores through which nothing is told have
//! none.

use bytes::Bytes;
use futures_util::future::join_all;
use gateway_core::ports::Store;

use crate::check::{done, same};
use crate::fresh_tenant;

/// Far enough from now, in seconds since the epoch.
const ENDS: u64 = 4_000_000_000;

pub(crate) async fn all<S: Store>(store: &S) {
    let tenant = fresh_tenant();
    same(done(store.digest(tenant).await, "digest"), None, "a digest that nobody wrote");
    if !store.shares() {
        return;
    }
    let swap = async |expected: Option<&'static str>, record: &'static str| {
        done(store.swap_digest(tenant, expected.map(Bytes::from), record.into(), ENDS).await, "swap digest")
    };
    same(swap(Some("x"), "one").await, false, "replacing what is not there");
    same(swap(None, "one").await, true, "the first digest");
    same(swap(None, "two").await, false, "a first digest where there is one");
    same(swap(Some("on"), "two").await, false, "replacing another digest");
    same(swap(Some("one"), "two").await, true, "replacing it");
    same(done(store.digest(tenant).await, "digest"), Some("two".into()), "the replaced digest");
    same(done(store.digest(fresh_tenant()).await, "digest"), None, "another tenant's digest");
    same(done(store.secrets(tenant).await, "secrets"), vec![], "no secret");
    same(done(store.keys(tenant).await, "keys"), vec![], "no key");

    let tenant = fresh_tenant();
    let swaps = (0..10).map(|n| store.swap_digest(tenant, None, Bytes::from(format!("{n}")), ENDS));
    let won = join_all(swaps).await.into_iter().filter(|swap| done(swap.clone(), "swap digest")).count();
    same(won, 1, "of ten at once who wrote it");
}
