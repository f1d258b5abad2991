//! Reads one chunk of an incremental snapshot: the next rows of a table in the order of its key.
//!
//! Each chunk is a short transaction of its own. The table is locked (as any reader locks it) before the transaction's
//! snapshot is taken: a snapshot older than a rewrite of the table would find it empty.

use std::{collections::VecDeque, sync::Arc};

use model::{cell::Cell, envelope::Source, lsn::Lsn};

use super::{state::QueuedTable, window::Chunk};
use crate::{
    error::RelayError,
    postgres::{
        PgError,
        catalog::{self, PublishedTable},
        connection::Connection,
        quote_identifier, quote_literal,
    },
    records::{CapturedTable, Encoded, RecordRules, RowChange},
    session::Session,
    snapshot::{CopyLine, clock_ns, schema_of, visibility::PgSnapshot},
};

/// Bytes after which a chunk ends before it has its number of rows.
const CHUNK_BYTES_MAX: usize = 4 << 20;
/// A reader waits no longer for a lock: the stream waits with it. Short enough to be felt by nobody.
const LOCK_TIMEOUT: &str = "200ms";
/// SQLSTATE `lock_not_available`.
const LOCKED: &str = "55P03";
/// SQLSTATE `undefined_table`.
const UNDEFINED_TABLE: &str = "42P01";

/// A table as its chunks need it.
#[derive(Debug)]
pub(super) struct ChunkTable {
    pub captured: Arc<CapturedTable>,
    pub relation: u32,
    /// Rows the server supposes in it.
    pub rows: Option<u64>,
    /// Name to read from.
    from: String,
    /// Columns the chunks walk along, quoted.
    key: Vec<String>,
    conditions: String,
    /// How its columns were when this was made.
    signature: String,
    /// The server sends the key of every row that is changed or deleted.
    pub key_in_stream: bool,
}

/// Why there is no chunk.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoChunk {
    /// Somebody holds the table. Later.
    #[error("the table is locked")]
    Locked,
    /// The stream is ahead of what the database shows. Soon.
    #[error("a transaction that was streamed is not visible yet")]
    Ahead,
    /// The table is not what it was: look it up again.
    #[error("the table changed")]
    Changed,
    /// The connection is gone or out of step.
    #[error(transparent)]
    Connection(PgError),
    /// It cannot be read, now or later.
    #[error("{0}")]
    Unreadable(String),
}

impl From<PgError> for NoChunk {
    fn from(error: PgError) -> Self {
        match error.code() {
            Some(LOCKED) => Self::Locked,
            Some(_) if !error.passes_by_itself() => Self::Unreadable(error.to_string()),
            _ => Self::Connection(error),
        }
    }
}

/// What a record of a chunk says of its place in the stream: that of the last event, as Debezium has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub lsn: Lsn,
    pub tx_id: Option<i64>,
    pub last_commit: Option<Lsn>,
}

/// The transactions the stream began last.
///
/// A commit is streamed as soon as it is logged, and visible a moment later; with synchronous replication, when a standby has
/// it. A chunk read in between would bring rows older than changes that are written already.
#[derive(Debug, Default)]
pub(super) struct Begun(VecDeque<u32>);

/// More transactions than a server has connections to commit them.
const BEGUN_MAX: usize = 1024;

impl Begun {
    pub fn push(&mut self, xid: u32) {
        if self.0.len() == BEGUN_MAX {
            self.0.pop_front();
        }
        self.0.push_back(xid);
    }

    fn all_seen_by(&self, snapshot: &PgSnapshot) -> bool {
        self.0.iter().all(|xid| snapshot.sees_xid(*xid))
    }
}

