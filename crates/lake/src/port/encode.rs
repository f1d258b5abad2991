//! Rows as `DataRow` or `CopyData` messages, in text or binary as the client asked for. Pure.
//!
//! A batch's columns are brought to the few kinds of [`types::plain`] once; after that nothing is allocated per value.

use std::fmt::Write as _;

use arrow::{
    array::{Array, ArrayRef, AsArray, StringArray},
    datatypes::{
        DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Schema,
        Time64MicrosecondType, TimestampMicrosecondType,
    },
    record_batch::RecordBatch,
    util::display::{ArrayFormatter, FormatOptions},
};
use bytes::{BufMut, BytesMut};

use super::{
    answers::{Column, message},
    text::{self, Text},
    types,
};
use crate::error::Result;

/// Days and microseconds from 1970 to 2000, where PostgreSQL begins to count.
pub const EPOCH_DAYS: i32 = 10_957;
pub const EPOCH_US: i64 = 946_684_800_000_000;

/// How the columns of a result are written.
#[derive(Debug, Clone)]
pub struct Layout {
    kinds: Vec<DataType>,
    pub columns: Vec<Column>,
}

impl Layout {
    /// Of a result; every column as text.
    #[must_use]
    pub fn of(schema: &Schema) -> Self {
        let kinds: Vec<_> = schema.fields().iter().map(|field| types::plain(field.data_type())).collect();
        let columns = schema.fields().iter().zip(&kinds).map(|(field, kind)| {
            let (oid, length, typmod) = types::described(kind);
            Column { name: field.name().clone(), oid, length, typmod, binary: false }
        });
        Self { columns: columns.collect(), kinds }
    }

    /// Of one column of text.
    #[must_use]
    pub fn one(column: Column) -> Self {
        Self { kinds: vec![DataType::Utf8], columns: vec![column] }
    }

    /// The batch in the kinds that were described.
    ///
    /// # Errors
    /// When a value does not fit.
    pub fn bring(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        batch.columns().iter().zip(&self.kinds).map(|(column, kind)| bring(column, kind)).collect()
    }

    /// Appends one row.
    pub fn row(&self, columns: &[ArrayRef], row: usize, out: &mut BytesMut) {
        message(out, b'D', |out| self.fields(columns, row, out));
    }

    /// Appends a row's fields, as `DataRow` and a copy in binary have them.
    pub fn fields(&self, columns: &[ArrayRef], row: usize, out: &mut BytesMut) {
        out.put_i16(i16::try_from(columns.len()).unwrap_or(i16::MAX));
        for (array, column) in columns.iter().zip(&self.columns) {
            if array.is_null(row) || *array.data_type() == DataType::Null {
                out.put_i32(-1);
            } else {
                sized(out, |out| value(array, row, column.binary, out));
            }
        }
    }
}

fn bring(column: &ArrayRef, kind: &DataType) -> Result<ArrayRef> {
    if column.data_type() == kind {
        return Ok(column.clone());
    }
    let as_text = *kind == DataType::Utf8
        && !matches!(column.data_type(), DataType::Utf8View | DataType::LargeUtf8 | DataType::Null);
    if as_text && !matches!(column.data_type(), DataType::Dictionary(_, _)) {
        let formatter = ArrayFormatter::try_new(column, &FormatOptions::new())?;
        let texts = (0..column.len()).map(|row| column.is_valid(row).then(|| formatter.value(row).to_string()));
        return Ok(std::sync::Arc::new(texts.collect::<StringArray>()));
    }
    let exact = arrow::compute::CastOptions { safe: false, ..Default::default() };
    Ok(arrow::compute::cast_with_options(column, kind, &exact)?)
}

