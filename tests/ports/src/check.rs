//! Assertions that say what was being checked.

use std::fmt::Debug;

use gateway_core::ports::PortError;

/// The value of a call that must not fail.
#[track_caller]
#[expect(clippy::panic, reason = "this is how a case fails")]
pub(crate) fn done<T>(outcome: Result<T, PortError>, what: &str) -> T {
    match outcome {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error}"),
    }
}

/// Fails the case if the two differ.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "cases compare what they have just made")]
pub(crate) fn same<T: PartialEq + Debug>(got: T, wanted: T, what: &str) {
    assert_eq!(got, wanted, "{what}");
}
