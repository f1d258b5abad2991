//! Which connector classes exist, and which of them this worker runs.
//!
//! Every worker lists and accepts every connector of the product, so the names are known here even where the
//! plugin lives in the other worker's binary. Checks of a plugin's own settings happen where the plugin is.

use std::sync::Arc;

use crate::plugin::{ConnectorKind, Plugin};

/// A class that some worker of the product runs.
#[derive(Debug, Clone, Copy)]
struct Known {
    names: &'static [&'static str],
    kind: ConnectorKind,
    task_class: &'static str,
}

const KNOWN: [Known; 2] = [
    Known {
        names: &["io.debezium.connector.postgresql.PostgresConnector", "PostgresConnector", "Postgres", "cdc-relay"],
        kind: ConnectorKind::Source,
        task_class: "io.debezium.connector.postgresql.PostgresConnectorTask",
    },
    Known {
        names: &["io.confluent.connect.s3.S3SinkConnector", "S3SinkConnector", "S3Sink", "s3-sink"],
        kind: ConnectorKind::Sink,
        task_class: "io.confluent.connect.s3.S3SinkTask",
    },
];

/// Transformations, predicates and converters that connectors may name, with what Connect calls their kind.
pub const PARTS: [(&str, &str); 12] = [
    ("io.debezium.transforms.ByLogicalTableRouter", "transformation"),
    ("io.debezium.transforms.ExtractNewRecordState", "transformation"),
    ("io.debezium.transforms.Filter", "transformation"),
    ("io.debezium.transforms.outbox.EventRouter", "transformation"),
    ("org.apache.kafka.connect.transforms.RegexRouter", "transformation"),
    ("org.apache.kafka.connect.transforms.predicates.HasHeaderKey", "predicate"),
    ("org.apache.kafka.connect.transforms.predicates.RecordIsTombstone", "predicate"),
    ("org.apache.kafka.connect.transforms.predicates.TopicNameMatches", "predicate"),
    ("io.confluent.connect.avro.AvroConverter", "converter"),
    ("org.apache.kafka.connect.json.JsonConverter", "converter"),
    ("org.apache.kafka.connect.storage.StringConverter", "converter"),
    ("org.apache.kafka.connect.storage.SimpleHeaderConverter", "header_converter"),
];

/// Answer of [`Classes::find`].
#[derive(Clone)]
pub struct Class {
    /// Full name.
    pub name: String,
    /// Source or sink.
    pub kind: ConnectorKind,
    /// Version of the plugin; of this product where the plugin lives elsewhere.
    pub version: String,
    /// `task.class` as Connect records it.
    pub task_class: String,
    /// The plugin, when this worker has it.
    pub plugin: Option<Arc<dyn Plugin>>,
}

/// The plugins of this worker among the known classes.
pub struct Classes {
    plugins: Vec<Arc<dyn Plugin>>,
}

impl Classes {
    /// With the plugins of this worker.
    pub fn new(plugins: Vec<Arc<dyn Plugin>>) -> Self {
        Self { plugins }
    }

    /// The class of this full or short name.
    pub fn find(&self, name: &str) -> Option<Class> {
        if let Some(plugin) = self.plugins.iter().find(|plugin| plugin.classes().contains(&name)) {
            return Some(Self::of_plugin(plugin));
        }
        KNOWN.iter().find(|known| known.names.contains(&name)).map(|known| self.of_known(known))
    }

    /// All classes, this worker's first.
    pub fn all(&self) -> Vec<Class> {
        let mut all: Vec<Class> = self.plugins.iter().map(Self::of_plugin).collect();
        for known in &KNOWN {
            if !all.iter().any(|class| known.names.contains(&class.name.as_str())) {
                all.push(self.of_known(known));
            }
        }
        all
    }

    fn of_known(&self, known: &Known) -> Class {
        // A plugin may list the class under another of its names.
        let plugin = self.plugins.iter().find(|plugin| plugin.classes().iter().any(|name| known.names.contains(name)));
        plugin.map_or_else(
            || Class {
                name: known.names[0].into(),
                kind: known.kind,
                version: env!("CARGO_PKG_VERSION").into(),
                task_class: known.task_class.into(),
                plugin: None,
            },
            Self::of_plugin,
        )
    }

    fn of_plugin(plugin: &Arc<dyn Plugin>) -> Class {
        let name = plugin.classes().first().copied().unwrap_or_default();
        let known = KNOWN.iter().find(|known| known.names.contains(&name));
        Class {
            name: name.into(),
            kind: plugin.kind(),
            version: plugin.version().into(),
            task_class: known.map_or_else(|| format!("{name}Task"), |known| known.task_class.into()),
            plugin: Some(Arc::clone(plugin)),
        }
    }
}
