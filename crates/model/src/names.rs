//! How topics, subjects, groups and raw objects are named: Debezium's, Kafka Connect's and Confluent's conventions.
//!
//! Every hop finds the next one's data by these names, so they are made and parsed here and nowhere else.

use std::fmt;

/// `<prefix>.<schema>.<table>`: the topic of one table (Debezium's default topic naming strategy).
#[must_use]
pub fn topic(prefix: &str, schema: &str, table: &str) -> String {
    format!("{prefix}.{schema}.{table}")
}

/// The parts of a table's topic: prefix, schema, table. `None` when the name has not three parts.
/// The prefix may hold dots; schema and table are the last two parts.
#[must_use]
pub fn topic_parts(topic: &str) -> Option<(&str, &str, &str)> {
    let (rest, table) = topic.rsplit_once('.')?;
    let (prefix, schema) = rest.rsplit_once('.')?;
    (!prefix.is_empty() && !schema.is_empty() && !table.is_empty()).then_some((prefix, schema, table))
}

/// Registry subject of a topic's keys (Confluent's `TopicNameStrategy`).
#[must_use]
pub fn key_subject(topic: &str) -> String {
    format!("{topic}-key")
}

/// Registry subject of a topic's values (Confluent's `TopicNameStrategy`).
#[must_use]
pub fn value_subject(topic: &str) -> String {
    format!("{topic}-value")
}

/// Consumer group of a sink connector (Kafka Connect).
#[must_use]
pub fn connector_group(connector: &str) -> String {
    format!("connect-{connector}")
}

/// Name of one object of the landing zone, as Confluent's S3 sink names it:
/// `<topics.dir>/<topic>/partition=<p>/<topic>+<p>+<start offset, 10 digits>.<extension>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawObject {
    pub topics_dir: String,
    pub topic: String,
    pub partition: i32,
    /// Offset of the first position the object covers.
    pub start_offset: i64,
    pub extension: String,
}

impl RawObject {
    /// Prefix of every object of a topic.
    #[must_use]
    pub fn topic_prefix(topics_dir: &str, topic: &str) -> String {
        format!("{topics_dir}/{topic}/")
    }

    /// Prefix of every object of one partition.
    #[must_use]
    pub fn partition_prefix(topics_dir: &str, topic: &str, partition: i32) -> String {
        format!("{topics_dir}/{topic}/partition={partition}/")
    }

    /// Reads a key back; `None` when it is not a raw object's key.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        let (folder, file) = key.rsplit_once('/')?;
        let (folder, partition) = folder.rsplit_once("/partition=")?;
        let (topics_dir, topic) = folder.rsplit_once('/')?;
        let partition: i32 = partition.parse().ok()?;
        let rest = file.strip_prefix(topic)?.strip_prefix('+')?;
        let (number, rest) = rest.split_once('+')?;
        let (offset, extension) = rest.split_once('.')?;
        if number.parse::<i32>().ok()? != partition || offset.len() < 10 || !offset.bytes().all(|b| b.is_ascii_digit())
        {
            return None;
        }
        // Keys and headers lie beside the values they belong to.
        if extension.starts_with("keys.") || extension.starts_with("headers.") {
            return None;
        }
        Some(Self {
            topics_dir: topics_dir.to_owned(),
            topic: topic.to_owned(),
            partition,
            start_offset: offset.parse().ok()?,
            extension: extension.to_owned(),
        })
    }
}

impl fmt::Display for RawObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topics_dir, topic, partition, start_offset, extension } = self;
        write!(f, "{topics_dir}/{topic}/partition={partition}/{topic}+{partition}+{start_offset:010}.{extension}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_raw_object_is_named_as_confluents_sink_names_it() {
        let object = RawObject {
            topics_dir: "kafka".into(),
            topic: "storefront.public.orders".into(),
            partition: 2,
            start_offset: 4711,
            extension: "avro".into(),
        };
        assert_eq!(
            object.to_string(),
            "kafka/storefront.public.orders/partition=2/storefront.public.orders+2+0000004711.avro"
        );
    }

    #[test]
    fn keys_that_are_not_raw_objects_are_refused() {
        for key in [
            "",
            "kafka/a/partition=0/b+0+0000000000.avro",
            "kafka/a/partition=1/a+0+0000000000.avro",
            "kafka/a/partition=0/a+0+0000000000.keys.avro",
            "kafka/a/partition=0/a+0+0000000000.headers.json.gz",
            "a/partition=0/x",
        ] {
            assert_eq!(RawObject::parse(key), None, "{key}");
        }
    }

    #[test]
    fn a_topic_splits_from_the_right() {
        assert_eq!(topic_parts("eu.shop.public.orders"), Some(("eu.shop", "public", "orders")));
        assert_eq!(topic_parts("public.orders"), None);
    }

    proptest! {
        #[test]
        fn a_key_parses_back(topic in "[a-zA-Z0-9._-]{1,40}", partition in 0..i32::MAX, start_offset in 0..i64::MAX) {
            let object = RawObject { topics_dir: "kafka".into(), topic, partition, start_offset, extension: "avro".into() };
            prop_assert_eq!(RawObject::parse(&object.to_string()), Some(object));
        }

        #[test]
        fn any_text_is_parsed_without_panic(key in ".{0,80}") {
            let _ = RawObject::parse(&key);
        }
    }
}
