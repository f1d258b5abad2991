//! One message of the stream: what it changes in our knowledge of the stream, and which records it becomes.

use model::{
    cell::Cell,
    envelope::{SnapshotMark, Source},
    lsn::Lsn,
    table::TableId,
};
use pgoutput::{LogicalMessage, Message, Relation, ReplicaIdentity, Tuple};

use super::{confirm::Confirmer, message::Messages, relations::Relations, transaction::Transactions};
use crate::{
    adhoc::AdHoc,
    error::RelayError,
    failpoint,
    offsets::LastEvent,
    pipeline,
    position::Cursor,
    records::{Encoded, RowChange, unchanged},
    session::Session,
    slot_care,
    snapshot::clock_ns,
    tables::{RelationColumn, RelationShape},
};

/// The stream's state beside the position: tables, the open transaction, reused buffers.
pub struct Changes {
    relations: Relations,
    transactions: Transactions,
    messages: Messages,
    /// Something of the open transaction may be new.
    writing: bool,
    /// The open transaction's id and commit time in microseconds since the Unix epoch.
    tx_id: i64,
    ts_us: i64,
    last: LastEvent,
    /// End of the last transaction seen complete; `source.sequence` names it.
    last_commit: Option<Lsn>,
    /// Commit time of the first transaction in the open Kafka transaction.
    oldest_commit_us: Option<i64>,
    encoded: Encoded,
    before: Vec<Cell<'static>>,
    after: Vec<Cell<'static>>,
    pub adhoc: AdHoc,
}

/// A row event of the stream.
enum RowEvent<'a> {
    Insert { new: Tuple<'a> },
    Update { old: Option<Tuple<'a>>, new: Tuple<'a> },
    Delete { old: Tuple<'a> },
    Truncate,
}

impl RowEvent<'_> {
    /// Debezium's names: in the offset, and the letter of the envelope.
    fn names(&self) -> (&'static str, char) {
        match self {
            Self::Insert { .. } => ("INSERT", 'c'),
            Self::Update { .. } => ("UPDATE", 'u'),
            Self::Delete { .. } => ("DELETE", 'd'),
            Self::Truncate => ("TRUNCATE", 't'),
        }
    }
}

impl Changes {
    /// `last`: the last event as the stored position names it.
    pub fn new(last: LastEvent, adhoc: AdHoc) -> Self {
        // Right after a snapshot no commit is known, as in Debezium; the stored entry then has no transaction either.
        let last_commit = last.tx_id.is_some().then_some(last.lsn);
        Self {
            relations: Relations::default(),
            transactions: Transactions::default(),
            messages: Messages::default(),
            writing: false,
            tx_id: 0,
            ts_us: 0,
            last,
            last_commit,
            oldest_commit_us: None,
            encoded: Encoded::default(),
            before: Vec::new(),
            after: Vec::new(),
            adhoc,
        }
    }

    /// End of the last transaction seen complete.
    pub fn last_commit(&self) -> Option<Lsn> {
        self.last_commit
    }

    /// The last event written or passed over.
    pub fn last(&self) -> &LastEvent {
        &self.last
    }

    /// Commit time of the first source transaction since this was last asked.
    pub fn take_oldest_commit_us(&mut self) -> Option<i64> {
        self.oldest_commit_us.take()
    }

