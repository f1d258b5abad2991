//! From the writer schema of an envelope to typed columns: Debezium's semantic types and Kafka Connect's logical types.
//!
//! Pure. Source of the formats: Debezium's documentation of the PostgreSQL connector ("Data type mappings") and the Avro
//! schemas its converter registers (`connect.name`, `connect.parameters`).

use std::collections::HashMap;

use iceberg::spec::PrimitiveType;
use serde_json::Value;

use crate::{
    error::{LakeError, Result},
    tables::schema::{Wanted, WantedType},
};

/// Iceberg's greatest decimal precision.
const DECIMAL_PRECISION_MAX: u32 = 38;

/// What a column's Avro values mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Text,
    Bytes,
    Decimal {
        precision: u32,
        scale: u32,
    },
    /// Record of scale and unscaled value: numeric without declared scale; kept as exact text.
    VariableDecimal,
    /// Days since the epoch.
    Date,
    /// Time of day in the given unit.
    Time(Unit),
    /// Wall-clock time without zone, since the epoch in the given unit.
    Timestamp(Unit),
    /// ISO 8601 text with zone: an instant.
    Instant,
    List(Box<Kind>),
    /// A type the lake has no column type for; kept as text.
    Other,
}

/// Unit of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Millis,
    Micros,
    Nanos,
}

/// One column of the row image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceColumn {
    pub name: String,
    pub kind: Kind,
}

impl Kind {
    /// The column type in the lake.
    #[must_use]
    pub fn wanted(&self) -> WantedType {
        let primitive = match self {
            Self::Boolean => PrimitiveType::Boolean,
            Self::Int => PrimitiveType::Int,
            Self::Long => PrimitiveType::Long,
            Self::Float => PrimitiveType::Float,
            Self::Double => PrimitiveType::Double,
            Self::Bytes => PrimitiveType::Binary,
            Self::Decimal { precision, scale } => {
                PrimitiveType::Decimal { precision: (*precision).min(DECIMAL_PRECISION_MAX), scale: *scale }
            }
            Self::Date => PrimitiveType::Date,
            Self::Time(_) => PrimitiveType::Time,
            Self::Timestamp(_) => PrimitiveType::Timestamp,
            Self::Instant => PrimitiveType::Timestamptz,
            Self::Text | Self::VariableDecimal | Self::Other => PrimitiveType::String,
            Self::List(element) => return WantedType::List(Box::new(element.wanted())),
        };
        WantedType::Primitive(primitive)
    }
}

impl SourceColumn {
    /// The column as the lake's tables have it.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        Wanted { name: self.name.clone(), kind: self.kind.wanted(), required: false }
    }
}

/// What is read of an envelope.
const READ: [&str; 4] = ["before", "after", "source", "op"];
/// What is read of its source block.
const READ_OF_SOURCE: [&str; 4] = ["lsn", "txId", "ts_ms", "ts_us"];

/// The schema of what is read of an envelope: the rest of each record, most of it text of the source block that is the same in
/// every record, is skipped and never copied. `None` when the text is no schema of a record.
#[must_use]
pub fn read_schema(writer: &str) -> Option<String> {
    let mut schema: Value = serde_json::from_str(writer).ok()?;
    let fields = schema.get_mut("fields")?.as_array_mut()?;
    let named = |field: &Value, names: &[&str]| field["name"].as_str().is_some_and(|name| names.contains(&name));
    fields.retain(|field| named(field, &READ));
    let source = fields.iter_mut().find(|field| field["name"] == "source")?;
    if let Some(fields) = source["type"].get_mut("fields").and_then(Value::as_array_mut) {
        fields.retain(|field| named(field, &READ_OF_SOURCE));
    }
    Some(schema.to_string())
}

