//! The sending end: records and position records go to Kafka in transactions.
//!
//! Stands behind the stream and the snapshot, which decide when to commit. Promise: a transaction is opened by its first
//! record and holds the position of exactly its records; while Kafka makes us wait, `lifeline` is polled, so that the
//! replication connection does not die meanwhile.
//!
//! Two producers take turns, each with a transactional id of its own: Kafka answers a commit before it has marked the
//! transaction's end in every partition, and who begins another one under the same id before that waits 20 ms. Only one
//! transaction is ever open, and it is begun after the one before it is known to be committed. So what is committed is
//! always a beginning of the stream; a predecessor is fenced when both ids are taken over ([`Outbox::take_over`]).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use topics::{
    Cluster, ConnectOffset, Headers, Partition, ProduceError, RecordOut, SendOutcome, TransactionSettings,
    TransactionalProducer,
};

use crate::{
    error::RelayError,
    failpoint,
    records::{Encoded, RecordHeaders},
};

/// Wait for room in the producer's queue.
const FULL_WAIT: Duration = Duration::from_millis(1);
/// How often the lifeline is polled while Kafka makes us wait.
const LIFELINE_EVERY: Duration = Duration::from_secs(1);
/// Bytes a record takes beside its key and value: headers and framing.
const RECORD_OVERHEAD_BYTES: usize = 200;

/// Something that must be attended to while Kafka makes us wait.
pub trait Lifeline: Send {
    /// Called about once a second.
    fn beat(&mut self) -> impl Future<Output = Result<(), RelayError>> + Send;
}

/// Nothing to attend to.
#[derive(Debug)]
pub struct NoLifeline;

impl Lifeline for NoLifeline {
    async fn beat(&mut self) -> Result<(), RelayError> {
        Ok(())
    }
}

/// The open Kafka transaction, if there is one.
pub struct Outbox {
    /// The first has the open transaction, or gets the next.
    producers: [Arc<TransactionalProducer>; 2],
    offset_topic: String,
    opened_at: Option<Instant>,
    bytes: usize,
    records: u64,
}

impl Outbox {
    /// Prepares the producers; `role` begins their transactional ids. Nobody is fenced before [`Self::take_over`].
    ///
    /// # Errors
    /// When the settings are refused.
    pub fn new(
        cluster: &Cluster,
        role: &str,
        batch_bytes_max: usize,
        offset_topic: String,
        stop: tokio_util::sync::CancellationToken,
    ) -> Result<Self, RelayError> {
        let producer = |number: u8| {
            let mut settings = TransactionSettings::new(format!("{role}-{number}"));
            settings.queue_bytes_max = (2 * batch_bytes_max).clamp(4 << 20, 32 << 20);
            TransactionalProducer::new(cluster, settings, stop.clone()).map(Arc::new)
        };
        let producers = [producer(0)?, producer(1)?];
        Ok(Self { producers, offset_topic, opened_at: None, bytes: 0, records: 0 })
    }

    /// Fences the producers that had our ids, and aborts what they left open. When it returns, whatever they committed
    /// is complete. Between the two a predecessor may still commit under the second id, once: that is only read by us,
    /// and what it begins after that is under the first.
    ///
    /// # Errors
    /// When Kafka refuses or the task stops.
    pub async fn take_over(&self) -> Result<(), RelayError> {
        for producer in &self.producers {
            blocking(producer, TransactionalProducer::init, &mut NoLifeline).await?;
        }
        Ok(())
    }

