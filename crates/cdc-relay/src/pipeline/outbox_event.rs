//! `EventRouter`: rows of an outbox table become events of their aggregates.

use std::sync::Arc;

use model::connect_record::{Datum, Field, Kind, Schema, Value};
use serde_json::Value as Json;

use super::{
    Record, TransformError,
    route::RegexRouter,
    unwrap::{header, is_envelope},
};

/// Where a further column goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    Header,
    Envelope,
}

/// A further column (`table.fields.additional.placement`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Additional {
    pub column: String,
    pub placement: Placement,
    pub alias: String,
}

/// The transformation; names of columns as configured.
#[derive(Debug, Clone)]
pub struct OutboxRouter {
    pub id: String,
    pub key: String,
    pub payload: String,
    pub timestamp: Option<String>,
    pub route_by: String,
    pub route: RegexRouter,
    pub additional: Vec<Additional>,
    pub expand_json: bool,
    pub tombstone_on_empty: bool,
    /// An update of the outbox stops the connector instead of being passed over.
    pub fatal_updates: bool,
}

impl OutboxRouter {
    pub fn apply(&self, mut record: Record) -> Result<Option<Record>, TransformError> {
        let Some(envelope) = record.value.take() else { return Ok(None) };
        if !is_envelope(&envelope) {
            record.value = Some(envelope);
            return Ok(Some(record));
        }
        match envelope.field("op").and_then(|(_, op)| op.as_str()) {
            Some("d" | "t") => return Ok(None),
            Some("u") if self.fatal_updates => {
                return Err(TransformError("unexpected update of the outbox table".to_owned()));
            }
            Some("u") => {
                tracing::warn!(topic = record.topic, "an update of the outbox table is passed over");
                return Ok(None);
            }
            _ => {}
        }
        let event = envelope.take("after").ok_or_else(|| TransformError("no row".to_owned()))?;
        let column = |name: &str| {
            event.take(name).ok_or_else(|| TransformError(format!("the outbox table has no column '{name}'")))
        };
        let routed = column(&self.route_by)?;
        let routed = routed.value.as_str().ok_or_else(|| TransformError(format!("'{}' is no text", self.route_by)))?;
        record.headers.push(("id".to_owned(), header(&column(&self.id)?)));
        let payload = self.payload(column(&self.payload)?);
        let mut fields = vec![("payload".to_owned(), payload.clone())];
        for Additional { column: name, placement, alias } in &self.additional {
            let datum = column(name)?;
            match placement {
                Placement::Header => record.headers.push((alias.clone(), header(&datum))),
                Placement::Envelope => fields.push((alias.clone(), datum)),
            }
        }
        record.timestamp_ms = Some(self.timestamp_ms(&envelope, &event)?);
        let key = column(&self.key)?;
        let empty = match &payload.value {
            Value::Null => true,
            Value::String(text) => text.trim().is_empty(),
            _ => false,
        };
        record.value = if empty && self.tombstone_on_empty {
            None
        } else if fields.len() == 1 {
            Some(payload)
        } else {
            Some(wrapped(fields, &event, routed))
        };
        record.key = Some(key);
        record.topic = routed.to_owned();
        Ok(Some(self.route.apply(record)))
    }

    fn timestamp_ms(&self, envelope: &Datum, event: &Datum) -> Result<i64, TransformError> {
        let number = |datum: &Datum, name: &str| match datum.field(name) {
            Some((schema, Value::Int(number))) => Some((schema.name.clone(), *number)),
            _ => None,
        };
        let given = self.timestamp.as_deref().and_then(|name| number(event, name));
        match given {
            None => Ok(number(envelope, "ts_ms").map_or(0, |(_, ms)| ms)),
            Some((Some(name), number)) => match name.as_str() {
                "io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp" => Ok(number),
                "io.debezium.time.MicroTimestamp" => Ok(number / 1_000),
                "io.debezium.time.NanoTimestamp" => Ok(number / 1_000_000),
                name => Err(TransformError(format!("{name} is no time for an event"))),
            },
            Some((None, _)) => Err(TransformError("the event's timestamp is no timestamp".to_owned())),
        }
    }

    fn payload(&self, payload: Datum) -> Datum {
        let parsed = payload.value.as_str().filter(|_| self.expand_json).filter(|text| text.starts_with(['{', '[']));
        match parsed.and_then(|text| serde_json::from_str::<Json>(text).ok()).and_then(|json| expanded(&json)) {
            Some((schema, value)) => Datum { schema: Arc::new(schema), value },
            None => payload,
        }
    }
}

/// Payload and further columns in one record, named after the table and the event's route.
fn wrapped(fields: Vec<(String, Datum)>, event: &Datum, routed: &str) -> Datum {
    let table = event.schema.name.as_deref().unwrap_or_default();
    let table = table.strip_suffix(".Value").unwrap_or(table);
    let (mut kinds, mut values) = (Vec::new(), Vec::new());
    for (name, Datum { schema, value }) in fields {
        kinds.push(Field { name, schema });
        values.push(value);
    }
    let schema = Schema { name: Some(format!("{table}.{routed}.Value")), ..Schema::of(Kind::Struct(kinds)) };
    Datum { schema: Arc::new(schema), value: Value::Struct(values) }
}

/// JSON as a record; `None` for what has no schema of its own, such as an empty list.
fn expanded(json: &Json) -> Option<(Schema, Value)> {
    Some(match json {
        Json::Null => return None,
        Json::Bool(flag) => (Schema::of(Kind::Boolean).optional(), Value::Boolean(*flag)),
        Json::Number(number) => match number.as_i64() {
            Some(whole) if i32::try_from(whole).is_ok() => (Schema::of(Kind::Int32).optional(), Value::Int(whole)),
            Some(whole) => (Schema::of(Kind::Int64).optional(), Value::Int(whole)),
            None => (Schema::of(Kind::Float64).optional(), Value::Float64(number.as_f64()?)),
        },
        Json::String(text) => (Schema::of(Kind::String).optional(), Value::String(text.clone())),
        Json::Array(items) => {
            let items: Vec<_> = items.iter().filter_map(expanded).collect();
            let item = items.first()?.0.clone();
            // Items of different kinds have no common schema.
            if items.iter().any(|(schema, _)| *schema != item) {
                return None;
            }
            let values = items.into_iter().map(|(_, value)| value).collect();
            (Schema::of(Kind::Array(Arc::new(item))).optional(), Value::Array(values))
        }
        Json::Object(map) => {
            let (mut fields, mut values) = (Vec::new(), Vec::new());
            for (name, json) in map {
                let Some((schema, value)) = expanded(json) else { continue };
                fields.push(Field { name: name.clone(), schema: Arc::new(schema) });
                values.push(value);
            }
            (Schema::of(Kind::Struct(fields)).optional(), Value::Struct(values))
        }
    })
}
