//! The transactional producer: records and the connector's offset record become visible together or never.
//!
//! A blocking handle, meant to be driven from one dedicated thread: `send` only copies into librdkafka's queue
//! (about a microsecond) and blocks when the queue is full, so there is no hop to a runtime per record.
//! `init`, `commit` and `abort` block until the broker answered; they wait out a lost broker for ever, and give
//! up only when the stop token fires.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, LogContext};
use crate::connect_offset::ConnectOffset;
use crate::error::{Next, ProduceError, next_for_code, next_for_error};
use crate::record::RecordOut;

/// One step of a blocking call; between steps the stop token is looked at.
const STEP: Duration = Duration::from_millis(500);
/// Wait for room in a full queue.
const FULL_WAIT: Duration = Duration::from_millis(1);

/// Compression of record batches, by the producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    None,
    Gzip,
    /// The default: costs little, and the broker and all readers move a quarter of the bytes.
    #[default]
    Lz4,
}

impl Compression {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Lz4 => "lz4",
        }
    }
}

/// How a [`TransactionalProducer`] behaves. `new` has the defaults of the relay's hot path.
#[derive(Debug, Clone)]
pub struct TransactionSettings {
    /// One per role, the same after a restart: whoever inits it last fences the one before.
    pub transactional_id: String,
    /// Bytes that may wait for the broker before `send` blocks.
    pub queue_bytes_max: usize,
    /// Records that may wait for the broker before `send` blocks.
    pub queue_records_max: usize,
    /// A batch is sent when it has this size or this age; a commit sends at once.
    pub batch_bytes_max: usize,
    pub linger_ms: u64,
    /// Largest record this client takes; the broker's `message.max.bytes` may be smaller.
    pub record_bytes_max: usize,
    /// The broker aborts a transaction older than this. Readers wait as long for a crashed producer that does
    /// not come back.
    pub transaction_timeout: Duration,
    pub compression: Compression,
}

impl TransactionSettings {
    pub fn new(transactional_id: impl Into<String>) -> Self {
        Self {
            transactional_id: transactional_id.into(),
            // Half a second of the hot path; a record's bookkeeping and headers come on top of its bytes.
            queue_bytes_max: 16 << 20,
            queue_records_max: 20_000,
            batch_bytes_max: 1_000_000,
            linger_ms: 5,
            record_bytes_max: 16 << 20,
            transaction_timeout: Duration::from_secs(60),
            compression: Compression::default(),
        }
    }
}

/// What became of a [`TransactionalProducer::try_send`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    Queued,
    /// The queue has no room; nothing was taken.
    Full,
}

/// See the module documentation. `Send + Sync`, but transactions are a sequence: drive it from one place.
pub struct TransactionalProducer {
    inner: ThreadedProducer<DeliveryContext>,
    settings: TransactionSettings,
    cluster: Cluster,
    stop: CancellationToken,
}

impl TransactionalProducer {
    /// Prepares the client; connects and fences nobody before [`init`](Self::init).
    ///
    /// # Errors
    /// `Refused` when librdkafka does not accept the settings.
    pub fn new(
        cluster: &Cluster,
        settings: TransactionSettings,
        stop: CancellationToken,
    ) -> Result<Self, ProduceError> {
        let mut config = cluster.client_config();
        config
            .set("transactional.id", &settings.transactional_id)
            .set("transaction.timeout.ms", settings.transaction_timeout.as_millis().to_string())
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", settings.linger_ms.to_string())
            .set("batch.size", settings.batch_bytes_max.to_string())
            .set("batch.num.messages", "100000")
            .set("message.max.bytes", settings.record_bytes_max.to_string())
            .set("queue.buffering.max.messages", settings.queue_records_max.to_string())
            .set("queue.buffering.max.kbytes", (settings.queue_bytes_max >> 10).max(1).to_string())
            .set("compression.type", settings.compression.name())
            // A report per record costs more than sending it; failures are all we need to hear of.
            .set("delivery.report.only.error", "true");
        let context = DeliveryContext { log: cluster.context(), failure: Arc::default() };
        let inner =
            config.create_with_context(context).map_err(|error| ProduceError::Refused { reason: error.to_string() })?;
        Ok(Self { inner, settings, cluster: cluster.clone(), stop })
    }

    pub fn transactional_id(&self) -> &str {
        &self.settings.transactional_id
    }

    /// Takes over the transactional.id: fences the producer that had it and aborts what it left open. Readers of
    /// state (`connect_offsets`) must read only after this, or they may miss the other's last commit.
    ///
    /// # Errors
    /// `Stopped`, `Broken`, `Refused`.
    pub fn init(&self) -> Result<(), ProduceError> {
        self.until_answered(|| self.inner.init_transactions(STEP))
    }

    /// Opens a transaction. Local; nothing is sent.
    ///
    /// # Errors
    /// `Fenced`, `AbortRequired`, `Broken`.
    pub fn begin(&self) -> Result<(), ProduceError> {
        self.inner.context().take_failure();
        self.inner.begin_transaction().map_err(|error| self.decide(&error))
    }

    /// Queues a record, waiting for room when the queue is full.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send), and `Stopped`.
    pub fn send(&self, record: RecordOut<'_>) -> Result<(), ProduceError> {
        loop {
            if self.try_send(record)? == SendOutcome::Queued {
                return Ok(());
            }
            if self.stop.is_cancelled() {
                return Err(ProduceError::Stopped);
            }
            std::thread::sleep(FULL_WAIT);
        }
    }

