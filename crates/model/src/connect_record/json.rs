//! Connect's schemas and values as JSON, as Kafka's `JsonConverter` writes them.

use std::fmt::Write as _;

use super::{Datum, Kind, Schema, Value};
use crate::envelope::avro::{self, java_number, json_string};

/// One key or value. With `schemas`: an object of schema and payload.
#[must_use]
pub fn write(datum: &Datum, schemas: bool) -> Vec<u8> {
    let mut out = String::new();
    if schemas {
        // Writing into a String cannot fail.
        let _ = write!(out, r#"{{"schema":{},"payload":"#, schema(&datum.schema, None));
        payload(&datum.schema, &datum.value, &mut out);
        out.push('}');
    } else {
        payload(&datum.schema, &datum.value, &mut out);
    }
    out.into_bytes()
}

fn schema(schema: &Schema, field: Option<&str>) -> String {
    let mut out = match &schema.kind {
        Kind::Boolean => r#"{"type":"boolean""#.to_owned(),
        Kind::Int16 => r#"{"type":"int16""#.to_owned(),
        Kind::Int32 => r#"{"type":"int32""#.to_owned(),
        Kind::Int64 => r#"{"type":"int64""#.to_owned(),
        Kind::Float32 => r#"{"type":"float""#.to_owned(),
        Kind::Float64 => r#"{"type":"double""#.to_owned(),
        Kind::String => r#"{"type":"string""#.to_owned(),
        Kind::Bytes => r#"{"type":"bytes""#.to_owned(),
        Kind::Array(item) => format!(r#"{{"type":"array","items":{}"#, self::schema(item, None)),
        Kind::Map(item) => {
            let keys = r#"{"type":"string","optional":false}"#;
            format!(r#"{{"type":"map","keys":{keys},"values":{}"#, self::schema(item, None))
        }
        Kind::Struct(fields) => {
            let fields: Vec<_> = fields.iter().map(|field| self::schema(&field.schema, Some(&field.name))).collect();
            format!(r#"{{"type":"struct","fields":[{}]"#, fields.join(","))
        }
    };
    let mut put = |name: &str, json: &str| _ = write!(out, r#","{name}":{json}"#);
    put("optional", if schema.optional { "true" } else { "false" });
    if let Some(name) = &schema.name {
        put("name", &json_string(name));
    }
    if let Some(version) = schema.version {
        put("version", &version.to_string());
    }
    if let Some(doc) = &schema.doc {
        put("doc", &json_string(doc));
    }
    if !schema.parameters.is_empty() {
        let pair = |(name, value): &(String, String)| format!("{}:{}", json_string(name), json_string(value));
        let pairs: Vec<_> = schema.parameters.iter().map(pair).collect();
        put("parameters", &format!("{{{}}}", pairs.join(",")));
    }
    if let Some(default) = &schema.default {
        let mut json = String::new();
        payload(schema, default, &mut json);
        put("default", &json);
    }
    if let Some(field) = field {
        put("field", &json_string(field));
    }
    out.push('}');
    out
}

fn payload(schema: &Schema, value: &Value, out: &mut String) {
    match (&schema.kind, value) {
        (_, Value::Null) => match &schema.default {
            // `replace.null.with.default` is on unless told otherwise.
            Some(default) => payload(&Schema { default: None, ..schema.clone() }, default, out),
            None => out.push_str("null"),
        },
        (_, Value::Boolean(flag)) => out.push_str(if *flag { "true" } else { "false" }),
        (_, Value::Int(number)) => _ = write!(out, "{number}"),
        (_, Value::Float32(number)) => out.push_str(&java_number(&format!("{number:e}"), f64::from(*number))),
        (_, Value::Float64(number)) => out.push_str(&java_number(&format!("{number:e}"), *number)),
        (_, Value::String(text)) => string(text, out),
        (_, Value::Bytes(bytes)) => {
            let mut encoded = Vec::new();
            avro::base64(bytes, false, &mut encoded);
            out.push('"');
            out.extend(encoded.into_iter().map(char::from));
            out.push('"');
        }
        (Kind::Array(item), Value::Array(items)) => {
            out.push('[');
            for (index, value) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                payload(item, value, out);
            }
            out.push(']');
        }
        (Kind::Map(item), Value::Map(pairs)) => {
            let pairs = pairs.iter().map(|(key, value)| (key.as_str(), item.as_ref(), value));
            object(pairs, out);
        }
        (Kind::Struct(fields), Value::Struct(values)) => {
            let pairs =
                fields.iter().zip(values).map(|(field, value)| (field.name.as_str(), field.schema.as_ref(), value));
            object(pairs, out);
        }
        _ => out.push_str("null"),
    }
}

fn object<'a>(pairs: impl Iterator<Item = (&'a str, &'a Schema, &'a Value)>, out: &mut String) {
    out.push('{');
    for (index, (name, schema, value)) in pairs.enumerate() {
        if index > 0 {
            out.push(',');
        }
        string(name, out);
        out.push(':');
        payload(schema, value, out);
    }
    out.push('}');
}

/// As [`json_string`], but characters beyond the basic plane are escaped, as Jackson's byte writer does.
fn string(text: &str, out: &mut String) {
    let escaped = json_string(text);
    for c in escaped.chars() {
        if c.len_utf16() == 1 {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(out, "\\u{unit:04X}");
        }
    }
}
