//! Keeps tables small: packs files, merges manifests, expires snapshots, removes what nothing needs.
//!
//! Runs behind `lake watch` and as the command `lake maintain`. Promises: no row and no progress changes (but for old rows of
//! `serve._runs`, which go); a file is deleted
//! only after the commit that stopped naming it, and only if no snapshot or ref that is left needs it; two of it at once,
//! beside any number of writers, do no harm, because each step is a commit of its own that is refused or planned again
//! when what it was planned on has changed. A crash in between leaves orphans, which the last step finds.

pub mod expire;
pub mod files;
pub mod orphans;
pub mod report;
pub mod rewrite;
mod run;
mod trim;
pub mod warehouse;

pub use run::{behind, command};

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use iceberg::{
    TableIdent, TableRequirement, TableUpdate,
    spec::{MAIN_BRANCH, Manifest, SnapshotRef},
};

use self::{
    expire::{Expiry, Retention},
    files::Lists,
    report::{Extent, TableReport},
    rewrite::Effort,
    warehouse::Warehouse,
};
use crate::{
    error::{LakeError, Result},
    failpoint, layers,
    tables::{
        TableState, Tables,
        commit::{Basis, Change, now_ms},
        manifests::MERGED_FILES_MAX,
    },
};

/// Times a step is planned again because a writer was faster.
const ATTEMPTS_MAX: usize = 10;
/// Manifests that may stay side by side.
const MANIFESTS_KEPT_MAX: usize = 8;

/// Maintains tables.
pub struct Maintenance {
    pub tables: Tables,
    pub warehouse: Arc<dyn Warehouse>,
    pub retention: Retention,
    /// Files that nothing names are removed only beyond this age.
    pub orphan_age: Duration,
    /// Rows per file of keyed tables.
    pub file_rows: usize,
    /// How long rows of `serve._runs` are kept; zero: for ever.
    runs_kept: Duration,
    lists: Lists,
}

/// What to do.
#[derive(Debug, Clone, Copy)]
pub struct Steps {
    /// Say what would be done; nothing is changed.
    pub dry_run: bool,
    /// Small files that make a rewrite worth it.
    pub files_min: usize,
    /// Pack files of tables without a key.
    pub without_key: bool,
    pub orphans: bool,
    /// Read the whole table before and after, to tell what neglect costs.
    pub measure: bool,
}

impl Maintenance {
    #[must_use]
    pub fn new(
        tables: Tables,
        warehouse: Arc<dyn Warehouse>,
        retention: Retention,
        orphan_age: Duration,
        file_rows: usize,
    ) -> Self {
        let lists = Lists::new(tables.clone());
        Self { tables, warehouse, retention, orphan_age, file_rows, runs_kept: Duration::ZERO, lists }
    }

    /// As it is, with rows of `serve._runs` forgotten after this time, by whole days; zero: never.
    #[must_use]
    pub fn keeping_runs(self, runs_kept: Duration) -> Self {
        Self { runs_kept, ..self }
    }

