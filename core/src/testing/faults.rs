//! What goes wrong with the calls of an in-memory port, as a test scripted it.

use std::sync::{Mutex, PoisonError};

use crate::ports::{Fault, PortError};

/// A script of mishaps; without one everything works.
#[derive(Debug, Default)]
pub struct Faults(Mutex<Vec<Rule>>);

#[derive(Debug)]
struct Rule {
    operation: &'static str,
    mishap: Mishap,
    skip: u32,
    times: u32,
}

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// It fails and nothing is done.
    Fails(Fault),
    /// It is done, and then the answer is lost.
    Lost,
}

impl Faults {
    /// The next `times` calls of `operation` (for instance `store.swap`) after the first `skip` meet `mishap`.
    pub fn add(&self, operation: &'static str, skip: u32, times: u32, mishap: Mishap) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Rule { operation, mishap, skip, times });
    }

    /// The next call of `operation` fails.
    pub fn once(&self, operation: &'static str, fault: Fault) {
        self.add(operation, 0, 1, Mishap::Fails(fault));
    }

    /// All calls of `operation` fail until [`Self::clear`].
    pub fn always(&self, operation: &'static str, fault: Fault) {
        self.add(operation, 0, u32::MAX, Mishap::Fails(fault));
    }

    /// Everything works again.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A call begins.
    pub(super) fn before(&self, operation: &'static str) -> Result<(), PortError> {
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rule) = rules.iter_mut().find(|rule| rule.operation == operation && rule.times > 0) {
            if rule.skip > 0 {
                rule.skip -= 1;
                return Ok(());
            }
            if let Mishap::Fails(fault) = rule.mishap {
                rule.times -= 1;
                return Err(PortError::new(operation, fault, "scripted"));
            }
        }
        Ok(())
    }

    /// A call is done.
    pub(super) fn after(&self, operation: &'static str) -> Result<(), PortError> {
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = |rule: &&mut Rule| rule.operation == operation && rule.mishap == Mishap::Lost && rule.times > 0;
        match rules.iter_mut().find(lost) {
            Some(rule) if rule.skip == 0 => {
                rule.times -= 1;
                Err(PortError::new(operation, Fault::Unavailable, "answer_lost"))
            }
            _ => Ok(()),
        }
    }
}
