//! Talking to Postgres: connections, the replication stream, the catalog, slots and publications.
//!
//! Stands at the relay's source end. The wire protocol is spoken here and not through a client crate, because the relay
//! needs what those hide: keepalives (an idle slot must move on), "nothing is buffered" (the end of a Kafka
//! transaction), and exactly which position is reported as flushed. Promise: nothing in here decides what is durable;
//! callers pass the position to confirm.

pub mod catalog;
pub mod connection;
pub mod frames;
mod login;
pub mod publication;
pub mod replication;
pub mod slot;
pub mod tls;
mod transport;

/// What went wrong between the relay and Postgres.
#[derive(Debug, thiserror::Error)]
pub enum PgError {
    /// The server cannot be reached, or went away in the middle.
    #[error("connection: {0}")]
    Io(#[from] std::io::Error),
    /// The server refused a statement.
    #[error("{0}")]
    Server(Box<ServerError>),
    /// The connection cannot be encrypted, or one side does not accept the other's certificate.
    #[error("TLS: {0}")]
    Tls(String),
    /// The server said something this client does not understand.
    #[error("protocol: {0}")]
    Protocol(String),
}

/// Fields of an `ErrorResponse` (manual, "Error and Notice Message Fields").
#[derive(Debug, Clone, PartialEq, Eq, Default, thiserror::Error)]
#[error("{message} (SQLSTATE {code}){}{}", prefixed(" — ", detail), prefixed(" — hint: ", hint))]
pub struct ServerError {
    /// SQLSTATE, five characters.
    pub code: String,
    pub message: String,
    pub detail: String,
    pub hint: String,
}

fn prefixed(prefix: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{prefix}{text}") }
}

impl PgError {
    /// SQLSTATE of a refusal by the server.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Server(error) => Some(&error.code),
            Self::Io(_) | Self::Tls(_) | Self::Protocol(_) => None,
        }
    }

    /// The same statement may succeed later without anybody acting: the server is away, starting, stopping, or out of
    /// connections, or it ended our session.
    #[must_use]
    pub fn passes_by_itself(&self) -> bool {
        match self {
            Self::Io(_) => true,
            // Class 08 connection, 53 resources, 57 operator intervention, 40 rollback, 55006 object in use, 58 system.
            Self::Server(error) => {
                ["08", "53", "57", "40", "58"].iter().any(|class| error.code.starts_with(class))
                    || error.code == "55006"
            }
            Self::Tls(_) | Self::Protocol(_) => false,
        }
    }
}

/// An identifier in double quotes.
#[must_use]
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal. Safe under `standard_conforming_strings`, which every session here has on.
#[must_use]
pub fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
