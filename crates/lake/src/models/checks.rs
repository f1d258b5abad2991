//! Pure: the tests of a model, applied to batches of its rows: one pass over the rows for all of them.
//!
//! A [`Check`] is what the head declares. An [`Audit`] sees every row once and keeps, per check, how many rows fail and the
//! first of them.

use std::{
    collections::{BTreeSet, HashSet},
    hash::Hash,
    ops::Range,
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray},
    compute::{cast, partition},
    datatypes::{DataType, Int32Type, Int64Type, Schema, SchemaRef},
    record_batch::RecordBatch,
    row::{RowConverter, SortField},
};
use xxhash_rust::xxh3::xxh3_128;

use super::header::{ColumnTest, Expression, Header, Relationship, Severity, TableTest};
use super::members::Members;
use crate::digests::Digests;
use crate::error::{LakeError, Result};

/// Failing rows kept of a check.
pub const ROWS_KEPT_MAX: usize = 20;
/// Rows of a group that are compared each with each; a greater one has a set.
const GROUP_COMPARED_MAX: usize = 16;

/// Something that must be true of a model's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What it is called in reports, such as `not_null(day)`.
    pub name: String,
    pub severity: Severity,
    pub rule: Rule,
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    NotNull(String),
    /// No two rows have the same values, none of them null.
    Unique(Vec<String>),
    AcceptedValues(String, BTreeSet<String>),
    Relationships(String, Relationship),
    Expression(String),
    RowCount {
        min: u64,
        max: Option<u64>,
    },
    /// Looked at by `lake test` only, as it depends on the clock.
    Freshness(super::header::FreshnessTest),
    /// Looked at by `lake test` only, as it asks the source.
    Reconcile(super::header::Reconcile),
}

/// All checks that a head declares; the key's come first, each once.
#[must_use]
pub fn declared(header: &Header) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    let mut add = |name: String, severity: Severity, rule: Rule| {
        if !checks.iter().any(|known| known.rule == rule) {
            checks.push(Check { name, severity, rule });
        }
    };
    let error = Severity::Error;
    let not_null = |column: &String| (format!("not_null({column})"), error, Rule::NotNull(column.clone()));
    let unique =
        |columns: &[String]| (format!("unique({})", columns.join(", ")), error, Rule::Unique(columns.to_vec()));
    let mut push = |(name, severity, rule)| add(name, severity, rule);
    header.keys.iter().for_each(|column| push(not_null(column)));
    if !header.keys.is_empty() {
        push(unique(&header.keys));
    }
    for (column, said) in &header.columns {
        for test in &said.tests {
            push(match test {
                ColumnTest::NotNull => not_null(column),
                ColumnTest::Unique => unique(std::slice::from_ref(column)),
                ColumnTest::AcceptedValues(values) => (
                    format!("accepted_values({column})"),
                    error,
                    Rule::AcceptedValues(column.clone(), values.iter().cloned().collect()),
                ),
                ColumnTest::Relationships(to) => (
                    format!("relationships({column} -> {}.{})", to.to, to.column),
                    to.severity,
                    Rule::Relationships(column.clone(), to.clone()),
                ),
            });
        }
    }
    for test in &header.tests {
        push(match test {
            TableTest::Unique(columns) => unique(columns),
            TableTest::Expression(Expression::Plain(sql)) => {
                (format!("expression({sql})"), error, Rule::Expression(sql.clone()))
            }
            TableTest::Expression(Expression::Graded { sql, severity }) => {
                (format!("expression({sql})"), *severity, Rule::Expression(sql.clone()))
            }
            TableTest::RowCount(count) => {
                ("row_count".to_owned(), error, Rule::RowCount { min: count.min, max: count.max })
            }
            TableTest::Freshness(test) => {
                (format!("freshness({})", test.column), test.severity, Rule::Freshness(test.clone()))
            }
            TableTest::Reconcile(test) => (format!("reconcile({})", test.name), error, Rule::Reconcile(test.clone())),
        });
    }
    checks
}

