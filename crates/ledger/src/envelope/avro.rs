//! Just enough Avro: schemas as a tree, and a reader that can also pass over what nobody asked for.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::error::{LedgerError, Result, broken};

/// The shape of a value.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Record(Vec<(String, Arc<Typed>)>),
    Union(Vec<Arc<Typed>>),
    Enum(Vec<String>),
    Array(Arc<Typed>),
    Map(Arc<Typed>),
    Fixed(usize),
}

/// What a schema says about its values beyond their shape.
#[derive(Debug, Clone, Default)]
pub(super) struct Meaning {
    /// `connect.name`.
    pub(super) name: Option<String>,
    /// Scale of a decimal.
    pub(super) scale: Option<usize>,
}

/// A shape and its meaning.
#[derive(Debug, Clone)]
pub(super) struct Typed {
    pub(super) node: Node,
    pub(super) meaning: Meaning,
}

/// Reads a schema.
pub(super) fn compile(schema: &Value) -> Result<Arc<Typed>> {
    Compiler::default().typed(schema, "")
}

/// Named types seen so far, by full name.
#[derive(Default)]
struct Compiler(HashMap<String, Arc<Typed>>);

impl Compiler {
    fn typed(&mut self, schema: &Value, namespace: &str) -> Result<Arc<Typed>> {
        let plain = |node| Ok(Arc::new(Typed { node, meaning: Meaning::default() }));
        match schema {
            Value::String(name) => match primitive(name) {
                Some(node) => plain(node),
                None => self.named(name, namespace),
            },
            Value::Array(branches) => {
                let branches = branches.iter().map(|branch| self.typed(branch, namespace));
                plain(Node::Union(branches.collect::<Result<_>>()?))
            }
            Value::Object(object) => {
                let meaning = Meaning {
                    name: object.get("connect.name").and_then(Value::as_str).map(str::to_owned),
                    scale: object.get("scale").and_then(Value::as_u64).and_then(|scale| usize::try_from(scale).ok()),
                };
                self.object(schema, meaning, namespace)
            }
            other => Err(unreadable(other)),
        }
    }

