//! Values of one schema as those of another: what is kept, filled and refused.
#![allow(clippy::unwrap_used)]

use apache_avro::types::Value as Avro;
use apache_avro::{Schema as Reference, from_avro_datum, to_avro_datum};
use serde_json::json;

use super::*;

fn record(fields: Value) -> Value {
    json!({"type": "record", "name": "Row", "namespace": "a.b", "fields": fields})
}

fn schema(json: &Value) -> Schema {
    Schema::parse(&json.to_string()).unwrap()
}

/// A value written in one schema, projected, and read in the other one by another implementation.
fn projected(from: &Value, value: Avro, to: &Value) -> Result<Avro, ProjectError> {
    let datum = to_avro_datum(&Reference::parse(from).unwrap(), value).unwrap();
    let mut out = Vec::new();
    project(&schema(from), &datum, &schema(to), &mut out)?;
    let reader = Reference::parse(to).unwrap();
    let mut rest = out.as_slice();
    let read = from_avro_datum(&reader, &mut rest, None).unwrap();
    assert!(rest.is_empty(), "{rest:?} is left");
    Ok(read)
}

fn row(fields: &[(&str, Avro)]) -> Avro {
    Avro::Record(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

#[test]
fn fields_are_dropped_added_reordered_and_widened() {
    let old = record(json!([
        {"name": "id", "type": "int"},
        {"name": "gone", "type": "string"},
        {"name": "list", "type": {"type": "array", "items": "int"}},
        {"name": "map", "type": {"type": "map", "values": ["null", "float"]}, "default": {}},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}},
    ]));
    let new = record(json!([
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["C", "B", "A"]}},
        {"name": "map", "type": {"type": "map", "values": ["null", "double"]}},
        {"name": "added", "type": ["null", "string"], "default": null},
        {"name": "counted", "type": "long", "default": 7},
        {"name": "bytes", "type": "bytes", "default": "\u{00ff}a"},
        {"name": "sub", "type": {"type": "record", "name": "Sub", "fields": [{"name": "x", "type": "int", "default": 3}]}, "default": {}},
        {"name": "tags", "type": {"type": "array", "items": "string"}, "default": ["t"]},
        {"name": "unset", "type": ["null", "int"]},
        {"name": "list", "type": {"type": "array", "items": ["null", "double"]}},
        {"name": "id", "type": ["null", "long"]},
    ]));
    let value = row(&[
        ("id", Avro::Int(5)),
        ("gone", Avro::String("x".into())),
        ("list", Avro::Array(vec![Avro::Int(1), Avro::Int(-2)])),
        ("map", Avro::Map([("k".to_owned(), Avro::Union(1, Box::new(Avro::Float(0.5))))].into())),
        ("kind", Avro::Enum(1, "B".into())),
    ]);
    assert!(fits(&schema(&old), &schema(&new)));
    let double = |value| Avro::Union(1, Box::new(Avro::Double(value)));
    let expected = row(&[
        ("kind", Avro::Enum(1, "B".into())),
        ("map", Avro::Map([("k".to_owned(), double(0.5))].into())),
        ("added", Avro::Union(0, Box::new(Avro::Null))),
        ("counted", Avro::Long(7)),
        ("bytes", Avro::Bytes(vec![0xff, b'a'])),
        ("sub", row(&[("x", Avro::Int(3))])),
        ("tags", Avro::Array(vec![Avro::String("t".into())])),
        ("unset", Avro::Union(0, Box::new(Avro::Null))),
        ("list", Avro::Array(vec![double(1.0), double(-2.0)])),
        ("id", Avro::Union(1, Box::new(Avro::Long(5)))),
    ]);
    assert_eq!(projected(&old, value, &new), Ok(expected));
}

