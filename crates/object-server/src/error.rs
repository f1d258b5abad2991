//! What can go wrong with a request, told apart by what the client should do next.

use std::io;

use s3s::{S3Error, S3ErrorCode, StdError};

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the bucket does not exist")]
    NoSuchBucket,
    #[error("the bucket exists already")]
    BucketExists,
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    #[error("the key does not exist")]
    NoSuchKey,
    #[error("keys are 1 to 1024 bytes long")]
    KeyTooLong,
    #[error("a condition of the request does not hold")]
    PreconditionFailed,
    #[error("the upload does not exist: it was completed, aborted or never started")]
    NoSuchUpload,
    #[error("part {0} was not uploaded or has another ETag")]
    InvalidPart(u16),
    #[error("parts have to be listed in ascending order, each once")]
    PartOrder,
    #[error("part {0} is smaller than 5 MiB and not the last")]
    PartTooSmall(u16),
    #[error("the body does not have the {0} that the request states")]
    BadDigest(&'static str),
    #[error("the {0} of the request cannot be read")]
    InvalidDigest(&'static str),
    /// The connection broke, or the signature of the body was wrong.
    #[error("the body did not arrive whole: {0}")]
    Body(StdError),
    #[error("the body stopped arriving")]
    BodyStalled,
    #[error("no space left on the disk of the object store; free some space and try again")]
    DiskFull,
    #[error("the object's file is damaged; it is kept for inspection")]
    Damaged,
    /// The outcome is unknown; the client has to look or try again.
    #[error("the object store's disk failed: {0}")]
    Io(io::Error),
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            io::ErrorKind::InvalidData => Self::Damaged,
            _ => Self::Io(error),
        }
    }
}

impl From<StoreError> for S3Error {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        let code = match &error {
            StoreError::NoSuchBucket => S3ErrorCode::NoSuchBucket,
            StoreError::BucketExists => S3ErrorCode::BucketAlreadyOwnedByYou,
            StoreError::BucketNotEmpty => S3ErrorCode::BucketNotEmpty,
            StoreError::NoSuchKey => S3ErrorCode::NoSuchKey,
            StoreError::KeyTooLong => S3ErrorCode::KeyTooLongError,
            StoreError::PreconditionFailed => S3ErrorCode::PreconditionFailed,
            StoreError::NoSuchUpload => S3ErrorCode::NoSuchUpload,
            StoreError::InvalidPart(_) => S3ErrorCode::InvalidPart,
            StoreError::PartOrder => S3ErrorCode::InvalidPartOrder,
            StoreError::PartTooSmall(_) => S3ErrorCode::EntityTooSmall,
            StoreError::BadDigest(_) => S3ErrorCode::BadDigest,
            StoreError::InvalidDigest(_) => S3ErrorCode::InvalidDigest,
            StoreError::Body(_) => S3ErrorCode::IncompleteBody,
            StoreError::BodyStalled => S3ErrorCode::RequestTimeout,
            // MinIO's name for it; S3 has none.
            StoreError::DiskFull => S3ErrorCode::Custom("XMinioStorageFull".into()),
            StoreError::Damaged | StoreError::Io(_) => S3ErrorCode::InternalError,
        };
        let mut answer = S3Error::with_message(code, message);
        if matches!(error, StoreError::DiskFull) {
            answer.set_status_code(hyper::StatusCode::INSUFFICIENT_STORAGE);
        }
        if matches!(error, StoreError::DiskFull | StoreError::Damaged | StoreError::Io(_)) {
            tracing::error!("{error}");
            metrics::counter!("object_server_storage_errors_total").increment(1);
        }
        answer
    }
}
