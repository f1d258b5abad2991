//! Delete files: which of them apply to which data file, and writing position deletes.
//!
//! The lake's layers are rewritten by files; delete files come from row deltas (the quarantine's) and from other engines.
//! Format: Iceberg table specification, version 2, "Scan Planning" and "Position Delete Files".

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, BooleanArray, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use futures::TryStreamExt;
use iceberg::{
    io::FileIO,
    scan::FileScanTaskDeleteFile,
    spec::{
        DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, ManifestEntryRef, PrimitiveLiteral, Struct,
    },
};
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};

use super::{
    TableState,
    commit::{Basis, Change},
    read::read_raw,
};
use crate::error::{LakeError, Result};

/// Field ids the specification reserves for the columns of position delete files.
const FILE_PATH_ID: i32 = 2_147_483_546;
const POS_ID: i32 = 2_147_483_545;

/// A delete file that is live.
#[derive(Debug, Clone)]
pub struct LiveDelete {
    pub entry: ManifestEntryRef,
    pub spec_id: i32,
}

/// What decides whether a delete applies to a data file.
#[derive(Debug, Clone, Copy)]
pub struct Placed<'a> {
    pub path: &'a str,
    pub spec_id: i32,
    pub partition: &'a Struct,
    /// Data sequence number.
    pub sequence: i64,
}

impl LiveDelete {
    /// Whether a scan must apply this file to the rows of `data`.
    #[must_use]
    pub fn applies(&self, data: Placed<'_>) -> bool {
        let file = self.entry.data_file();
        let sequence = self.entry.sequence_number().unwrap_or(i64::MAX);
        let same_place = self.spec_id == data.spec_id && file.partition() == data.partition;
        match file.content_type() {
            DataContentType::Data => false,
            DataContentType::EqualityDeletes => {
                // Those of an unpartitioned spec are global.
                sequence > data.sequence && (same_place || file.partition().fields().is_empty())
            }
            DataContentType::PositionDeletes => sequence >= data.sequence && same_place && may_name(file, data.path),
        }
    }

    /// As a scan's reader wants it.
    #[must_use]
    pub fn task(&self) -> FileScanTaskDeleteFile {
        FileScanTaskDeleteFile::builder()
            .with_file_path(self.entry.file_path().to_owned())
            .with_file_size_in_bytes(self.entry.file_size_in_bytes())
            .with_file_type(self.entry.content_type())
            .with_partition_spec_id(self.spec_id)
            .with_equality_ids(self.entry.data_file().equality_ids())
            .build()
    }
}

/// Whether a position delete file may hold rows of a data file, by what its entry says.
fn may_name(file: &DataFile, path: &str) -> bool {
    if let Some(only) = file.referenced_data_file() {
        return only == path;
    }
    let bound = |bounds: &HashMap<i32, Datum>| match bounds.get(&FILE_PATH_ID).map(Datum::literal) {
        Some(PrimitiveLiteral::String(text)) => Some(text.clone()),
        _ => None,
    };
    bound(file.lower_bounds()).is_none_or(|lower| lower.as_str() <= path)
        && bound(file.upper_bounds()).is_none_or(|upper| path <= upper.as_str())
}

/// Position deletes of one data file, to be committed.
#[derive(Debug, Clone)]
pub struct RowDeletes {
    pub file: DataFile,
    pub spec_id: i32,
    /// The data file whose rows go.
    pub of: String,
}

/// A change that deletes the rows for which `gone` says so, by position deletes: no data file is rewritten. It holds
/// whatever other writers append meanwhile; `None` when there is no such row.
///
/// # Errors
/// When storage fails.
pub async fn delete_rows(
    state: &TableState,
    io: &FileIO,
    gone: impl Fn(&RecordBatch) -> Result<BooleanArray>,
) -> Result<Option<Change>> {
    let mut deletes = Vec::new();
    for file in &state.files {
        let mut positions = Vec::new();
        let mut first = 0;
        let mut batches = read_raw(state, file)?;
        while let Some(batch) = batches.try_next().await? {
            let mask = gone(&batch)?;
            let hits = (0..mask.len()).filter(|&row| mask.is_valid(row) && mask.value(row));
            positions.extend(hits.map(|row| first + row as i64));
            first += batch.num_rows() as i64;
        }
        if !positions.is_empty() {
            deletes.push(write(state, io, file, positions).await?);
        }
    }
    let change = Change { deletes, basis: Basis::Files, ..Change::default() };
    Ok((!change.deletes.is_empty()).then_some(change))
}

async fn write(state: &TableState, io: &FileIO, of: &ManifestEntryRef, positions: Vec<i64>) -> Result<RowDeletes> {
    let rows = positions.len();
    let bytes = parquet_of(of.file_path(), positions)?;
    let (size, spec_id) = (bytes.len() as u64, state.spec_of(of.file_path()));
    let path = format!("{}/data/{}-deletes.parquet", state.metadata().location(), uuid::Uuid::now_v7());
    io.new_output(&path)?.write(bytes.into()).await?;
    let named = || HashMap::from([(FILE_PATH_ID, Datum::string(of.file_path()))]);
    let file = DataFileBuilder::default()
        .content(DataContentType::PositionDeletes)
        .file_path(path)
        .file_format(DataFileFormat::Parquet)
        .partition(of.data_file().partition().clone())
        .partition_spec_id(spec_id)
        .record_count(rows as u64)
        .file_size_in_bytes(size)
        .lower_bounds(named())
        .upper_bounds(named())
        .referenced_data_file(Some(of.file_path().to_owned()))
        .build()
        .map_err(|error| LakeError::definite(format!("describe a delete file: {error}")))?;
    Ok(RowDeletes { file, spec_id, of: of.file_path().to_owned() })
}

fn parquet_of(path: &str, positions: Vec<i64>) -> Result<Vec<u8>> {
    let field = |name: &str, kind: DataType, id: i32| {
        Field::new(name, kind, false)
            .with_metadata(HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]))
    };
    let schema = Arc::new(Schema::new(vec![
        field("file_path", DataType::Utf8, FILE_PATH_ID),
        field("pos", DataType::Int64, POS_ID),
    ]));
    let paths = StringArray::from_iter_values(std::iter::repeat_n(path, positions.len()));
    let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(paths), Arc::new(Int64Array::from(positions))])?;
    let mut bytes = Vec::new();
    let failed = |error: parquet::errors::ParquetError| LakeError::definite(format!("write a delete file: {error}"));
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, None).map_err(failed)?;
    writer.write(&rows).map_err(failed)?;
    writer.close().map_err(failed)?;
    Ok(bytes)
}