impl Check {
    /// Whether it is decided row by row, so that rows which passed need not be looked at again.
    #[must_use]
    pub fn is_of_rows(&self) -> bool {
        !matches!(self.rule, Rule::RowCount { .. } | Rule::Freshness(_) | Rule::Reconcile(_))
    }

    /// Whether a run looks at it before it publishes.
    #[must_use]
    pub fn is_audited(&self) -> bool {
        !matches!(self.rule, Rule::Freshness(_) | Rule::Reconcile(_))
    }
}

/// What became of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub check: String,
    pub severity: Severity,
    /// Rows that fail it.
    pub failing: u64,
    /// The first of them, as JSON objects.
    pub rows: Vec<String>,
    /// What to say when it fails.
    pub reason: String,
}

impl Verdict {
    /// It failed, and the rows must not be published.
    #[must_use]
    pub fn forbids(&self) -> bool {
        self.failing > 0 && self.severity == Severity::Error
    }
}

/// What a check needs that is not in the rows.
#[derive(Clone)]
pub enum Aid {
    None,
    /// The values a relationship may have.
    Values(Arc<Members>),
    /// An expression, made for the rows' schema.
    Condition(Arc<dyn datafusion::physical_expr::PhysicalExpr>),
}

/// A check under way.
struct Running {
    check: Check,
    aid: Aid,
    /// Columns it looks at, hashed as one.
    hasher: Option<Hasher>,
    seen: Digests,
    failing: u64,
    rows: Vec<String>,
}

/// Looks at every row once.
pub struct Audit {
    schema: SchemaRef,
    running: Vec<Running>,
    rows: u64,
}

impl Audit {
    /// An audit of rows of `schema`.
    ///
    /// # Errors
    /// When a check names a column that is not there.
    pub fn new(checks: &[(Check, Aid)], schema: &SchemaRef) -> Result<Self> {
        let running = checks.iter().cloned().map(|(check, aid)| {
            let hasher = match &check.rule {
                Rule::Unique(columns) => Some(Hasher::of(columns, schema)?),
                Rule::NotNull(column) | Rule::AcceptedValues(column, _) | Rule::Relationships(column, _) => {
                    place(column, schema)?;
                    None
                }
                _ => None,
            };
            Ok(Running { check, aid, hasher, seen: Digests::default(), failing: 0, rows: Vec::new() })
        });
        Ok(Self { schema: schema.clone(), running: running.collect::<Result<_>>()?, rows: 0 })
    }

    /// Looks at more rows, whose columns are those of the schema in order.
    ///
    /// # Errors
    /// When a value cannot be read as its check wants it.
    pub fn see(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = RecordBatch::try_new(self.schema.clone(), batch.columns().to_vec())?;
        self.rows += batch.num_rows() as u64;
        for running in &mut self.running {
            running.see(&batch)?;
        }
        Ok(())
    }

    /// As [`Self::see`], of rows that come in groups with the same value of a column, all rows of a value together: values
    /// that have to be unique with it need to be compared within a group only.
    ///
    /// # Errors
    /// As [`Self::see`], and when there is no such column.
    pub fn see_grouped(&mut self, batch: &RecordBatch, by: &str) -> Result<()> {
        let batch = RecordBatch::try_new(self.schema.clone(), batch.columns().to_vec())?;
        let column = place(by, &self.schema)?;
        let groups = partition(std::slice::from_ref(batch.column(column)))?.ranges();
        self.rows += batch.num_rows() as u64;
        for running in &mut self.running {
            match &running.check.rule {
                Rule::Unique(columns) if columns.iter().any(|name| name == by) => {
                    running.see_groups(&batch, column, &groups)?
                }
                _ => running.see(&batch)?,
            }
        }
        Ok(())
    }

    /// Takes in what an audit of the same checks found in other rows. Values that have to be unique are not compared between
    /// the two: no row of one may have those of a row of the other.
    pub fn absorb(&mut self, other: Self) {
        self.rows += other.rows;
        for (own, other) in self.running.iter_mut().zip(other.running) {
            own.failing += other.failing;
            own.rows.extend(other.rows);
            own.rows.truncate(ROWS_KEPT_MAX);
        }
    }

