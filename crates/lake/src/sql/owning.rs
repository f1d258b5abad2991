//! Has the rows of an aggregation own their memory, so that it is counted once.
//!
//! An aggregation yields its groups as slices of one large batch. Who keeps such slices, as a join its smaller side or a sort its
//! rows, reserves the whole batch for each of them: a join with two million groups was refused at a limit of 4 GB while the process
//! held 0.2 (apache/datafusion#22526; joins are mended in versions after 53). A copy of each slice costs next to nothing.

use std::{any::Any, fmt, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, MutableArrayData, RecordBatch, RecordBatchOptions, make_array},
    error::ArrowError,
};
use datafusion::{
    common::tree_node::{Transformed, TransformedResult, TreeNode},
    config::ConfigOptions,
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, Statistics,
        aggregates::{AggregateExec, AggregateMode},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::StreamExt;

/// Puts an [`OwnedRows`] above each aggregation that yields results.
#[derive(Debug)]
pub struct Owning;

impl PhysicalOptimizerRule for Owning {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let yields = node.as_any().downcast_ref::<AggregateExec>().is_some_and(|aggregate| {
                *aggregate.mode() != AggregateMode::Partial && !aggregate.group_expr().is_empty()
            });
            Ok(match yields {
                true => Transformed::yes(Arc::new(OwnedRows { input: node }) as Arc<dyn ExecutionPlan>),
                false => Transformed::no(node),
            })
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "owning"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Copies each batch that is a slice of a larger one.
#[derive(Debug)]
struct OwnedRows {
    input: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for OwnedRows {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnedRows")
    }
}

impl ExecutionPlan for OwnedRows {
    fn name(&self) -> &'static str {
        "OwnedRows"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self { input })),
            Err(_) => Err(DataFusionError::Internal("OwnedRows has one input".into())),
        }
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Statistics> {
        self.input.partition_statistics(partition)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, context)?.map(|batch| Ok(owned(&batch?)?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

fn owned(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(own).collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(batch.schema(), columns, &options)
}

fn own(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let data = column.to_data();
    if data.get_buffer_memory_size() <= 2 * data.get_slice_memory_size()? {
        return Ok(column.clone());
    }
    if let Some(views) = column.as_any().downcast_ref::<arrow::array::StringViewArray>() {
        return Ok(Arc::new(views.gc()));
    }
    let mut copy = MutableArrayData::new(vec![&data], false, column.len());
    copy.extend(0, 0, column.len());
    Ok(make_array(copy.freeze()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{AsArray, Int64Array, StringArray, StringViewArray};

    use super::*;

    #[test]
    fn a_slice_owns_its_rows_and_says_the_same() {
        let words = || (0..10_000).map(|word| (word % 3 > 0).then(|| format!("a word that is not inlined {word}")));
        let columns: [ArrayRef; 3] = [
            Arc::new(Int64Array::from_iter((0..10_000).map(|value| (value % 5 > 0).then_some(value)))),
            Arc::new(words().collect::<StringArray>()),
            Arc::new(words().collect::<StringViewArray>()),
        ];
        for column in columns {
            let slice = column.slice(5_001, 100);
            let copy = own(&slice).unwrap();
            assert_eq!(copy.as_ref(), slice.as_ref());
            assert!(copy.get_buffer_memory_size() * 10 < slice.get_buffer_memory_size(), "{}", column.data_type());
            let whole = own(&copy).unwrap();
            assert_eq!(whole.to_data().buffers().first(), copy.to_data().buffers().first(), "not copied again");
        }
        let empty: ArrayRef = Arc::new(StringArray::from(Vec::<&str>::new()));
        assert!(own(&empty).unwrap().as_string::<i32>().is_empty());
    }
}
