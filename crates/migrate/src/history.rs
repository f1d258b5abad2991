//! The table `flyway_schema_history` and the lock around it: all SQL of this crate.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::plan::HistoryRow;
use crate::run::MigrateError;
use crate::script::Script;

/// How long to wait for another runner before giving up.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(60);
const LOCK_RETRY: Duration = Duration::from_millis(100);

/// "Flyway" in ASCII: the base of Flyway's advisory lock numbers.
const LOCK_BASE: i64 = 0x466c_7977_6179;

/// The history of one database. All statements name the schema, as a migration may change the search path.
pub(crate) struct History<'a> {
    client: &'a Client,
    /// `"public"."flyway_schema_history"`, quoted.
    table: String,
    lock: i64,
}

impl<'a> History<'a> {
    /// Finds the history in the connection's current schema, where Flyway keeps it by default.
    pub(crate) async fn of(client: &'a Client) -> Result<Self, MigrateError> {
        let row = client.query_one("SELECT current_schema()::text", &[]).await?;
        let schema: Option<String> = row.get(0);
        let schema = schema.ok_or(MigrateError::NoSchema)?;
        let table = format!("\"{}\".\"flyway_schema_history\"", schema.replace('"', "\"\""));
        let lock = LOCK_BASE.wrapping_add(i64::from(java_hash(&table)));
        Ok(Self { client, table, lock })
    }

    /// Takes Flyway's own lock, so that neither a second runner of ours nor Flyway is at work at the same time.
    ///
    /// Asks again and again instead of waiting inside Postgres, as Flyway does: a waiting statement holds a snapshot,
    /// on which a migration of the other runner could wait in turn.
    pub(crate) async fn lock(&self) -> Result<(), MigrateError> {
        let start = Instant::now();
        loop {
            let row = self.client.query_one("SELECT pg_try_advisory_lock($1)", &[&self.lock]).await?;
            if row.get(0) {
                return Ok(());
            }
            if start.elapsed() > LOCK_WAIT_MAX {
                return Err(MigrateError::Locked { waited_seconds: LOCK_WAIT_MAX.as_secs() });
            }
            tokio::time::sleep(LOCK_RETRY).await;
        }
    }

    /// Gives the lock back. A lost connection has given it back already.
    pub(crate) async fn unlock(&self) -> Result<(), MigrateError> {
        self.client.execute("SELECT pg_advisory_unlock($1)", &[&self.lock]).await?;
        Ok(())
    }

    /// Whether the table is there.
    pub(crate) async fn exists(&self) -> Result<bool, MigrateError> {
        Ok(self.client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&self.table]).await?.get(0))
    }

    /// Makes the table as Flyway makes it on Postgres.
    pub(crate) async fn create(&self) -> Result<(), MigrateError> {
        let table = &self.table;
        self.client
            .batch_execute(&format!(
                r#"BEGIN;
CREATE TABLE {table} (
    "installed_rank" INT NOT NULL,
    "version" VARCHAR(50),
    "description" VARCHAR(200) NOT NULL,
    "type" VARCHAR(20) NOT NULL,
    "script" VARCHAR(1000) NOT NULL,
    "checksum" INTEGER,
    "installed_by" VARCHAR(100) NOT NULL,
    "installed_on" TIMESTAMP NOT NULL DEFAULT now(),
    "execution_time" INTEGER NOT NULL,
    "success" BOOLEAN NOT NULL
);
ALTER TABLE {table} ADD CONSTRAINT "flyway_schema_history_pk" PRIMARY KEY ("installed_rank");
CREATE INDEX "flyway_schema_history_s_idx" ON {table} ("success");
COMMIT"#
            ))
            .await?;
        Ok(())
    }

    /// All rows in order of rank.
    pub(crate) async fn rows(&self) -> Result<Vec<HistoryRow>, MigrateError> {
        let query = format!(
            "SELECT installed_rank, version, description, type, script, checksum, success FROM {} ORDER BY 1",
            self.table
        );
        let rows = self.client.query(&query, &[]).await?;
        rows.iter()
            .map(|row| {
                let version: Option<&str> = row.get(1);
                let script: String = row.get(4);
                let version = version
                    .map(str::parse)
                    .transpose()
                    .map_err(|source| MigrateError::HistoryVersion { script: script.clone(), source })?;
                Ok(HistoryRow {
                    installed_rank: row.get(0),
                    version,
                    description: row.get(2),
                    kind: row.get(3),
                    script,
                    checksum: row.get(5),
                    success: row.get(6),
                })
            })
            .collect()
    }

    /// Records that `script` ran in the running transaction.
    pub(crate) async fn record(&self, script: &Script, took: Duration) -> Result<(), MigrateError> {
        let insert = format!(
            "INSERT INTO {0} (installed_rank, version, description, type, script, checksum, installed_by, execution_time, success)
             SELECT coalesce(max(installed_rank), 0) + 1, $1, $2, 'SQL', $3, $4, current_user, $5, true FROM {0}",
            self.table
        );
        let took_ms = i32::try_from(took.as_millis()).unwrap_or(i32::MAX);
        let version = script.version.to_string();
        self.client
            .execute(&insert, &[&version, &script.description, &script.name, &script.checksum, &took_ms])
            .await?;
        Ok(())
    }
}

/// Java's `String.hashCode`, over UTF-16 units.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_javas() {
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("hello"), 99_162_322);
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
    }

    #[test]
    fn the_lock_number_spells_flyway() {
        assert_eq!(LOCK_BASE.to_be_bytes()[2..], *b"Flyway");
    }
}
