//! Keeping a model by parts: which parts its inputs' changes touch, and replacing those parts only.
//!
//! A part is what the model says of one value of its column `by`. It follows from the inputs' rows with that value, so it is
//! enough to find the values whose rows differ between the snapshots that the model was built from and those of now, to run
//! the model's own query on these rows alone, and to put the result in the place of what the table has of these values.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, UInt64Array},
    compute::{cast, concat, concat_batches, filter_record_batch, interleave, take, take_record_batch},
    datatypes::{DataType, Date32Type, Int32Type, Int64Type},
    record_batch::RecordBatch,
    row::{RowConverter, SortField},
};
use datafusion::{
    catalog::TableProvider,
    common::{Column, JoinType},
    datasource::{MemTable, ViewTable, provider_as_source},
    logical_expr::LogicalPlanBuilder,
};
use futures::TryStreamExt;
use iceberg::spec::{DataFile, Literal, ManifestEntryRef, Struct};
use xxhash_rust::xxh3::xxh3_128;

use super::plan::Inputs;
use crate::{
    digests::ByDigest,
    error::{LakeError, Result},
    models::header::Slice,
    shape::{
        keys::KeyCodec,
        leaves::{self, Leaf},
        rewrite::write_leaves,
    },
    sql::{Pinned, provider::LakeTable},
    tables::{
        TableState, Tables,
        read::{read_files, read_whole},
        schema::{arrow_schema, conform},
    },
    tasks::{cores_and_one, side_by_side},
};

/// Values of a model's column `by` whose parts are to be computed again.
#[derive(Debug)]
pub enum Touched {
    /// No row that the model can see is another one.
    Nothing,
    /// These, in order and distinct, none of them null.
    Values(ArrayRef),
    /// It is better, or the only way, to compute everything.
    All(&'static str),
}

/// Columns a model reads, by input.
pub type Reads = BTreeMap<String, BTreeSet<String>>;

/// Finds what changed of a model's inputs since it was built.
pub struct Compare<'a> {
    pub tables: &'a Tables,
    pub pinned: &'a Pinned,
    /// Beyond this share of the inputs' rows in changed files everything is computed.
    pub share_max: f64,
}