    /// The verdicts, once every row was seen.
    #[must_use]
    pub fn finish(self) -> Vec<Verdict> {
        let rows = self.rows;
        self.running.into_iter().map(|running| running.finish(rows)).collect()
    }
}

impl Running {
    fn see(&mut self, batch: &RecordBatch) -> Result<()> {
        let failing: Vec<usize> = match &self.check.rule {
            Rule::NotNull(column) => {
                let column = batch.column(place(column, &batch.schema())?);
                (0..column.len()).filter(|&row| column.is_null(row)).collect()
            }
            Rule::AcceptedValues(column, values) => {
                let column = cast(batch.column(place(column, &batch.schema())?), &DataType::Utf8)?;
                let text = column.as_string::<i32>();
                (0..text.len()).filter(|&row| text.is_valid(row) && !values.contains(text.value(row))).collect()
            }
            Rule::Unique(_) => {
                let hashes = self.hasher.as_ref().map(|hasher| hasher.hash(batch)).transpose()?.unwrap_or_default();
                let seen = &mut self.seen;
                (0..hashes.len()).filter(|&row| hashes[row].is_none_or(|hash| !seen.insert(hash))).collect()
            }
            Rule::Relationships(column, _) => {
                let Aid::Values(known) = &self.aid else { return Ok(()) };
                known.strangers(batch.column(place(column, &batch.schema())?))?
            }
            Rule::Expression(_) => {
                let Aid::Condition(condition) = &self.aid else { return Ok(()) };
                let holds = condition.evaluate(batch)?.into_array(batch.num_rows())?;
                let holds: &BooleanArray = holds
                    .as_boolean_opt()
                    .ok_or_else(|| LakeError::definite(format!("{} is no condition", self.check.name)))?;
                (0..holds.len()).filter(|&row| holds.is_valid(row) && !holds.value(row)).collect()
            }
            Rule::RowCount { .. } | Rule::Freshness(_) | Rule::Reconcile(_) => return Ok(()),
        };
        self.keep(batch, failing)
    }

    /// Rows that repeat one of their group, or have no value.
    fn see_groups(&mut self, batch: &RecordBatch, by: usize, groups: &[Range<usize>]) -> Result<()> {
        let Some(hasher) = &self.hasher else { return Ok(()) };
        let others: Vec<&ArrayRef> = hasher.others(by).map(|column| batch.column(column)).collect();
        let mut failing = Vec::new();
        let without_nulls = batch.column(by).null_count() == 0 && others.iter().all(|column| column.null_count() == 0);
        match others.as_slice() {
            [] if without_nulls => failing.extend(groups.iter().flat_map(|group| group.start + 1..group.end)),
            [other] if without_nulls && *other.data_type() == DataType::Int32 => {
                repeated(groups, other.as_primitive::<Int32Type>().values(), &mut failing);
            }
            [other] if without_nulls && *other.data_type() == DataType::Int64 => {
                repeated(groups, other.as_primitive::<Int64Type>().values(), &mut failing);
            }
            _ => {
                let hashes = hasher.hash(batch)?;
                repeated(groups, &hashes, &mut failing);
                failing.extend((0..hashes.len()).filter(|&row| hashes[row].is_none()));
                failing.sort_unstable();
                failing.dedup();
            }
        }
        self.keep(batch, failing)
    }

    fn keep(&mut self, batch: &RecordBatch, failing: Vec<usize>) -> Result<()> {
        self.failing += failing.len() as u64;
        for row in failing.into_iter().take(ROWS_KEPT_MAX - self.rows.len()) {
            self.rows.push(as_json(batch, row)?);
        }
        Ok(())
    }

    fn finish(mut self, rows: u64) -> Verdict {
        let mut reason = format!("{}: {} rows fail", self.check.name, self.failing);
        if let Rule::RowCount { min, max } = &self.check.rule
            && (rows < *min || max.is_some_and(|max| rows > max))
        {
            self.failing = 1;
            let most = max.map_or(String::new(), |max| format!(", at most {max}"));
            reason = format!("row_count: {rows} rows, wanted at least {min}{most}");
        }
        let (check, severity) = (self.check.name.clone(), self.check.severity);
        Verdict { check, severity, failing: self.failing, rows: self.rows, reason }
    }
}

