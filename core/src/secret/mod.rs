//! Values that must not be seen: held in memory here, sealed for storage in [`seal`].
//!
//! Nothing in this tree prints a value, not even into an error.

mod credential;
pub(crate) mod manager;
pub mod seal;

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub use credential::Credential;

/// A secret text. Prints as a fixed word and is overwritten when the last clone goes.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes over a secret.
    pub fn new(value: String) -> Self {
        Self(Arc::new(Zeroizing::new(value)))
    }

    /// The value itself: only for signing, sealing and the header or body of the call that it is meant for.
    pub fn open(&self) -> &str {
        &self.0
    }

    /// Whether `other` is the same value. Takes a time that does not depend on where they differ.
    pub fn matches(&self, other: &str) -> bool {
        Sha256::digest(self.open().as_bytes()).ct_eq(&Sha256::digest(other.as_bytes())).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_value() {
        let secret = Secret::new("canary".to_owned());
        assert_eq!(format!("{secret:?} {:#?}", Some(&secret)), "Secret Some(\n    Secret,\n)");
    }

    #[test]
    fn only_the_same_value_matches() {
        let secret = Secret::new("canary".to_owned());
        assert!(secret.matches("canary"));
        assert!(secret.clone().matches(secret.open()));
        for other in ["", "canar", "canary ", "Canary", "canary\0"] {
            assert!(!secret.matches(other), "{other:?}");
        }
        assert!(Secret::new(String::new()).matches(""));
    }
}
