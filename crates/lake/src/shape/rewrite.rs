//! Copy-on-write of a keyed table: the touched leaves without the changed keys' rows, plus their new rows, sorted by key.

use std::collections::HashSet;

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch, UInt64Array},
    compute::{concat_batches, filter_record_batch, not, take_record_batch},
    datatypes::SchemaRef,
};
use iceberg::spec::{DataFile, ManifestEntryRef, TableMetadata};

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
        read::collect_files,
        schema::{arrow_schema, conform},
        write::write_batches,
    },
};

/// A keyed table under rewrite.
pub struct Target<'a> {
    pub tables: &'a Tables,
    pub state: &'a TableState,
    /// The table's metadata as they are after the commit.
    pub metadata: &'a TableMetadata,
    pub codec: &'a KeyCodec,
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
        let changed: HashSet<&[u8]> = keys.iter().copied().collect();
        let mut out = Rewritten::default();
        for group in leaves::plan(&leaves, &keys, self.rows_target as u64) {
            self.rewrite_group(files, &group, &changed, new_rows, place, &mut out).await?;
        }
        Ok(out)
    }

    async fn rewrite_group(
        &self,
        files: &[ManifestEntryRef],
        group: &Group,
        changed: &HashSet<&[u8]>,
        new_rows: &RecordBatch,
        place: &[Option<usize>],
        out: &mut Rewritten,
    ) -> Result<()> {
        let schema = self.schema()?;
        let of_group: Vec<ManifestEntryRef> = group.leaves.iter().map(|&leaf| files[leaf].clone()).collect();
        let old = if of_group.is_empty() { Vec::new() } else { collect_files(self.state, &of_group, None).await? };
        let mut kept = Vec::with_capacity(old.len() + 1);
        let mut replaced = Vec::new();
        for batch in old {
            let batch = conform(&batch, &schema)?;
            let gone = self.matches(&batch, changed)?;
            if gone.true_count() > 0 {
                replaced.push(filter_record_batch(&batch, &gone)?);
                kept.push(filter_record_batch(&batch, &not(&gone)?)?);
            } else {
                kept.push(batch);
            }
        }
        let new: UInt64Array = group.keys.iter().filter_map(|&key| place[key]).map(|row| row as u64).collect();
        if replaced.is_empty() && new.is_empty() {
            // Deletes of keys that were never there.
            return Ok(());
        }
        kept.push(unchanged::from_table(take_record_batch(new_rows, &new)?, &replaced, self.codec)?);
        out.replaced.append(&mut replaced);
        let sorted = self.codec.sorted(&concat_batches(&schema, &kept)?)?;
        out.remove.extend(of_group.iter().map(|file| file.file_path().to_owned()));
        let mut from = 0;
        for size in leaves::file_sizes(sorted.num_rows(), self.rows_target) {
            let rows = sorted.slice(from, size);
            out.add.extend(write_batches(self.metadata, self.tables.file_io(), [rows]).await?);
            from += size;
        }
        Ok(())
    }

    /// Rows of changed keys (their current versions only, where versions are kept).
    fn matches(&self, batch: &RecordBatch, changed: &HashSet<&[u8]>) -> Result<BooleanArray> {
        let keys = self.codec.rows(batch)?;
        let current =
            self.current_column.and_then(|name| batch.column_by_name(name)).and_then(|column| column.as_boolean_opt());
        let is_current = |row: usize| current.is_none_or(|current| current.is_valid(row) && current.value(row));
        Ok((0..batch.num_rows()).map(|row| Some(is_current(row) && changed.contains(keys.row(row).data()))).collect())
    }
}
