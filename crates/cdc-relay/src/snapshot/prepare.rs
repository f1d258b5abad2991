//! Opens a snapshot: the slot, the readers under one view of the database, the plan, the tables' schemas.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use model::{lsn::Lsn, table::TableSchema};

use super::{
    SnapshotStart,
    plan::{ChunkId, Plan, PlannedTable, Progress},
    query::HeapQuery,
    reader::{HeapToRead, ReadJob},
    visibility::PgSnapshot,
};
use crate::{
    error::RelayError,
    failpoint,
    outbox::NoLifeline,
    postgres::{
        PgError,
        catalog::{self, PublishedTable},
        connection::Connection,
        quote_literal,
        slot::{self, SlotKind},
    },
    session::Session,
    settings::{RelaySettings, SnapshotSettings},
};

/// Pages of a chunk: 32 MiB, some seconds of work, so that readers end about together and a list stays short.
const CHUNK_PAGES: u32 = 4096;

pub(super) struct Prepared {
    pub job: ReadJob,
    /// One connection per reader, each in a transaction under the same snapshot.
    pub readers: Vec<Connection>,
    pub plan: Plan,
    pub progress: BTreeMap<ChunkId, Progress>,
}

pub(super) async fn prepare(session: &mut Session, start: SnapshotStart) -> Result<Prepared, RelayError> {
    match start {
        SnapshotStart::New { stale } => prepare_new(session, &stale).await,
        SnapshotStart::Resume { plan, progress } => prepare_resumed(session, plan, progress).await,
    }
}

/// Readers under one exported snapshot, and where the stream takes over from it.
pub(super) struct View {
    pub consistent_point: Lsn,
    pub readers: Vec<Connection>,
    pg_snapshot: String,
    ts_us: i64,
}

impl View {
    pub fn plan(&self, tables: Vec<PlannedTable>, blocking: bool) -> Plan {
        Plan {
            consistent_lsn: self.consistent_point.0,
            pg_snapshot: self.pg_snapshot.clone(),
            ts_us: self.ts_us,
            chunk_pages: CHUNK_PAGES,
            tables,
            blocking,
        }
    }
}

/// Makes a slot, or one of a moment beside the one that is there, and opens readers under its snapshot.
pub(super) async fn open_view(session: &mut Session) -> Result<View, RelayError> {
    let target = session.settings.target.clone();
    let postgres = |error: PgError| RelayError::postgres(&target, "begin the snapshot", &error);
    // Kept open until all readers have the snapshot: it is withdrawn when this connection does anything else.
    let mut exporter = Connection::open_replication(&target).await.map_err(postgres)?;
    session.system_id = Some(slot::system_id(&mut exporter).await.map_err(postgres)?);
    // A slot that is there already cannot export a snapshot any more. A temporary one beside it can, and the stream of
    // the first one is then read from the temporary one's consistent point.
    let exists = slot::state(&mut session.control, &session.settings.slot).await.map_err(postgres)?.is_some();
    let name = if exists { format!("{:.54}_snapshot", session.settings.slot) } else { session.settings.slot.clone() };
    let kind = if exists { SlotKind::Temporary } else { SlotKind::lasting(session.settings.slot_failover) };
    tracing::info!(slot = session.settings.slot, exists, "waiting for a consistent point");
    let created = tokio::select! {
        created = slot::create(&mut exporter, &name, kind) => created.map_err(postgres)?,
        () = session.stop.cancelled() => return Err(RelayError::Stopped),
    };
    failpoint::hit(failpoint::SLOT_MADE);
    let mut readers = open_readers(session, &created.snapshot).await.map_err(postgres)?;
    drop(exporter);
    let (pg_snapshot, _) = view(&mut readers[0]).await.map_err(postgres)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ts_us = i64::try_from(now.as_micros()).unwrap_or_default();
    Ok(View { consistent_point: created.consistent_point, readers, pg_snapshot, ts_us })
}

/// The captured tables as a view sees them.
pub(super) async fn published(session: &Session, view: &mut View) -> Result<Vec<PublishedTable>, RelayError> {
    let published = captured(session, &mut view.readers[0]).await;
    published.map_err(|error| RelayError::postgres(&session.settings.target, "begin the snapshot", &error))
}