    /// Takes one message that belongs to `start`.
    ///
    /// # Errors
    /// When it cannot be understood, encoded or sent.
    pub async fn message(
        &mut self,
        start: Lsn,
        output: &[u8],
        cursor: &mut Cursor,
        session: &mut Session,
        confirmer: &mut Confirmer,
    ) -> Result<(), RelayError> {
        let message = pgoutput::parse(output)
            .map_err(|error| RelayError::Definite(format!("the message at {start} is not understood: {error}")))?;
        match message {
            Message::Begin(begin) => {
                self.writing = cursor.begin(begin.final_lsn);
                self.tx_id = i64::from(begin.xid);
                self.adhoc.begun(begin.xid);
                self.ts_us = begin.commit_time_us;
                self.transactions.begin(self.tx_id, self.ts_us, start);
            }
            Message::Commit(commit) => {
                if session.settings.transaction_metadata && self.writing {
                    self.oldest_commit_us.get_or_insert(self.ts_us);
                    self.transactions.end(start, session, confirmer).await?;
                }
                cursor.commit(commit.end_lsn);
                self.last_commit = Some(commit.end_lsn);
                self.last = LastEvent { lsn: start, tx_id: Some(self.tx_id), ts_us: self.ts_us, kind: "COMMIT" };
            }
            Message::Relation(relation) => {
                let shape = shape(&relation);
                self.adhoc.described(&shape, session);
                self.relations.describe(shape, session);
            }
            Message::Insert(row) => {
                let event = RowEvent::Insert { new: row.new };
                self.row(start, row.relation_id, event, cursor, session, confirmer).await?;
            }
            Message::Update(row) => {
                let event = RowEvent::Update { old: row.old, new: row.new };
                self.row(start, row.relation_id, event, cursor, session, confirmer).await?;
            }
            Message::Delete(row) => {
                let event = RowEvent::Delete { old: row.old };
                self.row(start, row.relation_id, event, cursor, session, confirmer).await?;
            }
            Message::Truncate(truncate) => {
                for relation in truncate.relation_ids() {
                    self.row(start, relation, RowEvent::Truncate, cursor, session, confirmer).await?;
                }
            }
            Message::Message(message) => self.logical(start, &message, cursor, session, confirmer).await?,
            // Types are looked up in the catalog; origins are not asked for.
            _ => {}
        }
        Ok(())
    }

    async fn row(
        &mut self,
        start: Lsn,
        relation: u32,
        event: RowEvent<'_>,
        cursor: &mut Cursor,
        session: &mut Session,
        confirmer: &mut Confirmer,
    ) -> Result<(), RelayError> {
        let new = cursor.event(start);
        if self.adhoc.attends(relation) {
            self.attended(relation, &event, new, session, confirmer).await?;
        }
        let (kind, letter) = event.names();
        // What was written before a restart is encoded once more where the events of its transaction are numbered.
        let counted = session.settings.transaction_metadata && self.writing;
        if !new && !counted || session.settings.skipped_operations.contains(letter) {
            return Ok(());
        }
        let Some(table) = self.relations.ready(relation, session).await? else { return Ok(()) };
        failpoint::hit(failpoint::DECODED);
        self.last = LastEvent { lsn: start, tx_id: Some(self.tx_id), ts_us: self.ts_us, kind };
        self.oldest_commit_us.get_or_insert(self.ts_us);
        let source = Source {
            snapshot: SnapshotMark::False,
            ts_us: self.ts_us,
            tx_id: Some(self.tx_id),
            lsn: Some(start),
            sequence: (self.last_commit, Some(start)),
            origin: None,
        };
        let mut before = std::mem::take(&mut self.before);
        let mut after = std::mem::take(&mut self.after);
        let change = match &event {
            RowEvent::Insert { new } => {
                fill(new, &mut after);
                RowChange::Insert(&after)
            }
            RowEvent::Update { old, new } => {
                fill(new, &mut after);
                let before = old.as_ref().map(|old| {
                    fill(old, &mut before);
                    before.as_slice()
                });
                RowChange::Update { before, after: &mut after }
            }
            RowEvent::Delete { old } => {
                fill(old, &mut before);
                RowChange::Delete(&before)
            }
            RowEvent::Truncate => RowChange::Truncate,
        };
        if let (Some(written), RowChange::Update { before: Some(old), after: new }) = (&table.written, &change)
            && unchanged(written, old, new)
        {
            (self.before, self.after) = (emptied(before), emptied(after));
            return Ok(());
        }
        self.encoded.clear();
        let order = counted.then(|| self.transactions.order(&table.name, start));
        session.rules.encode(&table, change, &source, order, clock_ns(), &mut self.encoded).map_err(|error| {
            RelayError::Definite(format!(
                "the change at {start} cannot be written: {error}; leave the table out by table.exclude.list, or report this"
            ))
        })?;
        (self.before, self.after) = (emptied(before), emptied(after));
        if !new {
            self.transactions.counted();
            return Ok(());
        }
        if counted {
            self.transactions.before_event(session, confirmer).await?;
        }
        let Session { outbox, desk, pipeline, rules, .. } = session;
        pipeline::send(
            (outbox, desk),
            pipeline.as_mut(),
            table.origin(),
            &self.encoded,
            &rules.context_headers,
            confirmer,
        )
        .await?;
        failpoint::hit(failpoint::PRODUCED);
        Ok(())
    }