/// Looks a table up. `Ok(Err)`: it cannot be read by chunks, for this reason.
pub(super) async fn look_up(
    session: &mut Session,
    queued: &QueuedTable,
) -> Result<Result<ChunkTable, String>, RelayError> {
    let target = session.settings.target.clone();
    let asked = |error: PgError| RelayError::postgres(&target, "look a table up", &error);
    let tables = catalog::published_tables(&mut session.control, &session.settings.publication).await.map_err(asked)?;
    let found = tables.into_iter().find(|table| format!("{}.{}", table.schema, table.name) == queued.name);
    let Some(table) = found else { return Ok(Err("it is not in the publication".into())) };
    let signature = signature(&mut session.control, table.id.0).await.map_err(asked)?;
    let identity = format!("SELECT relreplident IN ('d', 'f') FROM pg_class WHERE oid = {}", table.id);
    let identity = session.control.query_one(&identity).await.map_err(asked)?;
    let settings = Arc::clone(&session.settings);
    let Some((schema, own_key)) = schema_of(&settings, &mut session.control, &table).await? else {
        return Ok(Err("it does not exist any more".into()));
    };
    let key = match &queued.surrogate_key {
        Some(column) => vec![column.clone()],
        None => own_key,
    };
    if key.is_empty() {
        return Ok(Err("it has no primary key; name a column to walk along as \"surrogate-key\"".into()));
    }
    if let Some(column) = key.iter().find(|name| schema.columns.iter().all(|column| column.name != **name)) {
        return Ok(Err(format!("column {column} is not captured")));
    }
    let known = table.heaps.iter().try_fold(0_i64, |sum, heap| (heap.rows >= 0).then_some(sum + heap.rows));
    let captured = session.desk.prepare(schema).await?;
    Ok(Ok(ChunkTable {
        captured,
        relation: table.id.0,
        rows: known.and_then(|rows| u64::try_from(rows).ok()),
        from: source_of(&table),
        conditions: conditions(&table, queued, &key),
        key: key.iter().map(|name| quote_identifier(name)).collect(),
        signature,
        key_in_stream: identity.is_some_and(|row| row.flag(0)),
    }))
}

/// A table of its own is read without its children, which are tables of their own; a partitioned one through its root.
fn source_of(table: &PublishedTable) -> String {
    let name = format!("{}.{}", quote_identifier(&table.schema), quote_identifier(&table.name));
    if table.heaps.iter().any(|heap| heap.oid == table.id.0) { format!("ONLY {name}") } else { name }
}

fn conditions(table: &PublishedTable, queued: &QueuedTable, key: &[String]) -> String {
    let given = [table.row_filter.as_deref(), queued.filter.as_deref()].into_iter().flatten();
    // The line break ends a comment that a condition may end with.
    let mut conditions: Vec<String> = given.map(|condition| format!("({condition}\n)")).collect();
    if queued.surrogate_key.is_some() {
        conditions.extend(key.iter().map(|name| format!("{} IS NOT NULL", quote_identifier(name))));
    }
    if conditions.is_empty() { "true".into() } else { conditions.join(" AND ") }
}

const SIGNATURE: &str = "coalesce(md5(string_agg(concat_ws(':', attname, atttypid, atttypmod, attnotnull), ',' ORDER BY attnum)), '') \
     FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped AND attrelid =";

async fn signature(connection: &mut Connection, relation: u32) -> Result<String, PgError> {
    let row = connection.query_one(&format!("SELECT {SIGNATURE} {relation}")).await?;
    row.ok_or_else(|| PgError::Protocol("no answer".into()))?.text(0)
}

/// What is to be read.
pub(super) struct Ask<'a> {
    pub table: &'a ChunkTable,
    /// Rows behind this key.
    pub after: Option<Vec<String>>,
    pub rows_max: usize,
    pub rules: &'a RecordRules,
    pub place: Place,
    pub begun: &'a Begun,
}

/// Reads the next rows up to `last`, which is asked for when it is not known yet.
pub(super) async fn read(
    connection: &mut Connection,
    ask: Ask<'_>,
    last: &mut Option<Vec<String>>,
) -> Result<Chunk, NoChunk> {
    let Ask { table, after, begun, .. } = &ask;
    let begin = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; \
         LOCK TABLE {} IN ACCESS SHARE MODE",
        table.from
    );
    connection.query(&begin).await.map_err(|error| match error.code() {
        Some(UNDEFINED_TABLE) => NoChunk::Changed,
        _ => error.into(),
    })?;
    let (snapshot, closes_at) = view(connection, table).await?;
    if !begun.all_seen_by(&snapshot) {
        connection.query("ROLLBACK").await?;
        return Err(NoChunk::Ahead);
    }
    let mut chunk = Chunk {
        relation: table.relation,
        table: Arc::clone(&table.captured),
        snapshot,
        closes_at,
        encoded: Encoded::default(),
        identities: Vec::new(),
        after: after.clone(),
        ends_table: false,
    };
    if last.is_none() {
        *last = greatest_key(connection, table).await?;
    }
    match last.as_deref() {
        Some(last) => rows(connection, &ask, last, &mut chunk).await?,
        None => chunk.ends_table = true,
    }
    connection.query("COMMIT").await?;
    Ok(chunk)
}

