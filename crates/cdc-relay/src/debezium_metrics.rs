//! The relay's progress under the names of Debezium's metrics, as the usual rules of Prometheus' JMX exporter make them:
//! dashboards and alerts made for Debezium go on working.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use metrics::{counter, gauge};

/// No event so far.
const NEVER: i64 = -1;

/// Metrics of one connector; `name` is its topic prefix, as with Debezium.
pub struct DebeziumMetrics {
    name: String,
    begun: Instant,
    last_event_us: AtomicI64,
}

impl DebeziumMetrics {
    #[must_use]
    pub fn new(name: &str) -> Self {
        let metrics = Self { name: name.to_owned(), begun: Instant::now(), last_event_us: AtomicI64::new(NEVER) };
        gauge!("debezium_metrics_Connected", &metrics.labels("streaming")).set(1.0);
        metrics
    }

    fn labels(&self, context: &'static str) -> [(&'static str, String); 3] {
        [("plugin", "postgres".to_owned()), ("name", self.name.clone()), ("context", context.to_owned())]
    }

    /// Rows read by the snapshot so far.
    pub fn snapshot(&self, rows: u64, complete: bool) {
        let labels = self.labels("snapshot");
        gauge!("debezium_metrics_SnapshotRunning", &labels).set(f64::from(u8::from(!complete)));
        gauge!("debezium_metrics_SnapshotCompleted", &labels).set(f64::from(u8::from(complete)));
        counter!("debezium_metrics_TotalNumberOfEventsSeen", &labels).absolute(rows);
        gauge!("debezium_metrics_SnapshotDurationInSeconds", &labels).set(self.begun.elapsed().as_secs_f64().floor());
    }

    /// Changes are in Kafka; the first of their transactions was committed at `oldest_commit_us`.
    pub fn streamed(&self, records: u64, oldest_commit_us: Option<i64>, now_us: i64) {
        let labels = self.labels("streaming");
        counter!("debezium_metrics_TotalNumberOfEventsSeen", &labels).increment(records);
        if let Some(oldest) = oldest_commit_us {
            gauge!("debezium_metrics_MilliSecondsBehindSource", &labels).set(((now_us - oldest).max(0) / 1000) as f64);
        }
        self.last_event_us.store(now_us, Ordering::Relaxed);
    }

    /// Called now and then, while nothing happens too.
    pub fn idle(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_us = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
        let last = self.last_event_us.load(Ordering::Relaxed);
        let since_ms = if last == NEVER { NEVER } else { (now_us - last).max(0) / 1000 };
        gauge!("debezium_metrics_MilliSecondsSinceLastEvent", &self.labels("streaming")).set(since_ms as f64);
    }
}

impl Drop for DebeziumMetrics {
    fn drop(&mut self) {
        gauge!("debezium_metrics_Connected", &self.labels("streaming")).set(0.0);
    }
}