    /// A change of a table that an incremental snapshot is in, or a row of the signal table.
    async fn attended(
        &mut self,
        relation: u32,
        event: &RowEvent<'_>,
        new_event: bool,
        session: &mut Session,
        confirmer: &mut Confirmer,
    ) -> Result<(), RelayError> {
        let xid = u32::try_from(self.tx_id).unwrap_or_default();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let (old, new) = match event {
            RowEvent::Insert { new } => (None, Some(new)),
            RowEvent::Update { old, new } => (old.as_ref(), Some(new)),
            RowEvent::Delete { old } => (Some(old), None),
            RowEvent::Truncate => {
                self.adhoc.emptied(relation, xid);
                return Ok(());
            }
        };
        let old = old.map(|old| {
            fill(old, &mut before);
            before.as_slice()
        });
        let new = new.map(|new| {
            fill(new, &mut after);
            after.as_slice()
        });
        if let (RowEvent::Insert { .. }, Some(row), true) = (event, new, new_event) {
            self.adhoc.signalled(relation, row);
        }
        let Some(table) = self.relations.ready(relation, session).await? else { return Ok(()) };
        let rows = self.adhoc.before_change(relation, &table, xid, (old, new));
        // Behind a change that was written before a restart its row would come too late.
        for (table, encoded) in rows.into_iter().filter(|_| new_event) {
            let Session { outbox, desk, pipeline, rules, .. } = session;
            let context = &rules.context_headers;
            pipeline::send((outbox, desk), pipeline.as_mut(), table.origin(), &encoded, context, confirmer).await?;
        }
        Ok(())
    }

    async fn logical(
        &mut self,
        start: Lsn,
        message: &LogicalMessage<'_>,
        cursor: &mut Cursor,
        session: &mut Session,
        confirmer: &mut Confirmer,
    ) -> Result<(), RelayError> {
        let inside = message.transactional;
        let new = if inside { cursor.event(start) } else { cursor.message(start) };
        let counted = inside && session.settings.transaction_metadata && self.writing;
        if !new && !counted
            || !session.settings.messages.takes(message.prefix)
            || message.prefix == slot_care::MESSAGE_PREFIX
        {
            return Ok(());
        }
        let block = counted.then(|| self.transactions.order(MESSAGES, start).take());
        if !new {
            self.transactions.counted();
            return Ok(());
        }
        if !inside {
            self.last_commit = Some(start);
        }
        if self.ts_us == 0 {
            self.ts_us = i64::try_from(clock_ns() / 1000).unwrap_or_default();
        }
        let tx_id = inside.then_some(self.tx_id);
        self.last = LastEvent { lsn: start, tx_id, ts_us: self.ts_us, kind: "MESSAGE" };
        self.oldest_commit_us.get_or_insert(self.ts_us);
        let source = Source {
            snapshot: SnapshotMark::False,
            ts_us: self.ts_us,
            tx_id,
            lsn: Some(start),
            sequence: (self.last_commit, Some(start)),
            origin: None,
        };
        if counted {
            self.transactions.before_event(session, confirmer).await?;
        }
        self.messages.write(message, &source, block.as_ref(), session, confirmer).await
    }
}

/// Under which name messages are counted among the tables of a transaction. Debezium's is the address of an object.
const MESSAGES: &str = "message";

fn fill<'a>(tuple: &Tuple<'a>, cells: &mut Vec<Cell<'a>>) {
    cells.clear();
    cells.extend(tuple.cells());
}

/// An empty vector with the memory of this one: collecting in place keeps the allocation over the change of lifetime.
fn emptied(mut cells: Vec<Cell<'_>>) -> Vec<Cell<'static>> {
    cells.clear();
    cells.into_iter().map(|_| Cell::Null).collect()
}

fn shape(relation: &Relation) -> RelationShape {
    let columns = relation.columns.iter().map(|column| RelationColumn {
        name: column.name.clone(),
        type_oid: column.type_oid,
        typmod: column.typmod,
        identity: column.key,
    });
    RelationShape {
        id: TableId(relation.id),
        schema: relation.namespace.clone(),
        name: relation.name.clone(),
        identity_is_key: relation.replica_identity != ReplicaIdentity::Full,
        columns: columns.collect(),
    }
}
