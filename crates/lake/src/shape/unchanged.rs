//! Values the source log did not carry: an update that left a large (TOASTed) value alone brings a placeholder instead.
//! The value is the one the row had before: of the key's event before, or of its row in the table.

use std::collections::HashMap;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt64Array},
    compute::{concat_batches, interleave, take},
    datatypes::DataType,
};
use model::envelope::UNAVAILABLE_VALUE;

use super::keys::KeyCodec;
use crate::error::Result;

/// Where a column holds the placeholder; `None` when it does not.
fn placeholders(column: &ArrayRef) -> Option<BooleanArray> {
    let is = |found: bool| Some(found);
    let mask: BooleanArray = match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().iter().map(|value| is(value == Some(UNAVAILABLE_VALUE))).collect(),
        DataType::LargeBinary => {
            let wanted = Some(UNAVAILABLE_VALUE.as_bytes());
            column.as_binary::<i64>().iter().map(|value| is(value == wanted)).collect()
        }
        _ => return None,
    };
    (mask.true_count() > 0).then_some(mask)
}

/// Fills placeholders from earlier events of the same key. `before[row]` is the row's previous event that left a row image.
///
/// # Errors
/// When a column cannot be rebuilt.
pub fn from_events(rows: &RecordBatch, before: &[Option<usize>]) -> Result<RecordBatch> {
    let mut columns = rows.columns().to_vec();
    for column in &mut columns {
        let Some(mask) = placeholders(column) else { continue };
        let mut source: Vec<usize> = (0..rows.num_rows()).collect();
        // Earlier rows come first, so that their sources are final when a later row asks.
        for row in 0..rows.num_rows() {
            if mask.value(row)
                && let Some(earlier) = before[row]
            {
                source[row] = source[earlier];
            }
        }
        *column = take(column, &UInt64Array::from_iter_values(source.into_iter().map(|row| row as u64)), None)?;
    }
    Ok(RecordBatch::try_new(rows.schema(), columns)?)
}

/// Fills what is left from the table's own rows of the same keys; a key that was never seen keeps the placeholder.
///
/// # Errors
/// When a column cannot be rebuilt.
pub fn from_table(rows: RecordBatch, old: &[RecordBatch], codec: &KeyCodec) -> Result<RecordBatch> {
    let masks: Vec<Option<BooleanArray>> = rows.columns().iter().map(placeholders).collect();
    let Some(first) = old.first().filter(|_| masks.iter().any(Option::is_some)) else { return Ok(rows) };
    let old = concat_batches(&first.schema(), old)?;
    let (old_keys, keys) = (codec.rows(&old)?, codec.rows(&rows)?);
    let places: HashMap<&[u8], usize> = (0..old.num_rows()).map(|row| (old_keys.row(row).data(), row)).collect();
    let mut columns = rows.columns().to_vec();
    for (index, mask) in masks.iter().enumerate() {
        let Some(mask) = mask else { continue };
        let Some(old_column) = old.column_by_name(rows.schema_ref().field(index).name()) else { continue };
        let pick = |row: usize| match places.get(keys.row(row).data()) {
            Some(place) if mask.value(row) => (1, *place),
            _ => (0, row),
        };
        let picks: Vec<(usize, usize)> = (0..rows.num_rows()).map(pick).collect();
        columns[index] = interleave(&[columns[index].as_ref(), old_column.as_ref()], &picks)?;
    }
    Ok(RecordBatch::try_new(rows.schema(), columns)?)
}

/// As [`from_events`], with the chain of each key given by its next event.
///
/// # Errors
/// As [`from_events`].
pub fn along_chains(
    rows: &RecordBatch,
    next_of_key: &[Option<usize>],
    is_delete: impl Fn(usize) -> bool,
) -> Result<RecordBatch> {
    if rows.columns().iter().all(|column| placeholders(column).is_none()) {
        return Ok(rows.clone());
    }
    let mut before = vec![None; rows.num_rows()];
    for (row, next) in next_of_key.iter().enumerate() {
        if let Some(next) = next {
            before[*next] = (!is_delete(row)).then_some(row);
        }
    }
    from_events(rows, &before)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::{
        array::StringArray,
        datatypes::{Field, Schema},
    };

    use super::*;

    #[test]
    fn a_placeholder_takes_the_value_of_the_event_before() {
        let text = StringArray::from(vec!["big", UNAVAILABLE_VALUE, UNAVAILABLE_VALUE, UNAVAILABLE_VALUE]);
        let schema = Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8, true)]));
        let rows = RecordBatch::try_new(schema, vec![Arc::new(text)]).unwrap();
        // Rows 0, 1, 2 are of one key; row 3 is of a key seen for the first time.
        let filled = along_chains(&rows, &[Some(1), Some(2), None, None], |_| false).unwrap();
        let text: Vec<_> = filled.column(0).as_string::<i32>().iter().flatten().collect();
        assert_eq!(text, vec!["big", "big", "big", UNAVAILABLE_VALUE]);
    }
}
