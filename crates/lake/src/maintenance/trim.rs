//! Forgets old rows of `serve._runs`, which nothing else ever removes.
//!
//! Whole days go, so that a file that holds both old rows and newer ones is written again once a day at most. Unlike all
//! else that maintenance does this changes rows: those of a report, which nothing reads back.

use std::time::Duration;

use arrow::{
    array::{AsArray, BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::TimestampMicrosecondType,
};
use iceberg::spec::{ManifestEntryRef, PrimitiveLiteral};

use crate::{
    error::{LakeError, Result},
    runner::history::ENDED_AT,
    tables::{
        TableState, Tables,
        commit::{Basis, Change},
        read::collect_files,
        schema::{arrow_schema, conform},
        write::write_batches,
    },
};

const DAY_MS: i64 = 86_400_000;

/// The moment before which runs are forgotten: the start of the day so long ago. Microseconds since the epoch.
#[must_use]
pub fn cutoff_us(now_ms: i64, kept: Duration) -> i64 {
    let kept_ms = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
    now_ms.saturating_sub(kept_ms).div_euclid(DAY_MS).saturating_mul(DAY_MS).saturating_mul(1000)
}

/// The files that hold a row from before `cutoff_us`, as far as their bounds tell.
#[must_use]
pub fn old(state: &TableState, cutoff_us: i64) -> Vec<ManifestEntryRef> {
    let Some(id) = state.metadata().current_schema().field_id_by_name(ENDED_AT) else { return Vec::new() };
    let begins = |file: &ManifestEntryRef| match file.data_file().lower_bounds().get(&id).map(|bound| bound.literal()) {
        Some(PrimitiveLiteral::Long(first)) => *first,
        _ => i64::MAX,
    };
    state.files.iter().filter(|file| begins(file) < cutoff_us).cloned().collect()
}

/// Takes rows from before `cutoff_us` out of the table. How many.
///
/// # Errors
/// When storage or catalog fail, or another writer replaced the same files.
pub async fn trim(tables: &Tables, state: &TableState, cutoff_us: i64) -> Result<u64> {
    let files = old(state, cutoff_us);
    if files.is_empty() {
        return Ok(0);
    }
    let schema = arrow_schema(state.metadata().current_schema())?;
    let (mut kept, mut gone) = (Vec::new(), 0);
    for batch in collect_files(state, &files, None).await? {
        let batch = conform(&batch, &schema)?;
        let stays = stays(&batch, cutoff_us)?;
        gone += stays.false_count() as u64;
        kept.push(filter_record_batch(&batch, &stays)?);
    }
    let change = Change {
        remove: files.iter().map(|file| file.file_path().to_owned()).collect(),
        add: write_batches(state.metadata(), tables.file_io(), kept).await?,
        basis: Basis::Files,
        ..Change::default()
    };
    tables.commit(state, change).await?;
    Ok(gone)
}

fn stays(rows: &RecordBatch, cutoff_us: i64) -> Result<BooleanArray> {
    let ended = rows.column_by_name(ENDED_AT).and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let ended = ended.ok_or_else(|| LakeError::definite(format!("runs without {ENDED_AT}")))?;
    Ok(ended.iter().map(|ended| Some(ended.is_none_or(|ended| ended >= cutoff_us))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_days_go() {
        let day = Duration::from_secs(86_400);
        let at = |days: i64, ms: i64| cutoff_us(days * DAY_MS + ms, 3 * day) / 1000;
        assert_eq!((at(100, 0), at(100, 1), at(100, DAY_MS - 1)), (97 * DAY_MS, 97 * DAY_MS, 97 * DAY_MS));
        assert!(cutoff_us(0, Duration::MAX) < 0);
    }
}
