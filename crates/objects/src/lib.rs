//! Objects in an S3 bucket: conditional create, read, ranges, head, ordered listing after a key.
//!
//! The only crate that names the S3 SDK (OpenDAL). Between the sink, which creates raw objects, and the lake
//! and the ledger, which list and read them. Promises:
//!
//! - [`Store::put_if_absent`] creates an object whole or not at all, and never replaces one: of several writers
//!   of one key exactly one is told [`PutOutcome::Created`], except that a writer whose answer was lost in the
//!   network is told `Exists` about its own object. Callers read the object's metadata then.
//! - Server errors, slow-down and timeouts are repeated a few times with backoff inside; what remains is
//!   [`ObjectError::Retry`]. Everything else is definite and says what to change.
//!
//! Key names are in [`model::names::RawObject`].

mod access;
mod error;
mod listing;
mod metadata;
mod parts;

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use model::secret::Secret;
use opendal::layers::{RetryLayer, TimeoutLayer};
use opendal::options::{ListOptions, WriteOptions};
use opendal::{Operator, services};

pub use access::{Access, Credentials, CustomerKey, Encryption, Retries, Role};
pub use error::ObjectError;
pub use metadata::{MetadataError, OFFSET_RUNS, OffsetRun, RawMetadata, offset_runs_text};

/// One answer of the server may take this long before it counts as lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// User metadata of an object (`x-amz-meta-…`), names in lower case without the prefix.
pub type Metadata = HashMap<String, String>;

/// What a conditional put found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object is new and is ours.
    Created,
    /// There was one already; it is unchanged.
    Exists,
}

/// What is known of an object without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectHead {
    /// Size in bytes.
    pub size: u64,
    /// Entity tag, without quotes.
    pub etag: Option<String>,
    /// User metadata.
    pub metadata: Metadata,
}

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Key in the bucket.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// When it was written, milliseconds since the epoch by the store's clock.
    pub modified_ms: Option<i64>,
}

/// How to reach a bucket.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// `http://host:port`; path-style addressing.
    pub endpoint: String,
    /// Region the signature names.
    pub region: String,
    /// Access key id.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: Secret,
    /// Bucket.
    pub bucket: String,
}

/// One bucket. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    operator: Operator,
    endpoint: String,
    bucket: String,
}

impl Store {
    /// A bucket by its settings; does not talk to the server yet.
    ///
    /// # Errors
    /// [`ObjectError::Refused`] when the endpoint or bucket name is no valid one.
    pub fn new(
        endpoint: &str,
        region: &str,
        access_key_id: &str,
        secret_access_key: &Secret,
        bucket: &str,
    ) -> Result<Self, ObjectError> {
        let settings = StoreSettings {
            endpoint: endpoint.to_owned(),
            region: region.to_owned(),
            access_key_id: access_key_id.to_owned(),
            secret_access_key: secret_access_key.clone(),
            bucket: bucket.to_owned(),
        };
        Self::open(&settings)
    }

    /// As [`Store::new`], from settings, reached in another way than by keys and path.
    ///
    /// # Errors
    /// As [`Store::new`].
    pub fn open_with(settings: &StoreSettings, access: &Access) -> Result<Self, ObjectError> {
        let StoreSettings { endpoint, region, access_key_id, secret_access_key, bucket } = settings;
        let service =
            services::S3::default().endpoint(endpoint.trim_end_matches('/')).region(region).bucket(bucket).root("/");
        let service = access.apply(service, access_key_id, secret_access_key);
        let builder = Operator::new(service).map_err(|error| error::translate(&error, endpoint, bucket, ""))?;
        let timeout = TimeoutLayer::new().with_timeout(ANSWER_TIMEOUT).with_io_timeout(ANSWER_TIMEOUT);
        let retry = RetryLayer::new()
            .with_max_times(access.retries.max)
            .with_min_delay(access.retries.backoff)
            .with_max_delay(access.retries.backoff.max(Duration::from_secs(1)))
            .with_jitter();
        // The timeout inside the retry, so that a lost answer is repeated.
        let operator = builder.layer(timeout).layer(retry).finish();
        Ok(Self { operator, endpoint: endpoint.to_owned(), bucket: bucket.to_owned() })
    }

    /// As [`Store::new`], from settings.
    ///
    /// # Errors
    /// As [`Store::new`].
    pub fn open(settings: &StoreSettings) -> Result<Self, ObjectError> {
        Self::open_with(settings, &Access::default())
    }

