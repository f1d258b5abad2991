//! Bounds of transactions and logical messages, byte by byte.

use std::{collections::HashMap, fs, path::PathBuf};

use model::{
    envelope::{MessageCodec, SnapshotMark, Source, TransactionBlock, TransactionCodec},
    lsn::Lsn,
};
use serde_json::Value;

fn golden(path: &str) -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/modes").join(path);
    fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn recorded(topic: &str) -> Vec<Value> {
    golden(&format!("messages/{topic}.jsonl")).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn schema(message: &Value, part: &str) -> String {
    let schemas: HashMap<String, String> = serde_json::from_str(&golden("schemas.json")).unwrap();
    schemas[&message[part]["schema"].to_string()].clone()
}

/// The record's bytes without magic and schema id.
fn hex(bytes: &[u8]) -> String {
    bytes[5..].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn bounds_of_transactions_are_debeziums_bytes() {
    let records = recorded("txme.transaction");
    let codec = TransactionCodec;
    assert_eq!(schema(&records[0], "key"), codec.key_schema());
    assert_eq!(schema(&records[0], "value"), codec.value_schema());
    let ts_us = 1_795_375_347_822_000;
    let (mut begin, mut end, mut key) = (Vec::new(), Vec::new(), Vec::new());
    codec.encode_begin(1, 822, Lsn(32_548_144), ts_us, &mut begin);
    codec.encode_end(1, 822, Lsn(32_548_400), ts_us, &[("public.ri_index".into(), 1)], &mut end);
    codec.encode_key(1, 822, Lsn(32_548_400), &mut key);
    assert_eq!(hex(&begin), records[50]["value"]["hex"]);
    assert_eq!(hex(&end), records[51]["value"]["hex"]);
    assert_eq!(hex(&key), records[51]["key"]["hex"]);
    let mut empty = Vec::new();
    codec.encode_end(1, 797, Lsn(32_368_360), 1_795_375_347_373_000, &[], &mut empty);
    assert_eq!(hex(&empty), records[1]["value"]["hex"]);
}

#[test]
fn logical_messages_are_debeziums_bytes() {
    let records = recorded("txme.message");
    let codec = MessageCodec::new("txme", "modes");
    assert_eq!(schema(&records[0], "key"), codec.key_schema());
    assert_eq!(schema(&records[0], "value"), codec.value_schema());
    let block = TransactionBlock { tx_id: 831, lsn: Lsn(32_550_704), total_order: 1, data_collection_order: 1 };
    let source = |tx_id, lsn, last| Source {
        snapshot: SnapshotMark::False,
        ts_us: 1_795_375_348_085_711,
        tx_id,
        lsn: Some(Lsn(lsn)),
        sequence: (Some(Lsn(last)), Some(Lsn(lsn))),
        origin: None,
    };
    let (mut key, mut inside, mut outside) = (Vec::new(), Vec::new(), Vec::new());
    codec.encode_key(1, "audit", &mut key);
    let first = source(Some(831), 32_550_704, 32_550_640);
    codec.encode_value(1, "audit", b"in tx", &first, Some(&block), 1_795_375_352_574, &mut inside);
    let second = source(None, 32_551_280, 32_551_280);
    codec.encode_value(1, "other", b"not tx", &second, None, 1_795_375_352_574, &mut outside);
    assert_eq!(hex(&key), records[0]["key"]["hex"]);
    assert_eq!(hex(&inside), records[0]["value"]["hex"]);
    assert_eq!(hex(&outside), records[1]["value"]["hex"]);
}
