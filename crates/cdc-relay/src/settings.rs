//! Settings of the connector, under Debezium's property names.
//!
//! Parsed once when a task starts; the same parser answers `validate`. Promise: a wrong value is refused with the
//! property's name, an unknown property is accepted (configurations written for Debezium must be taken as they are).

use std::{fmt, str::FromStr, time::Duration};

use connect::{Config, Definition, FieldError};
use model::secret::Secret;

use crate::{postgres::connection::Target, selection::TableSelection};

/// What to do about rows that exist before the slot (Debezium's `snapshot.mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotMode {
    /// Read all rows when there is no stored position, then stream.
    Initial,
    /// Read all rows at every start, then stream.
    Always,
    /// Read all rows once and stop there.
    InitialOnly,
    /// Stream only (Debezium's `no_data` and its older name `never`).
    NoData,
    /// As `initial`, and also when the slot or the position is lost.
    WhenNeeded,
}

impl FromStr for SnapshotMode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "initial" => Ok(Self::Initial),
            "always" => Ok(Self::Always),
            "initial_only" => Ok(Self::InitialOnly),
            "no_data" | "never" => Ok(Self::NoData),
            "when_needed" => Ok(Self::WhenNeeded),
            _ => Err("Value must be one of initial, always, initial_only, no_data, never, when_needed"),
        }
    }
}

/// Who makes the publication (Debezium's `publication.autocreate.mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicationMode {
    /// Make it for all tables when it is missing.
    AllTables,
    /// Make it for the captured tables, and keep an existing one to exactly those.
    Filtered,
    /// It must exist.
    Disabled,
    /// Make an empty one when it is missing.
    NoTables,
}

impl FromStr for PublicationMode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "all_tables" => Ok(Self::AllTables),
            "filtered" => Ok(Self::Filtered),
            "disabled" => Ok(Self::Disabled),
            "no_tables" => Ok(Self::NoTables),
            _ => Err("Value must be one of all_tables, filtered, disabled, no_tables"),
        }
    }
}

/// How topics are made that do not exist yet (`topic.creation.default.*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicCreation {
    /// -1: the broker's default.
    pub partitions: i32,
    /// -1: the broker's default.
    pub replication_factor: i32,
}

/// Everything one task needs to know.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    pub target: Target,
    /// First part of every topic's name; Debezium's logical server name.
    pub topic_prefix: String,
    pub slot: String,
    pub publication: String,
    pub publication_mode: PublicationMode,
    pub tables: TableSelection,
    pub snapshot_mode: SnapshotMode,
    /// Connections that read the snapshot in parallel.
    pub snapshot_readers: usize,
    pub tombstones_on_delete: bool,
    /// Operations that are not written: letters out of `c`, `u`, `d`, `t`.
    pub skipped_operations: String,
    /// `None`: the worker's registry.
    pub registry_url: Option<String>,
    pub topic_creation: TopicCreation,
    /// Longest time a Kafka transaction stays open while changes keep coming.
    pub commit_interval: Duration,
    /// Most bytes of keys and values in one Kafka transaction.
    pub batch_bytes_max: usize,
    /// How often an idle slot is moved on; 0 in `heartbeat.interval.ms` means our default.
    pub idle_interval: Duration,
}

const fn defined(
    name: &'static str,
    kind: &'static str,
    default: Option<&'static str>,
    group: &'static str,
    documentation: &'static str,
) -> Definition {
    let required = default.is_none();
    Definition {
        name,
        kind,
        default,
        required,
        importance: if required { "HIGH" } else { "MEDIUM" },
        documentation,
        group,
    }
}

