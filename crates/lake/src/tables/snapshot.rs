//! Writes the files of a snapshot: manifests, manifest list, and the summary with its running totals.
//!
//! Nothing points to these files until the catalog takes the snapshot; what a lost commit leaves is an orphan.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU32, Ordering},
};

use iceberg::spec::{
    ManifestContentType, ManifestFile, ManifestListWriter, ManifestWriter, ManifestWriterBuilder, Operation,
    PartitionSpec, PartitionSpecRef, Snapshot, SnapshotSummaryCollector, Summary, TableMetadata,
};

use super::{
    TableState, Tables,
    commit::{Change, now_ms},
    manifests,
};
use crate::{
    error::{LakeError, Result},
    offsets::{property, recorded},
};

impl Tables {
    /// Writes the snapshot that `change` makes of `state`.
    ///
    /// # Errors
    /// [`LakeError::Conflict`] when a file to be removed is not there.
    pub(super) async fn write_snapshot(&self, state: &TableState, change: &Change) -> Result<Snapshot> {
        let metadata = change.evolved.as_ref().map_or(state.metadata(), |evolved| &evolved.metadata);
        let writer = SnapshotWriter::new(self, state, metadata);
        let mut summary = SnapshotSummaryCollector::default();
        let mut listed = writer.carry_over(change, &mut summary).await?;
        listed.extend(writer.added(change, &mut summary).await?);
        let path = writer.write_list(listed).await?;
        let mut additional_properties = with_totals(state.metadata(), summary.build());
        additional_properties.extend(of_rows(state.metadata(), &change.properties));
        Ok(Snapshot::builder()
            .with_snapshot_id(writer.snapshot_id)
            .with_parent_snapshot_id(state.snapshot_id())
            .with_sequence_number(state.metadata().next_sequence_number())
            .with_timestamp_ms(now_ms().max(state.metadata().last_updated_ms()))
            .with_manifest_list(path)
            .with_schema_id(metadata.current_schema_id())
            .with_summary(Summary { operation: operation(change), additional_properties })
            .build())
    }
}

/// The snapshot's kind, by which other engines know what to expect of it.
fn operation(change: &Change) -> Operation {
    let (adds, takes) = (!change.add.is_empty(), !change.remove.is_empty() || !change.deletes.is_empty());
    match (change.rows_unchanged, adds, takes) {
        (true, _, _) => Operation::Replace,
        (false, _, false) => Operation::Append,
        (false, true, true) => Operation::Overwrite,
        (false, false, true) => Operation::Delete,
    }
}

/// What describes the rows: what the change says, else what the snapshot before says.
fn of_rows(metadata: &TableMetadata, properties: &HashMap<String, String>) -> HashMap<String, String> {
    let text = |name: &str| properties.get(name).cloned().or_else(|| recorded(metadata, name).map(str::to_owned));
    property::OF_SNAPSHOT.iter().filter_map(|name| Some(((*name).to_owned(), text(name)?))).collect()
}

/// Writes the files of one snapshot.
struct SnapshotWriter<'a> {
    tables: &'a Tables,
    state: &'a TableState,
    metadata: &'a TableMetadata,
    uid: uuid::Uuid,
    snapshot_id: i64,
    manifests_written: AtomicU32,
}

impl<'a> SnapshotWriter<'a> {
    fn new(tables: &'a Tables, state: &'a TableState, metadata: &'a TableMetadata) -> Self {
        let uid = uuid::Uuid::now_v7();
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        let snapshot_id = ((high ^ low) & (i64::MAX as u64)) as i64;
        Self { tables, state, metadata, uid, snapshot_id, manifests_written: AtomicU32::new(0) }
    }

    fn manifest(&self, spec: &PartitionSpec, content: ManifestContentType) -> Result<ManifestWriter> {
        let number = self.manifests_written.fetch_add(1, Ordering::Relaxed);
        let path = format!("{}/metadata/{}-m{number}.avro", self.metadata.location(), self.uid);
        let output = self.tables.file_io().new_output(path)?;
        let schema = self.metadata.current_schema().clone();
        let builder = ManifestWriterBuilder::new(output, Some(self.snapshot_id), schema, spec.clone());
        Ok(match content {
            ManifestContentType::Data => builder.build_v2_data(),
            ManifestContentType::Deletes => builder.build_v2_deletes(),
        })
    }

