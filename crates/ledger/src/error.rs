//! Why a verification could not be carried out, as opposed to one that found a difference.

/// What stands between the ledger and a verdict. Each text names the cure.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A server cannot be reached or does not answer.
    #[error("{server} is away ({reason}): start it or correct {setting}")]
    Away {
        /// Such as `Postgres at 127.0.0.1:4444`.
        server: String,
        /// What the connection says.
        reason: String,
        /// Setting that names its address.
        setting: &'static str,
    },
    /// A hop did not reach the position of the snapshot in time.
    #[error("{hop} did not catch up within {waited_seconds} s: {detail}")]
    Behind {
        /// The hop that lags.
        hop: &'static str,
        /// How long was waited.
        waited_seconds: u64,
        /// Where it stands and where it should be.
        detail: String,
    },
    /// Something is not as it must be for a verification.
    #[error("{0}")]
    Broken(String),
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, LedgerError>;

/// A definite error.
pub(crate) fn broken(text: impl Into<String>) -> LedgerError {
    LedgerError::Broken(text.into())
}
