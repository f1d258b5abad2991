//! One writer among all instances on the same topic, and what it does.
//!
//! Two mechanisms, each alone enough for one half:
//! - Kafka's group protocol elects: whoever holds partition 0 of the topic in the group is the leader. It says who
//!   should write, and a standby takes over when the leader's session ends. Membership is static, so that an
//!   instance that is killed and started again has its office back at once.
//! - The transactional.id fences: taking office inits the producer, which makes every write of a former leader
//!   fail, however late it wakes up. After that a marker record is written and waited for in the own state; so the
//!   new leader has seen everything any former one wrote before it gives out an id.
//!
//! The leader decides one request at a time on the state, writes the records in one transaction, and answers when
//! it has read them back. Standbys answer reads and hand writes to the leader (`forward`).

use std::sync::Arc;
use std::time::Duration;

use service::{Backoff, Context};
use tokio::sync::{mpsc, oneshot, watch};
use topics::{
    Cluster, ConsumeError, Consumer, ConsumerSettings, Event, Headers, ProduceError, RecordOut, StartAt,
    TopicPartition, TransactionSettings, TransactionalProducer,
};

use crate::decide::Decision;
use crate::journal::Entry;
use crate::refusal::Refusal;
use crate::state::State;
use crate::store::{Store, WRITE_HEADER, WriteMark};

/// Requests waiting for the leader; more are refused by waiting at the door.
const COMMANDS_WAITING_MAX: usize = 256;
/// Reading back an own write takes milliseconds; longer means that the follower lost the broker.
const READ_BACK_WAIT: Duration = Duration::from_secs(15);
/// A standby takes over after this silence. The broker's default minimum.
const SESSION: Duration = Duration::from_secs(6);

/// What a request does to the state that the leader finds.
pub type Decide = Box<dyn FnOnce(&State) -> Result<Decision, Refusal> + Send>;

/// A request that changes state.
pub struct Command {
    pub decide: Decide,
    pub answer: oneshot::Sender<Result<serde_json::Value, Refusal>>,
}

/// What this instance is at the moment.
#[derive(Debug, Clone)]
pub enum Role {
    /// Not elected, or not yet.
    Standby,
    Leader(mpsc::Sender<Command>),
}

/// Names under which instances on one topic meet.
#[derive(Debug, Clone)]
pub struct Names {
    pub topic: String,
    pub group: String,
    pub transactional_id: String,
    /// Where the others reach this instance; also its client.id, by which they find it in the group.
    pub advertised_url: String,
}

/// See the module documentation.
pub struct Candidate {
    pub names: Names,
    pub cluster: Cluster,
    pub store: Arc<Store>,
    pub role: watch::Sender<Role>,
}

/// A term of office.
struct Office {
    producer: Arc<TransactionalProducer>,
    commands: mpsc::Receiver<Command>,
    term: String,
    writes: u64,
}

