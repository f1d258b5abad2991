//! What is written down about a range of offsets before its objects are: where it ends and which record lies where.
//!
//! Pure. A layout by time or field makes several objects of a range, and a name that follows from the first offset
//! alone cannot say where the range ends. So a small object that can (its name follows from the range's start, its
//! upload is conditional) is written first. Whoever comes after a crash reads it and makes the objects that are
//! missing, with the same records, even if the layout went by the wall clock.

use objects::{OffsetRun, RawMetadata};
use serde::{Deserialize, Serialize};

use crate::partition::{Batch, OpenFile};
use crate::shape::{Part, Shape};
use topics::TopicPartition;

/// A range and its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupPlan {
    /// Where it begins.
    pub start: i64,
    /// Where the next begins.
    pub next: i64,
    /// Records in its files.
    pub records: u64,
    /// Its files.
    pub files: Vec<PlannedFile>,
}

/// A file of a range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFile {
    /// Folder below the topic's.
    pub folder: String,
    /// Offset of its first record.
    pub first: i64,
    /// Its records: `first+count`, separated by commas.
    pub runs: String,
    /// Names of its objects: values, keys, headers, as far as they are stored.
    pub objects: Vec<String>,
}

impl GroupPlan {
    /// Of files that are ready.
    pub fn of(shape: &Shape, at: &TopicPartition, batch: &Batch) -> Self {
        let files = batch.files.iter().map(|file| PlannedFile {
            folder: file.folder.clone(),
            first: file.first,
            runs: runs_text(&file.runs),
            objects: parts(file).map(|part| shape.object_key(at, &file.folder, file.first, part)).collect(),
        });
        Self { start: batch.plan.start, next: batch.plan.next, records: batch.plan.records, files: files.collect() }
    }

    /// The file that holds the record at `offset`.
    pub fn file_of(&self, offset: i64) -> Option<&PlannedFile> {
        self.files.iter().find(|file| {
            runs_of(&file.runs).any(|run| (run.first..run.first.saturating_add(run.count)).contains(&offset))
        })
    }

    /// Names of all its objects.
    pub fn objects(&self) -> impl Iterator<Item = &String> {
        self.files.iter().flat_map(|file| &file.objects)
    }
}

/// The parts of a record that a file stores.
pub fn parts(file: &OpenFile) -> impl Iterator<Item = Part> + use<> {
    let stored = [
        (Part::Values, file.values.is_some()),
        (Part::Keys, file.keys.is_some()),
        (Part::Headers, file.headers.is_some()),
    ];
    stored.into_iter().filter(|(_, stored)| *stored).map(|(part, _)| part)
}

/// What an object of a range says about itself. Such objects do not chain: the plans do.
pub fn object_metadata(file: &OpenFile, schema_id: u32) -> RawMetadata {
    RawMetadata {
        start_offset: file.first,
        next_offset: file.next,
        record_count: file.records,
        tombstone_count: if file.values.is_none() { file.records } else { 0 },
        schema_id,
        crc32c: None,
    }
}

fn runs_text(runs: &[OffsetRun]) -> String {
    runs.iter().map(|run| format!("{}+{}", run.first, run.count)).collect::<Vec<_>>().join(",")
}

fn runs_of(text: &str) -> impl Iterator<Item = OffsetRun> {
    text.split(',').filter_map(|run| {
        let (first, count) = run.split_once('+')?;
        Some(OffsetRun { first: first.parse().ok()?, count: count.parse().ok()? })
    })
}
