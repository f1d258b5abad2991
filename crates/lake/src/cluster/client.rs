//! The lake's side of the cluster: sends a plan to the scheduler, waits for its job, and passes its rows on.
//!
//! A task whose executor is lost is run again by the scheduler. What Ballista 53 does not survive, an executor that goes while
//! another one, or the lake, is reading from it, fails the job: then the whole query is sent again, as long as no row of it was
//! passed on.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::record_batch::RecordBatch;
use ballista_core::{
    config::{BALLISTA_CLIENT_GRPC_MAX_MESSAGE_SIZE, BALLISTA_CLIENT_PULL},
    execution_plans::DistributedQueryExec,
    extension::SessionConfigExt,
    serde::protobuf::{CancelJobParams, CleanJobDataParams, scheduler_grpc_client::SchedulerGrpcClient},
    utils::{GrpcClientConfig, create_grpc_client_connection},
};
use datafusion::{
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::LogicalPlan,
    physical_plan::{ExecutionPlan, stream::RecordBatchStreamAdapter},
    prelude::SessionConfig,
};
use datafusion_proto::{logical_plan::AsLogicalPlan, protobuf::LogicalPlanNode};
use futures::{StreamExt, stream};
use iceberg::io::FileIO;
use serde::Deserialize;
use tokio::net::TcpStream;

use super::{MESSAGE_BYTES_MAX, codec, logs, settings::Address};
use crate::error::{LakeError, Result};

type Exec = DistributedQueryExec<LogicalPlanNode>;

const AWAY: &str = "the cluster";
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Between two looks at which executors there are.
const LOOK: Duration = Duration::from_millis(500);
/// Times a query is sent again because an executor went.
const LOST_MAX: usize = 3;
/// Parts of a stage; beyond it, files and messages between stages get too many.
const PARTITIONS_MAX: usize = 256;

/// A cluster, by its scheduler.
#[derive(Clone)]
pub struct Cluster {
    scheduler: Address,
    wait: Duration,
    http: reqwest::Client,
    codec: Arc<codec::Tables>,
}

/// An executor, as the scheduler lists it.
#[derive(Debug, Clone, Deserialize)]
struct Listed {
    host: String,
    port: u16,
    specification: Specification,
}

#[derive(Debug, Clone, Deserialize)]
struct Specification {
    task_slots: usize,
}

