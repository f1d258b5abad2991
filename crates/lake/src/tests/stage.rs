//! raw -> stage: exactly once, through conflicts, lost answers, gaps and damage.

use model::{cell::Cell, envelope::Op};
use serde_json::json;

use super::{
    fixture::Lake,
    topic::{ColumnSpec, NUMERIC_10_2, Topic},
};
use crate::{layers, memory_catalog::Fault, offsets::NextOffsets};

const COLUMNS: [ColumnSpec; 4] = [
    ("id", 23, "int4", -1, false),
    ("name", 25, "text", -1, true),
    ("amount", 1700, "numeric", NUMERIC_10_2, false),
    ("created_at", 1114, "timestamp", -1, true),
];

fn row<'a>(id: &'a str, name: &'a str) -> [Cell<'a>; 4] {
    [
        Cell::Text(id.as_bytes()),
        Cell::Text(name.as_bytes()),
        Cell::Text(b"12.34"),
        Cell::Text(b"2024-05-05 01:02:03.000004"),
    ]
}

fn filled(lake: &Lake, objects: usize) -> Topic {
    let mut topic = Topic::new("things", &COLUMNS);
    for object in 0..objects {
        for n in 0..4 {
            let id = (object * 4 + n).to_string();
            topic.event((n % 2) as i32, Op::Create, None, Some(&row(&id, "x")));
        }
        lake.raw.flush(&mut topic, 1);
    }
    topic
}

#[tokio::test]
async fn every_column_of_an_event_arrives_with_its_value() {
    let lake = Lake::new(100);
    let mut topic = Topic::new("things", &COLUMNS);
    topic.event(2, Op::Create, None, Some(&row("1", "a")));
    topic.event(2, Op::Delete, Some(&[Cell::Text(b"1"), Cell::Null, Cell::Text(b"0"), Cell::Null]), None);
    lake.raw.flush(&mut topic, 3);
    assert_eq!(lake.stage_all(&topic.name).await, 2);
    let rows = lake.sql("SELECT id, name, amount, created_at, _op, _ts, _txid, _topic, _partition, _offset FROM stage.things ORDER BY _offset").await;
    assert_eq!(
        rows,
        vec![
            json!([
                1,
                "a",
                "12.34",
                "2024-05-05T01:02:03.000004",
                "c",
                "2024-05-05T00:00:01.000000",
                7,
                topic.name,
                2,
                0
            ]),
            json!([1, null, "0.00", null, "d", "2024-05-05T00:00:02.000000", 7, topic.name, 2, 1]),
        ]
    );
}

#[tokio::test]
async fn rows_and_offsets_are_published_together_once_whatever_becomes_of_the_commits() {
    let lake = Lake::new(100);
    let topic = filled(&lake, 3);
    lake.catalog.fail_next(&[Fault::AnswerLost, Fault::Conflict, Fault::RequestLost]);
    assert_eq!(lake.stage_all(&topic.name).await, 12);
    let topic = continued(&lake, topic).await;
    lake.catalog.fail_next(&[Fault::Conflict, Fault::RequestLost, Fault::AnswerLost]);
    lake.stage_all(&topic.name).await;
    assert_eq!(lake.sql("SELECT COUNT(*), COUNT(DISTINCT id) FROM stage.things").await, vec![json!([14, 14])]);
    let state = lake.stage.tables.load(&layers::stage_table(&topic.name).unwrap()).await.unwrap().unwrap();
    assert_eq!(NextOffsets::of(state.metadata()).unwrap().get(0), Some(10));
}

async fn continued(lake: &Lake, mut topic: Topic) -> Topic {
    topic.event(0, Op::Create, None, Some(&row("100", "x")));
    topic.event(1, Op::Create, None, Some(&row("101", "x")));
    lake.raw.flush(&mut topic, 0);
    topic
}

#[tokio::test]
async fn two_lakes_at_once_do_not_double_a_row() {
    let lake = Lake::new(100);
    let topic = filled(&lake, 1);
    let other = lake.another();
    lake.stage_all(&topic.name).await;
    other.stage_all(&topic.name).await;
    let topic = continued(&lake, topic).await;
    // The other one's state is old now.
    lake.stage_all(&topic.name).await;
    other.stage_all(&topic.name).await;
    assert_eq!(other.sql("SELECT COUNT(*), COUNT(DISTINCT id) FROM stage.things").await, vec![json!([6, 6])]);
}

#[tokio::test]
async fn a_missing_object_stops_its_partition_by_name_and_only_it() {
    let lake = Lake::new(100);
    let topic = filled(&lake, 1);
    lake.stage_all(&topic.name).await;
    let topic = continued(&lake, continued(&lake, topic).await).await;
    let missing = topic.key(0, 3);
    let object = lake.raw.0.lock().unwrap().remove(&missing).unwrap();
    let staged = lake.stage.run_topic(&topic.name, &[0, 1]).await.unwrap();
    assert_eq!((staged.rows, staged.stuck.len()), (2, 1));
    assert!(staged.stuck[&0].contains("gap: the next object must start at offset 3"), "{:?}", staged.stuck);
    // Restored, the partition goes on.
    lake.raw.0.lock().unwrap().insert(missing, object);
    assert_eq!(lake.stage_all(&topic.name).await, 2);
}

