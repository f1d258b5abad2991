//! Commits: append, overwrite by files, replace, with table properties and schema in the same step.
//!
//! The one place that makes snapshots. A [`Change`] says which files go and come; [`Tables::commit`] writes the manifests
//! on top of the state the change was computed from and sends requirements and updates to the catalog.
//!
//! Promises: the commit is a compare-and-swap on table identity and current snapshot: it is never rebased onto a state it
//! was not computed from ([`LakeError::Conflict`] instead, and the caller loads and plans again). When the answer of the
//! catalog is lost, the table is read back and our snapshot id looked for, until it is known what happened.
//! Format: Iceberg table specification, version 2.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use iceberg::{
    TableRequirement, TableUpdate,
    spec::{
        DataFile, MAIN_BRANCH, ManifestContentType, ManifestFile, ManifestListWriter, ManifestWriter,
        ManifestWriterBuilder, Operation, PartitionSpec, Schema, Snapshot, SnapshotReference, SnapshotRetention,
        SnapshotSummaryCollector, Summary, TableMetadata,
    },
};
use service::Backoff;

use super::{TableState, Tables, manifests};
use crate::{
    catalog::{CommitError, Loaded},
    error::{LakeError, Result},
};

/// How often the outcome of a commit is asked for before the caller is told that the catalog is away.
const OUTCOME_ATTEMPTS_MAX: u32 = 8;

/// What a commit does.
#[derive(Debug, Default)]
pub struct Change {
    /// Paths of live data files that go.
    pub remove: HashSet<String>,
    /// Data files that come, of the default partition spec and the state's (or `evolved`'s) schema.
    pub add: Vec<DataFile>,
    /// Table properties set in the same step.
    pub properties: HashMap<String, String>,
    /// The schema becomes this one in the same step; made by [`evolve`].
    pub evolved: Option<Evolved>,
    /// Files only changed their shape: readers of changes may skip this snapshot.
    pub rows_unchanged: bool,
}

/// A schema change, with the metadata as it will be (data files are written by it).
#[derive(Debug)]
pub struct Evolved {
    pub schema: Schema,
    pub metadata: TableMetadata,
}

/// Computes the metadata that `schema` (with field ids) as new current schema leads to.
///
/// # Errors
/// When the schema cannot follow the present one.
pub fn evolve(state: &TableState, schema: Schema) -> Result<Evolved> {
    let builder = state.metadata().clone().into_builder(state.table.metadata_location().map(str::to_owned));
    let built = builder.add_schema(schema.clone())?.set_current_schema(-1)?.build()?;
    Ok(Evolved { schema, metadata: built.metadata })
}

impl Tables {
    /// Publishes a change that was computed from `state`; returns the state after it.
    ///
    /// # Errors
    /// [`LakeError::Conflict`] when the table is no longer at `state`; others when catalog or storage fail.
    pub async fn commit(&self, state: &TableState, change: Change) -> Result<Arc<TableState>> {
        let ident = state.table.identifier();
        if state.has_delete_files {
            return Err(LakeError::definite(format!(
                "table {ident} has delete files of another engine; rewrite its data files there first"
            )));
        }
        let snapshot = self.write_snapshot(state, &change).await?;
        let snapshot_id = snapshot.snapshot_id();
        let (requirements, updates) = request(state, change, snapshot);
        match self.catalog().commit(ident, requirements, updates).await {
            Ok(loaded) => self.open(ident, loaded).await,
            Err(CommitError::Conflict(reason)) => {
                tracing::debug!(table = %ident, reason, "commit refused");
                Err(LakeError::Conflict { table: ident.to_string() })
            }
            Err(CommitError::Refused(reason)) => Err(LakeError::definite(format!("commit to {ident}: {reason}"))),
            Err(CommitError::Unknown(reason)) => {
                tracing::warn!(table = %ident, reason, "the answer to a commit is missing, looking what became of it");
                let loaded = self.outcome(state, snapshot_id, &reason).await?;
                self.open(ident, loaded).await
            }
        }
    }

