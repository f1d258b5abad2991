//! The codec: one table's schemas, and its rows as Kafka keys and values.
//!
//! Promise: one pass over the cells, appended to the caller's buffer; what is the same in every record was encoded when
//! the codec was built.

use super::{
    CONNECTOR, DEBEZIUM_VERSION, EncodeError, Op, SchemaError, Source, avro,
    field::Field,
    naming::{namespace, sanitized_topic},
    schema, text,
};
use crate::{cell::Cell, lsn::Lsn, names, table::TableSchema};

/// Schemas and encoder of one table at one schema version.
#[derive(Debug)]
pub struct EnvelopeCodec {
    topic: String,
    /// `schema.table`, for errors.
    table: String,
    columns: Vec<ColumnName>,
    fields: Vec<Field>,
    /// Positions in `fields`, in key order.
    key: Vec<usize>,
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
    /// Builds the schemas and the constant byte runs of the envelope. `prefix` is the connector's `topic.prefix`.
    ///
    /// # Errors
    /// When the table has no valid Avro schema.
    pub fn new(prefix: &str, database: &str, table: &TableSchema) -> Result<Self, SchemaError> {
        let topic = sanitized_topic(&names::topic(prefix, &table.schema, &table.name));
        let namespace = namespace(&topic);
        let fields: Vec<Field> =
            table.columns.iter().enumerate().filter_map(|(i, column)| Field::new(i, column)).collect();
        reject_clashes(table, &fields)?;
        let key = key_fields(table, &fields)?;
        let key_schema = (!key.is_empty()).then(|| schema::key(&namespace, key.iter().map(|i| &fields[*i])));
        let value_schema = schema::value(&namespace, &fields);
        let skipped = (0..table.columns.len())
            .filter(|i| fields.iter().all(|field| field.column != *i))
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
    /// Appends nothing when the table has no key. On error `out` is as it was.
    ///
    /// # Errors
    /// When a key column has no value or its text is not of its type.
    pub fn encode_key(&self, schema_id: u32, row: &[Cell<'_>], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.key.is_empty() {
            return Ok(());
        }
        self.expect_columns(row)?;
        let start = out.len();
        push_frame(schema_id, out);
        for position in &self.key {
            let field = &self.fields[*position];
            let encoded = match row[field.column] {
                Cell::Text(text) => field.encode_text(text, out).map_err(|reason| self.bad_text(field, reason)),
                Cell::Null | Cell::Unchanged => Err(EncodeError::NoKeyValue {
                    table: self.table.clone(),
                    column: self.columns[field.column].name.clone(),
                }),
            };
            if let Err(error) = encoded {
                out.truncate(start);
                return Err(error);
            }
        }
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
        let start = out.len();
        push_frame(schema_id, out);
        let rows = self.encode_row(before, out).and_then(|()| self.encode_row(after, out));
        if let Err(error) = rows {
            out.truncate(start);
            return Err(error);
        }
        self.encode_source(source, out);
        // No transaction block.
        out.push(0);
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
        for field in &self.fields {
            let encoded = match row[field.column] {
                Cell::Text(text) => field.encode_text(text, out),
                Cell::Null => {
                    field.encode_null(out);
                    Ok(())
                }
                Cell::Unchanged => field.encode_unchanged(out),
            };
            encoded.map_err(|reason| self.bad_text(field, reason))?;
        }
        Ok(())
    }

    fn encode_source(&self, source: &Source<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.constant.head);
        avro::long(out, source.ts_us.div_euclid(1000));
        // The enum's branch comes first, because it is the default's.
        out.push(0);
        avro::bytes(out, source.snapshot.as_str().as_bytes());
        out.extend_from_slice(&self.constant.db);
        push_sequence(out, source.sequence);
        push_some(out, source.ts_us);
        push_some(out, source.ts_us.saturating_mul(1000));
        out.extend_from_slice(&self.constant.relation);
        push_option(out, source.tx_id);
        push_option(out, source.lsn.map(|lsn| lsn.0.cast_signed()));
        // xmin: only with `xmin.fetch.interval.ms`.
        out.push(0);
        match source.origin {
            Some((name, lsn)) => {
                out.push(2);
                avro::bytes(out, name.as_bytes());
                push_option(out, lsn.map(|lsn| lsn.0.cast_signed()));
            }
            None => out.extend_from_slice(&[0, 0]),
        }
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
        for position in &self.key {
            let field = &self.fields[*position];
            encoded.clear();
            if let Cell::Text(text) = row[field.column] {
                text::encode(&field.kind, text, &mut encoded).map_err(|reason| self.bad_text(field, reason))?;
            }
            let value = field.kind.primitive().and_then(|kind| avro::to_connect_json(kind, &encoded));
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

/// Confluent's wire format: magic 0, schema id (4 bytes, big endian).
#[inline]
fn push_frame(schema_id: u32, out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(&schema_id.to_be_bytes());
}

/// An optional long that is there.
#[inline]
fn push_some(out: &mut Vec<u8>, value: i64) {
    out.push(2);
    avro::long(out, value);
}

#[inline]
fn push_option(out: &mut Vec<u8>, value: Option<i64>) {
    match value {
        Some(value) => push_some(out, value),
        None => out.push(0),
    }
}

/// `source.sequence`: a JSON array of two strings or nulls, as a string.
fn push_sequence(out: &mut Vec<u8>, (last_commit, lsn): (Option<Lsn>, Option<Lsn>)) {
    out.push(2);
    let at = out.len();
    // At most 47 bytes, so the length takes one.
    out.push(0);
    out.push(b'[');
    push_quoted(out, last_commit);
    out.push(b',');
    push_quoted(out, lsn);
    out.push(b']');
    out[at] = ((out.len() - at - 1) << 1) as u8;
}

fn push_quoted(out: &mut Vec<u8>, lsn: Option<Lsn>) {
    let Some(Lsn(mut rest)) = lsn else {
        out.extend_from_slice(b"null");
        return;
    };
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.push(b'"');
    out.extend_from_slice(&digits[at..]);
    out.push(b'"');
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

/// Positions in `fields` of the key's columns.
fn key_fields(table: &TableSchema, fields: &[Field]) -> Result<Vec<usize>, SchemaError> {
    table
        .key
        .iter()
        .map(|index| {
            let column = table
                .columns
                .get(*index)
                .ok_or_else(|| SchemaError::KeyIndex { table: table.name.clone(), index: *index })?;
            fields.iter().position(|field| field.column == *index).ok_or_else(|| SchemaError::KeyType {
                table: table.name.clone(),
                column: column.name.clone(),
                type_name: column.type_name.clone(),
            })
        })
        .collect()
}
