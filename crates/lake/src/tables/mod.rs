//! Iceberg tables as the lake's layers use them: load with all live files, read files, write files, commit.
//!
//! Every layer goes through [`Tables`]; nothing else in the lake talks to the catalog or knows manifests.
//! What was read once is kept: manifests are immutable, so they are cached by path; a table's live files are rebuilt only
//! when its current snapshot changed.

pub mod commit;
pub mod deletes;
pub mod equal_files;
pub mod manifests;
pub mod order;
pub mod read;
pub mod schema;
mod snapshot;
pub mod staged;
pub mod travel;
pub mod validate;
pub mod write;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use iceberg::{
    NamespaceIdent, Runtime, TableIdent,
    io::FileIO,
    spec::{DataContentType, Manifest, ManifestEntryRef, ManifestFile, Operation, SnapshotRef, TableMetadata},
    table::Table,
};

use self::deletes::{LiveDelete, Placed};
use crate::{
    catalog::{Catalog, Creation, Loaded},
    error::{LakeError, Result},
    failpoint,
};

/// Manifests kept in memory, over all tables.
const MANIFESTS_CACHED_MAX: usize = 4096;
/// Manifests read at once.
const MANIFEST_READS_MAX: usize = 8;
/// Tables loaded at once by a refresh.
const REFRESHES_AT_ONCE: usize = 4;

/// A table at one snapshot, with everything planning needs.
pub struct TableState {
    pub table: Table,
    /// Manifests of the current snapshot, as listed, with their entries.
    pub manifests: Vec<(ManifestFile, Arc<Manifest>)>,
    /// Entries of the data files that are live at the current snapshot.
    pub files: Vec<ManifestEntryRef>,
    /// Delete files that are live; readers apply them.
    pub deletes: Vec<LiveDelete>,
    /// Specs of the live files that are not of the default spec, by path.
    other_specs: HashMap<String, i32>,
}

impl TableState {
    /// The same table, of its data files only these.
    pub fn of_files(&self, files: Vec<ManifestEntryRef>) -> Self {
        Self {
            table: self.table.clone(),
            manifests: Vec::new(),
            files,
            deletes: self.deletes.clone(),
            other_specs: self.other_specs.clone(),
        }
    }

    /// The table's metadata.
    pub fn metadata(&self) -> &TableMetadata {
        self.table.metadata()
    }

    /// Rows of all live files, without those that position deletes take.
    pub fn rows(&self) -> u64 {
        let written: u64 = self.files.iter().map(|file| file.record_count()).sum();
        let by_position = |delete: &&LiveDelete| delete.entry.content_type() == DataContentType::PositionDeletes;
        let deleted: u64 = self.deletes.iter().filter(by_position).map(|delete| delete.entry.record_count()).sum();
        written.saturating_sub(deleted)
    }

    /// Partition spec of a live file.
    pub fn spec_of(&self, path: &str) -> i32 {
        self.other_specs.get(path).copied().unwrap_or_else(|| self.metadata().default_partition_spec_id())
    }

    /// All live files, data and deletes, with what decides which deletes apply to them.
    pub fn live(&self) -> impl Iterator<Item = Placed<'_>> {
        self.manifests.iter().flat_map(|(file, manifest)| {
            let live = manifest.entries().iter().filter(|entry| entry.is_alive());
            live.map(|entry| placed(entry, file.partition_spec_id))
        })
    }

    /// Delete files that apply to a live data file.
    pub fn deletes_of(&self, file: &ManifestEntryRef) -> impl Iterator<Item = &LiveDelete> {
        let data = placed(file, self.spec_of(file.file_path()));
        self.deletes.iter().filter(move |delete| delete.applies(data))
    }

    /// Bytes of all live files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.file_size_in_bytes()).sum()
    }

    /// Id of the current snapshot.
    pub fn snapshot_id(&self) -> Option<i64> {
        self.metadata().current_snapshot_id()
    }

    /// Id of the snapshot that last changed a row; those after it only changed the files' shape.
    pub fn rows_snapshot_id(&self) -> Option<i64> {
        let mut snapshot = self.metadata().current_snapshot()?;
        while snapshot.summary().operation == Operation::Replace
            && let Some(parent) = snapshot.parent_snapshot_id().and_then(|id| self.metadata().snapshot_by_id(id))
        {
            snapshot = parent;
        }
        Some(snapshot.snapshot_id())
    }

    /// Time of the last commit, milliseconds since the epoch.
    pub fn committed_ms(&self) -> Option<i64> {
        self.metadata().current_snapshot().map(|snapshot| snapshot.timestamp_ms())
    }
}

