//! A datum of one schema as a datum of another: Connect's SchemaProjector, from bytes to bytes.
//!
//! [`fits`] says whether two schemas let values be projected at all, as Confluent's sinks ask before they keep a file open;
//! what only a field's presence, optionality or default decides shows itself in [`project`].

use std::collections::HashSet;

use serde_json::Value;

use super::datum::{Cursor, DEPTH_MAX, Malformed};
use super::schema::{Id, Node, Schema};
use crate::container::{put_bytes, put_long};

/// A value that has no form in the other schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProjectError {
    /// The bytes are not of their own schema.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// In Connect's words.
    #[error("{0}")]
    NoForm(String),
}

/// Whether types, names and parameters of two schemas go together, at every level.
pub fn fits(from: &Schema, to: &Schema) -> bool {
    Fit { from, to, asked: HashSet::new() }.fit(from.root, to.root)
}

struct Fit<'s> {
    from: &'s Schema,
    to: &'s Schema,
    /// Types that were compared, or are being: a schema may refer to itself.
    asked: HashSet<(Id, Id)>,
}

impl Fit<'_> {
    fn fit(&mut self, a: Id, b: Id) -> bool {
        if !self.asked.insert((a, b)) {
            return true;
        }
        let (from, to) = (self.from, self.to);
        let (a, b) = (optional(from, a), optional(to, b));
        let same_marks = from.marks.get(&a) == to.marks.get(&b);
        match (&from.nodes[a], &to.nodes[b]) {
            (Node::Record(fields), Node::Record(others)) => {
                let other = |name: &String| others.iter().find(|(other, _)| other == name).map(|(_, id)| *id);
                same_marks && fields.iter().all(|(name, field)| other(name).is_none_or(|other| self.fit(*field, other)))
            }
            (Node::Array(items), Node::Array(others)) | (Node::Map(items), Node::Map(others)) => {
                same_marks && self.fit(*items, *others)
            }
            (Node::Enum(symbols), Node::Enum(others)) => {
                from.names[a] == to.names[b] && symbols.iter().all(|symbol| others.contains(symbol))
            }
            (Node::Union(branches), Node::Union(_)) => branches
                .iter()
                .all(|branch| same_branch(from, *branch, to, b).is_none_or(|other| self.fit(*branch, other))),
            (node, other) => same_marks && (node == other || promoted(node, other)),
        }
    }
}

/// The type that is optional; a union of several stays one.
fn optional(schema: &Schema, id: Id) -> Id {
    match &schema.nodes[id] {
        Node::Union(branches) if branches.iter().filter(|id| schema.nodes[**id] != Node::Null).count() == 1 => {
            schema.without_null(id)
        }
        _ => id,
    }
}

fn promoted(from: &Node, to: &Node) -> bool {
    let rank =
        |node: &Node| [Node::Int, Node::Long, Node::Float, Node::Double].iter().position(|candidate| candidate == node);
    rank(from).zip(rank(to)).is_some_and(|(from, to)| from <= to)
}

/// The branch of a union that is called as this type is.
fn same_branch(from: &Schema, branch: Id, to: &Schema, union: Id) -> Option<Id> {
    let Node::Union(others) = &to.nodes[union] else { return None };
    others.iter().copied().find(|other| to.names[*other] == from.names[branch])
}

/// Append `datum` of the schema `from` to `out`, in the schema `to`.
///
/// # Errors
/// See [`ProjectError`]; what was appended until then stays.
pub fn project(from: &Schema, datum: &[u8], to: &Schema, out: &mut Vec<u8>) -> Result<(), ProjectError> {
    let mut cursor = Cursor(datum);
    Projector { from, to }.value(&mut cursor, from.root, to.root, None, 0, out)?;
    if cursor.0.is_empty() { Ok(()) } else { Err(Malformed.into()) }
}

struct Projector<'s> {
    from: &'s Schema,
    to: &'s Schema,
}

