//! The records of Connect's three topics: parsed from and written as a JVM worker does it.
//!
//! Pure. Source of the formats: `KafkaConfigBackingStore`, `KafkaStatusBackingStore` and
//! `OffsetStorageReaderImpl` of Kafka Connect 4.3 and the recorded topics under `tests/golden/topics`.
//! Records are foreign input (any worker, any version, or a person with a console producer writes them):
//! what does not parse is `Unknown` and skipped, never an error.

use serde_json::{Map, Value, json};

use crate::plugin::Config;

/// What a connector is asked to be (`target-state-<name>`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetState {
    /// Connector and tasks run.
    #[default]
    Started,
    /// Tasks exist and do nothing.
    Paused,
    /// No tasks; offsets may be changed.
    Stopped,
}

impl TargetState {
    /// Connect's name of the state.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "STARTED",
            Self::Paused => "PAUSED",
            Self::Stopped => "STOPPED",
        }
    }

    /// Reads Connect's name of the state.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "STARTED" | "RUNNING" => Some(Self::Started),
            "PAUSED" => Some(Self::Paused),
            "STOPPED" => Some(Self::Stopped),
            _ => None,
        }
    }
}

/// A record of the config topic.
#[derive(Debug, Clone, PartialEq)]
pub enum ConfigRecord {
    /// `connector-<name>`; `None` is the tombstone: the connector was deleted.
    Connector(String, Option<Config>),
    /// `target-state-<name>`.
    Target(String, Option<TargetState>),
    /// `task-<name>-<i>`; counts only once a `commit-<name>` follows.
    Task(String, u32, Option<Config>),
    /// `commit-<name>`: the task configs before it are complete and this many.
    Commit(String, u32),
    /// `restart-connector-<name>`.
    Restart(String, Restart),
    /// `logger-cluster-<logger>`: the level that all workers are to give it.
    Logger(String, String),
    /// `session-key` and whatever else; not ours to read.
    Unknown,
}

/// A restart somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// The tasks as well as the connector.
    pub include_tasks: bool,
    /// Only what is FAILED.
    pub only_failed: bool,
    /// Only this task: a field of ours that a JVM worker does not read (it restarts all tasks then).
    pub task: Option<u32>,
}

/// A key and value to be written; `None` is a tombstone.
pub type Record = (String, Option<String>);

/// Reads a record of the config topic.
pub fn parse_config(key: &str, value: Option<&[u8]>) -> ConfigRecord {
    let json = match value.map(serde_json::from_slice::<Value>) {
        Some(Err(_)) => return ConfigRecord::Unknown,
        Some(Ok(json)) => Some(json),
        None => None,
    };
    if let Some(name) = key.strip_prefix("connector-") {
        return ConfigRecord::Connector(name.into(), json.as_ref().and_then(properties));
    }
    if let Some(name) = key.strip_prefix("target-state-") {
        return ConfigRecord::Target(name.into(), json.as_ref().and_then(target_state));
    }
    if let Some((name, task)) = key.strip_prefix("task-").and_then(|rest| rest.rsplit_once('-')) {
        let Ok(task) = task.parse() else { return ConfigRecord::Unknown };
        return ConfigRecord::Task(name.into(), task, json.as_ref().and_then(properties));
    }
    if let Some(name) = key.strip_prefix("commit-") {
        let tasks = json.as_ref().and_then(|json| json.get("tasks")).and_then(Value::as_u64);
        return match tasks.and_then(|tasks| u32::try_from(tasks).ok()) {
            Some(tasks) => ConfigRecord::Commit(name.into(), tasks),
            None => ConfigRecord::Unknown,
        };
    }
    if let (Some(name), Some(json)) = (key.strip_prefix("restart-connector-"), &json) {
        let flag = |field| json.get(field).and_then(Value::as_bool).unwrap_or(false);
        let task = json.get("task").and_then(Value::as_u64).and_then(|task| u32::try_from(task).ok());
        let restart = Restart { include_tasks: flag("include-tasks"), only_failed: flag("only-failed"), task };
        return ConfigRecord::Restart(name.into(), restart);
    }
    if let (Some(logger), Some(json)) = (key.strip_prefix("logger-cluster-"), &json)
        && let Some(level) = json.get("level").and_then(Value::as_str)
    {
        return ConfigRecord::Logger(logger.into(), level.into());
    }
    ConfigRecord::Unknown
}

