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

use crate::masking;
use crate::plugin::{Config, Plugin, ReportSink, Reporter, TaskContext, TaskError};
use crate::providers;
use crate::records::Status;
use crate::worker::Worker;

/// A run this long counts as success: the next failure is retried soon again.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

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
        let mut backoff = Backoff::default();
        while !self.stop.is_cancelled() {
            let started = tokio::time::Instant::now();
            let Err(error) = self.once().await else { return };
            if self.stop.is_cancelled() {
                return;
            }
            if started.elapsed() > HEALTHY_AFTER {
                backoff.reset();
            }
            match error {
                TaskError::Retry(reason) => {
                    tracing::warn!(connector = self.connector, task = self.task, "restarting by itself: {reason}");
                    metrics::counter!("connect_task_restarts_total", "connector" => self.connector.clone())
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
        let config = providers::resolve(&self.config, &providers::Process)
            .map_err(|error| TaskError::Fail(error.to_string()))?;
        self.publish("RUNNING", None);
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
            running: self.status("RUNNING", None),
            standing_by: AtomicBool::new(false),
            topics: Mutex::default(),
        }
    }
}

/// Where a task's reports go.
struct Reports {
    worker: Arc<Worker>,
    connector: String,
    task: u32,
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

    fn standby(&self, reason: Option<&str>) {
        let standing_by = reason.is_some();
        if self.standing_by.swap(standing_by, Ordering::Relaxed) == standing_by {
            return;
        }
        match reason {
            Some(reason) => {
                tracing::info!(connector = self.connector, task = self.task, "standing by: {reason}");
                self.worker.note_progress(&self.connector, self.task, "standing_by", reason.into());
            }
            None => {
                tracing::info!(connector = self.connector, task = self.task, "leading");
                self.worker.note_progress(&self.connector, self.task, "standing_by", Value::Null);
                self.worker.publish_task(&self.connector, self.task, Some(self.running.clone()));
            }
        }
    }
}
