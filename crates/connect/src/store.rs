//! The three topics: made when missing, read to their end and followed, written to.
//!
//! The only part of the worker that talks to Kafka. Followers fold records into the picture in topic order;
//! the writer returns once this worker's follower has passed what was written. Kafka being away is waited for,
//! with one clear line (from `topics::Cluster`), for ever.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use service::Backoff;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use topics::{
    Admin, AdminError, Cluster, CompactedReader, ConsumeError, Delivered, Offset, OwnedRecord, ProduceError, Producer,
    ProducerSettings, RecordOut, ResetTo, TopicPartition, TopicPlan,
};

use crate::plugin::Config;
use crate::records::{self, ConfigRecord, Record};
use crate::settings::{ClientKind, WorkerSettings};
use crate::worker::Worker;

/// A REST call waits this long for Kafka before it answers that it could not.
const WRITE_WAIT: Duration = Duration::from_secs(10);
/// At the stop the status queue is written out: until nothing came for so long, but no longer than that.
const LAST_STATUS_WAIT: Duration = Duration::from_millis(200);
const LAST_STATUSES_WAIT: Duration = Duration::from_secs(5);
/// Tasks that were told to stop leave their group within this time.
const GROUP_WAIT: Duration = Duration::from_secs(5);
const GROUP_LOOK: Duration = Duration::from_millis(100);
/// Partitions of the topics when made here: Connect's defaults.
const CONFIG_PARTITIONS: i32 = 1;
const OFFSET_PARTITIONS: i32 = 25;
const STATUS_PARTITIONS: i32 = 5;

/// Why something could not be stored or looked up.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Written or not, it could not be read back in time.
    #[error("Request timed out: Kafka at {bootstrap} did not take the change within {} s; it may still happen", WRITE_WAIT.as_secs())]
    TimedOut {
        /// Brokers.
        bootstrap: String,
    },
    /// Kafka is away.
    #[error("Kafka is not answering: {reason}")]
    Unreachable {
        /// What was said.
        reason: String,
    },
    /// Kafka will not take it.
    #[error("Kafka refuses the change: {reason}")]
    Refused {
        /// What was said.
        reason: String,
    },
    /// Offsets of a sink can change only while none of its tasks is in the group.
    #[error(
        "Failed to change the offsets of consumer group {group} either because its tasks haven't stopped completely yet \
         or the connector was resumed before the request could be successfully completed: it has {members} member(s). If \
         the connector is in a stopped state, this operation can be safely retried."
    )]
    GroupActive {
        /// Consumer group.
        group: String,
        /// Members it has.
        members: usize,
    },
}

impl From<AdminError> for StoreError {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Retry { .. } => Self::Unreachable { reason: error.to_string() },
            AdminError::GroupActive { group, members } => Self::GroupActive { group, members },
            AdminError::UnknownTopic { .. } | AdminError::TopicDiffers { .. } | AdminError::Refused { .. } => {
                Self::Refused { reason: error.to_string() }
            }
        }
    }
}

/// Position of a sink's group in one partition; no offset asks to forget it (start from the beginning).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPosition {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset read next.
    pub offset: Option<i64>,
}

/// How far a topic has been read here: next offset per partition, and whether its end was reached once.
#[derive(Debug, Clone, Default)]
struct Progress {
    next: HashMap<i32, i64>,
    complete: bool,
}

/// Which of the three topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Topic {
    Configs,
    Statuses,
    Offsets,
}

/// Writes to the topics, and asks Kafka about groups.
pub struct Writer {
    cluster: Cluster,
    settings: WorkerSettings,
    producer: Producer,
    cluster_id: OnceLock<String>,
    configs: watch::Sender<Progress>,
    statuses: watch::Sender<Progress>,
    offsets: watch::Sender<Progress>,
}

impl Writer {
    /// A writer; does not wait for Kafka.
    ///
    /// # Errors
    /// When the client does not accept its settings.
    pub fn new(settings: &WorkerSettings) -> Result<Self, ProduceError> {
        let id = format!("connect-{}", settings.worker_id);
        let cluster = settings
            .cluster(&id, ClientKind::Worker, &Config::new())
            .map_err(|error| ProduceError::Refused { reason: error.to_string() })?;
        let producer = Producer::new(&cluster, &ProducerSettings::default())?;
        Ok(Self {
            cluster,
            settings: settings.clone(),
            producer,
            cluster_id: OnceLock::new(),
            configs: watch::Sender::default(),
            statuses: watch::Sender::default(),
            offsets: watch::Sender::default(),
        })
    }

    /// Whether all topics have been read to the end that stood at the start.
    pub fn ready(&self) -> bool {
        [Topic::Configs, Topic::Statuses, Topic::Offsets]
            .into_iter()
            .all(|topic| self.progress(topic).borrow().complete)
    }

