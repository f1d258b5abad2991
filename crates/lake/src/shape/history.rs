//! History (SCD type 2): one row per version of a key, valid from its event's commit time to the next one's.
//!
//! Layout: current versions are leaves sorted by key, as in the current-state table; closed versions never change again
//! and lie in files of their own, so closing a version rewrites its leaf and appends to the closed files.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray, UInt64Array},
    compute::{concat_batches, filter_record_batch, take_record_batch},
    datatypes::{Field, Schema, TimestampMicrosecondType},
};
use iceberg::spec::{ManifestEntryRef, PrimitiveLiteral, PrimitiveType, TableMetadata};

use super::{
    events::{Events, operations},
    rewrite::{Rewritten, Target},
    unchanged,
};
use crate::{
    error::{LakeError, Result},
    raw::convert::names,
    tables::{
        read::collect_files,
        schema::{Wanted, conform},
        write::write_batches,
    },
};

/// Closed files below the target size are merged when there are this many.
const CLOSED_FILES_MAX: usize = 12;

/// Names of a history table's own columns.
pub mod columns {
    pub const VALID_FROM: &str = "valid_from";
    pub const VALID_TO: &str = "valid_to";
    pub const IS_CURRENT: &str = "is_current";
    pub const OP: &str = "op";
}

/// Columns a history table has beside the row's.
#[must_use]
pub fn own_columns() -> Vec<Wanted> {
    vec![
        Wanted::new(columns::VALID_FROM, PrimitiveType::Timestamptz, false),
        Wanted::new(columns::VALID_TO, PrimitiveType::Timestamptz, false),
        Wanted::new(columns::IS_CURRENT, PrimitiveType::Boolean, false),
        Wanted::new(columns::OP, PrimitiveType::String, false),
        Wanted::new(names::LSN, PrimitiveType::Long, false),
        Wanted::new(names::PARTITION, PrimitiveType::Int, false),
        Wanted::new(names::OFFSET, PrimitiveType::Long, false),
    ]
}

/// Applies events to the table.
///
/// # Errors
/// When storage fails.
pub async fn apply(target: &Target<'_>, events: &Events) -> Result<Rewritten> {
    let schema = target.schema()?;
    let versions = conform(&versions(target, events)?, &schema)?;
    let (open, place) = open_versions(target, events);
    let open = take_record_batch(&versions, &UInt64Array::from(open))?;
    let (closed_files, leaves) = split_files(target.metadata, &target.state.files);
    let mut out = target.rewrite(&leaves, events, &open, &place).await?;
    let has_ended = |row: usize| events.next_of_key[row].is_some() || target.truncated(row).is_some();
    let closed: BooleanArray =
        (0..versions.num_rows()).map(|row| Some(!events.is_delete(row) && has_ended(row))).collect();
    let closed = filter_record_batch(&versions, &closed)?;
    let mut closed = vec![unchanged::from_table(closed, &out.replaced, target.codec)?];
    for batch in std::mem::take(&mut out.replaced) {
        closed.push(close(target, events, &batch)?);
    }
    merge_closed(target, &closed_files, &mut closed, &mut out).await?;
    let closed = target.codec.sorted(&concat_batches(&schema, &closed)?)?;
    out.add.extend(write_batches(target.metadata, target.tables.file_io(), [closed]).await?);
    Ok(out)
}

/// Each event as a version: the stage row with the history's own columns.
fn versions(target: &Target<'_>, events: &Events) -> Result<RecordBatch> {
    let from = events.commit_times()?;
    let times = from.as_primitive_opt::<TimestampMicrosecondType>();
    let times = times.ok_or_else(|| LakeError::definite("stage _ts is no timestamp in microseconds"))?;
    let next = |row: usize| events.next_of_key[row].filter(|next| times.is_valid(*next));
    let end = |row: usize| match (next(row).map(|next| times.value(next)), target.truncated(row)) {
        (Some(next), Some(truncated)) => Some(next.min(truncated)),
        (next, truncated) => next.or(truncated),
    };
    let to: TimestampMicrosecondArray = (0..times.len()).map(end).collect();
    let is_open = |row: usize| events.next_of_key[row].is_none() && target.truncated(row).is_none();
    let current: BooleanArray = (0..times.len()).map(|row| Some(is_open(row))).collect();
    let op = Arc::new(operations(&events.rows)?.clone());
    let own: [(&str, ArrayRef); 4] = [
        (columns::VALID_FROM, from.clone()),
        (columns::VALID_TO, Arc::new(to.with_timezone_opt(times.timezone()))),
        (columns::IS_CURRENT, Arc::new(current)),
        (columns::OP, op),
    ];
    with_columns(&events.rows, own)
}

