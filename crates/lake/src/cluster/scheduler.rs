//! `lake scheduler`: takes plans from lakes, cuts them into stages, and hands their tasks to executors that ask for some.
//!
//! What it knows is in memory: a lake whose scheduler ends has its model fail, and builds it in a later run.

use std::{net::SocketAddr, sync::Arc};

use ballista_core::{config::TaskSchedulingPolicy, utils::default_config_producer};
use ballista_scheduler::{cluster::BallistaCluster, config::SchedulerConfig, scheduler_process::start_server};

use super::{MESSAGE_BYTES_MAX, codec, logs};
use crate::settings::Settings;

/// How long jobs are listed after their end. Each is kept with its plan, and a lake that watches sends some in
/// every pass: within Ballista's hour that is thousands.
const JOBS_KEPT_S: u64 = 120;

/// Runs until a stop is asked for.
///
/// # Errors
/// When the port is taken.
pub async fn schedule(context: &service::Context, settings: &Settings) -> anyhow::Result<()> {
    logs::forward();
    let address = SocketAddr::new(settings.bind, settings.cluster.scheduler_port);
    let lost_s = settings.cluster.executor_lost_s.max(2);
    let config = SchedulerConfig {
        bind_host: settings.bind.to_string(),
        bind_port: address.port(),
        external_host: settings.bind.to_string(),
        // Executors ask: with tasks pushed to them, those of a lost one lie until some other task ends.
        scheduling_policy: TaskSchedulingPolicy::PullStaged,
        executor_timeout_seconds: lost_s,
        expire_dead_executor_interval_seconds: (lost_s / 4).max(1),
        // A lake says when it has read a job's rows. This is for one that went: until a model's time is up it may still read.
        finished_job_data_clean_up_interval_seconds: settings.model_time_max_s.max(1),
        finished_job_state_clean_up_interval_seconds: JOBS_KEPT_S,
        grpc_server_max_decoding_message_size: MESSAGE_BYTES_MAX as u32,
        grpc_server_max_encoding_message_size: MESSAGE_BYTES_MAX as u32,
        override_config_producer: Some(Arc::new(default_config_producer)),
        override_logical_codec: Some(codec::Tables::new(settings.file_io())),
        override_physical_codec: Some(codec::Scans::new(settings.file_io())),
        ..SchedulerConfig::default()
    };
    // Ballista says of a taken port only that it is taken.
    drop(super::executor::bound(address).await?);
    let cluster = BallistaCluster::new_from_config(&config).await?;
    let stop = context.stop.clone();
    context.tasks.spawn("scheduler", async move {
        tracing::info!(%address, "scheduler");
        tokio::select! {
            ended = start_server(cluster, address, Arc::new(config)) => Ok(ended?),
            () = stop.cancelled() => Ok(()),
        }
    });
    context.tasks.join().await
}