#[test]
fn a_null_becomes_the_default_where_the_other_schema_has_no_null() {
    let old = record(json!([{"name": "n", "type": ["null", "int"], "default": null}]));
    let with = record(json!([{"name": "n", "type": "long", "default": 9}]));
    let without = record(json!([{"name": "n", "type": "long"}]));
    let null = || row(&[("n", Avro::Union(0, Box::new(Avro::Null)))]);
    assert_eq!(projected(&old, null(), &with), Ok(row(&[("n", Avro::Long(9))])));
    let held = row(&[("n", Avro::Union(1, Box::new(Avro::Int(4))))]);
    assert_eq!(projected(&old, held, &without), Ok(row(&[("n", Avro::Long(4))])));
    let error = projected(&old, null(), &without).unwrap_err().to_string();
    assert_eq!(error, "Writer schema is optional, however, target schema does not provide a default value.");
}

#[test]
fn a_required_field_that_values_lack_is_named() {
    let old = record(json!([{"name": "id", "type": "int"}]));
    let new = record(json!([{"name": "id", "type": "int"}, {"name": "needed", "type": "string"}]));
    let error = projected(&old, row(&[("id", Avro::Int(1))]), &new).unwrap_err().to_string();
    assert_eq!(error, "Required field `needed` is missing from source schema");
    assert!(fits(&schema(&old), &schema(&new)), "only the value tells");
}

#[test]
fn types_names_and_parameters_that_differ_do_not_fit() {
    let of = |kind: Value| schema(&record(json!([{"name": "f", "type": ["null", kind]}])));
    let decimal = |scale| json!({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": scale});
    let named = |name| json!({"type": "long", "connect.name": name});
    let kinds = |symbols: Value| json!({"type": "enum", "name": "Kind", "symbols": symbols});
    let documented = json!({"type": "long", "connect.parameters": {"io.confluent.connect.avro.field.doc.x": "y"}});
    for (a, b, expected) in [
        (json!("int"), json!("double"), true),
        (json!("long"), json!("int"), false),
        (json!("string"), json!("bytes"), false),
        (decimal(2), decimal(2), true),
        (decimal(2), decimal(3), false),
        (named("io.debezium.time.MicroTimestamp"), named("io.debezium.time.MicroTimestamp"), true),
        (named("io.debezium.time.MicroTimestamp"), json!("long"), false),
        (documented, json!("long"), true),
        (kinds(json!(["A"])), kinds(json!(["A", "B"])), true),
        (kinds(json!(["A", "B"])), kinds(json!(["A"])), false),
    ] {
        assert_eq!(fits(&of(a.clone()), &of(b.clone())), expected, "{a} to {b}");
    }
    let other = json!({"type": "record", "name": "Other", "namespace": "a.b", "fields": []});
    assert!(!fits(&schema(&record(json!([]))), &schema(&other)), "records of other names");
}

#[test]
fn branches_of_a_union_are_found_by_their_names() {
    let old = record(json!([{"name": "u", "type": ["null", "string", "int"]}]));
    let new = record(json!([{"name": "u", "type": ["int", "null", "string"]}]));
    let text = row(&[("u", Avro::Union(1, Box::new(Avro::String("x".into()))))]);
    let expected = row(&[("u", Avro::Union(2, Box::new(Avro::String("x".into()))))]);
    assert_eq!(projected(&old, text, &new), Ok(expected));
}

#[test]
fn damaged_bytes_are_an_error_and_never_a_panic() {
    let old = schema(&record(json!([
        {"name": "s", "type": "string"},
        {"name": "n", "type": {"type": "array", "items": "null"}},
        {"name": "u", "type": ["null", "long"]},
    ])));
    let new = schema(&record(json!([
        {"name": "u", "type": ["null", "long"]},
        {"name": "n", "type": {"type": "array", "items": "null"}},
        {"name": "s", "type": "string"},
    ])));
    for length in 0..12 {
        for byte in [0, 1, 2, 3, 0x7f, 0x80, 0xff] {
            let _ = project(&old, &vec![byte; length], &new, &mut Vec::new());
        }
    }
}
