//! What every binary of haus-am-see does the same way: settings, logs, metrics, named tasks, health, shutdown.
//!
//! Knows no domain. A `main.rs` is `service::run("name", async |context| { parse settings; wire; context.tasks.join().await })`.
//!
//! Promises: a task that ends, well or badly, ends the process (nothing dies unnoticed); SIGTERM and SIGINT cancel
//! `context.stop`; after [`SHUTDOWN_DEADLINE`] what still runs is named and aborted; an error is reported once, in one
//! line, and the exit code says whether there was one.

pub mod env;
pub mod failpoint;
pub mod health;
pub mod http;
pub mod logs;
mod memory;
pub mod retry;
pub mod tasks;

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

use crate::logs::Reader;
pub use crate::{health::Health, retry::Backoff, tasks::Tasks};

/// How long tasks may take to finish after a stop was asked for.
pub const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(20);

/// Stack of the runtime's threads, of which only what is used takes memory. Trees such as a query's plan are walked by recursion,
/// with frames of many kilobytes where nothing is optimised.
const STACK_BYTES: usize = 16 << 20;

/// What a running service hands to its parts.
#[derive(Clone)]
pub struct Context {
    /// Name of the service, as in logs and `/health`.
    pub name: &'static str,
    /// Cancelled when the process shall stop.
    pub stop: CancellationToken,
    pub health: Health,
    pub tasks: Tasks,
    pub(crate) metrics: PrometheusHandle,
}

impl Context {
    /// The process's metrics, as Prometheus reads them.
    #[must_use]
    pub fn render_metrics(&self) -> String {
        self.metrics.render()
    }
}

/// Runs a service to its end: reads `.env`, sets up logs and metrics, handles signals, reports the error.
///
/// `body` parses its settings, spawns tasks and usually ends with `context.tasks.join().await`.
pub fn run<F>(name: &'static str, body: F) -> ExitCode
where
    F: AsyncFnOnce(Context) -> anyhow::Result<()>,
{
    report(name, run_to_result(name, Reader::Service, body))
}

/// As [`run`], for a command that a person runs: only errors are logged (unless `RUST_LOG` says otherwise), so that
/// its own output stands alone.
pub fn run_command<F>(name: &'static str, body: F) -> ExitCode
where
    F: AsyncFnOnce(Context) -> anyhow::Result<()>,
{
    report(name, run_to_result(name, Reader::Command, body))
}

fn report(name: &str, result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The one place where a fatal error is printed.
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_to_result<F>(name: &'static str, reader: Reader, body: F) -> anyhow::Result<()>
where
    F: AsyncFnOnce(Context) -> anyhow::Result<()>,
{
    memory::one_arena_per_core();
    env::load()?;
    logs::init(reader)?;
    let metrics = PrometheusBuilder::new().install_recorder().context("set up metrics")?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().thread_stack_size(STACK_BYTES).build().context("start the runtime")?;
    let result = runtime.block_on(async move {
        let stop = CancellationToken::new();
        let context =
            Context { name, stop: stop.clone(), health: Health::new(name), tasks: Tasks::new(stop.clone()), metrics };
        listen_for_signals(stop)?;
        body(context).await
    });
    // Blocking threads (librdkafka's, file I/O) may still sit in a call; they hold no state that has to be saved.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// The first SIGTERM or SIGINT asks for a stop; the second ends the process at once, for a person who waits.
fn listen_for_signals(stop: CancellationToken) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    tokio::spawn(async move {
        for asked in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if asked {
                tracing::info!("stopping");
                stop.cancel();
            } else {
                std::process::exit(130);
            }
        }
    });
    Ok(())
}
