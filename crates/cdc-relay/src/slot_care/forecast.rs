//! How fast the log that a slot holds back grows, and when it will meet its limit. Pure.
//!
//! The held log swings: it grows between checkpoints and falls when the server moves the slot's start. So growth is taken
//! over a window, from the first to the last look at it, and nothing is foretold from a few looks.

use std::{collections::VecDeque, time::Duration};

/// Looks that make a forecast.
const LOOKS_MIN: usize = 5;

/// One look at the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Since any fixed moment.
    pub at: Duration,
    /// Log that the slot keeps the server from removing.
    pub retained_bytes: u64,
    /// How much more may be written before the slot is lost; `None`: the server sets no limit.
    pub safe_bytes: Option<u64>,
}

/// What is to be said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    pub growth_bytes_per_second: f64,
    /// Until the limit is met at that rate; `None`: never.
    pub limit_in: Option<Duration>,
}

/// The last looks.
#[derive(Debug)]
pub struct Forecast {
    window: Duration,
    /// A limit given by a person, such as what the disk holds.
    limit_bytes: Option<u64>,
    looks: VecDeque<Look>,
}

impl Forecast {
    #[must_use]
    pub fn new(window: Duration, limit_bytes: Option<u64>) -> Self {
        Self { window, limit_bytes, looks: VecDeque::new() }
    }

    /// Takes a look in and says what it makes of all of them.
    pub fn look(&mut self, look: Look) -> Outlook {
        self.looks.push_back(look);
        while self.looks.front().is_some_and(|first| look.at.saturating_sub(first.at) > self.window) {
            self.looks.pop_front();
        }
        let room = self.room(look);
        let growth = self.growth();
        let limit_in = match room {
            Some(0) => Some(Duration::ZERO),
            Some(room) if growth > 0.0 => Duration::try_from_secs_f64(room as f64 / growth).ok(),
            _ => None,
        };
        Outlook { growth_bytes_per_second: growth, limit_in }
    }

    /// What may come on top of what is held now.
    fn room(&self, look: Look) -> Option<u64> {
        let own = self.limit_bytes.map(|limit| limit.saturating_sub(look.retained_bytes));
        [own, look.safe_bytes].into_iter().flatten().min()
    }

    fn growth(&self) -> f64 {
        let (Some(first), Some(last)) = (self.looks.front(), self.looks.back()) else { return 0.0 };
        let seconds = last.at.saturating_sub(first.at).as_secs_f64();
        if self.looks.len() < LOOKS_MIN || seconds <= 0.0 {
            return 0.0;
        }
        (last.retained_bytes as f64 - first.retained_bytes as f64) / seconds
    }
}

/// A duration as a person says it.
#[must_use]
pub fn said(duration: Duration) -> String {
    match duration.as_secs() {
        0 => "now".to_owned(),
        seconds @ 1..=119 => format!("in {seconds} s"),
        seconds @ 120..=7_199 => format!("in {} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("in {} h", seconds / 3_600),
        seconds => format!("in {} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn looked(forecast: &mut Forecast, looks: &[(u64, u64)], safe: Option<u64>) -> Outlook {
        let mut last = None;
        for (at, retained_bytes) in looks {
            let look = Look { at: Duration::from_secs(*at), retained_bytes: *retained_bytes, safe_bytes: safe };
            last = Some(forecast.look(look));
        }
        last.unwrap()
    }

    const STEADY: [(u64, u64); 5] = [(0, 100), (10, 200), (20, 300), (30, 400), (40, 500)];

    #[test]
    fn steady_growth_meets_a_given_limit_when_it_says() {
        let outlook = looked(&mut Forecast::new(Duration::from_secs(300), Some(1_500)), &STEADY, None);
        assert_eq!(outlook.growth_bytes_per_second, 10.0);
        assert_eq!(outlook.limit_in, Some(Duration::from_secs(100)));
    }

    #[test]
    fn the_nearer_of_two_limits_counts() {
        let outlook = looked(&mut Forecast::new(Duration::from_secs(300), Some(1_500)), &STEADY, Some(200));
        assert_eq!(outlook.limit_in, Some(Duration::from_secs(20)));
    }

    #[test]
    fn without_limit_or_growth_nothing_is_foretold() {
        assert_eq!(looked(&mut Forecast::new(Duration::from_secs(300), None), &STEADY, None).limit_in, None);
        let falling = [(0, 500), (10, 400), (20, 300), (30, 200), (40, 100)];
        let outlook = looked(&mut Forecast::new(Duration::from_secs(300), Some(1_000)), &falling, Some(5));
        assert!(outlook.growth_bytes_per_second < 0.0 && outlook.limit_in.is_none(), "{outlook:?}");
    }

    #[test]
    fn a_few_looks_foretell_nothing_but_a_limit_that_is_met_is_told_at_once() {
        let mut forecast = Forecast::new(Duration::from_secs(300), Some(1_000));
        assert_eq!(looked(&mut forecast, &STEADY[..4], None).limit_in, None);
        assert_eq!(looked(&mut forecast, &[(35, 1_000)], None).limit_in, Some(Duration::ZERO));
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut forecast = Forecast::new(Duration::from_secs(40), Some(10_000));
        looked(&mut forecast, &STEADY, None);
        let still = [(50, 500), (60, 500), (70, 500), (80, 500)];
        assert_eq!(looked(&mut forecast, &still, None).growth_bytes_per_second, 0.0);
    }

    #[test]
    fn times_are_said_in_units_a_person_uses() {
        let all = [0, 90, 3_600, 36_000, 864_000].map(|seconds| said(Duration::from_secs(seconds)));
        assert_eq!(all, ["now", "in 90 s", "in 60 min", "in 10 h", "in 10 days"]);
    }
}
