//! Whether the database of a configuration answers: asked when a person gives the configuration, as Debezium asks it.
//!
//! A connector that is registered already waits for its database for ever; here somebody sits before the screen, and a
//! wrong host or password is best told at once.

use std::time::Duration;

use connect::FieldError;

use crate::{
    postgres::{
        PgError,
        connection::{Connection, Target},
    },
    settings::RelaySettings,
};

/// A database that answers does so within this time, also from far away.
const ANSWER_WAIT: Duration = Duration::from_secs(8);

/// Connects once.
pub async fn check(settings: &RelaySettings) -> Vec<FieldError> {
    let target = &settings.target;
    let why = match tokio::time::timeout(ANSWER_WAIT, Connection::open(target)).await {
        Ok(Ok(_)) => return Vec::new(),
        Ok(Err(error)) => reason(target, &error),
        Err(_) => format!("{}:{} did not answer within {} s.", target.host, target.port, ANSWER_WAIT.as_secs()),
    };
    vec![FieldError::new(
        "database.hostname",
        Some(&target.host),
        format!("Error while validating connector config: {why}"),
    )]
}

/// What Postgres' JDBC driver says of it.
fn reason(target: &Target, error: &PgError) -> String {
    match error {
        PgError::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => format!(
            "Connection to {}:{} refused. Check that the hostname and port are correct and that the postmaster is \
             accepting TCP/IP connections.",
            target.host, target.port
        ),
        PgError::Io(io) => format!("The connection attempt failed. ({io})"),
        PgError::Server(refusal) => format!("FATAL: {refusal}"),
        PgError::Tls(_) | PgError::Protocol(_) => error.to_string(),
    }
}
