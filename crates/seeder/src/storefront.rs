//! The storefront's database: connections, statements, and what is told about them.

pub mod activity;
mod copy_text;
pub mod full_seed;
mod id_blocks;
mod statements;
pub mod traffic_run;
pub mod watch;

use model::secret::Secret;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

/// Where the storefront is.
#[derive(Clone)]
pub struct Database {
    config: tokio_postgres::Config,
    /// `host:port/database`, for messages.
    address: String,
}

/// Why the database did not do what was asked, by what happens next.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StorefrontError {
    /// It cannot be reached, or it went away: try again later.
    #[error("Postgres at {address} is away ({reason}): start it, or set POSTGRES_HOST and POSTGRES_PORT")]
    Away {
        /// `host:port/database`.
        address: String,
        /// What the connection says.
        reason: String,
    },
    /// Others changed the same rows at the same time; nothing was written.
    #[error("a concurrent change came first ({0})")]
    Conflict(String),
    /// It refused. A person must act.
    #[error("Postgres at {address} refused: {reason}")]
    Refused {
        /// `host:port/database`.
        address: String,
        /// What Postgres says, and the cure where it is known.
        reason: String,
    },
}

impl Database {
    /// Makes no connection yet.
    #[must_use]
    pub fn new(host: &str, port: u16, user: &str, password: &Secret, name: &str) -> Self {
        let mut config = tokio_postgres::Config::new();
        config
            .host(host)
            .port(port)
            .user(user)
            .password(password.expose())
            .dbname(name)
            .application_name("seeder")
            .connect_timeout(std::time::Duration::from_secs(5))
            // Columns are timestamps without zone; the shop's clock is UTC.
            .options("-c timezone=UTC");
        Self { config, address: format!("{host}:{port}/{name}") }
    }

    /// A new connection. It ends when the client is dropped.
    pub async fn connect(&self) -> Result<Client, StorefrontError> {
        let (client, connection) = self.config.connect(NoTls).await.map_err(|error| self.error(&error))?;
        // Ends with the client; its error reaches whoever uses the client.
        tokio::spawn(connection);
        Ok(client)
    }

    /// Sorts an error by what happens next.
    fn error(&self, error: &tokio_postgres::Error) -> StorefrontError {
        let address = self.address.clone();
        let Some(database) = error.as_db_error() else {
            let source = std::error::Error::source(error);
            let reason = source.map_or_else(|| error.to_string(), ToString::to_string);
            // What is neither Postgres' answer nor the network's is a statement and its values that do not fit.
            let lost = error.is_closed() || source.is_none_or(|source| source.is::<std::io::Error>());
            return if lost {
                StorefrontError::Away { address, reason }
            } else {
                StorefrontError::Refused { address, reason }
            };
        };
        let (code, message) = (database.code(), database.message());
        // Class 08: connection; class 57P: shutdown, crash, start-up; 53300: too many connections.
        if code.code().starts_with("08") || code.code().starts_with("57P") || *code == SqlState::TOO_MANY_CONNECTIONS {
            return StorefrontError::Away { address, reason: message.to_owned() };
        }
        if [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE, SqlState::FOREIGN_KEY_VIOLATION]
            .contains(code)
        {
            return StorefrontError::Conflict(message.to_owned());
        }
        let cure = if [SqlState::UNDEFINED_TABLE, SqlState::INVALID_CATALOG_NAME].contains(code) {
            "; run the migrations first"
        } else {
            ""
        };
        StorefrontError::Refused { address, reason: format!("{message}{cure}") }
    }
}
