//! How far the relay is: metrics, and facts for the status of the task.

use std::time::{Duration, Instant};

use connect::{Moved, Reporter};
use metrics::{counter, gauge, histogram};
use model::lsn::Lsn;

use crate::debezium_metrics::DebeziumMetrics;

/// Facts in the status change at most this often.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Counts and reports for one connector.
pub struct Progress {
    connector: String,
    report: Reporter,
    reported_at: Option<Instant>,
    debezium: DebeziumMetrics,
}

impl Progress {
    #[must_use]
    pub fn new(connector: String, report: Reporter, topic_prefix: &str) -> Self {
        Self { connector, report, reported_at: None, debezium: DebeziumMetrics::new(topic_prefix) }
    }

    /// Rows read by this session's snapshot so far.
    pub fn snapshot_rows(&self, rows: u64) {
        gauge!("cdc_relay_snapshot_rows", "connector" => self.connector.clone()).set(rows as f64);
        self.debezium.snapshot(rows, false);
        self.report.progress("snapshot", "running");
        self.report.progress("snapshot_rows", rows);
    }

    /// The snapshot is complete.
    pub fn snapshot_done(&self, rows: u64) {
        self.snapshot_rows(rows);
        self.debezium.snapshot(rows, true);
        self.report.progress("snapshot", "complete");
    }

    /// A Kafka transaction with so many records was committed. `oldest_commit_us`: when the first source transaction in
    /// it was committed, microseconds since the Unix epoch.
    pub fn committed(&self, records: u64, bytes: usize, oldest_commit_us: Option<i64>, now_us: i64) {
        let connector = || self.connector.clone();
        counter!("cdc_relay_kafka_transactions_total", "connector" => connector()).increment(1);
        counter!("cdc_relay_records_total", "connector" => connector()).increment(records);
        counter!("cdc_relay_record_bytes_total", "connector" => connector()).increment(bytes as u64);
        self.report.moved(Moved::Read, records);
        self.report.moved(Moved::Written, records);
        self.debezium.streamed(records, oldest_commit_us, now_us);
        if let Some(oldest) = oldest_commit_us {
            let seconds = (now_us - oldest).max(0) as f64 / 1e6;
            histogram!("cdc_relay_commit_latency_seconds", "connector" => connector()).record(seconds);
        }
    }

    /// Where the stream is: what is durable, and how far the server has got.
    pub fn position(&mut self, durable: Lsn, server: Lsn) {
        if self.reported_at.is_some_and(|at| at.elapsed() < REPORT_INTERVAL) {
            return;
        }
        self.reported_at = Some(Instant::now());
        self.debezium.idle();
        let lag = server.0.saturating_sub(durable.0);
        gauge!("cdc_relay_lag_bytes", "connector" => self.connector.clone()).set(lag as f64);
        gauge!("cdc_relay_durable_lsn", "connector" => self.connector.clone()).set(durable.0 as f64);
        self.report.progress("lag_bytes", lag);
        self.report.progress("last_commit_lsn", durable.to_string());
    }
}
