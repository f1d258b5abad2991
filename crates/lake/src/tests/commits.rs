//! The commits: what is put on top of others, what is refused, deletes by position, partitions replaced, specs changed.

use std::collections::BTreeMap;

use arrow::array::{AsArray, BooleanArray};
use arrow::datatypes::Int32Type;
use arrow::record_batch::RecordBatch;
use iceberg::spec::{Operation, Transform, UnboundPartitionSpec};
use model::{cell::Cell, envelope::Op};
use serde_json::json;

use super::{
    fixture::Lake,
    topic::{ColumnSpec, Topic},
};
use crate::{
    compaction,
    error::{LakeError, Result},
    layers,
    maintenance::rewrite::{self, Effort},
    tables::{
        TableState,
        commit::{Basis, Change, repartition},
        deletes::delete_rows,
        validate::replace_partitions,
    },
};

const COLUMNS: [ColumnSpec; 2] = [("id", 23, "int4", -1, false), ("name", 25, "text", -1, true)];
const EFFORT: Effort = Effort { files_min: 2, without_key: true, file_rows: 100 };

/// A pass of two events each.
async fn passes(lake: &Lake, topic: &mut Topic, ids: std::ops::Range<i32>) {
    for id in ids {
        for partition in 0..2 {
            let id = (id * 2 + partition).to_string();
            topic.event(partition, Op::Create, None, Some(&[Cell::Text(id.as_bytes()), Cell::Text(b"x")]));
        }
        lake.raw.flush(topic, 0);
        lake.stage_all(&topic.name).await;
    }
}

async fn stage(lake: &Lake, topic: &Topic) -> std::sync::Arc<TableState> {
    lake.stage.tables.load(&layers::stage_table(&topic.name).unwrap()).await.unwrap().unwrap()
}

fn ids_below(limit: i32) -> impl Fn(&RecordBatch) -> Result<BooleanArray> {
    move |rows| {
        let ids = rows.column_by_name("id").unwrap().as_primitive::<Int32Type>();
        Ok((0..ids.len()).map(|row| Some(ids.value(row) < limit)).collect())
    }
}

const COUNT: &str = "SELECT COUNT(*), COUNT(DISTINCT id), MIN(id), MAX(id) FROM stage.things";

#[tokio::test]
async fn a_rewrite_goes_on_top_of_appends_and_keeps_their_progress() {
    let lake = Lake::new(100);
    let mut topic = Topic::new("things", &COLUMNS);
    passes(&lake, &mut topic, 0..5).await;
    let old = stage(&lake, &topic).await;
    let change = rewrite::next(&lake.stage.tables, &old, EFFORT).await.unwrap().unwrap();
    passes(&lake, &mut topic, 5..7).await;
    let state = lake.another().stage.tables.commit(&old, change).await.unwrap();
    assert_eq!(state.files.len(), 3);
    assert_eq!(lake.sql(COUNT).await, vec![json!([14, 14, 0, 13])]);
    passes(&lake, &mut topic, 7..8).await;
    assert_eq!(lake.sql(COUNT).await, vec![json!([16, 16, 0, 15])]);
}

#[tokio::test]
async fn a_rewrite_of_files_whose_rows_were_deleted_meanwhile_is_refused() {
    let lake = Lake::new(100);
    let mut topic = Topic::new("things", &COLUMNS);
    passes(&lake, &mut topic, 0..5).await;
    let tables = &lake.stage.tables;
    let old = stage(&lake, &topic).await;
    let rewritten = rewrite::next(tables, &old, EFFORT).await.unwrap().unwrap();
    let deleted = delete_rows(&old, tables.file_io(), ids_below(3)).await.unwrap().unwrap();
    // Deletes go on top of appends, too.
    passes(&lake, &mut topic, 5..6).await;
    let state = tables.commit(&old, deleted).await.unwrap();
    assert_eq!(state.metadata().current_snapshot().unwrap().summary().operation, Operation::Delete);
    assert_eq!((state.rows(), state.deletes.len()), (9, 2));
    assert_eq!(lake.sql(COUNT).await, vec![json!([9, 9, 3, 11])]);
    assert!(matches!(tables.commit(&old, rewritten).await, Err(LakeError::Conflict { .. })));
    // Planned again it brings no row back, and the delete files go with the rows.
    let again = rewrite::all(tables, stage(&lake, &topic).await, EFFORT).await.unwrap();
    assert!(again.0 >= 4, "{again:?}");
    let state = stage(&lake, &topic).await;
    assert_eq!((state.rows(), state.deletes.len(), state.files.len()), (9, 0, 1));
    assert_eq!(lake.sql(COUNT).await, vec![json!([9, 9, 3, 11])]);
    let totals = &state.metadata().current_snapshot().unwrap().summary().additional_properties;
    let total = |name: &str| totals[name].parse::<i64>().unwrap();
    assert_eq!(
        (
            total("total-records"),
            total("total-data-files"),
            total("total-delete-files"),
            total("total-position-deletes")
        ),
        (9, 1, 0, 0)
    );
}

