//! Postgres: the truth. Tables, one snapshot of their rows and marts, and how far the relay has read.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures::{StreamExt as _, pin_mut};
use model::lsn::Lsn;
use model::secret::Secret;
use tokio_postgres::{Client, NoTls};

use crate::canonical::Kind;
use crate::error::{LedgerError, Result, broken};
use crate::rows::{Column, Row, Table, hash_row, quoted};
use crate::state::RowsByKey;
use crate::visibility::Snapshot;

/// Where Postgres is.
#[derive(Debug, Clone)]
pub struct SourceSettings {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Secret,
    pub database: String,
    /// Replication slot of the source connector.
    pub slot: String,
}

/// A connection, and what it shows at one snapshot.
pub struct Source {
    client: Client,
    settings: SourceSettings,
}

/// Where the relay's replication slot stands.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    /// How far the relay has confirmed the log.
    pub confirmed: Lsn,
    /// Whether somebody streams from it.
    pub active: bool,
    /// Whether that is Debezium.
    pub debezium: bool,
}

/// Which message a nudge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nudge {
    /// One that the connector's template leaves out of the topics. Our relay passes it like any other.
    LeftOut,
    /// One that becomes a record of the topic of messages: Debezium confirms nothing without a record.
    Captured,
}

/// The moment of the verification.
#[derive(Debug, Clone)]
pub struct Moment {
    pub snapshot: Snapshot,
    /// `pg_snapshot` as Postgres prints it.
    pub snapshot_text: String,
    /// End of the log right after the snapshot was taken: everything it shows was committed before.
    pub lsn: Lsn,
}

impl Source {
    /// # Errors
    /// When Postgres cannot be reached.
    pub async fn connect(settings: &SourceSettings) -> Result<Self> {
        let mut config = tokio_postgres::Config::new();
        config
            .host(&settings.host)
            .port(settings.port)
            .user(&settings.user)
            .password(settings.password.expose())
            .dbname(&settings.database)
            .application_name("ledger")
            .connect_timeout(Duration::from_secs(5))
            // The canonical form expects these.
            .options("-c timezone=UTC -c datestyle=ISO -c bytea_output=hex -c extra_float_digits=1");
        let (client, connection) = config.connect(NoTls).await.map_err(|error| error_of(settings, &error))?;
        // Ends with the client.
        tokio::spawn(connection);
        Ok(Self { client, settings: settings.clone() })
    }

    /// The table with its columns and primary key.
    ///
    /// # Errors
    /// When there is no such table, or it has no primary key.
    pub async fn table(&self, schema: &str, name: &str) -> Result<Arc<Table>> {
        let columns = "SELECT a.attname::text, CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END,
                array_position(i.indkey::int2[], a.attnum)
            FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
            LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
            WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
        let regclass = format!("{}.{}", quoted(schema), quoted(name));
        let rows = self.client.query(columns, &[&regclass]).await.map_err(|error| self.error(&error))?;
        let mut key: Vec<(i32, usize)> = Vec::new();
        let columns = rows.iter().enumerate().map(|(index, row)| {
            if let Some(place) = row.get::<_, Option<i32>>(2) {
                key.push((place, index));
            }
            Column { name: row.get(0), kind: Kind::of_type(row.get(1)) }
        });
        let columns: Vec<Column> = columns.collect();
        key.sort_unstable();
        if columns.is_empty() {
            return Err(broken(format!(
                "Postgres has no table {schema}.{name}: run the migrations, or correct STOREFRONT_TOPICS"
            )));
        }
        if key.is_empty() {
            return Err(broken(format!("{schema}.{name} has no primary key, so its rows cannot be told apart")));
        }
        let key = key.into_iter().map(|(_, index)| index).collect();
        Ok(Arc::new(Table { schema: schema.to_owned(), name: name.to_owned(), columns, key }))
    }

