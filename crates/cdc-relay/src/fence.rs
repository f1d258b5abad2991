//! Fences the producer of a Connect task whose place this relay takes.
//!
//! A Connect worker with exactly-once sources writes under a transactional id of its own, which our producer's does not
//! fence. A worker that was cut off, and wakes after we have read its last position, could commit once more. With its group
//! known (`CONNECT_GROUP_ID`) its id is, and taking that over ends it.

use topics::{TransactionSettings, TransactionalProducer};

use crate::{error::RelayError, session::Run};

/// Transactional id of a source task in a group of Connect workers (`Worker.taskTransactionalId` in Kafka's source).
#[must_use]
pub fn task_transactional_id(group: &str, connector: &str, task: u32) -> String {
    format!("{group}-{connector}-{task}")
}

/// Takes the id over and lets it go again.
///
/// # Errors
/// When Kafka refuses or the task stops.
pub async fn connect_task(run: &Run) -> Result<(), RelayError> {
    let Some(group) = &run.group else { return Ok(()) };
    let settings = TransactionSettings::new(task_transactional_id(group, &run.connector, 0));
    let id = settings.transactional_id.clone();
    let producer = TransactionalProducer::new(&run.cluster, settings, run.stop.clone())?;
    let fenced = tokio::task::spawn_blocking(move || producer.init()).await;
    fenced.map_err(|error| RelayError::Retry { server: "Kafka".to_owned(), reason: error.to_string() })??;
    tracing::info!(connector = run.connector, id, "fenced the Connect task that may have had this connector");
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_id_is_connects() {
        assert_eq!(super::task_transactional_id("connect", "storefront-source", 0), "connect-storefront-source-0");
    }
}