impl Cluster {
    /// The cluster of a scheduler, which may be without executors for `wait`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(scheduler: Address, wait: Duration, io: FileIO) -> Result<Self> {
        logs::forward();
        let http = reqwest::Client::builder().timeout(ANSWER_MAX).build();
        let http = http.map_err(|error| LakeError::definite(format!("set up HTTP: {error}")))?;
        Ok(Self { scheduler, wait, http, codec: codec::Tables::new(io) })
    }

    /// Starts a query; `None` when it is one that cannot be sent.
    ///
    /// # Errors
    /// When the query fails, or the cluster is away.
    pub async fn query(&self, plan: LogicalPlan, model: &str) -> Result<Option<SendableRecordBatchStream>> {
        if let Err(error) = LogicalPlanNode::try_from_logical_plan(&plan, self.codec.as_ref()) {
            tracing::debug!(model, "computed in this process, its plan cannot be sent: {}", error.strip_backtrace());
            return Ok(None);
        }
        let mut lost = 0;
        loop {
            let executors = self.executors().await?;
            match self.start(&plan, model, &executors).await {
                Ok(rows) => return Ok(Some(rows)),
                Err(error) if lost < LOST_MAX && any_gone(&executors).await => {
                    lost += 1;
                    tracing::warn!(model, lost, "sent again, an executor is gone: {error}");
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends the plan, and waits for the first rows.
    async fn start(&self, plan: &LogicalPlan, model: &str, executors: &[Listed]) -> Result<SendableRecordBatchStream> {
        let slots: usize = executors.iter().map(|executor| executor.specification.task_slots).sum();
        let config = SessionConfig::new_with_ballista()
            .with_target_partitions(slots.clamp(2, PARTITIONS_MAX))
            .with_ballista_job_name(model)
            // Asked for its job's state, a scheduler that is away is noticed; pushing it, it is not.
            .set_bool(BALLISTA_CLIENT_PULL, true)
            .set_usize(BALLISTA_CLIENT_GRPC_MAX_MESSAGE_SIZE, MESSAGE_BYTES_MAX);
        let session = uuid::Uuid::now_v7().to_string();
        let (url, ballista) = (format!("http://{}", self.scheduler), config.ballista_config());
        let exec = Arc::new(Exec::with_extension(url, ballista, plan.clone(), self.codec.clone(), session));
        let context = Arc::new(TaskContext::default().with_session_config(config));
        let mut rows = exec.execute(0, context)?;
        let mut job = Job { exec, scheduler: self.scheduler.to_string(), ended: false, told: false };
        let mut seen = Instant::now();
        let first = loop {
            tokio::select! {
                first = rows.next() => break first,
                () = tokio::time::sleep(LOOK) => {
                    if let Err(error) = self.look(&mut seen).await {
                        // Else executors that come later would work for nobody.
                        job.telling().await;
                        return Err(error);
                    }
                }
            }
        };
        tracing::debug!(model, job = job.exec.job_id(), slots, "computed on the cluster");
        let schema = rows.schema();
        let first = match first {
            Some(Ok(first)) => Some(first),
            Some(Err(error)) => return Err(self.failure(&error).await),
            None => {
                job.ended = true;
                None
            }
        };
        let rest = stream::unfold((rows, job), |(mut rows, mut job)| async move {
            let row = rows.next().await;
            job.ended |= row.is_none();
            Some((row?.map_err(broken), (rows, job)))
        });
        let first = stream::iter(first.map(Ok::<RecordBatch, DataFusionError>));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, first.chain(rest))))
    }

    /// A job's failure in our words: its own unless the scheduler went.
    async fn failure(&self, error: &DataFusionError) -> LakeError {
        match self.listed().await {
            Ok(_) => LakeError::Query(format!("on the cluster at {}: {}", self.scheduler, error.strip_backtrace())),
            Err(away) => away,
        }
    }

    /// Fails when there was no executor since `seen` for too long; a job would wait for one for ever.
    async fn look(&self, seen: &mut Instant) -> Result<()> {
        if !self.listed().await?.is_empty() {
            *seen = Instant::now();
        }
        if seen.elapsed() >= self.wait { Err(self.deserted()) } else { Ok(()) }
    }

    /// The executors there are, at least one.
    async fn executors(&self) -> Result<Vec<Listed>> {
        let since = Instant::now();
        loop {
            let executors = self.listed().await?;
            if !executors.is_empty() {
                return Ok(executors);
            }
            if since.elapsed() >= self.wait {
                return Err(self.deserted());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn listed(&self) -> Result<Vec<Listed>> {
        let request = self.http.get(format!("http://{}/api/executors", self.scheduler));
        let answer = async { request.send().await?.error_for_status()?.json().await }.await;
        answer.map_err(|error: reqwest::Error| {
            let text = format!(
                "no scheduler answers at {} ({}): start `lake scheduler` there, or compute with LAKE_ENGINE=local",
                self.scheduler,
                error.without_url()
            );
            LakeError::away(AWAY, text)
        })
    }

    fn deserted(&self) -> LakeError {
        let (scheduler, wait) = (&self.scheduler, self.wait.as_secs());
        let text = format!(
            "its scheduler at {scheduler} has had no executor for {wait} s: start `lake executor` with \
             LAKE_SCHEDULER={scheduler}, or compute with LAKE_ENGINE=local"
        );
        LakeError::away(AWAY, text)
    }
}

/// Whether one of these no longer takes connections.
async fn any_gone(executors: &[Listed]) -> bool {
    for executor in executors {
        let connect = TcpStream::connect((executor.host.as_str(), executor.port));
        if !matches!(tokio::time::timeout(ANSWER_MAX, connect).await, Ok(Ok(_))) {
            return true;
        }
    }
    false
}

/// Rows stopped coming after some were passed on.
fn broken(error: DataFusionError) -> DataFusionError {
    DataFusionError::External(Box::new(LakeError::away(AWAY, error.strip_backtrace())))
}

/// A job on the cluster: cancelled when it is given up, its files removed when it was read.
struct Job {
    exec: Arc<Exec>,
    scheduler: String,
    ended: bool,
    told: bool,
}

impl Job {
    /// Tells the scheduler, once, that nobody wants more of the job.
    fn telling(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let job_id = self.exec.job_id().filter(|_| !std::mem::replace(&mut self.told, true));
        let (url, ended) = (format!("http://{}", self.scheduler), self.ended);
        async move {
            let Some(job_id) = job_id else { return };
            let Ok(connection) = create_grpc_client_connection(url, &GrpcClientConfig::default()).await else { return };
            let mut scheduler = SchedulerGrpcClient::new(connection);
            let told = match ended {
                true => scheduler.clean_job_data(CleanJobDataParams { job_id }).await.map(drop),
                false => scheduler.cancel_job(CancelJobParams { job_id }).await.map(drop),
            };
            if let Err(error) = told {
                tracing::debug!("the scheduler was not told of a job's end: {error}");
            }
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(self.telling());
        }
    }
}
