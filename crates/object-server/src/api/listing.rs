//! ListObjects and ListObjectsV2: one page of the index, in S3's words.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use s3s::{S3Response, S3Result, dto::*, s3_error};

use super::{Answer, Api, etag, timestamp};
use crate::index::{After, Page};

/// S3's greatest page.
const PAGE_KEYS_MAX: i32 = 1000;

pub fn version_2(api: &Api, input: ListObjectsV2Input) -> Answer<ListObjectsV2Output> {
    let encoder = Encoder::of(input.encoding_type.as_ref())?;
    let max_keys = page_size(input.max_keys)?;
    let after = match (&input.continuation_token, &input.start_after) {
        (Some(token), _) => read_token(token)?,
        (None, Some(key)) if !key.is_empty() => After::Key(key.clone()),
        _ => After::Start,
    };
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let page =
        api.store.bucket(&input.bucket)?.index().list(prefix, input.delimiter.as_deref(), &after, max_keys as usize);
    Ok(S3Response::new(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(encoder.encode(prefix)),
        max_keys: Some(max_keys),
        key_count: i32::try_from(page.objects.len() + page.prefixes.len()).ok(),
        is_truncated: Some(page.next.is_some()),
        next_continuation_token: page.next.as_ref().map(token),
        continuation_token: input.continuation_token,
        start_after: input.start_after.map(|key| encoder.encode(&key)),
        delimiter: input.delimiter.map(|delimiter| encoder.encode(&delimiter)),
        encoding_type: input.encoding_type,
        contents: Some(contents(&page, &encoder)),
        common_prefixes: Some(common_prefixes(&page, &encoder)),
        ..Default::default()
    }))
}

pub fn version_1(api: &Api, input: ListObjectsInput) -> Answer<ListObjectsOutput> {
    let encoder = Encoder::of(input.encoding_type.as_ref())?;
    let max_keys = page_size(input.max_keys)?;
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let after = after_marker(input.marker.as_deref().unwrap_or_default(), prefix, input.delimiter.as_deref());
    let page =
        api.store.bucket(&input.bucket)?.index().list(prefix, input.delimiter.as_deref(), &after, max_keys as usize);
    let next_marker = page.next.as_ref().map(|next| match next {
        After::Start => String::new(),
        After::Key(text) | After::Prefix(text) => encoder.encode(text),
    });
    Ok(S3Response::new(ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(encoder.encode(prefix)),
        marker: input.marker.map(|marker| encoder.encode(&marker)),
        max_keys: Some(max_keys),
        is_truncated: Some(page.next.is_some()),
        next_marker,
        delimiter: input.delimiter.map(|delimiter| encoder.encode(&delimiter)),
        encoding_type: input.encoding_type,
        contents: Some(contents(&page, &encoder)),
        common_prefixes: Some(common_prefixes(&page, &encoder)),
        ..Default::default()
    }))
}

/// A marker is a key or, when the last thing shown was a common prefix, that prefix.
fn after_marker(marker: &str, prefix: &str, delimiter: Option<&str>) -> After {
    let is_prefix = delimiter.is_some_and(|delimiter| {
        !delimiter.is_empty()
            && marker
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.find(delimiter) == rest.len().checked_sub(delimiter.len()))
    });
    match marker {
        "" => After::Start,
        prefix if is_prefix => After::Prefix(prefix.to_owned()),
        key => After::Key(key.to_owned()),
    }
}

fn page_size(asked: Option<i32>) -> S3Result<i32> {
    match asked.unwrap_or(PAGE_KEYS_MAX) {
        negative if negative < 0 => Err(s3_error!(InvalidArgument, "max-keys must not be negative")),
        asked => Ok(asked.min(PAGE_KEYS_MAX)),
    }
}

/// Continuation tokens name the last thing shown, so they stay valid over restarts and changes of the bucket.
fn token(after: &After) -> String {
    URL_SAFE_NO_PAD.encode(match after {
        After::Start => String::new(),
        After::Key(key) => format!("k{key}"),
        After::Prefix(prefix) => format!("p{prefix}"),
    })
}

fn read_token(token: &str) -> S3Result<After> {
    let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match text.as_deref().map(|text| text.split_at_checked(1)) {
        Some(Some(("k", key))) => Ok(After::Key(key.to_owned())),
        Some(Some(("p", prefix))) => Ok(After::Prefix(prefix.to_owned())),
        _ => Err(s3_error!(InvalidArgument, "the continuation token is not one of this server's")),
    }
}

fn contents(page: &Page, encoder: &Encoder) -> Vec<Object> {
    let object = |(key, entry): &(String, crate::index::Entry)| Object {
        key: Some(encoder.encode(key)),
        size: i64::try_from(entry.size).ok(),
        e_tag: Some(etag(entry.etag)),
        last_modified: Some(timestamp(entry.modified_ms)),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        ..Default::default()
    };
    page.objects.iter().map(object).collect()
}

fn common_prefixes(page: &Page, encoder: &Encoder) -> Vec<CommonPrefix> {
    page.prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(encoder.encode(prefix)) }).collect()
}

/// `encoding-type=url`: for keys that XML cannot carry. S3 encodes all but unreserved characters and `/`.
pub struct Encoder {
    url: bool,
}

impl Encoder {
    /// # Errors
    /// When the client asks for an encoding that S3 does not know.
    pub fn of(encoding: Option<&EncodingType>) -> S3Result<Self> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(Self { url: false }),
            Some(EncodingType::URL) => Ok(Self { url: true }),
            Some(_) => Err(s3_error!(InvalidArgument, "encoding-type must be url")),
        }
    }

    pub fn encode(&self, text: &str) -> String {
        if !self.url {
            return text.to_owned();
        }
        let mut encoded = String::with_capacity(text.len());
        for byte in text.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' => {
                    encoded.push(char::from(byte))
                }
                _ => {
                    encoded.push('%');
                    encoded.push_str(&format!("{byte:02X}"));
                }
            }
        }
        encoded
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_reads_back_and_a_foreign_one_is_refused() {
        for after in [After::Key("a/ü".into()), After::Prefix("a/".into()), After::Key(String::new())] {
            assert_eq!(read_token(&token(&after)).unwrap(), after);
        }
        for foreign in ["", "!", "eHg", "/w"] {
            assert!(read_token(foreign).is_err(), "{foreign}");
        }
    }

    #[test]
    fn a_marker_that_is_a_common_prefix_passes_over_it() {
        assert_eq!(after_marker("p/a/", "p/", Some("/")), After::Prefix("p/a/".into()));
        assert_eq!(after_marker("p/a/b", "p/", Some("/")), After::Key("p/a/b".into()));
        assert_eq!(after_marker("p/a/", "p/", None), After::Key("p/a/".into()));
        assert_eq!(after_marker("", "", Some("/")), After::Start);
    }

    #[test]
    fn keys_are_encoded_when_asked() {
        assert_eq!(Encoder { url: true }.encode("a b+ü/\u{1}"), "a%20b%2B%C3%BC/%01");
        assert_eq!(Encoder { url: false }.encode("a b"), "a b");
    }
}
