//! Keeps stage tables readable: small data files of a day are rewritten into larger ones, behind the appends.
//!
//! Every pass of the loop appends a small file. They are merged as a log-structured store does it: files of about the same
//! size together, so that a row is rewritten a logarithmic number of times. Promise: rows, their order within a file
//! (`_partition`, `_offset`) and the table's progress stay as they are; the snapshot says that no row changed.

use std::collections::BTreeMap;

use arrow::{
    compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch},
    record_batch::RecordBatch,
};
use iceberg::spec::{DataFile, ManifestEntryRef, PartitionKey, Struct};

use crate::{
    error::Result,
    raw::convert::names,
    tables::{
        TableState, Tables,
        commit::{Basis, Change},
        read::collect_files,
        schema::{arrow_schema, conform},
        write::Files,
    },
};

/// Files merged at once, at least.
const FILES_MIN: usize = 16;
/// Rows of a merged file, at most; also what a merge holds in memory.
const ROWS_MAX: u64 = 262_144;

/// The files of one partition, as (rows), that are worth merging: at least [`FILES_MIN`] of which none is larger than all
/// smaller ones together. Pure.
#[must_use]
pub fn choose(rows: &[u64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&index| rows[index]);
    let mut chosen = Vec::new();
    let mut sum = 0;
    for index in order {
        let similar = chosen.len() < FILES_MIN / 2 || rows[index] <= sum;
        if !similar || sum + rows[index] > ROWS_MAX {
            break;
        }
        sum += rows[index];
        chosen.push(index);
    }
    if chosen.len() < FILES_MIN { Vec::new() } else { chosen }
}

/// Merges small files of one partition of a stage table, if there are enough. `true` when it did.
///
/// # Errors
/// [`crate::error::LakeError::Conflict`] when the table moved: leave it for another time.
pub async fn compact(tables: &Tables, state: &TableState) -> Result<bool> {
    if state.files.len() < FILES_MIN {
        return Ok(false);
    }
    let mut partitions: BTreeMap<String, Vec<ManifestEntryRef>> = BTreeMap::new();
    let spec = state.metadata().default_partition_spec_id();
    // Files of an older spec are `maintenance`'s.
    for file in state.files.iter().filter(|file| state.spec_of(file.file_path()) == spec) {
        partitions.entry(format!("{:?}", file.data_file().partition())).or_default().push(file.clone());
    }
    for files in partitions.into_values() {
        let rows: Vec<u64> = files.iter().map(|file| file.record_count()).collect();
        let chosen: Vec<ManifestEntryRef> = choose(&rows).into_iter().map(|index| files[index].clone()).collect();
        if let Some(first) = chosen.first() {
            let add = merge(tables, state, &chosen, first.data_file().partition()).await?;
            let remove = chosen.iter().map(|file| file.file_path().to_owned()).collect();
            tables
                .commit(state, Change { remove, add, rows_unchanged: true, basis: Basis::Files, ..Change::default() })
                .await?;
            return Ok(true);
        }
    }
    Ok(false)
}

async fn merge(
    tables: &Tables,
    state: &TableState,
    files: &[ManifestEntryRef],
    partition: &Struct,
) -> Result<Vec<DataFile>> {
    let metadata = state.metadata();
    let schema = arrow_schema(metadata.current_schema())?;
    let batches = collect_files(state, files, None).await?;
    let batches = batches.iter().map(|batch| conform(batch, &schema)).collect::<Result<Vec<_>>>()?;
    let rows = in_order(&concat_batches(&schema, &batches)?)?;
    let spec = metadata.default_partition_spec().as_ref().clone();
    let key = PartitionKey::new(spec, metadata.current_schema().clone(), partition.clone());
    let mut merged = Files::create(metadata, tables.file_io(), Some(key))?;
    merged.write(rows).await?;
    merged.close().await
}

/// Rows of a stage table in its order; rows of others as they are.
///
/// # Errors
/// When they cannot be sorted.
pub fn in_order(rows: &RecordBatch) -> Result<RecordBatch> {
    let by = [names::PARTITION, names::OFFSET].map(|name| rows.column_by_name(name).cloned());
    let [Some(partition), Some(offset)] = by else { return Ok(rows.clone()) };
    let order = [partition, offset].map(|values| SortColumn { values, options: None });
    Ok(take_record_batch(rows, &lexsort_to_indices(&order, None)?)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_large_file_is_left_alone_until_the_small_ones_together_reach_it() {
        let mut rows = vec![10; 15];
        rows.push(100_000);
        assert_eq!(choose(&rows), Vec::<usize>::new());
        rows.push(10);
        assert_eq!(choose(&rows).len(), 16);
        assert!(!choose(&rows).contains(&15));
    }

    proptest! {
        #[test]
        fn appending_and_merging_keeps_files_few_and_rewrites_each_row_rarely(sizes in prop::collection::vec(1_u64..200, 1..600)) {
            let mut files: Vec<u64> = Vec::new();
            let (mut written, mut rewritten) = (0, 0);
            for size in sizes {
                files.push(size);
                written += size;
                let chosen = choose(&files);
                if !chosen.is_empty() {
                    let merged: u64 = chosen.iter().map(|&index| files[index]).sum();
                    rewritten += merged;
                    files = (0..files.len()).filter(|index| !chosen.contains(index)).map(|index| files[index]).collect();
                    files.push(merged);
                }
            }
            prop_assert_eq!(files.iter().sum::<u64>(), written);
            prop_assert!(files.len() < 64, "{} files", files.len());
            prop_assert!(rewritten <= written * 8, "{rewritten} of {written}");
        }
    }
}
