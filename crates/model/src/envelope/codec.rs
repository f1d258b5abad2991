//! The codec: one table's schemas, and its rows as Kafka keys and values.
//!
//! Promise: one pass over the cells, appended to the caller's buffer; what is the same in every record was encoded when
//! the codec was built.

use super::{
    CONNECTOR, DEBEZIUM_VERSION, EncodeError, Op, SchemaError, Source, TransactionBlock, avro,
    field::Field,
    modes::TypeModes,
    naming::{namespace, sanitized_topic},
    notice,
    plan::{ColumnPlan, TablePlan},
    schema,
    source::{self, push_frame, push_some},
};
use crate::{cell::Cell, names, table::TableSchema};

/// Schemas and encoder of one table at one schema version.
#[derive(Debug)]
pub struct EnvelopeCodec {
    topic: String,
    /// `schema.table`, for errors.
    table: String,
    columns: Vec<ColumnName>,
    fields: Vec<Field>,
    /// In key order, with the columns' values as they are: rules do not touch keys.
    key: Vec<Field>,
    key_schema: Option<String>,
    value_schema: String,
    skipped: Vec<String>,
    constant: ConstantRuns,
}

/// What an error says about a column.
#[derive(Debug)]
struct ColumnName {
    name: String,
    type_name: String,
}

/// Parts of every value's `source` block that never change, already encoded.
#[derive(Debug)]
struct ConstantRuns {
    /// version, connector, name
    head: Vec<u8>,
    db: Vec<u8>,
    /// schema, table
    relation: Vec<u8>,
}

impl EnvelopeCodec {
    /// As [`Self::planned`] under Debezium's default settings.
    ///
    /// # Errors
    /// When the table has no valid Avro schema.
    pub fn new(prefix: &str, database: &str, table: &TableSchema) -> Result<Self, SchemaError> {
        Self::planned(prefix, database, table, &TablePlan::default())
    }

    /// Builds the schemas and the constant byte runs of the envelope. `prefix` is the connector's `topic.prefix`.
    ///
    /// # Errors
    /// When the table has no valid Avro schema.
    pub fn planned(prefix: &str, database: &str, table: &TableSchema, plan: &TablePlan) -> Result<Self, SchemaError> {
        let named = || names::topic(prefix, &table.schema, &table.name);
        let topic = sanitized_topic(&plan.topic.clone().unwrap_or_else(named));
        let namespace = namespace(&topic);
        let none = ColumnPlan::default();
        let planned = |index: usize| plan.columns.get(index).unwrap_or(&none);
        let fields: Vec<Field> = table
            .columns
            .iter()
            .enumerate()
            .filter(|(index, _)| !planned(*index).left_out)
            .filter_map(|(index, column)| Field::new(index, column, &plan.modes, planned(index)))
            .collect();
        reject_clashes(table, &fields)?;
        let key = key_fields(table, &plan.modes)?;
        let key_schema = (!key.is_empty()).then(|| schema::key(&namespace, &key));
        let value_schema = schema::value(&namespace, &fields);
        let skipped = (0..table.columns.len())
            .filter(|i| !planned(*i).left_out && fields.iter().all(|field| field.column != *i))
            .map(|i| table.columns[i].name.clone())
            .collect();
        let strings = |parts: &[&str]| {
            let mut out = Vec::new();
            for part in parts {
                avro::bytes(&mut out, part.as_bytes());
            }
            out
        };
        Ok(Self {
            topic,
            table: format!("{}.{}", table.schema, table.name),
            columns: table
                .columns
                .iter()
                .map(|column| ColumnName { name: column.name.clone(), type_name: column.type_name.clone() })
                .collect(),
            fields,
            key,
            key_schema,
            value_schema,
            skipped,
            constant: ConstantRuns {
                head: strings(&[DEBEZIUM_VERSION, CONNECTOR, prefix]),
                db: strings(&[database]),
                relation: strings(&[&table.schema, &table.name]),
            },
        })
    }

    /// The table's topic: `<prefix>.<schema>.<table>`, characters Kafka does not allow replaced by `_`.
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

    /// Columns whose type has no place in Debezium's records, so their values are not sent. Say so in the log.
    #[must_use]
    pub fn skipped_columns(&self) -> &[String] {
        &self.skipped
    }