impl Compare<'_> {
    /// Why it is no use to look at rows, if it is none; by what the tables know of their files alone.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn in_vain(&self, before: &Inputs, now: &Inputs) -> Result<Option<&'static str>> {
        let (mut differ, mut all) = (0, 0);
        for (input, snapshot) in now {
            let Some(state) = self.pinned.get(input) else { continue };
            if before.get(input) == Some(snapshot) {
                all += 2 * state.rows();
                continue;
            }
            let Some(old) = before.get(input).copied().flatten() else { return Ok(Some("an input had no rows yet")) };
            let Some(old) = self.tables.at(state, old).await? else {
                return Ok(Some("the snapshot it was built from has expired"));
            };
            let (gone, come) = differing(&old, state);
            let rows = |files: &[ManifestEntryRef]| files.iter().map(|file| file.record_count()).sum::<u64>();
            differ += rows(&gone) + rows(&come);
            all += old.rows() + state.rows();
        }
        let most = differ as f64 > all as f64 * self.share_max;
        Ok(most.then_some("most of the inputs' rows lie in changed files"))
    }

    /// The values of `slice` whose rows changed between `before` and `now`, in the columns that the model `reads`; `kind` is
    /// the type of the model's column. To be asked when it is not [`Self::in_vain`].
    ///
    /// # Errors
    /// When storage fails.
    pub async fn touched(
        &self,
        slice: &Slice,
        kind: &DataType,
        reads: &Reads,
        before: &Inputs,
        now: &Inputs,
    ) -> Result<Touched> {
        let mut values: Vec<ArrayRef> = Vec::new();
        for (input, snapshot) in now {
            if before.get(input) == Some(snapshot) {
                continue;
            }
            let Some(state) = self.pinned.get(input) else { continue };
            let old = match before.get(input).copied().flatten() {
                Some(old) => self.tables.at(state, old).await?,
                None => None,
            };
            let Some(old) = old else { return Ok(Touched::All("there is nothing to compare an input with")) };
            let column = slice.from.get(input).map(String::as_str);
            match self.changed(input, &old, state, column, reads.get(input)).await? {
                None => return Ok(Touched::All("only the number of an input's rows counts")),
                Some(changed) if changed.is_empty() => {}
                Some(_) if column.is_none() => return Ok(Touched::All("an input changed that every part reads")),
                Some(changed) => values.push(cast(&changed, kind)?),
            }
        }
        if values.is_empty() {
            return Ok(Touched::Nothing);
        }
        let arrays: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
        let all = concat(&arrays)?;
        if all.null_count() > 0 {
            return Ok(Touched::All("rows without a value changed"));
        }
        distinct(&all).map(Touched::Values)
    }

    /// Values of `column` in the rows that one of two snapshots has and the other has not; rows alone when there is no
    /// column. `None` when the query reads no column of it.
    async fn changed(
        &self,
        input: &str,
        before: &TableState,
        now: &TableState,
        column: Option<&str>,
        read: Option<&BTreeSet<String>>,
    ) -> Result<Option<ArrayRef>> {
        let schema = now.metadata().current_schema();
        let fields: Vec<_> = schema
            .as_struct()
            .fields()
            .iter()
            .filter(|field| column == Some(&field.name) || read.is_some_and(|read| read.contains(&field.name)))
            .collect();
        let place = column.and_then(|column| fields.iter().position(|field| field.name == column));
        if column.is_some() && place.is_none() {
            let text = format!("materialized: {input} has no column {}", column.unwrap_or_default());
            return Err(LakeError::definite(text));
        }
        if fields.is_empty() {
            // Only how many rows there are counts.
            return Ok(None);
        }
        let (gone, come) = differing(before, now);
        let ids: Vec<i32> = fields.iter().map(|field| field.id).collect();
        let mut difference = Difference { place: place.unwrap_or(0), ..Difference::default() };
        for (state, files, sign) in [(before, &gone, -1), (now, &come, 1)] {
            let mut batches = read_files(state, files, ids.clone(), None)?;
            while let Some(batch) = batches.try_next().await? {
                difference.add(&batch, sign)?;
            }
        }
        difference.values().map(Some)
    }
}

/// Data files of either snapshot that are not, with the same deletes, in the other.
fn differing(before: &TableState, now: &TableState) -> (Vec<ManifestEntryRef>, Vec<ManifestEntryRef>) {
    let known = |state: &TableState| -> HashMap<String, BTreeSet<String>> {
        let deletes = |file: &ManifestEntryRef| {
            state.deletes_of(file).map(|delete| delete.entry.file_path().to_owned()).collect::<BTreeSet<_>>()
        };
        state.files.iter().map(|file| (file.file_path().to_owned(), deletes(file))).collect()
    };
    let (of_before, of_now) = (known(before), known(now));
    let only = |state: &TableState, own: &HashMap<_, _>, other: &HashMap<_, _>| {
        let differs = |file: &&ManifestEntryRef| own.get(file.file_path()) != other.get(file.file_path());
        state.files.iter().filter(differs).cloned().collect::<Vec<_>>()
    };
    (only(before, &of_before, &of_now), only(now, &of_now, &of_before))
}

/// Rows counted against each other.
#[derive(Default)]
struct Difference {
    /// Where the wanted column is.
    place: usize,
    converter: Option<RowConverter>,
    columns: Vec<ArrayRef>,
    rows: ByDigest<(i64, usize, usize)>,
}

impl Difference {
    fn add(&mut self, batch: &RecordBatch, sign: i64) -> Result<()> {
        let converter = match &self.converter {
            Some(converter) => converter,
            None => {
                let fields = batch.columns().iter().map(|column| SortField::new(column.data_type().clone())).collect();
                self.converter.insert(RowConverter::new(fields)?)
            }
        };
        let rows = converter.convert_columns(batch.columns())?;
        for (row, encoded) in rows.iter().enumerate() {
            let counted = self.rows.entry(xxh3_128(encoded.data())).or_insert((0, self.columns.len(), row));
            counted.0 += sign;
        }
        self.columns.push(batch.column(self.place).clone());
        Ok(())
    }