/// Why a term ended.
#[derive(Debug, thiserror::Error)]
enum Resigned {
    #[error(transparent)]
    Consume(#[from] ConsumeError),
    #[error(transparent)]
    Produce(#[from] ProduceError),
    #[error("own writes do not come back from the topic")]
    NotReadBack,
    #[error("the writing thread ended: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

impl Candidate {
    /// Stands for election until the service stops.
    ///
    /// # Errors
    /// Never; every failure is waited out.
    pub async fn run(self, context: Context) -> anyhow::Result<()> {
        let mut backoff = Backoff::default();
        while !context.stop.is_cancelled() {
            let outcome = tokio::select! {
                () = context.stop.cancelled() => return Ok(()),
                outcome = self.stand(&context, &mut backoff) => outcome,
            };
            self.role.send_replace(Role::Standby);
            if let Err(error) = outcome {
                tracing::warn!(group = %self.names.group, "resigned, standing again: {error}");
            }
            backoff.wait(&context.stop).await;
        }
        Ok(())
    }

    async fn stand(&self, context: &Context, backoff: &mut Backoff) -> Result<(), Resigned> {
        let settings = ConsumerSettings {
            session_timeout: SESSION,
            instance_id: Some(instance_id(&self.names.advertised_url)),
            fetch_bytes_max: 1 << 20,
            ..ConsumerSettings::default()
        };
        let consumer = Consumer::subscribe(&self.cluster, &self.names.group, &[&self.names.topic], &settings)?;
        let seat = TopicPartition::new(self.names.topic.as_str(), 0);
        let mut office: Option<Office> = None;
        loop {
            tokio::select! {
                event = consumer.next() => match event {
                    Ok(Event::Assigned(partitions)) if partitions.contains(&seat) => {
                        // Records come through the store's own reader; here only the seat counts.
                        consumer.start_at(seat.clone(), StartAt::Latest);
                        office = Some(self.take_office(context).await?);
                        backoff.reset();
                    }
                    Ok(Event::Revoked { partitions, .. }) if partitions.contains(&seat) => {
                        tracing::info!("another instance leads from now on");
                        self.role.send_replace(Role::Standby);
                        office = None;
                    }
                    Ok(Event::Assigned(_) | Event::Revoked { .. } | Event::Record(_) | Event::End(_)) => {}
                    Err(ConsumeError::Retry { reason }) => tracing::debug!(reason, "polling again"),
                    Err(error) => return Err(error.into()),
                },
                command = next_command(&mut office) => if let Some(office) = &mut office {
                    self.carry_out(office, command).await?;
                },
            }
        }
    }

    async fn take_office(&self, context: &Context) -> Result<Office, Resigned> {
        let settings = TransactionSettings {
            // A leader that hangs with an open transaction holds up readers no longer than this.
            transaction_timeout: Duration::from_secs(10),
            linger_ms: 0,
            ..TransactionSettings::new(&self.names.transactional_id)
        };
        let (cluster, stop) = (self.cluster.clone(), context.stop.clone());
        let producer = tokio::task::spawn_blocking(move || {
            let producer = TransactionalProducer::new(&cluster, settings, stop)?;
            producer.init()?;
            Ok::<_, ProduceError>(producer)
        })
        .await??;
        let (sender, commands) = mpsc::channel(COMMANDS_WAITING_MAX);
        let term = format!("{}-{}", self.names.advertised_url, now_us());
        let mut office = Office { producer: Arc::new(producer), commands, term, writes: 0 };
        let id_max = self.store.read(State::id_max);
        // Also keeps the highest id given so far; behind it nothing of a former leader can come any more.
        let mark = office.write(&self.names.topic, vec![Entry::Noop { id_max: Some(id_max) }]).await?;
        if !self.store.wait_for(&mark, READ_BACK_WAIT).await {
            return Err(Resigned::NotReadBack);
        }
        tracing::info!(topic = %self.names.topic, "this instance leads: it writes the topic");
        self.role.send_replace(Role::Leader(sender));
        Ok(office)
    }

    async fn carry_out(&self, office: &mut Office, command: Command) -> Result<(), Resigned> {
        let Decision { entries, answer } = match self.store.read(command.decide) {
            Ok(decision) => decision,
            Err(refusal) => {
                let _ = command.answer.send(Err(refusal));
                return Ok(());
            }
        };
        if entries.is_empty() {
            let _ = command.answer.send(Ok(answer));
            return Ok(());
        }
        let mark = match office.write(&self.names.topic, entries).await {
            Ok(mark) => mark,
            Err(error) => {
                let _ = command.answer.send(Err(Refusal::store(&error.to_string())));
                return Err(error);
            }
        };
        if self.store.wait_for(&mark, READ_BACK_WAIT).await {
            metrics::counter!("registry_writes_total").increment(1);
            let _ = command.answer.send(Ok(answer));
            Ok(())
        } else {
            let _ = command.answer.send(Err(Refusal::timed_out("reading back the write")));
            Err(Resigned::NotReadBack)
        }
    }
}

impl Office {
    /// Writes entries in one transaction.
    async fn write(&mut self, topic: &str, entries: Vec<Entry>) -> Result<WriteMark, Resigned> {
        self.writes += 1;
        let mark = WriteMark { term: self.term.clone(), number: self.writes };
        let (producer, topic, header) = (Arc::clone(&self.producer), topic.to_owned(), mark.to_bytes());
        tokio::task::spawn_blocking(move || write_entries(&producer, &topic, &entries, &header)).await??;
        Ok(mark)
    }
}

fn write_entries(
    producer: &TransactionalProducer,
    topic: &str,
    entries: &[Entry],
    mark: &[u8],
) -> Result<(), ProduceError> {
    let marked = Headers::new().with(WRITE_HEADER, Some(mark));
    producer.begin()?;
    let outcome = entries.iter().enumerate().try_for_each(|(index, entry)| {
        let (key, value) = (entry.key(), entry.value());
        let mut record = RecordOut::to(topic).key(&key);
        record.value = value.as_deref();
        // On the last record: whoever sees the mark has seen the whole write.
        record.headers = (index + 1 == entries.len()).then_some(&marked);
        producer.send(record)
    });
    match outcome.and_then(|()| producer.commit()) {
        Err(error @ (ProduceError::AbortRequired { .. } | ProduceError::Refused { .. })) => {
            producer.abort()?;
            Err(error)
        }
        outcome => outcome,
    }
}

/// The next request for whoever is in office; never comes for others.
async fn next_command(office: &mut Option<Office>) -> Command {
    if let Some(office) = office
        && let Some(command) = office.commands.recv().await
    {
        return command;
    }
    std::future::pending().await
}

/// A static member's id may have letters, digits, `.`, `_` and `-` only.
fn instance_id(url: &str) -> String {
    url.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect()
}

fn now_us() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_micros())
}
