//! Heads: loading in one round trip, and compare-and-swap.

use bytes::Bytes;
use futures_util::future::join_all;
use gateway_core::limits::HEAD_BYTES;
use gateway_core::model::TenantId;
use gateway_core::ports::{HeadRecord, HeadState, Loaded, Store, Swap};

use crate::check::{done, same};
use crate::{fresh_tenant, key_hash};

pub(crate) async fn all<S: Store>(store: &S) {
    an_unknown_tenant_is_absent(store).await;
    a_head_is_written_read_and_replaced(store).await;
    a_swap_with_another_version_changes_nothing(store).await;
    of_fifty_swaps_one_wins(store).await;
    of_fifty_creations_one_wins(store).await;
    a_deleted_head_can_be_made_again(store).await;
    the_largest_head_survives(store).await;
    tenants_do_not_see_each_other(store).await;
}

pub(crate) fn head(version: u64, text: &str) -> HeadRecord {
    HeadRecord { version, bytes: Bytes::copy_from_slice(text.as_bytes()) }
}

async fn load<S: Store>(store: &S, tenant: TenantId, known: Option<u64>) -> HeadState {
    done(store.load(tenant, None, known).await, "load").head
}

async fn swap<S: Store>(store: &S, tenant: TenantId, expected: Option<u64>, new: Option<HeadRecord>) -> Swap {
    done(store.swap(tenant, expected, new).await, "swap")
}

async fn an_unknown_tenant_is_absent<S: Store>(store: &S) {
    let tenant = fresh_tenant();
    let loaded = done(store.load(tenant, Some(key_hash(tenant, 0)), Some(7)).await, "load");
    same(loaded, Loaded { head: HeadState::Absent, key: None, stale: false }, "an unknown tenant");
}

async fn a_head_is_written_read_and_replaced<S: Store>(store: &S) {
    let tenant = fresh_tenant();
    same(swap(store, tenant, None, Some(head(1, "one"))).await, Swap::Done, "first head");
    same(load(store, tenant, None).await, HeadState::Current(head(1, "one")), "first head");
    same(load(store, tenant, Some(1)).await, HeadState::Unchanged, "known version");
    same(load(store, tenant, Some(9)).await, HeadState::Current(head(1, "one")), "another known version");
    same(swap(store, tenant, Some(1), Some(head(2, "two \u{fc}\u{0}"))).await, Swap::Done, "second head");
    same(load(store, tenant, Some(1)).await, HeadState::Current(head(2, "two \u{fc}\u{0}")), "second head");
}

async fn a_swap_with_another_version_changes_nothing<S: Store>(store: &S) {
    let tenant = fresh_tenant();
    for (expected, new) in [(Some(1), Some(head(2, "x"))), (Some(1), None)] {
        same(swap(store, tenant, expected, new).await, Swap::Lost, "swap of what is not there");
    }
    same(load(store, tenant, None).await, HeadState::Absent, "after swaps that were lost");
    swap(store, tenant, None, Some(head(5, "five"))).await;
    for (expected, new) in [(None, Some(head(1, "x"))), (Some(4), Some(head(5, "x"))), (Some(6), None), (None, None)] {
        same(swap(store, tenant, expected, new).await, Swap::Lost, "swap with another version");
    }
    same(load(store, tenant, None).await, HeadState::Current(head(5, "five")), "after swaps that were lost");
}

async fn of_fifty_swaps_one_wins<S: Store>(store: &S) {
    let tenant = fresh_tenant();
    swap(store, tenant, None, Some(head(1, "start"))).await;
    race(store, tenant, Some(1), 2).await;
    race(store, tenant, Some(2), 3).await;
}

async fn of_fifty_creations_one_wins<S: Store>(store: &S) {
    race(store, fresh_tenant(), None, 1).await;
}

async fn race<S: Store>(store: &S, tenant: TenantId, expected: Option<u64>, version: u64) {
    let racers = (0..50).map(|n| async move {
        let new = head(version, &format!("racer {n}"));
        (n, swap(store, tenant, expected, Some(new)).await)
    });
    let winners: Vec<_> = join_all(racers).await.into_iter().filter(|(_, swap)| *swap == Swap::Done).collect();
    same(winners.len(), 1, "winners of a race");
    for (n, _) in winners {
        let won = HeadState::Current(head(version, &format!("racer {n}")));
        same(load(store, tenant, None).await, won, "the winner's head is there");
    }
}

async fn a_deleted_head_can_be_made_again<S: Store>(store: &S) {
    let tenant = fresh_tenant();
    for round in ["first", "second"] {
        same(swap(store, tenant, None, Some(head(1, round))).await, Swap::Done, "creation");
        same(load(store, tenant, None).await, HeadState::Current(head(1, round)), "after creation");
        same(swap(store, tenant, Some(1), None).await, Swap::Done, "deletion");
        same(load(store, tenant, Some(1)).await, HeadState::Absent, "after deletion");
        same(swap(store, tenant, Some(1), None).await, Swap::Lost, "second deletion");
    }
    same(swap(store, tenant, None, None).await, Swap::Done, "nothing expected, nothing wanted");
}

async fn the_largest_head_survives<S: Store>(store: &S) {
    let tenant = fresh_tenant();
    let bytes: Vec<u8> = (0..HEAD_BYTES).map(|n| u8::try_from(n % 251).unwrap_or_default()).collect();
    let large = HeadRecord { version: u64::MAX, bytes: bytes.into() };
    same(swap(store, tenant, None, Some(large.clone())).await, Swap::Done, "large head");
    let HeadState::Current(read) = load(store, tenant, None).await else {
        return same("absent", "there", "large head");
    };
    same(read == large, true, "large head is unchanged");
}

async fn tenants_do_not_see_each_other<S: Store>(store: &S) {
    let (a, b) = (fresh_tenant(), fresh_tenant());
    swap(store, a, None, Some(head(1, "a"))).await;
    same(load(store, b, None).await, HeadState::Absent, "another tenant's head");
    same(swap(store, b, Some(1), None).await, Swap::Lost, "deleting another tenant's head");
    same(load(store, a, None).await, HeadState::Current(head(1, "a")), "own head");
}
