//! Change envelopes from their Avro bytes: the row in canonical form, the operation, the source transaction.
//!
//! Pure. Reads Avro by itself, from the writer schema, for two reasons: the meaning of a number hangs on the schema's
//! `connect.name`, and a proof should not share its reader with the writer it checks. Sources of the formats: Avro 1.12
//! specification; Debezium's documentation of the PostgreSQL connector.

mod avro;

use std::sync::Arc;

use serde_json::Value;

use crate::canonical::{Kind, Unit, decimal_of_bytes};
use crate::error::{Result, broken};
use crate::rows::{Row, Table, hash_row};
use crate::state::Event;
use avro::{Input, Node, Typed};

/// A row change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `r`, `c`, `u`, `d` or `t`.
    pub operation: String,
    pub before: Option<Row>,
    pub after: Option<Row>,
    /// The source transaction's 32-bit id.
    pub xid: Option<u32>,
}

/// Reads the envelopes of one writer schema into the rows of one table.
#[derive(Debug)]
pub struct EnvelopeReader {
    fields: Vec<(String, Arc<Typed>)>,
    table: Arc<Table>,
}

impl EnvelopeReader {
    /// # Errors
    /// When the text is no Avro schema of a record.
    pub fn new(schema: &str, table: Arc<Table>) -> Result<Self> {
        let refused =
            |reason: &str| broken(format!("the writer schema of {} is not readable: {reason}", table.full_name()));
        let schema: Value = serde_json::from_str(schema).map_err(|error| refused(&error.to_string()))?;
        match avro::compile(&schema)?.node.clone() {
            Node::Record(fields) => Ok(Self { fields, table }),
            _ => Err(refused("it is no record")),
        }
    }

    /// Reads one envelope from the front of `input`, which is left behind it.
    ///
    /// # Errors
    /// When the bytes do not follow the schema.
    pub fn read(&self, input: &mut &[u8]) -> Result<Change> {
        let mut bytes = Input(input);
        let mut change = Change { operation: String::new(), before: None, after: None, xid: None };
        for (name, typed) in &self.fields {
            match name.as_str() {
                "before" => change.before = self.row(typed, &mut bytes)?,
                "after" => change.after = self.row(typed, &mut bytes)?,
                "source" => change.xid = xid(typed, &mut bytes)?,
                "op" => change.operation = bytes.text()?,
                _ => bytes.skip(typed)?,
            }
        }
        *input = bytes.0;
        Ok(change)
    }

    /// The event that a change is at its place; `None` for what is no change of a row (truncate).
    ///
    /// # Errors
    /// When the change has no row image, or one without its key.
    pub fn event(&self, partition: i32, offset: i64, change: Change) -> Result<Option<Event>> {
        let deleted = match change.operation.as_str() {
            "d" => true,
            "r" | "c" | "u" => false,
            "t" | "m" => return Ok(None),
            other => return Err(broken(format!("{}: operation {other:?} is unknown", self.table.full_name()))),
        };
        let image = if deleted { change.before } else { change.after };
        let image = image.ok_or_else(|| {
            broken(format!("{}: event {partition}/{offset} has no row image", self.table.full_name()))
        })?;
        Ok(Some(Event {
            partition,
            offset,
            read: change.operation == "r",
            xid: change.xid,
            key: self.table.key_of(&image)?,
            row: (!deleted).then(|| hash_row(&image)),
        }))
    }

    fn row(&self, typed: &Typed, bytes: &mut Input<'_>) -> Result<Option<Row>> {
        let Some(Node::Record(fields)) = bytes.resolve(&typed.node)? else { return Ok(None) };
        let mut row: Row = vec![None; self.table.columns.len()];
        for (name, typed) in fields {
            match self.table.columns.iter().position(|column| column.name == *name) {
                Some(index) => row[index] = value(typed, bytes)?,
                None => bytes.skip(typed)?,
            }
        }
        Ok(Some(row))
    }
}

/// `source.txId`.
fn xid(typed: &Typed, bytes: &mut Input<'_>) -> Result<Option<u32>> {
    let Some(Node::Record(fields)) = bytes.resolve(&typed.node)? else { return Ok(None) };
    let mut xid = None;
    for (name, typed) in fields {
        if name != "txId" {
            bytes.skip(typed)?;
        } else if let Some(Node::Long | Node::Int) = bytes.resolve(&typed.node)? {
            // The log carries 32 bits; a wider number keeps them as its low ones.
            xid = Some(bytes.long()? as u32);
        }
    }
    Ok(xid)
}

/// A column's value in canonical form.
fn value(typed: &Typed, bytes: &mut Input<'_>) -> Result<Option<String>> {
    // The meaning stands at the branch of a union that is not null, or at the field itself.
    let Some((node, meaning)) = bytes.resolve_typed(typed)? else { return Ok(None) };
    let text = match (node, meaning.name.as_deref().unwrap_or_default()) {
        (Node::Boolean, _) => if bytes.boolean()? { "t" } else { "f" }.to_owned(),
        (Node::Int | Node::Long, name) => {
            let number = bytes.long()?;
            unit_of(name).map_or(number, |unit| unit.micros(number)).to_string()
        }
        (Node::Float, _) => format!("{:?}", f32::from_le_bytes(bytes.array()?)),
        (Node::Double, _) => format!("{:?}", f64::from_le_bytes(bytes.array()?)),
        (Node::Text, "io.debezium.time.ZonedTimestamp") => Kind::Instant.from_postgres(&bytes.text()?)?,
        (Node::Text, _) => bytes.text()?,
        (Node::Bytes, "org.apache.kafka.connect.data.Decimal") => {
            decimal_of_bytes(bytes.bytes()?, meaning.scale.unwrap_or_default())?
        }
        (Node::Bytes, _) => hexadecimal(bytes.bytes()?),
        (Node::Enum(symbols), _) => {
            let index = usize::try_from(bytes.long()?).unwrap_or(usize::MAX);
            symbols.get(index).cloned().ok_or_else(|| broken("an enum's index lies beyond its symbols"))?
        }
        (Node::Record(fields), "io.debezium.data.VariableScaleDecimal") => variable_decimal(fields, bytes)?,
        (_, name) => return Err(broken(format!("the ledger cannot compare values of type {name:?} yet"))),
    };
    Ok(Some(text))
}

fn variable_decimal(fields: &[(String, Arc<Typed>)], bytes: &mut Input<'_>) -> Result<String> {
    let (mut scale, mut unscaled) = (0, Vec::new());
    for (name, typed) in fields {
        match (name.as_str(), &typed.node) {
            ("scale", Node::Int) => scale = usize::try_from(bytes.long()?).unwrap_or_default(),
            ("value", Node::Bytes) => unscaled = bytes.bytes()?.to_vec(),
            _ => bytes.skip(typed)?,
        }
    }
    decimal_of_bytes(&unscaled, scale)
}

/// The unit of Debezium's and Connect's times; `None` for other numbers.
fn unit_of(name: &str) -> Option<Unit> {
    match name {
        "io.debezium.time.Time"
        | "io.debezium.time.Timestamp"
        | "org.apache.kafka.connect.data.Time"
        | "org.apache.kafka.connect.data.Timestamp" => Some(Unit::Millis),
        "io.debezium.time.MicroTime" | "io.debezium.time.MicroTimestamp" => Some(Unit::Micros),
        "io.debezium.time.NanoTime" | "io.debezium.time.NanoTimestamp" => Some(Unit::Nanos),
        _ => None,
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
