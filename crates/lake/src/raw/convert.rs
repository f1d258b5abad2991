//! Envelope batches to stage rows: the row image of each event with its typed columns, and the event's own columns.
//!
//! Pure. The row image is `after`, for deletes `before`. Promise: one row out for each row in, in the same order.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray,
        StringBuilder, StructArray, Time64MicrosecondArray, make_array, new_null_array,
    },
    buffer::NullBuffer,
    compute::{cast, is_null, kernels::zip::zip},
    datatypes::{DataType, Field, Int32Type, Int64Type, Schema, Time64MicrosecondType, TimeUnit},
    util::display::{ArrayFormatter, FormatOptions},
};

use super::columns::{Kind, SourceColumn, Unit};
use crate::error::{LakeError, Result};

/// Names of the event's own columns, after the row's.
pub mod names {
    pub const OP: &str = "_op";
    pub const TS: &str = "_ts";
    pub const LSN: &str = "_lsn";
    pub const TXID: &str = "_txid";
    pub const TOPIC: &str = "_topic";
    pub const PARTITION: &str = "_partition";
    pub const OFFSET: &str = "_offset";
}

/// Turns one batch of envelopes into stage rows. `offsets` has the Kafka offset of each row.
///
/// # Errors
/// When the batch is no envelope or a value does not fit its column's meaning.
pub fn stage_rows(
    envelope: &RecordBatch,
    columns: &[SourceColumn],
    topic: &str,
    partition: i32,
    offsets: Int64Array,
) -> Result<RecordBatch> {
    let rows = envelope.num_rows();
    let op = cast(column(envelope, "op")?, &DataType::Utf8)?;
    let source = as_struct(column(envelope, "source")?)?;
    let after = as_struct(column(envelope, "after")?)?;
    let before = as_struct(column(envelope, "before")?)?;
    let deleted = is_null(after)?;
    let any_deleted = deleted.true_count() > 0;
    let mut fields = Vec::with_capacity(columns.len() + 7);
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(columns.len() + 7);
    for column in columns {
        let mut values = child(after, &column.name)?;
        if any_deleted {
            values = zip(&deleted, &child(before, &column.name)?, &values)?;
        }
        let values = convert(&values, &column.kind)?;
        fields.push(Field::new(&column.name, values.data_type().clone(), true));
        arrays.push(values);
    }
    let mut event = |name: &str, values: ArrayRef| {
        fields.push(Field::new(name, values.data_type().clone(), true));
        arrays.push(values);
    };
    event(names::OP, op);
    event(names::TS, commit_time(source)?);
    event(names::LSN, optional(source, "lsn", &DataType::Int64)?);
    event(names::TXID, optional(source, "txId", &DataType::Int64)?);
    event(names::TOPIC, Arc::new(StringArray::from_iter_values(std::iter::repeat_n(topic, rows))));
    event(names::PARTITION, Arc::new(Int32Array::from_value(partition, rows)));
    event(names::OFFSET, Arc::new(offsets));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| LakeError::definite(format!("the envelope lacks {name}")))
}

fn as_struct(array: &ArrayRef) -> Result<&StructArray> {
    array.as_struct_opt().ok_or_else(|| LakeError::definite("a part of the envelope is no record"))
}

/// A field of a nullable record, null where the record is.
fn child(parent: &StructArray, name: &str) -> Result<ArrayRef> {
    let values =
        parent.column_by_name(name).ok_or_else(|| LakeError::definite(format!("the row lacks its column {name}")))?;
    let Some(parent_nulls) = parent.nulls() else { return Ok(values.clone()) };
    let nulls = NullBuffer::union(Some(parent_nulls), values.logical_nulls().as_ref());
    if let DataType::Dictionary(_, _) = values.data_type() {
        // A dictionary's nulls are its keys'.
        let plain = cast(values, &DataType::Utf8)?;
        return Ok(make_array(plain.to_data().into_builder().nulls(nulls).build()?));
    }
    Ok(make_array(values.to_data().into_builder().nulls(nulls).build()?))
}

fn optional(parent: &StructArray, name: &str, kind: &DataType) -> Result<ArrayRef> {
    match parent.column_by_name(name) {
        Some(_) => Ok(cast(&child(parent, name)?, kind)?),
        None => Ok(new_null_array(kind, parent.len())),
    }
}

