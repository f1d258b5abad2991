//! The consumer: committed records only, memory bounded in bytes, rebalances delivered as events.
//!
//! Group mode ([`Consumer::subscribe`]): partitions come and go as [`Event::Assigned`] and [`Event::Revoked`]. A
//! revocation takes effect only when [`Consumer::next`] is called again, so whatever the caller finishes and
//! commits between the two calls still counts. Offsets are committed by the caller alone.
//! Assign mode ([`Consumer::assign`]): the caller names partitions and positions; no group is joined.
//!
//! `next` needs no thread of its own: librdkafka fetches in the background and wakes the task.

pub(crate) mod ends;

use std::collections::{HashMap, VecDeque};
use std::future::Future as _;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt as _;
use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, RebalanceProtocol, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset as RdOffset, TopicPartitionList};

use crate::admin::Watermarks;
use crate::cluster::{Cluster, LogContext};
use crate::error::ConsumeError;
use crate::record::{Offset, Partition, Record, TopicPartition};

/// Wait for an answer of the broker in calls that ask it something.
const ASK: Duration = Duration::from_secs(10);

/// How a [`Consumer`] behaves.
#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    /// Bytes fetched ahead of the caller, over all partitions.
    pub fetch_bytes_max: usize,
    /// Longest time between two calls of `next` before the group gives this member's partitions away.
    pub poll_interval_max: Duration,
    /// The group gives a silent (crashed) member's partitions away after this time.
    pub session_timeout: Duration,
    /// With a static id a restart within the session timeout gets its partitions back without a rebalance.
    pub instance_id: Option<String>,
    /// Deliver [`Event::End`] whenever a partition has been read to its end.
    pub tell_end: bool,
    /// False shows records of open and aborted transactions too. For tools only.
    pub committed_only: bool,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self {
            fetch_bytes_max: 16 << 20,
            poll_interval_max: Duration::from_secs(300),
            session_timeout: Duration::from_secs(10),
            instance_id: None,
            tell_end: false,
            committed_only: true,
        }
    }
}

/// Where reading of a partition starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    Earliest,
    Latest,
    /// This offset is read first.
    Offset(Offset),
    /// The group's committed offset, or the earliest when there is none. Group mode's default.
    Committed,
}

impl StartAt {
    fn native(self) -> RdOffset {
        match self {
            Self::Earliest => RdOffset::Beginning,
            Self::Latest => RdOffset::End,
            Self::Offset(offset) => RdOffset::Offset(offset.0),
            // Resolved before librdkafka sees it in group mode; outside a group nothing is committed.
            Self::Committed => RdOffset::Beginning,
        }
    }
}

/// What happened next.
#[derive(Debug)]
pub enum Event<'a> {
    Record(Record<'a>),
    /// These partitions are ours from now on. [`Consumer::start_at`] before the next call sets where they start.
    Assigned(Vec<TopicPartition>),
    /// These partitions go away at the next call of `next`: finish, commit, forget. With `lost` the group has
    /// given them to others already, and commits will be refused.
    Revoked {
        partitions: Vec<TopicPartition>,
        lost: bool,
    },
    /// The partition with this number (of any topic read) has been read to the end that stood at that moment.
    End(Partition),
}

/// See the module documentation.
pub struct Consumer {
    inner: StreamConsumer<RebalanceContext>,
    cluster: Cluster,
}

impl Consumer {
    /// A member of `group`, reading `topics`. Topics may appear later.
    ///
    /// # Errors
    /// `Refused` when librdkafka does not accept the settings.
    pub fn subscribe(
        cluster: &Cluster,
        group: &str,
        topics: &[&str],
        settings: &ConsumerSettings,
    ) -> Result<Self, ConsumeError> {
        let consumer = Self::new(cluster, group, settings)?;
        consumer.inner.subscribe(topics).map_err(|error| ConsumeError::from_kafka(&error))?;
        Ok(consumer)
    }

    /// A reader of exactly these partitions, outside any group.
    ///
    /// # Errors
    /// `Refused` when librdkafka does not accept the settings.
    pub fn assign(
        cluster: &Cluster,
        partitions: &[(TopicPartition, StartAt)],
        settings: &ConsumerSettings,
    ) -> Result<Self, ConsumeError> {
        // librdkafka demands a name; it is never joined nor committed to.
        let consumer = Self::new(cluster, "assigned-by-hand", settings)?;
        let list = native_list(partitions.iter().map(|(at, start)| (at, start.native())))
            .map_err(|error| ConsumeError::from_kafka(&error))?;
        consumer.inner.assign(&list).map_err(|error| ConsumeError::from_kafka(&error))?;
        Ok(consumer)
    }

