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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;
    use futures::stream;
    use s3s::StdError;

    use super::*;
    use crate::{
        bucket::WriteCondition,
        digest::Stated,
        disk::stage,
        record::{Checksums, Described, EntityTag, Metadata},
        uploads::Purpose,
    };

    type Body = stream::Iter<std::vec::IntoIter<Result<Bytes, StdError>>>;

    fn body(portions: Vec<Result<Bytes, StdError>>) -> Option<Body> {
        Some(stream::iter(portions))
    }

    fn metadata(key: &str, size: u64) -> Metadata {
        Metadata {
            key: key.to_owned(),
            size,
            etag: EntityTag { md5: [1; 16], parts: 0 },
            modified_ms: 5,
            described: Described::default(),
            checksums: Checksums::default(),
            part_sizes: Vec::new(),
        }
    }

    async fn put(store: &Store, key: &str, text: &'static str) {
        let bucket = store.bucket("raw").unwrap();
        let (staged, _) =
            stage(&store.staging, body(vec![Ok(Bytes::from_static(text.as_bytes()))]), &[]).await.unwrap();
        bucket.publish(staged, metadata(key, text.len() as u64), WriteCondition::None).await.unwrap();
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let broken = body(vec![Ok(Bytes::from(vec![0; 3 << 20])), Err("connection reset".into())]);
        assert!(matches!(stage(&store.staging, broken, &[]).await, Err(StoreError::Body(_))));
        assert_eq!(fs::read_dir(dir.path().join("staging")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn parts_survive_a_restart_and_become_one_object() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.create_bucket("raw").await.unwrap();
        let purpose = Purpose {
            bucket: "raw".into(),
            key: "big".into(),
            initiated_ms: 1,
            described: Described::default(),
            algorithm: None,
            full_object: false,
        };
        let id = store.uploads.start(purpose).await.unwrap();
        let upload = store.uploads.find(&id, "raw", "big").unwrap();
        for (number, bytes) in [(1, vec![1; 5 << 20]), (2, vec![2; 10])] {
            let (staged, digests) = stage(&store.staging, body(vec![Ok(bytes.into())]), &[]).await.unwrap();
            upload.add_part(number, staged, digests, 1).await.unwrap();
        }
        drop((upload, store));

        let store = Store::open(dir.path()).unwrap();
        let upload = store.uploads.find(&id, "raw", "big").unwrap();
        let bucket = store.bucket("raw").unwrap();
        let parts = vec![(1, None), (2, None)];
        let metadata = store
            .uploads
            .complete(upload, bucket.clone(), parts, Stated::default(), WriteCondition::None)
            .await
            .unwrap();
        assert_eq!((metadata.size, metadata.etag.parts), ((5 << 20) + 10, 2));
        assert_eq!(bucket.open_object("big").await.unwrap().metadata, metadata);
        assert!(matches!(store.uploads.find(&id, "raw", "big"), Err(StoreError::NoSuchUpload)));
        assert_eq!(fs::read_dir(dir.path().join("uploads")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_file_that_is_no_object_is_set_aside_and_leftovers_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.create_bucket("raw").await.unwrap();
        put(&store, "whole", "text").await;
        drop(store);
        let bucket = dir.path().join("buckets/raw");
        fs::copy(bucket.join("whole"), bucket.join("another-name")).unwrap();
        fs::write(bucket.join("torn"), "te").unwrap();
        fs::write(dir.path().join("staging/0"), "half").unwrap();

        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.bucket("raw").unwrap().index().len(), 1);
        assert_eq!(store.bucket("raw").unwrap().open_object("whole").await.unwrap().body.unwrap(), "text");
        let mut damaged: Vec<_> =
            fs::read_dir(dir.path().join("damaged")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        damaged.sort();
        assert_eq!(damaged, ["another-name", "torn"]);
        assert_eq!(fs::read_dir(dir.path().join("staging")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_bucket_with_objects_is_not_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.create_bucket("raw").await.unwrap();
        assert!(matches!(store.create_bucket("raw").await, Err(StoreError::BucketExists)));
        put(&store, "x", "text").await;
        assert!(matches!(store.delete_bucket("raw").await, Err(StoreError::BucketNotEmpty)));
        let bucket = store.bucket("raw").unwrap();
        bucket.delete("x", WriteCondition::None).await.unwrap();
        store.delete_bucket("raw").await.unwrap();
        assert!(matches!(store.bucket("raw"), Err(StoreError::NoSuchBucket)));
        // A write that was under way when the bucket went.
        let (staged, _) = stage(&store.staging, body(vec![]), &[]).await.unwrap();
        assert!(matches!(
            bucket.publish(staged, metadata("x", 0), WriteCondition::None).await,
            Err(StoreError::NoSuchBucket)
        ));
    }

    #[test]
    fn a_full_disk_is_told_as_such() {
        let full = StoreError::from(io::Error::from(io::ErrorKind::StorageFull));
        let answer = s3s::S3Error::from(full);
        assert_eq!(answer.status_code().unwrap().as_u16(), 507);
    }
}
