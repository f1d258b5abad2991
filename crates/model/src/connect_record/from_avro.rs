//! From the Avro schemas and bytes that `AvroConverter` writes back to Connect's, as its other direction does.

use std::{collections::HashMap, sync::Arc};

use serde_json::Value as Json;

use super::{Field, Kind, Schema, Value};
use crate::envelope::avro;

/// The schema or the bytes are not what the envelope's codec writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a record of this connector: {0}")]
pub struct NotOurs(&'static str);

/// Reads a schema's JSON text.
///
/// # Errors
/// When it uses what the envelope's schemas do not.
pub fn schema(text: &str) -> Result<Arc<Schema>, NotOurs> {
    let json: Json = serde_json::from_str(text).map_err(|_| NotOurs("the schema is no JSON"))?;
    Names::default().schema(&json, "").map(Arc::new)
}

/// Records by their full name.
#[derive(Default)]
struct Names(HashMap<String, Schema>);

impl Names {
    fn schema(&mut self, json: &Json, space: &str) -> Result<Schema, NotOurs> {
        match json {
            Json::String(name) => self.named(name, space),
            Json::Array(branches) => {
                let other = branches.iter().find(|branch| *branch != "null").ok_or(NotOurs("a union of nothing"))?;
                Ok(self.schema(other, space)?.optional())
            }
            Json::Object(_) => self.described(json, space),
            _ => Err(NotOurs("a schema of an unknown form")),
        }
    }

    fn named(&self, name: &str, space: &str) -> Result<Schema, NotOurs> {
        Ok(Schema::of(match name {
            "boolean" => Kind::Boolean,
            "int" => Kind::Int32,
            "long" => Kind::Int64,
            "float" => Kind::Float32,
            "double" => Kind::Float64,
            "string" => Kind::String,
            "bytes" => Kind::Bytes,
            name => {
                let known = self.0.get(name).or_else(|| self.0.get(&format!("{space}.{name}")));
                return known.cloned().ok_or(NotOurs("an unknown name"));
            }
        }))
    }

    fn described(&mut self, json: &Json, space: &str) -> Result<Schema, NotOurs> {
        let text = |name: &str| json[name].as_str();
        let kind = match text("type") {
            Some("record") => return self.record(json, space),
            Some("array") => Kind::Array(Arc::new(self.schema(&json["items"], space)?)),
            Some("map") => Kind::Map(Arc::new(self.schema(&json["values"], space)?)),
            Some("int") if text("connect.type") == Some("int16") => Kind::Int16,
            Some(name) => self.named(name, space)?.kind,
            None => return Err(NotOurs("a schema without type")),
        };
        let default = json.get("connect.default").map(|json| default(&kind, json)).transpose()?;
        Ok(Schema { default, ..described(kind, json) })
    }

    fn record(&mut self, json: &Json, space: &str) -> Result<Schema, NotOurs> {
        let name = json["name"].as_str().ok_or(NotOurs("a record without name"))?;
        let space = json["namespace"].as_str().unwrap_or(space);
        let mut fields = Vec::new();
        for field in json["fields"].as_array().ok_or(NotOurs("a record without fields"))? {
            let name = field["name"].as_str().ok_or(NotOurs("a field without name"))?.to_owned();
            fields.push(Field { name, schema: Arc::new(self.schema(&field["type"], space)?) });
        }
        let schema = described(Kind::Struct(fields), json);
        self.0.insert(format!("{space}.{name}"), schema.clone());
        Ok(schema)
    }
}

fn described(kind: Kind, json: &Json) -> Schema {
    let text = |name: &str| json[name].as_str().map(str::to_owned);
    let parameters = json["connect.parameters"].as_object().into_iter().flatten();
    Schema {
        name: text("connect.name"),
        version: json["connect.version"].as_i64(),
        doc: text("connect.doc"),
        parameters: parameters
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        ..Schema::of(kind)
    }
}

fn default(kind: &Kind, json: &Json) -> Result<Value, NotOurs> {
    let special = |json: &Json| match json.as_str() {
        Some("NaN") => f64::NAN,
        Some("Infinity") => f64::INFINITY,
        Some("-Infinity") => f64::NEG_INFINITY,
        _ => json.as_f64().unwrap_or_default(),
    };
    Ok(match (kind, json) {
        (Kind::Boolean, Json::Bool(flag)) => Value::Boolean(*flag),
        (Kind::Int16 | Kind::Int32 | Kind::Int64, json) => Value::Int(json.as_i64().unwrap_or_default()),
        (Kind::Float32, json) => Value::Float32(special(json) as f32),
        (Kind::Float64, json) => Value::Float64(special(json)),
        (Kind::String, Json::String(text)) => Value::String(text.clone()),
        // A character per byte.
        (Kind::Bytes, Json::String(text)) => Value::Bytes(text.chars().map(|c| c as u8).collect()),
        _ => return Err(NotOurs("a default of an unknown form")),
    })
}

/// Reads one value; all bytes must belong to it.
///
/// # Errors
/// When they do not fit the schema.
pub fn value(schema: &Schema, mut bytes: &[u8]) -> Result<Value, NotOurs> {
    let value = read(schema, &mut bytes)?;
    if bytes.is_empty() { Ok(value) } else { Err(NotOurs("bytes behind the value")) }
}

fn read(schema: &Schema, input: &mut &[u8]) -> Result<Value, NotOurs> {
    if schema.optional {
        // The branch of the default comes first, and null is the default when there is no other.
        let null = i64::from(schema.default.is_some());
        if long(input)? == null {
            return Ok(Value::Null);
        }
    }
    Ok(match &schema.kind {
        Kind::Boolean => Value::Boolean(take(input, 1)?[0] == 1),
        Kind::Int16 | Kind::Int32 | Kind::Int64 => Value::Int(long(input)?),
        Kind::Float32 => Value::Float32(f32::from_le_bytes(take(input, 4)?.try_into().map_err(|_| CUT)?)),
        Kind::Float64 => Value::Float64(f64::from_le_bytes(take(input, 8)?.try_into().map_err(|_| CUT)?)),
        Kind::String => Value::String(string(input)?),
        Kind::Bytes => Value::Bytes(sized(input)?.to_vec()),
        Kind::Array(item) => {
            let mut items = Vec::new();
            blocks(input, |input| {
                items.push(read(item, input)?);
                Ok(())
            })?;
            Value::Array(items)
        }
        Kind::Map(item) => {
            let mut pairs = Vec::new();
            blocks(input, |input| {
                pairs.push((string(input)?, read(item, input)?));
                Ok(())
            })?;
            Value::Map(pairs)
        }
        Kind::Struct(fields) => {
            Value::Struct(fields.iter().map(|field| read(&field.schema, input)).collect::<Result<_, _>>()?)
        }
    })
}

const CUT: NotOurs = NotOurs("the value is cut off");

fn take<'a>(input: &mut &'a [u8], count: usize) -> Result<&'a [u8], NotOurs> {
    let (taken, rest) = input.split_at_checked(count).ok_or(CUT)?;
    *input = rest;
    Ok(taken)
}

fn long(input: &mut &[u8]) -> Result<i64, NotOurs> {
    let (length, value) = avro::read_long(input).ok_or(CUT)?;
    take(input, length)?;
    Ok(value)
}

fn sized<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], NotOurs> {
    let length = usize::try_from(long(input)?).map_err(|_| CUT)?;
    take(input, length)
}

fn string(input: &mut &[u8]) -> Result<String, NotOurs> {
    String::from_utf8(sized(input)?.to_vec()).map_err(|_| NotOurs("a string is not UTF-8"))
}

fn blocks(input: &mut &[u8], mut one: impl FnMut(&mut &[u8]) -> Result<(), NotOurs>) -> Result<(), NotOurs> {
    loop {
        let count = long(input)?;
        if count == 0 {
            return Ok(());
        }
        // Our own codec writes no sizes of blocks, which a negative count would announce.
        for _ in 0..u64::try_from(count).map_err(|_| CUT)? {
            one(input)?;
        }
    }
}
