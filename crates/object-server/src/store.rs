//! The store: buckets in a folder that one server owns.
//!
//! ```text
//! <OBJECT_SERVER_DIR>/lock                 held while a server runs
//!                     buckets/<bucket>/…   objects, see `key` and `record`
//!                     uploads/<id>/…       multipart uploads, see `uploads`
//!                     staging/…            files not visible yet, emptied at start
//!                     damaged/…            files that were found to be no objects
//! ```

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use crate::{
    bucket::Bucket,
    disk::{FolderSync, Staging, blocking},
    error::StoreError,
    uploads::Uploads,
};

/// All that is stored. Shared by all requests.
pub struct Store {
    buckets_folder: PathBuf,
    damaged: PathBuf,
    synced: FolderSync,
    buckets: RwLock<BTreeMap<String, Arc<Bucket>>>,
    pub staging: Arc<Staging>,
    pub uploads: Arc<Uploads>,
    /// Locked as long as it is open.
    _lock: File,
}

impl Store {
    /// Opens the folder (made when missing), removes what a crash left unfinished, and reads the index of each bucket.
    ///
    /// # Errors
    /// When another server holds the folder, or the disk fails.
    pub fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let lock = take_lock(root)?;
        let buckets_folder = root.join("buckets");
        let damaged = root.join("damaged");
        fs::create_dir_all(&buckets_folder)?;
        let staging = Arc::new(Staging::open(root.join("staging"))?);
        let mut buckets = BTreeMap::new();
        for entry in fs::read_dir(&buckets_folder)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                buckets.insert(name.clone(), Arc::new(Bucket::open(&name, entry.path(), &damaged)?));
            }
        }
        let uploads = Arc::new(Uploads::open(root.join("uploads"), staging.clone())?);
        let synced = FolderSync::open(&buckets_folder)?;
        File::open(root)?.sync_all()?;
        Ok(Self { buckets_folder, damaged, synced, buckets: RwLock::new(buckets), staging, uploads, _lock: lock })
    }

    /// # Errors
    /// `NoSuchBucket`.
    pub fn bucket(&self, name: &str) -> Result<Arc<Bucket>, StoreError> {
        let buckets = self.buckets.read().unwrap_or_else(PoisonError::into_inner);
        buckets.get(name).cloned().ok_or(StoreError::NoSuchBucket)
    }

    /// All buckets by name.
    pub fn buckets(&self) -> Vec<Arc<Bucket>> {
        self.buckets.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Makes a bucket. The name has been checked by S3's rules, so it is a safe folder name.
    ///
    /// # Errors
    /// `BucketExists`, or the disk's.
    pub async fn create_bucket(&self, name: &str) -> Result<(), StoreError> {
        let (folder, damaged, owned) = (self.buckets_folder.join(name), self.damaged.clone(), name.to_owned());
        let bucket = blocking(move || {
            fs::create_dir(&folder).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => StoreError::BucketExists,
                _ => error.into(),
            })?;
            Ok(Bucket::open(&owned, folder, &damaged)?)
        })
        .await?;
        self.synced.sync().await?;
        self.buckets.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), Arc::new(bucket));
        Ok(())
    }

    /// Deletes an empty bucket.
    ///
    /// # Errors
    /// `NoSuchBucket`, `BucketNotEmpty`, or the disk's.
    pub async fn delete_bucket(&self, name: &str) -> Result<(), StoreError> {
        self.bucket(name)?;
        let folder = self.buckets_folder.join(name);
        // The file system decides: a write that is being published keeps the folder from going.
        blocking(move || {
            fs::remove_dir(folder).map_err(|error| match error.kind() {
                io::ErrorKind::DirectoryNotEmpty => StoreError::BucketNotEmpty,
                io::ErrorKind::NotFound => StoreError::NoSuchBucket,
                _ => error.into(),
            })
        })
        .await?;
        self.buckets.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.synced.sync().await
    }
}

fn take_lock(root: &Path) -> io::Result<File> {
    let lock = File::options().create(true).truncate(false).write(true).open(root.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("another object server uses {}; stop it or choose another OBJECT_SERVER_DIR", root.display()),
        )),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}
