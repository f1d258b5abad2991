//! What a connector looks like to the worker: its classes, its checks, its tasks.
//!
//! A worker binary implements [`Plugin`] once per connector it can run and hands the list to
//! [`crate::serve`]. Everything else (REST, stored state, restarts) is the worker's business. A task
//! promises to return soon after `stop` is cancelled and to have nothing half published by then: it may
//! also be dropped at any await point, or killed, so its own position must already be safe.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::definitions::Definition;
use crate::settings::WorkerSettings;

/// A connector's or task's configuration, names as in Kafka Connect.
pub type Config = BTreeMap<String, String>;

/// Direction of a connector; `type` in the REST answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectorKind {
    /// Writes to Kafka, keeps its position in the offsets topic.
    Source,
    /// Reads from Kafka, keeps its position in the group `connect-<name>`.
    Sink,
}

impl ConnectorKind {
    /// `source` or `sink`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Sink => "sink",
        }
    }
}

/// One refused setting. `message` is the whole line a person reads, in Connect's wording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Name of the setting.
    pub field: String,
    /// What was given, if anything.
    pub value: Option<String>,
    /// Whole text, such as `Invalid value x for configuration flush.size: Not a number of type INT`.
    pub message: String,
}

impl FieldError {
    /// Connect's text for a required setting that is not there.
    pub fn missing(field: &str) -> Self {
        Self {
            field: field.into(),
            value: None,
            message: format!("Missing required configuration \"{field}\" which has no default value."),
        }
    }

    /// Connect's text for a value that does not fit: `Invalid value V for configuration F: why`.
    pub fn invalid(field: &str, value: &str, why: &str) -> Self {
        let shown = if crate::masking::sensitive(field) { crate::masking::MASK } else { value };
        Self {
            field: field.into(),
            value: Some(value.into()),
            message: format!("Invalid value {shown} for configuration {field}: {why}"),
        }
    }

    /// A text of the plugin's own.
    pub fn new(field: &str, value: Option<&str>, message: impl Into<String>) -> Self {
        Self { field: field.into(), value: value.map(Into::into), message: message.into() }
    }
}

/// How a task ended badly, split by what the worker does next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// Something passing (a server away, a connection cut): the worker restarts the task with backoff.
    #[error("{0}")]
    Retry(String),
    /// A person must act; the text names the cure. The task stays FAILED with this as its trace.
    #[error("{0}")]
    Fail(String),
}

/// What one run of a task is given.
pub struct TaskContext {
    /// Connector name.
    pub connector: String,
    /// Task number, from 0.
    pub task: u32,
    /// Task configuration with `${env:…}` and `${file:…}` resolved. Holds secrets: never log it whole.
    pub config: Config,
    /// Cancelled when the task is to end (paused, reconfigured, deleted, worker going down).
    pub stop: CancellationToken,
    /// Servers and topics of this worker.
    pub worker: WorkerSettings,
    /// Where the task tells how far it is.
    pub report: Reporter,
    /// What people ask of the running task (`POST /connectors/{name}/signals`). A task that drops it takes none.
    pub messages: mpsc::Receiver<TaskMessage>,
}

/// Something asked of a running task. Unanswered it is refused.
#[derive(Debug)]
pub struct TaskMessage {
    /// The request's body.
    pub body: Map<String, Value>,
    answer: oneshot::Sender<Result<Value, String>>,
}

impl TaskMessage {
    /// A message, and where its answer comes.
    pub fn new(body: Map<String, Value>) -> (Self, oneshot::Receiver<Result<Value, String>>) {
        let (answer, answered) = oneshot::channel();
        (Self { body, answer }, answered)
    }

    /// Nobody waits for the answer any more: whoever asked was told that nothing was done.
    pub fn given_up(&self) -> bool {
        self.answer.is_closed()
    }

    /// Answers: what was done, or why it cannot be.
    pub fn answer(self, answer: Result<Value, String>) {
        // Nobody may wait any more.
        let _ = self.answer.send(answer);
    }
}

