//! The sink as the Connect worker sees it.

use async_trait::async_trait;
use connect::{Config, ConnectorKind, Definition, FieldError, Plugin, TaskContext, TaskError};

use crate::config::SinkConfig;
use crate::task;

/// The connector class `io.confluent.connect.s3.S3SinkConnector`.
pub struct S3Sink;

/// Each task is a Kafka client of its own; more than partitions are idle anyway.
pub const TASKS_MAX: usize = 100;

const fn setting(
    name: &'static str,
    kind: &'static str,
    default: Option<&'static str>,
    documentation: &'static str,
) -> Definition {
    Definition { name, kind, default, required: default.is_none(), importance: "HIGH", documentation, group: "S3" }
}

const DEFINITIONS: [Definition; 22] = [
    setting("s3.bucket.name", "STRING", None, "The S3 Bucket."),
    setting("s3.region", "STRING", Some("us-west-2"), "The AWS region to be used the connector."),
    setting("store.url", "STRING", Some(""), "Store's connection URL, if applicable."),
    setting("aws.access.key.id", "STRING", Some(""), "Access key id; AWS_ACCESS_KEY_ID of the worker when not given."),
    setting(
        "aws.secret.access.key",
        "PASSWORD",
        Some(""),
        "Secret access key; AWS_SECRET_ACCESS_KEY of the worker when not given.",
    ),
    setting(
        "s3.credentials.provider.class",
        "CLASS",
        Some("com.amazonaws.auth.DefaultAWSCredentialsProviderChain"),
        "Credentials provider; the environment is the one there is.",
    ),
    setting("topics.dir", "STRING", Some("topics"), "Top level directory to store the data ingested from Kafka."),
    setting("flush.size", "INT", None, "Number of records written to store before invoking file commits."),
    setting("rotate.interval.ms", "LONG", Some("-1"), "Longest time a file stays open."),
    setting(
        "rotate.schedule.interval.ms",
        "LONG",
        Some("-1"),
        "Files end at multiples of this since midnight in timezone. Exactly once as well.",
    ),
    setting(
        "timezone",
        "STRING",
        Some(""),
        "UTC or a fixed offset such as +02:00; needed with rotate.schedule.interval.ms.",
    ),
    setting(
        "format.class",
        "CLASS",
        Some("io.confluent.connect.s3.format.avro.AvroFormat"),
        "Format of objects: Avro.",
    ),
    setting("storage.class", "CLASS", Some("io.confluent.connect.s3.storage.S3Storage"), "Storage: S3."),
    setting(
        "partitioner.class",
        "CLASS",
        Some("io.confluent.connect.storage.partitioner.DefaultPartitioner"),
        "Layout: by Kafka partition.",
    ),
    setting("schema.compatibility", "STRING", Some("NONE"), "A change of schema begins a new file."),
    setting("avro.codec", "STRING", Some("null"), "Compression of Avro containers: null."),
    setting("behavior.on.null.values", "STRING", Some("fail"), "Records without a value: fail or ignore."),
    setting("directory.delim", "STRING", Some("/"), "Directory delimiter pattern."),
    setting("file.delim", "STRING", Some("+"), "File delimiter pattern."),
    setting("filename.offset.zero.pad.width", "INT", Some("10"), "Width of the offset in names."),
    setting("haus.file.bytes.max", "LONG", Some("16777216"), "A file ends at this many record bytes."),
    setting(
        "haus.buffer.bytes.max",
        "LONG",
        Some("67108864"),
        "Record bytes held over all tasks of the connector in one worker.",
    ),
];

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
