//! Streaming: changes as they are committed, from the slot to Kafka.
//!
//! ```text
//!   frames ─▶ pgoutput messages ─▶ cursor (new or known?) ─▶ records ─▶ outbox ─▶ commit ─▶ confirm to the server
//! ```
//!
//! One loop, no queue between its stages, nothing awaited per row but room in the producer. A Kafka transaction is
//! committed when the stream pauses, when it has its size, or after `commit.interval.ms`, whichever is first; inside a
//! source transaction only for its size, so that readers see source transactions whole where that is possible.

mod batch;
mod change;
mod confirm;
mod message;
mod relations;
mod transaction;

use std::{sync::Arc, time::Instant};

use model::lsn::Lsn;
use tokio_util::sync::CancellationToken;

use self::{
    batch::{Batch, Moment},
    change::Changes,
    confirm::Confirmer,
};
use crate::{
    adhoc::{AdHoc, Channels, StreamPlace},
    error::RelayError,
    failpoint,
    heartbeat::Heartbeats,
    offsets::StreamOffset,
    position::{Cursor, Position},
    postgres::{
        PgError,
        frames::FrameReader,
        replication::{StatusWriter, StreamMessage, parse},
    },
    session::Session,
    settings::RelaySettings,
    snapshot::clock_ns,
};

/// Streams from `offset` until the task stops, something breaks or a snapshot is to be read in the stream's place. Returns
/// where the stream then stands, which is stored.
///
/// With `until` it ends exactly there: everything that commits before is written, nothing that commits after.
///
/// # Errors
/// When the task stops, too.
pub async fn run(
    session: &mut Session,
    stream: (FrameReader, StatusWriter),
    offset: StreamOffset,
    channels: Channels,
    until: Option<Lsn>,
) -> Result<StreamOffset, RelayError> {
    let (mut reader, writer) = stream;
    let stop = session.stop.clone();
    let settings = Arc::clone(&session.settings);
    let confirmer = Confirmer::new(settings.target.clone(), writer, offset.position.commit_end);
    tracing::info!(slot = settings.slot, position = %offset.position.commit_end, "streaming");
    let mut pump = Pump {
        cursor: Cursor::new(offset.position),
        stored: offset.position,
        stored_at: Instant::now(),
        changes: Changes::new(offset.last, AdHoc::new(offset.ad_hoc, Some(channels))),
        until,
        batch: Batch::new(&settings),
        confirmer,
        heartbeats: Heartbeats::new(&settings.heartbeat),
        server: offset.position.commit_end,
        settings,
        session,
    };
    let outcome = pump.run(&mut reader, &stop).await;
    if stop.is_cancelled() && pump.cursor.between_transactions() && pump.session.outbox.opened_at().is_some() {
        pump.commit().await?;
        pump.confirmer.tell().await?;
    }
    outcome
}

struct Pump<'s> {
    session: &'s mut Session,
    settings: Arc<RelaySettings>,
    cursor: Cursor,
    /// What is durable in Kafka, and since when.
    stored: Position,
    stored_at: Instant,
    changes: Changes,
    batch: Batch,
    confirmer: Confirmer,
    heartbeats: Heartbeats,
    /// How far the server has got.
    server: Lsn,
    until: Option<Lsn>,
}

