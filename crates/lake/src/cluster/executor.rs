//! `lake executor`: asks a scheduler for tasks, works on them, and keeps what they made until others have fetched it.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use arrow_flight::flight_service_server::FlightServiceServer;
use ballista_core::{
    RuntimeProducer,
    registry::BallistaFunctionRegistry,
    serde::{
        BallistaCodec,
        protobuf::{
            ExecutorRegistration, ExecutorStatus, ExecutorStoppedParams, HeartBeatParams, executor_status,
            scheduler_grpc_client::SchedulerGrpcClient,
        },
        scheduler::{ExecutorOperatingSystemSpecification, ExecutorSpecification},
    },
    utils::{
        GrpcClientConfig, GrpcServerConfig, create_grpc_client_connection, create_grpc_server, default_config_producer,
    },
};
use ballista_executor::{
    execution_loop::poll_loop, executor::Executor, flight_service::BallistaFlightService,
    metrics::LoggingMetricsCollector,
};
use datafusion::execution::{memory_pool::FairSpillPool, runtime_env::RuntimeEnvBuilder};
use tokio::net::TcpListener;
use tonic::service::Routes;

use super::{MESSAGE_BYTES_MAX, codec, logs};
use crate::settings::Settings;

/// An executor that works on as many tasks as it takes asks for no more, and would seem lost: so it also says that it is there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

const UNKNOWN: &str = "does not know this executor yet";
const AWAY: &str = "does not answer; it is waited for";

/// Runs until a stop is asked for.
///
/// # Errors
/// When the port is taken or the folder cannot be written.
pub async fn execute(context: &service::Context, settings: &Settings) -> anyhow::Result<()> {
    logs::forward();
    let address = SocketAddr::new(settings.bind, settings.cluster.executor_port);
    drop(bound(address).await?);
    let folder = folder(settings)?;
    let slots = match settings.cluster.executor_tasks_max {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        slots => slots,
    };
    let executor = Arc::new(executor(settings, &folder, slots)?);
    let stop = context.stop.clone();
    let flight = BallistaFlightService::new(folder.clone());
    let flight = FlightServiceServer::new(flight)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    // `/health` and `/metrics` of every service, at the one port that an executor has.
    let routes = Routes::from(service::http::standard_routes(context)).add_service(flight);
    context.tasks.spawn("results", async move {
        let server = create_grpc_server(&GrpcServerConfig::default()).accept_http1(true).add_routes(routes);
        Ok(server.serve_with_shutdown(address, stop.cancelled_owned()).await?)
    });
    let (stop, health) = (context.stop.clone(), context.health.clone());
    let scheduler = settings.cluster.scheduler.to_string();
    let codec = BallistaCodec::new(codec::Tables::new(settings.file_io()), codec::Scans::new(settings.file_io()));
    context.tasks.spawn("work", async move {
        tracing::info!(%address, scheduler, slots, folder, "executor");
        tokio::select! {
            ended = work(&scheduler, executor.clone(), codec, &health) => ended,
            () = stop.cancelled() => {
                leave(&scheduler, &executor).await;
                Ok(())
            }
        }
    });
    context.tasks.join().await
}

/// Listens, with an error that names the address.
pub(super) async fn bound(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listen at {address}"))
}

/// A folder of this executor's own, empty: what a former one left is of no use to anybody.
fn folder(settings: &Settings) -> anyhow::Result<String> {
    let below = settings.cluster.executor_dir.clone().unwrap_or_else(std::env::temp_dir);
    // Nobody else has this port.
    let folder = below.join(format!("lake-executor-{}", settings.cluster.executor_port));
    let made = |path: &Path| {
        if path.exists() {
            std::fs::remove_dir_all(path)?;
        }
        std::fs::create_dir_all(path)
    };
    made(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder.to_str().context("the executor's folder is not UTF-8")?.to_owned())
}

fn executor(settings: &Settings, folder: &str, slots: usize) -> anyhow::Result<Executor> {
    let metadata = ExecutorRegistration {
        id: uuid::Uuid::new_v4().to_string(),
        host: settings.cluster.executor_host.clone(),
        port: u32::from(settings.cluster.executor_port),
        // Nothing is pushed to it.
        grpc_port: 0,
        specification: Some(ExecutorSpecification::default().with_task_slots(slots as u32).into()),
        os_info: Some(ExecutorOperatingSystemSpecification::default().into()),
    };
    let pool = Arc::new(FairSpillPool::new(settings.sql_memory_max_mb.max(1) << 20));
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).with_temp_file_path(folder).build_arc()?;
    let runtime: RuntimeProducer = Arc::new(move |_| Ok(runtime.clone()));
    Ok(Executor::with_default_execution_engine(
        metadata,
        folder,
        runtime,
        Arc::new(default_config_producer),
        Arc::new(BallistaFunctionRegistry::default()),
        Arc::new(LoggingMetricsCollector::default()),
        slots,
    ))
}

/// Works for the scheduler; one that is away is waited for. Well is an executor whose scheduler knows that it is there.
async fn work(
    scheduler: &str,
    executor: Arc<Executor>,
    codec: BallistaCodec,
    health: &service::Health,
) -> anyhow::Result<()> {
    let unwell = |reason: &str| health.set("scheduler", Err(format!("the scheduler at {scheduler} {reason}")));
    unwell(UNKNOWN);
    let mut backoff = service::Backoff::default();
    let connection = loop {
        match create_grpc_client_connection(format!("http://{scheduler}"), &grpc()).await {
            Ok(connection) => break connection,
            Err(_) => {
                unwell(AWAY);
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    };
    let client = SchedulerGrpcClient::new(connection)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let (mut heart, id) = (client.clone(), executor.metadata.id.clone());
    let beats = async {
        loop {
            // The scheduler knows it only when it has asked for a task.
            tokio::time::sleep(SIGN_OF_LIFE).await;
            let status = executor_status::Status::Active(String::new());
            let params = HeartBeatParams {
                executor_id: id.clone(),
                status: Some(ExecutorStatus { status: Some(status) }),
                ..HeartBeatParams::default()
            };
            match heart.heart_beat_from_executor(params).await {
                Ok(_) => health.set("scheduler", Ok(())),
                // Until it asks for its first task, also of a scheduler that was started anew.
                Err(status) if status.code() == tonic::Code::InvalidArgument => unwell(UNKNOWN),
                Err(_) => unwell(AWAY),
            }
        }
    };
    tokio::select! {
        ended = poll_loop(client, executor.clone(), codec) => Ok(ended?),
        () = beats => Ok(()),
    }
}

/// Says goodbye, so that others take over at once.
async fn leave(scheduler: &str, executor: &Executor) {
    let Ok(connection) = create_grpc_client_connection(format!("http://{scheduler}"), &grpc()).await else { return };
    let params = ExecutorStoppedParams { executor_id: executor.metadata.id.clone(), reason: "stopped".into() };
    if let Err(error) = SchedulerGrpcClient::new(connection).executor_stopped(params).await {
        tracing::warn!("the scheduler was not told: {error}");
    }
}

fn grpc() -> GrpcClientConfig {
    GrpcClientConfig { connect_timeout_seconds: 5, ..GrpcClientConfig::default() }
}
