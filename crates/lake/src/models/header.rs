//! Pure: the head of a model's file. What the SQL itself cannot say: how the table is kept, what its rows and columns mean,
//! and what must be true of them.
//!
//! It is YAML in a block comment at the start of the file, `/* ---` to `--- */`, so that the file stays plain SQL for every
//! engine. What is unknown in it is an error that names the field.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::ModelError;

const OPEN: &str = "/* ---";
const CLOSE: &str = "--- */";

/// What a model's file says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Header {
    pub description: String,
    pub owner: Option<String>,
    pub tags: Vec<String>,
    /// How the table is kept.
    pub materialized: Materialized,
    /// Columns that identify a row: together unique, none of them null.
    pub keys: Vec<String>,
    pub columns: BTreeMap<String, ColumnHeader>,
    pub tests: Vec<TableTest>,
}

/// What the head says of a column.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColumnHeader {
    pub description: String,
    pub tests: Vec<ColumnTest>,
}

/// How a model's table follows its inputs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Materialized {
    /// Computed anew and replaced as a whole.
    #[default]
    Full,
    /// Partitioned by a column; only partitions whose inputs changed are computed and replaced.
    Partition(Slice),
    /// Only rows of keys whose inputs changed are computed and replaced.
    Incremental(Slice),
}

/// The column that cuts a model into parts which are computed apart from each other.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    /// The model's column.
    pub by: String,
    /// The column that holds the same value in each input, by table. The rows of a part come from rows of these inputs
    /// with its value only. A change of an input that is not named computes everything anew.
    pub from: BTreeMap<String, String>,
}

impl Materialized {
    /// The column that cuts the model into parts, if it is kept by parts.
    #[must_use]
    pub fn slice(&self) -> Option<&Slice> {
        match self {
            Self::Full => None,
            Self::Partition(slice) | Self::Incremental(slice) => Some(slice),
        }
    }

    /// In one word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Partition(_) => "partition",
            Self::Incremental(_) => "incremental",
        }
    }
}

/// What follows from a failing test.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The new rows are not published.
    #[default]
    Error,
    /// They are, and it is said.
    Warn,
}

/// What must be true of a column.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnTest {
    NotNull,
    Unique,
    /// No other values; null is not a value.
    AcceptedValues(Vec<String>),
    Relationships(Relationship),
}

/// Each value of a column is one of another table's column.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relationship {
    pub to: String,
    pub column: String,
    #[serde(default)]
    pub severity: Severity,
}

/// What must be true of a table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableTest {
    /// Columns that are unique together.
    Unique(Vec<String>),
    /// A condition that is false for no row.
    Expression(Expression),
    RowCount(RowCount),
    Freshness(FreshnessTest),
    Reconcile(Reconcile),
}

/// An SQL condition over a row's columns.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Expression {
    Plain(String),
    Graded {
        sql: String,
        #[serde(default)]
        severity: Severity,
    },
}

/// How many rows the table may have.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowCount {
    #[serde(default)]
    pub min: u64,
    pub max: Option<u64>,
}

/// The newest value of a column (date or timestamp) is at most so old. Looked at by `lake test` only.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreshnessTest {
    pub column: String,
    pub within_hours: u32,
    #[serde(default)]
    pub severity: Severity,
}

/// One row of numbers that the lake and the source must agree on. Looked at by `lake test` only.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reconcile {
    pub name: String,
    /// Query over the lake.
    pub lake: String,
    /// Query over the source database that yields the same row.
    pub source: String,
}

/// Cuts a file into its head and its SQL.
///
/// # Errors
/// When the head does not end, is no YAML, or says something unknown.
pub fn split(file: &str, text: &str) -> Result<(Header, String), ModelError> {
    let wrong = |reason: String| ModelError::Header { file: file.to_owned(), reason };
    let Some(rest) = text.trim_start().strip_prefix(OPEN) else {
        return Ok((Header::default(), text.to_owned()));
    };
    let Some((yaml, sql)) = rest.split_once(CLOSE) else {
        return Err(wrong(format!("it opens with `{OPEN}` and has no `{CLOSE}`")));
    };
    if yaml.contains("*/") {
        return Err(wrong("`*/` would end the comment it is in".into()));
    }
    let header: Header = serde_saphyr::from_str(yaml).map_err(|error| wrong(error.to_string()))?;
    header.consistent().map_err(wrong)?;
    Ok((header, sql.trim_start().to_owned()))
}

impl Header {
    fn consistent(&self) -> Result<(), String> {
        let Some(slice) = self.materialized.slice() else { return Ok(()) };
        if slice.from.is_empty() {
            return Err("materialized: `from` names no input".into());
        }
        if slice.by.is_empty() {
            return Err("materialized: `by` is empty".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const FILE: &str = "/* ---
description: Orders per day.
owner: shop
tags: [sales]
materialized: {incremental: {by: day, from: {shape.orders: day}}}
keys: [day]
columns:
  day: {description: The day., tests: [not_null, unique]}
  status: {tests: [{accepted_values: [a, b]}, {relationships: {to: shape.states, column: name, severity: warn}}]}
tests:
  - expression: n >= 0
  - expression: {sql: n < 10, severity: warn}
  - row_count: {min: 1}
--- */
SELECT 1 AS day";

    #[test]
    fn the_head_is_read_and_the_rest_is_sql() {
        let (header, sql) = split("a.sql", FILE).unwrap();
        assert_eq!(sql, "SELECT 1 AS day");
        assert_eq!(header.tags, vec!["sales"]);
        let slice = header.materialized.slice().unwrap();
        assert_eq!((slice.by.as_str(), slice.from["shape.orders"].as_str()), ("day", "day"));
        assert_eq!(header.columns["day"].tests, vec![ColumnTest::NotNull, ColumnTest::Unique]);
        assert_eq!(header.tests[0], TableTest::Expression(Expression::Plain("n >= 0".into())));
        assert!(matches!(&header.tests[1], TableTest::Expression(Expression::Graded { severity: Severity::Warn, .. })));
        assert_eq!(header.tests[2], TableTest::RowCount(RowCount { min: 1, max: None }));
    }

    #[test]
    fn a_file_without_a_head_is_a_full_model() {
        let (header, sql) = split("a.sql", "-- text\nSELECT 1").unwrap();
        assert_eq!((header, sql.as_str()), (Header::default(), "-- text\nSELECT 1"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_file_and_field() {
        for (yaml, named) in [
            ("ownr: me", "ownr"),
            ("materialized: sometimes", "sometimes"),
            ("columns: {day: {tets: [unique]}}", "tets"),
            ("materialized: {incremental: {by: day, from: {}}}", "from"),
            ("tests: [{expressions: a}]", "expressions"),
        ] {
            let error = split("serve/a.sql", &format!("/* ---\n{yaml}\n--- */\nSELECT 1")).unwrap_err().to_string();
            assert!(error.contains("serve/a.sql") && error.contains(named), "{error}");
        }
        assert!(split("a.sql", "/* ---\nowner: me\nSELECT 1").unwrap_err().to_string().contains("--- */"));
    }
}
