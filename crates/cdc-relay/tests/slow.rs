//! What takes minutes: `make test-slow`.

use std::time::Duration;

use testkit::wait_until;
use topics::CompactedReader;

use crate::{museum_restarts::many_tables, rig::Rig};

/// RSS of a relay with the default batch of 4 MiB, built without optimisation: its code, librdkafka's queue of 8 MiB, and
/// what the allocator keeps.
const PEAK_KB_MAX: u64 = 90_000;

/// Memory must not follow the size of a transaction.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; make test-slow"]
async fn a_transaction_of_two_million_rows() {
    const ROWS: usize = 2_000_000;
    let mut rig = Rig::start().await;
    rig.sql.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text)").await.unwrap();
    rig.connect(&[("snapshot.mode", "no_data")]).await;
    rig.wait_until_streaming().await;
    let before = rig.peak_kb();
    let fill = format!("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, {ROWS}) i");
    rig.sql.batch_execute(&fill).await.unwrap();
    let begun = std::time::Instant::now();
    wait_until("half of it is written", Duration::from_secs(600), async || {
        rig.offsets("t").await > i64::try_from(ROWS / 2).unwrap()
    })
    .await;
    let half = rig.peak_kb();
    rig.kill_and_restart().await;
    wait_until("all of it is written", Duration::from_secs(600), async || {
        rig.offsets("t").await > i64::try_from(ROWS).unwrap()
    })
    .await;
    rig.wait_until_drained().await;
    let end = rig.peak_kb();
    println!(
        "2,000,000 rows in {:?}: peak RSS idle {before} kB, at the kill {half} kB, at the end {end} kB",
        begun.elapsed()
    );
    let mut reader = CompactedReader::open(&rig.cluster, &rig.topic("t")).await.unwrap();
    let mut seen = vec![false; ROWS + 1];
    let mut count = 0;
    while let Some(record) = reader.next_to_end().await.unwrap() {
        let id = zigzag(&record.key.unwrap()[5..]);
        assert!(!std::mem::replace(&mut seen[id], true), "row {id} came twice");
        count += 1;
    }
    assert_eq!(count, ROWS);
    assert!(half.max(end) < PEAK_KB_MAX, "{half} kB, {end} kB");
    rig.clean().await;
}

/// Avro's int.
fn zigzag(bytes: &[u8]) -> usize {
    let number = bytes.iter().enumerate().fold(0_usize, |sum, (at, byte)| sum | usize::from(byte & 0x7f) << (7 * at));
    number >> 1
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; make test-slow"]
async fn five_thousand_tables() {
    many_tables(5_000, Duration::from_secs(900)).await;
}
