//! The local entry's store.

use std::fs;

use gateway_core::ports::{HeadState, Store, Swap};
use gateway_local::{OpenError, RedbStore};
use gateway_port_tests::{fresh_tenant, key_hash, ledger_contract, store_contract};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_redb_store_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let store = RedbStore::open_path(&directory.path().join("store")).unwrap();
    store_contract(&store).await;
    ledger_contract(&store).await;
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let tenant = fresh_tenant();
    let head = gateway_core::ports::HeadRecord { version: 1, bytes: "head".into() };
    {
        let store = RedbStore::open_path(&path).unwrap();
        assert_eq!(store.swap(tenant, None, Some(head.clone())).await, Ok(Swap::Done));
        store.put_key(tenant, key_hash(tenant, 1), "key".into()).await.unwrap();
    }
    let store = RedbStore::open_path(&path).unwrap();
    let loaded = store.load(tenant, Some(key_hash(tenant, 1)), None).await.unwrap();
    assert_eq!((loaded.head, loaded.key), (HeadState::Current(head), Some("key".into())));
}

/// Fault matrix: R2.
#[tokio::test]
async fn what_was_answered_is_there_when_the_process_was_killed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let copy = directory.path().join("copy");
    let store = RedbStore::open_path(&path).unwrap();
    let tenant = fresh_tenant();
    for n in 0..20 {
        store.put_key(tenant, key_hash(tenant, n), "key".into()).await.unwrap();
        // The file as a SIGKILL at this moment would leave it.
        fs::copy(&path, &copy).unwrap();
        let survivor = RedbStore::open_path(&copy).unwrap();
        assert_eq!(survivor.keys(tenant).await.unwrap().len(), n + 1);
    }
}

#[test]
fn a_second_opening_and_a_later_format_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = RedbStore::open_path(&path).unwrap();
    assert!(matches!(RedbStore::open_path(&path), Err(OpenError::InUse)));
    drop(store);
    assert!(RedbStore::open_path(&path).is_ok());
    let garbage = directory.path().join("garbage");
    fs::write(&garbage, "not a store at all, but long enough to look at".repeat(200)).unwrap();
    assert!(matches!(RedbStore::open_path(&garbage), Err(OpenError::Failed(_))));
}
