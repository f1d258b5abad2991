//! One file into the bucket, exactly once.
//!
//! The key is fixed by the position at which the file begins. The put is conditional: if an object with that key
//! exists (we, or a writer that lost the partition, wrote it and died before the commit), the object stays and
//! its recorded next offset is taken over. So two writers never publish overlapping objects, whatever either of
//! them had read, and whenever either of them was killed.

use bytes::Bytes;
use model::names::RawObject;
use objects::{ObjectError, PutOutcome, RawMetadata, Store};
use service::Backoff;
use tokio_util::sync::CancellationToken;
use topics::{RegistryClient, RegistryError, SchemaId, TopicPartition};

use crate::container::Body;
use crate::plan::FilePlan;

/// Extension of every object.
const EXTENSION: &str = "avro";

/// A file that cannot be published, now or later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// A person must act; the text names the cure.
    #[error("{0}")]
    Definite(String),
    /// Given up because the task stops or lost the partition. Harmless: nothing was committed.
    #[error("stopped while publishing")]
    Stopped,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Where the object in the bucket ends and the next begins.
    pub next: i64,
    /// Whether the object was there already.
    pub existed: bool,
    /// Bytes written by us.
    pub bytes: u64,
}

/// Where files go.
#[derive(Clone)]
pub struct Publisher {
    /// Bucket.
    pub store: Store,
    /// First part of every key.
    pub topics_dir: String,
    /// For writer schemas.
    pub registry: RegistryClient,
}

impl Publisher {
    /// Name of the object of a partition that begins at `start`.
    pub fn key(&self, at: &TopicPartition, start: i64) -> String {
        RawObject {
            topics_dir: self.topics_dir.clone(),
            topic: at.topic.to_string(),
            partition: at.partition.0,
            start_offset: start,
            extension: EXTENSION.to_owned(),
        }
        .to_string()
    }

    /// Publish a file, waiting for the registry and the bucket as long as it takes.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(
        &self,
        at: TopicPartition,
        plan: FilePlan,
        body: Body,
        stop: CancellationToken,
    ) -> Result<Published, PublishError> {
        let schema_id = plan.schema_id.unwrap_or_default();
        let schema = self.schema(&at, SchemaId(schema_id), &stop).await?;
        let metadata = RawMetadata {
            start_offset: plan.start,
            next_offset: plan.next,
            record_count: plan.records,
            tombstone_count: plan.tombstones,
            schema_id,
            crc32c: None,
        };
        let runs = objects::offset_runs_text(plan.start, &plan.runs);
        let (pieces, metadata) = body.finish(&schema, metadata, runs);
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        let key = self.key(&at, plan.start);
        match self.put(&key, pieces, &metadata, &stop).await? {
            PutOutcome::Created => Ok(Published { next: plan.next, existed: false, bytes }),
            PutOutcome::Exists => match self.recorded(&key, &stop).await? {
                Recorded::Next(next) => Ok(Published { next, existed: true, bytes: 0 }),
                Recorded::Foreign(reason) => Err(foreign(&key, &reason)),
                Recorded::Nothing => Err(PublishError::Definite(format!(
                    "object {key} was there and is gone: is something deleting objects?"
                ))),
            },
        }
    }

    async fn schema(
        &self,
        at: &TopicPartition,
        id: SchemaId,
        stop: &CancellationToken,
    ) -> Result<std::sync::Arc<str>, PublishError> {
        let mut backoff = Backoff::default();
        loop {
            match self.registry.schema_by_id(id).await {
                Ok(schema) => return Ok(schema),
                Err(error @ RegistryError::Retry { .. }) => {
                    wait(&mut backoff, stop, || format!("{error}; start it or correct SCHEMA_REGISTRY_URL")).await?;
                }
                Err(error @ (RegistryError::Refused { .. } | RegistryError::NotFound { .. })) => {
                    return Err(PublishError::Definite(format!("values of {at} name schema id {id}: {error}")));
                }
            }
        }
    }

    async fn put(
        &self,
        key: &str,
        pieces: Vec<Bytes>,
        metadata: &RawMetadata,
        stop: &CancellationToken,
    ) -> Result<PutOutcome, PublishError> {
        let mut backoff = Backoff::default();
        loop {
            let put = self.store.put_if_absent(key, pieces.clone(), metadata.to_metadata());
            let outcome = tokio::select! {
                outcome = put => outcome,
                () = stop.cancelled() => return Err(PublishError::Stopped),
            };
            match outcome {
                Ok(outcome) => return Ok(outcome),
                Err(error) => retry_or_fail(error, &mut backoff, stop).await?,
            }
        }
    }

    /// What the object with this key says about where the next one begins.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn recorded(&self, key: &str, stop: &CancellationToken) -> Result<Recorded, PublishError> {
        let mut backoff = Backoff::default();
        loop {
            match self.store.head(key).await {
                Ok(None) => return Ok(Recorded::Nothing),
                Ok(Some(head)) => {
                    return Ok(match RawMetadata::from_metadata(&head.metadata) {
                        Ok(recorded) => Recorded::Next(recorded.next_offset),
                        Err(error) => Recorded::Foreign(error.to_string()),
                    });
                }
                Err(error) => retry_or_fail(error, &mut backoff, stop).await?,
            }
        }
    }
}

/// What an object says about where the next one begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// There is no object.
    Nothing,
    /// There.
    Next(i64),
    /// It does not say, so another sink (the JVM's) wrote it.
    Foreign(String),
}

/// The error for an object of another sink that stands where ours would have to go.
pub(crate) fn foreign(key: &str, reason: &str) -> PublishError {
    PublishError::Definite(format!(
        "object {key} was not written by this sink ({reason}): move it away, or choose another topics.dir"
    ))
}

pub(crate) async fn retry_or_fail(
    error: ObjectError,
    backoff: &mut Backoff,
    stop: &CancellationToken,
) -> Result<(), PublishError> {
    match error {
        ObjectError::Retry { .. } => wait(backoff, stop, || error.to_string()).await,
        ObjectError::NotFound { .. }
        | ObjectError::MissingBucket { .. }
        | ObjectError::AccessDenied { .. }
        | ObjectError::Refused { .. } => Err(PublishError::Definite(error.to_string())),
    }
}

/// Wait before the next attempt; the first failure of a row is told.
async fn wait(backoff: &mut Backoff, stop: &CancellationToken, what: impl Fn() -> String) -> Result<(), PublishError> {
    if backoff.attempt() == 0 {
        tracing::warn!("waiting, trying again: {}", what());
    }
    if backoff.wait(stop).await { Ok(()) } else { Err(PublishError::Stopped) }
}
