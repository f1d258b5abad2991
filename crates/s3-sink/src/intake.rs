//! A record on its way in: checked, placed, and turned into the bytes that its file holds.
//!
//! Pure but for the record, which is Kafka's. Where values are copied as they are and lie by Kafka partition, nothing is
//! looked into. Otherwise the schema has to be known first: [`Intake::unknown_schema`] says which. A record that cannot
//! be taken is a [`RecordError`]: what becomes of it (the task fails, or it is passed over and kept as a dead letter) is
//! the caller's to decide.

mod headers;
mod text;

use std::collections::HashMap;
use std::sync::Arc;

use topics::{Record, SchemaId};

use crate::avro::{Decimals, FieldPath, Found, PathError, Schema, find, write_json};
use crate::config::OnNull;
use crate::container::{put_bytes, put_long, unframe};
use crate::format::Format;
use crate::layout::{Extractor, FieldValue, Layout, LayoutError, RecordView};
use crate::rotation::Millis;
use crate::shape::Shape;

/// Schema of string keys in Avro: Connect's optional string.
pub const STRING_SCHEMA: &str = r#"["null","string"]"#;
pub use headers::HEADERS_SCHEMA;

/// `value.converter`, `key.converter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Converter {
    /// Confluent's Avro.
    Avro,
    /// JSON; with `schemas.enable` in an envelope of schema and payload.
    Json {
        /// `schemas.enable`.
        schemas: bool,
    },
    /// Text.
    String,
    /// Bytes.
    Bytes,
}

/// A record that cannot be taken, with the cure where there is one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RecordError(pub String);

/// What becomes of a record.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// Counted only: it has no value.
    Pass,
    /// Goes into a file.
    Take(Taken<'a>),
}

/// A record as its file takes it.
#[derive(Debug)]
pub struct Taken<'a> {
    /// Its offset.
    pub offset: i64,
    /// Folder below the topic's.
    pub folder: &'a str,
    /// Its time, where the layout looks at it.
    pub time: Option<Millis>,
    /// Bytes for the file of values; none for a tombstone.
    pub value: Option<&'a [u8]>,
    /// The value in Avro, when that is what it came as.
    pub datum: Option<&'a [u8]>,
    /// Bytes for the file of keys.
    pub key: Option<&'a [u8]>,
    /// Bytes for the file of headers.
    pub headers: Option<&'a [u8]>,
    /// Schema of the value, or 0.
    pub value_schema: u32,
    /// Schema of the key, or 0.
    pub key_schema: u32,
}

impl Taken<'_> {
    /// Bytes its files grow by, with the value in this form.
    pub fn bytes(&self, value: Option<&[u8]>) -> usize {
        [value, self.key, self.headers].into_iter().flatten().map(<[u8]>::len).sum()
    }
}

/// A schema and where the fields are that the layout looks at.
struct Known {
    schema: Schema,
    fields: HashMap<String, Result<FieldPath, PathError>>,
}

/// How records are read and what their files want.
#[derive(Debug, Clone)]
pub struct Reading {
    /// `value.converter`.
    pub values: Converter,
    /// `key.converter`.
    pub keys: Converter,
    /// `behavior.on.null.values`.
    pub on_null: OnNull,
    /// `tombstone.encoded.partition`.
    pub tombstone_folder: String,
    /// `json.decimal.format`.
    pub decimals: Decimals,
}

/// See the module documentation.
pub struct Intake {
    reading: Reading,
    shape: Arc<Shape>,
    /// Fields that the layout looks at.
    fields: Vec<String>,
    schemas: HashMap<u32, Known>,
    folder: String,
    value: Vec<u8>,
    key: Vec<u8>,
    headers: Vec<u8>,
}

