//! `lake`: raw Avro objects in S3 to Iceberg tables stage, shape, serve, and SQL over them. Settings and wiring.

mod catalog;
mod cluster;
mod compaction;
mod digests;
mod error;
pub mod failpoint;
#[doc(hidden)]
pub mod fill;
mod freshness;
mod http;
mod keys;
mod layers;
mod maintenance;
#[cfg(test)]
mod memory_catalog;
mod model_commands;
mod models;
mod offsets;
mod port;
mod quarantine;
mod query;
mod raw;
mod runner;
mod settings;
mod shape;
mod sql;
mod sql_command;
mod stage;
mod status;
mod tables;
mod tasks;
#[cfg(test)]
mod tests;
mod watch;

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use tokio::sync::mpsc;

use crate::{
    catalog::RestCatalog,
    cluster::{Cluster, settings::EngineChoice},
    keys::Keys,
    maintenance::{Maintenance, Steps, expire::Retention, report, warehouse::S3Warehouse},
    model_commands::Commands,
    models::Models,
    quarantine::Quarantine,
    raw::store::LandingZone,
    runner::Runner,
    settings::{Command, Settings},
    shape::Shape,
    sql::Engine,
    stage::Stage,
    status::Status,
    tables::Tables,
    watch::{Jobs, Watch},
};

/// Requests for a pass that may wait.
const RUNS_WAITING_MAX: usize = 16;

/// The program, from its arguments to its exit code.
pub fn main() -> ExitCode {
    service::run("lake", async |context| {
        let settings = Settings::parse();
        match settings.command {
            Some(Command::Scheduler) => return cluster::schedule(&context, &settings).await,
            Some(Command::Executor) => return cluster::execute(&context, &settings).await,
            _ => {}
        }
        let catalog =
            Arc::new(RestCatalog::new(&settings.catalog_url, &settings.warehouse, settings.catalog_token.as_ref())?);
        let tables = Tables::new(catalog, settings.file_io())?;
        let time_max = Duration::from_secs(settings.sql_time_max_s.max(1));
        let engine = Engine::bounded(tables.clone(), settings.sql_memory_max_mb.max(1) << 20, time_max)?;
        match settings.command.as_ref().unwrap_or(&Command::Watch) {
            Command::Sql(command) => sql_command::sql(&engine, command).await,
            Command::Maintain { tables: names, dry_run, no_scan, json } => {
                let maintenance = maintenance(&settings, &tables);
                let steps =
                    Steps { dry_run: *dry_run, files_min: 2, without_key: true, orphans: true, measure: !no_scan };
                let done = maintenance::command(&maintenance, names, steps).await?;
                print!("{}", if *json { format!("{}\n", serde_json::to_string(&done)?) } else { report::table(&done) });
                Ok(())
            }
            Command::Watch => {
                context.health.set("lake", Err("starting".into()));
                let jobs = jobs(&settings, &tables, &engine)?;
                let status = jobs.status.clone();
                if settings.maintain_interval_s > 0 {
                    let (maintenance, status) = (maintenance(&settings, &tables), jobs.status.clone());
                    let (stop, interval) = (context.stop.clone(), Duration::from_secs(settings.maintain_interval_s));
                    context.tasks.spawn("maintenance", async move {
                        maintenance::behind(maintenance, interval, status, stop).await;
                        Ok(())
                    });
                }
                let watch = Watch::new(jobs, Duration::from_millis(settings.poll_ms.max(10)));
                let (runs, asked) = mpsc::channel(RUNS_WAITING_MAX);
                let (stop, health) = (context.stop.clone(), context.health.clone());
                context.tasks.spawn("watch", async move {
                    watch.run(stop, health, asked).await;
                    Ok(())
                });
                if settings.sql_port > 0 {
                    let limits =
                        port::Limits { rows_max: settings.sql_rows_max, connections_max: settings.sql_connections_max };
                    let port = port::Port::new(engine.clone(), limits, settings.sql_password.as_ref())?;
                    let (stop, address) = (context.stop.clone(), SocketAddr::new(settings.bind, settings.sql_port));
                    context.tasks.spawn("sql-port", port.serve(address, stop));
                }
                let router = http::router(http::Interface { engine, tables, status, runs });
                let (http, address) = (context.clone(), SocketAddr::new(settings.bind, settings.port));
                context.tasks.spawn("http", async move { service::http::serve(address, router, &http).await });
                context.tasks.join().await
            }
            Command::Model(command) => {
                let runner = runner(&settings, &tables, &engine)?;
                let commands = Commands { runner: &runner, engine: &engine, settings: &settings };
                let said = Box::pin(commands.run(command)).await?;
                print!("{}", said.text);
                if said.well { Ok(()) } else { Err(anyhow::anyhow!("not all is well, see above")) }
            }
            layer => {
                let done = watch::once(&jobs(&settings, &tables, &engine)?, layer).await?;
                println!("{done}");
                Ok(())
            }
        }
    })
}

/// Maintenance as the settings say.
fn maintenance(settings: &Settings, tables: &Tables) -> Maintenance {
    let retention = Retention::new(Duration::from_secs(settings.snapshot_age_s), settings.snapshots_min);
    let warehouse = Arc::new(S3Warehouse { settings: settings.store() });
    let orphan_age = Duration::from_secs(settings.orphan_age_s);
    let runs_kept = Duration::from_secs(settings.runs_days.saturating_mul(86_400));
    Maintenance::new(tables.clone(), warehouse, retention, orphan_age, settings.shape_file_rows.max(1))
        .keeping_runs(runs_kept)
}

/// The models as the settings say.
fn runner(settings: &Settings, tables: &Tables, engine: &Engine) -> anyhow::Result<Runner> {
    let models = Arc::new(Models::load(&settings.models)?);
    let time_max = Duration::from_secs(settings.model_time_max_s.max(1));
    let runner =
        Runner::new(tables.clone(), engine, models, runner::file_rows(settings.shape_file_rows)).within(time_max);
    Ok(match &settings.cluster.engine {
        EngineChoice::Local => runner,
        EngineChoice::Ballista(scheduler) => {
            let wait = Duration::from_secs(settings.cluster.engine_wait_s);
            runner.on(Cluster::new(scheduler.clone(), wait, tables.file_io().clone())?)
        }
    })
}

/// The lake's jobs as the settings say.
fn jobs(settings: &Settings, tables: &Tables, engine: &Engine) -> anyhow::Result<Jobs> {
    let store = objects::Store::open(&settings.store());
    let store = Arc::new(store.context("set up the landing zone")?);
    let zone = LandingZone { store, topics_dir: settings.topics_dir.clone() };
    let file_rows = settings.shape_file_rows.max(1);
    Ok(Jobs {
        stage: Stage {
            tables: tables.clone(),
            zone,
            keys: Keys::new(&settings.registry_url),
            quarantine: Quarantine::new(tables.clone()),
        },
        shape: Shape { tables: tables.clone(), file_rows },
        runner: runner(settings, tables, engine)?,
        status: Status::default(),
    })
}
