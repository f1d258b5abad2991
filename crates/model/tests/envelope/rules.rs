//! Hashes of masked columns, by the values of Debezium's own tests.

use model::{
    cell::Cell,
    envelope::{ColumnPlan, EnvelopeCodec, HashAlgorithm, HashRule, Op, SnapshotMark, Source, TablePlan, ValueRule},
    table::{Column, TableSchema},
};

/// The bytes of a record of one text column under a rule.
fn written(rule: ValueRule, cell: Cell<'_>) -> Vec<u8> {
    let column = Column { name: "c".into(), type_name: "text".into(), typmod: -1, nullable: true, ..Column::default() };
    let table = TableSchema { schema: "s".into(), name: "t".into(), columns: vec![column], ..TableSchema::default() };
    let columns = vec![ColumnPlan { rule: Some(rule), ..ColumnPlan::default() }];
    let codec = EnvelopeCodec::planned("p", "d", &table, &TablePlan { columns, ..TablePlan::default() }).unwrap();
    let source = Source {
        snapshot: SnapshotMark::False,
        ts_us: 0,
        tx_id: None,
        lsn: None,
        sequence: (None, None),
        origin: None,
    };
    let mut out = Vec::new();
    codec.encode_value(1, Op::Create, None, Some(&[cell]), &source, 0, &mut out).unwrap();
    out
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

#[test]
fn hashes_are_debeziums() {
    for (algorithm, serialised, value, expected) in [
        (HashAlgorithm::Sha256, true, "hello", "af5843a0f0e728ab0332c8888b6e1190bfb79e584f0d40538de8f10df6ef29c6"),
        (HashAlgorithm::Md5, true, "world", "030f632140d9c9591b0d8c21098024b8"),
        (HashAlgorithm::Sha256, false, "world", "e84ac3142870113ddc6710c06f76421befc8e8ca6de64e98d2993ed8d41f4085"),
        (HashAlgorithm::Md5, false, "hello", "06decc8b095724f80103712c235586be"),
    ] {
        let rule = ValueRule::Hash(HashRule { algorithm, salt: b"salt".to_vec(), serialised, length: usize::MAX });
        assert!(contains(&written(rule, Cell::Text(value.as_bytes())), expected), "{value}");
    }
}

#[test]
fn a_mask_hides_nulls_and_unchanged_values_too() {
    for cell in [Cell::Text(b"secret"), Cell::Null, Cell::Unchanged] {
        let bytes = written(ValueRule::Mask("****".into()), cell);
        assert!(contains(&bytes, "\u{8}****") && !contains(&bytes, "secret"), "{cell:?}");
    }
}
