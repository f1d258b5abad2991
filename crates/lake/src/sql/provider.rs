//! A table of the lake as a DataFusion table, at one snapshot.

use std::{any::Any, fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{Statistics, stats::Precision},
    error::{DataFusionError, Result as DfResult},
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_plan::ExecutionPlan,
};
use iceberg::io::FileIO;
use iceberg_datafusion::physical_plan::convert_filters_to_predicate;
use serde::{Deserialize, Serialize};

use super::scan::{LakeScan, Scanned};
use crate::{
    error::Result,
    tables::{TableState, read::ReadFile, schema},
};

/// What a table is at one snapshot: enough to read it in another process that has access to its files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AtSnapshot {
    table: String,
    snapshot_id: Option<i64>,
    schema: iceberg::spec::SchemaRef,
    files: Vec<ReadFile>,
    rows: u64,
    /// Nothing was deleted of the files, so that the number of rows is known.
    exact: bool,
}

impl AtSnapshot {
    fn of(state: &TableState) -> Self {
        Self {
            table: state.table.identifier().to_string(),
            snapshot_id: state.snapshot_id(),
            schema: state.metadata().current_schema().clone(),
            files: state.files.iter().map(|file| ReadFile::of(state, file)).collect(),
            rows: state.rows(),
            exact: state.deletes.is_empty(),
        }
    }
}

/// A table at one snapshot.
pub struct LakeTable {
    at: AtSnapshot,
    io: FileIO,
    schema: SchemaRef,
}

impl LakeTable {
    /// The table as `state` has it.
    ///
    /// # Errors
    /// When a column's type has no Arrow counterpart.
    pub fn new(state: Arc<TableState>) -> Result<Self> {
        Self::reached_by(AtSnapshot::of(&state), state.table.file_io().clone())
    }

    /// A table whose files are reached by `io`.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn reached_by(at: AtSnapshot, io: FileIO) -> Result<Self> {
        let schema = schema::plain(schema::arrow_schema(&at.schema)?.as_ref());
        Ok(Self { at, io, schema })
    }

    /// What it is, without access to files.
    #[cfg(feature = "cluster")]
    pub fn at(&self) -> &AtSnapshot {
        &self.at
    }
}

impl fmt::Debug for LakeTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LakeTable({} at {:?})", self.at.table, self.at.snapshot_id)
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        let rows = self.at.rows as usize;
        statistics.num_rows = if self.at.exact { Precision::Exact(rows) } else { Precision::Inexact(rows) };
        Some(statistics)
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        // Applied while reading where it can be translated, and again above the scan.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let all: Vec<i32> = self.at.schema.as_struct().fields().iter().map(|field| field.id).collect();
        let scanned = Scanned {
            table: self.at.table.clone(),
            schema: self.at.schema.clone(),
            groups: balanced(&self.at.files, session.config().target_partitions()),
            field_ids: projection.map_or(all.clone(), |columns| columns.iter().map(|&column| all[column]).collect()),
            predicate: convert_filters_to_predicate(filters),
        };
        let scan = LakeScan::new(scanned, self.io.clone());
        Ok(Arc::new(scan.map_err(|error| DataFusionError::External(Box::new(error)))?))
    }
}

/// Files shared out over at most `parts` readers, the largest first, each to the least loaded.
fn balanced(files: &[ReadFile], parts: usize) -> Vec<Vec<ReadFile>> {
    let mut sorted: Vec<&ReadFile> = files.iter().collect();
    sorted.sort_by_key(|file| std::cmp::Reverse(file.bytes));
    let mut groups: Vec<(u64, Vec<ReadFile>)> = vec![(0, Vec::new()); parts.min(files.len()).max(1)];
    for file in sorted {
        if let Some((bytes, group)) = groups.iter_mut().min_by_key(|(bytes, _)| *bytes) {
            *bytes += file.bytes;
            group.push(file.clone());
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}
