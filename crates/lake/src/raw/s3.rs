//! The landing zone in an S3 bucket.

use async_trait::async_trait;
use bytes::Bytes;
use objects::{ObjectError, Store};

use super::store::RawStore;
use crate::error::{LakeError, Result};

#[async_trait]
impl RawStore for Store {
    async fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        Store::folders(self, prefix).await.map_err(into_lake)
    }

    async fn keys_after(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        self.next_keys(prefix, after.unwrap_or_default(), limit).await.map_err(into_lake)
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        Store::get(self, key).await.map_err(into_lake)
    }
}

fn into_lake(error: ObjectError) -> LakeError {
    match error {
        // Compose makes the bucket after the server: wait for it.
        ObjectError::Retry { .. } | ObjectError::MissingBucket { .. } => LakeError::away("the object store", error),
        other => LakeError::definite(other.to_string()),
    }
}
