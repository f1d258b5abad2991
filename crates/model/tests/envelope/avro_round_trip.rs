//! What the codec writes, read back by another Avro implementation with the codec's own schema.

use apache_avro::{Schema, from_avro_datum, types::Value};
use model::{
    cell::Cell,
    envelope::{EnvelopeCodec, Op, SnapshotMark, Source},
    table::{Column, TableSchema},
};
use proptest::prelude::*;

use super::tables;

const SOURCE: Source<'_> = Source {
    snapshot: SnapshotMark::False,
    ts_us: 1_700_000_000_123_456,
    tx_id: Some(7),
    lsn: None,
    sequence: (None, None),
    origin: None,
};

/// A table of one nullable column.
fn one_column(type_name: &str, typmod: i32) -> EnvelopeCodec {
    let column = Column { name: "c".into(), type_name: type_name.into(), typmod, nullable: true, ..Column::default() };
    let table = TableSchema { schema: "s".into(), name: "t".into(), columns: vec![column], ..TableSchema::default() };
    EnvelopeCodec::new("p", "d", &table).unwrap()
}

/// The value of the column after a trip through Avro; `None` when the codec refuses the text.
fn read_back(codec: &EnvelopeCodec, text: &[u8]) -> Option<Value> {
    let mut out = Vec::new();
    codec.encode_value(1, Op::Create, None, Some(&[Cell::Text(text)]), &SOURCE, 0, &mut out).ok()?;
    let schema = Schema::parse_str(codec.value_schema()).unwrap();
    let mut input = &out[5..];
    let value = from_avro_datum(&schema, &mut input, None).unwrap();
    assert!(input.is_empty(), "{} bytes left", input.len());
    let row = field(&value, "after");
    Some(field(&row, "c"))
}

fn field(record: &Value, name: &str) -> Value {
    let Value::Record(fields) = record else { panic!("no record: {record:?}") };
    let (_, value) = fields.iter().find(|(field, _)| field == name).unwrap();
    match value {
        Value::Union(_, inner) => (**inner).clone(),
        other => other.clone(),
    }
}

