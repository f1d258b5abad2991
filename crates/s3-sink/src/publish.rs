//! A range of offsets into the bucket, exactly once.
//!
//! The name of what says how far a range reaches is fixed by the position at which it begins: the object itself where a
//! range makes one, the plan (see `group`) where it makes several. That upload is conditional: if it is there already
//! (we, or a writer that lost the partition, wrote it and died before the commit), it stays and its recorded next
//! offset is taken over. So two writers never publish overlapping ranges, whatever either of them had read, and
//! whenever either of them was killed. The objects of a plan are conditional too: whoever makes them makes the same.

use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt};
use objects::{ObjectError, PutOutcome, RawMetadata, Store};
use service::Backoff;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use topics::{RegistryClient, RegistryError, SchemaId, TopicPartition};

use crate::failpoint;
use crate::format::{Body, FormatError};
use crate::group::{self, GroupPlan};
use crate::intake::{HEADERS_SCHEMA, STRING_SCHEMA};
use crate::partition::{Batch, OpenFile};
use crate::shape::{Part, Shape};

/// Objects of one plan on their way at once.
const OBJECTS_MAX: usize = 4;

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
    /// Objects written by us.
    pub objects: u64,
    /// Bytes written by us.
    pub bytes: u64,
}

/// Where files go.
#[derive(Clone)]
pub struct Publisher {
    /// Bucket.
    pub store: Store,
    /// Larger objects go up in parts.
    pub part_bytes: usize,
    /// Names and formats.
    pub shape: Arc<Shape>,
    /// For writer schemas.
    pub registry: RegistryClient,
    /// Objects that may be made (compressed, turned into Parquet) at once.
    pub makers: Arc<Semaphore>,
}

