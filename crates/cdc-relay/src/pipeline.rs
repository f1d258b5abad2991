//! Transformations and converters: records changed on their way to Kafka, as Kafka Connect does it.
//!
//! ```text
//!   encoded Avro ─▶ tree of values ─▶ transformations ─▶ Avro or JSON ─▶ outbox
//! ```
//!
//! Only connectors that ask for a transformation or for JSON come this way; the others' bytes go to the outbox as they
//! were encoded. A record that a transformation drops is dropped for good: its position is committed like any other's.

mod condition;
mod convert;
mod outbox_event;
mod predicate;
mod route;
mod settings;
mod unwrap;

use std::{collections::HashMap, sync::Arc};

use model::{
    connect_record::{Datum, Schema, from_avro},
    names,
};
use topics::Headers;

pub use self::settings::PipelineSettings;
use self::settings::{Step, Transform};
use crate::{
    error::RelayError,
    outbox::{Lifeline, Outbox},
    records::{Encoded, Piece, RecordHeaders},
    tables::TableDesk,
};

/// A record between decoding and encoding.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub topic: String,
    pub key: Option<Datum>,
    /// `None`: a tombstone without schema.
    pub value: Option<Datum>,
    /// Those the transformations added.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub timestamp_ms: Option<i64>,
}

/// Where encoded records come from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    pub topic: &'a str,
    pub key_schema: Option<&'a str>,
    pub value_schema: &'a str,
}

/// Why a record cannot be transformed; stops the connector, as Connect does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TransformError(pub String);

/// A connector's transformations with what they have seen.
pub struct Pipeline {
    settings: PipelineSettings,
    /// Schemas by their Avro text.
    parsed: HashMap<String, Arc<Schema>>,
    /// Registered schemas by subject.
    registered: HashMap<String, Vec<(Arc<Schema>, u32)>>,
}

/// Sends records through the pipeline if there is one.
///
/// # Errors
/// When a record cannot be transformed, a schema is refused, or the Kafka transaction is lost.
pub async fn send(
    (outbox, desk): (&mut Outbox, &mut TableDesk),
    pipeline: Option<&mut Pipeline>,
    origin: Origin<'_>,
    encoded: &Encoded,
    context: &Headers,
    lifeline: &mut impl Lifeline,
) -> Result<(), RelayError> {
    let Some(pipeline) = pipeline else { return outbox.send(origin.topic, encoded, context, lifeline).await };
    for piece in &encoded.pieces {
        let record = pipeline.decoded(origin, encoded, piece)?;
        let record = pipeline.transformed(record);
        let record = record.map_err(|error| RelayError::Definite(format!("a record of {}: {error}", origin.topic)))?;
        let Some(record) = record else { continue };
        let key = pipeline.encoded(desk, &record.topic, record.key.as_ref(), true).await?;
        let value = pipeline.encoded(desk, &record.topic, record.value.as_ref(), false).await?;
        desk.make_topic(&record.topic).await?;
        let base = match &piece.headers {
            RecordHeaders::Context => Some(context),
            RecordHeaders::KeyChange(headers) => Some(headers.as_ref()),
            RecordHeaders::None => None,
        };
        let headers = base.cloned().unwrap_or_default();
        let headers = record.headers.iter().fold(headers, |all, (name, value)| all.with(name, value.as_deref()));
        let parts = (key.as_deref(), value.as_deref());
        outbox.send_one(&record.topic, parts, &headers, record.timestamp_ms, lifeline).await?;
    }
    Ok(())
}

impl Pipeline {
    #[must_use]
    pub fn new(settings: PipelineSettings) -> Self {
        Self { settings, parsed: HashMap::new(), registered: HashMap::new() }
    }

    fn decoded(&mut self, origin: Origin<'_>, encoded: &Encoded, piece: &Piece) -> Result<Record, RelayError> {
        let mut datum = |schema: Option<&str>, range: &Option<std::ops::Range<usize>>| {
            let (Some(text), Some(range)) = (schema, range.clone()) else { return Ok(None) };
            let schema = match self.parsed.get(text) {
                Some(schema) => Arc::clone(schema),
                None => {
                    let schema = from_avro::schema(text)?;
                    self.parsed.insert(text.to_owned(), Arc::clone(&schema));
                    schema
                }
            };
            // Magic and schema id stand in front.
            let value = from_avro::value(&schema, &encoded.bytes[range][5..])?;
            Ok(Some(Datum { schema, value }))
        };
        let ours = |error: from_avro::NotOurs| RelayError::Definite(format!("{}: {error}", origin.topic));
        Ok(Record {
            topic: origin.topic.to_owned(),
            key: datum(origin.key_schema, &piece.key).map_err(ours)?,
            value: datum(Some(origin.value_schema), &piece.value).map_err(ours)?,
            headers: Vec::new(),
            timestamp_ms: None,
        })
    }

    /// `None` when a transformation dropped the record.
    fn transformed(&self, mut record: Record) -> Result<Option<Record>, TransformError> {
        for Step { transform, condition } in &self.settings.steps {
            if condition.as_ref().is_some_and(|condition| !condition.holds(&record)) {
                continue;
            }
            let changed = match transform {
                Transform::Unwrap(unwrap) => unwrap.apply(record)?,
                Transform::Outbox(router) => router.apply(record)?,
                Transform::Regex(router) => Some(router.apply(record)),
                Transform::LogicalTable(router) => Some(router.apply(record)),
                Transform::Filter(filter) => filter.apply(record),
            };
            match changed {
                Some(changed) => record = changed,
                None => return Ok(None),
            }
        }
        Ok(Some(record))
    }

    async fn encoded(
        &mut self,
        desk: &mut TableDesk,
        topic: &str,
        datum: Option<&Datum>,
        key: bool,
    ) -> Result<Option<Vec<u8>>, RelayError> {
        let Some(datum) = datum else { return Ok(None) };
        let converter = if key { self.settings.key } else { self.settings.value };
        if let Some(bytes) = converter.json(datum) {
            return Ok(Some(bytes));
        }
        if datum.value.is_null() {
            return Ok(None);
        }
        let subject = if key { names::key_subject(topic) } else { names::value_subject(topic) };
        let known = self.registered.entry(subject.clone()).or_default();
        let found = known.iter().find(|(schema, _)| Arc::ptr_eq(schema, &datum.schema) || *schema == datum.schema);
        let id = match found {
            Some((_, id)) => *id,
            None => {
                let id = desk.register(&subject, &convert::avro_schema(datum)).await?;
                known.push((Arc::clone(&datum.schema), id));
                id
            }
        };
        Ok(Some(convert::avro(id, datum)))
    }
}
