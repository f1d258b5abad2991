//! Commits: append, overwrite by files, row delta, replace of files or partitions, with table properties, schema and
//! partition spec in the same step.
//!
//! The one place that publishes. A [`Change`] says which files go and come and what it was computed from; [`Tables::commit`]
//! has the snapshot written (`snapshot`) and sends requirements and updates to the catalog.
//!
//! Promises: the commit is a compare-and-swap on table identity and current snapshot. On a conflict the table is loaded
//! again; the change is put on top of what came in between only if it says that it may be and `validate` finds nothing
//! against it. Otherwise it is [`LakeError::Conflict`], and the caller loads and plans again. When the answer of the
//! catalog is lost, the table is read back and our snapshot id looked for, until it is known what happened.
//! Format: Iceberg table specification, version 2.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use iceberg::{
    TableIdent, TableRequirement, TableUpdate,
    spec::{
        DataFile, MAIN_BRANCH, Schema, Snapshot, SnapshotReference, SnapshotRetention, Struct, TableMetadata,
        UnboundPartitionSpec,
    },
};
use service::Backoff;

use super::{TableState, Tables, deletes::RowDeletes, validate};
use crate::{
    catalog::{CommitError, Loaded},
    error::{LakeError, Result},
    failpoint,
};

/// How often the outcome of a commit is asked for before the caller is told that the catalog is away.
const OUTCOME_ATTEMPTS_MAX: u32 = 8;
/// How often a change is put on top of commits that were faster.
const REBASES_MAX: usize = 10;

/// What a commit does.
#[derive(Debug, Default)]
pub struct Change {
    /// Paths of live files, data or delete files, that go.
    pub remove: HashSet<String>,
    /// Data files that come, of the default partition spec and the state's (or `evolved`'s) schema.
    pub add: Vec<DataFile>,
    /// Rows of files that stay, by position.
    pub deletes: Vec<RowDeletes>,
    /// Table properties set in the same step.
    pub properties: HashMap<String, String>,
    /// Schema or partition spec become these in the same step; made by [`evolve`].
    pub evolved: Option<Evolved>,
    /// Files only changed their shape: readers of changes may skip this snapshot.
    pub rows_unchanged: bool,
    /// More manifests than this are merged; the default of every commit when not given.
    pub manifests_max: Option<usize>,
    pub basis: Basis,
}

/// What of the table a change was computed from, beside the files it removes or deletes rows of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Basis {
    /// All of it: when anything was committed meanwhile, the change is to be computed again.
    #[default]
    Table,
    /// Nothing else.
    Files,
    /// All rows of these partitions of the default spec.
    Partitions(HashSet<Struct>),
}

/// A change of schema or partition spec, with the metadata as they will be (data files are written by them).
#[derive(Debug)]
pub struct Evolved {
    pub schema: Option<Schema>,
    pub spec: Option<UnboundPartitionSpec>,
    pub metadata: TableMetadata,
}

/// Computes the metadata that `schema` (with field ids) as new current schema leads to.
///
/// # Errors
/// When the schema cannot follow the present one.
pub fn evolve(state: &TableState, schema: Schema) -> Result<Evolved> {
    let builder = state.metadata().clone().into_builder(state.table.metadata_location().map(str::to_owned));
    let built = builder.add_schema(schema.clone())?.set_current_schema(-1)?.build()?;
    Ok(Evolved { schema: Some(schema), spec: None, metadata: built.metadata })
}

/// As [`evolve`], of the partition spec: files that come are of `spec`, those that are there keep theirs.
///
/// # Errors
/// When the spec names columns that are not there.
pub fn repartition(state: &TableState, spec: UnboundPartitionSpec) -> Result<Evolved> {
    let builder = state.metadata().clone().into_builder(state.table.metadata_location().map(str::to_owned));
    let built = builder.add_partition_spec(spec.clone())?.set_default_partition_spec(-1)?.build()?;
    Ok(Evolved { schema: None, spec: Some(spec), metadata: built.metadata })
}

impl Tables {
    /// Publishes a change that was computed from `state`; returns the state after it.
    ///
    /// # Errors
    /// [`LakeError::Conflict`] when the change does not hold on the table as it is now; others when catalog or storage
    /// fail.
    pub async fn commit(&self, state: &TableState, change: Change) -> Result<Arc<TableState>> {
        let ident = state.table.identifier();
        let conflict = || LakeError::Conflict { table: ident.to_string() };
        failpoint::hit(failpoint::FILES_WRITTEN);
        let mut now: Option<Arc<TableState>> = None;
        for _ in 0..REBASES_MAX {
            match self.publish(now.as_deref().unwrap_or(state), &change).await {
                Err(LakeError::Conflict { .. }) if change.basis != Basis::Table => {}
                done => return done,
            }
            let fresh = self.load(ident).await?.ok_or_else(conflict)?;
            if let Err(reason) = validate::rebase(state, &fresh, &change) {
                tracing::debug!(table = %ident, reason, "a commit is to be planned again");
                return Err(conflict());
            }
            now = Some(fresh);
        }
        Err(conflict())
    }

