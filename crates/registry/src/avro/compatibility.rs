//! Whether a reader's schema can read what a writer's schema wrote: Avro's schema resolution, with Confluent's words.
//!
//! The rules are those of the Avro specification ("Schema Resolution") as Java's `SchemaCompatibility` applies them;
//! error types, paths and descriptions are those of Confluent's registry, which people search for.

use std::collections::HashSet;
use std::fmt;

use super::{AvroSchema, Body, Field, Kind, Named, Node, Primitive};

/// Steps of a path; a schema that goes deeper is refused before it costs the stack.
const PATH_STEPS_MAX: usize = 600;

/// One reason why the new schema cannot read the old one's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incompatibility {
    pub error_type: &'static str,
    pub description: String,
    pub additional_info: String,
}

impl fmt::Display for Incompatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{{errorType:'{}', description:'{}', additionalInfo:'{}'}}",
            self.error_type, self.description, self.additional_info
        )
    }
}

/// Which of the two schemas is the newer one; only the words of the messages depend on it.
#[derive(Debug, Clone, Copy)]
struct Roles {
    reader: &'static str,
    writer: &'static str,
}

/// Can `reader` read what `writer` wrote? Empty when it can. `reader_is_new` chooses the words of the messages.
pub fn backward(reader: &AvroSchema, writer: &AvroSchema, reader_is_new: bool) -> Vec<Incompatibility> {
    let roles =
        if reader_is_new { Roles { reader: "new", writer: "old" } } else { Roles { reader: "old", writer: "new" } };
    let mut check =
        Check { reader, writer, roles, under_way: HashSet::new(), compatible: HashSet::new(), path: Vec::new() };
    check.nodes(&reader.root, &writer.root)
}

struct Check<'a> {
    reader: &'a AvroSchema,
    writer: &'a AvroSchema,
    roles: Roles,
    /// Pairs of definitions being compared: recursion into them adds nothing new.
    under_way: HashSet<(usize, usize)>,
    /// Pairs found compatible, so that definitions used in many places are compared once.
    compatible: HashSet<(usize, usize)>,
    path: Vec<String>,
}