/// Which way records went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// Out of where the connector reads: the database, or a topic.
    Read,
    /// Into where it writes: durably into a topic; a sink's records, into its files.
    Written,
}

/// What the worker does with a task's reports. Implemented by the worker; tests may give their own.
pub trait ReportSink: Send + Sync + 'static {
    /// `topic` was written to or read from (the REST API's `topics`).
    fn active_topic(&self, topic: &str);
    /// A named fact about the task's progress changed.
    fn progress(&self, name: &'static str, value: Value);
    /// So many records were moved.
    fn moved(&self, _way: Moved, _records: u64) {}
    /// Whether the task waits for another process to let go of its resource.
    fn standby(&self, reason: Option<&str>);
}

/// Handle through which a task tells how far it is. Cheap to clone and to call.
#[derive(Clone)]
pub struct Reporter(Arc<dyn ReportSink>);

impl Reporter {
    /// A reporter into `sink`.
    pub fn new(sink: Arc<dyn ReportSink>) -> Self {
        Self(sink)
    }

    /// A reporter that forgets everything, for tests.
    pub fn ignore() -> Self {
        struct Ignore;
        impl ReportSink for Ignore {
            fn active_topic(&self, _: &str) {}
            fn progress(&self, _: &'static str, _: Value) {}
            fn standby(&self, _: Option<&str>) {}
        }
        Self(Arc::new(Ignore))
    }

    /// Say that `topic` is used; repeats cost next to nothing.
    pub fn active_topic(&self, topic: &str) {
        self.0.active_topic(topic);
    }

    /// Publish a fact (`snapshot_rows`, `lsn`, …) under `GET /connectors/{name}/tasks/{task}/progress`.
    pub fn progress(&self, name: &'static str, value: impl Into<Value>) {
        self.0.progress(name, value.into());
    }

    /// Records were read or written; counted for `/metrics`. To be called per batch.
    pub fn moved(&self, way: Moved, records: u64) {
        self.0.moved(way, records);
    }

    /// This task waits because another process holds its resource (a second relay and the slot). While it
    /// does, the worker leaves the shared status record to the process that works.
    pub fn standing_by(&self, reason: &str) {
        self.0.standby(Some(reason));
    }

    /// The resource is ours now; the worker publishes RUNNING.
    pub fn leading(&self) {
        self.0.standby(None);
    }
}

/// A connector a worker can run.
#[async_trait]
pub trait Plugin: Send + Sync + 'static {
    /// Accepted values of `connector.class`: the known full name first, then short names.
    fn classes(&self) -> &'static [&'static str];
    /// Source or sink.
    fn kind(&self) -> ConnectorKind;
    /// Version shown in status and plugin lists.
    fn version(&self) -> &'static str;
    /// Checks of the plugin's own settings; `name`, `connector.class`, `tasks.max` and a sink's `topics`
    /// are checked by the worker. Unknown settings are no error. May be called with unresolved `${…}`
    /// values when this worker cannot resolve them: such a value is not to be refused.
    fn validate(&self, config: &Config) -> Vec<FieldError>;
    /// The settings the plugin understands, for `/connector-plugins/{class}/config`.
    fn definitions(&self) -> Vec<Definition> {
        Vec::new()
    }
    /// The definitions of the connector that this one replaces, a JSON list as its `/connector-plugins/{class}/config`
    /// answers it, without the worker's own; shown in place of [`Self::definitions`] of the same names.
    fn reference(&self) -> &'static str {
        ""
    }
    /// Checks that ask the world outside: asked when a person gives a configuration that [`Self::validate`] accepts, and
    /// not when a stored one is started. May take some seconds.
    async fn reach(&self, _config: &Config) -> Vec<FieldError> {
        Vec::new()
    }
    /// The configurations of the tasks to run; none is a mistake, one is usual for a source.
    fn tasks(&self, config: &Config) -> Vec<Config>;
    /// Run one task until `task.stop`; `Ok` when it stopped because it was told to.
    async fn run(&self, task: TaskContext) -> Result<(), TaskError>;
}