/// Decimal text of an unscaled big-endian two's complement value, computed digit by digit.
fn decimal_text(bytes: &[u8], scale: usize) -> String {
    let negative = bytes[0] & 0x80 != 0;
    let mut magnitude: Vec<u8> = bytes.to_vec();
    if negative {
        let mut carry = true;
        for byte in magnitude.iter_mut().rev() {
            let (sum, overflow) = (!*byte).overflowing_add(u8::from(carry));
            (*byte, carry) = (sum, overflow);
        }
    }
    let mut digits = Vec::new();
    while magnitude.iter().any(|byte| *byte != 0) {
        let mut remainder = 0u32;
        for byte in &mut magnitude {
            let value = remainder << 8 | u32::from(*byte);
            *byte = (value / 10) as u8;
            remainder = value % 10;
        }
        digits.push(b'0' + remainder as u8);
    }
    while digits.len() <= scale {
        digits.push(b'0');
    }
    digits.reverse();
    let text = String::from_utf8(digits).unwrap();
    let (whole, fraction) = text.split_at(text.len() - scale);
    let sign = if negative { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

proptest! {
    #[test]
    fn numeric_text_survives_as_decimal_bytes(negative: bool, whole in "[1-9][0-9]{0,60}|0", fraction in "[0-9]{10}") {
        let zero = whole == "0" && fraction.bytes().all(|b| b == b'0');
        let text = format!("{}{whole}.{fraction}", if negative && !zero { "-" } else { "" });
        let codec = one_column("numeric", (1000 << 16 | 10) + 4);
        let Some(Value::Decimal(decimal)) = read_back(&codec, text.as_bytes()) else { panic!("no decimal") };
        let bytes = Vec::<u8>::try_from(&decimal).unwrap();
        prop_assert_eq!(decimal_text(&bytes, 10), text);
    }

    #[test]
    fn numeric_without_scale_keeps_its_value(whole in "[1-9][0-9]{0,40}", fraction in "[0-9]{0,20}[1-9]") {
        let text = format!("{whole}.{fraction}");
        let Some(record) = read_back(&one_column("numeric", -1), format!("{text}000").as_bytes()) else { panic!("refused") };
        let (Value::Int(scale), Value::Bytes(bytes)) = (field(&record, "scale"), field(&record, "value")) else { panic!("{record:?}") };
        prop_assert_eq!(decimal_text(&bytes, usize::try_from(scale).unwrap()), text);
    }

    #[test]
    fn timestamps_keep_their_microsecond(micros in -62_135_596_800_000_000i64..253_402_300_800_000_000) {
        let at = chrono::DateTime::from_timestamp_micros(micros).unwrap();
        let text = at.format("%Y-%m-%d %H:%M:%S%.f").to_string();
        prop_assert_eq!(read_back(&one_column("timestamp", -1), text.as_bytes()), Some(Value::Long(micros)));
        let zoned = at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        let shifted = (at + chrono::Duration::hours(5)).format("%Y-%m-%d %H:%M:%S%.f+05").to_string();
        // Five hours later may be the year 10000, which chrono writes with a sign.
        if !shifted.starts_with('+') {
            prop_assert_eq!(read_back(&one_column("timestamptz", -1), shifted.as_bytes()), Some(Value::String(zoned)));
        }
    }

    #[test]
    fn text_arrays_keep_their_elements(elements in proptest::collection::vec(proptest::option::of("\\PC{0,6}"), 0..6)) {
        let quoted = |element: &Option<String>| match element {
            None => "NULL".to_owned(),
            Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        };
        let text = format!("{{{}}}", elements.iter().map(quoted).collect::<Vec<_>>().join(","));
        let expected = elements.into_iter().map(|element| match element {
            None => Value::Union(0, Box::new(Value::Null)),
            Some(text) => Value::Union(1, Box::new(Value::String(text))),
        });
        prop_assert_eq!(read_back(&one_column("_text", -1), text.as_bytes()), Some(Value::Array(expected.collect())));
    }

    #[test]
    fn random_bytes_in_any_type_are_encoded_or_refused(text in proptest::collection::vec(any::<u8>(), 0..24)) {
        let (_, table) = tables::all().into_iter().find(|(name, _)| *name == "all_types").unwrap();
        for column in &table.columns {
            let mut column = column.clone();
            column.name = "c".into();
            column.nullable = true;
            column.default = None;
            let table = TableSchema { schema: "s".into(), name: "t".into(), columns: vec![column], ..TableSchema::default() };
            let codec = EnvelopeCodec::new("p", "d", &table).unwrap();
            let mut out = vec![42];
            let cells = [Cell::Text(&text)];
            if codec.encode_value(1, Op::Create, None, Some(&cells), &SOURCE, 0, &mut out).is_err() {
                prop_assert_eq!(&out, &[42]);
            }
        }
    }
}

#[test]
fn every_golden_schema_is_valid_avro() {
    for (_, table) in tables::all() {
        let codec = EnvelopeCodec::new("p", "d", &table).unwrap();
        Schema::parse_str(codec.value_schema()).unwrap();
        codec.key_schema().map(Schema::parse_str).transpose().unwrap();
    }
}

#[test]
fn a_named_type_is_defined_once_and_then_named() {
    let column = |name: &str, type_name: &str| Column {
        name: name.into(),
        type_name: type_name.into(),
        typmod: -1,
        nullable: true,
        ..Column::default()
    };
    let columns = vec![column("a", "numeric"), column("b", "numeric"), column("c", "point"), column("d", "point")];
    let table = TableSchema { schema: "s".into(), name: "t-1".into(), columns, ..TableSchema::default() };
    let codec = EnvelopeCodec::new("p", "d", &table).unwrap();
    Schema::parse_str(codec.value_schema()).unwrap();
    assert_eq!(codec.topic(), "p.s.t-1");
    assert!(codec.value_schema().contains(r#""namespace":"p.s.t_1""#));
}

#[test]
fn a_row_that_cannot_be_encoded_names_its_column() {
    let (_, table) = tables::all().into_iter().find(|(name, _)| *name == "orders").unwrap();
    let codec = EnvelopeCodec::new("p", "d", &table).unwrap();
    let mut row = [Cell::Text(b"1"); 6];
    let mut out = Vec::new();
    let error = codec.encode_value(1, Op::Create, None, Some(&row), &SOURCE, 0, &mut out).unwrap_err();
    assert_eq!(error.to_string(), "column 'created_at' of public.orders: not a valid timestamp (digits expected)");
    row[0] = Cell::Null;
    codec.encode_key(1, &row, &mut out).unwrap();
    assert_eq!(out.split_off(0), [0, 0, 0, 0, 1, 0], "the stand-in of a NOT NULL integer");
    let error = codec.encode_key(1, &row[..2], &mut out).unwrap_err();
    assert_eq!(error.to_string(), "public.orders: a row of 2 columns where the schema has 6");
    assert!(out.is_empty());
}

#[test]
fn columns_that_would_share_a_field_are_refused_by_name() {
    let column = |name: &str| Column { name: name.into(), type_name: "int4".into(), ..Column::default() };
    let columns = vec![column("a b"), column("a_b")];
    let table = TableSchema { schema: "s".into(), name: "t".into(), columns, ..TableSchema::default() };
    let error = EnvelopeCodec::new("p", "d", &table).unwrap_err();
    assert_eq!(
        error.to_string(),
        "table t: columns 'a b' and 'a_b' both become the Avro field 'a_b'; rename one of them"
    );
}
