//! One form for a value wherever it comes from: Postgres' text, an Avro event, the lake's JSON.
//!
//! Pure. The form knows the column's type: `1.50` and `1.5` are different amounts of the same worth and stay different,
//! while `2024-01-31 10:00:00` and `2024-01-31T10:00:00.000000` are one moment. NULL is no text. A value that does not
//! fit its type is an error, not another value.

mod moments;

use crate::error::{Result, broken};

pub use moments::Unit;

/// What a column's values are, as far as their form depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Integer,
    /// Exact number; digits behind the point count.
    Decimal,
    Float32,
    Float64,
    Boolean,
    Text,
    /// Bytes; as hexadecimal digits.
    Bytes,
    /// A day; as days since the Unix epoch.
    Date,
    /// Time of day; as microseconds.
    Time,
    /// Wall-clock time; as microseconds since the Unix epoch.
    Timestamp,
    /// A moment, UTC; as microseconds since the Unix epoch.
    Instant,
}

impl Kind {
    /// The kind of a Postgres type by its `pg_type.oid`. Types that travel as text are text.
    #[must_use]
    pub fn of_type(oid: u32) -> Self {
        match oid {
            20 | 21 | 23 | 26 => Self::Integer,
            1700 => Self::Decimal,
            700 => Self::Float32,
            701 => Self::Float64,
            16 => Self::Boolean,
            17 => Self::Bytes,
            1082 => Self::Date,
            1083 => Self::Time,
            1114 => Self::Timestamp,
            1184 => Self::Instant,
            _ => Self::Text,
        }
    }

    /// The form of a value in Postgres' text output (ISO dates, time zone UTC).
    pub fn from_postgres(self, text: &str) -> Result<String> {
        let refused = || self.refused("Postgres", text);
        match self {
            Self::Integer => text.parse::<i64>().map(|number| number.to_string()).map_err(|_| refused()),
            Self::Decimal => decimal(text).ok_or_else(refused),
            Self::Float32 | Self::Float64 => self.float_text(text).ok_or_else(refused),
            Self::Boolean if matches!(text, "t" | "f") => Ok(text.to_owned()),
            Self::Boolean => Err(refused()),
            Self::Text => Ok(text.to_owned()),
            Self::Bytes => text.strip_prefix("\\x").map(str::to_owned).ok_or_else(refused),
            Self::Date | Self::Time | Self::Timestamp | Self::Instant => self.moment_text(text).ok_or_else(refused),
        }
    }

    /// The form of a value in the lake's JSON; `None` for null.
    pub fn from_json(self, value: &serde_json::Value) -> Result<Option<String>> {
        use serde_json::Value;
        let refused = || self.refused("the lake", &value.to_string());
        let text = match (self, value) {
            (_, Value::Null) => return Ok(None),
            (Self::Integer, Value::Number(number)) => number.as_i64().map(|number| number.to_string()),
            (Self::Decimal, Value::String(text)) => decimal(text),
            (Self::Float32 | Self::Float64, Value::Number(number)) => self.float_text(&number.to_string()),
            (Self::Float32 | Self::Float64, Value::String(text)) => self.float_text(text),
            (Self::Boolean, Value::Bool(yes)) => Some(if *yes { "t" } else { "f" }.to_owned()),
            (Self::Text | Self::Bytes, Value::String(text)) => Some(text.clone()),
            (Self::Date | Self::Time | Self::Timestamp | Self::Instant, Value::String(text)) => self.moment_text(text),
            _ => None,
        };
        text.map(Some).ok_or_else(refused)
    }

    fn float_text(self, text: &str) -> Option<String> {
        match self {
            // The lake widens to 64 bits; the text of both is read back to the 32 bits they came from.
            Self::Float32 => text.parse::<f64>().ok().map(|number| format!("{:?}", number as f32)),
            _ => text.parse::<f64>().ok().map(|number| format!("{number:?}")),
        }
    }

    fn moment_text(self, text: &str) -> Option<String> {
        let number = match self {
            Self::Date => moments::day(text),
            Self::Time => moments::time_of_day(text),
            _ => moments::moment(text),
        };
        number.map(|number| number.to_string())
    }

    fn refused(self, from: &str, text: &str) -> crate::error::LedgerError {
        broken(format!("{from} has the value {text:?} in a column of kind {self:?}"))
    }
}

/// The form of a decimal's text: no superfluous sign or zeros before the point, digits behind it as they are.
fn decimal(text: &str) -> Option<String> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits == "NaN" && !negative {
        return Some(text.to_owned());
    }
    let (whole, behind) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(behind) || (behind.is_empty() && digits.contains('.')) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let zero = whole.is_empty() && behind.bytes().all(|byte| byte == b'0');
    let sign = if negative && !zero { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if behind.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{point}{behind}"))
}

