//! Intervals: from Postgres' text (`IntervalStyle = postgres`) to Debezium's microseconds or ISO 8601.

use super::time::{MICROS_PER_SECOND, Reason, Scanner};

/// The parts as written. The clock's parts all have its sign.
#[derive(Default)]
struct Interval {
    years: i64,
    months: i64,
    days: i64,
    hours: i64,
    minutes: i64,
    /// Seconds and their fraction, in microseconds.
    micros: i64,
}

impl Interval {
    fn parse(text: &[u8]) -> Result<Self, Reason> {
        let mut interval = Self::default();
        let text = std::str::from_utf8(text).map_err(|_| "not UTF-8")?;
        let mut parts = text.split_ascii_whitespace();
        while let Some(part) = parts.next() {
            if part.contains(':') {
                let sign = if part.starts_with('-') { -1 } else { 1 };
                let micros = time_of_interval(part.trim_start_matches(['-', '+']).as_bytes())?;
                let seconds = micros / MICROS_PER_SECOND;
                interval.hours = sign * (seconds / 3600);
                interval.minutes = sign * (seconds / 60 % 60);
                interval.micros = sign * (micros % (60 * MICROS_PER_SECOND));
                continue;
            }
            let count: i32 = part.parse().map_err(|_| "not a number of units")?;
            match parts.next() {
                Some("year" | "years") => interval.years = count.into(),
                Some("mon" | "mons") => interval.months = count.into(),
                Some("day" | "days") => interval.days = count.into(),
                _ => return Err("unknown interval unit"),
            }
        }
        Ok(interval)
    }
}

/// Microseconds of an `interval`, a month counted as 30.4375 days, computed in double precision as Debezium does.
pub(super) fn micros(text: &[u8]) -> Result<i64, Reason> {
    let Interval { years, months, days, hours, minutes, micros } = Interval::parse(text)?;
    let total_days = (years as f64 * 12.0 + months as f64) * 30.4375 + days as f64;
    let seconds = (micros / MICROS_PER_SECOND) as f64 + (micros % MICROS_PER_SECOND) as f64 / 1e6;
    let total_seconds = ((total_days * 24.0 + hours as f64) * 60.0 + minutes as f64) * 60.0 + seconds;
    // Saturates, as Java's cast does.
    Ok((total_seconds * 1e6) as i64)
}

/// Appends an `interval` as ISO 8601, every part written out.
pub(super) fn text(text: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
    use std::io::Write as _;
    let Interval { years, months, days, hours, minutes, micros } = Interval::parse(text)?;
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    // Writing into a Vec cannot fail.
    let _ = write!(out, "P{years}Y{months}M{days}DT{hours}H{minutes}M{sign}{}", micros / 1_000_000);
    let fraction = micros % 1_000_000;
    if fraction > 0 {
        let _ = write!(out, ".{fraction:06}");
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
    out.push(b'S');
    Ok(())
}

/// Microseconds of `HH:MM:SS[.ffffff]` where the hours may have any number of digits.
fn time_of_interval(text: &[u8]) -> Result<i64, Reason> {
    let mut input = Scanner(text);
    let hours = input.number(1, 10)?;
    input.expect(b':')?;
    let minutes = input.number(2, 2)?;
    input.expect(b':')?;
    let seconds = input.number(2, 2)?;
    let fraction = input.fraction()?;
    input.end()?;
    let whole = (hours * 3600 + minutes * 60 + seconds).checked_mul(MICROS_PER_SECOND);
    whole.and_then(|whole| whole.checked_add(fraction)).ok_or("interval out of range")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_month_is_taken_for_30_4375_days() {
        for (text, expected) in [
            ("1 year 2 mons 3 days 04:05:06.789", 37_091_106_789_000),
            ("-3 days -01:00:00", -262_800_000_000),
            ("1 mon -1 days +00:00:01", 2_543_401_000_000),
            ("-00:00:00.000001", -1),
            ("00:00:00", 0),
        ] {
            assert_eq!(micros(text.as_bytes()), Ok(expected), "{text}");
        }
        for text in ["1 fortnight", "1", "x days", "9999999999:00:00", "1:2:3"] {
            assert!(micros(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn iso_text_has_every_part() {
        for (input, expected) in [
            ("1 year 2 mons 3 days 04:05:06.789", "P1Y2M3DT4H5M6.789S"),
            ("-3 days -01:00:00", "P0Y0M-3DT-1H0M0S"),
            ("-00:00:00.000001", "P0Y0M0DT0H0M-0.000001S"),
            ("00:00:10", "P0Y0M0DT0H0M10S"),
        ] {
            let mut out = Vec::new();
            text(input.as_bytes(), &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    proptest! {
        #[test]
        fn text_that_looks_like_an_interval_never_panics(input in "[-+]?[0-9]{0,11}[-: ]?[0-9:. +-]{0,24}( BC)?( days?| mons)?") {
            let _ = micros(input.as_bytes());
            let _ = text(input.as_bytes(), &mut Vec::new());
        }
    }
}
