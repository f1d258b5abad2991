//! The lake dies at each of its failpoints, in each layer: afterwards no record is lost and none doubled, and what it left
//! behind is found by maintenance.

use std::{collections::BTreeMap, time::Duration};

use lake::failpoint::{self, Failpoint, OF_MAINTENANCE, OF_PASS};
use objects::Metadata;
use serde_json::{Value, json};
use testkit::{Binary, wait_until};

use crate::{
    killed::{COLUMNS, round},
    rig::Rig,
    topic::Topic,
};

/// Nobody else writes: what is not named is an orphan at once.
const AT_ONCE: [(&str, &str); 3] =
    [("LAKE_ORPHAN_AGE_S", "0"), ("LAKE_SNAPSHOT_AGE_S", "0"), ("LAKE_SNAPSHOTS_MIN", "1")];

/// A topic, what its table holds, and how often something was written.
struct Source {
    topic: Topic,
    table: &'static str,
    state: BTreeMap<i32, i32>,
    rounds: i32,
}

impl Source {
    fn new(table: &'static str) -> Self {
        Self { topic: Topic::new(table, &COLUMNS), table, state: BTreeMap::new(), rounds: 0 }
    }

    async fn write(&mut self, rig: &Rig) {
        round(&mut self.topic, self.rounds, &mut self.state);
        self.rounds += 1;
        for (key, object) in self.topic.flush(1) {
            rig.raw.put_if_absent(&key, object, Metadata::new()).await.unwrap();
        }
    }

    /// The next lake takes up what is there, and finds every record once.
    fn check(&self, rig: &Rig, name: &str) {
        rig.command(&["stage"], &[]);
        rig.command(&["shape"], &[]);
        let (table, cents) = (self.table, self.state.values().sum::<i32>());
        let place = "CAST(_partition AS BIGINT) * 1000000 + _offset";
        let found = rig.command(
            &[
                "sql",
                &format!(
                    "SELECT (SELECT COUNT(*) FROM stage.{table}) AS staged, \
                     (SELECT COUNT(DISTINCT {place}) FROM stage.{table}) AS places, \
                     (SELECT COUNT(*) FROM shape.{table}) AS rows, \
                     (SELECT CAST(SUM(total) * 100 AS BIGINT) FROM shape.{table}) AS cents, \
                     (SELECT COUNT(*) FROM shape.{table}_history WHERE is_current) AS open, \
                     (SELECT COUNT(DISTINCT {place}) FROM shape.{table}_history) AS versions, \
                     (SELECT COUNT(*) FROM shape.{table}_history) AS versions_kept"
                ),
                "--format",
                "json",
            ],
            &[],
        );
        let (events, rows) = (self.rounds * 10, self.state.len());
        // Each round ends with a delete, which is no version.
        let versions = self.rounds * 9;
        let expected = json!([[events, events, rows, cents, rows, versions, versions]]);
        assert_eq!(found["rows"], expected, "{name}");
    }
}

/// Starts the lake so that it dies at its `turn`-th coming by, and waits until it did.
async fn dies(rig: &Rig, args: &[&str], settings: &[(&str, &str)], point: Failpoint, turn: u32) {
    let armed = format!("{}:{turn}", point.0);
    let mut env: Vec<(&str, &str)> = rig.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    env.extend(settings);
    env.push((failpoint::VARIABLE, &armed));
    let mut lake = Binary::spawn_with_args("lake-failpoints", args, &env);
    wait_until(&format!("it dies at {armed}"), Duration::from_secs(60), async || lake.ended().is_some()).await;
    let log = lake.log_tail();
    assert!(log.contains("dies here"), "{armed}: it ended otherwise: {log}");
}

fn orphans(reports: &Value) -> u64 {
    reports.as_array().unwrap().iter().map(|report| report["orphans"].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_that_dies_at_any_step_of_a_pass_loses_and_doubles_nothing() {
    let rig = Rig::start_with(&[("LAKE_MAINTAIN_INTERVAL_S", "0"), ("LAKE_SHAPE_FILE_ROWS", "40")]).await;
    // Stage's table, shape's, and the history's; a death leaves its table, so each turn has a topic of its own.
    for (turn, table) in [(1, "first"), (2, "second"), (3, "third")] {
        let mut source = Source::new(table);
        source.write(&rig).await;
        dies(&rig, &["watch"], &[], failpoint::TABLE_MADE, turn).await;
        source.check(&rig, &format!("{}:{turn}", failpoint::TABLE_MADE.0));
    }
    let mut source = Source::new("orders");
    source.write(&rig).await;
    source.check(&rig, "no death");
    let mut left = 0;
    for point in OF_PASS.into_iter().filter(|point| *point != failpoint::TABLE_MADE) {
        // Every layer commits: stage, current state, history, a mart.
        let turns = if point.0.starts_with("commit.") { 4 } else { 1 };
        for turn in 1..=turns {
            source.write(&rig).await;
            dies(&rig, &["watch"], &[], point, turn).await;
            left += u64::from([failpoint::FILES_WRITTEN, failpoint::SNAPSHOT_WRITTEN].contains(&point));
            source.check(&rig, &format!("{}:{turn}", point.0));
        }
    }
    let found = orphans(&rig.command(&["maintain", "--json", "--dry-run", "--no-scan"], &AT_ONCE));
    assert!(found >= left, "{found} orphans of {left} deaths that left files behind");
    rig.command(&["maintain", "--json", "--no-scan"], &AT_ONCE);
    assert_eq!(orphans(&rig.command(&["maintain", "--json", "--no-scan"], &AT_ONCE)), 0);
    rig.command(&["serve"], &[]);
    source.check(&rig, "after maintenance");
    let others = rig.read_by_others();
    assert_eq!(others["equal"], true);
    assert_eq!(others["pyiceberg"]["stage.orders"]["count"], source.rounds * 10);
    assert_eq!(others["duckdb"]["shape.orders"]["count"], source.state.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_that_dies_at_any_step_changes_no_row_and_leaves_nothing_for_ever() {
    let rig = Rig::start_with(&[("LAKE_MAINTAIN_INTERVAL_S", "0"), ("LAKE_SHAPE_FILE_ROWS", "40")]).await;
    let mut source = Source::new("orders");
    let maintain = ["maintain", "--json", "--no-scan"];
    for point in OF_MAINTENANCE {
        // What is to be packed, and to expire.
        for _ in 0..2 {
            source.write(&rig).await;
            source.check(&rig, "no death");
        }
        dies(&rig, &maintain, &AT_ONCE, point, 1).await;
        source.check(&rig, point.0);
        let found = orphans(&rig.command(&maintain, &AT_ONCE));
        let leaves = [failpoint::FILES_WRITTEN, failpoint::SNAPSHOT_WRITTEN, failpoint::EXPIRED].contains(&point);
        assert!(!leaves || found > 0, "{}: it left files, and none was found", point.0);
        assert_eq!(orphans(&rig.command(&maintain, &AT_ONCE)), 0, "{}", point.0);
        source.check(&rig, point.0);
    }
    // Nothing made the marts here.
    assert_eq!(rig.layers_read_by_others(&["shape", "stage"])["equal"], true);
}
