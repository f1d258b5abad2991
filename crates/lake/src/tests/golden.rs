//! What real Debezium wrote, for every type it knows, through stage and shape.

use std::{collections::BTreeMap, path::PathBuf};

use model::names::RawObject;
use serde_json::{Value, json};

use super::{fixture::Lake, topic::container};

fn golden(path: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    std::fs::read_to_string(root.join(path)).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The recorder wrote floats that JSON has no words for; here only the bytes count.
fn plain(line: &str) -> String {
    line.replace(": NaN", ": null").replace(": -Infinity", ": null").replace(": Infinity", ": null")
}

/// Puts a recorded topic into the landing zone, an object for each run of one schema. Returns the number of records.
fn recorded(lake: &Lake, topic: &str) -> usize {
    let messages: Vec<Value> = golden(&format!("messages/{topic}.jsonl"))
        .lines()
        .map(|line| serde_json::from_str(&plain(line)).unwrap())
        .collect();
    let mut schemas: BTreeMap<u64, String> = BTreeMap::new();
    for id in messages.iter().filter_map(|message| message["value_schema_id"].as_u64()) {
        let posted = schemas.len() + 1;
        schemas.entry(id).or_insert_with(|| golden(&format!("schemas/{topic}-value.posted{posted}.avsc")));
    }
    for run in messages.chunk_by(|a, b| a["value_schema_id"] == b["value_schema_id"]) {
        let (start, next) = (run[0]["offset"].as_i64().unwrap(), run[run.len() - 1]["offset"].as_i64().unwrap() + 1);
        // Magic and schema id stand before the record.
        let records: Vec<_> =
            run.iter().map(|message| bytes(message["value_hex"].as_str().unwrap())[5..].to_vec()).collect();
        let header = [
            ("avro.schema", schemas[&run[0]["value_schema_id"].as_u64().unwrap()].clone()),
            ("haus.next-offset", next.to_string()),
            ("haus.record-count", records.len().to_string()),
        ];
        let key = RawObject {
            topics_dir: "kafka".into(),
            topic: topic.into(),
            partition: 0,
            start_offset: start,
            extension: "avro".into(),
        };
        lake.raw.0.lock().unwrap().insert(key.to_string(), container(&header, &records));
    }
    messages.len()
}

const TABLES: [&str; 12] = [
    "WeirdTable_1",
    "all_types",
    "composite_pk",
    "customers",
    "no_pk",
    "order_items",
    "orders",
    "payments",
    "products",
    "ri_full",
    "toasty",
    "toasty_full",
];

#[tokio::test]
async fn every_recorded_table_is_staged_in_full() {
    let lake = Lake::new(100);
    for table in TABLES {
        let topic = format!("storefront.public.{table}");
        let messages = recorded(&lake, &topic);
        assert_eq!(lake.stage_all(&topic).await, messages, "{topic}");
        let rows = lake.sql(&format!("SELECT COUNT(*), MAX(_offset) FROM stage.\"{table}\"")).await;
        assert_eq!(rows, vec![json!([messages, messages - 1])], "{topic}");
        lake.shape_all(&topic).await;
    }
    let orders = lake.sql("SELECT id, status, total, created_at FROM shape.orders ORDER BY id").await;
    assert_eq!(orders[0][2], "39.98");
    assert_eq!(orders[0][3], "2024-05-05T05:05:05.000000");
}

/// As [`recorded`], of a connector with settings of its own; tombstones leave gaps between the offsets.
fn recorded_mode(lake: &Lake, topic: &str) -> usize {
    let schemas: Value = serde_json::from_str(&golden("modes/schemas.json")).unwrap();
    let messages: Vec<Value> = golden(&format!("modes/messages/{topic}.jsonl"))
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|message| message["value"].is_object())
        .collect();
    let end = messages.last().unwrap()["offset"].as_i64().unwrap() + 1;
    let runs: Vec<&[Value]> = messages.chunk_by(|a, b| a["value"]["schema"] == b["value"]["schema"]).collect();
    for (number, run) in runs.iter().enumerate() {
        let start = if number == 0 { 0 } else { run[0]["offset"].as_i64().unwrap() };
        let next = runs.get(number + 1).map_or(end, |next| next[0]["offset"].as_i64().unwrap());
        let records: Vec<_> = run.iter().map(|message| bytes(message["value"]["hex"].as_str().unwrap())).collect();
        let offsets: Vec<String> = run.iter().map(|message| format!("{}+1", message["offset"])).collect();
        let schema = &schemas[run[0]["value"]["schema"].to_string()];
        let header = [
            ("avro.schema", schema.as_str().map_or_else(|| schema.to_string(), str::to_owned)),
            ("haus.next-offset", next.to_string()),
            ("haus.record-count", records.len().to_string()),
            ("haus.offset-runs", offsets.join(",")),
        ];
        let key = RawObject {
            topics_dir: "kafka".into(),
            topic: topic.into(),
            partition: 0,
            start_offset: start,
            extension: "avro".into(),
        };
        lake.raw.0.lock().unwrap().insert(key.to_string(), container(&header, &records));
    }
    messages.len()
}

