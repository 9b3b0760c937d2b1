//! When a tenant's object rings its alarm and what it does then: publish its state to KV, look for orphaned secrets.
//!
//! KV takes one write a second per key, and of two writes under way the older may win. So there is never more than one:
//! the alarm writes and waits, and whatever changes meanwhile is written by the next alarm. A write whose end was not
//! seen (it failed, or the object was restarted) may still land later: the state is then written once more, well after it.

/// The bookkeeping of one object, kept in its storage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Publication {
    /// Counts changes of the state.
    pub(crate) sequence: u64,
    /// The change that was last published.
    pub(crate) published: u64,
    /// When that was.
    pub(crate) published_at: u64,
    /// True while a write to KV is under way.
    pub(crate) writing: bool,
    /// Failed writes since the last good one.
    pub(crate) failures: u64,
    /// When to publish once more after a write of unknown end, else 0.
    pub(crate) again_at: u64,
    /// When to look for orphaned secrets, else 0.
    pub(crate) sweep_at: u64,
    /// When the alarm was last set to ring, 0 if it is not set.
    pub(crate) alarm_at: u64,
}

impl Publication {
    /// Between a change and its publication, and between two writes.
    pub(crate) const SPACING_MS: u64 = 1_100;
    /// After which a write of unknown end has landed or never will.
    const SETTLED_MS: u64 = 60_000;
    const LONGEST_BACKOFF_MS: u64 = 300_000;
    /// An alarm this late has been given up by the platform.
    const LOST_MS: u64 = 60_000;
    /// From writing a secret to looking for orphans; more than their least age.
    const SWEEP_MS: u64 = 11 * 60_000;

    /// The state has changed.
    pub(crate) fn changed(&mut self) {
        self.sequence += 1;
    }

    /// A secret was written, which will be an orphan if no head comes to name it.
    pub(crate) fn secret_written(&mut self, now: u64) {
        self.changed();
        self.sweep_at = now + Self::SWEEP_MS;
    }

    /// When the alarm has to be set, if it has to be.
    pub(crate) fn alarm(&mut self, now: u64) -> Option<u64> {
        let mut times = [0; 3];
        if self.sequence > self.published {
            let spaced = (now + Self::SPACING_MS).max(self.published_at + Self::SPACING_MS);
            times[0] = if self.failures == 0 { spaced } else { now + self.backoff() };
        }
        times[1] = self.again_at;
        times[2] = self.sweep_at;
        let next = times.into_iter().filter(|time| *time > 0).min()?;
        let set = self.alarm_at > 0 && self.alarm_at <= next && self.alarm_at + Self::LOST_MS > now;
        if set {
            return None;
        }
        self.alarm_at = next;
        Some(next)
    }

    /// The alarm rings: whether to look for orphans.
    pub(crate) fn rings(&mut self, now: u64) -> bool {
        self.alarm_at = 0;
        let sweep = self.sweep_at > 0 && self.sweep_at <= now;
        if sweep {
            self.sweep_at = 0;
        }
        sweep
    }

    /// Whether to publish now; the write has then begun.
    pub(crate) fn begin(&mut self, now: u64) -> bool {
        let again = self.again_at > 0 && self.again_at <= now;
        if self.sequence == self.published && !again {
            return false;
        }
        if again {
            self.again_at = 0;
        }
        if self.writing {
            self.again_at = now + Self::SETTLED_MS;
        }
        self.writing = true;
        true
    }

    /// The write of the change `sequence` has ended.
    pub(crate) fn end(&mut self, now: u64, sequence: u64, good: bool) {
        self.writing = false;
        if good {
            self.failures = 0;
            self.published = sequence;
            self.published_at = now;
        } else {
            self.failures += 1;
            self.published = self.published.min(sequence.saturating_sub(1));
            self.again_at = now + Self::SETTLED_MS;
        }
    }

