//! One row change becomes the Kafka records Debezium writes for it.
//!
//! Stands between the decoder and the outbox, for the stream and for the snapshot. Promise: records are encoded into one
//! reused buffer; nothing is allocated per row.

use std::ops::Range;

use model::{
    cell::{Cell, fill_unchanged},
    envelope::{self, EncodeError, EnvelopeCodec, Op, Source, TransactionBlock},
    lsn::Lsn,
    table::TableSchema,
};
use topics::Headers;

use crate::settings::RelaySettings;

/// A table with everything that encoding its rows needs.
#[derive(Debug)]
pub struct CapturedTable {
    pub schema: TableSchema,
    /// `schema.table`
    pub name: String,
    pub codec: EnvelopeCodec,
    /// Columns that are written, by index, where updates that change none of them are not.
    pub written: Option<Vec<usize>>,
    /// Registry's id of the key schema; unused without a key.
    pub key_schema_id: u32,
    pub value_schema_id: u32,
}

/// Which headers a record carries.
#[derive(Debug)]
pub enum RecordHeaders {
    /// Those of every record.
    Context,
    /// None: a record that belongs to no table.
    None,
    /// Those of every record, and one that links the halves of a key change.
    KeyChange(Box<Headers>),
}

/// One encoded record: ranges of [`Encoded::bytes`].
#[derive(Debug)]
pub struct Piece {
    pub key: Option<Range<usize>>,
    /// `None` is a tombstone.
    pub value: Option<Range<usize>>,
    pub headers: RecordHeaders,
}

/// Encoded records, in order.
#[derive(Debug, Default)]
pub struct Encoded {
    pub bytes: Vec<u8>,
    pub pieces: Vec<Piece>,
}

impl Encoded {
    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.pieces.clear();
    }
}

/// What happened to a row.
#[derive(Debug)]
pub enum RowChange<'a, 'b> {
    Read(&'b [Cell<'a>]),
    Insert(&'b [Cell<'a>]),
    /// `before`: the old row or its key, when the server sent one.
    Update {
        before: Option<&'b [Cell<'a>]>,
        after: &'b mut [Cell<'a>],
    },
    Delete(&'b [Cell<'a>]),
    Truncate,
}

/// Counts a transaction's events (`provide.transaction.metadata`).
#[derive(Debug)]
pub struct EventOrder<'a> {
    pub tx_id: i64,
    pub lsn: Lsn,
    pub total: &'a mut u64,
    /// Of the event's table.
    pub table: &'a mut u64,
}

impl EventOrder<'_> {
    /// The next event's place.
    pub fn take(&mut self) -> TransactionBlock {
        *self.total += 1;
        *self.table += 1;
        let Self { tx_id, lsn, .. } = *self;
        TransactionBlock { tx_id, lsn, total_order: *self.total, data_collection_order: *self.table }
    }
}

/// What does not change from row to row.
#[derive(Debug)]
pub struct RecordRules {
    pub tombstones_on_delete: bool,
    /// On every record: [`envelope::HEADER_CONTEXT_LOGICAL_NAME`] and its kin.
    pub context: Vec<(&'static str, Vec<u8>)>,
    pub context_headers: Headers,
}

impl RecordRules {
    /// `run_id`: a UUID of this run of the task.
    #[must_use]
    pub fn new(settings: &RelaySettings, run_id: &str) -> Self {
        let mut context: Vec<(&'static str, Vec<u8>)> = vec![
            (envelope::HEADER_CONTEXT_LOGICAL_NAME, settings.topic_prefix.as_str().into()),
            (envelope::HEADER_CONTEXT_TASK, b"0".to_vec()),
            (envelope::HEADER_CONTEXT_CONNECTOR, envelope::CONNECTOR.into()),
            (envelope::HEADER_CONTEXT_RUN, run_id.into()),
        ];
        if !settings.context_headers {
            context.clear();
        }
        let context_headers = with_context(Headers::new(), &context);
        Self { tombstones_on_delete: settings.tombstones_on_delete, context, context_headers }
    }

    /// Appends the records of one change to `out`. `clock_ns`: now, nanoseconds since the Unix epoch.
    ///
    /// # Errors
    /// When the row does not fit its table; `out` may then hold a part of its records.
    pub fn encode(
        &self,
        table: &CapturedTable,
        change: RowChange<'_, '_>,
        source: &Source<'_>,
        order: Option<EventOrder<'_>>,
        clock_ns: i128,
        out: &mut Encoded,
    ) -> Result<(), EncodeError> {
        let mut one = Row { table, source, order, clock_ns };
        let one = &mut one;
        match change {
            RowChange::Read(row) => one.append(Op::Read, row, None, Some(row), RecordHeaders::Context, out),
            RowChange::Insert(row) => one.append(Op::Create, row, None, Some(row), RecordHeaders::Context, out),
            RowChange::Delete(before) => {
                one.append(Op::Delete, before, Some(before), None, RecordHeaders::Context, out)?;
                self.tombstone(one, before, RecordHeaders::Context, out)
            }
            RowChange::Update { before, after } => {
                if let Some(before) = before {
                    fill_unchanged(after, before);
                    if key_differs(&table.schema.key, before, after) {
                        return self.key_change(one, before, after, out);
                    }
                }
                one.append(Op::Update, after, before, Some(after), RecordHeaders::Context, out)
            }
            RowChange::Truncate => {
                let value = one.value(Op::Truncate, None, None, out)?;
                out.pieces.push(Piece { key: None, value: Some(value), headers: RecordHeaders::Context });
                Ok(())
            }
        }
    }

