//! A table's sort order: declared when the table is made, and seen to be kept while a file is written.
//!
//! A data file says that it is sorted only if each of its rows was found to come after the one before, so that a reader may
//! rely on it whatever made the rows.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::SortOptions,
    datatypes::{DataType, Date32Type, Int32Type, Int64Type},
    row::{OwnedRow, RowConverter, SortField as RowField},
};
use iceberg::spec::{NullOrder, Schema, SortDirection, SortField, SortOrder, TableMetadata, Transform};

use super::schema::arrow_schema;
use crate::error::{LakeError, Result};

/// The order by these columns, ascending.
///
/// # Errors
/// When one is missing.
pub fn by(schema: &Schema, columns: &[&str]) -> Result<SortOrder> {
    let mut fields = Vec::with_capacity(columns.len());
    for name in columns {
        let missing = || LakeError::definite(format!("sort column {name} is not in the table"));
        fields.push(SortField {
            source_id: schema.field_id_by_name(name).ok_or_else(missing)?,
            transform: Transform::Identity,
            direction: SortDirection::Ascending,
            null_order: NullOrder::First,
        });
    }
    Ok(SortOrder { order_id: 1, fields })
}

/// Looks whether rows come in a table's order.
pub struct InOrder {
    order_id: i32,
    converter: RowConverter,
    /// Places of the sort columns in the table's schema.
    columns: Vec<usize>,
    /// All of them ascend.
    ascending: bool,
    last: Option<OwnedRow>,
    kept: bool,
}

/// Whether no value is less than the one before it; `None` where that is not as cheap to tell as by comparing numbers.
#[must_use]
pub fn ascends(values: &ArrayRef) -> Option<bool> {
    if values.null_count() > 0 {
        return None;
    }
    match values.data_type() {
        DataType::Int32 => Some(values.as_primitive::<Int32Type>().values().is_sorted()),
        DataType::Int64 => Some(values.as_primitive::<Int64Type>().values().is_sorted()),
        DataType::Date32 => Some(values.as_primitive::<Date32Type>().values().is_sorted()),
        _ => None,
    }
}

impl InOrder {
    /// `None` for a table without an order, or with one that is not of plain columns (another engine's).
    ///
    /// # Errors
    /// When the table's schema has no Arrow counterpart.
    pub fn of(metadata: &TableMetadata) -> Result<Option<Self>> {
        let order = metadata.default_sort_order();
        let Ok(order_id) = i32::try_from(order.order_id) else { return Ok(None) };
        if order.is_unsorted() {
            return Ok(None);
        }
        let schema = metadata.current_schema();
        let arrow = arrow_schema(schema)?;
        let mut columns = Vec::with_capacity(order.fields.len());
        let mut fields = Vec::with_capacity(order.fields.len());
        for field in &order.fields {
            let place = schema.as_struct().fields().iter().position(|column| column.id == field.source_id);
            let (Some(place), Transform::Identity) = (place, field.transform) else { return Ok(None) };
            let descending = field.direction == SortDirection::Descending;
            let options = SortOptions { descending, nulls_first: field.null_order == NullOrder::First };
            columns.push(place);
            fields.push(RowField::new_with_options(arrow.field(place).data_type().clone(), options));
        }
        let ascending = order.fields.iter().all(|field| field.direction == SortDirection::Ascending);
        Ok(Some(Self { order_id, converter: RowConverter::new(fields)?, columns, ascending, last: None, kept: true }))
    }

    /// Rows that are written next.
    ///
    /// # Errors
    /// When they are not of the table's schema.
    pub fn see(&mut self, rows: &RecordBatch) -> Result<()> {
        if !self.kept || rows.num_rows() == 0 {
            return Ok(());
        }
        let columns: Vec<ArrayRef> = self.columns.iter().map(|&place| rows.column(place).clone()).collect();
        if let [column] = columns.as_slice()
            && self.ascending
            && let Some(in_order) = ascends(column)
        {
            // Only the ends are compared with the rows before and after.
            let ends = [column.slice(0, 1), column.slice(column.len() - 1, 1)];
            let first = self.converter.convert_columns(&ends[..1])?;
            self.kept = in_order && self.last.as_ref().is_none_or(|last| last.row() <= first.row(0));
            self.last = Some(self.converter.convert_columns(&ends[1..])?.row(0).owned());
            return Ok(());
        }
        let keys = self.converter.convert_columns(&columns)?;
        let first = keys.row(0);
        self.kept = self.last.as_ref().is_none_or(|last| last.row() <= first)
            && (1..keys.num_rows()).all(|row| keys.row(row - 1) <= keys.row(row));
        self.last = Some(keys.row(keys.num_rows() - 1).owned());
        Ok(())
    }

    /// The order's id when every row came in it.
    #[must_use]
    pub fn id(&self) -> Option<i32> {
        self.kept.then_some(self.order_id)
    }
}
