//! From the text of a cell to the Avro bytes of its field: the dispatch over field types.

use super::{
    avro,
    field::FieldType,
    nested, number,
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
        FieldType::Money => number::money(text, out)?,
        FieldType::Bytea => bytea(text, out)?,
        FieldType::Date => avro::long(out, time::date(text)?.into()),
        FieldType::TimeMillis => avro::long(out, time::time_micros(text)? / 1000),
        FieldType::TimeMicros => avro::long(out, time::time_micros(text)?),
        FieldType::TimeTz => string(out, |out| time::timetz(text, out))?,
        FieldType::TimestampMillis => avro::long(out, time::timestamp_micros(text)?.div_euclid(1000)),
        FieldType::TimestampTz { digits } => string(out, |out| time::timestamptz(text, *digits, out))?,
        FieldType::Interval => avro::long(out, time::interval_micros(text)?),
        FieldType::Bits { .. } => number::bits(text, out)?,
        FieldType::Hstore => nested::hstore(text, out)?,
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

/// `bytea` in hexadecimal (`bytea_output = hex`).
fn bytea(text: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
    const BAD: Reason = "not hexadecimal";
    let digits = text.strip_prefix(b"\\x").ok_or(BAD)?;
    if digits.len() % 2 != 0 {
        return Err(BAD);
    }
    avro::long(out, avro::length(digits.len() / 2));
    out.reserve(digits.len() / 2);
    for pair in digits.chunks_exact(2) {
        out.push(nibble(pair[0])? << 4 | nibble(pair[1])?);
    }
    Ok(())
}

fn nibble(digit: u8) -> Result<u8, Reason> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err("not hexadecimal"),
    }
}