/// Adds the rows whose value is that of a row before them in their group.
fn repeated<T: Copy + Eq + Hash>(groups: &[Range<usize>], values: &[T], rows: &mut Vec<usize>) {
    for group in groups {
        if group.len() > GROUP_COMPARED_MAX {
            let mut seen = HashSet::new();
            rows.extend(group.clone().filter(|&row| !seen.insert(values[row])));
        } else {
            rows.extend(group.clone().filter(|&row| values[group.start..row].contains(&values[row])));
        }
    }
}

/// Hashes the values of some columns as one.
pub struct Hasher {
    columns: Vec<usize>,
    converter: RowConverter,
}

impl Hasher {
    /// Of columns by name.
    ///
    /// # Errors
    /// When one is not there.
    pub fn of(names: &[String], schema: &Schema) -> Result<Self> {
        let columns = names.iter().map(|name| place(name, schema)).collect::<Result<Vec<_>>>()?;
        let fields = columns.iter().map(|&column| SortField::new(schema.field(column).data_type().clone())).collect();
        Ok(Self { columns, converter: RowConverter::new(fields)? })
    }

    /// Its columns without one.
    fn others(&self, but: usize) -> impl Iterator<Item = usize> {
        self.columns.iter().copied().filter(move |&column| column != but)
    }

    /// A hash per row; `None` where a value is null.
    ///
    /// # Errors
    /// When the batch is of another schema.
    pub fn hash(&self, batch: &RecordBatch) -> Result<Vec<Option<u128>>> {
        let columns: Vec<ArrayRef> = self.columns.iter().map(|&column| batch.column(column).clone()).collect();
        let rows = self.converter.convert_columns(&columns)?;
        let null = |row: usize| columns.iter().any(|column| column.is_null(row));
        Ok((0..batch.num_rows()).map(|row| (!null(row)).then(|| xxh3_128(rows.row(row).data()))).collect())
    }
}

fn place(column: &str, schema: &Schema) -> Result<usize> {
    let missing = |_| LakeError::definite(format!("a test names column {column}, which the model does not have"));
    schema.index_of(column).map_err(missing)
}

