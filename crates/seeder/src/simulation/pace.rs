//! When the next transaction is due: an absolute schedule, so that rounding and slow answers do not add up.

use std::time::Duration;

/// How far the schedule may lie behind before the rest is given up. After an outage of the database the traffic goes on
/// at its rate instead of making up for hours in a burst.
pub const BEHIND_MAX: Duration = Duration::from_secs(5);

/// The schedule of a rate: transaction `n` is due `n / rate` after the start.
#[derive(Debug, Clone)]
pub struct Pace {
    per_second: f64,
    /// Time of transaction 0, since the traffic's start.
    anchor: Duration,
    issued: u64,
    given_up: u64,
}

impl Pace {
    /// `per_second` must be positive and finite.
    #[must_use]
    pub fn new(per_second: f64) -> Self {
        Self { per_second, anchor: Duration::ZERO, issued: 0, given_up: 0 }
    }

    /// When the next transaction is due, since the traffic's start.
    #[must_use]
    pub fn next_due(&self) -> Duration {
        self.anchor + Duration::from_secs_f64(self.issued as f64 / self.per_second)
    }

    /// How many transactions are due at `now` and not issued yet; at most `max`, which are then counted as issued.
    pub fn take_due(&mut self, now: Duration, max: u64) -> u64 {
        let due = self.due(now);
        let behind_max = (BEHIND_MAX.as_secs_f64() * self.per_second) as u64;
        if due > behind_max.max(1) {
            self.given_up += due - 1;
            self.anchor = now;
            self.issued = 1;
            return 1;
        }
        let taken = due.min(max);
        self.issued += taken;
        taken
    }

    /// Transactions that were left out because the schedule lay too far behind.
    #[must_use]
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    fn due(&self, now: Duration) -> u64 {
        let since = now.saturating_sub(self.anchor);
        // Transaction 0 is due at the anchor itself.
        let due = (since.as_secs_f64() * self.per_second) as u64 + 1;
        due.saturating_sub(self.issued)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_rate_is_kept_over_an_hour_of_uneven_wake_ups() {
        let mut pace = Pace::new(333.3);
        let mut issued = 0;
        let mut now = Duration::ZERO;
        while now < Duration::from_secs(3600) {
            now += Duration::from_millis(if issued % 3 == 0 { 1 } else { 17 });
            issued += pace.take_due(now, u64::MAX);
        }
        let expected = now.as_secs_f64() * 333.3;
        assert!((issued as f64 - expected).abs() < 2.0, "{issued} {expected}");
        assert_eq!(pace.given_up(), 0);
    }

    #[test]
    fn a_short_delay_is_made_up_for_and_a_long_one_is_given_up() {
        let mut pace = Pace::new(100.0);
        assert_eq!(pace.take_due(Duration::from_secs(3), u64::MAX), 301);
        assert_eq!(pace.take_due(Duration::from_secs(63), u64::MAX), 1);
        assert_eq!(pace.given_up(), 5999);
        assert_eq!(pace.take_due(Duration::from_secs(64), u64::MAX), 100);
    }

    #[test]
    fn a_slow_rate_gives_its_first_transaction_at_once() {
        let mut pace = Pace::new(0.1);
        assert_eq!(pace.take_due(Duration::ZERO, 10), 1);
        assert_eq!(pace.take_due(Duration::from_secs(9), 10), 0);
        assert_eq!(pace.take_due(Duration::from_secs(10), 10), 1);
        assert_eq!(pace.next_due(), Duration::from_secs(20));
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_and_nothing_due_is_left(rate in 0.01f64..10_000.0, steps in proptest::collection::vec(0u64..400, 1..60)) {
            let mut pace = Pace::new(rate);
            let (mut now, mut issued) = (Duration::ZERO, 0u64);
            for step in steps {
                now += Duration::from_millis(step);
                issued += pace.take_due(now, u64::MAX);
                prop_assert!(issued as f64 <= now.as_secs_f64() * rate + 1.000_001);
                prop_assert!(pace.next_due() + Duration::from_nanos(10) > now);
            }
        }
    }
}
