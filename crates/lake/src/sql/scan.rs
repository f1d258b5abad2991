//! Reading a snapshot's files within a query, by iceberg's reader.
//!
//! A scan is what is to be read, [`Scanned`], and access to files. The first can be sent to another process, which has access
//! of its own.

use std::{any::Any, fmt, sync::Arc};

use arrow::{
    datatypes::{Schema, SchemaRef},
    record_batch::{RecordBatch, RecordBatchOptions},
};
use datafusion::{
    common::{Statistics, stats::Precision},
    error::{DataFusionError, Result as DfResult},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::EquivalenceProperties,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
        execution_plan::{Boundedness, EmissionType},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt, TryStreamExt, stream};
use iceberg::{expr::Predicate, io::FileIO};
use serde::{Deserialize, Serialize};

use crate::{
    error::{LakeError, Result},
    tables::{
        read::{ReadFile, read_sent},
        schema,
    },
};

/// What a scan reads: a partition of the plan for each group of files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scanned {
    pub table: String,
    /// Names and types that the table's columns have now, whatever its files say.
    pub schema: iceberg::spec::SchemaRef,
    pub groups: Vec<Vec<ReadFile>>,
    pub field_ids: Vec<i32>,
    pub predicate: Option<Predicate>,
}

/// Reads the files of one table.
pub struct LakeScan {
    scanned: Scanned,
    io: FileIO,
    properties: Arc<PlanProperties>,
}

impl LakeScan {
    /// A scan whose files are reached by `io`.
    ///
    /// # Errors
    /// When a column is not in the schema, or its type has no Arrow counterpart.
    pub fn new(scanned: Scanned, io: FileIO) -> Result<Self> {
        let known = scanned.schema.as_struct().fields();
        let place = |id: &i32| {
            let place = known.iter().position(|field| field.id == *id);
            place.ok_or_else(|| LakeError::definite(format!("table {} has no column {id}", scanned.table)))
        };
        let projection: Vec<usize> = scanned.field_ids.iter().map(place).collect::<Result<_>>()?;
        let columns = schema::plain(schema::arrow_schema(&scanned.schema)?.as_ref()).project(&projection)?;
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::new(columns)),
            Partitioning::UnknownPartitioning(scanned.groups.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Ok(Self { scanned, io, properties })
    }

    /// What it reads.
    #[cfg(feature = "cluster")]
    pub fn scanned(&self) -> &Scanned {
        &self.scanned
    }

    fn read(
        &self,
        files: &[ReadFile],
        ids: &[i32],
    ) -> DfResult<impl futures::Stream<Item = DfResult<RecordBatch>> + use<>> {
        let Scanned { schema, predicate, .. } = &self.scanned;
        Ok(read_sent(&self.io, schema, files, ids, predicate.clone()).map_err(external)?.map_err(external))
    }

    /// Rows without columns, where the number of rows is known only by applying deletes.
    fn count(&self, files: &[ReadFile]) -> DfResult<SendableRecordBatchStream> {
        let narrowest = self.scanned.schema.as_struct().fields().iter().find(|field| field.field_type.is_primitive());
        let Some(column) = narrowest else {
            return Err(DataFusionError::Plan("a table without a plain column".into()));
        };
        let counted = self.read(files, &[column.id])?.map(move |batch| {
            let options = RecordBatchOptions::new().with_row_count(Some(batch?.num_rows()));
            Ok(RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), counted)))
    }
}

impl fmt::Debug for LakeScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LakeScan({})", self.scanned.table)
    }
}

impl DisplayAs for LakeScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: usize = self.scanned.groups.iter().map(Vec::len).sum();
        let columns = self.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>().join(",");
        write!(f, "LakeScan: {}, files={files}, columns=[{columns}]", self.scanned.table)?;
        match &self.scanned.predicate {
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
        let groups = match partition {
            Some(partition) => &self.scanned.groups[partition..=partition],
            None => &self.scanned.groups,
        };
        let rows = groups.iter().flatten().map(|file| file.rows).sum::<u64>() as usize;
        let whole = self.scanned.predicate.is_none() && groups.iter().flatten().all(|file| file.deletes.is_empty());
        statistics.num_rows = if whole { Precision::Exact(rows) } else { Precision::Inexact(rows) };
        Ok(statistics)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let files = &self.scanned.groups[partition];
        let schema: SchemaRef = self.schema();
        let ids = &self.scanned.field_ids;
        if ids.is_empty() && files.iter().any(|file| !file.deletes.is_empty()) {
            return self.count(files);
        }
        if ids.is_empty() {
            let rows: u64 = files.iter().map(|file| file.rows).sum();
            let options = RecordBatchOptions::new().with_row_count(Some(rows as usize));
            let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)?;
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter([Ok(batch)]))));
        }
        if files.is_empty() {
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream::empty())));
        }
        let named = schema.clone();
        let rows = self.read(files, ids)?;
        let rows = rows.map(move |batch| Ok(RecordBatch::try_new(named.clone(), batch?.columns().to_vec())?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

fn external(error: LakeError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
