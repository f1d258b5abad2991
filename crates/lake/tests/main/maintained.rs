//! Two lakes at once, both maintaining, one of them killed over and over, another engine in between: no record is lost,
//! none doubled, what is left is what is needed, and other engines read the same.

use std::{collections::BTreeMap, time::Duration};

use objects::Metadata;
use serde_json::{Value, json};
use testkit::wait_until;

use crate::{
    killed::{COLUMNS, round},
    rig::Rig,
    topic::Topic,
};

const ROUNDS: i32 = 40;
/// The round of which one object arrives damaged.
const DAMAGED: i32 = 10;
/// Harsh: snapshots go while they are hardly a second old.
const SETTINGS: [(&str, &str); 5] = [
    ("LAKE_MAINTAIN_INTERVAL_S", "1"),
    ("LAKE_SNAPSHOT_AGE_S", "1"),
    ("LAKE_SNAPSHOTS_MIN", "10"),
    ("LAKE_SHAPE_FILE_ROWS", "40"),
    ("LOG_LEVEL", "info,lake=debug"),
];

/// Rounds of objects that may wait for the lakes; more than a damaged object holds back.
const ROUNDS_AHEAD: i32 = 3;

/// Events in stage.
async fn staged(rig: &Rig) -> Option<i64> {
    rig.sql("SELECT COUNT(*) FROM stage.orders").await.ok()?[0][0].as_i64()
}

async fn put(rig: &Rig, topic: &mut Topic, number: i32) -> Option<(String, bytes::Bytes)> {
    let mut damaged = None;
    for (key, object) in topic.flush(i64::from(number % 2)) {
        let whole = number != DAMAGED || damaged.is_some();
        let content = if whole { object.clone() } else { object.slice(0..object.len() - 10) };
        rig.raw.put_if_absent(&key, content, Metadata::new()).await.unwrap();
        if !whole {
            damaged = Some((key, object));
        }
    }
    damaged
}

fn expected(state: &BTreeMap<i32, i32>) -> Value {
    let sum: i32 = state.values().sum();
    json!([[state.len(), format!("{}.{:02}", sum / 100, sum % 100)]])
}