    /// Commits one record to every partition of the offsets topic. Whoever reads all of them back, reads everything
    /// that was committed before: an open transaction of another connector may hide what stands behind it for a while.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub async fn fence(&mut self, keys: &[Vec<u8>]) -> Result<(), RelayError> {
        self.producers[0].begin()?;
        self.opened_at = Some(Instant::now());
        for (partition, key) in (0..).zip(keys) {
            // Without a value: readers of the topic take it for an entry that was deleted.
            self.producers[0].send(RecordOut::to(&self.offset_topic).partition(Partition(partition)).key(key))?;
        }
        self.commit(&[], &mut NoLifeline).await
    }

    /// When the open transaction was opened.
    #[must_use]
    pub fn opened_at(&self) -> Option<Instant> {
        self.opened_at
    }

    /// Bytes in the open transaction.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records in the open transaction.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Puts records into the transaction, opening it if need be.
    ///
    /// # Errors
    /// When the transaction is lost; the caller goes back to the last committed position.
    pub async fn send(
        &mut self,
        topic: &str,
        encoded: &Encoded,
        context: &Headers,
        lifeline: &mut impl Lifeline,
    ) -> Result<(), RelayError> {
        self.open()?;
        for piece in &encoded.pieces {
            let mut record = RecordOut::to(topic);
            match &piece.headers {
                RecordHeaders::Context => record = record.headers(context),
                RecordHeaders::KeyChange(headers) => record = record.headers(headers),
                RecordHeaders::None => {}
            }
            record.key = piece.key.clone().map(|range| &encoded.bytes[range]);
            record.value = piece.value.clone().map(|range| &encoded.bytes[range]);
            self.put(record, lifeline).await?;
        }
        self.records += encoded.pieces.len() as u64;
        Ok(())
    }

    /// As [`Self::send`], for one record that was changed on its way.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_one(
        &mut self,
        topic: &str,
        (key, value): (Option<&[u8]>, Option<&[u8]>),
        headers: &Headers,
        timestamp_ms: Option<i64>,
        lifeline: &mut impl Lifeline,
    ) -> Result<(), RelayError> {
        self.open()?;
        let mut record = RecordOut::to(topic).headers(headers);
        (record.key, record.value, record.timestamp_ms) = (key, value, timestamp_ms);
        self.put(record, lifeline).await?;
        self.records += 1;
        Ok(())
    }

    fn open(&mut self) -> Result<(), RelayError> {
        if self.opened_at.is_none() {
            self.producers[0].begin()?;
            self.opened_at = Some(Instant::now());
        }
        Ok(())
    }

    #[inline]
    async fn put(&mut self, record: RecordOut<'_>, lifeline: &mut impl Lifeline) -> Result<(), RelayError> {
        if self.producers[0].try_send(record)? == SendOutcome::Full {
            self.send_when_there_is_room(record, lifeline).await?;
        }
        self.bytes += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + RECORD_OVERHEAD_BYTES;
        Ok(())
    }

    async fn send_when_there_is_room(
        &self,
        record: RecordOut<'_>,
        lifeline: &mut impl Lifeline,
    ) -> Result<(), RelayError> {
        let mut beaten_at = Instant::now();
        while self.producers[0].try_send(record)? == SendOutcome::Full {
            tokio::time::sleep(FULL_WAIT).await;
            if beaten_at.elapsed() >= LIFELINE_EVERY {
                lifeline.beat().await?;
                beaten_at = Instant::now();
            }
        }
        Ok(())
    }

    /// Commits the open transaction together with position records; opens one for them alone if there is none.
    /// When it returns, everything is durable.
    ///
    /// # Errors
    /// When it is not known to be committed; the stored position tells after the next [`Self::take_over`].
    pub async fn commit(
        &mut self,
        positions: &[ConnectOffset],
        lifeline: &mut impl Lifeline,
    ) -> Result<(), RelayError> {
        if self.opened_at.is_none() {
            self.producers[0].begin()?;
        }
        for position in positions {
            self.producers[0].send_offsets(&self.offset_topic, position)?;
        }
        failpoint::hit(failpoint::POSITION_PRODUCED);
        blocking(&self.producers[0], TransactionalProducer::commit, lifeline).await?;
        failpoint::hit(failpoint::KAFKA_COMMITTED);
        self.producers.swap(0, 1);
        (self.opened_at, self.bytes, self.records) = (None, 0, 0);
        Ok(())
    }

    /// Throws the open transaction away, so that readers do not wait for its time-out. Best effort: the next
    /// [`Self::take_over`] does the same.
    pub async fn abort(&mut self) {
        if self.opened_at.take().is_some()
            && let Err(error) = blocking(&self.producers[0], TransactionalProducer::abort, &mut NoLifeline).await
        {
            tracing::debug!("the kafka transaction could not be aborted: {error}");
        }
        (self.bytes, self.records) = (0, 0);
    }
}

/// Runs one of the producer's blocking calls off the runtime's threads.
async fn blocking(
    producer: &Arc<TransactionalProducer>,
    call: fn(&TransactionalProducer) -> Result<(), ProduceError>,
    lifeline: &mut impl Lifeline,
) -> Result<(), RelayError> {
    let producer = Arc::clone(producer);
    let mut running = tokio::task::spawn_blocking(move || call(&producer));
    loop {
        match tokio::time::timeout(LIFELINE_EVERY, &mut running).await {
            Ok(Ok(outcome)) => return Ok(outcome?),
            Ok(Err(panicked)) => {
                return Err(RelayError::Retry { server: "Kafka".to_owned(), reason: panicked.to_string() });
            }
            Err(_elapsed) => lifeline.beat().await?,
        }
    }
}
