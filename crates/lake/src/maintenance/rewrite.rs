//! Rewrites data files without a change of rows: small ones into larger ones (bin-pack), in the order the layer keeps
//! (sort), files with deletes without them, files of an old partition spec by the present one.
//!
//! Each commit says that no row changed and depends on nothing but the files it replaces, so it goes on top of what other
//! writers append meanwhile.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use arrow::{compute::concat_batches, record_batch::RecordBatch};
use iceberg::spec::{DataFile, ManifestEntryRef, PartitionKey};

use crate::{
    compaction,
    error::Result,
    offsets::key_columns,
    shape::{history, keys::KeyCodec, rewrite::write_leaves},
    tables::{
        TableState, Tables,
        commit::{Basis, Change},
        read::collect_files,
        schema::{arrow_schema, conform},
        write::{FILE_BYTES_MAX, Files, write_batches, write_partitioned},
    },
};

/// Rows of a packed file of a table without a key, at most; also what a step holds in memory.
const ROWS_MAX: u64 = 262_144;

/// How hard to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Fewer small files side by side are left alone.
    pub files_min: usize,
    /// Tables without a key, too; behind the loop `compaction` packs them, which rewrites each row less often.
    pub without_key: bool,
    /// Rows per file of a keyed table.
    pub file_rows: usize,
}

/// The next rewrite that a table needs, if any.
///
/// # Errors
/// When storage fails.
pub async fn next(tables: &Tables, state: &TableState, effort: Effort) -> Result<Option<Change>> {
    if let Some(files) = outdated(state) {
        let add = again(tables, state, &files).await?;
        return Ok(Some(replace(state, files, add)));
    }
    let Some(files) = choose(state, effort)? else { return Ok(None) };
    let add = packed(tables, state, &files, effort).await?;
    Ok(Some(replace(state, files, add)))
}

/// Whether [`next`] would rewrite anything.
///
/// # Errors
/// When the table's key is damaged.
pub fn is_due(state: &TableState, effort: Effort) -> Result<bool> {
    Ok(outdated(state).is_some() || choose(state, effort)?.is_some())
}

fn replace(state: &TableState, files: Vec<ManifestEntryRef>, add: Vec<DataFile>) -> Change {
    let mut remove: HashSet<String> = files.iter().map(|file| file.file_path().to_owned()).collect();
    let stays = |file: &&ManifestEntryRef| !remove.contains(file.file_path());
    let rest: Vec<_> = state.files.iter().filter(stays).collect();
    let needed: HashSet<&str> =
        rest.iter().flat_map(|file| state.deletes_of(file)).map(|delete| delete.entry.file_path()).collect();
    let dangling = state.deletes.iter().map(|delete| delete.entry.file_path()).filter(|path| !needed.contains(path));
    let dangling: Vec<String> = dangling.map(str::to_owned).collect();
    remove.extend(dangling);
    Change { remove, add, rows_unchanged: true, basis: Basis::Files, ..Change::default() }
}

/// Files with deletes, or of an old partition spec: as many as memory takes.
fn outdated(state: &TableState) -> Option<Vec<ManifestEntryRef>> {
    let spec = state.metadata().default_partition_spec_id();
    let is =
        |file: &&ManifestEntryRef| state.spec_of(file.file_path()) != spec || state.deletes_of(file).next().is_some();
    let mut rows = 0;
    let files = state.files.iter().filter(is).take_while(|file| {
        let first = rows == 0;
        rows += file.record_count();
        first || rows <= ROWS_MAX
    });
    let files: Vec<_> = files.cloned().collect();
    (!files.is_empty()).then_some(files)
}

/// The same rows in the same order, by the present partition spec.
async fn again(tables: &Tables, state: &TableState, files: &[ManifestEntryRef]) -> Result<Vec<DataFile>> {
    let mut add = Vec::new();
    for file in files {
        let rows = rows_of(state, std::slice::from_ref(file)).await?;
        add.extend(write_partitioned(state.metadata(), tables.file_io(), &rows).await?);
    }
    Ok(add)
}

async fn rows_of(state: &TableState, files: &[ManifestEntryRef]) -> Result<RecordBatch> {
    let schema = arrow_schema(state.metadata().current_schema())?;
    let batches = collect_files(state, files, None).await?;
    let batches = batches.iter().map(|batch| conform(batch, &schema)).collect::<Result<Vec<_>>>()?;
    Ok(concat_batches(&schema, &batches)?)
}

/// Small files that lie side by side in the table's order and fill one file together.
fn choose(state: &TableState, effort: Effort) -> Result<Option<Vec<ManifestEntryRef>>> {
    let limit = match codec(state)? {
        Some(_) => effort.file_rows as u64,
        None if effort.without_key => ROWS_MAX,
        None => return Ok(None),
    };
    for group in groups(state)? {
        // What is large in bytes is large, however few rows it has.
        let large = |file: &ManifestEntryRef| file.file_size_in_bytes() > FILE_BYTES_MAX as u64 / 2;
        let rows: Vec<u64> = group.iter().map(|file| if large(file) { limit } else { file.record_count() }).collect();
        if let Some(run) = run(&rows, limit, effort.files_min) {
            return Ok(Some(run.map(|index| group[index].clone()).collect()));
        }
    }
    Ok(None)
}

