//! How far the relay is: metrics, and facts for the status of the task.

use std::time::{Duration, Instant};

use connect::{Moved, Reporter};
use metrics::{counter, gauge, histogram};
use model::lsn::Lsn;

use crate::debezium_metrics::DebeziumMetrics;
use crate::snapshot::pace::Outlook;

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

    /// How far this session's snapshot is.
    pub fn snapshot(&self, outlook: &Outlook) {
        let connector = || self.connector.clone();
        gauge!("cdc_relay_snapshot_rows", "connector" => connector()).set(outlook.rows as f64);
        self.debezium.snapshot(outlook.rows, false);
        self.report.progress("snapshot", "running");
        self.report.progress("snapshot_rows", outlook.rows);
        self.report.progress("snapshot_tables", outlook.tables);
        self.report.progress("snapshot_tables_done", outlook.tables_done);
        if let Some(rows) = outlook.rows_estimated {
            gauge!("cdc_relay_snapshot_rows_estimated", "connector" => connector()).set(rows as f64);
            self.report.progress("snapshot_rows_estimated", rows);
        }
        if let Some(eta) = outlook.eta {
            gauge!("cdc_relay_snapshot_eta_seconds", "connector" => connector()).set(eta.as_secs_f64());
            self.report.progress("snapshot_eta_seconds", eta.as_secs());
        }
    }

    /// The snapshot is complete.
    pub fn snapshot_done(&self, rows: u64) {
        self.debezium.snapshot(rows, true);
        gauge!("cdc_relay_snapshot_rows", "connector" => self.connector.clone()).set(rows as f64);
        gauge!("cdc_relay_snapshot_rows_estimated", "connector" => self.connector.clone()).set(rows as f64);
        gauge!("cdc_relay_snapshot_eta_seconds", "connector" => self.connector.clone()).set(0.0);
        self.report.progress("snapshot", "complete");
        self.report.progress("snapshot_rows", rows);
        self.report.progress("snapshot_rows_estimated", rows);
        self.report.progress("snapshot_eta_seconds", 0);
    }

    /// Rows of an incremental snapshot were written.
    pub fn incremental_rows(&self, rows: u64) {
        counter!("cdc_relay_incremental_snapshot_rows_total", "connector" => self.connector.clone()).increment(rows);
    }

    /// A table of an incremental snapshot is left out.
    pub fn incremental_failure(&self, reason: &str) {
        self.report.progress("incremental_snapshot_failure", reason);
    }

    /// The table an incremental snapshot is in, its rows written and supposed, and how many tables are left.
    pub fn incremental(&self, table: Option<&str>, rows: u64, estimated: Option<u64>, tables: usize, paused: bool) {
        let connector = || self.connector.clone();
        gauge!("cdc_relay_incremental_snapshot_tables", "connector" => connector()).set(tables as f64);
        let state = match (table, paused) {
            (None, _) => "complete",
            (Some(_), true) => "paused",
            (Some(_), false) => "running",
        };
        self.report.progress("incremental_snapshot", state);
        self.report.progress("incremental_snapshot_table", table);
        self.report.progress("incremental_snapshot_tables", tables);
        self.report.progress("incremental_snapshot_rows", rows);
        self.report.progress("incremental_snapshot_rows_estimated", estimated.map(|estimated| estimated.max(rows)));
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
