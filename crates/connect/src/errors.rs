//! What becomes of a record that cannot be processed: `errors.tolerance`, `errors.retry.*`, `errors.log.*` and
//! `errors.deadletterqueue.*`, as Kafka Connect has them.
//!
//! Pure but for [`RecordErrors`], which a task opens once and asks about each bad record:
//!
//! ```text
//!   let errors = RecordErrors::open(&context).await?;
//!   …
//!   errors.report(&record, &failure).await?;   // Ok: the record is passed over; it is in the dead letters if there are any
//! ```
//!
//! It returns once the dead letter is acknowledged, so a position committed afterwards loses nothing. A record that is read
//! again after a crash may be in the dead letters twice, as with Connect.

mod dead_letters;
mod rules;

use crate::plugin::{TaskContext, TaskError};

pub use rules::{DeadLetters, ErrorRules};

use dead_letters::Queue;

/// Where in the way of a record it failed. Names as in Connect's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    KeyConverter,
    ValueConverter,
    HeaderConverter,
    Transformation,
    TaskPut,
}

impl Stage {
    /// Connect's name of the stage.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeyConverter => "KEY_CONVERTER",
            Self::ValueConverter => "VALUE_CONVERTER",
            Self::HeaderConverter => "HEADER_CONVERTER",
            Self::Transformation => "TRANSFORMATION",
            Self::TaskPut => "TASK_PUT",
        }
    }
}

/// Why a record failed.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'a> {
    /// Where.
    pub stage: Stage,
    /// Class that Connect would have had at work there, such as `io.confluent.connect.avro.AvroConverter`.
    pub class: &'a str,
    /// Class of Connect's exception.
    pub exception: &'a str,
    /// What is wrong with the record.
    pub message: &'a str,
}

impl<'a> Failure<'a> {
    /// The value is not what the Avro converter writes.
    pub fn avro_value(message: &'a str) -> Self {
        Self {
            stage: Stage::ValueConverter,
            class: "io.confluent.connect.avro.AvroConverter",
            exception: "org.apache.kafka.connect.errors.DataException",
            message,
        }
    }
}

/// A record as it was read from its topic.
#[derive(Debug, Clone, Copy)]
pub struct FailedRecord<'a> {
    /// Topic it was read from.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Its time in ms since 1970, when it has one.
    pub timestamp_ms: Option<i64>,
    /// Key, as it stands in the topic.
    pub key: Option<&'a [u8]>,
    /// Value, as it stands in the topic.
    pub value: Option<&'a [u8]>,
    /// Headers, which go along.
    pub headers: &'a [(String, Option<Vec<u8>>)],
}

impl<'a> From<&'a topics::OwnedRecord> for FailedRecord<'a> {
    fn from(record: &'a topics::OwnedRecord) -> Self {
        Self {
            topic: &record.topic,
            partition: record.partition.0,
            offset: record.offset.0,
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &record.headers,
        }
    }
}

/// What a task does about its bad records.
pub struct RecordErrors {
    connector: String,
    task: u32,
    rules: ErrorRules,
    queue: Option<Queue>,
}

impl RecordErrors {
    /// For a sink's task, from its configuration; makes the topic of dead letters when it is missing.
    ///
    /// # Errors
    /// When a setting is refused, or the topic cannot be made.
    pub async fn open(context: &TaskContext) -> Result<Self, TaskError> {
        let rules = ErrorRules::parse(&context.config, crate::plugin::ConnectorKind::Sink).map_err(|errors| {
            TaskError::Fail(errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("; "))
        })?;
        let queue = match &rules.dead_letters {
            Some(dead_letters) => Some(Queue::open(dead_letters, context).await?),
            None => None,
        };
        Ok(Self { connector: context.connector.clone(), task: context.task, rules, queue })
    }

