//! Reads data files of a table at a known state, without reading manifests again.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use iceberg::{
    expr::{Bind, BoundPredicate, Predicate},
    scan::FileScanTask,
    spec::{DataFileFormat, ManifestEntryRef, SchemaRef},
};

use super::TableState;
use crate::error::{LakeError, Result};

/// Rows per batch.
const BATCH_ROWS: usize = 8192;
/// Files read at once by one reader.
const FILES_AT_ONCE: usize = 2;

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
    let ids = schema.as_struct().fields().iter().map(|field| field.id).collect();
    let mut task = task(state, file, schema, ids, None)?;
    task.deletes = Vec::new();
    read_tasks(state, vec![Ok(task)])
}

fn read_tasks(
    state: &TableState,
    tasks: Vec<Result<FileScanTask, iceberg::Error>>,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let reader =
        state.table.reader_builder().with_batch_size(BATCH_ROWS).with_data_file_concurrency_limit(FILES_AT_ONCE);
    let rows = reader.with_row_group_filtering_enabled(true).build().read(stream::iter(tasks).boxed())?;
    Ok(rows.stream().map_err(LakeError::from).boxed())
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
    let ids = state.metadata().current_schema().as_struct().fields().iter().map(|field| field.id).collect();
    read_files(state, files, ids, predicate)?.try_collect().await
}

fn bind(schema: SchemaRef, predicate: Predicate) -> Result<BoundPredicate> {
    Ok(predicate.rewrite_not().bind(schema, true)?)
}

fn task(
    state: &TableState,
    file: &ManifestEntryRef,
    schema: Arc<iceberg::spec::Schema>,
    field_ids: Vec<i32>,
    predicate: Option<BoundPredicate>,
) -> Result<FileScanTask, iceberg::Error> {
    let deletes: Vec<_> = state.deletes_of(file).collect();
    if deletes.iter().any(|delete| delete.entry.file_format() == DataFileFormat::Puffin) {
        let text = "deletion vectors of another engine cannot be read: rewrite the table's data files there first";
        return Err(iceberg::Error::new(iceberg::ErrorKind::FeatureUnsupported, text));
    }
    Ok(FileScanTask::builder()
        .with_file_size_in_bytes(file.file_size_in_bytes())
        .with_start(0)
        .with_length(file.file_size_in_bytes())
        .with_record_count(Some(file.record_count()))
        .with_data_file_path(file.file_path().to_owned())
        .with_data_file_format(file.file_format())
        .with_schema(schema)
        .with_project_field_ids(field_ids)
        .with_predicate(predicate)
        .with_deletes(deletes.into_iter().map(|delete| delete.task()).collect())
        .with_case_sensitive(true)
        .build())
}