    /// Opens the one transaction that everything is read in, and says where it stands.
    ///
    /// # Errors
    /// When Postgres goes away.
    pub async fn begin(&self) -> Result<Moment> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        self.client.batch_execute(begin).await.map_err(|error| self.error(&error))?;
        // The first statement takes the snapshot; the functions run after it.
        let query = "SELECT pg_current_snapshot()::text, pg_current_wal_insert_lsn()::text";
        let row = self.client.query_one(query, &[]).await.map_err(|error| self.error(&error))?;
        let (snapshot_text, lsn): (String, String) = (row.get(0), row.get(1));
        let lsn = lsn.parse().map_err(|error| broken(format!("{error}")))?;
        Ok(Moment { snapshot: snapshot_text.parse()?, snapshot_text, lsn })
    }

    /// Ends the transaction, so that it holds up no vacuum while the lake catches up.
    ///
    /// # Errors
    /// When Postgres goes away.
    pub async fn end(&self) -> Result<()> {
        self.client.batch_execute("COMMIT").await.map_err(|error| self.error(&error))
    }

    /// All rows of a table, by key.
    ///
    /// # Errors
    /// When Postgres goes away.
    pub async fn rows(&self, table: &Table) -> Result<RowsByKey> {
        let query = format!("SELECT {} FROM {}.{}", table.column_list(), quoted(&table.schema), quoted(&table.name));
        let kinds: Vec<Kind> = table.columns.iter().map(|column| column.kind).collect();
        let mut rows = RowsByKey::new();
        self.copy(&query, &kinds, |row| {
            rows.insert(table.key_of(&row)?, hash_row(&row));
            Ok(())
        })
        .await?;
        Ok(rows)
    }

    /// The rows of a query, in canonical form.
    ///
    /// # Errors
    /// When Postgres goes away or refuses the query.
    pub async fn query(&self, query: &str, kinds: &[Kind]) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        self.copy(query, kinds, |row| {
            rows.push(row);
            Ok(())
        })
        .await?;
        Ok(rows)
    }

    async fn copy(&self, query: &str, kinds: &[Kind], mut take: impl FnMut(Row) -> Result<()>) -> Result<()> {
        let copy = format!("COPY ({query}) TO STDOUT");
        let stream = self.client.copy_out(&copy).await.map_err(|error| self.error(&error))?;
        pin_mut!(stream);
        let mut buffer = BytesMut::new();
        while let Some(chunk) = stream.next().await {
            buffer.extend_from_slice(&chunk.map_err(|error| self.error(&error))?);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line = buffer.split_to(end + 1);
                take(copy_row(&line[..end], kinds)?)?;
            }
        }
        if buffer.is_empty() { Ok(()) } else { Err(broken("COPY ended in the middle of a row")) }
    }

    /// Writes an empty message into the log, so that a slot of an idle database has something to pass. Returns where the
    /// message stands.
    ///
    /// # Errors
    /// When Postgres goes away.
    pub async fn nudge(&self, nudge: Nudge) -> Result<Lsn> {
        let prefix = match nudge {
            Nudge::LeftOut => "haus.ledger",
            Nudge::Captured => "ledger",
        };
        let message = "SELECT pg_logical_emit_message(true, $1, '')::text";
        let row = self.client.query_one(message, &[&prefix]).await.map_err(|error| self.error(&error))?;
        row.get::<_, String>(0).parse().map_err(|error| broken(format!("{error}")))
    }

    /// The relay's slot; `None` when there is no such.
    ///
    /// # Errors
    /// When Postgres goes away.
    pub async fn slot(&self) -> Result<Option<Slot>> {
        let query = "SELECT coalesce(confirmed_flush_lsn, '0/0')::text, active,
                coalesce(application_name LIKE 'Debezium%', false)
            FROM pg_replication_slots LEFT JOIN pg_stat_activity ON pid = active_pid WHERE slot_name = $1";
        let row = self.client.query_opt(query, &[&self.settings.slot]).await.map_err(|error| self.error(&error))?;
        row.map(|row| {
            let confirmed = row.get::<_, String>(0).parse().map_err(|error| broken(format!("{error}")))?;
            Ok(Slot { confirmed, active: row.get(1), debezium: row.get(2) })
        })
        .transpose()
    }

    fn error(&self, error: &tokio_postgres::Error) -> LedgerError {
        error_of(&self.settings, error)
    }
}

fn error_of(settings: &SourceSettings, error: &tokio_postgres::Error) -> LedgerError {
    let server = format!("Postgres at {}:{}/{}", settings.host, settings.port, settings.database);
    match error.as_db_error() {
        Some(database) => broken(format!("{server} refused: {} [{}]", database.message(), database.code().code())),
        None => {
            let reason = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
            LedgerError::Away { server, reason, setting: "POSTGRES_HOST, POSTGRES_PORT" }
        }
    }
}

/// A line of COPY's text format.
fn copy_row(line: &[u8], kinds: &[Kind]) -> Result<Row> {
    let cells: Vec<&[u8]> = line.split(|byte| *byte == b'\t').collect();
    if cells.len() != kinds.len() {
        return Err(broken(format!("COPY gave {} columns where {} were asked for", cells.len(), kinds.len())));
    }
    let cells = cells.into_iter().zip(kinds);
    cells.map(|(cell, kind)| copy_cell(cell)?.map(|text| kind.from_postgres(&text)).transpose()).collect()
}

fn copy_cell(cell: &[u8]) -> Result<Option<String>> {
    if cell == b"\\N" {
        return Ok(None);
    }
    let mut text = Vec::with_capacity(cell.len());
    let mut bytes = cell.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            // COPY TO writes these six; any other character stands for itself.
            b'\\' => text.push(match bytes.next() {
                Some(b'b') => 0x08,
                Some(b'f') => 0x0c,
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'v') => 0x0b,
                Some(other) => *other,
                None => return Err(broken("a cell of COPY ends in a backslash")),
            }),
            other => text.push(*other),
        }
    }
    String::from_utf8(text).map(Some).map_err(|_| broken("a cell of COPY is no UTF-8"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_of_copy_is_a_row() {
        let row = copy_row(
            b"7\ta\\tb\\\\\\n\t\\N\t\t1.50",
            &[Kind::Integer, Kind::Text, Kind::Text, Kind::Text, Kind::Decimal],
        );
        let expected = ["7", "a\tb\\\n", "NULL", "", "1.50"].map(|text| (text != "NULL").then(|| text.to_owned()));
        assert_eq!(row.unwrap(), expected);
        assert!(copy_row(b"7\t8", &[Kind::Integer]).is_err());
        assert!(copy_row(b"x", &[Kind::Integer]).is_err());
    }

    proptest! {
        #[test]
        fn any_text_survives_copy(text in ".{0,40}") {
            let escaped = text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r");
            prop_assert_eq!(copy_cell(escaped.as_bytes()).unwrap(), Some(text));
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_a_crash(line in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = copy_row(&line, &[Kind::Text, Kind::Integer]);
        }
    }
}