    async fn publish(&self, state: &TableState, change: &Change) -> Result<Arc<TableState>> {
        let ident = state.table.identifier();
        let snapshot = self.write_snapshot(state, change).await?;
        failpoint::hit(failpoint::SNAPSHOT_WRITTEN);
        let snapshot_id = snapshot.snapshot_id();
        let (requirements, updates) = request(state.metadata(), change, snapshot, MAIN_BRANCH);
        let done = |loaded: &Loaded| loaded.metadata.snapshot_by_id(snapshot_id).is_some();
        self.send(ident, requirements, updates, done).await
    }

    /// Sends a commit and finds out what became of it; `done` tells by the table's metadata whether it happened.
    ///
    /// # Errors
    /// [`LakeError::Conflict`] when a requirement does not hold, or the commit did not happen as far as can be told.
    pub async fn send(
        &self,
        ident: &TableIdent,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
        done: impl Fn(&Loaded) -> bool,
    ) -> Result<Arc<TableState>> {
        let sent = self.catalog().commit(ident, requirements, updates);
        match failpoint::under_way(failpoint::COMMIT_SENT, sent).await {
            Ok(loaded) => {
                failpoint::hit(failpoint::COMMIT_ANSWERED);
                self.open(ident, loaded).await
            }
            Err(CommitError::Conflict(reason)) => {
                tracing::debug!(table = %ident, reason, "commit refused");
                Err(LakeError::Conflict { table: ident.to_string() })
            }
            Err(CommitError::Refused(reason)) => Err(LakeError::definite(format!("commit to {ident}: {reason}"))),
            Err(CommitError::Unknown(reason)) => {
                tracing::warn!(table = %ident, reason, "the answer to a commit is missing, looking what became of it");
                let loaded = self.outcome(ident, done, &reason).await?;
                self.open(ident, loaded).await
            }
        }
    }

    /// Finds out whether a commit happened.
    ///
    /// When the table still stands where it stood, the request may be under way: the caller must not assume that it
    /// failed, but may plan again, because a late arrival and the new commit exclude each other by their requirement.
    async fn outcome(&self, ident: &TableIdent, done: impl Fn(&Loaded) -> bool, reason: &str) -> Result<Loaded> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            match self.catalog().load(ident).await {
                Ok(Some(loaded)) if done(&loaded) => return Ok(loaded),
                Ok(_) => return Err(LakeError::Conflict { table: ident.to_string() }),
                Err(_) if backoff.attempt() < OUTCOME_ATTEMPTS_MAX => tokio::time::sleep(backoff.next_delay()).await,
                Err(_) => return Err(LakeError::away("the Iceberg catalog", reason)),
            }
        }
    }
}

/// Requirements and updates of the commit of a snapshot to a branch. On a branch other than `main` what readers see stays
/// as it is: schema, spec and properties too.
pub(super) fn request(
    metadata: &TableMetadata,
    change: &Change,
    snapshot: Snapshot,
    branch: &str,
) -> (Vec<TableRequirement>, Vec<TableUpdate>) {
    let visible = branch == MAIN_BRANCH;
    let mut requirements = vec![
        TableRequirement::UuidMatch { uuid: metadata.uuid() },
        TableRequirement::RefSnapshotIdMatch { r#ref: MAIN_BRANCH.into(), snapshot_id: metadata.current_snapshot_id() },
        // The files were written by them.
        TableRequirement::CurrentSchemaIdMatch { current_schema_id: metadata.current_schema_id() },
        TableRequirement::DefaultSpecIdMatch { default_spec_id: metadata.default_partition_spec_id() },
    ];
    let mut updates = Vec::new();
    if let Some(schema) = change.evolved.as_ref().and_then(|evolved| evolved.schema.clone()) {
        requirements
            .push(TableRequirement::LastAssignedFieldIdMatch { last_assigned_field_id: metadata.last_column_id() });
        updates.push(TableUpdate::AddSchema { schema });
        if visible {
            updates.push(TableUpdate::SetCurrentSchema { schema_id: -1 });
        }
    }
    if let Some(spec) = change.evolved.as_ref().and_then(|evolved| evolved.spec.clone()) {
        requirements.push(TableRequirement::LastAssignedPartitionIdMatch {
            last_assigned_partition_id: metadata.last_partition_id(),
        });
        updates.push(TableUpdate::AddSpec { spec });
        if visible {
            updates.push(TableUpdate::SetDefaultSpec { spec_id: -1 });
        }
    }
    let reference = SnapshotReference::new(snapshot.snapshot_id(), SnapshotRetention::branch(None, None, None));
    updates.push(TableUpdate::AddSnapshot { snapshot });
    updates.push(TableUpdate::SetSnapshotRef { ref_name: branch.to_owned(), reference });
    if visible && !change.properties.is_empty() {
        updates.push(TableUpdate::SetProperties { updates: change.properties.clone() });
    }
    (requirements, updates)
}

/// Milliseconds since the epoch.
pub fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
