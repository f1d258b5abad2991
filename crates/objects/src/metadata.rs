//! What a raw object says about itself, so that the next hop need not open it.
//!
//! Written by the sink both as S3 user metadata (`x-amz-meta-haus-…`) and, with dots, in the header of the Avro
//! container (`haus.…`); read by the lake and the ledger. Objects of one partition chain: each one's
//! `start-offset` is the `next-offset` of the one before, so a gap in the chain is lost data and an overlap is
//! doubled data, whatever transaction markers lie between the records.

use std::fmt;

use crate::Metadata;

/// The recorded facts of a raw object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawMetadata {
    /// `haus-start-offset`: first position covered; also in the key.
    pub start_offset: i64,
    /// `haus-next-offset`: where the next object begins, beyond the last record, any ignored tombstones and
    /// the transaction markers that were consumed with it.
    pub next_offset: i64,
    /// `haus-record-count`: records in the container.
    pub record_count: u64,
    /// `haus-tombstone-count`: records without a value among the offsets covered, not in the container.
    pub tombstone_count: u64,
    /// `haus-schema-id`: registry id of the writer schema.
    pub schema_id: u32,
    /// `haus-crc32c`: CRC-32C of the object's bytes, eight hex digits; not in the container's own header.
    pub crc32c: Option<u32>,
}

/// Entry of an Avro container's header with the offsets of its records as runs, `first+count` separated by commas:
/// transaction markers, aborted records and tombstones lie between them. Absent when the records are one run from
/// the start. Too long for S3's user metadata.
pub const OFFSET_RUNS: &str = "haus.offset-runs";

/// Some records with consecutive offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetRun {
    /// Offset of the first.
    pub first: i64,
    /// Their number.
    pub count: i64,
}

/// Text of [`OFFSET_RUNS`]; `None` when the records are one run from `start_offset`.
pub fn offset_runs_text(start_offset: i64, runs: &[OffsetRun]) -> Option<String> {
    if matches!(runs, [only] if only.first == start_offset) {
        return None;
    }
    Some(runs.iter().map(|run| format!("{}+{}", run.first, run.count)).collect::<Vec<_>>().join(","))
}

/// Metadata that is missing or not readable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("metadata {name} is {problem}")]
pub struct MetadataError {
    /// Which.
    pub name: &'static str,
    /// Missing, or its text.
    pub problem: String,
}

const START: &str = "haus-start-offset";
const NEXT: &str = "haus-next-offset";
const RECORDS: &str = "haus-record-count";
const TOMBSTONES: &str = "haus-tombstone-count";
const SCHEMA: &str = "haus-schema-id";
const CRC: &str = "haus-crc32c";

impl RawMetadata {
    /// As user metadata of an object.
    pub fn to_metadata(&self) -> Metadata {
        let mut all: Metadata = self.numbers().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        if let Some(crc) = self.crc32c {
            all.insert(CRC.to_owned(), format!("{crc:08x}"));
        }
        all
    }

    /// As entries of an Avro container's header, names with dots.
    pub fn to_container_entries(&self) -> Vec<(String, String)> {
        self.numbers().into_iter().map(|(name, value)| (name.replacen('-', ".", 1), value)).collect()
    }

    fn numbers(&self) -> [(&'static str, String); 5] {
        [
            (START, self.start_offset.to_string()),
            (NEXT, self.next_offset.to_string()),
            (RECORDS, self.record_count.to_string()),
            (TOMBSTONES, self.tombstone_count.to_string()),
            (SCHEMA, self.schema_id.to_string()),
        ]
    }

    /// Reads user metadata back.
    ///
    /// # Errors
    /// Names the entry that is missing or no number, as in an object that the sink did not write.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self, MetadataError> {
        let crc32c = match metadata.get(CRC) {
            None => None,
            Some(text) => Some(u32::from_str_radix(text, 16).map_err(|_| unreadable(CRC, text))?),
        };
        let this = Self {
            start_offset: number(metadata, START)?,
            next_offset: number(metadata, NEXT)?,
            record_count: number(metadata, RECORDS)?,
            tombstone_count: number(metadata, TOMBSTONES)?,
            schema_id: number(metadata, SCHEMA)?,
            crc32c,
        };
        if this.next_offset <= this.start_offset {
            return Err(unreadable(NEXT, format!("{}, not above {START} {}", this.next_offset, this.start_offset)));
        }
        Ok(this)
    }
}

fn number<T: std::str::FromStr>(metadata: &Metadata, name: &'static str) -> Result<T, MetadataError> {
    let text = metadata.get(name).ok_or(MetadataError { name, problem: "missing".into() })?;
    text.parse().map_err(|_| unreadable(name, text))
}

fn unreadable(name: &'static str, text: impl fmt::Display) -> MetadataError {
    MetadataError { name, problem: format!("'{text}'") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn example() -> RawMetadata {
        RawMetadata {
            start_offset: 10,
            next_offset: 21,
            record_count: 8,
            tombstone_count: 1,
            schema_id: 7,
            crc32c: Some(0xAB),
        }
    }

    #[test]
    fn metadata_reads_back_as_written() {
        let written = example().to_metadata();
        assert_eq!(written["haus-crc32c"], "000000ab");
        assert_eq!(RawMetadata::from_metadata(&written), Ok(example()));
    }

    #[test]
    fn container_entries_carry_the_same_facts_with_dots() {
        let entries = example().to_container_entries();
        assert!(entries.contains(&("haus.next-offset".into(), "21".into())), "{entries:?}");
    }

    #[test]
    fn a_foreign_or_damaged_object_is_told_apart() {
        assert_eq!(
            RawMetadata::from_metadata(&Metadata::new()).unwrap_err().to_string(),
            "metadata haus-start-offset is missing"
        );
        let mut damaged = example().to_metadata();
        damaged.insert(NEXT.into(), "10".into());
        assert!(RawMetadata::from_metadata(&damaged).is_err());
        damaged.insert(NEXT.into(), "x".into());
        assert!(RawMetadata::from_metadata(&damaged).is_err());
    }
}
