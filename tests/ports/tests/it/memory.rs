//! The store in memory.

use gateway_core::testing::MemoryLedger;
use gateway_port_tests::{MemoryStore, ledger_contract, store_contract};

#[tokio::test]
async fn the_memory_store_keeps_the_contract() {
    store_contract(&MemoryStore::default()).await;
}

#[tokio::test]
async fn the_memory_ledger_keeps_the_contract() {
    ledger_contract(&MemoryLedger::default()).await;
}
