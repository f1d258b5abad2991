//! Names of the lake's tables: which topic becomes which table in which layer.

use iceberg::{NamespaceIdent, TableIdent};
use model::names;

/// Topmost namespaces, and schemas in SQL.
pub const STAGE: &str = "stage";
pub const SHAPE: &str = "shape";
pub const SERVE: &str = "serve";

/// Ending of the tables that keep every version of a row.
pub const HISTORY_SUFFIX: &str = "_history";

/// Table of a topic: `<table>` for the schema `public`, `<schema>_<table>` otherwise. `None` when the topic is not a table's.
#[must_use]
pub fn table_name(topic: &str) -> Option<(String, String)> {
    let (prefix, schema, table) = names::topic_parts(topic)?;
    let name = if schema == "public" { table.to_owned() } else { format!("{schema}_{table}") };
    Some((prefix.to_owned(), name))
}

/// `stage.<prefix>.<table>`.
#[must_use]
pub fn stage_table(topic: &str) -> Option<TableIdent> {
    let (prefix, name) = table_name(topic)?;
    let namespace = NamespaceIdent::from_vec(vec![STAGE.to_owned(), prefix]).ok()?;
    Some(TableIdent::new(namespace, name))
}

/// The table that lists objects which are set aside; the underscore keeps it apart from tables of a source.
#[must_use]
pub fn quarantine_table() -> TableIdent {
    TableIdent::new(NamespaceIdent::new(STAGE.to_owned()), "_quarantine".to_owned())
}

/// `shape.<table>`.
#[must_use]
pub fn shape_table(topic: &str) -> Option<TableIdent> {
    Some(TableIdent::new(NamespaceIdent::new(SHAPE.to_owned()), table_name(topic)?.1))
}

/// `shape.<table>_history`.
#[must_use]
pub fn history_table(topic: &str) -> Option<TableIdent> {
    let name = format!("{}{HISTORY_SUFFIX}", table_name(topic)?.1);
    Some(TableIdent::new(NamespaceIdent::new(SHAPE.to_owned()), name))
}

/// `<layer>.<model>`.
#[must_use]
pub fn model_table(layer: &str, model: &str) -> TableIdent {
    TableIdent::new(NamespaceIdent::new(layer.to_owned()), model.to_owned())
}

/// `serve.<table>`.
#[must_use]
pub fn serve_table(name: &str) -> TableIdent {
    model_table(SERVE, name)
}

/// The table that lists what runs of models did; the underscore keeps it apart from models.
pub const RUNS: &str = "_runs";
/// The table that keeps rows which failed a model's tests.
pub const REJECTED: &str = "_rejected";

/// Properties every table of the lake is created with.
#[must_use]
pub fn table_properties() -> std::collections::HashMap<String, String> {
    // A commit every second or two: old metadata files must go by themselves.
    [
        ("write.metadata.delete-after-commit.enabled", "true"),
        ("write.metadata.previous-versions-max", "20"),
        ("write.parquet.compression-codec", "zstd"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}
