//! How a run of the relay ends, split by what happens next. The one place where errors of servers become decisions.

use connect::TaskError;
use topics::{AdminError, ConsumeError, ProduceError, RegistryError};

use crate::{
    offsets::OffsetError,
    postgres::{PgError, connection::Target, publication::PublicationError},
};

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// A server is away or hiccuped. Try again from the last committed position, with backoff, for ever.
    #[error("{server}: {reason}")]
    Retry { server: String, reason: String },
    /// Another process has the slot. Wait for it to go away.
    #[error("{0}")]
    Standby(String),
    /// A person must act; the text names the cure.
    #[error("{0}")]
    Definite(String),
    /// The task was told to stop.
    #[error("stopped")]
    Stopped,
}

impl RelayError {
    /// Decides about an error of Postgres. `doing` completes "failed to …".
    #[must_use]
    pub fn postgres(target: &Target, doing: &str, error: &PgError) -> Self {
        let server = format!("Postgres at {}:{}", target.host, target.port);
        let reason = format!("failed to {doing}: {error}");
        if error.passes_by_itself() {
            Self::Retry { server, reason }
        } else {
            Self::Definite(format!("{server}: {reason}{}", cure(error)))
        }
    }

    /// Decides about the publication.
    #[must_use]
    pub fn publication(target: &Target, error: &PublicationError) -> Self {
        match error {
            PublicationError::Postgres(error) => Self::postgres(target, "look at the publication", error),
            PublicationError::Missing(_) | PublicationError::Refused { .. } | PublicationError::NoTable(_) => {
                Self::Definite(error.to_string())
            }
        }
    }

    fn kafka(reason: String) -> Self {
        Self::Retry { server: "Kafka".to_owned(), reason }
    }
}

/// What a person can do about a refusal of Postgres.
fn cure(error: &PgError) -> &'static str {
    if let PgError::Tls(_) = error {
        return "; correct database.sslmode, database.sslrootcert, database.sslcert and database.sslkey, or the server's ssl settings";
    }
    match error.code() {
        Some("28P01" | "28000") => "; correct database.user and database.password, or the server's pg_hba.conf",
        Some("3D000") => "; correct database.dbname",
        Some("42501") => {
            "; grant the role what is missing (REPLICATION, SELECT on the tables) and restart the connector"
        }
        Some("55000") => "; if the slot was invalidated, drop it and delete the connector's offsets to snapshot anew",
        Some("42704") => {
            "; create what is missing (a publication: CREATE PUBLICATION … FOR ALL TABLES) and restart the connector. If this \
             comes again, the log still holds changes from before it was created: stop the connector, drop the slot, delete \
             the connector's offsets (DELETE /connectors/{name}/offsets) and resume it to take a new snapshot"
        }
        _ => "",
    }
}

impl From<ProduceError> for RelayError {
    fn from(error: ProduceError) -> Self {
        match error {
            ProduceError::Fenced { .. } => Self::Standby(error.to_string()),
            ProduceError::AbortRequired { .. } | ProduceError::Broken { .. } | ProduceError::NotAcknowledged { .. } => {
                Self::kafka(error.to_string())
            }
            ProduceError::Refused { .. } => Self::Definite(error.to_string()),
            ProduceError::Stopped => Self::Stopped,
        }
    }
}

impl From<ConsumeError> for RelayError {
    fn from(error: ConsumeError) -> Self {
        match error {
            ConsumeError::Retry { .. }
            | ConsumeError::PositionLost { .. }
            | ConsumeError::CommitRefused { .. }
            | ConsumeError::Broken { .. }
            // The offsets topic may not be made yet when the worker has just started.
            | ConsumeError::Refused { .. } => Self::kafka(error.to_string()),
        }
    }
}

impl From<AdminError> for RelayError {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Retry { .. } => Self::kafka(error.to_string()),
            AdminError::UnknownTopic { .. }
            | AdminError::TopicDiffers { .. }
            | AdminError::GroupActive { .. }
            | AdminError::Refused { .. } => Self::Definite(error.to_string()),
        }
    }
}

impl From<RegistryError> for RelayError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Retry { ref url, ref reason } => {
                Self::Retry { server: format!("schema registry at {url}"), reason: reason.clone() }
            }
            RegistryError::Refused { .. } => Self::Definite(format!(
                "{error}; make the change of the table compatible, or relax the subject's compatibility, then restart the connector"
            )),
            RegistryError::NotFound { .. } => Self::Definite(error.to_string()),
        }
    }
}

impl From<OffsetError> for RelayError {
    fn from(error: OffsetError) -> Self {
        Self::Definite(format!("{error}; stop the connector and delete its offsets to start over"))
    }
}

/// What the worker is told when a task cannot go on.
#[must_use]
pub fn task_error(error: RelayError) -> Option<TaskError> {
    match error {
        RelayError::Stopped => None,
        RelayError::Definite(reason) => Some(TaskError::Fail(reason)),
        RelayError::Retry { .. } | RelayError::Standby(_) => Some(TaskError::Retry(error.to_string())),
    }
}