/// Commit time of the source transaction as an instant: `source.ts_us`, or `source.ts_ms` of older envelopes.
fn commit_time(source: &StructArray) -> Result<ArrayRef> {
    let millis = optional(source, "ts_ms", &DataType::Int64)?;
    let from_millis: Int64Array = millis.as_primitive::<Int64Type>().unary(|millis| millis.saturating_mul(1000));
    let micros = optional(source, "ts_us", &DataType::Int64)?;
    let known = arrow::compute::is_not_null(&micros)?;
    let micros = zip(&known, &micros, &(Arc::new(from_millis) as ArrayRef))?;
    Ok(cast(&micros, &instant_type())?)
}

fn instant_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
}

/// Values of a column in the Arrow type that its meaning has in the lake.
fn convert(values: &ArrayRef, kind: &Kind) -> Result<ArrayRef> {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    Ok(match kind {
        Kind::Boolean => cast(values, &DataType::Boolean)?,
        Kind::Int => cast(values, &DataType::Int32)?,
        Kind::Long => cast(values, &DataType::Int64)?,
        Kind::Float => cast(values, &DataType::Float32)?,
        Kind::Double => cast(values, &DataType::Float64)?,
        Kind::Text => cast(values, &DataType::Utf8)?,
        Kind::Bytes => cast(values, &DataType::LargeBinary)?,
        Kind::Decimal { precision, scale } => decimal(values, *precision, *scale)?,
        Kind::VariableDecimal => variable_decimal(values)?,
        Kind::Date => cast(&integers(values, &DataType::Int32, &DataType::Date32)?, &DataType::Date32)?,
        Kind::Time(unit) => {
            let (wire, meaning) = match unit {
                Unit::Millis => (DataType::Int32, DataType::Time32(TimeUnit::Millisecond)),
                Unit::Micros => (DataType::Int64, DataType::Time64(TimeUnit::Microsecond)),
                Unit::Nanos => (DataType::Int64, DataType::Time64(TimeUnit::Nanosecond)),
            };
            time_of_day(&integers(values, &wire, &meaning)?)?
        }
        Kind::Timestamp(unit) => {
            let unit = match unit {
                Unit::Millis => TimeUnit::Millisecond,
                Unit::Micros => TimeUnit::Microsecond,
                Unit::Nanos => TimeUnit::Nanosecond,
            };
            cast(&integers(values, &DataType::Int64, &DataType::Timestamp(unit, None))?, &micros)?
        }
        Kind::Instant => cast(&cast(values, &DataType::Utf8)?, &instant_type())?,
        Kind::List(element) => list(values, element)?,
        Kind::Other => text(values)?,
    })
}

/// Integers of the wire read as `meaning`; arrow-avro may have done it already for Avro's own logical types.
fn integers(values: &ArrayRef, wire: &DataType, meaning: &DataType) -> Result<ArrayRef> {
    if values.data_type() == wire {
        return Ok(cast(values, meaning)?);
    }
    if let DataType::Timestamp(unit, Some(_)) = values.data_type() {
        // Avro's timestamp-millis is an instant; Connect writes wall-clock time with it.
        return Ok(cast(&cast(values, &DataType::Int64)?, &DataType::Timestamp(*unit, None))?);
    }
    Ok(values.clone())
}

/// Postgres knows `24:00:00`; Iceberg's day ends a microsecond earlier, which is what such a value becomes.
fn time_of_day(values: &ArrayRef) -> Result<ArrayRef> {
    const LAST: i64 = 86_400_000_000 - 1;
    let micros = cast(values, &DataType::Time64(TimeUnit::Microsecond))?;
    let micros: Time64MicrosecondArray =
        micros.as_primitive::<Time64MicrosecondType>().unary(|micros| micros.min(LAST));
    Ok(Arc::new(micros))
}

fn decimal(values: &ArrayRef, precision: u32, scale: u32) -> Result<ArrayRef> {
    let out_of_range = || LakeError::definite(format!("decimal({precision},{scale}) has no column type"));
    let scale = i8::try_from(scale).map_err(|_| out_of_range())?;
    let target = DataType::Decimal128(u8::try_from(precision.min(38)).map_err(|_| out_of_range())?, scale);
    let options = arrow::compute::CastOptions { safe: false, ..Default::default() };
    Ok(arrow::compute::cast_with_options(values, &target, &options)?)
}

