//! Numbers: from Postgres' decimal text to Avro integers and to Connect's decimals (two's complement bytes and a scale).
//!
//! `numeric` has up to 131,072 digits before and 16,383 behind the point; up to 38 digits take the fast path through
//! `i128`, more are converted limb by limb.

use super::{avro, time::Reason};

/// A decimal integer between `min` and `max`.
#[inline]
pub(super) fn integer(text: &[u8], min: i64, max: i64) -> Result<i64, Reason> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 19 {
        return Err("not an integer");
    }
    let mut value = 0i128;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err("not an integer");
        }
        value = value * 10 + i128::from(digit);
    }
    let value = i64::try_from(if negative { -value } else { value }).map_err(|_| "out of range")?;
    if value < min || value > max { Err("out of range") } else { Ok(value) }
}

/// A decimal number as written: sign, digits before and behind the point.
struct Decimal<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
}

impl<'a> Decimal<'a> {
    fn parse(text: &'a [u8]) -> Result<Self, Reason> {
        if matches!(text, b"NaN" | b"Infinity" | b"-Infinity") {
            return Err("NaN and Infinity have no place in a Connect decimal");
        }
        let (negative, rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        let point = rest.iter().position(|b| *b == b'.');
        let (whole, fraction) = match point {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest, &rest[rest.len()..]),
        };
        let digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
        if whole.is_empty() && fraction.is_empty() || !digits(whole) || !digits(fraction) {
            return Err("not a decimal number");
        }
        Ok(Self { negative, whole, fraction })
    }

    /// Appends the unscaled value at `scale` as Avro bytes. Digits that do not fit the scale must be zeros.
    fn push(&self, scale: i32, out: &mut Vec<u8>) -> Result<(), Reason> {
        const LOST: Reason = "more decimals than the column's scale";
        let zeros = |part: &[u8]| part.iter().all(|b| *b == b'0');
        let (whole, fraction, padding) = match usize::try_from(scale) {
            Ok(scale) => {
                let kept = self.fraction.len().min(scale);
                if !zeros(&self.fraction[kept..]) {
                    return Err(LOST);
                }
                (self.whole, &self.fraction[..kept], scale - kept)
            }
            Err(_) => {
                // A negative scale: the last digits before the point go too.
                let cut = self.whole.len().saturating_sub(scale.unsigned_abs() as usize);
                if !zeros(self.fraction) || !zeros(&self.whole[cut..]) {
                    return Err(LOST);
                }
                (&self.whole[..cut], &self.fraction[..0], 0)
            }
        };
        let leading = whole.iter().take_while(|b| **b == b'0').count();
        let whole = &whole[leading..];
        if whole.len() + fraction.len() + padding <= 18 {
            let mut value = 0i64;
            for byte in whole.iter().chain(fraction) {
                value = value * 10 + i64::from(byte - b'0');
            }
            value *= 10i64.pow(padding as u32);
            avro::integer_bytes(out, i128::from(if self.negative { -value } else { value }));
        } else if whole.len() + fraction.len() + padding <= 38 {
            let mut value = 0i128;
            for byte in whole.iter().chain(fraction) {
                value = value * 10 + i128::from(byte - b'0');
            }
            value *= 10i128.pow(padding as u32);
            avro::integer_bytes(out, if self.negative { -value } else { value });
        } else {
            let digits = whole.iter().chain(fraction).copied().chain(std::iter::repeat_n(b'0', padding));
            avro::bytes(out, &big_integer(digits, self.negative));
        }
        Ok(())
    }
}

