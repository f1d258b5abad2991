//! Configurations that fit and that do not.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::container::Codec;
use crate::format::{Format, Gzip};
use crate::layout::{Extractor, Layout};

fn template() -> BTreeMap<String, String> {
    let pairs = [
        ("connector.class", "io.confluent.connect.s3.S3SinkConnector"),
        ("tasks.max", "3"),
        ("topics", "storefront.public.customers, storefront.public.orders"),
        ("s3.bucket.name", "raw"),
        ("s3.region", "us-east-1"),
        ("store.url", "http://127.0.0.1:9000"),
        ("s3.credentials.provider.class", "com.amazonaws.auth.EnvironmentVariableCredentialsProvider"),
        ("format.class", "io.confluent.connect.s3.format.avro.AvroFormat"),
        ("avro.converter.enhanced.avro.schema.support", "true"),
        ("schema.compatibility", "NONE"),
        ("flush.size", "1000"),
        ("rotate.schedule.interval.ms", "60000"),
        ("timezone", "UTC"),
        ("storage.class", "io.confluent.connect.s3.storage.S3Storage"),
        ("value.converter", "io.confluent.connect.avro.AvroConverter"),
        ("value.converter.schema.registry.url", "http://127.0.0.1:8081"),
        ("key.converter", "org.apache.kafka.connect.storage.StringConverter"),
        ("partitioner.class", "io.confluent.connect.storage.partitioner.DefaultPartitioner"),
        ("topics.dir", "kafka"),
    ];
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn changed(change: &[(&str, Option<&str>)]) -> Result<SinkConfig, Vec<String>> {
    let mut config = template();
    for (name, value) in change {
        match value {
            Some(value) => config.insert((*name).to_owned(), (*value).to_owned()),
            None => config.remove(*name),
        };
    }
    SinkConfig::parse(&config).map_err(|errors| errors.into_iter().map(|error| error.message).collect())
}

fn with(change: &[(&str, &str)]) -> SinkConfig {
    let change: Vec<_> = change.iter().map(|(name, value)| (*name, Some(*value))).collect();
    changed(&change).unwrap()
}

fn refused(change: &[(&str, Option<&str>)]) -> Vec<String> {
    changed(change).err().unwrap_or_default()
}

#[test]
fn the_templates_configuration_fits() {
    let config = with(&[]);
    assert_eq!(config.shape.topics_dir, "kafka");
    assert!(!config.shape.planned, "an object speaks for itself");
    assert_eq!(config.rotation.records_max, 1000);
    assert_eq!((config.rotation.interval_ms, config.rotation.schedule_ms), (None, Some(60_000)));
    assert_eq!(config.task_bytes_max, BUFFER_BYTES_MAX_DEFAULT / 3);
    let Topics::Names(names) = config.topics else { unreachable!() };
    assert_eq!(names, ["storefront.public.customers", "storefront.public.orders"]);
}

#[test]
fn missing_and_wrong_values_are_named_together() {
    assert_eq!(
        refused(&[("s3.bucket.name", None), ("flush.size", Some("many")), ("timezone", None)]),
        [
            "Missing required configuration \"s3.bucket.name\" which has no default value.",
            "Invalid value many for configuration flush.size: Not a number of type INT",
            "timezone configuration must be set when using scheduled rotation",
        ]
    );
}

#[test]
fn what_would_make_other_objects_is_refused_and_not_ignored() {
    for (name, value) in [
        ("format.class", "io.confluent.connect.s3.format.orc.OrcFormat"),
        ("partitioner.class", "com.example.MyPartitioner"),
        ("avro.codec", "bzip2"),
        ("parquet.codec", "lzo"),
        ("s3.part.size", "1000"),
        ("s3.ssea.name", "ROT13"),
        ("s3.credentials.provider.class", "com.example.MyProvider"),
        ("s3.path.style.access.enabled", "perhaps"),
        ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
        ("behavior.on.null.values", "perhaps"),
        ("timezone", "Mars/Olympus"),
        ("store.url", "minio:9000"),
        ("schema.compatibility", "BACKWARDS"),
    ] {
        let refused = refused(&[(name, Some(value))]);
        assert!(refused.len() == 1 && refused[0].to_lowercase().contains(&value.to_lowercase()), "{name}: {refused:?}");
    }
}

#[test]
fn formats_have_their_codecs_and_extensions() {
    let format = |change: &[(&str, &str)]| with(change).shape.format.clone();
    assert_eq!(format(&[("avro.codec", "zstandard")]), Format::Avro(Codec::Zstandard));
    let json = ("format.class", "io.confluent.connect.s3.format.json.JsonFormat");
    assert_eq!(format(&[json]), Format::Json(Gzip::No));
    let level = [json, ("s3.compression.type", "gzip"), ("s3.compression.level", "9")];
    assert_eq!(format(&level).extension(), "json.gz");
    let parquet = ("format.class", "ParquetFormat");
    assert_eq!(format(&[parquet]).extension(), "snappy.parquet");
    assert_eq!(format(&[parquet, ("parquet.codec", "none")]).extension(), "parquet");
    let bytes = ("format.class", "io.confluent.connect.s3.format.bytearray.ByteArrayFormat");
    let converter = ("value.converter", "org.apache.kafka.connect.converters.ByteArrayConverter");
    let made =
        format(&[bytes, converter, ("format.bytearray.separator", "\\r\\n"), ("format.bytearray.extension", ".x")]);
    assert_eq!(made, Format::Bytes { extension: "x".into(), separator: b"\r\n".to_vec(), gzip: Gzip::No });
    assert_eq!(
        refused(&[("s3.compression.type", Some("gzip"))]),
        ["Compression Type gzip not valid for data format class: ( io.confluent.connect.s3.format.avro.AvroFormat )."]
    );
}

#[test]
fn keys_and_headers_make_ranges_that_are_written_down() {
    let shape = with(&[
        ("store.kafka.keys", "true"),
        ("store.kafka.headers", "true"),
        ("headers.format.class", "io.confluent.connect.s3.format.json.JsonFormat"),
    ])
    .shape;
    assert_eq!(
        (shape.keys.clone(), shape.headers.clone()),
        (Some(Format::Avro(Codec::Null)), Some(Format::Json(Gzip::No)))
    );
    assert!(shape.planned);
    assert_eq!(
        refused(&[("behavior.on.null.values", Some("write"))]),
        ["Writing Kafka record keys to storage is mandatory when tombstone writing is enabled."]
    );
    let tombstones = with(&[("store.kafka.keys", "true"), ("behavior.on.null.values", "write")]);
    assert_eq!(tombstones.reading.on_null, OnNull::Write);
}

#[test]
fn time_layouts_say_what_they_need() {
    let time = ("partitioner.class", "io.confluent.connect.storage.partitioner.TimeBasedPartitioner");
    assert_eq!(
        refused(&[(time.0, Some(time.1))]),
        [
            "Invalid value -1 for configuration partition.duration.ms: Partition duration needs to be a positive.",
            "Invalid value  for configuration locale: Locale cannot be empty.",
            "Invalid value  for configuration path.format: Path format cannot be empty.",
        ]
    );
    let hourly = [
        ("partitioner.class", "io.confluent.connect.storage.partitioner.HourlyPartitioner"),
        ("locale", "de-DE"),
        ("timezone", "Europe/Berlin"),
        ("timestamp.extractor", "RecordField"),
        ("timestamp.field", "after.created_at"),
    ];
    let Layout::Time(layout) = with(&hourly).shape.layout.clone() else { unreachable!() };
    assert_eq!((layout.duration, layout.extractor), (3_600_000, Extractor::Field("after.created_at".into())));
    let field = [("partitioner.class", Some("FieldPartitioner"))];
    assert_eq!(
        refused(&field),
        ["Invalid value  for configuration partition.field.name: Field name cannot be null or empty"]
    );
}

#[test]
fn compatibility_needs_schemas_and_says_so_at_its_own_field() {
    for (text, rule) in [
        ("NONE", Compatibility::None),
        ("BACKWARD", Compatibility::Older),
        ("FULL", Compatibility::Older),
        ("FORWARD", Compatibility::Newer),
        // What Confluent's sink does not know is NONE to it.
        ("BACKWARD_TRANSITIVE", Compatibility::None),
    ] {
        assert_eq!(with(&[("schema.compatibility", text)]).compatibility, rule, "{text}");
    }
    let json = ("format.class", Some("io.confluent.connect.s3.format.json.JsonFormat"));
    let backward = ("schema.compatibility", Some("BACKWARD"));
    assert!(refused(&[json, backward]).is_empty(), "JSON of Avro values has a schema");
    let without = [json, backward, ("value.converter", Some("org.apache.kafka.connect.json.JsonConverter"))];
    let bytes = [
        ("format.class", Some("io.confluent.connect.s3.format.bytearray.ByteArrayFormat")),
        backward,
        ("value.converter", Some("org.apache.kafka.connect.converters.ByteArrayConverter")),
    ];
    for (change, cure) in [(without, "use NONE or AvroConverter"), (bytes, "use NONE")] {
        let refused = refused(&change);
        assert!(refused.len() == 1 && refused[0].contains("schema.compatibility: "), "{refused:?}");
        assert!(refused[0].ends_with(cure), "{refused:?}");
    }
}

#[test]
fn references_and_unknown_settings_are_accepted() {
    assert!(
        refused(&[("store.url", Some("${env:S3_ENDPOINT}")), ("flush.size", Some("${env:N}")), ("x.y", Some("z"))])
            .is_empty()
    );
}

#[test]
fn a_customer_key_is_256_bits_and_never_shown() {
    let short = refused(&[("s3.sse.customer.key", Some("c2hvcnQ="))]);
    assert!(short.len() == 1 && !short[0].contains("c2hvcnQ="), "{short:?}");
    let key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    let shown = format!("{:?}", with(&[("s3.sse.customer.key", key)]));
    assert!(!shown.contains("48, 49") && !shown.contains(key), "{shown}");
}
