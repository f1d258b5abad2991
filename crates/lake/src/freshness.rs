//! How fresh the lake is: time from a change's commit at the source to the commits of `shape` and `serve` that hold it.
//!
//! Bounded: a thin sample of events per pass, the last ten minutes, at most [`SAMPLES_MAX`] samples each.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

/// Samples kept.
const SAMPLES_MAX: usize = 20_000;
/// Events of a topic that wait for `shape`, and of all topics that wait for `serve`.
const WAITING_MAX: usize = 20_000;
/// Longest window that a report can look back.
pub const WINDOW_MS: i64 = 10 * 60 * 1000;

/// Samples of the last minutes.
#[derive(Debug, Default)]
pub struct Freshness {
    /// Source commit times of events that are staged and not shaped, microseconds since the epoch, by topic.
    for_shape: BTreeMap<String, Vec<i64>>,
    /// The same of events that are not served.
    for_serve: Vec<i64>,
    shape: Lags,
    serve: Lags,
}

impl Freshness {
    /// Events of a topic were staged.
    pub fn staged(&mut self, topic: &str, committed_us: &[i64]) {
        for waiting in [&mut self.for_serve, self.for_shape.entry(topic.to_owned()).or_default()] {
            let room = WAITING_MAX.saturating_sub(waiting.len());
            waiting.extend(&committed_us[..committed_us.len().min(room)]);
        }
    }

    /// Everything of the topic that is staged so far is visible in `shape` since `now_ms`.
    pub fn shaped(&mut self, topic: &str, now_ms: i64) {
        if let Some(waiting) = self.for_shape.get_mut(topic) {
            self.shape.add(waiting, now_ms);
        }
    }

    /// Everything staged so far is visible in `serve` since `now_ms`.
    pub fn served(&mut self, now_ms: i64) {
        self.serve.add(&mut self.for_serve, now_ms);
    }

    /// Quantiles over what became visible in the last `window_ms`, ten minutes at most: of `serve`, and under `shape`.
    #[must_use]
    pub fn report(&mut self, now_ms: i64, window_ms: i64) -> Value {
        let mut report = self.serve.report(now_ms, window_ms);
        report["shape"] = self.shape.report(now_ms, window_ms);
        report
    }
}

/// (time of the commit, lag), both in milliseconds, in order of time.
#[derive(Debug, Default)]
struct Lags(VecDeque<(i64, i64)>);

impl Lags {
    fn add(&mut self, waiting: &mut Vec<i64>, now_ms: i64) {
        for committed_us in waiting.drain(..) {
            // Clocks of two machines may differ by a little.
            self.0.push_back((now_ms, (now_ms - committed_us / 1000).max(0)));
        }
        while self.0.len() > SAMPLES_MAX {
            self.0.pop_front();
        }
    }

    fn report(&mut self, now_ms: i64, window_ms: i64) -> Value {
        while self.0.front().is_some_and(|(at, _)| *at < now_ms - WINDOW_MS) {
            self.0.pop_front();
        }
        let mut lags: Vec<i64> =
            self.0.iter().filter(|(at, _)| *at >= now_ms - window_ms).map(|(_, lag)| *lag).collect();
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
        let nothing = json!({"p50_ms": null, "p95_ms": null, "samples": 0});
        let mut expected = nothing.clone();
        expected["shape"] = nothing.clone();
        assert_eq!(freshness.report(0, WINDOW_MS), expected);
        freshness.staged("orders", &(1..=100).map(|n| n * 1000).collect::<Vec<_>>());
        freshness.served(1000);
        expected = json!({"p50_ms": 950, "p95_ms": 995, "samples": 100, "shape": nothing});
        assert_eq!(freshness.report(1000, WINDOW_MS), expected);
        assert_eq!(freshness.report(3000, 1000)["samples"], 0, "served longer ago than asked for");
        assert_eq!(freshness.report(1000 + WINDOW_MS + 1, WINDOW_MS)["samples"], 0);
    }

    #[test]
    fn a_topic_is_in_shape_before_all_are_in_serve() {
        let mut freshness = Freshness::default();
        freshness.staged("orders", &[1_000_000]);
        freshness.staged("customers", &[2_000_000]);
        freshness.shaped("orders", 1500);
        assert_eq!(freshness.report(1500, WINDOW_MS)["shape"], json!({"p50_ms": 500, "p95_ms": 500, "samples": 1}));
        freshness.shaped("customers", 2100);
        freshness.served(3000);
        let report = freshness.report(3000, WINDOW_MS);
        assert_eq!(
            (&report["shape"]["samples"], &report["samples"], &report["p95_ms"]),
            (&json!(2), &json!(2), &json!(2000))
        );
    }
}