fn properties(json: &Value) -> Option<Config> {
    let properties = json.get("properties")?.as_object()?;
    Some(properties.iter().filter_map(|(name, value)| Some((name.clone(), value_text(value)?))).collect())
}

/// A configuration value as text; numbers and booleans are what people post by mistake.
pub fn value_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn target_state(json: &Value) -> Option<TargetState> {
    // Old workers know no STOPPED: they read "state", where it stands as PAUSED.
    let text = json.get("state.v2").or_else(|| json.get("state"))?.as_str()?;
    TargetState::parse(text)
}

/// `connector-<name>`.
pub fn connector_record(name: &str, config: &Config) -> Record {
    (format!("connector-{name}"), Some(json!({ "properties": config }).to_string()))
}

/// `task-<name>-<i>`.
pub fn task_record(name: &str, task: usize, config: &Config) -> Record {
    (format!("task-{name}-{task}"), Some(json!({ "properties": config }).to_string()))
}

/// `commit-<name>`.
pub fn commit_record(name: &str, tasks: usize) -> Record {
    (format!("commit-{name}"), Some(json!({ "tasks": tasks }).to_string()))
}

/// `target-state-<name>`.
pub fn target_record(name: &str, state: TargetState) -> Record {
    let old = if state == TargetState::Stopped { TargetState::Paused } else { state };
    (format!("target-state-{name}"), Some(json!({ "state": old.as_str(), "state.v2": state.as_str() }).to_string()))
}

/// `restart-connector-<name>`.
pub fn restart_record(name: &str, restart: Restart) -> Record {
    let mut value = json!({ "include-tasks": restart.include_tasks, "only-failed": restart.only_failed });
    if let (Some(task), Some(fields)) = (restart.task, value.as_object_mut()) {
        fields.insert("task".into(), task.into());
    }
    (format!("restart-connector-{name}"), Some(value.to_string()))
}

/// `logger-cluster-<logger>`.
pub fn logger_record(logger: &str, level: &str) -> Record {
    (format!("logger-cluster-{logger}"), Some(json!({ "level": level }).to_string()))
}

/// The tombstones that delete a connector.
pub fn deletion_records(name: &str) -> [Record; 2] {
    [(format!("connector-{name}"), None), (format!("target-state-{name}"), None)]
}

/// State of a connector or task as its worker published it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// RUNNING, PAUSED, STOPPED, FAILED, RESTARTING, UNASSIGNED.
    pub state: String,
    /// Why it failed.
    pub trace: Option<String>,
    /// `host:port` of the worker.
    pub worker_id: String,
    /// Rises with every start of a worker.
    pub generation: i64,
    /// Version of the plugin.
    pub version: Option<String>,
}

/// A record of the status topic.
#[derive(Debug, Clone, PartialEq)]
pub enum StatusRecord {
    /// `status-connector-<name>`.
    Connector(String, Option<Status>),
    /// `status-task-<name>-<i>`.
    Task(String, u32, Option<Status>),
    /// `status-topic-<topic>:connector-<name>`; connector, topic, whether it is used.
    Topic(String, String, bool),
    /// Not readable.
    Unknown,
}

