//! Reads data files of a table at a known state, without reading manifests again.
//!
//! What a file needs to be read, [`ReadFile`], can be sent to another process; it holds no means of reaching the file.

use arrow::record_batch::RecordBatch;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use iceberg::{
    Runtime,
    arrow::ArrowReaderBuilder,
    expr::{Bind, BoundPredicate, Predicate},
    io::FileIO,
    scan::{FileScanTask, FileScanTaskDeleteFile},
    spec::{DataFileFormat, ManifestEntryRef, SchemaRef},
};
use serde::{Deserialize, Serialize};

use super::TableState;
use crate::error::{LakeError, Result};

/// Rows per batch.
const BATCH_ROWS: usize = 8192;
/// Files read at once by one reader.
const FILES_AT_ONCE: usize = 2;
/// Bytes asked for at the end of a file, to have its footer in one request. Most files are smaller than the half megabyte that
/// is asked for by default: each would come whole before what is wanted of it came once more.
const FOOTER_BYTES: usize = 16 << 10;

/// The rows of `files` as batches of the columns with ids `field_ids`, in that order. Files come in any order.
///
/// Delete files and `predicate` are applied exactly. Columns a file lacks (it is older than they are) come as null.
///
/// # Errors
/// When a file cannot be read.
pub fn read_files(
    state: &TableState,
    files: &[ManifestEntryRef],
    field_ids: Vec<i32>,
    predicate: Option<Predicate>,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let schema = state.metadata().current_schema().clone();
    let bound = predicate.map(|predicate| bind(schema.clone(), predicate)).transpose()?;
    let tasks: Vec<_> =
        files.iter().map(|file| task(state, file, schema.clone(), field_ids.clone(), bound.clone())).collect();
    read_tasks(state, tasks)
}

/// The rows of one data file as they lie in it, deleted or not, so that a row's place is its position.
///
/// # Errors
/// As [`read_files`].
pub fn read_raw(state: &TableState, file: &ManifestEntryRef) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let schema = state.metadata().current_schema().clone();
    let mut task = task(state, file, schema, all_ids(state), None)?;
    task.deletes = Vec::new();
    read_tasks(state, vec![Ok(task)])
}

/// Reads columns of files that need not be of a table at hand, by the ids the columns have in `schema`.
///
/// # Errors
/// As [`read_files`].
pub fn read_sent(
    io: &FileIO,
    schema: &SchemaRef,
    files: &[ReadFile],
    field_ids: &[i32],
    predicate: Option<Predicate>,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let bound = predicate.map(|predicate| bind(schema.clone(), predicate)).transpose()?;
    let tasks = files.iter().map(|file| file.task(schema.clone(), field_ids.to_vec(), bound.clone())).collect();
    // That of the one who polls: an executor has one for its tasks beside its own.
    run(ArrowReaderBuilder::new(io.clone(), Runtime::try_current()?), tasks)
}

fn read_tasks(
    state: &TableState,
    tasks: Vec<Result<FileScanTask, iceberg::Error>>,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    run(state.table.reader_builder(), tasks)
}

fn run(
    reader: ArrowReaderBuilder,
    tasks: Vec<Result<FileScanTask, iceberg::Error>>,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let reader = reader.with_batch_size(BATCH_ROWS).with_data_file_concurrency_limit(FILES_AT_ONCE);
    let reader = reader.with_metadata_size_hint(FOOTER_BYTES);
    let rows = reader.with_row_group_filtering_enabled(true).build().read(stream::iter(tasks).boxed())?;
    Ok(rows.stream().map_err(LakeError::from).boxed())
}

/// As [`read_files`], all rows of all columns of the current schema.
///
/// # Errors
/// As [`read_files`].
pub fn read_whole(state: &TableState, files: &[ManifestEntryRef]) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    read_files(state, files, all_ids(state), None)
}

fn all_ids(state: &TableState) -> Vec<i32> {
    state.metadata().current_schema().as_struct().fields().iter().map(|field| field.id).collect()
}

/// As [`read_files`], of all columns of the current schema, collected.
///
/// # Errors
/// As [`read_files`].
pub async fn collect_files(
    state: &TableState,
    files: &[ManifestEntryRef],
    predicate: Option<Predicate>,
) -> Result<Vec<RecordBatch>> {
    read_files(state, files, all_ids(state), predicate)?.try_collect().await
}

fn bind(schema: SchemaRef, predicate: Predicate) -> Result<BoundPredicate> {
    Ok(predicate.rewrite_not().bind(schema, true)?)
}

fn task(
    state: &TableState,
    file: &ManifestEntryRef,
    schema: SchemaRef,
    field_ids: Vec<i32>,
    predicate: Option<BoundPredicate>,
) -> Result<FileScanTask, iceberg::Error> {
    ReadFile::of(state, file).task(schema, field_ids, predicate)
}

/// A data file with what was deleted of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadFile {
    path: String,
    format: DataFileFormat,
    pub bytes: u64,
    /// Rows in the file, deleted or not.
    pub rows: u64,
    pub deletes: Vec<FileScanTaskDeleteFile>,
    /// Some of the deletes are of a kind that cannot be applied.
    has_vectors: bool,
}

impl ReadFile {
    /// A live file of a table.
    #[must_use]
    pub fn of(state: &TableState, file: &ManifestEntryRef) -> Self {
        let deletes: Vec<_> = state.deletes_of(file).collect();
        Self {
            path: file.file_path().to_owned(),
            format: file.file_format(),
            bytes: file.file_size_in_bytes(),
            rows: file.record_count(),
            has_vectors: deletes.iter().any(|delete| delete.entry.file_format() == DataFileFormat::Puffin),
            deletes: deletes.into_iter().map(|delete| delete.task()).collect(),
        }
    }

    fn task(
        &self,
        schema: SchemaRef,
        field_ids: Vec<i32>,
        predicate: Option<BoundPredicate>,
    ) -> Result<FileScanTask, iceberg::Error> {
        if self.has_vectors {
            let text = "deletion vectors of another engine cannot be read: rewrite the table's data files there first";
            return Err(iceberg::Error::new(iceberg::ErrorKind::FeatureUnsupported, text));
        }
        Ok(FileScanTask::builder()
            .with_file_size_in_bytes(self.bytes)
            .with_start(0)
            .with_length(self.bytes)
            .with_record_count(Some(self.rows))
            .with_data_file_path(self.path.clone())
            .with_data_file_format(self.format)
            .with_schema(schema)
            .with_project_field_ids(field_ids)
            .with_predicate(predicate)
            .with_deletes(self.deletes.clone())
            .with_case_sensitive(true)
            .build())
    }
}
