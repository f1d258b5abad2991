//! Building an incremental model as a whole, range by range of its column `by`.
//!
//! A part of such a model follows from the inputs' rows with the same value alone (see [`super::slices`]), so it follows from
//! the inputs' rows of a range, too. Where the inputs' files lie in the order of that column, as those of keyed tables do, a
//! range is in few files: each is then computed by itself, on one core, several at once. Joins and groups stay small enough
//! for the processor's caches, nothing is shared out between cores or spilled, and the rows of a range are sorted by
//! themselves. Where the files lie otherwise each range would read most of them: [`plan`] says so.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray},
    compute::{cast, concat_batches, max, min},
    datatypes::{DataType, Int64Type},
};
use datafusion::{
    catalog::TableProvider,
    common::{Column, ScalarValue},
    datasource::{ViewTable, provider_as_source},
    logical_expr::{Expr, LogicalPlanBuilder, lit},
};
use futures::TryStreamExt;
use iceberg::{
    io::FileIO,
    spec::{DataFile, Datum, PrimitiveLiteral, PrimitiveType, TableMetadata, Type},
};

use super::{
    session::{Providers, Sessions},
    slices,
};
use crate::{
    error::{LakeError, Result},
    models::{Model, checks::Audit, header::Slice},
    shape::{keys::KeyCodec, rewrite::write_leaves},
    sql::{Pinned, provider::LakeTable},
    tables::{
        TableState, order,
        schema::{arrow_schema, conform},
    },
};

/// How far ranges go.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Rows of all inputs together that a range begins to end at.
    pub range_rows: u64,
    /// Rows that may be read for each row there is: files that lie in two ranges are read twice.
    pub read_share_max: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { range_rows: 1 << 19, read_share_max: 1.5 }
    }
}

/// Values of a column, from one up to and without another; without a bound where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueRange {
    from: Option<i64>,
    until: Option<i64>,
}

impl ValueRange {
    fn meets(self, file: &Spread) -> bool {
        self.from.is_none_or(|from| file.upper >= from) && self.until.is_none_or(|until| file.lower < until)
    }

    fn holds(self, file: &Spread) -> bool {
        self.from.is_none_or(|from| file.lower >= from) && self.until.is_none_or(|until| file.upper < until)
    }

    /// Whether all values of a column lie in it; not null ones, and none of a type that has no ranges.
    ///
    /// # Errors
    /// When they cannot be read as numbers.
    pub fn holds_all(self, values: &ArrayRef) -> Result<bool> {
        let days = match values.data_type() {
            DataType::Date32 => cast(values, &DataType::Int32)?,
            _ => values.clone(),
        };
        let numbers = cast(&days, &DataType::Int64)?;
        let numbers = numbers.as_primitive::<Int64Type>();
        let holds = |value: Option<i64>| {
            let within =
                |value| self.from.is_none_or(|from| value >= from) && self.until.is_none_or(|until| value < until);
            value.is_some_and(within)
        };
        Ok(match (min(numbers), max(numbers)) {
            (None, None) => numbers.is_empty(),
            (least, most) => numbers.null_count() == 0 && holds(least) && holds(most),
        })
    }
}

/// What a file holds of a column.
#[derive(Debug, Clone, Copy)]
struct Spread {
    lower: i64,
    upper: i64,
    rows: u64,
}

/// The ranges by which a model is better built; `None` when it is better built in one go.
#[must_use]
pub fn plan(model: &Model, slice: &Slice, pinned: &Pinned, limits: Limits) -> Option<Vec<ValueRange>> {
    let mut inputs = Vec::with_capacity(model.inputs.len());
    for input in &model.inputs {
        let state = pinned.get(input)?;
        let column = slice.from.get(input)?;
        let field = state.metadata().current_schema().field_by_name(column)?;
        countable(&field.field_type)?;
        let spreads: Option<Vec<Spread>> = state.files.iter().map(|file| spread(file.data_file(), field.id)).collect();
        inputs.push(spreads?);
    }
    cut(&inputs, limits)
}

/// Types whose values are whole numbers within.
fn countable(kind: &Type) -> Option<()> {
    matches!(kind, Type::Primitive(PrimitiveType::Int | PrimitiveType::Long | PrimitiveType::Date)).then_some(())
}

