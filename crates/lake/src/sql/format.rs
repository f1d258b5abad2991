//! Query results as text: JSON, NDJSON, CSV and a table for people.
//!
//! Values: 64-bit integers are JSON numbers, decimals strings (exact), dates `YYYY-MM-DD`, timestamps
//! `YYYY-MM-DDTHH:MM:SS.ffffff` in UTC without zone, binary hex.

use std::fmt::Write as _;

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{DataType, Schema, TimeUnit},
    record_batch::RecordBatch,
    util::display::{ArrayFormatter, FormatOptions},
};
use serde_json::{Value, json};

use crate::error::Result;

/// `[{"name","type"}]` of a result.
#[must_use]
pub fn columns(schema: &Schema) -> Value {
    schema.fields().iter().map(|field| json!({"name": field.name(), "type": type_name(field.data_type())})).collect()
}

/// Name of a type, as Iceberg calls it.
#[must_use]
pub fn type_name(kind: &DataType) -> String {
    match kind {
        DataType::Boolean => "boolean".into(),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => "int".into(),
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => "long".into(),
        DataType::Float16 | DataType::Float32 => "float".into(),
        DataType::Float64 => "double".into(),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("decimal({precision},{scale})")
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "binary".into()
        }
        DataType::Date32 | DataType::Date64 => "date".into(),
        DataType::Time32(_) | DataType::Time64(_) => "time".into(),
        DataType::Timestamp(_, None) => "timestamp".into(),
        DataType::Timestamp(_, Some(_)) => "timestamptz".into(),
        DataType::List(element) | DataType::LargeList(element) => format!("list<{}>", type_name(element.data_type())),
        other => other.to_string().to_lowercase(),
    }
}

/// The rows of a batch as JSON arrays.
///
/// # Errors
/// When a type cannot be shown.
pub fn rows(batch: &RecordBatch) -> Result<Vec<Value>> {
    let columns: Vec<Vec<Value>> = batch.columns().iter().map(values).collect::<Result<_>>()?;
    let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
    let row = |_| Value::Array(columns.iter_mut().filter_map(Iterator::next).collect());
    Ok((0..batch.num_rows()).map(row).collect())
}

fn values(column: &ArrayRef) -> Result<Vec<Value>> {
    let rows = 0..column.len();
    match column.data_type() {
        DataType::Null => Ok(rows.map(|_| Value::Null).collect()),
        DataType::Boolean => {
            Ok(column.as_boolean().iter().map(|value| value.map_or(Value::Null, Value::Bool)).collect())
        }
        kind if kind.is_integer() => {
            let wide = arrow::compute::cast(column, &DataType::Int64)?;
            let wide = wide.as_primitive::<arrow::datatypes::Int64Type>();
            Ok(wide.iter().map(|value| value.map_or(Value::Null, Value::from)).collect())
        }
        kind if kind.is_floating() => {
            let wide = arrow::compute::cast(column, &DataType::Float64)?;
            let wide = wide.as_primitive::<arrow::datatypes::Float64Type>();
            Ok(wide.iter().map(|value| value.map_or(Value::Null, Value::from)).collect())
        }
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            rows.map(|row| if list.is_null(row) { Ok(Value::Null) } else { values(&list.value(row)).map(Value::Array) })
                .collect()
        }
        _ => texts(column),
    }
}

fn texts(column: &ArrayRef) -> Result<Vec<Value>> {
    let micros = "%Y-%m-%dT%H:%M:%S%.6f";
    let options = FormatOptions::new().with_timestamp_format(Some(micros)).with_timestamp_tz_format(Some(micros));
    let column = match column.data_type() {
        // Shown in UTC, to the microsecond.
        DataType::Timestamp(_, _) => &arrow::compute::cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?,
        _ => column,
    };
    let formatter = ArrayFormatter::try_new(column, &options)?;
    let text =
        |row: usize| if column.is_null(row) { Value::Null } else { Value::String(formatter.value(row).to_string()) };
    Ok((0..column.len()).map(text).collect())
}

/// One line of CSV (RFC 4180); null is empty.
#[must_use]
pub fn csv_line(row: &Value) -> String {
    let mut line = String::new();
    for (index, cell) in row.as_array().into_iter().flatten().enumerate() {
        if index > 0 {
            line.push(',');
        }
        let text = plain(cell);
        if text.contains(['"', ',', '\n', '\r']) {
            let _ = write!(line, "\"{}\"", text.replace('"', "\"\""));
        } else {
            line.push_str(&text);
        }
    }
    line.push('\n');
    line
}

/// A table with aligned columns, numbers to the right.
#[must_use]
pub fn table(columns: &Value, rows: &[Value]) -> String {
    let columns: &[Value] = columns.as_array().map_or(&[], Vec::as_slice);
    let header: Vec<String> =
        columns.iter().map(|column| column["name"].as_str().unwrap_or_default().to_owned()).collect();
    let right: Vec<bool> = columns
        .iter()
        .map(|column| {
            let kind = column["type"].as_str().unwrap_or_default();
            ["int", "long", "float", "double", "decimal"].iter().any(|number| kind.starts_with(number))
        })
        .collect();
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| row.as_array().into_iter().flatten().map(plain).collect()).collect();
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            let of_column = std::iter::once(&header).chain(&cells).filter_map(|row| row.get(column));
            of_column.map(|text| text.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    let mut line = |row: &[String]| {
        let padded = row.iter().enumerate().map(|(column, text)| {
            let width = widths.get(column).copied().unwrap_or(0);
            if right.get(column) == Some(&true) { format!("{text:>width$}") } else { format!("{text:<width$}") }
        });
        let _ = writeln!(out, "{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    };
    line(&header);
    line(&widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>());
    cells.iter().for_each(|row| line(row));
    out
}

fn plain(cell: &Value) -> String {
    match cell {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::{
        array::{BinaryArray, Date32Array, Decimal128Array, Int64Array, TimestampMicrosecondArray},
        datatypes::Field,
    };

    use super::*;

    #[test]
    fn values_are_written_as_the_interface_says() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![Some(i64::MAX), None])),
            Arc::new(Decimal128Array::from(vec![1234, -5]).with_precision_and_scale(10, 2).unwrap()),
            Arc::new(Date32Array::from(vec![19847, 0])),
            Arc::new(TimestampMicrosecondArray::from(vec![1_714_885_505_000_001, 0])),
            Arc::new(TimestampMicrosecondArray::from(vec![1_714_885_505_000_001, 0]).with_timezone("+00:00")),
            Arc::new(BinaryArray::from_vec(vec![b"\x00\xff", b"a"])),
        ];
        let fields: Vec<_> =
            columns.iter().enumerate().map(|(n, c)| Field::new(format!("c{n}"), c.data_type().clone(), true)).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let rows = rows(&batch).unwrap();
        assert_eq!(
            rows[0],
            json!([
                i64::MAX,
                "12.34",
                "2024-05-04",
                "2024-05-05T05:05:05.000001",
                "2024-05-05T05:05:05.000001",
                "00ff"
            ])
        );
        assert_eq!(rows[1][1], json!("-0.05"));
        assert_eq!(rows[1][0], Value::Null);
        assert_eq!(csv_line(&json!([1, "a,\"b\"", null])), "1,\"a,\"\"b\"\"\",\n");
    }
}
