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

/// The limits of a Kafka transaction.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    commit_interval: Duration,
    bytes_max: usize,
}

impl Batch {
    pub fn new(settings: &RelaySettings) -> Self {
        Self { commit_interval: settings.commit_interval, bytes_max: settings.batch_bytes_max }
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
                Moment::AfterTransaction => age() >= self.commit_interval,
                Moment::PauseInTransaction => age() >= PARTIAL_AFTER,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: Batch = Batch { commit_interval: Duration::from_millis(10), bytes_max: 1000 };

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
