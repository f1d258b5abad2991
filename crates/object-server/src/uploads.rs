//! Multipart uploads: parts on disk until they are completed into one object or aborted.
//!
//! `uploads/<id>/upload.json` says what the upload is for; each part is a file with a trailer, as an object is
//! (`record`). Both survive a restart. Completing copies the parts into one staged file and publishes it like any
//! other object, so nothing of an upload is visible before; the upload is forgotten only after that.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    bucket::{Bucket, WriteCondition, in_a_task},
    digest::{self, Algorithm, Digests, Stated},
    disk::{FolderSync, Staged, Staging, blocking, stage_copy},
    error::StoreError,
    record::{self, Checksums, Described, EntityTag, Metadata},
};

/// S3's smallest part, the last one aside.
const PART_BYTES_MIN: u64 = 5 << 20;
const DESCRIPTION: &str = "upload.json";

/// What an upload is for; also the form of its file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Purpose {
    pub bucket: String,
    pub key: String,
    /// Milliseconds since the Unix epoch.
    pub initiated_ms: i64,
    pub described: Described,
    /// Checksum to compute for each part, by S3's name.
    pub algorithm: Option<String>,
    /// The object's checksum is that of its bytes, not of its parts' checksums.
    pub full_object: bool,
}

impl Purpose {
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm.as_deref().and_then(Algorithm::named)
    }
}

/// One upload that is neither completed nor aborted.
pub struct Upload {
    pub id: String,
    pub purpose: Purpose,
    folder: PathBuf,
    synced: FolderSync,
    /// Parts by number. Held for writing while the upload ends, so that no part arrives in between.
    parts: tokio::sync::RwLock<Parts>,
}

#[derive(Default)]
struct Parts {
    by_number: BTreeMap<u16, Metadata>,
    /// Completed or aborted.
    ended: bool,
}

/// All uploads.
pub struct Uploads {
    folder: PathBuf,
    staging: Arc<Staging>,
    synced: FolderSync,
    running: RwLock<HashMap<String, Arc<Upload>>>,
}

impl Uploads {
    /// Reads the uploads that are not ended; what a crash left without a description is removed.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn open(folder: PathBuf, staging: Arc<Staging>) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let mut running = HashMap::new();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let id = entry.file_name().to_string_lossy().into_owned();
            match Upload::read(id.clone(), entry.path())? {
                Some(upload) => drop(running.insert(id, Arc::new(upload))),
                None => fs::remove_dir_all(entry.path())?,
            }
        }
        let synced = FolderSync::open(&folder)?;
        Ok(Self { folder, staging, synced, running: RwLock::new(running) })
    }

    /// Starts an upload and returns its id.
    ///
    /// # Errors
    /// The disk's.
    pub async fn start(&self, purpose: Purpose) -> Result<String, StoreError> {
        let id = Uuid::new_v4().simple().to_string();
        let (folder, staging, upload_id) = (self.folder.join(&id), self.staging.clone(), id.clone());
        let upload = blocking(move || {
            fs::create_dir(&folder)?;
            staging.write_file(&serde_json::to_vec(&purpose).map_err(io::Error::from)?, &folder.join(DESCRIPTION))?;
            let synced = FolderSync::open(&folder)?;
            Ok(Upload { id: upload_id, purpose, folder, synced, parts: tokio::sync::RwLock::default() })
        })
        .await?;
        upload.synced.sync().await?;
        self.synced.sync().await?;
        self.running.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), Arc::new(upload));
        Ok(id)
    }

    /// # Errors
    /// `NoSuchUpload`, also when the id belongs to another key.
    pub fn find(&self, id: &str, bucket: &str, key: &str) -> Result<Arc<Upload>, StoreError> {
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        let upload = running.get(id).filter(|upload| upload.purpose.bucket == bucket && upload.purpose.key == key);
        upload.cloned().ok_or(StoreError::NoSuchUpload)
    }

    /// The uploads of a bucket, by key and start.
    pub fn of_bucket(&self, bucket: &str) -> Vec<Arc<Upload>> {
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        let mut uploads: Vec<_> = running.values().filter(|upload| upload.purpose.bucket == bucket).cloned().collect();
        uploads.sort_by(|a, b| (&a.purpose.key, &a.id).cmp(&(&b.purpose.key, &b.id)));
        uploads
    }

    /// Makes one object of the parts and forgets the upload.
    ///
    /// # Errors
    /// What is wrong with the list of parts, or as publishing an object.
    pub async fn complete(
        self: &Arc<Self>,
        upload: Arc<Upload>,
        bucket: Arc<Bucket>,
        chosen: Vec<(u16, Option<String>)>,
        stated: Stated,
        condition: WriteCondition,
    ) -> Result<Metadata, StoreError> {
        let uploads = self.clone();
        in_a_task(async move {
            let mut parts = upload.parts.write().await;
            if parts.ended {
                return Err(StoreError::NoSuchUpload);
            }
            let picked = pick(&parts.by_number, &chosen)?;
            let (staged, metadata) = upload.assemble(uploads.staging.clone(), picked, stated).await?;
            bucket.publish(staged, metadata.clone(), condition).await?;
            parts.ended = true;
            uploads.forget(&upload).await?;
            Ok(metadata)
        })
        .await
    }

    /// Removes an upload and its parts.
    ///
    /// # Errors
    /// `NoSuchUpload`, or the disk's.
    pub async fn abort(self: &Arc<Self>, upload: Arc<Upload>) -> Result<(), StoreError> {
        let uploads = self.clone();
        in_a_task(async move {
            let mut parts = upload.parts.write().await;
            if parts.ended {
                return Err(StoreError::NoSuchUpload);
            }
            parts.ended = true;
            uploads.forget(&upload).await
        })
        .await
    }

    async fn forget(&self, upload: &Upload) -> Result<(), StoreError> {
        let folder = upload.folder.clone();
        // The description goes first: without it the rest is a leftover that the next start removes.
        blocking(move || {
            fs::remove_file(folder.join(DESCRIPTION))?;
            Ok(fs::remove_dir_all(folder)?)
        })
        .await?;
        self.running.write().unwrap_or_else(PoisonError::into_inner).remove(&upload.id);
        Ok(())
    }
}

