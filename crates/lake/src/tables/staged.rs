//! Write, audit, publish: a snapshot whose files are all written and that nothing names yet, to be read before anybody else
//! can see it.
//!
//! [`Tables::stage`] writes it, [`Tables::publish_staged`] makes it the table by the same compare-and-swap as any commit,
//! [`Tables::reject`] puts it on the branch [`AUDIT_BRANCH`] instead, where it can be looked at. What is neither published nor
//! rejected (a kill in between) is orphaned files.

use std::sync::Arc;

use iceberg::{
    TableUpdate,
    spec::{MAIN_BRANCH, Snapshot},
    table::Table,
};

use super::{
    TableState, Tables,
    commit::{Change, request},
};
use crate::{
    error::{LakeError, Result},
    failpoint,
};

/// Where a snapshot is kept that failed its tests.
pub const AUDIT_BRANCH: &str = "audit";

/// A snapshot that is written and not published.
pub struct Staged {
    change: Change,
    snapshot: Snapshot,
    /// The table as it will be.
    pub state: TableState,
}

impl Staged {
    /// Id of the snapshot.
    #[must_use]
    pub fn snapshot_id(&self) -> i64 {
        self.snapshot.snapshot_id()
    }
}

impl Tables {
    /// Writes the snapshot that `change` makes of `state`, without telling anybody.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn stage(&self, state: &TableState, change: Change) -> Result<Staged> {
        failpoint::hit(failpoint::FILES_WRITTEN);
        let snapshot = self.write_snapshot(state, &change).await?;
        failpoint::hit(failpoint::SNAPSHOT_WRITTEN);
        let metadata = change.evolved.as_ref().map_or(state.metadata(), |evolved| &evolved.metadata);
        let location = state.table.metadata_location().map(str::to_owned);
        let builder = metadata.clone().into_builder(location.clone());
        let metadata = builder.set_branch_snapshot(snapshot.clone(), MAIN_BRANCH)?.build()?.metadata;
        let table = Table::builder()
            .identifier(state.table.identifier().clone())
            .file_io(self.file_io().clone())
            .metadata(metadata)
            .runtime(self.inner.runtime.clone())
            .disable_cache();
        let table = match location {
            Some(location) => table.metadata_location(location).build()?,
            None => table.build()?,
        };
        Ok(Staged { change, snapshot, state: self.read_state(table).await? })
    }

    /// Makes a staged snapshot the table's, if the table still stands where it stood when it was staged.
    ///
    /// # Errors
    /// As [`Tables::commit`].
    pub async fn publish_staged(&self, state: &TableState, staged: Staged) -> Result<Arc<TableState>> {
        let mut updates = Vec::new();
        if state.metadata().snapshot_for_ref(AUDIT_BRANCH).is_some() {
            updates.push(TableUpdate::RemoveSnapshotRef { ref_name: AUDIT_BRANCH.to_owned() });
        }
        self.send_staged(state, staged, MAIN_BRANCH, updates).await
    }

    /// Keeps a staged snapshot on [`AUDIT_BRANCH`]; `main` stays as it is.
    ///
    /// # Errors
    /// As [`Tables::commit`].
    pub async fn reject(&self, state: &TableState, staged: Staged) -> Result<Arc<TableState>> {
        self.send_staged(state, staged, AUDIT_BRANCH, Vec::new()).await
    }

    async fn send_staged(
        &self,
        state: &TableState,
        staged: Staged,
        branch: &str,
        also: Vec<TableUpdate>,
    ) -> Result<Arc<TableState>> {
        let id = staged.snapshot_id();
        let ident = state.table.identifier();
        let (requirements, mut updates) = request(state.metadata(), &staged.change, staged.snapshot, branch);
        updates.extend(also);
        let done = |loaded: &crate::catalog::Loaded| {
            loaded.metadata.snapshot_for_ref(branch).is_some_and(|snapshot| snapshot.snapshot_id() == id)
                || (branch == MAIN_BRANCH && loaded.metadata.snapshot_by_id(id).is_some())
        };
        match self.send(ident, requirements, updates, done).await {
            Err(LakeError::Conflict { table }) => {
                self.load(ident).await?;
                Err(LakeError::Conflict { table })
            }
            done => done,
        }
    }
}
