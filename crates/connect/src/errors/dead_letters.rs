//! The topic of dead letters: bad records as they were, with headers that tell why, if asked for.

use topics::{Admin, AdminError, Headers, ProduceError, Producer, ProducerSettings, RecordOut, TopicPlan};

use super::{DeadLetters, FailedRecord, Failure};
use crate::plugin::{TaskContext, TaskError};
use crate::settings::ClientKind;

/// Partitions of the topic when it is made here: Connect's.
const PARTITIONS: i32 = 1;

/// A producer into the topic.
pub struct Queue {
    producer: Producer,
    rules: DeadLetters,
    connector: String,
    task: u32,
}

impl Queue {
    /// Open the topic; make it when it is missing.
    ///
    /// # Errors
    /// `Fail` when it may not or cannot be made, `Retry` when Kafka is away.
    pub async fn open(rules: &DeadLetters, context: &TaskContext) -> Result<Self, TaskError> {
        let topic = &rules.topic;
        let id = format!("connector-dlq-producer-{}-{}", context.connector, context.task);
        let cluster = context.worker.cluster(&id, ClientKind::Producer, &context.config);
        let cluster = cluster.map_err(|error| TaskError::Fail(error.to_string()))?;
        let outcome = async {
            let admin = Admin::new(&cluster)?;
            if admin.topic(topic).await?.is_none() {
                let mut plan = TopicPlan::new(topic, PARTITIONS);
                plan.replication = rules.replication;
                tracing::info!("making the topic of dead letters {topic}");
                admin.create_topic(&plan).await?;
            }
            Ok::<_, AdminError>(())
        };
        outcome.await.map_err(|error| match error {
            AdminError::Retry { .. } => TaskError::Retry(error.to_string()),
            _ => TaskError::Fail(format!(
                "Could not initialize dead letter queue with topic={topic}: {error}; make the topic, or set \
                 errors.deadletterqueue.topic.replication.factor (now {}) to at most the number of brokers",
                rules.replication
            )),
        })?;
        let producer = Producer::new(&cluster, &ProducerSettings::default())
            .map_err(|error| TaskError::Fail(error.to_string()))?;
        Ok(Self { producer, rules: rules.clone(), connector: context.connector.clone(), task: context.task })
    }

    /// Keep a record; done when all in-sync replicas have it.
    ///
    /// # Errors
    /// `Retry` when Kafka does not take it now, `Fail` when it never will.
    pub async fn keep(&self, record: &FailedRecord<'_>, failure: &Failure<'_>) -> Result<(), TaskError> {
        let labels = [("connector", self.connector.clone()), ("task", self.task.to_string())];
        metrics::counter!("kafka_connect_task_error_deadletterqueue_produce_requests", &labels).increment(1);
        let context = if self.rules.context_headers {
            context_headers(&self.connector, self.task, record, failure)
        } else {
            Vec::new()
        };
        let taken = |name: &str| record.headers.iter().any(|(known, _)| known == name);
        let context = context.into_iter().filter(|(name, _)| !taken(name)).map(|(name, value)| (name, Some(value)));
        let headers: Headers = record.headers.iter().cloned().chain(context).collect();
        let out = RecordOut {
            topic: &self.rules.topic,
            partition: None,
            key: record.key,
            value: record.value,
            headers: (!headers.is_empty()).then_some(&headers),
            timestamp_ms: record.timestamp_ms,
        };
        self.producer.send(out).await.map(drop).map_err(|error| {
            metrics::counter!("kafka_connect_task_error_deadletterqueue_produce_failures", &labels).increment(1);
            let reason = format!("Could not produce message to dead letter queue. topic={}: {error}", self.rules.topic);
            match error {
                ProduceError::Refused { .. } => TaskError::Fail(reason),
                _ => TaskError::Retry(reason),
            }
        })
    }
}

/// Connect's headers about an error, in its order.
fn context_headers(
    connector: &str,
    task: u32,
    record: &FailedRecord<'_>,
    failure: &Failure<'_>,
) -> Vec<(String, Vec<u8>)> {
    let fields = [
        ("topic", record.topic.to_owned()),
        ("partition", record.partition.to_string()),
        ("offset", record.offset.to_string()),
        ("connector.name", connector.to_owned()),
        ("task.id", task.to_string()),
        ("stage", failure.stage.as_str().to_owned()),
        ("class.name", failure.class.to_owned()),
        ("exception.class.name", failure.exception.to_owned()),
        ("exception.message", failure.message.to_owned()),
        ("exception.stacktrace", format!("{}: {}\n", failure.exception, failure.message)),
    ];
    fields.into_iter().map(|(name, value)| (format!("__connect.errors.{name}"), value.into_bytes())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_are_connects() {
        let record = FailedRecord {
            topic: "orders",
            partition: 2,
            offset: 7,
            timestamp_ms: None,
            key: None,
            value: None,
            headers: &[],
        };
        let headers = context_headers("s3", 1, &record, &Failure::avro_value("no magic byte"));
        let text: Vec<(&str, String)> =
            headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value).into_owned())).collect();
        let expected = [
            ("__connect.errors.topic", "orders"),
            ("__connect.errors.partition", "2"),
            ("__connect.errors.offset", "7"),
            ("__connect.errors.connector.name", "s3"),
            ("__connect.errors.task.id", "1"),
            ("__connect.errors.stage", "VALUE_CONVERTER"),
            ("__connect.errors.class.name", "io.confluent.connect.avro.AvroConverter"),
            ("__connect.errors.exception.class.name", "org.apache.kafka.connect.errors.DataException"),
            ("__connect.errors.exception.message", "no magic byte"),
            ("__connect.errors.exception.stacktrace", "org.apache.kafka.connect.errors.DataException: no magic byte\n"),
        ];
        assert_eq!(text, expected.map(|(name, value)| (name, value.to_owned())));
    }
}
