//! The sink as the Connect worker sees it.

use async_trait::async_trait;
use connect::{Config, ConnectorKind, Definition, FieldError, Plugin, TaskContext, TaskError};

use crate::config::{DEFINITIONS, SinkConfig};
use crate::task;

/// The connector class `io.confluent.connect.s3.S3SinkConnector`.
pub struct S3Sink;

/// Each task is a Kafka client of its own; more than partitions are idle anyway.
pub const TASKS_MAX: usize = 100;

#[async_trait]
impl Plugin for S3Sink {
    fn classes(&self) -> &'static [&'static str] {
        &["io.confluent.connect.s3.S3SinkConnector", "S3SinkConnector", "S3Sink", "s3-sink"]
    }

    fn kind(&self) -> ConnectorKind {
        ConnectorKind::Sink
    }

    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    fn validate(&self, config: &Config) -> Vec<FieldError> {
        SinkConfig::parse(config).err().unwrap_or_default()
    }

    fn definitions(&self) -> Vec<Definition> {
        DEFINITIONS.to_vec()
    }

    fn tasks(&self, config: &Config) -> Vec<Config> {
        let tasks: usize = config.get("tasks.max").and_then(|text| text.trim().parse().ok()).unwrap_or(1);
        vec![config.clone(); tasks.clamp(1, TASKS_MAX)]
    }

    async fn run(&self, task: TaskContext) -> Result<(), TaskError> {
        task::run(task).await
    }
}
