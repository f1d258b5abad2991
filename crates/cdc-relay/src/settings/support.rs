//! What becomes of every property of Debezium's Postgres connector: acted on, taken without effect, or refused.
//!
//! The table in the documentation is made of this and of [`DEFINITIONS`](super::DEFINITIONS), and the refusals are the ones
//! `validate` gives: what would make other data than asked for is not taken silently.

use std::fmt::Write as _;

use super::DEFINITIONS;

/// A property without effect here.
pub(super) struct Ignored {
    pub name: &'static str,
    pub why: &'static str,
}

/// A property that cannot be had, but for values that ask for nothing.
pub(super) struct Refused {
    pub name: &'static str,
    /// Values that are taken.
    pub harmless: &'static [&'static str],
    pub why: &'static str,
}

/// Properties whose names have a part of the user's choice.
const PATTERNS: [(&str, &str); 9] = [
    (
        "column.mask.hash.<algorithm>.with.salt.<salt>",
        "Columns whose values become salted hashes of their serialised Java form: MD5, SHA-1, SHA-224, SHA-256, SHA-384, SHA-512.",
    ),
    ("column.mask.hash.v2.<algorithm>.with.salt.<salt>", "As above, of the values' own bytes."),
    ("column.mask.with.<n>.chars", "Columns whose values become so many asterisks."),
    ("column.truncate.to.<n>.chars", "Columns whose values are cut."),
    (
        "snapshot.select.statement.overrides.<schema>.<table>",
        "The statement for a table named in snapshot.select.statement.overrides.",
    ),
    ("topic.creation.<group>.*", "Partitions, copies and Kafka's own settings of the topics of a group."),
    ("transforms.<name>.*", "Type, predicate and properties of a transformation."),
    ("predicates.<name>.*", "Type and properties of a predicate."),
    ("name, connector.class, tasks.max", "Kafka Connect's own; there is one task."),
];

const fn ignored(name: &'static str, why: &'static str) -> Ignored {
    Ignored { name, why }
}

