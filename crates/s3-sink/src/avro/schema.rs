//! Avro schemas as an arena of nodes, made of their JSON.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

/// Deeper schemas are refused, so that reading a datum cannot exhaust the stack.
const DEPTH_MAX: usize = 64;

/// Parameters that describe and change nothing.
const DESCRIBING: [&str; 5] = [
    "connect.record.doc",
    "connect.record.aliases",
    "connect.record.namespace",
    "io.confluent.connect.avro.field.doc.",
    "io.confluent.connect.avro.record.doc",
];

/// A schema that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the writer schema cannot be read: {0}")]
pub struct SchemaError(String);

/// Index of a node.
pub(super) type Id = usize;

/// One type.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum(Vec<String>),
    Array(Id),
    Map(Id),
    Union(Vec<Id>),
    Record(Vec<(String, Id)>),
}

/// What Connect knows of a type beside its kind; values of types with other marks are not projected to each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// Connect's name of the type.
    pub(super) name: Option<String>,
    /// Its parameters.
    pub(super) parameters: BTreeMap<String, String>,
}

/// A parsed schema.
#[derive(Debug, Clone)]
pub struct Schema {
    /// `connect.version`, which goes before the registry's.
    pub version: Option<u32>,
    pub(super) nodes: Vec<Node>,
    /// Types that have marks.
    pub(super) marks: HashMap<Id, Marks>,
    /// Defaults of fields: record and index.
    pub(super) defaults: HashMap<(Id, usize), Value>,
    /// Scale where a node is a decimal.
    pub(super) scales: HashMap<Id, usize>,
    /// Name of named types and of primitive ones, as a union's branch is called.
    pub(super) names: Vec<String>,
    pub(super) root: Id,
}

/// Where a field is: the index of a field in each record on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPath(pub(super) Vec<usize>);

/// A field that a schema does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Field '{0}' is not present in the schema.")]
pub struct PathError(pub String);

impl Schema {
    /// Parse a schema's JSON.
    ///
    /// # Errors
    /// When it is no Avro schema.
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        let json: Value = serde_json::from_str(text).map_err(|error| SchemaError(error.to_string()))?;
        let mut parser = Parser {
            schema: Self {
                version: json
                    .get("connect.version")
                    .and_then(Value::as_u64)
                    .and_then(|version| version.try_into().ok()),
                nodes: Vec::new(),
                marks: HashMap::new(),
                defaults: HashMap::new(),
                scales: HashMap::new(),
                names: Vec::new(),
                root: 0,
            },
            named: HashMap::new(),
        };
        let root = parser.node(&json, "", 0)?;
        Ok(Self { root, ..parser.schema })
    }

    /// Find a field by its name; dots lead into nested records, optional ones too.
    ///
    /// # Errors
    /// When there is none.
    pub fn path(&self, name: &str) -> Result<FieldPath, PathError> {
        let missing = || PathError(name.to_owned());
        let mut node = self.root;
        let mut path = Vec::new();
        for segment in name.split('.') {
            let Node::Record(fields) = &self.nodes[self.without_null(node)] else { return Err(missing()) };
            let index = fields.iter().position(|(field, _)| field == segment).ok_or_else(missing)?;
            path.push(index);
            node = fields[index].1;
        }
        Ok(FieldPath(path))
    }

    /// The other branch of an optional type.
    pub(super) fn without_null(&self, id: Id) -> Id {
        match &self.nodes[id] {
            Node::Union(branches) => {
                branches.iter().copied().find(|branch| self.nodes[*branch] != Node::Null).unwrap_or(id)
            }
            _ => id,
        }
    }
}

struct Parser {
    schema: Schema,
    named: HashMap<String, Id>,
}

impl Parser {
    fn node(&mut self, json: &Value, namespace: &str, depth: usize) -> Result<Id, SchemaError> {
        if depth > DEPTH_MAX {
            return Err(SchemaError("it is nested too deeply".into()));
        }
        match json {
            Value::String(name) => self.reference(name, namespace),
            Value::Array(branches) => {
                let id = self.add(Node::Null, "union");
                let branches: Result<Vec<Id>, _> =
                    branches.iter().map(|branch| self.node(branch, namespace, depth + 1)).collect();
                self.schema.nodes[id] = Node::Union(branches?);
                Ok(id)
            }
            Value::Object(_) => self.object(json, namespace, depth),
            other => Err(SchemaError(format!("{other} is no type"))),
        }
    }

