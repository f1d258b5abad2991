//! A column's default as Debezium sees it: the literal, or for a generated value a fixed stand-in of the type.
//!
//! Consumers meet these as the `default` of Avro fields. No expression is evaluated; one that is neither a literal nor a
//! function call counts as no default.

use super::{
    field::{FieldType, Text},
    text,
};
use crate::table::Column;

/// The default, Avro-encoded without union branch; `None` when the schema has no default for this column.
pub(super) fn evaluate(column: &Column, kind: &FieldType) -> Option<Vec<u8>> {
    // A record or an array never has a default in Debezium's schemas.
    kind.primitive()?;
    let expression = column.default.as_deref()?.trim();
    let generated = stand_in(&column.type_name, kind)?;
    let mut out = Vec::new();
    if is_generated(expression) {
        text::encode(kind, generated?.as_bytes(), &mut out).ok()?;
        return Some(out);
    }
    let value = literal(expression, matches!(kind, FieldType::String(Text::Enum(_))))?;
    text::encode(kind, with_scale(value, kind).as_bytes(), &mut out).ok()?;
    Some(out)
}

/// A decimal that is written as text gets all decimals of its column, as its values have them.
fn with_scale(mut value: String, kind: &FieldType) -> String {
    let scale = match kind {
        FieldType::DecimalText { scale: Some(scale) } => usize::try_from(*scale).unwrap_or(0),
        _ => 0,
    };
    let written = value.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    if scale > written {
        value.push_str(if written == 0 { "." } else { "" });
        value.push_str(&"0".repeat(scale - written));
    }
    value
}

/// Outer `None`: defaults of this type are not read at all. Inner `None`: only literals are.
fn stand_in(type_name: &str, kind: &FieldType) -> Option<Option<&'static str>> {
    if matches!(kind, FieldType::String(Text::Enum(_))) {
        return Some(None);
    }
    Some(Some(match type_name {
        "bit" | "varbit" | "numeric" | "float4" | "float8" | "int2" | "int4" | "int8" => "0",
        "bool" => "f",
        "bpchar" | "varchar" | "text" | "xml" => "",
        "json" | "jsonb" => "{}",
        "uuid" => "00000000-0000-0000-0000-000000000000",
        "date" | "timestamp" | "timestamptz" => "1970-01-01",
        "time" => "00:00",
        "interval" => "00:00:00",
        _ => return None,
    }))
}

/// A function call (`now()`, `nextval('…'::regclass)`, `(now() AT TIME ZONE …)`) or one of SQL's bare time functions.
fn is_generated(expression: &str) -> bool {
    const BARE: [&str; 5] = ["current_timestamp", "current_time", "current_date", "localtime", "localtimestamp"];
    if BARE.iter().any(|name| expression.eq_ignore_ascii_case(name)) {
        return true;
    }
    let call = expression.strip_prefix('(').unwrap_or(expression);
    let name = call.bytes().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.')).count();
    name > 0 && call.get(name..).is_some_and(|rest| rest.starts_with('(') && rest.contains(')'))
}

/// The value of a literal: what stands between the first pair of quotes, or the whole text when there are none.
fn literal(expression: &str, must_be_cast: bool) -> Option<String> {
    if must_be_cast && !expression.contains("'::") {
        return None;
    }
    let Some((_, quoted)) = expression.split_once('\'') else {
        return (!expression.starts_with("NULL")).then(|| expression.to_owned());
    };
    let mut value = String::new();
    let mut rest = quoted;
    loop {
        let (part, tail) = rest.split_once('\'')?;
        value.push_str(part);
        match tail.strip_prefix('\'') {
            Some(tail) => {
                value.push('\'');
                rest = tail;
            }
            None => return Some(value),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::envelope::{avro::to_json, modes::TypeModes};

    fn json(type_name: &str, typmod: i32, default: &str) -> Option<String> {
        let column = Column {
            name: "c".into(),
            type_name: type_name.into(),
            typmod,
            nullable: true,
            default: Some(default.into()),
            ..Column::default()
        };
        let kind = FieldType::of(&column, &TypeModes::default())?;
        to_json(kind.primitive()?, &evaluate(&column, &kind)?)
    }

    #[test]
    fn literals_keep_their_value() {
        for (type_name, typmod, expression, expected) in [
            ("int4", -1, "7", "7"),
            ("int4", -1, "'-7'::integer", "-7"),
            ("text", -1, "'dflt'::text", "\"dflt\""),
            ("varchar", 24, "'it''s'::character varying", "\"it's\""),
            ("bool", -1, "true", "true"),
            ("numeric", 655_366, "1.5", "\"\\u0000\u{96}\""),
            ("float8", -1, "1.5", "1.5"),
            ("timestamp", -1, "'1970-01-01 00:00:01'::timestamp without time zone", "1000000"),
            (
                "timestamptz",
                -1,
                "'2024-01-01 00:00:00+01'::timestamp with time zone",
                "\"2023-12-31T23:00:00.000000Z\"",
            ),
            ("date", -1, "'1970-01-03'::date", "2"),
            ("bit", 1, "'1'::\"bit\"", "true"),
        ] {
            assert_eq!(json(type_name, typmod, expression).as_deref(), Some(expected), "{expression}");
        }
    }

    #[test]
    fn generated_values_have_a_stand_in() {
        for (type_name, expression, expected) in [
            ("int8", "nextval('a_id_seq'::regclass)", "0"),
            ("timestamp", "now()", "0"),
            ("timestamp", "(now() AT TIME ZONE 'utc'::text)", "0"),
            ("timestamp", "CURRENT_TIMESTAMP", "0"),
            ("timestamptz", "now()", "\"1970-01-01T00:00:00.000000Z\""),
            ("uuid", "gen_random_uuid()", "\"00000000-0000-0000-0000-000000000000\""),
            ("jsonb", "jsonb_build_object()", "\"{}\""),
        ] {
            assert_eq!(json(type_name, -1, expression).as_deref(), Some(expected), "{expression}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_no_default() {
        for (type_name, expression) in [
            ("int4", "(1 + 2)"),
            ("text", "NULL::character varying"),
            ("bytea", "'\\x00'::bytea"),
            ("numeric", "1.5"),
            ("int4", "'"),
            ("_int4", "'{}'::integer[]"),
        ] {
            assert_eq!(json(type_name, -1, expression), None, "{expression}");
        }
    }

    proptest! {
        #[test]
        fn any_expression_is_survived(expression in "\\PC{0,30}") {
            for type_name in ["int4", "text", "numeric", "timestamptz", "bool", "interval"] {
                let _ = json(type_name, -1, &expression);
            }
        }
    }
}