/// The settings this connector acts on, for `/connector-plugins/{class}/config`.
#[rustfmt::skip]
pub const DEFINITIONS: [Definition; 26] = [
    defined("topic.prefix", "STRING", None, "Postgres", "First part of every topic's name."),
    defined("database.hostname", "STRING", None, "Postgres", "Host of the database server."),
    defined("database.port", "INT", Some("5432"), "Postgres", "Port of the database server."),
    defined("database.user", "STRING", None, "Postgres", "Role with REPLICATION and SELECT on the captured tables."),
    defined("database.password", "PASSWORD", Some(""), "Postgres", "Password of the role."),
    defined("database.dbname", "STRING", None, "Postgres", "Database to capture."),
    defined("plugin.name", "STRING", Some("pgoutput"), "Postgres", "Decoding plugin; pgoutput only."),
    defined("slot.name", "STRING", Some(SLOT_DEFAULT), "Postgres", "Replication slot; made when it is missing."),
    defined("publication.name", "STRING", Some(PUBLICATION_DEFAULT), "Postgres", "Publication."),
    defined("publication.autocreate.mode", "STRING", Some("all_tables"), "Postgres", "all_tables, filtered, no_tables or disabled."),
    defined("schema.include.list", "LIST", Some(""), "Events", "Regular expressions of schemas to capture."),
    defined("schema.exclude.list", "LIST", Some(""), "Events", "Regular expressions of schemas to leave out."),
    defined("table.include.list", "LIST", Some(""), "Events", "Regular expressions of schema.table to capture."),
    defined("table.exclude.list", "LIST", Some(""), "Events", "Regular expressions of schema.table to leave out."),
    defined("tombstones.on.delete", "BOOLEAN", Some("true"), "Events", "Follow each delete by a tombstone."),
    defined("skipped.operations", "LIST", Some("t"), "Events", "Operations not to write: c, u, d, t, or none."),
    defined("snapshot.mode", "STRING", Some("initial"), "Snapshot", "initial, always, initial_only, no_data, never or when_needed."),
    defined("snapshot.max.threads", "INT", Some("2"), "Snapshot", "Connections that read the snapshot in parallel."),
    defined("heartbeat.interval.ms", "INT", Some("0"), "Stream", "How often an idle slot is moved on; 0: every 5 s."),
    defined("commit.interval.ms", "INT", Some("10"), "Stream", "Longest Kafka transaction while changes keep coming."),
    defined("batch.bytes.max", "INT", Some("4194304"), "Stream", "Largest Kafka transaction."),
    defined("topic.creation.default.partitions", "INT", Some("-1"), "Topics", "Partitions of new topics; -1: the broker's default."),
    defined("topic.creation.default.replication.factor", "INT", Some("-1"), "Topics", "Copies of new topics; -1: the broker's default."),
    defined("key.converter.schema.registry.url", "STRING", Some(""), "Converter", "Accepted; keys use the value converter's registry."),
    defined("value.converter.schema.registry.url", "STRING", Some(""), "Converter", "Schema registry; the worker's when not given."),
    defined("database.sslmode", "STRING", Some("prefer"), "Postgres", "disable, allow or prefer; connections are not encrypted."),
];

/// Debezium's default slot name.
const SLOT_DEFAULT: &str = "debezium";
/// Debezium's default publication name.
const PUBLICATION_DEFAULT: &str = "dbz_publication";
const IDLE_INTERVAL_DEFAULT: Duration = Duration::from_secs(5);
/// A Kafka transaction of this size is far past the point where its cost matters, and small beside a process.
const BATCH_BYTES_DEFAULT: usize = 4 << 20;
const SNAPSHOT_READERS_DEFAULT: usize = 2;

impl RelaySettings {
    /// Reads a connector's configuration.
    ///
    /// # Errors
    /// Every refused property, each with its own text.
    pub fn parse(config: &Config) -> Result<Self, Vec<FieldError>> {
        let mut read = Reader { config, errors: Vec::new() };
        let settings = read.settings();
        if read.errors.is_empty() { Ok(settings) } else { Err(read.errors) }
    }
}

/// Collects refusals while it reads, so that a person sees all of them at once.
struct Reader<'a> {
    config: &'a Config,
    errors: Vec<FieldError>,
}

