//! Administrative calls: topics, their settings and ends; in `groups`, consumer groups and their offsets.
//!
//! All calls ask the broker each time, wait at most [`ASK`], and hand back `Retry` when it is away: whether and
//! how long to wait is the caller's to decide.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::cluster::Cluster;
use crate::consumer::ends;
use crate::error::AdminError;
use crate::oauth::GivenUntil;
use crate::record::{Offset, TopicPartition};

mod groups;

pub use groups::{GroupOffset, GroupSummary, OffsetReset, ResetTo};

const ASK: Duration = Duration::from_secs(10);
/// librdkafka wants a name, and joins no group by it.
const NO_GROUP: &str = "haus-am-see-admin";

/// A topic to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPlan {
    pub name: String,
    pub partitions: i32,
    /// Copies of each partition; -1 takes the broker's default.
    pub replication: i32,
    /// Settings by Kafka's names, such as `cleanup.policy`.
    pub config: Vec<(String, String)>,
}

impl TopicPlan {
    pub fn new(name: impl Into<String>, partitions: i32) -> Self {
        Self { name: name.into(), partitions, replication: -1, config: Vec::new() }
    }

    /// A state topic: keeps the last value of each key.
    #[must_use]
    pub fn compacted(self) -> Self {
        self.with("cleanup.policy", "compact")
    }

    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.config.push((key.to_owned(), value.to_owned()));
        self
    }
}

/// A topic as the broker describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSummary {
    pub name: String,
    pub partitions: i32,
    pub replication: i32,
}

/// First offset kept and end of a partition. The end is the last stable offset: what readers of committed
/// records can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    pub low: Offset,
    pub high: Offset,
}

/// See the module documentation. Cloning shares the connection.
#[derive(Clone)]
pub struct Admin {
    client: Arc<AdminClient<DefaultClientContext>>,
    cluster: Cluster,
    token: Arc<GivenUntil>,
    /// Asks for ends, which the other client cannot for many partitions at once. Made when it is first needed.
    ends: Arc<OnceLock<BaseConsumer>>,
    ends_token: Arc<GivenUntil>,
}

impl Admin {
    /// # Errors
    /// `Refused` when librdkafka does not accept the settings.
    pub fn new(cluster: &Cluster) -> Result<Self, AdminError> {
        let client = cluster
            .client_config()
            .create::<AdminClient<DefaultClientContext>>()
            .map_err(|error| AdminError::from_kafka(cluster.bootstrap(), &error))?;
        let (token, ends, ends_token) = (Arc::default(), Arc::default(), Arc::default());
        Ok(Self { client: Arc::new(client), cluster: cluster.clone(), token, ends, ends_token })
    }

    /// The client, with a token that is good. Nobody polls it, so it cannot ask for one itself.
    fn client(&self) -> Result<&AdminClient<DefaultClientContext>, AdminError> {
        self.give_token(self.client.inner().native_ptr(), &self.token)?;
        Ok(&self.client)
    }

    fn give_token(&self, client: *mut rdkafka::bindings::rd_kafka_t, until: &GivenUntil) -> Result<(), AdminError> {
        let Some(oauth) = self.cluster.oauth() else { return Ok(()) };
        let retry = |reason| AdminError::Retry { bootstrap: self.cluster.bootstrap().to_owned(), reason };
        oauth.give(client, until).map_err(retry)
    }

    /// Creates a topic and waits until brokers tell of it; true when it is new, false when it stood already (with
    /// whatever settings).
    ///
    /// # Errors
    /// `Retry`, `Refused`.
    pub async fn create_topic(&self, plan: &TopicPlan) -> Result<bool, AdminError> {
        let mut topic = NewTopic::new(&plan.name, plan.partitions, TopicReplication::Fixed(plan.replication));
        for (key, value) in &plan.config {
            topic = topic.set(key, value);
        }
        let options = AdminOptions::new().request_timeout(Some(ASK)).operation_timeout(Some(ASK));
        let outcomes = self.client()?.create_topics([&topic], &options).await.map_err(|error| self.error(&error))?;
        match outcomes.into_iter().next() {
            None | Some(Ok(_)) => {
                self.wait_visible(&plan.name).await?;
                Ok(true)
            }
            Some(Err((_, Code::TopicAlreadyExists))) => Ok(false),
            Some(Err((_, code))) => Err(self.topic_error(&plan.name, code)),
        }
    }

