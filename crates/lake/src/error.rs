//! The lake's one error type, split by what happens next: try again, plan again, or stop and tell a person.

use iceberg::ErrorKind;

/// Result of a lake operation.
pub type Result<T, E = LakeError> = std::result::Result<T, E>;

/// Why a lake operation failed.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// A server is away or answered with an error of its own: wait and try again.
    #[error("{server} is away or failing: {reason}")]
    Away { server: &'static str, reason: String },
    /// The table moved since it was read: load it again and plan again. Nothing was published.
    #[error("table {table} was changed by another writer")]
    Conflict { table: String },
    /// Trying again changes nothing: a person (or another release) has to act. The text says what to do.
    #[error("{0}")]
    Definite(String),
    /// A query of a user that cannot run; the text goes to the user.
    #[error("{0}")]
    Query(String),
}

impl LakeError {
    /// A definite error.
    pub fn definite(text: impl Into<String>) -> Self {
        Self::Definite(text.into())
    }

    /// A server that is away.
    pub fn away(server: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Away { server, reason: reason.to_string() }
    }
}

impl From<iceberg::Error> for LakeError {
    fn from(error: iceberg::Error) -> Self {
        match error.kind() {
            ErrorKind::DataInvalid | ErrorKind::FeatureUnsupported | ErrorKind::PreconditionFailed => {
                Self::Definite(format!("Iceberg: {error}"))
            }
            // Everything else comes from storage.
            _ => Self::away("the object store", error),
        }
    }
}

impl From<arrow::error::ArrowError> for LakeError {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::Definite(format!("Arrow: {error}"))
    }
}

impl From<datafusion::error::DataFusionError> for LakeError {
    fn from(error: datafusion::error::DataFusionError) -> Self {
        if let datafusion::error::DataFusionError::External(inner) = error.find_root() {
            match inner.downcast_ref::<Self>() {
                Some(Self::Away { server, reason }) => return Self::Away { server, reason: reason.clone() },
                // Written for the one who asked: nothing is put before it.
                Some(Self::Query(text)) => return Self::Query(text.clone()),
                _ => {}
            }
        }
        Self::Query(error.strip_backtrace())
    }
}