impl Upload {
    fn read(id: String, folder: PathBuf) -> io::Result<Option<Self>> {
        let purpose = match fs::read(folder.join(DESCRIPTION)) {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let Ok(purpose) = serde_json::from_slice(&purpose) else { return Ok(None) };
        let mut by_number = BTreeMap::new();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(number) =
                name.to_str().and_then(|name| name.strip_prefix("part-")).and_then(|text| text.parse().ok())
            {
                match record::read(&File::open(entry.path())?) {
                    Ok(parsed) => drop(by_number.insert(number, parsed.metadata)),
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                        tracing::error!(
                            upload = id,
                            number,
                            "a part is damaged ({error}); it has to be uploaded again"
                        );
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        let synced = FolderSync::open(&folder)?;
        Ok(Some(Self {
            id,
            purpose,
            folder,
            synced,
            parts: tokio::sync::RwLock::new(Parts { by_number, ended: false }),
        }))
    }

    fn part_path(&self, number: u16) -> PathBuf {
        self.folder.join(format!("part-{number:05}"))
    }

    /// Takes a part in, in place of an earlier one with its number. Durable when it returns.
    ///
    /// # Errors
    /// `NoSuchUpload` when the upload has ended, or the disk's.
    pub async fn add_part(
        self: &Arc<Self>,
        number: u16,
        mut staged: Staged,
        digests: Digests,
        modified_ms: i64,
    ) -> Result<Metadata, StoreError> {
        let upload = self.clone();
        in_a_task(async move {
            let metadata = Metadata {
                key: upload.purpose.key.clone(),
                size: staged.size,
                etag: EntityTag { md5: digests.md5, parts: 0 },
                modified_ms,
                described: Described::default(),
                checksums: digests.checksums,
                part_sizes: Vec::new(),
            };
            let (staged, metadata) = blocking(move || {
                staged.seal(&metadata)?;
                Ok((staged, metadata))
            })
            .await?;
            let mut parts = upload.parts.write().await;
            if parts.ended {
                return Err(StoreError::NoSuchUpload);
            }
            let target = upload.part_path(number);
            blocking(move || Ok(staged.publish(&target)?)).await?;
            upload.synced.sync().await?;
            parts.by_number.insert(number, metadata.clone());
            Ok(metadata)
        })
        .await
    }

    /// Parts behind `after`, at most `max`, and whether there are more.
    pub async fn list_parts(&self, after: u16, max: usize) -> (Vec<(u16, Metadata)>, bool) {
        let parts = self.parts.read().await;
        let mut behind = parts.by_number.range(after.saturating_add(1)..).map(|(number, part)| (*number, part.clone()));
        let page: Vec<_> = behind.by_ref().take(max).collect();
        let more = behind.next().is_some();
        (page, more)
    }

    async fn assemble(
        self: &Arc<Self>,
        staging: Arc<Staging>,
        picked: Vec<(u16, Metadata)>,
        stated: Stated,
    ) -> Result<(Staged, Metadata), StoreError> {
        let upload = self.clone();
        blocking(move || {
            let mut sources = Vec::with_capacity(picked.len());
            for (number, part) in &picked {
                sources.push((Arc::new(File::open(upload.part_path(*number))?), 0, part.size));
            }
            let algorithm = upload.purpose.algorithm();
            let full = if upload.purpose.full_object { algorithm.into_iter().collect() } else { stated.algorithms() };
            let (staged, mut digests) = stage_copy(&staging, &sources, &full)?;
            if let Some(algorithm) = algorithm.filter(|_| !upload.purpose.full_object) {
                digests.checksums = Checksums { composite: true, ..Checksums::default() };
                let of_parts: Vec<_> = picked.iter().map(|(_, part)| &part.checksums).collect();
                if let Some(value) = digest::composite(algorithm, &of_parts) {
                    algorithm.set(&mut digests.checksums, value);
                }
            }
            stated.verify(&digests)?;
            let metadata = Metadata {
                key: upload.purpose.key.clone(),
                size: staged.size,
                etag: EntityTag {
                    md5: digest::md5_of_parts(picked.iter().map(|(_, part)| &part.etag.md5)),
                    parts: picked.len() as u32,
                },
                modified_ms: chrono::Utc::now().timestamp_millis(),
                described: upload.purpose.described.clone(),
                checksums: digests.checksums,
                part_sizes: picked.iter().map(|(_, part)| part.size).collect(),
            };
            Ok((staged, metadata))
        })
        .await
    }
}

/// The parts a client lists, checked: ascending, uploaded, with the ETag the client names, none but the last too small.
fn pick(parts: &BTreeMap<u16, Metadata>, chosen: &[(u16, Option<String>)]) -> Result<Vec<(u16, Metadata)>, StoreError> {
    if chosen.is_empty() || !chosen.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(StoreError::PartOrder);
    }
    let mut picked = Vec::with_capacity(chosen.len());
    for (at, (number, tag)) in chosen.iter().enumerate() {
        let part = parts.get(number).ok_or(StoreError::InvalidPart(*number))?;
        if tag.as_ref().is_some_and(|tag| *tag != part.etag.to_string()) {
            return Err(StoreError::InvalidPart(*number));
        }
        if part.size < PART_BYTES_MIN && at + 1 < chosen.len() {
            return Err(StoreError::PartTooSmall(*number));
        }
        picked.push((*number, part.clone()));
    }
    Ok(picked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_parts_is_checked() {
        let part = |size| Metadata {
            key: "k".into(),
            size,
            etag: EntityTag { md5: [1; 16], parts: 0 },
            modified_ms: 0,
            described: Described::default(),
            checksums: Checksums::default(),
            part_sizes: Vec::new(),
        };
        let parts = BTreeMap::from([(1, part(PART_BYTES_MIN)), (2, part(1)), (3, part(2))]);
        let tag = Some(EntityTag { md5: [1; 16], parts: 0 }.to_string());
        assert!(pick(&parts, &[(1, tag.clone()), (3, None)]).is_ok());
        assert!(matches!(pick(&parts, &[]), Err(StoreError::PartOrder)));
        assert!(matches!(pick(&parts, &[(2, None), (1, None)]), Err(StoreError::PartOrder)));
        assert!(matches!(pick(&parts, &[(2, None), (3, None)]), Err(StoreError::PartTooSmall(2))));
        assert!(matches!(pick(&parts, &[(4, None)]), Err(StoreError::InvalidPart(4))));
        assert!(matches!(pick(&parts, &[(1, Some("x".into()))]), Err(StoreError::InvalidPart(1))));
    }
}
