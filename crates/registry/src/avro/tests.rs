//! Cases of the Avro reader: what Confluent accepts, what it refuses, text that is none.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> AvroSchema {
    AvroSchema::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"R","namespace":"n","fields":[{fields}]}}"#)
}

/// Error types found when `new` reads what `old` wrote.
fn problems(new: &str, old: &str) -> Vec<&'static str> {
    backward(&parse(new), &parse(old), true).into_iter().map(|problem| problem.error_type).collect()
}

#[test]
fn a_namespace_with_odd_characters_is_accepted_as_confluent_does() {
    let text = r#"{"type":"record","name":"Key","namespace":"storefront.public.Weird-Table_1","fields":[{"name":"Id_Col","type":"int"}],"connect.name":"storefront.public.Weird-Table_1.Key"}"#;
    assert_eq!(parse(text).canonical(), text);
}

#[test]
fn what_java_refuses_is_refused_with_the_reason() {
    for (text, reason) in [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("17", "not 17"),
        (r#""nope""#, r#""nope" is not a defined name"#),
        (r#"{"type":"record","name":"a-b","fields":[]}"#, "illegal character in: a-b"),
        (r#"{"type":"record","name":"1a","fields":[]}"#, "illegal initial character: 1a"),
        (r#"{"type":"record","fields":[]}"#, "no name"),
        (r#"{"type":"record","name":"R"}"#, "record R has no fields"),
        (r#"{"fields":[]}"#, "no type"),
        (&record(r#"{"name":"a","type":"int"},{"name":"a","type":"int"}"#), "duplicate field a in record n.R"),
        (&record(r#"{"name":"a"}"#), "field a of record n.R has no type"),
        (&record(r#"{"name":"a","type":"nope"}"#), "field a of record n.R: \"nope\" is not a defined name"),
        (&record(r#"{"name":"a","type":"int","default":"x"}"#), "invalid default for field a of record n.R"),
        (&record(r#"{"name":"a","type":["null","int"],"default":"x"}"#), "invalid default"),
        (r#"["int","int"]"#, "duplicate in union"),
        (r#"["int",["null"]]"#, "union directly inside a union"),
        (r#"{"type":"enum","name":"E","symbols":["A","A"]}"#, "duplicate symbol A"),
        (r#"{"type":"enum","name":"E","symbols":["A"],"default":"B"}"#, "not one of its symbols"),
        (r#"{"type":"fixed","name":"F","size":-1}"#, "no valid size"),
        (r#"{"type":"array"}"#, "array has no items type"),
    ] {
        let error = AvroSchema::parse(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn spellings_of_the_same_schema_have_one_canonical_text() {
    let one = r#"{"type":"record","name":"R","namespace":"a.b","fields":[{"name":"x","type":"int"},{"name":"y","type":["null","a.b.R"],"default":null}],"p":1,"o":2}"#;
    let other = r#" { "o":2, "p":1, "name":"a.b.R", "fields":[ {"type":{"type":"int"},"name":"x"}, {"default":null,"name":"y","type":["null","R"]} ], "type":"record" } "#;
    assert_eq!(parse(one).canonical(), parse(other).canonical());
    assert_eq!(
        parse(other).canonical(),
        r#"{"type":"record","name":"R","namespace":"a.b","fields":[{"name":"x","type":"int"},{"name":"y","type":["null","R"],"default":null}],"o":2,"p":1}"#
    );
}

#[test]
fn attributes_and_documentation_are_part_of_a_schema() {
    let plain = parse(&record(r#"{"name":"a","type":"int"}"#)).canonical();
    for other in [
        r#"{"name":"a","type":"int","doc":"d"}"#,
        r#"{"name":"a","type":"int","connect.x":1}"#,
        r#"{"name":"a","type":{"type":"int","connect.default":0}}"#,
        r#"{"name":"a","type":{"type":"int","logicalType":"date"}}"#,
    ] {
        assert_ne!(parse(&record(other)).canonical(), plain, "{other}");
    }
}

#[test]
fn a_canonical_text_parses_to_itself() {
    for text in [
        r#""string""#,
        "string",
        r#"{"type":"array","items":{"type":"map","values":["null","long"]},"x":[1]}"#,
        r#"{"type":"enum","name":"E","doc":"d","symbols":["A","B"],"default":"A","aliases":["Old","x.Other"]}"#,
        r#"{"type":"fixed","name":"F","namespace":"n","size":16,"logicalType":"decimal"}"#,
        r#"{"type":"record","name":"A","fields":[{"name":"b","type":{"type":"record","name":"B","namespace":"x","fields":[{"name":"a","type":["null","A"]}]}},{"name":"c","type":"x.B","order":"ignore","aliases":["d"]}]}"#,
    ] {
        let canonical = parse(text).canonical();
        assert_eq!(parse(&canonical).canonical(), canonical);
    }
}

#[test]
fn new_fields_need_a_default_and_old_ones_may_go() {
    let (one, two) = (r#"{"name":"a","type":"int"}"#, r#"{"name":"b","type":["null","string"],"default":null}"#);
    let (small, large) = (record(one), record(&format!("{one},{two}")));
    assert!(problems(&large, &small).is_empty());
    assert!(problems(&small, &large).is_empty());
    let without = record(&format!(r#"{one},{{"name":"b","type":"string"}}"#));
    let found = backward(&parse(&without), &parse(&small), true);
    assert_eq!(
        found[0].to_string(),
        "{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', description:'The field 'b' at path '/fields/1' in the new schema has no default value and is missing in the old schema', additionalInfo:'b'}"
    );
}

#[test]
fn numbers_widen_and_never_narrow() {
    for (reader, writer, fits) in [
        ("long", "int", true),
        ("double", "long", true),
        ("float", "long", true),
        ("int", "long", false),
        ("float", "double", false),
        ("string", "bytes", true),
        ("bytes", "string", true),
        ("string", "int", false),
        ("boolean", "int", false),
    ] {
        let found = problems(&format!("\"{reader}\""), &format!("\"{writer}\""));
        assert_eq!(found.is_empty(), fits, "{writer} read as {reader}");
    }
}

#[test]
fn unions_are_read_branch_by_branch() {
    assert!(problems(r#"["null","int"]"#, r#""int""#).is_empty());
    assert_eq!(problems(r#""int""#, r#"["null","int"]"#), ["TYPE_MISMATCH"]);
    assert_eq!(problems(r#"["null","int"]"#, r#"["null","string"]"#), ["MISSING_UNION_BRANCH"]);
    assert!(problems(r#"["null","int","string"]"#, r#"["null","string"]"#).is_empty());
    assert_eq!(problems(r#"["null","int"]"#, r#""string""#), ["MISSING_UNION_BRANCH"]);
}

#[test]
fn enums_need_all_symbols_or_a_default() {
    let of = |symbols: &str, more: &str| format!(r#"{{"type":"enum","name":"E","symbols":[{symbols}]{more}}}"#);
    assert!(problems(&of(r#""A","B""#, ""), &of(r#""A""#, "")).is_empty());
    assert_eq!(problems(&of(r#""A""#, ""), &of(r#""A","B""#, "")), ["MISSING_ENUM_SYMBOLS"]);
    assert!(problems(&of(r#""A""#, r#","default":"A""#), &of(r#""A","B""#, "")).is_empty());
}

#[test]
fn names_sizes_and_nested_types_must_agree() {
    let fixed = |name: &str, size: u8| format!(r#"{{"type":"fixed","name":"{name}","size":{size}}}"#);
    assert_eq!(problems(&fixed("F", 4), &fixed("F", 8)), ["FIXED_SIZE_MISMATCH"]);
    assert_eq!(problems(&fixed("G", 4), &fixed("F", 4)), ["NAME_MISMATCH"]);
    let aliased = r#"{"type":"fixed","name":"G","size":4,"aliases":["F"]}"#;
    assert!(problems(aliased, &fixed("F", 4)).is_empty());
    let list = |item: &str| format!(r#"{{"type":"array","items":"{item}"}}"#);
    assert_eq!(problems(&list("int"), &list("string")), ["TYPE_MISMATCH"]);
    let renamed = record(r#"{"name":"b","type":"int","aliases":["a"]}"#);
    assert!(problems(&renamed, &record(r#"{"name":"a","type":"int"}"#)).is_empty());
}

#[test]
fn a_recursive_schema_is_compared_to_its_end() {
    let of = |kind: &str| {
        format!(
            r#"{{"type":"record","name":"Node","fields":[{{"name":"v","type":"{kind}"}},{{"name":"next","type":["null","Node"]}}]}}"#
        )
    };
    assert!(problems(&of("long"), &of("int")).is_empty());
    assert_eq!(problems(&of("int"), &of("long")), ["TYPE_MISMATCH"]);
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in ".{0,60}") {
        let _ = AvroSchema::parse(&text);
    }

    #[test]
    fn any_json_of_schema_words_is_read_without_a_panic(text in r#"(\{|\}|\[|\]|,|:|"type"|"name"|"fields"|"record"|"array"|"items"|"R"|"int"|"null"|"symbols"|"enum"|1|null){0,25}"#) {
        if let Ok(schema) = AvroSchema::parse(&text) {
            let canonical = schema.canonical();
            prop_assert_eq!(AvroSchema::parse(&canonical).unwrap().canonical(), canonical);
            prop_assert!(backward(&schema, &schema, true).is_empty());
        }
    }
}
