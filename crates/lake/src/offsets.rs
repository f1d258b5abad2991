//! Progress of a table along a topic: the next Kafka offset of each partition, kept as a property of the table itself.
//!
//! Kafka offsets are the one coordinate of progress from the topic to `serve`: the property is set in the commit that
//! publishes the rows, so rows and progress cannot part. Compaction and snapshot expiry do not touch it.

use std::collections::{BTreeMap, HashMap};

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
}

/// Next offset per partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NextOffsets(pub BTreeMap<i32, i64>);

impl NextOffsets {
    /// Reads the property; a table without it stands at the start.
    ///
    /// # Errors
    /// When the property is damaged.
    pub fn of(properties: &HashMap<String, String>) -> Result<Self> {
        let Some(text) = properties.get(property::NEXT_OFFSETS) else { return Ok(Self::default()) };
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
    fn progress_reads_back_from_its_property() {
        let next = NextOffsets(BTreeMap::from([(0, 12), (10, 3)]));
        let (name, text) = next.property();
        assert_eq!(text, r#"{"0":12,"10":3}"#);
        assert_eq!(NextOffsets::of(&HashMap::from([(name, text)])).unwrap(), next);
    }
}