impl Projector<'_> {
    fn value(
        &self,
        cursor: &mut Cursor<'_>,
        a: Id,
        b: Id,
        default: Option<&Value>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), ProjectError> {
        if depth > DEPTH_MAX {
            return Err(Malformed.into());
        }
        let a = cursor.branch(self.from, a)?;
        let node = &self.from.nodes[a];
        let b = match &self.to.nodes[b] {
            Node::Union(branches) => {
                let held = self.branch(a, b, branches)?;
                match held {
                    Some((index, branch)) => {
                        put_long(out, index);
                        branch
                    }
                    None => return self.null(b, default, depth, out),
                }
            }
            _ if *node == Node::Null && self.to.nodes[b] != Node::Null => return self.null(b, default, depth, out),
            _ => b,
        };
        self.plain(cursor, a, b, depth, out)
    }

    /// Which branch takes a type; `None` when it is null and there is no branch for that.
    fn branch(&self, a: Id, union: Id, branches: &[Id]) -> Result<Option<(i64, Id)>, ProjectError> {
        let node = &self.from.nodes[a];
        let is_null = *node == Node::Null;
        let other = |index: usize| (i64::try_from(index).unwrap_or(0), branches[index]);
        let by_kind = |id: &Id| is_null == (self.to.nodes[*id] == Node::Null);
        let candidates: Vec<usize> = (0..branches.len()).filter(|index| by_kind(&branches[*index])).collect();
        if let [one] = candidates.as_slice() {
            return Ok(Some(other(*one)));
        }
        if is_null {
            return Ok(None);
        }
        let same = same_branch(self.from, a, self.to, union);
        let promoted =
            || candidates.iter().map(|index| branches[*index]).find(|id| promoted(node, &self.to.nodes[*id]));
        let found = same.or_else(promoted).and_then(|id| branches.iter().position(|branch| *branch == id));
        found.map(|index| Some(other(index))).ok_or_else(|| self.mismatch(a, union))
    }

    fn null(&self, b: Id, default: Option<&Value>, depth: usize, out: &mut Vec<u8>) -> Result<(), ProjectError> {
        let none = "Writer schema is optional, however, target schema does not provide a default value.";
        let default = default.filter(|default| !default.is_null());
        self.default(b, default.ok_or_else(|| ProjectError::NoForm(none.into()))?, depth + 1, out)
    }

    fn mismatch(&self, a: Id, b: Id) -> ProjectError {
        let (from, to) = (&self.from.names[a], &self.to.names[b]);
        ProjectError::NoForm(format!("Schema type mismatch. source type: {from} and target type: {to}"))
    }

    /// Types that are no unions any more.
    fn plain(
        &self,
        cursor: &mut Cursor<'_>,
        a: Id,
        b: Id,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), ProjectError> {
        let (from, to) = (&self.from.nodes[a], &self.to.nodes[b]);
        match (from, to) {
            (Node::Record(fields), Node::Record(others)) => {
                return self.record(cursor, fields, (b, others), depth, out);
            }
            (Node::Array(items), Node::Array(others)) => {
                while let count @ 1.. = cursor.block()? {
                    put_long(out, i64::try_from(count).map_err(|_| Malformed)?);
                    for _ in 0..count {
                        // Nulls have no bytes: without this a few bytes could ask for any number of turns.
                        if cursor.0.is_empty() {
                            return Err(Malformed.into());
                        }
                        self.value(cursor, *items, *others, None, depth + 1, out)?;
                    }
                }
                put_long(out, 0);
            }
            (Node::Map(values), Node::Map(others)) => {
                while let count @ 1.. = cursor.block()? {
                    put_long(out, i64::try_from(count).map_err(|_| Malformed)?);
                    for _ in 0..count {
                        put_bytes(out, cursor.bytes()?);
                        self.value(cursor, *values, *others, None, depth + 1, out)?;
                    }
                }
                put_long(out, 0);
            }
            (Node::Enum(symbols), Node::Enum(others)) => {
                let symbol = symbols.get(cursor.index()?).ok_or(Malformed)?;
                let index = others.iter().position(|other| other == symbol).ok_or_else(|| self.mismatch(a, b))?;
                put_long(out, i64::try_from(index).map_err(|_| Malformed)?);
            }
            (Node::Int | Node::Long, Node::Long) | (Node::Int, Node::Int) => put_long(out, cursor.long()?),
            (Node::Int | Node::Long, Node::Float) => out.extend_from_slice(&(cursor.long()? as f32).to_le_bytes()),
            (Node::Int | Node::Long, Node::Double) => out.extend_from_slice(&(cursor.long()? as f64).to_le_bytes()),
            (Node::Float, Node::Double) => {
                let raw = cursor.take(4)?.try_into().map_err(|_| Malformed)?;
                out.extend_from_slice(&f64::from(f32::from_le_bytes(raw)).to_le_bytes());
            }
            (from, to) if from == to => {
                let before = cursor.0;
                cursor.skip(self.from, a, depth)?;
                out.extend_from_slice(&before[..before.len() - cursor.0.len()]);
            }
            _ => return Err(self.mismatch(a, b)),
        }
        Ok(())
    }

    fn record(
        &self,
        cursor: &mut Cursor<'_>,
        fields: &[(String, Id)],
        (record, others): (Id, &[(String, Id)]),
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), ProjectError> {
        let mut data = Vec::with_capacity(fields.len());
        for (_, field) in fields {
            data.push(cursor.0);
            cursor.skip(self.from, *field, depth + 1)?;
        }
        for (index, (name, other)) in others.iter().enumerate() {
            let default = self.to.defaults.get(&(record, index));
            match fields.iter().position(|(field, _)| field == name) {
                Some(held) => {
                    self.value(&mut Cursor(data[held]), fields[held].1, *other, default, depth + 1, out)?;
                }
                None => self.missing(name, *other, default, depth + 1, out)?,
            }
        }
        Ok(())
    }

    /// A field that values do not have.
    fn missing(
        &self,
        name: &str,
        b: Id,
        default: Option<&Value>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), ProjectError> {
        if let Some(default) = default {
            return self.default(b, default, depth + 1, out);
        }
        match &self.to.nodes[b] {
            Node::Union(branches) if branches.iter().any(|branch| self.to.nodes[*branch] == Node::Null) => {
                self.default(b, &Value::Null, depth + 1, out)
            }
            _ => Err(ProjectError::NoForm(format!("Required field `{name}` is missing from source schema"))),
        }
    }

    /// A default, which Avro writes as JSON.
    fn default(&self, b: Id, default: &Value, depth: usize, out: &mut Vec<u8>) -> Result<(), ProjectError> {
        if depth > DEPTH_MAX {
            return Err(ProjectError::NoForm(format!("the default of {} has no end", self.to.names[b])));
        }
        let bad = || ProjectError::NoForm(format!("default {default} does not fit its type {}", self.to.names[b]));
        match (&self.to.nodes[b], default) {
            (Node::Null, Value::Null) => {}
            (Node::Boolean, Value::Bool(yes)) => out.push(u8::from(*yes)),
            (Node::Int | Node::Long, Value::Number(number)) => put_long(out, number.as_i64().ok_or_else(bad)?),
            (Node::Float, Value::Number(number)) => {
                out.extend_from_slice(&(number.as_f64().ok_or_else(bad)? as f32).to_le_bytes());
            }
            (Node::Double, Value::Number(number)) => {
                out.extend_from_slice(&number.as_f64().ok_or_else(bad)?.to_le_bytes());
            }
            (Node::String, Value::String(text)) => put_bytes(out, text.as_bytes()),
            (Node::Bytes, Value::String(text)) => put_bytes(out, &latin1(text).ok_or_else(bad)?),
            (Node::Fixed(size), Value::String(text)) => {
                let bytes = latin1(text).filter(|bytes| bytes.len() == *size).ok_or_else(bad)?;
                out.extend_from_slice(&bytes);
            }
            (Node::Enum(symbols), Value::String(text)) => {
                let index = symbols.iter().position(|symbol| symbol == text).ok_or_else(bad)?;
                put_long(out, i64::try_from(index).map_err(|_| bad())?);
            }
            (Node::Union(branches), default) => {
                // Avro's defaults are of the first branch; some write a null or a value for the other one.
                let fit = |branch: &&Id| default.is_null() == (self.to.nodes[**branch] == Node::Null);
                let branch = branches.iter().find(fit).ok_or_else(bad)?;
                let index = branches.iter().position(|other| other == branch).unwrap_or(0);
                put_long(out, i64::try_from(index).map_err(|_| bad())?);
                self.default(*branch, default, depth + 1, out)?;
            }
            (Node::Record(fields), Value::Object(members)) => {
                for (index, (name, field)) in fields.iter().enumerate() {
                    let given = members.get(name).or_else(|| self.to.defaults.get(&(b, index)));
                    self.missing(name, *field, given, depth + 1, out)?;
                }
            }
            (Node::Array(items), Value::Array(values)) => {
                self.block(values.len(), out)?;
                values.iter().try_for_each(|value| self.default(*items, value, depth + 1, out))?;
                self.end(values.len(), out);
            }
            (Node::Map(items), Value::Object(members)) => {
                self.block(members.len(), out)?;
                for (name, value) in members {
                    put_bytes(out, name.as_bytes());
                    self.default(*items, value, depth + 1, out)?;
                }
                self.end(members.len(), out);
            }
            _ => return Err(bad()),
        }
        Ok(())
    }

    fn block(&self, count: usize, out: &mut Vec<u8>) -> Result<(), ProjectError> {
        put_long(out, i64::try_from(count).map_err(|_| Malformed)?);
        Ok(())
    }

    fn end(&self, count: usize, out: &mut Vec<u8>) {
        // An empty block is the end already.
        if count > 0 {
            put_long(out, 0);
        }
    }
}

/// Bytes in Avro's defaults: a character each.
fn latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect()
}

#[cfg(test)]
#[path = "project_tests.rs"]
mod tests;