fn placed(entry: &ManifestEntryRef, spec_id: i32) -> Placed<'_> {
    let sequence = entry.sequence_number().unwrap_or(0);
    Placed { path: entry.file_path(), spec_id, partition: entry.data_file().partition(), sequence }
}

/// The lake's tables: catalog, storage and caches. Clones share all of it.
#[derive(Clone)]
pub struct Tables {
    inner: Arc<Inner>,
}

struct Inner {
    catalog: Arc<dyn Catalog>,
    file_io: FileIO,
    runtime: Runtime,
    manifests: Mutex<HashMap<String, Arc<Manifest>>>,
    states: Mutex<HashMap<TableIdent, Arc<TableState>>>,
}

impl Tables {
    /// Tables of `catalog`, whose files `file_io` reaches. To be called inside a Tokio runtime.
    ///
    /// # Errors
    /// Outside of a Tokio runtime.
    pub fn new(catalog: Arc<dyn Catalog>, file_io: FileIO) -> Result<Self> {
        let runtime = Runtime::try_current()?;
        let inner = Inner { catalog, file_io, runtime, manifests: Mutex::default(), states: Mutex::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(crate) fn catalog(&self) -> &dyn Catalog {
        self.inner.catalog.as_ref()
    }

    pub(crate) fn file_io(&self) -> &FileIO {
        &self.inner.file_io
    }

    /// The table as it is in the catalog now; `None` when there is none.
    ///
    /// # Errors
    /// When catalog or storage fail.
    pub async fn load(&self, ident: &TableIdent) -> Result<Option<Arc<TableState>>> {
        let Some(loaded) = self.catalog().load(ident).await? else {
            lock(&self.inner.states).remove(ident);
            return Ok(None);
        };
        self.open(ident, loaded).await.map(Some)
    }

    /// The table as this process saw it last; asks the catalog only when it never did.
    ///
    /// # Errors
    /// When catalog or storage fail.
    pub async fn cached(&self, ident: &TableIdent) -> Result<Option<Arc<TableState>>> {
        let known = lock(&self.inner.states).get(ident).cloned();
        match known {
            Some(state) => Ok(Some(state)),
            None => self.load(ident).await,
        }
    }

    /// The tables this process has seen, as it saw them last.
    pub fn known(&self) -> Vec<Arc<TableState>> {
        lock(&self.inner.states).values().cloned().collect()
    }

    /// Creates a table, or returns the one that is there.
    ///
    /// # Errors
    /// When catalog or storage fail.
    pub async fn create(&self, ident: &TableIdent, creation: Creation) -> Result<Arc<TableState>> {
        let loaded = self.catalog().create(ident, creation).await?;
        failpoint::hit(failpoint::TABLE_MADE);
        self.open(ident, loaded).await
    }

    /// All tables below a topmost namespace, of any depth.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn list(&self, layer: &str) -> Result<Vec<TableIdent>> {
        let mut found = Vec::new();
        let mut open = vec![NamespaceIdent::new(layer.to_owned())];
        while let Some(namespace) = open.pop() {
            found.extend(self.catalog().tables(&namespace).await?);
            open.extend(self.catalog().namespaces(Some(&namespace)).await?);
        }
        found.sort_by_key(ToString::to_string);
        Ok(found)
    }

    /// A state of what the catalog answered; nothing is read when the snapshot is the known one.
    pub(crate) async fn open(&self, ident: &TableIdent, loaded: Loaded) -> Result<Arc<TableState>> {
        let known = lock(&self.inner.states).get(ident).cloned();
        if let Some(known) = &known
            && known.table.metadata_location() == Some(loaded.metadata_location.as_str())
        {
            return Ok(known.clone());
        }
        let table = Table::builder()
            .identifier(ident.clone())
            .file_io(self.file_io().clone())
            .metadata_location(loaded.metadata_location)
            .metadata(loaded.metadata)
            .runtime(self.inner.runtime.clone())
            .disable_cache()
            .build()?;
        let same_snapshot = known.filter(|known| {
            known.metadata().uuid() == table.metadata().uuid()
                && known.snapshot_id() == table.metadata().current_snapshot_id()
                && known.metadata().default_partition_spec_id() == table.metadata().default_partition_spec_id()
        });
        let state = match same_snapshot {
            Some(known) => TableState {
                table,
                manifests: known.manifests.clone(),
                files: known.files.clone(),
                deletes: known.deletes.clone(),
                other_specs: known.other_specs.clone(),
            },
            None => self.read_state(table).await?,
        };
        let state = Arc::new(state);
        lock(&self.inner.states).insert(ident.clone(), state.clone());
        Ok(state)
    }

    async fn read_state(&self, table: Table) -> Result<TableState> {
        let snapshot = table.metadata().current_snapshot().cloned();
        self.read_snapshot(table, snapshot.as_ref()).await
    }

    /// The table as it was at a snapshot that is still kept, by its present schema.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn at(&self, state: &TableState, snapshot_id: i64) -> Result<Option<TableState>> {
        let Some(snapshot) = state.metadata().snapshot_by_id(snapshot_id) else { return Ok(None) };
        self.read_snapshot(state.table.clone(), Some(snapshot)).await.map(Some)
    }