/// Reads a record of the status topic.
pub fn parse_status(key: &str, value: Option<&[u8]>) -> StatusRecord {
    if let Some((topic, connector)) = key.strip_prefix("status-topic-").and_then(|rest| rest.split_once(":connector-"))
    {
        return StatusRecord::Topic(connector.into(), topic.into(), value.is_some());
    }
    let status = match value.map(serde_json::from_slice::<Value>) {
        Some(Err(_)) => return StatusRecord::Unknown,
        Some(Ok(json)) => match status(&json) {
            Some(status) => Some(status),
            None => return StatusRecord::Unknown,
        },
        None => None,
    };
    if let Some(name) = key.strip_prefix("status-connector-") {
        return StatusRecord::Connector(name.into(), status);
    }
    if let Some((name, task)) = key.strip_prefix("status-task-").and_then(|rest| rest.rsplit_once('-'))
        && let Ok(task) = task.parse()
    {
        return StatusRecord::Task(name.into(), task, status);
    }
    StatusRecord::Unknown
}

fn status(json: &Value) -> Option<Status> {
    let text = |field: &str| json.get(field).and_then(Value::as_str).map(str::to_owned);
    Some(Status {
        state: text("state")?,
        trace: text("trace"),
        worker_id: text("worker_id").unwrap_or_default(),
        generation: json.get("generation").and_then(Value::as_i64).unwrap_or(0),
        version: text("version"),
    })
}

/// What a JVM worker says of a connector and of a task whose class is not among its plugins.
const CLASS_MISSING: [&str; 2] =
    ["Failed to find any class that implements Connector", "it is not a recognizable type (source or sink)"];

impl Status {
    /// Said by a JVM worker that was given a connector of ours: it speaks of that worker's plugins, not of the connector,
    /// which runs where its class is.
    pub fn lacks_class(&self) -> bool {
        let trace = self.trace.as_deref().unwrap_or_default();
        self.state == "FAILED" && self.version.is_none() && CLASS_MISSING.iter().any(|said| trace.contains(said))
    }

    fn json(&self) -> String {
        json!({
            "state": self.state, "trace": self.trace, "worker_id": self.worker_id,
            "generation": self.generation, "version": self.version,
        })
        .to_string()
    }
}

/// `status-connector-<name>`.
pub fn connector_status_record(name: &str, status: Option<&Status>) -> Record {
    (format!("status-connector-{name}"), status.map(Status::json))
}

/// `status-task-<name>-<i>`.
pub fn task_status_record(name: &str, task: u32, status: Option<&Status>) -> Record {
    (format!("status-task-{name}-{task}"), status.map(Status::json))
}

/// `status-topic-<topic>:connector-<name>`; `found` is the task and the time in ms since 1970, `None` forgets.
pub fn topic_record(connector: &str, topic: &str, found: Option<(u32, i64)>) -> Record {
    let value = found.map(|(task, at_ms)| {
        json!({ "topic": { "name": topic, "connector": connector, "task": task, "discoverTimestamp": at_ms } })
            .to_string()
    });
    (format!("status-topic-{topic}:connector-{connector}"), value)
}

/// A source position: connector, partition, offset (`None`: forgotten). Partition and offset are the plugin's.
#[derive(Debug, Clone, PartialEq)]
pub struct OffsetRecord {
    /// Connector the position belongs to.
    pub connector: String,
    /// What it is a position in, such as `{"server":"storefront"}`.
    pub partition: Map<String, Value>,
    /// The position.
    pub offset: Option<Map<String, Value>>,
}

/// Reads a record of the offsets topic: key `["<connector>",{partition}]`, value `{offset}`.
pub fn parse_offset(key: &[u8], value: Option<&[u8]>) -> Option<OffsetRecord> {
    let (connector, partition): (String, Map<String, Value>) = serde_json::from_slice(key).ok()?;
    let offset = match value {
        Some(value) => serde_json::from_slice::<Option<Map<String, Value>>>(value).ok()?,
        None => None,
    };
    Some(OffsetRecord { connector, partition, offset })
}

impl OffsetRecord {
    /// The record as it is written. Key text decides compaction and partition, so field order is kept.
    pub fn record(&self) -> Record {
        let key = json!([self.connector, self.partition]).to_string();
        (key, self.offset.as_ref().map(|offset| Value::Object(offset.clone()).to_string()))
    }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
