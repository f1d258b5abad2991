//! The transactional producer: records and the connector's offset record become visible together or never.
//!
//! A blocking handle, meant to be driven from one dedicated thread: `send` only writes the record into an open batch (a
//! fraction of a microsecond) and blocks when the queue is full, so there is no hop to a runtime per record. `init`,
//! `commit` and `abort` block until the broker answered; they wait out a lost broker for ever, and give up only when the
//! stop token fires. Kafka's protocol is spoken by [`crate::wire`], on a thread of the producer.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::producer::BaseRecord;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::connect_offset::ConnectOffset;
use crate::error::ProduceError;
use crate::record::RecordOut;
use crate::wire::Client;

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
            // Half a second of the hot path.
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
    client: Client,
}

impl TransactionalProducer {
    /// Prepares the client; connects and fences nobody before [`init`](Self::init).
    ///
    /// # Errors
    /// `Refused` when the settings cannot be used.
    pub fn new(
        cluster: &Cluster,
        settings: TransactionSettings,
        stop: CancellationToken,
    ) -> Result<Self, ProduceError> {
        Ok(Self { client: Client::new(cluster, Arc::new(settings), stop)? })
    }

    pub fn transactional_id(&self) -> &str {
        &self.client.settings().transactional_id
    }

    /// Takes over the transactional.id: fences the producer that had it and aborts what it left open. Readers of
    /// state (`connect_offsets`) must read only after this, or they may miss the other's last commit.
    ///
    /// # Errors
    /// `Stopped`, `Broken`, `Refused`.
    pub fn init(&self) -> Result<(), ProduceError> {
        self.client.init()
    }

    /// Opens a transaction. Local; nothing is sent.
    ///
    /// # Errors
    /// `Fenced`, `AbortRequired`, `Broken`.
    pub fn begin(&self) -> Result<(), ProduceError> {
        self.client.begin()
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
            if self.client.is_stopped() {
                return Err(ProduceError::Stopped);
            }
            std::thread::sleep(FULL_WAIT);
        }
    }

    /// Queues a record if there is room, so that the caller can do something else meanwhile. The first record to a topic
    /// finds no room until the broker has told how many partitions it has.
    ///
    /// # Errors
    /// `Refused` for a record that never fits; `Fenced`, `AbortRequired`, `Broken` when the transaction is lost.
    #[inline]
    pub fn try_send(&self, record: RecordOut<'_>) -> Result<SendOutcome, ProduceError> {
        self.client.try_send(&record)
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
        self.client.commit()
    }

    /// Throws away all records since [`begin`](Self::begin); readers of committed data never see them.
    ///
    /// # Errors
    /// `Fenced`, `Broken`, `Stopped`.
    pub fn abort(&self) -> Result<(), ProduceError> {
        self.client.abort()
    }

    /// Records queued or under way.
    pub fn in_flight(&self) -> usize {
        self.client.in_flight()
    }
}

/// For librdkafka.
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
