//! Avro schemas as the registry sees them: parsed and checked, printed canonically, compared for compatibility.
//!
//! Pure. A parser of our own instead of a general Avro crate, because what counts is what Confluent's registry
//! (Java's Avro) accepts: simple names are checked, namespaces are not (`storefront.public.Weird-Table_1` is the
//! namespace Debezium makes of a table with a hyphen, and other registries answer it with 422), attributes nobody
//! knows (`connect.*`) are kept, and defaults must fit their type.

mod canonical;
mod compatibility;
mod defaults;
mod parse;

pub use compatibility::backward;
pub use parse::SchemaError;

use serde_json::{Map, Value};

/// A schema with all its names resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct AvroSchema {
    pub(crate) root: Node,
    /// Every record, enum and fixed, in order of definition; [`Node::Named`] is an index into it.
    pub(crate) named: Vec<Named>,
}

impl AvroSchema {
    /// Parses and checks the text of a schema.
    ///
    /// # Errors
    /// Says what is wrong and where, in the words a person needs to correct the schema.
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        parse::parse(text)
    }

    /// One text for all spellings of the same schema: no white space, attributes in Avro's order, unknown ones
    /// sorted, references as short as Java writes them. Documentation and attributes count: they are part of what
    /// was registered.
    pub fn canonical(&self) -> String {
        canonical::print(self)
    }
}

/// A type at one place of a schema.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// Attributes Avro does not know, such as `connect.name` and `logicalType`.
    pub(crate) props: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Primitive(Primitive),
    Array(Box<Node>),
    Map(Box<Node>),
    Union(Vec<Node>),
    /// Index into [`AvroSchema::named`].
    Named(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Primitive {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
}

impl Primitive {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::Null,
            "boolean" => Self::Boolean,
            "int" => Self::Int,
            "long" => Self::Long,
            "float" => Self::Float,
            "double" => Self::Double,
            "bytes" => Self::Bytes,
            "string" => Self::String,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::String => "string",
        }
    }
}

/// Name of a record, enum or fixed. The namespace is whatever was given, odd characters included.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct FullName {
    pub(crate) name: String,
    /// Empty for none.
    pub(crate) namespace: String,
}

impl FullName {
    /// A dotted name brings its own namespace; a simple one lives in `namespace`.
    pub(crate) fn new(name: &str, namespace: &str) -> Self {
        match name.rsplit_once('.') {
            Some((space, simple)) => Self { name: simple.to_owned(), namespace: space.to_owned() },
            None => Self { name: name.to_owned(), namespace: namespace.to_owned() },
        }
    }

    pub(crate) fn full(&self) -> String {
        if self.namespace.is_empty() { self.name.clone() } else { format!("{}.{}", self.namespace, self.name) }
    }
}

/// A definition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Named {
    pub(crate) name: FullName,
    pub(crate) doc: Option<String>,
    pub(crate) aliases: Vec<FullName>,
    pub(crate) props: Map<String, Value>,
    pub(crate) body: Body,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Body {
    Record { fields: Vec<Field>, error: bool },
    Enum { symbols: Vec<String>, default: Option<String> },
    Fixed { size: u64 },
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) node: Node,
    pub(crate) doc: Option<String>,
    pub(crate) default: Option<Value>,
    pub(crate) order: Option<String>,
    pub(crate) aliases: Vec<String>,
    pub(crate) props: Map<String, Value>,
}

#[cfg(test)]
mod tests;