impl Check<'_> {
    fn nodes(&mut self, reader: &Node, writer: &Node) -> Vec<Incompatibility> {
        match (&reader.kind, &writer.kind) {
            (Kind::Union(_), Kind::Union(branches)) => {
                let mut found = Vec::new();
                for (index, branch) in branches.iter().enumerate() {
                    if !self.inside(&index.to_string(), |check| check.nodes(reader, branch)).is_empty() {
                        found.push(self.inside(&index.to_string(), |check| check.missing_branch(branch)));
                    }
                }
                found
            }
            // The writer may have written any branch, so all must be readable.
            (_, Kind::Union(branches)) => branches.iter().flat_map(|branch| self.nodes(reader, branch)).collect(),
            (Kind::Union(branches), _) => {
                if branches.iter().any(|branch| self.nodes(branch, writer).is_empty()) {
                    Vec::new()
                } else {
                    vec![self.missing_branch(writer)]
                }
            }
            (Kind::Primitive(reader), Kind::Primitive(writer)) if promotes(*reader, *writer) => Vec::new(),
            (Kind::Array(reader), Kind::Array(writer)) => self.inside("items", |check| check.nodes(reader, writer)),
            (Kind::Map(reader), Kind::Map(writer)) => self.inside("values", |check| check.nodes(reader, writer)),
            (Kind::Named(reader), Kind::Named(writer)) => self.named(*reader, *writer),
            _ => vec![self.type_mismatch(reader, writer)],
        }
    }

    fn named(&mut self, reader_index: usize, writer_index: usize) -> Vec<Incompatibility> {
        let (all_readers, all_writers) = (self.reader, self.writer);
        let (Some(reader), Some(writer)) = (all_readers.named.get(reader_index), all_writers.named.get(writer_index))
        else {
            return Vec::new();
        };
        let pair = (reader_index, writer_index);
        if self.compatible.contains(&pair) || !self.under_way.insert(pair) {
            return Vec::new();
        }
        if self.path.len() > PATH_STEPS_MAX {
            return vec![self.found("TYPE_MISMATCH", "The schema is nested too deeply".to_owned(), self.here())];
        }
        let mut found = Vec::new();
        match (&reader.body, &writer.body) {
            (Body::Record { fields, .. }, Body::Record { fields: written, .. }) => {
                found.extend(self.names(reader, writer));
                found.extend(self.inside("fields", |check| check.fields(fields, written)));
            }
            (Body::Enum { symbols, default }, Body::Enum { symbols: written, .. }) => {
                found.extend(self.names(reader, writer));
                let missing: Vec<_> = written.iter().filter(|symbol| !symbols.contains(symbol)).cloned().collect();
                if !missing.is_empty() && default.is_none() {
                    found.push(self.inside("symbols", |check| check.missing_symbols(&missing)));
                }
            }
            (Body::Fixed { size }, Body::Fixed { size: written }) => {
                found.extend(self.names(reader, writer));
                if size != written {
                    found.push(self.inside("size", |check| check.size_mismatch(*size, *written)));
                }
            }
            _ => found.push(self.mismatch(kind_of(reader), kind_of(writer))),
        }
        self.under_way.remove(&pair);
        if found.is_empty() {
            self.compatible.insert(pair);
        }
        found
    }

    /// Unqualified names decide, as the specification has it; or an alias of the reader.
    fn names(&mut self, reader: &Named, writer: &Named) -> Option<Incompatibility> {
        if reader.name.name == writer.name.name || reader.aliases.contains(&writer.name) {
            return None;
        }
        Some(self.inside("name", |check| {
            check.found(
                "NAME_MISMATCH",
                format!("The name of the schema has changed (path '{}')", check.here()),
                format!("expected: {}", writer.name.full()),
            )
        }))
    }

    fn fields(&mut self, reader: &[Field], writer: &[Field]) -> Vec<Incompatibility> {
        let mut found = Vec::new();
        for (index, field) in reader.iter().enumerate() {
            let written = writer
                .iter()
                .find(|written| written.name == field.name)
                .or_else(|| writer.iter().find(|written| field.aliases.contains(&written.name)));
            let problems = self.inside(&index.to_string(), |check| match written {
                Some(written) => check.inside("type", |check| check.nodes(&field.node, &written.node)),
                None if field.default.is_some() || check.enum_with_default(&field.node) => Vec::new(),
                None => vec![check.missing_default(&field.name)],
            });
            found.extend(problems);
        }
        found
    }

    fn enum_with_default(&self, node: &Node) -> bool {
        let Kind::Named(index) = node.kind else { return false };
        matches!(self.reader.named.get(index), Some(Named { body: Body::Enum { default: Some(_), .. }, .. }))
    }

    fn missing_default(&self, field: &str) -> Incompatibility {
        let Roles { reader, writer } = self.roles;
        self.found(
            "READER_FIELD_MISSING_DEFAULT_VALUE",
            format!(
                "The field '{field}' at path '{}' in the {reader} schema has no default value and is missing in the {writer} schema",
                self.here()
            ),
            field.to_owned(),
        )
    }

    fn missing_branch(&self, writer: &Node) -> Incompatibility {
        let Roles { reader, writer: other } = self.roles;
        let kind = self.kind_name(self.writer, writer);
        self.found(
            "MISSING_UNION_BRANCH",
            format!(
                "The {reader} schema is missing a type inside a union field at path '{}' in the {other} schema",
                self.here()
            ),
            format!("reader union lacking writer type: {kind}"),
        )
    }

    fn missing_symbols(&self, symbols: &[String]) -> Incompatibility {
        let Roles { reader, writer } = self.roles;
        let symbols = format!("[{}]", symbols.join(", "));
        self.found(
            "MISSING_ENUM_SYMBOLS",
            format!(
                "The {reader} schema is missing enum symbols '{symbols}' at path '{}' in the {writer} schema",
                self.here()
            ),
            symbols.clone(),
        )
    }

    fn size_mismatch(&self, reader_size: u64, writer_size: u64) -> Incompatibility {
        let Roles { reader, writer } = self.roles;
        self.found(
            "FIXED_SIZE_MISMATCH",
            format!(
                "The size of FIXED type field at path '{}' in the {reader} schema does not match with the {writer} schema",
                self.here()
            ),
            format!("expected: {writer_size}, found: {reader_size}"),
        )
    }

    fn type_mismatch(&self, reader: &Node, writer: &Node) -> Incompatibility {
        self.mismatch(self.kind_name(self.reader, reader), self.kind_name(self.writer, writer))
    }

    fn mismatch(&self, reader_kind: &str, writer_kind: &str) -> Incompatibility {
        let Roles { reader, writer } = self.roles;
        self.found(
            "TYPE_MISMATCH",
            format!(
                "The type (path '{}') of a field in the {reader} schema does not match with the {writer} schema",
                self.here()
            ),
            format!("reader type: {reader_kind} not compatible with writer type: {writer_kind}"),
        )
    }

    fn found(&self, error_type: &'static str, description: String, additional_info: String) -> Incompatibility {
        Incompatibility { error_type, description, additional_info }
    }

    fn kind_name(&self, schema: &AvroSchema, node: &Node) -> &'static str {
        match &node.kind {
            Kind::Primitive(Primitive::Null) => "NULL",
            Kind::Primitive(Primitive::Boolean) => "BOOLEAN",
            Kind::Primitive(Primitive::Int) => "INT",
            Kind::Primitive(Primitive::Long) => "LONG",
            Kind::Primitive(Primitive::Float) => "FLOAT",
            Kind::Primitive(Primitive::Double) => "DOUBLE",
            Kind::Primitive(Primitive::Bytes) => "BYTES",
            Kind::Primitive(Primitive::String) => "STRING",
            Kind::Array(_) => "ARRAY",
            Kind::Map(_) => "MAP",
            Kind::Union(_) => "UNION",
            Kind::Named(index) => schema.named.get(*index).map_or("UNKNOWN", kind_of),
        }
    }

    fn here(&self) -> String {
        format!("/{}", self.path.join("/"))
    }

    fn inside<T>(&mut self, step: &str, look: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step.to_owned());
        let outcome = look(self);
        self.path.pop();
        outcome
    }
}

fn kind_of(named: &Named) -> &'static str {
    match named.body {
        Body::Record { .. } => "RECORD",
        Body::Enum { .. } => "ENUM",
        Body::Fixed { .. } => "FIXED",
    }
}

/// Avro's promotions: numbers to wider ones, string and bytes both ways.
fn promotes(reader: Primitive, writer: Primitive) -> bool {
    use Primitive::{Bytes, Double, Float, Int, Long, String};
    reader == writer
        || matches!(
            (reader, writer),
            (Long, Int) | (Float, Int | Long) | (Double, Int | Long | Float) | (Bytes, String) | (String, Bytes)
        )
}
