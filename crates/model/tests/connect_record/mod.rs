//! Recorded records through the tree of values and back: as Avro and as JSON.

use std::{collections::HashMap, fs, path::PathBuf, sync::Arc};

use model::connect_record::{Datum, from_avro, json, to_avro};
use serde_json::Value as Json;

fn golden(path: &str) -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/modes").join(path);
    fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

fn schemas() -> HashMap<String, String> {
    serde_json::from_str(&golden("schemas.json")).unwrap()
}

fn lines(topic: &str) -> Vec<Json> {
    golden(&format!("messages/{topic}.jsonl")).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_recorded_schema_comes_back_as_it_was() {
    for (id, text) in schemas() {
        let schema = from_avro::schema(&text).unwrap();
        assert_eq!(to_avro::schema(&schema), text, "schema {id}");
    }
}

#[test]
fn every_recorded_record_comes_back_as_it_was() {
    let schemas: HashMap<_, _> =
        schemas().into_iter().map(|(id, text)| (id, from_avro::schema(&text).unwrap())).collect();
    let mut compared = 0;
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/modes/messages");
    for file in fs::read_dir(folder).unwrap() {
        let topic = file.unwrap().file_name().into_string().unwrap();
        for record in lines(topic.trim_end_matches(".jsonl")) {
            for part in ["key", "value"] {
                let Some(hex) = record[part]["hex"].as_str() else { continue };
                let schema = &schemas[&record[part]["schema"].to_string()];
                let value = from_avro::value(schema, &unhex(hex)).unwrap();
                let mut out = Vec::new();
                to_avro::value(schema, &value, &mut out);
                assert_eq!(out, unhex(hex), "{topic} {part}");
                compared += 1;
            }
        }
    }
    assert!(compared > 500, "{compared}");
}

/// One row as Avro in one connector's records and as JSON in another's.
#[test]
fn rows_read_as_the_json_converter_wrote_them() {
    let schemas = schemas();
    for table in ["types", "nodef"] {
        // Java before version 19 did not always find the shortest digits of a float.
        let shortest = |record: Json| {
            serde_json::from_str::<Json>(&record.to_string().replace("1.23456792E8", "1.2345679E8")).unwrap()
        };
        let json_of = |connector: &str| {
            lines(&format!("{connector}.public.{table}")).into_iter().map(shortest).collect::<Vec<_>>()
        };
        let recorded = json_of("mdef").into_iter().zip(json_of("jnos")).zip(json_of("jsch"));
        for ((avro, plain), described) in recorded {
            let Some(hex) = avro["value"]["hex"].as_str() else { continue };
            let schema = from_avro::schema(&schemas[&avro["value"]["schema"].to_string()]).unwrap();
            let envelope = Datum { value: from_avro::value(&schema, &unhex(hex)).unwrap(), schema };
            for row in ["before", "after"] {
                let row = envelope.take(row).unwrap();
                let written = String::from_utf8(json::write(&row, false)).unwrap();
                let plain = plain["value"]["text"].as_str().unwrap();
                assert!(plain.contains(&written), "{written}\nis not in\n{plain}");
                assert!(described["value"]["text"].as_str().unwrap().contains(&written));
            }
        }
    }
}

#[test]
fn schemas_read_as_the_json_converter_wrote_them() {
    let schemas = schemas();
    let avro = lines("mdef.public.types").remove(0);
    let described = lines("jsch.public.types").remove(0);
    // Names tell the connector.
    let text = schemas[&avro["value"]["schema"].to_string()].replace("mdef.", "jsch.");
    let schema = from_avro::schema(&text).unwrap();
    let value = from_avro::value(&schema, &unhex(avro["value"]["hex"].as_str().unwrap())).unwrap();
    let written = json::write(&Datum { schema: Arc::clone(&schema), value }, true);
    let (written, recorded) = (String::from_utf8(written).unwrap(), described["value"]["text"].as_str().unwrap());
    let end = written.find(r#","payload""#).unwrap();
    assert_eq!(&written[..end], &recorded[..end]);
}
