//! A sink task: wait for the topics, join the group, work; join again when another topic appears.

use std::sync::Arc;
use std::time::Duration;

use connect::errors::RecordErrors;
use connect::{ClientKind, TaskContext, TaskError};
use objects::Store;
use service::Backoff;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use topics::{Admin, AdminError, Cluster, Consumer, ConsumerSettings, SecurityError};

use crate::config::{SinkConfig, Topics};
use crate::publish::Publisher;
use crate::session::Session;

/// A killed sink's partitions go to the others after this time: the shortest that brokers accept by default.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
/// How often missing topics are looked for.
const TOPIC_POLL: Duration = Duration::from_millis(500);
/// Topics of one source appear together; a member that joins for each would rebalance the group each time.
const TOPICS_SETTLE: Duration = Duration::from_secs(1);

/// Objects of a task that are compressed or turned into Parquet at once: each needs memory beside its records.
const MAKERS_MAX: usize = 2;

/// Run a task until it is stopped.
///
/// # Errors
/// See [`TaskError`].
pub async fn run(context: TaskContext) -> Result<(), TaskError> {
    let config = SinkConfig::parse(&context.config).map_err(|errors| {
        TaskError::Fail(errors.into_iter().map(|error| error.message).collect::<Vec<_>>().join("; "))
    })?;
    let store = Store::open_with(&config.store, &config.access).map_err(|error| TaskError::Fail(error.to_string()))?;
    let refused = |error: SecurityError| TaskError::Fail(error.to_string());
    let registry = context.worker.registry(&context.config).map_err(refused)?;
    let publisher = Publisher {
        store,
        part_bytes: config.part_bytes,
        shape: Arc::clone(&config.shape),
        registry,
        makers: Arc::new(Semaphore::new(MAKERS_MAX)),
    };
    let id = format!("{}-{}", context.connector, context.task);
    let cluster = context.worker.cluster(&id, ClientKind::Consumer, &context.config).map_err(refused)?;
    let group = model::names::connector_group(&context.connector);
    let settings = ConsumerSettings {
        fetch_bytes_max: config.fetch_bytes_max(),
        session_timeout: SESSION_TIMEOUT,
        ..ConsumerSettings::default()
    };
    let config = Arc::new(config);
    let errors = Arc::new(RecordErrors::open(&context).await?);
    while !context.stop.is_cancelled() {
        let Some(found) = find_topics(&cluster, &config.topics, &context.stop).await? else { break };
        let names: Vec<&str> = found.present.iter().map(String::as_str).collect();
        let consumer = Consumer::subscribe(&cluster, &group, &names, &settings)
            .map_err(|error| TaskError::Fail(error.to_string()))?;
        let session = Session::new(
            Arc::clone(&config),
            publisher.clone(),
            consumer,
            context.report.clone(),
            Arc::clone(&errors),
            context.stop.clone(),
        );
        session.run(appeared(&cluster, &found.missing)).await?;
    }
    Ok(())
}

/// Topics to subscribe to and topics still to come.
struct Found {
    present: Vec<String>,
    missing: Vec<String>,
}

/// Wait until there is something to subscribe to. librdkafka itself would notice a new topic only after its
/// metadata's refresh interval, half a minute. `None` when stopped.
async fn find_topics(cluster: &Cluster, topics: &Topics, stop: &CancellationToken) -> Result<Option<Found>, TaskError> {
    let names = match topics {
        // The whole name has to match, as in Java.
        Topics::Pattern(pattern) => {
            return Ok(Some(Found { present: vec![format!("^({pattern})$")], missing: Vec::new() }));
        }
        Topics::Names(names) => names,
    };
    let mut backoff = Backoff::default();
    let mut told = false;
    let mut present_before = 0;
    loop {
        match existing(cluster).await {
            Ok(existing) => {
                backoff.reset();
                let (present, missing): (Vec<String>, Vec<String>) =
                    names.iter().cloned().partition(|name| existing.contains(name));
                if missing.is_empty() || (!present.is_empty() && present.len() == present_before) {
                    return Ok(Some(Found { present, missing }));
                }
                if present.is_empty() && !told {
                    tracing::info!("waiting for topics that do not exist yet: {}", missing.join(", "));
                    told = true;
                }
                let settling = if present.is_empty() { TOPIC_POLL } else { TOPICS_SETTLE };
                present_before = present.len();
                tokio::select! {
                    () = stop.cancelled() => return Ok(None),
                    () = tokio::time::sleep(settling) => {}
                }
            }
            Err(AdminError::Retry { reason, .. }) => {
                tracing::debug!("asking for topics again: {reason}");
                if !backoff.wait(stop).await {
                    return Ok(None);
                }
            }
            Err(error) => return Err(TaskError::Retry(error.to_string())),
        }
    }
}

async fn existing(cluster: &Cluster) -> Result<Vec<String>, AdminError> {
    Ok(Admin::new(cluster)?.topics().await?.into_iter().map(|topic| topic.name).collect())
}

/// Done when one of the missing topics exists.
async fn appeared(cluster: &Cluster, missing: &[String]) {
    if missing.is_empty() {
        std::future::pending::<()>().await;
    }
    loop {
        tokio::time::sleep(TOPICS_SETTLE * 2).await;
        if existing(cluster).await.is_ok_and(|existing| missing.iter().any(|name| existing.contains(name))) {
            return;
        }
    }
}
