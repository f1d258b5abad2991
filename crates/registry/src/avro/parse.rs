//! Text of a schema to [`AvroSchema`], with Java Avro's rules.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{AvroSchema, Body, Field, FullName, Kind, Named, Node, Primitive, defaults};

/// Deeper nesting is an attack, not a schema.
const DEPTH_MAX: usize = 100;

/// Why a text is not an Avro schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SchemaError(pub String);

pub(super) fn parse(text: &str) -> Result<AvroSchema, SchemaError> {
    let json: Value = serde_json::from_str(text).or_else(|error| {
        // `string` without quotes is what Java's parser takes for the schema "string".
        match Primitive::from_name(text.trim()) {
            Some(primitive) => Ok(Value::String(primitive.name().to_owned())),
            None => Err(SchemaError(format!("the schema is not JSON: {error}"))),
        }
    })?;
    let mut parser = Parser { named: Vec::new(), names: HashMap::new() };
    let root = parser.node(&json, "", 0)?;
    let named = parser.named.into_iter().collect::<Option<Vec<_>>>();
    let named = named.ok_or_else(|| SchemaError("a type is used inside its own name".to_owned()))?;
    let schema = AvroSchema { root, named };
    defaults::check(&schema)?;
    Ok(schema)
}

struct Parser {
    /// `None` while a definition is being read: its own fields may refer to it.
    named: Vec<Option<Named>>,
    names: HashMap<FullName, usize>,
}

fn fail<T>(reason: String) -> Result<T, SchemaError> {
    Err(SchemaError(reason))
}

impl Parser {
    fn node(&mut self, json: &Value, namespace: &str, depth: usize) -> Result<Node, SchemaError> {
        if depth > DEPTH_MAX {
            return fail(format!("types are nested deeper than {DEPTH_MAX}"));
        }
        match json {
            Value::String(name) => self.reference(name, namespace),
            Value::Array(branches) => self.union(branches, namespace, depth),
            Value::Object(object) => self.object(object, namespace, depth),
            other => fail(format!("a schema is a name, an object or a list, not {other}")),
        }
    }

    fn reference(&self, name: &str, namespace: &str) -> Result<Node, SchemaError> {
        if let Some(primitive) = Primitive::from_name(name) {
            return Ok(Node { kind: Kind::Primitive(primitive), props: Map::new() });
        }
        let near = FullName::new(name, namespace);
        let global = FullName::new(name, "");
        match self.names.get(&near).or_else(|| self.names.get(&global)) {
            Some(index) => Ok(Node { kind: Kind::Named(*index), props: Map::new() }),
            None => fail(format!("\"{name}\" is not a defined name")),
        }
    }

    fn union(&mut self, branches: &[Value], namespace: &str, depth: usize) -> Result<Node, SchemaError> {
        let mut nodes = Vec::with_capacity(branches.len());
        let mut kinds = HashSet::new();
        for branch in branches {
            let node = self.node(branch, namespace, depth + 1)?;
            let kind = match &node.kind {
                Kind::Union(_) => return fail("a union directly inside a union".to_owned()),
                Kind::Primitive(primitive) => primitive.name().to_owned(),
                Kind::Array(_) => "array".to_owned(),
                Kind::Map(_) => "map".to_owned(),
                Kind::Named(index) => format!("#{index}"),
            };
            if !kinds.insert(kind) {
                return fail(format!("duplicate in union: {branch}"));
            }
            nodes.push(node);
        }
        Ok(Node { kind: Kind::Union(nodes), props: Map::new() })
    }

    fn object(&mut self, object: &Map<String, Value>, namespace: &str, depth: usize) -> Result<Node, SchemaError> {
        let Some(kind) = object.get("type") else {
            return fail(format!("no type: {}", Value::Object(object.clone())));
        };
        let Value::String(kind) = kind else {
            // Java writes and reads {"type": {...}} only as the type of a field; others nest it here as well.
            return self.node(kind, namespace, depth + 1);
        };
        let props = |known: &[&str]| other_attributes(object, known);
        match kind.as_str() {
            "record" | "error" => self.record(object, kind == "error", namespace, depth),
            "enum" => self.enumeration(object, namespace),
            "fixed" => self.fixed(object, namespace),
            "array" => {
                let items = required(object, "items", "array")?;
                let items = self.node(items, namespace, depth + 1)?;
                Ok(Node { kind: Kind::Array(Box::new(items)), props: props(&["type", "items"]) })
            }
            "map" => {
                let values = required(object, "values", "map")?;
                let values = self.node(values, namespace, depth + 1)?;
                Ok(Node { kind: Kind::Map(Box::new(values)), props: props(&["type", "values"]) })
            }
            name => {
                let mut node = self.reference(name, namespace)?;
                node.props = props(&["type"]);
                Ok(node)
            }
        }
    }

    fn record(
        &mut self,
        object: &Map<String, Value>,
        error: bool,
        namespace: &str,
        depth: usize,
    ) -> Result<Node, SchemaError> {
        let (index, name) = self.define(object, namespace)?;
        let Some(Value::Array(list)) = object.get("fields") else {
            return fail(format!("record {} has no fields", name.full()));
        };
        let mut fields = Vec::with_capacity(list.len());
        let mut seen = HashSet::new();
        for field in list {
            let field = self.field(field, &name, depth)?;
            if !seen.insert(field.name.clone()) {
                return fail(format!("duplicate field {} in record {}", field.name, name.full()));
            }
            fields.push(field);
        }
        let known = ["type", "name", "namespace", "doc", "fields", "aliases"];
        Ok(self.finish(index, name, object, &known, Body::Record { fields, error }))
    }

