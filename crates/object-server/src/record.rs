//! The form of an object on disk: its bytes, then its metadata, in one file.
//!
//! ```text
//! body | metadata as JSON | JSON length u32 LE | CRC-32C of the JSON u32 LE | magic "HAUSOBJ1"
//! ```
//! The metadata stands behind the body because its MD5 is known only then. One file, published by one link or rename,
//! is what makes an object and its metadata appear together or not at all. A file that does not end in a valid
//! trailer, or whose length does not match, is no object.

use std::{collections::BTreeMap, fmt, fs::File, io, os::unix::fs::FileExt as _, str::FromStr};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::key::hex;

const MAGIC: &[u8; 8] = b"HAUSOBJ1";
/// Length, checksum, magic.
const TRAILER_BYTES: usize = 4 + 4 + 8;
/// How much of a file's end is read at once; holds the metadata nearly always, and the whole of a small object.
const TAIL_BYTES: u64 = 64 * 1024;
/// S3 allows 2 KiB of user metadata; headers and part sizes (10,000 parts) come on top.
const METADATA_BYTES_MAX: usize = 1 << 20;

/// An object's ETag: MD5 of the body, or of the parts' MD5s with the number of parts (S3's rule).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntityTag {
    pub md5: [u8; 16],
    /// 0 for an object written in one piece.
    pub parts: u32,
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.md5))?;
        if self.parts > 0 { write!(f, "-{}", self.parts) } else { Ok(()) }
    }
}

impl FromStr for EntityTag {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (digits, parts) = match text.split_once('-') {
            Some((digits, parts)) => (digits, parts.parse().map_err(|_| ())?),
            None => (text, 0),
        };
        let mut md5 = [0; 16];
        if digits.len() != 32 || !digits.is_ascii() {
            return Err(());
        }
        for (byte, at) in md5.iter_mut().zip((0..32).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| ())?;
        }
        Ok(Self { md5, parts })
    }
}

impl Serialize for EntityTag {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EntityTag {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|()| serde::de::Error::custom("not an ETag"))
    }
}

/// What a client says about an object and gets back with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Described {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// `x-amz-meta-*`, names without that prefix.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub user: BTreeMap<String, String>,
}

/// Checksums in base64, as S3's `x-amz-checksum-*` headers carry them. Only those a client asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checksums {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crc32: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crc32c: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crc64nvme: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha1: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Computed from the parts' checksums instead of from the bytes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub composite: bool,
}

/// The metadata of one object (or of one part of an upload).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    pub key: String,
    /// Bytes of the body.
    pub size: u64,
    pub etag: EntityTag,
    /// Milliseconds since the Unix epoch.
    pub modified_ms: i64,
    #[serde(flatten)]
    pub described: Described,
    #[serde(default)]
    pub checksums: Checksums,
    /// Sizes of the parts of an object that was uploaded in parts, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub part_sizes: Vec<u64>,
}

/// The bytes that follow the body.
///
/// # Errors
/// When the metadata is larger than any that S3 lets in.
pub fn trailer(metadata: &Metadata) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(metadata)?;
    if bytes.len() > METADATA_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "metadata too large"));
    }
    let (length, crc) = (bytes.len() as u32, crc32c::crc32c(&bytes));
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(MAGIC);
    Ok(bytes)
}

/// Metadata of an object's file and, when the object is small, its whole body.
pub struct Parsed {
    pub metadata: Metadata,
    pub body: Option<Bytes>,
}

/// Reads the metadata of an object's file.
///
/// # Errors
/// `InvalidData` when the file is no object; otherwise the error of the read.
pub fn read(file: &File) -> io::Result<Parsed> {
    let length = file.metadata()?.len();
    let tail_at = length.saturating_sub(TAIL_BYTES);
    let mut tail = vec![0; (length - tail_at) as usize];
    file.read_exact_at(&mut tail, tail_at)?;
    let json_length = json_length(&tail)?;
    let record_bytes = json_length + TRAILER_BYTES;
    if record_bytes > tail.len() {
        let at = length.checked_sub(record_bytes as u64).ok_or_else(|| invalid("metadata longer than the file"))?;
        let mut record = vec![0; record_bytes];
        file.read_exact_at(&mut record, at)?;
        return Ok(Parsed { metadata: parse(&record, at)?, body: None });
    }
    let split = tail.len() - record_bytes;
    let metadata = parse(&tail[split..], tail_at + split as u64)?;
    let body = (tail_at == 0).then(|| Bytes::from(tail).slice(..split));
    Ok(Parsed { metadata, body })
}

fn json_length(tail: &[u8]) -> io::Result<usize> {
    let rest = tail.strip_suffix(MAGIC).ok_or_else(|| invalid("no trailer"))?;
    let fields = rest.last_chunk::<8>().ok_or_else(|| invalid("trailer cut"))?;
    let [a, b, c, d, ..] = *fields;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if length > METADATA_BYTES_MAX { Err(invalid("metadata too large")) } else { Ok(length) }
}

/// `record` is metadata and trailer; `body_bytes` what stands before it.
fn parse(record: &[u8], body_bytes: u64) -> io::Result<Metadata> {
    let (json, trailer) = record.split_at(record.len() - TRAILER_BYTES);
    if crc32c::crc32c(json).to_le_bytes() != trailer[4..8] {
        return Err(invalid("metadata damaged"));
    }
    let metadata: Metadata = serde_json::from_slice(json)?;
    if metadata.size != body_bytes {
        return Err(invalid("body has another length than recorded"));
    }
    Ok(metadata)
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn metadata(size: u64) -> Metadata {
        Metadata {
            key: "a/b".into(),
            size,
            etag: EntityTag { md5: [7; 16], parts: 2 },
            modified_ms: 1,
            described: Described {
                user: BTreeMap::from([("first-offset".into(), "12".into())]),
                ..Described::default()
            },
            checksums: Checksums::default(),
            part_sizes: vec![size],
        }
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn small_and_large_objects_read_back() {
        for size in [0_usize, 10, 65_536, 300_000] {
            let metadata = metadata(size as u64);
            let mut bytes = vec![9; size];
            bytes.extend(trailer(&metadata).unwrap());
            let parsed = read(&file(&bytes)).unwrap();
            assert_eq!(parsed.metadata, metadata);
            assert_eq!(parsed.body.is_some(), size < 60_000);
        }
    }

    #[test]
    fn an_etag_reads_back() {
        for tag in [EntityTag { md5: [0xab; 16], parts: 0 }, EntityTag { md5: [1; 16], parts: 12 }] {
            assert_eq!(tag.to_string().parse(), Ok(tag));
        }
        assert!("é".repeat(16).parse::<EntityTag>().is_err());
    }

    proptest! {
        #[test]
        fn a_cut_or_changed_file_is_no_object(cut in 1usize..200, flip in 0usize..150) {
            let mut bytes = b"body".to_vec();
            bytes.extend(trailer(&metadata(4)).unwrap());
            let short = &bytes[..bytes.len() - cut.min(bytes.len())];
            prop_assert!(read(&file(short)).is_err());
            let at = 4 + flip % (bytes.len() - 4);
            bytes[at] ^= 0x41;
            prop_assert!(read(&file(&bytes)).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), magic in any::<bool>()) {
            let mut bytes = bytes;
            if magic { bytes.extend_from_slice(MAGIC); }
            let _ = read(&file(&bytes));
        }
    }
}
