//! The events a shape table has not seen yet, read from stage by offsets, and what they mean per key.

use std::collections::HashMap;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch},
    compute::{SortColumn, concat_batches, filter_record_batch, lexsort_to_indices, take_record_batch},
};
use iceberg::{
    expr::{Predicate, Reference},
    spec::{Datum, ManifestEntryRef, PrimitiveLiteral},
};

use super::{keys::KeyCodec, truncates::Truncates, unchanged};
use crate::{
    error::{LakeError, Result},
    offsets::{Holes, NextOffsets},
    raw::convert::names,
    tables::{TableState, read::collect_files, schema::arrow_schema},
};

/// A pass takes at most this many offsets of each partition, so that memory stays bounded.
pub const OFFSETS_MAX: i64 = 100_000;

/// Offsets a pass covers: from (inclusive) to (exclusive) per partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Span {
    pub ranges: Vec<(i32, i64, i64)>,
    /// Where the table stands after the pass.
    pub next: NextOffsets,
    /// Stage holds more than this pass takes.
    pub more: bool,
}

impl Span {
    /// What stage has beyond `done`, limited; a partition that is new begins at `first_offset`, before which stage has
    /// nothing (a topic's start may have been cut off long ago). A partition ends at its first hole: what comes after may
    /// be of the same keys. Pure.
    #[must_use]
    pub fn between(
        done: &NextOffsets,
        stage: &NextOffsets,
        holes: &Holes,
        first_offset: i64,
        offsets_max: i64,
    ) -> Self {
        let mut span = Self { next: done.clone(), ..Self::default() };
        for (&partition, &to) in &stage.0 {
            let from = done.get(partition).unwrap_or(first_offset);
            let to = holes.limit(partition, from).map_or(to, |hole| to.min(hole));
            let to_now = to.min(from.saturating_add(offsets_max));
            span.more |= to_now < to;
            if from < to_now {
                span.ranges.push((partition, from, to_now));
                span.next.0.insert(partition, to_now);
            }
        }
        span
    }

    fn predicate(&self) -> Option<Predicate> {
        let range = |(partition, from, to): &(i32, i64, i64)| {
            Reference::new(names::PARTITION)
                .equal_to(Datum::int(*partition))
                .and(Reference::new(names::OFFSET).greater_than_or_equal_to(Datum::long(*from)))
                .and(Reference::new(names::OFFSET).less_than(Datum::long(*to)))
        };
        self.ranges.iter().map(range).reduce(Predicate::or)
    }

    /// Whether a stage file may hold rows of the span, by its statistics.
    fn meets(&self, bounds: Option<((i32, i32), (i64, i64))>) -> bool {
        let Some(((partition_min, partition_max), (offset_min, offset_max))) = bounds else { return true };
        self.ranges.iter().any(|(partition, from, to)| {
            (partition_min..=partition_max).contains(partition) && offset_max >= *from && offset_min < *to
        })
    }
}

/// No row of stage has a smaller offset.
#[must_use]
pub fn first_offset(stage: &TableState) -> i64 {
    let Some(id) = stage.metadata().current_schema().field_id_by_name(names::OFFSET) else { return 0 };
    let lower = |file: &ManifestEntryRef| match file.data_file().lower_bounds().get(&id).map(Datum::literal) {
        Some(PrimitiveLiteral::Long(offset)) => *offset,
        _ => 0,
    };
    stage.files.iter().map(lower).min().unwrap_or(0)
}

/// Reads the span's rows from stage, ordered by (`_partition`, `_offset`).
///
/// # Errors
/// When storage fails.
pub async fn read(stage: &TableState, span: &Span) -> Result<RecordBatch> {
    let schema = stage.metadata().current_schema();
    let missing = || LakeError::definite("a stage table without _partition and _offset");
    let partition_id = schema.field_id_by_name(names::PARTITION).ok_or_else(missing)?;
    let offset_id = schema.field_id_by_name(names::OFFSET).ok_or_else(missing)?;
    let files: Vec<ManifestEntryRef> =
        stage.files.iter().filter(|file| span.meets(bounds(file, partition_id, offset_id))).cloned().collect();
    let target = arrow_schema(schema)?;
    let batches = if files.is_empty() { Vec::new() } else { collect_files(stage, &files, span.predicate()).await? };
    let target = batches.first().map_or(target, |batch| batch.schema());
    let rows = concat_batches(&target, &batches)?;
    let order = |name: &str| {
        rows.column_by_name(name).map(|values| SortColumn { values: values.clone(), options: None }).ok_or_else(missing)
    };
    let indices = lexsort_to_indices(&[order(names::PARTITION)?, order(names::OFFSET)?], None)?;
    Ok(take_record_batch(&rows, &indices)?)
}

fn bounds(file: &ManifestEntryRef, partition_id: i32, offset_id: i32) -> Option<((i32, i32), (i64, i64))> {
    let file = file.data_file();
    let of = |id: i32| Some((file.lower_bounds().get(&id)?.literal(), file.upper_bounds().get(&id)?.literal()));
    match (of(partition_id)?, of(offset_id)?) {
        (
            (PrimitiveLiteral::Int(partition_min), PrimitiveLiteral::Int(partition_max)),
            (PrimitiveLiteral::Long(offset_min), PrimitiveLiteral::Long(offset_max)),
        ) => Some(((*partition_min, *partition_max), (*offset_min, *offset_max))),
        _ => None,
    }
}

