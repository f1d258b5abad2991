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

pub mod definitions;
pub mod errors;
pub mod masking;
pub mod plugin;
pub mod providers;
pub mod records;
pub mod settings;

mod absent;
mod classes;
mod echo;
mod forward;
mod jmx;
mod rest;
mod state;
mod store;
mod supervisor;
mod task;
mod validation;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

pub use definitions::Definition;
pub use plugin::{
    Config, ConnectorKind, FieldError, Moved, Plugin, ReportSink, Reporter, TaskContext, TaskError, TaskMessage,
};
pub use settings::{ClientKind, HiddenProperties, WorkerArgs, WorkerSettings};

use crate::classes::Classes;
use crate::store::Writer;
use crate::supervisor::Supervisor;
use crate::worker::Worker;

/// How often `/health` learns whether Kafka is there, and whether the topics are read at last.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);
const HEALTH_INTERVAL_AT_START: Duration = Duration::from_millis(50);

/// Run a worker until `context.stop`: all a worker binary's main does after reading its settings.
///
/// # Errors
/// When the port is taken, or a topic stands with properties that would lose state; servers that are away are
/// waited for.
pub async fn serve(
    plugins: Vec<Arc<dyn Plugin>>,
    settings: WorkerSettings,
    context: service::Context,
) -> anyhow::Result<()> {
    let address = tokio::net::lookup_host((settings.bind.as_str(), settings.port))
        .await
        .ok()
        .and_then(|mut found| found.next())
        .with_context(|| format!("'{}' is no address to listen on; correct HAUS_BIND", settings.bind))?;
    let listener = service::http::listen(address).await?;
    let counted = context.clone();
    let metrics = move || counted.render_metrics();
    let routes = spawn_with(plugins, settings, &context.tasks, &context.health, &context.stop, metrics)?;
    let (tasks, serving) = (context.tasks.clone(), context);
    let in_task = tasks.clone();
    in_task.spawn("rest", async move { service::http::serve_bare(listener, routes, &serving).await });
    tasks.join().await
}

/// Start a worker's background tasks among `tasks` and return the routes of its REST API; [`serve`] without the
/// listener, for a process that has one of its own. `/metrics` has only what the worker's state tells then.
///
/// # Errors
/// When the Kafka client does not accept its settings.
pub fn spawn(
    plugins: Vec<Arc<dyn Plugin>>,
    settings: WorkerSettings,
    tasks: &service::Tasks,
    health: &service::Health,
    stop: &CancellationToken,
) -> anyhow::Result<axum::Router> {
    spawn_with(plugins, settings, tasks, health, stop, String::new)
}

fn spawn_with(
    plugins: Vec<Arc<dyn Plugin>>,
    settings: WorkerSettings,
    tasks: &service::Tasks,
    health: &service::Health,
    stop: &CancellationToken,
    counted: impl Fn() -> String + Clone + Send + Sync + 'static,
) -> anyhow::Result<axum::Router> {
    let writer = Writer::new(&settings).context("set up the Kafka client")?;
    let (worker, statuses) = Worker::new(settings, Classes::new(plugins), writer);
    let worker = Arc::new(worker);

    let (written, until) = (Arc::clone(&worker), stop.clone());
    tasks.spawn("statuses", async move { written.writer().write_statuses(statuses, until).await });

    let of_rest = health.clone();
    let (watched, health, until) = (Arc::clone(&worker), health.clone(), stop.clone());
    tasks.spawn("health", async move { watch_health(&watched, &health, &until).await });

    let (watching, until) = (Arc::clone(&worker), stop.clone());
    tasks.spawn("absent", async move { absent::watch(watching, until).await });

    let (followed, until) = (Arc::clone(&worker), stop.clone());
    tasks.spawn("topics", async move {
        followed.writer().ensure_topics(&until).await?;
        store::follow_topics(followed, until).await
    });

    let (supervised, until) = (Arc::clone(&worker), stop.clone());
    tasks.spawn("supervisor", async move {
        while !supervised.writer().ready() {
            tokio::select! {
                () = until.cancelled() => return Ok(()),
                () = supervised.changed.notified() => {}
            }
        }
        Supervisor::new(supervised).run(until).await
    });
    let shown = Arc::clone(&worker);
    let metrics = axum::routing::get(async move || counted() + &jmx::render(&shown.state(), &shown.settings.worker_id));
    Ok(rest::router(worker, of_rest).route("/metrics", metrics))
}

async fn watch_health(worker: &Worker, health: &service::Health, stop: &CancellationToken) -> anyhow::Result<()> {
    while !stop.is_cancelled() {
        let kafka = match (worker.writer().cluster().reachable(), worker.writer().ready()) {
            (false, _) => Err(format!("Kafka at {} is away", worker.settings.bootstrap)),
            (true, false) => Err("reading the topics".to_owned()),
            (true, true) => Ok(()),
        };
        health.set("kafka", kafka);
        let interval = if worker.writer().ready() { HEALTH_INTERVAL } else { HEALTH_INTERVAL_AT_START };
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(interval) => {}
        }
    }
    Ok(())
}
