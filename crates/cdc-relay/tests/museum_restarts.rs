//! More of the museum: losses of others that come with a restart or with reading in parallel.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use rand::{Rng, SeedableRng, seq::SliceRandom};
use testkit::{postgres, wait_until};
use tokio_util::sync::CancellationToken;
use topics::{ConnectOffset, read_to_end};

use crate::{
    events::Events,
    rig::{LONG, Rig},
};

/// The position stored for the rig's connector.
async fn stored(rig: &Rig) -> serde_json::Map<String, serde_json::Value> {
    let records = read_to_end(&rig.cluster, &rig.setting("CONNECT_OFFSET_TOPIC")).await.unwrap();
    let mut entries = records.iter().filter_map(|record| {
        let entry = ConnectOffset::parse(record.key.as_deref()?, record.value.as_deref()).ok()?;
        (entry.connector == rig.connector).then_some(entry.offset?)
    });
    entries.next_back().unwrap()
}

/// DBZ-5915 and DBZ-6204: the end of a commit record is where the next record begins, so the stored position may be the
/// LSN of BEGIN and of the first row of the next transaction as well. It was taken for that row, and the row skipped.
#[tokio::test(flavor = "multi_thread")]
async fn dbz_5915_and_6204_a_transaction_that_begins_where_the_stored_one_ended() {
    let mut rig = Rig::start().await;
    rig.sql.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text)").await.unwrap();
    rig.connect(&[("snapshot.mode", "no_data"), ("heartbeat.interval.ms", "0")]).await;
    rig.wait_until_streaming().await;
    let (mut met, mut id) = (0, 0);
    for _ in 0..8 {
        id += 1;
        rig.sql.batch_execute(&format!("INSERT INTO t VALUES ({id}, 'before the stop')")).await.unwrap();
        rig.wait_for_records("t", id).await;
        let position = wait_until("the position behind it is stored", LONG, async || {
            let stored = stored(&rig).await;
            (stored["messageType"] == "COMMIT").then(|| stored["lsn_commit"].as_i64().unwrap())
        })
        .await;
        rig.relay.kill().await;
        id += 1;
        rig.sql.batch_execute(&format!("INSERT INTO t VALUES ({id}, 'after the stop')")).await.unwrap();
        rig.kill_and_restart().await;
        let records = rig.wait_for_records("t", id).await;
        assert_eq!(records.len(), id);
        let events = Events::new(&rig.registry).all(&records).await;
        let row = events.iter().find(|event| event.after.as_ref().unwrap()["id"] == id.to_string()).unwrap();
        met += usize::from(row.lsn == position);
        if met == 2 {
            break;
        }
    }
    assert!(met > 0, "the log never looked as it did in the reports");
    rig.clean().await;
}

/// Writes pairs of rows, one into each table, until told to stop.
async fn pairs(url: String, stop: CancellationToken) -> i64 {
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut id = 0;
    while !stop.is_cancelled() {
        id += 1;
        let sql = format!("BEGIN; INSERT INTO a VALUES ({id}, 'x'); INSERT INTO b VALUES ({id}, 'x'); COMMIT");
        client.batch_execute(&sql).await.unwrap();
    }
    drop(client);
    let _ = connection.await;
    id
}

/// The readers of a parallel snapshot each saw a state of their own: rows committed meanwhile came from some tables and not
/// from others, or twice.
#[tokio::test(flavor = "multi_thread")]
async fn dbz_2330_all_readers_see_the_state_the_stream_begins_at() {
    let rig = Rig::start().await;
    rig.sql
        .batch_execute("CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text)")
        .await
        .unwrap();
    let stop = CancellationToken::new();
    let writer = tokio::spawn(pairs(postgres().await.url(&rig.database), stop.clone()));
    wait_until("rows to begin with", LONG, async || {
        rig.sql.query_one("SELECT count(*) FROM b", &[]).await.unwrap().get::<_, i64>(0) > 200
    })
    .await;
    rig.connect(&[("snapshot.max.threads", "4")]).await;
    rig.wait_until_streaming().await;
    stop.cancel();
    let count = writer.await.unwrap();
    rig.wait_until_drained().await;
    let mut reader = Events::new(&rig.registry);
    let mut read = Vec::new();
    for table in ["a", "b"] {
        let events = reader.all(&rig.records(table).await).await;
        let ids = |op: &str| -> BTreeSet<i64> {
            let events = events.iter().filter(|event| event.op == op);
            events.map(|event| event.after.as_ref().unwrap()["id"].parse().unwrap()).collect()
        };
        let (reads, creates) = (ids("r"), ids("c"));
        assert_eq!(events.len(), reads.len() + creates.len(), "{table}: each row once in its kind");
        assert!(reads.is_disjoint(&creates), "{table}: read and streamed");
        assert_eq!(reads.len() + creates.len(), usize::try_from(count).unwrap(), "{table}: all rows");
        assert!(!creates.is_empty(), "{table}: written to during the snapshot");
        read.push(reads);
    }
    assert!(read[0] == read[1], "one state for all tables");
    rig.clean().await;
}

