//! How fresh the lake is: time from a change's commit at the source to the commit of `serve` that holds it.
//!
//! Bounded: a thin sample of events per pass, the last ten minutes, at most [`SAMPLES_MAX`] samples.

use std::collections::VecDeque;

use serde_json::{Value, json};

/// Samples kept.
const SAMPLES_MAX: usize = 20_000;
/// Events that wait for their `serve` commit.
const WAITING_MAX: usize = 20_000;
/// Longest window that a report can look back.
pub const WINDOW_MS: i64 = 10 * 60 * 1000;

/// Samples of the last minutes.
#[derive(Debug, Default)]
pub struct Freshness {
    /// Source commit times of events that are staged, microseconds since the epoch.
    waiting: Vec<i64>,
    /// (time of the serve commit, lag), both in milliseconds, in order of time.
    samples: VecDeque<(i64, i64)>,
}

impl Freshness {
    /// Events were staged.
    pub fn staged(&mut self, committed_us: &[i64]) {
        let room = WAITING_MAX.saturating_sub(self.waiting.len());
        self.waiting.extend(&committed_us[..committed_us.len().min(room)]);
    }

    /// Everything staged so far is visible in `serve` since `now_ms`.
    pub fn served(&mut self, now_ms: i64) {
        for committed_us in self.waiting.drain(..) {
            // Clocks of two machines may differ by a little.
            self.samples.push_back((now_ms, (now_ms - committed_us / 1000).max(0)));
        }
        while self.samples.len() > SAMPLES_MAX {
            self.samples.pop_front();
        }
    }

    /// Quantiles over what was served in the last `window_ms`, ten minutes at most.
    #[must_use]
    pub fn report(&mut self, now_ms: i64, window_ms: i64) -> Value {
        while self.samples.front().is_some_and(|(at, _)| *at < now_ms - WINDOW_MS) {
            self.samples.pop_front();
        }
        let mut lags: Vec<i64> =
            self.samples.iter().filter(|(at, _)| *at >= now_ms - window_ms).map(|(_, lag)| *lag).collect();
        lags.sort_unstable();
        let quantile = |part: usize| lags.get((lags.len() * part / 100).min(lags.len().saturating_sub(1)));
        json!({"p50_ms": quantile(50), "p95_ms": quantile(95), "samples": lags.len()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_over_the_window_and_empty_is_null() {
        let mut freshness = Freshness::default();
        assert_eq!(freshness.report(0, WINDOW_MS), json!({"p50_ms": null, "p95_ms": null, "samples": 0}));
        freshness.staged(&(1..=100).map(|n| n * 1000).collect::<Vec<_>>());
        freshness.served(1000);
        assert_eq!(freshness.report(1000, WINDOW_MS), json!({"p50_ms": 950, "p95_ms": 995, "samples": 100}));
        assert_eq!(freshness.report(3000, 1000)["samples"], 0, "served longer ago than asked for");
        assert_eq!(freshness.report(1000 + WINDOW_MS + 1, WINDOW_MS)["samples"], 0);
    }
}
