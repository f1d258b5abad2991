//! Days, times and moments as numbers, from the texts that Postgres, Debezium and the lake write.

use chrono::NaiveDate;

const DAY_MICROS: i64 = 86_400_000_000;

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
    let [year, month, day] = numbers(text, '-')?;
    let day = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, u32::try_from(month).ok()?, u32::try_from(day).ok()?)?;
    Some(day.signed_duration_since(NaiveDate::default()).num_days())
}

/// Microseconds since midnight of `HH:MM:SS[.f…]`. Postgres' `24:00:00` is the end of the day.
pub(super) fn time_of_day(text: &str) -> Option<i64> {
    if text == "24:00:00" {
        return Some(DAY_MICROS);
    }
    let (whole, behind) = text.split_once('.').map_or((text, None), |(whole, behind)| (whole, Some(behind)));
    let [hour, minute, second] = numbers(whole, ':')?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let micros = behind.map_or(Some(0), fraction)?;
    Some(((hour * 60 + minute) * 60 + second) * 1_000_000 + micros)
}

/// Microseconds since the Unix epoch of `YYYY-MM-DD HH:MM:SS[.f…]`, with `T` for the space or without, with UTC's zone
/// (`Z`, `+00`) or without.
pub(super) fn moment(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00")).unwrap_or(text);
    let (date, time) = text.split_once(['T', ' '])?;
    day(date)?.checked_mul(DAY_MICROS)?.checked_add(time_of_day(time)?)
}

/// Three numbers of digits only. By hand, as this runs for every row at several hops.
fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut next = || digits(parts.next()?);
    let numbers = [next()?, next()?, next()?];
    parts.next().is_none().then_some(numbers)
}

/// Microseconds of the digits behind the point; what lies below is cut off, as no column of Postgres holds it.
fn fraction(behind: &str) -> Option<i64> {
    digits(behind)?;
    let shown = behind.get(..behind.len().min(6))?;
    Some(digits(shown)? * 10_i64.pow(6 - u32::try_from(shown.len()).ok()?))
}

fn digits(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
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
    fn texts_that_are_no_times_are_refused() {
        for text in ["", "2024-02-30", "2024-2", "-2024-01-01", "2024-01-01-01", "+024-01-01", "soon"] {
            assert_eq!(day(text), None, "{text}");
        }
        for text in ["24:00:01", "10:60:00", "10:00:60", "10:00", "10:00:00.", "10:00:00.1x", "-1:00:00"] {
            assert_eq!(time_of_day(text), None, "{text}");
        }
        assert_eq!(time_of_day("00:00:00.1234567"), Some(123_456));
        assert_eq!(moment("2024-01-01"), None);
    }

    #[test]
    fn units_come_down_to_microseconds() {
        assert_eq!((Unit::Millis.micros(2), Unit::Micros.micros(2), Unit::Nanos.micros(2_999)), (2000, 2, 2));
    }
}
