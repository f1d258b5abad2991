//! The initial snapshot: every row once, while the database is written to.
//!
//! ```text
//!   slot (exports a snapshot) ──▶ readers (same snapshot) ──chunks──▶ encoded batches ──▶ outbox: rows + progress
//! ```
//!
//! Postgres hands out a snapshot together with the slot's consistent point: the readers see exactly what committed before
//! it, the stream brings exactly what commits after it. Progress is committed with the rows it speaks of, so a killed
//! relay goes on where it was, under a later snapshot, leaving out rows that changed since ([`visibility`]).

pub mod blocking;
mod copy_line;
pub mod pace;
pub mod plan;
mod prepare;
mod query;
mod reader;
pub mod visibility;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use model::lsn::Lsn;
use tokio::{sync::mpsc, task::JoinSet};

pub use self::{copy_line::CopyLine, prepare::schema_of, reader::clock_ns};
use self::{
    pace::Pace,
    plan::{ChunkId, Plan, Progress},
    prepare::Prepared,
    reader::{RowBatch, read_chunks},
};
use crate::{
    adhoc::state::AdHocState,
    error::RelayError,
    failpoint,
    offsets::{LastEvent, StreamOffset},
    outbox::{Lifeline, NoLifeline},
    pipeline,
    position::Position,
    postgres::connection::{Connection, Target},
    session::Session,
};

/// A Kafka transaction of the snapshot is committed at the latest after this: progress a crash must not lose.
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);
/// A Kafka transaction of the snapshot holds so many times what one of the stream does: rows wait for each commit, and nobody
/// waits for these rows. Memory does not grow with it, as the producer sends what it has meanwhile.
const TRANSACTION_BATCHES: usize = 4;
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// What is to be read.
#[derive(Debug, Clone, PartialEq)]
pub enum SnapshotStart {
    /// Everything, under a new snapshot. `stale`: chunks of an older snapshot whose entries are to be deleted.
    New { stale: Vec<ChunkId> },
    /// What is left of a snapshot that was interrupted.
    Resume { plan: Plan, progress: BTreeMap<ChunkId, Progress> },
}

/// The connection that holds the slot's lock is asked now and then, so that its loss is noticed.
struct ControlLifeline<'a> {
    target: &'a Target,
    control: &'a mut Connection,
}

impl Lifeline for ControlLifeline<'_> {
    async fn beat(&mut self) -> Result<(), RelayError> {
        let answer = self.control.query("SELECT 1").await;
        answer.map(drop).map_err(|error| RelayError::postgres(self.target, "hold the slot's lock", &error))
    }
}

/// Takes the snapshot and returns the position to stream from.
///
/// # Errors
/// When it cannot be completed now; what is committed stays and the next call resumes.
pub async fn run(session: &mut Session, start: SnapshotStart) -> Result<StreamOffset, RelayError> {
    let prepared = prepare::prepare(session, start).await?;
    let lsn = Lsn(prepared.plan.consistent_lsn);
    let offset = StreamOffset {
        position: Position::at(lsn),
        last: LastEvent { lsn, tx_id: None, ts_us: prepared.plan.ts_us, kind: "COMMIT" },
        system_id: session.system_id.clone(),
        ad_hoc: AdHocState::default(),
    };
    read(session, prepared, offset).await
}

/// Reads what is left; the stream goes on at `offset` when that is done.
async fn read(session: &mut Session, prepared: Prepared, offset: StreamOffset) -> Result<StreamOffset, RelayError> {
    let (job, readers, plan, mut progress) =
        (Arc::new(prepared.job), prepared.readers, prepared.plan, prepared.progress);
    let (sender, mut batches) = mpsc::channel::<RowBatch>(readers.len());
    let mut reading = JoinSet::new();
    for connection in readers {
        let (job, sender) = (Arc::clone(&job), sender.clone());
        reading.spawn(async move { read_chunks(&job, connection, sender).await });
    }
    drop(sender);
    let written = write_batches(session, &mut batches, &plan, &mut progress).await;
    // On failure the readers find nobody listening, or are dropped here with their connections.
    drop(batches);
    let rows = written?;
    while let Some(ended) = reading.join_next().await {
        ended.map_err(|error| RelayError::Retry { server: "snapshot reader".into(), reason: error.to_string() })??;
    }
    finish(session, &plan, &progress, rows, offset).await
}