/// The form of a decimal given as Avro gives it: big-endian two's complement and a scale. At most 16 bytes.
pub fn decimal_of_bytes(bytes: &[u8], scale: usize) -> Result<String> {
    if bytes.len() > 16 {
        return Err(broken(format!("a decimal of {} bytes is longer than the ledger reads (16)", bytes.len())));
    }
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    wide[16 - bytes.len()..].copy_from_slice(bytes);
    let unscaled = i128::from_be_bytes(wide);
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, behind) = digits.split_at(digits.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    let point = if scale == 0 { "" } else { "." };
    Ok(format!("{sign}{whole}{point}{behind}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn one_value_has_one_form_from_postgres_and_from_the_lake() {
        for (kind, postgres, lake, form) in [
            (Kind::Integer, "-7", json!(-7), "-7"),
            (Kind::Decimal, "12.30", json!("12.30"), "12.30"),
            (Kind::Decimal, "0.05", json!("0.05"), "0.05"),
            (Kind::Boolean, "t", json!(true), "t"),
            (Kind::Text, "Müller's\tshop", json!("Müller's\tshop"), "Müller's\tshop"),
            (Kind::Bytes, "\\xdeadbeef", json!("deadbeef"), "deadbeef"),
            (Kind::Date, "1970-01-02", json!("1970-01-02"), "1"),
            (Kind::Timestamp, "1970-01-01 00:00:01.5", json!("1970-01-01T00:00:01.500000"), "1500000"),
            (Kind::Instant, "1970-01-01 00:00:01+00", json!("1970-01-01T00:00:01.000000"), "1000000"),
            (Kind::Float64, "0.1", json!(0.1), "0.1"),
            (Kind::Float32, "0.1", json!(0.10000000149011612), "0.1"),
        ] {
            assert_eq!(kind.from_postgres(postgres).unwrap(), form, "{kind:?}");
            assert_eq!(kind.from_json(&lake).unwrap().unwrap(), form, "{kind:?}");
        }
    }

    #[test]
    fn scales_and_signs_of_decimals_count() {
        assert_ne!(decimal("1.5"), decimal("1.50"));
        assert_ne!(decimal("1.5"), decimal("-1.5"));
        assert_eq!(decimal("-0.00"), decimal("0.00"));
        assert_eq!(decimal("007"), decimal("7"));
        for text in ["", ".", "1.", ".5", "1e5", "+1", "--1", "1.2.3"] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }

    #[test]
    fn null_is_no_text_and_a_value_of_another_type_is_refused() {
        assert_eq!(Kind::Text.from_json(&json!(null)).unwrap(), None);
        assert_eq!(Kind::Text.from_json(&json!("")).unwrap(), Some(String::new()));
        for (kind, value) in [
            (Kind::Integer, json!("7")),
            (Kind::Decimal, json!(7)),
            (Kind::Text, json!(7)),
            (Kind::Date, json!("soon")),
        ] {
            assert!(kind.from_json(&value).is_err(), "{kind:?}");
        }
        assert!(Kind::Boolean.from_postgres("true").is_err());
    }

    proptest! {
        #[test]
        fn a_decimal_has_one_form_from_text_and_from_bytes(unscaled: i64, scale in 0usize..10) {
            let from_bytes = decimal_of_bytes(&unscaled.to_be_bytes(), scale).unwrap();
            prop_assert_eq!(decimal(&from_bytes).unwrap(), from_bytes.clone());
            let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
            let at = digits.len() - scale;
            let text = format!("{}{}{}{}", if unscaled < 0 { "-" } else { "" }, &digits[..at], if scale > 0 { "." } else { "" }, &digits[at..]);
            prop_assert_eq!(from_bytes, text);
        }

        #[test]
        fn shorter_bytes_mean_the_same_decimal(unscaled: i16, scale in 0usize..6) {
            let long = decimal_of_bytes(&i64::from(unscaled).to_be_bytes(), scale).unwrap();
            prop_assert_eq!(decimal_of_bytes(&unscaled.to_be_bytes(), scale).unwrap(), long);
        }

        #[test]
        fn any_text_has_a_form_or_is_refused_without_a_crash(text in ".{0,40}", oid in prop::sample::select(vec![16u32, 17, 20, 25, 700, 701, 1082, 1083, 1114, 1184, 1700])) {
            let kind = Kind::of_type(oid);
            let _ = kind.from_postgres(&text);
            let _ = kind.from_json(&json!(text));
        }
    }
}