    fn object(&mut self, json: &Value, namespace: &str, depth: usize) -> Result<Id, SchemaError> {
        let kind = json.get("type").ok_or_else(|| SchemaError("a type has no 'type'".into()))?;
        let Value::String(kind) = kind else { return self.node(kind, namespace, depth + 1) };
        let name = json.get("name").and_then(Value::as_str).unwrap_or_default();
        let own = json.get("namespace").and_then(Value::as_str);
        let (namespace, simple) = match name.rsplit_once('.') {
            Some((space, simple)) => (space.to_owned(), simple),
            None => (own.unwrap_or(namespace).to_owned(), name),
        };
        let id = match kind.as_str() {
            "record" | "error" => {
                let id = self.declare(&namespace, simple);
                let fields = json.get("fields").and_then(Value::as_array).cloned().unwrap_or_default();
                let mut list = Vec::with_capacity(fields.len());
                for field in &fields {
                    let field_name = field.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
                    let missing = || SchemaError(format!("field '{field_name}' has no type"));
                    let node = self.node(field.get("type").ok_or_else(missing)?, &namespace, depth + 1)?;
                    if let Some(default) = field.get("default") {
                        self.schema.defaults.insert((id, list.len()), default.clone());
                    }
                    list.push((field_name, node));
                }
                self.schema.nodes[id] = Node::Record(list);
                id
            }
            "enum" => {
                let id = self.declare(&namespace, simple);
                let symbols = json.get("symbols").and_then(Value::as_array).cloned().unwrap_or_default();
                let symbols = symbols.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                self.schema.nodes[id] = Node::Enum(symbols);
                id
            }
            "fixed" => {
                let id = self.declare(&namespace, simple);
                let size = json.get("size").and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
                self.schema.nodes[id] = Node::Fixed(size.ok_or_else(|| SchemaError("a fixed has no size".into()))?);
                id
            }
            "array" | "map" => {
                let id = self.add(Node::Null, kind);
                let inner = json.get(if kind == "array" { "items" } else { "values" });
                let inner = inner.ok_or_else(|| SchemaError(format!("the {kind} says not of what")))?;
                let inner = self.node(inner, &namespace, depth + 1)?;
                self.schema.nodes[id] = if kind == "array" { Node::Array(inner) } else { Node::Map(inner) };
                id
            }
            other => self.reference(other, &namespace)?,
        };
        if json.get("logicalType").and_then(Value::as_str) == Some("decimal") {
            let scale = json.get("scale").and_then(Value::as_u64).and_then(|scale| usize::try_from(scale).ok());
            self.schema.scales.insert(id, scale.unwrap_or(0));
        }
        self.mark(id, json, &namespace, simple);
        Ok(id)
    }

    /// Keep what Connect makes of a type's properties: a record is called by its name, other types only by `connect.name`
    /// or what they mean; a decimal's scale and precision are parameters.
    fn mark(&mut self, id: Id, json: &Value, namespace: &str, simple: &str) {
        let text = |name: &str| json.get(name).and_then(Value::as_str).map(str::to_owned);
        let record = matches!(self.schema.nodes[id], Node::Record(_) | Node::Fixed(_));
        let own_name = || record.then(|| format!("{namespace}.{simple}"));
        let name = text("connect.name").or_else(|| text("logicalType")).or_else(own_name);
        let given = json.get("connect.parameters").and_then(Value::as_object).into_iter().flatten();
        let mut parameters: BTreeMap<String, String> = given
            .filter(|(name, _)| !DESCRIBING.iter().any(|describing| name.starts_with(describing)))
            .map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
            .collect();
        for number in ["scale", "precision"] {
            if let Some(value) = json.get(number).filter(|_| self.schema.scales.contains_key(&id)) {
                parameters.insert(number.into(), value.to_string());
            }
        }
        if name.is_some() || !parameters.is_empty() {
            self.schema.marks.insert(id, Marks { name, parameters });
        }
    }

    fn reference(&mut self, name: &str, namespace: &str) -> Result<Id, SchemaError> {
        let node = match name {
            "null" => Node::Null,
            "boolean" => Node::Boolean,
            "int" => Node::Int,
            "long" => Node::Long,
            "float" => Node::Float,
            "double" => Node::Double,
            "bytes" => Node::Bytes,
            "string" => Node::String,
            _ => {
                let full = format!("{namespace}.{name}");
                let known = self.named.get(&full).or_else(|| self.named.get(name));
                return known.copied().ok_or_else(|| SchemaError(format!("type '{name}' is not known")));
            }
        };
        Ok(self.add(node, name))
    }

    fn declare(&mut self, namespace: &str, name: &str) -> Id {
        let id = self.add(Node::Null, name);
        let full = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") };
        self.named.insert(full, id);
        id
    }

    fn add(&mut self, node: Node, name: &str) -> Id {
        self.schema.nodes.push(node);
        self.schema.names.push(name.to_owned());
        self.schema.nodes.len() - 1
    }
}