/// What the transaction sees, and the end of everything it sees.
async fn view(connection: &mut Connection, table: &ChunkTable) -> Result<(PgSnapshot, Lsn), NoChunk> {
    // The snapshot is the transaction's first, so the log's end is asked for after it.
    let sql = format!(
        "SELECT pg_current_snapshot()::text, CASE WHEN pg_is_in_recovery() \
           THEN greatest(coalesce(pg_last_wal_receive_lsn(), '0/0'), coalesce(pg_last_wal_replay_lsn(), '0/0')) \
           ELSE pg_current_wal_insert_lsn() END, \
         (SELECT setting FROM pg_settings WHERE name = 'wal_segment_size'), (SELECT {SIGNATURE} {})",
        table.relation
    );
    let row = connection.query_one(&sql).await?;
    let row = row.ok_or_else(|| NoChunk::Connection(PgError::Protocol("no answer".into())))?;
    if row.get(3) != Some(&table.signature) {
        return Err(NoChunk::Changed);
    }
    let snapshot = row.text(0)?.parse::<PgSnapshot>();
    let snapshot = snapshot.map_err(|error| NoChunk::Connection(PgError::Protocol(error.to_string())))?;
    let segment = row.parse(2).unwrap_or(DEFAULT_SEGMENT);
    Ok((snapshot, end_of_records(row.parse(1)?, segment)))
}

const DEFAULT_SEGMENT: u64 = 16 << 20;
const LOG_PAGE: u64 = 8192;

/// Where the last record ends. At the start of a page the server names the place behind the page's header, where the next
/// record will stand; a stream does not get there before something is written.
fn end_of_records(insert: Lsn, segment: u64) -> Lsn {
    let header = if insert.0 % segment.max(LOG_PAGE) < LOG_PAGE { 40 } else { 24 };
    if insert.0 % LOG_PAGE == header { Lsn(insert.0 - header) } else { insert }
}

async fn greatest_key(connection: &mut Connection, table: &ChunkTable) -> Result<Option<Vec<String>>, NoChunk> {
    let descending: Vec<String> = table.key.iter().map(|name| format!("{name} DESC")).collect();
    let sql = format!(
        "SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT 1",
        table.key.join(", "),
        table.from,
        table.conditions,
        descending.join(", ")
    );
    let Some(row) = connection.query_one(&sql).await? else { return Ok(None) };
    let key = (0..table.key.len()).map(|index| row.text(index)).collect::<Result<_, _>>();
    Ok(Some(key?))
}

/// The chunk's statement.
fn statement(table: &ChunkTable, after: Option<&[String]>, last: &[String], rows_max: usize) -> String {
    let key = table.key.join(", ");
    let literals = |values: &[String]| values.iter().map(|value| quote_literal(value)).collect::<Vec<_>>().join(", ");
    // Literals without a type take that of the column they are compared with.
    let from = after.map(|after| format!("ROW({key}) > ROW({}) AND ", literals(after))).unwrap_or_default();
    let columns = table.captured.schema.columns.iter().map(|column| quote_identifier(&column.name));
    let selected: Vec<String> = table.key.iter().cloned().chain(columns).collect();
    format!(
        "COPY (SELECT {} FROM {} WHERE {from}ROW({key}) <= ROW({}) AND {} ORDER BY {key} LIMIT {rows_max}) TO STDOUT",
        selected.join(", "),
        table.from,
        literals(last),
        table.conditions
    )
}