/// The last version of each chain, as row numbers, and where each chain's is.
fn open_versions(target: &Target<'_>, events: &Events) -> (Vec<u64>, Vec<Option<usize>>) {
    let mut rows = Vec::with_capacity(events.chains.len());
    let mut place = Vec::with_capacity(events.chains.len());
    for (_, last) in &events.chains {
        let is_open = !events.is_delete(*last) && target.truncated(*last).is_none();
        place.push(is_open.then_some(rows.len()));
        if is_open {
            rows.push(*last as u64);
        }
    }
    (rows, place)
}

/// Closes versions that were current: valid to the first new event of their key.
fn close(target: &Target<'_>, events: &Events, rows: &RecordBatch) -> Result<RecordBatch> {
    let times = events.commit_times()?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let first: HashMap<&[u8], usize> =
        events.chains.iter().enumerate().map(|(chain, (first, _))| (events.key(chain), *first)).collect();
    let keys = target.codec.rows(rows)?;
    let truncated = target.truncates.of_rows(rows, columns::VALID_FROM);
    let to: TimestampMicrosecondArray = (0..rows.num_rows())
        .map(|row| {
            let first = first.get(keys.row(row).data()).filter(|first| times.is_valid(**first));
            let next = first.map(|first| times.value(*first));
            match truncated.get(row).copied().flatten() {
                Some(truncated) => Some(next.map_or(truncated, |next| next.min(truncated))),
                None => next,
            }
        })
        .collect();
    conform(&ended(rows, to)?, &target.schema()?)
}

/// Versions that end at these times.
///
/// # Errors
/// When there are not as many times as rows.
pub fn ended(rows: &RecordBatch, to: TimestampMicrosecondArray) -> Result<RecordBatch> {
    let own: [(&str, ArrayRef); 2] = [
        (columns::VALID_TO, Arc::new(to.with_timezone("+00:00"))),
        (columns::IS_CURRENT, Arc::new(BooleanArray::from(vec![false; rows.num_rows()]))),
    ];
    with_columns(rows, own)
}

/// Replaces or adds columns.
fn with_columns<const N: usize>(rows: &RecordBatch, own: [(&str, ArrayRef); N]) -> Result<RecordBatch> {
    let replaced = |name: &str| own.iter().any(|(own, _)| *own == name);
    let schema = rows.schema();
    let kept = schema.fields().iter().zip(rows.columns()).filter(|(field, _)| !replaced(field.name()));
    let (mut fields, mut arrays): (Vec<Field>, Vec<ArrayRef>) =
        kept.map(|(field, array)| (field.as_ref().clone(), array.clone())).unzip();
    for (name, array) in &own {
        fields.push(Field::new(*name, array.data_type().clone(), true));
        arrays.push(array.clone());
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

/// Files of closed versions, and the others.
#[must_use]
pub fn split_files(
    metadata: &TableMetadata,
    files: &[ManifestEntryRef],
) -> (Vec<ManifestEntryRef>, Vec<ManifestEntryRef>) {
    let Some(id) = metadata.current_schema().field_id_by_name(columns::IS_CURRENT) else {
        return (Vec::new(), files.to_vec());
    };
    let closed = |file: &ManifestEntryRef| {
        matches!(
            file.data_file().upper_bounds().get(&id).map(|bound| bound.literal()),
            Some(PrimitiveLiteral::Boolean(false))
        )
    };
    files.iter().cloned().partition(closed)
}

/// When small closed files pile up, takes their rows into the new one.
async fn merge_closed(
    target: &Target<'_>,
    files: &[ManifestEntryRef],
    closed: &mut Vec<RecordBatch>,
    out: &mut Rewritten,
) -> Result<()> {
    let small: Vec<ManifestEntryRef> =
        files.iter().filter(|file| file.record_count() < target.rows_target as u64).cloned().collect();
    if small.len() < CLOSED_FILES_MAX {
        return Ok(());
    }
    let schema = target.schema()?;
    for batch in collect_files(target.state, &small, None).await? {
        closed.push(conform(&batch, &schema)?);
    }
    out.remove.extend(small.iter().map(|file| file.file_path().to_owned()));
    Ok(())
}
