//! The state, kept up to date by reading `_schemas`: at first to its end, then as records come.
//!
//! Every instance follows the topic, so every instance answers reads from memory. After a lost connection the
//! topic is read again from its beginning into a fresh state: what was compacted away meanwhile must not survive.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use service::{Backoff, Context};
use tokio::sync::watch;
use topics::{Admin, AdminError, Cluster, CompactedReader, ConsumeError, OwnedRecord, TopicPlan};

use crate::journal;
use crate::state::State;

/// Header of a write's last record: who wrote it and the how manieth write it was. The writer waits until the
/// follower has seen it.
pub const WRITE_HEADER: &str = "x-registry-write";

/// How far the topic has been read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The end that stood at start has been reached once.
    pub loaded: bool,
    /// The [`WRITE_HEADER`] seen last.
    pub last_write: Option<WriteMark>,
}

/// Identifies a write to the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteMark {
    /// Term of office of the writer.
    pub term: String,
    pub number: u64,
}

impl WriteMark {
    pub fn to_bytes(&self) -> Vec<u8> {
        format!("{}/{}", self.term, self.number).into_bytes()
    }

    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (term, number) = std::str::from_utf8(bytes).ok()?.rsplit_once('/')?;
        Some(Self { term: term.to_owned(), number: number.parse().ok()? })
    }
}

/// See the module documentation.
#[derive(Debug)]
pub struct Store {
    state: RwLock<State>,
    progress: watch::Sender<Progress>,
}

impl Store {
    pub fn new() -> Self {
        Self { state: RwLock::default(), progress: watch::Sender::new(Progress::default()) }
    }

    /// Answers a question from the state.
    pub fn read<T>(&self, question: impl FnOnce(&State) -> T) -> T {
        question(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn loaded(&self) -> bool {
        self.progress.borrow().loaded
    }

    /// Waits until a write is part of the state; false when that took too long.
    pub async fn wait_for(&self, mark: &WriteMark, wait: Duration) -> bool {
        let mut progress = self.progress.subscribe();
        let seen = progress.wait_for(|progress| {
            let last = progress.last_write.as_ref();
            progress.loaded && last.is_some_and(|last| last.term == mark.term && last.number >= mark.number)
        });
        matches!(tokio::time::timeout(wait, seen).await, Ok(Ok(_)))
    }

    fn replace(&self, state: State, last_write: Option<WriteMark>) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        self.progress.send_modify(|progress| {
            progress.loaded = true;
            if last_write.is_some() {
                progress.last_write = last_write;
            }
        });
    }

    fn apply(&self, record: &OwnedRecord) {
        if let Some(entry) = entry_of(record) {
            self.state.write().unwrap_or_else(PoisonError::into_inner).apply(entry);
        }
        if let Some(mark) = mark_of(record) {
            self.progress.send_modify(|progress| progress.last_write = Some(mark));
        }
    }
}

/// Makes the topic if need be and follows it until the service stops.
///
/// # Errors
/// When the topic cannot serve as a registry's: not compacted, or of several partitions.
pub async fn follow(store: &Store, cluster: &Cluster, topic: &str, context: &Context) -> anyhow::Result<()> {
    context.health.set("schemas", Err(format!("reading topic {topic}")));
    let mut backoff = Backoff::default();
    while !context.stop.is_cancelled() {
        let outcome = tokio::select! {
            () = context.stop.cancelled() => return Ok(()),
            outcome = read_on(store, cluster, topic, context, &mut backoff) => outcome,
        };
        match outcome {
            Ok(never) => match never {},
            Err(Trouble::Stop(error)) => return Err(error),
            Err(Trouble::Again(reason)) => {
                let away = format!("kafka at {} does not serve topic {topic}: {reason}", cluster.bootstrap());
                context.health.set("schemas", Err(away));
                backoff.wait(&context.stop).await;
            }
        }
    }
    Ok(())
}

enum Trouble {
    Again(String),
    Stop(anyhow::Error),
}

impl From<ConsumeError> for Trouble {
    fn from(error: ConsumeError) -> Self {
        Self::Again(error.to_string())
    }
}

impl From<AdminError> for Trouble {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::TopicDiffers { .. } => Self::Stop(error.into()),
            AdminError::Retry { .. }
            | AdminError::UnknownTopic { .. }
            | AdminError::GroupActive { .. }
            | AdminError::Refused { .. } => Self::Again(error.to_string()),
        }
    }
}

async fn read_on(
    store: &Store,
    cluster: &Cluster,
    topic: &str,
    context: &Context,
    backoff: &mut Backoff,
) -> Result<std::convert::Infallible, Trouble> {
    let admin = Admin::new(cluster)?;
    admin.ensure_compacted(TopicPlan::new(topic, 1)).await?;
    if let Some(summary) = admin.topic(topic).await?
        && summary.partitions != 1
    {
        let reason = format!("topic {topic} has {} partitions; a registry's topic must have 1", summary.partitions);
        return Err(Trouble::Stop(anyhow::anyhow!(reason)));
    }
    let mut reader = CompactedReader::open(cluster, topic).await?;
    let (mut state, mut last_write) = (State::default(), None);
    while let Some(record) = reader.next_to_end().await? {
        if let Some(entry) = entry_of(&record) {
            state.apply(entry);
        }
        last_write = mark_of(&record).or(last_write);
    }
    store.replace(state, last_write);
    context.health.set("schemas", Ok(()));
    backoff.reset();
    loop {
        match reader.follow().await {
            Ok(record) => store.apply(&record),
            // The reader reconnects by itself; reads go on from memory.
            Err(ConsumeError::Retry { reason }) => tracing::debug!(topic, reason, "following again"),
            Err(error) => return Err(error.into()),
        }
    }
}

fn entry_of(record: &OwnedRecord) -> Option<journal::Entry> {
    match journal::parse(record.key.as_deref(), record.value.as_deref()) {
        Ok(entry) => entry,
        Err(error) => {
            // One strange record must not keep all schemas from being served.
            tracing::warn!(topic = %record.topic, offset = %record.offset, %error, "record skipped");
            None
        }
    }
}

fn mark_of(record: &OwnedRecord) -> Option<WriteMark> {
    let (_, value) = record.headers.iter().find(|(key, _)| key == WRITE_HEADER)?;
    WriteMark::parse(value.as_deref()?)
}