    /// A record failed. `Ok` when it is to be passed over.
    ///
    /// # Errors
    /// `Fail` when it is not tolerated, `Retry` when it cannot be kept as a dead letter now.
    pub async fn report(&self, record: &FailedRecord<'_>, failure: &Failure<'_>) -> Result<(), TaskError> {
        self.count();
        if self.rules.log {
            tracing::error!("{}: {}", self.log_line(record, failure), failure.message);
            metrics::counter!("kafka_connect_task_error_total_errors_logged", "connector" => self.connector.clone(), "task" => self.task.to_string())
                .increment(1);
        }
        if let Some(queue) = &self.queue {
            queue.keep(record, failure).await?;
        }
        if !self.rules.tolerates {
            return Err(TaskError::Fail(intolerable(record, failure, self.queue.is_some())));
        }
        metrics::counter!("kafka_connect_task_error_total_records_skipped", "connector" => self.connector.clone(), "task" => self.task.to_string())
            .increment(1);
        Ok(())
    }

    fn count(&self) {
        let task = self.task.to_string();
        let connector = || self.connector.clone();
        metrics::counter!("kafka_connect_task_error_total_record_failures", "connector" => connector(), "task" => task.clone())
            .increment(1);
        metrics::counter!("kafka_connect_task_error_total_record_errors", "connector" => connector(), "task" => task.clone())
            .increment(1);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        metrics::gauge!("kafka_connect_task_error_last_error_timestamp", "connector" => connector(), "task" => task)
            .set(now.as_millis() as f64);
    }

    fn log_line(&self, record: &FailedRecord<'_>, failure: &Failure<'_>) -> String {
        log_line(&self.connector, self.task, failure, self.rules.log_messages.then_some(record))
    }
}

/// Connect's line in the log; never the record's content.
fn log_line(connector: &str, task: u32, failure: &Failure<'_>, record: Option<&FailedRecord<'_>>) -> String {
    let (stage, class) = (failure.stage.as_str(), failure.class);
    let record = record.map_or_else(String::new, |record| {
        format!(
            ", where consumed record is {{topic='{}', partition={}, offset={}, timestamp={}}}",
            record.topic,
            record.partition,
            record.offset,
            record.timestamp_ms.map_or_else(|| "none".to_owned(), |at| at.to_string())
        )
    });
    format!("Error encountered in task {connector}-{task}. Executing stage '{stage}' with class '{class}'{record}.")
}

fn intolerable(record: &FailedRecord<'_>, failure: &Failure<'_>, kept: bool) -> String {
    let FailedRecord { topic, partition, offset, .. } = record;
    let keep = if kept {
        "the record is in the dead letters"
    } else {
        "errors.deadletterqueue.topic.name keeps them in a topic"
    };
    format!(
        "Tolerance exceeded in error handler: {topic}-{partition} offset {offset}: {} (errors.tolerance=all passes over \
         such records; {keep})",
        failure.message
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: FailedRecord<'static> = FailedRecord {
        topic: "orders",
        partition: 2,
        offset: 7,
        timestamp_ms: Some(5),
        key: None,
        value: Some(b"secret"),
        headers: &[],
    };

    #[test]
    fn the_log_names_the_record_only_when_asked_and_never_shows_it() {
        let failure = Failure::avro_value("no magic byte");
        let line = log_line("s3", 1, &failure, None);
        assert!(line.contains("task s3-1") && line.contains("VALUE_CONVERTER") && !line.contains("orders"), "{line}");
        let line = log_line("s3", 1, &failure, Some(&RECORD));
        assert!(line.contains("offset=7") && !line.contains("secret"), "{line}");
    }

    #[test]
    fn what_is_not_tolerated_names_the_record_and_the_cure() {
        let trace = intolerable(&RECORD, &Failure::avro_value("no magic byte"), false);
        assert!(
            trace.contains("orders-2 offset 7: no magic byte") && trace.contains("errors.tolerance=all"),
            "{trace}"
        );
        assert!(trace.contains("errors.deadletterqueue.topic.name"), "{trace}");
    }
}
