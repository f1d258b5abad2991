//! Every type in every mode against real Debezium: schemas as text, rows byte by byte but for the values named here.

use std::{collections::HashMap, fs, path::PathBuf};

use apache_avro::{Schema, from_avro_datum, types::Value as Avro};
use model::{
    cell::Cell,
    envelope::{
        BinaryMode, DecimalMode, EnvelopeCodec, HstoreMode, IntervalMode, Op, SnapshotMark, Source, TablePlan,
        TimeMode, TypeModes,
    },
    table::{Column, TableId, TableSchema},
};
use serde_json::Value;

/// Values that differ on purpose, by column and row: Debezium's is a loss.
const DIFFERENT: [(&str, &[i64]); 8] = [
    // Formatted by the JDBC driver there, by Postgres here.
    ("c_box", &[1, 101]),
    // An array with NaN becomes NULL there.
    ("a", &[1, 4]),
    ("a82", &[1, 4]),
    // The snapshot reader makes another number of `infinity` than the stream reader, and drops `BC`.
    ("c_date", &[4, 7]),
    // Inner arrays become NULLs there; here all elements are kept.
    ("a_int", &[1, 101]),
    // Elements lose their microseconds there.
    ("a_time", &[1, 101]),
    // Pairs stand in the order of a Java hash table there, as Postgres gives them here.
    ("c_hstore", &[1, 4, 101, 104]),
    // Through a double there, exact here.
    ("c_money", &[5, 105]),
];

fn golden(path: &str) -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/modes").join(path);
    fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn lines(path: &str) -> Vec<Value> {
    golden(path).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn modes(connector: &str) -> TypeModes {
    let default = TypeModes::default();
    match connector {
        "mdef" => default,
        "mstr" => TypeModes {
            decimals: DecimalMode::String,
            times: TimeMode::IsoString,
            intervals: IntervalMode::String,
            binary: BinaryMode::Base64,
            hstore: HstoreMode::Map,
            ..default
        },
        "mdbl" => TypeModes {
            decimals: DecimalMode::Double,
            times: TimeMode::Microseconds,
            binary: BinaryMode::Base64UrlSafe,
            include_unknown: true,
            ..default
        },
        "mnano" => TypeModes {
            times: TimeMode::Nanoseconds,
            binary: BinaryMode::Hex,
            money_digits: 1,
            unavailable: b"gone!".to_vec(),
            ..default
        },
        "mconn" => TypeModes { times: TimeMode::Connect, include_unknown: true, binary: BinaryMode::Hex, ..default },
        _ => TypeModes {
            times: TimeMode::AdaptiveTimeMicroseconds,
            money_digits: 4,
            include_unknown: true,
            unavailable: vec![0x00, 0xFF, 0x10],
            ..default
        },
    }
}

fn table(name: &str) -> TableSchema {
    let columns = lines("tables.jsonl").into_iter().filter(|column| column["table"] == name).map(|column| Column {
        name: column["name"].as_str().unwrap().into(),
        type_oid: column["oid"].as_u64().unwrap().try_into().unwrap(),
        type_name: column["type"].as_str().unwrap().into(),
        typmod: column["typmod"].as_i64().unwrap().try_into().unwrap(),
        nullable: column["nullable"].as_bool().unwrap(),
        default: column["default"].as_str().map(str::to_owned),
        identity_or_serial: false,
        enum_labels: serde_json::from_value(column["labels"].clone()).unwrap_or_default(),
    });
    TableSchema { id: TableId(1), schema: "public".into(), name: name.into(), columns: columns.collect(), key: vec![0] }
}

/// The rows as Postgres writes them, by id; the stream's are copies of the snapshot's.
fn rows(table: &TableSchema) -> HashMap<i64, Vec<Option<String>>> {
    let mut rows = HashMap::new();
    for line in lines("rows.jsonl").into_iter().filter(|line| line["table"] == table.name.as_str()) {
        let text = |column: &Column| line["row"][&column.name].as_str().map(str::to_owned);
        let row: Vec<_> = table.columns.iter().map(text).collect();
        let id: i64 = row[0].as_deref().unwrap().parse().unwrap();
        // The row of the snapshot is gone by now; its copy is there.
        let other = if table.name == "types" { id + 100 } else { 1 };
        if table.name != "specials" {
            let mut copy = row.clone();
            copy[0] = Some(other.to_string());
            rows.insert(other, copy);
        }
        rows.insert(id, row);
    }
    rows
}

const SOURCE: Source<'_> =
    Source { snapshot: SnapshotMark::False, ts_us: 0, tx_id: None, lsn: None, sequence: (None, None), origin: None };

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

/// `before` and `after` of a value: what stands before the version.
fn row_bytes(value: &[u8]) -> &[u8] {
    let version = b"\x163.6.3.Final";
    &value[..value.windows(version.len()).position(|part| part == version).unwrap()]
}

/// A schema without defaults and logical types, about which `apache_avro` is stricter than Java.
fn bare(schema: Value) -> Value {
    match schema {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(key, _)| key != "default" && key != "logicalType");
            Value::Object(kept.map(|(key, value)| (key, bare(value))).collect())
        }
        Value::Array(items) => items.into_iter().map(bare).collect(),
        other => other,
    }
}

