//! The connector as the Connect worker sees it.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use connect::{ClientKind, Config, ConnectorKind, Definition, FieldError, Plugin, TaskContext, TaskError};
use service::retry::Backoff;
use tokio::sync::Mutex;
use topics::SecurityError;

use crate::{
    error::{RelayError, task_error},
    records::RecordRules,
    session::{self, Run},
    settings::RelaySettings,
};

/// A session that lasted so long was a good one: the next failure is waited out shortly again.
const GOOD_SESSION: std::time::Duration = std::time::Duration::from_secs(10);

/// Debezium's Postgres connector, by name and configuration.
#[derive(Debug, Default)]
pub struct PostgresPlugin;

#[async_trait]
impl Plugin for PostgresPlugin {
    fn classes(&self) -> &'static [&'static str] {
        &["io.debezium.connector.postgresql.PostgresConnector", "PostgresConnector", "cdc-relay"]
    }

    fn kind(&self) -> ConnectorKind {
        ConnectorKind::Source
    }

    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    fn validate(&self, config: &Config) -> Vec<FieldError> {
        RelaySettings::parse(config).err().unwrap_or_default()
    }

    fn definitions(&self) -> Vec<Definition> {
        crate::settings::DEFINITIONS.to_vec()
    }

    fn reference(&self) -> &'static str {
        include_str!("settings/debezium.json")
    }

    async fn reach(&self, config: &Config) -> Vec<FieldError> {
        match RelaySettings::parse(config) {
            Ok(settings) => crate::reach::check(&settings).await,
            Err(errors) => errors,
        }
    }

    /// One slot, one stream, one task.
    fn tasks(&self, config: &Config) -> Vec<Config> {
        vec![config.clone()]
    }

    async fn run(&self, task: TaskContext) -> Result<(), TaskError> {
        let settings = RelaySettings::parse(&task.config).map_err(|errors| {
            TaskError::Fail(errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("; "))
        })?;
        let refused = |error: SecurityError| TaskError::Fail(error.to_string());
        let run_id = uuid::Uuid::now_v7().to_string();
        let run = Run {
            rules: Arc::new(RecordRules::new(&settings, &run_id)),
            registry: task.worker.registry(&task.config).map_err(refused)?,
            cluster: task.worker.cluster("cdc-relay", ClientKind::Producer, &task.config).map_err(refused)?,
            group: task.worker.group.clone(),
            offset_topic: task.worker.offset_topic.clone(),
            connector: task.connector.clone(),
            report: task.report.clone(),
            stop: task.stop.clone(),
            settings: Arc::new(settings),
            messages: Arc::new(Mutex::new(task.messages)),
        };
        sessions(&run).await
    }
}

/// One session after the other, for ever.
async fn sessions(run: &Run) -> Result<(), TaskError> {
    let mut backoff = Backoff::default();
    let mut first_session = true;
    loop {
        let begun = Instant::now();
        let outcome = tokio::select! {
            outcome = session::run(run, first_session) => outcome,
            // Anything may be waited for in there; a killed session is as good as a stopped one, but given a moment it
            // leaves no open transaction behind.
            () = stopped_for_good(run) => Err(RelayError::Stopped),
        };
        first_session = false;
        let Err(error) = outcome else { return Ok(()) };
        if run.stop.is_cancelled() {
            return Ok(());
        }
        if begun.elapsed() >= GOOD_SESSION {
            backoff.reset();
        }
        match &error {
            RelayError::Retry { server, reason } => {
                tracing::warn!(
                    connector = run.connector,
                    attempt = backoff.attempt(),
                    "{server} makes us wait: {reason}"
                );
            }
            RelayError::Standby(reason) => {
                tracing::info!(connector = run.connector, "standing by: {reason}");
                run.report.standing_by(reason);
            }
            RelayError::Definite(_) | RelayError::Stopped => return task_error(error).map_or(Ok(()), Err),
        }
        if !backoff.wait(&run.stop).await {
            return Ok(());
        }
    }
}

async fn stopped_for_good(run: &Run) {
    run.stop.cancelled().await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
}