/// Events with a key, in order, and the chain of events of each key.
pub struct Events {
    pub rows: RecordBatch,
    /// Encoded key of each row.
    pub keys: arrow::row::Rows,
    /// Row is a delete.
    pub deleted: BooleanArray,
    /// The next event of the same key.
    pub next_of_key: Vec<Option<usize>>,
    /// First and last event of each distinct key, sorted by key.
    pub chains: Vec<(usize, usize)>,
    /// Truncates among them; they have no key.
    pub truncates: Truncates,
}

impl Events {
    /// Orders events by key; `rows` are in (`_partition`, `_offset`) order.
    ///
    /// # Errors
    /// When a key column is missing.
    pub fn of(rows: &RecordBatch, codec: &KeyCodec) -> Result<Self> {
        let truncates = Truncates::among(rows);
        let has_key = has_key(rows.num_rows(), &codec.arrays(rows)?);
        let keyless = has_key.len() - has_key.true_count();
        let unknown = keyless.saturating_sub(crate::raw::convert::is_op(rows, "t").true_count());
        if unknown > 0 {
            tracing::warn!(events = unknown, "events without a key are left out of shape");
        }
        let rows = if keyless == 0 { rows.clone() } else { filter_record_batch(rows, &has_key)? };
        let keys = codec.rows(&rows)?;
        let deleted = crate::raw::convert::is_op(&rows, "d");
        let mut next_of_key = vec![None; rows.num_rows()];
        let mut seen: HashMap<&[u8], (usize, usize)> = HashMap::with_capacity(rows.num_rows());
        for row in 0..rows.num_rows() {
            let chain = seen.entry(keys.row(row).data()).or_insert((row, row));
            if chain.1 != row {
                next_of_key[chain.1] = Some(row);
                chain.1 = row;
            }
        }
        let mut chains: Vec<(usize, usize)> = seen.into_values().collect();
        chains.sort_by(|a, b| keys.row(a.0).cmp(&keys.row(b.0)));
        let rows = unchanged::along_chains(&rows, &next_of_key, |row| deleted.value(row))?;
        Ok(Self { rows, keys, deleted, next_of_key, chains, truncates })
    }

    /// Key of the chain at `index` of [`Self::chains`].
    #[must_use]
    pub fn key(&self, index: usize) -> &[u8] {
        self.keys.row(self.chains[index].0).data()
    }

    /// Source commit time of each event, microseconds since the epoch.
    ///
    /// # Errors
    /// When the column is missing.
    pub fn commit_times(&self) -> Result<ArrayRef> {
        let missing = || LakeError::definite("stage rows without _ts");
        Ok(self.rows.column_by_name(names::TS).ok_or_else(missing)?.clone())
    }

    /// Whether the event at `row` is a delete.
    #[must_use]
    pub fn is_delete(&self, row: usize) -> bool {
        self.deleted.is_valid(row) && self.deleted.value(row)
    }
}

/// Truncates, and other events without a row image, have null in the key.
fn has_key(rows: usize, keys: &[ArrayRef]) -> BooleanArray {
    (0..rows).map(|row| Some(keys.iter().all(|column| column.is_valid(row)))).collect()
}

/// Operation of each event.
///
/// # Errors
/// When the column is missing.
pub fn operations(rows: &RecordBatch) -> Result<&arrow::array::StringArray> {
    let op = rows.column_by_name(names::OP).and_then(|op| op.as_string_opt::<i32>());
    op.ok_or_else(|| LakeError::definite("stage rows without _op"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn offsets(list: &[(i32, i64)]) -> NextOffsets {
        NextOffsets(BTreeMap::from_iter(list.iter().copied()))
    }

    #[test]
    fn a_span_is_what_stage_has_beyond_the_table_in_bounded_steps() {
        let span = Span::between(&offsets(&[(0, 5)]), &offsets(&[(0, 500), (1, 7), (2, 0)]), &Holes::default(), 0, 100);
        assert_eq!(span.ranges, vec![(0, 5, 105), (1, 0, 7)]);
        assert_eq!(span.next, offsets(&[(0, 105), (1, 7)]));
        assert!(span.more);
        let late = Span::between(&offsets(&[]), &offsets(&[(0, 1_000_010)]), &Holes::default(), 1_000_000, 100);
        assert_eq!(late.ranges, vec![(0, 1_000_000, 1_000_010)]);
        let holes = Holes(BTreeMap::from([(0, BTreeMap::from([(7, 9)]))]));
        let stopped = Span::between(&offsets(&[(0, 5)]), &offsets(&[(0, 50), (1, 7)]), &holes, 0, 100);
        assert_eq!((stopped.ranges, stopped.more), (vec![(0, 5, 7), (1, 0, 7)], false));
        assert!(Span::between(&span.next, &span.next, &Holes::default(), 0, 100).ranges.is_empty());
    }

    #[test]
    fn a_file_is_left_out_only_when_no_partition_of_it_can_meet_the_span() {
        let span =
            Span::between(&offsets(&[(0, 50), (1, 10)]), &offsets(&[(0, 60), (1, 20)]), &Holes::default(), 0, 100);
        assert!(span.meets(Some(((0, 1), (12, 15)))));
        assert!(!span.meets(Some(((0, 0), (12, 15)))));
        assert!(!span.meets(Some(((2, 3), (0, 99)))));
        assert!(span.meets(None));
    }
}
