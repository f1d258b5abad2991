//! Metadata files of tables and views in the warehouse: written before a commit, read by location, removed when nobody needs them.
//!
//! A metadata file never changes once it is written, so those read lately are kept.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use iceberg::{
    MetadataLocation,
    io::{FileIO, FileIOBuilder, S3_ACCESS_KEY_ID, S3_ENDPOINT, S3_PATH_STYLE_ACCESS, S3_REGION, S3_SECRET_ACCESS_KEY},
    spec::{TableMetadata, ViewMetadata},
};
use iceberg_storage_opendal::OpenDalStorageFactory;

use crate::error::CatalogError;

/// Metadata kept in memory. One of a busy table has some 100 KB.
const KEPT_MAX: usize = 64;
/// A write or read that takes longer is given up; nothing is committed then.
const FILE_TIMEOUT: Duration = Duration::from_secs(30);

/// How the object store is reached.
#[derive(Clone)]
pub struct ObjectStore {
    pub endpoint: String,
    pub region: String,
    pub access_key_id: String,
    pub secret_access_key: String,
}

/// Metadata read or written last, by location, oldest first.
type Kept = VecDeque<(String, Arc<TableMetadata>)>;

/// The warehouse's files. Cheap to clone.
#[derive(Clone)]
pub struct MetadataFiles {
    io: FileIO,
    kept: Arc<Mutex<Kept>>,
}

impl MetadataFiles {
    pub fn new(store: &ObjectStore) -> Self {
        let io = FileIOBuilder::new(Arc::new(OpenDalStorageFactory::S3 { customized_credential_load: None }))
            .with_props([
                (S3_ENDPOINT, store.endpoint.as_str()),
                (S3_REGION, store.region.as_str()),
                (S3_ACCESS_KEY_ID, store.access_key_id.as_str()),
                (S3_SECRET_ACCESS_KEY, store.secret_access_key.as_str()),
                (S3_PATH_STYLE_ACCESS, "true"),
            ])
            .build();
        Self { io, kept: Arc::default() }
    }

    pub fn io(&self) -> &FileIO {
        &self.io
    }

    /// Reads the metadata at a location.
    ///
    /// # Errors
    /// `Unavailable` when the object store is away, `Internal` when the file is missing or no metadata.
    pub async fn read(&self, location: &str) -> Result<Arc<TableMetadata>, CatalogError> {
        if let Some(metadata) = self.kept(location) {
            return Ok(metadata);
        }
        let metadata = in_time(TableMetadata::read_from(&self.io, location)).await?;
        let metadata = metadata.map_err(|error| read_error(location, &error))?;
        let metadata = Arc::new(metadata);
        self.keep(location, metadata.clone());
        Ok(metadata)
    }

    /// Writes new metadata to its location.
    ///
    /// # Errors
    /// `Unavailable` when the object store is away.
    pub async fn write(&self, metadata: &Arc<TableMetadata>, location: &MetadataLocation) -> Result<(), CatalogError> {
        let written = in_time(metadata.write_to(&self.io, location)).await?;
        written.map_err(|error| store_away(&error))?;
        self.keep(&location.to_string(), metadata.clone());
        Ok(())
    }

    /// Reads the metadata of a view.
    ///
    /// # Errors
    /// As [`MetadataFiles::read`].
    pub async fn read_view(&self, location: &str) -> Result<ViewMetadata, CatalogError> {
        let damaged = |error: &dyn std::fmt::Display| {
            CatalogError::Internal(format!("the metadata file {location} is missing or damaged: {error}"))
        };
        let file = self.io.new_input(location).map_err(|error| damaged(&error))?;
        let bytes = in_time(file.read()).await?.map_err(|error| read_error(location, &error))?;
        serde_json::from_slice(&bytes).map_err(|error| damaged(&error))
    }

    /// Writes the metadata of a view to a location of its own.
    ///
    /// # Errors
    /// `Unavailable` when the object store is away.
    pub async fn write_view(&self, metadata: &ViewMetadata, location: &str) -> Result<(), CatalogError> {
        let bytes = serde_json::to_vec(metadata).map_err(|error| CatalogError::Internal(error.to_string()))?;
        let file =
            self.io.new_output(location).map_err(|error| CatalogError::BadRequest(error.message().to_owned()))?;
        in_time(file.write(bytes.into())).await?.map(drop).map_err(|error| store_away(&error))
    }

    /// Removes files that nothing points to any more. A failure leaves an orphan and is only logged.
    pub async fn remove(&self, locations: impl IntoIterator<Item = String>) {
        for location in locations {
            self.lock().retain(|(kept, _)| *kept != location);
            if let Err(error) = self.io.delete(&location).await {
                tracing::warn!(location, "could not remove a metadata file, it stays as an orphan: {error}");
            }
        }
    }

    /// Whether the object store answers.
    ///
    /// # Errors
    /// `Unavailable` with the reason.
    pub async fn probe(&self, warehouse: &str) -> Result<(), CatalogError> {
        let path = format!("{}/.catalog-probe", warehouse.trim_end_matches('/'));
        in_time(self.io.exists(path)).await?.map(drop).map_err(|error| store_away(&error))
    }

    fn kept(&self, location: &str) -> Option<Arc<TableMetadata>> {
        self.lock().iter().find(|(kept, _)| kept == location).map(|(_, metadata)| metadata.clone())
    }

    fn keep(&self, location: &str, metadata: Arc<TableMetadata>) {
        let mut kept = self.lock();
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back((location.to_owned(), metadata));
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(String, Arc<TableMetadata>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, CatalogError> {
    let away =
        |_| CatalogError::Unavailable(format!("the object store did not answer within {FILE_TIMEOUT:?}, try again"));
    tokio::time::timeout(FILE_TIMEOUT, work).await.map_err(away)
}

fn store_away(error: &iceberg::Error) -> CatalogError {
    CatalogError::Unavailable(format!("the object store is away or refuses, try again: {error}"))
}

fn read_error(location: &str, error: &iceberg::Error) -> CatalogError {
    let text = error.to_string();
    if error.kind() == iceberg::ErrorKind::DataInvalid || text.contains("NotFound") {
        return CatalogError::Internal(format!("the metadata file {location} is missing or damaged: {text}"));
    }
    store_away(error)
}