/// The row's columns of an envelope schema (a record with `before`, `after`, `source` and `op`).
///
/// # Errors
/// When the text is not an Avro schema of an envelope.
pub fn envelope_columns(schema: &str) -> Result<Vec<SourceColumn>> {
    let schema: Value = serde_json::from_str(schema)
        .map_err(|error| LakeError::definite(format!("the writer schema is no JSON: {error}")))?;
    let mut names = Names::default();
    names.collect(&schema, "");
    let field = |name: &str| fields(&schema).find(|field| field["name"] == name).map(|field| &field["type"]);
    if ["op", "source", "before", "after"].iter().any(|name| field(name).is_none()) {
        return Err(LakeError::definite(
            "the writer schema is no change envelope (it lacks op, source, before or after)",
        ));
    }
    let row =
        ["after", "before"].iter().find_map(|name| names.resolve(field(name)?).filter(|row| row["fields"].is_array()));
    let row = row.ok_or_else(|| LakeError::definite("the envelope's row is no record"))?;
    let columns = fields(row).map(|field| SourceColumn {
        name: field["name"].as_str().unwrap_or_default().to_owned(),
        kind: kind(&field["type"], &names),
    });
    Ok(columns.collect())
}

/// Names of a key schema's fields, in order.
///
/// # Errors
/// When the text is no record schema.
pub fn key_columns(schema: &str) -> Result<Vec<String>> {
    let schema: Value = serde_json::from_str(schema)
        .map_err(|error| LakeError::definite(format!("the key schema is no JSON: {error}")))?;
    let names: Vec<String> = fields(&schema).filter_map(|field| field["name"].as_str()).map(str::to_owned).collect();
    if names.is_empty() {
        return Err(LakeError::definite("the key schema has no fields"));
    }
    Ok(names)
}

fn fields(record: &Value) -> impl Iterator<Item = &Value> {
    record["fields"].as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

/// Named types seen so far: a schema defines a record once and refers to it by name afterwards.
#[derive(Default)]
struct Names<'a>(HashMap<String, &'a Value>);

impl<'a> Names<'a> {
    fn collect(&mut self, schema: &'a Value, namespace: &str) {
        match schema {
            Value::Array(branches) => branches.iter().for_each(|branch| self.collect(branch, namespace)),
            Value::Object(object) => {
                let namespace = object.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
                if let Some(name) = object.get("name").and_then(Value::as_str)
                    && object.contains_key("fields")
                {
                    self.0.insert(name.to_owned(), schema);
                    self.0.insert(format!("{namespace}.{name}"), schema);
                }
                for part in ["type", "items"].iter().filter_map(|part| object.get(*part)) {
                    self.collect(part, namespace);
                }
                fields(schema).for_each(|field| self.collect(&field["type"], namespace));
            }
            _ => {}
        }
    }

    /// The type without its null branch, names looked up.
    fn resolve(&self, schema: &'a Value) -> Option<&'a Value> {
        match schema {
            Value::Array(branches) => {
                let mut present = branches.iter().filter(|branch| *branch != "null");
                let first = present.next()?;
                present.next().is_none().then(|| self.resolve(first)).flatten()
            }
            Value::String(name) => Some(self.0.get(name).copied().unwrap_or(schema)),
            Value::Object(object) if object["type"].is_object() || object["type"].is_array() => {
                self.resolve(&object["type"])
            }
            _ => Some(schema),
        }
    }
}

fn kind<'a>(schema: &'a Value, names: &Names<'a>) -> Kind {
    let Some(schema) = names.resolve(schema) else { return Kind::Other };
    let base = schema.as_str().or_else(|| schema["type"].as_str()).unwrap_or_default();
    let meaning = schema["connect.name"].as_str().or_else(|| schema["logicalType"].as_str()).unwrap_or_default();
    match (meaning, base) {
        ("org.apache.kafka.connect.data.Decimal" | "decimal", "bytes" | "fixed") => decimal(schema),
        ("io.debezium.data.VariableScaleDecimal", "record") => Kind::VariableDecimal,
        ("io.debezium.time.Date" | "org.apache.kafka.connect.data.Date" | "date", "int") => Kind::Date,
        ("io.debezium.time.Time" | "org.apache.kafka.connect.data.Time" | "time-millis", "int") => {
            Kind::Time(Unit::Millis)
        }
        ("io.debezium.time.MicroTime" | "time-micros", "long") => Kind::Time(Unit::Micros),
        ("io.debezium.time.NanoTime", "long") => Kind::Time(Unit::Nanos),
        ("io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp" | "timestamp-millis", "long") => {
            Kind::Timestamp(Unit::Millis)
        }
        ("io.debezium.time.MicroTimestamp" | "timestamp-micros", "long") => Kind::Timestamp(Unit::Micros),
        ("io.debezium.time.NanoTimestamp", "long") => Kind::Timestamp(Unit::Nanos),
        ("io.debezium.time.ZonedTimestamp", "string") => Kind::Instant,
        (_, "boolean") => Kind::Boolean,
        (_, "int") => Kind::Int,
        (_, "long") => Kind::Long,
        (_, "float") => Kind::Float,
        (_, "double") => Kind::Double,
        (_, "string" | "enum") => Kind::Text,
        (_, "bytes" | "fixed") => Kind::Bytes,
        (_, "array") => match kind(&schema["items"], names) {
            Kind::Other | Kind::VariableDecimal => Kind::Other,
            element => Kind::List(Box::new(element)),
        },
        _ => Kind::Other,
    }
}

