//! Single objects: get, head, put, copy, delete.

use std::{fs::File, io, ops::Range as Span, os::unix::fs::FileExt as _, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use s3s::{S3Error, S3Request, S3Response, S3Result, dto::*, s3_error};

use super::{
    Answer, Api, check_key,
    conditions::{self, ReadConditions},
    etag, now_ms, timestamp,
};
use crate::{
    bucket::{Opened, WriteCondition},
    digest::{Algorithm, Stated},
    disk::{blocking, read_cached, stage, stage_copy},
    error::StoreError,
    index::Entry,
    record::{Checksums, Described, EntityTag, Metadata},
};

/// Bodies leave the disk in portions of this size.
const READ_BYTES: u64 = 256 * 1024;
/// Deletions of one DeleteObjects that run at once; they share folder syncs.
const DELETES_AT_ONCE: usize = 64;

pub async fn get(api: &Api, input: GetObjectInput) -> Answer<GetObjectOutput> {
    let opened = api.store.bucket(&input.bucket)?.open_object(&input.key).await?;
    let conditions = ReadConditions {
        matches: input.if_match,
        none_match: input.if_none_match,
        modified_since: input.if_modified_since,
        unmodified_since: input.if_unmodified_since,
    };
    conditions.check(&Entry::from(&opened.metadata))?;
    let (span, partial) = span(&opened.metadata, input.range, input.part_number)?;
    let metadata = &opened.metadata;
    // A checksum of the whole says nothing about a piece.
    let checksums = checksums_asked(input.checksum_mode.as_ref().filter(|_| !partial), metadata);
    let described = metadata.described.clone();
    let output = GetObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        content_length: i64::try_from(span.end - span.start).ok(),
        content_range: partial
            .then(|| format!("bytes {}-{}/{}", span.start, span.end.saturating_sub(1), metadata.size)),
        // Answers without a type make some clients guess.
        content_type: described.content_type.or_else(|| Some("application/octet-stream".to_owned())),
        content_encoding: described.content_encoding,
        content_language: described.content_language,
        content_disposition: described.content_disposition,
        cache_control: described.cache_control,
        metadata: Some(described.user.into_iter().collect()),
        e_tag: Some(etag(metadata.etag)),
        last_modified: Some(timestamp(metadata.modified_ms)),
        parts_count: parts_count(input.part_number, metadata),
        checksum_crc32: checksums.crc32,
        checksum_crc32c: checksums.crc32c,
        checksum_crc64nvme: checksums.crc64nvme,
        checksum_sha1: checksums.sha1,
        checksum_sha256: checksums.sha256,
        body: Some(body(opened, span)),
        ..Default::default()
    };
    Ok(S3Response::new(output))
}

pub async fn head(api: &Api, input: HeadObjectInput) -> Answer<HeadObjectOutput> {
    let opened = api.store.bucket(&input.bucket)?.open_object(&input.key).await?;
    let metadata = opened.metadata;
    let conditions = ReadConditions {
        matches: input.if_match,
        none_match: input.if_none_match,
        modified_since: input.if_modified_since,
        unmodified_since: input.if_unmodified_since,
    };
    conditions.check(&Entry::from(&metadata))?;
    let (span, _) = span(&metadata, None, input.part_number)?;
    let checksums = checksums_asked(input.checksum_mode.as_ref(), &metadata);
    Ok(S3Response::new(HeadObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        content_length: i64::try_from(span.end - span.start).ok(),
        parts_count: parts_count(input.part_number, &metadata),
        content_type: metadata.described.content_type.or_else(|| Some("application/octet-stream".to_owned())),
        content_encoding: metadata.described.content_encoding,
        content_language: metadata.described.content_language,
        content_disposition: metadata.described.content_disposition,
        cache_control: metadata.described.cache_control,
        metadata: Some(metadata.described.user.into_iter().collect()),
        e_tag: Some(etag(metadata.etag)),
        last_modified: Some(timestamp(metadata.modified_ms)),
        checksum_crc32: checksums.crc32,
        checksum_crc32c: checksums.crc32c,
        checksum_crc64nvme: checksums.crc64nvme,
        checksum_sha1: checksums.sha1,
        checksum_sha256: checksums.sha256,
        ..Default::default()
    }))
}

/// The bytes to answer, and whether that is less than a plain GET gives.
fn span(metadata: &Metadata, range: Option<Range>, part: Option<i32>) -> S3Result<(Span<u64>, bool)> {
    match (range, part) {
        (None, None) => Ok((0..metadata.size, false)),
        (Some(range), None) => match range.check(metadata.size) {
            Ok(span) => Ok((span, true)),
            Err(_) => Err(s3_error!(InvalidRange, "the object has {} bytes", metadata.size)),
        },
        (None, Some(1)) if metadata.part_sizes.is_empty() => Ok((0..metadata.size, false)),
        (None, Some(part)) => {
            let at = usize::try_from(part - 1).ok().filter(|at| *at < metadata.part_sizes.len());
            let at = at.ok_or_else(|| s3_error!(InvalidPart, "the object has {} parts", metadata.part_sizes.len()))?;
            let start: u64 = metadata.part_sizes[..at].iter().sum();
            Ok((start..start + metadata.part_sizes[at], true))
        }
        (Some(_), Some(_)) => Err(s3_error!(InvalidRequest, "a range and a part number exclude each other")),
    }
}

