//! Settings of the connector, under Debezium's property names.
//!
//! Parsed once when a task starts; the same parser answers `validate`. Promise: a wrong value is refused with the
//! property's name, an unknown property is accepted (configurations written for Debezium must be taken as they are).

mod definitions;
mod reader;
mod signals;
mod snapshot;
pub mod support;

use std::{str::FromStr, time::Duration};

use connect::{Config, FieldError};
use model::{
    envelope::{BinaryMode, DecimalMode, HstoreMode, IntervalMode, TimeMode, TypeModes, placeholder_bytes},
    secret::Secret,
};

use self::reader::{Reader, unresolved};
pub use self::{
    definitions::DEFINITIONS,
    signals::{SignalSettings, SignalTopic},
    snapshot::SnapshotSettings,
};
use crate::{
    heartbeat::HeartbeatSettings,
    naming::{BadProperty, TopicCreation, TopicNames},
    pipeline::PipelineSettings,
    postgres::{
        connection::Target,
        tls::{SslMode, TlsSettings},
    },
    selection::{Selection, TableSelection},
    shape::ColumnRules,
    slot_care::WatchSettings,
};

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

/// Everything one task needs to know.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    pub target: Target,
    /// First part of every topic's name; Debezium's logical server name.
    pub topic_prefix: String,
    pub slot: String,
    pub publication: String,
    pub publication_mode: PublicationMode,
    /// A publication that is made tells changes of partitions as those of the partitioned table.
    pub via_partition_root: bool,
    pub slot_drop_on_stop: bool,
    pub slot_failover: bool,
    pub tables: TableSelection,
    /// Prefixes of the logical messages that are written.
    pub messages: Selection,
    pub columns: ColumnRules,
    pub modes: TypeModes,
    /// Write bounds of transactions, and each event's place in its own.
    pub transaction_metadata: bool,
    pub topics: TopicNames,
    /// Transformations and converters; `None`: Avro as it is encoded.
    pub pipeline: Option<PipelineSettings>,
    pub snapshot_mode: SnapshotMode,
    pub snapshot: SnapshotSettings,
    pub signals: SignalSettings,
    /// Connections that read the snapshot in parallel.
    pub snapshot_readers: usize,
    pub tombstones_on_delete: bool,
    /// Headers on every record that tell connector, task and run.
    pub context_headers: bool,
    /// Operations that are not written: letters out of `c`, `u`, `d`, `t`.
    pub skipped_operations: String,
    pub topic_creation: TopicCreation,
    /// Longest time a Kafka transaction stays open while changes keep coming.
    pub commit_interval: Duration,
    /// Most bytes of keys and values in one Kafka transaction.
    pub batch_bytes_max: usize,
    /// Updates that change no written column are not written.
    pub skip_unchanged: bool,
    pub heartbeat: HeartbeatSettings,
    pub watch: WatchSettings,
    /// How often an idle slot is moved on; 0 in `heartbeat.interval.ms` means our default.
    pub idle_interval: Duration,
}

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
            tls: self.tls(),
        };
        let signals = self.signals(&prefix);
        let heartbeat_ms: u64 = self.parsed("heartbeat.interval.ms", 0);
        RelaySettings {
            target,
            topic_prefix: prefix.clone(),
            slot,
            publication: self.text("publication.name", PUBLICATION_DEFAULT),
            publication_mode: self.worded("publication.autocreate.mode", PublicationMode::AllTables),
            via_partition_root: self.flag("publish.via.partition.root", false),
            slot_drop_on_stop: self.flag("slot.drop.on.stop", false),
            slot_failover: self.flag("slot.failover", false),
            tables: self.selection(signals.table.as_deref()),
            messages: self.messages(),
            columns: self.columns(),
            modes: self.modes(),
            transaction_metadata: self.flag("provide.transaction.metadata", false),
            topics: self.topic_names(&prefix),
            pipeline: self.pipeline(),
            snapshot_mode: self.worded("snapshot.mode", SnapshotMode::Initial),
            snapshot: self.snapshot(),
            signals,
            snapshot_readers: self.positive("snapshot.max.threads", SNAPSHOT_READERS_DEFAULT),
            context_headers: self.flag("extended.headers.enabled", true),
            tombstones_on_delete: self.flag("tombstones.on.delete", true),
            skipped_operations: self.skipped_operations(),
            topic_creation: self.topic_creation(),
            commit_interval: Duration::from_millis(self.parsed("commit.interval.ms", 10)),
            batch_bytes_max: self.positive("batch.bytes.max", BATCH_BYTES_DEFAULT),
            skip_unchanged: self.flag("skip.messages.without.change", false),
            heartbeat: self.heartbeat(&prefix),
            watch: self.watch(),
            idle_interval: if heartbeat_ms == 0 { IDLE_INTERVAL_DEFAULT } else { Duration::from_millis(heartbeat_ms) },
        }
    }

    /// Values that Debezium knows and this relay does not: taken silently they would give other data than asked for.
    fn refuse_what_is_not_built(&mut self) {
        let known: [(&str, &[&str]); 1] = [("plugin.name", &["pgoutput"])];
        for (property, values) in known {
            if let Some(value) = self.optional(property)
                && !values.contains(&value.as_str())
                && !unresolved(&value)
            {
                self.refuse(property, &value, &format!("this connector supports {}", values.join(", ")));
            }
        }
        for support::Refused { name, harmless, why } in support::REFUSED {
            if let Some(value) = self.optional(name).filter(|value| !unresolved(value))
                && !harmless.iter().any(|harmless| harmless.eq_ignore_ascii_case(&value))
            {
                self.refuse(name, &value, why);
            }
        }
    }

    fn heartbeat(&mut self, prefix: &str) -> HeartbeatSettings {
        let delimiter = self.text("topic.delimiter", ".");
        let topic = self.text("topic.heartbeat.prefix", "__debezium-heartbeat");
        let milliseconds = self.parsed("heartbeat.interval.ms", 0);
        HeartbeatSettings {
            interval: (milliseconds > 0).then(|| Duration::from_millis(milliseconds)),
            topic: format!("{topic}{delimiter}{prefix}"),
            action_query: self.optional("heartbeat.action.query"),
        }
    }

    fn watch(&mut self) -> WatchSettings {
        let milliseconds = self.parsed("slot.watch.interval.ms", 5_000);
        let limit = self.parsed("slot.wal.limit.bytes", 0);
        WatchSettings {
            interval: (milliseconds > 0).then(|| Duration::from_millis(milliseconds)),
            limit_bytes: (limit > 0).then_some(limit),
        }
    }

    fn tls(&mut self) -> TlsSettings {
        TlsSettings {
            mode: self.worded("database.sslmode", SslMode::Prefer),
            root_certificates: self.optional("database.sslrootcert").map(Into::into),
            certificate: self.optional("database.sslcert").map(Into::into),
            key: self.optional("database.sslkey").map(Into::into),
            key_password: self.optional("database.sslpassword").map(Secret::new),
        }
    }

    fn modes(&mut self) -> TypeModes {
        let default = TypeModes::default();
        let money_digits = self.parsed("money.fraction.digits", default.money_digits);
        if money_digits > 10 {
            self.refuse("money.fraction.digits", &money_digits.to_string(), "at most 10");
        }
        let placeholder = self.optional("unavailable.value.placeholder");
        let unavailable = placeholder.map_or(Ok(default.unavailable.clone()), |text| {
            placeholder_bytes(&text).map_err(|why| self.refuse("unavailable.value.placeholder", &text, why))
        });
        TypeModes {
            decimals: self.worded("decimal.handling.mode", DecimalMode::Precise),
            times: self.worded("time.precision.mode", TimeMode::Adaptive),
            intervals: self.worded("interval.handling.mode", IntervalMode::Numeric),
            binary: self.worded("binary.handling.mode", BinaryMode::Bytes),
            hstore: self.worded("hstore.handling.mode", HstoreMode::Json),
            money_digits: money_digits.min(10),
            include_unknown: self.flag("include.unknown.datatypes", false),
            unavailable: unavailable.unwrap_or(default.unavailable),
        }
    }

    fn columns(&mut self) -> ColumnRules {
        let given = self.config.iter().filter(|(_, value)| !value.trim().is_empty() && !unresolved(value));
        let (rules, errors) = ColumnRules::read(given.map(|(name, value)| (name.as_str(), value.trim())));
        self.refuse_all(errors);
        rules
    }

    fn messages(&mut self) -> Selection {
        let (include, exclude) = ("message.prefix.include.list", "message.prefix.exclude.list");
        let lists = [include, exclude].map(|property| self.optional(property));
        self.only_one(include, exclude);
        let mut selection = Selection::default();
        for (property, list) in [include, exclude].into_iter().zip(&lists) {
            if let Some(list) = list
                && let Err(error) = selection.set(property == include, list)
            {
                self.refuse(property, list, &error.to_string());
            }
        }
        selection
    }

    fn topic_names(&mut self, prefix: &str) -> TopicNames {
        let delimiter = self.text("topic.delimiter", ".");
        if !delimiter.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
            self.refuse("topic.delimiter", &delimiter, "only what may be in a topic name");
        }
        let transaction = self.text("topic.transaction", "transaction");
        TopicNames { prefix: prefix.to_owned(), delimiter, transaction }
    }

    fn topic_creation(&mut self) -> TopicCreation {
        let (creation, errors) = TopicCreation::read(self.config);
        self.refuse_all(errors);
        creation
    }

    fn pipeline(&mut self) -> Option<PipelineSettings> {
        let (pipeline, errors) = PipelineSettings::read(self.config);
        self.refuse_all(errors);
        pipeline
    }

    fn refuse_all(&mut self, bad: Vec<BadProperty>) {
        let error = |bad: BadProperty| FieldError::invalid(&bad.property, &bad.value, &bad.why);
        self.errors.extend(bad.into_iter().map(error));
    }

    /// Of an include and an exclude list, one may be given.
    fn only_one(&mut self, include: &str, exclude: &str) {
        if self.optional(include).is_some()
            && let Some(value) = self.optional(exclude)
        {
            self.refuse(exclude, &value, &format!("\"{include}\" is already specified"));
        }
    }

    fn selection(&mut self, signal_table: Option<&str>) -> TableSelection {
        let mut selection = TableSelection::default();
        selection.add(signal_table);
        for property in TableSelection::PROPERTIES {
            let Some(list) = self.optional(property) else { continue };
            if unresolved(&list) {
                continue;
            }
            if let Err(error) = selection.set(property, &list) {
                self.refuse(property, &list, &error.to_string());
            }
        }
        for kind in ["schema", "table", "column"] {
            self.only_one(&format!("{kind}.include.list"), &format!("{kind}.exclude.list"));
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
