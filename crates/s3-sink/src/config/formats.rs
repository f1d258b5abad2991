//! Formats, converters and what goes with what.

use super::OnNull;
use super::fields::{Fields, is_reference};
use crate::avro::Decimals;
use crate::container::Codec;
use crate::format::{Format, Gzip, ParquetCodec, parquet_codec};
use crate::intake::{Converter, Reading};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Avro,
    Json,
    Parquet,
    Bytes,
}

const FORMATS: [(&str, Kind); 4] = [
    ("io.confluent.connect.s3.format.avro.AvroFormat", Kind::Avro),
    ("io.confluent.connect.s3.format.json.JsonFormat", Kind::Json),
    ("io.confluent.connect.s3.format.parquet.ParquetFormat", Kind::Parquet),
    ("io.confluent.connect.s3.format.bytearray.ByteArrayFormat", Kind::Bytes),
];
const FORMATS_WHY: &str = "this sink knows AvroFormat, JsonFormat, ParquetFormat and ByteArrayFormat";
const PARQUET_CODECS: &str = "none, snappy, gzip, brotli, lz4, lz4_raw, zstd";

/// `format.class` and its companions for keys and headers.
pub(super) struct Formats {
    pub values: Format,
    pub keys: Option<Format>,
    pub headers: Option<Format>,
}

pub(super) fn formats(fields: &mut Fields<'_>) -> Formats {
    let make = Makings::read(fields);
    let values = fields.class("format.class", &FORMATS, FORMATS_WHY);
    let keys = stored(fields, "store.kafka.keys", "keys.format.class");
    let headers = stored(fields, "store.kafka.headers", "headers.format.class");
    if headers == Some(Kind::Bytes) {
        let class = fields.text("headers.format.class").unwrap_or_default().to_owned();
        fields.refuse("headers.format.class", &class, "headers go into Avro, JSON or Parquet");
    }
    if make.gzip != Gzip::No {
        for (kind, what, name) in [
            (Some(values), "data", "format.class"),
            (keys, "keys", "keys.format.class"),
            (headers, "headers", "headers.format.class"),
        ] {
            if matches!(kind, Some(Kind::Avro | Kind::Parquet)) {
                let class = fields.text(name).unwrap_or(FORMATS[0].0);
                let text = format!("Compression Type gzip not valid for {what} format class: ( {class} ).");
                fields.errors.push(connect::FieldError::new(name, Some(class), text));
            }
        }
    }
    let format = |kind| make.format(kind);
    Formats { values: format(values), keys: keys.map(format), headers: headers.map(format) }
}

fn stored(fields: &mut Fields<'_>, switch: &str, class: &str) -> Option<Kind> {
    let kind = fields.class(class, &FORMATS, FORMATS_WHY);
    fields.boolean(switch, false).then_some(kind)
}

/// What formats are made with.
struct Makings {
    codec: Codec,
    parquet: ParquetCodec,
    gzip: Gzip,
    extension: String,
    separator: Vec<u8>,
}

impl Makings {
    fn read(fields: &mut Fields<'_>) -> Self {
        let codecs = Codec::ALL.map(|codec| (codec.name(), codec));
        let codec = fields.choice("avro.codec", &codecs);
        let parquet = fields.known("parquet.codec").unwrap_or("snappy");
        let parquet = parquet_codec(parquet).unwrap_or_else(|| {
            fields.refuse("parquet.codec", parquet, &format!("String must be one of: {PARQUET_CODECS}"));
            ParquetCodec::SNAPPY
        });
        let level = fields.number("s3.compression.level", -1_i32, -1);
        if level > 9 {
            fields.refuse("s3.compression.level", &level.to_string(), "Value must be no more than 9");
        }
        let level = u32::try_from(level).ok().filter(|level| *level <= 9);
        let gzip = fields.choice("s3.compression.type", &[("none", Gzip::No), ("gzip", Gzip::Level(level))]);
        let extension = fields.text("format.bytearray.extension").unwrap_or(".bin").trim_start_matches('.').to_owned();
        let separator = fields.raw("format.bytearray.separator").map_or_else(|| b"\n".to_vec(), unescaped);
        Self { codec, parquet, gzip, extension, separator }
    }

    fn format(&self, kind: Kind) -> Format {
        match kind {
            Kind::Avro => Format::Avro(self.codec),
            Kind::Json => Format::Json(self.gzip),
            Kind::Parquet => Format::Parquet(self.parquet),
            Kind::Bytes => {
                Format::Bytes { extension: self.extension.clone(), separator: self.separator.clone(), gzip: self.gzip }
            }
        }
    }
}