impl Intake {
    /// For a connector.
    pub fn new(reading: Reading, shape: Arc<Shape>) -> Self {
        let fields = match &shape.layout {
            Layout::Field(names) => names.clone(),
            Layout::Time(time) => match &time.extractor {
                Extractor::Field(name) => vec![name.clone()],
                Extractor::Wallclock | Extractor::Record => Vec::new(),
            },
            Layout::Default => Vec::new(),
        };
        Self {
            reading,
            shape,
            fields,
            schemas: HashMap::new(),
            folder: String::new(),
            value: Vec::new(),
            key: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// A schema that has to be known before the record can be taken.
    pub fn unknown_schema(&self, record: &Record<'_>) -> Option<SchemaId> {
        let unknown = |bytes: Option<&[u8]>| {
            let (id, _) = unframe(bytes?).ok()?;
            (!self.schemas.contains_key(&id)).then_some(SchemaId(id))
        };
        let looks_into_values = matches!(self.shape.format, Format::Json(_)) || !self.fields.is_empty();
        if self.reading.values == Converter::Avro
            && looks_into_values
            && let Some(id) = unknown(record.value())
        {
            return Some(id);
        }
        let keys_as_text = matches!(self.shape.keys, Some(Format::Json(_)));
        if self.reading.keys == Converter::Avro && keys_as_text { unknown(record.key()) } else { None }
    }

    /// Learn a schema.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn learn(&mut self, id: SchemaId, text: &str) -> Result<(), RecordError> {
        let schema = Schema::parse(text).map_err(|error| RecordError(format!("schema {}: {error}", id.0)))?;
        let fields = self.fields.iter().map(|name| (name.clone(), schema.path(name))).collect();
        self.schemas.insert(id.0, Known { schema, fields });
        Ok(())
    }

    /// What becomes of a record.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn record<'a>(&'a mut self, record: &'a Record<'_>, now: Millis) -> Result<Outcome<'a>, RecordError> {
        let at =
            |error: String| RecordError(format!("{} offset {}: {error}", record.topic_partition(), record.offset()));
        if record.value().is_none() {
            match self.reading.on_null {
                OnNull::Ignore => return Ok(Outcome::Pass),
                OnNull::Fail => {
                    return Err(RecordError(format!(
                        "{} offset {} has no value (a tombstone): set behavior.on.null.values to ignore, or \
                         tombstones.on.delete to false in the source connector",
                        record.topic_partition(),
                        record.offset()
                    )));
                }
                OnNull::Write => {}
            }
        }
        // Fields one by one, so that the parts may be borrowed side by side.
        let Self { reading, shape, schemas, folder, value, key, headers, .. } = self;
        let parsed = read_value(reading, record.value(), schemas).map_err(at)?;
        let time = if matches!(parsed, Value::None) {
            folder.clear();
            folder.push_str(&reading.tombstone_folder);
            None
        } else {
            let view = View { partition: record.partition().0, timestamp: record.timestamp_ms(), value: &parsed };
            let placed = if shape.planned || shape.layout != Layout::Default {
                shape.layout.place(&view, now, &shape.directory_delimiter, folder)
            } else {
                Ok(None)
            };
            placed.map_err(|error| at(error.to_string()))?
        };
        let (value_schema, datum) =
            if let Value::Avro { id, datum, .. } = parsed { (id, Some(datum)) } else { (0, None) };
        let value = write_value(&parsed, &shape.format, reading.decimals, record.value(), value).map_err(at)?;
        let (key, key_schema) = match &shape.keys {
            None => (None, 0),
            Some(format) => {
                let (bytes, id) = text::key(record, reading, format, schemas, key).map_err(at)?;
                (Some(bytes), id)
            }
        };
        let headers = match &shape.headers {
            None => None,
            Some(format) => Some(headers::write(record, format, headers).map_err(at)?),
        };
        let offset = record.offset().0;
        Ok(Outcome::Take(Taken { offset, folder, time, value, datum, key, headers, value_schema, key_schema }))
    }
}

/// A value as far as it had to be read.
enum Value<'a> {
    /// A tombstone.
    None,
    Avro {
        id: u32,
        datum: &'a [u8],
        known: Option<&'a Known>,
    },
    Json(serde_json::Value),
    Text(&'a str),
    Bytes(&'a [u8]),
}

fn read_value<'a>(
    reading: &Reading,
    value: Option<&'a [u8]>,
    schemas: &'a HashMap<u32, Known>,
) -> Result<Value<'a>, String> {
    let Some(value) = value else { return Ok(Value::None) };
    Ok(match reading.values {
        Converter::Avro => {
            let (id, datum) = unframe(value).map_err(|error| error.to_string())?;
            Value::Avro { id, datum, known: schemas.get(&id) }
        }
        Converter::Json { schemas } => Value::Json(text::parse_json(value, schemas)?),
        Converter::String => Value::Text(std::str::from_utf8(value).map_err(|_| "the value is not UTF-8".to_owned())?),
        Converter::Bytes => Value::Bytes(value),
    })
}

fn write_value<'a>(
    parsed: &Value<'a>,
    format: &Format,
    decimals: Decimals,
    raw: Option<&'a [u8]>,
    out: &'a mut Vec<u8>,
) -> Result<Option<&'a [u8]>, String> {
    out.clear();
    match (parsed, format) {
        (Value::None, _) => return Ok(None),
        (Value::Avro { datum, .. }, Format::Avro(_) | Format::Parquet(_)) => return Ok(Some(datum)),
        (_, Format::Bytes { .. }) => return Ok(raw),
        (Value::Avro { datum, known: Some(known), .. }, Format::Json(_)) => {
            write_json(&known.schema, datum, decimals, out).map_err(|error| error.to_string())?;
        }
        (Value::Json(json), Format::Json(_)) => serde_json::to_writer(&mut *out, json).map_err(|e| e.to_string())?,
        (Value::Text(text), Format::Json(_)) => serde_json::to_writer(&mut *out, text).map_err(|e| e.to_string())?,
        (Value::Bytes(bytes), Format::Json(_)) => text::base64_text(bytes, out),
        _ => return Err("the converter of values does not go with the format; correct format.class".into()),
    }
    Ok(Some(out))
}

/// Writes text as Avro's optional string.
fn put_optional_string(text: &[u8], out: &mut Vec<u8>) {
    put_long(out, 1);
    put_bytes(out, text);
}

struct View<'a> {
    partition: i32,
    timestamp: Option<Millis>,
    value: &'a Value<'a>,
}

impl RecordView for View<'_> {
    fn partition(&self) -> i32 {
        self.partition
    }

    fn timestamp(&self) -> Option<Millis> {
        self.timestamp
    }

    fn field(&self, name: &str) -> Result<FieldValue<'_>, LayoutError> {
        match self.value {
            Value::Avro { datum, known: Some(known), .. } => {
                let path = match known.fields.get(name) {
                    Some(Ok(path)) => path,
                    Some(Err(error)) => return Err(LayoutError::NoField(error.to_string())),
                    None => return Err(LayoutError::NoStruct),
                };
                let found = find(&known.schema, datum, path);
                Ok(match found.map_err(|error| LayoutError::NoField(error.to_string()))? {
                    Found::Null => FieldValue::Null,
                    Found::Integer(number) => FieldValue::Integer(number),
                    Found::Text(text) => FieldValue::Text(text.into()),
                    Found::Boolean(yes) => FieldValue::Boolean(yes),
                    Found::Other => FieldValue::Other,
                })
            }
            Value::Json(json) => text::json_field(json, name),
            _ => Err(LayoutError::NoStruct),
        }
    }
}
