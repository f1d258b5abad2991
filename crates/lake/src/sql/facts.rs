//! What a table knows of itself, as tables: `"orders$snapshots"`, `$history`, `$refs`, `$files`, `$manifests`, `$partitions`.
//!
//! Made of the state a query has pinned anyway; no file is read for it. Columns are named as in Spark and Trino.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{ArrayRef, BooleanArray, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray},
    record_batch::RecordBatch,
};
use datafusion::{catalog::TableProvider, datasource::MemTable};
use iceberg::spec::{
    DataContentType, DataFile, Datum, ManifestContentType, PartitionSpecRef, SnapshotRetention, TableMetadata,
};
use serde_json::{Map, Value};

use crate::{
    error::{LakeError, Result},
    maintenance::expire,
    tables::TableState,
};

/// What can be asked for.
pub const KINDS: [&str; 6] = ["snapshots", "history", "refs", "files", "manifests", "partitions"];

/// The metadata table `kind` of a table.
///
/// # Errors
/// When there is no such kind, or the metadata cannot be read.
pub fn table(state: &TableState, kind: &str) -> Result<Arc<dyn TableProvider>> {
    let batch = match kind {
        "snapshots" => snapshots(state.metadata()),
        "history" => history(state.metadata()),
        "refs" => refs(state.metadata()),
        "files" => files(state),
        "manifests" => manifests(state),
        "partitions" => partitions(state),
        _ => {
            let known = KINDS.map(|kind| format!("${kind}")).join(", ");
            return Err(LakeError::Query(format!(
                "table {} has no ${kind}; there are {known}",
                state.table.identifier()
            )));
        }
    }?;
    Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
}

fn text<T: Into<String>>(values: impl IntoIterator<Item = Option<T>>) -> ArrayRef {
    Arc::new(values.into_iter().map(|value| value.map(Into::into)).collect::<StringArray>())
}

fn long(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<Int64Array>())
}

fn int(values: impl IntoIterator<Item = Option<i32>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<Int32Array>())
}

fn time(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    let micros = values.into_iter().map(|ms| Some(ms.saturating_mul(1000)));
    Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone("+00:00"))
}

fn number(value: u64) -> Option<i64> {
    i64::try_from(value).ok()
}

fn snapshots(metadata: &TableMetadata) -> Result<RecordBatch> {
    let mut all: Vec<_> = metadata.snapshots().collect();
    all.sort_by_key(|snapshot| (snapshot.timestamp_ms(), snapshot.sequence_number()));
    let summary = |properties: &std::collections::HashMap<String, String>| {
        serde_json::to_string(&properties.iter().collect::<BTreeMap<_, _>>()).ok()
    };
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("committed_at", time(all.iter().map(|snapshot| snapshot.timestamp_ms())), false),
        ("snapshot_id", long(all.iter().map(|snapshot| Some(snapshot.snapshot_id()))), false),
        ("parent_id", long(all.iter().map(|snapshot| snapshot.parent_snapshot_id())), true),
        ("operation", text(all.iter().map(|snapshot| Some(snapshot.summary().operation.as_str()))), false),
        ("schema_id", int(all.iter().map(|snapshot| snapshot.schema_id())), true),
        ("manifest_list", text(all.iter().map(|snapshot| Some(snapshot.manifest_list()))), false),
        ("summary", text(all.iter().map(|snapshot| summary(&snapshot.summary().additional_properties))), true),
    ])?)
}

fn history(metadata: &TableMetadata) -> Result<RecordBatch> {
    let mut ancestors = std::collections::HashSet::new();
    let mut next = metadata.current_snapshot();
    while let Some(snapshot) = next {
        ancestors.insert(snapshot.snapshot_id());
        next = snapshot.parent_snapshot_id().and_then(|id| metadata.snapshot_by_id(id));
    }
    let log = metadata.history();
    let parent = |id: i64| metadata.snapshot_by_id(id).and_then(|snapshot| snapshot.parent_snapshot_id());
    let is_ancestor: BooleanArray = log.iter().map(|entry| Some(ancestors.contains(&entry.snapshot_id))).collect();
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("made_current_at", time(log.iter().map(|entry| entry.timestamp_ms)), false),
        ("snapshot_id", long(log.iter().map(|entry| Some(entry.snapshot_id))), false),
        ("parent_id", long(log.iter().map(|entry| parent(entry.snapshot_id))), true),
        ("is_current_ancestor", Arc::new(is_ancestor) as ArrayRef, false),
    ])?)
}

fn refs(metadata: &TableMetadata) -> Result<RecordBatch> {
    let refs = expire::refs(metadata)?;
    let kept = |retention: &SnapshotRetention| match *retention {
        SnapshotRetention::Branch { min_snapshots_to_keep, max_snapshot_age_ms, max_ref_age_ms } => {
            (max_ref_age_ms, min_snapshots_to_keep, max_snapshot_age_ms)
        }
        SnapshotRetention::Tag { max_ref_age_ms } => (max_ref_age_ms, None, None),
    };
    let kind = |branch: bool| Some(if branch { "BRANCH" } else { "TAG" });
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("name", text(refs.keys().map(|name| Some(name.as_str()))), false),
        ("type", text(refs.values().map(|reference| kind(reference.is_branch()))), false),
        ("snapshot_id", long(refs.values().map(|reference| Some(reference.snapshot_id))), false),
        ("max_reference_age_in_ms", long(refs.values().map(|reference| kept(&reference.retention).0)), true),
        ("min_snapshots_to_keep", int(refs.values().map(|reference| kept(&reference.retention).1)), true),
        ("max_snapshot_age_in_ms", long(refs.values().map(|reference| kept(&reference.retention).2)), true),
    ])?)
}

