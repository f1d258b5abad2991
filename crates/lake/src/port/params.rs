//! Parameters of a statement, from the bytes a client sends to values. Pure.
//!
//! Outside bytes: anything is a value or an error. A number keeps every digit: a decimal has the scale it was written
//! with, and the planner finds the type in which it is compared.

use std::fmt::Write as _;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::scalar::ScalarValue;

use super::{
    answers::Fault,
    encode::{EPOCH_DAYS, EPOCH_US},
    types,
};

/// Reads one value of the type `oid` (0: as `inferred`, else text).
///
/// # Errors
/// `22P02` or `22P03` when the bytes are no such value.
pub fn decode(oid: u32, binary: bool, bytes: &[u8], inferred: Option<&DataType>) -> Result<ScalarValue, Fault> {
    if binary {
        return from_binary(oid, bytes, inferred);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::new("22021", "a parameter is no UTF-8"))?;
    let kind = match oid {
        0 => inferred.cloned().unwrap_or(DataType::Utf8),
        oid => types::arrow(oid).or_else(|| inferred.cloned()).unwrap_or(DataType::Utf8),
    };
    from_text(text, &kind)
}

/// No value of the type.
#[must_use]
pub fn null(oid: u32, inferred: Option<&DataType>) -> ScalarValue {
    let kind = types::arrow(oid).or_else(|| inferred.cloned()).unwrap_or(DataType::Utf8);
    ScalarValue::try_from(&kind).unwrap_or(ScalarValue::Utf8(None))
}

fn invalid(kind: &DataType, text: &str) -> Fault {
    let name = types::sql_name(types::described(&types::plain(kind)).0, -1);
    Fault::new("22P02", format!("invalid input syntax for type {name}: \"{text}\""))
}

fn from_text(text: &str, kind: &DataType) -> Result<ScalarValue, Fault> {
    let trimmed = text.trim();
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(ScalarValue::Utf8(Some(text.to_owned()))),
        DataType::Boolean => match trimmed.to_ascii_lowercase().as_str() {
            "t" | "true" | "y" | "yes" | "on" | "1" => Ok(ScalarValue::Boolean(Some(true))),
            "f" | "false" | "n" | "no" | "off" | "0" => Ok(ScalarValue::Boolean(Some(false))),
            _ => Err(invalid(kind, text)),
        },
        DataType::Decimal128(_, _) | DataType::Decimal256(_, _) => decimal(trimmed).ok_or_else(|| invalid(kind, text)),
        kind if kind.is_integer() => {
            let value = trimmed.parse().map_err(|_| invalid(kind, text))?;
            Ok(ScalarValue::Int64(Some(value)))
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            bytea(text).map(|bytes| ScalarValue::Binary(Some(bytes))).ok_or_else(|| invalid(kind, text))
        }
        DataType::Date32 | DataType::Date64 => {
            // Java writes a zone behind the day.
            let day = trimmed.split([' ', 'T']).next().unwrap_or_default();
            ScalarValue::try_from_string(day.to_owned(), &DataType::Date32).map_err(|_| invalid(kind, text))
        }
        // The zone does not count for a time without one, as in PostgreSQL.
        DataType::Timestamp(_, None) => {
            let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
            ScalarValue::try_from_string(without_zone(trimmed).to_owned(), &micros).map_err(|_| invalid(kind, text))
        }
        DataType::Timestamp(_, Some(_)) => {
            let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
            ScalarValue::try_from_string(trimmed.to_owned(), &micros).map_err(|_| invalid(kind, text))
        }
        kind => ScalarValue::try_from_string(trimmed.to_owned(), kind).map_err(|_| invalid(kind, text)),
    }
}

/// `2024-05-05 10:00:00.5+02:00` without what follows the time.
fn without_zone(text: &str) -> &str {
    let Some(time) = text.find([' ', 'T']) else { return text };
    let end = text[time + 1..].find(['+', '-', 'Z', ' ']).map_or(text.len(), |zone| time + 1 + zone);
    &text[..end]
}

/// A decimal of exactly the digits that are written.
fn decimal(text: &str) -> Option<ScalarValue> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (sign, digits) = match mantissa.as_bytes().first()? {
        b'-' => (-1, &mantissa[1..]),
        b'+' => (1, &mantissa[1..]),
        _ => (1, mantissa),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = if whole.len() > 1 { whole.trim_start_matches('0') } else { whole };
    if mantissa.is_empty()
        || digits == "."
        || digits.is_empty()
        || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let mut value: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        value = value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    scaled(sign * value, scale)
}