fn parts_count(asked: Option<i32>, metadata: &Metadata) -> Option<i32> {
    asked.filter(|_| !metadata.part_sizes.is_empty()).and_then(|_| i32::try_from(metadata.part_sizes.len()).ok())
}

fn checksums_asked(mode: Option<&ChecksumMode>, metadata: &Metadata) -> Checksums {
    mode.map_or_else(Checksums::default, |_| metadata.checksums.clone())
}

fn body(opened: Opened, span: Span<u64>) -> StreamingBlob {
    let length = (span.end - span.start) as usize;
    if let Some(whole) = opened.body {
        let bytes = whole.slice(span.start as usize..span.end as usize);
        return StreamingBlob::from(s3s::Body::from(bytes));
    }
    StreamingBlob::new(FileBody {
        inner: Box::pin(stream::try_unfold((opened.file, span), read_portion)),
        left: length,
    })
}

async fn read_portion(
    (file, span): (Arc<File>, Span<u64>),
) -> Result<Option<(Bytes, (Arc<File>, Span<u64>))>, s3s::StdError> {
    if span.is_empty() {
        return Ok(None);
    }
    let length = (span.end - span.start).min(READ_BYTES);
    let mut portion = vec![0; length as usize];
    let (file, bytes) = match read_cached(&file, &mut portion, span.start) {
        true => (file, Bytes::from(portion)),
        false => {
            tokio::task::spawn_blocking(move || {
                file.read_exact_at(&mut portion, span.start)?;
                io::Result::Ok((file, Bytes::from(portion)))
            })
            .await??
        }
    };
    Ok(Some((bytes, (file, span.start + length..span.end))))
}

/// A stream that knows how many bytes are left, so that the answer has a Content-Length.
struct FileBody {
    inner: std::pin::Pin<Box<dyn futures::Stream<Item = Result<Bytes, s3s::StdError>> + Send + Sync>>,
    left: usize,
}

impl futures::Stream for FileBody {
    type Item = Result<Bytes, s3s::StdError>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let polled = self.inner.poll_next_unpin(cx);
        if let std::task::Poll::Ready(Some(Ok(bytes))) = &polled {
            self.left = self.left.saturating_sub(bytes.len());
        }
        polled
    }
}

impl s3s::stream::ByteStream for FileBody {
    fn remaining_length(&self) -> s3s::stream::RemainingLength {
        s3s::stream::RemainingLength::new_exact(self.left)
    }
}

pub async fn put(api: &Api, req: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
    let (input, trailing) = (req.input, req.trailing_headers);
    check_key(&input.key)?;
    let bucket = api.store.bucket(&input.bucket)?;
    let condition = conditions::of_write(input.if_match, input.if_none_match)?;
    let mut stated = Stated {
        md5: input.content_md5,
        checksums: Checksums {
            crc32: input.checksum_crc32,
            crc32c: input.checksum_crc32c,
            crc64nvme: input.checksum_crc64nvme,
            sha1: input.checksum_sha1,
            sha256: input.checksum_sha256,
            composite: false,
        },
        algorithm: algorithm_of(input.checksum_algorithm.as_ref().map(ChecksumAlgorithm::as_str), &req.headers),
    };
    let (staged, digests) = stage(&api.store.staging, input.body, &stated.algorithms()).await?;
    add_trailing(&mut stated, trailing.as_ref());
    stated.verify(&digests)?;
    let metadata = Metadata {
        key: input.key,
        size: staged.size,
        etag: EntityTag { md5: digests.md5, parts: 0 },
        modified_ms: now_ms(),
        described: Described {
            content_type: input.content_type,
            content_encoding: input.content_encoding.and_then(without_chunked),
            content_language: input.content_language,
            content_disposition: input.content_disposition,
            cache_control: input.cache_control,
            user: input.metadata.unwrap_or_default().into_iter().collect(),
        },
        checksums: digests.checksums.clone(),
        part_sizes: Vec::new(),
    };
    let tag = metadata.etag;
    metrics::counter!("object_server_put_bytes_total").increment(staged.size);
    bucket.publish(staged, metadata, condition).await?;
    Ok(S3Response::new(PutObjectOutput {
        e_tag: Some(etag(tag)),
        checksum_crc32: digests.checksums.crc32,
        checksum_crc32c: digests.checksums.crc32c,
        checksum_crc64nvme: digests.checksums.crc64nvme,
        checksum_sha1: digests.checksums.sha1,
        checksum_sha256: digests.checksums.sha256,
        ..Default::default()
    }))
}

/// The checksum that the client announces to send, by header or behind the body.
pub fn algorithm_of(named: Option<&str>, headers: &hyper::HeaderMap) -> Option<Algorithm> {
    let trailer = headers
        .get("x-amz-trailer")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.trim().strip_prefix("x-amz-checksum-"));
    named.or(trailer).and_then(Algorithm::named)
}