    /// Queues a record if there is room, so that the caller can do something else meanwhile.
    ///
    /// # Errors
    /// `Refused` for a record that never fits; `Fenced`, `AbortRequired`, `Broken` when the transaction is lost.
    pub fn try_send(&self, record: RecordOut<'_>) -> Result<SendOutcome, ProduceError> {
        match self.inner.send(native_record(record, ())) {
            Ok(()) => Ok(SendOutcome::Queued),
            Err((KafkaError::MessageProduction(Code::QueueFull), _)) => match self.inner.context().failure() {
                // A queue that is full of records that failed would never drain.
                Some(failure) => Err(self.failed(&failure, Next::Abort, String::new())),
                None => Ok(SendOutcome::Full),
            },
            Err((error, _)) => Err(self.decide(&error)),
        }
    }

    /// Queues the connector's position, to be committed with the records of the same transaction.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_offsets(&self, topic: &str, offset: &ConnectOffset) -> Result<(), ProduceError> {
        let (key, value) = (offset.key_bytes(), offset.value_bytes());
        let mut record = RecordOut::to(topic).key(&key);
        record.value = value.as_deref();
        self.send(record)
    }

    /// Makes all records since [`begin`](Self::begin) visible. When it returns `Ok`, they are durable on all
    /// in-sync replicas.
    ///
    /// # Errors
    /// `AbortRequired`: nothing became visible; abort and repeat. `Fenced`, `Broken`, `Stopped`: what became of
    /// the transaction is unknown; the offset record in the topic tells after the next `init`. `Refused`: a
    /// record was not taken; abort.
    pub fn commit(&self) -> Result<(), ProduceError> {
        while !self.flush(STEP) {
            if self.stop.is_cancelled() {
                return Err(ProduceError::Stopped);
            }
        }
        self.until_answered(|| self.inner.commit_transaction(STEP))
    }

    /// Throws away all records since [`begin`](Self::begin); readers of committed data never see them.
    ///
    /// # Errors
    /// `Fenced`, `Broken`, `Stopped`.
    pub fn abort(&self) -> Result<(), ProduceError> {
        let outcome = self.until_answered(|| self.inner.abort_transaction(STEP));
        self.inner.context().take_failure();
        outcome
    }

    /// Records queued or under way.
    pub fn in_flight(&self) -> usize {
        usize::try_from(self.inner.in_flight_count()).unwrap_or(0)
    }

    fn until_answered(&self, mut call: impl FnMut() -> KafkaResult<()>) -> Result<(), ProduceError> {
        loop {
            let error = match call() {
                Ok(()) => {
                    self.cluster.mark_reached();
                    return Ok(());
                }
                Err(error) => error,
            };
            if next_for_error(&error) != Next::Again {
                return Err(self.decide(&error));
            }
            if self.stop.is_cancelled() {
                return Err(ProduceError::Stopped);
            }
            tracing::debug!(id = self.transactional_id(), %error, "waiting for the transaction coordinator");
        }
    }

    fn decide(&self, error: &KafkaError) -> ProduceError {
        let next = next_for_error(error);
        match self.inner.context().failure() {
            Some(failure) if next == Next::Abort => self.failed(&failure, next, error.to_string()),
            _ => ProduceError::from_next(next, self.transactional_id(), error.to_string()),
        }
    }

    /// A record failed: when repeating cannot help, say so instead of asking for another round.
    fn failed(&self, failure: &DeliveryFailure, next: Next, context: String) -> ProduceError {
        let reason = format!("{} to {}: {context}", failure.code, failure.topic);
        let next = match next_for_code(failure.code) {
            Next::Fenced => Next::Fenced,
            Next::GiveUp if !is_consequence(failure.code) => Next::GiveUp,
            _ => next,
        };
        ProduceError::from_next(next, self.transactional_id(), reason)
    }

    /// Waits until nothing is in flight, with lingering switched off meanwhile. True when that is reached.
    ///
    /// rdkafka's own flush sleeps in steps of 100 ms; librdkafka's returns as soon as the last answer is in.
    #[allow(unsafe_code)]
    fn flush(&self, wait: Duration) -> bool {
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        let client = self.inner.client().native_ptr();
        // SAFETY: the pointer belongs to `self.inner`, which lives over the call, and rd_kafka_flush may be
        // called from any thread.
        let outcome = unsafe { rdkafka::bindings::rd_kafka_flush(client, wait_ms) };
        outcome == rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
    }
}

/// Codes of records that fell because the transaction or the client did, not by their own fault.
fn is_consequence(code: Code) -> bool {
    matches!(code, Code::PurgeQueue | Code::PurgeInflight | Code::State | Code::Inconsistent | Code::Outdated)
}

pub(crate) fn native_record<D: rdkafka::util::IntoOpaque>(
    record: RecordOut<'_>,
    opaque: D,
) -> BaseRecord<'_, [u8], [u8], D> {
    BaseRecord {
        topic: record.topic,
        partition: record.partition.map(|partition| partition.0),
        payload: record.value,
        key: record.key,
        timestamp: record.timestamp_ms,
        headers: record.headers.and_then(|headers| headers.native()),
        delivery_opaque: opaque,
    }
}

#[derive(Debug, Clone)]
struct DeliveryFailure {
    code: Code,
    topic: String,
}

/// Keeps the first record that failed in the open transaction.
struct DeliveryContext {
    log: LogContext,
    failure: Arc<Mutex<Option<DeliveryFailure>>>,
}

impl DeliveryContext {
    fn failure(&self) -> Option<DeliveryFailure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn take_failure(&self) -> Option<DeliveryFailure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for DeliveryContext {
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

impl ProducerContext for DeliveryContext {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let Err((error, message)) = result else { return };
        let Some(code) = error.rdkafka_error_code() else { return };
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        // The first cause is kept; records that fall with it must not hide it.
        if failure.as_ref().is_none_or(|known| is_consequence(known.code) && !is_consequence(code)) {
            *failure = Some(DeliveryFailure { code, topic: message.topic().to_owned() });
        }
    }
}
