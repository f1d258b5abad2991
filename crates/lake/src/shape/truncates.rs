//! Truncates of the source table: every row that was there before one is gone.
//!
//! A truncate has no key, so it lies in one partition, while the events of the rows it took lie in all of them, before and
//! behind it, and some are staged later. What tells is the source's log: a row is truncated if its last event has a smaller
//! LSN and was committed no later (LSNs alone begin anew on another server). So a table that met a truncate keeps it in its
//! snapshots, beside the offsets, for events that come late.

use std::collections::{BTreeMap, HashSet};

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray},
    compute::{concat_batches, filter_record_batch, not},
    datatypes::{Int64Type, TimestampMicrosecondType},
};
use iceberg::spec::{ManifestEntryRef, PrimitiveLiteral, TableMetadata};

use super::{
    events::Events,
    history,
    rewrite::{Rewritten, Target},
};
use crate::{
    error::{LakeError, Result},
    offsets::{property, recorded},
    raw::convert::{is_op, names},
    tables::{read::collect_files, schema::conform, write::write_batches},
};

/// Truncates that are kept for late events.
const KEPT_MAX: usize = 32;

/// Truncates by commit time, microseconds since the epoch, with their LSN.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Truncates(BTreeMap<i64, i64>);

impl Truncates {
    /// Those that the table's current snapshot has met.
    ///
    /// # Errors
    /// When what is recorded is damaged.
    pub fn of(metadata: &TableMetadata) -> Result<Self> {
        let Some(text) = recorded(metadata, property::TRUNCATES) else { return Ok(Self::default()) };
        let pairs: Vec<(i64, i64)> = serde_json::from_str(text)
            .map_err(|error| LakeError::definite(format!("property {}: {error}", property::TRUNCATES)))?;
        Ok(Self(pairs.into_iter().collect()))
    }

    /// Those among events of stage.
    #[must_use]
    pub fn among(events: &RecordBatch) -> Self {
        let truncates = is_op(events, "t");
        if truncates.true_count() == 0 {
            return Self::default();
        }
        let Some((lsns, times)) = places(events, names::TS) else { return Self::default() };
        let known = |row: &usize| truncates.value(*row) && lsns.is_valid(*row) && times.is_valid(*row);
        Self((0..events.num_rows()).filter(known).map(|row| (times.value(row), lsns.value(row))).collect())
    }

    /// The property's name and text.
    #[must_use]
    pub fn property(&self) -> (String, String) {
        let pairs: Vec<(i64, i64)> = self.0.iter().map(|(time, lsn)| (*time, *lsn)).collect();
        (
            property::TRUNCATES.to_owned(),
            serde_json::Value::from_iter(pairs.iter().map(|pair| vec![pair.0, pair.1])).to_string(),
        )
    }

    /// With `found`, if one of them is later than all that are known.
    #[must_use]
    pub fn with_later(&self, found: &Self) -> Option<Self> {
        let last = found.0.last_key_value()?.0;
        if self.0.last_key_value().is_some_and(|(known, _)| known >= last) {
            return None;
        }
        let mut all = self.0.clone();
        all.extend(found.0.iter());
        while all.len() > KEPT_MAX {
            all.pop_first();
        }
        Some(Self(all))
    }

    /// Commit time of the first truncate that took a row whose last event is this.
    fn after(&self, lsn: i64, time: i64) -> Option<i64> {
        self.0.range(time..).find(|(_, truncate)| **truncate > lsn).map(|(time, _)| *time)
    }

    /// For each row the commit time of the truncate that took it; empty when there are no truncates.
    #[must_use]
    pub fn of_rows(&self, rows: &RecordBatch, time_column: &str) -> Vec<Option<i64>> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let Some((lsns, times)) = places(rows, time_column) else { return Vec::new() };
        let known = |row: usize| lsns.is_valid(row) && times.is_valid(row);
        (0..rows.num_rows())
            .map(|row| known(row).then(|| self.after(lsns.value(row), times.value(row))).flatten())
            .collect()
    }
}

/// LSN and commit time of each row.
fn places<'a>(
    rows: &'a RecordBatch,
    time_column: &str,
) -> Option<(&'a arrow::array::Int64Array, &'a TimestampMicrosecondArray)> {
    let lsns = rows.column_by_name(names::LSN)?.as_primitive_opt::<Int64Type>()?;
    let times = rows.column_by_name(time_column)?.as_primitive_opt::<TimestampMicrosecondType>()?;
    Some((lsns, times))
}