impl Reader<'_> {
    fn settings(&mut self) -> RelaySettings {
        self.refuse_what_is_not_built();
        let prefix = self.required("topic.prefix");
        if !prefix.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
            self.refuse(
                "topic.prefix",
                &prefix,
                "only letters, digits, dot, underscore and hyphen may be in a topic name",
            );
        }
        let slot = self.text("slot.name", SLOT_DEFAULT);
        if slot.len() > 63 || !slot.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            self.refuse("slot.name", &slot, "up to 63 lower case letters, digits and underscores");
        }
        let target = Target {
            host: self.required("database.hostname"),
            port: self.parsed("database.port", 5432),
            user: self.required("database.user"),
            password: Secret::new(self.text("database.password", "")),
            database: self.required("database.dbname"),
            application_name: "cdc-relay".to_owned(),
        };
        let heartbeat_ms: u64 = self.parsed("heartbeat.interval.ms", 0);
        RelaySettings {
            target,
            topic_prefix: prefix,
            slot,
            publication: self.text("publication.name", PUBLICATION_DEFAULT),
            publication_mode: self.worded("publication.autocreate.mode", PublicationMode::AllTables),
            tables: self.selection(),
            snapshot_mode: self.worded("snapshot.mode", SnapshotMode::Initial),
            snapshot_readers: self.positive("snapshot.max.threads", SNAPSHOT_READERS_DEFAULT),
            tombstones_on_delete: self.flag("tombstones.on.delete", true),
            skipped_operations: self.skipped_operations(),
            registry_url: self.optional("value.converter.schema.registry.url"),
            topic_creation: TopicCreation {
                partitions: self.parsed("topic.creation.default.partitions", -1),
                replication_factor: self.parsed("topic.creation.default.replication.factor", -1),
            },
            commit_interval: Duration::from_millis(self.parsed("commit.interval.ms", 10)),
            batch_bytes_max: self.positive("batch.bytes.max", BATCH_BYTES_DEFAULT),
            idle_interval: if heartbeat_ms == 0 { IDLE_INTERVAL_DEFAULT } else { Duration::from_millis(heartbeat_ms) },
        }
    }

    /// Values that Debezium knows and this relay does not: taken silently they would give other data than asked for.
    fn refuse_what_is_not_built(&mut self) {
        let known: [(&str, &[&str]); 10] = [
            ("plugin.name", &["pgoutput"]),
            ("database.sslmode", &["disable", "allow", "prefer"]),
            ("decimal.handling.mode", &["precise"]),
            ("time.precision.mode", &["adaptive"]),
            ("interval.handling.mode", &["numeric"]),
            ("binary.handling.mode", &["bytes"]),
            ("hstore.handling.mode", &["json"]),
            ("provide.transaction.metadata", &["false"]),
            ("key.converter", &["io.confluent.connect.avro.AvroConverter"]),
            ("value.converter", &["io.confluent.connect.avro.AvroConverter"]),
        ];
        for (property, values) in known {
            if let Some(value) = self.optional(property)
                && !values.contains(&value.as_str())
                && !unresolved(&value)
            {
                self.refuse(property, &value, &format!("this connector supports {}", values.join(", ")));
            }
        }
        for property in ["transforms", "column.include.list", "column.exclude.list", "message.key.columns"] {
            if let Some(value) = self.optional(property) {
                self.refuse(property, &value, "this connector does not support it yet");
            }
        }
    }

    fn selection(&mut self) -> TableSelection {
        let mut selection = TableSelection::default();
        for property in TableSelection::PROPERTIES {
            let Some(list) = self.optional(property) else { continue };
            if unresolved(&list) {
                continue;
            }
            if let Err(error) = selection.set(property, &list) {
                self.refuse(property, &list, &error.to_string());
            }
        }
        for (include, exclude) in
            [("schema.include.list", "schema.exclude.list"), ("table.include.list", "table.exclude.list")]
        {
            if self.optional(include).is_some()
                && let Some(value) = self.optional(exclude)
            {
                self.refuse(exclude, &value, &format!("\"{include}\" is already specified"));
            }
        }
        selection
    }

    fn skipped_operations(&mut self) -> String {
        let text = self.text("skipped.operations", "t");
        if text == "none" {
            return String::new();
        }
        let letters: String = text.split(',').map(str::trim).collect();
        if !letters.chars().all(|c| "cudt".contains(c)) {
            self.refuse("skipped.operations", &text, "a comma-separated list of c, u, d, t, or none");
        }
        letters
    }

    fn optional(&self, property: &str) -> Option<String> {
        self.config.get(property).map(|value| value.trim()).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    fn text(&self, property: &str, default: &str) -> String {
        self.optional(property).unwrap_or_else(|| default.to_owned())
    }

    fn required(&mut self, property: &str) -> String {
        self.optional(property).unwrap_or_else(|| {
            // Debezium's own words for it, as tools know them.
            let message = format!("The '{property}' value is invalid: A value is required");
            self.errors.push(FieldError::new(property, None, message));
            String::new()
        })
    }

    fn parsed<T: FromStr>(&mut self, property: &str, default: T) -> T {
        let Some(value) = self.optional(property) else { return default };
        if unresolved(&value) {
            return default;
        }
        value.parse().unwrap_or_else(|_| {
            self.refuse(property, &value, "Not a number of the expected range");
            default
        })
    }

    fn positive(&mut self, property: &str, default: usize) -> usize {
        let value = self.parsed(property, default);
        if value == 0 {
            self.refuse(property, "0", "must be at least 1");
        }
        value.max(1)
    }

    fn flag(&mut self, property: &str, default: bool) -> bool {
        match self.optional(property).map(|value| value.to_ascii_lowercase()).as_deref() {
            None => default,
            Some("true") => true,
            Some("false") => false,
            Some(value) if unresolved(value) => default,
            Some(value) => {
                self.refuse(property, value, "Expected value to be either true or false");
                default
            }
        }
    }

    fn worded<T: FromStr<Err: fmt::Display>>(&mut self, property: &str, default: T) -> T {
        let Some(value) = self.optional(property).filter(|value| !unresolved(value)) else { return default };
        match value.parse() {
            Ok(parsed) => parsed,
            Err(why) => {
                self.refuse(property, &value, &why.to_string());
                default
            }
        }
    }

    fn refuse(&mut self, property: &str, value: &str, why: &str) {
        self.errors.push(FieldError::invalid(property, value, why));
    }
}