/// The fields of the `after` record, or of `before` when there is no `after`.
fn fields(schema: &Schema, value: &[u8]) -> Vec<(String, Avro)> {
    let Avro::Record(envelope) = from_avro_datum(schema, &mut &*value, None).unwrap() else { panic!("no record") };
    let row = |name: &str| match &envelope.iter().find(|(field, _)| field == name).unwrap().1 {
        Avro::Union(_, row) => match &**row {
            Avro::Record(fields) => Some(fields.clone()),
            _ => None,
        },
        _ => None,
    };
    row("after").or_else(|| row("before")).unwrap()
}

fn differences(connector: &str, name: &str) -> Vec<String> {
    let (table, schemas): (_, HashMap<String, String>) =
        (table(name), serde_json::from_str(&golden("schemas.json")).unwrap());
    let plan = TablePlan { modes: modes(connector), ..TablePlan::default() };
    let codec = EnvelopeCodec::planned(connector, "modes", &table, &plan).unwrap();
    let rows = rows(&table);
    let mut found = Vec::new();
    for message in lines(&format!("messages/{connector}.public.{name}.jsonl")) {
        let Some(hex) = message["value"]["hex"].as_str() else { continue };
        let posted = &schemas[&message["value"]["schema"].to_string()];
        if codec.value_schema() != posted {
            let same = codec.value_schema().bytes().zip(posted.bytes()).take_while(|(a, b)| a == b).count();
            let shown = |text: &str| text[same.saturating_sub(60)..text.len().min(same + 100)].to_owned();
            return vec![format!("schema: …{}… instead of …{}…", shown(codec.value_schema()), shown(posted))];
        }
        let expected = unhex(hex);
        let schema = Schema::parse(&bare(serde_json::from_str(posted).unwrap())).unwrap();
        let recorded = fields(&schema, &expected);
        let id = match &recorded[0].1 {
            Avro::Int(id) => i64::from(*id),
            other => panic!("{other:?}"),
        };
        let deleted = expected[0] == 2;
        let cells: Vec<Cell<'_>> = match rows.get(&id).filter(|_| !deleted) {
            Some(row) => {
                row.iter().map(|text| text.as_ref().map_or(Cell::Null, |text| Cell::Text(text.as_bytes()))).collect()
            }
            None => {
                let key = id.to_string().leak();
                std::iter::once(Cell::Text(key.as_bytes()))
                    .chain(table.columns.iter().skip(1).map(|_| Cell::Null))
                    .collect()
            }
        };
        let (before, after) = if deleted { (Some(&cells[..]), None) } else { (None, Some(&cells[..])) };
        let mut out = Vec::new();
        let encoded = codec.encode_value(1, Op::Create, before, after, &SOURCE, 0, &mut out);
        if let Err(error) = encoded {
            found.push(format!("row {id}: {error}"));
            continue;
        }
        if row_bytes(&out[5..]) == row_bytes(&expected) {
            continue;
        }
        for ((column, expected), (_, written)) in recorded.into_iter().zip(fields(&schema, &out[5..])) {
            let known = DIFFERENT.iter().any(|(different, ids)| *different == column && ids.contains(&id));
            if format!("{expected:?}") != format!("{written:?}") && !known {
                found.push(format!("row {id}, {column}: {written:?} instead of {expected:?}"));
            }
        }
    }
    found
}

#[test]
fn rows_in_every_mode_are_debeziums_bytes() {
    let mut found = Vec::new();
    for connector in ["mdef", "mstr", "mdbl", "mnano", "mconn", "mamic"] {
        let special = if matches!(connector, "mstr" | "mdbl") { Some("specials") } else { None };
        // Debezium's nanoseconds fail on the NOT NULL columns of a delete: nothing is recorded of `nodef` there.
        let nodef = (connector != "mnano").then_some("nodef");
        for table in ["types"].into_iter().chain(special).chain(nodef) {
            found.extend(differences(connector, table).into_iter().map(|text| format!("{connector} {table}: {text}")));
        }
    }
    assert!(found.is_empty(), "{} differences\n{}", found.len(), found.join("\n"));
}
