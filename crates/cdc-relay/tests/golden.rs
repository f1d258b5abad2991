//! The same statements as were run against real Debezium: keys, rows and headers are compared byte for byte.

use std::{collections::HashMap, path::PathBuf};

use serde_json::Value;
use topics::OwnedRecord;

use crate::rig::Rig;

/// Where `source.version` begins in every value: everything before is `before` and `after`.
const VERSION: &[u8] = b"\x163.6.3.Final";

pub fn golden(path: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(path);
    std::fs::read_to_string(&root).unwrap_or_else(|error| panic!("{}: {error}", root.display()))
}

pub fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// What of a record does not depend on time, place in the log or the registry: key, rows, op, names of headers, and the
/// headers of key changes whole.
#[derive(Debug, PartialEq)]
pub struct Essence {
    pub key: Option<Vec<u8>>,
    rows: Option<Vec<u8>>,
    headers: Vec<(String, Option<String>)>,
}

pub fn essence(key: Option<&[u8]>, value: Option<&[u8]>, headers: Vec<(String, String)>) -> Essence {
    let rows = value.map(|value| {
        let end = value.windows(VERSION.len()).position(|window| window == VERSION).unwrap();
        value[5..end].to_vec()
    });
    let headers = headers.into_iter().map(|(name, value)| {
        let stable = name == "__debezium.newkey" || name == "__debezium.oldkey";
        (name, stable.then_some(value))
    });
    Essence { key: key.map(|key| key[5..].to_vec()), rows, headers: headers.collect() }
}

/// Row of `all_types` with infinite dates.
const INFINITY_ROW: i64 = 4;

/// The messages of one table, those of the snapshot or those of the stream.
fn recorded(prefix: &str, table: &str, snapshot: bool) -> Vec<Essence> {
    golden(&format!("messages/{prefix}.public.{table}.jsonl"))
        .lines()
        // Python's words for numbers JSON does not have; the decoded values are not looked at.
        .map(|line| line.replace(": NaN", ": null").replace(": Infinity", ": null").replace(": -Infinity", ": null"))
        .map(|line| serde_json::from_str::<Value>(&line).unwrap())
        // Truncates are kept there and skipped by default.
        .filter(|record| record["value"]["op"] != "t" && (record["value"]["op"] == "r") == snapshot)
        // The date `infinity` came out otherwise in Debezium's snapshot than in its stream; the codec writes the stream's.
        .filter(|record| !(snapshot && table == "all_types" && record["key"]["id"] == INFINITY_ROW))
        .map(|record| {
            let hex = |field: &str| record[field].as_str().map(bytes);
            let headers = record["headers"].as_array().unwrap().iter();
            let headers =
                headers.map(|header| (header[0].as_str().unwrap().into(), header[1]["utf8"].as_str().unwrap().into()));
            essence(hex("key_hex").as_deref(), hex("value_hex").as_deref(), headers.collect())
        })
        .collect()
}

pub fn written(records: &[OwnedRecord]) -> Vec<Essence> {
    records
        .iter()
        .map(|record| {
            let headers = record
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), String::from_utf8(value.clone().unwrap_or_default()).unwrap()));
            essence(record.key.as_deref(), record.value.as_deref(), headers.collect())
        })
        .collect()
}

/// Statements of a golden file, one transaction each unless `BEGIN` and `COMMIT` are shown.
pub async fn execute(rig: &Rig, path: &str) {
    let text: String =
        golden(path).lines().filter(|line| !line.starts_with("--")).map(|line| format!("{line}\n")).collect();
    // Each line that ends a statement is sent alone, so that statements do not share a transaction.
    let mut statement = String::new();
    for line in text.lines() {
        statement.push_str(line);
        statement.push('\n');
        let open = statement.starts_with("BEGIN;\n") && !statement.contains("COMMIT;");
        if line.ends_with(';') && !open {
            rig.sql.batch_execute(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
            statement.clear();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_writes_what_debezium_wrote() {
    let rig = Rig::start().await;
    execute(&rig, "00-schema.sql").await;
    execute(&rig, "01-before-snapshot.sql").await;
    let settings = [
        ("snapshot.mode", "no_data"),
        ("publication.name", "storefront_pub"),
        ("topic.creation.default.partitions", "1"),
    ];
    rig.connect(&settings).await;
    rig.wait_until_streaming().await;
    execute(&rig, "02-streaming.sql").await;
    rig.wait_until_drained().await;
    compare(&rig, "txm", false).await;
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_snapshot_reads_what_debezium_read() {
    let rig = Rig::start().await;
    execute(&rig, "00-schema.sql").await;
    execute(&rig, "01-before-snapshot.sql").await;
    rig.connect(&[("publication.name", "storefront_pub"), ("topic.creation.default.partitions", "1")]).await;
    testkit::wait_until("the snapshot is complete", crate::rig::LONG, async || {
        rig.progress().await.get("snapshot").is_some_and(|state| state == "complete")
    })
    .await;
    compare(&rig, "storefront", true).await;
    rig.clean().await;
}

const TABLES: [&str; 11] = [
    "customers",
    "products",
    "orders",
    "order_items",
    "payments",
    "ri_full",
    "composite_pk",
    "toasty",
    "toasty_full",
    "no_pk",
    "all_types",
];

async fn compare(rig: &Rig, prefix: &str, snapshot: bool) {
    let mut different: HashMap<&str, String> = HashMap::new();
    for table in TABLES {
        let expected = recorded(prefix, table, snapshot);
        let mut found = written(&rig.records(table).await);
        if snapshot && table == "all_types" {
            found.retain(|record| record.key != Some(vec![8]));
        }
        if expected != found {
            let first = expected.iter().zip(&found).position(|(a, b)| a != b);
            let shown = first.map(|at| format!("record {at}: {:?} instead of {:?}", found[at], expected[at]));
            different.insert(
                table,
                format!("{} records instead of {}; {}", found.len(), expected.len(), shown.unwrap_or_default()),
            );
        }
    }
    assert!(different.is_empty(), "{different:#?}\n{}", rig.relay.log_tail());
}