fn as_json(batch: &RecordBatch, row: usize) -> Result<String> {
    let values = crate::sql::format::rows(&batch.slice(row, 1))?;
    let values = values.first().and_then(|row| row.as_array()).cloned().unwrap_or_default();
    let names = batch.schema();
    let object: serde_json::Map<_, _> = names.fields().iter().map(|field| field.name().clone()).zip(values).collect();
    Ok(serde_json::Value::Object(object).to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{Int32Array, StringArray};

    use super::*;

    fn batch(keys: &[Option<i32>], words: &[Option<&str>]) -> RecordBatch {
        let keys: ArrayRef = Arc::new(Int32Array::from(keys.to_vec()));
        let words: ArrayRef = Arc::new(StringArray::from(words.to_vec()));
        RecordBatch::try_from_iter_with_nullable([("k", keys, true), ("w", words, true)]).unwrap()
    }

    fn verdicts(checks: &[Check], batches: &[RecordBatch]) -> Vec<(String, u64, Vec<String>)> {
        let with_aid: Vec<_> = checks.iter().map(|check| (check.clone(), Aid::None)).collect();
        let mut audit = Audit::new(&with_aid, &batches[0].schema()).unwrap();
        batches.iter().for_each(|batch| audit.see(batch).unwrap());
        audit.finish().into_iter().map(|verdict| (verdict.check, verdict.failing, verdict.rows)).collect()
    }

    #[test]
    fn each_check_finds_its_rows_over_all_batches() {
        let (header, _) = super::super::header::split(
            "m.sql",
            "/* ---\nkeys: [k]\ncolumns: {w: {tests: [{accepted_values: [a, b]}]}}\ntests: [{row_count: {min: 6}}]\n--- */\nSELECT 1",
        )
        .unwrap();
        let checks = declared(&header);
        let names: Vec<&str> = checks.iter().map(|check| check.name.as_str()).collect();
        assert_eq!(names, ["not_null(k)", "unique(k)", "accepted_values(w)", "row_count"]);
        let found = verdicts(
            &checks,
            &[
                batch(&[Some(1), Some(2), None], &[Some("a"), None, Some("b")]),
                batch(&[Some(2), Some(3)], &[Some("c"), Some("a")]),
            ],
        );
        assert_eq!(found[0], ("not_null(k)".into(), 1, vec![r#"{"k":null,"w":"b"}"#.into()]));
        assert_eq!((found[1].1, found[1].2.len()), (2, 2), "the null and the second 2");
        assert_eq!(found[2].2, [r#"{"k":2,"w":"c"}"#]);
        assert_eq!(found[3].1, 1);
    }

    #[test]
    fn few_of_many_failing_rows_are_kept() {
        let (header, _) = super::super::header::split("m.sql", "/* ---\nkeys: [k]\n--- */\nSELECT 1").unwrap();
        let found = verdicts(&declared(&header), &[batch(&[None; 100], &[None; 100])]);
        assert_eq!((found[0].1, found[0].2.len()), (100, ROWS_KEPT_MAX));
    }

    #[test]
    fn a_test_of_a_column_that_is_not_there_is_an_error() {
        let check = Check { name: "x".into(), severity: Severity::Error, rule: Rule::NotNull("nothing".into()) };
        let rows = batch(&[Some(1)], &[None]);
        assert!(Audit::new(&[(check, Aid::None)], &rows.schema()).is_err());
    }

    #[test]
    fn rows_in_groups_are_compared_within_them_and_found_as_without() {
        let head = "/* ---\nkeys: [k, w]\ntests: [{unique: [w]}]\n--- */\nSELECT 1";
        let (header, _) = super::super::header::split("m.sql", head).unwrap();
        let checks: Vec<_> = declared(&header).into_iter().map(|check| (check, Aid::None)).collect();
        let long = [(); GROUP_COMPARED_MAX + 4].map(|()| (Some(3), Some("c")));
        let mut rows = vec![
            (Some(1), Some("a")),
            (Some(1), Some("b")),
            (Some(1), Some("a")),
            (Some(2), None),
            (Some(2), Some("a")),
        ];
        rows.extend(long);
        let (keys, words): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let rows = batch(&keys, &words);
        let found = |grouped: bool| {
            let mut audit = Audit::new(&checks, &rows.schema()).unwrap();
            if grouped {
                audit.see_grouped(&rows, "k").unwrap()
            } else {
                audit.see(&rows).unwrap()
            }
            audit.finish()
        };
        assert_eq!(found(true), found(false));
        assert!(found(true).iter().any(|verdict| verdict.check == "unique(k, w)" && verdict.failing == 21));
    }

    #[test]
    fn audits_of_parts_say_together_what_one_of_all_says() {
        let (header, _) = super::super::header::split(
            "m.sql",
            "/* ---\nkeys: [k]\ntests: [{row_count: {max: 29}}]\n--- */\nSELECT 1",
        )
        .unwrap();
        let checks: Vec<_> = declared(&header).into_iter().map(|check| (check, Aid::None)).collect();
        let part = |keys: &[Option<i32>]| {
            let rows = batch(keys, &vec![None; keys.len()]);
            let mut audit = Audit::new(&checks, &rows.schema()).unwrap();
            audit.see(&rows).unwrap();
            audit
        };
        let mut all = part(&[None; 15]);
        all.absorb(part(&[None; 12]));
        all.absorb(part(&[Some(1), Some(1), Some(2)]));
        let found: Vec<_> = all.finish().iter().map(|verdict| (verdict.failing, verdict.rows.len())).collect();
        assert_eq!(found, [(27, ROWS_KEPT_MAX), (28, ROWS_KEPT_MAX), (1, 0)], "not null, unique, row count");
    }
}
