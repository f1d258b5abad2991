//! The one retry policy: wait longer after each failure, with jitter, for ever or until the service stops.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

/// Exponential backoff with jitter. Each wait doubles from `delay_min` up to `delay_max`.
#[derive(Debug, Clone)]
pub struct Backoff {
    delay_min: Duration,
    delay_max: Duration,
    attempt: u32,
}

impl Default for Backoff {
    /// 100 ms, 200 ms, … 10 s: quick enough for a restarted server, slow enough for one that is away.
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(10))
    }
}

impl Backoff {
    #[must_use]
    pub fn new(delay_min: Duration, delay_max: Duration) -> Self {
        Self { delay_min, delay_max, attempt: 0 }
    }

    /// Failures since the last success.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// To be called after a success: the next failure waits shortly again.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    /// The next delay, between half and the whole of the doubled base.
    pub fn next_delay(&mut self) -> Duration {
        let full = self.delay_min.saturating_mul(1 << self.attempt.min(20)).min(self.delay_max);
        self.attempt = self.attempt.saturating_add(1);
        // RandomState is seeded by the system; jitter needs no better randomness.
        let jitter = (RandomState::new().hash_one(self.attempt) % 1000) as u32;
        full / 2 + full / 2 * jitter / 1000
    }

    /// Waits the next delay. `false` when `stop` was cancelled meanwhile: give up.
    pub async fn wait(&mut self, stop: &CancellationToken) -> bool {
        let delay = self.next_delay();
        tokio::select! {
            () = stop.cancelled() => false,
            () = tokio::time::sleep(delay) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_stay_below_the_greatest() {
        let mut backoff = Backoff::default();
        let first = backoff.next_delay();
        assert!(first >= Duration::from_millis(50) && first <= Duration::from_millis(100));
        for _ in 0..40 {
            assert!(backoff.next_delay() <= Duration::from_secs(10));
        }
        assert!(backoff.next_delay() >= Duration::from_secs(5));
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(100));
    }
}
