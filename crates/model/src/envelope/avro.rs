//! Avro binary encoding of primitives (Avro specification 1.11, "Binary Encoding"), appended to a byte buffer.
//!
//! The lowest layer of the envelope: every field encoder ends here. Reading exists only to show an encoded primitive as
//! JSON, for schema defaults and for the key headers.

use std::fmt::Write as _;

/// How a primitive is written; tells how its bytes are shown as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Primitive {
    Boolean,
    /// `int` and `long` are written alike.
    Integer,
    Float,
    Double,
    Bytes,
    String,
}

/// Appends an `int` or `long`: zigzag, then base 128, least significant group first.
#[inline]
pub(crate) fn long(out: &mut Vec<u8>, value: i64) {
    let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
    if rest < 0x80 {
        out.push(rest as u8);
        return;
    }
    let mut buffer = [0u8; 10];
    let mut used = 0;
    while rest >= 0x80 {
        buffer[used] = rest as u8 | 0x80;
        rest >>= 7;
        used += 1;
    }
    buffer[used] = rest as u8;
    out.extend_from_slice(&buffer[..=used]);
}

/// Appends `bytes` or a `string`: length, then the bytes.
#[inline]
pub(crate) fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    long(out, length(value.len()));
    out.extend_from_slice(value);
}

/// A length as Avro's `long`. A slice is never longer than `isize::MAX`.
#[inline]
pub(crate) fn length(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// Appends `bytes` holding `value` as two's complement, big endian, in as few bytes as it takes (Java's
/// `BigInteger.toByteArray`).
#[inline]
pub(crate) fn integer_bytes(out: &mut Vec<u8>, value: i128) {
    let all = value.to_be_bytes();
    let redundant = if value < 0 { value.leading_ones() } else { value.leading_zeros() };
    // One sign bit stays.
    let skip = (redundant as usize - 1) / 8;
    bytes(out, &all[skip..]);
}

/// Length of the encoded `long` at the front of `input`, and its value; `None` when it is cut off or overlong.
pub(crate) fn read_long(input: &[u8]) -> Option<(usize, i64)> {
    let mut value = 0u64;
    for (i, byte) in input.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((i + 1, (value >> 1).cast_signed() ^ -((value & 1).cast_signed())));
        }
    }
    None
}

/// Shows an encoded primitive as JSON, as Kafka Connect shows it: bytes as a string of the characters U+0000 to U+00FF.
pub(crate) fn to_json(kind: Primitive, encoded: &[u8]) -> Option<String> {
    Some(match kind {
        Primitive::Boolean => (encoded.first()? == &1).to_string(),
        Primitive::Integer => read_long(encoded)?.1.to_string(),
        Primitive::Float => {
            let value = f32::from_le_bytes(encoded.try_into().ok()?);
            java_number(&format!("{value:e}"), f64::from(value))
        }
        Primitive::Double => {
            let value = f64::from_le_bytes(encoded.try_into().ok()?);
            java_number(&format!("{value:e}"), value)
        }
        Primitive::Bytes => json_string(&payload(encoded)?.iter().copied().map(char::from).collect::<String>()),
        Primitive::String => json_string(std::str::from_utf8(payload(encoded)?).ok()?),
    })
}

/// As [`to_json`], but bytes in base 64, as Connect's `JsonConverter` shows them.
pub(crate) fn to_connect_json(kind: Primitive, encoded: &[u8]) -> Option<String> {
    if kind != Primitive::Bytes {
        return to_json(kind, encoded);
    }
    let mut json = vec![b'"'];
    base64(payload(encoded)?, false, &mut json);
    json.push(b'"');
    String::from_utf8(json).ok()
}

/// Appends bytes in base 64 with padding (RFC 4648, section 4 or 5).
pub(crate) fn base64(bytes: &[u8], url_safe: bool, out: &mut Vec<u8>) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            out.push(match (i <= chunk.len(), ALPHABET[(group >> (18 - 6 * i) & 0x3F) as usize]) {
                (false, _) => b'=',
                (true, b'+') if url_safe => b'-',
                (true, b'/') if url_safe => b'_',
                (true, letter) => letter,
            });
        }
    }
}