fn list(values: &ArrayRef, element: &Kind) -> Result<ArrayRef> {
    let list = values.as_list_opt::<i32>().ok_or_else(|| LakeError::definite("an array column is no list"))?;
    let elements = convert(list.values(), element)?;
    let field = Arc::new(Field::new("element", elements.data_type().clone(), true));
    Ok(Arc::new(arrow::array::ListArray::try_new(field, list.offsets().clone(), elements, list.nulls().cloned())?))
}

fn text(values: &ArrayRef) -> Result<ArrayRef> {
    let options = FormatOptions::new();
    let formatter = ArrayFormatter::try_new(values, &options)?;
    let mut out = StringBuilder::new();
    for row in 0..values.len() {
        if values.is_null(row) {
            out.append_null();
        } else {
            out.append_value(formatter.value(row).to_string());
        }
    }
    Ok(Arc::new(out.finish()))
}

fn variable_decimal(values: &ArrayRef) -> Result<ArrayRef> {
    let record = as_struct(values)?;
    let scale = child(record, "scale")?;
    let unscaled = cast(&child(record, "value")?, &DataType::Binary)?;
    let (scale, unscaled): (_, &BinaryArray) = (scale.as_primitive::<Int32Type>(), unscaled.as_binary());
    let mut out = StringBuilder::new();
    for row in 0..record.len() {
        if record.is_null(row) || unscaled.is_null(row) {
            out.append_null();
        } else {
            out.append_value(decimal_text(unscaled.value(row), scale.value(row)));
        }
    }
    Ok(Arc::new(out.finish()))
}

/// Decimal text of a big-endian two's complement number of any length, with `scale` digits after the point.
fn decimal_text(unscaled: &[u8], scale: i32) -> String {
    let negative = unscaled.first().is_some_and(|byte| byte & 0x80 != 0);
    let mut magnitude: Vec<u8> = unscaled.to_vec();
    if negative {
        let mut carry = true;
        for byte in magnitude.iter_mut().rev() {
            let (value, overflow) = (!*byte).overflowing_add(u8::from(carry));
            *byte = value;
            carry = overflow;
        }
    }
    // Base 256 to base 10, least significant digit first.
    let mut digits: Vec<u8> = vec![0];
    for byte in magnitude {
        let mut carry = u32::from(byte);
        for digit in &mut digits {
            let value = u32::from(*digit) * 256 + carry;
            *digit = (value % 10) as u8;
            carry = value / 10;
        }
        while carry > 0 {
            digits.push((carry % 10) as u8);
            carry /= 10;
        }
    }
    if scale < 0 {
        digits.splice(0..0, std::iter::repeat_n(0, scale.unsigned_abs().min(10_000) as usize));
    }
    let point = usize::try_from(scale).unwrap_or(0).min(100_000);
    while digits.len() <= point {
        digits.push(0);
    }
    let mut out: String = if negative { "-".into() } else { String::new() };
    for (place, digit) in digits.iter().enumerate().rev() {
        out.push(char::from(b'0' + digit));
        if place == point && point > 0 {
            out.push('.');
        }
    }
    out
}

/// Rows for which no row image is there (truncates): neither key nor values.
#[must_use]
pub fn is_op(rows: &RecordBatch, op: &str) -> BooleanArray {
    match rows.column_by_name(names::OP).and_then(|ops| ops.as_string_opt::<i32>()) {
        Some(ops) => ops.iter().map(|value| Some(value == Some(op))).collect(),
        None => BooleanArray::from(vec![false; rows.num_rows()]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unscaled_bytes_become_decimal_text() {
        assert_eq!(decimal_text(&[0x04, 0xd2], 2), "12.34");
        assert_eq!(decimal_text(&[0xff], 2), "-0.01");
        assert_eq!(decimal_text(&[0x00], 0), "0");
        assert_eq!(decimal_text(&[0x05], -2), "500");
        assert_eq!(decimal_text(&[], 0), "0");
    }

    proptest! {
        #[test]
        fn any_i128_keeps_its_digits(number in any::<i128>()) {
            prop_assert_eq!(decimal_text(&number.to_be_bytes(), 0), number.to_string());
        }
    }
}
