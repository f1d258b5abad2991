//! A connector configuration of Confluent's S3 sink, checked and typed.
//!
//! Pure. Unknown settings are accepted; a value this sink cannot honour is refused with the reason, never
//! quietly ignored, because the objects would come out differently from what was asked for.

use std::collections::BTreeMap;
use std::str::FromStr;

use connect::FieldError;
use model::secret::Secret;
use objects::StoreSettings;

use crate::rotation::{Millis, Rotation};

/// `haus.buffer.bytes.max`: record bytes held over all partitions of the connector in one worker.
const BUFFER_BYTES_MAX_DEFAULT: usize = 64 << 20;
/// `haus.file.bytes.max`: a file ends at this many record bytes.
const FILE_BYTES_MAX_DEFAULT: usize = 16 << 20;
const AVRO_CONVERTERS: [&str; 2] = ["io.confluent.connect.avro.AvroConverter", "AvroConverter"];

/// Which topics are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topics {
    /// By name.
    Names(Vec<String>),
    /// By a pattern the whole name has to match.
    Pattern(String),
}

/// What to do about a record without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnNull {
    /// Pass over it; the object's metadata counts it.
    Ignore,
    /// Fail the task: Confluent's default.
    Fail,
}

/// Everything a task has to know.
#[derive(Debug, Clone)]
pub struct SinkConfig {
    /// Topics read.
    pub topics: Topics,
    /// Bucket and how to reach it.
    pub store: StoreSettings,
    /// `topics.dir`: first part of every key.
    pub topics_dir: String,
    /// When files end.
    pub rotation: Rotation,
    /// Tombstones.
    pub on_null: OnNull,
    /// Record bytes one task may hold over all its partitions, fetched ones included.
    pub task_bytes_max: usize,
    /// Schema registry of the values, when the connector names one.
    pub registry_url: Option<String>,
}

impl SinkConfig {
    /// Check a configuration. Values that are still references (`${…}`) count as given and fit.
    ///
    /// # Errors
    /// Every setting that does not fit, in Connect's wording.
    pub fn parse(config: &BTreeMap<String, String>) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields { config, errors: Vec::new() };
        let store = store_settings(&mut fields);
        let rotation = rotation(&mut fields);
        refuse_unsupported(&mut fields);
        let tasks_max = fields.number("tasks.max", 1_usize, 1).clamp(1, crate::plugin::TASKS_MAX);
        let buffer_bytes_max = fields.number("haus.buffer.bytes.max", BUFFER_BYTES_MAX_DEFAULT, 1 << 20);
        let on_null = match fields.text("behavior.on.null.values").unwrap_or("fail") {
            "ignore" => OnNull::Ignore,
            "fail" => OnNull::Fail,
            other => {
                fields.refuse("behavior.on.null.values", other, "this sink supports ignore and fail");
                OnNull::Fail
            }
        };
        let topics = match (fields.text("topics"), fields.text("topics.regex")) {
            (Some(names), _) => Topics::Names(
                names.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect(),
            ),
            (None, pattern) => Topics::Pattern(pattern.unwrap_or_default().to_owned()),
        };
        let this = Self {
            topics,
            store,
            topics_dir: fields.text("topics.dir").unwrap_or("topics").trim_matches('/').to_owned(),
            rotation,
            on_null,
            task_bytes_max: buffer_bytes_max / tasks_max,
            registry_url: fields.text("value.converter.schema.registry.url").map(str::to_owned),
        };
        if fields.errors.is_empty() { Ok(this) } else { Err(fields.errors) }
    }
}

impl SinkConfig {
    /// Bytes fetched ahead of the files, out of the task's share.
    pub fn fetch_bytes_max(&self) -> usize {
        (self.task_bytes_max / 4).clamp(256 << 10, 16 << 20)
    }