/// The bytes behind the length of an encoded `bytes` or `string`.
pub(crate) fn payload(encoded: &[u8]) -> Option<&[u8]> {
    encoded.get(read_long(encoded)?.0..)
}

/// `Double.toString` of Java, given Rust's shortest scientific form (`1.5e-7`) of the same number.
pub(crate) fn java_number(scientific: &str, value: f64) -> String {
    if value.is_nan() {
        return "\"NaN\"".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "\"Infinity\"".to_owned() } else { "\"-Infinity\"".to_owned() };
    }
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        // The shortest digits are the same in both notations.
        let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
        return plain(mantissa, exponent.parse().unwrap_or(0));
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let point = if mantissa.contains('.') { "" } else { ".0" };
    format!("{mantissa}{point}E{exponent}")
}

/// `mantissa` times ten to the `exponent` without an exponent and with at least one digit behind the point.
fn plain(mantissa: &str, exponent: i32) -> String {
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let whole = 1 + exponent;
    if whole <= 0 {
        return format!("{sign}0.{}{digits}", "0".repeat(whole.unsigned_abs() as usize));
    }
    let whole = whole.unsigned_abs() as usize;
    if digits.len() <= whole {
        return format!("{sign}{digits}{}.0", "0".repeat(whole - digits.len()));
    }
    format!("{sign}{}.{}", &digits[..whole], &digits[whole..])
}

/// A JSON string as Jackson writes it: short escapes where JSON has them, other control characters as `\u00XX` in upper
/// case, everything else as it is.
pub(crate) fn json_string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            c if c < ' ' => {
                // Writing into a String cannot fail.
                let _ = write!(json, "\\u{:04X}", c as u32);
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn longs_are_zigzag_base_128() {
        for (value, expected) in [(0, &[0][..]), (-1, &[1]), (1, &[2]), (-64, &[0x7F]), (64, &[0x80, 1])] {
            let mut out = Vec::new();
            long(&mut out, value);
            assert_eq!(out, expected, "{value}");
        }
    }

    #[test]
    fn integers_take_as_few_bytes_as_java_gives_them() {
        for (value, expected) in [
            (0, &[2, 0][..]),
            (127, &[2, 127]),
            (128, &[4, 0, 128]),
            (-128, &[2, 0x80]),
            (-129, &[4, 0xFF, 0x7F]),
            (-1, &[2, 0xFF]),
        ] {
            let mut out = Vec::new();
            integer_bytes(&mut out, value);
            assert_eq!(out, expected, "{value}");
        }
    }

    #[test]
    fn floating_numbers_read_as_java_prints_them() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-1.5, "-1.5"),
            (0.001, "0.001"),
            (0.000_123, "1.23E-4"),
            (1_234_567.0, "1234567.0"),
            (12_345_678.0, "1.2345678E7"),
            (1e10, "1.0E10"),
            (f64::NAN, "\"NaN\""),
        ] {
            assert_eq!(to_json(Primitive::Double, &value.to_le_bytes()).unwrap(), expected);
        }
        assert_eq!(to_json(Primitive::Float, &1.234f32.to_le_bytes()).unwrap(), "1.234");
    }

    #[test]
    fn json_strings_escape_as_jackson_does() {
        assert_eq!(json_string("a\"\\\n\u{0}\u{1f}é"), "\"a\\\"\\\\\\n\\u0000\\u001Fé\"");
    }

    proptest! {
        #[test]
        fn longs_read_back(value: i64) {
            let mut out = Vec::new();
            long(&mut out, value);
            prop_assert_eq!(read_long(&out), Some((out.len(), value)));
        }

        #[test]
        fn showing_random_bytes_never_panics(encoded: Vec<u8>) {
            for kind in [Primitive::Boolean, Primitive::Integer, Primitive::Float, Primitive::Double, Primitive::Bytes, Primitive::String] {
                let _ = to_json(kind, &encoded);
            }
        }
    }
}
