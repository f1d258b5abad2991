//! Keeps one idle connection, whose end tells `/health` at once that Postgres is away.

use service::{Backoff, Health};
use tokio_util::sync::CancellationToken;

use super::Database;

/// The part of `/health` that this sets.
const PART: &str = "postgres";

/// Runs until `stop`.
pub async fn watch(database: Database, health: Health, stop: CancellationToken) {
    let mut backoff = Backoff::default();
    while !stop.is_cancelled() {
        match database.config.connect(tokio_postgres::NoTls).await {
            Ok((_client, connection)) => {
                health.set(PART, Ok(()));
                backoff.reset();
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = connection => health.set(PART, Err(format!("the connection to Postgres at {} ended", database.address))),
                }
            }
            Err(error) => health.set(PART, Err(database.error(&error).to_string())),
        }
        if !backoff.wait(&stop).await {
            return;
        }
    }
}