/// `value / 10^scale`.
fn scaled(mut value: i128, mut scale: i32) -> Option<ScalarValue> {
    if value == 0 {
        scale = scale.clamp(0, 38);
    }
    while scale < 0 {
        value = value.checked_mul(10)?;
        scale += 1;
    }
    while scale > 38 && value % 10 == 0 {
        value /= 10;
        scale -= 1;
    }
    let fits = scale <= 38 && value.unsigned_abs() < 10_u128.pow(38);
    fits.then(|| ScalarValue::Decimal128(Some(value), 38, i8::try_from(scale).unwrap_or(38)))
}

/// `\x00ff`, or PostgreSQL's older escapes.
fn bytea(text: &str) -> Option<Vec<u8>> {
    if let Some(hex) = text.strip_prefix("\\x") {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let pairs = hex.as_bytes().chunks(2);
        return pairs.map(|pair| if let [a, b] = pair { Some((digit(*a)? << 4) | digit(*b)?) } else { None }).collect();
    }
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let first = bytes.next()?;
        if first == b'\\' {
            out.push(first);
            continue;
        }
        let octal = |byte: u8| char::from(byte).to_digit(8);
        let value = (octal(first)? << 6) | (octal(bytes.next()?)? << 3) | octal(bytes.next()?)?;
        out.push(u8::try_from(value).ok()?);
    }
    Some(out)
}

fn from_binary(oid: u32, bytes: &[u8], inferred: Option<&DataType>) -> Result<ScalarValue, Fault> {
    let oid = if oid == 0 { inferred.map_or(types::TEXT, |kind| types::described(&types::plain(kind)).0) } else { oid };
    let wrong = || Fault::new("22P03", format!("incorrect binary data for type {}", types::sql_name(oid, -1)));
    let eight = || bytes.try_into().map(i64::from_be_bytes).map_err(|_| wrong());
    let four = || bytes.try_into().map(i32::from_be_bytes).map_err(|_| wrong());
    Ok(match oid {
        types::BOOL => match bytes {
            [value] => ScalarValue::Boolean(Some(*value != 0)),
            _ => return Err(wrong()),
        },
        types::INT2 => ScalarValue::Int16(Some(bytes.try_into().map(i16::from_be_bytes).map_err(|_| wrong())?)),
        types::INT4 => ScalarValue::Int32(Some(four()?)),
        types::OID => ScalarValue::Int64(Some(i64::from(four()?.cast_unsigned()))),
        types::INT8 => ScalarValue::Int64(Some(eight()?)),
        types::FLOAT4 => ScalarValue::Float32(Some(f32::from_bits(four()?.cast_unsigned()))),
        types::FLOAT8 => ScalarValue::Float64(Some(f64::from_bits(eight()?.cast_unsigned()))),
        types::NUMERIC => numeric(bytes).ok_or_else(wrong)?,
        types::BYTEA => ScalarValue::Binary(Some(bytes.to_vec())),
        types::DATE => ScalarValue::Date32(Some(four()?.checked_add(EPOCH_DAYS).ok_or_else(wrong)?)),
        types::TIME => ScalarValue::Time64Microsecond(Some(eight()?)),
        types::TIMESTAMP => {
            ScalarValue::TimestampMicrosecond(Some(eight()?.checked_add(EPOCH_US).ok_or_else(wrong)?), None)
        }
        types::TIMESTAMPTZ => {
            let micros = eight()?.checked_add(EPOCH_US).ok_or_else(wrong)?;
            ScalarValue::TimestampMicrosecond(Some(micros), Some("+00:00".into()))
        }
        types::UUID => {
            let id = uuid::Uuid::from_slice(bytes).map_err(|_| wrong())?;
            ScalarValue::Utf8(Some(id.to_string()))
        }
        types::TEXT | types::VARCHAR | types::BPCHAR | types::NAME | types::JSON => {
            ScalarValue::Utf8(Some(std::str::from_utf8(bytes).map_err(|_| wrong())?.to_owned()))
        }
        _ => return Err(Fault::new("0A000", format!("a parameter of type {oid} is not read in binary"))),
    })
}