async fn rows(connection: &mut Connection, ask: &Ask<'_>, last: &[String], chunk: &mut Chunk) -> Result<(), NoChunk> {
    let (table, rows_max, rules, place) = (ask.table, ask.rows_max, ask.rules, ask.place);
    let sql = statement(table, chunk.after.as_deref(), last, rows_max);
    connection.copy_out(&sql).await?;
    let next = i64::try_from(chunk.snapshot.next_transaction()).ok();
    let source = Source {
        snapshot: model::envelope::SnapshotMark::Incremental,
        ts_us: i64::try_from(clock_ns() / 1000).unwrap_or_default(),
        tx_id: place.tx_id.or(next),
        lsn: Some(place.lsn),
        sequence: (place.last_commit, Some(place.lsn)),
        origin: None,
    };
    let (mut parser, mut count) = (CopyLine::default(), 0);
    let mut refused = None;
    let mut line = |line: &[u8]| -> Result<(), NoChunk> {
        // Once full, the rest is read past: it is less than a chunk, and the connection stays in step.
        if chunk.encoded.bytes.len() >= CHUNK_BYTES_MAX || refused.is_some() {
            return Ok(());
        }
        parser.parse(line);
        let cells: Vec<Cell<'_>> = parser.cells(line).collect();
        let (key, row) = cells.split_at(table.key.len().min(cells.len()));
        match rules.encode(&table.captured, RowChange::Read(row), &source, None, clock_ns(), &mut chunk.encoded) {
            Ok(()) => {
                count += 1;
                chunk.identities.push(identity(key));
                chunk.after = Some(key.iter().map(text).collect());
            }
            Err(error) => refused = Some(format!("the row with key {:?} cannot be written: {error}", texts(key))),
        }
        Ok(())
    };
    while connection.copy_lines(&mut line).await? {}
    if let Some(reason) = refused {
        return Err(NoChunk::Unreadable(reason));
    }
    let full = count >= rows_max || chunk.encoded.bytes.len() >= CHUNK_BYTES_MAX;
    chunk.ends_table = !full || chunk.after.as_deref() == Some(last);
    Ok(())
}

fn text(cell: &Cell<'_>) -> String {
    String::from_utf8_lossy(cell.text().unwrap_or_default()).into_owned()
}

fn texts(key: &[Cell<'_>]) -> Vec<String> {
    key.iter().map(text).collect()
}

/// What tells a row from others, out of the cells of its key: the same for a row that was read and one of the stream.
pub(super) fn identity(key: &[Cell<'_>]) -> Vec<u8> {
    let mut identity = Vec::new();
    for cell in key {
        let text = cell.text().unwrap_or_default();
        identity.extend((text.len() as u64).to_be_bytes());
        identity.extend(text);
    }
    identity
}

impl ChunkTable {
    /// The identity of a row of the stream; `None` when the key is not in it. `columns`: names of its cells.
    pub fn identity_of(&self, columns: &CapturedTable, row: &[Cell<'_>]) -> Option<Vec<u8>> {
        let cell = |name: &String| {
            let index = columns.schema.columns.iter().position(|column| quote_identifier(&column.name) == *name)?;
            row.get(index).filter(|cell| cell.text().is_some()).copied()
        };
        let key = self.key.iter().map(cell).collect::<Option<Vec<_>>>()?;
        Some(identity(&key))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_header_of_a_page_is_not_waited_for() {
        let segment = DEFAULT_SEGMENT;
        assert_eq!(end_of_records(Lsn(3 * segment + 40), segment), Lsn(3 * segment));
        assert_eq!(end_of_records(Lsn(3 * segment + 8192 + 24), segment), Lsn(3 * segment + 8192));
        for place in [3 * segment + 24, 3 * segment + 8192 + 40, 3 * segment + 5000, 3 * segment] {
            assert_eq!(end_of_records(Lsn(place), segment), Lsn(place));
        }
    }

    #[test]
    fn a_transaction_that_was_streamed_and_is_not_visible_yet_is_noticed() {
        let mut begun = Begun::default();
        for xid in 3..2000 {
            begun.push(xid);
        }
        let seen = |snapshot: &str| begun.all_seen_by(&snapshot.parse().unwrap());
        assert!(seen("2000:2000:"));
        assert!(!seen("1990:2000:1990"), "logged, and not visible");
        assert!(!seen("1999:1999:"), "the last of all");
        assert!(seen("500:2000:500"), "long ago: it is over");
    }

    #[test]
    fn identities_of_different_keys_differ() {
        let cells = |texts: &[&'static str]| texts.iter().map(|text| Cell::Text(text.as_bytes())).collect::<Vec<_>>();
        assert_ne!(identity(&cells(&["ab", "c"])), identity(&cells(&["a", "bc"])));
        assert_eq!(identity(&cells(&["ab", "c"])), identity(&cells(&["ab", "c"])));
    }
}