/// Transactions that write by turns and commit in another order than they began come one after the other, whole, in the
/// order of their commits, whatever is killed in between.
#[tokio::test(flavor = "multi_thread")]
async fn interleaved_transactions_come_whole_and_in_the_order_of_commits() {
    const SESSIONS: usize = 6;
    const ROUNDS: usize = 12;
    let mut rig = Rig::start().await;
    rig.sql.batch_execute("CREATE TABLE t (id bigserial PRIMARY KEY, tx text)").await.unwrap();
    let settings =
        [("snapshot.mode", "no_data"), ("batch.bytes.max", "2000"), ("topic.creation.default.partitions", "1")];
    rig.connect(&settings).await;
    rig.wait_until_streaming().await;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(postgres().await.connect(&rig.database).await);
    }
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    let (mut committed, mut rows) = (Vec::new(), BTreeMap::new());
    for round in 0..ROUNDS {
        for session in &sessions {
            session.batch_execute("BEGIN").await.unwrap();
        }
        for _ in 0..SESSIONS * 8 {
            let index = random.random_range(0..SESSIONS);
            let name = format!("{round}.{index}");
            let sql = format!("INSERT INTO t (tx) SELECT '{name}' FROM generate_series(1, 3)");
            sessions[index].batch_execute(&sql).await.unwrap();
            *rows.entry(name).or_insert(0) += 3;
        }
        let mut order: Vec<usize> = (0..SESSIONS).collect();
        order.shuffle(&mut random);
        for index in order {
            sessions[index].batch_execute("COMMIT").await.unwrap();
            let name = format!("{round}.{index}");
            if rows.contains_key(&name) {
                committed.push(name);
            }
        }
        if round % 4 == 1 {
            rig.kill_and_restart().await;
        }
    }
    rig.wait_until_drained().await;
    let events = Events::new(&rig.registry).all(&rig.records("t").await).await;
    let mut seen: Vec<(String, i32)> = Vec::new();
    for event in &events {
        let name = &event.after.as_ref().unwrap()["tx"];
        match seen.last_mut() {
            Some((last, count)) if last == name => *count += 1,
            _ => seen.push((name.clone(), 1)),
        }
    }
    let expected: Vec<(String, i32)> = committed.into_iter().map(|name| (name.clone(), rows[&name])).collect();
    assert_eq!(seen, expected);
    rig.clean().await;
}

/// A relay with many tables: each is snapshot, streamed, and streamed again after a restart. The number of the report is
/// that of `slow::five_thousand_tables`; this one runs everywhere.
#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_tables() {
    many_tables(300, Duration::from_secs(120)).await;
}

pub async fn many_tables(tables: usize, deadline: Duration) {
    let mut rig = Rig::start().await;
    let each = |sql: &str| {
        format!(
            "DO $$ BEGIN FOR i IN 1..{tables} LOOP EXECUTE format('{sql}', i); IF i % 500 = 0 THEN COMMIT; END IF; END LOOP; END $$"
        )
    };
    rig.sql.batch_execute(&each("CREATE TABLE t%1$s (id int PRIMARY KEY, v text)")).await.unwrap();
    rig.sql.batch_execute(&each("INSERT INTO t%1$s VALUES (1, ''snapshot'')")).await.unwrap();
    // One topic for all: the count of tables is ours to bear, that of topics would be Kafka's.
    let settings = [
        ("transforms", "one"),
        ("transforms.one.type", "org.apache.kafka.connect.transforms.RegexRouter"),
        ("transforms.one.regex", "(.*)\\.public\\.t\\d+"),
        ("transforms.one.replacement", "$1.public.all"),
        ("key.converter", "org.apache.kafka.connect.json.JsonConverter"),
        ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
        ("key.converter.schemas.enable", "false"),
        ("value.converter.schemas.enable", "false"),
        ("topic.creation.default.partitions", "1"),
    ];
    let begun = std::time::Instant::now();
    rig.connect(&settings).await;
    wait_for_count(&rig, tables, deadline).await;
    println!("{tables} tables: snapshot after {:?}", begun.elapsed());
    rig.wait_until_streaming().await;
    let begun = std::time::Instant::now();
    rig.sql.batch_execute(&each("INSERT INTO t%1$s VALUES (2, ''stream'')")).await.unwrap();
    wait_for_count(&rig, 2 * tables, deadline).await;
    println!("{tables} tables: first row of each streamed after {:?}", begun.elapsed());
    rig.kill_and_restart().await;
    let begun = std::time::Instant::now();
    rig.sql.batch_execute(&each("UPDATE t%1$s SET v = ''again'' WHERE id = 2")).await.unwrap();
    wait_for_count(&rig, 3 * tables, deadline).await;
    println!(
        "{tables} tables: an update of each after a restart, {:?}; peak RSS {} kB",
        begun.elapsed(),
        rig.peak_kb()
    );
    let mut seen: HashMap<(String, String), usize> = HashMap::new();
    for record in rig.records("all").await {
        let value: serde_json::Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
        let table = value["source"]["table"].as_str().unwrap().to_owned();
        *seen.entry((table, value["op"].as_str().unwrap().to_owned())).or_default() += 1;
    }
    assert_eq!(seen.len(), 3 * tables, "every table with r, c and u");
    assert!(seen.values().all(|count| *count == 1), "each once");
    rig.clean().await;
}

async fn wait_for_count(rig: &Rig, count: usize, deadline: Duration) {
    wait_until(&format!("{count} records of all tables"), deadline, async || {
        // Transaction markers count too, so this is looked at first because it is cheap.
        rig.offsets("all").await >= i64::try_from(count).unwrap() && rig.records("all").await.len() >= count
    })
    .await;
}