    fn new(cluster: &Cluster, group: &str, settings: &ConsumerSettings) -> Result<Self, ConsumeError> {
        // Answers are bounded compressed, the queue uncompressed: small answers keep a good compression ratio
        // from multiplying memory.
        let partition_bytes_max = (settings.fetch_bytes_max / 16).clamp(64 << 10, 1 << 20);
        // Not below librdkafka's `message.max.bytes` (1 MB), which it demands also of a client that sends nothing.
        let answer_bytes_max = (settings.fetch_bytes_max / 4).clamp(1 << 20, 16 << 20);
        let mut config = cluster.client_config();
        config
            .set("group.id", group)
            .set("isolation.level", if settings.committed_only { "read_committed" } else { "read_uncommitted" })
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // A position that is gone from the log is an error, never a silent jump over lost records.
            .set("auto.offset.reset", "error")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", settings.session_timeout.as_millis().to_string())
            .set("heartbeat.interval.ms", (settings.session_timeout.as_millis() / 20).clamp(100, 1000).to_string())
            .set(
                "max.poll.interval.ms",
                settings.poll_interval_max.max(settings.session_timeout).as_millis().to_string(),
            )
            .set("enable.partition.eof", if settings.tell_end { "true" } else { "false" })
            .set("queued.max.messages.kbytes", (settings.fetch_bytes_max >> 10).max(64).to_string())
            .set("queued.min.messages", "100000")
            .set("fetch.message.max.bytes", partition_bytes_max.to_string())
            .set("fetch.max.bytes", answer_bytes_max.to_string())
            .set("receive.message.max.bytes", "120000000")
            .set("fetch.wait.max.ms", "500")
            .set("fetch.error.backoff.ms", "100")
            // By default a full queue stops fetching for a whole second.
            .set("fetch.queue.backoff.ms", "5")
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set("allow.auto.create.topics", "false");
        if let Some(instance_id) = &settings.instance_id {
            config.set("group.instance.id", instance_id);
        }
        let context =
            RebalanceContext { log: cluster.context(), state: Mutex::default(), closing: AtomicBool::new(false) };
        let inner: StreamConsumer<RebalanceContext> =
            config.create_with_context(context).map_err(|error| ConsumeError::from_kafka(&error))?;
        Ok(Self { inner, cluster: cluster.clone() })
    }

    /// The next event. Waits for ever when nothing comes; dropping the future loses nothing.
    ///
    /// # Errors
    /// See [`ConsumeError`]; after `Retry` call again.
    pub async fn next(&self) -> Result<Event<'_>, ConsumeError> {
        self.finish_rebalance()?;
        let mut receiving = pin!(self.inner.recv());
        let outcome = std::future::poll_fn(|task| {
            let polled = receiving.as_mut().poll(task).map(Some);
            // Rebalances arrive while polling, through the context below.
            if polled.is_pending() && self.inner.context().has_event() { Poll::Ready(None) } else { polled }
        })
        .await;
        match outcome {
            None => self.inner.context().take_event().ok_or_else(|| ConsumeError::Retry { reason: "no event".into() }),
            Some(Ok(message)) => {
                self.cluster.mark_reached();
                Ok(Event::Record(Record(message)))
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => Ok(Event::End(Partition(partition))),
            Some(Err(error)) => Err(ConsumeError::from_kafka(&error)),
        }
    }