fn spread(file: &DataFile, field_id: i32) -> Option<Spread> {
    let number = |datum: &Datum| match datum.literal() {
        PrimitiveLiteral::Int(value) => Some(i64::from(*value)),
        PrimitiveLiteral::Long(value) => Some(*value),
        _ => None,
    };
    // Rows without a value are in no range.
    if file.null_value_counts().get(&field_id) != Some(&0) {
        return None;
    }
    let lower = number(file.lower_bounds().get(&field_id)?)?;
    let upper = number(file.upper_bounds().get(&field_id)?)?;
    Some(Spread { lower, upper, rows: file.record_count() })
}

/// Ranges of about equal numbers of rows, cut where files begin.
fn cut(inputs: &[Vec<Spread>], limits: Limits) -> Option<Vec<ValueRange>> {
    let mut files: Vec<Spread> = inputs.iter().flatten().copied().collect();
    files.sort_by_key(|file| file.lower);
    let (mut ranges, mut from, mut rows) = (Vec::new(), None, 0);
    for file in &files {
        if rows >= limits.range_rows && from.is_none_or(|from| file.lower > from) {
            ranges.push(ValueRange { from, until: Some(file.lower) });
            (from, rows) = (Some(file.lower), 0);
        }
        rows += file.rows;
    }
    ranges.push(ValueRange { from, until: None });
    let all: u64 = files.iter().map(|file| file.rows).sum();
    let of_range =
        |range: &ValueRange| files.iter().filter(|file| range.meets(file)).map(|file| file.rows).sum::<u64>();
    let read: u64 = ranges.iter().map(of_range).sum();
    (ranges.len() > 1 && read as f64 <= all as f64 * limits.read_share_max).then_some(ranges)
}

/// A table with only the rows whose `column` lies in a range, of a plan that has the table for an input; other files are not
/// opened.
///
/// # Errors
/// When the column is not there.
pub fn within(state: &Arc<TableState>, column: &str, range: ValueRange) -> Result<Arc<dyn TableProvider>> {
    let missing = || LakeError::definite(format!("{} has no column {column} with bounds", state.table.identifier()));
    let id = state.metadata().current_schema().field_id_by_name(column).ok_or_else(missing)?;
    let (mut files, mut all_within) = (Vec::new(), true);
    for file in &state.files {
        let of_file = spread(file.data_file(), id).ok_or_else(missing)?;
        if range.meets(&of_file) {
            all_within &= range.holds(&of_file);
            files.push(file.clone());
        }
    }
    let rows = Arc::new(LakeTable::new(Arc::new(state.of_files(files)))?);
    if all_within {
        return Ok(rows);
    }
    let schema = arrow_schema(state.metadata().current_schema())?;
    let kind = schema.field_with_name(column)?.data_type();
    let mut plan = LogicalPlanBuilder::scan("rows", provider_as_source(rows), None)?;
    let values = || Expr::Column(Column::new(Some("rows"), column));
    if let Some(from) = range.from {
        plan = plan.filter(values().gt_eq(lit(scalar(from, kind)?)))?;
    }
    if let Some(until) = range.until {
        plan = plan.filter(values().lt(lit(scalar(until, kind)?)))?;
    }
    Ok(Arc::new(ViewTable::new(plan.build()?, None)))
}

/// A bound as a value of a column; bounds are values of some input's column, so that one too large for this column's type is
/// beyond all of its values.
fn scalar(bound: i64, kind: &DataType) -> Result<ScalarValue> {
    let narrow = i32::try_from(bound);
    Ok(match (kind, narrow) {
        (DataType::Int64, _) | (DataType::Int32, Err(_)) => ScalarValue::Int64(Some(bound)),
        (DataType::Int32, Ok(bound)) => ScalarValue::Int32(Some(bound)),
        (DataType::Date32, Ok(bound)) => ScalarValue::Date32(Some(bound)),
        _ => return Err(LakeError::definite(format!("{bound} is no value of a column of type {kind}"))),
    })
}

/// What the builds of a model's ranges have in common.
pub struct RangeBuild {
    pub sql: String,
    pub slice: Slice,
    pub sessions: Sessions,
    /// The model's inputs.
    pub pinned: Pinned,
    /// Of the table that is written to.
    pub metadata: TableMetadata,
    pub io: FileIO,
    /// Rows per data file.
    pub file_rows: usize,
}

