//! Reading a datum's bytes along its schema.

use super::schema::{FieldPath, Id, Node, Schema};

/// Deeper values are refused: a schema may refer to itself.
pub(super) const DEPTH_MAX: usize = 200;

/// Bytes that do not fit their schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the value does not fit the schema it names")]
pub struct Malformed;

/// A field's value, as far as layouts and clocks need it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Found<'a> {
    /// It, or a record on the way to it, is null.
    Null,
    /// int or long.
    Integer(i64),
    /// string or enum.
    Text(&'a str),
    /// boolean.
    Boolean(bool),
    /// Of another type.
    Other,
}

/// The field at `path`.
///
/// # Errors
/// [`Malformed`].
pub fn find<'a>(schema: &'a Schema, datum: &'a [u8], path: &FieldPath) -> Result<Found<'a>, Malformed> {
    let mut cursor = Cursor(datum);
    let mut node = schema.root;
    for index in &path.0 {
        node = cursor.branch(schema, node)?;
        let Node::Record(fields) = &schema.nodes[node] else { return Ok(Found::Null) };
        for (_, before) in &fields[..*index] {
            cursor.skip(schema, *before, 0)?;
        }
        node = fields[*index].1;
    }
    node = cursor.branch(schema, node)?;
    Ok(match &schema.nodes[node] {
        Node::Null => Found::Null,
        Node::Int | Node::Long => Found::Integer(cursor.long()?),
        Node::String => Found::Text(cursor.text()?),
        Node::Boolean => Found::Boolean(cursor.take(1)?[0] != 0),
        Node::Enum(symbols) => Found::Text(symbols.get(cursor.index()?).ok_or(Malformed)?),
        _ => Found::Other,
    })
}

/// What is left of a datum.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn long(&mut self) -> Result<i64, Malformed> {
        let mut raw = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            raw |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((raw >> 1) as i64 ^ -((raw & 1) as i64));
            }
        }
        Err(Malformed)
    }

    pub(super) fn index(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.long()?).map_err(|_| Malformed)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let count = self.index()?;
        self.take(count)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }

    /// Items of the next block of an array or map; 0 at its end.
    pub(super) fn block(&mut self) -> Result<u64, Malformed> {
        let count = self.long()?;
        if count < 0 {
            self.long()?;
        }
        Ok(count.unsigned_abs())
    }

    /// The branch that a union holds; the node itself when it is none.
    pub(super) fn branch(&mut self, schema: &Schema, node: Id) -> Result<Id, Malformed> {
        match &schema.nodes[node] {
            Node::Union(branches) => branches.get(self.index()?).copied().ok_or(Malformed),
            _ => Ok(node),
        }
    }

    pub(super) fn skip(&mut self, schema: &Schema, node: Id, depth: usize) -> Result<(), Malformed> {
        if depth > DEPTH_MAX {
            return Err(Malformed);
        }
        match &schema.nodes[node] {
            Node::Null => {}
            Node::Boolean => drop(self.take(1)?),
            Node::Int | Node::Long | Node::Enum(_) => drop(self.long()?),
            Node::Float => drop(self.take(4)?),
            Node::Double => drop(self.take(8)?),
            Node::Bytes | Node::String => drop(self.bytes()?),
            Node::Fixed(size) => drop(self.take(*size)?),
            Node::Union(_) => {
                let branch = self.branch(schema, node)?;
                self.skip(schema, branch, depth + 1)?;
            }
            Node::Record(fields) => {
                for (_, field) in fields {
                    self.skip(schema, *field, depth + 1)?;
                }
            }
            Node::Array(items) => {
                while let count @ 1.. = self.block()? {
                    self.repeat(count, *items, schema, depth)?;
                }
            }
            Node::Map(values) => {
                while let count @ 1.. = self.block()? {
                    for _ in 0..count {
                        self.bytes()?;
                        self.skip(schema, *values, depth + 1)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn repeat(&mut self, count: u64, items: Id, schema: &Schema, depth: usize) -> Result<(), Malformed> {
        // Items without bytes (nulls) would let a few bytes ask for any number of turns.
        if schema.nodes[items] == Node::Null {
            return Ok(());
        }
        (0..count).try_for_each(|_| self.skip(schema, items, depth + 1))
    }
}
