//! One membership in the consumer group: read, fill files, publish, commit.
//!
//! ```text
//!   next() ──▶ partition.take ──full──▶ sealed ──▶ publish (one per partition) ──▶ commit next offset
//!     ▲                      ▲ deadline, pressure
//!     └── not called while the files hold as many bytes as they may
//! ```
//!
//! The group offset of a partition is committed only for objects that are durable, and to exactly where they
//! end. What a file holds when its partition is taken away or the task stops is dropped, not written: whoever
//! reads the partition next begins at the commit and makes the same file. Uploads on their way are given
//! [`FINISH_WAIT`] then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use connect::errors::{FailedRecord, Failure, RecordErrors};
use connect::{Moved, Reporter, TaskError};
use futures::StreamExt;
use service::Backoff;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use topics::{ConsumeError, Consumer, Event, Offset, Record, SchemaId, StartAt, TopicPartition};

use crate::config::SinkConfig;
use crate::container::unframe;
use crate::evolution::{Evolution, Unfit};
use crate::failpoint;
use crate::format::Format;
use crate::intake::{Intake, Outcome, RecordError};
use crate::partition::{Partition, Partitions};
use crate::publish::{PublishError, Published, Publisher};
use crate::resume;
use crate::rotation::Millis;
use crate::start::Start;

/// Uploads of one task at once.
const UPLOADS_MAX: usize = 8;
/// Records taken before uploads and deadlines are looked at again.
const RECORDS_PER_TURN_MAX: usize = 1000;
/// How long uploads on their way may take when their partition goes away.
const FINISH_WAIT: Duration = Duration::from_secs(10);
/// A commit that could not be made is repeated after this time.
const COMMIT_RETRY: Duration = Duration::from_secs(1);
/// Partitions whose position is looked up in the bucket at once.
const LOOKUPS_MAX: usize = 16;

type Upload = (TopicPartition, CancellationToken, Result<Published, PublishError>);

/// See the module documentation.
pub struct Session {
    config: Arc<SinkConfig>,
    publisher: Publisher,
    consumer: Arc<Consumer>,
    report: Reporter,
    errors: Arc<RecordErrors>,
    stop: CancellationToken,
    intake: Intake,
    evolution: Evolution,
    partitions: Partitions,
    uploads: JoinSet<Upload>,
    to_commit: HashMap<TopicPartition, i64>,
    totals: Totals,
}

/// What this task has published, for its progress report.
#[derive(Default)]
struct Totals {
    objects: u64,
    bytes: u64,
    taken_over: u64,
}

