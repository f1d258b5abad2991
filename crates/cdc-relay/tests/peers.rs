//! Takeover both ways between the relay and real Debezium on a real Connect worker, on the same topics and slot:
//! `make test-peers`.
//!
//! What is promised: stopped in order, either goes on from the other's position and every row comes once. Killed, the relay
//! leaves a position that holds exactly what is committed; Debezium leaves one too if its worker runs with
//! `exactly.once.source.support=enabled`, else it may repeat rows, as after its own restart, and loses none. A snapshot that
//! was interrupted is begun anew by the other one: its rows may come twice.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use testkit::{free_port, fresh_name, kafka, postgres, wait_until};
use tokio_util::sync::CancellationToken;

use crate::{
    events::Events,
    rig::{Rig, wait_until_read},
    streaming::replayed,
};

/// A JVM starts in a minute here when the machine is busy, and Kafka gives up an orphaned transaction after one.
const LONGER: Duration = Duration::from_secs(300);

/// A Kafka Connect worker with Debezium, on the topics of a rig.
struct Debezium {
    dir: PathBuf,
    url: String,
    http: reqwest::Client,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench/peers/connect.sh")
}

impl Debezium {
    async fn start(rig: &Rig, exactly_once: bool) -> Self {
        // One group for all workers of a test, or a killed one's open transaction is not fenced by the next.
        let port = free_port();
        let dir = std::env::temp_dir().join("haus-am-see-tests").join(format!(
            "{}-{}",
            std::process::id(),
            fresh_name("connect")
        ));
        std::fs::create_dir_all(&dir).unwrap();
        let settings = [
            ("config.storage.topic", "CONNECT_CONFIG_TOPIC"),
            ("offset.storage.topic", "CONNECT_OFFSET_TOPIC"),
            ("status.storage.topic", "CONNECT_STATUS_TOPIC"),
        ];
        let mut settings: Vec<String> =
            settings.map(|(name, variable)| format!("{name}={}", rig.setting(variable))).into();
        settings.push("offset.flush.interval.ms=500".to_owned());
        if exactly_once {
            settings.push("exactly.once.source.support=enabled".to_owned());
        } else {
            // Or it would take an offset of a transaction that was never committed for ours.
            settings.push("isolation.level=read_committed".to_owned());
        }
        let mut start = Command::new(script());
        start.arg("start").arg(&dir).args([
            &kafka().await.bootstrap,
            &rig.setting("SCHEMA_REGISTRY_URL"),
            &port.to_string(),
        ]);
        start
            .env("CONNECT_GROUP", format!("{}-group", rig.setting("CONNECT_CONFIG_TOPIC")))
            .env("CONNECT_HEAP", "-Xms128m -Xmx1g");
        start.env("CONNECT_SETTINGS", settings.join("\n"));
        let worker = Self { dir, url: format!("http://127.0.0.1:{port}"), http: reqwest::Client::new() };
        let status = tokio::task::spawn_blocking(move || start.status()).await.unwrap().unwrap();
        assert!(status.success(), "the Connect worker: see {}", worker.dir.display());
        worker
    }

    async fn get(&self, path: &str) -> Value {
        match self.http.get(format!("{}{path}", self.url)).send().await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }

