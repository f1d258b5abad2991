//! When a Kafka transaction is committed. Pure but for the clock it is given.

use std::time::{Duration, Instant};

use crate::{outbox::Outbox, settings::RelaySettings};

/// A transaction that the server stopped sending in the middle of is committed in part after this, long before Kafka
/// would give up on ours.
const PARTIAL_AFTER: Duration = Duration::from_secs(5);

/// Where in the stream we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// A source transaction is complete and more is already here.
    AfterTransaction,
    InTransaction,
    /// Nothing more is here, and no source transaction is open.
    Pause,
    PauseInTransaction,
}

/// While a commit is under way nothing is sent. Under a backlog, where nobody is served by hurry, a transaction is
/// filled for this many times as long as the last commit took, so that commits take a quarter of the time at most.
const FILL_PER_COMMIT: u32 = 3;
/// Bound of the above, for a Kafka that is slow.
const FILL_MAX: Duration = Duration::from_millis(250);

/// The limits of a Kafka transaction.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    /// As configured, or longer because of slow commits.
    interval: Duration,
    commit_interval: Duration,
    bytes_max: usize,
}

impl Batch {
    pub fn new(settings: &RelaySettings) -> Self {
        let commit_interval = settings.commit_interval;
        Self { interval: commit_interval, commit_interval, bytes_max: settings.batch_bytes_max }
    }

    /// A commit took so long.
    pub fn commit_took(&mut self, took: Duration) {
        self.interval = self.commit_interval.max((took * FILL_PER_COMMIT).min(FILL_MAX));
    }

    /// Whether the open transaction is to be committed now.
    pub fn due(&self, moment: Moment, outbox: &Outbox) -> bool {
        outbox.opened_at().is_some_and(|opened_at| self.decide(moment, outbox.bytes(), || opened_at.elapsed()))
    }

    /// When an open transaction becomes due without anything more arriving.
    pub fn wake_at(&self, outbox: &Outbox) -> Option<Instant> {
        outbox.opened_at().map(|opened_at| opened_at + PARTIAL_AFTER)
    }

    /// `age` is asked for only where it counts: reading the clock per row would be felt.
    fn decide(&self, moment: Moment, bytes: usize, age: impl FnOnce() -> Duration) -> bool {
        bytes >= self.bytes_max
            || match moment {
                Moment::InTransaction => false,
                Moment::Pause => true,
                Moment::AfterTransaction => age() >= self.interval,
                Moment::PauseInTransaction => age() >= PARTIAL_AFTER,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(10);
    const BATCH: Batch = Batch { interval: INTERVAL, commit_interval: INTERVAL, bytes_max: 1000 };

    fn decided(moment: Moment, bytes: usize, age_ms: u64) -> bool {
        BATCH.decide(moment, bytes, || Duration::from_millis(age_ms))
    }

    #[test]
    fn a_pause_commits_at_once() {
        assert!(decided(Moment::Pause, 1, 0));
    }

    #[test]
    fn under_load_the_interval_decides_and_only_between_transactions() {
        assert!(!decided(Moment::AfterTransaction, 1, 9));
        assert!(decided(Moment::AfterTransaction, 1, 10));
        assert!(!decided(Moment::InTransaction, 999, 4_000));
    }

    #[test]
    fn slow_commits_are_made_rarer_within_bounds_and_only_under_load() {
        let mut batch = BATCH;
        batch.commit_took(Duration::from_millis(20));
        assert!(!batch.decide(Moment::AfterTransaction, 1, || Duration::from_millis(59)));
        assert!(batch.decide(Moment::AfterTransaction, 1, || Duration::from_millis(60)));
        assert!(batch.decide(Moment::Pause, 1, || Duration::ZERO));
        batch.commit_took(Duration::from_secs(30));
        assert!(batch.decide(Moment::AfterTransaction, 1, || FILL_MAX));
        batch.commit_took(Duration::from_millis(1));
        assert!(batch.decide(Moment::AfterTransaction, 1, || INTERVAL));
    }

    #[test]
    fn a_full_batch_is_committed_anywhere() {
        for moment in [Moment::AfterTransaction, Moment::InTransaction, Moment::Pause, Moment::PauseInTransaction] {
            assert!(decided(moment, 1000, 0));
        }
    }

    #[test]
    fn a_transaction_that_hangs_is_committed_in_part() {
        assert!(!decided(Moment::PauseInTransaction, 1, 4_999));
        assert!(decided(Moment::PauseInTransaction, 1, 5_000));
    }
}
