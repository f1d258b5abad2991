//! The lake's models: tables of `shape` and `serve` that are declared as SQL files, with a head that says how they are kept.
//!
//! Pure but for reading the folder: parsing, the graph that follows from what the SQL itself reads, and selections of it.
//! Building, auditing and publishing is `runner`'s.

pub mod checks;
pub mod graph;
pub mod header;
pub mod lineage;
pub mod members;
pub mod page;
pub mod select;
pub mod sources;
pub mod unit;

use std::{collections::BTreeMap, path::Path};

use datafusion::sql::sqlparser::{
    dialect::GenericDialect,
    tokenizer::{Token, Tokenizer},
};

use self::{
    checks::{Check, Rule},
    graph::Graph,
    header::Header,
    sources::Sources,
    unit::UnitTest,
};
use crate::{error::LakeError, layers, sql::references};

/// Layers that hold models.
const LAYERS: [&str; 2] = [layers::SHAPE, layers::SERVE];

/// Why models cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ModelError {
    #[error("read models from {folder}: {reason}")]
    Unreadable { folder: String, reason: String },
    #[error("{file}: head of the model: {reason}")]
    Header { file: String, reason: String },
    #[error("{file}: {reason}")]
    Sql { file: String, reason: String },
    #[error("models read each other in a circle: {}", .0.join(" -> "))]
    Circle(Vec<String>),
    #[error("no model or table is called {0}; models: {1}")]
    Unknown(String, String),
}

impl From<ModelError> for LakeError {
    fn from(error: ModelError) -> Self {
        Self::Definite(error.to_string())
    }
}

/// A declared table.
#[derive(Debug, Clone)]
pub struct Model {
    /// SQL name, such as `serve.daily_revenue`.
    pub name: String,
    pub layer: String,
    pub table: String,
    /// File it comes from.
    pub file: String,
    pub header: Header,
    /// The query, without the head.
    pub sql: String,
    /// SQL names of the tables it reads, sorted.
    pub inputs: Vec<String>,
    /// Hash of what decides its rows: the query without comments and layout, and how the table is kept.
    pub code: String,
    /// Everything the head says must be true.
    pub checks: Vec<Check>,
}

/// All models and what reads what.
#[derive(Debug, Clone)]
pub struct Models {
    by_name: BTreeMap<String, Model>,
    pub graph: Graph,
    /// What is said of tables that are no models.
    pub declared: Sources,
    pub unit_tests: Vec<UnitTest>,
}

impl Models {
    /// Reads `<folder>/shape/*.sql` and `<folder>/serve/*.sql`, and, where they are, `sources.yaml` and `tests/*.yaml`.
    ///
    /// # Errors
    /// When the folder cannot be read or a file is no model.
    pub fn load(folder: &Path) -> Result<Self, ModelError> {
        let unreadable = |reason: std::io::Error| ModelError::Unreadable {
            folder: folder.display().to_string(),
            reason: reason.to_string(),
        };
        let mut files = Vec::new();
        for layer in LAYERS {
            // Models of `shape` are a convenience; without `serve` it is another folder.
            if layer == layers::SHAPE && !folder.join(layer).exists() {
                continue;
            }
            for (table, text) in texts(&folder.join(layer), "sql").map_err(unreadable)? {
                files.push((layer, table, text));
            }
        }
        let mut models = Self::parse(files)?;
        if let Ok(text) = std::fs::read_to_string(folder.join("sources.yaml")) {
            models.declared = sources::parse("sources.yaml", &text)?;
        }
        if folder.join("tests").exists() {
            for (name, text) in texts(&folder.join("tests"), "yaml").map_err(unreadable)? {
                models.unit_tests.extend(unit::parse(&format!("tests/{name}.yaml"), &text)?);
            }
        }
        Ok(models)
    }

    /// Models of files, given as layer, name and text.
    ///
    /// # Errors
    /// When a file is no model, or models read each other in a circle.
    pub fn parse<'a>(files: impl IntoIterator<Item = (&'a str, String, String)>) -> Result<Self, ModelError> {
        let mut by_name = BTreeMap::new();
        for (layer, table, text) in files {
            let model = Model::parse(layer, &table, &text)?;
            by_name.insert(model.name.clone(), model);
        }
        let graph = Graph::new(by_name.values().map(|model| (model.name.as_str(), model.inputs.as_slice())))?;
        Ok(Self { by_name, graph, declared: Sources::new(), unit_tests: Vec::new() })
    }

    /// By name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Model> {
        self.by_name.get(name)
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Model> {
        self.by_name.values()
    }

    /// Tables that models read and that are no models.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.graph.nodes().filter(|name| !self.by_name.contains_key(*name))
    }
}

