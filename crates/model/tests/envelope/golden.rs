//! Schemas and records against those of Debezium 3.6.3: schemas as text, records byte by byte.

use std::{fs, path::PathBuf};

use model::{
    cell::Cell,
    envelope::{EnvelopeCodec, Op, SnapshotMark, Source},
    lsn::Lsn,
    table::{Column, TableSchema},
};
use serde_json::Value;

use super::tables;

fn golden(path: &str) -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(path);
    fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn codec(prefix: &str, table: &TableSchema) -> EnvelopeCodec {
    EnvelopeCodec::new(prefix, "storefront", table).unwrap()
}

#[test]
fn schemas_are_the_text_that_the_avro_converter_posts() {
    for prefix in ["storefront", "txm"] {
        for (name, table) in tables::all() {
            let codec = codec(prefix, &table);
            assert_eq!(codec.topic(), format!("{prefix}.public.{name}"));
            let value = golden(&format!("schemas/{prefix}.public.{name}-value.posted1.avsc"));
            assert_eq!(codec.value_schema(), value.trim_end(), "value of {name}");
            assert!(codec.skipped_columns().is_empty());
            match codec.key_schema() {
                Some(key) => {
                    let posted = golden(&format!("schemas/{prefix}.public.{name}-key.posted1.avsc"));
                    assert_eq!(key, posted.trim_end(), "key of {name}");
                }
                None => assert_eq!(name, "no_pk"),
            }
        }
        let codec = codec(prefix, &tables::customers_with_loyalty());
        let second = golden(&format!("schemas/{prefix}.public.customers-value.posted2.avsc"));
        assert_eq!(codec.value_schema(), second.trim_end());
    }
}

#[test]
fn keys_and_values_are_debeziums_bytes() {
    let mut compared = 0;
    for (name, table) in tables::all() {
        for line in golden(&format!("messages/storefront.public.{name}.jsonl")).lines() {
            // Python wrote the file, and its NaN and Infinity are no JSON.
            let line = line.replace(": NaN", ": null").replace(": Infinity", ": null");
            let message: Value = serde_json::from_str(&line).unwrap();
            let newer = message["value"]["after"][1].get("loyalty").is_some();
            compare(name, if newer { tables::customers_with_loyalty() } else { table.clone() }, &message);
            compared += 1;
        }
    }
    assert_eq!(compared, 50);
}

#[test]
fn truncates_have_neither_key_nor_rows() {
    let line = golden("messages/txm.public.no_pk.jsonl").lines().last().unwrap().to_owned();
    let message: Value = serde_json::from_str(&line).unwrap();
    let source = &message["value"]["source"];
    let mut out = Vec::new();
    let (_, table) = tables::all().into_iter().find(|(name, _)| *name == "no_pk").unwrap();
    codec("txm", &table)
        .encode_value(47, Op::Truncate, None, None, &source_of(source), ts_ns(&message), &mut out)
        .unwrap();
    // That run had transaction metadata on; without the block its bytes are the same.
    let mut expected = unhex(message["value_hex"].as_str().unwrap());
    let block_id = b"792:26940848";
    let at = expected.windows(block_id.len()).position(|part| part == block_id).unwrap();
    expected.splice(at - 2..at + block_id.len() + 2, [0]);
    assert_eq!(hex(&out), hex(&expected));
}