    fn field(&mut self, json: &Value, record: &FullName, depth: usize) -> Result<Field, SchemaError> {
        let place = || format!("record {}", record.full());
        let Value::Object(object) = json else {
            return fail(format!("a field of {} is not an object: {json}", place()));
        };
        let name = text(object, "name").ok_or_else(|| SchemaError(format!("a field of {} has no name", place())))?;
        check_name(name)?;
        let kind = object.get("type").ok_or_else(|| SchemaError(format!("field {name} of {} has no type", place())))?;
        let node = self
            .node(kind, &record.namespace, depth + 1)
            .map_err(|error| SchemaError(format!("field {name} of {}: {error}", place())))?;
        let order = text(object, "order").map(str::to_ascii_lowercase);
        if let Some(order) = order.as_deref()
            && !matches!(order, "ascending" | "descending" | "ignore")
        {
            return fail(format!("field {name} of {}: order {order} is unknown", place()));
        }
        Ok(Field {
            name: name.to_owned(),
            node,
            doc: text(object, "doc").map(str::to_owned),
            default: object.get("default").cloned(),
            order: order.filter(|order| order != "ascending"),
            aliases: texts(object, "aliases")?,
            props: other_attributes(object, &["name", "type", "doc", "default", "order", "aliases"]),
        })
    }

    fn enumeration(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<Node, SchemaError> {
        let (index, name) = self.define(object, namespace)?;
        if !matches!(object.get("symbols"), Some(Value::Array(_))) {
            return fail(format!("enum {} has no symbols", name.full()));
        }
        let symbols = texts(object, "symbols")?;
        let mut seen = HashSet::new();
        for symbol in &symbols {
            check_name(symbol)?;
            if !seen.insert(symbol) {
                return fail(format!("duplicate symbol {symbol} in enum {}", name.full()));
            }
        }
        let default = text(object, "default").map(str::to_owned);
        if let Some(default) = &default
            && !symbols.contains(default)
        {
            return fail(format!("the default {default} of enum {} is not one of its symbols", name.full()));
        }
        let known = ["type", "name", "namespace", "doc", "symbols", "aliases", "default"];
        Ok(self.finish(index, name, object, &known, Body::Enum { symbols, default }))
    }

    fn fixed(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<Node, SchemaError> {
        let (index, name) = self.define(object, namespace)?;
        let Some(size) = object.get("size").and_then(Value::as_u64) else {
            return fail(format!("fixed {} has no valid size", name.full()));
        };
        let known = ["type", "name", "namespace", "doc", "size", "aliases"];
        Ok(self.finish(index, name, object, &known, Body::Fixed { size }))
    }

    fn define(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<(usize, FullName), SchemaError> {
        let Some(name) = text(object, "name") else {
            return fail(format!("no name in schema: {}", Value::Object(object.clone())));
        };
        let name = FullName::new(name, text(object, "namespace").unwrap_or(namespace));
        check_name(&name.name)?;
        if Primitive::from_name(&name.name).is_some() && name.namespace.is_empty() {
            return fail(format!("schemas may not be named after primitives: {}", name.name));
        }
        let index = self.named.len();
        if self.names.insert(name.clone(), index).is_some() {
            return fail(format!("can't redefine: {}", name.full()));
        }
        self.named.push(None);
        Ok((index, name))
    }

    fn finish(
        &mut self,
        index: usize,
        name: FullName,
        object: &Map<String, Value>,
        known: &[&str],
        body: Body,
    ) -> Node {
        let aliases = texts(object, "aliases").unwrap_or_default();
        let aliases = aliases.iter().map(|alias| FullName::new(alias, &name.namespace)).collect();
        let doc = text(object, "doc").map(str::to_owned);
        let definition = Named { name, doc, aliases, props: other_attributes(object, known), body };
        if let Some(slot) = self.named.get_mut(index) {
            *slot = Some(definition);
        }
        Node { kind: Kind::Named(index), props: Map::new() }
    }
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

fn texts(object: &Map<String, Value>, key: &str) -> Result<Vec<String>, SchemaError> {
    let Some(Value::Array(list)) = object.get(key) else { return Ok(Vec::new()) };
    let texts = list.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
    texts.ok_or_else(|| SchemaError(format!("{key} must be a list of names")))
}

fn required<'a>(object: &'a Map<String, Value>, key: &str, kind: &str) -> Result<&'a Value, SchemaError> {
    object.get(key).ok_or_else(|| SchemaError(format!("{kind} has no {key} type")))
}

fn other_attributes(object: &Map<String, Value>, known: &[&str]) -> Map<String, Value> {
    object
        .iter()
        .filter(|(key, _)| !known.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Java's rule for simple names: a letter (of any script) or underscore, then letters, digits, underscores.
fn check_name(name: &str) -> Result<(), SchemaError> {
    let mut letters = name.chars();
    match letters.next() {
        None => fail("empty name".to_owned()),
        Some(first) if !(first.is_alphabetic() || first == '_') => fail(format!("illegal initial character: {name}")),
        Some(_) if !letters.all(|letter| letter.is_alphanumeric() || letter == '_') => {
            fail(format!("illegal character in: {name}"))
        }
        Some(_) => Ok(()),
    }
}
