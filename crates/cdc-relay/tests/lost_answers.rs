//! Kafka did what it was asked, and its answer never arrived.

use testkit::{Fault, Proxy, kafka, kafka_api, wait_until};

use crate::{
    crash::assert_each_row_once,
    rig::{LONG, Rig},
};

async fn streaming_through(proxy: &Proxy, more: &[(&str, &str)]) -> Rig {
    let rig = Rig::start_through(&proxy.address()).await;
    rig.sql.batch_execute("CREATE TABLE t (id serial PRIMARY KEY, v text)").await.unwrap();
    rig.connect(&[&[("snapshot.mode", "no_data")], more].concat()).await;
    rig.wait_until_streaming().await;
    rig
}

/// The request is sent again on a new connection; the coordinator knows that it has carried it out.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_asked_for_again() {
    let proxy = Proxy::to_kafka(&kafka().await.bootstrap).await;
    let rig = streaming_through(&proxy, &[]).await;
    let mut rows = 0;
    let apis = [kafka_api::END_TXN, kafka_api::PRODUCE, kafka_api::ADD_PARTITIONS_TO_TXN];
    for (round, api) in apis.into_iter().chain([kafka_api::END_TXN]).enumerate() {
        proxy.set([Fault::LoseKafkaAnswer { api }]);
        rig.sql.batch_execute("INSERT INTO t (v) SELECT 'x' FROM generate_series(1, 20)").await.unwrap();
        rows += 20;
        wait_until(&format!("answer {api} is lost"), LONG, async || proxy.struck() == round as u64 + 1).await;
        rig.wait_until_drained().await;
        assert_each_row_once(&rig.records("t").await, rows);
    }
    rig.clean().await;
}

/// The transaction is committed, the relay hears nothing of it, Kafka is out of reach, and the relay is killed: the next
/// one finds the position that was committed with the records.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_is_found_after_a_restart() {
    let proxy = Proxy::to_kafka(&kafka().await.bootstrap).await;
    // No heartbeats and no moves of an idle slot: the first commit after the fault is set is that of the rows.
    let mut rig = streaming_through(&proxy, &[("heartbeat.interval.ms", "600000")]).await;
    rig.sql.batch_execute("CREATE TABLE after_it (id serial PRIMARY KEY)").await.unwrap();
    for round in 1..=3 {
        proxy.set([Fault::LoseKafkaAnswer { api: kafka_api::END_TXN }, Fault::Refuse]);
        rig.sql.batch_execute("INSERT INTO t (v) SELECT 'x' FROM generate_series(1, 20)").await.unwrap();
        wait_until("the commit's answer is lost", LONG, async || proxy.struck() == round).await;
        rig.relay.kill().await;
        // Read past the proxy: the records are there, so a relay that writes them again doubles them.
        let there = rig.wait_for_records("t", 20 * usize::try_from(round).unwrap()).await;
        assert_each_row_once(&there, 20 * usize::try_from(round).unwrap());
        proxy.set([]);
        rig.kill_and_restart().await;
        // A row behind them shows that the new relay is past the place where it would repeat them.
        rig.sql.batch_execute("INSERT INTO after_it DEFAULT VALUES").await.unwrap();
        rig.wait_for_records("after_it", usize::try_from(round).unwrap()).await;
        assert_each_row_once(&rig.records("t").await, 20 * usize::try_from(round).unwrap());
    }
    rig.clean().await;
}

/// A network that is slow, then cuts answers in the middle, then refuses for a while.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_network_delays_and_does_not_double() {
    let proxy = Proxy::to_kafka(&kafka().await.bootstrap).await;
    let rig = streaming_through(&proxy, &[]).await;
    let mut rows = 0;
    let slow = Fault::Slow { delay: std::time::Duration::from_millis(30) };
    for faults in [vec![slow], vec![Fault::CutAnswer { after_bytes: 30 }; 3], vec![Fault::Refuse]] {
        proxy.set(faults);
        for _ in 0..5 {
            rig.sql.batch_execute("INSERT INTO t (v) SELECT 'x' FROM generate_series(1, 20)").await.unwrap();
            rows += 20;
        }
        if rows == 200 {
            wait_until("answers are cut", LONG, async || proxy.struck() == 3).await;
        }
        proxy.set([]);
        rig.wait_until_drained().await;
        assert_each_row_once(&rig.records("t").await, rows);
    }
    rig.clean().await;
}
