//! Days, times and moments as numbers, from the texts that Postgres, Debezium and the lake write.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, Timelike as _};

/// Unit of a number that stands for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    /// The same time in microseconds.
    #[must_use]
    pub fn micros(self, number: i64) -> i64 {
        match self {
            Self::Millis => number.saturating_mul(1000),
            Self::Micros => number,
            Self::Nanos => number.div_euclid(1000),
        }
    }
}

/// Days since the Unix epoch of `YYYY-MM-DD`.
pub(super) fn day(text: &str) -> Option<i64> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(day.signed_duration_since(NaiveDate::default()).num_days())
}

/// Microseconds since midnight of `HH:MM:SS[.f…]`. Postgres' `24:00:00` is the end of the day.
pub(super) fn time_of_day(text: &str) -> Option<i64> {
    if text == "24:00:00" {
        return Some(86_400_000_000);
    }
    let time = NaiveTime::parse_from_str(text, "%H:%M:%S%.f").ok()?;
    Some(i64::from(time.num_seconds_from_midnight()) * 1_000_000 + i64::from(time.nanosecond() / 1000))
}

/// Microseconds since the Unix epoch of `YYYY-MM-DD HH:MM:SS[.f…]`, with `T` for the space or without, with UTC's zone
/// (`Z`, `+00`) or without.
pub(super) fn moment(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00")).unwrap_or(text);
    let separator = if text.contains('T') { "%Y-%m-%dT%H:%M:%S%.f" } else { "%Y-%m-%d %H:%M:%S%.f" };
    Some(NaiveDateTime::parse_from_str(text, separator).ok()?.and_utc().timestamp_micros())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_moment_is_the_same_in_every_spelling(micros in -60_000_000_000_000_000i64..60_000_000_000_000_000) {
            let time = chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default().naive_utc();
            for format in ["%Y-%m-%d %H:%M:%S%.6f", "%Y-%m-%dT%H:%M:%S%.6f", "%Y-%m-%dT%H:%M:%S%.6fZ", "%Y-%m-%d %H:%M:%S%.f+00"] {
                prop_assert_eq!(moment(&time.format(format).to_string()), Some(micros));
            }
            prop_assert_eq!(day(&time.format("%Y-%m-%d").to_string()), Some(micros.div_euclid(86_400_000_000)));
            prop_assert_eq!(time_of_day(&time.format("%H:%M:%S%.f").to_string()), Some(micros.rem_euclid(86_400_000_000)));
        }
    }

    #[test]
    fn units_come_down_to_microseconds() {
        assert_eq!((Unit::Millis.micros(2), Unit::Micros.micros(2), Unit::Nanos.micros(2_999)), (2000, 2, 2));
    }
}