/// A `${provider:…}` value that this worker could not resolve says nothing about the value itself.
fn unresolved(value: &str) -> bool {
    value.contains("${")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(more: &[(&str, &str)]) -> Config {
        let least = [
            ("database.hostname", "localhost"),
            ("database.user", "debezium"),
            ("database.password", "hunter2"),
            ("database.dbname", "storefront"),
            ("topic.prefix", "storefront"),
        ];
        least.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn refused(more: &[(&str, &str)]) -> Vec<String> {
        RelaySettings::parse(&config(more)).unwrap_err().into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn defaults_are_debeziums() {
        let settings = RelaySettings::parse(&config(&[])).unwrap();
        assert_eq!((settings.target.port, settings.slot.as_str()), (5432, "debezium"));
        assert_eq!(settings.publication, "dbz_publication");
        assert_eq!(settings.publication_mode, PublicationMode::AllTables);
        assert_eq!(settings.snapshot_mode, SnapshotMode::Initial);
        assert!(settings.tombstones_on_delete);
        assert_eq!(settings.skipped_operations, "t");
        assert_eq!(settings.commit_interval, Duration::from_millis(10));
    }

    #[test]
    fn every_missing_property_is_named_at_once() {
        let errors = RelaySettings::parse(&Config::new()).unwrap_err();
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["topic.prefix", "database.hostname", "database.user", "database.dbname"]);
    }

    #[test]
    fn wrong_values_are_refused_by_name() {
        assert_eq!(refused(&[("snapshot.mode", "sometimes")]), ["snapshot.mode"]);
        assert_eq!(refused(&[("database.port", "http")]), ["database.port"]);
        assert_eq!(refused(&[("slot.name", "Big-Slot")]), ["slot.name"]);
        assert_eq!(refused(&[("plugin.name", "wal2json")]), ["plugin.name"]);
        assert_eq!(refused(&[("table.include.list", "a"), ("table.exclude.list", "b")]), ["table.exclude.list"]);
        assert_eq!(refused(&[("table.include.list", "public.(")]), ["table.include.list"]);
    }

    #[test]
    fn unknown_properties_and_unresolved_values_are_taken() {
        let more = [("max.batch.size", "2048"), ("some.thing.else", "x"), ("database.port", "${env:PORT}")];
        assert!(RelaySettings::parse(&config(&more)).is_ok());
    }

    #[test]
    fn the_password_is_not_in_the_debug_form() {
        assert!(!format!("{:?}", RelaySettings::parse(&config(&[])).unwrap()).contains("hunter2"));
    }
}