/// Two's complement big-endian bytes, as few as it takes, of an integer given by its ASCII digits.
fn big_integer(digits: impl Iterator<Item = u8>, negative: bool) -> Vec<u8> {
    // Little-endian limbs; nine digits at a time.
    let mut limbs: Vec<u32> = Vec::new();
    let mut multiply_add = |factor: u32, addend: u32| {
        let mut carry = u64::from(addend);
        for limb in &mut limbs {
            let sum = u64::from(*limb) * u64::from(factor) + carry;
            *limb = sum as u32;
            carry = sum >> 32;
        }
        if carry > 0 {
            limbs.push(carry as u32);
        }
    };
    let (mut chunk, mut scale) = (0u32, 1u32);
    for digit in digits {
        chunk = chunk * 10 + u32::from(digit - b'0');
        scale *= 10;
        if scale == 1_000_000_000 {
            multiply_add(scale, chunk);
            (chunk, scale) = (0, 1);
        }
    }
    if scale > 1 {
        multiply_add(scale, chunk);
    }
    let mut bytes = vec![0];
    bytes.extend(limbs.iter().rev().flat_map(|limb| limb.to_be_bytes()));
    if negative {
        let mut carry = true;
        for byte in bytes.iter_mut().rev() {
            let (sum, overflow) = (!*byte).overflowing_add(u8::from(carry));
            *byte = sum;
            carry = overflow;
        }
    }
    let sign = if bytes[0] & 0x80 == 0 { 0 } else { 0xFF };
    let skip = bytes.windows(2).take_while(|pair| pair[0] == sign && (pair[0] ^ pair[1]) & 0x80 == 0).count();
    bytes.drain(..skip);
    bytes
}

/// Appends a `numeric(p, s)` as Avro bytes holding the unscaled value.
pub(super) fn decimal(text: &[u8], scale: i32, out: &mut Vec<u8>) -> Result<(), Reason> {
    Decimal::parse(text)?.push(scale, out)
}

/// Appends a `numeric` without scale as Debezium's `VariableScaleDecimal` record: scale (trailing zeros of the fraction
/// stripped), unscaled value.
pub(super) fn variable_decimal(text: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
    let decimal = Decimal::parse(text)?;
    let trailing = decimal.fraction.iter().rev().take_while(|b| **b == b'0').count();
    let scale = i32::try_from(decimal.fraction.len() - trailing).map_err(|_| "too many decimals")?;
    avro::long(out, i64::from(scale));
    decimal.push(scale, out)
}

/// Refuses what is no decimal number.
pub(super) fn expect_decimal(text: &[u8]) -> Result<(), Reason> {
    Decimal::parse(text).map(drop)
}

/// A `money` in hundredths. Signs, currency and group separators depend on `lc_monetary`; two digits behind the last `.`
/// or `,` are the cents.
fn cents(text: &[u8]) -> Result<i128, Reason> {
    let mut cents = 0i128;
    let mut digits = 0;
    for byte in text.iter().filter(|b| b.is_ascii_digit()) {
        digits += 1;
        cents = cents * 10 + i128::from(byte - b'0');
        if digits > 30 {
            return Err("out of range");
        }
    }
    if digits == 0 {
        return Err("no digits");
    }
    let has_cents = text
        .iter()
        .rposition(|b| matches!(b, b'.' | b','))
        .is_some_and(|at| text[at + 1..].iter().filter(|b| b.is_ascii_digit()).count() == 2);
    let value = if has_cents { cents } else { cents * 100 };
    let negative = text.iter().any(|b| matches!(b, b'-' | b'('));
    Ok(if negative { -value } else { value })
}

/// A number of hundredths with other decimals, halves rounded away from zero.
fn rescaled(cents: i128, digits: u8) -> Result<i128, Reason> {
    if digits >= 2 {
        let factor = 10i128.checked_pow(u32::from(digits) - 2);
        return factor.and_then(|factor| cents.checked_mul(factor)).ok_or("out of range");
    }
    let divisor = 10i128.pow(2 - u32::from(digits));
    Ok((cents + cents.signum() * (divisor / 2)) / divisor)
}

/// Appends a `money` as Avro bytes holding the unscaled value with `digits` decimals.
pub(super) fn money(text: &[u8], digits: u8, out: &mut Vec<u8>) -> Result<(), Reason> {
    avro::integer_bytes(out, rescaled(cents(text)?, digits)?);
    Ok(())
}

/// The number a `money` spells.
pub(super) fn money_double(text: &[u8]) -> Result<f64, Reason> {
    Ok(cents(text)? as f64 / 100.0)
}

