//! One task's life: run, restart after a passing failure, stay FAILED after a definite one.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use serde_json::Value;
use service::Backoff;
use tokio_util::sync::CancellationToken;

use crate::errors::ErrorRules;
use crate::masking;
use crate::plugin::{Config, ConnectorKind, Moved, Plugin, ReportSink, Reporter, TaskContext, TaskError};
use crate::providers;
use crate::records::Status;
use crate::worker::Worker;

/// A run this long counts as success: the next failure is retried soon again.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// First wait where a connector sets the longest itself: Connect's.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(300);

/// Everything one task needs.
pub struct Run {
    /// Worker it runs on.
    pub worker: Arc<Worker>,
    /// What runs.
    pub plugin: Arc<dyn Plugin>,
    /// Connector it belongs to.
    pub connector: String,
    /// Number.
    pub task: u32,
    /// Configuration, references unresolved.
    pub config: Config,
    /// Generation of the worker.
    pub generation: i64,
    /// Ends it.
    pub stop: CancellationToken,
}

impl Run {
    /// Run until stopped.
    pub async fn supervise(self) {
        // A refused setting has kept the connector from starting.
        let rules = ErrorRules::parse(&self.config, self.plugin.kind()).ok();
        let mut backoff = match rules.as_ref().and_then(|rules| rules.retry_delay_max) {
            Some(delay_max) => Backoff::new(RETRY_DELAY_MIN.min(delay_max), delay_max),
            None => Backoff::default(),
        };
        let mut failing_since = None;
        while !self.stop.is_cancelled() {
            let started = tokio::time::Instant::now();
            let Err(error) = self.once().await else { return };
            if self.stop.is_cancelled() {
                return;
            }
            if started.elapsed() > HEALTHY_AFTER {
                backoff.reset();
                failing_since = None;
            }
            let since = *failing_since.get_or_insert_with(tokio::time::Instant::now);
            let patience = rules.as_ref().and_then(|rules| rules.retry_timeout);
            match given_up(error, since.elapsed(), patience) {
                TaskError::Retry(reason) => {
                    tracing::warn!(connector = self.connector, task = self.task, "restarting by itself: {reason}");
                    metrics::counter!("connect_task_restarts_total", "connector" => self.connector.clone())
                        .increment(1);
                    metrics::counter!("kafka_connect_task_error_total_retries", "connector" => self.connector.clone(), "task" => self.task.to_string())
                        .increment(1);
                    self.publish("RESTARTING", Some(reason));
                    backoff.wait(&self.stop).await;
                }
                TaskError::Fail(reason) => {
                    tracing::error!(
                        connector = self.connector,
                        task = self.task,
                        "FAILED, stays so until restarted: {reason}"
                    );
                    metrics::counter!("connect_task_failures_total", "connector" => self.connector.clone())
                        .increment(1);
                    self.publish("FAILED", Some(reason));
                    self.stop.cancelled().await;
                }
            }
        }
    }

    /// One run; errors come back without secrets in them.
    async fn once(&self) -> Result<(), TaskError> {
        let config = providers::resolve(&self.config, &self.worker.providers)
            .map_err(|error| TaskError::Fail(error.to_string()))?;
        self.worker.claim_task(&self.connector, self.task, self.status("RUNNING", None)).await;
        let context = TaskContext {
            connector: self.connector.clone(),
            task: self.task,
            config: config.clone(),
            stop: self.stop.clone(),
            worker: self.worker.settings.clone(),
            report: Reporter::new(Arc::new(self.reports())),
            messages: self.worker.open_mailbox(&self.connector, self.task),
        };
        // A task that panics must not take the others with it.
        match AssertUnwindSafe(self.plugin.run(context)).catch_unwind().await {
            Ok(Ok(())) if self.stop.is_cancelled() => Ok(()),
            Ok(Ok(())) => Err(TaskError::Retry("the task ended without being asked to".into())),
            Ok(Err(TaskError::Retry(reason))) => Err(TaskError::Retry(masking::redact(&reason, &config))),
            Ok(Err(TaskError::Fail(reason))) => Err(TaskError::Fail(masking::redact(&reason, &config))),
            Err(panic) => {
                let said = panic.downcast_ref::<String>().map(String::as_str);
                let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
                Err(TaskError::Fail(masking::redact(&format!("task panicked: {said}; please report this"), &config)))
            }
        }
    }