impl Publisher {
    /// Publish a batch, waiting for the registry and the bucket as long as it takes.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(
        &self,
        at: TopicPartition,
        batch: Batch,
        stop: CancellationToken,
    ) -> Result<Published, PublishError> {
        failpoint::hit(failpoint::FILE_ENDED);
        if self.shape.planned {
            return self.publish_group(at, batch, stop).await;
        }
        let Batch { plan, files, .. } = batch;
        let Some(file) = files.into_iter().next() else {
            return Err(PublishError::Definite(format!("{at}: a file without records was to be published")));
        };
        let Some(body) = file.values else {
            return Err(PublishError::Definite(format!("{at}: a file without values was to be published")));
        };
        let metadata = RawMetadata {
            start_offset: plan.start,
            next_offset: plan.next,
            record_count: plan.records,
            tombstone_count: plan.tombstones,
            schema_id: file.value_schema,
            crc32c: None,
        };
        let runs = objects::offset_runs_text(plan.start, &plan.runs);
        let key = self.shape.chain_key(&at, plan.start);
        let (outcome, bytes) = self.make(&at, &key, Part::Values, body, metadata, runs, &stop).await?;
        failpoint::hit(failpoint::OBJECT_WRITTEN);
        match outcome {
            PutOutcome::Created => Ok(Published { next: plan.next, existed: false, objects: 1, bytes }),
            PutOutcome::Exists => match self.recorded(&key, &stop).await? {
                Recorded::Next(next) => Ok(Published { next, existed: true, objects: 0, bytes: 0 }),
                Recorded::Foreign(reason) => Err(foreign(&key, &reason)),
                Recorded::Nothing => Err(gone(&key)),
            },
        }
    }

    /// Write down what the files will be, then the files that are not there yet.
    async fn publish_group(
        &self,
        at: TopicPartition,
        batch: Batch,
        stop: CancellationToken,
    ) -> Result<Published, PublishError> {
        let plan_key = self.shape.chain_key(&at, batch.plan.start);
        let ours = GroupPlan::of(&self.shape, &at, &batch);
        match &batch.pinned {
            Some(stands) => same_objects(&plan_key, stands, &ours)?,
            None => {
                if self.put_plan(&plan_key, &ours, &batch, &stop).await? == PutOutcome::Exists {
                    // Another writer's range stands; resuming finds out what is missing of it.
                    let next = batch.plan.start;
                    return Ok(Published { next, existed: true, objects: 0, bytes: 0 });
                }
                failpoint::hit(failpoint::PLAN_WRITTEN);
            }
        }
        let next = batch.plan.next;
        let uploads: Vec<_> = batch
            .files
            .into_iter()
            .flat_map(parts_of)
            .map(|(file, part, body)| self.publish_part(&at, file, part, body, &stop).boxed())
            .collect();
        let written: Vec<(u64, u64)> =
            futures::stream::iter(uploads).buffer_unordered(OBJECTS_MAX).try_collect().await?;
        let (objects, bytes) = written.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        Ok(Published { next, existed: false, objects, bytes })
    }

    /// One object of a range that is written down; how many were written, and their bytes.
    async fn publish_part(
        &self,
        at: &TopicPartition,
        file: Arc<OpenFile>,
        part: Part,
        body: Body,
        stop: &CancellationToken,
    ) -> Result<(u64, u64), PublishError> {
        let schema_id = if part == Part::Keys { file.key_schema } else { file.value_schema };
        let metadata = group::object_metadata(&file, schema_id);
        let key = self.shape.object_key(at, &file.folder, file.first, part);
        let runs = objects::offset_runs_text(file.first, &file.runs);
        let (outcome, bytes) = self.make(at, &key, part, body, metadata, runs, stop).await?;
        if outcome == PutOutcome::Exists
            && let Recorded::Foreign(reason) = self.recorded(&key, stop).await?
        {
            return Err(foreign(&key, &reason));
        }
        failpoint::hit(failpoint::OBJECT_WRITTEN);
        Ok(if outcome == PutOutcome::Created { (1, bytes) } else { (0, 0) })
    }

    async fn put_plan(
        &self,
        key: &str,
        plan: &GroupPlan,
        batch: &Batch,
        stop: &CancellationToken,
    ) -> Result<PutOutcome, PublishError> {
        let text = serde_json::to_vec(plan).map_err(|error| PublishError::Definite(format!("{key}: {error}")))?;
        let metadata = RawMetadata {
            start_offset: batch.plan.start,
            next_offset: batch.plan.next,
            record_count: batch.plan.records,
            tombstone_count: batch.plan.tombstones,
            schema_id: 0,
            crc32c: Some(crc32c::crc32c(&text)),
        };
        self.put(key, vec![text.into()], &metadata, stop).await
    }

    /// What is written down under a plan's name.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn read_plan(&self, key: &str, stop: &CancellationToken) -> Result<GroupPlan, PublishError> {
        let mut backoff = Backoff::default();
        loop {
            match self.store.get(key).await {
                Ok(text) => {
                    return serde_json::from_slice(&text)
                        .map_err(|error| PublishError::Definite(format!("{key} cannot be read: {error}")));
                }
                Err(error) => retry_or_fail(error, &mut backoff, stop).await?,
            }
        }
    }

    /// Make an object of a body and put it.
    #[expect(clippy::too_many_arguments, reason = "one call site each for the two ways of publishing")]
    async fn make(
        &self,
        at: &TopicPartition,
        key: &str,
        part: Part,
        body: Body,
        metadata: RawMetadata,
        runs: Option<String>,
        stop: &CancellationToken,
    ) -> Result<(PutOutcome, u64), PublishError> {
        let Some(format) = self.shape.format_of(part).cloned() else {
            return Err(PublishError::Definite(format!("{key}: such objects are not stored")));
        };
        let schema = if format.takes_avro() {
            self.part_schema(at, part, &format, metadata.schema_id, stop).await?
        } else {
            "".into()
        };
        let permit = tokio::select! {
            permit = self.makers.acquire() => permit,
            () = stop.cancelled() => return Err(PublishError::Stopped),
        };
        let made = tokio::task::spawn_blocking(move || body.finish(&format, &schema, metadata, runs)).await;
        drop(permit);
        let (pieces, metadata) = made
            .unwrap_or_else(|error| Err(FormatError(error.to_string())))
            .map_err(|error| PublishError::Definite(format!("object {key} cannot be made: {error}")))?;
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        Ok((self.put(key, pieces, &metadata, stop).await?, bytes))
    }

    /// Writer schema of a part's objects in Avro or Parquet.
    async fn part_schema(
        &self,
        at: &TopicPartition,
        part: Part,
        format: &crate::format::Format,
        id: u32,
        stop: &CancellationToken,
    ) -> Result<Arc<str>, PublishError> {
        let enveloped = matches!(format, crate::format::Format::Parquet(_));
        let of_record = |name: &str, field: &str, schema: &str| -> Arc<str> {
            format!(r#"{{"type":"record","name":"{name}","fields":[{{"name":"{field}","type":{schema}}}]}}"#).into()
        };
        Ok(match part {
            Part::Values => self.schema(at, SchemaId(id), stop).await?,
            Part::Headers if enveloped => of_record("RecordHeaders", "headers", HEADERS_SCHEMA),
            Part::Headers => HEADERS_SCHEMA.into(),
            Part::Keys => {
                let schema = if id == 0 { STRING_SCHEMA.into() } else { self.schema(at, SchemaId(id), stop).await? };
                if enveloped { of_record("RecordKey", "key", &schema) } else { schema }
            }
        })
    }

    /// A schema by its id, waiting for the registry.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn schema(
        &self,
        at: &TopicPartition,
        id: SchemaId,
        stop: &CancellationToken,
    ) -> Result<Arc<str>, PublishError> {
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

    /// A schema and its version under the subject of a topic's values, waiting for the registry.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn version(
        &self,
        at: &TopicPartition,
        id: SchemaId,
        stop: &CancellationToken,
    ) -> Result<(Arc<str>, u32), PublishError> {
        let schema = self.schema(at, id, stop).await?;
        let record = record_name(&schema);
        // By the names of all three strategies; of topic and record first.
        let subjects = [format!("{}-value", at.topic), format!("{}-{record}", at.topic), record];
        let mut backoff = Backoff::default();
        loop {
            match self.registry.versions_of(id).await {
                Ok(uses) => {
                    let latest = |subject: &String| {
                        uses.iter().filter(|used| used.subject == *subject).map(|used| used.version).max()
                    };
                    let version = subjects.iter().find_map(latest).ok_or_else(|| {
                        PublishError::Definite(format!(
                            "values of {at} name schema id {id}, which is no version of subject {}: \
                             schema.compatibility needs versions; register it there, or set schema.compatibility to NONE",
                            subjects[0]
                        ))
                    })?;
                    return Ok((schema, version));
                }
                Err(error @ RegistryError::Retry { .. }) => {
                    wait(&mut backoff, stop, || format!("{error}; start it or correct SCHEMA_REGISTRY_URL")).await?;
                }
                Err(error @ (RegistryError::Refused { .. } | RegistryError::NotFound { .. })) => {
                    return Err(PublishError::Definite(format!("versions of schema id {id}: {error}")));
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
            let put = self.store.put_if_absent_in_parts(key, pieces.clone(), metadata.to_metadata(), self.part_bytes);
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

/// Full name of a schema's record; empty when it is none.
fn record_name(schema: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(schema).unwrap_or_default();
    let text = |name: &str| json.get(name).and_then(serde_json::Value::as_str);
    match (text("namespace"), text("name").unwrap_or_default()) {
        (Some(namespace), name) if !name.contains('.') => format!("{namespace}.{name}"),
        (_, name) => name.to_owned(),
    }
}

fn gone(key: &str) -> PublishError {
    PublishError::Definite(format!("object {key} was there and is gone: is something deleting objects?"))
}

/// Each part of a file with what it takes to publish it.
fn parts_of(mut file: OpenFile) -> Vec<(Arc<OpenFile>, Part, Body)> {
    let bodies =
        [(Part::Values, file.values.take()), (Part::Keys, file.keys.take()), (Part::Headers, file.headers.take())];
    // Whether there are values still counts.
    let file = Arc::new(file);
    bodies.into_iter().filter_map(|(part, body)| Some((Arc::clone(&file), part, body?))).collect()
}

/// A range that is written down is made with the settings it was begun with.
fn same_objects(key: &str, stands: &GroupPlan, ours: &GroupPlan) -> Result<(), PublishError> {
    let wanted: Vec<&String> = stands.objects().collect();
    match ours.objects().find(|object| !wanted.contains(object)) {
        None => Ok(()),
        Some(other) => Err(PublishError::Definite(format!(
            "{key} was begun with other settings: it asks for {}, these settings make {other}. Set layout and formats back \
             until it is finished, or delete it and its objects",
            wanted.first().map_or("nothing", |object| object.as_str())
        ))),
    }
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