/// A range that was written.
pub struct RangeBuilt {
    pub files: Vec<DataFile>,
    pub rows: u64,
    /// It has seen these rows.
    pub audit: Audit,
}

impl RangeBuild {
    /// Computes a range of the plan, shows its rows to `audit`, and writes them in order.
    ///
    /// # Errors
    /// When the query or storage fails, or the query made rows of another range.
    pub async fn range(&self, range: ValueRange, mut audit: Audit) -> Result<RangeBuilt> {
        let mut providers = Providers::new();
        for (name, state) in &self.pinned {
            if let Some(column) = self.slice.from.get(name) {
                providers.insert(name.clone(), within(state, column, range)?);
            }
        }
        let schema = self.metadata.current_schema();
        let target = arrow_schema(schema)?;
        let mut stream = self.sessions.over(&providers)?.query(&self.sql).await?;
        let mut batches = Vec::new();
        while let Some(batch) = stream.try_next().await? {
            batches.push(conform(&batch, &target)?);
        }
        let codec = KeyCodec::new(schema, &target, std::slice::from_ref(&self.slice.by))?;
        let mut rows = concat_batches(&target, &batches)?;
        drop(batches);
        for values in codec.arrays(&rows)? {
            if !range.holds_all(&values)? {
                return Err(slices::foreign(&self.slice.by));
            }
            if order::ascends(&values) != Some(true) {
                rows = codec.sorted(&rows)?;
            }
        }
        audit.see_grouped(&rows, &self.slice.by)?;
        let files = write_leaves(&self.metadata, &self.io, &rows, self.file_rows).await?;
        Ok(RangeBuilt { files, rows: rows.num_rows() as u64, audit })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{Date32Array, Int32Array};
    use proptest::prelude::*;

    use super::*;

    fn files(count: i64, each: i64) -> Vec<Spread> {
        (0..count).map(|file| Spread { lower: file * each, upper: file * each + each - 1, rows: each as u64 }).collect()
    }

    #[test]
    fn files_in_order_are_cut_and_files_that_lie_all_over_are_not() {
        let limits = Limits { range_rows: 500, ..Limits::default() };
        let ranges = cut(&[files(10, 100), files(5, 200)], limits).unwrap();
        assert!((3..=5).contains(&ranges.len()), "{ranges:?}");
        let scattered = vec![Spread { lower: 0, upper: 999, rows: 100 }; 10];
        assert_eq!(cut(&[files(10, 100), scattered], limits), None);
        assert_eq!(cut(&[files(3, 100)], limits), None, "one range is no plan");
    }

    #[test]
    fn values_beyond_a_range_and_nulls_are_seen() {
        let range = ValueRange { from: Some(3), until: Some(6) };
        let holds = |values: Vec<Option<i32>>| {
            let days: ArrayRef = Arc::new(Date32Array::from(values.clone()));
            let numbers: ArrayRef = Arc::new(Int32Array::from(values));
            let both = [range.holds_all(&days).unwrap(), range.holds_all(&numbers).unwrap()];
            assert_eq!(both[0], both[1]);
            both[0]
        };
        assert!(holds(vec![]) && holds(vec![Some(3), Some(5)]));
        assert!(!holds(vec![Some(2)]) && !holds(vec![Some(6)]) && !holds(vec![Some(3), None]) && !holds(vec![None]));
    }

    proptest! {
        #[test]
        fn each_value_is_in_one_range_and_each_file_that_has_it_is_met(
            lowers in prop::collection::vec((-50_i64..50, 0_i64..8, 1_u64..40), 1..40),
            target in 1_u64..200,
        ) {
            let files: Vec<Spread> =
                lowers.into_iter().map(|(lower, width, rows)| Spread { lower, upper: lower + width, rows }).collect();
            let limits = Limits { range_rows: target, read_share_max: f64::INFINITY };
            let Some(ranges) = cut(std::slice::from_ref(&files), limits) else { return Ok(()) };
            for value in -60..70 {
                let point = Spread { lower: value, upper: value, rows: 1 };
                let of_value: Vec<&ValueRange> = ranges.iter().filter(|range| range.holds(&point)).collect();
                prop_assert_eq!(of_value.len(), 1);
                for file in files.iter().filter(|file| (file.lower..=file.upper).contains(&value)) {
                    prop_assert!(of_value[0].meets(file));
                }
            }
        }
    }
}
