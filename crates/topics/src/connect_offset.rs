//! Positions of source connectors as Kafka Connect keeps them in `connect_offsets`.
//!
//! Key: the JSON array `["<connector>", {<source partition>}]`. Value: a JSON object, or null to forget it.
//! Written compactly with keys in the order given, as Connect's JsonConverter does.

use serde_json::{Map, Value};

/// One entry of `connect_offsets`.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectOffset {
    pub connector: String,
    /// What part of the source this is the position of; Debezium: `{"server": "<topic.prefix>"}`.
    pub partition: Map<String, Value>,
    /// `None` deletes the entry.
    pub offset: Option<Map<String, Value>>,
}

/// A record in the offsets topic that is not one of Connect's.
#[derive(Debug, thiserror::Error)]
#[error("not an offset record of Kafka Connect: {reason}")]
pub struct ConnectOffsetError {
    reason: String,
}

impl ConnectOffset {
    pub fn key_bytes(&self) -> Vec<u8> {
        let key = Value::Array(vec![self.connector.clone().into(), Value::Object(self.partition.clone())]);
        key.to_string().into_bytes()
    }

    pub fn value_bytes(&self) -> Option<Vec<u8>> {
        self.offset.as_ref().map(|offset| Value::Object(offset.clone()).to_string().into_bytes())
    }

    /// Reads a record of the topic.
    ///
    /// # Errors
    /// When key or value do not have the shape above.
    pub fn parse(key: &[u8], value: Option<&[u8]>) -> Result<Self, ConnectOffsetError> {
        let fail = |reason: String| ConnectOffsetError { reason };
        let (connector, partition): (String, Map<String, Value>) =
            serde_json::from_slice(key).map_err(|error| fail(format!("key: {error}")))?;
        let offset = match value {
            None => None,
            Some(value) => serde_json::from_slice(value).map_err(|error| fail(format!("value: {error}")))?,
        };
        Ok(Self { connector, partition, offset })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const KEY: &str = r#"["storefront-source",{"server":"storefront"}]"#;
    const VALUE: &str = r#"{"lsn_proc":26938128,"messageType":"INSERT","lsn":26938128,"txId":790}"#;

    #[test]
    fn an_entry_of_real_connect_survives_reading_and_writing_byte_for_byte() {
        let offset = ConnectOffset::parse(KEY.as_bytes(), Some(VALUE.as_bytes())).unwrap();
        assert_eq!(offset.connector, "storefront-source");
        assert_eq!(offset.key_bytes(), KEY.as_bytes());
        assert_eq!(offset.value_bytes().unwrap(), VALUE.as_bytes());
    }

    #[test]
    fn a_tombstone_and_a_null_value_both_mean_forgotten() {
        assert_eq!(ConnectOffset::parse(KEY.as_bytes(), None).unwrap().offset, None);
        assert_eq!(ConnectOffset::parse(KEY.as_bytes(), Some(b"null")).unwrap().offset, None);
    }

    #[test]
    fn bytes_of_another_kind_are_refused() {
        assert!(ConnectOffset::parse(b"{}", None).is_err());
        assert!(ConnectOffset::parse(KEY.as_bytes(), Some(b"[1]")).is_err());
    }
}
