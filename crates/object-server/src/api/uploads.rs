//! Multipart uploads: start, parts, complete, abort, lists.

use s3s::{S3Request, S3Response, S3Result, dto::*, s3_error};

use super::{
    Answer, Api, check_key, conditions,
    conditions::ReadConditions,
    etag,
    listing::Encoder,
    now_ms,
    objects::{add_trailing, algorithm_of, open_source},
    timestamp,
};
use crate::{
    digest::Stated,
    disk::{blocking, stage, stage_copy},
    record::{Checksums, Described},
    uploads::{Purpose, Upload},
};

/// S3's bounds of part numbers and pages.
const PARTS_MAX: i32 = 10_000;
const PAGE_MAX: i32 = 1000;

pub async fn start(api: &Api, input: CreateMultipartUploadInput) -> Answer<CreateMultipartUploadOutput> {
    check_key(&input.key)?;
    api.store.bucket(&input.bucket)?;
    let purpose = Purpose {
        bucket: input.bucket.clone(),
        key: input.key.clone(),
        initiated_ms: now_ms(),
        described: Described {
            content_type: input.content_type,
            content_encoding: input.content_encoding,
            content_language: input.content_language,
            content_disposition: input.content_disposition,
            cache_control: input.cache_control,
            user: input.metadata.unwrap_or_default().into_iter().collect(),
        },
        algorithm: input.checksum_algorithm.as_ref().map(|algorithm| algorithm.as_str().to_owned()),
        full_object: input.checksum_type.as_ref().is_some_and(|kind| kind.as_str() == ChecksumType::FULL_OBJECT),
    };
    let id = api.store.uploads.start(purpose).await?;
    Ok(S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(id),
        checksum_algorithm: input.checksum_algorithm,
        checksum_type: input.checksum_type,
        ..Default::default()
    }))
}

fn part_number(number: i32) -> S3Result<u16> {
    match u16::try_from(number) {
        Ok(small) if (1..=PARTS_MAX).contains(&number) => Ok(small),
        _ => Err(s3_error!(InvalidArgument, "part numbers are 1 to {PARTS_MAX}")),
    }
}

pub async fn part(api: &Api, req: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
    let (input, trailing) = (req.input, req.trailing_headers);
    let number = part_number(input.part_number)?;
    let upload = api.store.uploads.find(&input.upload_id, &input.bucket, &input.key)?;
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
        algorithm: algorithm_of(input.checksum_algorithm.as_ref().map(ChecksumAlgorithm::as_str), &req.headers)
            .or(upload.purpose.algorithm()),
    };
    let (staged, digests) = stage(&api.store.staging, input.body, &stated.algorithms()).await?;
    add_trailing(&mut stated, trailing.as_ref());
    stated.verify(&digests)?;
    let metadata = upload.add_part(number, staged, digests, now_ms()).await?;
    Ok(S3Response::new(UploadPartOutput {
        e_tag: Some(etag(metadata.etag)),
        checksum_crc32: metadata.checksums.crc32,
        checksum_crc32c: metadata.checksums.crc32c,
        checksum_crc64nvme: metadata.checksums.crc64nvme,
        checksum_sha1: metadata.checksums.sha1,
        checksum_sha256: metadata.checksums.sha256,
        ..Default::default()
    }))
}

pub async fn part_copy(api: &Api, input: UploadPartCopyInput) -> Answer<UploadPartCopyOutput> {
    let number = part_number(input.part_number)?;
    let upload = api.store.uploads.find(&input.upload_id, &input.bucket, &input.key)?;
    let conditions = ReadConditions {
        matches: input.copy_source_if_match,
        none_match: input.copy_source_if_none_match,
        modified_since: input.copy_source_if_modified_since,
        unmodified_since: input.copy_source_if_unmodified_since,
    };
    let source = open_source(api, &input.copy_source, conditions).await?;
    let size = source.metadata.size;
    let span = match &input.copy_source_range {
        None => 0..size,
        Some(text) => {
            let range = Range::parse(text)
                .map_err(|_| s3_error!(InvalidArgument, "copy source range must be bytes=first-last"))?;
            range.check(size).map_err(|_| s3_error!(InvalidRange, "the object has {size} bytes"))?
        }
    };
    let (staging, algorithm) = (api.store.staging.clone(), upload.purpose.algorithm());
    let (staged, digests) = blocking(move || {
        stage_copy(&staging, &[(source.file, span.start, span.end - span.start)], algorithm.as_slice())
    })
    .await?;
    let metadata = upload.add_part(number, staged, digests, now_ms()).await?;
    let result = CopyPartResult {
        e_tag: Some(etag(metadata.etag)),
        last_modified: Some(timestamp(metadata.modified_ms)),
        ..Default::default()
    };
    Ok(S3Response::new(UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() }))
}