#[test]
fn headers_of_a_key_change_are_the_keys_as_json() {
    let (_, table) = tables::all().into_iter().find(|(name, _)| *name == "composite_pk").unwrap();
    let row = [Cell::Text(b"2"), Cell::Text(b"k"), Cell::Null];
    assert_eq!(codec("storefront", &table).key_json(&row).unwrap(), r#"{"b":"k","a":2}"#);
}

fn compare(name: &str, table: TableSchema, message: &Value) {
    let codec = codec("storefront", &table);
    let value = &message["value"];
    let op = match value["op"].as_str().unwrap() {
        "r" => Op::Read,
        "c" => Op::Create,
        "u" => Op::Update,
        _ => Op::Delete,
    };
    // Under the default replica identity a delete carries the key only.
    let key_only = op == Op::Delete && !matches!(name, "ri_full" | "no_pk" | "toasty_full");
    let before = texts(&table, &value["before"], key_only);
    let after = texts(&table, &value["after"], false);
    let (before, after) = (before.as_deref().map(cells), after.as_deref().map(cells));
    let mut out = Vec::new();
    codec
        .encode_value(
            schema_id(message, "value_schema_id"),
            op,
            before.as_deref(),
            after.as_deref(),
            &source_of(&value["source"]),
            ts_ns(message),
            &mut out,
        )
        .unwrap();
    let mut expected = unhex(message["value_hex"].as_str().unwrap());
    if name == "all_types" && value["after"][1]["c_date"] == -622_191_234 {
        // Debezium's snapshot reader makes this number of the date `infinity`, its stream reader another one. Here it is
        // the stream's in both.
        let (snapshot, stream) = ([0x83, 0x8A, 0xAF, 0xD1, 0x04], [0xE7, 0xD4, 0xFE, 0xFF, 0x0F]);
        let at = expected.windows(5).position(|part| part == snapshot).unwrap();
        expected.splice(at..at + 5, stream);
    }
    assert_eq!(hex(&out), hex(&expected), "{name}, offset {}", message["offset"]);

    out.clear();
    codec
        .encode_key(schema_id(message, "key_schema_id"), after.as_deref().or(before.as_deref()).unwrap(), &mut out)
        .unwrap();
    assert_eq!(hex(&out), message["key_hex"].as_str().unwrap_or_default(), "key of {name}");
}

fn schema_id(message: &Value, field: &str) -> u32 {
    message[field].as_u64().unwrap_or_default().try_into().unwrap()
}

fn ts_ns(message: &Value) -> i128 {
    message["value"]["ts_ns"].as_i64().unwrap().into()
}

fn source_of(source: &Value) -> Source<'_> {
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

/// What Postgres would have written for a decoded row.
fn texts(table: &TableSchema, row: &Value, key_only: bool) -> Option<Vec<Option<String>>> {
    let row = row.as_array()?[1].as_object().unwrap();
    let keep = |index: usize| !key_only || table.key.contains(&index);
    if table.name == "all_types" {
        return Some(all_types_text(row));
    }
    Some(row.values().enumerate().map(|(i, value)| text(&table.columns[i], value).filter(|_| keep(i))).collect())
}

fn text(column: &Column, value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Number(micros) if column.type_name == "timestamp" => {
            let at = chrono::DateTime::from_timestamp_micros(micros.as_i64().unwrap()).unwrap();
            Some(at.format("%Y-%m-%d %H:%M:%S%.6f").to_string())
        }
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        other => panic!("{}: {other}", column.name),
    }
}

fn cells(texts: &[Option<String>]) -> Vec<Cell<'_>> {
    fn cell(text: &Option<String>) -> Cell<'_> {
        match text.as_deref() {
            None => Cell::Null,
            Some(model::envelope::UNAVAILABLE_VALUE) => Cell::Unchanged,
            Some(text) => Cell::Text(text.as_bytes()),
        }
    }
    texts.iter().map(cell).collect()
}