#[tokio::test]
async fn deletes_of_a_file_that_was_rewritten_are_refused() {
    let lake = Lake::new(100);
    let mut topic = Topic::new("things", &COLUMNS);
    passes(&lake, &mut topic, 0..16).await;
    let tables = &lake.stage.tables;
    let old = stage(&lake, &topic).await;
    let deleted = delete_rows(&old, tables.file_io(), ids_below(3)).await.unwrap().unwrap();
    assert!(compaction::compact(tables, &old).await.unwrap());
    assert!(matches!(tables.commit(&old, deleted).await, Err(LakeError::Conflict { .. })));
    assert_eq!(lake.sql(COUNT).await, vec![json!([32, 32, 0, 31])]);
    assert!(delete_rows(&old, tables.file_io(), ids_below(0)).await.unwrap().is_none());
}

#[tokio::test]
async fn shape_goes_on_over_rows_that_another_engine_deleted() {
    let lake = Lake::new(100);
    let mut topic = Topic::new("things", &COLUMNS);
    passes(&lake, &mut topic, 0..5).await;
    lake.shape_all(&topic.name).await;
    let ident = layers::shape_table(&topic.name).unwrap();
    let tables = &lake.shape.tables;
    let state = tables.load(&ident).await.unwrap().unwrap();
    let deleted = delete_rows(&state, tables.file_io(), ids_below(3)).await.unwrap().unwrap();
    tables.commit(&state, deleted).await.unwrap();
    assert_eq!(lake.sql("SELECT COUNT(*), MIN(id) FROM shape.things").await, vec![json!([7, 3])]);
    passes(&lake, &mut topic, 5..6).await;
    lake.shape_all(&topic.name).await;
    assert_eq!(lake.sql("SELECT COUNT(*), MIN(id), MAX(id) FROM shape.things").await, vec![json!([9, 3, 11])]);
    assert_eq!(lake.sql("SELECT COUNT(*) FROM shape.things").await, vec![json!([9])]);
}

fn by_partition(state: &TableState) -> UnboundPartitionSpec {
    let id = state.metadata().current_schema().field_id_by_name("_partition").unwrap();
    UnboundPartitionSpec::builder().add_partition_field(id, "p", Transform::Identity).unwrap().build()
}

#[tokio::test]
async fn a_changed_partition_spec_holds_for_new_files_and_for_old_ones_once_they_are_rewritten() {
    let lake = Lake::new(100);
    let mut topic = Topic::new("things", &COLUMNS);
    passes(&lake, &mut topic, 0..3).await;
    let tables = &lake.stage.tables;
    let old = stage(&lake, &topic).await;
    let evolved = Some(repartition(&old, by_partition(&old)).unwrap());
    tables.commit(&old, Change { evolved, ..Change::default() }).await.unwrap();
    passes(&lake, &mut topic, 3..5).await;
    lake.shape_all(&topic.name).await;
    let state = stage(&lake, &topic).await;
    let mut specs: BTreeMap<i32, usize> = BTreeMap::new();
    state.live().for_each(|live| *specs.entry(live.spec_id).or_default() += 1);
    assert_eq!(specs, BTreeMap::from([(0, 3), (1, 4)]));
    assert_eq!(lake.sql(COUNT).await, vec![json!([10, 10, 0, 9])]);
    assert!(replace_partitions(&state, Vec::new()).is_none(), "old files may hold rows of any partition");
    rewrite::all(tables, state, EFFORT).await.unwrap();
    let state = stage(&lake, &topic).await;
    assert!(state.live().all(|live| live.spec_id == 1));
    assert_eq!(state.files.len(), 2);
    assert_eq!(lake.sql(COUNT).await, vec![json!([10, 10, 0, 9])]);
    assert_eq!(lake.sql("SELECT COUNT(*) FROM stage.things WHERE _partition = 1").await, vec![json!([5])]);
    assert_eq!(lake.sql("SELECT COUNT(*) FROM shape.things").await, vec![json!([10])]);
}

#[tokio::test]
async fn partitions_are_replaced_unless_something_came_into_them() {
    let lake = Lake::new(100);
    let mut topic = Topic::new("things", &COLUMNS);
    passes(&lake, &mut topic, 0..1).await;
    let tables = &lake.stage.tables;
    let first = stage(&lake, &topic).await;
    let evolved = Some(repartition(&first, by_partition(&first)).unwrap());
    let first = tables.commit(&first, Change { evolved, ..Change::default() }).await.unwrap();
    rewrite::all(tables, first, EFFORT).await.unwrap();
    passes(&lake, &mut topic, 1..4).await;
    let state = stage(&lake, &topic).await;
    // The last file of partition 1 takes the place of all of that partition.
    let of_one = state.files.iter().filter(|file| format!("{:?}", file.data_file().partition()).contains("Int(1)"));
    let only = of_one.max_by_key(|file| file.sequence_number()).unwrap().data_file().clone();
    let change = replace_partitions(&state, vec![only.clone()]).unwrap();
    assert_eq!((change.remove.len(), change.basis != Basis::Table), (4, true));
    let change = Change {
        remove: change.remove.iter().filter(|path| *path != only.file_path()).cloned().collect(),
        add: Vec::new(),
        ..change
    };
    passes(&lake, &mut topic, 4..5).await;
    assert!(matches!(tables.commit(&state, change).await, Err(LakeError::Conflict { .. })), "a file came in between");
    let state = stage(&lake, &topic).await;
    let mut change = replace_partitions(&state, vec![only.clone()]).unwrap();
    change.remove.remove(only.file_path());
    change.add.clear();
    tables.commit(&state, change).await.unwrap();
    assert_eq!(
        lake.sql("SELECT _partition, COUNT(*) FROM stage.things GROUP BY 1 ORDER BY 1").await,
        vec![json!([0, 5]), json!([1, 1])]
    );
}