    /// Bytes the task's files may hold together.
    pub fn files_bytes_max(&self) -> usize {
        self.task_bytes_max.saturating_sub(self.fetch_bytes_max()).max(256 << 10)
    }
}

fn store_settings(fields: &mut Fields<'_>) -> StoreSettings {
    let bucket = fields.required("s3.bucket.name");
    let region = fields.text("s3.region").unwrap_or("us-west-2").to_owned();
    let endpoint = fields.text("store.url").map_or_else(|| format!("https://s3.{region}.amazonaws.com"), str::to_owned);
    if !is_reference(&endpoint) && !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
        fields.refuse("store.url", &endpoint, "it must begin with http:// or https://");
    }
    // Confluent's provider classes read the process's environment; keys in the configuration go before it.
    let from_environment = |name: &str| std::env::var(name).unwrap_or_default();
    let key = fields.text("aws.access.key.id").map_or_else(|| from_environment("AWS_ACCESS_KEY_ID"), str::to_owned);
    let secret =
        fields.text("aws.secret.access.key").map_or_else(|| from_environment("AWS_SECRET_ACCESS_KEY"), str::to_owned);
    if let Some(class) = fields.text("s3.credentials.provider.class") {
        let known = [
            "EnvironmentVariableCredentialsProvider",
            "DefaultAWSCredentialsProviderChain",
            "DefaultCredentialsProvider",
        ];
        if !known.iter().any(|name| class.ends_with(name)) {
            let class = class.to_owned();
            fields.refuse("s3.credentials.provider.class", &class, "this sink takes credentials from the environment");
        }
    }
    StoreSettings { endpoint, region, access_key_id: key, secret_access_key: Secret::new(secret), bucket }
}

fn rotation(fields: &mut Fields<'_>) -> Rotation {
    if fields.text("flush.size").is_none() {
        fields.errors.push(FieldError::missing("flush.size"));
    }
    let records_max = fields.number("flush.size", 1_u64, 1);
    let file_bytes_max = fields.number("haus.file.bytes.max", FILE_BYTES_MAX_DEFAULT, 1);
    let interval_ms = fields.interval("rotate.interval.ms");
    let schedule_ms = fields.interval("rotate.schedule.interval.ms");
    let zone_ms = match fields.text("timezone") {
        None if schedule_ms.is_some() => {
            let text = "timezone configuration must be set when using scheduled rotation";
            fields.errors.push(FieldError::new("timezone", None, text));
            0
        }
        None => 0,
        Some(zone) if is_reference(zone) => 0,
        Some(zone) => match zone_ms(zone) {
            Some(ms) => ms,
            None => {
                let zone = zone.to_owned();
                fields.refuse("timezone", &zone, "this sink knows UTC and fixed offsets such as +02:00");
                0
            }
        },
    };
    Rotation { records_max, file_bytes_max, interval_ms, schedule_ms, zone_ms }
}

fn zone_ms(zone: &str) -> Option<Millis> {
    if ["UTC", "GMT", "Z", "Etc/UTC", "Etc/GMT"].contains(&zone) {
        return Some(0);
    }
    let zone = zone.strip_prefix("UTC").or_else(|| zone.strip_prefix("GMT")).unwrap_or(zone);
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    ((0..=18).contains(&hours) && (0..60).contains(&minutes)).then_some(sign * (hours * 60 + minutes) * 60_000)
}

