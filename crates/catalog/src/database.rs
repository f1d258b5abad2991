//! The catalog's database in Postgres: made when missing, brought to the present schema, reached through a pool.
//!
//! It is a database of its own, so that nothing the catalog writes appears in a replication slot of the source.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts};
use model::secret::Secret;
use tokio_postgres::{Config, NoTls, error::SqlState};

use crate::error::{CatalogError, is_transient};

/// Connections at once; more requests wait.
const CONNECTIONS_MAX: usize = 16;
/// How long a request waits for a connection before it is told to try later.
const WAIT_MAX: Duration = Duration::from_secs(5);
const STATEMENT_TIMEOUT: &str = "-c statement_timeout=30s -c application_name=catalog";
/// Attempts of a read whose connection breaks (as all pooled ones do when Postgres restarts).
const READ_ATTEMPTS: usize = 3;
/// Any number of our own: held while the schema is changed.
const MIGRATION_LOCK: i64 = 0x6861_7573_6361_7401;

/// The schema's steps, in order; each is applied once, in a transaction.
const MIGRATIONS: [(i32, &str, &str); 2] = [
    (1, "jdbc_catalog_tables", include_str!("../migrations/V1__jdbc_catalog_tables.sql")),
    (2, "receipts", include_str!("../migrations/V2__receipts.sql")),
];

/// Where the database is.
#[derive(Clone)]
pub struct Address {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Secret,
    pub database: String,
}

impl Address {
    fn config(&self, database: &str) -> Config {
        let mut config = Config::new();
        config.host(&self.host).port(self.port).user(&self.user).password(self.password.expose()).dbname(database);
        config.options(STATEMENT_TIMEOUT).connect_timeout(Duration::from_secs(3));
        config.keepalives_idle(Duration::from_secs(30));
        config
    }
}

/// A pool of connections. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    address: Address,
}

impl Database {
    /// Does not connect yet.
    ///
    /// # Errors
    /// When the pool's settings contradict each other.
    pub fn new(address: Address) -> Result<Self, CatalogError> {
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(address.config(&address.database), NoTls, recycling);
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS_MAX)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts { wait: Some(WAIT_MAX), create: Some(WAIT_MAX), recycle: Some(WAIT_MAX) })
            .build()
            .map_err(|error| CatalogError::Internal(error.to_string()))?;
        Ok(Self { pool, address })
    }

    /// Makes the database when it is missing and applies the migrations it lacks.
    ///
    /// # Errors
    /// `Unavailable` when Postgres is away; otherwise what has to be mended by a person.
    pub async fn prepare(&self) -> Result<(), CatalogError> {
        self.create_when_missing().await?;
        let mut client = self.connection().await?;
        let transaction = client.transaction().await?;
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK]).await?;
        transaction
            .batch_execute(
                "CREATE TABLE IF NOT EXISTS catalog_migrations (
                     version int PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
            )
            .await?;
        let row = transaction.query_one("SELECT coalesce(max(version), 0) FROM catalog_migrations", &[]).await?;
        let present: i32 = row.get(0);
        let newest = MIGRATIONS.last().map_or(0, |(version, _, _)| *version);
        if present > newest {
            return Err(CatalogError::Internal(format!(
                "the database {} has schema version {present}, this catalog knows {newest}: start a newer catalog",
                self.address.database
            )));
        }
        for (version, name, sql) in MIGRATIONS.iter().filter(|(version, _, _)| *version > present) {
            transaction.batch_execute(sql).await?;
            transaction
                .execute("INSERT INTO catalog_migrations (version, name) VALUES ($1, $2)", &[version, name])
                .await?;
            tracing::info!(version, name, "schema migrated");
        }
        Ok(transaction.commit().await?)
    }

    async fn create_when_missing(&self) -> Result<(), CatalogError> {
        let name = &self.address.database;
        let (client, connection) = self.address.config("postgres").connect(NoTls).await?;
        let running = tokio::spawn(connection);
        if client.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[name]).await?.is_none() {
            let quoted = name.replace('"', "\"\"");
            match client.batch_execute(&format!("CREATE DATABASE \"{quoted}\"")).await {
                Ok(()) => tracing::info!(database = name, "database made"),
                // Another catalog that starts at the same time was first.
                Err(error)
                    if matches!(error.code(), Some(&SqlState::DUPLICATE_DATABASE | &SqlState::UNIQUE_VIOLATION)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        drop(client);
        running.abort();
        Ok(())
    }

    /// A connection for a transaction.
    ///
    /// # Errors
    /// `Unavailable` when there is none in time.
    pub async fn connection(&self) -> Result<Object, CatalogError> {
        Ok(self.pool.get().await?)
    }

    /// Runs a query that changes nothing, again on another connection when the one at hand has died.
    ///
    /// # Errors
    /// `Unavailable` when Postgres is away.
    pub async fn read(
        &self,
        sql: &str,
        parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>, CatalogError> {
        let mut attempt = 1;
        loop {
            let client = self.connection().await?;
            let statement = client.prepare_cached(sql).await;
            let result = match statement {
                Ok(statement) => client.query(&statement, parameters).await,
                Err(error) => Err(error),
            };
            match result {
                Ok(rows) => return Ok(rows),
                Err(error) if is_transient(&error) && attempt < READ_ATTEMPTS => attempt += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }
}
