//! Which files a table's snapshots need, and the deletion of those that none does.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use iceberg::{
    io::FileIO,
    spec::{ManifestFile, SnapshotRef, TableMetadata},
    table::Table,
};

use crate::{
    error::{LakeError, Result},
    tables::Tables,
};

/// Manifest lists kept in memory.
const LISTS_KEPT_MAX: usize = 10_000;
/// Manifest lists read, and files deleted, at once.
const AT_ONCE: usize = 8;

/// Reads manifest lists, each once: they never change.
pub struct Lists {
    tables: Tables,
    known: Mutex<HashMap<String, Arc<Vec<ManifestFile>>>>,
}

/// The manifests of some snapshots, by path.
pub type Manifests = HashMap<String, ManifestFile>;

impl Lists {
    #[must_use]
    pub fn new(tables: Tables) -> Self {
        Self { tables, known: Mutex::default() }
    }

    /// Manifests that the snapshots name.
    ///
    /// # Errors
    /// When a list cannot be read.
    pub async fn manifests(&self, table: &Table, snapshots: &[SnapshotRef]) -> Result<Manifests> {
        let reads: Vec<_> = snapshots.iter().map(|snapshot| self.list(table, snapshot).boxed()).collect();
        let lists: Vec<Arc<Vec<ManifestFile>>> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        let all = lists.iter().flat_map(|list| list.iter());
        Ok(all.map(|manifest| (manifest.manifest_path.clone(), manifest.clone())).collect())
    }

    async fn list(&self, table: &Table, snapshot: &SnapshotRef) -> Result<Arc<Vec<ManifestFile>>> {
        let known = self.lock().get(snapshot.manifest_list()).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let list = table.manifest_list_reader(snapshot).load().await?;
        let list = Arc::new(list.consume_entries().into_iter().collect::<Vec<_>>());
        let mut known = self.lock();
        if known.len() >= LISTS_KEPT_MAX {
            // Those of snapshots that another lake expired; what is needed is read again.
            known.clear();
        }
        known.insert(snapshot.manifest_list().to_owned(), list.clone());
        Ok(list)
    }

    /// Lists that are gone need no memory.
    pub fn forget(&self, paths: &HashSet<String>) {
        self.lock().retain(|path, _| !paths.contains(path));
    }

    /// Data and delete files that are live in any of the manifests.
    ///
    /// # Errors
    /// When a manifest cannot be read.
    pub async fn live(&self, manifests: impl IntoIterator<Item = &ManifestFile>) -> Result<HashSet<String>> {
        let mut live = HashSet::new();
        for manifest in manifests {
            let manifest = self.tables.manifest(manifest).await?;
            let entries = manifest.entries().iter().filter(|entry| entry.is_alive());
            live.extend(entries.map(|entry| entry.file_path().to_owned()));
        }
        Ok(live)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Vec<ManifestFile>>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Files beside the snapshots' own that a table's metadata name.
#[must_use]
pub fn named_by(metadata: &TableMetadata, location: Option<&str>) -> HashSet<String> {
    let logged = metadata.metadata_log().iter().map(|entry| entry.metadata_file.clone());
    let statistics = metadata.statistics_iter().map(|file| file.statistics_path.clone());
    let of_partitions = metadata.partition_statistics_iter().map(|file| file.statistics_path.clone());
    logged.chain(statistics).chain(of_partitions).chain(location.map(str::to_owned)).collect()
}

/// Deletes files; one that is not there is no error.
///
/// # Errors
/// The first failure, after all others were tried: what stays is an orphan.
pub async fn delete(io: &FileIO, files: &BTreeSet<String>) -> Result<()> {
    let deletions: Vec<_> = files.iter().map(|file| delete_one(io, file).boxed()).collect();
    let done: Vec<Result<()>> = stream::iter(deletions).buffer_unordered(AT_ONCE).collect().await;
    done.into_iter().collect()
}

async fn delete_one(io: &FileIO, file: &str) -> Result<()> {
    io.delete(file).await.map_err(|error| LakeError::away("the object store", format!("delete {file}: {error}")))
}
