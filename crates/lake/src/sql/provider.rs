//! A table of the lake as a DataFusion table, at one snapshot: files from the known state, read by iceberg's reader.

use std::{any::Any, fmt, sync::Arc};

use arrow::{
    datatypes::{Schema, SchemaRef},
    record_batch::{RecordBatch, RecordBatchOptions},
};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{Statistics, stats::Precision},
    error::{DataFusionError, Result as DfResult},
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_expr::EquivalenceProperties,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
        execution_plan::{Boundedness, EmissionType},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt, TryStreamExt, stream};
use iceberg::{expr::Predicate, spec::ManifestEntryRef};
use iceberg_datafusion::physical_plan::convert_filters_to_predicate;

use crate::{
    error::Result,
    tables::{TableState, read::read_files, schema},
};

/// A table at one snapshot.
pub struct LakeTable {
    state: Arc<TableState>,
    schema: SchemaRef,
    field_ids: Vec<i32>,
}

impl LakeTable {
    /// The table as `state` has it.
    ///
    /// # Errors
    /// When a column's type has no Arrow counterpart.
    pub fn new(state: Arc<TableState>) -> Result<Self> {
        let current = state.metadata().current_schema().clone();
        let schema = schema::plain(schema::arrow_schema(&current)?.as_ref());
        let field_ids = current.as_struct().fields().iter().map(|field| field.id).collect();
        Ok(Self { state, schema, field_ids })
    }
}

impl fmt::Debug for LakeTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LakeTable({} at {:?})", self.state.table.identifier(), self.state.snapshot_id())
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
        let rows = self.state.rows() as usize;
        statistics.num_rows =
            if self.state.deletes.is_empty() { Precision::Exact(rows) } else { Precision::Inexact(rows) };
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
        let all: Vec<usize> = (0..self.field_ids.len()).collect();
        let projection = projection.unwrap_or(&all);
        let groups = balanced(&self.state.files, session.config().target_partitions());
        Ok(Arc::new(LakeScan::new(
            self.state.clone(),
            groups,
            projection.iter().map(|&column| self.field_ids[column]).collect(),
            Arc::new(self.schema.project(projection)?),
            convert_filters_to_predicate(filters),
        )))
    }
}

/// Files shared out over at most `parts` readers, the largest first, each to the least loaded.
fn balanced(files: &[ManifestEntryRef], parts: usize) -> Vec<Vec<ManifestEntryRef>> {
    let mut sorted = files.to_vec();
    sorted.sort_by_key(|file| std::cmp::Reverse(file.file_size_in_bytes()));
    let mut groups: Vec<(u64, Vec<ManifestEntryRef>)> = vec![(0, Vec::new()); parts.min(files.len()).max(1)];
    for file in sorted {
        if let Some((bytes, group)) = groups.iter_mut().min_by_key(|(bytes, _)| *bytes) {
            *bytes += file.file_size_in_bytes();
            group.push(file);
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// Reads the files of one table, a partition of the plan for each group of files.
struct LakeScan {
    state: Arc<TableState>,
    groups: Vec<Vec<ManifestEntryRef>>,
    field_ids: Vec<i32>,
    predicate: Option<Predicate>,
    properties: Arc<PlanProperties>,
}

impl LakeScan {
    fn new(
        state: Arc<TableState>,
        groups: Vec<Vec<ManifestEntryRef>>,
        field_ids: Vec<i32>,
        schema: SchemaRef,
        predicate: Option<Predicate>,
    ) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(groups.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self { state, groups, field_ids, predicate, properties }
    }
}

impl LakeScan {
    /// Rows without columns, where the number of rows is known only by applying deletes.
    fn count(&self, files: &[ManifestEntryRef]) -> DfResult<SendableRecordBatchStream> {
        let narrowest = self
            .state
            .metadata()
            .current_schema()
            .as_struct()
            .fields()
            .iter()
            .find(|field| field.field_type.is_primitive());
        let Some(column) = narrowest else {
            return Err(DataFusionError::Plan("a table without a plain column".into()));
        };
        let rows = read_files(&self.state, files, vec![column.id], self.predicate.clone()).map_err(external)?;
        let schema = self.schema();
        let counted = rows.map(move |batch| {
            let options = RecordBatchOptions::new().with_row_count(Some(batch.map_err(external)?.num_rows()));
            Ok(RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, counted)))
    }
}

impl fmt::Debug for LakeScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LakeScan({})", self.state.table.identifier())
    }
}

impl DisplayAs for LakeScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: usize = self.groups.iter().map(Vec::len).sum();
        let columns = self.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>().join(",");
        write!(f, "LakeScan: {}, files={files}, columns=[{columns}]", self.state.table.identifier())?;
        match &self.predicate {
            Some(predicate) => write!(f, ", predicate=[{predicate}]"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for LakeScan {
    fn name(&self) -> &'static str {
        "LakeScan"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn partition_statistics(&self, partition: Option<usize>) -> DfResult<Statistics> {
        let mut statistics = Statistics::new_unknown(&self.schema());
        let rows: u64 = match partition {
            Some(partition) => self.groups[partition].iter().map(|file| file.record_count()).sum(),
            None => self.groups.iter().flatten().map(|file| file.record_count()).sum(),
        };
        statistics.num_rows = match self.predicate {
            None if self.state.deletes.is_empty() => Precision::Exact(rows as usize),
            _ => Precision::Inexact(rows as usize),
        };
        Ok(statistics)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let files = &self.groups[partition];
        let schema = self.schema();
        if self.field_ids.is_empty() && !self.state.deletes.is_empty() {
            return self.count(files);
        }
        if self.field_ids.is_empty() {
            let rows: u64 = files.iter().map(|file| file.record_count()).sum();
            let options = RecordBatchOptions::new().with_row_count(Some(rows as usize));
            let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)?;
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter([Ok(batch)]))));
        }
        if files.is_empty() {
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream::empty())));
        }
        let rows = read_files(&self.state, files, self.field_ids.clone(), self.predicate.clone()).map_err(external)?;
        let named = schema.clone();
        let rows = rows
            .map_err(external)
            .map(move |batch| Ok(RecordBatch::try_new(named.clone(), batch?.columns().to_vec())?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

fn external(error: crate::error::LakeError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
