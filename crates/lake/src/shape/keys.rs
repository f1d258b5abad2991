//! Keys of rows and files as byte strings whose order is the keys' order.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanArray, Decimal128Array, Float32Array, Float64Array, Int32Array, Int64Array, LargeBinaryArray,
        RecordBatch, StringArray,
    },
    compute::{SortColumn, cast, lexsort_to_indices, take_record_batch},
    datatypes::{DataType, SchemaRef},
    row::{RowConverter, Rows, SortField},
};
use iceberg::spec::{DataFile, Datum, PrimitiveLiteral, Schema};

use super::leaves::Leaf;
use crate::error::{LakeError, Result};

/// Encodes the key columns of one table.
pub struct KeyCodec {
    converter: RowConverter,
    columns: Vec<KeyColumn>,
}

struct KeyColumn {
    name: String,
    field_id: i32,
    kind: DataType,
}

impl KeyCodec {
    /// A codec for key columns of a table.
    ///
    /// # Errors
    /// When a key column is not there or cannot be ordered.
    pub fn new(schema: &Schema, arrow: &SchemaRef, key: &[String]) -> Result<Self> {
        let mut columns = Vec::with_capacity(key.len());
        for name in key {
            let missing = || LakeError::definite(format!("key column {name} is not in the table"));
            let field_id = schema.field_id_by_name(name).ok_or_else(missing)?;
            let kind = arrow.field_with_name(name).map_err(|_| missing())?.data_type().clone();
            columns.push(KeyColumn { name: name.clone(), field_id, kind });
        }
        let fields = columns.iter().map(|column| SortField::new(column.kind.clone())).collect();
        Ok(Self { converter: RowConverter::new(fields)?, columns })
    }

    /// Keys of a batch, in row order.
    ///
    /// # Errors
    /// When a key column is missing.
    pub fn rows(&self, batch: &RecordBatch) -> Result<Rows> {
        Ok(self.converter.convert_columns(&self.arrays(batch)?)?)
    }

    /// The key columns of a batch.
    ///
    /// # Errors
    /// When one is missing.
    pub fn arrays(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let column = |column: &KeyColumn| {
            let values = batch.column_by_name(&column.name);
            let values =
                values.ok_or_else(|| LakeError::definite(format!("rows without key column {}", column.name)))?;
            // Stage may have been narrower when the row was written.
            Ok(if values.data_type() == &column.kind { values.clone() } else { cast(values, &column.kind)? })
        };
        self.columns.iter().map(column).collect()
    }

    /// Rows in key order.
    ///
    /// # Errors
    /// When a key column is missing.
    pub fn sorted(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let columns: Vec<SortColumn> =
            self.arrays(rows)?.into_iter().map(|values| SortColumn { values, options: None }).collect();
        Ok(take_record_batch(rows, &lexsort_to_indices(&columns, None)?)?)
    }

    /// The range of keys a data file may hold.
    ///
    /// # Errors
    /// When a bound cannot be encoded.
    pub fn leaf(&self, file: &DataFile) -> Result<Leaf> {
        let lower = self.tuple(|id| file.lower_bounds().get(&id))?;
        let upper = self.tuple(|id| file.upper_bounds().get(&id))?;
        Ok(Leaf { lower, upper, rows: file.record_count() })
    }

    /// The smallest (or greatest) values column by column: before (or after) every key of the file.
    fn tuple<'a>(&self, bound: impl Fn(i32) -> Option<&'a Datum>) -> Result<Option<Vec<u8>>> {
        let mut arrays = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let Some(array) = bound(column.field_id).and_then(|datum| single(datum, &column.kind)) else {
                return Ok(None);
            };
            arrays.push(array);
        }
        let rows = self.converter.convert_columns(&arrays)?;
        Ok(Some(rows.row(0).as_ref().to_vec()))
    }
}

/// A bound as an array of one value; `None` when it has no such type.
fn single(datum: &Datum, kind: &DataType) -> Option<ArrayRef> {
    let array: ArrayRef = match datum.literal() {
        PrimitiveLiteral::Boolean(value) => Arc::new(BooleanArray::from(vec![*value])),
        PrimitiveLiteral::Int(value) => Arc::new(Int32Array::from(vec![*value])),
        PrimitiveLiteral::Long(value) => Arc::new(Int64Array::from(vec![*value])),
        PrimitiveLiteral::Float(value) => Arc::new(Float32Array::from(vec![value.0])),
        PrimitiveLiteral::Double(value) => Arc::new(Float64Array::from(vec![value.0])),
        PrimitiveLiteral::String(value) => Arc::new(StringArray::from(vec![value.as_str()])),
        PrimitiveLiteral::Binary(value) => Arc::new(LargeBinaryArray::from(vec![value.as_slice()])),
        PrimitiveLiteral::Int128(value) => {
            let DataType::Decimal128(precision, scale) = kind else { return None };
            Arc::new(Decimal128Array::from(vec![*value]).with_precision_and_scale(*precision, *scale).ok()?)
        }
        _ => return None,
    };
    cast(&array, kind).ok()
}