/// Java's escapes, of which line ends and tabs make sense between records.
fn unescaped(text: &str) -> Vec<u8> {
    text.replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t").into_bytes()
}

const CONVERTERS: [(&str, Option<Converter>); 5] = [
    ("", None),
    ("io.confluent.connect.avro.AvroConverter", Some(Converter::Avro)),
    ("org.apache.kafka.connect.json.JsonConverter", Some(Converter::Json { schemas: true })),
    ("org.apache.kafka.connect.storage.StringConverter", Some(Converter::String)),
    ("org.apache.kafka.connect.converters.ByteArrayConverter", Some(Converter::Bytes)),
];
const CONVERTERS_WHY: &str = "this sink knows AvroConverter, JsonConverter, StringConverter and ByteArrayConverter";

/// How records are read.
pub(super) fn reading(fields: &mut Fields<'_>, formats: &Formats) -> Reading {
    let bytes = matches!(formats.values, Format::Bytes { .. });
    let values = converter(fields, "value").unwrap_or(if bytes { Converter::Bytes } else { Converter::Avro });
    check_values(fields, values, &formats.values);
    let keys = converter(fields, "key").unwrap_or(match formats.keys {
        Some(Format::Bytes { .. }) => Converter::Bytes,
        Some(_) => Converter::Avro,
        None => Converter::String,
    });
    check_keys(fields, keys, formats.keys.as_ref());
    let on_null = fields.choice(
        "behavior.on.null.values",
        &[("fail", OnNull::Fail), ("ignore", OnNull::Ignore), ("write", OnNull::Write)],
    );
    if on_null == OnNull::Write && formats.keys.is_none() {
        let text = "Writing Kafka record keys to storage is mandatory when tombstone writing is enabled.";
        fields.errors.push(connect::FieldError::new("behavior.on.null.values", Some("write"), text));
    }
    let decimals = fields.known("json.decimal.format").unwrap_or("BASE64").to_ascii_uppercase();
    if decimals != "BASE64" && decimals != "NUMERIC" {
        let text = "String must be one of (case insensitive): BASE64, NUMERIC";
        fields.refuse("json.decimal.format", &decimals, text);
    }
    Reading {
        values,
        keys,
        on_null,
        tombstone_folder: fields.text("tombstone.encoded.partition").unwrap_or("tombstone").to_owned(),
        decimals: if decimals == "NUMERIC" { Decimals::Numeric } else { Decimals::Base64 },
    }
}

fn converter(fields: &mut Fields<'_>, side: &str) -> Option<Converter> {
    let found = fields.class(&format!("{side}.converter"), &CONVERTERS, CONVERTERS_WHY)?;
    Some(match found {
        Converter::Json { .. } => {
            Converter::Json { schemas: fields.boolean(&format!("{side}.converter.schemas.enable"), true) }
        }
        other => other,
    })
}

fn check_values(fields: &mut Fields<'_>, values: Converter, format: &Format) {
    let why = match (format, values) {
        (Format::Avro(_), Converter::Avro) | (Format::Parquet(_), Converter::Avro) | (Format::Json(_), _) => return,
        (Format::Bytes { .. }, Converter::Bytes) => return,
        (Format::Avro(_), _) => {
            "this sink copies Avro values as AvroConverter reads them; use AvroConverter or JsonFormat"
        }
        (Format::Parquet(_), _) => "Parquet needs a schema; use AvroConverter",
        (Format::Bytes { .. }, _) => "ByteArrayFormat takes bytes; use ByteArrayConverter",
    };
    let class = fields.text("value.converter").unwrap_or_default();
    if !is_reference(class) {
        fields.refuse("value.converter", class, why);
    }
}

fn check_keys(fields: &mut Fields<'_>, keys: Converter, format: Option<&Format>) {
    let why = match (format, keys) {
        (None | Some(Format::Json(_)), _) => return,
        (Some(Format::Bytes { .. }), Converter::Bytes) => return,
        (Some(Format::Avro(_) | Format::Parquet(_)), Converter::Avro | Converter::String) => return,
        (Some(Format::Bytes { .. }), _) => "ByteArrayFormat takes bytes; use ByteArrayConverter",
        (Some(_), _) => "such keys go into JSON; set keys.format.class to JsonFormat",
    };
    let class = fields.text("key.converter").unwrap_or_default();
    if !is_reference(class) {
        fields.refuse("key.converter", class, why);
    }
}