#[tokio::test]
async fn a_damaged_object_is_set_aside_and_taken_once_it_is_mended() {
    let lake = Lake::new(100);
    let topic = filled(&lake, 1);
    let key = topic.key(1, 0);
    let whole = lake.raw.0.lock().unwrap().get(&key).cloned().unwrap();
    for damaged in [whole.slice(0..whole.len() - 20), whole.slice(0..40), whole.slice(0..0)] {
        lake.raw.0.lock().unwrap().insert(key.clone(), damaged);
        let staged = lake.stage.run_topic(&topic.name, &[0, 1]).await.unwrap();
        assert!(staged.stuck[&1].contains("damaged object"), "{:?}", staged.stuck);
    }
    lake.raw.0.lock().unwrap().insert(key, whole);
    lake.stage_all(&topic.name).await;
    assert_eq!(lake.sql("SELECT COUNT(DISTINCT id) FROM stage.things").await, vec![json!([4])]);
}

#[tokio::test]
async fn a_new_column_is_added_and_old_rows_have_none() {
    let lake = Lake::new(100);
    let topic = filled(&lake, 1);
    lake.stage_all(&topic.name).await;
    lake.shape_all(&topic.name).await;
    let mut columns = COLUMNS.to_vec();
    columns.push(("tier", 25, "text", -1, true));
    let mut topic = topic.altered(&columns);
    let mut wide = row("1", "new").to_vec();
    wide.push(Cell::Text(b"gold"));
    topic.event(1, Op::Update, None, Some(&wide));
    lake.raw.flush(&mut topic, 0);
    lake.stage_all(&topic.name).await;
    lake.shape_all(&topic.name).await;
    let rows = lake.sql("SELECT id, name, tier FROM shape.things ORDER BY id").await;
    assert_eq!(
        rows,
        vec![json!([0, "x", null]), json!([1, "new", "gold"]), json!([2, "x", null]), json!([3, "x", null])]
    );
    let rows = lake.sql("SELECT tier, COUNT(*) FROM stage.things GROUP BY tier ORDER BY 2").await;
    assert_eq!(rows, vec![json!(["gold", 1]), json!([null, 4])]);
}

#[tokio::test]
async fn manifests_stay_few_over_many_commits() {
    let lake = Lake::new(100);
    let mut topic = Topic::new("things", &COLUMNS);
    for n in 0..70 {
        topic.event(0, Op::Create, None, Some(&row(&n.to_string(), "x")));
        lake.raw.flush(&mut topic, 0);
        lake.stage.run_topic(&topic.name, &[0]).await.unwrap();
    }
    let state = lake.stage.tables.load(&layers::stage_table(&topic.name).unwrap()).await.unwrap().unwrap();
    assert!(state.manifests.len() <= 31, "{}", state.manifests.len());
    assert_eq!(state.rows(), 70);
    let totals = &state.metadata().current_snapshot().unwrap().summary().additional_properties;
    assert_eq!((totals["total-records"].as_str(), totals["total-data-files"].as_str()), ("70", "70"));
}

#[tokio::test]
async fn small_files_are_merged_without_a_change_of_rows_or_progress() {
    let lake = Lake::new(100);
    let mut topic = Topic::new("things", &COLUMNS);
    let ident = layers::stage_table(&topic.name).unwrap();
    for n in 0..40 {
        topic.event(n % 3, Op::Create, None, Some(&row(&n.to_string(), "x")));
        lake.raw.flush(&mut topic, 0);
        lake.stage.run_topic(&topic.name, &[0, 1, 2]).await.unwrap();
        let state = lake.stage.tables.cached(&ident).await.unwrap().unwrap();
        crate::compaction::compact(&lake.stage.tables, &state).await.unwrap();
        if n == 20 {
            lake.shape_all(&topic.name).await;
        }
    }
    lake.shape_all(&topic.name).await;
    let state = lake.stage.tables.load(&ident).await.unwrap().unwrap();
    assert!(state.files.len() < 20, "{}", state.files.len());
    let rows = lake.sql("SELECT COUNT(*), COUNT(DISTINCT id) FROM stage.things UNION ALL SELECT COUNT(*), COUNT(DISTINCT id) FROM shape.things").await;
    assert_eq!(rows, vec![json!([40, 40]), json!([40, 40])]);
    let next = NextOffsets::of(state.metadata()).unwrap();
    assert_eq!(next.0.values().sum::<i64>(), 40);
}
