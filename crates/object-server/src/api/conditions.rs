//! Conditions of requests (RFC 9110 section 13, in S3's order) and what they say about an object.

use s3s::{
    S3Error, S3Result,
    dto::{ETag, ETagCondition, IfMatch, IfNoneMatch, Timestamp},
    s3_error,
};

use super::timestamp;
use crate::{bucket::WriteCondition, index::Entry};

/// Conditions on a read.
#[derive(Debug, Default)]
pub struct ReadConditions {
    pub matches: Option<ETagCondition>,
    pub none_match: Option<ETagCondition>,
    pub modified_since: Option<Timestamp>,
    pub unmodified_since: Option<Timestamp>,
}

impl ReadConditions {
    /// Whether the object may be answered.
    ///
    /// # Errors
    /// `PreconditionFailed` (412) or `NotModified` (304).
    pub fn check(&self, entry: &Entry) -> S3Result<()> {
        let fits = |condition: &ETagCondition| match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(tag) => tag.value() == entry.etag.to_string(),
        };
        // HTTP dates have no fractions.
        let modified = timestamp(entry.modified_ms - entry.modified_ms.rem_euclid(1000));
        match (&self.matches, &self.unmodified_since) {
            (Some(condition), _) if !fits(condition) => return Err(s3_error!(PreconditionFailed)),
            (None, Some(since)) if modified > *since => return Err(s3_error!(PreconditionFailed)),
            _ => {}
        }
        match (&self.none_match, &self.modified_since) {
            (Some(condition), _) if fits(condition) => Err(not_modified(entry)),
            (None, Some(since)) if modified <= *since => Err(not_modified(entry)),
            _ => Ok(()),
        }
    }
}

fn not_modified(entry: &Entry) -> S3Error {
    let mut answer = s3_error!(NotModified);
    if let Ok(tag) = ETag::Strong(entry.etag.to_string()).to_http_header() {
        answer.set_headers([(hyper::header::ETAG, tag)].into_iter().collect());
    }
    answer
}

/// The condition of a write.
///
/// # Errors
/// `NotImplemented` for what S3 does not know either: `If-None-Match` with an ETag.
pub fn of_write(matches: Option<IfMatch>, none_match: Option<IfNoneMatch>) -> S3Result<WriteCondition> {
    match (matches, none_match) {
        (None, None) => Ok(WriteCondition::None),
        (None, Some(ETagCondition::Any)) => Ok(WriteCondition::Absent),
        (Some(ETagCondition::Any), None) => Ok(WriteCondition::Present),
        (Some(ETagCondition::ETag(tag)), None) => Ok(WriteCondition::Tagged(tag.into_value())),
        _ => Err(s3_error!(NotImplemented, "a write may have If-None-Match: * or one If-Match")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use s3s::S3ErrorCode;

    use super::*;
    use crate::record::EntityTag;

    #[test]
    fn reads_follow_the_rfc() {
        let entry = Entry { size: 1, etag: EntityTag { md5: [1; 16], parts: 0 }, modified_ms: 10_500 };
        let tag = |text: &str| Some(ETagCondition::ETag(ETag::Strong(text.into())));
        let own = entry.etag.to_string();
        let code = |conditions: ReadConditions| conditions.check(&entry).err().map(|error| error.code().clone());
        assert_eq!(code(ReadConditions::default()), None);
        assert_eq!(
            code(ReadConditions { matches: tag("x"), ..Default::default() }),
            Some(S3ErrorCode::PreconditionFailed)
        );
        assert_eq!(
            code(ReadConditions { none_match: tag(&own), ..Default::default() }),
            Some(S3ErrorCode::NotModified)
        );
        assert_eq!(
            code(ReadConditions { modified_since: Some(timestamp(10_000)), ..Default::default() }),
            Some(S3ErrorCode::NotModified)
        );
        assert_eq!(code(ReadConditions { modified_since: Some(timestamp(9_000)), ..Default::default() }), None);
        assert_eq!(
            code(ReadConditions { unmodified_since: Some(timestamp(9_000)), ..Default::default() }),
            Some(S3ErrorCode::PreconditionFailed)
        );
        // An ETag decides over a date.
        assert_eq!(
            code(ReadConditions { matches: tag(&own), unmodified_since: Some(timestamp(0)), ..Default::default() }),
            None
        );
        assert_eq!(
            code(ReadConditions {
                none_match: tag("x"),
                modified_since: Some(timestamp(99_000)),
                ..Default::default()
            }),
            None
        );
    }
}
