//! Who may do what: the one pair of keys may do everything; without keys, objects of public buckets can be read.
//!
//! `s3s` has checked the signature before this is asked; a wrong one never gets here.

use std::collections::BTreeSet;

use s3s::{
    S3Result,
    access::{S3Access, S3AccessContext},
    s3_error,
};

/// Read access to some buckets for everybody.
pub struct PublicReads {
    /// Buckets whose objects can be read by who knows their keys; listing them needs credentials.
    pub buckets: BTreeSet<String>,
}

#[async_trait::async_trait]
impl S3Access for PublicReads {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        if cx.credentials().is_some() {
            return Ok(());
        }
        let reads = matches!(cx.s3_op().name(), "GetObject" | "HeadObject");
        match cx.s3_path().get_bucket_name() {
            Some(bucket) if reads && self.buckets.contains(bucket) => Ok(()),
            _ => Err(s3_error!(AccessDenied, "this needs a signed request")),
        }
    }
}
