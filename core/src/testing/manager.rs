//! A secrets manager in memory, that fails as a test asks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use super::faults::Faults;
use crate::ports::{Fault, PortError, SecretManager, SecretVersion};
use crate::secret::Secret;

/// A [`SecretManager`] that forgets everything when dropped.
#[derive(Default)]
pub struct MemoryManager {
    secrets: Mutex<BTreeMap<String, (String, String)>>,
    calls: AtomicU32,
    faults: Faults,
}

impl MemoryManager {
    /// What goes wrong with which of the next calls.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Calls so far.
    pub fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    /// The names of all secrets.
    pub fn names(&self) -> Vec<String> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Gives every secret another value, as somebody outside would.
    pub fn rotate(&self, value: &str) {
        for (version, kept) in self.secrets.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
            version.push('+');
            value.clone_into(kept);
        }
    }

    fn open(&self, operation: &'static str) -> Result<(), PortError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.faults.before(operation)
    }
}

impl SecretManager for MemoryManager {
    async fn put(&self, name: &str, version: &str, value: &Secret) -> Result<(), PortError> {
        self.open("manager.put")?;
        let kept = (version.to_owned(), value.open().to_owned());
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), kept);
        self.faults.after("manager.put")
    }

    async fn read(&self, name: &str) -> Result<SecretVersion, PortError> {
        self.open("manager.read")?;
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = || PortError::new("manager.read", Fault::Missing, "absent");
        let (version, value) = secrets.get(name).cloned().ok_or_else(missing)?;
        Ok(SecretVersion { version, value: Secret::new(value) })
    }

    async fn delete(&self, name: &str) -> Result<(), PortError> {
        self.open("manager.delete")?;
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        Ok(())
    }
}
