//! Progress of a table along a topic: the next Kafka offset of each partition, kept by the table itself.
//!
//! Kafka offsets are the one coordinate of progress from the topic to `serve`. They are set in the commit that publishes
//! the rows, in two places: as a table property, which is easy to find, and in the snapshot's summary, which is what
//! counts: a property stays as it is when another engine rolls the table back, a snapshot goes with its rows.
//! Every snapshot the lake makes carries them on, so compaction and expiry do not lose them.

use std::collections::{BTreeMap, HashMap};

use iceberg::spec::TableMetadata;

use crate::error::{LakeError, Result};

/// Properties by which the lake's tables know what they are.
pub mod property {
    /// Next offset per partition, JSON object `{"0":123}`.
    pub const NEXT_OFFSETS: &str = "haus.next-offsets";
    /// The topic the rows come from.
    pub const TOPIC: &str = "haus.topic";
    /// Primary key columns, JSON array in key order; `[]` for a table without a key.
    pub const KEY_COLUMNS: &str = "haus.key-columns";
    /// Snapshots a mart was computed from, JSON object `{"shape.orders":1}`.
    pub const INPUTS: &str = "haus.inputs";
    /// Hash of the SQL a mart was computed by.
    pub const MODEL: &str = "haus.model";
    /// Offsets below the next ones whose object is set aside, per partition, JSON object `{"0":[[start,next]]}`.
    pub const HOLES: &str = "haus.holes";
    /// Truncates that a shape table has met, JSON array of `[commit time in microseconds, LSN]`.
    pub const TRUNCATES: &str = "haus.truncates";
    /// What describes the rows of a snapshot, and so is kept in its summary too.
    pub const OF_SNAPSHOT: [&str; 5] = [NEXT_OFFSETS, HOLES, TRUNCATES, INPUTS, MODEL];
}

/// What the current snapshot says under `name`: its own summary, or that of the nearest ancestor that says it (another
/// engine's snapshot says nothing). Only where no ancestor is left that does, the table's property counts.
#[must_use]
pub fn recorded<'a>(metadata: &'a TableMetadata, name: &str) -> Option<&'a str> {
    let mut snapshot = Some(metadata.current_snapshot()?);
    while let Some(present) = snapshot {
        if let Some(text) = present.summary().additional_properties.get(name) {
            return Some(text);
        }
        snapshot = present.parent_snapshot_id().and_then(|parent| metadata.snapshot_by_id(parent));
    }
    metadata.properties().get(name).map(String::as_str)
}

/// Next offset per partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NextOffsets(pub BTreeMap<i32, i64>);

impl NextOffsets {
    /// Where the rows of the table's current snapshot stand; a table without a snapshot stands at the start.
    ///
    /// # Errors
    /// When what is recorded is damaged.
    pub fn of(metadata: &TableMetadata) -> Result<Self> {
        recorded(metadata, property::NEXT_OFFSETS).map_or_else(|| Ok(Self::default()), Self::parse)
    }

    fn parse(text: &str) -> Result<Self> {
        let map = serde_json::from_str(text);
        map.map(Self).map_err(|error| LakeError::definite(format!("property {}: {error}", property::NEXT_OFFSETS)))
    }

    /// The property's name and text.
    #[must_use]
    pub fn property(&self) -> (String, String) {
        let map: serde_json::Map<_, _> =
            self.0.iter().map(|(partition, next)| (partition.to_string(), (*next).into())).collect();
        (property::NEXT_OFFSETS.to_owned(), serde_json::Value::Object(map).to_string())
    }

    /// Next offset of a partition, if it was ever seen.
    #[must_use]
    pub fn get(&self, partition: i32) -> Option<i64> {
        self.0.get(&partition).copied()
    }
}

/// Offsets that a stage table lacks although it stands beyond them: their object is set aside. By partition, from start
/// to the offset after.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holes(pub BTreeMap<i32, BTreeMap<i64, i64>>);

impl Holes {
    /// The holes of the table's current snapshot.
    ///
    /// # Errors
    /// When what is recorded is damaged.
    pub fn of(metadata: &TableMetadata) -> Result<Self> {
        recorded(metadata, property::HOLES).map_or_else(|| Ok(Self::default()), Self::parse)
    }

    fn parse(text: &str) -> Result<Self> {
        let lists: BTreeMap<i32, Vec<(i64, i64)>> = serde_json::from_str(text)
            .map_err(|error| LakeError::definite(format!("property {}: {error}", property::HOLES)))?;
        Ok(Self(lists.into_iter().map(|(partition, list)| (partition, list.into_iter().collect())).collect()))
    }

    /// The property's name and text.
    #[must_use]
    pub fn property(&self) -> (String, String) {
        let lists: serde_json::Map<_, _> = self
            .0
            .iter()
            .filter(|(_, holes)| !holes.is_empty())
            .map(|(partition, holes)| (partition.to_string(), holes.iter().collect::<Vec<_>>()))
            .map(|(partition, holes)| (partition, serde_json::json!(holes)))
            .collect();
        (property::HOLES.to_owned(), serde_json::Value::Object(lists).to_string())
    }

    /// All of them: partition, start, next.
    pub fn iter(&self) -> impl Iterator<Item = (i32, i64, i64)> {
        self.0.iter().flat_map(|(partition, holes)| holes.iter().map(|(start, next)| (*partition, *start, *next)))
    }

    /// How far a reader at `from` may go in a partition: to the start of the next hole.
    #[must_use]
    pub fn limit(&self, partition: i32, from: i64) -> Option<i64> {
        self.0.get(&partition)?.iter().find(|(_, next)| **next > from).map(|(start, _)| (*start).max(from))
    }
}

/// Key columns by a table's properties; empty when the table has no key.
///
/// # Errors
/// When the property is damaged.
pub fn key_columns(properties: &HashMap<String, String>) -> Result<Vec<String>> {
    let Some(text) = properties.get(property::KEY_COLUMNS) else { return Ok(Vec::new()) };
    serde_json::from_str(text)
        .map_err(|error| LakeError::definite(format!("property {}: {error}", property::KEY_COLUMNS)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_reader_stops_at_the_first_hole_before_it() {
        let holes = Holes(BTreeMap::from([(0, BTreeMap::from([(10, 20), (30, 31)])), (1, BTreeMap::new())]));
        let (_, text) = holes.property();
        assert_eq!(text, r#"{"0":[[10,20],[30,31]]}"#);
        assert_eq!(Holes::parse(&text).unwrap().iter().collect::<Vec<_>>(), vec![(0, 10, 20), (0, 30, 31)]);
        assert_eq!(
            [0, 10, 15, 20, 31].map(|from| holes.limit(0, from)),
            [Some(10), Some(10), Some(15), Some(30), None]
        );
        assert_eq!(holes.limit(1, 0), None);
    }

    #[test]
    fn progress_reads_back_from_its_property() {
        let next = NextOffsets(BTreeMap::from([(0, 12), (10, 3)]));
        let (name, text) = next.property();
        assert_eq!(text, r#"{"0":12,"10":3}"#);
        assert_eq!(name, property::NEXT_OFFSETS);
        assert_eq!(NextOffsets::parse(&text).unwrap(), next);
    }
}
