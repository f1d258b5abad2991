//! The change envelope: Debezium 3.6's Avro schemas and bytes for one row change.
//!
//! Stands between the relay's rows ([`Cell`](crate::cell::Cell)s, straight from the replication stream or `COPY`) and the Kafka producer.
//! It promises Debezium's wire format to the byte: schema text as Confluent's `AvroConverter` posts it, and records as it
//! writes them (magic 0, schema id, Avro binary). The reference data is `tests/golden`, recorded from the real thing.
//!
//! One [`EnvelopeCodec`] per table and schema version; encoding a row appends to the caller's buffer and makes no tree of
//! values on the way.

pub(crate) mod avro;
mod binary;
mod codec;
mod default;
mod field;
mod interval;
mod modes;
mod naming;
mod nested;
mod notice;
mod number;
mod plan;
mod rule;
mod schema;
mod source;
mod stand_in;
mod text;
mod time;

pub use self::{
    codec::EnvelopeCodec,
    modes::{BinaryMode, DecimalMode, HstoreMode, IntervalMode, TimeMode, TypeModes, UnknownMode, placeholder_bytes},
    notice::{HeartbeatCodec, MessageCodec, TransactionCodec},
    plan::{ColumnPlan, HashAlgorithm, HashRule, TablePlan, ValueRule},
};
use crate::lsn::Lsn;

/// The Debezium release whose wire format this is; goes into `source.version`.
pub const DEBEZIUM_VERSION: &str = "3.6.3.Final";
/// `source.connector`, and the value of header `__debezium.context.connectorName`.
pub const CONNECTOR: &str = "postgresql";
/// Stands for an unchanged TOASTed value that the stream does not carry (`unavailable.value.placeholder`).
pub const UNAVAILABLE_VALUE: &str = "__debezium_unavailable_value";
/// Header on the delete half of a primary key change; its value is the new key as JSON.
pub const HEADER_NEW_KEY: &str = "__debezium.newkey";
/// Header on the create half of a primary key change; its value is the old key as JSON.
pub const HEADER_OLD_KEY: &str = "__debezium.oldkey";
/// Header on every change record: the topic prefix.
pub const HEADER_CONTEXT_LOGICAL_NAME: &str = "__debezium.context.connectorLogicalName";
/// Header on every change record: the task id, `0`.
pub const HEADER_CONTEXT_TASK: &str = "__debezium.context.taskId";
/// Header on every change record: [`CONNECTOR`].
pub const HEADER_CONTEXT_CONNECTOR: &str = "__debezium.context.connectorName";
/// Header on every change record: a UUID (version 7) made when the task starts.
pub const HEADER_CONTEXT_RUN: &str = "__debezium.context.runId";

/// What happened to the row; `op` of the envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// `r`: seen by a snapshot.
    Read,
    /// `c`
    Create,
    /// `u`
    Update,
    /// `d`
    Delete,
    /// `t`: the whole table was emptied; the record has no key, no before and no after.
    Truncate,
}

impl Op {
    fn code(self) -> u8 {
        match self {
            Self::Read => b'r',
            Self::Create => b'c',
            Self::Update => b'u',
            Self::Delete => b'd',
            Self::Truncate => b't',
        }
    }
}

/// Where a row of a snapshot stands in it; `source.snapshot` of the envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SnapshotMark {
    True,
    First,
    FirstInDataCollection,
    LastInDataCollection,
    Last,
    /// Not from a snapshot.
    False,
    Incremental,
}

impl SnapshotMark {
    /// The value of `source.snapshot`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::First => "first",
            Self::FirstInDataCollection => "first_in_data_collection",
            Self::LastInDataCollection => "last_in_data_collection",
            Self::Last => "last",
            Self::False => "false",
            Self::Incremental => "incremental",
        }
    }
}

/// The changing part of the envelope's `source` block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source<'a> {
    pub snapshot: SnapshotMark,
    /// Commit time of the transaction, microseconds since the Unix epoch; of a snapshot, the time it was taken.
    pub ts_us: i64,
    /// The transaction's id, 32 bits as the stream gives it.
    pub tx_id: Option<i64>,
    /// Position of the change.
    pub lsn: Option<Lsn>,
    /// `source.sequence`: commit position of the last completed transaction (Debezium's `lsn_commit`, unknown until the
    /// first one is seen), and position of the change.
    pub sequence: (Option<Lsn>, Option<Lsn>),
    /// Name of the replication origin, and the commit's position there, when the change was replicated into this server.
    pub origin: Option<(&'a str, Option<Lsn>)>,
}

/// Where an event stands in its transaction (`provide.transaction.metadata`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionBlock {
    pub tx_id: i64,
    /// Position of the event; the id names both.
    pub lsn: Lsn,
    /// Among all events of the transaction, from 1.
    pub total_order: u64,
    /// Among those of its table, from 1.
    pub data_collection_order: u64,
}

/// A table cannot be given Avro schemas.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// `TableSchema::key` points outside of the columns.
    #[error("table {table}: key column index {index} is out of range")]
    KeyIndex { table: String, index: usize },
    /// A key column's type has no place in Debezium's records.
    #[error("table {table}: key column '{column}' has type {type_name}, which cannot be sent")]
    KeyType { table: String, column: String, type_name: String },
    /// Two columns become the same Avro field name (`a b` and `a_b`).
    #[error("table {table}: columns '{first}' and '{second}' both become the Avro field '{field}'; rename one of them")]
    FieldClash { table: String, first: String, second: String, field: String },
}

/// One row cannot be encoded; the table and the record are at fault, not the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The text of a column is not a value of its type (the text itself is not shown: it is the user's data).
    #[error("column '{column}' of {table}: not a valid {type_name} ({reason})")]
    BadText { table: String, column: String, type_name: String, reason: &'static str },
    /// The row has another number of columns than the table's schema.
    #[error("{table}: a row of {found} columns where the schema has {expected}")]
    ColumnCount { table: String, expected: usize, found: usize },
}
