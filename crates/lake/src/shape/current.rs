//! Current state: one row per key, as it is after the last event of the key. Deletes remove the row.

use std::collections::HashMap;

use arrow::array::UInt64Array;
use arrow::compute::take_record_batch;
use iceberg::spec::PrimitiveType;

use super::{
    events::Events,
    rewrite::{Rewritten, Target},
};
use crate::{
    error::Result,
    raw::convert::names,
    tables::schema::{Wanted, conform},
};

/// Columns a current-state table has beside the row's: when and where in the source log the row got its state.
#[must_use]
pub fn own_columns() -> Vec<Wanted> {
    vec![Wanted::new(names::TS, PrimitiveType::Timestamptz, false), Wanted::new(names::LSN, PrimitiveType::Long, false)]
}

/// Applies events to the table.
///
/// # Errors
/// When storage fails.
pub async fn apply(target: &Target<'_>, events: &Events) -> Result<Rewritten> {
    let mut last_rows = Vec::with_capacity(events.chains.len());
    let mut place: Vec<Option<usize>> = Vec::with_capacity(events.chains.len());
    for (_, last) in &events.chains {
        if events.is_delete(*last) || target.truncated(*last).is_some() {
            place.push(None);
        } else {
            place.push(Some(last_rows.len()));
            last_rows.push(*last as u64);
        }
    }
    let new_rows = take_record_batch(&events.rows, &UInt64Array::from(last_rows))?;
    let new_rows = conform(&new_rows, &target.schema()?)?;
    target.rewrite(&target.state.files, events, &new_rows, &place).await
}

/// Properties by which another engine knows how the table is laid out.
#[must_use]
pub fn properties() -> HashMap<String, String> {
    [
        ("write.delete.mode", "copy-on-write"),
        ("write.update.mode", "copy-on-write"),
        ("write.merge.mode", "copy-on-write"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}
