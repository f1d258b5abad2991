//! Write, audit, publish: rows that fail a test are never visible, can be looked at, and are published once mended.

use std::time::Duration;

use serde_json::json;

use super::{fixture::Lake, shop::Shop};
use crate::{layers, models::Models, tables::staged::AUDIT_BRANCH};

fn models(files: &[(&'static str, &str, &str)]) -> Models {
    Models::parse(files.iter().map(|(layer, name, text)| (*layer, (*name).to_owned(), (*text).to_owned()))).unwrap()
}

const PRICES: &str = "/* ---
keys: [id]
columns: {quantity: {tests: [not_null]}}
tests: [{expression: quantity > 0}]
--- */
SELECT i.id AS id, i.quantity AS quantity FROM shape.order_items AS i";

#[tokio::test]
async fn a_dirty_row_is_never_visible_and_its_model_is_published_once_it_is_mended() {
    let lake = Lake::new(100);
    let mut shop = Shop::open(&lake).await;
    let runner = lake.runner_of(models(&[
        ("serve", "quantities", PRICES),
        ("serve", "sums", "SELECT SUM(quantity) AS units FROM serve.quantities"),
        ("serve", "siblings", "SELECT COUNT(*) AS items FROM shape.order_items"),
    ]));
    assert!(runner.run().await.unwrap().is_whole());
    let before = lake.sql("SELECT * FROM serve.quantities ORDER BY id").await;
    // WHEN a row comes that must not be.
    shop.put("order_items", "5|1|1|-7|1.00");
    shop.put("order_items", "6|1|1|2|1.00");
    shop.pump(&lake).await;
    let served = runner.run().await.unwrap();
    // THEN the model stands as it was, and says which rows are to blame; its sibling went on, what is made of it did not.
    assert_eq!(served.rejected.keys().collect::<Vec<_>>(), ["serve.quantities"]);
    let rejection = &served.rejected["serve.quantities"];
    assert_eq!(rejection.verdicts[0].rows, [r#"{"id":5,"quantity":-7}"#]);
    assert!(rejection.reason().contains("quantity > 0"), "{}", rejection.reason());
    assert!(served.skipped["serve.sums"].contains("serve.quantities"), "{served:?}");
    assert_eq!(served.built.keys().collect::<Vec<_>>(), ["serve.siblings"]);
    assert_eq!(lake.sql("SELECT * FROM serve.quantities ORDER BY id").await, before);
    let ident = layers::serve_table("quantities");
    let state = lake.stage.tables.load(&ident).await.unwrap().unwrap();
    let audit = state.metadata().snapshot_for_ref(AUDIT_BRANCH).unwrap().snapshot_id();
    assert_eq!(audit, rejection.snapshot_id);
    let kept = lake.stage.tables.at(&state, audit).await.unwrap().unwrap();
    assert_eq!(kept.rows(), before.len() as u64 + 2, "all that was rejected can be read on the branch");
    // It is not built again at once: nothing changed.
    assert_eq!(runner.run().await.unwrap().rejected.len(), 1);
    // WHEN it is mended.
    shop.put("order_items", "5|1|1|7|1.00");
    shop.pump(&lake).await;
    runner.try_all();
    let served = runner.run().await.unwrap();
    assert!(served.is_whole(), "{served:?}");
    assert_eq!(lake.sql("SELECT units FROM serve.sums").await, vec![json!([15])]);
    let state = lake.stage.tables.load(&ident).await.unwrap().unwrap();
    assert!(state.metadata().snapshot_for_ref(AUDIT_BRANCH).is_none());
}

#[tokio::test]
async fn a_model_that_fails_stops_only_what_is_made_of_it_and_a_warning_stops_nothing() {
    let lake = Lake::new(100);
    Shop::open(&lake).await;
    let warned = "/* ---
columns: {customer_id: {tests: [{relationships: {to: shape.products, column: id, severity: warn}}]}}
tests: [{expression: {sql: customer_id < 2, severity: warn}}]
--- */
SELECT o.id AS id, o.customer_id AS customer_id FROM shape.orders AS o";
    let runner = lake.runner_of(models(&[
        ("serve", "broken", "SELECT no_such_column FROM shape.orders"),
        ("serve", "child", "SELECT * FROM serve.broken"),
        ("serve", "warned", warned),
        ("serve", "waits", "SELECT * FROM shape.nothing"),
    ]));
    let served = runner.run().await.unwrap();
    assert_eq!(served.failed.keys().collect::<Vec<_>>(), ["serve.broken"]);
    assert_eq!(served.skipped.keys().collect::<Vec<_>>(), ["serve.child"]);
    assert_eq!(served.waiting["serve.waits"], "shape.nothing");
    let warnings = &served.built["serve.warned"].warnings;
    assert_eq!(warnings.iter().map(|verdict| verdict.failing).collect::<Vec<_>>(), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_takes_too_long_is_ended_and_its_siblings_go_on() {
    let lake = Lake::new(100);
    let mut shop = Shop::open(&lake).await;
    let each: Vec<String> = (1..20).map(|of| format!("shape.orders AS o{of}")).collect();
    let endless = format!("SELECT SUM(o1.id * o19.id) AS n FROM {}", each.join(" CROSS JOIN "));
    let files = [
        ("serve", "endless", endless.as_str()),
        ("serve", "child", "SELECT n FROM serve.endless"),
        ("serve", "brief", "SELECT COUNT(*) AS n FROM shape.orders"),
    ];
    let limit = Duration::from_secs(1);
    let runner = lake.runner_of(models(&files)).within(limit);
    let served = runner.run().await.unwrap();
    let reason = served.failed["serve.endless"].to_string();
    assert!(reason.starts_with("not built within 1s") && reason.contains("LAKE_MODEL_TIME_MAX_S"), "{reason}");
    assert_eq!(served.skipped.keys().collect::<Vec<_>>(), ["serve.child"]);
    assert_eq!(lake.sql("SELECT n FROM serve.brief").await, [json!([4])]);
    // It is left alone for a while, and the others are as their inputs are.
    let held = lake.runner_of(models(&files)).within(Duration::from_secs(3600));
    held.hold("serve.endless");
    shop.put("orders", "5|1|pending|1.00|2024-05-05 00:00:00");
    shop.pump(&lake).await;
    let served = held.run().await.unwrap();
    assert!(served.failed["serve.endless"].to_string().starts_with("not built within 3600s"), "{served:?}");
    assert_eq!(lake.sql("SELECT n FROM serve.brief").await, [json!([5])]);
    // Until somebody asks.
    let runner = runner.within(Duration::from_millis(100));
    runner.try_all();
    let reason = runner.run().await.unwrap().failed["serve.endless"].to_string();
    assert!(reason.starts_with("not built within 100ms"), "{reason}");
}

#[tokio::test]
async fn a_model_never_takes_the_place_of_a_table_of_the_source() {
    let lake = Lake::new(100);
    Shop::open(&lake).await;
    let runner = lake.runner_of(models(&[("shape", "orders", "SELECT id FROM shape.customers")]));
    let served = runner.run().await.unwrap();
    assert!(served.failed["shape.orders"].to_string().contains("rename the model"), "{served:?}");
}

#[tokio::test]
async fn all_models_of_a_run_read_one_set_of_snapshots() {
    let lake = Lake::new(100);
    let mut shop = Shop::open(&lake).await;
    let of = |column: &str| format!("SELECT {column} FROM shape.orders");
    let runner = lake.runner_of(models(&[
        ("serve", "a", &of("COUNT(*) AS n")),
        ("serve", "b", "SELECT n FROM serve.a"),
        (
            "serve",
            "c",
            "SELECT b.n AS n, o.m AS m FROM serve.b AS b CROSS JOIN (SELECT COUNT(*) AS m FROM shape.orders) AS o",
        ),
    ]));
    for id in 5..8 {
        shop.put("orders", &format!("{id}|1|pending|1.00|2024-05-05 00:00:00"));
        shop.pump(&lake).await;
        assert!(runner.run().await.unwrap().is_whole());
        assert_eq!(lake.sql("SELECT n, m FROM serve.c").await, vec![json!([id, id])]);
    }
}