/// The rows of `all_types` in Postgres' text, from the statements that made them.
fn all_types_text(row: &serde_json::Map<String, Value>) -> Vec<Option<String>> {
    let id = row["id"].as_i64().unwrap();
    let set: &[(&str, &str)] = match id % 100 {
        1 => &[
            ("c_bool", "t"),
            ("c_int2", "-32768"),
            ("c_int4", "2147483647"),
            ("c_int8", "-9223372036854775808"),
            ("c_float4", "3.14"),
            ("c_float8", "2.718281828459045"),
            ("c_num102", "12345678.90"),
            ("c_num5", "-12345"),
            ("c_num", "123.456000"),
            ("c_text", "héllo"),
            ("c_varchar", "vc"),
            ("c_char", "ch   "),
            ("c_bytea", "\\xdeadbeef00"),
            ("c_date", "2024-02-29"),
            ("c_time", "13:14:15.123456"),
            ("c_time3", "13:14:15.123"),
            ("c_timetz", "13:14:15.123456+02"),
            ("c_ts", "2024-02-29 13:14:15.123456"),
            ("c_ts3", "2024-02-29 13:14:15.123"),
            ("c_ts0", "2024-02-29 13:14:15"),
            ("c_tstz", "2024-02-29 11:14:15.123456+00"),
            ("c_interval", "1 year 2 mons 3 days 04:05:06.789"),
            ("c_uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            ("c_json", "{\"b\": 1,  \"a\": [1,2]}"),
            ("c_jsonb", "{\"a\": [1, 2], \"b\": 1}"),
            ("c_xml", "<a>1</a>"),
            ("c_inet", "192.168.1.5/24"),
            ("c_cidr", "10.0.0.0/8"),
            ("c_macaddr", "08:00:2b:01:02:03"),
            ("c_intarr", "{1,NULL,3}"),
            ("c_textarr", "{a,NULL,\"c d\"}"),
            ("c_numarr", "{1.50,2.25}"),
            ("c_mood", "happy"),
            ("c_moodarr", "{sad,ok}"),
            ("c_money", "$1,234.56"),
            ("c_bit1", "1"),
            ("c_bit8", "10100101"),
            ("c_varbit", "101"),
            ("c_hstore", "\"a\"=>\"1\", \"b\"=>NULL"),
            ("c_point", "(1.5,2.5)"),
            ("c_int4range", "[1,10)"),
            ("c_tsrange", "[\"2024-01-01 00:00:00\",\"2024-02-01 00:00:00\")"),
            ("c_oid", "12345"),
        ],
        2 => &[("c_nn", "1")],
        3 => &[
            ("c_bool", "f"),
            ("c_int2", "32767"),
            ("c_int4", "-2147483648"),
            ("c_int8", "9223372036854775807"),
            ("c_float4", "NaN"),
            ("c_float8", "Infinity"),
            ("c_num102", "-99999999.99"),
            ("c_num5", "0"),
            ("c_num", "-0.000000000000000000000000000001"),
            ("c_text", ""),
            ("c_varchar", ""),
            ("c_char", "     "),
            ("c_bytea", "\\x"),
            ("c_date", "0001-01-01"),
            ("c_time", "24:00:00"),
            ("c_timetz", "00:00:00+14"),
            ("c_ts", "0001-01-01 00:00:00"),
            ("c_tstz", "0001-01-01 00:00:00+00"),
            ("c_interval", "-3 days -01:00:00"),
            ("c_intarr", "{}"),
            ("c_textarr", "{}"),
            ("c_money", "-$0.01"),
            ("c_bit1", "0"),
        ],
        4 => &[("c_date", "infinity"), ("c_ts", "infinity"), ("c_tstz", "-infinity")],
        _ => &[
            ("c_date", "9999-12-31"),
            ("c_ts", "9999-12-31 23:59:59.999999"),
            ("c_tstz", "9999-12-31 23:59:59.999999+00"),
        ],
    };
    let value = |name: &str| match name {
        "id" => Some(id.to_string()),
        "c_nn" if id % 100 != 2 => Some("7".to_owned()),
        "c_def" if id % 100 != 2 => Some("dflt".to_owned()),
        "c_defnn" => Some("x".to_owned()),
        _ => set.iter().find(|(column, _)| *column == name).map(|(_, text)| (*text).to_owned()),
    };
    row.keys().map(|name| value(name)).collect()
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