    /// A changed key is another row to Kafka: the old one is deleted, the new one created, headers link the two.
    fn key_change(
        &self,
        one: &mut Row<'_>,
        before: &[Cell<'_>],
        after: &[Cell<'_>],
        out: &mut Encoded,
    ) -> Result<(), EncodeError> {
        let (old, new) = (one.table.codec.key_json(before)?, one.table.codec.key_json(after)?);
        let linked = |name: &str, key: &str| {
            let headers = Headers::new().with(name, Some(key.as_bytes()));
            RecordHeaders::KeyChange(Box::new(with_context(headers, &self.context)))
        };
        one.append(Op::Delete, before, Some(before), None, linked(envelope::HEADER_NEW_KEY, &new), out)?;
        self.tombstone(one, before, linked(envelope::HEADER_NEW_KEY, &new), out)?;
        one.append(Op::Create, after, None, Some(after), linked(envelope::HEADER_OLD_KEY, &old), out)
    }

    fn tombstone(
        &self,
        one: &Row<'_>,
        row: &[Cell<'_>],
        headers: RecordHeaders,
        out: &mut Encoded,
    ) -> Result<(), EncodeError> {
        if self.tombstones_on_delete {
            let key = one.key(row, out)?;
            out.pieces.push(Piece { key, value: None, headers });
        }
        Ok(())
    }
}

fn with_context(headers: Headers, context: &[(&'static str, Vec<u8>)]) -> Headers {
    context.iter().fold(headers, |headers, (name, value)| headers.with(name, Some(value)))
}

/// One change of one table at one moment.
struct Row<'a> {
    table: &'a CapturedTable,
    source: &'a Source<'a>,
    order: Option<EventOrder<'a>>,
    clock_ns: i128,
}

impl Row<'_> {
    fn append(
        &mut self,
        op: Op,
        keyed: &[Cell<'_>],
        before: Option<&[Cell<'_>]>,
        after: Option<&[Cell<'_>]>,
        headers: RecordHeaders,
        out: &mut Encoded,
    ) -> Result<(), EncodeError> {
        let key = self.key(keyed, out)?;
        let value = Some(self.value(op, before, after, out)?);
        out.pieces.push(Piece { key, value, headers });
        Ok(())
    }

    fn key(&self, row: &[Cell<'_>], out: &mut Encoded) -> Result<Option<Range<usize>>, EncodeError> {
        if self.table.schema.key.is_empty() {
            return Ok(None);
        }
        let start = out.bytes.len();
        self.table.codec.encode_key(self.table.key_schema_id, row, &mut out.bytes)?;
        Ok(Some(start..out.bytes.len()))
    }

    fn value(
        &mut self,
        op: Op,
        before: Option<&[Cell<'_>]>,
        after: Option<&[Cell<'_>]>,
        out: &mut Encoded,
    ) -> Result<Range<usize>, EncodeError> {
        let start = out.bytes.len();
        let id = self.table.value_schema_id;
        let block = self.order.as_mut().map(EventOrder::take);
        let codec = &self.table.codec;
        codec.encode_value_in(id, op, before, after, self.source, block.as_ref(), self.clock_ns, &mut out.bytes)?;
        Ok(start..out.bytes.len())
    }
}

/// Whether an update leaves all of these columns as they were. An unchanged TOASTed one did not change.
#[must_use]
pub fn unchanged(written: &[usize], before: &[Cell<'_>], after: &[Cell<'_>]) -> bool {
    written.iter().all(|index| match (before.get(*index), after.get(*index)) {
        (Some(_), Some(Cell::Unchanged)) => true,
        (old, new) => old == new,
    })
}

/// Whether the key changed. NULL in the old row is taken for a column that the server did not send (replica identity on
/// another index); an unchanged TOASTed one did not change.
fn key_differs(key: &[usize], before: &[Cell<'_>], after: &[Cell<'_>]) -> bool {
    key.iter().any(|index| match (before.get(*index), after.get(*index)) {
        (Some(Cell::Text(old)), Some(Cell::Text(new))) => old != new,
        _ => false,
    })
}
