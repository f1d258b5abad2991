//! The settings this sink acts on, as `/connector-plugins/{class}/config` and the documentation show them.

use connect::Definition;

const fn define(
    group: &'static str,
    name: &'static str,
    kind: &'static str,
    default: Option<&'static str>,
    importance: &'static str,
    documentation: &'static str,
) -> Definition {
    Definition { name, kind, default, required: default.is_none(), importance, documentation, group }
}

const DEFAULT_PROVIDER: &str = "software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider";
const AVRO: &str = "io.confluent.connect.s3.format.avro.AvroFormat";

/// All, in Confluent's groups and order; ours last.
#[rustfmt::skip]
pub const DEFINITIONS: &[Definition] = &[
    define("Connector", "format.class", "CLASS", Some(AVRO), "HIGH", "AvroFormat, JsonFormat, ParquetFormat or ByteArrayFormat of io.confluent.connect.s3.format."),
    define("Connector", "flush.size", "INT", None, "HIGH", "Number of records written to store before invoking file commits."),
    define("Connector", "rotate.interval.ms", "LONG", Some("-1"), "HIGH", "Longest time files stay open, by the clock; with a timestamp extractor of records also by their time."),
    define("Connector", "rotate.schedule.interval.ms", "LONG", Some("-1"), "MEDIUM", "Files end at multiples of this since midnight in timezone. Exactly once as well."),
    define("Connector", "filename.offset.zero.pad.width", "INT", Some("10"), "LOW", "Width to zero pad offsets in object names."),
    define("Connector", "avro.codec", "STRING", Some("null"), "LOW", "Compression of Avro containers: null, deflate, snappy, zstandard."),
    define("Connector", "parquet.codec", "STRING", Some("snappy"), "LOW", "Compression of Parquet: none, snappy, gzip, brotli, lz4, lz4_raw, zstd."),
    define("Schema", "schema.compatibility", "STRING", Some("NONE"), "HIGH", "NONE: values of another schema go into another file. BACKWARD, FULL: a file also takes values of older versions, FORWARD: of newer ones, projected to its schema; needs AvroConverter. BACKWARD_TRANSITIVE, FORWARD_TRANSITIVE and FULL_TRANSITIVE are NONE, as to Confluent's sink."),
    define("S3", "s3.bucket.name", "STRING", None, "HIGH", "The S3 Bucket."),
    define("S3", "s3.region", "STRING", Some("us-west-2"), "MEDIUM", "The AWS region to be used the connector."),
    define("S3", "s3.part.size", "INT", Some("26214400"), "HIGH", "Larger objects go up in parts of this size. haus.file.bytes.max ends files, so it has to be larger for that."),
    define("S3", "s3.credentials.provider.class", "CLASS", Some(DEFAULT_PROVIDER), "LOW", "Default chain, environment, profile, web identity, instance role, anonymous, or Confluent's AwsAssumeRoleCredentialsProvider."),
    define("S3", "s3.credentials.provider.sts.role.arn", "STRING", Some(""), "LOW", "Role that AwsAssumeRoleCredentialsProvider assumes."),
    define("S3", "s3.credentials.provider.sts.role.session.name", "STRING", Some(""), "LOW", "Session name of the assumed role."),
    define("S3", "s3.credentials.provider.sts.role.external.id", "STRING", Some(""), "LOW", "External id of the assumed role."),
    define("S3", "aws.access.key.id", "STRING", Some(""), "HIGH", "Access key id; goes before the credentials provider."),
    define("S3", "aws.secret.access.key", "PASSWORD", Some(""), "HIGH", "Secret access key; goes before the credentials provider."),
    define("S3", "s3.ssea.name", "STRING", Some(""), "LOW", "Server side encryption: AES256 or aws:kms."),
    define("S3", "s3.sse.customer.key", "PASSWORD", Some(""), "LOW", "Customer key for server side encryption: 256 bits in base64."),
    define("S3", "s3.sse.kms.key.id", "STRING", Some(""), "LOW", "KMS key for server side encryption with aws:kms."),
    define("S3", "s3.acl.canned", "STRING", Some(""), "LOW", "An S3 canned ACL header value to apply when writing objects."),
    define("S3", "s3.compression.type", "STRING", Some("none"), "LOW", "none or gzip; for JsonFormat and ByteArrayFormat."),
    define("S3", "s3.compression.level", "INT", Some("-1"), "LOW", "Level of gzip, 0 to 9; -1: zlib's default."),
    define("S3", "json.decimal.format", "STRING", Some("BASE64"), "MEDIUM", "Decimals in JSON: BASE64 or NUMERIC."),
    define("S3", "s3.part.retries", "INT", Some("3"), "MEDIUM", "How often a request that failed is repeated before its upload begins anew; a store that is away is waited for as long as it takes."),
    define("S3", "s3.retry.backoff.ms", "LONG", Some("200"), "LOW", "Pause before the first repetition; later ones are longer."),
    define("S3", "format.bytearray.extension", "STRING", Some(".bin"), "LOW", "Extension of objects of ByteArrayFormat."),
    define("S3", "format.bytearray.separator", "STRING", Some(""), "LOW", "What stands behind each record of ByteArrayFormat, with \\n, \\r and \\t; a line end when not given."),
    define("S3", "behavior.on.null.values", "STRING", Some("fail"), "LOW", "Records without a value: fail, ignore, or write their keys into the folder of tombstone.encoded.partition."),
    define("S3", "tombstone.encoded.partition", "STRING", Some("tombstone"), "LOW", "Folder of records without a value."),
    define("S3", "store.kafka.keys", "BOOLEAN", Some("false"), "LOW", "Keys go into objects of their own beside the values."),
    define("S3", "store.kafka.headers", "BOOLEAN", Some("false"), "LOW", "Headers go into objects of their own beside the values."),
    define("S3", "keys.format.class", "CLASS", Some(AVRO), "LOW", "Format of keys."),
    define("S3", "headers.format.class", "CLASS", Some(AVRO), "LOW", "Format of headers: Avro, JSON or Parquet."),
    define("S3", "s3.path.style.access.enabled", "BOOLEAN", Some("true"), "LOW", "The bucket stands in the path; false: in the host."),
    define("Storage", "storage.class", "CLASS", Some("io.confluent.connect.s3.storage.S3Storage"), "HIGH", "S3."),
    define("Storage", "topics.dir", "STRING", Some("topics"), "HIGH", "Top level directory to store the data ingested from Kafka."),
    define("Storage", "store.url", "STRING", Some(""), "HIGH", "Store's connection URL, if applicable."),
    define("Storage", "directory.delim", "STRING", Some("/"), "MEDIUM", "Directory delimiter pattern."),
    define("Storage", "file.delim", "STRING", Some("+"), "MEDIUM", "File delimiter pattern."),
    define("Partitioner", "partitioner.class", "CLASS", Some("io.confluent.connect.storage.partitioner.DefaultPartitioner"), "HIGH", "DefaultPartitioner, FieldPartitioner, TimeBasedPartitioner, DailyPartitioner or HourlyPartitioner of io.confluent.connect.storage.partitioner."),
    define("Partitioner", "partition.field.name", "LIST", Some(""), "MEDIUM", "Fields of FieldPartitioner; dots lead into nested ones."),
    define("Partitioner", "partition.duration.ms", "LONG", Some("-1"), "MEDIUM", "Length of a folder's time with TimeBasedPartitioner."),
    define("Partitioner", "path.format", "STRING", Some(""), "MEDIUM", "Folders of TimeBasedPartitioner, in Joda's letters: 'year'=YYYY/'month'=MM/'day'=dd/'hour'=HH."),
    define("Partitioner", "locale", "STRING", Some(""), "MEDIUM", "Locale of time layouts. Names of months and days are written in English only."),
    define("Partitioner", "timezone", "STRING", Some(""), "MEDIUM", "Zone of time layouts and scheduled rotation: Europe/Berlin, UTC, +02:00."),
    define("Partitioner", "timestamp.extractor", "STRING", Some("Wallclock"), "MEDIUM", "Wallclock, Record or RecordField. Exactly once with each."),
    define("Partitioner", "timestamp.field", "STRING", Some("timestamp"), "MEDIUM", "Field of RecordField: milliseconds or ISO 8601; dots lead into nested ones."),
    define("Partitioner", "partitioner.max.open.files", "INT", Some("-1"), "LOW", "Most files open for a Kafka partition."),
    define("Converters", "value.converter.schema.registry.url", "STRING", Some(""), "HIGH", "Schema registry of values and keys; the worker's when not given."),
    define("Converters", "value.converter.schemas.enable", "BOOLEAN", Some("true"), "LOW", "Whether JSON values stand in an envelope with their schema."),
    define("Converters", "key.converter.schemas.enable", "BOOLEAN", Some("true"), "LOW", "Whether JSON keys stand in an envelope with their schema."),
    define("Memory", "haus.file.bytes.max", "LONG", Some("16777216"), "MEDIUM", "Ours: files end at this many record bytes."),
    define("Memory", "haus.buffer.bytes.max", "LONG", Some("67108864"), "MEDIUM", "Ours: record bytes held over all tasks of the connector in one worker."),
];