async fn prepare_new(session: &mut Session, stale: &[ChunkId]) -> Result<Prepared, RelayError> {
    let mut view = open_view(session).await?;
    let mut published = published(session, &mut view).await?;
    published.retain(|table| session.settings.snapshot.includes(&table.schema, &table.name));
    let plan = view.plan(planned(&session.settings.snapshot, &published), false);
    let mut entries = vec![session.keys.snapshotting(&plan), session.keys.plan(Some(&plan))];
    entries.extend(stale.iter().map(|id| session.keys.chunk(*id, None)));
    session.outbox.commit(&entries, &mut NoLifeline).await?;
    failpoint::hit(failpoint::PLANNED);
    tracing::info!(tables = plan.tables.len(), consistent_lsn = %view.consistent_point, "snapshot begins");
    job(session, plan, BTreeMap::new(), view.readers, &published, None).await
}

pub(super) async fn prepare_resumed(
    session: &mut Session,
    plan: Plan,
    progress: BTreeMap<ChunkId, Progress>,
) -> Result<Prepared, RelayError> {
    let target = session.settings.target.clone();
    let postgres = |error: PgError| RelayError::postgres(&target, "resume the snapshot", &error);
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    // The first transaction lends its view to the others and stays open as long as they do.
    let mut first = Connection::open(&target).await.map_err(postgres)?;
    first.query(begin).await.map_err(postgres)?;
    let row = first.query_one("SELECT pg_export_snapshot()").await.map_err(postgres)?;
    let name = row.and_then(|row| row.get(0).map(str::to_owned)).unwrap_or_default();
    let mut readers = open_readers(session, &name).await.map_err(postgres)?;
    let (_, next) = view(&mut first).await.map_err(postgres)?;
    let published = captured(session, &mut first).await.map_err(postgres)?;
    readers.truncate(session.settings.snapshot_readers - 1);
    readers.push(first);
    let remaining = plan.remaining(&progress);
    check_unmoved(&plan, &published, &progress)?;
    tracing::info!(chunks = remaining.len(), finished = progress.len(), "snapshot resumes");
    job(session, plan, progress, readers, &published, Some(next)).await
}

/// Opens the readers' transactions under an exported snapshot.
async fn open_readers(session: &Session, snapshot: &str) -> Result<Vec<Connection>, PgError> {
    let mut readers = Vec::new();
    for _ in 0..session.settings.snapshot_readers {
        let mut reader = Connection::open(&session.settings.target).await?;
        let sql = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
            quote_literal(snapshot)
        );
        reader.query(&sql).await?;
        readers.push(reader);
    }
    Ok(readers)
}

/// What a transaction sees: its `pg_snapshot`, and the next transaction id of that moment, 64 bits.
async fn view(connection: &mut Connection) -> Result<(String, u64), PgError> {
    let row = connection.query_one("SELECT s, pg_snapshot_xmax(s) FROM pg_current_snapshot() s").await?;
    let row = row.ok_or_else(|| PgError::Protocol("no snapshot".into()))?;
    Ok((row.text(0)?, row.parse(1)?))
}

/// The published tables that the lists let through.
async fn captured(session: &Session, connection: &mut Connection) -> Result<Vec<PublishedTable>, PgError> {
    let mut tables = catalog::published_tables(connection, &session.settings.publication).await?;
    tables.retain(|table| session.settings.tables.includes(&table.schema, &table.name));
    Ok(tables)
}

pub(super) fn planned<'a>(
    settings: &SnapshotSettings,
    published: impl IntoIterator<Item = &'a PublishedTable>,
) -> Vec<PlannedTable> {
    let heaps = published.into_iter().flat_map(|table| table.heaps.iter().map(move |heap| (table, heap)));
    heaps
        .map(|(table, heap)| PlannedTable {
            schema: table.schema.clone(),
            name: table.name.clone(),
            heap: heap.oid,
            filenode: heap.filenode,
            pages: heap.pages,
            rows: heap.rows,
            select: settings.select(&table.schema, &table.name).map(str::to_owned),
            filter: None,
        })
        .collect()
}

/// A table that was rewritten while nobody held its lock has its rows elsewhere: progress by place means nothing there.
fn check_unmoved(
    plan: &Plan,
    published: &[PublishedTable],
    progress: &BTreeMap<ChunkId, Progress>,
) -> Result<(), RelayError> {
    for (index, table) in plan.tables.iter().enumerate() {
        let started = progress.keys().any(|id| id.table == index);
        let complete = (0..plan.chunk_count(table))
            .all(|chunk| progress.get(&ChunkId { table: index, chunk }) == Some(&Progress::Done));
        let heap = published.iter().flat_map(|table| &table.heaps).find(|heap| heap.oid == table.heap);
        if started && !complete && heap.is_some_and(|heap| heap.filenode != table.filenode) {
            return Err(RelayError::Definite(format!(
                "table {}.{} was rewritten (VACUUM FULL, CLUSTER, TRUNCATE or ALTER TABLE) while its snapshot was interrupted, \
                 so it cannot be resumed without repeating rows; stop the connector, delete its offsets \
                 (DELETE /connectors/{{name}}/offsets) and resume it to snapshot anew",
                table.schema, table.name
            )));
        }
    }
    Ok(())
}

