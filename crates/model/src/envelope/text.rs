//! From the text of a cell to the Avro bytes of its field: the dispatch over field types.

use super::{
    avro, binary,
    field::FieldType,
    interval, nested, number,
    time::{self, Reason},
};

/// Appends the value of type `kind` that `text` spells, without the union branch in front. On error `out` may hold a part.
#[inline]
pub(super) fn encode(kind: &FieldType, text: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
    match kind {
        FieldType::Int4 => avro::long(out, number::integer(text, i32::MIN.into(), i32::MAX.into())?),
        FieldType::Int8 => avro::long(out, number::integer(text, i64::MIN, i64::MAX)?),
        FieldType::String(_) => {
            std::str::from_utf8(text).map_err(|_| "not UTF-8")?;
            avro::bytes(out, text);
        }
        FieldType::Decimal { scale, .. } => number::decimal(text, *scale, out)?,
        FieldType::TimestampMicros => avro::long(out, time::timestamp_micros(text)?),
        FieldType::Boolean => out.push(u8::from(boolean(text)?)),
        FieldType::Int2 => avro::long(out, number::integer(text, i16::MIN.into(), i16::MAX.into())?),
        FieldType::Float4 => out.extend_from_slice(&float::<f32>(text)?.to_le_bytes()),
        FieldType::Float8 => out.extend_from_slice(&float::<f64>(text)?.to_le_bytes()),
        FieldType::VariableDecimal => number::variable_decimal(text, out)?,
        FieldType::DecimalText { .. } => decimal_text(text, out)?,
        FieldType::Money { digits } => number::money(text, *digits, out)?,
        FieldType::MoneyText { digits } => number::money_text(text, *digits, out)?,
        FieldType::MoneyDouble => out.extend_from_slice(&number::money_double(text)?.to_le_bytes()),
        FieldType::Bytea => binary::bytea(text, out)?,
        FieldType::ByteaText(spelling) => binary::spelled(&binary::unhexed(text)?, *spelling, out),
        FieldType::Unknown => avro::bytes(out, text),
        FieldType::UnknownText(spelling) => binary::spelled(text, *spelling, out),
        FieldType::Date | FieldType::ConnectDate => avro::long(out, time::date(text)?.into()),
        FieldType::IsoDate => string(out, |out| time::iso_date(text, out))?,
        FieldType::TimeNanos => avro::long(out, time::time_micros(text)? * 1000),
        FieldType::IsoTime => string(out, |out| time::iso_time(text, out))?,
        FieldType::TimestampNanos => avro::long(out, time::timestamp_nanos(text)?),
        FieldType::IsoTimestamp => string(out, |out| time::iso_timestamp(text, out))?,
        FieldType::TimeMillis | FieldType::ConnectTime => avro::long(out, time::time_micros(text)? / 1000),
        FieldType::TimeMicros => avro::long(out, time::time_micros(text)?),
        FieldType::TimeTz => string(out, |out| time::timetz(text, out))?,
        FieldType::TimestampMillis | FieldType::ConnectTimestamp => {
            avro::long(out, time::timestamp_micros(text)?.div_euclid(1000))
        }
        FieldType::TimestampTz { digits } => string(out, |out| time::timestamptz(text, *digits, out))?,
        FieldType::Interval => avro::long(out, interval::micros(text)?),
        FieldType::IntervalText => string(out, |out| interval::text(text, out))?,
        FieldType::Bits { .. } => number::bits(text, out)?,
        FieldType::Hstore => nested::hstore(text, out)?,
        FieldType::HstoreMap => nested::hstore_map(text, out)?,
        FieldType::Point => nested::point(text, out)?,
        FieldType::Array { item, items_nullable } => nested::array(text, item, *items_nullable, out)?,
    }
    Ok(())
}

/// Appends a string shorter than 64 bytes, written in place by `write`: its length takes one byte.
fn string(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), Reason>) -> Result<(), Reason> {
    let at = out.len();
    out.push(0);
    write(out)?;
    let length = u8::try_from(out.len() - at - 1).ok().filter(|length| *length < 64).ok_or("too long")?;
    out[at] = length << 1;
    Ok(())
}

/// `bool` and `bit(1)`.
fn boolean(text: &[u8]) -> Result<bool, Reason> {
    match text {
        b"t" | b"1" | b"true" => Ok(true),
        b"f" | b"0" | b"false" => Ok(false),
        _ => Err("not a boolean"),
    }
}

/// A floating-point number, `NaN` and `Infinity` among them.
pub(super) fn float<F: std::str::FromStr>(text: &[u8]) -> Result<F, Reason> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or("not a number")
}

/// A `numeric` as its text; the special values have Debezium's names.
fn decimal_text(text: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
    let text: &[u8] = match text {
        b"NaN" => b"NAN",
        b"Infinity" => b"POSITIVE_INFINITY",
        b"-Infinity" => b"NEGATIVE_INFINITY",
        _ => {
            number::expect_decimal(text)?;
            text
        }
    };
    avro::bytes(out, text);
    Ok(())
}
