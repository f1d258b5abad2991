//! One bucket: its folder, its index, and the order in which changes of one key happen.
//!
//! A change holds its key's lock from the check of its condition until it is durable and in the index, so readers and
//! racing writers see either the state before or a durable state after. It runs in a task of its own: a client that
//! goes away cannot leave disk and index apart.

use std::{
    fs::{self, File},
    hash::{BuildHasher as _, RandomState},
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use bytes::Bytes;

use crate::{
    disk::{FolderSync, Staged, blocking},
    error::StoreError,
    index::{Entry, Index},
    key,
    record::{self, Metadata},
};

/// Locks that keys share by hash. Enough that two busy keys seldom meet.
const LOCK_STRIPES: usize = 512;

/// What has to hold for a write to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteCondition {
    None,
    /// `If-None-Match: *`.
    Absent,
    /// `If-Match: *`.
    Present,
    /// `If-Match: <etag>`, without quotes.
    Tagged(String),
}

/// A bucket of the store.
pub struct Bucket {
    pub name: String,
    /// Milliseconds since the Unix epoch.
    pub created_ms: i64,
    folder: PathBuf,
    synced: FolderSync,
    index: RwLock<Index>,
    locks: Box<[Arc<tokio::sync::RwLock<()>>]>,
    hasher: RandomState,
}

/// An object opened for reading. Stays readable whatever happens to its key.
pub struct Opened {
    pub metadata: Metadata,
    pub file: Arc<File>,
    /// The whole body, when it is small.
    pub body: Option<Bytes>,
}

impl Bucket {
    /// Opens a bucket's folder and rebuilds its index. Files that are no objects are moved to `damaged`.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn open(name: &str, folder: PathBuf, damaged: &Path) -> io::Result<Self> {
        let about = fs::metadata(&folder)?;
        let created = about.created().or_else(|_| about.modified())?;
        let index = scan(&folder, damaged)?;
        Ok(Self {
            name: name.to_owned(),
            created_ms: chrono::DateTime::<chrono::Utc>::from(created).timestamp_millis(),
            synced: FolderSync::open(&folder)?,
            folder,
            index: RwLock::new(index),
            locks: (0..LOCK_STRIPES).map(|_| Arc::default()).collect(),
            hasher: RandomState::new(),
        })
    }

    /// The index, for listings.
    pub fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_of(&self, key: &str) -> Arc<tokio::sync::RwLock<()>> {
        self.locks[self.hasher.hash_one(key) as usize % LOCK_STRIPES].clone()
    }

    fn path_of(&self, key: &str) -> PathBuf {
        self.folder.join(key::file_name(key))
    }

    /// Opens an object.
    ///
    /// # Errors
    /// `NoSuchKey`, or the disk's.
    pub async fn open_object(&self, key: &str) -> Result<Opened, StoreError> {
        let lock = self.lock_of(key);
        let _reading = lock.read().await;
        if self.index().get(key).is_none() {
            return Err(StoreError::NoSuchKey);
        }
        let path = self.path_of(key);
        blocking(move || {
            let file = File::open(path)?;
            let parsed = record::read(&file)?;
            Ok(Opened { metadata: parsed.metadata, file: Arc::new(file), body: parsed.body })
        })
        .await
    }

    /// Publishes a staged body under `metadata.key` if the condition holds. Durable when it returns.
    ///
    /// # Errors
    /// `PreconditionFailed`, `NoSuchKey` (`If-Match` on an absent key), `NoSuchBucket` (deleted meanwhile), or the
    /// disk's, after which the outcome is unknown.
    pub async fn publish(
        self: &Arc<Self>,
        staged: Staged,
        metadata: Metadata,
        condition: WriteCondition,
    ) -> Result<(), StoreError> {
        let bucket = self.clone();
        in_a_task(async move { bucket.publish_now(staged, metadata, condition).await }).await
    }

    async fn publish_now(
        &self,
        mut staged: Staged,
        metadata: Metadata,
        condition: WriteCondition,
    ) -> Result<(), StoreError> {
        // Refused early when hopeless, so that a loser does not pay for a sync; decided below under the lock.
        self.check(&metadata.key, &condition)?;
        let (staged, metadata) = blocking(move || {
            staged.seal(&metadata)?;
            Ok((staged, metadata))
        })
        .await?;
        let lock = self.lock_of(&metadata.key);
        let _changing = lock.write().await;
        self.check(&metadata.key, &condition)?;
        let target = self.path_of(&metadata.key);
        let result = blocking(move || {
            let result = match condition {
                WriteCondition::Absent => staged.publish_new(&target),
                _ => staged.publish(&target),
            };
            result.map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => StoreError::PreconditionFailed,
                io::ErrorKind::NotFound => StoreError::NoSuchBucket,
                _ => error.into(),
            })
        })
        .await;
        result?;
        self.synced.sync().await?;
        self.index_mut().insert(&metadata.key, Entry::from(&metadata));
        Ok(())
    }

    fn check(&self, key: &str, condition: &WriteCondition) -> Result<(), StoreError> {
        let index = self.index();
        match (condition, index.get(key)) {
            (WriteCondition::None, _) | (WriteCondition::Absent, None) | (WriteCondition::Present, Some(_)) => Ok(()),
            (WriteCondition::Tagged(tag), Some(entry)) if *tag == entry.etag.to_string() => Ok(()),
            (WriteCondition::Present | WriteCondition::Tagged(_), None) => Err(StoreError::NoSuchKey),
            (WriteCondition::Absent | WriteCondition::Tagged(_), Some(_)) => Err(StoreError::PreconditionFailed),
        }
    }

    /// Deletes a key if the condition holds; a key that does not exist is deleted already. Durable when it returns.
    ///
    /// # Errors
    /// `PreconditionFailed`, or the disk's, after which the outcome is unknown.
    pub async fn delete(self: &Arc<Self>, key: &str, condition: WriteCondition) -> Result<(), StoreError> {
        let (bucket, key) = (self.clone(), key.to_owned());
        in_a_task(async move { bucket.delete_now(&key, &condition).await }).await
    }

    async fn delete_now(&self, key: &str, condition: &WriteCondition) -> Result<(), StoreError> {
        let lock = self.lock_of(key);
        let _changing = lock.write().await;
        match self.check(key, condition) {
            Err(StoreError::NoSuchKey) => return Err(StoreError::PreconditionFailed),
            other => other?,
        }
        if self.index().get(key).is_none() {
            return Ok(());
        }
        let path = self.path_of(key);
        blocking(move || match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        })
        .await?;
        self.synced.sync().await?;
        self.index_mut().remove(key);
        Ok(())
    }
}

