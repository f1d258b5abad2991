//! Records as Kafka Connect's transformations and converters see them: a schema and a tree of values.
//!
//! The relay's own path writes Avro without such a tree. Only where a connector asks for a transformation or for JSON, its
//! records are read back from those bytes ([`from_avro`]), changed, and written by [`to_avro`] or [`json`].

pub mod from_avro;
pub mod json;
pub mod to_avro;

use std::sync::Arc;

/// A Connect schema.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    pub kind: Kind,
    pub optional: bool,
    /// Name of a semantic type, or of a record.
    pub name: Option<String>,
    pub version: Option<i64>,
    pub doc: Option<String>,
    pub parameters: Vec<(String, String)>,
    pub default: Option<Value>,
}

/// What a schema's values are.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Boolean,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    String,
    Bytes,
    Array(Arc<Schema>),
    /// Keys are strings.
    Map(Arc<Schema>),
    Struct(Vec<Field>),
}

/// One field of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub name: String,
    pub schema: Arc<Schema>,
}

/// A value; which it may be says its schema.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Boolean(bool),
    Int(i64),
    Float32(f32),
    Float64(f64),
    String(String),
    Bytes(Vec<u8>),
    Array(Vec<Value>),
    Map(Vec<(String, Value)>),
    /// In the order of the schema's fields.
    Struct(Vec<Value>),
}

impl Schema {
    /// A required schema without a name.
    #[must_use]
    pub fn of(kind: Kind) -> Self {
        Self { kind, optional: false, name: None, version: None, doc: None, parameters: Vec::new(), default: None }
    }

    /// The same, optional.
    #[must_use]
    pub fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    /// The fields of a record; none for anything else.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        match &self.kind {
            Kind::Struct(fields) => fields,
            _ => &[],
        }
    }

    /// Place and schema of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<(usize, &Arc<Schema>)> {
        let place = self.fields().iter().position(|field| field.name == name)?;
        Some((place, &self.fields()[place].schema))
    }
}

impl Value {
    /// A field of a record, by its place.
    #[must_use]
    pub fn at(&self, place: usize) -> Option<&Self> {
        match self {
            Self::Struct(values) => values.get(place),
            _ => None,
        }
    }

    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

/// A value with its schema.
#[derive(Debug, Clone, PartialEq)]
pub struct Datum {
    pub schema: Arc<Schema>,
    pub value: Value,
}

impl Datum {
    /// A field of a record.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<(&Arc<Schema>, &Value)> {
        let (place, schema) = self.schema.field(name)?;
        Some((schema, self.value.at(place)?))
    }

    /// A field of a record, with its schema.
    #[must_use]
    pub fn take(&self, name: &str) -> Option<Self> {
        let (schema, value) = self.field(name)?;
        Some(Self { schema: Arc::clone(schema), value: value.clone() })
    }
}