    fn values(&self) -> Result<ArrayRef> {
        let places: Vec<(usize, usize)> =
            self.rows.values().filter(|(count, ..)| *count != 0).map(|(_, batch, row)| (*batch, *row)).collect();
        let arrays: Vec<&dyn Array> = self.columns.iter().map(AsRef::as_ref).collect();
        match arrays.is_empty() {
            true => Ok(arrow::array::new_empty_array(&DataType::Null)),
            false => Ok(interleave(&arrays, &places)?),
        }
    }
}

fn distinct(values: &ArrayRef) -> Result<ArrayRef> {
    let converter = RowConverter::new(vec![SortField::new(values.data_type().clone())])?;
    let rows = converter.convert_columns(std::slice::from_ref(values))?;
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|a, b| rows.row(*a).cmp(&rows.row(*b)));
    order.dedup_by(|a, b| rows.row(*a) == rows.row(*b));
    let order: UInt64Array = order.into_iter().map(|row| row as u64).collect();
    Ok(take(values, &order, None)?)
}

/// Values as sorted keys of a table's column.
fn keys(codec: &KeyCodec, column: &str, values: &ArrayRef) -> Result<Vec<Vec<u8>>> {
    let batch = RecordBatch::try_from_iter([(column, values.clone())])?;
    let rows = codec.rows(&batch)?;
    let mut keys: Vec<Vec<u8>> = rows.iter().map(|row| row.as_ref().to_vec()).collect();
    keys.sort();
    Ok(keys)
}

fn codec(state: &TableState, column: &str) -> Result<KeyCodec> {
    let schema = state.metadata().current_schema();
    KeyCodec::new(schema, &arrow_schema(schema)?, &[column.to_owned()])
}

