//! Where signals come from beside the signal table: the signal topic and the worker's REST API.

use std::time::Duration;

use connect::TaskMessage;
use service::retry::Backoff;
use tokio::{
    sync::{OwnedMutexGuard, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use topics::{Admin, Cluster, ConsumeError, Consumer, ConsumerSettings, Event, Offset, StartAt, TopicPartition};

use super::signal::{Signal, SignalError};
use crate::settings::SignalTopic;

/// Signals read ahead. They are rare.
const QUEUE_LEN_MAX: usize = 16;
const FETCH_BYTES_MAX: usize = 1 << 20;
/// An unreadable topic is told about at most this often.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// A signal that arrived, and whom to tell that it is stored.
#[derive(Debug)]
pub enum Arrival {
    Topic {
        signal: Result<Signal, SignalError>,
        /// Offset to be read next.
        next: i64,
    },
    Rest {
        message: TaskMessage,
    },
}

/// The open channels of a session.
pub struct Channels {
    topic: Option<(mpsc::Receiver<Arrival>, JoinHandle<()>)>,
    rest: OwnedMutexGuard<mpsc::Receiver<TaskMessage>>,
}

impl Channels {
    /// Opens them. `next`: where the topic is gone on with.
    #[must_use]
    pub fn open(
        rest: OwnedMutexGuard<mpsc::Receiver<TaskMessage>>,
        topic: Option<(SignalTopic, Cluster)>,
        prefix: &str,
        next: Option<i64>,
        stop: &CancellationToken,
    ) -> Self {
        let topic = topic.map(|(topic, cluster)| {
            let (sender, receiver) = mpsc::channel(QUEUE_LEN_MAX);
            let reading = read_topic(cluster, topic, prefix.to_owned(), next, sender, stop.clone());
            (receiver, tokio::spawn(reading))
        });
        Self { topic, rest }
    }

    /// Waits for the next signal. Cancellation-safe: what was received is returned.
    pub async fn next(&mut self) -> Arrival {
        let Self { topic, rest } = self;
        let from_topic = async {
            match topic {
                Some((receiver, _)) => match receiver.recv().await {
                    Some(arrival) => arrival,
                    None => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        };
        let from_rest = async {
            match rest.recv().await {
                Some(message) => Arrival::Rest { message },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            arrival = from_topic => arrival,
            arrival = from_rest => arrival,
        }
    }

    /// A signal that is here already.
    pub fn try_next(&mut self) -> Option<Arrival> {
        let from_topic = self.topic.as_mut().and_then(|(receiver, _)| receiver.try_recv().ok());
        from_topic.or_else(|| self.rest.try_recv().ok().map(|message| Arrival::Rest { message }))
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        if let Some((_, reading)) = &self.topic {
            reading.abort();
        }
    }
}

/// Reads the topic for ever. A topic that cannot be read is no reason to stop capturing.
async fn read_topic(
    cluster: Cluster,
    topic: SignalTopic,
    prefix: String,
    mut next: Option<i64>,
    sender: mpsc::Sender<Arrival>,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::default();
    let mut told: Option<tokio::time::Instant> = None;
    loop {
        let outcome = match begin(&cluster, &topic, next).await {
            Ok(start) => follow(&cluster, &topic, &prefix, start, &mut next, &sender).await,
            Err(reason) => Err(reason),
        };
        let Err(reason) = outcome else { return };
        if told.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
            tracing::warn!(topic = topic.name, "signals cannot be read: {reason}");
            told = Some(tokio::time::Instant::now());
        }
        if !backoff.wait(&stop).await {
            return;
        }
    }
}

/// Without a stored offset, where Debezium's consumer group left off, or at the beginning as it would.
async fn begin(cluster: &Cluster, topic: &SignalTopic, next: Option<i64>) -> Result<StartAt, String> {
    if let Some(next) = next {
        return Ok(StartAt::Offset(Offset(next)));
    }
    let admin = Admin::new(cluster).map_err(|error| error.to_string())?;
    let offsets = admin.group_offsets(&topic.group).await.map_err(|error| error.to_string())?;
    let partition = TopicPartition::new(topic.name.as_str(), 0);
    let committed = offsets.into_iter().find(|offset| offset.partition == partition);
    Ok(committed.map_or(StartAt::Earliest, |offset| StartAt::Offset(offset.committed)))
}

/// Ends without an error when nobody listens any more.
async fn follow(
    cluster: &Cluster,
    topic: &SignalTopic,
    prefix: &str,
    start: StartAt,
    next: &mut Option<i64>,
    sender: &mpsc::Sender<Arrival>,
) -> Result<(), String> {
    let settings = ConsumerSettings { fetch_bytes_max: FETCH_BYTES_MAX, ..ConsumerSettings::default() };
    let partition = TopicPartition::new(topic.name.as_str(), 0);
    let consumer = Consumer::assign(cluster, &[(partition, start)], &settings).map_err(|error| error.to_string())?;
    loop {
        let record = match consumer.next().await {
            Ok(Event::Record(record)) => record,
            Ok(_) => continue,
            Err(ConsumeError::PositionLost { .. }) => {
                tracing::warn!(
                    topic = topic.name,
                    "signals after the stored offset are gone; going on with what is left"
                );
                consumer
                    .seek(&TopicPartition::new(topic.name.as_str(), 0), StartAt::Earliest)
                    .map_err(|e| e.to_string())?;
                continue;
            }
            Err(error) => return Err(error.to_string()),
        };
        let after = record.offset().next().0;
        *next = Some(after);
        // Signals of other connectors share the topic.
        if record.key() != Some(prefix.as_bytes()) {
            continue;
        }
        let Some(value) = record.value() else { continue };
        let signal = match serde_json::from_slice(value) {
            Ok(object) => Signal::from_json(&object, &format!("{}-{}", topic.name, record.offset().0)),
            Err(error) => Err(SignalError::new(format!("it is no JSON object: {error}"))),
        };
        if sender.send(Arrival::Topic { signal, next: after }).await.is_err() {
            return Ok(());
        }
    }
}
