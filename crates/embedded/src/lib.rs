//! Real servers as child processes: Apache Kafka (KRaft) and PostgreSQL 17, without Docker.
//!
//! Used by `haus up` for the embedded playground and by the tests. The servers' files (jars, binaries) lie in the cache
//! folder, where `embedded/fetch.sh` puts them; this crate writes their configuration and starts them.
//!
//! Promises: a [`Running`] process is ended by its own id, with the signal that its server understands as "stop well";
//! logs go to a file; a server that does not come up is reported with the last lines of its log.

pub mod cache;
pub mod kafka;
pub mod postgres;
pub mod process;

pub use crate::{
    kafka::Kafka,
    postgres::Postgres,
    process::{ProcessSpec, Running, StopSignal},
};

/// Why an embedded server cannot run. Nothing here is retried: a person has to act.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    #[error("{what} is missing in {path}; run `make bootstrap`, which fetches it", path = .path.display())]
    NotFetched { what: &'static str, path: std::path::PathBuf },
    #[error("{program} is not installed; run `make bootstrap`, which installs it")]
    ProgramMissing { program: String },
    #[error("{action} {path}: {source}", path = .path.display())]
    File { action: &'static str, path: std::path::PathBuf, source: std::io::Error },
    #[error("{action} {name}: {source}")]
    Process { action: &'static str, name: String, source: std::io::Error },
    #[error("{name} ended while starting ({status}); its log {log} ends with:\n{tail}", log = .log.display())]
    Ended { name: String, status: String, log: std::path::PathBuf, tail: String },
    #[error("{name} is not ready after {seconds} s; its log {log} ends with:\n{tail}", log = .log.display())]
    NotReady { name: String, seconds: u64, log: std::path::PathBuf, tail: String },
    #[error("{what} has version {found} in {path}, expected {expected}; `make clean-data` starts afresh", path = .path.display())]
    WrongVersion { what: &'static str, found: String, expected: &'static str, path: std::path::PathBuf },
}

pub(crate) fn file_error(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> EmbeddedError {
    let path = path.to_owned();
    move |source| EmbeddedError::File { action, path, source }
}
