//! Iceberg tables as the lake's layers use them: load with all live files, read files, write files, commit.
//!
//! Every layer goes through [`Tables`]; nothing else in the lake talks to the catalog or knows manifests.
//! What was read once is kept: manifests are immutable, so they are cached by path; a table's live files are rebuilt only
//! when its current snapshot changed.

pub mod commit;
pub mod manifests;
pub mod read;
pub mod schema;
pub mod write;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{StreamExt, TryStreamExt, stream};
use iceberg::{
    NamespaceIdent, Runtime, TableIdent,
    io::FileIO,
    spec::{DataContentType, Manifest, ManifestContentType, ManifestEntryRef, ManifestFile, TableMetadata},
    table::Table,
};

use crate::{
    catalog::{Catalog, Creation, Loaded},
    error::{LakeError, Result},
};

/// Manifests kept in memory, over all tables.
const MANIFESTS_CACHED_MAX: usize = 4096;
/// Manifests read at once.
const MANIFEST_READS_MAX: usize = 8;

/// A table at one snapshot, with everything planning needs.
pub struct TableState {
    pub table: Table,
    /// Manifests of the current snapshot, as listed, with their entries.
    pub manifests: Vec<(ManifestFile, Arc<Manifest>)>,
    /// Entries of the data files that are live at the current snapshot.
    pub files: Vec<ManifestEntryRef>,
    /// Another engine wrote delete files; the lake's own reader and copy-on-write cannot apply them.
    pub has_delete_files: bool,
}

impl TableState {
    /// The table's metadata.
    pub fn metadata(&self) -> &TableMetadata {
        self.table.metadata()
    }

    /// Rows of all live files.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.record_count()).sum()
    }

    /// Bytes of all live files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.file_size_in_bytes()).sum()
    }

    /// Id of the current snapshot.
    pub fn snapshot_id(&self) -> Option<i64> {
        self.metadata().current_snapshot_id()
    }

    /// Time of the last commit, milliseconds since the epoch.
    pub fn committed_ms(&self) -> Option<i64> {
        self.metadata().current_snapshot().map(|snapshot| snapshot.timestamp_ms())
    }
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
        });
        let state = match same_snapshot {
            Some(known) => TableState {
                table,
                manifests: known.manifests.clone(),
                files: known.files.clone(),
                has_delete_files: known.has_delete_files,
            },
            None => self.read_state(table).await?,
        };
        let state = Arc::new(state);
        lock(&self.inner.states).insert(ident.clone(), state.clone());
        Ok(state)
    }

    async fn read_state(&self, table: Table) -> Result<TableState> {
        let Some(snapshot) = table.metadata().current_snapshot() else {
            return Ok(TableState { table, manifests: Vec::new(), files: Vec::new(), has_delete_files: false });
        };
        let list = table.manifest_list_reader(snapshot).load().await?;
        let listed: Vec<ManifestFile> = list.consume_entries().into_iter().collect();
        let manifests: Vec<(ManifestFile, Arc<Manifest>)> = stream::iter(listed)
            .map(|file| async move { Ok::<_, LakeError>((file.clone(), self.manifest(&file).await?)) })
            .buffered(MANIFEST_READS_MAX)
            .try_collect()
            .await?;
        let has_delete_files = manifests.iter().any(|(file, manifest)| {
            file.content == ManifestContentType::Deletes && manifest.entries().iter().any(|entry| entry.is_alive())
        });
        let live = manifests.iter().flat_map(|(_, manifest)| manifest.entries());
        let files =
            live.filter(|entry| entry.is_alive() && entry.content_type() == DataContentType::Data).cloned().collect();
        Ok(TableState { table, manifests, files, has_delete_files })
    }

    async fn manifest(&self, file: &ManifestFile) -> Result<Arc<Manifest>> {
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