    /// Kafka, for those who show whether it is reachable.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn progress(&self, topic: Topic) -> &watch::Sender<Progress> {
        match topic {
            Topic::Configs => &self.configs,
            Topic::Statuses => &self.statuses,
            Topic::Offsets => &self.offsets,
        }
    }

    fn name(&self, topic: Topic) -> &str {
        match topic {
            Topic::Configs => &self.settings.config_topic,
            Topic::Statuses => &self.settings.status_topic,
            Topic::Offsets => &self.settings.offset_topic,
        }
    }

    /// Write config records in order and wait until they are read back.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn write_configs(&self, records: impl IntoIterator<Item = Record>) -> Result<(), StoreError> {
        self.write(Topic::Configs, records.into_iter().collect()).await
    }

    /// Write offset records and wait until they are read back.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn write_offsets(&self, records: impl IntoIterator<Item = Record>) -> Result<(), StoreError> {
        self.write(Topic::Offsets, records.into_iter().collect()).await
    }

    async fn write(&self, topic: Topic, records: Vec<Record>) -> Result<(), StoreError> {
        let writing = async {
            let mut last: HashMap<i32, i64> = HashMap::new();
            for record in &records {
                let at = self.send(topic, record).await?;
                last.insert(at.partition.0, at.offset.0);
            }
            let passed = |progress: &Progress| {
                last.iter().all(|(partition, offset)| progress.next.get(partition).is_some_and(|next| next > offset))
            };
            // The sender is `self`'s, so waiting on it cannot fail.
            let _ = self.progress(topic).subscribe().wait_for(passed).await;
            Ok(())
        };
        let timed_out = || StoreError::TimedOut { bootstrap: self.settings.bootstrap.clone() };
        tokio::time::timeout(WRITE_WAIT, writing).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// Send until acknowledged; the caller bounds the time. All records here may be repeated harmlessly.
    async fn send(&self, topic: Topic, (key, value): &Record) -> Result<Delivered, StoreError> {
        let mut out = RecordOut::to(self.name(topic)).key(key.as_bytes());
        out.value = value.as_ref().map(String::as_bytes);
        loop {
            match self.producer.send(out).await {
                Ok(at) => return Ok(at),
                Err(ProduceError::AbortRequired { reason }) => tracing::debug!(key, reason, "sending again"),
                Err(error) => return Err(StoreError::Refused { reason: error.to_string() }),
            }
        }
    }

    /// Write queued status records until `stop`, then what is still queued for a short while.
    ///
    /// # Errors
    /// Never; the signature is that of a service task.
    pub async fn write_statuses(
        &self,
        mut queue: mpsc::Receiver<Record>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut backoff = Backoff::default();
        while let Some(record) = stop.run_until_cancelled(queue.recv()).await.flatten() {
            while let Err(error) = self.send(Topic::Statuses, &record).await {
                tracing::warn!("a status cannot be written, trying again: {error}");
                if !backoff.wait(&stop).await {
                    break;
                }
            }
            backoff.reset();
        }
        // A deletion whose tombstones are still queued must not come back at the next start.
        let rest = async {
            while let Ok(Some(record)) = tokio::time::timeout(LAST_STATUS_WAIT, queue.recv()).await {
                self.send(Topic::Statuses, &record).await?;
            }
            Ok::<_, StoreError>(())
        };
        if !matches!(tokio::time::timeout(LAST_STATUSES_WAIT, rest).await, Ok(Ok(()))) {
            tracing::warn!("some statuses could not be written before the worker stopped");
        }
        Ok(())
    }

    /// What a group has committed.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn group_offsets(&self, group: &str) -> Result<Vec<GroupPosition>, StoreError> {
        let found = Admin::new(&self.cluster)?.group_offsets(group).await?;
        let position = |found: topics::GroupOffset| GroupPosition {
            topic: found.partition.topic.to_string(),
            partition: found.partition.partition.0,
            offset: Some(found.committed.0),
        };
        Ok(found.into_iter().map(position).collect())
    }

    /// Set a group's offsets.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn set_group_offsets(&self, group: &str, positions: &[GroupPosition]) -> Result<(), StoreError> {
        let admin = Admin::new(&self.cluster)?;
        let until = tokio::time::Instant::now() + GROUP_WAIT;
        for position in positions {
            let to = position.offset.map_or(ResetTo::Earliest, |offset| ResetTo::Offset(Offset(offset)));
            let at = TopicPartition::new(position.topic.as_str(), position.partition);
            loop {
                let outcome = admin.reset_group(group, vec![at.clone()], to, true).await.map(drop);
                if !left_soon(&outcome, until).await {
                    outcome?;
                    break;
                }
            }
        }
        Ok(())
    }

    /// The id of the Kafka cluster, once it is known.
    pub async fn cluster_id(&self) -> Option<String> {
        if let Some(known) = self.cluster_id.get() {
            return Some(known.clone());
        }
        let told = Admin::new(&self.cluster).ok()?.cluster_id().await?;
        Some(self.cluster_id.get_or_init(|| told).clone())
    }

    /// Forget a group.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn delete_group(&self, group: &str) -> Result<(), StoreError> {
        let admin = Admin::new(&self.cluster)?;
        let until = tokio::time::Instant::now() + GROUP_WAIT;
        loop {
            let outcome = admin.delete_group(group).await.map(drop);
            if !left_soon(&outcome, until).await {
                return Ok(outcome?);
            }
        }
    }

    /// Make the topics that are missing. Waits for Kafka as long as it takes.
    ///
    /// # Errors
    /// When a topic stands with properties that would lose state, or may not be made.
    pub async fn ensure_topics(&self, stop: &CancellationToken) -> anyhow::Result<()> {
        let plans = [
            (Topic::Configs, CONFIG_PARTITIONS),
            (Topic::Offsets, OFFSET_PARTITIONS),
            (Topic::Statuses, STATUS_PARTITIONS),
        ];
        for (topic, partitions) in plans {
            let mut backoff = Backoff::default();
            loop {
                let ensured = match Admin::new(&self.cluster) {
                    Ok(admin) => admin.ensure_compacted(TopicPlan::new(self.name(topic), partitions)).await,
                    Err(error) => Err(error),
                };
                match ensured {
                    Ok(()) => break,
                    Err(AdminError::Retry { bootstrap, reason }) => {
                        if backoff.attempt() == 0 {
                            tracing::warn!(
                                "Kafka at {bootstrap} is away, waiting for it; start Kafka or correct \
                                 KAFKA_BOOTSTRAP_SERVERS ({reason})"
                            );
                        }
                    }
                    // A topic made a moment ago is not known everywhere at once.
                    Err(AdminError::UnknownTopic { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
                if !backoff.wait(stop).await {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Whether to look at a group again: its members have some time to leave it.
async fn left_soon(outcome: &Result<(), AdminError>, until: tokio::time::Instant) -> bool {
    let active = matches!(outcome, Err(AdminError::GroupActive { .. }));
    let again = active && tokio::time::Instant::now() < until;
    if again {
        tokio::time::sleep(GROUP_LOOK).await;
    }
    again
}

/// Follow all three topics into the worker's picture until `stop`.
///
/// # Errors
/// When a topic is refused (deleted, no permission).
pub async fn follow_topics(worker: Arc<Worker>, stop: CancellationToken) -> anyhow::Result<()> {
    let follow = |topic| follow_topic(&worker, topic, &stop);
    tokio::try_join!(follow(Topic::Configs), follow(Topic::Statuses), follow(Topic::Offsets))?;
    Ok(())
}

async fn follow_topic(worker: &Worker, topic: Topic, stop: &CancellationToken) -> anyhow::Result<()> {
    let mut backoff = Backoff::default();
    loop {
        let outcome = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            outcome = follow_once(worker, topic) => outcome,
        };
        if let Err(error) = outcome {
            // A refusal too: the topic may have been deleted and be made again by another worker.
            tracing::warn!(topic = worker.writer().name(topic), "reading stopped, starting over: {error}");
        }
        if !backoff.wait(stop).await {
            return Ok(());
        }
    }
}

async fn follow_once(worker: &Worker, topic: Topic) -> Result<(), ConsumeError> {
    let progress = worker.writer().progress(topic);
    let mut reader = CompactedReader::open(worker.writer().cluster(), worker.writer().name(topic)).await?;
    loop {
        // An empty topic is at its end from the start, and nothing may ever come: its end is told before it is followed.
        let follow = reader.at_end() && progress.borrow().complete;
        let read = if follow { reader.follow().await.map(Some) } else { reader.next_to_end().await };
        match read {
            Ok(Some(record)) => apply(worker, topic, progress, &record),
            Ok(None) => {}
            Err(ConsumeError::Retry { reason }) => {
                tracing::debug!(reason, "reading again");
                continue;
            }
            Err(error) => return Err(error),
        }
        if reader.at_end() && !progress.borrow().complete {
            if topic == Topic::Configs {
                // Restarts asked for before this worker lived have had their effect.
                worker.state_mut().take_restarts();
            }
            progress.send_modify(|progress| progress.complete = true);
            worker.changed.notify_one();
        }
    }
}

fn apply(worker: &Worker, topic: Topic, progress: &watch::Sender<Progress>, record: &OwnedRecord) {
    let (partition, offset) = (record.partition.0, record.offset.0);
    // When reading starts over, what was folded in before is passed over: a config seen twice would restart.
    if progress.borrow().next.get(&partition).is_some_and(|next| offset < *next) {
        return;
    }
    let value = record.value.as_deref();
    let key = record.key.as_deref().unwrap_or_default();
    match (topic, std::str::from_utf8(key)) {
        (Topic::Configs, Ok(key)) => match records::parse_config(key, value) {
            // Levels are for the workers that ran when somebody asked: a new one starts with its own.
            ConfigRecord::Logger(logger, level) if progress.borrow().complete => {
                crate::rest::apply_level(&logger, &level);
            }
            record => worker.state_mut().apply_config(record),
        },
        (Topic::Statuses, Ok(key)) => worker.heard_status(key, value),
        (Topic::Offsets, _) => {
            if let Some(offset) = records::parse_offset(key, value) {
                worker.state_mut().apply_offset(offset);
            }
        }
        (_, Err(_)) => {}
    }
    progress.send_modify(|progress| {
        progress.next.insert(partition, offset + 1);
    });
    if topic == Topic::Configs {
        worker.changed.notify_one();
    }
}
