//! Where a call goes, and where it goes next: targets of an alias, what this isolate knows of them, and every decision
//! about trying again. Values in, values out: times and random bits are arguments.
//!
//! The parts: [`classify`] says what an outcome means, for retries, breaker and cooldown alike; [`wait`] how long a
//! provider asks to be left alone; [`Plan`] is one request's way through its targets; [`Board`] is what the isolate
//! remembers of all targets.

mod affinity;
mod board;
mod breaker;
mod budget;
mod classify;
mod digest;
mod entropy;
mod ewma;
mod health;
mod pick;
mod plan;
mod wait;

pub(crate) use self::affinity::key as affinity_key;
pub(crate) use self::board::{Board, Seen, Standing, Ticket};
pub(crate) use self::breaker::Turn;
pub(crate) use self::classify::{Class, class_of};
pub(crate) use self::digest::{Digest, News};
pub(crate) use self::entropy::Entropy;
pub(crate) use self::plan::{Algorithm, Candidate, Next, Out, Pick, Plan, Reason, Size, Stop};
pub(crate) use self::wait::read as waits;
use crate::model::TenantId;

/// A target as routing knows it: the same in every isolate, whatever the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TargetId(u64);

/// The name that clients call, with its tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AliasId(u64);

impl TargetId {
    /// Of a provider's model.
    pub(crate) fn of(tenant: TenantId, provider: &str, model: &str) -> Self {
        Self(hash(&[tenant.as_bytes(), provider.as_bytes(), model.as_bytes()]))
    }

    /// Its bits.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }
}

impl AliasId {
    /// Its bits.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// Of a callable name.
    pub(crate) fn of(tenant: TenantId, name: &str) -> Self {
        Self(hash(&[tenant.as_bytes(), name.as_bytes()]))
    }
}

/// `SplitMix64`'s mixer over the words of length-prefixed parts: stable and well spread; it protects nothing.
pub(crate) fn hash(parts: &[&[u8]]) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        state = entropy::mix(state ^ part.len() as u64);
        let (words, rest) = part.as_chunks::<8>();
        for word in words {
            state = entropy::mix(state ^ u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        if !rest.is_empty() {
            state = entropy::mix(state ^ u64::from_le_bytes(last));
        }
    }
    state
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::hash;

    #[test]
    fn hashes_tell_every_length_and_every_cut_apart() {
        let text = [0_u8; 40];
        let mut seen = BTreeSet::new();
        for end in 0..=text.len() {
            assert!(seen.insert(hash(&[&text[..end]])), "{end} zeros");
            for cut in 0..=end {
                assert!(seen.insert(hash(&[&text[..cut], &text[cut..end]])), "{cut} of {end}");
            }
        }
        for at in 0..text.len() {
            let mut other = text;
            other[at] = 1;
            assert!(seen.insert(hash(&[&other])), "a one at {at}");
        }
    }

    /// Isolates of one version must agree, and those of the next should.
    #[test]
    fn hashes_stay_what_they_are() {
        assert_eq!(hash(&[b"a tenant's name", b"and a model"]), PINNED);
    }

    const PINNED: u64 = 13_225_790_941_512_603_827;
}