    /// Finds out whether the snapshot was committed.
    ///
    /// When the table still stands where it stood, the request may be under way: the caller must not assume that it
    /// failed, but may plan again, because a late arrival and the new commit exclude each other by their requirement.
    async fn outcome(&self, state: &TableState, snapshot_id: i64, reason: &str) -> Result<Loaded> {
        let ident = state.table.identifier();
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            match self.catalog().load(ident).await {
                Ok(Some(loaded)) if loaded.metadata.snapshot_by_id(snapshot_id).is_some() => return Ok(loaded),
                Ok(_) => return Err(LakeError::Conflict { table: ident.to_string() }),
                Err(_) if backoff.attempt() < OUTCOME_ATTEMPTS_MAX => tokio::time::sleep(backoff.next_delay()).await,
                Err(_) => return Err(LakeError::away("the Iceberg catalog", reason)),
            }
        }
    }

    /// Writes manifests and manifest list; nothing points to them until the catalog takes the snapshot.
    async fn write_snapshot(&self, state: &TableState, change: &Change) -> Result<Snapshot> {
        let metadata = change.evolved.as_ref().map_or(state.metadata(), |evolved| &evolved.metadata);
        let writer = SnapshotWriter::new(self, state, metadata);
        let mut summary = SnapshotSummaryCollector::default();
        let mut listed = writer.carry_over(change, &mut summary).await?;
        if !change.add.is_empty() {
            let mut manifest = writer.manifest(metadata.default_partition_spec(), ManifestContentType::Data)?;
            for file in &change.add {
                summary.add_file(file, metadata.current_schema().clone(), metadata.default_partition_spec().clone());
                manifest.add_file(file.clone(), -1)?;
            }
            listed.push(manifest.write_manifest_file().await?);
        }
        let path = writer.write_list(listed).await?;
        let operation = match (change.rows_unchanged, change.remove.is_empty()) {
            (true, _) => Operation::Replace,
            (false, true) => Operation::Append,
            (false, false) => Operation::Overwrite,
        };
        let additional_properties = with_totals(state.metadata(), summary.build());
        Ok(Snapshot::builder()
            .with_snapshot_id(writer.snapshot_id)
            .with_parent_snapshot_id(state.snapshot_id())
            .with_sequence_number(state.metadata().next_sequence_number())
            .with_timestamp_ms(now_ms().max(state.metadata().last_updated_ms()))
            .with_manifest_list(path)
            .with_schema_id(metadata.current_schema_id())
            .with_summary(Summary { operation, additional_properties })
            .build())
    }
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
        let plan = manifests::plan(&listed, &change.remove);
        if plan.removed_found != change.remove.len() {
            return Err(LakeError::Conflict { table: self.state.table.identifier().to_string() });
        }
        let mut out: Vec<ManifestFile> = plan.keep.iter().map(|&index| parents[index].0.clone()).collect();
        for group in &plan.rewrite {
            let Some(first) = group.first().map(|&index| &parents[index].0) else { continue };
            let spec = self.metadata.partition_spec_by_id(first.partition_spec_id);
            let spec =
                spec.ok_or_else(|| LakeError::definite("a manifest names a partition spec that is not there"))?;
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

/// Requirements and updates of the commit.
fn request(state: &TableState, change: Change, snapshot: Snapshot) -> (Vec<TableRequirement>, Vec<TableUpdate>) {
    let metadata = state.metadata();
    let mut requirements = vec![
        TableRequirement::UuidMatch { uuid: metadata.uuid() },
        TableRequirement::RefSnapshotIdMatch { r#ref: MAIN_BRANCH.into(), snapshot_id: metadata.current_snapshot_id() },
    ];
    let mut updates = Vec::new();
    if let Some(evolved) = change.evolved {
        requirements.push(TableRequirement::CurrentSchemaIdMatch { current_schema_id: metadata.current_schema_id() });
        requirements
            .push(TableRequirement::LastAssignedFieldIdMatch { last_assigned_field_id: metadata.last_column_id() });
        updates.push(TableUpdate::AddSchema { schema: evolved.schema });
        updates.push(TableUpdate::SetCurrentSchema { schema_id: -1 });
    }
    let reference = SnapshotReference::new(snapshot.snapshot_id(), SnapshotRetention::branch(None, None, None));
    updates.push(TableUpdate::AddSnapshot { snapshot });
    updates.push(TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.into(), reference });
    if !change.properties.is_empty() {
        updates.push(TableUpdate::SetProperties { updates: change.properties });
    }
    (requirements, updates)
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

/// Milliseconds since the epoch.
pub fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
