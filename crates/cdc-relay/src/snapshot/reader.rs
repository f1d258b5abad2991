//! One connection of a snapshot: takes chunks from the list, reads and encodes their rows, hands them on in batches.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use model::{
    cell::Cell,
    envelope::{SnapshotMark, Source},
    lsn::Lsn,
};
use tokio::sync::mpsc;

use super::{
    copy_line::CopyLine,
    plan::{Chunk, ChunkId, Progress, RowPlace},
    query::HeapStatement,
    visibility::PgSnapshot,
};
use crate::{
    error::RelayError,
    postgres::{
        PgError,
        connection::{Connection, Target},
    },
    records::{CapturedTable, Encoded, RecordRules, RowChange},
};

/// A batch is handed on when it has this size; with the queue it bounds what a reader holds.
const BATCH_BYTES_MAX: usize = 256 * 1024;

/// What readers share.
pub struct ReadJob {
    pub target: Target,
    pub rules: Arc<RecordRules>,
    /// By table index of the plan.
    pub tables: Vec<HeapToRead>,
    pub chunks: Mutex<VecDeque<Chunk>>,
    /// When the snapshot was taken, microseconds since the Unix epoch.
    pub ts_us: i64,
    pub consistent_lsn: Lsn,
    pub snapshot: PgSnapshot,
    /// Set when the snapshot is resumed: our own next transaction id, to tell rows written since.
    pub resumed_at: Option<u64>,
}

/// One heap and the table its rows belong to.
#[derive(Debug, Clone)]
pub struct HeapToRead {
    pub captured: Arc<CapturedTable>,
    pub rows: HeapStatement,
}

/// Encoded rows of one chunk, in order, and how far they bring it.
pub struct RowBatch {
    pub captured: Arc<CapturedTable>,
    pub encoded: Encoded,
    pub rows: u64,
    pub id: ChunkId,
    pub progress: Progress,
}

/// Reads chunks until none is left or nobody listens.
///
/// # Errors
/// When the connection is lost or a row cannot be encoded.
pub async fn read_chunks(
    job: &ReadJob,
    mut connection: Connection,
    batches: mpsc::Sender<RowBatch>,
) -> Result<(), RelayError> {
    loop {
        let next = job.chunks.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(chunk) = next else { return Ok(()) };
        let mut read = ChunkRead::new(job, chunk);
        let postgres = |error: &PgError| RelayError::postgres(&job.target, "read the snapshot", error);
        connection.copy_out(&read.heap.rows.of(&chunk)).await.map_err(|error| postgres(&error))?;
        loop {
            let more = connection.copy_lines(|line| read.line(line)).await.map_err(|error| match error {
                ReadError::Postgres(error) => postgres(&error),
                ReadError::Row(reason) => RelayError::Definite(reason),
            })?;
            if !more {
                break;
            }
            if read.encoded.bytes.len() >= BATCH_BYTES_MAX
                && let Some(batch) = read.take_batch()
                && batches.send(batch).await.is_err()
            {
                return Ok(());
            }
        }
        let last = read.finish().map_err(|error| RelayError::Definite(error.to_string()))?;
        if batches.send(last).await.is_err() {
            return Ok(());
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Postgres(#[from] PgError),
    #[error("{0}")]
    Row(String),
}

/// The state of one chunk under way.
struct ChunkRead<'a> {
    job: &'a ReadJob,
    heap: &'a HeapToRead,
    chunk: Chunk,
    parser: CopyLine,
    encoded: Encoded,
    rows: u64,
    /// Row last encoded.
    place: Option<RowPlace>,
    /// In the last chunk of a table one row is held back, because the last one is marked.
    held: Option<Vec<u8>>,
    first_row: bool,
}

impl<'a> ChunkRead<'a> {
    fn new(job: &'a ReadJob, chunk: Chunk) -> Self {
        let heap = &job.tables[chunk.id.table];
        let encoded = Encoded::default();
        let first_row = chunk.opens_table();
        Self { job, heap, chunk, parser: CopyLine::default(), encoded, rows: 0, place: None, held: None, first_row }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), ReadError> {
        if !self.chunk.closes_table() {
            return self.row(line, false);
        }
        match self.held.take() {
            Some(mut held) => {
                self.row(&held, false)?;
                held.clear();
                held.extend_from_slice(line);
                self.held = Some(held);
            }
            None => self.held = Some(line.to_vec()),
        }
        Ok(())
    }

    fn row(&mut self, line: &[u8], last: bool) -> Result<(), ReadError> {
        self.parser.parse(line);
        let mut cells = self.parser.cells(line);
        let place: RowPlace = system_column(cells.next(), "ctid")?;
        let xmin: u32 = system_column(cells.next(), "xmin")?;
        self.place = Some(place);
        if let Some(next) = self.job.resumed_at
            && !self.job.snapshot.sees_row(xmin, next)
        {
            return Ok(());
        }
        let row: Vec<Cell<'_>> = cells.collect();
        let source = Source {
            snapshot: self.mark(last),
            ts_us: self.job.ts_us,
            tx_id: i64::try_from(self.job.snapshot.next_transaction()).ok(),
            lsn: Some(self.job.consistent_lsn),
            sequence: (None, Some(self.job.consistent_lsn)),
            origin: None,
        };
        let captured = &self.heap.captured;
        self.job
            .rules
            .encode(captured, RowChange::Read(&row), &source, None, clock_ns(), &mut self.encoded)
            .map_err(|error| ReadError::Row(format!("row {place} cannot be written: {error}")))?;
        self.rows += 1;
        self.first_row = false;
        Ok(())
    }

    /// Debezium's marks; the last row of a table outranks its first.
    fn mark(&self, last: bool) -> SnapshotMark {
        let table = self.chunk.id.table;
        match (last, self.first_row) {
            (true, _) if table + 1 == self.job.tables.len() => SnapshotMark::Last,
            (true, _) => SnapshotMark::LastInDataCollection,
            (false, true) if table == 0 => SnapshotMark::First,
            (false, true) => SnapshotMark::FirstInDataCollection,
            (false, false) => SnapshotMark::True,
        }
    }

    fn take_batch(&mut self) -> Option<RowBatch> {
        let place = self.place?;
        Some(self.batch(Progress::Upto(place)))
    }

    fn finish(mut self) -> Result<RowBatch, ReadError> {
        if let Some(held) = self.held.take() {
            self.row(&held, true)?;
        }
        Ok(self.batch(Progress::Done))
    }

    fn batch(&mut self, progress: Progress) -> RowBatch {
        RowBatch {
            captured: Arc::clone(&self.heap.captured),
            encoded: std::mem::take(&mut self.encoded),
            rows: std::mem::take(&mut self.rows),
            id: self.chunk.id,
            progress,
        }
    }
}

fn system_column<T: std::str::FromStr>(cell: Option<Cell<'_>>, name: &str) -> Result<T, ReadError> {
    cell.and_then(|cell| cell.text())
        .and_then(|text| std::str::from_utf8(text).ok())
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| ReadError::Postgres(PgError::Protocol(format!("a copied line without {name}"))))
}

/// Now, nanoseconds since the Unix epoch.
pub fn clock_ns() -> i128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i128::try_from(now.as_nanos()).unwrap_or_default()
}
