//! Listings that stay cheap however large a bucket is: folder by folder, and the next few keys only.
//!
//! For a follower that asks several times a second what is new.

use futures::TryStreamExt;
use opendal::options::ListOptions;

use crate::{ObjectError, Store};

impl Store {
    /// Names of the folders directly below `prefix` (which ends with `/`), without the slash; by one delimited listing.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub async fn folders(&self, prefix: &str) -> Result<Vec<String>, ObjectError> {
        let lister = self.operator.lister_options(prefix, ListOptions::default()).await;
        let lister = lister.map_err(|error| self.error(&error, prefix))?;
        let entries: Vec<_> = lister.try_collect().await.map_err(|error| self.error(&error, prefix))?;
        let below = entries.iter().filter_map(|entry| entry.path().strip_prefix(prefix)?.strip_suffix('/'));
        Ok(below.filter(|name| !name.is_empty() && !name.contains('/')).map(str::to_owned).collect())
    }

    /// At most `limit` keys below `prefix` that come after `after` (empty: from the start), in order; the server is asked
    /// for no more than these.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub async fn next_keys(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<String>, ObjectError> {
        let options = ListOptions {
            recursive: true,
            limit: Some(limit),
            start_after: (!after.is_empty()).then(|| after.to_owned()),
            ..ListOptions::default()
        };
        let lister = self.operator.lister_options(prefix, options).await;
        let mut lister = lister.map_err(|error| self.error(&error, prefix))?;
        let mut keys = Vec::new();
        while keys.len() < limit
            && let Some(entry) = lister.try_next().await.map_err(|error| self.error(&error, prefix))?
        {
            if entry.metadata().is_file() && entry.path() > after {
                keys.push(entry.path().to_owned());
            }
        }
        Ok(keys)
    }
}
