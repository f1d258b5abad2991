//! What lies in the warehouse, as its store lists it: the way to files that no table names any more.

use async_trait::async_trait;
use futures::TryStreamExt;
use objects::{Store, StoreSettings};

use crate::error::{LakeError, Result};

/// A file as the store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub location: String,
    pub bytes: u64,
    /// When it was written by the store's clock; unknown for stores that do not say.
    pub modified_ms: Option<i64>,
}

/// Lists files of the warehouse.
#[async_trait]
pub trait Warehouse: Send + Sync + 'static {
    /// Everything below a folder.
    async fn list(&self, folder: &str) -> Result<Vec<Stored>>;
}

/// A warehouse in S3.
pub struct S3Warehouse {
    /// How to reach the store; its bucket is that of the folder asked for.
    pub settings: StoreSettings,
}

#[async_trait]
impl Warehouse for S3Warehouse {
    async fn list(&self, folder: &str) -> Result<Vec<Stored>> {
        let parts = folder.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.split_once('/')?)));
        let Some((scheme, (bucket, prefix))) = parts else {
            return Err(LakeError::definite(format!("{folder} is no folder of a bucket")));
        };
        let settings = StoreSettings { bucket: bucket.to_owned(), ..self.settings.clone() };
        let away = |error: objects::ObjectError| LakeError::away("the object store", error);
        let store = Store::open(&settings).map_err(away)?;
        let listed = store.list_after(prefix, "").map_err(away).map_ok(|object| Stored {
            location: format!("{scheme}://{bucket}/{}", object.key),
            bytes: object.size,
            modified_ms: object.modified_ms,
        });
        listed.try_collect().await
    }
}