    /// The next event if there is one already; for draining without waiting.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn try_next(&self) -> Option<Result<Event<'_>, ConsumeError>> {
        self.next().now_or_never()
    }

    /// Sets where partitions of the [`Event::Assigned`] just received start, instead of the committed offset.
    pub fn start_at(&self, partition: TopicPartition, start: StartAt) {
        self.inner.context().state().starts.insert(partition, start);
    }

    /// Commits the offsets to be read next, and waits for the answer. Blocks the thread for one round trip.
    ///
    /// # Errors
    /// `CommitRefused` when the partitions belong to someone else by now; `Retry` when the broker is away.
    pub fn commit(&self, next: &[(TopicPartition, Offset)]) -> Result<(), ConsumeError> {
        if next.is_empty() {
            return Ok(());
        }
        let list = native_list(next.iter().map(|(at, offset)| (at, RdOffset::Offset(offset.0))))
            .map_err(|error| ConsumeError::from_kafka(&error))?;
        self.inner.commit(&list, CommitMode::Sync).map_err(|error| ConsumeError::from_kafka(&error))
    }

    /// What the group has committed for these partitions; `None` where nothing is. Blocks for a round trip.
    ///
    /// # Errors
    /// `Retry` when the broker is away.
    pub fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, Option<Offset>>, ConsumeError> {
        let list = native_list(partitions.iter().map(|at| (at, RdOffset::Invalid)))
            .map_err(|error| ConsumeError::from_kafka(&error))?;
        let list = self.inner.committed_offsets(list, ASK).map_err(|error| ConsumeError::from_kafka(&error))?;
        Ok(offsets_of(&list))
    }

    /// The offset to be read next in each assigned partition, beyond transaction markers and aborted records
    /// that were passed; `None` for a partition nothing was read from yet. Does not ask the broker.
    ///
    /// # Errors
    /// `Broken` when the client is closed.
    pub fn positions(&self) -> Result<HashMap<TopicPartition, Option<Offset>>, ConsumeError> {
        let list = self.inner.position().map_err(|error| ConsumeError::from_kafka(&error))?;
        Ok(offsets_of(&list))
    }

    /// As [`positions`](Self::positions), for one partition.
    ///
    /// # Errors
    /// `Broken` when the client is closed.
    pub fn position(&self, partition: &TopicPartition) -> Result<Option<Offset>, ConsumeError> {
        Ok(self.positions()?.remove(partition).flatten())
    }

    /// First offset kept and the end for this reader (the last stable offset when only committed records are
    /// read: an open transaction holds it back). Blocks for a round trip.
    ///
    /// # Errors
    /// `Retry` when the broker is away, `Refused` for an unknown topic.
    pub fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks, ConsumeError> {
        let (low, high) = self
            .inner
            .fetch_watermarks(&partition.topic, partition.partition.0, ASK)
            .map_err(|error| ConsumeError::from_kafka(&error))?;
        Ok(Watermarks { low: Offset(low), high: Offset(high) })
    }

    /// Stops fetching from these partitions until [`resume`](Self::resume); records fetched already are dropped
    /// and fetched again later.
    ///
    /// # Errors
    /// `Refused` for a partition that is not assigned.
    pub fn pause(&self, partitions: &[TopicPartition]) -> Result<(), ConsumeError> {
        let list = native_list(partitions.iter().map(|at| (at, RdOffset::Invalid)))
            .map_err(|error| ConsumeError::from_kafka(&error))?;
        self.inner.pause(&list).map_err(|error| ConsumeError::from_kafka(&error))
    }

    /// # Errors
    /// `Refused` for a partition that is not assigned.
    pub fn resume(&self, partitions: &[TopicPartition]) -> Result<(), ConsumeError> {
        let list = native_list(partitions.iter().map(|at| (at, RdOffset::Invalid)))
            .map_err(|error| ConsumeError::from_kafka(&error))?;
        self.inner.resume(&list).map_err(|error| ConsumeError::from_kafka(&error))
    }

    /// Continues reading an assigned partition elsewhere.
    ///
    /// # Errors
    /// `Refused` for a partition that is not assigned.
    pub fn seek(&self, partition: &TopicPartition, start: StartAt) -> Result<(), ConsumeError> {
        self.inner
            .seek(&partition.topic, partition.partition.0, start.native(), ASK)
            .map_err(|error| ConsumeError::from_kafka(&error))
    }

    /// Partitions held now.
    ///
    /// # Errors
    /// `Broken` when the client is closed.
    pub fn assignment(&self) -> Result<Vec<TopicPartition>, ConsumeError> {
        let list = self.inner.assignment().map_err(|error| ConsumeError::from_kafka(&error))?;
        Ok(partitions_of(&list))
    }

    /// Carries out the rebalance whose event the caller has seen by now. On an error it stays to be carried out.
    fn finish_rebalance(&self) -> Result<(), ConsumeError> {
        let Some(rebalance) = self.inner.context().state().told.take() else { return Ok(()) };
        let outcome = self.carry_out(&rebalance);
        let mut state = self.inner.context().state();
        match outcome {
            Ok(()) => state.starts.clear(),
            Err(_) => state.told = Some(rebalance),
        }
        outcome
    }

    fn carry_out(&self, rebalance: &Rebalance) -> Result<(), ConsumeError> {
        let outcome = match rebalance {
            Rebalance::Assign { list, cooperative } => {
                let list = self.with_starts(list)?;
                if *cooperative { self.inner.incremental_assign(&list) } else { self.inner.assign(&list) }
            }
            Rebalance::Revoke { list, cooperative, .. } => {
                if *cooperative {
                    self.inner.incremental_unassign(list)
                } else {
                    self.inner.unassign()
                }
            }
        };
        outcome.map_err(|error| ConsumeError::from_kafka(&error))
    }

    /// The assignment with a definite start for each partition. Committed offsets are looked up here, because
    /// librdkafka would treat "nothing committed" and "committed offset is gone from the log" alike.
    fn with_starts(&self, list: &TopicPartitionList) -> Result<TopicPartitionList, ConsumeError> {
        let partitions = partitions_of(list);
        let starts = self.inner.context().state().starts.clone();
        let unset: Vec<_> = partitions
            .iter()
            .filter(|at| starts.get(at).is_none_or(|start| *start == StartAt::Committed))
            .cloned()
            .collect();
        let committed = if unset.is_empty() { HashMap::new() } else { self.committed(&unset)? };
        native_list(partitions.iter().map(|at| {
            let start = match starts.get(at) {
                Some(start) if *start != StartAt::Committed => *start,
                _ => committed.get(at).copied().flatten().map_or(StartAt::Earliest, StartAt::Offset),
            };
            (at, start.native())
        }))
        .map_err(|error| ConsumeError::from_kafka(&error))
    }
}

