//! A connector configuration of Confluent's S3 sink, checked and typed.
//!
//! Pure but for the worker's own AWS variables. Unknown settings are accepted; a value this sink cannot honour is
//! refused with the reason, never quietly ignored, because the objects would come out differently from what was asked
//! for.

mod bucket;
mod definitions;
mod evolution;
mod fields;
mod formats;
mod places;
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use connect::FieldError;
use objects::{Access, StoreSettings};

pub use definitions::DEFINITIONS;

use crate::evolution::Compatibility;
use crate::intake::Reading;
use crate::rotation::Rotation;
use crate::shape::Shape;
use fields::Fields;

/// `haus.buffer.bytes.max`: record bytes held over all partitions of the connector in one worker.
const BUFFER_BYTES_MAX_DEFAULT: usize = 64 << 20;
/// `haus.file.bytes.max`: a file ends at this many record bytes.
const FILE_BYTES_MAX_DEFAULT: usize = 16 << 20;

/// Which topics are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topics {
    /// By name.
    Names(Vec<String>),
    /// By a pattern the whole name has to match.
    Pattern(String),
}

/// What to do about a record without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnNull {
    /// Pass over it; the object's metadata counts it.
    Ignore,
    /// Fail the task: Confluent's default.
    Fail,
    /// Keep its key in a folder for such records.
    Write,
}

/// Everything a task has to know.
#[derive(Debug, Clone)]
pub struct SinkConfig {
    /// Topics read.
    pub topics: Topics,
    /// Bucket and how to reach it.
    pub store: StoreSettings,
    /// Credentials, addressing, encryption.
    pub access: Access,
    /// `s3.part.size`: larger objects go up in parts.
    pub part_bytes: usize,
    /// What objects look like.
    pub shape: Arc<Shape>,
    /// How records are read.
    pub reading: Reading,
    /// Which values share a file.
    pub compatibility: Compatibility,
    /// When files end.
    pub rotation: Rotation,
    /// Record bytes one task may hold over all its partitions, fetched ones included.
    pub task_bytes_max: usize,
}

impl SinkConfig {
    /// Check a configuration. Values that are still references (`${…}`) count as given and fit.
    ///
    /// # Errors
    /// Every setting that does not fit, in Connect's wording.
    pub fn parse(config: &BTreeMap<String, String>) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::new(config);
        let (store, access) = bucket::store_settings(&mut fields);
        let part_bytes = bucket::part_bytes(&mut fields);
        let rotation = places::rotation(&mut fields);
        let formats = formats::formats(&mut fields);
        let reading = formats::reading(&mut fields, &formats);
        let compatibility = evolution::compatibility(&mut fields, reading.values, &formats.values);
        let shape = places::shape(&mut fields, formats, reading.on_null);
        support::refuse(&mut fields);
        let tasks_max = fields.number("tasks.max", 1_usize, 1).clamp(1, crate::plugin::TASKS_MAX);
        let buffer_bytes_max = fields.number("haus.buffer.bytes.max", BUFFER_BYTES_MAX_DEFAULT, 1 << 20);
        let topics = match (fields.text("topics"), fields.text("topics.regex")) {
            (Some(names), _) => Topics::Names(
                names.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect(),
            ),
            (None, pattern) => Topics::Pattern(pattern.unwrap_or_default().to_owned()),
        };
        let task_bytes_max = buffer_bytes_max / tasks_max;
        let this = Self {
            topics,
            store,
            access,
            part_bytes,
            shape: Arc::new(shape),
            reading,
            compatibility,
            rotation,
            task_bytes_max,
        };
        if fields.errors.is_empty() { Ok(this) } else { Err(fields.errors) }
    }

    /// Bytes fetched ahead of the files, out of the task's share.
    pub fn fetch_bytes_max(&self) -> usize {
        (self.task_bytes_max / 4).clamp(256 << 10, 16 << 20)
    }

    /// Bytes the task's files may hold together.
    pub fn files_bytes_max(&self) -> usize {
        self.task_bytes_max.saturating_sub(self.fetch_bytes_max()).max(256 << 10)
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
