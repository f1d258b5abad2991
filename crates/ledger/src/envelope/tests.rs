//! Cases of the decoder: what the golden records hold, and bytes that are none.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::rows::Column;

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(path)
}

fn table(name: &str, columns: &[(&str, Kind)]) -> Arc<Table> {
    let columns = columns.iter().map(|(name, kind)| Column { name: (*name).to_owned(), kind: *kind }).collect();
    Arc::new(Table { schema: "public".to_owned(), name: name.to_owned(), columns, key: vec![0] })
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The values of a golden topic, without their five bytes of framing.
fn golden_values(topic: &str) -> Vec<(Value, Vec<u8>)> {
    let text = std::fs::read_to_string(golden(&format!("messages/{topic}.jsonl"))).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records
        .filter_map(|record| {
            let value = bytes(record["value_hex"].as_str()?)[5..].to_vec();
            Some((record, value))
        })
        .collect()
}

fn golden_reader(topic: &str, table: Arc<Table>) -> EnvelopeReader {
    let schema = std::fs::read_to_string(golden(&format!("schemas/{topic}-value.posted1.avsc"))).unwrap();
    EnvelopeReader::new(&schema, table).unwrap()
}

#[test]
fn debeziums_own_orders_are_read_to_their_last_byte() {
    let topic = "storefront.public.orders";
    let table = table(
        "orders",
        &[
            ("id", Kind::Integer),
            ("customer_id", Kind::Integer),
            ("status", Kind::Text),
            ("total", Kind::Decimal),
            ("created_at", Kind::Timestamp),
        ],
    );
    let reader = golden_reader(topic, table);
    let values = golden_values(topic);
    assert!(!values.is_empty());
    let first = reader.read(&mut values[0].1.as_slice()).unwrap();
    assert_eq!(first.operation, "r");
    let row: Vec<_> = first.after.unwrap().into_iter().map(Option::unwrap).collect();
    assert_eq!(row, ["1", "1", "pending", "39.98", "1714885505000000"]);
    for (record, value) in values {
        let mut rest = value.as_slice();
        let change = reader.read(&mut rest).unwrap();
        assert!(rest.is_empty(), "{record}");
        assert!(change.xid.is_some(), "{record}");
        let event = reader.event(0, 0, change).unwrap().unwrap();
        assert!(event.key.starts_with("id="), "{record}");
    }
}

#[test]
fn a_value_cut_short_or_of_another_schema_is_an_error() {
    let topic = "storefront.public.orders";
    let reader = golden_reader(topic, table("orders", &[("id", Kind::Integer)]));
    let value = golden_values(topic).swap_remove(0).1;
    for length in 0..value.len() {
        assert!(reader.read(&mut &value[..length]).is_err(), "{length} bytes");
    }
    assert!(EnvelopeReader::new("{", table("t", &[])).is_err());
    assert!(EnvelopeReader::new(r#"{"type":"string"}"#, table("t", &[])).is_err());
    assert!(
        EnvelopeReader::new(
            r#"{"type":"record","name":"a","fields":[{"name":"x","type":"nowhere"}]}"#,
            table("t", &[])
        )
        .is_err()
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_without_a_crash(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let reader = golden_reader("storefront.public.orders", table("orders", &[("id", Kind::Integer), ("total", Kind::Decimal)]));
        let _ = reader.read(&mut bytes.as_slice());
    }

    #[test]
    fn numbers_are_read_as_the_avro_library_writes_them(number: i64) {
        let encoded = apache_avro::to_avro_datum(&apache_avro::Schema::Long, apache_avro::types::Value::Long(number)).unwrap();
        prop_assert_eq!(Input(&encoded).long().unwrap(), number);
    }
}
