//! The idempotent producer for records that stand alone: Connect's configs and statuses, tests, tools.

use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::{DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::oneshot;

use crate::cluster::{Cluster, LogContext};
use crate::error::{Next, ProduceError, next_for_code};
use crate::record::{Offset, Partition, RecordOut};
use crate::transaction::{Compression, native_record};

/// How a [`Producer`] behaves.
#[derive(Debug, Clone)]
pub struct ProducerSettings {
    pub queue_bytes_max: usize,
    pub record_bytes_max: usize,
    pub linger_ms: u64,
    /// A record not acknowledged for so long is given up and handed back as `NotAcknowledged`.
    pub delivery_timeout: Duration,
    pub compression: Compression,
}

impl Default for ProducerSettings {
    fn default() -> Self {
        Self {
            queue_bytes_max: 32 << 20,
            record_bytes_max: 16 << 20,
            linger_ms: 0,
            delivery_timeout: Duration::from_secs(30),
            compression: Compression::None,
        }
    }
}

/// Where a record landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    pub partition: Partition,
    pub offset: Offset,
}

/// Sends records, each acknowledged by all in-sync replicas, in order per partition, not doubled by retries.
pub struct Producer {
    inner: ThreadedProducer<AckContext>,
    cluster: Cluster,
}

impl Producer {
    /// # Errors
    /// `Refused` when librdkafka does not accept the settings.
    pub fn new(cluster: &Cluster, settings: &ProducerSettings) -> Result<Self, ProduceError> {
        let inner = cluster
            .client_config()
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", settings.linger_ms.to_string())
            .set("message.max.bytes", settings.record_bytes_max.to_string())
            .set("message.timeout.ms", settings.delivery_timeout.as_millis().to_string())
            .set("queue.buffering.max.kbytes", (settings.queue_bytes_max >> 10).max(1).to_string())
            .set("compression.type", settings.compression.name())
            .create_with_context(AckContext { log: cluster.context() })
            .map_err(|error| ProduceError::Refused { reason: error.to_string() })?;
        Ok(Self { inner, cluster: cluster.clone() })
    }

    /// Sends one record and waits for its acknowledgement. Concurrent calls share batches.
    ///
    /// # Errors
    /// `NotAcknowledged`: it may be in the log; send it again. `Refused`, `Broken`.
    pub async fn send(&self, record: RecordOut<'_>) -> Result<Delivered, ProduceError> {
        let answer = self.enqueue(record).await?.await.map_err(|_| broken("the producer was dropped"))?;
        answer.inspect(|_| self.cluster.mark_reached())
    }

    async fn enqueue(
        &self,
        record: RecordOut<'_>,
    ) -> Result<oneshot::Receiver<Result<Delivered, ProduceError>>, ProduceError> {
        loop {
            let (answer, answered) = oneshot::channel();
            match self.inner.send(native_record(record, Box::new(answer))) {
                Ok(()) => return Ok(answered),
                Err((KafkaError::MessageProduction(Code::QueueFull), _)) => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err((error, _)) => return Err(decide(&error)),
            }
        }
    }

    /// Waits until everything sent is acknowledged or given up, at most so long. Blocks the thread.
    ///
    /// # Errors
    /// `NotAcknowledged` when something is still under way at the end.
    pub fn flush(&self, wait: Duration) -> Result<(), ProduceError> {
        self.inner.flush(wait).map_err(|error| decide(&error))
    }
}

fn broken(reason: &str) -> ProduceError {
    ProduceError::Broken { reason: reason.to_owned() }
}

fn decide(error: &KafkaError) -> ProduceError {
    match error.rdkafka_error_code().map_or(Next::GiveUp, next_for_code) {
        Next::Again | Next::Abort => ProduceError::NotAcknowledged { reason: error.to_string() },
        next => ProduceError::from_next(next, "(none)", error.to_string()),
    }
}

struct AckContext {
    log: LogContext,
}

impl ClientContext for AckContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.log.generate_oauth_token(None)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.log.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(error, reason);
    }
}

impl ProducerContext for AckContext {
    type DeliveryOpaque = Box<oneshot::Sender<Result<Delivered, ProduceError>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, answer: Self::DeliveryOpaque) {
        let outcome = match result {
            Ok(message) => {
                Ok(Delivered { partition: Partition(message.partition()), offset: Offset(message.offset()) })
            }
            Err((error, _)) => Err(decide(error)),
        };
        // Nobody waits any more when the caller was cancelled.
        let _ = answer.send(outcome);
    }
}