async fn wait_shape(rig: &Rig, what: &str, state: &BTreeMap<i32, i32>) {
    let expected = expected(state);
    wait_until(what, Duration::from_secs(120), async || {
        rig.sql("SELECT COUNT(*), SUM(total) FROM shape.orders").await.as_ref() == Ok(&expected)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_lakes_that_maintain_and_are_killed_lose_and_double_nothing() {
    let rig = Rig::start_with(&SETTINGS).await;
    let (mut topic, mut state, mut damaged) = (Topic::new("orders", &COLUMNS), BTreeMap::new(), None);
    let lake = rig.lake().await;
    let mut other = rig.another_lake().await;
    let mut dies_at = 3;
    for number in 0..ROUNDS {
        round(&mut topic, number, &mut state);
        damaged = put(&rig, &mut topic, number).await.or(damaged);
        if number == dies_at {
            // While it works on what was just put there.
            drop(other);
            other = rig.another_lake().await;
            dies_at += 3 + number % 4;
        }
        // Objects keep arriving at the lakes' own pace: some rounds ahead, so that there is always something to do.
        let behind = (number - ROUNDS_AHEAD) * 10;
        wait_until("the lakes keep up", Duration::from_secs(120), async || {
            behind <= 0 || staged(&rig).await.is_some_and(|staged| staged >= i64::from(behind))
        })
        .await;
    }
    // Every record but those of the damaged object is staged, and it is named.
    let (key, whole) = damaged.unwrap();
    wait_until("the damaged object is set aside", Duration::from_secs(60), async || {
        rig.sql("SELECT object FROM stage._quarantine").await == Ok(json!([[key]]))
    })
    .await;
    wait_until("status names it", Duration::from_secs(60), async || {
        rig.status().await["problems"].to_string().contains(&key)
    })
    .await;
    rig.raw.delete(&key).await.unwrap();
    rig.raw.put_if_absent(&key, whole, Metadata::new()).await.unwrap();
    wait_until("all events are staged", Duration::from_secs(120), async || {
        rig.run().await.is_ok() && rig.sql("SELECT COUNT(*) FROM stage.orders").await == Ok(json!([[ROUNDS * 10]]))
    })
    .await;
    wait_shape(&rig, "shape has caught up", &state).await;
    disturbed(&rig, &state).await;
    drop((lake, other));
    tidy(&rig);
    let lake = rig.lake().await;
    wait_shape(&rig, "the lake starts on what is left", &state).await;
    let others = rig.read_by_others();
    assert_eq!(others["equal"], true);
    assert_eq!(others["duckdb"]["shape.orders"]["count"], state.len());
    assert_eq!(others["pyiceberg"]["stage.orders"]["count"], ROUNDS * 10);
    assert_eq!(others["duckdb"]["stage._quarantine"]["count"], 0);
    let distinct =
        rig.sql("SELECT COUNT(DISTINCT (CAST(_partition AS BIGINT) * 1000000 + _offset)) FROM stage.orders").await;
    assert_eq!(distinct, Ok(json!([[ROUNDS * 10]])));
    assert_eq!(rig.status().await["problems"], json!([]));
    drop(lake);
}

/// Another engine tags, rolls back and drops; without a new event the lake mends it.
async fn disturbed(rig: &Rig, state: &BTreeMap<i32, i32>) {
    let versions = rig.sql("SELECT COUNT(*), SUM(total) FROM shape.orders_history").await;
    rig.disturb(&["tag", "shape.orders", "lesson"]);
    rig.disturb(&["rollback", "shape.orders"]);
    wait_shape(rig, "the events after the rollback are applied again", state).await;
    rig.disturb(&["drop", "shape.orders_history"]);
    wait_until("the dropped table is made again", Duration::from_secs(60), async || {
        rig.sql("SELECT COUNT(*), SUM(total) FROM shape.orders_history").await == versions
    })
    .await;
}

/// Nobody else at work: what nothing needs goes, whatever killed lakes left, and after that there is nothing more.
fn tidy(rig: &Rig) {
    let at_once = [("LAKE_ORPHAN_AGE_S", "0"), ("LAKE_SNAPSHOT_AGE_S", "0"), ("LAKE_SNAPSHOTS_MIN", "1")];
    let tagged = rig.disturb(&["count", "shape.orders", "lesson"]);
    let reports = rig.command(&["maintain", "--json"], &at_once);
    for report in reports.as_array().unwrap() {
        let most = if report["table"] == "shape.orders" { 2 } else { 1 };
        assert!(report["after"]["snapshots"].as_u64().unwrap() <= most, "{report}");
        assert_eq!(report["before"]["rows"], report["after"]["rows"], "{report}");
        assert!(report["after"]["metadata_bytes"].as_u64().unwrap() < 20_000, "{report}");
        assert!(report["after"]["scan_ms"].is_u64(), "{report}");
    }
    let again = rig.command(&["maintain", "--json", "--no-scan"], &at_once);
    for report in again.as_array().unwrap() {
        let done =
            [&report["files_replaced"], &report["files_deleted"], &report["orphans"], &report["snapshots_expired"]];
        assert!(done.iter().all(|done| **done == 0), "{report}");
    }
    assert_eq!(rig.disturb(&["count", "shape.orders", "lesson"]), tagged);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_engines_read_rows_deleted_by_position_before_and_after_they_are_rewritten() {
    let rig = Rig::start_with(&[("LAKE_MAINTAIN_INTERVAL_S", "0")]).await;
    let (mut topic, mut state, mut damaged) = (Topic::new("orders", &COLUMNS), BTreeMap::new(), None);
    let lake = rig.lake().await;
    for number in DAMAGED - 2..DAMAGED + 2 {
        round(&mut topic, number, &mut state);
        damaged = put(&rig, &mut topic, number).await.or(damaged);
    }
    let (key, whole) = damaged.unwrap();
    wait_until("the damaged object is set aside", Duration::from_secs(60), async || {
        rig.sql("SELECT object FROM stage._quarantine").await == Ok(json!([[key]]))
    })
    .await;
    rig.raw.delete(&key).await.unwrap();
    rig.raw.put_if_absent(&key, whole, Metadata::new()).await.unwrap();
    wait_until("it is taken in", Duration::from_secs(60), async || {
        rig.run().await.is_ok() && rig.sql("SELECT COUNT(*) FROM stage._quarantine").await == Ok(json!([[0]]))
    })
    .await;
    wait_shape(&rig, "shape has caught up", &state).await;
    let before = rig.read_by_others();
    assert_eq!(before["equal"], true);
    assert_eq!(before["pyiceberg"]["stage._quarantine"]["count"], 0);
    let reports = rig.command(&["maintain", "--json", "stage._quarantine"], &[]);
    assert_eq!((&reports[0]["before"]["delete_files"], &reports[0]["after"]["delete_files"]), (&json!(1), &json!(0)));
    assert_eq!(rig.read_by_others()["duckdb"], before["duckdb"]);
    drop(lake);
}
