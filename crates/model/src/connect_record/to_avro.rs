//! Connect's schemas and values as Avro, to the byte as `AvroConverter` writes them.

use std::fmt::Write as _;

use super::{Kind, Schema, Value};
use crate::envelope::avro::{self, Primitive, json_string, to_json};

/// The Avro schema's JSON text, as the converter posts it.
#[must_use]
pub fn schema(schema: &Schema) -> String {
    Writer::default().schema(schema, "")
}

/// Names of records that have been spelled out: Avro defines a name once.
#[derive(Default)]
struct Writer {
    defined: Vec<String>,
}

impl Writer {
    fn schema(&mut self, schema: &Schema, space: &str) -> String {
        let inner = self.inner(schema, space);
        match (schema.optional, &schema.default) {
            (false, _) => inner,
            (true, None) => format!(r#"["null",{inner}]"#),
            (true, Some(_)) => format!(r#"[{inner},"null"]"#),
        }
    }

    fn inner(&mut self, schema: &Schema, space: &str) -> String {
        let name = match &schema.kind {
            Kind::Struct(_) => return self.record(schema, space),
            Kind::Array(item) => {
                let item = self.schema(item, space);
                return format!(r#"{{"type":"array","items":{item}{}}}"#, properties(schema));
            }
            Kind::Map(item) => {
                let item = self.schema(item, space);
                return format!(r#"{{"type":"map","values":{item}{}}}"#, properties(schema));
            }
            Kind::Boolean => "boolean",
            Kind::Int16 | Kind::Int32 => "int",
            Kind::Int64 => "long",
            Kind::Float32 => "float",
            Kind::Float64 => "double",
            Kind::String => "string",
            Kind::Bytes => "bytes",
        };
        let properties = properties(schema);
        if properties.is_empty() { format!("\"{name}\"") } else { format!(r#"{{"type":"{name}"{properties}}}"#) }
    }

    fn record(&mut self, schema: &Schema, space: &str) -> String {
        let full = schema.name.clone().unwrap_or_else(|| "io.confluent.connect.avro.ConnectDefault".to_owned());
        let (namespace, name) = full.rsplit_once('.').unwrap_or(("", &full));
        if self.defined.contains(&full) {
            return if namespace == space { json_string(name) } else { json_string(&full) };
        }
        self.defined.push(full.clone());
        let fields: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| {
                let kind = self.schema(&field.schema, namespace);
                let default = match &field.schema.default {
                    Some(default) => shown(&field.schema, default),
                    None => field.schema.optional.then(|| "null".to_owned()),
                };
                let default = default.map_or_else(String::new, |json| format!(r#","default":{json}"#));
                format!(r#"{{"name":{},"type":{kind}{default}}}"#, json_string(&field.name))
            })
            .collect();
        let placed =
            if namespace == space { String::new() } else { format!(r#","namespace":{}"#, json_string(namespace)) };
        format!(
            r#"{{"type":"record","name":{}{placed},"fields":[{}]{}}}"#,
            json_string(name),
            fields.join(","),
            properties(schema)
        )
    }
}

/// Everything behind the type and its parts, in the converter's order.
fn properties(schema: &Schema) -> String {
    let mut out = String::new();
    let decimal = schema.name.as_deref() == Some("org.apache.kafka.connect.data.Decimal");
    let parameter =
        |name: &str| schema.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    // Writing into a String cannot fail.
    let mut put = |name: &str, json: &str| _ = write!(out, r#","{name}":{json}"#);
    if decimal {
        put("scale", parameter("scale").unwrap_or("0"));
        put("precision", parameter("connect.decimal.precision").unwrap_or("64"));
    }
    if let Some(doc) = &schema.doc {
        put("connect.doc", &json_string(doc));
    }
    if let Some(version) = schema.version {
        put("connect.version", &version.to_string());
    }
    if !schema.parameters.is_empty() {
        let pair = |(name, value): &(String, String)| format!("{}:{}", json_string(name), json_string(value));
        let pairs: Vec<String> = schema.parameters.iter().map(pair).collect();
        put("connect.parameters", &format!("{{{}}}", pairs.join(",")));
    }
    if let Some(default) = schema.default.as_ref().and_then(|default| shown(schema, default)) {
        put("connect.default", &default);
    }
    if let Some(name) = &schema.name {
        put("connect.name", &json_string(name));
    }
    if schema.kind == Kind::Int16 {
        put("connect.type", "\"int16\"");
    }
    let logical = match schema.name.as_deref() {
        Some("org.apache.kafka.connect.data.Decimal") => Some("decimal"),
        Some("org.apache.kafka.connect.data.Date") => Some("date"),
        Some("org.apache.kafka.connect.data.Time") => Some("time-millis"),
        Some("org.apache.kafka.connect.data.Timestamp") => Some("timestamp-millis"),
        _ => None,
    };
    if let Some(logical) = logical {
        put("logicalType", &json_string(logical));
    }
    out
}

/// A default as JSON.
fn shown(schema: &Schema, default: &Value) -> Option<String> {
    let kind = match schema.kind {
        Kind::Boolean => Primitive::Boolean,
        Kind::Int16 | Kind::Int32 | Kind::Int64 => Primitive::Integer,
        Kind::Float32 => Primitive::Float,
        Kind::Float64 => Primitive::Double,
        Kind::String => Primitive::String,
        Kind::Bytes => Primitive::Bytes,
        Kind::Array(_) | Kind::Map(_) | Kind::Struct(_) => return None,
    };
    let mut encoded = Vec::new();
    bare(schema, default, &mut encoded);
    to_json(kind, &encoded)
}

/// Appends a value. One that does not fit its schema is written as the schema's default or as nothing.
pub fn value(schema: &Schema, value: &Value, out: &mut Vec<u8>) {
    let null_first = schema.default.is_none();
    match (schema.optional, value) {
        (true, Value::Null) => out.push(if null_first { 0 } else { 2 }),
        (true, value) => {
            out.push(if null_first { 2 } else { 0 });
            bare(schema, value, out);
        }
        (false, value) => bare(schema, value, out),
    }
}

fn bare(schema: &Schema, value: &Value, out: &mut Vec<u8>) {
    match (&schema.kind, value) {
        (_, Value::Boolean(flag)) => out.push(u8::from(*flag)),
        (_, Value::Int(number)) => avro::long(out, *number),
        (_, Value::Float32(number)) => out.extend_from_slice(&number.to_le_bytes()),
        (_, Value::Float64(number)) => out.extend_from_slice(&number.to_le_bytes()),
        (_, Value::String(text)) => avro::bytes(out, text.as_bytes()),
        (_, Value::Bytes(bytes)) => avro::bytes(out, bytes),
        (Kind::Array(item), Value::Array(items)) => {
            if !items.is_empty() {
                avro::long(out, avro::length(items.len()));
            }
            items.iter().for_each(|value| self::value(item, value, out));
            out.push(0);
        }
        (Kind::Map(item), Value::Map(pairs)) => {
            if !pairs.is_empty() {
                avro::long(out, avro::length(pairs.len()));
            }
            for (key, value) in pairs {
                avro::bytes(out, key.as_bytes());
                self::value(item, value, out);
            }
            out.push(0);
        }
        (Kind::Struct(fields), Value::Struct(values)) => {
            fields.iter().zip(values).for_each(|(field, value)| self::value(&field.schema, value, out));
        }
        (Kind::Struct(fields), _) => fields.iter().for_each(|field| self::value(&field.schema, &Value::Null, out)),
        (Kind::Float32, _) => out.extend_from_slice(&[0; 4]),
        (Kind::Float64, _) => out.extend_from_slice(&[0; 8]),
        // 0, false, "", nothing: one zero byte each.
        _ => match &schema.default {
            Some(default) if !default.is_null() => bare(schema, default, out),
            _ => out.push(0),
        },
    }
}
