//! Connectors with all kinds of settings at once, as they ran with real Debezium: keys, rows and headers byte by byte.

use std::collections::{BTreeMap, HashMap};

use apache_avro::{Schema, from_avro_datum, types::Value as Avro};
use serde_json::Value;

use crate::{
    events::{Events, field, plain, text},
    golden::{Essence, bytes, essence, execute, golden, written},
    rig::Rig,
};

/// Rows whose values differ on purpose (the codec's own tests say which and why), by the key's bytes.
fn differs(table: &str, key: Option<&[u8]>) -> bool {
    let ids: &[i64] = match table {
        "types" => &[1, 4, 5, 7, 101, 104, 105],
        "specials" => &[1, 4],
        _ => &[],
    };
    let zigzag = |id: &i64| match u8::try_from(id * 2) {
        Ok(byte) if byte < 0x80 => vec![byte],
        _ => vec![(id * 2) as u8 | 0x80, ((id * 2) >> 7) as u8],
    };
    ids.iter().any(|id| Some(zigzag(id).as_slice()) == key)
}

fn recorded(connector: &str, table: &str) -> Vec<Essence> {
    let lines = golden(&format!("modes/messages/{connector}.public.{table}.jsonl"));
    lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|record| {
            // Magic and schema id were left out.
            let hex = |part: &str| record[part]["hex"].as_str().map(|hex| bytes(&format!("0000000000{hex}")));
            let headers = record["headers"].as_array().unwrap().iter();
            let headers =
                headers.map(|header| (header[0].as_str().unwrap().into(), header[1].as_str().unwrap().into()));
            essence(hex("key").as_deref(), hex("value").as_deref(), headers.collect())
        })
        .collect()
}

/// The rows' defaults that name the time must be those of the recording.
pub async fn prepare(rig: &Rig) {
    rig.sql.batch_execute(&golden("modes/schema.sql")).await.unwrap();
    for line in golden("modes/rows.jsonl").lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        if row["table"] == "types" {
            let row = &row["row"];
            let set = format!(
                "UPDATE types SET n_ts3 = {}, n_tstz = {} WHERE id = {}",
                row["n_ts3"], row["n_tstz"], row["id"]
            );
            rig.sql.batch_execute(&set.replace('"', "'")).await.unwrap();
        }
    }
}

const CONNECTORS: [(&str, &[&str]); 10] = [
    ("mdef", &["types", "nodef", "toasts"]),
    ("mstr", &["types", "nodef", "toasts", "specials"]),
    ("mdbl", &["types", "nodef", "toasts", "specials"]),
    ("mnano", &["types", "toasts"]),
    ("mconn", &["types", "nodef", "toasts"]),
    ("mamic", &["types", "nodef", "toasts"]),
    ("shape", &["people", "plain"]),
    ("shap2", &["people"]),
    ("txme", &["part_eu", "part_us", "sh_1", "sh_2", "uniq", "ri_nothing"]),
    ("root", &["part"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn connectors_of_all_shapes_write_what_debezium_wrote() {
    let rig = Rig::start().await;
    prepare(&rig).await;
    let settings: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_str(&golden("modes/connectors.json")).unwrap();
    for (connector, _) in CONNECTORS {
        let mut changes: Vec<_> =
            settings[connector].iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        changes.push(("topic.creation.default.partitions", "1"));
        // As Debezium reads: partitions of a table are read one after the other only by a single reader.
        changes.push(("snapshot.max.threads", "1"));
        rig.connect_as(connector, &changes).await;
    }
    execute(&rig, "modes/stream.sql").await;
    let mut different = Vec::new();
    for (connector, tables) in CONNECTORS {
        rig.wait_until_slot_drained(connector).await;
        for table in tables {
            let mut expected = recorded(connector, table);
            let mut found = written(&rig.topic_records(&format!("{connector}.public.{table}")).await);
            if *table == "toasts" && !found.is_empty() {
                // The snapshot's row is long, and not in the recording.
                found.remove(0);
            }
            expected.retain(|record| !differs(table, record.key.as_deref()));
            found.retain(|record| !differs(table, record.key.as_deref()));
            if expected != found {
                let first = expected.iter().zip(&found).position(|(a, b)| a != b);
                let shown = first.map(|at| format!("record {at}: {:?} instead of {:?}", found[at], expected[at]));
                let (found, expected) = (found.len(), expected.len());
                different.push(format!("{connector} {table}: {found} of {expected}; {}", shown.unwrap_or_default()));
            }
        }
    }
    assert!(different.is_empty(), "{}\n{}", different.join("\n"), rig.relay.log_tail());
    transactions_are_debeziums(&rig).await;
    rig.clean().await;
}

/// Tables and events of every transaction that has some, in order; messages have a name of our own.
fn ends(values: &[Avro]) -> Vec<Vec<(String, String)>> {
    let ended = values.iter().filter(|value| text(field(value, "status")) == "END");
    let tables = ended.map(|value| match plain(field(value, "data_collections")) {
        Avro::Array(tables) => {
            let named = |table: &Avro| {
                let name = text(field(table, "data_collection"));
                let name = if name.contains("LogicalDecodingMessage") { "message".to_owned() } else { name };
                (name, text(field(table, "event_count")))
            };
            let mut tables: Vec<_> = tables.iter().map(named).collect();
            tables.sort();
            tables
        }
        other => panic!("{other:?}"),
    });
    // A key change is one event more there, where the old key was not sent.
    tables.filter(|tables| !tables.is_empty() && tables[0].0 != "public.ri_index").collect()
}

async fn transactions_are_debeziums(rig: &Rig) {
    let schemas: HashMap<String, String> = serde_json::from_str(&golden("modes/schemas.json")).unwrap();
    let recorded: Vec<Avro> = golden("modes/messages/txme.transaction.jsonl")
        .lines()
        .map(|line| {
            let record: Value = serde_json::from_str(line).unwrap();
            let schema = Schema::parse_str(&schemas[&record["value"]["schema"].to_string()]).unwrap();
            from_avro_datum(&schema, &mut bytes(record["value"]["hex"].as_str().unwrap()).as_slice(), None).unwrap()
        })
        .collect();
    let mut events = Events::new(&rig.registry);
    let mut values = Vec::new();
    for record in rig.topic_records("txme.transaction").await {
        assert!(record.headers.is_empty());
        values.push(events.decode(record.value.as_deref().unwrap()).await);
    }
    assert_eq!(ends(&values), ends(&recorded));
    let orders = |value: &Avro| {
        let block = field(value, "transaction");
        ["total_order", "data_collection_order"].map(|name| text(field(block, name)))
    };
    let third = &rig.topic_records("txme.public.sh_1").await[3];
    assert_eq!(orders(&events.decode(third.value.as_deref().unwrap()).await), ["4", "2"]);
    let messages = rig.topic_records("txme.message").await;
    let mut contents = Vec::new();
    for message in &messages {
        let value = events.decode(message.value.as_deref().unwrap()).await;
        match plain(field(field(&value, "message"), "content")) {
            Avro::Bytes(content) => contents.push(String::from_utf8(content.clone()).unwrap()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(contents, ["in tx", "not tx", "mid tx"]);
}
