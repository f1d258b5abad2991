//! Who leads which partition: asked for when a topic is new, when a leader has moved, and now and then.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{ApiKey, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::codes::{self, Failure};
use super::connection::Fault;
use super::intake::{Target, TopicIndex};
use super::sender::{Sender, release};
use crate::error::Next;

/// Versions that know whether a topic may be made, and that name topics.
const VERSIONS: (i16, i16) = (4, 12);
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));
/// How long a topic may be unknown: brokers hear of a new one one after the other.
const UNKNOWN_MAX: Duration = Duration::from_secs(30);
/// Topics may get more partitions.
const REFRESH: Duration = Duration::from_secs(300);

/// Topics whose leaders are not known, or are not what they were.
#[derive(Debug, Default)]
pub(super) struct Stale {
    topics: BTreeSet<TopicIndex>,
    unknown_since: HashMap<TopicIndex, Instant>,
    backoff: Option<Duration>,
    not_before: Option<Instant>,
    refreshed: Option<Instant>,
}

impl Stale {
    pub(super) fn add(&mut self, topic: TopicIndex) {
        self.topics.insert(topic);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    pub(super) fn not_before(&self) -> Option<Instant> {
        self.not_before.filter(|_| !self.is_empty())
    }

    fn wait(&mut self, now: Instant) {
        let backoff = self.backoff.map_or(BACKOFF.0, |last| (last * 2).min(BACKOFF.1));
        (self.backoff, self.not_before) = (Some(backoff), Some(now + backoff));
    }

    /// True when it has been unknown for too long.
    fn is_unknown(&mut self, topic: TopicIndex, now: Instant) -> bool {
        now.duration_since(*self.unknown_since.entry(topic).or_insert(now)) > UNKNOWN_MAX
    }

    fn is_known(&mut self, topic: TopicIndex) {
        self.unknown_since.remove(&topic);
    }
}

impl Sender {
    /// Asks if there is something to ask for and it is time to.
    pub(super) async fn ask_for_metadata(&mut self) {
        let now = Instant::now();
        {
            let mut intake = self.shared.intake();
            for (topic, _) in intake.wanted_topics() {
                self.stale.add(topic);
            }
            if self.stale.refreshed.is_some_and(|then| now.duration_since(then) > REFRESH) {
                self.stale.refreshed = Some(now);
                self.stale.topics.extend(intake.known_topics().into_iter().map(|(topic, _)| topic));
            }
        }
        if self.stale.is_empty() || self.stale.not_before.is_some_and(|then| now < then) {
            return;
        }
        match self.metadata().await {
            Ok(metadata) => {
                self.brokers.answered();
                self.brokers.learn(&metadata);
                self.learn(&metadata);
            }
            Err(Fault::Lost(reason)) => {
                tracing::debug!(target: "kafka", "no metadata: {reason}");
                self.stale.wait(now);
            }
            Err(fault) => self.fail(Failure::new(Next::GiveUp, fault.to_string())),
        }
    }

    async fn metadata(&mut self) -> Result<MetadataResponse, Fault> {
        let connection = self.brokers.any().await?;
        let version = connection.abilities.pick(ApiKey::Metadata, VERSIONS)?;
        let topics = {
            let intake = self.shared.intake();
            let name = |topic: &TopicIndex| TopicName(StrBytes::from_string(intake.name(*topic).to_string()));
            let topic = |topic| MetadataRequestTopic::default().with_name(Some(name(topic)));
            self.stale.topics.iter().map(topic).collect()
        };
        let request = MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(true);
        connection.ask(ApiKey::Metadata, version, &request).await
    }

    fn learn(&mut self, metadata: &MetadataResponse) {
        let now = Instant::now();
        self.stale.refreshed.get_or_insert(now);
        let told: HashMap<&str, &MetadataResponseTopic> =
            metadata.topics.iter().filter_map(|topic| Some((topic.name.as_ref()?.as_str(), topic))).collect();
        for topic in self.stale.topics.clone() {
            let name = self.shared.intake().name(topic);
            let Some(told) = told.get(&*name) else { continue };
            if self.learn_topic(topic, &name, told, now) {
                self.stale.topics.remove(&topic);
                self.stale.is_known(topic);
            }
        }
        if self.stale.is_empty() {
            (self.stale.backoff, self.stale.not_before) = (None, None);
        } else {
            self.stale.wait(now);
        }
    }

    /// True when nothing is left to be asked about it.
    fn learn_topic(&mut self, topic: TopicIndex, name: &str, told: &MetadataResponseTopic, now: Instant) -> bool {
        let code = Code::try_from_code(told.error_code);
        let mut refused = None;
        match code {
            None if !told.partitions.is_empty() => {
                let count = i32::try_from(told.partitions.len()).unwrap_or(i32::MAX);
                self.shared.intake().has_partitions(topic, count);
                return self.learn_leaders(topic, told);
            }
            None => {}
            Some(code) if codes::next(code) != Next::Again => {
                refused = Some(Failure::of(code, &format!("find {name}")))
            }
            Some(code) if self.stale.is_unknown(topic, now) => {
                refused = Some(Failure { next: Next::GiveUp, ..Failure::of(code, &format!("find {name}")) });
            }
            Some(_) => {}
        }
        let Some(failure) = refused else { return false };
        self.shared.intake().is_refused(topic, &failure.reason);
        if self.give_up_topic(topic) {
            self.fail(Failure { next: Next::GiveUp, ..failure });
        }
        true
    }

    /// What waits for it is not sent. True when there was something.
    fn give_up_topic(&mut self, topic: TopicIndex) -> bool {
        let mut given_up = false;
        let (lanes, mut intake) = (&mut self.lanes, self.shared.intake());
        self.active.retain(|target| {
            let Some(lane) = lanes.get_mut(target).filter(|_| target.topic == topic) else { return true };
            given_up = true;
            release(&mut intake, lane.give_up());
            !lane.is_idle()
        });
        given_up
    }

    fn learn_leaders(&mut self, topic: TopicIndex, told: &MetadataResponseTopic) -> bool {
        let mut complete = true;
        for partition in &told.partitions {
            let target = Target { topic, partition: partition.partition_index };
            if partition.leader_id.0 >= 0 {
                self.leaders.insert(target, partition.leader_id.0);
            } else {
                self.leaders.remove(&target);
                // One that nobody sends to is not waited for.
                complete &= !self.active.contains(&target);
            }
        }
        complete
    }
}
