//! Channels that signals come by, and the size of an incremental snapshot's chunks.

use super::reader::{Reader, unresolved};

/// The signal topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalTopic {
    pub name: String,
    /// Its brokers; `None`: the worker's.
    pub bootstrap: Option<String>,
    /// Debezium's consumer group, to go on where it left off.
    pub group: String,
}

/// What the connector listens to beside the REST API.
#[derive(Debug, Clone)]
pub struct SignalSettings {
    /// The signal table, `schema.table`; always captured.
    pub table: Option<String>,
    /// Rows inserted into the table are signals.
    pub source: bool,
    pub topic: Option<SignalTopic>,
    /// Rows of a chunk of an incremental snapshot.
    pub chunk_rows: usize,
}

impl SignalSettings {
    /// The table, if its rows are signals.
    #[must_use]
    pub fn listens_to(&self, schema: &str, table: &str) -> bool {
        self.source && self.table.as_deref().is_some_and(|name| name == format!("{schema}.{table}"))
    }
}

const TABLE: &str = "signal.data.collection";
const CHANNELS: &str = "signal.enabled.channels";
const CHUNK_ROWS_DEFAULT: usize = 1024;

impl Reader<'_> {
    pub(super) fn signals(&mut self, prefix: &str) -> SignalSettings {
        let table = self.optional(TABLE).filter(|name| !unresolved(name));
        let parts: Vec<&str> = table.as_deref().map(|name| name.split('.').collect()).unwrap_or_default();
        let table = match parts.as_slice() {
            [] => None,
            // Debezium takes the database's name in front, too.
            [schema, table] | [_, schema, table] if !schema.is_empty() && !table.is_empty() => {
                Some(format!("{schema}.{table}"))
            }
            _ => {
                self.refuse(TABLE, &parts.join("."), "must be schema.table");
                None
            }
        };
        let channels = self.text(CHANNELS, "source");
        let (mut source, mut topic) = (false, None);
        for channel in channels.split(',').map(str::trim).filter(|channel| !channel.is_empty()) {
            match channel {
                "source" => source = true,
                "kafka" => {
                    topic = Some(SignalTopic {
                        name: self.text("signal.kafka.topic", &format!("{prefix}-signal")),
                        bootstrap: self.optional("signal.kafka.bootstrap.servers").filter(|list| !unresolved(list)),
                        group: self.text("signal.kafka.groupId", "kafka-signal"),
                    });
                }
                channel if unresolved(channel) => {}
                _ => {
                    self.refuse(CHANNELS, &channels, "the channels are source and kafka; the REST API is always there")
                }
            }
        }
        let chunk_rows = self.positive("incremental.snapshot.chunk.size", CHUNK_ROWS_DEFAULT);
        SignalSettings { table, source, topic, chunk_rows }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::settings::RelaySettings;

    fn parsed(more: &[(&str, &str)]) -> Result<RelaySettings, Vec<String>> {
        let least = ["database.hostname", "database.user", "database.dbname", "topic.prefix"].map(|name| (name, "x"));
        let config = least.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        RelaySettings::parse(&config).map_err(|errors| errors.into_iter().map(|error| error.field).collect())
    }

    #[test]
    fn the_signal_table_is_captured_whatever_the_lists_say() {
        let lists = [("table.include.list", "public.orders"), (TABLE, "public.debezium_signal")];
        let settings = parsed(&lists).unwrap();
        assert!(settings.signals.listens_to("public", "debezium_signal"));
        assert!(settings.tables.includes("public", "debezium_signal") && !settings.tables.includes("public", "other"));
        let only_kafka = parsed(&[lists[1], (CHANNELS, "kafka")]).unwrap();
        assert!(!only_kafka.signals.listens_to("public", "debezium_signal"));
    }

    #[test]
    fn the_topic_has_debeziums_defaults() {
        assert_eq!(parsed(&[]).unwrap().signals.topic, None);
        let topic = parsed(&[(CHANNELS, "source, kafka")]).unwrap().signals.topic.unwrap();
        assert_eq!((topic.name.as_str(), topic.group.as_str(), topic.bootstrap), ("x-signal", "kafka-signal", None));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert_eq!(parsed(&[(TABLE, "signals")]).unwrap_err(), [TABLE]);
        assert_eq!(parsed(&[(CHANNELS, "source,jmx")]).unwrap_err(), [CHANNELS]);
        assert_eq!(
            parsed(&[("incremental.snapshot.chunk.size", "0")]).unwrap_err(),
            ["incremental.snapshot.chunk.size"]
        );
    }
}