/// Takes the rows of the truncates out of the table; in a history they end. Rows of keys that `events` change stay: the
/// events say what became of them.
///
/// # Errors
/// When storage fails.
pub async fn apply(target: &Target<'_>, events: &Events, truncates: &Truncates) -> Result<Rewritten> {
    let changed: HashSet<&[u8]> = (0..events.chains.len()).map(|chain| events.key(chain)).collect();
    let (_, open) = match target.current_column {
        Some(_) => history::split_files(target.metadata, &target.state.files),
        None => (Vec::new(), target.state.files.clone()),
    };
    let mut out = Rewritten::default();
    for file in open.iter().filter(|file| may_hold(target.metadata, file, truncates)) {
        truncate(target, file, &changed, truncates, &mut out).await?;
    }
    Ok(out)
}

/// Whether a file may hold a truncated row, by its statistics.
fn may_hold(metadata: &TableMetadata, file: &ManifestEntryRef, truncates: &Truncates) -> bool {
    let last = truncates.0.values().max();
    let id = metadata.current_schema().field_id_by_name(names::LSN);
    let lower = id.and_then(|id| file.data_file().lower_bounds().get(&id)).map(|bound| bound.literal());
    match (lower, last) {
        (Some(PrimitiveLiteral::Long(lower)), Some(last)) => lower < last,
        _ => true,
    }
}

async fn truncate(
    target: &Target<'_>,
    file: &ManifestEntryRef,
    changed: &HashSet<&[u8]>,
    truncates: &Truncates,
    out: &mut Rewritten,
) -> Result<()> {
    let schema = target.schema()?;
    let rows = collect_files(target.state, std::slice::from_ref(file), None).await?;
    let rows = rows.iter().map(|batch| conform(batch, &schema)).collect::<Result<Vec<_>>>()?;
    let rows = concat_batches(&schema, &rows)?;
    let time = target.current_column.map_or(names::TS, |_| history::columns::VALID_FROM);
    let ends = truncates.of_rows(&rows, time);
    // A file of open versions may hold closed ones, too: those ended before.
    let current = target.current_column.and_then(|name| rows.column_by_name(name)?.as_boolean_opt());
    let is_current = |row: usize| current.is_none_or(|current| current.is_valid(row) && current.value(row));
    let keys = target.codec.rows(&rows)?;
    let goes =
        |row: usize, end: &Option<i64>| end.is_some() && is_current(row) && !changed.contains(keys.row(row).data());
    let gone: BooleanArray = ends.iter().enumerate().map(|(row, end)| Some(goes(row, end))).collect();
    if gone.true_count() == 0 {
        return Ok(());
    }
    out.remove.insert(file.file_path().to_owned());
    let kept = filter_record_batch(&rows, &not(&gone)?)?;
    out.add.extend(write_batches(target.metadata, target.tables.file_io(), [kept]).await?);
    if target.current_column.is_some() {
        let ended = filter_record_batch(&rows, &gone)?;
        let ends: Vec<Option<i64>> = (0..gone.len()).filter(|row| gone.value(*row)).map(|row| ends[row]).collect();
        let ended = conform(&history::ended(&ended, ends.into())?, &schema)?;
        out.add.extend(write_batches(target.metadata, target.tables.file_io(), [ended]).await?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truncates(pairs: &[(i64, i64)]) -> Truncates {
        Truncates(pairs.iter().copied().collect())
    }

    #[test]
    fn a_row_is_truncated_by_the_first_truncate_after_its_event() {
        let known = truncates(&[(100, 10), (200, 20)]);
        assert_eq!(known.after(5, 50), Some(100));
        assert_eq!(known.after(10, 100), Some(200), "its own LSN");
        assert_eq!(known.after(15, 150), Some(200));
        assert_eq!(known.after(25, 250), None);
        assert_eq!(known.after(3, 250), None, "another server, whose log began anew");
    }

    #[test]
    fn only_a_later_one_is_news_and_the_last_ones_are_kept() {
        let known = truncates(&[(100, 10)]);
        assert_eq!(known.with_later(&truncates(&[])), None);
        assert_eq!(known.with_later(&truncates(&[(100, 10)])), None);
        assert_eq!(known.with_later(&truncates(&[(200, 20)])), Some(truncates(&[(100, 10), (200, 20)])));
        let many: Vec<(i64, i64)> = (200..300).map(|time| (time, time)).collect();
        let all = known.with_later(&truncates(&many)).unwrap_or_default();
        assert_eq!((all.0.len(), all.0.last_key_value()), (KEPT_MAX, Some((&299, &299))));
        assert_eq!(all.with_later(&truncates(&many)), None);
    }
}