#[tokio::test]
async fn every_table_is_staged_in_full_in_every_mode_of_types() {
    let mut wrong = Vec::new();
    for mode in ["mdef", "mstr", "mdbl", "mnano", "mconn", "mamic"] {
        let lake = Lake::new(100);
        for table in ["types", "nodef", "toasts", "specials"] {
            let topic = format!("{mode}.public.{table}");
            if table == "specials" && !["mstr", "mdbl"].contains(&mode) {
                continue;
            }
            let messages = recorded_mode(&lake, &topic);
            let partitions = [0];
            match lake.stage.run_topic(&topic, &partitions).await {
                Ok(staged) if staged.rows == messages => {}
                other => wrong.push(format!("{topic}: {messages} records: {other:?}")),
            }
            lake.shape_all(&topic).await;
        }
        let columns = "c_num82, c_date, c_time, c_time3, c_ts, c_ts3, c_tstz, c_bytea, c_float8";
        let rows = lake.sql(&format!("SELECT {columns} FROM stage.types WHERE id = 1 ORDER BY _offset LIMIT 1")).await;
        // Text is what was asked for in `mstr`; milliseconds are all that Connect's own types have.
        let of = |usual: &str, text: &str, connect: &str| match mode {
            "mstr" => json!(text),
            "mconn" => json!(connect),
            _ => json!(usual),
        };
        let expected = json!([
            if mode == "mdbl" { json!(1234.5) } else { json!("1234.50") },
            of("2024-02-29", "2024-02-29Z", "2024-02-29"),
            of("13:14:15.123456", "13:14:15.123456Z", "13:14:15.123"),
            of("13:14:15.123", "13:14:15.123Z", "13:14:15.123"),
            of("2024-02-29T13:14:15.123456", "2024-02-29T13:14:15.123456Z", "2024-02-29T13:14:15.123000"),
            of("2024-02-29T13:14:15.123000", "2024-02-29T13:14:15.123Z", "2024-02-29T13:14:15.123000"),
            "2024-02-29T11:14:15.123456",
            rows[0][7],
            2.5
        ]);
        if rows != vec![expected.clone()] {
            wrong.push(format!("{mode}: {rows:?}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn every_type_keeps_its_value() {
    let lake = Lake::new(100);
    recorded(&lake, "storefront.public.all_types");
    lake.stage_all("storefront.public.all_types").await;
    let expected = [
        ("c_bool", json!(true)),
        ("c_int2", json!(-32768)),
        ("c_int8", json!(i64::MIN)),
        ("c_float8", json!(std::f64::consts::E)),
        ("c_num102", json!("12345678.90")),
        ("c_num5", json!("-12345")),
        ("c_num", json!("123.456")),
        ("c_text", json!("h\u{e9}llo")),
        ("c_bytea", json!("deadbeef00")),
        ("c_date", json!("2024-02-29")),
        ("c_time", json!("13:14:15.123456")),
        ("c_time3", json!("13:14:15.123")),
        ("c_timetz", json!("11:14:15.123456Z")),
        ("c_ts", json!("2024-02-29T13:14:15.123456")),
        ("c_ts3", json!("2024-02-29T13:14:15.123000")),
        ("c_tstz", json!("2024-02-29T11:14:15.123456")),
        ("c_interval", json!(37_091_106_789_000_i64)),
        ("c_uuid", json!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
        ("c_jsonb", json!("{\"a\": [1, 2], \"b\": 1}")),
        ("c_intarr", json!([1, null, 3])),
        ("c_textarr", json!(["a", null, "c d"])),
        ("c_numarr", json!(["1.50", "2.25"])),
        ("c_mood", json!("happy")),
        ("c_moodarr", json!(["sad", "ok"])),
        ("c_money", json!("1234.56")),
        ("c_bit8", json!("a5")),
        ("c_oid", json!(12345)),
        ("c_nn", json!(7)),
    ];
    let columns: Vec<_> = expected.iter().map(|(column, _)| *column).collect();
    let rows = lake.sql(&format!("SELECT {} FROM stage.all_types WHERE id = 1", columns.join(", "))).await;
    for (index, (column, value)) in expected.iter().enumerate() {
        assert_eq!(rows[0][index], *value, "{column}");
    }
    let last = lake.sql("SELECT MAX(c_time) FROM stage.all_types").await;
    assert_eq!(last, vec![json!(["23:59:59.999999"])]);
    let nulls = lake.sql("SELECT c_num, c_intarr, c_point, c_tstz FROM stage.all_types WHERE id = 2").await;
    assert_eq!(nulls, vec![json!([null, null, null, null])]);
}
