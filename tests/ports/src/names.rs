//! The registry of tenant names.

use bytes::Bytes;
use futures_util::future::join_all;
use gateway_core::ports::Store;

use crate::check::{done, same};
use crate::fresh_tenant;

pub(crate) async fn all<S: Store>(store: &S) {
    a_name_is_taken_replaced_and_freed(store).await;
    of_fifty_takers_one_gets_the_name(store).await;
    names_are_compared_exactly(store).await;
    names_are_listed(store).await;
}

async fn swap<S: Store>(store: &S, name: &str, expected: Option<&str>, entry: Option<&str>) -> bool {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    done(store.swap_name(name, expected.map(bytes), entry.map(bytes)).await, "swap name")
}

async fn name<S: Store>(store: &S, name: &str) -> Option<Bytes> {
    done(store.name(name).await, "name")
}

async fn a_name_is_taken_replaced_and_freed<S: Store>(store: &S) {
    let acme = format!("acme {}", fresh_tenant());
    same(name(store, &acme).await, None, "a free name");
    same(swap(store, &acme, Some("x"), Some("y")).await, false, "replacing what is not there");
    same(swap(store, &acme, None, Some("one")).await, true, "taking a name");
    same(name(store, &acme).await, Some("one".into()), "a taken name");
    same(swap(store, &acme, None, Some("two")).await, false, "taking it again");
    same(swap(store, &acme, Some("on"), Some("two")).await, false, "replacing another entry");
    same(swap(store, &acme, Some("one"), Some("two")).await, true, "replacing the entry");
    same(swap(store, &acme, Some("one"), None).await, false, "freeing another entry");
    same(name(store, &acme).await, Some("two".into()), "the replaced entry");
    same(swap(store, &acme, Some("two"), None).await, true, "freeing the name");
    same(name(store, &acme).await, None, "a freed name");
    same(swap(store, &acme, None, Some("three")).await, true, "taking a freed name");
}

async fn of_fifty_takers_one_gets_the_name<S: Store>(store: &S) {
    let wanted = format!("wanted {}", fresh_tenant());
    let wanted = wanted.as_str();
    let takers = (0..50).map(|n| async move { swap(store, wanted, None, Some(&format!("taker {n}"))).await });
    same(join_all(takers).await.into_iter().filter(|got| *got).count(), 1, "takers who got the name");
}

async fn names_are_compared_exactly<S: Store>(store: &S) {
    let base = fresh_tenant().to_string();
    let variants = ["", " ", "#", "name", "na\u{ef}ve", "nai\u{308}ve", "\u{6771}\u{4eac}", "a#b", "NAME"];
    for variant in variants {
        let whole = format!("{base}{variant}");
        same(name(store, &whole).await, None, "a name that another one begins or looks like");
        same(swap(store, &whole, None, Some(variant)).await, true, "taking such a name");
    }
    for variant in variants {
        same(name(store, &format!("{base}{variant}")).await, Some(variant.into()), "its own entry");
    }
}

async fn names_are_listed<S: Store>(store: &S) {
    let base = fresh_tenant().to_string();
    for n in 0..3 {
        swap(store, &format!("{base}-{n}"), None, Some(&n.to_string())).await;
    }
    let mut listed = done(store.names().await, "names");
    listed.retain(|(name, _)| name.starts_with(&base));
    listed.sort();
    let wanted: Vec<_> = (0..3).map(|n| (format!("{base}-{n}"), Bytes::from(n.to_string()))).collect();
    same(listed, wanted, "names listed");
}