pub(crate) fn native_list<'a>(
    partitions: impl Iterator<Item = (&'a TopicPartition, RdOffset)>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (at, offset) in partitions {
        list.add_partition_offset(&at.topic, at.partition.0, offset)?;
    }
    Ok(list)
}

fn partitions_of(list: &TopicPartitionList) -> Vec<TopicPartition> {
    list.elements().iter().map(|element| TopicPartition::new(element.topic(), element.partition())).collect()
}

pub(crate) fn offsets_of(list: &TopicPartitionList) -> HashMap<TopicPartition, Option<Offset>> {
    let offset_of = |offset| match offset {
        RdOffset::Offset(offset) => Some(Offset(offset)),
        _ => None,
    };
    list.elements()
        .iter()
        .map(|element| (TopicPartition::new(element.topic(), element.partition()), offset_of(element.offset())))
        .collect()
}

#[derive(Debug)]
enum Rebalance {
    Assign { list: TopicPartitionList, cooperative: bool },
    Revoke { list: TopicPartitionList, cooperative: bool, lost: bool },
}

#[derive(Default)]
struct RebalanceState {
    /// Came from the group, not yet told.
    coming: VecDeque<Rebalance>,
    /// Told to the caller; carried out at the next call.
    told: Option<Rebalance>,
    starts: HashMap<TopicPartition, StartAt>,
}

/// Turns librdkafka's rebalance callbacks into events.
struct RebalanceContext {
    log: LogContext,
    state: Mutex<RebalanceState>,
    /// Set when the consumer is dropped.
    closing: AtomicBool,
}

impl RebalanceContext {
    fn state(&self) -> MutexGuard<'_, RebalanceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_event(&self) -> bool {
        !self.state().coming.is_empty()
    }

    fn take_event(&self) -> Option<Event<'static>> {
        let mut state = self.state();
        let rebalance = state.coming.pop_front()?;
        let event = match &rebalance {
            Rebalance::Assign { list, .. } => Event::Assigned(partitions_of(list)),
            Rebalance::Revoke { list, lost, .. } => Event::Revoked { partitions: partitions_of(list), lost: *lost },
        };
        state.told = Some(rebalance);
        Some(event)
    }
}

impl ClientContext for RebalanceContext {
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

impl ConsumerContext for RebalanceContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let assign = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Relaxed) {
            // Nobody will call `next` again; give the partitions back at once so that the group need not wait.
            let _ = if cooperative { consumer.incremental_unassign(list) } else { consumer.unassign() };
            return;
        }
        let rebalance = if assign {
            Rebalance::Assign { list: list.clone(), cooperative }
        } else {
            Rebalance::Revoke { list: list.clone(), cooperative, lost: consumer.assignment_lost() }
        };
        self.state().coming.push_back(rebalance);
    }
}

impl Drop for Consumer {
    /// Leaves the group. Blocks for about a round trip.
    fn drop(&mut self) {
        let context = self.inner.context();
        context.closing.store(true, Ordering::Relaxed);
        // Rebalances that were not carried out would hold up leaving the group.
        let open: Vec<_> = {
            let mut state = context.state();
            let told = state.told.take();
            told.into_iter().chain(std::mem::take(&mut state.coming)).collect()
        };
        for rebalance in open {
            if matches!(rebalance, Rebalance::Revoke { .. }) {
                let _ = self.carry_out(&rebalance);
            }
        }
    }
}
