//! The landing zone's listing and reading, as the lake needs it: topics, partitions, objects after a key.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::names::RawObject;

use crate::error::Result;

/// A store of raw objects. Keys are without the bucket's name.
#[async_trait]
pub trait RawStore: Send + Sync + 'static {
    /// Folder names directly below a prefix that ends with `/`, without the slash.
    async fn folders(&self, prefix: &str) -> Result<Vec<String>>;
    /// Keys below a prefix, ascending, greater than `after`; at most `limit`.
    async fn keys_after(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>>;
    /// The whole object.
    async fn get(&self, key: &str) -> Result<Bytes>;
}

/// The landing zone of one `topics.dir`.
#[derive(Clone)]
pub struct LandingZone {
    pub store: Arc<dyn RawStore>,
    pub topics_dir: String,
}

impl LandingZone {
    /// Topics that have objects or had them.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn topics(&self) -> Result<Vec<String>> {
        self.store.folders(&format!("{}/", self.topics_dir)).await
    }

    /// Partitions of a topic.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn partitions(&self, topic: &str) -> Result<Vec<i32>> {
        let folders = self.store.folders(&RawObject::topic_prefix(&self.topics_dir, topic)).await?;
        let numbers = folders.iter().filter_map(|folder| folder.strip_prefix("partition=")?.parse().ok());
        let mut partitions: Vec<i32> = numbers.collect();
        partitions.sort_unstable();
        Ok(partitions)
    }

    /// Objects of a partition that start at `next_offset` or later, in order.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn objects(&self, topic: &str, partition: i32, next_offset: i64, limit: usize) -> Result<Vec<RawObject>> {
        let prefix = RawObject::partition_prefix(&self.topics_dir, topic, partition);
        // The greatest key that is before every object of interest: the offset before, without its extension.
        let after = format!("{prefix}{topic}+{partition}+{:010}.~", next_offset.saturating_sub(1).max(0));
        let after = (next_offset > 0).then_some(after);
        let keys = self.store.keys_after(&prefix, after.as_deref(), limit).await?;
        let objects = keys.iter().filter_map(|key| RawObject::parse(key));
        Ok(objects.filter(|object| object.extension == "avro" && object.start_offset >= next_offset).collect())
    }
}