fn numeric(bytes: &[u8]) -> Option<ScalarValue> {
    let short = |at: usize| Some(i16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let (count, weight, sign, scale) = (short(0)?, short(2)?, short(4)?.cast_unsigned(), short(6)?);
    let count = usize::try_from(count).ok()?;
    if bytes.len() != 8 + count * 2 || !(sign == 0 || sign == 0x4000) || scale < 0 {
        return None;
    }
    // Written out, so that zeros at the end of the last group do not overflow what the number itself fits into.
    let mut digits = String::with_capacity(count * 4 + 2);
    for digit in 0..count {
        let digit = short(8 + digit * 2).filter(|digit| (0..10_000).contains(digit))?;
        let _ = write!(digits, "{digit:04}");
    }
    let weight = if count == 0 { -1 } else { i32::from(weight) };
    if !(-16..=16).contains(&weight) {
        return None;
    }
    let point = (weight + 1) * 4;
    if point < 0 {
        digits.insert_str(0, &"0".repeat(usize::try_from(-point).ok()?));
    }
    let point = usize::try_from(point.max(0)).ok()?;
    if digits.len() < point {
        digits.extend(std::iter::repeat_n('0', point - digits.len()));
    }
    let (whole, fraction) = digits.split_at(point);
    let scale = usize::try_from(scale).ok()?;
    let kept = fraction.trim_end_matches('0').len().max(scale.min(fraction.len()));
    let missing = scale.min(38).saturating_sub(kept);
    let minus = if sign == 0 { "" } else { "-" };
    decimal(&format!("{minus}{whole}.{}{}", &fraction[..kept], "0".repeat(missing)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_read_as_its_type() {
        let read = |oid, text: &str| decode(oid, false, text.as_bytes(), None);
        assert_eq!(read(types::NUMERIC, "-1.50").unwrap(), ScalarValue::Decimal128(Some(-150), 38, 2));
        assert_eq!(read(types::NUMERIC, "1.5e3").unwrap(), ScalarValue::Decimal128(Some(1500), 38, 0));
        assert!(read(types::NUMERIC, "NaN").is_err() && read(types::NUMERIC, ".").is_err());
        assert_eq!(read(types::BYTEA, "\\x00fF").unwrap(), ScalarValue::Binary(Some(vec![0, 255])));
        assert_eq!(read(types::BYTEA, "a\\001\\\\").unwrap(), ScalarValue::Binary(Some(vec![b'a', 1, b'\\'])));
        assert_eq!(read(types::DATE, "2024-05-04 +02").unwrap(), ScalarValue::Date32(Some(19_847)));
        let without = ScalarValue::TimestampMicrosecond(Some(1_714_885_505_000_001), None);
        for text in ["2024-05-05 05:05:05.000001", "2024-05-05 05:05:05.000001+02", "2024-05-05T05:05:05.000001Z"] {
            assert_eq!(read(types::TIMESTAMP, text).unwrap(), without, "{text}");
        }
        let with = ScalarValue::TimestampMicrosecond(Some(1_714_885_505_000_000), Some("+00:00".into()));
        for text in ["2024-05-05 05:05:05", "2024-05-05 07:05:05+02", "2024-05-05 07:05:05+02:00"] {
            assert_eq!(read(types::TIMESTAMPTZ, text).unwrap(), with, "{text}");
        }
        assert_eq!(read(types::INT4, " 7 ").unwrap(), ScalarValue::Int64(Some(7)));
        assert_eq!(read(types::INT4, "1.5").unwrap_err().code, "22P02");
        assert_eq!(read(0, "x").unwrap(), ScalarValue::Utf8(Some("x".into())));
        assert_eq!(decode(0, false, b"7", Some(&DataType::Int32)).unwrap(), ScalarValue::Int64(Some(7)));
        assert_eq!(decode(types::INT4, true, &[0, 0, 0], None).unwrap_err().code, "22P03");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_value_or_an_error(oid in prop::sample::select(types::KNOWN.map(|known| known.0).to_vec()), binary in any::<bool>(), bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = decode(oid, binary, &bytes, None);
            let inferred = types::arrow(oid);
            let _ = decode(0, binary, &bytes, inferred.as_ref());
        }

        #[test]
        fn any_text_is_a_value_or_an_error(oid in prop::sample::select(types::KNOWN.map(|known| known.0).to_vec()), text in "[-+0-9eE:.T Z\\\\x{},\"a-f]{0,30}") {
            let _ = decode(oid, false, text.as_bytes(), None);
        }
    }
}
