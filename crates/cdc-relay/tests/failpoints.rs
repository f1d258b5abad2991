//! The relay dies at each of its failpoints, by turns early and late: afterwards the topics equal the table, each row came
//! once, and the order was kept.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use cdc_relay::failpoint::{self, Failpoint, OF_SNAPSHOT, OF_START, OF_STREAM};
use testkit::wait_until;

use crate::{
    events::Events,
    rig::{LONG, Rig},
    streaming::replayed,
};

/// One partition: the order of a whole table can be looked at. Small batches: every point is passed often.
const SETTINGS: [(&str, &str); 2] = [("batch.bytes.max", "8000"), ("topic.creation.default.partitions", "1")];

async fn tables(rig: &Rig) {
    rig.sql
        .batch_execute(
            "CREATE TABLE t (id bigserial PRIMARY KEY, v text); CREATE TABLE counter (id int PRIMARY KEY, v text); \
             INSERT INTO counter VALUES (1, '0'); INSERT INTO t (v) SELECT repeat('v', 60) FROM generate_series(1, 3000)",
        )
        .await
        .unwrap();
}

/// Transactions smaller and larger than a batch, with a counter that shows their order.
async fn write(rig: &Rig, counter: &mut u32) {
    for rows in [1, 150, 2, 1, 40] {
        *counter += 1;
        rig.sql
            .batch_execute(&format!(
                "BEGIN; INSERT INTO t (v) SELECT repeat('w', 60) FROM generate_series(1, {rows}); \
                 UPDATE counter SET v = '{counter}'; UPDATE t SET v = 'changed {counter}' WHERE id = {counter}; COMMIT"
            ))
            .await
            .unwrap();
    }
}

/// The topics hold every row once, replay to the tables, and count without a gap from `first`.
async fn check(rig: &Rig, point: Failpoint, first: u32, counter: u32) {
    rig.wait_until_drained().await;
    let name = point.0;
    let mut reader = Events::new(&rig.registry);
    let events = reader.all(&rig.records("t").await).await;
    let mut appeared: HashMap<&str, usize> = HashMap::new();
    for event in events.iter().filter(|event| event.op != "u") {
        *appeared.entry(event.after.as_ref().unwrap()["id"].as_str()).or_default() += 1;
    }
    let doubled = appeared.values().filter(|count| **count > 1).count();
    let rows: i64 = rig.sql.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
    // A row that changed while a snapshot was interrupted comes as its update alone.
    let silent = usize::try_from(rows).unwrap() - appeared.len();
    assert_eq!(doubled, 0, "{name}: rows that came twice");
    assert!(silent <= usize::try_from(counter).unwrap(), "{name}: {silent} rows that never came");
    let table = rig.sql.query("SELECT id::text, v FROM t", &[]).await.unwrap();
    let table = table.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert!(replayed(&events) == table, "{name}: the topic does not replay to the table");
    let counted = reader.all(&rig.records("counter").await).await;
    let values: Vec<u32> = counted.iter().map(|event| event.after.as_ref().unwrap()["v"].parse().unwrap()).collect();
    // The first may be missing for the same reason; where nothing was stored, a later snapshot begins later.
    let begun = *values.first().unwrap();
    let latest = if point == failpoint::SLOT_MADE { counter } else { first + 1 };
    assert!((first..=latest).contains(&begun), "{name}: the counter begins at {begun}, not {first}");
    assert_eq!(values, (begun..=counter).collect::<Vec<_>>(), "{name}: the counter, in commit order");
}

async fn wait_for_death(rig: &mut Rig, point: Failpoint) {
    wait_until(&format!("the relay dies at {}", point.0), LONG, async || rig.relay.ended().is_some()).await;
    let end = rig.relay.log_tail();
    assert!(end.contains("dies here"), "{}: it died of something else: {end}", point.0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; make test-model"]
async fn it_dies_at_each_step_of_the_stream() {
    let mut rig = Rig::start().await;
    tables(&rig).await;
    rig.connect(&SETTINGS).await;
    rig.wait_until_streaming().await;
    let mut counter = 0;
    for point in OF_STREAM {
        for turn in [1, 4, 15] {
            for _ in 0..3 {
                write(&rig, &mut counter).await;
            }
            rig.kill_and_arm(point, turn).await;
            // What is told to the server goes there rarely: that takes some more changes.
            let mut written = Instant::now();
            wait_until(&format!("the relay dies at {}:{turn}", point.0), LONG, async || {
                if written.elapsed() > Duration::from_secs(2) {
                    write(&rig, &mut counter).await;
                    written = Instant::now();
                }
                rig.relay.ended().is_some()
            })
            .await;
            wait_for_death(&mut rig, point).await;
        }
        write(&rig, &mut counter).await;
        rig.kill_and_restart().await;
        check(&rig, point, 0, counter).await;
    }
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_dies_at_each_step_of_a_start() {
    let mut rig = Rig::start().await;
    tables(&rig).await;
    rig.connect(&SETTINGS).await;
    rig.wait_until_streaming().await;
    let mut counter = 0;
    for point in OF_START {
        rig.kill_and_arm(point, 1).await;
        write(&rig, &mut counter).await;
        wait_for_death(&mut rig, point).await;
        rig.kill_and_restart().await;
        check(&rig, point, 0, counter).await;
    }
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; make test-model"]
async fn it_dies_at_each_step_of_a_snapshot() {
    let mut rig = Rig::start().await;
    tables(&rig).await;
    let mut counter = 0;
    let kafka = [failpoint::POSITION_PRODUCED, failpoint::KAFKA_COMMITTED];
    for point in OF_SNAPSHOT.into_iter().chain(kafka) {
        rig.rename();
        let first = counter;
        // Kafka's points are passed by the fence, the plan and the rows; the third and later are rows.
        let turn = if kafka.contains(&point) { 4 } else { 1 };
        rig.kill_and_arm(point, turn).await;
        rig.connect_and_die(&SETTINGS).await;
        wait_for_death(&mut rig, point).await;
        write(&rig, &mut counter).await;
        // A second death, where the resumed snapshot still comes by.
        if [failpoint::ROWS_PRODUCED, failpoint::PROGRESS_COMMITTED, failpoint::ALL_READ].contains(&point) {
            rig.kill_and_arm(point, 1).await;
            wait_for_death(&mut rig, point).await;
            write(&rig, &mut counter).await;
        }
        rig.kill_and_restart().await;
        check(&rig, point, first, counter).await;
        rig.delete().await;
    }
    rig.clean().await;
}
