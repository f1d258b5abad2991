//! What signals ask for while the stream runs: incremental snapshots beside it, blocking ones in its place.
//!
//! ```text
//!   signal table (stream) ─┐                ┌─▶ queue of tables ─▶ chunks ─▶ window ─▶ outbox, among the stream's records
//!   signal topic ──────────┼─▶ signal ──────┤
//!   REST API ──────────────┘                └─▶ blocking: the stream ends, a snapshot is read, the stream goes on
//! ```
//!
//! Everything asked for and not done is stored with the position, in the same Kafka transaction as the records it speaks
//! of ([`state`]), so a signal is neither lost nor done twice. Chunks are read by the task that streams, between two
//! messages of the stream; [`window`] says why that is enough to keep each row's order.

mod act;
mod channels;
mod chunk;
pub mod signal;
pub mod state;
mod window;

use std::{
    collections::VecDeque,
    pin::pin,
    time::{Duration, Instant},
};

use connect::TaskMessage;
use model::{cell::Cell, lsn::Lsn};

pub use self::channels::Channels;
use self::{
    channels::Arrival,
    chunk::{Ask, Begun, ChunkTable, NoChunk, Place},
    signal::Signal,
    state::AdHocState,
    window::Window,
};
use crate::{
    error::RelayError,
    outbox::Lifeline,
    pipeline,
    postgres::connection::Connection,
    records::{CapturedTable, Encoded},
    session::Session,
    tables::RelationShape,
};

/// A table that is locked, or a server that refuses a second connection, is asked again after this.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// What was just committed is visible after this, unless a standby has to have it first.
const SOON: Duration = Duration::from_millis(5);
/// How often the server of the stream is told that we live while a chunk is read.
const BEAT_EVERY: Duration = Duration::from_secs(1);

/// Signals and incremental snapshots of one stream.
pub struct AdHoc {
    state: AdHocState,
    channels: Option<Channels>,
    /// Signals out of the stream, in its order.
    inbox: VecDeque<Result<Signal, signal::SignalError>>,
    arrived: VecDeque<Arrival>,
    /// Done, and to be answered when it is stored.
    unanswered: Vec<(TaskMessage, serde_json::Value)>,
    /// The state changed and no record will carry it soon.
    unstored: bool,
    window: Window,
    table: Option<ChunkTable>,
    reader: Option<Connection>,
    not_before: Option<Instant>,
    signal_relation: Option<u32>,
    begun: Begun,
    /// Rows written of the table in work.
    rows: u64,
}

/// Where the stream stands when a chunk is read.
#[derive(Debug, Clone, Copy)]
pub struct StreamPlace {
    /// Everything that committed before this was streamed.
    pub streamed: Lsn,
    pub last_event: Lsn,
    pub last_tx_id: Option<i64>,
    pub last_commit: Option<Lsn>,
    pub between_transactions: bool,
}

impl AdHoc {
    /// Goes on with what is stored.
    #[must_use]
    pub fn new(state: AdHocState, channels: Option<Channels>) -> Self {
        Self {
            state,
            channels,
            inbox: VecDeque::new(),
            arrived: VecDeque::new(),
            unanswered: Vec::new(),
            unstored: false,
            window: Window::default(),
            table: None,
            reader: None,
            not_before: None,
            signal_relation: None,
            begun: Begun::default(),
            rows: 0,
        }
    }

    /// To be stored with the position.
    #[must_use]
    pub fn state(&self) -> &AdHocState {
        &self.state
    }

    /// A blocking snapshot is asked for.
    #[must_use]
    pub fn blocks(&self) -> bool {
        !self.state.blocking.is_empty()
    }

