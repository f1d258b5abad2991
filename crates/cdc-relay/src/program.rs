//! The relay's process: a Connect worker with the Postgres connector.

use std::{process::ExitCode, sync::Arc};

use crate::plugin::PostgresPlugin;
use clap::Parser;
use connect::WorkerArgs;

#[derive(Debug, Parser)]
#[command(name = "cdc-relay", about = "Change data capture from Postgres to Kafka, with Kafka Connect's REST API")]
struct Settings {
    #[command(flatten)]
    worker: WorkerArgs,
    /// Port of the REST API.
    #[arg(long, env = "CDC_RELAY_PORT", default_value_t = 8083)]
    port: u16,
}

/// The program, from its arguments to its exit code.
pub fn main() -> ExitCode {
    service::run("cdc-relay", async |ctx| {
        let settings = Settings::parse();
        connect::serve(vec![Arc::new(PostgresPlugin)], settings.worker.settings(settings.port), ctx).await
    })
}
