//! `s3-sink`: Connect worker that copies topics into S3, each record exactly once.
//!
//! Kafka ▶ this ▶ `s3://raw/kafka/…` ▶ lake. See `session` for the flow and `publish` for exactly once.

mod avro;
mod config;
mod container;
mod evolution;
pub mod failpoint;
mod format;
mod group;
mod intake;
mod layout;
mod partition;
mod plan;
mod plugin;
mod publish;
mod resume;
mod rotation;
mod session;
mod shape;
mod start;
mod task;
mod zone;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

/// Settings of the process; connectors bring their own by REST.
#[derive(Debug, Parser)]
#[command(version, about = "Connect worker with the S3 sink")]
struct Settings {
    /// Port of the REST API.
    #[arg(long, env = "S3_SINK_PORT", default_value_t = 8084)]
    port: u16,
    #[command(flatten)]
    worker: connect::WorkerArgs,
}

/// The program, from its arguments to its exit code.
pub fn main() -> ExitCode {
    service::run("s3-sink", async |context| {
        let Settings { port, worker } = Settings::parse();
        connect::serve(vec![Arc::new(plugin::S3Sink)], worker.settings(port), context).await
    })
}
