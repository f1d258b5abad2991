//! Kafka: the committed records of a topic, up to one end per partition.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use topics::{
    Admin, AdminError, Cluster, ConsumeError, Consumer, ConsumerSettings, Event as Consumed, Offset, RegistryClient,
    SchemaId, StartAt, TopicPartition,
};

use crate::envelope::EnvelopeReader;
use crate::error::{LedgerError, Result, broken};
use crate::offsets::{OffsetSets, Positions};
use crate::rows::Table;
use crate::state::{Event, Rebuilt};
use crate::visibility::Snapshot;

/// Longest silence of the broker while records are still to come.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// First offset kept and end of each partition, as readers of committed records see them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ends {
    pub low: Positions,
    pub end: Positions,
}

impl Ends {
    /// Whether the broker has thrown records away, so that the topic alone no longer tells the whole story.
    #[must_use]
    pub fn trimmed(&self) -> bool {
        self.low.values().any(|low| *low > 0)
    }
}

/// What a topic holds below its ends.
#[derive(Debug, Default)]
pub struct TopicContent {
    /// Records with a value.
    pub records: u64,
    pub offsets: OffsetSets,
    /// The state at the snapshot.
    pub state: Rebuilt,
}

/// Access to the topics.
#[derive(Clone)]
pub struct Topics {
    cluster: Cluster,
    admin: Arc<Admin>,
    registry: RegistryClient,
}

impl Topics {
    /// Does not talk to the servers yet.
    ///
    /// # Errors
    /// When the address is not acceptable.
    pub fn new(bootstrap: &str, registry_url: &str) -> Result<Self> {
        let cluster = Cluster::new(bootstrap, "ledger");
        let admin = Admin::new(&cluster).map_err(|error| broken(format!("Kafka: {error}")))?;
        Ok(Self { cluster, admin: Arc::new(admin), registry: RegistryClient::new(registry_url) })
    }

    /// The ends of a topic now. A topic that `may_be_missing` (its table never had a row) is empty then.
    ///
    /// # Errors
    /// When Kafka is away or there is no such topic.
    pub async fn ends(&self, topic: &str, may_be_missing: bool) -> Result<Ends> {
        let marks = match self.admin.watermarks(topic).await {
            Ok(marks) => marks,
            Err(AdminError::UnknownTopic { .. }) if may_be_missing => return Ok(Ends::default()),
            Err(AdminError::UnknownTopic { topic }) => {
                let text = "apply the source connector, or correct STOREFRONT_TOPICS";
                return Err(broken(format!("Kafka has no topic {topic}: {text}")));
            }
            Err(other) => return Err(self.away(other.to_string())),
        };
        let mut ends = Ends::default();
        for (at, marks) in marks {
            ends.low.insert(at.partition.0, marks.low.0);
            ends.end.insert(at.partition.0, marks.high.0);
        }
        Ok(ends)
    }

    /// Reads everything of a topic below `ends`.
    ///
    /// # Errors
    /// When Kafka or the registry is away, or a record cannot be read.
    pub async fn read(
        &self,
        topic: &str,
        table: &Arc<Table>,
        ends: &Ends,
        snapshot: &Snapshot,
    ) -> Result<TopicContent> {
        let mut content = TopicContent::default();
        let mut open: BTreeMap<i32, i64> = ends
            .end
            .iter()
            .filter(|(partition, end)| ends.low[*partition] < **end)
            .map(|(p, end)| (*p, *end))
            .collect();
        if open.is_empty() {
            return Ok(content);
        }
        let starts = open
            .keys()
            .map(|partition| (TopicPartition::new(topic, *partition), StartAt::Offset(Offset(ends.low[partition]))));
        let settings = ConsumerSettings { tell_end: true, ..ConsumerSettings::default() };
        let consumer = Consumer::assign(&self.cluster, &starts.collect::<Vec<_>>(), &settings)
            .map_err(|error| broken(format!("Kafka: {error}")))?;
        let mut readers: HashMap<SchemaId, EnvelopeReader> = HashMap::new();
        while !open.is_empty() {
            let next = tokio::time::timeout(SILENCE_MAX, consumer.next());
            let next = next.await.map_err(|_| self.away(format!("no record of {topic} for {SILENCE_MAX:?}")))?;
            match next {
                Ok(Consumed::Record(record)) => {
                    let (partition, offset) = (record.partition().0, record.offset().0);
                    let Some(end) = open.get(&partition).copied() else { continue };
                    if offset < end
                        && let Some(value) = record.value()
                    {
                        let event = self.event(topic, table, &mut readers, (partition, offset), value).await?;
                        content.take(partition, offset, event.as_ref(), snapshot);
                    }
                    if offset + 1 >= end {
                        open.remove(&partition);
                    }
                }
                // Reading began after the ends were asked for, so the end that stands now lies beyond them.
                Ok(Consumed::End(partition)) => drop(open.remove(&partition.0)),
                Ok(_) => {}
                Err(ConsumeError::Retry { reason }) => tracing::debug!(reason, "Kafka hesitates"),
                Err(error) => return Err(broken(format!("reading {topic}: {error}"))),
            }
        }
        Ok(content)
    }

    async fn event(
        &self,
        topic: &str,
        table: &Arc<Table>,
        readers: &mut HashMap<SchemaId, EnvelopeReader>,
        (partition, offset): (i32, i64),
        value: &[u8],
    ) -> Result<Option<Event>> {
        let at = |error: LedgerError| broken(format!("record {partition}/{offset} of {topic}: {error}"));
        let [0, a, b, c, d, datum @ ..] = value else {
            return Err(at(broken("it is not framed as Confluent's converters do")));
        };
        let id = SchemaId(u32::from_be_bytes([*a, *b, *c, *d]));
        let reader = match readers.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let schema = self.registry.schema_by_id(id).await;
                let schema = schema.map_err(|error| at(broken(format!("the registry: {error}"))))?;
                place.insert(EnvelopeReader::new(&schema, Arc::clone(table)).map_err(at)?)
            }
        };
        let mut rest = datum;
        let change = reader.read(&mut rest).map_err(at)?;
        if !rest.is_empty() {
            return Err(at(broken("bytes are left over behind the envelope")));
        }
        reader.event(partition, offset, change).map_err(at)
    }

    fn away(&self, reason: String) -> LedgerError {
        LedgerError::Away {
            server: format!("Kafka at {}", self.cluster.bootstrap()),
            reason,
            setting: "KAFKA_BOOTSTRAP_SERVERS",
        }
    }
}

impl TopicContent {
    /// Takes a record with a value in; `event` is none for one that changes no row.
    pub(crate) fn take(&mut self, partition: i32, offset: i64, event: Option<&Event>, snapshot: &Snapshot) {
        self.records += 1;
        self.offsets.add(partition, offset);
        if let Some(event) = event.filter(|event| event.shown_by(snapshot)) {
            self.state.apply(event);
        }
    }
}
