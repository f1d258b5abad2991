//! Copy-on-write of a keyed table: the touched leaves without the changed keys' rows, plus their new rows, sorted by key.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch, UInt64Array},
    compute::{concat_batches, filter_record_batch, not, take_record_batch},
    datatypes::SchemaRef,
};
use futures::{TryStreamExt, stream::BoxStream};
use iceberg::{
    io::FileIO,
    spec::{DataFile, ManifestEntryRef, TableMetadata},
};

use super::{
    events::Events,
    keys::KeyCodec,
    leaves::{self, Group, Leaf},
    truncates::Truncates,
    unchanged,
};
use crate::{
    error::Result,
    tables::{
        TableState, Tables,
        read::read_whole,
        schema::{arrow_schema, conform},
        write::write_batches,
    },
    tasks::{cores_and_one, side_by_side},
};

/// A keyed table under rewrite.
pub struct Target<'a> {
    pub tables: &'a Tables,
    pub state: &'a TableState,
    /// The table's metadata as they are after the commit.
    pub metadata: &'a TableMetadata,
    pub codec: &'a Arc<KeyCodec>,
    /// Column that says whether a row is the current version of its key; rows that are not stay untouched.
    pub current_column: Option<&'a str>,
    pub rows_target: usize,
    /// For each event the commit time of the truncate that took its row; empty when there are no truncates.
    pub truncated: Vec<Option<i64>>,
    /// Truncates that the table has met.
    pub truncates: &'a Truncates,
}

/// What a rewrite made.
#[derive(Debug, Default)]
pub struct Rewritten {
    pub remove: HashSet<String>,
    pub add: Vec<DataFile>,
    /// Rows of changed keys that were in the leaves, in the table's schema.
    pub replaced: Vec<RecordBatch>,
}

impl Target<'_> {
    /// When the row that the event left was truncated, if it was.
    #[must_use]
    pub fn truncated(&self, event: usize) -> Option<i64> {
        self.truncated.get(event).copied().flatten()
    }

    /// The schema its rows are written with.
    ///
    /// # Errors
    /// When a type has no Arrow counterpart.
    pub fn schema(&self) -> Result<SchemaRef> {
        arrow_schema(self.metadata.current_schema())
    }

    /// Rewrites the leaves among `files` that hold changed keys. `new_rows` has one row, or none, per chain of `events`,
    /// at the place `place` says.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn rewrite(
        &self,
        files: &[ManifestEntryRef],
        events: &Events,
        new_rows: &RecordBatch,
        place: &[Option<usize>],
    ) -> Result<Rewritten> {
        let leaves: Vec<Leaf> = files.iter().map(|file| self.codec.leaf(file.data_file())).collect::<Result<_>>()?;
        let keys: Vec<&[u8]> = (0..events.chains.len()).map(|chain| events.key(chain)).collect();
        let work = Arc::new(Work {
            io: self.tables.file_io().clone(),
            metadata: self.metadata.clone(),
            schema: self.schema()?,
            codec: self.codec.clone(),
            current_column: self.current_column.map(str::to_owned),
            rows_target: self.rows_target,
        });
        let groups = leaves::plan(&leaves, &keys, self.rows_target as u64);
        let mut parts = Vec::with_capacity(groups.len());
        for group in &groups {
            let (work, old, new_rows) = (work.clone(), self.old(files, group)?, new_rows.clone());
            let changed: HashSet<Vec<u8>> = group.keys.iter().map(|&key| keys[key].to_vec()).collect();
            let come: UInt64Array = group.keys.iter().filter_map(|&key| place[key]).map(|row| row as u64).collect();
            parts.push(async move { work.group(old, changed, take_record_batch(&new_rows, &come)?).await });
        }
        let done = side_by_side(parts, cores_and_one()).await?;
        let mut out = Rewritten::default();
        for (group, done) in groups.iter().zip(done) {
            let Some(mut done) = done else { continue };
            out.remove.extend(group.leaves.iter().map(|&leaf| files[leaf].file_path().to_owned()));
            out.add.append(&mut done.files);
            out.replaced.append(&mut done.replaced);
        }
        Ok(out)
    }

    fn old(
        &self,
        files: &[ManifestEntryRef],
        group: &Group,
    ) -> Result<Option<BoxStream<'static, Result<RecordBatch>>>> {
        let of_group: Vec<ManifestEntryRef> = group.leaves.iter().map(|&leaf| files[leaf].clone()).collect();
        if of_group.is_empty() {
            return Ok(None);
        }
        read_whole(self.state, &of_group).map(Some)
    }
}

/// Writes rows that are sorted by key to files of about `rows_target` rows each.
///
/// # Errors
/// When storage fails.
pub async fn write_leaves(
    metadata: &TableMetadata,
    io: &FileIO,
    sorted: &RecordBatch,
    rows_target: usize,
) -> Result<Vec<DataFile>> {
    let (mut files, mut from) = (Vec::new(), 0);
    for size in leaves::file_sizes(sorted.num_rows(), rows_target) {
        files.extend(write_batches(metadata, io, [sorted.slice(from, size)]).await?);
        from += size;
    }
    Ok(files)
}

/// What the rewrites of a table's groups have in common.
struct Work {
    io: FileIO,
    metadata: TableMetadata,
    schema: SchemaRef,
    codec: Arc<KeyCodec>,
    current_column: Option<String>,
    rows_target: usize,
}

/// What took a group's place.
struct RewrittenGroup {
    files: Vec<DataFile>,
    replaced: Vec<RecordBatch>,
}

impl Work {
    /// Rewrites a group: its old rows without those of `changed` keys, and the rows that came. `None` when nothing is to be
    /// written.
    async fn group(
        &self,
        old: Option<BoxStream<'static, Result<RecordBatch>>>,
        changed: HashSet<Vec<u8>>,
        come: RecordBatch,
    ) -> Result<Option<RewrittenGroup>> {
        let (mut kept, mut replaced) = (Vec::new(), Vec::new());
        if let Some(mut old) = old {
            while let Some(batch) = old.try_next().await? {
                let batch = conform(&batch, &self.schema)?;
                let gone = self.matches(&batch, &changed)?;
                if gone.true_count() > 0 {
                    replaced.push(filter_record_batch(&batch, &gone)?);
                    kept.push(filter_record_batch(&batch, &not(&gone)?)?);
                } else {
                    kept.push(batch);
                }
            }
        }
        if replaced.is_empty() && come.num_rows() == 0 {
            // Deletes of keys that were never there.
            return Ok(None);
        }
        kept.push(unchanged::from_table(come, &replaced, &self.codec)?);
        let sorted = self.codec.sorted(&concat_batches(&self.schema, &kept)?)?;
        drop(kept);
        let files = write_leaves(&self.metadata, &self.io, &sorted, self.rows_target).await?;
        Ok(Some(RewrittenGroup { files, replaced }))
    }

    /// Rows of changed keys (their current versions only, where versions are kept).
    fn matches(&self, batch: &RecordBatch, changed: &HashSet<Vec<u8>>) -> Result<BooleanArray> {
        let keys = self.codec.rows(batch)?;
        let current = self
            .current_column
            .as_ref()
            .and_then(|name| batch.column_by_name(name))
            .and_then(|column| column.as_boolean_opt());
        let is_current = |row: usize| current.is_none_or(|current| current.is_valid(row) && current.value(row));
        Ok((0..batch.num_rows()).map(|row| Some(is_current(row) && changed.contains(keys.row(row).data()))).collect())
    }
}