const fn refused(name: &'static str, harmless: &'static [&'static str], why: &'static str) -> Refused {
    Refused { name, harmless, why }
}

const NO_QUEUE: &str = "There is no queue between reading and sending; batch.bytes.max bounds memory.";
const NO_WRITES: &str = "Incremental snapshots never write to the database, and need no signal table.";
const NO_POLLING: &str = "Nothing is polled.";
const RECONNECTS: &str = "Servers are waited for, for ever, with backoff.";
const NO_LOCKS: &str = "The snapshot reads under an exported snapshot and takes no locks.";

/// Taken, and without effect.
#[rustfmt::skip]
pub(super) const IGNORED: &[Ignored] = &[
    ignored("custom.metric.tags", "Metrics are Prometheus', labelled with the connector."),
    ignored("custom.sanitize.pattern", "Secrets are never shown."),
    ignored("database.connection.factory.class", "There is no JDBC driver."),
    ignored("database.initial.statements", "Sessions are set up as the formats need it."),
    ignored("database.query.timeout.ms", "Statements are not timed out."),
    ignored("database.sslfactory", "There is no JDBC driver; database.sslmode and its files decide."),
    ignored("database.tcpKeepAlive", "The replication protocol has keepalives of its own."),
    ignored("errors.max.retries", RECONNECTS),
    ignored("event.processing.failure.handling.mode", "An event that cannot be written stops the connector, and says why."),
    ignored("flush.lsn.source", "The slot is confirmed after each commit to Kafka, never before."),
    ignored("guardrail.collections.limit.action", "Tables cost nothing until they change."),
    ignored("guardrail.collections.max", "Tables cost nothing until they change."),
    ignored("incremental.snapshot.watermarking.strategy", NO_WRITES),
    ignored("legacy.snapshot.max.threads", "The snapshot is parallel within tables too."),
    ignored("lsn.flush.mode", "The slot is confirmed after each commit to Kafka, never before."),
    ignored("max.batch.size", NO_QUEUE),
    ignored("max.queue.size", NO_QUEUE),
    ignored("max.queue.size.in.bytes", NO_QUEUE),
    ignored("offset.mismatch.strategy", "A slot that stands beyond the stored position is an error, or a new snapshot with snapshot.mode=when_needed."),
    ignored("poll.interval.ms", NO_POLLING),
    ignored("read.only", NO_WRITES),
    ignored("retriable.restart.connector.wait.ms", RECONNECTS),
    ignored("schema.refresh.mode", "A table is looked up when the stream describes it anew."),
    ignored("signal.kafka.poll.timeout.ms", NO_POLLING),
    ignored("signal.poll.interval.ms", NO_POLLING),
    ignored("slot.max.retries", RECONNECTS),
    ignored("slot.retry.delay.ms", RECONNECTS),
    ignored("snapshot.delay.ms", "The snapshot begins at once."),
    ignored("snapshot.fetch.size", "Rows are copied, not fetched."),
    ignored("snapshot.isolation.mode", NO_LOCKS),
    ignored("snapshot.lock.timeout.ms", NO_LOCKS),
    ignored("snapshot.locking.mode", NO_LOCKS),
    ignored("statistics.metrics.enabled", "Metrics are always there."),
    ignored("status.update.interval.ms", "The server is told every 50 ms while the position moves, else every 5 s."),
    ignored("streaming.delay.ms", "The stream begins at once."),
    ignored("xmin.fetch.interval.ms", "source.xmin is always null: it is a hint of Debezium's own, which changes no event."),
    ignored("topic.cache.size", "There is no such cache."),
    ignored("topic.heartbeat.name", "The topic is topic.heartbeat.prefix and topic.prefix, as in Debezium's default strategy."),
];

const NO_PLUGINS: &str = "Java classes cannot be loaded.";

/// Refused but for harmless values.
#[rustfmt::skip]
pub(super) const REFUSED: &[Refused] = &[
    refused("converters", &[], NO_PLUGINS),
    refused("field.name.adjustment.mode", &["none", "avro"], "Names are adjusted to Avro; other ways cannot be had."),
    refused("notification.enabled.channels", &[], "Notifications are not there yet."),
    refused("post.processors", &[], NO_PLUGINS),
    refused("schema.name.adjustment.mode", &["none", "avro"], "Names are adjusted to Avro; other ways cannot be had."),
    refused("slot.stream.params", &[], "The stream's options are fixed; also origin: what other subscriptions wrote is told as any change."),
    refused("snapshot.locking.mode.custom.name", &[], NO_PLUGINS),
    refused("snapshot.mode.configuration.based.snapshot.data", &["false"], "One of the other snapshot modes."),
    refused("snapshot.mode.configuration.based.snapshot.on.data.error", &["false"], "One of the other snapshot modes."),
    refused("snapshot.mode.configuration.based.snapshot.on.schema.error", &["false"], "One of the other snapshot modes."),
    refused("snapshot.mode.configuration.based.snapshot.schema", &["false"], "One of the other snapshot modes."),
    refused("snapshot.mode.configuration.based.start.stream", &["false"], "One of the other snapshot modes."),
    refused("snapshot.mode.custom.name", &[], NO_PLUGINS),
    refused("snapshot.query.mode", &["select_all"], "The snapshot reads whole rows."),
    refused("snapshot.query.mode.custom.name", &[], NO_PLUGINS),
    refused("topic.naming.strategy", &["io.debezium.schema.SchemaTopicNamingStrategy", "io.debezium.schema.DefaultTopicNamingStrategy"], "Topics are named as by Debezium's default strategy; topic.delimiter can be set."),
];

/// The table as Markdown.
#[must_use]
pub fn table() -> String {
    let mut rows: Vec<(String, &str, String)> = Vec::new();
    for definition in DEFINITIONS {
        let default = match definition.default {
            None => " Required.".to_owned(),
            Some("") => String::new(),
            Some(default) => format!(" Default `{default}`."),
        };
        rows.push((definition.name.to_owned(), "supported", format!("{}{default}", definition.documentation)));
    }
    rows.extend(PATTERNS.map(|(name, text)| (name.to_owned(), "supported", text.to_owned())));
    rows.extend(IGNORED.iter().map(|ignored| (ignored.name.to_owned(), "ignored", ignored.why.to_owned())));
    for Refused { name, harmless, why } in REFUSED {
        let taken: Vec<_> = harmless.iter().map(|value| format!("`{value}`")).collect();
        let taken = if taken.is_empty() { String::new() } else { format!(" Taken: {}.", taken.join(", ")) };
        rows.push(((*name).to_owned(), "refused", format!("{why}{taken}")));
    }
    rows.sort();
    let mut out = String::from(HEAD);
    for (name, treatment, text) in rows {
        // Writing into a String cannot fail.
        let _ = writeln!(out, "| `{name}` | {treatment} | {} |", text.replace('|', "\\|"));
    }
    out
}

const HEAD: &str = "# Properties of the Postgres connector\n\n\
    Every property of Debezium's Postgres connector, and a few of our own. *Ignored* ones are taken and have no effect, for \
    the reason given; *refused* ones would make other data than asked for. Properties that are not listed are taken and \
    have no effect.\n\n\
    <!-- Made from the connector's own definitions by its tests; do not edit. -->\n\n\
    | property | | |\n|---|---|---|\n";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::{collections::HashSet, fs, path::PathBuf};

    use super::*;
    use crate::settings::RelaySettings;

    #[test]
    fn the_documentation_shows_this_table() {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/services/cdc-relay-properties.md");
        if fs::read_to_string(&file).ok().as_deref() != Some(&table()) {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, table()).unwrap();
            panic!("{} was not what the code says; it has been written anew, commit it", file.display());
        }
    }

    #[test]
    fn a_property_is_listed_once() {
        let mut seen = HashSet::new();
        let names = DEFINITIONS.iter().map(|definition| definition.name);
        let names =
            names.chain(IGNORED.iter().map(|ignored| ignored.name)).chain(REFUSED.iter().map(|refused| refused.name));
        for name in names {
            assert!(seen.insert(name), "{name}");
        }
    }

    #[test]
    fn what_is_refused_is_refused_and_what_is_ignored_is_taken() {
        let parse = |property: &str, value: &str| {
            let mut config: connect::Config = ["database.hostname", "database.user", "database.dbname", "topic.prefix"]
                .map(|name| (name.to_owned(), "x".to_owned()))
                .into();
            config.insert(property.to_owned(), value.to_owned());
            RelaySettings::parse(&config)
                .err()
                .unwrap_or_default()
                .into_iter()
                .map(|error| error.field)
                .collect::<Vec<_>>()
        };
        for Refused { name, harmless, .. } in REFUSED {
            assert_eq!(parse(name, "something"), [*name]);
            for value in *harmless {
                assert!(parse(name, value).is_empty(), "{name}={value}");
            }
        }
        for Ignored { name, .. } in IGNORED {
            assert!(parse(name, "something").is_empty(), "{name}");
        }
    }
}
