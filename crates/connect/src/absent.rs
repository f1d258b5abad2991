//! Whose word stands about a task that several workers run: the first one's, until it is gone.
//!
//! Each worker runs the connectors whose class it has, and there is one status a task. The worker that began first keeps it;
//! another that runs the task too says nothing, watches, and says its own state when the first does not answer any more.
//! So a killed worker's RUNNING does not stand for ever, and a standby does not hide who works.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::forward;
use crate::worker::Worker;

/// How often workers whose word stands over ours are looked after.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// A worker is gone when it did not answer so often, one after the other.
const MISSES_MAX: u32 = 2;

/// Watch until `stop`.
///
/// # Errors
/// Never; the signature is that of a service task.
pub async fn watch(worker: Arc<Worker>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut misses: BTreeMap<String, u32> = BTreeMap::new();
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_INTERVAL)).await.is_some() {
        let over_ours = worker.over_ours();
        let others: BTreeSet<&String> = over_ours.iter().map(|(_, other)| other).collect();
        misses.retain(|other, _| others.contains(other));
        for other in others {
            let missed = misses.entry(other.clone()).or_default();
            *missed = if forward::answers(&worker, other).await { 0 } else { *missed + 1 };
        }
        for (key, other) in &over_ours {
            if misses.get(other).is_some_and(|missed| *missed >= MISSES_MAX) {
                tracing::info!(key, "worker {other} is gone; this one runs it");
                worker.say_again(key);
            }
        }
    }
    Ok(())
}