/// Files that may be packed with each other, in the table's order.
fn groups(state: &TableState) -> Result<Vec<Vec<ManifestEntryRef>>> {
    let Some(codec) = codec(state)? else {
        let mut partitions: BTreeMap<String, Vec<ManifestEntryRef>> = BTreeMap::new();
        for file in &state.files {
            partitions.entry(format!("{:?}", file.data_file().partition())).or_default().push(file.clone());
        }
        return Ok(partitions.into_values().collect());
    };
    // Versions that ended lie in files of their own.
    let (closed, open) = history::split_files(state.metadata(), &state.files);
    let mut groups = Vec::new();
    for mut files in [closed, open] {
        let mut lower = BTreeMap::new();
        for file in &files {
            lower.insert(file.file_path().to_owned(), codec.leaf(file.data_file())?.lower);
        }
        files.sort_by(|a, b| lower[a.file_path()].cmp(&lower[b.file_path()]));
        groups.push(files);
    }
    Ok(groups)
}

fn codec(state: &TableState) -> Result<Option<KeyCodec>> {
    let metadata = state.metadata();
    let key = key_columns(metadata.properties())?;
    if key.is_empty() || !metadata.default_partition_spec().is_unpartitioned() {
        return Ok(None);
    }
    let schema = metadata.current_schema();
    KeyCodec::new(schema, &arrow_schema(schema)?, &key).map(Some)
}

/// The first run of at least `files_min` files that together have at most `limit` rows, none more than half of it. Pure.
#[must_use]
pub fn run(rows: &[u64], limit: u64, files_min: usize) -> Option<std::ops::Range<usize>> {
    let (mut start, mut sum) = (0, 0);
    for (index, &size) in rows.iter().enumerate() {
        if sum + size > limit || size > limit / 2 {
            if index - start >= files_min {
                return Some(start..index);
            }
            (start, sum) = if size > limit / 2 { (index + 1, 0) } else { (index, size) };
        } else {
            sum += size;
        }
    }
    (rows.len() - start.min(rows.len()) >= files_min).then_some(start..rows.len())
}

async fn packed(
    tables: &Tables,
    state: &TableState,
    files: &[ManifestEntryRef],
    effort: Effort,
) -> Result<Vec<DataFile>> {
    let metadata = state.metadata();
    let rows = rows_of(state, files).await?;
    let Some(codec) = codec(state)? else {
        let rows = compaction::in_order(&rows)?;
        let partition =
            files.first().map(|file| file.data_file().partition().clone()).unwrap_or_else(iceberg::spec::Struct::empty);
        if metadata.default_partition_spec().is_unpartitioned() {
            return write_batches(metadata, tables.file_io(), [rows]).await;
        }
        let spec = metadata.default_partition_spec().as_ref().clone();
        let key = PartitionKey::new(spec, metadata.current_schema().clone(), partition);
        let mut out = Files::create(metadata, tables.file_io(), Some(key))?;
        out.write(rows).await?;
        return out.close().await;
    };
    let rows = codec.sorted(&rows)?;
    write_leaves(metadata, tables.file_io(), &rows, effort.file_rows).await
}

/// Rewrites until nothing is left to do; returns how many files went and came.
///
/// # Errors
/// [`crate::error::LakeError::Conflict`] when other writers replaced the same files: leave it for another time.
pub async fn all(tables: &Tables, mut state: Arc<TableState>, effort: Effort) -> Result<(usize, usize)> {
    let (mut went, mut came) = (0, 0);
    while let Some(change) = next(tables, &state, effort).await? {
        went += change.remove.len();
        came += change.add.len();
        state = tables.commit(&state, change).await?;
    }
    Ok((went, came))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_that_fit_together_are_packed_and_large_files_left_alone() {
        assert_eq!(run(&[1, 2, 100, 3, 4, 5], 100, 3), Some(3..6));
        assert_eq!(run(&[40, 40, 40], 100, 2), Some(0..2));
        assert_eq!(run(&[40, 40, 40], 100, 3), None);
        assert_eq!(run(&[], 100, 1), None);
        assert_eq!(run(&[100], 100, 1), None);
    }

    proptest! {
        #[test]
        fn packing_ends_and_keeps_every_row(mut rows in prop::collection::vec(1_u64..150, 0..60), files_min in 2_usize..5) {
            let before: u64 = rows.iter().sum();
            let mut steps = 0;
            while let Some(run) = run(&rows, 100, files_min) {
                let sum: u64 = rows[run.clone()].iter().sum();
                prop_assert!(run.len() >= files_min && sum <= 100);
                rows.splice(run, [sum]);
                steps += 1;
                prop_assert!(steps <= 60);
            }
            prop_assert_eq!(rows.iter().sum::<u64>(), before);
        }
    }
}
