//! Records decoded with the schemas of the registry.

use std::collections::{BTreeMap, HashMap};

use apache_avro::{Schema, from_avro_datum, types::Value};
use topics::{OwnedRecord, RegistryClient, SchemaId};

/// One change, as far as the tests look at it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub op: String,
    pub before: Option<BTreeMap<String, String>>,
    pub after: Option<BTreeMap<String, String>>,
    pub snapshot: String,
    pub lsn: i64,
    pub tx_id: i64,
}

/// Decodes; keeps schemas.
pub struct Events<'a> {
    registry: &'a RegistryClient,
    schemas: HashMap<u32, Schema>,
}

impl<'a> Events<'a> {
    pub fn new(registry: &'a RegistryClient) -> Self {
        Self { registry, schemas: HashMap::new() }
    }

    /// `None` for a tombstone.
    pub async fn event(&mut self, record: &OwnedRecord) -> Option<Event> {
        let value = self.decode(record.value.as_deref()?).await;
        let source = field(&value, "source");
        Some(Event {
            op: text(field(&value, "op")),
            before: row(field(&value, "before")),
            after: row(field(&value, "after")),
            snapshot: text(field(source, "snapshot")),
            lsn: text(field(source, "lsn")).parse().unwrap(),
            tx_id: text(field(source, "txId")).parse().unwrap(),
        })
    }

    pub async fn all(&mut self, records: &[OwnedRecord]) -> Vec<Event> {
        let mut events = Vec::with_capacity(records.len());
        for record in records {
            events.extend(self.event(record).await);
        }
        events
    }

    pub async fn decode(&mut self, bytes: &[u8]) -> Value {
        assert_eq!(bytes[0], 0, "magic");
        let id = u32::from_be_bytes(bytes[1..5].try_into().unwrap());
        if !self.schemas.contains_key(&id) {
            let text = self.registry.schema_by_id(SchemaId(id)).await.unwrap();
            self.schemas.insert(id, Schema::parse_str(&text).unwrap());
        }
        from_avro_datum(&self.schemas[&id], &mut &bytes[5..], None).unwrap()
    }
}

pub fn field<'v>(value: &'v Value, name: &str) -> &'v Value {
    match plain(value) {
        Value::Record(fields) => &fields.iter().find(|(field, _)| field == name).unwrap().1,
        other => panic!("no record: {other:?}"),
    }
}

pub fn plain(value: &Value) -> &Value {
    match value {
        Value::Union(_, inner) => plain(inner),
        other => other,
    }
}

fn row(value: &Value) -> Option<BTreeMap<String, String>> {
    match plain(value) {
        Value::Null => None,
        Value::Record(fields) => Some(fields.iter().map(|(name, value)| (name.clone(), text(value))).collect()),
        other => panic!("no row: {other:?}"),
    }
}

pub fn text(value: &Value) -> String {
    match plain(value) {
        Value::Null => "null".into(),
        Value::String(text) | Value::Enum(_, text) => text.clone(),
        Value::Int(number) => number.to_string(),
        Value::Long(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        other => format!("{other:?}"),
    }
}