    /// Appends the record's key: magic 0, schema id, Avro. `row` is the whole row (the old one for a delete).
    /// Appends nothing when the table has no key. A column that the server did not send (the replica identity is another
    /// index) gets the value Debezium gives it: 0 and its kin. On error `out` is as it was.
    ///
    /// # Errors
    /// When a text is not of its column's type, or the row has another number of columns.
    pub fn encode_key(&self, schema_id: u32, row: &[Cell<'_>], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.key.is_empty() {
            return Ok(());
        }
        self.expect_columns(row)?;
        let start = out.len();
        push_frame(schema_id, out);
        for field in &self.key {
            if let Err(error) = self.encode_cell(field, &row[field.column], out) {
                out.truncate(start);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Appends one field's value, or what stands for it.
    #[inline]
    fn encode_cell(&self, field: &Field, cell: &Cell<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let encoded = match cell {
            Cell::Text(text) => field.encode_text(text, out),
            Cell::Null => {
                field.encode_null(out);
                Ok(())
            }
            Cell::Unchanged => field.encode_unchanged(out),
        };
        encoded.map_err(|reason| self.bad_text(field, reason))
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
        self.encode_value_in(schema_id, op, before, after, source, None, ts_ns, out)
    }

    /// As [`Self::encode_value`], with the event's place in its transaction.
    ///
    /// # Errors
    /// As [`Self::encode_value`].
    #[allow(clippy::too_many_arguments)]
    pub fn encode_value_in(
        &self,
        schema_id: u32,
        op: Op,
        before: Option<&[Cell<'_>]>,
        after: Option<&[Cell<'_>]>,
        source: &Source<'_>,
        transaction: Option<&TransactionBlock>,
        ts_ns: i128,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let start = out.len();
        push_frame(schema_id, out);
        let rows = self.encode_row(before, out).and_then(|()| self.encode_row(after, out));
        if let Err(error) = rows {
            out.truncate(start);
            return Err(error);
        }
        self.encode_source(source, out);
        notice::push_block(transaction, out);
        out.extend_from_slice(&[2, op.code()]);
        for unit in [1_000_000, 1_000, 1] {
            push_some(out, i64::try_from(ts_ns.div_euclid(unit)).unwrap_or(i64::MAX));
        }
        Ok(())
    }

    fn encode_row(&self, row: Option<&[Cell<'_>]>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let Some(row) = row else {
            out.push(0);
            return Ok(());
        };
        self.expect_columns(row)?;
        out.push(2);
        self.fields.iter().try_for_each(|field| self.encode_cell(field, &row[field.column], out))
    }

    fn encode_source(&self, source: &Source<'_>, out: &mut Vec<u8>) {
        let ConstantRuns { head, db, relation } = &self.constant;
        source::push(head, db, relation, source, out);
    }

    /// The key as Kafka Connect's JSON (`{"id":10}`): value of headers [`HEADER_NEW_KEY`](super::HEADER_NEW_KEY) and
    /// [`HEADER_OLD_KEY`](super::HEADER_OLD_KEY).
    /// `null` stands for key columns that are not primitives.
    ///
    /// # Errors
    /// As [`Self::encode_key`].
    pub fn key_json(&self, row: &[Cell<'_>]) -> Result<String, EncodeError> {
        self.expect_columns(row)?;
        let mut json = String::from("{");
        let mut encoded = Vec::new();
        for field in &self.key {
            encoded.clear();
            let value = match (row[field.column], field.nullable) {
                (Cell::Null, true) => None,
                (cell, nullable) => {
                    self.encode_cell(field, &cell, &mut encoded)?;
                    let value = &encoded[usize::from(nullable)..];
                    field.kind.primitive().and_then(|kind| avro::to_connect_json(kind, value))
                }
            };
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str(&avro::json_string(&field.name));
            json.push(':');
            json.push_str(value.as_deref().unwrap_or("null"));
        }
        json.push('}');
        Ok(json)
    }

    fn expect_columns(&self, row: &[Cell<'_>]) -> Result<(), EncodeError> {
        if row.len() == self.columns.len() {
            return Ok(());
        }
        Err(EncodeError::ColumnCount { table: self.table.clone(), expected: self.columns.len(), found: row.len() })
    }

    #[cold]
    fn bad_text(&self, field: &Field, reason: &'static str) -> EncodeError {
        let ColumnName { name, type_name } = &self.columns[field.column];
        EncodeError::BadText { table: self.table.clone(), column: name.clone(), type_name: type_name.clone(), reason }
    }
}

fn reject_clashes(table: &TableSchema, fields: &[Field]) -> Result<(), SchemaError> {
    for (i, field) in fields.iter().enumerate() {
        if let Some(other) = fields[..i].iter().find(|other| other.name == field.name) {
            return Err(SchemaError::FieldClash {
                table: table.name.clone(),
                first: table.columns[other.column].name.clone(),
                second: table.columns[field.column].name.clone(),
                field: field.name.clone(),
            });
        }
    }
    Ok(())
}

fn key_fields(table: &TableSchema, modes: &TypeModes) -> Result<Vec<Field>, SchemaError> {
    table
        .key
        .iter()
        .map(|index| {
            let column = table
                .columns
                .get(*index)
                .ok_or_else(|| SchemaError::KeyIndex { table: table.name.clone(), index: *index })?;
            Field::new(*index, column, modes, &ColumnPlan::default()).ok_or_else(|| SchemaError::KeyType {
                table: table.name.clone(),
                column: column.name.clone(),
                type_name: column.type_name.clone(),
            })
        })
        .collect()
}
