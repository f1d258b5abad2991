//! The shape of one source table as the catalog describes it at one moment.
//!
//! Made by the relay from `pg_catalog` (and from relation messages of the replication stream), read by the envelope
//! codec, which turns it into Avro schemas. It promises nothing about rows: those are slices of [`crate::cell::Cell`],
//! in the order of [`TableSchema::columns`].

use std::fmt;

/// Object id of a table (`pg_class.oid`). Stays the same when the table is renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TableId(pub u32);

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One column, dropped ones left out.
///
/// For a column of a domain, `type_oid`, `type_name` and `typmod` are those of the domain's root type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Column {
    /// `pg_attribute.attname`.
    pub name: String,
    /// `pg_attribute.atttypid`.
    pub type_oid: u32,
    /// `pg_type.typname`, not the SQL spelling: `int4`, `timestamptz`, `_int4` for `int[]`.
    pub type_name: String,
    /// `pg_attribute.atttypmod`; -1 when the type has no modifier.
    pub typmod: i32,
    /// False for `NOT NULL` (and for primary key columns).
    pub nullable: bool,
    /// Default expression as `pg_get_expr(adbin, adrelid)` writes it. For an identity column, which has no such
    /// expression, `None`.
    pub default: Option<String>,
    /// Filled from a sequence: `serial` and its kin (`nextval` default owned by the column) or `GENERATED … AS IDENTITY`.
    pub identity_or_serial: bool,
    /// Labels in sort order when the type is an enum, or an array of one; otherwise empty.
    pub enum_labels: Vec<String>,
}

/// One table at one moment of its history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableSchema {
    pub id: TableId,
    /// Namespace of the table, e.g. `public`.
    pub schema: String,
    pub name: String,
    /// In attribute order.
    pub columns: Vec<Column>,
    /// Indexes into `columns` of the primary key, in the key's own order. Empty when there is none.
    pub key: Vec<usize>,
}