    async fn read_snapshot(&self, table: Table, snapshot: Option<&SnapshotRef>) -> Result<TableState> {
        let manifests = match snapshot {
            Some(snapshot) => self.manifests_of(&table, snapshot).await?,
            None => Vec::new(),
        };
        let default_spec = table.metadata().default_partition_spec_id();
        let mut state = TableState {
            table,
            manifests: Vec::new(),
            files: Vec::new(),
            deletes: Vec::new(),
            other_specs: HashMap::new(),
        };
        for (file, manifest) in &manifests {
            let spec_id = file.partition_spec_id;
            for entry in manifest.entries().iter().filter(|entry| entry.is_alive()) {
                if spec_id != default_spec {
                    state.other_specs.insert(entry.file_path().to_owned(), spec_id);
                }
                match entry.content_type() {
                    DataContentType::Data => state.files.push(entry.clone()),
                    _ => state.deletes.push(LiveDelete { entry: entry.clone(), spec_id }),
                }
            }
        }
        state.manifests = manifests;
        Ok(state)
    }

    /// The manifests of a snapshot, as listed, with their entries.
    pub(crate) async fn manifests_of(
        &self,
        table: &Table,
        snapshot: &SnapshotRef,
    ) -> Result<Vec<(ManifestFile, Arc<Manifest>)>> {
        let list = table.manifest_list_reader(snapshot).load().await?;
        let listed: Vec<ManifestFile> = list.consume_entries().into_iter().collect();
        stream::iter(listed)
            .map(|file| async move { Ok::<_, LakeError>((file.clone(), self.manifest(&file).await?)) })
            .buffered(MANIFEST_READS_MAX)
            .try_collect()
            .await
    }

    /// Loads every table this process knows again, so that what other engines did to it (a rollback, a drop) is noticed
    /// without a commit of ours. One that cannot be loaded fails where it is used, beside the others.
    pub async fn refresh(&self) {
        let known: Vec<TableIdent> = lock(&self.inner.states).keys().cloned().collect();
        let loads: Vec<_> = known.iter().map(|ident| self.load_again(ident).boxed()).collect();
        stream::iter(loads).buffer_unordered(REFRESHES_AT_ONCE).collect().await
    }

    async fn load_again(&self, ident: &TableIdent) {
        match self.load(ident).await {
            Ok(_) => {}
            Err(error @ LakeError::Away { .. }) => tracing::debug!(table = %ident, "not loaded again: {error}"),
            Err(_) => drop(lock(&self.inner.states).remove(ident)),
        }
    }

    pub(crate) async fn manifest(&self, file: &ManifestFile) -> Result<Arc<Manifest>> {
        if let Some(known) = lock(&self.inner.manifests).get(&file.manifest_path) {
            return Ok(known.clone());
        }
        let manifest = Arc::new(file.load_manifest(self.file_io()).await?);
        let mut cache = lock(&self.inner.manifests);
        if cache.len() >= MANIFESTS_CACHED_MAX {
            // Rare, and what is needed again is read again.
            cache.clear();
        }
        cache.insert(file.manifest_path.clone(), manifest.clone());
        Ok(manifest)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