    /// The broker answers a creation before its metadata show the topic; whoever asks at once is told it is unknown.
    async fn wait_visible(&self, name: &str) -> Result<(), AdminError> {
        for _ in 0..100 {
            if self.topic(name).await?.is_some() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(AdminError::Retry {
            bootstrap: self.cluster.bootstrap().to_owned(),
            reason: format!("topic {name} was created but is not shown yet"),
        })
    }

    /// Creates a compacted topic, or makes sure that the one that stands is compacted: one that expires records
    /// would forget state.
    ///
    /// # Errors
    /// `TopicDiffers`, `Retry`, `Refused`.
    pub async fn ensure_compacted(&self, plan: TopicPlan) -> Result<(), AdminError> {
        let plan = plan.compacted();
        if self.create_topic(&plan).await? {
            return Ok(());
        }
        let config = self.topic_config(&plan.name).await?;
        let policy = config.get("cleanup.policy").map_or("", String::as_str);
        if policy != "compact" {
            return Err(AdminError::TopicDiffers {
                topic: plan.name,
                found: format!("cleanup.policy={policy}"),
                wanted: "cleanup.policy=compact".to_owned(),
            });
        }
        Ok(())
    }

    /// Deletes a topic; true when it existed. The broker finishes in the background.
    ///
    /// # Errors
    /// `Retry`, `Refused`.
    pub async fn delete_topic(&self, name: &str) -> Result<bool, AdminError> {
        let options = AdminOptions::new().request_timeout(Some(ASK)).operation_timeout(Some(ASK));
        let outcomes = self.client()?.delete_topics(&[name], &options).await.map_err(|error| self.error(&error))?;
        match outcomes.into_iter().next() {
            None | Some(Ok(_)) => Ok(true),
            Some(Err((_, Code::UnknownTopicOrPartition | Code::UnknownTopic))) => Ok(false),
            Some(Err((_, code))) => Err(self.topic_error(name, code)),
        }
    }

    /// All settings of a topic that have a value, defaults included.
    ///
    /// # Errors
    /// `UnknownTopic`, `Retry`, `Refused`.
    pub async fn topic_config(&self, name: &str) -> Result<BTreeMap<String, String>, AdminError> {
        self.config_entries(name, |_| true).await
    }

    /// Settings made for this topic, as opposed to the broker's.
    ///
    /// # Errors
    /// `UnknownTopic`, `Retry`, `Refused`.
    pub async fn topic_config_own(&self, name: &str) -> Result<BTreeMap<String, String>, AdminError> {
        self.config_entries(name, |source| *source == ConfigSource::DynamicTopic).await
    }

    async fn config_entries(
        &self,
        name: &str,
        wanted: fn(&ConfigSource) -> bool,
    ) -> Result<BTreeMap<String, String>, AdminError> {
        let options = AdminOptions::new().request_timeout(Some(ASK));
        let outcomes = self
            .client()?
            .describe_configs([&ResourceSpecifier::Topic(name)], &options)
            .await
            .map_err(|error| self.error(&error))?;
        let Some(outcome) = outcomes.into_iter().next() else {
            return Err(AdminError::UnknownTopic { topic: name.to_owned() });
        };
        let resource = outcome.map_err(|code| self.topic_error(name, code))?;
        // rdkafka drops the error of the single topic; one that exists always has settings.
        if resource.entries.is_empty() {
            return Err(AdminError::UnknownTopic { topic: name.to_owned() });
        }
        Ok(resource
            .entries
            .into_iter()
            .filter(|entry| wanted(&entry.source))
            .filter_map(|entry| entry.value.map(|value| (entry.name, value)))
            .collect())
    }

    /// All topics, Kafka's own (`__...`) included, by name.
    ///
    /// # Errors
    /// `Retry`.
    pub async fn topics(&self) -> Result<Vec<TopicSummary>, AdminError> {
        self.blocking(|admin| {
            let metadata = admin.client()?.inner().fetch_metadata(None, ASK).map_err(|error| admin.error(&error))?;
            let mut topics: Vec<_> = metadata
                .topics()
                .iter()
                .map(|topic| TopicSummary {
                    name: topic.name().to_owned(),
                    partitions: count(topic.partitions().len()),
                    replication: count(topic.partitions().first().map_or(0, |partition| partition.replicas().len())),
                })
                .collect();
            topics.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(topics)
        })
        .await
    }

    /// The cluster's id; `None` when it is not told in time.
    pub async fn cluster_id(&self) -> Option<String> {
        self.blocking(|admin| Ok(admin.client.inner().fetch_cluster_id(ASK))).await.ok().flatten()
    }

    /// One topic; `None` when it does not exist.
    ///
    /// # Errors
    /// `Retry`.
    pub async fn topic(&self, name: &str) -> Result<Option<TopicSummary>, AdminError> {
        // All topics are asked for on purpose: asking for one by name may create it on brokers that do so.
        Ok(self.topics().await?.into_iter().find(|topic| topic.name == name))
    }

    /// First offset kept and end of every partition, in order of partitions.
    ///
    /// # Errors
    /// `UnknownTopic`, `Retry`.
    pub async fn watermarks(&self, name: &str) -> Result<Vec<(TopicPartition, Watermarks)>, AdminError> {
        let Some(topic) = self.topic(name).await? else {
            return Err(AdminError::UnknownTopic { topic: name.to_owned() });
        };
        self.blocking(move |admin| {
            let partitions: Vec<_> = partitions_of(&topic).collect();
            let mut marks = admin.watermarks_of(admin.ends()?, &partitions)?;
            Ok(partitions.into_iter().filter_map(|at| marks.remove(&at).map(|marks| (at, marks))).collect())
        })
        .await
    }

    /// All partitions of a topic, for [`reset_group`](Self::reset_group).
    ///
    /// # Errors
    /// `UnknownTopic`, `Retry`.
    pub async fn partitions(&self, name: &str) -> Result<Vec<TopicPartition>, AdminError> {
        match self.topic(name).await? {
            Some(topic) => Ok(partitions_of(&topic).collect()),
            None => Err(AdminError::UnknownTopic { topic: name.to_owned() }),
        }
    }

    fn ends(&self) -> Result<&BaseConsumer, AdminError> {
        let reader = match self.ends.get() {
            Some(reader) => reader,
            None => {
                let made = self.reader(NO_GROUP)?;
                self.ends.get_or_init(|| made)
            }
        };
        self.give_token(reader.client().native_ptr(), &self.ends_token)?;
        Ok(reader)
    }

    /// A client that speaks for a group without joining it.
    fn reader(&self, group: &str) -> Result<BaseConsumer, AdminError> {
        let client: BaseConsumer = self
            .cluster
            .client_config()
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .create()
            .map_err(|error| self.error(&error))?;
        self.give_token(client.client().native_ptr(), &GivenUntil::default())?;
        Ok(client)
    }

    /// The ends of all these partitions, or an error.
    fn watermarks_of(
        &self,
        reader: &BaseConsumer,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, Watermarks>, AdminError> {
        let retry = |reason| AdminError::Retry { bootstrap: self.cluster.bootstrap().to_owned(), reason };
        ends::watermarks(reader, partitions).map_err(|error| self.error(&error))?.map_err(retry)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Self) -> Result<T, AdminError> + Send + 'static,
    ) -> Result<T, AdminError> {
        let admin = self.clone();
        let outcome = tokio::task::spawn_blocking(move || call(&admin)).await;
        let outcome = outcome.unwrap_or_else(|error| Err(AdminError::Refused { reason: error.to_string() }));
        if outcome.is_ok() {
            self.cluster.mark_reached();
        }
        outcome
    }

    fn error(&self, error: &KafkaError) -> AdminError {
        AdminError::from_kafka(self.cluster.bootstrap(), error)
    }

    fn topic_error(&self, topic: &str, code: Code) -> AdminError {
        match code {
            Code::UnknownTopic | Code::UnknownTopicOrPartition => AdminError::UnknownTopic { topic: topic.to_owned() },
            code => self.error(&KafkaError::AdminOp(code)),
        }
    }
}

fn partitions_of(topic: &TopicSummary) -> impl Iterator<Item = TopicPartition> + use<> {
    let name: Arc<str> = topic.name.as_str().into();
    (0..topic.partitions).map(move |partition| TopicPartition::new(Arc::clone(&name), partition))
}

fn count(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}