    /// The stream brought a signal.
    #[inline]
    #[must_use]
    pub fn signalled_now(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Whether there is anything to do or to look at.
    #[inline]
    #[must_use]
    pub fn idle(&self) -> bool {
        self.state.tables.is_empty() && self.arrived.is_empty() && !self.unstored
    }

    /// Whether the changes of a table have to be shown to [`Self::row`] first.
    #[inline]
    #[must_use]
    pub fn attends(&self, relation: u32) -> bool {
        self.signal_relation == Some(relation) || (!self.window.is_empty() && self.window.holds(relation))
    }

    /// The stream begins a transaction.
    pub fn begun(&mut self, xid: u32) {
        self.begun.push(xid);
    }

    /// The stream describes a table.
    pub fn described(&mut self, shape: &RelationShape, session: &Session) {
        if session.settings.signals.listens_to(&shape.schema, &shape.name) {
            self.signal_relation = Some(shape.id.0);
        }
    }

    /// A row was inserted into the signal table.
    pub fn signalled(&mut self, relation: u32, row: &[Cell<'_>]) {
        if self.signal_relation != Some(relation) {
            return;
        }
        let text = |index: usize| {
            let text = row.get(index).and_then(|cell: &Cell<'_>| cell.text());
            text.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        let (id, kind) = (text(0).unwrap_or_default(), text(1).unwrap_or_default());
        self.inbox.push_back(Signal::parse(&id, &kind, text(2).as_deref()));
    }

    /// Rows to be written before a change of the stream: `old` and `new` are the changed row.
    pub fn before_change(
        &mut self,
        relation: u32,
        table: &CapturedTable,
        xid: u32,
        (old, new): (Option<&[Cell<'_>]>, Option<&[Cell<'_>]>),
    ) -> Vec<(std::sync::Arc<CapturedTable>, Encoded)> {
        if !self.window.holds(relation) {
            return Vec::new();
        }
        let known = self.table.as_ref().filter(|known| known.relation == relation);
        let identities: Option<Vec<_>> = known
            .filter(|known| known.key_in_stream)
            .and_then(|known| [old, new].into_iter().flatten().map(|row| known.identity_of(table, row)).collect());
        match identities {
            Some(identities) => {
                identities.into_iter().filter_map(|identity| self.window.changed(relation, identity, xid)).collect()
            }
            None => {
                // Which row changed is not known, so any may be out of date: they are read again.
                if self.window.unseen_by_some(relation, xid) {
                    self.window.clear();
                }
                Vec::new()
            }
        }
    }

    /// A table was emptied.
    pub fn emptied(&mut self, relation: u32, xid: u32) {
        self.window.emptied(relation, xid);
    }

    /// Waits until something arrives by a channel. Cancellation-safe.
    pub async fn arrival(&mut self) {
        match &mut self.channels {
            Some(channels) => {
                let arrival = channels.next().await;
                self.arrived.push_back(arrival);
            }
            None => std::future::pending().await,
        }
    }

    /// When there is something to do without anything arriving.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        self.not_before.filter(|_| self.reads())
    }

    /// What was done is durable: tells those who wait for that.
    pub fn stored(&mut self) {
        self.unstored = false;
        for (message, answer) in self.unanswered.drain(..) {
            message.answer(Ok(answer));
        }
    }

    /// Whether the state should be stored soon.
    #[must_use]
    pub fn unstored(&self) -> bool {
        self.unstored
    }

    fn reads(&self) -> bool {
        !self.state.tables.is_empty() && !self.state.paused
    }

    /// Takes the next step: signals that arrived, chunks that are due, one more chunk. Returns whether there is more to do
    /// at once.
    ///
    /// # Errors
    /// When a server is away or the Kafka transaction is lost.
    pub async fn step(
        &mut self,
        session: &mut Session,
        at: StreamPlace,
        lifeline: &mut impl Lifeline,
    ) -> Result<bool, RelayError> {
        while let Some(arrival) = self.arrived.pop_front().or_else(|| self.channels.as_mut()?.try_next()) {
            self.take(arrival, session, at.streamed).await?;
        }
        if at.between_transactions {
            while let Some(closed) = self.window.close(at.streamed) {
                self.write(closed, session, lifeline).await?;
            }
        }
        if !self.reads() || self.blocks() || self.not_before.is_some_and(|at| Instant::now() < at) {
            return Ok(false);
        }
        self.not_before = None;
        if !self.window.has_room() || !self.ready(session).await? {
            return Ok(false);
        }
        self.read(session, at, lifeline).await
    }

    fn leave_table(&mut self) {
        self.window.clear();
        (self.table, self.rows) = (None, 0);
    }

    /// Writes a chunk whose time has come.
    async fn write(
        &mut self,
        chunk: window::Chunk,
        session: &mut Session,
        lifeline: &mut impl Lifeline,
    ) -> Result<(), RelayError> {
        let Session { outbox, desk, pipeline, rules, .. } = session;
        let (origin, context) = (chunk.table.origin(), &rules.context_headers);
        if !chunk.encoded.pieces.is_empty() {
            pipeline::send((outbox, desk), pipeline.as_mut(), origin, &chunk.encoded, context, lifeline).await?;
        }
        let rows = chunk.identities.len() as u64;
        self.rows += rows;
        session.progress.incremental_rows(rows);
        self.state.after = chunk.after;
        self.unstored = true;
        if chunk.ends_table {
            let table = self.state.tables.first().map(|table| table.name.clone()).unwrap_or_default();
            tracing::info!(table, rows = self.rows, "incremental snapshot of a table complete");
            self.leave_table();
            self.state.table_done();
            if self.state.tables.is_empty() {
                self.reader = None;
            }
        }
        self.report(session);
        Ok(())
    }

    /// Makes table and connection ready.
    async fn ready(&mut self, session: &mut Session) -> Result<bool, RelayError> {
        if self.table.is_none() {
            let Some(queued) = self.state.tables.first() else { return Ok(false) };
            match chunk::look_up(session, queued).await? {
                Ok(table) => self.table = Some(table),
                Err(reason) => {
                    self.give_up(session, &reason);
                    return Ok(false);
                }
            }
            self.report(session);
        }
        if self.reader.is_none() {
            match Connection::open(&session.settings.target).await {
                Ok(reader) => self.reader = Some(reader),
                Err(error) => self.later(&error.to_string()),
            }
        }
        Ok(self.reader.is_some())
    }

    async fn read(
        &mut self,
        session: &mut Session,
        at: StreamPlace,
        lifeline: &mut impl Lifeline,
    ) -> Result<bool, RelayError> {
        let (Some(table), Some(reader)) = (&self.table, &mut self.reader) else { return Ok(false) };
        let rules = std::sync::Arc::clone(&session.rules);
        let ask = Ask {
            table,
            after: self.window.read_up_to().or(self.state.after.as_ref()).cloned(),
            rows_max: session.settings.signals.chunk_rows,
            rules: &rules,
            place: Place { lsn: at.last_event, tx_id: at.last_tx_id, last_commit: at.last_commit },
            begun: &self.begun,
        };
        let outcome = {
            let mut reading = pin!(chunk::read(reader, ask, &mut self.state.last));
            loop {
                match tokio::time::timeout(BEAT_EVERY, &mut reading).await {
                    Ok(outcome) => break outcome,
                    Err(_elapsed) => lifeline.beat().await?,
                }
            }
        };
        match outcome {
            Ok(chunk) => {
                self.window.push(chunk);
                return Ok(true);
            }
            Err(NoChunk::Ahead) => self.not_before = Some(Instant::now() + SOON),
            Err(NoChunk::Connection(error)) => {
                self.reader = None;
                self.later(&error.to_string());
            }
            Err(error) => {
                // The transaction is over; the connection may be in the middle of an answer only if it is lost.
                self.reader = None;
                match error {
                    NoChunk::Changed => {
                        self.table = None;
                        self.later("the table changed");
                    }
                    NoChunk::Unreadable(reason) => self.give_up(session, &reason),
                    error => self.later(&error.to_string()),
                }
            }
        }
        Ok(false)
    }

    fn later(&mut self, reason: &str) {
        tracing::debug!("a chunk of the incremental snapshot cannot be read yet: {reason}");
        self.not_before = Some(Instant::now() + RETRY_AFTER);
    }

    /// A table that cannot be read is left out; the others and the stream go on.
    fn give_up(&mut self, session: &Session, reason: &str) {
        let table = self.state.tables.first().map(|table| table.name.clone()).unwrap_or_default();
        tracing::error!(table, "the incremental snapshot of a table is given up: {reason}");
        session.progress.incremental_failure(&format!("{table}: {reason}"));
        self.leave_table();
        self.state.table_done();
        self.unstored = true;
        self.report(session);
    }

    fn report(&self, session: &Session) {
        let table = self.state.tables.first().map(|table| table.name.as_str());
        let estimated = self.table.as_ref().and_then(|table| table.rows);
        let left = self.state.tables.len();
        session.progress.incremental(table, self.rows, estimated, left, self.state.paused);
    }
}