/// Puts everything together; tables that are gone since the plan was made lose their chunks.
pub(super) async fn job(
    session: &mut Session,
    plan: Plan,
    mut progress: BTreeMap<ChunkId, Progress>,
    mut readers: Vec<Connection>,
    published: &[PublishedTable],
    resumed_at: Option<u64>,
) -> Result<Prepared, RelayError> {
    let snapshot: PgSnapshot = plan.pg_snapshot.parse().map_err(|error| RelayError::Definite(format!("{error}")))?;
    let mut ready: BTreeMap<u32, HeapToRead> = BTreeMap::new();
    let wanted: std::collections::BTreeSet<u32> =
        plan.remaining(&progress).iter().map(|chunk| plan.tables[chunk.id.table].heap).collect();
    for table in published.iter().filter(|table| table.heaps.iter().any(|heap| wanted.contains(&heap.oid))) {
        let Some((schema, key)) = schema_of(&session.settings, &mut readers[0], table).await? else { continue };
        let captured = session.desk.prepare(schema).await?;
        for heap in &table.heaps {
            let Some(planned) = plan.tables.iter().find(|planned| planned.heap == heap.oid) else { continue };
            let columns: Vec<&str> = captured.schema.columns.iter().map(|column| column.name.as_str()).collect();
            let rows = HeapQuery {
                from: &heap.name,
                columns: &columns,
                key: &key,
                row_filter: table.row_filter.as_deref(),
                select: planned.select.as_deref(),
                filter: planned.filter.as_deref(),
            };
            if planned.select.is_some() && key.is_empty() && table.heaps.len() > 1 {
                return Err(RelayError::Definite(format!(
                    "snapshot.select.statement.overrides: {}.{} is partitioned and has no primary key, so the rows of a \
                     statement cannot be told apart by partition; give it a key or leave the statement out",
                    table.schema, table.name
                )));
            }
            ready.insert(heap.oid, HeapToRead { captured: Arc::clone(&captured), rows: rows.statement() });
        }
    }
    let mut chunks: VecDeque<_> = plan.remaining(&progress).into();
    chunks.retain(|chunk| {
        let known = ready.contains_key(&plan.tables[chunk.id.table].heap);
        if !known {
            progress.insert(chunk.id, Progress::Done);
        }
        known
    });
    // Indexes are the plan's; a table without chunks left borrows any entry, which nobody looks at.
    let fallback = ready.values().next().cloned();
    let tables = plan.tables.iter().map(|table| ready.get(&table.heap).cloned().or_else(|| fallback.clone()));
    let tables: Vec<HeapToRead> = tables.collect::<Option<_>>().unwrap_or_default();
    let job = ReadJob {
        target: session.settings.target.clone(),
        rules: Arc::clone(&session.rules),
        tables,
        chunks: Mutex::new(chunks),
        ts_us: plan.ts_us,
        consistent_lsn: Lsn(plan.consistent_lsn),
        snapshot,
        resumed_at,
    };
    Ok(Prepared { job, readers, plan, progress })
}

/// The table's schema with the published columns only, and the columns of its own key, whatever `message.key.columns` says.
///
/// # Errors
/// When the server cannot be asked.
pub async fn schema_of(
    settings: &RelaySettings,
    connection: &mut Connection,
    table: &PublishedTable,
) -> Result<Option<(TableSchema, Vec<String>)>, RelayError> {
    let found = catalog::table(connection, table.id).await;
    let found = found.map_err(|error| RelayError::postgres(&settings.target, "describe a table", &error))?;
    Ok(found.map(|found| {
        let all = found.schema;
        let key: Option<Vec<usize>> = all
            .key
            .iter()
            .map(|index| table.columns.iter().position(|name| *name == all.columns[*index].name))
            .collect();
        let columns = all.columns.into_iter().filter(|column| table.columns.contains(&column.name)).collect();
        let mut schema = TableSchema { columns, key: key.unwrap_or_default(), ..all };
        let key = schema.key.iter().map(|index| schema.columns[*index].name.clone()).collect();
        settings.columns.rekey(&mut schema);
        (schema, key)
    }))
}
