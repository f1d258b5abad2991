//! Errors of the object store, split by what the caller does next.

use opendal::ErrorKind;

/// What went wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// The server is away, busy or its answer was lost: ask again later.
    #[error("object store {endpoint} is not answering ({key}): {reason}")]
    Retry {
        /// Server.
        endpoint: String,
        /// Object or prefix.
        key: String,
        /// The last attempt's error.
        reason: String,
    },
    /// No such object.
    #[error("object {key} is not in bucket {bucket}")]
    NotFound {
        /// Bucket.
        bucket: String,
        /// Object.
        key: String,
    },
    /// No such bucket: create it or correct the name.
    #[error("bucket {bucket} does not exist at {endpoint}: create it or correct the bucket's name")]
    MissingBucket {
        /// Server.
        endpoint: String,
        /// Bucket.
        bucket: String,
    },
    /// Wrong key, wrong secret or no permission.
    #[error(
        "object store {endpoint} refuses access to bucket {bucket}: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, \
         the region and the bucket's policy ({reason})"
    )]
    AccessDenied {
        /// Server.
        endpoint: String,
        /// Bucket.
        bucket: String,
        /// The server's error code.
        reason: String,
    },
    /// Anything else the server will not do, now or later.
    #[error("object store {endpoint} refuses {key}: {reason}")]
    Refused {
        /// Server.
        endpoint: String,
        /// Object or prefix.
        key: String,
        /// The server's words.
        reason: String,
    },
}

/// OpenDAL's error in our words.
pub(crate) fn translate(error: &opendal::Error, endpoint: &str, bucket: &str, key: &str) -> ObjectError {
    let (endpoint, bucket, key) = (endpoint.to_owned(), bucket.to_owned(), key.to_owned());
    let reason = short(error);
    // "Persistent" is a temporary error that outlasted the retries.
    if !error.is_permanent() {
        return ObjectError::Retry { endpoint, key, reason };
    }
    match error.kind() {
        ErrorKind::NotFound => ObjectError::NotFound { bucket, key },
        ErrorKind::PermissionDenied => ObjectError::AccessDenied { endpoint, bucket, reason },
        ErrorKind::ConfigInvalid if error.message().contains("NoSuchBucket") => {
            ObjectError::MissingBucket { endpoint, bucket }
        }
        // A connection refused or cut arrives without the server having said anything.
        ErrorKind::Unexpected if std::error::Error::source(error).is_some() => {
            ObjectError::Retry { endpoint, key, reason }
        }
        _ => ObjectError::Refused { endpoint, key, reason },
    }
}

/// Message and cause, without the context OpenDAL adds (it repeats headers).
fn short(error: &opendal::Error) -> String {
    let mut text = error.message().to_owned();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    // S3's error body is shown by its code and message alone.
    let part = |name: &str| {
        let (_, rest) = text.split_once(&format!("{name}: \""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    match (text.starts_with("S3Error"), part("code"), part("message")) {
        (true, Some(code), Some(message)) => format!("{code}: {message}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_bucket_and_a_wrong_secret_are_definite_and_named() {
        let missing = opendal::Error::new(ErrorKind::ConfigInvalid, "S3Error { code: \"NoSuchBucket\", message: \"x\" }");
        let error = translate(&missing, "http://s3:9000", "raw", "kafka/a");
        assert_eq!(error, ObjectError::MissingBucket { endpoint: "http://s3:9000".into(), bucket: "raw".into() });
        let denied = opendal::Error::new(
            ErrorKind::PermissionDenied,
            "S3Error { code: \"SignatureDoesNotMatch\", message: \"no\", resource: \"\" }",
        );
        let text = translate(&denied, "http://s3:9000", "raw", "k").to_string();
        assert!(text.contains("AWS_SECRET_ACCESS_KEY") && text.contains("SignatureDoesNotMatch: no"), "{text}");
    }

    #[test]
    fn what_outlasted_the_retries_is_still_retryable_by_the_caller() {
        let error = opendal::Error::new(ErrorKind::RateLimited, "slow down").set_persistent();
        assert!(matches!(translate(&error, "e", "b", "k"), ObjectError::Retry { .. }));
    }
}
