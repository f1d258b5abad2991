//! SQL over the lake: DataFusion with the layers as schemas (`stage.orders`, `shape.orders`, `serve.daily_revenue`).
//!
//! Read-only, bounded in memory and time. A query sees the tables' current snapshots as of its start; a mart is computed
//! on pinned ones, so that all marts of a run read one consistent set.

pub mod format;
pub mod provider;

use std::{any::Any, collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use datafusion::{
    catalog::{CatalogProvider, MemoryCatalogProvider, SchemaProvider, TableProvider},
    error::{DataFusionError, Result as DfResult},
    execution::{
        SendableRecordBatchStream, SessionStateBuilder,
        memory_pool::FairSpillPool,
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    prelude::{SQLOptions, SessionConfig, SessionContext},
    sql::{parser::DFParserBuilder, resolve::resolve_table_references},
};
use iceberg::TableIdent;

use self::provider::LakeTable;
use crate::{
    error::{LakeError, Result},
    layers,
    tables::{TableState, Tables},
};

/// Memory all running queries share.
const QUERY_BYTES_MAX: usize = 256 << 20;
/// A query that runs longer is ended.
pub const QUERY_TIME_MAX: Duration = Duration::from_secs(120);
const CATALOG: &str = "lake";
const LAYERS: [&str; 3] = [layers::STAGE, layers::SHAPE, layers::SERVE];

/// Runs queries.
#[derive(Clone)]
pub struct Engine {
    tables: Tables,
    runtime: Arc<RuntimeEnv>,
}

/// Table states by SQL name (`shape.orders`).
pub type Pinned = HashMap<String, Arc<TableState>>;

impl Engine {
    /// An engine over the lake's tables.
    ///
    /// # Errors
    /// When DataFusion cannot be set up.
    pub fn new(tables: Tables) -> Result<Self> {
        let pool = Arc::new(FairSpillPool::new(QUERY_BYTES_MAX));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc()?;
        Ok(Self { tables, runtime })
    }

    /// What all queries share: memory and files to spill to.
    pub(crate) fn runtime(&self) -> Arc<RuntimeEnv> {
        self.runtime.clone()
    }

    /// Starts a read-only query on the tables' current snapshots.
    ///
    /// # Errors
    /// When the text is no query, names what is not there, or a server fails.
    pub async fn query(&self, sql: &str) -> Result<SendableRecordBatchStream> {
        let idents = self.list(sql).await?;
        self.run(sql, |layer| Box::new(Live { tables: self.tables.clone(), names: names_of(&idents, layer) })).await
    }

    /// Starts a query on given snapshots.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn query_pinned(&self, sql: &str, pinned: &Pinned) -> Result<SendableRecordBatchStream> {
        let pinned = Arc::new(pinned.clone());
        self.run(sql, |layer| Box::new(Fixed { layer, pinned: pinned.clone() })).await
    }

    /// Tables of the layers the query names; of all layers when it asks what there is.
    async fn list(&self, sql: &str) -> Result<Vec<TableIdent>> {
        let named: Vec<String> = references(sql).unwrap_or_default();
        let names =
            |layer: &str| named.iter().any(|name| name.split_once('.').is_some_and(|(first, _)| first == layer));
        let only_layers = !named.is_empty()
            && named.iter().all(|name| LAYERS.iter().any(|layer| name.starts_with(&format!("{layer}."))));
        let mut idents = Vec::new();
        for layer in LAYERS.into_iter().filter(|layer| !only_layers || names(layer)) {
            idents.extend(self.tables.list(layer).await?);
        }
        Ok(idents)
    }

    async fn run(
        &self,
        sql: &str,
        resolver: impl Fn(&'static str) -> Box<dyn Resolve>,
    ) -> Result<SendableRecordBatchStream> {
        let config = SessionConfig::new()
            .with_default_catalog_and_schema(CATALOG, layers::SHAPE)
            .with_information_schema(true)
            .with_create_default_catalog_and_schema(false);
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(self.runtime.clone())
            .with_default_features();
        let context = SessionContext::new_with_state(state.build());
        let catalog = MemoryCatalogProvider::new();
        for layer in LAYERS {
            catalog.register_schema(layer, Arc::new(Layer { resolver: resolver(layer) }))?;
        }
        context.register_catalog(CATALOG, Arc::new(catalog));
        let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        let frame = context.sql_with_options(sql, read_only).await?;
        Ok(frame.execute_stream().await?)
    }
}

/// The tables a query reads, by SQL name, without its own common table expressions.
///
/// # Errors
/// When the text is not one SQL statement.
pub fn references(sql: &str) -> Result<Vec<String>> {
    let mut statements = DFParserBuilder::new(sql).build()?.parse_statements()?;
    let (Some(statement), true) = (statements.pop_front(), statements.is_empty()) else {
        return Err(LakeError::Query("one SQL statement is expected".into()));
    };
    let (tables, _ctes) = resolve_table_references(&statement, true)?;
    Ok(tables.iter().map(|table| format!("{}.{}", table.schema().unwrap_or(layers::SHAPE), table.table())).collect())
}

fn names_of(idents: &[TableIdent], layer: &str) -> HashMap<String, TableIdent> {
    let of_layer = idents.iter().filter(|ident| ident.namespace().as_ref().first().is_some_and(|first| first == layer));
    // Two source databases may have tables of one name: the first keeps the short name.
    let mut names = HashMap::new();
    for ident in of_layer {
        let rest = &ident.namespace().as_ref()[1..];
        names.entry(ident.name().to_owned()).or_insert_with(|| ident.clone());
        if !rest.is_empty() {
            names.insert(format!("{}.{}", rest.join("."), ident.name()), ident.clone());
        }
    }
    names
}

/// How a layer finds its tables.
#[async_trait]
trait Resolve: Send + Sync {
    fn names(&self) -> Vec<String>;
    async fn state(&self, name: &str) -> Result<Option<Arc<TableState>>>;
}

struct Live {
    tables: Tables,
    names: HashMap<String, TableIdent>,
}

#[async_trait]
impl Resolve for Live {
    fn names(&self) -> Vec<String> {
        self.names.keys().filter(|name| !name.contains('.')).cloned().collect()
    }

    async fn state(&self, name: &str) -> Result<Option<Arc<TableState>>> {
        match self.names.get(name) {
            Some(ident) => self.tables.load(ident).await,
            None => Ok(None),
        }
    }
}

struct Fixed {
    layer: &'static str,
    pinned: Arc<Pinned>,
}

#[async_trait]
impl Resolve for Fixed {
    fn names(&self) -> Vec<String> {
        let prefix = format!("{}.", self.layer);
        self.pinned.keys().filter_map(|name| name.strip_prefix(&prefix)).map(str::to_owned).collect()
    }

    async fn state(&self, name: &str) -> Result<Option<Arc<TableState>>> {
        Ok(self.pinned.get(&format!("{}.{name}", self.layer)).cloned())
    }
}

struct Layer {
    resolver: Box<dyn Resolve>,
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Layer")
    }
}

#[async_trait]
impl SchemaProvider for Layer {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn table_names(&self) -> Vec<String> {
        let mut names = self.resolver.names();
        names.sort();
        names
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        let external = |error: LakeError| DataFusionError::External(Box::new(error));
        let Some(state) = self.resolver.state(name).await.map_err(external)? else { return Ok(None) };
        Ok(Some(Arc::new(LakeTable::new(state).map_err(external)?)))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.resolver.names().iter().any(|known| known == name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_models_inputs_are_what_it_reads_from() {
        let sql = "WITH x AS (SELECT * FROM shape.orders) SELECT * FROM x JOIN shape.order_items i ON true";
        let mut found = references(sql).unwrap();
        found.sort();
        assert_eq!(found, vec!["shape.order_items", "shape.orders"]);
        assert!(references("SELECT 1; SELECT 2").is_err());
    }
}