/// Writes what the readers hand on, and commits progress with it.
async fn write_batches(
    session: &mut Session,
    batches: &mut mpsc::Receiver<RowBatch>,
    plan: &Plan,
    progress: &mut BTreeMap<ChunkId, Progress>,
) -> Result<u64, RelayError> {
    let stop = session.stop.clone();
    let (mut rows, mut changed) = (0_u64, BTreeSet::new());
    let (begun, pace) = (Instant::now(), Pace::new(plan, progress));
    let mut reported_at = None;
    loop {
        let received = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(RelayError::Stopped),
            received = tokio::time::timeout(COMMIT_INTERVAL, batches.recv()) => received,
        };
        let mut lifeline = ControlLifeline { target: &session.settings.target, control: &mut session.control };
        let ended = match received {
            Ok(Some(batch)) => {
                let (context, origin) = (&session.rules.context_headers, batch.captured.origin());
                let ends = (&mut session.outbox, &mut session.desk);
                pipeline::send(ends, session.pipeline.as_mut(), origin, &batch.encoded, context, &mut lifeline).await?;
                failpoint::hit(failpoint::ROWS_PRODUCED);
                progress.insert(batch.id, batch.progress);
                changed.insert(batch.id);
                rows += batch.rows;
                false
            }
            Ok(None) => true,
            Err(_elapsed) => {
                lifeline.beat().await?;
                false
            }
        };
        let due = session.outbox.bytes() >= session.settings.batch_bytes_max.saturating_mul(TRANSACTION_BATCHES)
            || session.outbox.opened_at().is_some_and(|opened| opened.elapsed() >= COMMIT_INTERVAL);
        if (ended || due) && !changed.is_empty() {
            let positions: Vec<_> =
                changed.iter().map(|id| session.keys.chunk(*id, progress.get(id).copied())).collect();
            session.outbox.commit(&positions, &mut lifeline).await?;
            failpoint::hit(failpoint::PROGRESS_COMMITTED);
            changed.clear();
        }
        if ended || reported_at.is_none_or(|at: Instant| at.elapsed() >= REPORT_INTERVAL) {
            session.progress.snapshot(&pace.outlook(plan, progress, rows, begun.elapsed()));
            reported_at = Some(Instant::now());
        }
        if ended {
            return Ok(rows);
        }
    }
}

/// Replaces the snapshot's entries by the position the stream starts from, in one Kafka transaction.
async fn finish(
    session: &mut Session,
    plan: &Plan,
    progress: &BTreeMap<ChunkId, Progress>,
    rows: u64,
    offset: StreamOffset,
) -> Result<StreamOffset, RelayError> {
    if !plan.remaining(progress).is_empty() {
        let reason = "readers ended before all chunks were read".to_owned();
        return Err(RelayError::Retry { server: "snapshot reader".into(), reason });
    }
    let mut entries = vec![session.keys.streaming(&offset), session.keys.plan(None)];
    entries.extend(progress.keys().map(|id| session.keys.chunk(*id, None)));
    failpoint::hit(failpoint::ALL_READ);
    session.outbox.commit(&entries, &mut NoLifeline).await?;
    failpoint::hit(failpoint::SNAPSHOT_COMPLETE);
    session.progress.snapshot_done(rows);
    tracing::info!(rows, tables = plan.tables.len(), consistent_lsn = %Lsn(plan.consistent_lsn), "snapshot complete");
    Ok(offset)
}