pub async fn complete(api: &Api, input: CompleteMultipartUploadInput) -> Answer<CompleteMultipartUploadOutput> {
    let upload = api.store.uploads.find(&input.upload_id, &input.bucket, &input.key)?;
    let bucket = api.store.bucket(&input.bucket)?;
    let condition = conditions::of_write(input.if_match, input.if_none_match)?;
    let mut chosen = Vec::new();
    for part in input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default() {
        chosen.push((part_number(part.part_number.unwrap_or_default())?, part.e_tag.map(ETag::into_value)));
    }
    let stated = Stated {
        md5: None,
        checksums: Checksums {
            crc32: input.checksum_crc32,
            crc32c: input.checksum_crc32c,
            crc64nvme: input.checksum_crc64nvme,
            sha1: input.checksum_sha1,
            sha256: input.checksum_sha256,
            composite: false,
        },
        algorithm: None,
    };
    let metadata = api.store.uploads.complete(upload, bucket, chosen, stated, condition).await?;
    metrics::counter!("object_server_put_bytes_total").increment(metadata.size);
    Ok(S3Response::new(CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        bucket: Some(input.bucket),
        key: Some(input.key),
        e_tag: Some(etag(metadata.etag)),
        checksum_crc32: metadata.checksums.crc32,
        checksum_crc32c: metadata.checksums.crc32c,
        checksum_crc64nvme: metadata.checksums.crc64nvme,
        checksum_sha1: metadata.checksums.sha1,
        checksum_sha256: metadata.checksums.sha256,
        ..Default::default()
    }))
}

pub async fn abort(api: &Api, input: AbortMultipartUploadInput) -> Answer<AbortMultipartUploadOutput> {
    let upload = api.store.uploads.find(&input.upload_id, &input.bucket, &input.key)?;
    api.store.uploads.abort(upload).await?;
    Ok(S3Response::new(AbortMultipartUploadOutput::default()))
}

pub async fn list_parts(api: &Api, input: ListPartsInput) -> Answer<ListPartsOutput> {
    let upload = api.store.uploads.find(&input.upload_id, &input.bucket, &input.key)?;
    let max_parts = input.max_parts.unwrap_or(PAGE_MAX).clamp(0, PAGE_MAX);
    let after = u16::try_from(input.part_number_marker.unwrap_or(0))
        .map_err(|_| s3_error!(InvalidArgument, "part-number-marker"))?;
    let (page, more) = upload.list_parts(after, max_parts as usize).await;
    let next = page.last().filter(|_| more).map(|(number, _)| i32::from(*number));
    let parts = page.into_iter().map(|(number, part)| Part {
        part_number: Some(i32::from(number)),
        size: i64::try_from(part.size).ok(),
        e_tag: Some(etag(part.etag)),
        last_modified: Some(timestamp(part.modified_ms)),
        checksum_crc32: part.checksums.crc32,
        checksum_crc32c: part.checksums.crc32c,
        checksum_crc64nvme: part.checksums.crc64nvme,
        checksum_sha1: part.checksums.sha1,
        checksum_sha256: part.checksums.sha256,
    });
    Ok(S3Response::new(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        max_parts: Some(max_parts),
        is_truncated: Some(more),
        part_number_marker: input.part_number_marker,
        next_part_number_marker: next,
        parts: Some(parts.collect()),
        ..Default::default()
    }))
}

pub fn list(api: &Api, input: ListMultipartUploadsInput) -> Answer<ListMultipartUploadsOutput> {
    api.store.bucket(&input.bucket)?;
    let encoder = Encoder::of(input.encoding_type.as_ref())?;
    let max_uploads = input.max_uploads.unwrap_or(PAGE_MAX).clamp(0, PAGE_MAX);
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let behind = |upload: &Upload| match (&input.key_marker, &input.upload_id_marker) {
        (None, _) => true,
        (Some(key), None) => upload.purpose.key > *key,
        (Some(key), Some(id)) => (&upload.purpose.key, &upload.id) > (key, id),
    };
    let mut uploads = api.store.uploads.of_bucket(&input.bucket);
    uploads.retain(|upload| upload.purpose.key.starts_with(prefix) && behind(upload));
    let more = uploads.len() > max_uploads as usize;
    uploads.truncate(max_uploads as usize);
    let last = uploads.last().filter(|_| more);
    Ok(S3Response::new(ListMultipartUploadsOutput {
        next_key_marker: last.map(|upload| encoder.encode(&upload.purpose.key)),
        next_upload_id_marker: last.map(|upload| upload.id.clone()),
        is_truncated: Some(more),
        max_uploads: Some(max_uploads),
        prefix: Some(encoder.encode(prefix)),
        key_marker: input.key_marker.clone(),
        upload_id_marker: input.upload_id_marker.clone(),
        encoding_type: input.encoding_type,
        uploads: Some(
            uploads
                .iter()
                .map(|upload| MultipartUpload {
                    key: Some(encoder.encode(&upload.purpose.key)),
                    upload_id: Some(upload.id.clone()),
                    initiated: Some(timestamp(upload.purpose.initiated_ms)),
                    ..Default::default()
                })
                .collect(),
        ),
        bucket: Some(input.bucket),
        ..Default::default()
    }))
}
