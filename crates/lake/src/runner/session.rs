//! DataFusion over exactly the tables that a model reads: whole snapshots, or the part of them that a run recomputes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::{
    catalog::{
        CatalogProvider, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider, SchemaProvider,
        TableProvider,
    },
    common::{DFSchema, tree_node::TreeNodeRecursion},
    execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder},
    logical_expr::LogicalPlan,
    physical_expr::PhysicalExpr,
    prelude::{SessionConfig, SessionContext},
};

use crate::{
    error::{LakeError, Result},
    layers,
    sql::{CATALOG, Engine, Pinned, provider::LakeTable, read_only, session_state},
};

/// Tables by SQL name.
pub type Providers = BTreeMap<String, Arc<dyn TableProvider>>;

/// Makes sessions that share memory and functions.
#[derive(Clone)]
pub struct Sessions {
    base: Arc<SessionState>,
}

impl Sessions {
    /// Sessions within the engine's limits.
    #[must_use]
    pub fn new(engine: &Engine) -> Self {
        let config = SessionConfig::new()
            .with_default_catalog_and_schema(CATALOG, layers::SHAPE)
            .with_create_default_catalog_and_schema(false);
        let state = session_state(config, engine.runtime());
        Self { base: Arc::new(state.build()) }
    }

    /// As these, for queries that run beside others of their kind: each on one core, so that none of its rows are shared out.
    #[must_use]
    pub fn on_one_core(&self) -> Self {
        let config = self.base.config().clone().with_target_partitions(1);
        let state = SessionStateBuilder::new_from_existing(self.base.as_ref().clone()).with_config(config);
        Self { base: Arc::new(state.build()) }
    }

    /// A session that knows these tables and no others.
    ///
    /// # Errors
    /// When DataFusion refuses one.
    pub fn over(&self, tables: &Providers) -> Result<Session> {
        let catalog = MemoryCatalogProvider::new();
        for (name, table) in tables {
            let (layer, table_name) = name.split_once('.').unwrap_or((layers::SHAPE, name));
            let schema = match catalog.schema(layer) {
                Some(schema) => schema,
                None => {
                    let schema: Arc<dyn SchemaProvider> = Arc::new(MemorySchemaProvider::new());
                    catalog.register_schema(layer, schema.clone())?;
                    schema
                }
            };
            schema.register_table(table_name.to_owned(), table.clone())?;
        }
        let state = SessionStateBuilder::new_from_existing(self.base.as_ref().clone())
            .with_catalog_list(Arc::new(MemoryCatalogProviderList::new()));
        let context = SessionContext::new_with_state(state.build());
        context.register_catalog(CATALOG, Arc::new(catalog));
        Ok(Session { context })
    }
}

/// One session.
pub struct Session {
    context: SessionContext,
}

impl Session {
    /// Starts a query.
    ///
    /// # Errors
    /// When it cannot run.
    pub async fn query(&self, sql: &str) -> Result<SendableRecordBatchStream> {
        Ok(self.context.sql_with_options(sql, read_only()).await?.execute_stream().await?)
    }

    /// What a query's rows are.
    ///
    /// # Errors
    /// When it cannot be planned.
    pub async fn schema(&self, sql: &str) -> Result<SchemaRef> {
        Ok(self.context.sql_with_options(sql, read_only()).await?.create_physical_plan().await?.schema())
    }

    /// A query's plan for another process: optimised, so that what was a subquery has become a join, which can be sent.
    ///
    /// # Errors
    /// When it cannot be planned.
    pub async fn to_send(&self, sql: &str) -> Result<LogicalPlan> {
        let state = self.context.state();
        // Ballista's shuffles do not carry views of text well.
        let config = state.config().clone().set_bool("datafusion.sql_parser.map_string_types_to_utf8view", false);
        let state = SessionStateBuilder::new_from_existing(state).with_config(config).build();
        let frame = SessionContext::new_with_state(state).sql_with_options(sql, read_only()).await?;
        Ok(frame.into_optimized_plan()?)
    }

    /// What a query means, with types, before anything is made faster.
    ///
    /// # Errors
    /// When it is none.
    pub async fn meaning(&self, sql: &str) -> Result<LogicalPlan> {
        Ok(self.context.sql(sql).await?.into_unoptimized_plan())
    }

    /// The columns a query reads of each table, by SQL name.
    ///
    /// # Errors
    /// When it cannot be planned.
    pub async fn reads(&self, sql: &str) -> Result<BTreeMap<String, BTreeSet<String>>> {
        let plan = self.context.sql(sql).await?.into_optimized_plan()?;
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                let layer = scan.table_name.schema().unwrap_or(layers::SHAPE);
                let read = found.entry(format!("{layer}.{}", scan.table_name.table())).or_default();
                read.extend(scan.projected_schema.fields().iter().map(|field| field.name().clone()));
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(found)
    }

    /// A condition over rows of a schema, ready to be evaluated.
    ///
    /// # Errors
    /// When it is none, or names other columns.
    pub fn condition(&self, sql: &str, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
        let schema = DFSchema::try_from(schema.clone())?;
        let parsed = self.context.parse_sql_expr(sql, &schema)?;
        Ok(self.context.create_physical_expr(parsed, &schema)?)
    }
}

/// Whole snapshots as providers.
///
/// # Errors
/// When a column's type has no Arrow counterpart.
pub fn whole(pinned: &Pinned) -> Result<Providers> {
    let provider = |(name, state): (&String, &Arc<crate::tables::TableState>)| {
        let table: Arc<dyn TableProvider> = Arc::new(LakeTable::new(state.clone())?);
        Ok::<_, LakeError>((name.clone(), table))
    };
    pinned.iter().map(provider).collect()
}