    fn status(&self, state: &str, trace: Option<String>) -> Status {
        Status {
            state: state.into(),
            trace,
            worker_id: self.worker.settings.worker_id.clone(),
            generation: self.generation,
            version: Some(self.plugin.version().into()),
        }
    }

    fn publish(&self, state: &str, trace: Option<String>) {
        self.worker.publish_task(&self.connector, self.task, Some(self.status(state, trace)));
    }

    fn reports(&self) -> Reports {
        Reports {
            worker: Arc::clone(&self.worker),
            connector: self.connector.clone(),
            task: self.task,
            kind: self.plugin.kind(),
            running: self.status("RUNNING", None),
            standing_by: AtomicBool::new(false),
            topics: Mutex::default(),
        }
    }
}

/// A passing failure becomes a definite one when `errors.retry.timeout` is over.
fn given_up(error: TaskError, failing_for: Duration, patience: Option<Duration>) -> TaskError {
    match (error, patience) {
        (TaskError::Retry(reason), Some(patience)) if failing_for >= patience => TaskError::Fail(format!(
            "{reason} (given up after errors.retry.timeout={} ms; -1 or leaving it out retries for ever)",
            patience.as_millis()
        )),
        (error, _) => error,
    }
}

/// Where a task's reports go.
struct Reports {
    worker: Arc<Worker>,
    connector: String,
    task: u32,
    kind: ConnectorKind,
    running: Status,
    standing_by: AtomicBool,
    topics: Mutex<BTreeSet<String>>,
}

impl ReportSink for Reports {
    fn active_topic(&self, topic: &str) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if topics.contains(topic) {
            return;
        }
        topics.insert(topic.to_owned());
        if !self.worker.state().topics(&self.connector).any(|known| known == topic) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            self.worker.publish_topic(
                &self.connector,
                topic,
                Some((self.task, i64::try_from(now).unwrap_or(i64::MAX))),
            );
        }
    }

    fn progress(&self, name: &'static str, value: Value) {
        self.worker.note_progress(&self.connector, self.task, name, value);
    }

    fn moved(&self, way: Moved, records: u64) {
        let labels = [("connector", self.connector.clone()), ("task", self.task.to_string())];
        match (self.kind, way) {
            (ConnectorKind::Source, Moved::Read) => {
                metrics::counter!("kafka_connect_source_task_source_record_poll_total", &labels).increment(records);
            }
            (ConnectorKind::Source, Moved::Written) => {
                metrics::counter!("kafka_connect_source_task_source_record_write_total", &labels).increment(records);
            }
            (ConnectorKind::Sink, Moved::Read) => {
                metrics::counter!("kafka_connect_sink_task_sink_record_read_total", &labels).increment(records);
            }
            (ConnectorKind::Sink, Moved::Written) => {
                metrics::counter!("kafka_connect_sink_task_sink_record_send_total", &labels).increment(records);
            }
        }
    }

    fn standby(&self, reason: Option<&str>) {
        let standing_by = reason.is_some();
        if self.standing_by.swap(standing_by, Ordering::Relaxed) == standing_by {
            return;
        }
        match reason {
            Some(reason) => {
                tracing::info!(connector = self.connector, task = self.task, "standing by: {reason}");
                self.worker.note_progress(&self.connector, self.task, "standing_by", reason.into());
                self.worker.leave_task(&self.connector, self.task);
            }
            None => {
                tracing::info!(connector = self.connector, task = self.task, "leading");
                self.worker.note_progress(&self.connector, self.task, "standing_by", Value::Null);
                self.worker.publish_task(&self.connector, self.task, Some(self.running.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passing_failure_is_given_up_when_its_time_is_over_and_never_without_one() {
        let away = || TaskError::Retry("away".into());
        let second = Duration::from_secs(1);
        assert_eq!(given_up(away(), second * 100, None), away());
        assert_eq!(given_up(away(), second, Some(second * 2)), away());
        assert!(
            matches!(given_up(away(), second * 2, Some(second * 2)), TaskError::Fail(reason) if reason.contains("=2000 ms"))
        );
        assert_eq!(given_up(TaskError::Fail("x".into()), second, None), TaskError::Fail("x".into()));
    }
}