    fn object(&mut self, schema: &Value, meaning: Meaning, namespace: &str) -> Result<Arc<Typed>> {
        let Some(kind) = schema["type"].as_str() else {
            // `{"type": {...}}` or `{"type": [...]}`: the inner schema as it is.
            return self.typed(&schema["type"], namespace);
        };
        let namespace = schema["namespace"].as_str().unwrap_or(namespace);
        let node = match kind {
            "record" => {
                let fields = schema["fields"].as_array().ok_or_else(|| unreadable(schema))?;
                let fields = fields.iter().map(|field| {
                    let name = field["name"].as_str().ok_or_else(|| unreadable(field))?;
                    Ok((name.to_owned(), self.typed(&field["type"], namespace)?))
                });
                Node::Record(fields.collect::<Result<_>>()?)
            }
            "enum" => {
                let symbols = schema["symbols"].as_array().ok_or_else(|| unreadable(schema))?;
                Node::Enum(symbols.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            }
            "fixed" => {
                let size = schema["size"].as_u64().and_then(|size| usize::try_from(size).ok());
                Node::Fixed(size.ok_or_else(|| unreadable(schema))?)
            }
            "array" => Node::Array(self.typed(&schema["items"], namespace)?),
            "map" => Node::Map(self.typed(&schema["values"], namespace)?),
            other => match primitive(other) {
                Some(node) => node,
                None => return self.named(other, namespace),
            },
        };
        let typed = Arc::new(Typed { node, meaning });
        if let Some(name) = schema["name"].as_str() {
            self.0.insert(full_name(name, namespace), Arc::clone(&typed));
        }
        Ok(typed)
    }

    fn named(&self, name: &str, namespace: &str) -> Result<Arc<Typed>> {
        let typed = self.0.get(&full_name(name, namespace)).or_else(|| self.0.get(name));
        typed.cloned().ok_or_else(|| broken(format!("the writer schema names an unknown type {name:?}")))
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

fn primitive(name: &str) -> Option<Node> {
    Some(match name {
        "null" => Node::Null,
        "boolean" => Node::Boolean,
        "int" => Node::Int,
        "long" => Node::Long,
        "float" => Node::Float,
        "double" => Node::Double,
        "bytes" => Node::Bytes,
        "string" => Node::Text,
        _ => return None,
    })
}

fn unreadable(schema: &Value) -> LedgerError {
    let text: String = schema.to_string().chars().take(80).collect();
    broken(format!("the writer schema is not readable at {text}"))
}

/// Avro bytes, consumed from the front.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn long(&mut self) -> Result<i64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((number >> 1).cast_signed() ^ -((number & 1).cast_signed()));
            }
        }
        Err(broken("an Avro number is longer than ten bytes"))
    }

    pub(super) fn boolean(&mut self) -> Result<bool> {
        let [byte] = self.array()?;
        Ok(byte != 0)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = usize::try_from(self.long()?).unwrap_or(usize::MAX);
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Result<String> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| broken("an Avro string is no UTF-8"))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| short())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The shape that follows, unions resolved; `None` for null.
    pub(super) fn resolve<'n>(&mut self, node: &'n Node) -> Result<Option<&'n Node>> {
        match node {
            Node::Null => Ok(None),
            Node::Union(branches) => {
                let branch = self.branch(branches)?;
                self.resolve(&branch.node)
            }
            other => Ok(Some(other)),
        }
    }

    /// As `resolve`, with the meaning of the branch.
    pub(super) fn resolve_typed<'n>(&mut self, typed: &'n Typed) -> Result<Option<(&'n Node, &'n Meaning)>> {
        match &typed.node {
            Node::Null => Ok(None),
            Node::Union(branches) => {
                let branch = self.branch(branches)?;
                self.resolve_typed(branch)
            }
            other => Ok(Some((other, &typed.meaning))),
        }
    }

    fn branch<'n>(&mut self, branches: &'n [Arc<Typed>]) -> Result<&'n Typed> {
        let index = usize::try_from(self.long()?).unwrap_or(usize::MAX);
        branches.get(index).map(Arc::as_ref).ok_or_else(|| broken("a union's index lies beyond its branches"))
    }

    /// Passes over a value.
    pub(super) fn skip(&mut self, typed: &Typed) -> Result<()> {
        match &typed.node {
            Node::Null => {}
            Node::Boolean => drop(self.take(1)?),
            Node::Int | Node::Long | Node::Enum(_) => drop(self.long()?),
            Node::Float => drop(self.take(4)?),
            Node::Double => drop(self.take(8)?),
            Node::Bytes | Node::Text => drop(self.bytes()?),
            Node::Fixed(size) => drop(self.take(*size)?),
            Node::Record(fields) => fields.iter().try_for_each(|(_, field)| self.skip(field))?,
            Node::Union(branches) => {
                let branch = self.branch(branches)?;
                self.skip(branch)?;
            }
            Node::Array(items) => self.skip_blocks(items, false)?,
            Node::Map(values) => self.skip_blocks(values, true)?,
        }
        Ok(())
    }

    /// Arrays and maps come in blocks; a negative count is followed by the block's size in bytes.
    fn skip_blocks(&mut self, items: &Typed, keyed: bool) -> Result<()> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                self.bytes()?;
                continue;
            }
            for _ in 0..count {
                if keyed {
                    self.bytes()?;
                }
                let before = self.0.len();
                self.skip(items)?;
                // Items without bytes (null) would let a wrong count spin for ever.
                if self.0.len() == before && !keyed {
                    break;
                }
            }
        }
    }
}

fn short() -> LedgerError {
    broken("an Avro value ends before its schema does")
}