/// Settings whose other values would make other objects.
fn refuse_unsupported(fields: &mut Fields<'_>) {
    let only: [(&str, &[&str], &str); 8] = [
        (
            "format.class",
            &["io.confluent.connect.s3.format.avro.AvroFormat"],
            "this sink writes Avro object containers",
        ),
        ("value.converter", &AVRO_CONVERTERS, "this sink copies Avro values as AvroConverter wrote them"),
        (
            "partitioner.class",
            &["io.confluent.connect.storage.partitioner.DefaultPartitioner"],
            "this sink lays objects out by Kafka partition",
        ),
        ("storage.class", &["io.confluent.connect.s3.storage.S3Storage"], "this sink writes to S3"),
        ("schema.compatibility", &["NONE"], "this sink begins a new file at every change of the schema (NONE)"),
        ("avro.codec", &["null"], "this sink writes uncompressed containers"),
        ("directory.delim", &["/"], "the lake finds objects by the default layout"),
        ("file.delim", &["+"], "the lake finds objects by the default layout"),
    ];
    for (name, accepted, why) in only {
        if let Some(value) = fields.text(name)
            && !is_reference(value)
            && !accepted.contains(&value)
        {
            let value = value.to_owned();
            fields.refuse(name, &value, &format!("{why}; use {}", accepted[0]));
        }
    }
    if let Some(width) = fields.text("filename.offset.zero.pad.width").filter(|width| *width != "10") {
        let width = width.to_owned();
        fields.refuse("filename.offset.zero.pad.width", &width, "the lake finds objects by the default width; use 10");
    }
}

fn is_reference(value: &str) -> bool {
    value.contains("${")
}

/// Reads settings and collects what does not fit.
struct Fields<'a> {
    config: &'a BTreeMap<String, String>,
    errors: Vec<FieldError>,
}

impl<'a> Fields<'a> {
    /// The value; an empty one counts as not given.
    fn text(&self, name: &str) -> Option<&'a str> {
        self.config.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    fn required(&mut self, name: &str) -> String {
        let value = self.text(name).map(str::to_owned);
        value.unwrap_or_else(|| {
            self.errors.push(FieldError::missing(name));
            String::new()
        })
    }

    fn refuse(&mut self, name: &str, value: &str, why: &str) {
        self.errors.push(FieldError::invalid(name, value, why));
    }

    fn number<T: FromStr + PartialOrd + Copy + std::fmt::Display>(&mut self, name: &str, default: T, min: T) -> T {
        let Some(text) = self.text(name).filter(|text| !is_reference(text)) else { return default };
        match text.parse::<T>() {
            Ok(number) if number >= min => number,
            Ok(_) => {
                self.refuse(name, text, &format!("Value must be at least {min}"));
                default
            }
            Err(_) => {
                self.refuse(name, text, "Not a number of type INT");
                default
            }
        }
    }

    /// An interval in ms; -1 (Confluent's default) and 0 mean none.
    fn interval(&mut self, name: &str) -> Option<Millis> {
        Some(self.number(name, -1_i64, -1)).filter(|ms| *ms > 0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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

    fn refused(change: &[(&str, Option<&str>)]) -> Vec<String> {
        let mut config = template();
        for (name, value) in change {
            match value {
                Some(value) => config.insert((*name).to_owned(), (*value).to_owned()),
                None => config.remove(*name),
            };
        }
        SinkConfig::parse(&config).err().unwrap_or_default().into_iter().map(|error| error.message).collect()
    }

    #[test]
    fn the_templates_configuration_fits() {
        let config = SinkConfig::parse(&template()).unwrap();
        assert_eq!(config.topics_dir, "kafka");
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
            ("format.class", "io.confluent.connect.s3.format.json.JsonFormat"),
            ("partitioner.class", "io.confluent.connect.storage.partitioner.DailyPartitioner"),
            ("avro.codec", "snappy"),
            ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
            ("behavior.on.null.values", "write"),
            ("timezone", "Mars/Olympus"),
            ("store.url", "minio:9000"),
        ] {
            let refused = refused(&[(name, Some(value))]);
            assert!(refused.len() == 1 && refused[0].contains(name), "{name}: {refused:?}");
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
    fn zones_are_utc_or_fixed_offsets() {
        assert_eq!(zone_ms("+02:00"), Some(7_200_000));
        assert_eq!(zone_ms("GMT-3"), Some(-10_800_000));
        assert_eq!(zone_ms("Europe/Berlin"), None);
    }
}