/// Runs a change to its end even when the request that asked for it is dropped.
pub async fn in_a_task<T: Send + 'static>(
    change: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::spawn(change).await {
        Ok(result) => result,
        Err(lost) => Err(StoreError::Io(io::Error::other(lost))),
    }
}

/// Reads the metadata of every object of a folder, on as many threads as there are processors.
fn scan(folder: &Path, damaged: &Path) -> io::Result<Index> {
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let portion = names.len().div_ceil(threads).max(1);
    let read = |names: &[std::ffi::OsString]| -> io::Result<Vec<Metadata>> {
        names.iter().filter_map(|name| read_or_set_aside(&folder.join(name), damaged).transpose()).collect()
    };
    let portions = std::thread::scope(|scope| {
        let running: Vec<_> = names.chunks(portion).map(|names| scope.spawn(move || read(names))).collect();
        running
            .into_iter()
            .map(|thread| thread.join().map_err(|_| io::Error::other("a thread that reads objects failed"))?)
            .collect::<io::Result<Vec<_>>>()
    })?;
    let mut index = Index::default();
    for metadata in portions.iter().flatten() {
        index.insert(&metadata.key, Entry::from(metadata));
    }
    Ok(index)
}

fn read_or_set_aside(path: &Path, damaged: &Path) -> io::Result<Option<Metadata>> {
    let reason = match File::open(path).and_then(|file| record::read(&file)) {
        Ok(parsed) if path.file_name().is_some_and(|name| name == key::file_name(&parsed.metadata.key).as_str()) => {
            return Ok(Some(parsed.metadata));
        }
        Ok(_) => "its name does not fit its key".to_owned(),
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
            error.to_string()
        }
        Err(error) => return Err(error),
    };
    tracing::error!(file = %path.display(), "not a whole object ({reason}); moved to the folder 'damaged'");
    fs::create_dir_all(damaged)?;
    let name = path.file_name().unwrap_or_default();
    fs::rename(path, damaged.join(name))?;
    Ok(None)
}