impl Model {
    fn parse(layer: &str, table: &str, text: &str) -> Result<Self, ModelError> {
        let file = format!("{layer}/{table}.sql");
        let wrong = |reason: String| ModelError::Sql { file: file.clone(), reason };
        let (header, sql) = header::split(&file, text)?;
        let mut inputs = references(&sql).map_err(|error| wrong(error.to_string()))?;
        inputs.sort();
        inputs.dedup();
        if let Some(slice) = header.materialized.slice()
            && let Some(other) = slice.from.keys().find(|name| !inputs.contains(name))
        {
            let reason = format!("materialized: `from` names {other}, which the query does not read");
            return Err(ModelError::Header { file, reason });
        }
        let code = code(&sql, &header).map_err(wrong)?;
        let checks = checks::declared(&header);
        let name = format!("{layer}.{table}");
        Ok(Self { name, layer: layer.to_owned(), table: table.to_owned(), file, header, sql, inputs, code, checks })
    }

    /// Tables that must be there before it is built: what it reads, and what its tests point to.
    pub fn needs(&self) -> impl Iterator<Item = &str> {
        let pointed_to = self.checks.iter().filter_map(|check| match &check.rule {
            Rule::Relationships(_, to) => Some(to.to.as_str()),
            _ => None,
        });
        self.inputs.iter().map(String::as_str).chain(pointed_to)
    }

    /// Its table in the catalog.
    #[must_use]
    pub fn ident(&self) -> iceberg::TableIdent {
        layers::model_table(&self.layer, &self.table)
    }
}

/// The files of a folder with an ending, by name, with their text.
fn texts(folder: &Path, ending: &str) -> std::io::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        if path.extension().is_some_and(|extension| extension == ending) {
            found.push((name.to_owned(), std::fs::read_to_string(&path)?));
        }
    }
    found.sort();
    Ok(found)
}

/// Hash of the query's tokens and of how the table is kept.
fn code(sql: &str, header: &Header) -> Result<String, String> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize().map_err(|error| error.to_string())?;
    let mut text = String::new();
    for token in tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_) | Token::SemiColon | Token::EOF)) {
        text.push_str(&token.to_string());
        text.push('\u{1f}');
    }
    text.push_str(&format!("{:?}", header.materialized));
    Ok(format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn one(text: &str) -> Model {
        Model::parse("serve", "m", text).unwrap()
    }

    #[test]
    fn the_code_is_what_decides_the_rows() {
        let plain = one("SELECT a FROM shape.t");
        assert_eq!(plain.inputs, vec!["shape.t"]);
        assert_eq!(plain.code, one("-- why\nSELECT a -- what\n  FROM shape.t").code);
        assert_eq!(plain.code, one("/* ---\nowner: me\nkeys: [a]\n--- */\nSELECT a FROM shape.t").code);
        assert_ne!(plain.code, one("SELECT b FROM shape.t").code);
        let kept = "/* ---\nmaterialized: {incremental: {by: a, from: {shape.t: a}}}\n--- */\nSELECT a FROM shape.t";
        assert_ne!(plain.code, one(kept).code);
    }

    #[test]
    fn a_slice_names_tables_that_the_query_reads() {
        let text = "/* ---\nmaterialized: {incremental: {by: a, from: {shape.u: a}}}\n--- */\nSELECT a FROM shape.t";
        let error = Model::parse("serve", "m", text).unwrap_err().to_string();
        assert!(error.contains("serve/m.sql") && error.contains("shape.u"), "{error}");
    }

    #[test]
    fn what_is_no_query_is_named_by_its_file() {
        let error = Model::parse("serve", "m", "SELECT 1; SELECT 2").unwrap_err().to_string();
        assert!(error.contains("serve/m.sql"), "{error}");
    }

    #[test]
    fn the_models_of_the_repository_are_well_formed() {
        let models = Models::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models")).unwrap();
        assert_eq!(models.iter().filter(|model| model.layer == "serve").count(), 8);
        let sources: Vec<&str> = models.sources().collect();
        assert_eq!(
            sources,
            vec!["shape.customers", "shape.order_items", "shape.orders", "shape.payments", "shape.products"]
        );
        for model in models.iter() {
            assert!(!model.header.description.is_empty() && model.header.owner.is_some(), "{}", model.name);
            assert!(!model.header.keys.is_empty(), "{}", model.name);
        }
    }
}
