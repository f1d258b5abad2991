//! The one text of a schema, in the order Java's `Schema.toString` writes.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{AvroSchema, Body, Field, FullName, Kind, Named, Node};

pub(super) fn print(schema: &AvroSchema) -> String {
    let mut printer = Printer { schema, defined: HashSet::new() };
    printer.node(&schema.root, "").to_string()
}

struct Printer<'a> {
    schema: &'a AvroSchema,
    /// Definitions already written out; further uses are references.
    defined: HashSet<usize>,
}

impl Printer<'_> {
    fn node(&mut self, node: &Node, namespace: &str) -> Value {
        match &node.kind {
            Kind::Primitive(primitive) if node.props.is_empty() => json!(primitive.name()),
            Kind::Primitive(primitive) => with_props(json!({ "type": primitive.name() }), &node.props),
            Kind::Array(items) => {
                let items = self.node(items, namespace);
                with_props(json!({ "type": "array", "items": items }), &node.props)
            }
            Kind::Map(values) => {
                let values = self.node(values, namespace);
                with_props(json!({ "type": "map", "values": values }), &node.props)
            }
            Kind::Union(branches) => branches.iter().map(|branch| self.node(branch, namespace)).collect(),
            Kind::Named(index) => self.named(*index, namespace),
        }
    }

    fn named(&mut self, index: usize, namespace: &str) -> Value {
        let schema = self.schema;
        let Some(named) = schema.named.get(index) else { return Value::Null };
        if !self.defined.insert(index) {
            return Value::String(relative(&named.name, namespace));
        }
        let mut out = Map::new();
        match &named.body {
            Body::Record { fields, error } => {
                out.insert("type".into(), json!(if *error { "error" } else { "record" }));
                head(&mut out, named, namespace);
                let fields = fields.iter().map(|field| self.field(field, &named.name.namespace)).collect();
                out.insert("fields".into(), fields);
            }
            Body::Enum { symbols, default } => {
                out.insert("type".into(), json!("enum"));
                head(&mut out, named, namespace);
                out.insert("symbols".into(), json!(symbols));
                if let Some(default) = default {
                    out.insert("default".into(), json!(default));
                }
            }
            Body::Fixed { size } => {
                out.insert("type".into(), json!("fixed"));
                head(&mut out, named, namespace);
                out.insert("size".into(), json!(size));
            }
        }
        let mut out = with_props(Value::Object(out), &named.props);
        if !named.aliases.is_empty() {
            let aliases: Vec<_> = named.aliases.iter().map(|alias| relative(alias, &named.name.namespace)).collect();
            out["aliases"] = json!(aliases);
        }
        out
    }

    fn field(&mut self, field: &Field, namespace: &str) -> Value {
        let mut out = Map::new();
        out.insert("name".into(), json!(field.name));
        out.insert("type".into(), self.node(&field.node, namespace));
        if let Some(doc) = &field.doc {
            out.insert("doc".into(), json!(doc));
        }
        if let Some(default) = &field.default {
            out.insert("default".into(), default.clone());
        }
        if let Some(order) = &field.order {
            out.insert("order".into(), json!(order));
        }
        if !field.aliases.is_empty() {
            out.insert("aliases".into(), json!(field.aliases));
        }
        with_props(Value::Object(out), &field.props)
    }
}

fn head(out: &mut Map<String, Value>, named: &Named, namespace: &str) {
    out.insert("name".into(), json!(named.name.name));
    if named.name.namespace != namespace {
        out.insert("namespace".into(), json!(named.name.namespace));
    }
    if let Some(doc) = &named.doc {
        out.insert("doc".into(), json!(doc));
    }
}

fn relative(name: &FullName, namespace: &str) -> String {
    if name.namespace == namespace { name.name.clone() } else { name.full() }
}

fn with_props(mut value: Value, props: &Map<String, Value>) -> Value {
    if let Value::Object(object) = &mut value {
        let mut sorted: Vec<_> = props.iter().collect();
        sorted.sort_by_key(|(key, _)| key.as_str());
        for (key, value) in sorted {
            object.insert(key.clone(), value.clone());
        }
    }
    value
}
