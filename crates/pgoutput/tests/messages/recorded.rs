//! A recorded stream of PostgreSQL 17 (`tests/golden/pgoutput`), through parser and envelope codec, against the records
//! that Debezium made of the same statements.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs,
    path::PathBuf,
};

use model::{
    cell::{Cell, fill_unchanged},
    envelope::{EnvelopeCodec, Op, SnapshotMark, Source},
    lsn::Lsn,
    table::TableSchema,
};
use pgoutput::{Decoder, Message, Relations};
use serde_json::Value;

#[path = "../../../model/tests/envelope/tables.rs"]
mod tables;

fn golden(path: &str) -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(path);
    fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn json(line: &str) -> Value {
    // Python wrote the messages, and its NaN and Infinity are no JSON.
    serde_json::from_str(&line.replace(": NaN", ": null").replace(": Infinity", ": null")).unwrap()
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Debezium's records of one topic, the next one first.
struct Expected {
    codec: EnvelopeCodec,
    altered: EnvelopeCodec,
    table: TableSchema,
    records: VecDeque<Value>,
}

fn expectations() -> HashMap<String, Expected> {
    let codec = |table: &TableSchema| EnvelopeCodec::new("storefront", "storefront", table).unwrap();
    tables::all()
        .into_iter()
        .map(|(topic, table)| {
            let lines = golden(&format!("messages/storefront.public.{topic}.jsonl"));
            let records = lines.lines().map(json).collect();
            let altered = if topic == "customers" { codec(&tables::customers_with_loyalty()) } else { codec(&table) };
            (table.name.clone(), Expected { codec: codec(&table), altered, table, records })
        })
        .collect()
}

impl Expected {
    /// Encodes a change and compares it with the topic's next record.
    fn compare(&mut self, before: Option<&[Cell<'_>]>, after: Option<&[Cell<'_>]>) {
        let record =
            self.records.pop_front().unwrap_or_else(|| panic!("more changes than records: {}", self.table.name));
        let value = &record["value"];
        let op = match value["op"].as_str().unwrap() {
            "r" => Op::Read,
            "c" => Op::Create,
            "u" => Op::Update,
            _ => Op::Delete,
        };
        let columns = after.or(before).map_or(0, <[Cell<'_>]>::len);
        let codec = if columns == self.table.columns.len() { &self.codec } else { &self.altered };
        let id = |field: &str| u32::try_from(record[field].as_u64().unwrap_or_default()).unwrap();
        let mut out = Vec::new();
        let ts_ns = value["ts_ns"].as_i64().unwrap().into();
        codec
            .encode_value(id("value_schema_id"), op, before, after, &source(&value["source"]), ts_ns, &mut out)
            .unwrap();
        let mut expected = unhex(record["value_hex"].as_str().unwrap());
        if value["after"][1]["c_date"] == -622_191_234 {
            // The date `infinity` in Debezium's snapshot; its stream writes the other number.
            let (snapshot, stream) = ([0x83, 0x8A, 0xAF, 0xD1, 0x04], [0xE7, 0xD4, 0xFE, 0xFF, 0x0F]);
            let at = expected.windows(5).position(|part| part == snapshot).unwrap();
            expected.splice(at..at + 5, stream);
        }
        assert_eq!(hex(&out), hex(&expected), "{}, offset {}", self.table.name, record["offset"]);
        out.clear();
        codec.encode_key(id("key_schema_id"), after.or(before).unwrap(), &mut out).unwrap();
        assert_eq!(hex(&out), record["key_hex"].as_str().unwrap_or_default(), "key of {}", self.table.name);
    }

    fn update<'a>(&mut self, old: Option<Vec<Cell<'a>>>, mut new: Vec<Cell<'a>>) {
        if let Some(old) = &old {
            fill_unchanged(&mut new, old);
        }
        let key_changed =
            old.as_ref().is_some_and(|old| self.table.key.iter().any(|column| old[*column] != new[*column]));
        if key_changed {
            self.compare(old.as_deref(), None);
            self.compare(None, Some(&new));
        } else {
            self.compare(old.as_deref(), Some(&new));
        }
    }
}

fn source(source: &Value) -> Source<'_> {
    let sequence: Vec<Option<String>> = serde_json::from_str(source["sequence"].as_str().unwrap()).unwrap();
    let lsn = |text: &Option<String>| text.as_ref().map(|text| Lsn(text.parse().unwrap()));
    let snapshot = match source["snapshot"].as_str().unwrap() {
        "true" => SnapshotMark::True,
        "first" => SnapshotMark::First,
        "first_in_data_collection" => SnapshotMark::FirstInDataCollection,
        "last_in_data_collection" => SnapshotMark::LastInDataCollection,
        "last" => SnapshotMark::Last,
        _ => SnapshotMark::False,
    };
    Source {
        snapshot,
        ts_us: source["ts_us"].as_i64().unwrap(),
        tx_id: source["txId"].as_i64(),
        lsn: source["lsn"].as_u64().map(Lsn),
        sequence: (lsn(&sequence[0]), lsn(&sequence[1])),
        origin: None,
    }
}

#[test]
fn a_real_stream_becomes_debeziums_records() {
    let mut expected = expectations();
    let mut relations = Relations::default();
    let mut decoder = Decoder::default();
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for line in golden("pgoutput/stream.jsonl").lines() {
        let payload = unhex(json(line)["hex"].as_str().unwrap());
        let message = decoder.message(&payload).unwrap().message;
        assert_eq!(pgoutput::parse(&payload).unwrap(), message);
        let mut topic = |id: u32| {
            let name = relations.get(id).unwrap().name.clone();
            expected.remove_entry(&name).unwrap()
        };
        let (kind, touched) = match &message {
            Message::Relation(relation) => {
                relations.update(relation.clone());
                ("relation", None)
            }
            Message::Insert(insert) => {
                let (name, mut topic) = topic(insert.relation_id);
                let row: Vec<Cell<'_>> = insert.new.cells().collect();
                topic.compare(None, Some(&row));
                ("insert", Some((name, topic)))
            }
            Message::Update(update) => {
                let (name, mut topic) = topic(update.relation_id);
                topic.update(update.old.as_ref().map(|old| old.cells().collect()), update.new.cells().collect());
                ("update", Some((name, topic)))
            }
            Message::Delete(delete) => {
                let (name, mut topic) = topic(delete.relation_id);
                let row: Vec<Cell<'_>> = delete.old.cells().collect();
                topic.compare(Some(&row), None);
                ("delete", Some((name, topic)))
            }
            Message::Truncate(truncate) => {
                assert!(truncate.relation_ids().all(|id| relations.get(id).is_some()));
                ("truncate", None)
            }
            Message::Message(message) => {
                assert_eq!(message.prefix, "myprefix");
                assert!(message.content.starts_with(if message.transactional { b"hello tx" } else { b"hello notx" }));
                ("message", None)
            }
            Message::Begin(_) => ("begin", None),
            Message::Commit(_) => ("commit", None),
            Message::Type(_) => ("type", None),
            other => panic!("{other:?}"),
        };
        expected.extend(touched);
        *kinds.entry(kind).or_default() += 1;
    }
    for (name, topic) in &expected {
        assert!(topic.records.is_empty(), "{} records of {name} without a change", topic.records.len());
    }
    for kind in ["begin", "commit", "delete", "insert", "message", "relation", "truncate", "type", "update"] {
        assert!(kinds.contains_key(kind), "no {kind} in {kinds:?}");
    }
    assert_eq!(kinds["begin"], kinds["commit"]);
}