/// `day=2024-05-05` of a file.
fn partition(spec: Option<&PartitionSpecRef>, file: &DataFile, metadata: &TableMetadata) -> String {
    let Some(spec) = spec.filter(|spec| !spec.fields().is_empty()) else { return String::new() };
    spec.partition_to_path(file.partition(), metadata.current_schema().clone())
}

fn bounds(bounds: &std::collections::HashMap<i32, Datum>, metadata: &TableMetadata) -> Option<String> {
    let schema = metadata.current_schema();
    let mut ids: Vec<_> = bounds.keys().copied().collect();
    ids.sort_unstable();
    let shown = ids.iter().filter_map(|id| {
        let name = schema.name_by_field_id(*id)?;
        Some((name.to_owned(), Value::String(bounds.get(id)?.to_human_string())))
    });
    serde_json::to_string(&shown.collect::<Map<_, _>>()).ok()
}

fn files(state: &TableState) -> Result<RecordBatch> {
    let metadata = state.metadata();
    let live: Vec<_> = state
        .manifests
        .iter()
        .flat_map(|(listed, manifest)| {
            let alive = manifest.entries().iter().filter(|entry| entry.is_alive());
            alive.map(|entry| (listed.partition_spec_id, entry.data_file()))
        })
        .collect();
    let of = |get: &dyn Fn(&DataFile) -> Option<i64>| long(live.iter().map(|(_, file)| get(file)));
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("content", int(live.iter().map(|(_, file)| Some(file.content_type() as i32))), false),
        ("file_path", text(live.iter().map(|(_, file)| Some(file.file_path()))), false),
        ("file_format", text(live.iter().map(|(_, file)| Some(file.file_format().to_string().to_uppercase()))), false),
        ("spec_id", int(live.iter().map(|(spec, _)| Some(*spec))), false),
        (
            "partition",
            text(live.iter().map(|(spec, file)| Some(partition(metadata.partition_spec_by_id(*spec), file, metadata)))),
            false,
        ),
        ("record_count", of(&|file| number(file.record_count())), false),
        ("file_size_in_bytes", of(&|file| number(file.file_size_in_bytes())), false),
        ("sort_order_id", int(live.iter().map(|(_, file)| file.sort_order_id())), true),
        ("lower_bounds", text(live.iter().map(|(_, file)| bounds(file.lower_bounds(), metadata))), true),
        ("upper_bounds", text(live.iter().map(|(_, file)| bounds(file.upper_bounds(), metadata))), true),
    ])?)
}

fn manifests(state: &TableState) -> Result<RecordBatch> {
    let all: Vec<_> = state.manifests.iter().map(|(listed, _)| listed).collect();
    let count = |value: Option<u32>| value.and_then(|value| i32::try_from(value).ok());
    let content = |content| i32::from(content == ManifestContentType::Deletes);
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("content", int(all.iter().map(|file| Some(content(file.content)))), false),
        ("path", text(all.iter().map(|file| Some(file.manifest_path.as_str()))), false),
        ("length", long(all.iter().map(|file| Some(file.manifest_length))), false),
        ("partition_spec_id", int(all.iter().map(|file| Some(file.partition_spec_id))), false),
        ("added_snapshot_id", long(all.iter().map(|file| Some(file.added_snapshot_id))), false),
        ("sequence_number", long(all.iter().map(|file| Some(file.sequence_number))), false),
        ("added_files_count", int(all.iter().map(|file| count(file.added_files_count))), true),
        ("existing_files_count", int(all.iter().map(|file| count(file.existing_files_count))), true),
        ("deleted_files_count", int(all.iter().map(|file| count(file.deleted_files_count))), true),
        ("added_rows_count", long(all.iter().map(|file| file.added_rows_count.and_then(number))), true),
        ("existing_rows_count", long(all.iter().map(|file| file.existing_rows_count.and_then(number))), true),
        ("deleted_rows_count", long(all.iter().map(|file| file.deleted_rows_count.and_then(number))), true),
    ])?)
}

#[derive(Default)]
struct Totals {
    records: u64,
    files: i64,
    bytes: u64,
    delete_records: u64,
    delete_files: i64,
}

fn partitions(state: &TableState) -> Result<RecordBatch> {
    let metadata = state.metadata();
    let mut totals: BTreeMap<(String, i32), Totals> = BTreeMap::new();
    for (listed, manifest) in &state.manifests {
        let spec = metadata.partition_spec_by_id(listed.partition_spec_id);
        for entry in manifest.entries().iter().filter(|entry| entry.is_alive()) {
            let key = (partition(spec, entry.data_file(), metadata), listed.partition_spec_id);
            let total = totals.entry(key).or_default();
            if entry.content_type() == DataContentType::Data {
                total.records += entry.record_count();
                total.files += 1;
                total.bytes += entry.file_size_in_bytes();
            } else {
                total.delete_records += entry.record_count();
                total.delete_files += 1;
            }
        }
    }
    let of = |get: &dyn Fn(&Totals) -> Option<i64>| long(totals.values().map(get));
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("partition", text(totals.keys().map(|(partition, _)| Some(partition.as_str()))), false),
        ("spec_id", int(totals.keys().map(|(_, spec)| Some(*spec))), false),
        ("record_count", of(&|total| number(total.records)), false),
        ("file_count", of(&|total| Some(total.files)), false),
        ("total_data_file_size_in_bytes", of(&|total| number(total.bytes)), false),
        ("delete_record_count", of(&|total| number(total.delete_records)), false),
        ("delete_file_count", of(&|total| Some(total.delete_files)), false),
    ])?)
}