    fn backoff(&self) -> u64 {
        let doublings = u32::try_from(self.failures.min(16)).unwrap_or(16);
        (Self::SPACING_MS << doublings).min(Self::LONGEST_BACKOFF_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    #[test]
    fn changes_in_a_row_share_one_alarm() {
        let mut publication = Publication::default();
        assert_eq!(publication.alarm(NOW), None);
        publication.changed();
        assert_eq!(publication.alarm(NOW), Some(NOW + 1_100));
        publication.changed();
        assert_eq!(publication.alarm(NOW + 500), None);
        assert!(!publication.rings(NOW + 1_100));
        assert!(publication.begin(NOW + 1_100));
        publication.end(NOW + 1_200, 2, true);
        assert_eq!(publication.alarm(NOW + 1_200), None);
    }

    #[test]
    fn a_change_during_a_write_is_written_by_the_next_alarm() {
        let mut publication = Publication { sequence: 1, ..Publication::default() };
        publication.rings(NOW);
        assert!(publication.begin(NOW));
        publication.changed();
        assert_eq!(publication.alarm(NOW + 10), Some(NOW + 1_110));
        publication.end(NOW + 9_000, 1, true);
        // The alarm set during the write rings after it; it is not taken for lost.
        assert_eq!(publication.alarm(NOW + 9_000), None);
        publication.rings(NOW + 9_001);
        assert!(publication.begin(NOW + 9_001));
        publication.end(NOW + 9_100, 2, true);
        assert_eq!(publication.published, 2);
    }

    #[test]
    fn a_failed_write_is_repeated_and_once_more_when_it_can_no_longer_land() {
        let mut publication = Publication { sequence: 1, ..Publication::default() };
        publication.rings(NOW);
        publication.begin(NOW);
        publication.end(NOW, 1, false);
        assert_eq!(publication.alarm(NOW), Some(NOW + 2_200));
        publication.rings(NOW + 2_200);
        assert!(publication.begin(NOW + 2_200));
        publication.end(NOW + 2_300, 1, true);
        assert_eq!(publication.alarm(NOW + 2_300), Some(NOW + 60_000));
        publication.rings(NOW + 60_000);
        assert!(publication.begin(NOW + 60_000));
        publication.end(NOW + 60_100, 1, true);
        assert_eq!(publication.alarm(NOW + 60_100), None);
    }

    #[test]
    fn a_write_cut_off_by_a_restart_is_written_again_later() {
        let mut publication = Publication { sequence: 1, writing: true, ..Publication::default() };
        publication.rings(NOW);
        assert!(publication.begin(NOW));
        publication.end(NOW + 5, 1, true);
        assert_eq!(publication.alarm(NOW + 5), Some(NOW + 60_000));
    }

    #[test]
    fn a_lost_alarm_is_set_anew() {
        let mut publication = Publication { sequence: 1, alarm_at: NOW, ..Publication::default() };
        assert_eq!(publication.alarm(NOW + 59_000), None);
        assert_eq!(publication.alarm(NOW + 60_000), Some(NOW + 61_100));
    }

    #[test]
    fn orphans_are_looked_for_after_the_last_secret() {
        let mut publication = Publication::default();
        publication.secret_written(NOW);
        publication.end(NOW, 1, true);
        assert_eq!(publication.alarm(NOW), Some(NOW + 660_000));
        publication.secret_written(NOW + 5);
        publication.end(NOW + 5, 2, true);
        assert_eq!(publication.alarm(NOW + 5), None);
        assert!(!publication.rings(NOW + 660_000));
        assert_eq!(publication.alarm(NOW + 660_000), Some(NOW + 660_005));
        assert!(publication.rings(NOW + 660_005));
        assert_eq!(publication.alarm(NOW + 660_005), None);
    }

    #[test]
    fn backoff_has_an_end() {
        let mut publication = Publication { sequence: 1, failures: 1_000, ..Publication::default() };
        assert_eq!(publication.alarm(NOW), Some(NOW + 300_000));
    }
}