impl Session {
    /// A session of a consumer that has subscribed.
    pub fn new(
        config: Arc<SinkConfig>,
        publisher: Publisher,
        consumer: Consumer,
        report: Reporter,
        errors: Arc<RecordErrors>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            errors,
            evolution: Evolution::new(
                config.compatibility,
                matches!(config.shape.format, Format::Json(_)).then_some(config.reading.decimals),
            ),
            intake: Intake::new(config.reading.clone(), Arc::clone(&config.shape)),
            config,
            publisher,
            consumer: Arc::new(consumer),
            report,
            stop,
            partitions: Partitions::default(),
            uploads: JoinSet::new(),
            to_commit: HashMap::new(),
            totals: Totals::default(),
        }
    }

    /// Run until the task stops or `leave` is done, then finish what is on its way and leave the group.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub async fn run(mut self, leave: impl Future<Output = ()>) -> Result<(), TaskError> {
        let outcome = self.work(leave).await;
        let all = self.partitions.iter().map(|partition| partition.at.clone()).collect();
        self.give_up(all).await;
        let Self { consumer, .. } = self;
        // Dropping it leaves the group, which takes a round trip.
        let _ = tokio::task::spawn_blocking(move || drop(consumer)).await;
        outcome
    }

    async fn work(&mut self, leave: impl Future<Output = ()>) -> Result<(), TaskError> {
        let consumer = Arc::clone(&self.consumer);
        let stop = self.stop.clone();
        let mut leave = std::pin::pin!(leave);
        loop {
            self.relieve();
            self.start_uploads();
            let wake = self.until_deadline();
            let may_read = self.may_read();
            let commit_again = (!self.to_commit.is_empty()).then_some(COMMIT_RETRY);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = &mut leave => return Ok(()),
                Some(done) = self.uploads.join_next() => {
                    self.uploaded(done).await?;
                    self.commit().await?;
                }
                () = sleep(wake) => self.seal_due(),
                () = sleep(commit_again) => self.commit().await?,
                event = consumer.next(), if may_read => self.turn(&consumer, event).await?,
            }
        }
    }

    /// Take what is there, up to a turn's worth.
    async fn turn(&mut self, consumer: &Consumer, first: Result<Event<'_>, ConsumeError>) -> Result<(), TaskError> {
        let mut event = Some(first);
        let mut records = 0;
        let mut room = self.config.files_bytes_max().saturating_sub(self.partitions.bytes());
        let now = now_ms();
        while let Some(current) = event.take() {
            match current {
                Ok(Event::Record(record)) => {
                    room = room.saturating_sub(self.take(&record, now).await?);
                    records += 1;
                }
                Ok(Event::Assigned(partitions)) => self.assigned(partitions).await?,
                Ok(Event::Revoked { partitions, lost }) => self.revoked(partitions, lost).await,
                Ok(Event::End(_)) => {}
                Err(error) => return self.consume_error(error).await,
            }
            if records >= RECORDS_PER_TURN_MAX || room == 0 {
                break;
            }
            event = consumer.try_next();
        }
        metrics::counter!("s3_sink_records_read_total").increment(records as u64);
        self.report.moved(Moved::Read, records as u64);
        self.report.moved(Moved::Written, records as u64);
        Ok(())
    }

    /// Take a record into its partition's files; the bytes they grew by.
    async fn take(&mut self, record: &Record<'_>, now: Millis) -> Result<usize, TaskError> {
        if !self.learn(record).await? {
            return Ok(0);
        }
        // A partition that was taken away may still have records on their way to us.
        let Some(partition) = self.partitions.get_mut(record.topic(), record.partition().0) else { return Ok(0) };
        let taken = match self.intake.record(record, now) {
            Ok(Outcome::Take(taken)) => partition.take(&taken, &self.config.rotation, now, &mut self.evolution),
            Ok(Outcome::Pass) => {
                partition.pass(record.offset().0, &self.config.rotation, now);
                Ok(0)
            }
            Err(error) => Err(Unfit::Record(error)),
        };
        match taken {
            Ok(bytes) => {
                failpoint::hit(failpoint::RECORD_TAKEN);
                Ok(bytes)
            }
            Err(Unfit::Settings(reason)) => Err(TaskError::Fail(format!("{}: {reason}", partition.at))),
            Err(Unfit::Record(RecordError(why))) => {
                let bad = record.to_owned();
                // Kept as a dead letter, if at all, before the range that covers it can be committed.
                self.errors.report(&FailedRecord::from(&bad), &Failure::avro_value(&why)).await?;
                partition.pass(bad.offset.0, &self.config.rotation, now);
                Ok(0)
            }
        }
    }

    /// Learn the schemas that this record needs; false when stopped meanwhile.
    async fn learn(&mut self, record: &Record<'_>) -> Result<bool, TaskError> {
        while let Some(id) = self.intake.unknown_schema(record) {
            let schema = match self.publisher.schema(&record.topic_partition(), id, &self.stop).await {
                Ok(schema) => schema,
                Err(PublishError::Stopped) => return Ok(false),
                Err(PublishError::Definite(reason)) => return Err(TaskError::Fail(reason)),
            };
            self.intake.learn(id, &schema).map_err(|error| TaskError::Fail(error.0))?;
        }
        let id = record.value().and_then(|value| unframe(value).ok()).map(|(id, _)| id);
        if let Some(id) = id.filter(|id| self.evolution.lacks(record.topic(), *id)) {
            let (schema, version) =
                match self.publisher.version(&record.topic_partition(), SchemaId(id), &self.stop).await {
                    Ok(found) => found,
                    Err(PublishError::Stopped) => return Ok(false),
                    Err(PublishError::Definite(reason)) => return Err(TaskError::Fail(reason)),
                };
            self.evolution.learn(record.topic(), id, version, &schema).map_err(|error| TaskError::Fail(error.0))?;
        }
        Ok(true)
    }

    /// Whether there is room for more records. What is written down in the bucket has to be read whole, however much it
    /// is; it was bounded when it was written down.
    fn may_read(&self) -> bool {
        let stuck = || self.uploads.is_empty() && self.partitions.iter().any(Partition::pinned);
        self.partitions.bytes() < self.config.files_bytes_max() || stuck()
    }

    /// Under memory pressure the largest open file ends early, as long as there is room for its upload.
    /// More than one, as far as they are together less than half of the room: nothing is read meanwhile, so uploads to a
    /// slow store would else go one after the other.
    fn relieve(&mut self) {
        let most = self.config.files_bytes_max();
        for _ in self.uploads.len()..UPLOADS_MAX {
            if self.partitions.bytes() < most || self.partitions.sealed_bytes() >= most / 2 {
                return;
            }
            let Some(largest) = self.partitions.iter_mut().max_by_key(|partition| partition.sealable_bytes()) else {
                return;
            };
            largest.seal(0);
        }
    }

    fn start_uploads(&mut self) {
        for partition in self.partitions.iter_mut() {
            if self.uploads.len() >= UPLOADS_MAX {
                return;
            }
            if let Some(batch) = partition.start_publishing() {
                let (publisher, at, stop) = (self.publisher.clone(), partition.at.clone(), partition.stop.clone());
                self.uploads.spawn(async move {
                    let outcome = publisher.publish(at.clone(), batch, stop.clone()).await;
                    (at, stop, outcome)
                });
            }
        }
    }

    async fn uploaded(&mut self, done: Result<Upload, tokio::task::JoinError>) -> Result<(), TaskError> {
        let (at, owner, outcome) = done.map_err(|error| TaskError::Retry(format!("an upload ended: {error}")))?;
        // The partition went away meanwhile, or went away and came back: whoever has it now looks for objects.
        if owner.is_cancelled() {
            return Ok(());
        }
        let published = match outcome {
            Ok(published) => published,
            Err(PublishError::Stopped) => return Ok(()),
            Err(PublishError::Definite(reason)) => return Err(TaskError::Fail(reason)),
        };
        failpoint::hit(failpoint::RANGE_WRITTEN);
        self.note(&at, &published);
        self.to_commit.insert(at.clone(), published.next);
        if published.existed {
            return self.take_over(at, published.next).await;
        }
        if let Some(partition) = self.partitions.get_mut(&at.topic, at.partition.0) {
            partition.published();
        }
        Ok(())
    }

    /// An object was there already: drop what was read for this partition and go on behind it.
    async fn take_over(&mut self, at: TopicPartition, next: i64) -> Result<(), TaskError> {
        let (resume, pinned) = match resume::look_up(&self.publisher, &at, next, &self.stop).await {
            Ok(found) => found,
            Err(PublishError::Stopped) => return Ok(()),
            Err(PublishError::Definite(reason)) => return Err(TaskError::Fail(reason)),
        };
        tracing::info!("{at}: an object was there already, going on at {}", resume.position);
        self.to_commit.insert(at.clone(), resume.position);
        self.partitions.remove(&at);
        self.partitions.insert(Partition::new(at.clone(), resume, pinned, Arc::clone(&self.config.shape)));
        let (consumer, start) = (Arc::clone(&self.consumer), StartAt::Offset(Offset(resume.position)));
        blocking(move || consumer.seek(&at, start)).await
    }

    fn note(&mut self, at: &TopicPartition, published: &Published) {
        self.totals.objects += published.objects;
        self.totals.taken_over += u64::from(published.existed);
        self.totals.bytes += published.bytes;
        metrics::counter!("s3_sink_objects_total").increment(published.objects);
        metrics::counter!("s3_sink_objects_taken_over_total").increment(u64::from(published.existed));
        metrics::counter!("s3_sink_bytes_total").increment(published.bytes);
        self.report.active_topic(&at.topic);
        self.report.progress("objects", self.totals.objects);
        self.report.progress("objects_taken_over", self.totals.taken_over);
        self.report.progress("bytes", self.totals.bytes);
    }

    /// Time until the next open file ends by time.
    fn until_deadline(&self) -> Option<Duration> {
        let deadline = self.partitions.iter().filter_map(Partition::deadline).min()?;
        Some(Duration::from_millis(u64::try_from(deadline - now_ms()).unwrap_or(0)))
    }

    /// End the files whose time has come, beyond the transaction markers passed since their last record.
    fn seal_due(&mut self) {
        let now = now_ms();
        let positions = self.consumer.positions().unwrap_or_default();
        for partition in self.partitions.iter_mut() {
            if partition.deadline().is_some_and(|deadline| deadline <= now) {
                let passed = positions.get(&partition.at).copied().flatten();
                partition.seal(passed.map_or(0, |offset| offset.0));
            }
        }
    }

    /// Commit what is durable. What Kafka does not take now is kept and tried again.
    async fn commit(&mut self) -> Result<(), TaskError> {
        self.to_commit.retain(|at, _| self.partitions.holds(at));
        let list: Vec<_> = self.to_commit.iter().map(|(at, next)| (at.clone(), Offset(*next))).collect();
        if list.is_empty() {
            return Ok(());
        }
        let consumer = Arc::clone(&self.consumer);
        let outcome = tokio::task::spawn_blocking(move || consumer.commit(&list)).await;
        match outcome {
            Ok(Ok(())) => {
                failpoint::hit(failpoint::COMMITTED);
                self.to_commit.clear();
                Ok(())
            }
            Ok(Err(error @ (ConsumeError::Retry { .. } | ConsumeError::CommitRefused { .. }))) => {
                tracing::debug!("commit later: {error}");
                Ok(())
            }
            Ok(Err(error)) => Err(TaskError::Retry(error.to_string())),
            Err(error) => Err(TaskError::Retry(error.to_string())),
        }
    }

    async fn assigned(&mut self, assigned: Vec<TopicPartition>) -> Result<(), TaskError> {
        let begin = Instant::now();
        let committed = self.committed(&assigned).await?;
        let asked = begin.elapsed();
        let (publisher, stop) = (&self.publisher, &self.stop);
        let lookups = committed.into_iter().map(|(at, start)| async move {
            let resume = resume::look_up(publisher, &at, start.committed, stop).await;
            (at, start, resume)
        });
        let found: Vec<_> = futures::stream::iter(lookups).buffer_unordered(LOOKUPS_MAX).collect().await;
        tracing::info!(
            "{} partitions are ours: asked Kafka for {asked:.1?}, the bucket for {:.1?}",
            found.len(),
            begin.elapsed() - asked
        );
        failpoint::hit(failpoint::POSITIONS_FOUND);
        for (at, start, resume) in found {
            let (resume, pinned) = match resume {
                Ok(found) => found,
                Err(PublishError::Stopped) => return Ok(()),
                Err(PublishError::Definite(reason)) => return Err(TaskError::Fail(reason)),
            };
            start.check(&at, resume.position)?;
            if resume.position != start.committed {
                self.to_commit.insert(at.clone(), resume.position);
            }
            self.consumer.start_at(at.clone(), StartAt::Offset(Offset(resume.position)));
            self.report.active_topic(&at.topic);
            self.partitions.insert(Partition::new(at, resume, pinned, Arc::clone(&self.config.shape)));
        }
        Ok(())
    }

    async fn committed(&self, assigned: &[TopicPartition]) -> Result<Vec<(TopicPartition, Start)>, TaskError> {
        let mut backoff = Backoff::default();
        loop {
            let (consumer, asked) = (Arc::clone(&self.consumer), assigned.to_vec());
            let outcome = tokio::task::spawn_blocking(move || Start::of(&consumer, &asked)).await;
            match outcome.map_err(|error| TaskError::Retry(error.to_string()))? {
                Ok(starts) => return Ok(starts),
                Err(ConsumeError::Retry { reason }) => {
                    tracing::debug!("asking for the group's offsets again: {reason}");
                    if !backoff.wait(&self.stop).await {
                        return Ok(Vec::new());
                    }
                }
                Err(error) => return Err(TaskError::Retry(error.to_string())),
            }
        }
    }

    async fn revoked(&mut self, partitions: Vec<TopicPartition>, lost: bool) {
        if lost {
            partitions.iter().for_each(|at| self.partitions.remove(at));
        } else {
            self.give_up(partitions).await;
        }
    }

    /// Finish the uploads of these partitions that are on their way, commit them, and forget the partitions.
    async fn give_up(&mut self, leaving: Vec<TopicPartition>) {
        let finishing = async {
            while leaving.iter().any(|at| self.uploading(at)) {
                let Some(done) = self.uploads.join_next().await else { break };
                if let Err(error) = self.uploaded(done).await {
                    tracing::warn!("while giving partitions back: {error}");
                }
            }
            failpoint::hit(failpoint::UPLOADS_ENDED);
            if let Err(error) = self.commit().await {
                tracing::warn!("while giving partitions back: {error}");
            }
            failpoint::hit(failpoint::GIVEN_UP);
        };
        if tokio::time::timeout(FINISH_WAIT, finishing).await.is_err() {
            tracing::warn!(
                "uploads did not end within {FINISH_WAIT:?}; whoever reads these partitions next takes over"
            );
        }
        leaving.iter().for_each(|at| self.partitions.remove(at));
    }

    fn uploading(&mut self, at: &TopicPartition) -> bool {
        self.partitions.get_mut(&at.topic, at.partition.0).is_some_and(|partition| partition.on_its_way())
    }

    async fn consume_error(&self, error: ConsumeError) -> Result<(), TaskError> {
        match error {
            ConsumeError::Retry { reason } => {
                tracing::debug!("reading again: {reason}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok(())
            }
            ConsumeError::CommitRefused { .. } => Ok(()),
            ConsumeError::PositionLost { .. } => Err(TaskError::Fail(format!(
                "{error}. Records were deleted before they were copied. To go on without them reset the group to the \
                 earliest offset, then restart the connector"
            ))),
            ConsumeError::Broken { .. } | ConsumeError::Refused { .. } => Err(TaskError::Retry(error.to_string())),
        }
    }
}

async fn blocking(call: impl FnOnce() -> Result<(), ConsumeError> + Send + 'static) -> Result<(), TaskError> {
    match tokio::task::spawn_blocking(call).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(TaskError::Retry(error.to_string())),
        Err(error) => Err(TaskError::Retry(error.to_string())),
    }
}

async fn sleep(wake: Option<Duration>) {
    match wake {
        Some(wake) => tokio::time::sleep(wake).await,
        None => std::future::pending().await,
    }
}

fn now_ms() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}
