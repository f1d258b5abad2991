//! `ExtractNewRecordState`: the row instead of the envelope around it.

use std::{str::FromStr, sync::Arc};

use model::connect_record::{Datum, Field, Kind, Schema, Value};

use super::{Record, TransformError};

/// What becomes of deletes and of the tombstones behind them (`delete.tombstone.handling.mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletes {
    Drop,
    /// The delete becomes a record without value; the tombstone is dropped.
    Tombstone,
    /// The old row, marked as deleted; the tombstone is dropped.
    Rewrite,
    RewriteWithTombstone,
    DeleteToTombstone,
}

impl FromStr for Deletes {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "drop" => Ok(Self::Drop),
            "tombstone" => Ok(Self::Tombstone),
            "rewrite" => Ok(Self::Rewrite),
            "rewrite-with-tombstone" => Ok(Self::RewriteWithTombstone),
            "delete-to-tombstone" => Ok(Self::DeleteToTombstone),
            _ => Err("Value must be one of drop, tombstone, rewrite, rewrite-with-tombstone, delete-to-tombstone"),
        }
    }
}

/// A field of the envelope that is taken along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    /// `source` or `transaction`, if it stands in one of these.
    part: Option<&'static str>,
    field: String,
    name: String,
}

impl Extra {
    /// Reads `op`, `table`, `source.ts_ms` or `lsn:pos`.
    #[must_use]
    pub fn read(text: &str, prefix: &str) -> Self {
        let (path, given) = text.split_once(':').map_or((text, None), |(path, name)| (path, Some(name)));
        let (part, field) = match path.split_once('.') {
            Some(("source", field)) => (Some("source"), field),
            Some(("transaction", field)) => (Some("transaction"), field),
            _ => (None, path),
        };
        let name = given.map_or_else(|| path.replace('.', "_"), str::to_owned);
        // What does not stand in the envelope itself is of its source.
        let envelope = matches!(field, "op" | "ts_ms" | "ts_us" | "ts_ns");
        let part = part.or(if envelope { None } else { Some("source") });
        Self { part, field: field.to_owned(), name: format!("{prefix}{name}") }
    }

    fn of(&self, envelope: &Datum) -> Option<Datum> {
        match self.part {
            Some(part) => envelope.take(part)?.take(&self.field),
            None => envelope.take(&self.field),
        }
    }
}

/// The transformation.
#[derive(Debug, Clone)]
pub struct Unwrap {
    pub deletes: Deletes,
    pub fields: Vec<Extra>,
    pub headers: Vec<Extra>,
    /// The topic is the value of this field of the row (`route.by.field`).
    pub route_by: Option<String>,
}

/// Whether a value is an envelope.
pub fn is_envelope(datum: &Datum) -> bool {
    datum.schema.name.as_deref().is_some_and(|name| name.ends_with(".Envelope"))
}

impl Unwrap {
    pub fn apply(&self, mut record: Record) -> Result<Option<Record>, TransformError> {
        let Some(envelope) = record.value.take() else {
            return Ok((self.deletes == Deletes::RewriteWithTombstone).then_some(record));
        };
        if !is_envelope(&envelope) {
            record.value = Some(envelope);
            return Ok(Some(record));
        }
        for extra in &self.headers {
            if let Some(datum) = extra.of(&envelope) {
                record.headers.push((extra.name.clone(), header(&datum)));
            }
        }
        let row = |name: &str| envelope.take(name).filter(|row| !row.value.is_null());
        let rewrites = matches!(self.deletes, Deletes::Rewrite | Deletes::RewriteWithTombstone);
        let unwrapped = match (row("after"), row("before")) {
            (Some(after), _) => Some(self.extended(after, &envelope, rewrites.then_some("false"))),
            // A truncated table.
            (None, None) => return Ok(None),
            (None, Some(_)) if self.deletes == Deletes::Drop => return Ok(None),
            (None, Some(_)) if self.deletes == Deletes::Tombstone => envelope.take("after"),
            (None, Some(_)) if self.deletes == Deletes::DeleteToTombstone => None,
            (None, Some(before)) => Some(self.extended(before, &envelope, Some("true"))),
        };
        if let Some(field) = &self.route_by {
            let row = row("after").or_else(|| row("before"));
            let topic = row.and_then(|row| row.field(field)?.1.as_str().map(str::to_owned));
            record.topic = topic.ok_or_else(|| TransformError(format!("route.by.field: '{field}' is no text")))?;
        }
        record.value = unwrapped;
        Ok(Some(record))
    }

    fn extended(&self, row: Datum, envelope: &Datum, deleted: Option<&str>) -> Datum {
        let mut schema = Schema { optional: false, ..(*row.schema).clone() };
        let mut value = row.value;
        if let (Kind::Struct(fields), Value::Struct(values)) = (&mut schema.kind, &mut value) {
            let mut add = |name: &str, schema: Schema, value| {
                fields.push(Field { name: name.to_owned(), schema: Arc::new(schema.optional()) });
                values.push(value);
            };
            if let Some(deleted) = deleted {
                add("__deleted", Schema::of(Kind::String), Value::String(deleted.to_owned()));
            }
            for extra in &self.fields {
                if let Some(Datum { schema, value }) = extra.of(envelope) {
                    add(&extra.name, Schema { default: None, ..(*schema).clone() }, value);
                }
            }
        }
        Datum { schema: Arc::new(schema), value }
    }
}

/// A value as Connect's header converter writes it.
pub fn header(datum: &Datum) -> Option<Vec<u8>> {
    match &datum.value {
        Value::Null => None,
        Value::String(text) => Some(text.clone().into_bytes()),
        _ => Some(model::connect_record::json::write(datum, false)),
    }
}