/// Appends a length and what `write` writes.
fn sized(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_i32(0);
    write(out);
    let length = i32::try_from(out.len() - start - 4).unwrap_or(i32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn value(array: &ArrayRef, row: usize, binary: bool, out: &mut BytesMut) {
    if binary { binary_value(array, row, out) } else { text_value(array, row, out) }
}

fn binary_value(array: &ArrayRef, row: usize, out: &mut BytesMut) {
    match array.data_type() {
        DataType::Boolean => out.put_u8(u8::from(array.as_boolean().value(row))),
        DataType::Int16 => out.put_i16(array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => out.put_i32(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => out.put_i64(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => out.put_f32(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => out.put_f64(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => numeric(array.as_primitive::<Decimal128Type>().value(row), *scale, out),
        DataType::Binary => out.put_slice(array.as_binary::<i32>().value(row)),
        DataType::Date32 => {
            out.put_i32(array.as_primitive::<Date32Type>().value(row).saturating_sub(EPOCH_DAYS));
        }
        DataType::Time64(_) => out.put_i64(array.as_primitive::<Time64MicrosecondType>().value(row)),
        DataType::Timestamp(_, _) => {
            out.put_i64(array.as_primitive::<TimestampMicrosecondType>().value(row).saturating_sub(EPOCH_US));
        }
        DataType::List(element) => {
            let values = array.as_list::<i32>().value(row);
            out.put_i32(i32::from(!values.is_empty()));
            out.put_i32(i32::from(values.null_count() > 0));
            out.put_u32(types::described(element.data_type()).0);
            if !values.is_empty() {
                out.put_i32(i32::try_from(values.len()).unwrap_or(i32::MAX));
                out.put_i32(1);
            }
            for item in 0..values.len() {
                if values.is_null(item) {
                    out.put_i32(-1);
                } else {
                    sized(out, |out| binary_value(&values, item, out));
                }
            }
        }
        _ => text_value(array, row, out),
    }
}

/// PostgreSQL's binary numeric: digits of base 10,000 around the point.
fn numeric(value: i128, scale: i8, out: &mut BytesMut) {
    let scale = usize::try_from(scale).unwrap_or(0);
    let mut whole = value.unsigned_abs();
    // The fraction is filled up to whole digits of four.
    let fill = (4 - scale % 4) % 4;
    let mut groups = [0_i16; 11];
    let mut count = 0;
    let mut push = |group: u128| {
        groups[count] = i16::try_from(group).unwrap_or(0);
        count += 1;
    };
    let mut fraction_groups = (scale + fill) / 4;
    let after = fraction_groups;
    if fill > 0 {
        let unit = 10_u128.pow(4 - u32::try_from(fill).unwrap_or(0));
        push((whole % unit) * 10_u128.pow(u32::try_from(fill).unwrap_or(0)));
        whole /= unit;
        fraction_groups -= 1;
    }
    while whole > 0 || fraction_groups > 0 {
        push(whole % 10_000);
        whole /= 10_000;
        fraction_groups = fraction_groups.saturating_sub(1);
    }
    let mut digits = &groups[..count];
    while let [.., 0] = digits {
        digits = &digits[..digits.len() - 1];
    }
    let skipped = digits.iter().take_while(|digit| **digit == 0).count();
    let weight = i16::try_from(digits.len()).unwrap_or(0) - i16::try_from(after).unwrap_or(0) - 1;
    let digits = &digits[skipped..];
    out.put_i16(i16::try_from(digits.len()).unwrap_or(0));
    out.put_i16(if digits.is_empty() { 0 } else { weight });
    out.put_u16(if value < 0 { 0x4000 } else { 0 });
    out.put_i16(i16::try_from(scale).unwrap_or(0));
    digits.iter().rev().for_each(|digit| out.put_i16(*digit));
}

/// Appends a value as text.
pub fn text_value(array: &ArrayRef, row: usize, out: &mut BytesMut) {
    let mut to = Text(out);
    // Writing to a buffer cannot fail.
    let _ = match array.data_type() {
        DataType::Boolean => to.write_str(if array.as_boolean().value(row) { "t" } else { "f" }),
        DataType::Int16 => write!(to, "{}", array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => write!(to, "{}", array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => write!(to, "{}", array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => text::float(&mut to, array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => text::float(&mut to, array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => {
            text::decimal(&mut to, array.as_primitive::<Decimal128Type>().value(row), *scale)
        }
        DataType::Utf8 => to.write_str(array.as_string::<i32>().value(row)),
        DataType::Binary => text::hex(&mut to, array.as_binary::<i32>().value(row)),
        DataType::Date32 => text::date(&mut to, i64::from(array.as_primitive::<Date32Type>().value(row))),
        DataType::Time64(_) => text::time(&mut to, array.as_primitive::<Time64MicrosecondType>().value(row)),
        DataType::Timestamp(_, zone) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            text::timestamp(&mut to, micros, zone.is_some())
        }
        DataType::List(_) => {
            text_list(&array.as_list::<i32>().value(row), out);
            Ok(())
        }
        _ => Ok(()),
    };
}

/// `{1,NULL,"a b"}`.
fn text_list(values: &ArrayRef, out: &mut BytesMut) {
    out.put_u8(b'{');
    let mut item = BytesMut::new();
    for row in 0..values.len() {
        if row > 0 {
            out.put_u8(b',');
        }
        if values.is_null(row) {
            out.put_slice(b"NULL");
            continue;
        }
        item.clear();
        text_value(values, row, &mut item);
        text::list_item(&item, out);
    }
    out.put_u8(b'}');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::{array::Decimal128Array, datatypes::Field};
    use proptest::prelude::*;

    use super::*;

    fn decimal(value: i128, scale: i8, binary: bool) -> Vec<u8> {
        let array = Decimal128Array::from(vec![value]).with_precision_and_scale(38, scale).unwrap();
        let array: ArrayRef = Arc::new(array);
        let schema = Schema::new(vec![Field::new("n", array.data_type().clone(), true)]);
        let mut layout = Layout::of(&schema);
        layout.columns[0].binary = binary;
        let mut out = BytesMut::new();
        layout.row(&[array], 0, &mut out);
        out[11..].to_vec()
    }

    /// What PostgreSQL 17 sends for these.
    #[test]
    fn numerics_are_those_of_postgres() {
        let shorts = |values: &[i32]| values.iter().flat_map(|v| (*v as u16).to_be_bytes()).collect::<Vec<u8>>();
        for (value, scale, expected) in [
            (0, 0, &[0, 0, 0, 0][..]),
            (0, 2, &[0, 0, 0, 2]),
            (1, 0, &[1, 0, 0, 0, 1]),
            (1234, 2, &[2, 0, 0, 2, 12, 3400]),
            (-5, 2, &[1, -1, 0x4000, 2, 500]),
            (100_000_000, 0, &[1, 2, 0, 0, 1]),
            (12_345_678_901, 5, &[4, 1, 0, 5, 12, 3456, 7890, 1000]),
            (1, 6, &[1, -2, 0, 6, 100]),
        ] {
            assert_eq!(decimal(value, scale, true), shorts(expected), "{value} {scale}");
        }
    }

    proptest! {
        /// A parameter of the same bytes is the same number.
        #[test]
        fn a_numeric_comes_back(value in any::<i128>().prop_map(|v| v % 10_i128.pow(38)), small in any::<i32>(), scale in 0_i8..=38, text in any::<bool>(), use_small in any::<bool>()) {
            let value = if use_small { i128::from(small) } else { value };
            let bytes = decimal(value, scale, !text);
            let back = super::super::params::decode(types::NUMERIC, !text, &bytes, None).unwrap();
            let datafusion::scalar::ScalarValue::Decimal128(Some(back), _, back_scale) = back else { unreachable!("{back:?}") };
            prop_assert_eq!(back, value);
            prop_assert_eq!(back_scale, scale);
        }
    }
}
