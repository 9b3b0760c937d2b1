//! The contracts of [`gateway_core::ports::Store`] and [`gateway_core::ports::Ledger`], run against every implementation, and a
//! store in memory.
//!
//! A case makes its own tenants and names, so that cases and runs can share one table.

mod buckets;
mod check;
mod digest;
mod keys;
mod ledger;
mod memory;
mod names;
mod secrets;
mod swaps;

use gateway_core::model::{KeyHash, TenantId};
use gateway_core::ports::Store;

pub use buckets::buckets_contract;
pub use ledger::ledger_contract;
pub use memory::MemoryStore;

/// Runs every case against `store`. Panics with the name of what does not hold.
pub async fn store_contract<S: Store>(store: &S) {
    check::done(store.ping().await, "ping");
    swaps::all(store).await;
    keys::all(store).await;
    secrets::all(store).await;
    names::all(store).await;
    digest::all(store).await;
}

/// A tenant that nobody has used before.
pub fn fresh_tenant() -> TenantId {
    let mut bytes = [0; 16];
    gateway_native::fill_random(&mut bytes);
    TenantId::from_random(bytes)
}

/// The hash of the key with number `n` of a tenant.
pub fn key_hash(tenant: TenantId, n: usize) -> KeyHash {
    KeyHash::of(&format!("{tenant}.{n}"))
}
