//! The store in memory.

use gateway_port_tests::{MemoryStore, store_contract};

#[tokio::test]
async fn the_memory_store_keeps_the_contract() {
    store_contract(&MemoryStore::default()).await;
}