/// Appends a `money` as a decimal text.
pub(super) fn money_text(text: &[u8], _digits: u8, out: &mut Vec<u8>) -> Result<(), Reason> {
    let cents = cents(text)?;
    let sign = if cents < 0 { "-" } else { "" };
    let whole = cents.unsigned_abs();
    avro::bytes(out, format!("{sign}{}.{:02}", whole / 100, whole % 100).as_bytes());
    Ok(())
}

/// Appends a bit string as Debezium's `Bits`: the number it spells, little endian, no zero bytes at the end.
pub(super) fn bits(text: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
    if text.iter().any(|b| !matches!(b, b'0' | b'1')) {
        return Err("not a bit string");
    }
    let ones = text.iter().position(|b| *b == b'1').map_or(&text[..0], |first| &text[first..]);
    avro::long(out, avro::length(ones.len().div_ceil(8)));
    out.extend(ones.rchunks(8).map(|byte| byte.iter().fold(0u8, |value, bit| value << 1 | (bit - b'0'))));
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn encoded(text: &str, scale: i32) -> Result<Vec<u8>, Reason> {
        let mut out = Vec::new();
        decimal(text.as_bytes(), scale, &mut out).map(|()| out)
    }

    #[test]
    fn decimals_of_any_scale_are_unscaled_integers() {
        assert_eq!(encoded("19.99", 2).unwrap(), [4, 0x07, 0xCF]);
        assert_eq!(encoded("0", 2).unwrap(), [2, 0]);
        assert_eq!(encoded("5", 2).unwrap(), encoded("5.00", 2).unwrap());
        assert_eq!(encoded("-12300", -2).unwrap(), [2, 0x85]);
        assert_eq!(encoded("0.00012", 5).unwrap(), [2, 12]);
        assert_eq!(encoded("1.25", 1), Err("more decimals than the column's scale"));
    }

    #[test]
    fn text_that_is_no_decimal_is_refused() {
        for text in ["", "-", ".", "1.2.3", "1e5", "+1", " 1", "NaN", "Infinity", "--1", "1-"] {
            assert!(encoded(text, 2).is_err(), "{text:?}");
        }
    }

    #[test]
    fn integers_stay_in_their_range() {
        assert_eq!(integer(b"-32768", -32768, 32767), Ok(-32768));
        assert_eq!(integer(b"-9223372036854775808", i64::MIN, i64::MAX), Ok(i64::MIN));
        for text in ["32768", "", "-", "1 ", "99999999999999999999", "9223372036854775808"] {
            assert!(integer(text.as_bytes(), -32768, 32767).is_err(), "{text}");
        }
    }

    #[test]
    fn money_is_read_in_several_spellings() {
        for (text, cents) in
            [("$1,234.56", 123_456), ("-$0.01", -1), ("($5.00)", -500), ("1.234,50 €", 123_450), ("¥1,234", 123_400)]
        {
            let (mut out, mut expected) = (Vec::new(), Vec::new());
            money(text.as_bytes(), 2, &mut out).unwrap();
            avro::integer_bytes(&mut expected, cents);
            assert_eq!(out, expected, "{text}");
        }
    }

    #[test]
    fn bit_strings_are_little_endian_without_zero_bytes() {
        for (text, expected) in
            [("10100101", &[2, 0xA5][..]), ("101", &[2, 5]), ("000000000", &[0]), ("100000001", &[4, 1, 1])]
        {
            let mut out = Vec::new();
            bits(text.as_bytes(), &mut out).unwrap();
            assert_eq!(out, expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_slow_path_agrees_with_the_fast_one(value: i128) {
            let mut fast = Vec::new();
            avro::integer_bytes(&mut fast, value);
            let slow = big_integer(value.unsigned_abs().to_string().bytes(), value < 0);
            prop_assert_eq!(avro::payload(&fast).unwrap(), &slow[..]);
        }

        #[test]
        fn random_bytes_never_panic(text: Vec<u8>, scale in -1000i32..1000) {
            let mut out = Vec::new();
            let _ = decimal(&text, scale, &mut out);
            let _ = variable_decimal(&text, &mut out);
            let _ = money(&text, 2, &mut out);
            let _ = bits(&text, &mut out);
            let _ = integer(&text, i64::MIN, i64::MAX);
        }
    }
}