    /// The tables of all layers.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn idents(&self) -> Result<Vec<TableIdent>> {
        let mut idents = Vec::new();
        for layer in [layers::STAGE, layers::SHAPE, layers::SERVE] {
            idents.extend(self.tables.list(layer).await?);
        }
        Ok(idents)
    }

    /// Maintains one table.
    ///
    /// # Errors
    /// When catalog or storage fail; what was done is done.
    pub async fn table(&self, ident: &TableIdent, steps: Steps) -> Result<TableReport> {
        let state = self.load(ident).await?;
        let mut report = TableReport::new(ident, Extent::of(&state, steps.measure).await?);
        if steps.dry_run {
            let forgets = self.forgets(ident).is_some_and(|cutoff| !trim::old(&state, cutoff).is_empty());
            report.would_rewrite = forgets || rewrite::is_due(&state, self.effort(steps))?;
            let expiry = self.plan(&state)?;
            (report.snapshots_expired, report.refs_expired) = (expiry.snapshots.len(), expiry.refs.len());
        } else {
            report.rows_forgotten = self.trim(ident, &state).await?;
            let state = if report.rows_forgotten > 0 { self.load(ident).await? } else { state };
            (report.files_replaced, report.files_written) = self.rewrite(state, steps).await?;
            self.merge_manifests(ident).await?;
            self.expire(ident, &mut report).await?;
        }
        if steps.orphans {
            self.orphans(ident, steps.dry_run, &mut report).await?;
        }
        let state = self.load(ident).await?;
        report.after = Extent::of(&state, steps.measure && !steps.dry_run).await?;
        Ok(report)
    }

    async fn load(&self, ident: &TableIdent) -> Result<Arc<TableState>> {
        let state = self.tables.load(ident).await?;
        state.ok_or_else(|| LakeError::Conflict { table: ident.to_string() })
    }

    fn effort(&self, steps: Steps) -> Effort {
        Effort { files_min: steps.files_min, without_key: steps.without_key, file_rows: self.file_rows }
    }

    /// The moment before which rows of this table are forgotten, if they are. Microseconds since the epoch.
    fn forgets(&self, ident: &TableIdent) -> Option<i64> {
        let forgets = !self.runs_kept.is_zero() && *ident == layers::serve_table(layers::RUNS);
        forgets.then(|| trim::cutoff_us(now_ms(), self.runs_kept))
    }

    async fn trim(&self, ident: &TableIdent, state: &TableState) -> Result<u64> {
        let Some(cutoff_us) = self.forgets(ident) else { return Ok(0) };
        match trim::trim(&self.tables, state, cutoff_us).await {
            // A writer was faster: the next time.
            Err(LakeError::Conflict { .. }) => Ok(0),
            done => done,
        }
    }

    async fn rewrite(&self, state: Arc<TableState>, steps: Steps) -> Result<(usize, usize)> {
        match rewrite::all(&self.tables, state, self.effort(steps)).await {
            // A writer replaced the same files: what it left is for the next time.
            Err(LakeError::Conflict { .. }) => Ok((0, 0)),
            done => done,
        }
    }

    /// Merges manifests when a busy table stopped being busy before its commits did it.
    async fn merge_manifests(&self, ident: &TableIdent) -> Result<()> {
        let state = self.load(ident).await?;
        let small = |(_, manifest): &&(_, Arc<Manifest>)| manifest.entries().len() <= MERGED_FILES_MAX;
        if state.manifests.iter().filter(small).count() <= MANIFESTS_KEPT_MAX {
            return Ok(());
        }
        let change = Change {
            rows_unchanged: true,
            manifests_max: Some(MANIFESTS_KEPT_MAX),
            basis: Basis::Files,
            ..Change::default()
        };
        match self.tables.commit(&state, change).await {
            Ok(_) | Err(LakeError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn plan(&self, state: &TableState) -> Result<Expiry> {
        Ok(expire::plan(state.metadata(), &expire::refs(state.metadata())?, self.retention, now_ms()))
    }

    /// Expires snapshots, then deletes the files that only they needed.
    async fn expire(&self, ident: &TableIdent, report: &mut TableReport) -> Result<()> {
        for _ in 0..ATTEMPTS_MAX {
            let state = self.load(ident).await?;
            let expiry = self.plan(&state)?;
            if expiry == Expiry::default() {
                return Ok(());
            }
            let files = self.only_needed_by(&state, &expiry.snapshots).await;
            if files.is_err() && self.moved(&state).await? {
                continue;
            }
            let files = files?;
            match self.commit_expiry(&state, &expiry).await {
                Err(LakeError::Conflict { .. }) => continue,
                done => done?,
            };
            failpoint::hit(failpoint::EXPIRED);
            (report.snapshots_expired, report.refs_expired) = (expiry.snapshots.len(), expiry.refs.len());
            if collects(&state) {
                report.files_deleted = files.len();
                files::delete(self.tables.file_io(), &files).await?;
            }
            self.lists.forget(&files.into_iter().collect());
            return Ok(());
        }
        // Writers are always faster here: the next time.
        Ok(())
    }

    /// Files that no snapshot beside `expired` needs.
    async fn only_needed_by(&self, state: &TableState, expired: &BTreeSet<i64>) -> Result<BTreeSet<String>> {
        let (gone, kept): (Vec<SnapshotRef>, Vec<SnapshotRef>) =
            state.metadata().snapshots().cloned().partition(|snapshot| expired.contains(&snapshot.snapshot_id()));
        let kept_manifests = self.lists.manifests(&state.table, &kept).await?;
        let mut gone_manifests = self.lists.manifests(&state.table, &gone).await?;
        gone_manifests.retain(|path, _| !kept_manifests.contains_key(path));
        let mut files = self.lists.live(gone_manifests.values()).await?;
        if !files.is_empty() {
            let needed = self.lists.live(kept_manifests.values()).await?;
            files.retain(|path| !needed.contains(path));
        }
        files.extend(gone_manifests.into_keys());
        files.extend(gone.iter().map(|snapshot| snapshot.manifest_list().to_owned()));
        for id in expired {
            let of_table = state.metadata().statistics_for_snapshot(*id).map(|file| &file.statistics_path);
            let of_partitions =
                state.metadata().partition_statistics_for_snapshot(*id).map(|file| &file.statistics_path);
            files.extend(of_table.into_iter().chain(of_partitions).cloned());
        }
        Ok(files.into_iter().collect())
    }

    async fn commit_expiry(&self, state: &TableState, expiry: &Expiry) -> Result<Arc<TableState>> {
        let metadata = state.metadata();
        let mut requirements = vec![TableRequirement::UuidMatch { uuid: metadata.uuid() }];
        // A ref that moved meanwhile may need what is to be expired.
        let refs = expire::refs(metadata)?;
        requirements.extend(refs.into_iter().map(|(name, reference)| TableRequirement::RefSnapshotIdMatch {
            r#ref: name,
            snapshot_id: Some(reference.snapshot_id),
        }));
        if metadata.current_snapshot_id().is_none() {
            requirements.push(TableRequirement::RefSnapshotIdMatch { r#ref: MAIN_BRANCH.into(), snapshot_id: None });
        }
        let mut updates: Vec<TableUpdate> =
            expiry.refs.iter().map(|name| TableUpdate::RemoveSnapshotRef { ref_name: name.clone() }).collect();
        for &snapshot_id in &expiry.snapshots {
            if metadata.statistics_for_snapshot(snapshot_id).is_some() {
                updates.push(TableUpdate::RemoveStatistics { snapshot_id });
            }
            if metadata.partition_statistics_for_snapshot(snapshot_id).is_some() {
                updates.push(TableUpdate::RemovePartitionStatistics { snapshot_id });
            }
        }
        let snapshot_ids: Vec<i64> = expiry.snapshots.iter().copied().collect();
        let gone = snapshot_ids.clone();
        if !snapshot_ids.is_empty() {
            updates.push(TableUpdate::RemoveSnapshots { snapshot_ids });
        }
        let done =
            move |loaded: &crate::catalog::Loaded| gone.iter().all(|id| loaded.metadata.snapshot_by_id(*id).is_none());
        self.tables.send(state.table.identifier(), requirements, updates, done).await
    }

    /// Finds files in the table's folder that nothing needs, and removes them.
    async fn orphans(&self, ident: &TableIdent, dry_run: bool, report: &mut TableReport) -> Result<()> {
        let folder = self.load(ident).await?.metadata().location().trim_end_matches('/').to_owned();
        if !orphans::own_folder(&folder) {
            report.note = Some("its folder was chosen by somebody else: orphans are not looked for".into());
            return Ok(());
        }
        // Listed first: what is committed meanwhile is then known to the table.
        let stored = self.warehouse.list(&format!("{folder}/")).await?;
        let state = self.load(ident).await?;
        let needed = self.needed(&state).await;
        if needed.is_err() && self.moved(&state).await? {
            // Another lake expired snapshots just now: the next time.
            return Ok(());
        }
        let needed = needed?;
        let age_ms = i64::try_from(self.orphan_age.as_millis()).unwrap_or(i64::MAX);
        let found = orphans::find(stored, &needed, now_ms().saturating_sub(age_ms));
        report.orphans = found.len();
        report.orphan_bytes = found.iter().map(|file| file.bytes).sum();
        if dry_run || !collects(&state) {
            return Ok(());
        }
        for file in &found {
            tracing::info!(table = %ident, file = file.location, "removing an orphan");
        }
        files::delete(self.tables.file_io(), &found.into_iter().map(|file| file.location).collect()).await
    }

    /// Whether the table is no longer at `state`, so that files it names may be gone.
    async fn moved(&self, state: &TableState) -> Result<bool> {
        let now = self.load(state.table.identifier()).await?;
        Ok(now.table.metadata_location() != state.table.metadata_location())
    }

    /// Everything the table names.
    async fn needed(&self, state: &TableState) -> Result<HashSet<String>> {
        let snapshots: Vec<SnapshotRef> = state.metadata().snapshots().cloned().collect();
        let manifests = self.lists.manifests(&state.table, &snapshots).await?;
        let mut needed = self.lists.live(manifests.values()).await?;
        needed.extend(manifests.into_keys());
        needed.extend(snapshots.iter().map(|snapshot| snapshot.manifest_list().to_owned()));
        needed.extend(files::named_by(state.metadata(), state.table.metadata_location()));
        Ok(needed)
    }
}

/// Whether files of the table may be deleted at all (`gc.enabled`).
fn collects(state: &TableState) -> bool {
    state.metadata().properties().get("gc.enabled").is_none_or(|value| !value.eq_ignore_ascii_case("false"))
}
