//! Models without a lake: over rows that are given, for unit tests, and over no rows at all, for types and lineage.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::{
    compute::concat_batches,
    datatypes::{Schema, SchemaRef},
    record_batch::RecordBatch,
};
use datafusion::{catalog::TableProvider, datasource::MemTable};
use futures::TryStreamExt;

use super::session::{Providers, Sessions};
use crate::{
    error::{LakeError, Result},
    models::{
        Model, Models,
        lineage::{self, Origins},
        page::{Described, DescribedColumn},
        unit::{self, Row, UnitTest},
    },
    sql::format,
};

/// Rows by SQL name of the table.
pub type Tables = BTreeMap<String, RecordBatch>;

/// Models over tables in memory.
pub struct Offline<'a> {
    models: &'a Models,
    sessions: Sessions,
    /// Schemas of all sources and models.
    schemas: BTreeMap<String, SchemaRef>,
    /// What each column of each model is made of.
    pub lineage: BTreeMap<String, BTreeMap<String, Origins>>,
}

/// What became of a unit test.
#[derive(Debug)]
pub struct UnitResult {
    pub name: String,
    pub model: String,
    /// Empty when it passed.
    pub differences: Vec<String>,
}

impl<'a> Offline<'a> {
    /// Plans every model over the declared sources.
    ///
    /// # Errors
    /// When a source is not declared, or a model is no query over what there is.
    pub async fn new(models: &'a Models, sessions: Sessions) -> Result<Self> {
        let mut schemas = BTreeMap::new();
        for name in models.sources() {
            let undeclared =
                || LakeError::definite(format!("models read {name}, which models/sources.yaml does not declare"));
            let source = models.declared.get(name).ok_or_else(undeclared)?;
            schemas.insert(name.to_owned(), source.schema().map_err(LakeError::Definite)?);
        }
        let mut offline = Self { models, sessions, schemas, lineage: BTreeMap::new() };
        for name in models.graph.order() {
            let Some(model) = models.get(name) else { continue };
            let session = offline.sessions.over(&offline.providers(model, &Tables::new())?)?;
            let plan = session.meaning(&model.sql).await.map_err(|error| of_model(model, &error))?;
            // As the columns of a table are: all may be null.
            let fields = plan.schema().fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
            let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
            let traced = lineage::of(&plan)?;
            offline.lineage.insert(name.clone(), traced);
            offline.schemas.insert(name.clone(), schema);
        }
        Ok(offline)
    }

    /// Columns and their types of every table, and what columns of models are made of.
    #[must_use]
    pub fn described(&self) -> Described {
        let mut described = Described::new();
        for (name, schema) in &self.schemas {
            let traced = self.lineage.get(name);
            let column = |field: &Arc<arrow::datatypes::Field>| DescribedColumn {
                name: field.name().clone(),
                kind: format::type_name(field.data_type()),
                from: traced.and_then(|traced| traced.get(field.name())).cloned().unwrap_or_default(),
            };
            described.insert(name.clone(), schema.fields().iter().map(column).collect());
        }
        described
    }

    /// The inputs of a model, with the rows that are given of them.
    fn providers(&self, model: &Model, given: &Tables) -> Result<Providers> {
        let mut providers = Providers::new();
        for input in &model.inputs {
            let Some(schema) = self.schemas.get(input) else { continue };
            let rows = given.get(input).cloned().unwrap_or_else(|| RecordBatch::new_empty(schema.clone()));
            let table: Arc<dyn TableProvider> = Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?);
            providers.insert(input.clone(), table);
        }
        Ok(providers)
    }

    /// The rows of one model.
    ///
    /// # Errors
    /// When it cannot run.
    pub async fn rows(&self, model: &Model, given: &Tables) -> Result<RecordBatch> {
        let stream = self.sessions.over(&self.providers(model, given)?)?.query(&model.sql).await?;
        let schema = stream.schema();
        let batches: Vec<RecordBatch> = stream.try_collect().await?;
        Ok(concat_batches(&schema, &batches)?)
    }

    /// Rows of a table, by its declared types.
    ///
    /// # Errors
    /// When a value does not fit.
    pub fn given(&self, table: &str, rows: &[Row]) -> Result<RecordBatch> {
        let unknown = || LakeError::definite(format!("there is no table {table}"));
        let schema = self.schemas.get(table).ok_or_else(unknown)?;
        unit::batch(rows, schema).map_err(|reason| LakeError::definite(format!("{table}: {reason}")))
    }

    /// Runs the unit tests of the chosen models.
    ///
    /// # Errors
    /// When one names what is not there.
    pub async fn unit_tests(&self, tests: &[UnitTest], chosen: &BTreeSet<String>) -> Result<Vec<UnitResult>> {
        let mut results = Vec::new();
        for test in tests.iter().filter(|test| chosen.contains(&test.model) || self.models.get(&test.model).is_none()) {
            let wrong = |reason: String| LakeError::definite(format!("unit test \"{}\": {reason}", test.name));
            let model = self.models.get(&test.model).ok_or_else(|| wrong(format!("no model {}", test.model)))?;
            let mut given = Tables::new();
            for (table, rows) in &test.given {
                if !model.inputs.contains(table) {
                    return Err(wrong(format!("{} does not read {table}", test.model)));
                }
                given.insert(table.clone(), self.given(table, rows).map_err(|error| wrong(error.to_string()))?);
            }
            let came = self.rows(model, &given).await.map_err(|error| wrong(error.to_string()))?;
            let schema = came.schema();
            if let Some(other) =
                test.expect.iter().flat_map(|row| row.keys()).find(|name| schema.index_of(name).is_err())
            {
                return Err(wrong(format!("{} has no column {other}", test.model)));
            }
            let differences = unit::differences(&test.expect, &as_rows(&came)?);
            results.push(UnitResult { name: test.name.clone(), model: test.model.clone(), differences });
        }
        Ok(results)
    }
}

fn of_model(model: &Model, error: &LakeError) -> LakeError {
    LakeError::definite(format!("{}: {error}", model.file))
}

/// A batch as rows by column.
///
/// # Errors
/// When a type cannot be shown.
pub fn as_rows(batch: &RecordBatch) -> Result<Vec<Row>> {
    let schema = batch.schema();
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let rows = format::rows(batch)?;
    Ok(rows
        .into_iter()
        .map(|row| names.iter().cloned().zip(row.as_array().cloned().unwrap_or_default()).collect())
        .collect())
}
