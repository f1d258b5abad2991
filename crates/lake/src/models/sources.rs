//! Pure: what is said of the tables that models are made of, so that models can be planned and tested without a lake.

use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::Deserialize;

use super::ModelError;

/// A table that is no model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    #[serde(default)]
    pub description: String,
    /// Types of the columns, as Iceberg calls them.
    pub columns: BTreeMap<String, String>,
}

/// Sources by SQL name.
pub type Sources = BTreeMap<String, Source>;

/// Reads the declaration.
///
/// # Errors
/// When it is no YAML, or names a type that is none.
pub fn parse(file: &str, text: &str) -> Result<Sources, ModelError> {
    let wrong = |reason: String| ModelError::Header { file: file.to_owned(), reason };
    let sources: Sources = serde_saphyr::from_str(text).map_err(|error| wrong(error.to_string()))?;
    for (name, source) in &sources {
        source.schema().map_err(|reason| wrong(format!("{name}: {reason}")))?;
    }
    Ok(sources)
}

impl Source {
    /// Its Arrow schema.
    ///
    /// # Errors
    /// With the type that is none.
    pub fn schema(&self) -> Result<SchemaRef, String> {
        let field = |(name, kind): (&String, &String)| {
            let kind = data_type(kind).ok_or_else(|| format!("column {name}: no type is called {kind}"))?;
            Ok(Field::new(name, kind, true))
        };
        Ok(Arc::new(Schema::new(self.columns.iter().map(field).collect::<Result<Vec<_>, String>>()?)))
    }
}

fn data_type(name: &str) -> Option<DataType> {
    Some(match name {
        "boolean" => DataType::Boolean,
        "int" => DataType::Int32,
        "long" => DataType::Int64,
        "float" => DataType::Float32,
        "double" => DataType::Float64,
        "string" => DataType::Utf8,
        "date" => DataType::Date32,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        _ => {
            let (precision, scale) = name.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
            DataType::Decimal128(precision.trim().parse().ok()?, scale.trim().parse().ok()?)
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn types_are_icebergs() {
        let text = "shape.t:\n  columns: {a: int, b: 'decimal(10,2)', c: timestamp}";
        let schema = parse("sources.yaml", text).unwrap()["shape.t"].schema().unwrap();
        assert_eq!(*schema.field(1).data_type(), DataType::Decimal128(10, 2));
        let error = parse("sources.yaml", "shape.t: {columns: {a: integer}}").unwrap_err().to_string();
        assert!(error.contains("column a") && error.contains("integer"), "{error}");
    }
}
