//! Pure: unit tests of models: the rows that are given per input, and the rows that are to come of it.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{ArrayRef, StringArray},
    compute::{CastOptions, cast_with_options},
    datatypes::SchemaRef,
    record_batch::{RecordBatch, RecordBatchOptions},
};
use serde::Deserialize;
use serde_json::Value;

use super::ModelError;

/// A row by column.
pub type Row = BTreeMap<String, Value>;

/// One unit test.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitTest {
    pub name: String,
    pub model: String,
    #[serde(default)]
    pub given: BTreeMap<String, Vec<Row>>,
    pub expect: Vec<Row>,
}

/// Reads a file of unit tests.
///
/// # Errors
/// When it is no YAML or says something unknown.
pub fn parse(file: &str, text: &str) -> Result<Vec<UnitTest>, ModelError> {
    serde_saphyr::from_str(text)
        .map_err(|error| ModelError::Header { file: file.to_owned(), reason: error.to_string() })
}

/// Given rows as a batch; columns that a row lacks are null.
///
/// # Errors
/// With the column that is not there, or the value that is none of its type.
pub fn batch(rows: &[Row], schema: &SchemaRef) -> Result<RecordBatch, String> {
    if let Some(other) = rows.iter().flat_map(BTreeMap::keys).find(|name| schema.index_of(name).is_err()) {
        return Err(format!("there is no column {other}"));
    }
    let exact = CastOptions { safe: false, ..CastOptions::default() };
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let texts: StringArray = rows.iter().map(|row| row.get(field.name()).and_then(text)).collect();
        let column = cast_with_options(&texts, field.data_type(), &exact);
        columns.push(column.map_err(|error| format!("column {}: {error}", field.name()))?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(|error| error.to_string())
}

/// A value as text; `None` is null.
#[must_use]
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// What is wrong with the rows that came: those missing and those too many, in the columns that the test names.
#[must_use]
pub fn differences(expect: &[Row], came: &[Row]) -> Vec<String> {
    let columns: Vec<&String> = {
        let mut names: Vec<&String> = expect.iter().flat_map(BTreeMap::keys).collect();
        names.sort();
        names.dedup();
        names
    };
    let line = |row: &Row| {
        let cell = |name: &&String| {
            let value = row.get(*name).and_then(text).unwrap_or_else(|| "null".to_owned());
            format!("{name}: {value}")
        };
        columns.iter().map(cell).collect::<Vec<_>>().join(", ")
    };
    let mut left: Vec<String> = came.iter().map(line).collect();
    let mut out = Vec::new();
    for wanted in expect.iter().map(line) {
        match left.iter().position(|row| *row == wanted) {
            Some(place) => drop(left.swap_remove(place)),
            None => out.push(format!("missing {{{wanted}}}")),
        }
    }
    left.sort();
    out.extend(left.into_iter().map(|row| format!("too many {{{row}}}")));
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows_are_compared_as_a_bag_in_the_columns_that_are_named() {
        let tests = parse(
            "t.yaml",
            "- name: x\n  model: serve.m\n  expect: [{a: 1, b: '2.50'}, {a: 1, b: '2.50'}, {a: null, b: x}]",
        )
        .unwrap();
        let row = |text: &str| serde_json::from_str::<Row>(text).unwrap();
        let expect = &tests[0].expect;
        let came = [row(r#"{"a":null,"b":"x","c":1}"#), row(r#"{"a":1,"b":"2.50"}"#), row(r#"{"a":1,"b":"2.50"}"#)];
        assert!(differences(expect, &came).is_empty());
        let other = [row(r#"{"a":1,"b":"2.50"}"#), row(r#"{"a":1,"b":"2.51"}"#), row(r#"{"b":"x"}"#)];
        assert_eq!(differences(expect, &other), ["missing {a: 1, b: 2.50}", "too many {a: 1, b: 2.51}"]);
        assert!(parse("t.yaml", "- name: x\n  mart: m\n  expect: []").unwrap_err().to_string().contains("mart"));
    }
}