/// A table with only the rows whose `column` is one of `values`; files that cannot hold any are not opened.
///
/// # Errors
/// When the column is not there.
pub fn restricted(state: &Arc<TableState>, column: &str, values: &ArrayRef) -> Result<Arc<dyn TableProvider>> {
    let codec = codec(state, column)?;
    let keys = keys(&codec, column, values)?;
    let may_hold = |leaf: &Leaf| {
        let from = leaf.lower.as_ref().map_or(0, |lower| keys.partition_point(|key| key < lower));
        keys.get(from).is_some_and(|key| leaf.upper.as_ref().is_none_or(|upper| key <= upper))
    };
    let mut files = Vec::new();
    for file in &state.files {
        if may_hold(&codec.leaf(file.data_file())?) {
            files.push(file.clone());
        }
    }
    let rows = LakeTable::new(Arc::new(state.of_files(files)))?;
    let kind = rows.schema().field_with_name(column)?.data_type().clone();
    let wanted = RecordBatch::try_from_iter([("value", cast(values, &kind)?)])?;
    let wanted = MemTable::try_new(wanted.schema(), vec![vec![wanted]])?;
    let wanted = LogicalPlanBuilder::scan("wanted", provider_as_source(Arc::new(wanted)), None)?.build()?;
    let on = (vec![Column::new(Some("rows"), column)], vec![Column::new(Some("wanted"), "value")]);
    let plan = LogicalPlanBuilder::scan("rows", provider_as_source(Arc::new(rows)), None)?
        .join(wanted, JoinType::LeftSemi, on, None)?
        .build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// Files that go and files that come in their place.
#[derive(Debug, Default)]
pub struct Replaced {
    pub remove: HashSet<String>,
    pub add: Vec<DataFile>,
}

/// Puts `new` in the place of all rows of an incremental table whose `by` is one of `values`. Only files that may hold one
/// are rewritten; rows stay sorted by `by`.
///
/// # Errors
/// When storage fails, or `new` holds rows of other values.
pub async fn replace_rows(
    tables: &Tables,
    state: &TableState,
    by: &str,
    values: &ArrayRef,
    new: &RecordBatch,
    file_rows: usize,
) -> Result<Replaced> {
    let codec = Arc::new(codec(state, by)?);
    let keys = keys(&codec, by, values)?;
    let places = places(&codec, by, &keys, new)?;
    let leaves: Vec<Leaf> = state.files.iter().map(|file| codec.leaf(file.data_file())).collect::<Result<_>>()?;
    let borrowed: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let groups = leaves::plan(&leaves, &borrowed, file_rows as u64);
    let changed: Arc<HashSet<Vec<u8>>> = Arc::new(keys.iter().cloned().collect());
    let schema = arrow_schema(state.metadata().current_schema())?;
    let mut out = Replaced::default();
    let mut parts = Vec::with_capacity(groups.len());
    for group in groups {
        let files: Vec<ManifestEntryRef> = group.leaves.iter().map(|&leaf| state.files[leaf].clone()).collect();
        out.remove.extend(files.iter().map(|file| file.file_path().to_owned()));
        let come: UInt64Array = group.keys.iter().flat_map(|&key| places[key].iter().copied()).collect();
        let (mut old, new) = (read_whole(state, &files)?, new.clone());
        let (codec, changed, schema) = (codec.clone(), changed.clone(), schema.clone());
        let (metadata, io) = (state.table.metadata_ref(), tables.file_io().clone());
        parts.push(async move {
            let mut kept = vec![take_record_batch(&new, &come)?];
            while let Some(batch) = old.try_next().await? {
                let batch = conform(&batch, &schema)?;
                let encoded = codec.rows(&batch)?;
                let stays: BooleanArray = encoded.iter().map(|row| Some(!changed.contains(row.data()))).collect();
                kept.push(filter_record_batch(&batch, &stays)?);
            }
            let sorted = codec.sorted(&concat_batches(&schema, &kept)?)?;
            write_leaves(&metadata, &io, &sorted, file_rows).await
        });
    }
    out.add = side_by_side(parts, cores_and_one()).await?.into_iter().flatten().collect();
    Ok(out)
}

/// Rows of `new` by key.
fn places(codec: &KeyCodec, by: &str, keys: &[Vec<u8>], new: &RecordBatch) -> Result<Vec<Vec<u64>>> {
    let mut places = vec![Vec::new(); keys.len()];
    for (row, encoded) in codec.rows(new)?.iter().enumerate() {
        let found = keys.binary_search_by(|key| key.as_slice().cmp(encoded.data()));
        places[found.map_err(|_| foreign(by))?].push(row as u64);
    }
    Ok(places)
}

/// A query does not keep to what its head says of it.
pub(super) fn foreign(by: &str) -> LakeError {
    LakeError::definite(format!("materialized: rows of one {by} made a row of another: `from` does not hold"))
}

/// Values as partitions of a table that is partitioned by their column alone.
///
/// # Errors
/// When values of this type are no partitions.
pub fn partitions(values: &ArrayRef) -> Result<HashSet<Struct>> {
    let literals: Vec<Literal> = match values.data_type() {
        DataType::Int32 => {
            values.as_primitive::<Int32Type>().values().iter().map(|value| Literal::int(*value)).collect()
        }
        DataType::Int64 => {
            values.as_primitive::<Int64Type>().values().iter().map(|value| Literal::long(*value)).collect()
        }
        DataType::Date32 => {
            values.as_primitive::<Date32Type>().values().iter().map(|value| Literal::date(*value)).collect()
        }
        DataType::Utf8 => values.as_string::<i32>().iter().flatten().map(Literal::string).collect(),
        other => {
            let text = format!("materialized: a partition is a number, a date or text, not {other}");
            return Err(LakeError::definite(text));
        }
    };
    Ok(literals.into_iter().map(|literal| Struct::from_iter([Some(literal)])).collect())
}
