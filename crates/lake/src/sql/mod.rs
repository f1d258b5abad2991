//! SQL over the lake: DataFusion with the layers as schemas (`stage.orders`, `shape.orders`, `serve.daily_revenue`).
//!
//! Read-only, bounded in memory and time. A query sees the tables' current snapshots as of its start; a mart is computed
//! on pinned ones, so that all marts of a run read one consistent set. A table can be read as it was (`FOR VERSION AS OF`,
//! [`travel`]), and asked what it knows of itself (`"orders$snapshots"`, [`facts`]).

pub mod facts;
pub mod format;
mod owning;
pub mod provider;
pub mod scan;
pub mod travel;
mod yielding;

use std::{any::Any, collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use datafusion::{
    catalog::{CatalogProvider, MemoryCatalogProvider, SchemaProvider, TableProvider},
    config::Dialect as DialectName,
    error::{DataFusionError, Result as DfResult},
    execution::{
        SendableRecordBatchStream, SessionStateBuilder,
        memory_pool::FairSpillPool,
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    logical_expr::{LogicalPlan, ScalarUDF},
    prelude::{SQLOptions, SessionConfig, SessionContext},
    sql::{
        parser::{DFParserBuilder, Statement},
        resolve::resolve_table_references,
        sqlparser::dialect::{Dialect, GenericDialect},
    },
};
use iceberg::TableIdent;

use self::{provider::LakeTable, travel::Name};
use crate::{
    error::{LakeError, Result},
    layers,
    tables::{TableState, Tables, travel::AsOf},
};

/// Name of the one catalog, and of the database that clients connect to.
pub const CATALOG: &str = "lake";
/// The schemas.
pub const LAYERS: [&str; 3] = [layers::STAGE, layers::SHAPE, layers::SERVE];

/// Runs queries.
#[derive(Clone)]
pub struct Engine {
    tables: Tables,
    runtime: Arc<RuntimeEnv>,
    time_max: Duration,
}

/// Table states by SQL name (`shape.orders`).
pub type Pinned = HashMap<String, Arc<TableState>>;

/// How a statement is read: its dialect, and a schema beside the layers.
pub struct Reading {
    pub name: DialectName,
    pub dialect: &'static (dyn Dialect + Sync),
    pub beside: Option<(&'static str, Arc<dyn SchemaProvider>)>,
    /// Functions beside DataFusion's.
    pub functions: Vec<Arc<ScalarUDF>>,
}

impl Default for Reading {
    fn default() -> Self {
        Self { name: DialectName::Generic, dialect: &GenericDialect {}, beside: None, functions: Vec::new() }
    }
}

/// A planned query on pinned snapshots.
pub struct Planned {
    pub context: SessionContext,
    pub plan: LogicalPlan,
}

impl Planned {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot run.
    pub async fn run(self) -> Result<SendableRecordBatchStream> {
        let frame = self.context.execute_logical_plan(self.plan).await?;
        Ok(frame.execute_stream().await?)
    }
}

impl Engine {
    /// An engine with the default limits.
    ///
    /// # Errors
    /// When DataFusion cannot be set up.
    #[cfg(test)]
    pub fn new(tables: Tables) -> Result<Self> {
        Self::bounded(tables, 256 << 20, Duration::from_secs(120))
    }

    /// An engine whose queries share `bytes_max` of memory and run for `time_max` each.
    ///
    /// # Errors
    /// When DataFusion cannot be set up.
    pub fn bounded(tables: Tables, bytes_max: usize, time_max: Duration) -> Result<Self> {
        let pool = Arc::new(FairSpillPool::new(bytes_max));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc()?;
        Ok(Self { tables, runtime, time_max })
    }

    /// How long a query may run.
    #[must_use]
    pub fn time_max(&self) -> Duration {
        self.time_max
    }

    /// The lake's tables.
    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
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
        let reading = Reading::default();
        let statement = one(statements(&travel::rewrite(sql, reading.dialect)?, reading.dialect)?)?;
        self.plan(statement, &reading).await?.run().await
    }

    /// Plans a read-only query on the tables' current snapshots.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn plan(&self, statement: Statement, reading: &Reading) -> Result<Planned> {
        let idents = self.list(&statement).await?;
        let live = |layer| -> Box<dyn Resolve> {
            Box::new(Live { layer, tables: self.tables.clone(), names: names_of(&idents, layer) })
        };
        self.planned(statement, reading, live).await
    }

    /// Starts a query on given snapshots.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn query_pinned(&self, sql: &str, pinned: &Pinned) -> Result<SendableRecordBatchStream> {
        let (pinned, reading) = (Arc::new(pinned.clone()), Reading::default());
        let statement = one(statements(sql, reading.dialect)?)?;
        let fixed = |layer| -> Box<dyn Resolve> { Box::new(Fixed { layer, pinned: pinned.clone() }) };
        self.planned(statement, &reading, fixed).await?.run().await
    }

    /// Tables of the layers the query names; of all layers when it asks what there is.
    async fn list(&self, statement: &Statement) -> Result<Vec<TableIdent>> {
        let named = named(statement).unwrap_or_default();
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

    async fn planned(
        &self,
        statement: Statement,
        reading: &Reading,
        resolver: impl Fn(&'static str) -> Box<dyn Resolve>,
    ) -> Result<Planned> {
        let mut config = SessionConfig::new()
            .with_default_catalog_and_schema(CATALOG, layers::SHAPE)
            .with_information_schema(true)
            .with_create_default_catalog_and_schema(false);
        config.options_mut().sql_parser.dialect = reading.name;
        let state = session_state(config, self.runtime.clone());
        let context = SessionContext::new_with_state(state.build());
        let catalog = MemoryCatalogProvider::new();
        for layer in LAYERS {
            catalog.register_schema(layer, Arc::new(Layer { resolver: resolver(layer) }))?;
        }
        if let Some((name, schema)) = &reading.beside {
            catalog.register_schema(name, schema.clone())?;
        }
        context.register_catalog(CATALOG, Arc::new(catalog));
        for function in &reading.functions {
            context.register_udf(function.as_ref().clone());
        }
        let plan = context.state().statement_to_plan(statement).await?;
        read_only().verify_plan(&plan)?;
        Ok(Planned { context, plan })
    }
}

/// What every session over the lake begins with: the memory that all queries share, and joins that can be ended.
pub(crate) fn session_state(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> SessionStateBuilder {
    SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_physical_optimizer_rule(Arc::new(owning::Owning))
        .with_physical_optimizer_rule(Arc::new(yielding::Yielding))
}

/// A query only reads.
pub(crate) fn read_only() -> SQLOptions {
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false)
}

/// The statements of a text.
///
/// # Errors
/// When it cannot be parsed.
pub fn statements(sql: &str, dialect: &dyn Dialect) -> Result<Vec<Statement>> {
    Ok(DFParserBuilder::new(sql).with_dialect(dialect).build()?.parse_statements()?.into())
}

fn one(mut statements: Vec<Statement>) -> Result<Statement> {
    match (statements.pop(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        _ => Err(LakeError::Query("one SQL statement is expected".into())),
    }
}

/// The tables a query reads, by SQL name, without its own common table expressions.
///
/// # Errors
/// When the text is not one SQL statement.
pub fn references(sql: &str) -> Result<Vec<String>> {
    named(&one(statements(sql, &GenericDialect {})?)?)
}

fn named(statement: &Statement) -> Result<Vec<String>> {
    let (tables, _ctes) = resolve_table_references(statement, true)?;
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
    fn layer(&self) -> &'static str;
    fn names(&self) -> Vec<String>;
    async fn state(&self, name: &str) -> Result<Option<Arc<TableState>>>;
    async fn as_of(&self, state: &TableState, at: &AsOf) -> Result<Arc<TableState>>;
}

struct Live {
    layer: &'static str,
    tables: Tables,
    names: HashMap<String, TableIdent>,
}

#[async_trait]
impl Resolve for Live {
    fn layer(&self) -> &'static str {
        self.layer
    }

    fn names(&self) -> Vec<String> {
        self.names.keys().filter(|name| !name.contains('.')).cloned().collect()
    }

    async fn state(&self, name: &str) -> Result<Option<Arc<TableState>>> {
        match self.names.get(name) {
            Some(ident) => self.tables.load(ident).await,
            None => Ok(None),
        }
    }

    async fn as_of(&self, state: &TableState, at: &AsOf) -> Result<Arc<TableState>> {
        self.tables.as_of(state, at).await
    }
}

struct Fixed {
    layer: &'static str,
    pinned: Arc<Pinned>,
}

#[async_trait]
impl Resolve for Fixed {
    fn layer(&self) -> &'static str {
        self.layer
    }

    fn names(&self) -> Vec<String> {
        let prefix = format!("{}.", self.layer);
        self.pinned.keys().filter_map(|name| name.strip_prefix(&prefix)).map(str::to_owned).collect()
    }

    async fn state(&self, name: &str) -> Result<Option<Arc<TableState>>> {
        Ok(self.pinned.get(&format!("{}.{name}", self.layer)).cloned())
    }

    async fn as_of(&self, _: &TableState, _: &AsOf) -> Result<Arc<TableState>> {
        Err(LakeError::Query("a model reads its inputs as they are at its run".into()))
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
        self.find(name).await.map_err(|error| DataFusionError::External(Box::new(error)))
    }

    fn table_exist(&self, name: &str) -> bool {
        let table = Name::parse(name).table;
        self.resolver.names().iter().any(|known| *known == name || *known == table)
    }
}

impl Layer {
    async fn find(&self, text: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(state) = self.resolver.state(text).await? {
            return Ok(Some(Arc::new(LakeTable::new(state)?)));
        }
        let Name { table, facts, at } = Name::parse(text);
        if table == text {
            return Ok(None);
        }
        let Some(mut state) = self.resolver.state(&table).await? else {
            return Err(LakeError::Query(format!("table '{CATALOG}.{}.{table}' not found", self.resolver.layer())));
        };
        if let Some(at) = &at {
            state = self.resolver.as_of(&state, at).await?;
        }
        match facts {
            Some(kind) => facts::table(&state, &kind).map(Some),
            None => Ok(Some(Arc::new(LakeTable::new(state)?))),
        }
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