    /// The manifests of the parent snapshot, without the removed files.
    async fn carry_over(&self, change: &Change, summary: &mut SnapshotSummaryCollector) -> Result<Vec<ManifestFile>> {
        let parents = &self.state.manifests;
        let listed: Vec<_> = parents
            .iter()
            .map(|(file, manifest)| manifests::Listed {
                spec_id: file.partition_spec_id,
                data: file.content == ManifestContentType::Data,
                live: manifest
                    .entries()
                    .iter()
                    .filter(|entry| entry.is_alive())
                    .map(|entry| entry.file_path())
                    .collect(),
            })
            .collect();
        let plan = manifests::plan(&listed, &change.remove, change.manifests_max.unwrap_or(manifests::MANIFESTS_MAX));
        if plan.removed_found != change.remove.len() {
            return Err(LakeError::Conflict { table: self.state.table.identifier().to_string() });
        }
        let mut out: Vec<ManifestFile> = plan.keep.iter().map(|&index| parents[index].0.clone()).collect();
        for group in &plan.rewrite {
            let Some(first) = group.first().map(|&index| &parents[index].0) else { continue };
            let spec = self.spec(first.partition_spec_id)?;
            let mut writer = self.manifest(spec, first.content)?;
            for entry in group.iter().flat_map(|&index| parents[index].1.entries()).filter(|entry| entry.is_alive()) {
                let missing = || LakeError::definite("a manifest entry lacks its sequence number");
                let sequence = entry.sequence_number().ok_or_else(missing)?;
                if change.remove.contains(entry.file_path()) {
                    summary.remove_file(entry.data_file(), self.metadata.current_schema().clone(), spec.clone());
                    writer.add_delete_file(entry.data_file().clone(), sequence, entry.file_sequence_number)?;
                } else {
                    let snapshot = entry.snapshot_id().ok_or_else(missing)?;
                    writer.add_existing_file(
                        entry.data_file().clone(),
                        snapshot,
                        sequence,
                        entry.file_sequence_number,
                    )?;
                }
            }
            out.push(writer.write_manifest_file().await?);
        }
        Ok(out)
    }

    /// Manifests of what the change brings.
    async fn added(&self, change: &Change, summary: &mut SnapshotSummaryCollector) -> Result<Vec<ManifestFile>> {
        let (schema, spec) = (self.metadata.current_schema(), self.metadata.default_partition_spec());
        let mut out = Vec::new();
        if !change.add.is_empty() {
            let mut manifest = self.manifest(spec, ManifestContentType::Data)?;
            for file in &change.add {
                summary.add_file(file, schema.clone(), spec.clone());
                manifest.add_file(file.clone(), -1)?;
            }
            out.push(manifest.write_manifest_file().await?);
        }
        for group in change.deletes.chunk_by(|a, b| a.spec_id == b.spec_id) {
            let spec = self.spec(group[0].spec_id)?;
            let mut manifest = self.manifest(spec, ManifestContentType::Deletes)?;
            for deletes in group {
                summary.add_file(&deletes.file, schema.clone(), spec.clone());
                manifest.add_file(deletes.file.clone(), -1)?;
            }
            out.push(manifest.write_manifest_file().await?);
        }
        Ok(out)
    }

    fn spec(&self, id: i32) -> Result<&PartitionSpecRef> {
        let spec = self.metadata.partition_spec_by_id(id);
        spec.ok_or_else(|| LakeError::definite("a manifest names a partition spec that is not there"))
    }

    async fn write_list(&self, manifests: Vec<ManifestFile>) -> Result<String> {
        let path = format!("{}/metadata/snap-{}-0-{}.avro", self.metadata.location(), self.snapshot_id, self.uid);
        let output = self.tables.file_io().new_output(&path)?.writer().await?;
        let (parent, sequence) = (self.state.snapshot_id(), self.state.metadata().next_sequence_number());
        let mut list = ManifestListWriter::v2(output, self.snapshot_id, parent, sequence);
        list.add_manifests(manifests.into_iter())?;
        list.close().await?;
        Ok(path)
    }
}

/// The running totals of a snapshot summary; iceberg-rust computes them for its own appends only.
fn with_totals(metadata: &TableMetadata, mut summary: HashMap<String, String>) -> HashMap<String, String> {
    let before = metadata.current_snapshot().map(|snapshot| &snapshot.summary().additional_properties);
    let number = |map: Option<&HashMap<String, String>>, key: &str| {
        map.and_then(|map| map.get(key)).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0)
    };
    for (total, added, removed) in [
        ("total-data-files", "added-data-files", "deleted-data-files"),
        ("total-records", "added-records", "deleted-records"),
        ("total-files-size", "added-files-size", "removed-files-size"),
        ("total-delete-files", "added-delete-files", "removed-delete-files"),
        ("total-position-deletes", "added-position-deletes", "removed-position-deletes"),
        ("total-equality-deletes", "added-equality-deletes", "removed-equality-deletes"),
    ] {
        let value = number(before, total) + number(Some(&summary), added) - number(Some(&summary), removed);
        summary.insert(total.to_owned(), value.to_string());
    }
    summary
}