fn decimal(schema: &Value) -> Kind {
    let number = |name: &str| schema[name].as_u64().and_then(|number| u32::try_from(number).ok());
    let parameter = |name: &str| schema["connect.parameters"][name].as_str().and_then(|text| text.parse().ok());
    let scale = number("scale").or_else(|| parameter("scale")).unwrap_or(0);
    let precision =
        number("precision").or_else(|| parameter("connect.decimal.precision")).unwrap_or(DECIMAL_PRECISION_MAX);
    Kind::Decimal { precision, scale }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn golden(subject: &str) -> String {
        let path = format!("{}/../../tests/golden/schemas/{subject}.avsc", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_orders_of_the_storefront_get_proper_types() {
        let columns = envelope_columns(&golden("storefront.public.orders-value.posted1")).unwrap();
        let kinds: Vec<_> = columns.iter().map(|column| (column.name.as_str(), column.kind.clone())).collect();
        assert_eq!(
            kinds,
            vec![
                ("id", Kind::Int),
                ("customer_id", Kind::Int),
                ("status", Kind::Text),
                ("total", Kind::Decimal { precision: 10, scale: 2 }),
                ("created_at", Kind::Timestamp(Unit::Micros)),
                ("updated_at", Kind::Timestamp(Unit::Micros)),
            ]
        );
    }

    #[test]
    fn every_type_debezium_knows_gets_a_column() {
        let columns = envelope_columns(&golden("storefront.public.all_types-value.posted1")).unwrap();
        let kind = |name: &str| columns.iter().find(|column| column.name == name).unwrap().kind.clone();
        assert_eq!(kind("c_num"), Kind::VariableDecimal);
        assert_eq!(kind("c_date"), Kind::Date);
        assert_eq!(kind("c_time3"), Kind::Time(Unit::Millis));
        assert_eq!(kind("c_tstz"), Kind::Instant);
        assert_eq!(kind("c_numarr"), Kind::List(Box::new(Kind::Decimal { precision: 6, scale: 2 })));
        assert_eq!(kind("c_point"), Kind::Other);
        assert_eq!(kind("c_def"), Kind::Text);
        assert_eq!(kind("c_money"), Kind::Decimal { precision: 64, scale: 2 });
    }

    #[test]
    fn the_key_is_the_key_schemas_fields_in_order() {
        assert_eq!(key_columns(&golden("storefront.public.composite_pk-key.posted1")).unwrap(), vec!["b", "a"]);
    }

    #[test]
    fn a_schema_that_is_no_envelope_is_refused() {
        assert!(envelope_columns(&golden("storefront.public.orders-key.posted1")).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".{0,200}") {
            let _ = envelope_columns(&text);
            let _ = key_columns(&text);
        }
    }
}