/// Takes over the checksums that came behind the body.
pub fn add_trailing(stated: &mut Stated, trailing: Option<&s3s::TrailingHeaders>) {
    let Some(trailing) = trailing else { return };
    trailing.read(|headers| {
        for algorithm in Algorithm::ALL {
            if let Some(value) = headers.get(algorithm.header()).and_then(|value| value.to_str().ok()) {
                algorithm.set(&mut stated.checksums, value.to_owned());
            }
        }
    });
}

/// `aws-chunked` names the form of the request, not of the object.
fn without_chunked(encoding: String) -> Option<String> {
    let kept: Vec<_> =
        encoding.split(',').map(str::trim).filter(|part| !part.is_empty() && *part != "aws-chunked").collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// The object that `x-amz-copy-source` names.
pub async fn open_source(api: &Api, source: &CopySource, conditions: ReadConditions) -> S3Result<Opened> {
    let CopySource::Bucket { bucket, key, version_id: None } = source else {
        return Err(s3_error!(NotImplemented, "only objects of this server's buckets can be copied"));
    };
    let opened = api.store.bucket(bucket)?.open_object(key).await?;
    // Where a read would answer 304, a copy answers 412.
    conditions.check(&Entry::from(&opened.metadata)).map_err(|_| S3Error::from(StoreError::PreconditionFailed))?;
    Ok(opened)
}

pub async fn copy(api: &Api, input: CopyObjectInput) -> Answer<CopyObjectOutput> {
    check_key(&input.key)?;
    let replace =
        input.metadata_directive.as_ref().is_some_and(|directive| directive.as_str() == MetadataDirective::REPLACE);
    if let CopySource::Bucket { bucket, key, .. } = &input.copy_source
        && (**bucket == *input.bucket && **key == *input.key && !replace)
    {
        return Err(s3_error!(InvalidRequest, "an object copied onto itself needs new metadata (REPLACE)"));
    }
    let target = api.store.bucket(&input.bucket)?;
    let conditions = ReadConditions {
        matches: input.copy_source_if_match,
        none_match: input.copy_source_if_none_match,
        modified_since: input.copy_source_if_modified_since,
        unmodified_since: input.copy_source_if_unmodified_since,
    };
    let source = open_source(api, &input.copy_source, conditions).await?;
    let described = if replace {
        Described {
            content_type: input.content_type,
            content_encoding: input.content_encoding,
            content_language: input.content_language,
            content_disposition: input.content_disposition,
            cache_control: input.cache_control,
            user: input.metadata.unwrap_or_default().into_iter().collect(),
        }
    } else {
        source.metadata.described.clone()
    };
    let algorithm =
        algorithm_of(input.checksum_algorithm.as_ref().map(ChecksumAlgorithm::as_str), &hyper::HeaderMap::new());
    let (staging, size) = (api.store.staging.clone(), source.metadata.size);
    let (staged, digests) =
        blocking(move || stage_copy(&staging, &[(source.file, 0, size)], algorithm.as_slice())).await?;
    let metadata = Metadata {
        key: input.key,
        size,
        etag: EntityTag { md5: digests.md5, parts: 0 },
        modified_ms: now_ms(),
        described,
        checksums: digests.checksums,
        part_sizes: Vec::new(),
    };
    let result = CopyObjectResult {
        e_tag: Some(etag(metadata.etag)),
        last_modified: Some(timestamp(metadata.modified_ms)),
        ..Default::default()
    };
    target.publish(staged, metadata, WriteCondition::None).await?;
    Ok(S3Response::new(CopyObjectOutput { copy_object_result: Some(result), ..Default::default() }))
}

pub async fn delete(api: &Api, input: DeleteObjectInput) -> Answer<DeleteObjectOutput> {
    let condition = conditions::of_write(input.if_match, None)?;
    api.store.bucket(&input.bucket)?.delete(&input.key, condition).await?;
    Ok(S3Response::new(DeleteObjectOutput::default()))
}

pub async fn delete_many(api: &Api, input: DeleteObjectsInput) -> Answer<DeleteObjectsOutput> {
    let bucket = api.store.bucket(&input.bucket)?;
    let quiet = input.delete.quiet.unwrap_or(false);
    let deletions = input.delete.objects.into_iter().map(|object| {
        let bucket = bucket.clone();
        async move {
            let condition = object.e_tag.map_or(WriteCondition::None, |tag| WriteCondition::Tagged(tag.into_value()));
            let result = bucket.delete(&object.key, condition).await;
            (object.key, result)
        }
    });
    let mut running = stream::iter(deletions).buffered(DELETES_AT_ONCE);
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    while let Some((key, result)) = running.next().await {
        match result.map_err(S3Error::from) {
            Ok(()) if quiet => {}
            Ok(()) => deleted.push(DeletedObject { key: Some(key), ..Default::default() }),
            Err(error) => errors.push(Error {
                key: Some(key),
                code: Some(error.code().as_str().to_owned()),
                message: error.message().map(str::to_owned),
                version_id: None,
            }),
        }
    }
    Ok(S3Response::new(DeleteObjectsOutput { deleted: Some(deleted), errors: Some(errors), ..Default::default() }))
}