    /// Name of the bucket.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Create the object unless there is one (`If-None-Match: *`).
    ///
    /// # Errors
    /// See [`ObjectError`]. After `Retry` the object may or may not be there: ask again with the same call.
    pub async fn put_if_absent(
        &self,
        key: &str,
        content: impl Into<Content>,
        metadata: Metadata,
    ) -> Result<PutOutcome, ObjectError> {
        let options = WriteOptions { if_not_exists: true, ..write_options(metadata) };
        match self.operator.write_options(key, content.into().0, options).await {
            Ok(_) => Ok(PutOutcome::Created),
            Err(error) if error::exists_already(&error) => Ok(PutOutcome::Exists),
            Err(error) => Err(self.error(&error, key)),
        }
    }

    /// Create or replace the object.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub async fn put(&self, key: &str, content: impl Into<Content>, metadata: Metadata) -> Result<(), ObjectError> {
        let written = self.operator.write_options(key, content.into().0, write_options(metadata)).await;
        written.map(drop).map_err(|error| self.error(&error, key))
    }

    /// The whole object.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`] and the others.
    pub async fn get(&self, key: &str) -> Result<Bytes, ObjectError> {
        let read = self.operator.read(key).await;
        read.map(|buffer| buffer.to_bytes()).map_err(|error| self.error(&error, key))
    }

    /// Some bytes of the object.
    ///
    /// # Errors
    /// As [`Store::get`]; [`ObjectError::Refused`] for a range beyond the end.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, ObjectError> {
        let read = self.operator.read_with(key).range(range).await;
        read.map(|buffer| buffer.to_bytes()).map_err(|error| self.error(&error, key))
    }

    /// Size, tag and metadata; `None` when there is no such object.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub async fn head(&self, key: &str) -> Result<Option<ObjectHead>, ObjectError> {
        match self.operator.stat(key).await {
            Ok(found) => Ok(Some(ObjectHead {
                size: found.content_length(),
                etag: found.etag().map(|tag| tag.trim_matches('"').to_owned()),
                metadata: found
                    .user_metadata()
                    .into_iter()
                    .flatten()
                    .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
                    .collect(),
            })),
            Err(error) => match self.error(&error, key) {
                ObjectError::NotFound { .. } => Ok(None),
                error => Err(error),
            },
        }
    }

    /// Objects below `prefix` whose key comes after `after` (empty: all), in order of their keys.
    ///
    /// # Errors
    /// The stream yields an error and ends; see [`ObjectError`].
    pub fn list_after(
        &self,
        prefix: &str,
        after: &str,
    ) -> impl Stream<Item = Result<ListedObject, ObjectError>> + Send + use<> {
        let store = self.clone();
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        let options = ListOptions {
            recursive: true,
            start_after: (!after.is_empty()).then(|| after.clone()),
            ..ListOptions::default()
        };
        let listing = async move {
            let place = prefix.clone();
            let lister = store.operator.lister_options(&prefix, options).await;
            let lister = lister.map_err(|error| store.error(&error, &prefix))?;
            Ok(lister.map_err(move |error| store.error(&error, &place)))
        };
        let files = futures::stream::once(listing).try_flatten().try_filter_map(move |entry| {
            let modified_ms = entry.metadata().last_modified().map(|time| time.into_inner().as_millisecond());
            let listed = (entry.metadata().is_file() && entry.path() > after.as_str()).then(|| ListedObject {
                key: entry.path().to_owned(),
                size: entry.metadata().content_length(),
                modified_ms,
            });
            async move { Ok(listed) }
        });
        files.boxed()
    }

    /// Delete the object; one that is not there is no error.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        self.operator.delete(key).await.map_err(|error| self.error(&error, key))
    }

    fn error(&self, error: &opendal::Error, key: &str) -> ObjectError {
        error::translate(error, &self.endpoint, &self.bucket, key)
    }
}

/// Bytes to be written, in one or several pieces: a large object need not be copied together first.
pub struct Content(opendal::Buffer);

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self(bytes.into())
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<Vec<Bytes>> for Content {
    fn from(pieces: Vec<Bytes>) -> Self {
        Self(pieces.into())
    }
}

fn write_options(metadata: Metadata) -> WriteOptions {
    let user_metadata = (!metadata.is_empty()).then_some(metadata);
    WriteOptions { user_metadata, content_type: Some("application/octet-stream".into()), ..WriteOptions::default() }
}
