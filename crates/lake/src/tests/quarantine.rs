//! Objects that cannot be read: set aside by name, the others taken, a mended one taken in later in its place.

use model::{cell::Cell, envelope::Op};
use serde_json::json;

use super::{
    fixture::Lake,
    topic::{ColumnSpec, Topic},
};
use crate::{layers, memory_catalog::Fault, tables::TableState};

const COLUMNS: [ColumnSpec; 2] = [("id", 23, "int4", -1, false), ("name", 25, "text", -1, true)];
const SET_ASIDE: &str =
    "SELECT topic, partition, start_offset, next_offset, object, reason LIKE 'damaged object%' FROM stage._quarantine";

/// An object of one event for each name, all of key 1 in partition 0; another key in partition 1.
fn objects(lake: &Lake, topic: &mut Topic, names: &[&str]) {
    for name in names {
        topic.event(0, Op::Update, None, Some(&[Cell::Text(b"1"), Cell::Text(name.as_bytes())]));
        topic.event(1, Op::Update, None, Some(&[Cell::Text(b"2"), Cell::Text(name.as_bytes())]));
        lake.raw.flush(topic, 0);
    }
}

async fn all(lake: &Lake, topic: &Topic) {
    lake.stage_all(&topic.name).await;
    lake.shape_all(&topic.name).await;
}

async fn quarantine(lake: &Lake) -> std::sync::Arc<TableState> {
    lake.stage.tables.load(&layers::quarantine_table()).await.unwrap().unwrap()
}

#[tokio::test]
async fn the_others_go_on_and_a_mended_object_is_taken_in_in_its_place() {
    let lake = Lake::new(100);
    let mut topic = Topic::new("things", &COLUMNS);
    objects(&lake, &mut topic, &["a", "b", "c", "d"]);
    let key = topic.key(0, 1);
    let whole = lake.raw.0.lock().unwrap().get(&key).cloned().unwrap();
    lake.raw.0.lock().unwrap().insert(key.clone(), whole.slice(0..whole.len() - 20));
    lake.catalog.fail_next(&[Fault::Conflict, Fault::AnswerLost, Fault::Conflict, Fault::RequestLost]);
    all(&lake, &topic).await;
    assert_eq!(
        lake.sql("SELECT _partition, COUNT(*) FROM stage.things GROUP BY 1 ORDER BY 1").await,
        vec![json!([0, 3]), json!([1, 4])]
    );
    // Nothing is shaped that the missing event could be older than.
    assert_eq!(lake.sql("SELECT id, name FROM shape.things ORDER BY id").await, vec![json!([1, "a"]), json!([2, "d"])]);
    assert_eq!(lake.sql(SET_ASIDE).await, vec![json!([topic.name, 0, 1, 2, key, true])]);
    // A new process finds the hole, and says why.
    let other = lake.another();
    let partitions = [0, 1];
    let staged = other.stage.run_topic(&topic.name, &partitions).await.unwrap();
    assert_eq!((staged.objects, staged.problems().len()), (0, 1), "{staged:?}");
    assert!(staged.problems()[0].contains(&key) && staged.problems()[0].contains("damaged"), "{staged:?}");
    objects(&lake, &mut topic, &["e"]);
    all(&other, &topic).await;
    assert_eq!(lake.sql("SELECT id, name FROM shape.things ORDER BY id").await, vec![json!([1, "a"]), json!([2, "e"])]);
    lake.raw.0.lock().unwrap().insert(key, whole);
    lake.stage.tables.refresh().await;
    lake.stage.quarantine.try_all();
    all(&lake, &topic).await;
    assert_eq!(lake.sql("SELECT id, name FROM shape.things ORDER BY id").await, vec![json!([1, "e"]), json!([2, "e"])]);
    let versions = lake.sql("SELECT name, is_current FROM shape.things_history WHERE id = 1 ORDER BY valid_from").await;
    assert_eq!(versions, ["a", "b", "c", "d", "e"].map(|name| json!([name, name == "e"])).to_vec());
    assert_eq!(
        lake.sql("SELECT COUNT(*), COUNT(DISTINCT _offset) FROM stage.things WHERE _partition = 0").await,
        vec![json!([5, 5])]
    );
    assert_eq!(lake.sql(SET_ASIDE).await, Vec::<serde_json::Value>::new());
    let state = quarantine(&lake).await;
    assert_eq!((state.rows(), state.files.len(), state.deletes.len()), (0, 1, 1), "by a position delete");
}

#[tokio::test]
async fn the_last_object_of_a_partition_waits_for_its_successor() {
    let lake = Lake::new(100);
    let mut topic = Topic::new("things", &COLUMNS);
    objects(&lake, &mut topic, &["a", "b"]);
    let key = topic.key(0, 1);
    lake.raw.0.lock().unwrap().insert(key.clone(), bytes::Bytes::from_static(b"no container"));
    all(&lake, &topic).await;
    let staged = lake.stage.run_topic(&topic.name, &[0, 1]).await.unwrap();
    assert!(staged.stuck[&0].contains("damaged object"), "{staged:?}");
    assert_eq!(lake.sql(SET_ASIDE).await, vec![json!([topic.name, 0, 1, null, key, true])]);
    objects(&lake, &mut topic, &["c"]);
    all(&lake, &topic).await;
    assert_eq!(lake.sql("SELECT COUNT(*) FROM stage.things").await, vec![json!([5])]);
    assert_eq!(lake.sql("SELECT COUNT(*) FROM stage._quarantine").await, vec![json!([1])]);
    // A dropped report is written again.
    lake.catalog.drop_table(&layers::quarantine_table());
    let other = lake.another();
    other.stage.run_topic(&topic.name, &[0, 1]).await.unwrap();
    assert_eq!(other.sql("SELECT next_offset FROM stage._quarantine").await, vec![json!([2])]);
}
