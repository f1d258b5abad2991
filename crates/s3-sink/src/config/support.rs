//! What becomes of every property of Confluent's S3 sink: acted on, taken without effect, or refused.
//!
//! The table in the documentation is made of this and of [`DEFINITIONS`](super::DEFINITIONS), and the refusals are the
//! ones `validate` gives: what would make other objects than asked for is not taken silently.

use super::fields::{Fields, is_reference};

/// A property without effect here.
#[cfg_attr(not(test), expect(dead_code, reason = "the documentation is made of it"))]
struct Ignored(&'static str, &'static str);

/// A property that cannot be had, but for values that ask for nothing.
struct Refused(&'static str, &'static [&'static str], &'static str);

/// Taken, and without effect.
#[cfg_attr(not(test), expect(dead_code, reason = "the documentation is made of it"))]
#[rustfmt::skip]
const IGNORED: &[Ignored] = &[
    Ignored("allow.optional.map.keys", "Schemas are kept as the registry has them."),
    Ignored("connect.meta.data", "Schemas are kept as the registry has them."),
    Ignored("enable.conditional.writes", "Every put is conditional."),
    Ignored("enhanced.avro.schema.support", "Schemas are kept as the registry has them."),
    Ignored("max.files.scan.limit", "Objects are found by their names."),
    Ignored("max.write.duration.ms", "Reading goes on while objects are written."),
    Ignored("report.null.values.to.dlq", "A tombstone that behavior.on.null.values=fail stops at is a bad record as others: see errors.tolerance."),
    Ignored("retry.backoff.ms", "Servers are waited for, for ever, with backoff."),
    Ignored("rotate.file.on.partition.change", "Files of several folders stay open side by side; late records make no small files."),
    Ignored("s3.elastic.buffer.enable", "haus.buffer.bytes.max bounds memory over all partitions."),
    Ignored("s3.elastic.buffer.init.capacity", "haus.buffer.bytes.max bounds memory over all partitions."),
    Ignored("s3.http.send.expect.continue", "Bodies are sent with their requests."),
    Ignored("s3.object.behavior.on.tagging.error", "Objects have metadata instead of tags."),
    Ignored("s3.object.tagging", "Offsets and the number of records are in each object's metadata, x-amz-meta-haus-…"),
    Ignored("s3.send.digest", "Each object's CRC-32C is in its metadata."),
    Ignored("schemas.cache.config", "Schemas are read once."),
    Ignored("shutdown.timeout.ms", "There is no Hive."),
];

/// Refused, but for the values named.
#[rustfmt::skip]
const REFUSED: &[Refused] = &[
    Refused("storage.class", &["io.confluent.connect.s3.storage.S3Storage"], "this sink writes to S3; use io.confluent.connect.s3.storage.S3Storage"),
    Refused("s3.object.tagging.key.value.pairs", &[], "objects are not tagged"),
    Refused("s3.proxy.url", &[], "proxies are not used"),
    Refused("s3.schema.partition.affix.type", &["NONE"], "folders do not carry names of schemas; use NONE"),
    Refused("s3.wan.mode", &["false"], "accelerated endpoints are not used; set store.url"),
];

/// Refuse what cannot be had.
pub(super) fn refuse(fields: &mut Fields<'_>) {
    for Refused(name, harmless, why) in REFUSED {
        if let Some(value) = fields.text(name)
            && !is_reference(value)
            && !harmless.iter().any(|harmless| harmless.eq_ignore_ascii_case(value))
        {
            fields.refuse(name, value, why);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::collections::HashSet;
    use std::fmt::Write as _;
    use std::fs;
    use std::path::PathBuf;

    use super::super::{DEFINITIONS, SinkConfig};
    use super::*;

    const HEAD: &str = "# Properties of the S3 sink\n\n\
        Every property of Confluent's S3 sink, and two of our own. *Ignored* ones are taken and have no effect, for the \
        reason given; *refused* ones would make other objects than asked for. Properties that are not listed are taken \
        and have no effect.\n\n\
        <!-- Made from the connector's own definitions by its tests; do not edit. -->\n\n\
        | property | | |\n|---|---|---|\n";

    /// Kafka Connect's own.
    const CONNECT: [(&str, &str); 5] = [
        (
            "errors.tolerance, errors.deadletterqueue.…, errors.log.…",
            "As in [Kafka Connect](connect-api.md#settings-of-every-connector): what becomes of records that cannot be taken.",
        ),
        ("name, connector.class", "Kafka Connect's own."),
        ("tasks.max", "Members of the consumer group in this worker, at most 100. Default `1`."),
        ("topics, topics.regex", "What is read; one of the two is required."),
        (
            "key.converter, value.converter",
            "AvroConverter, JsonConverter, StringConverter, ByteArrayConverter. Default: what goes with the format.",
        ),
    ];

    fn table() -> String {
        let mut rows: Vec<(String, &str, String)> =
            CONNECT.iter().map(|(name, text)| ((*name).to_owned(), "supported", (*text).to_owned())).collect();
        let refused = |name: &str| REFUSED.iter().any(|refused| refused.0 == name);
        for definition in DEFINITIONS.iter().filter(|definition| !refused(definition.name)) {
            let default = match definition.default {
                None => " Required.".to_owned(),
                Some("") => String::new(),
                Some(default) => format!(" Default `{default}`."),
            };
            rows.push((definition.name.into(), "supported", format!("{}{default}", definition.documentation)));
        }
        rows.extend(IGNORED.iter().map(|Ignored(name, why)| ((*name).to_owned(), "ignored", (*why).to_owned())));
        for Refused(name, harmless, why) in REFUSED {
            let taken: Vec<String> = harmless.iter().map(|value| format!("`{value}`")).collect();
            let taken = if taken.is_empty() { String::new() } else { format!(" Taken: {}.", taken.join(", ")) };
            let (first, rest) = why.split_at(1);
            rows.push(((*name).to_owned(), "refused", format!("{}{rest}.{taken}", first.to_uppercase())));
        }
        rows.sort();
        let mut out = String::from(HEAD);
        for (name, treatment, text) in rows {
            let _ = writeln!(out, "| `{}` | {treatment} | {} |", name.replace(", ", "`, `"), text.replace('|', "\\|"));
        }
        out
    }

    #[test]
    fn the_documentation_shows_this_table() {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/services/s3-sink-properties.md");
        if fs::read_to_string(&file).ok().as_deref() != Some(&table()) {
            fs::write(&file, table()).unwrap();
            panic!("{} was not what the code says; it has been written anew, commit it", file.display());
        }
    }

    #[test]
    fn a_property_is_listed_once_and_defaults_are_taken() {
        let mut seen = HashSet::new();
        let ignored = IGNORED.iter().map(|ignored| ignored.0);
        for name in DEFINITIONS.iter().map(|definition| definition.name).chain(ignored) {
            assert!(seen.insert(name), "{name}");
        }
        let mut config: connect::Config = [("s3.bucket.name", "b"), ("flush.size", "1"), ("topics", "t")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        for definition in DEFINITIONS {
            let default = definition.default.filter(|default| !default.is_empty());
            config.entry(definition.name.to_owned()).or_insert(default.unwrap_or_default().to_owned());
        }
        let plain = SinkConfig::parse(&config).unwrap();
        config.retain(|name, _| ["s3.bucket.name", "flush.size", "topics"].contains(&name.as_str()));
        let given = SinkConfig::parse(&config).unwrap();
        assert_eq!((plain.shape, plain.rotation), (given.shape, given.rotation));
    }

    #[test]
    fn what_is_refused_is_refused_and_what_is_ignored_is_taken() {
        let parse = |property: &str, value: &str| {
            let config = [("s3.bucket.name", "b"), ("flush.size", "1"), ("topics", "t"), (property, value)];
            let config = config.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            let errors = SinkConfig::parse(&config).err().unwrap_or_default();
            errors.into_iter().map(|error| error.field).collect::<Vec<_>>()
        };
        for Refused(name, harmless, _) in REFUSED {
            assert_eq!(parse(name, "something"), [*name]);
            for value in *harmless {
                assert!(parse(name, value).is_empty(), "{name}={value}");
            }
        }
        for Ignored(name, _) in IGNORED {
            assert!(parse(name, "something").is_empty(), "{name}");
        }
    }
}
