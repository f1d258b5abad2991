//! What is written where a row has no value that could be sent: for columns that must have one, and for unchanged
//! TOASTed values. Encoded once, when a field is made.

use super::{
    avro,
    field::{BinaryText, FieldType, Text},
    nested,
};

/// The value Debezium writes for a column that is `NOT NULL`, has no default, and yet no value: every column outside the
/// key in the old row of a delete under the default replica identity.
pub(super) fn no_value(kind: &FieldType) -> Vec<u8> {
    let mut out = Vec::new();
    match kind {
        FieldType::Float4 => out.extend_from_slice(&0f32.to_le_bytes()),
        FieldType::Float8 | FieldType::MoneyDouble => out.extend_from_slice(&0f64.to_le_bytes()),
        FieldType::Decimal { .. } | FieldType::Money { .. } => avro::integer_bytes(&mut out, 0),
        FieldType::DecimalText { scale } => avro::bytes(&mut out, zero(scale.unwrap_or(0)).as_bytes()),
        FieldType::MoneyText { digits } => avro::bytes(&mut out, zero((*digits).into()).as_bytes()),
        FieldType::VariableDecimal => {
            avro::long(&mut out, 0);
            avro::integer_bytes(&mut out, 0);
        }
        FieldType::TimeTz | FieldType::IsoTime => avro::bytes(&mut out, b"00:00:00Z"),
        FieldType::TimestampTz { .. } | FieldType::IsoTimestamp => avro::bytes(&mut out, b"1970-01-01T00:00:00Z"),
        FieldType::IsoDate => avro::bytes(&mut out, b"1970-01-01Z"),
        FieldType::IntervalText => avro::bytes(&mut out, b"P0Y0M0DT0H0M0S"),
        FieldType::Hstore => avro::bytes(&mut out, b"{}"),
        FieldType::Point => nested::push_point(0.0, 0.0, &mut out),
        // false, 0, "", no bytes, an empty array or map: one zero byte each.
        _ => out.push(0),
    }
    out
}

/// Zero with so many decimals.
fn zero(scale: i32) -> String {
    match usize::try_from(scale) {
        Ok(scale) if scale > 0 => format!("0.{}", "0".repeat(scale)),
        _ => "0".to_owned(),
    }
}

/// Debezium's stand-in for an unchanged TOASTed value of this type, where it has one.
pub(super) fn unavailable(kind: &FieldType, placeholder: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let text = String::from_utf8_lossy(placeholder);
    match kind {
        // Bytes in base 64 have none, only those in hexadecimal do.
        FieldType::String(_)
        | FieldType::DecimalText { .. }
        | FieldType::ByteaText(BinaryText::Hex)
        | FieldType::UnknownText(BinaryText::Hex) => avro::bytes(&mut out, text.as_bytes()),
        FieldType::Bytea | FieldType::Unknown => avro::bytes(&mut out, placeholder),
        FieldType::Hstore => {
            let word = avro::json_string(&text);
            avro::bytes(&mut out, format!("{{{word}:{word}}}").as_bytes());
        }
        FieldType::HstoreMap => {
            avro::long(&mut out, 1);
            avro::bytes(&mut out, text.as_bytes());
            out.push(2);
            avro::bytes(&mut out, text.as_bytes());
            out.push(0);
        }
        FieldType::Array { item, items_nullable } => {
            let items = unavailable_items(item, placeholder)?;
            if !items.is_empty() {
                avro::long(&mut out, avro::length(items.len()));
            }
            for item in items {
                if *items_nullable {
                    out.push(2);
                }
                out.extend(item);
            }
            out.push(0);
        }
        _ => return None,
    }
    Some(out)
}

fn unavailable_items(item: &FieldType, placeholder: &[u8]) -> Option<Vec<Vec<u8>>> {
    let encoded = |bytes: &[u8]| {
        let mut out = Vec::new();
        avro::bytes(&mut out, bytes);
        out
    };
    Some(match item {
        FieldType::String(Text::Named("io.debezium.data.Uuid")) => vec![encoded(uuid_of(placeholder).as_bytes())],
        FieldType::String(_) => vec![encoded(String::from_utf8_lossy(placeholder).as_bytes())],
        FieldType::Bytea => vec![encoded(placeholder)],
        // One number per byte, signed as Java's are.
        FieldType::Int4 | FieldType::Int8 | FieldType::Date => placeholder
            .iter()
            .map(|byte| {
                let mut out = Vec::new();
                avro::long(&mut out, byte.cast_signed().into());
                out
            })
            .collect(),
        _ => return None,
    })
}

/// Version 3 UUID of the placeholder's bytes, as Java's `UUID.nameUUIDFromBytes` makes it.
fn uuid_of(bytes: &[u8]) -> String {
    use md5::{Digest as _, Md5};
    let mut hash: [u8; 16] = Md5::digest(bytes).into();
    hash[6] = hash[6] & 0x0F | 0x30;
    hash[8] = hash[8] & 0x3F | 0x80;
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::UNAVAILABLE_VALUE;

    #[test]
    fn the_uuid_of_the_default_placeholder_is_javas() {
        assert_eq!(uuid_of(UNAVAILABLE_VALUE.as_bytes()), "b68a35a7-17ad-35b3-af2a-ae46edb4545a");
    }

    #[test]
    fn zero_has_the_columns_decimals() {
        assert_eq!((zero(3).as_str(), zero(0).as_str(), zero(-2).as_str()), ("0.000", "0", "0"));
    }
}