impl Pump<'_> {
    async fn run(&mut self, reader: &mut FrameReader, stop: &CancellationToken) -> Result<StreamOffset, RelayError> {
        let target = self.settings.target.clone();
        let lost = |error: PgError| RelayError::postgres(&target, "stream changes", &error);
        loop {
            while let Some(frame) = reader.buffered().map_err(lost)? {
                match parse(frame).map_err(lost)? {
                    StreamMessage::Data { start, output } if self.ends_before(start, output) => {
                        return self.end().await;
                    }
                    StreamMessage::Data { start, output } => self.data(start, output).await?,
                    StreamMessage::Keepalive { wal_end, reply_requested } => {
                        self.keepalive(wal_end, reply_requested).await?
                    }
                    StreamMessage::Other => {}
                }
                if stop.is_cancelled() {
                    return Err(RelayError::Stopped);
                }
                if self.ends() {
                    return self.end().await;
                }
            }
            // Gives other tasks of this thread their turn under a backlog; costs nothing otherwise.
            tokio::task::consume_budget().await;
            let more = !self.changes.adhoc.idle() && self.beside().await?;
            if self.ends() {
                return self.end().await;
            }
            if more && stop.is_cancelled() {
                return Err(RelayError::Stopped);
            }
            if reader.try_fill().map_err(lost)? || more {
                continue;
            }
            self.paused().await?;
            let wake = tokio::time::Instant::from_std(self.wake_at());
            tokio::select! {
                filled = reader.fill() => filled.map_err(lost)?,
                () = tokio::time::sleep_until(wake) => {}
                () = self.changes.adhoc.arrival() => {}
                () = stop.cancelled() => return Err(RelayError::Stopped),
            }
        }
    }

    /// Whether a snapshot is due where the stream stands.
    fn ends(&self) -> bool {
        let due = match self.until {
            Some(until) => self.cursor.position().commit_end >= until,
            None => self.changes.adhoc.blocks(),
        };
        due && self.cursor.between_transactions()
    }

    /// Whether a message is the first that comes after the end.
    fn ends_before(&self, start: Lsn, output: &[u8]) -> bool {
        let Some(until) = self.until.filter(|_| self.cursor.between_transactions()) else { return false };
        match output {
            // Begin: where the commit is.
            [b'B', rest @ ..] => rest.first_chunk::<8>().is_some_and(|bytes| Lsn(u64::from_be_bytes(*bytes)) >= until),
            // A logical message outside of transactions: its own place.
            [b'M', flags, ..] => flags & 1 == 0 && start > until,
            _ => false,
        }
    }

    async fn end(&mut self) -> Result<StreamOffset, RelayError> {
        if let Some(until) = self.until {
            self.cursor.idle(until);
        }
        self.commit().await?;
        self.confirmer.tell().await?;
        Ok(self.offset())
    }

    /// What signals asked for. Returns whether there is more to do at once.
    async fn beside(&mut self) -> Result<bool, RelayError> {
        let last = self.changes.last();
        let at = StreamPlace {
            streamed: self.cursor.position().commit_end,
            last_event: last.lsn,
            last_tx_id: last.tx_id,
            last_commit: self.changes.last_commit(),
            between_transactions: self.cursor.between_transactions(),
        };
        let more = self.changes.adhoc.step(self.session, at, &mut self.confirmer).await?;
        let answers = self.changes.adhoc.unstored() && self.session.outbox.opened_at().is_none();
        if at.between_transactions && (answers || self.batch.due(Moment::AfterTransaction, &self.session.outbox)) {
            self.commit().await?;
        }
        Ok(more)
    }

    /// Where the stream stands.
    fn offset(&self) -> StreamOffset {
        StreamOffset {
            position: self.cursor.position(),
            last: self.changes.last().clone(),
            system_id: self.session.system_id.clone(),
            ad_hoc: self.changes.adhoc.state().clone(),
        }
    }

    /// One message of the decoding plugin.
    async fn data(&mut self, start: Lsn, output: &[u8]) -> Result<(), RelayError> {
        self.server = self.server.max(start);
        self.changes.message(start, output, &mut self.cursor, self.session, &mut self.confirmer).await?;
        if self.changes.adhoc.signalled_now() {
            self.changes.adhoc.attend(self.session, start).await?;
        }
        let moment = if self.cursor.between_transactions() { Moment::AfterTransaction } else { Moment::InTransaction };
        if self.batch.due(moment, &self.session.outbox) {
            self.commit().await?;
        }
        Ok(())
    }

    async fn keepalive(&mut self, wal_end: Lsn, reply_requested: bool) -> Result<(), RelayError> {
        self.server = self.server.max(wal_end);
        self.cursor.idle(wal_end);
        if reply_requested {
            self.confirmer.tell().await?;
        }
        Ok(())
    }

    /// The server has nothing more to say right now.
    async fn paused(&mut self) -> Result<(), RelayError> {
        let moment = if self.cursor.between_transactions() { Moment::Pause } else { Moment::PauseInTransaction };
        let due = self.batch.due(moment, &self.session.outbox);
        let beat = self.heartbeats.due() && self.cursor.between_transactions();
        if due || beat || self.idle_due() {
            self.commit().await?;
        }
        self.confirmer.tell_if_due().await?;
        self.session.progress.position(self.confirmer.durable(), self.server);
        Ok(())
    }

    /// Transactions without captured rows, and log of other databases, move the position too. It is stored before it is
    /// confirmed, as ever: otherwise the slot would stand beyond the stored position after a crash.
    fn idle_due(&self) -> bool {
        self.session.outbox.opened_at().is_none()
            && self.cursor.position().commit_end > self.stored.commit_end
            && self.stored_at.elapsed() >= self.settings.idle_interval
    }

    fn wake_at(&self) -> Instant {
        let beside = self.changes.adhoc.wake_at();
        let idle = self.stored_at + self.settings.idle_interval;
        let idle = if self.cursor.position() == self.stored { None } else { Some(idle) };
        let batch = self.batch.wake_at(&self.session.outbox);
        let beat = self.heartbeats.due_at().filter(|_| self.cursor.between_transactions());
        [idle, batch, beat, beside].into_iter().flatten().fold(self.confirmer.due_at(), Instant::min)
    }

    /// Makes everything up to here durable, with its position.
    async fn commit(&mut self) -> Result<(), RelayError> {
        if self.heartbeats.due() {
            self.heartbeats.write(self.session, &mut self.confirmer).await?;
        }
        let position = self.cursor.position();
        let entry = self.session.keys.streaming(&self.offset());
        let outbox = &mut self.session.outbox;
        let (records, bytes) = (outbox.records(), outbox.bytes());
        failpoint::hit(failpoint::BATCH_COMPLETE);
        let begun = Instant::now();
        outbox.commit(&[entry], &mut self.confirmer).await?;
        self.batch.commit_took(begun.elapsed());
        let now_us = i64::try_from(clock_ns() / 1000).unwrap_or_default();
        self.session.progress.committed(records, bytes, self.changes.take_oldest_commit_us(), now_us);
        (self.stored, self.stored_at) = (position, Instant::now());
        self.changes.adhoc.stored();
        self.confirmer.advance(position.commit_end);
        failpoint::hit(failpoint::BEFORE_FEEDBACK);
        self.confirmer.tell_if_due().await
    }
}
