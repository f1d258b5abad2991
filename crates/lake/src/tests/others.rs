//! What other engines do to the lake's tables: roll them back, drop them, delete rows.

use model::{cell::Cell, envelope::Op};
use serde_json::json;

use super::{
    fixture::Lake,
    topic::{ColumnSpec, Topic},
};
use crate::{layers, models::Models};

const COLUMNS: [ColumnSpec; 2] = [("id", 23, "int4", -1, false), ("name", 25, "text", -1, true)];

fn event(topic: &mut Topic, op: Op, id: &str, name: &str) {
    let row = [Cell::Text(id.as_bytes()), Cell::Text(name.as_bytes())];
    topic.event(0, op, None, Some(&row));
}

/// Keys 0 to 2, then key 1 changed, each in a pass of its own.
async fn two_passes(lake: &Lake) -> Topic {
    let mut topic = Topic::new("things", &COLUMNS);
    for id in ["0", "1", "2"] {
        event(&mut topic, Op::Create, id, "old");
    }
    pass(lake, &mut topic).await;
    event(&mut topic, Op::Update, "1", "new");
    pass(lake, &mut topic).await;
    topic
}

async fn pass(lake: &Lake, topic: &mut Topic) {
    lake.raw.flush(topic, 0);
    lake.stage_all(&topic.name).await;
    lake.shape_all(&topic.name).await;
}

const EXPECTED: &str = "SELECT id, name FROM shape.things ORDER BY id";

#[tokio::test]
async fn events_are_applied_again_after_a_rollback() {
    let lake = Lake::new(100);
    let topic = two_passes(&lake).await;
    for ident in [layers::shape_table(&topic.name).unwrap(), layers::history_table(&topic.name).unwrap()] {
        let state = lake.shape.tables.load(&ident).await.unwrap().unwrap();
        let parent = state.metadata().current_snapshot().unwrap().parent_snapshot_id().unwrap();
        lake.catalog.roll_back(&ident, parent).await;
    }
    assert_eq!(lake.sql(EXPECTED).await[1], json!([1, "old"]));
    lake.shape.tables.refresh().await;
    lake.shape_all(&topic.name).await;
    assert_eq!(lake.sql(EXPECTED).await, vec![json!([0, "old"]), json!([1, "new"]), json!([2, "old"])]);
    let versions =
        lake.sql("SELECT id, name, is_current FROM shape.things_history WHERE id = 1 ORDER BY valid_from").await;
    assert_eq!(versions, vec![json!([1, "old", false]), json!([1, "new", true])]);
}

#[tokio::test]
async fn objects_are_staged_again_after_a_rollback_of_stage() {
    let lake = Lake::new(100);
    let topic = two_passes(&lake).await;
    let ident = layers::stage_table(&topic.name).unwrap();
    let state = lake.stage.tables.load(&ident).await.unwrap().unwrap();
    let parent = state.metadata().current_snapshot().unwrap().parent_snapshot_id().unwrap();
    lake.catalog.roll_back(&ident, parent).await;
    lake.stage.tables.refresh().await;
    assert_eq!(lake.stage_all(&topic.name).await, 1);
    lake.shape_all(&topic.name).await;
    assert_eq!(lake.sql("SELECT COUNT(*), COUNT(DISTINCT _offset) FROM stage.things").await, vec![json!([4, 4])]);
    assert_eq!(lake.sql(EXPECTED).await[1], json!([1, "new"]));
}

#[tokio::test]
async fn a_dropped_table_is_made_again_without_a_new_event() {
    let lake = Lake::new(100);
    let topic = two_passes(&lake).await;
    let idents = [
        layers::stage_table(&topic.name).unwrap(),
        layers::shape_table(&topic.name).unwrap(),
        layers::history_table(&topic.name).unwrap(),
    ];
    let before = lake.sql(EXPECTED).await;
    for ident in &idents {
        lake.catalog.drop_table(ident);
        lake.shape.tables.refresh().await;
        lake.stage_all(&topic.name).await;
        lake.shape_all(&topic.name).await;
        assert_eq!(lake.sql(EXPECTED).await, before, "{ident}");
        let counts =
            lake.sql("SELECT COUNT(*) FROM stage.things UNION ALL SELECT COUNT(*) FROM shape.things_history").await;
        assert_eq!(counts, vec![json!([4]), json!([4])], "{ident}");
    }
}

#[tokio::test]
async fn a_mart_is_built_again_after_a_drop_or_a_rollback() {
    let lake = Lake::new(100);
    two_passes(&lake).await;
    let of = |column: &str| {
        let sql = format!("SELECT name, COUNT(*) AS {column} FROM shape.things GROUP BY name");
        lake.runner_of(Models::parse([("serve", "names".to_owned(), sql)]).unwrap())
    };
    let runner = of("rows");
    assert_eq!(runner.run().await.unwrap().built.len(), 1);
    let ident = layers::serve_table("names");
    lake.catalog.drop_table(&ident);
    runner.tables.refresh().await;
    assert_eq!(runner.run().await.unwrap().built.len(), 1);
    let first = runner.tables.load(&ident).await.unwrap().unwrap().snapshot_id().unwrap();
    let runner = of("things");
    assert_eq!(runner.run().await.unwrap().built.len(), 1);
    assert_eq!(runner.run().await.unwrap().built.len(), 0);
    lake.catalog.roll_back(&ident, first).await;
    runner.tables.refresh().await;
    assert_eq!(runner.run().await.unwrap().built.len(), 1, "the snapshot is of another model");
}
