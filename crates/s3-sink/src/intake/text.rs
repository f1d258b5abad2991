//! Keys, and values that are text or JSON.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;
use topics::Record;

use super::{Converter, Known, Reading, put_optional_string};
use crate::avro::write_json;
use crate::container::unframe;
use crate::format::Format;
use crate::layout::{FieldValue, LayoutError};

/// What JsonConverter says to a value without the two members.
const NO_ENVELOPE: &str = "JsonConverter with schemas.enable requires \"schema\" and \"payload\" fields and may not contain \
    additional fields. If you are trying to deserialize plain JSON data, set schemas.enable=false in your converter \
    configuration.";

/// A JSON value; with `schemas` the payload of the envelope.
pub(super) fn parse_json(bytes: &[u8], schemas: bool) -> Result<Json, String> {
    let json: Json = serde_json::from_slice(bytes).map_err(|error| format!("the value is no JSON: {error}"))?;
    match json {
        Json::Object(mut members) if schemas => {
            if members.len() != 2 || !members.contains_key("schema") {
                return Err(NO_ENVELOPE.into());
            }
            members.remove("payload").ok_or_else(|| NO_ENVELOPE.into())
        }
        _ if schemas => Err(NO_ENVELOPE.into()),
        json => Ok(json),
    }
}

/// A field of a JSON value, dots leading inside.
pub(super) fn json_field<'a>(json: &'a Json, name: &str) -> Result<FieldValue<'a>, LayoutError> {
    if !json.is_object() {
        return Err(LayoutError::NoStruct);
    }
    let found = name.split('.').try_fold(json, |json, segment| json.get(segment));
    Ok(match found {
        None | Some(Json::Null) => FieldValue::Null,
        Some(Json::Bool(yes)) => FieldValue::Boolean(*yes),
        Some(Json::String(text)) => FieldValue::Text(text.as_str().into()),
        Some(Json::Number(number)) => number.as_i64().map_or(FieldValue::Other, FieldValue::Integer),
        Some(Json::Array(_) | Json::Object(_)) => FieldValue::Other,
    })
}

/// A JSON text of bytes in base64, as Jackson writes them.
pub(super) fn base64_text(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.push(b'"');
}

/// A record's key as its file takes it, and its schema.
pub(super) fn key<'a>(
    record: &'a Record<'_>,
    reading: &Reading,
    format: &Format,
    schemas: &HashMap<u32, Known>,
    out: &'a mut Vec<u8>,
) -> Result<(&'a [u8], u32), String> {
    let raw = record.key().ok_or("Key cannot be null for SinkRecord: store.kafka.keys needs keys on every record")?;
    out.clear();
    let utf8 = || std::str::from_utf8(raw).map_err(|_| "the key is not UTF-8".to_owned());
    match (reading.keys, format) {
        (_, Format::Bytes { .. }) => return Ok((raw, 0)),
        (Converter::Avro, Format::Avro(_) | Format::Parquet(_)) => {
            let (id, datum) = unframe(raw).map_err(|error| error.to_string())?;
            return Ok((datum, id));
        }
        (Converter::Avro, Format::Json(_)) => {
            let (id, datum) = unframe(raw).map_err(|error| error.to_string())?;
            let known = schemas.get(&id).ok_or("the key's schema is not known")?;
            write_json(&known.schema, datum, reading.decimals, out).map_err(|error| error.to_string())?;
            return Ok((out, id));
        }
        (Converter::String, Format::Avro(_) | Format::Parquet(_)) => put_optional_string(utf8()?.as_bytes(), out),
        (Converter::String, Format::Json(_)) => {
            serde_json::to_writer(&mut *out, utf8()?).map_err(|error| error.to_string())?;
        }
        (Converter::Json { schemas }, Format::Json(_)) => {
            serde_json::to_writer(&mut *out, &parse_json(raw, schemas)?).map_err(|error| error.to_string())?;
        }
        (Converter::Bytes, Format::Json(_)) => base64_text(raw, out),
        _ => return Err("the converter of keys does not go with keys.format.class; correct one of them".into()),
    }
    Ok((out, 0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_payload_is_taken_out_of_its_envelope() {
        let payload = parse_json(br#"{"schema":null,"payload":{"a":1}}"#, true).unwrap();
        assert_eq!(payload.to_string(), r#"{"a":1}"#);
        for other in [r#"{"a":1}"#, "[1]", r#"{"schema":1,"payload":2,"more":3}"#] {
            assert!(parse_json(other.as_bytes(), true).unwrap_err().contains("schemas.enable=false"), "{other}");
            assert!(parse_json(other.as_bytes(), false).is_ok());
        }
    }

    #[test]
    fn fields_of_json_are_found_by_dots() {
        let json: Json = serde_json::from_str(r#"{"a":{"b":7,"c":1.5},"t":"x","n":null}"#).unwrap();
        assert_eq!(json_field(&json, "a.b").unwrap(), FieldValue::Integer(7));
        assert_eq!(json_field(&json, "t").unwrap(), FieldValue::Text("x".into()));
        assert_eq!(json_field(&json, "n").unwrap(), FieldValue::Null);
        assert_eq!(json_field(&json, "a.c").unwrap(), FieldValue::Other);
        assert!(json_field(&Json::Null, "a").is_err());
    }
}
