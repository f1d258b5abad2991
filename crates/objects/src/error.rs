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

/// OpenDAL's error in our words. Its own "temporary" flag is gone after the retries, so the kind and the HTTP
/// status decide; in doubt it is to be retried.
pub(crate) fn translate(error: &opendal::Error, endpoint: &str, bucket: &str, key: &str) -> ObjectError {
    let (endpoint, bucket, key) = (endpoint.to_owned(), bucket.to_owned(), key.to_owned());
    let reason = short(error);
    match (error.kind(), http_status(error)) {
        (ErrorKind::NotFound, _) => ObjectError::NotFound { bucket, key },
        (ErrorKind::PermissionDenied, _) => ObjectError::AccessDenied { endpoint, bucket, reason },
        (ErrorKind::ConfigInvalid, _) if error.message().contains("NoSuchBucket") => {
            ObjectError::MissingBucket { endpoint, bucket }
        }
        (ErrorKind::RateLimited, _) | (ErrorKind::ConditionNotMatch, Some(409)) => {
            ObjectError::Retry { endpoint, key, reason }
        }
        (ErrorKind::Unexpected, status) if !status.is_some_and(definite) => {
            ObjectError::Retry { endpoint, key, reason }
        }
        _ => ObjectError::Refused { endpoint, key, reason },
    }
}

/// Whether a conditional put was refused because there is an object; a conflict (409: another writer is at it) is
/// not an answer yet.
pub(crate) fn exists_already(error: &opendal::Error) -> bool {
    error.kind() == ErrorKind::ConditionNotMatch && http_status(error) != Some(409)
}

/// Answers that come again whenever the request does; 501: the store has no such thing.
fn definite(status: u16) -> bool {
    status == 501 || (400..500).contains(&status) && ![408, 409, 425, 429, 499].contains(&status)
}

/// Status of the answer, which OpenDAL keeps in the error's context only.
fn http_status(error: &opendal::Error) -> Option<u16> {
    let text = error.to_string();
    let (_, rest) = text.split_once("status: ")?;
    rest.get(..3)?.parse().ok()
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
        let missing =
            opendal::Error::new(ErrorKind::ConfigInvalid, "S3Error { code: \"NoSuchBucket\", message: \"x\" }");
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
    fn server_errors_are_retried_and_refusals_are_not() {
        let answered = |status: u16| {
            let error = opendal::Error::new(ErrorKind::Unexpected, "x").set_persistent();
            let error = error.with_context("response", format!("Parts {{ status: {status}, version: HTTP/1.1 }}"));
            translate(&error, "e", "b", "k")
        };
        for status in [500, 503, 408] {
            assert!(matches!(answered(status), ObjectError::Retry { .. }), "{status}");
        }
        assert!(matches!(answered(400), ObjectError::Refused { .. }));
        assert!(matches!(answered(501), ObjectError::Refused { .. }), "encryption that the store does not have");
        let unreachable = opendal::Error::new(ErrorKind::Unexpected, "send http request");
        assert!(matches!(translate(&unreachable, "e", "b", "k"), ObjectError::Retry { .. }));
        let slow_down = opendal::Error::new(ErrorKind::RateLimited, "slow down").set_persistent();
        assert!(matches!(translate(&slow_down, "e", "b", "k"), ObjectError::Retry { .. }));
    }
}