    async fn connect(&self, rig: &Rig, changes: &[(&str, &str)]) {
        let config = rig.config(changes).await;
        let url = format!("{}/connectors/{}/config", self.url, rig.connector);
        wait_until("Connect accepts the connector", LONGER, async || {
            let answer = self.http.put(&url).json(&config).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    async fn wait_until_running(&self, rig: &Rig) {
        wait_until("Debezium's task runs", LONGER, async || {
            let status = self.get(&format!("/connectors/{}/status", rig.connector)).await;
            assert!(status["tasks"][0]["state"] != "FAILED", "{status}");
            status["tasks"][0]["state"] == "RUNNING"
        })
        .await;
    }

    /// Debezium's own drain: the slot confirms what was written, after the offsets were flushed.
    async fn drained(&self, rig: &Rig) {
        rig.sql.batch_execute("UPDATE counter SET v = (v::int + 1)::text").await.unwrap();
        let last: String = rig.sql.query_one("SELECT v FROM counter", &[]).await.unwrap().get(0);
        let mut events = Events::new(&rig.registry);
        wait_until("Debezium writes the last change", LONGER, async || {
            let written = events.all(&rig.records("counter").await).await;
            written.last().is_some_and(|event| event.after.as_ref().is_some_and(|row| row["v"] == last.as_str()))
        })
        .await;
    }

    fn end(&self, how: &str) {
        let status = Command::new(script()).arg(how).arg(&self.dir).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Debezium {
    fn drop(&mut self) {
        let _ = Command::new(script()).arg("kill").arg(&self.dir).status();
    }
}

async fn rig_with_tables(rows: usize) -> Rig {
    let mut rig = Rig::start().await;
    // Debezium is first; the relay has made the topics of the worker.
    rig.relay.kill().await;
    rig.sql
        .batch_execute(&format!(
            "CREATE TABLE t (id bigserial PRIMARY KEY, v text); CREATE TABLE counter (id int PRIMARY KEY, v text); \
             INSERT INTO counter VALUES (1, '0'); INSERT INTO t (v) SELECT 'old' FROM generate_series(1, {rows})"
        ))
        .await
        .unwrap();
    rig
}

/// Small and larger transactions until told to stop, each counting up.
async fn traffic(url: String, stop: CancellationToken) {
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut round = 0;
    while !stop.is_cancelled() {
        round += 1;
        let rows = if round % 30 == 0 { 2_000 } else { 3 };
        let sql = format!(
            "BEGIN; INSERT INTO t (v) SELECT 'x' FROM generate_series(1, {rows}); UPDATE counter SET v = (v::int + 1)::text; COMMIT"
        );
        client.batch_execute(&sql).await.unwrap();
        // Not faster than Debezium reads: it would never get to the last row. Several of the large transactions (0.3 MB of log)
        // may be unconfirmed: one that the relay wrote and had not confirmed when it stopped would hold up this writer, and
        // Debezium confirms nothing ("LSN flushing is not allowed yet") until it has seen a transaction after it.
        wait_until_read(&client, 2 << 20, LONGER, &stop).await;
    }
    drop(client);
    let _ = connection.await;
}

/// After a kill of Debezium its last transaction hides positions until Kafka gives it up.
async fn streaming(rig: &Rig) {
    wait_until("streaming", LONGER, async || rig.progress().await.get("last_commit_lsn").is_some()).await;
}

async fn more(rig: &Rig, records: i64) {
    reached(rig, rig.offsets("t").await + records).await;
}

async fn reached(rig: &Rig, offset: i64) {
    wait_until(&format!("offset {offset} of t"), LONGER, async || rig.offsets("t").await >= offset).await;
}

/// Every row of `t` is there; with `once`, not twice either. The counter never goes back but where rows are repeated.
async fn check(rig: &Rig, what: &str, once: bool) {
    let rows: i64 = rig.sql.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
    let rows = usize::try_from(rows).unwrap();
    let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
    wait_until(&format!("{what}: all {rows} rows"), LONGER, async || {
        seen.clear();
        for record in rig.records("t").await {
            *seen.entry(record.key.unwrap()).or_default() += 1;
        }
        seen.len() >= rows
    })
    .await;
    let doubled = seen.values().filter(|count| **count > 1).count();
    println!("{what}: {rows} rows, {doubled} of them more than once");
    assert_eq!(seen.len(), rows, "{what}");
    let events = Events::new(&rig.registry).all(&rig.records("counter").await).await;
    let values: Vec<u32> = events.iter().map(|event| event.after.as_ref().unwrap()["v"].parse().unwrap()).collect();
    let table = rig.sql.query("SELECT id::text, v FROM counter", &[]).await.unwrap();
    let table: BTreeMap<String, String> = table.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(replayed(&events), table, "{what}: the counter replays to the table");
    let jumps = values.windows(2).filter(|pair| pair[1] > pair[0] + 1).count();
    assert_eq!(jumps, 0, "{what}: a transaction is missing");
    if once {
        assert_eq!(doubled, 0, "{what}");
        assert!(values.windows(2).all(|pair| pair[1] >= pair[0]), "{what}: transactions are repeated");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debezium; make test-peers"]
async fn each_goes_on_from_the_others_position_in_the_middle_of_traffic() {
    let mut rig = rig_with_tables(5_000).await;
    let debezium = Debezium::start(&rig, true).await;
    debezium.connect(&rig, &[]).await;
    debezium.wait_until_running(&rig).await;
    reached(&rig, 5_000).await;
    let stop = CancellationToken::new();
    let writer = tokio::spawn(traffic(postgres().await.url(&rig.database), stop.clone()));
    more(&rig, 1_000).await;
    debezium.end("stop");

    // Ours, which sees the connector that was made over there.
    rig.kill_and_restart().await;
    streaming(&rig).await;
    let (names, config) = (rig.get("/connectors").await, rig.get(&format!("/connectors/{}", rig.connector)).await);
    assert_eq!(names, serde_json::json!([rig.connector]));
    assert_eq!(config["config"]["slot.name"], Value::from(rig.slot.clone()));
    more(&rig, 3_000).await;
    rig.stop_relay().await;

    // Back: the worker sees the connector and our position.
    let debezium = Debezium::start(&rig, true).await;
    debezium.wait_until_running(&rig).await;
    assert_eq!(debezium.get("/connectors").await, serde_json::json!([rig.connector]));
    let offsets = debezium.get(&format!("/connectors/{}/offsets", rig.connector)).await;
    assert!(offsets["offsets"][0]["offset"]["lsn"].is_i64(), "{offsets}");
    more(&rig, 3_000).await;
    stop.cancel();
    writer.await.unwrap();
    debezium.drained(&rig).await;
    debezium.end("stop");
    check(&rig, "Debezium, ours, Debezium", true).await;

    // And once more, with a connector that was made here: changed here, seen there.
    rig.kill_and_restart().await;
    streaming(&rig).await;
    rig.connect(&[("poll.interval.ms", "77")]).await;
    rig.wait_until_drained().await;
    rig.stop_relay().await;
    let debezium = Debezium::start(&rig, true).await;
    wait_until("Connect sees our change", LONGER, async || {
        let config = debezium.get(&format!("/connectors/{}", rig.connector)).await;
        config["config"]["poll.interval.ms"] == "77"
    })
    .await;
    debezium.wait_until_running(&rig).await;
    debezium.drained(&rig).await;
    debezium.end("stop");
    check(&rig, "and once more", true).await;
    rig.clean().await;
}

/// `kill -9` of either in the middle of traffic, the other takes over; with and without Connect's own exactly once.
async fn killed_in_traffic(exactly_once: bool) {
    let mut rig = rig_with_tables(100).await;
    let debezium = Debezium::start(&rig, exactly_once).await;
    // Ours writes large transactions in pieces, so that the kill finds one half written.
    debezium.connect(&rig, &[("batch.bytes.max", "20000")]).await;
    debezium.wait_until_running(&rig).await;
    reached(&rig, 100).await;
    let stop = CancellationToken::new();
    let writer = tokio::spawn(traffic(postgres().await.url(&rig.database), stop.clone()));
    more(&rig, 3_000).await;
    debezium.end("kill");
    rig.kill_and_restart().await;
    streaming(&rig).await;
    more(&rig, 3_000).await;
    rig.relay.kill().await;
    let debezium = Debezium::start(&rig, exactly_once).await;
    debezium.wait_until_running(&rig).await;
    more(&rig, 3_000).await;
    stop.cancel();
    writer.await.unwrap();
    debezium.drained(&rig).await;
    debezium.end("stop");
    check(&rig, if exactly_once { "killed, exactly once" } else { "killed, at least once" }, exactly_once).await;
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debezium; make test-peers"]
async fn killed_with_exactly_once_source_support_every_row_comes_once() {
    killed_in_traffic(true).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debezium; make test-peers"]
async fn killed_without_it_debezium_may_repeat_and_nothing_is_lost() {
    killed_in_traffic(false).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debezium; make test-peers"]
async fn a_snapshot_one_was_killed_in_is_begun_anew_by_the_other() {
    const ROWS: usize = 150_000;
    let mut rig = rig_with_tables(ROWS).await;
    let debezium = Debezium::start(&rig, true).await;
    debezium.connect(&rig, &[("batch.bytes.max", "200000")]).await;
    wait_until("Debezium's snapshot is under way", LONGER, async || rig.offsets("t").await > 2_000).await;
    debezium.end("kill");
    assert!(rig.offsets("t").await < i64::try_from(ROWS).unwrap(), "it was over before it was killed");
    rig.kill_and_restart().await;
    more(&rig, 2_000).await;
    rig.relay.kill().await;
    rig.sql.batch_execute("UPDATE counter SET v = '1'; INSERT INTO t (v) VALUES ('between')").await.unwrap();
    let debezium = Debezium::start(&rig, true).await;
    debezium.wait_until_running(&rig).await;
    check(&rig, "both killed in their snapshots", false).await;
    debezium.end("stop");
    // Ours goes on behind the snapshot that was completed.
    rig.sql.batch_execute("UPDATE counter SET v = '2'; INSERT INTO t (v) VALUES ('last')").await.unwrap();
    rig.kill_and_restart().await;
    rig.wait_until_drained().await;
    check(&rig, "after Debezium's snapshot", false).await;
    streaming(&rig).await;
    rig.clean().await;
}
