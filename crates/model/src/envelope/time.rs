//! Dates and times: from Postgres' text (`DateStyle = ISO`) to Debezium's numbers.
//!
//! Calendar arithmetic is proleptic Gregorian, like Postgres' and Java's own. Every function refuses what it cannot
//! represent instead of wrapping.

use std::io::Write as _;

/// Why a text is no value of its type; shown in `EncodeError`.
pub(super) type Reason = &'static str;

pub(super) const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
const MICROS_PER_DAY: i64 = SECONDS_PER_DAY * MICROS_PER_SECOND;

/// What Debezium's streaming reader makes of the date `infinity` (day of `-5877611-06-21`). Its snapshot reader makes
/// another number of it; one value for both is kept here, so that a row reads the same whichever way it came.
const DATE_INFINITY: i64 = -2_147_472_692;
const DATE_MINUS_INFINITY: i64 = -2_147_472_691;
/// What Debezium makes of the timestamps `infinity` and `-infinity` (pgjdbc's `DATE_POSITIVE_INFINITY`), microseconds.
const TIMESTAMP_INFINITY: i64 = 9_223_372_036_825_200_000;
const TIMESTAMP_MINUS_INFINITY: i64 = -9_223_372_036_832_400_000;

/// Days since 1970-01-01 of a `date`.
pub(super) fn date(text: &[u8]) -> Result<i32, Reason> {
    let days = match text {
        b"infinity" => DATE_INFINITY,
        b"-infinity" => DATE_MINUS_INFINITY,
        _ => {
            let mut input = Scanner(text);
            let date = input.date()?;
            date.days(input.era()?)?
        }
    };
    i32::try_from(days).map_err(|_| "date out of range")
}

/// Microseconds since midnight of a `time`; `24:00:00` is a day.
pub(super) fn time_micros(text: &[u8]) -> Result<i64, Reason> {
    let mut input = Scanner(text);
    let micros = input.time()?;
    input.end()?;
    Ok(micros)
}

/// Microseconds since the Unix epoch of a `timestamp`, its clock read as UTC.
pub(super) fn timestamp_micros(text: &[u8]) -> Result<i64, Reason> {
    match text {
        b"infinity" => return Ok(TIMESTAMP_INFINITY),
        b"-infinity" => return Ok(TIMESTAMP_MINUS_INFINITY),
        _ => {}
    }
    let mut input = Scanner(text);
    let date = input.date()?;
    let micros = input.clock()?;
    let days = date.days(input.era()?)?;
    join(days, micros)
}

/// A `timestamp` outside of the years 1677 to 2262, as nanoseconds. Debezium writes no value for it.
pub(super) const BEYOND_NANOSECONDS: Reason = "out of range for nanoseconds";

/// Nanoseconds since the Unix epoch of a `timestamp`.
pub(super) fn timestamp_nanos(text: &[u8]) -> Result<i64, Reason> {
    match text {
        b"infinity" => Ok(i64::MAX),
        b"-infinity" => Ok(i64::MIN),
        _ => timestamp_micros(text)?.checked_mul(1000).ok_or(BEYOND_NANOSECONDS),
    }
}

/// Appends a `date` as ISO 8601 with the mark of UTC.
pub(super) fn iso_date(text: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
    push_date(out, date(text)?.into());
    out.push(b'Z');
    Ok(())
}

/// Appends a `time` as ISO 8601 in UTC. 24:00:00 becomes midnight, as it does in Java's `LocalTime`.
pub(super) fn iso_time(text: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
    push_time(out, time_micros(text)? % MICROS_PER_DAY, 0);
    out.push(b'Z');
    Ok(())
}

/// Appends a `timestamp` as ISO 8601, its clock read as UTC.
pub(super) fn iso_timestamp(text: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
    let micros = timestamp_micros(text)?;
    push_date(out, micros.div_euclid(MICROS_PER_DAY));
    out.push(b'T');
    push_time(out, micros.rem_euclid(MICROS_PER_DAY), 0);
    out.push(b'Z');
    Ok(())
}

/// Appends a `timestamptz` as ISO 8601 in UTC with `digits` decimals of a second (0: only as many as needed), or
/// `infinity` as it is. A text without offset is read as UTC (column defaults of a date only).
pub(super) fn timestamptz(text: &[u8], digits: u8, out: &mut Vec<u8>) -> Result<(), Reason> {
    if matches!(text, b"infinity" | b"-infinity") {
        out.extend_from_slice(text);
        return Ok(());
    }
    let mut input = Scanner(text);
    let date = input.date()?;
    let micros = input.clock()?;
    let offset = input.offset()?.unwrap_or(0);
    let days = date.days(input.era()?)?;
    let micros = join(days, micros)?.checked_sub(offset * MICROS_PER_SECOND).ok_or("timestamp out of range")?;
    push_date(out, micros.div_euclid(MICROS_PER_DAY));
    out.push(b'T');
    push_time(out, micros.rem_euclid(MICROS_PER_DAY), digits);
    out.push(b'Z');
    Ok(())
}

/// Appends a `timetz` as ISO 8601 in UTC, decimals of a second as many as needed.
pub(super) fn timetz(text: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
    let mut input = Scanner(text);
    let micros = input.time()?;
    let offset = input.offset()?.ok_or("no time zone")?;
    input.end()?;
    let utc = micros - offset * MICROS_PER_SECOND;
    // 24:00:00 in UTC keeps its name; it is not the midnight before.
    push_time(out, if utc == MICROS_PER_DAY { utc } else { utc.rem_euclid(MICROS_PER_DAY) }, 0);
    out.push(b'Z');
    Ok(())
}

fn join(days: i64, micros: i64) -> Result<i64, Reason> {
    days.checked_mul(MICROS_PER_DAY).and_then(|d| d.checked_add(micros)).ok_or("timestamp out of range")
}

/// A calendar day as written, its era still to come.
struct CalendarDay {
    year: i64,
    month: i64,
    day: i64,
}

impl CalendarDay {
    /// Days since 1970-01-01 (Howard Hinnant's `days_from_civil`). `bc`: the year counts backwards from 1 BC.
    fn days(&self, bc: bool) -> Result<i64, Reason> {
        let leap_year = if bc { 1 - self.year } else { self.year };
        if self.year == 0 || !(1..=12).contains(&self.month) {
            return Err("no such day");
        }
        let leap = leap_year % 4 == 0 && (leap_year % 100 != 0 || leap_year % 400 == 0);
        let month_days = match self.month {
            2 => 28 + i64::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if !(1..=month_days).contains(&self.day) {
            return Err("no such day");
        }
        let year = if self.month <= 2 { leap_year - 1 } else { leap_year };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        Ok(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
    }
}

/// Reads a text from the front.
pub(super) struct Scanner<'a>(pub(super) &'a [u8]);

impl Scanner<'_> {
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), Reason> {
        match self.0 {
            [first, rest @ ..] if *first == byte => {
                self.0 = rest;
                Ok(())
            }
            _ => Err("unexpected character"),
        }
    }

    /// A run of `min..=max` digits; max is at most 10.
    pub(super) fn number(&mut self, min: usize, max: usize) -> Result<i64, Reason> {
        let mut value = 0;
        let mut used = 0;
        while let [digit @ b'0'..=b'9', rest @ ..] = self.0 {
            if used == max {
                break;
            }
            value = value * 10 + i64::from(digit - b'0');
            self.0 = rest;
            used += 1;
        }
        if used < min { Err("digits expected") } else { Ok(value) }
    }

    fn date(&mut self) -> Result<CalendarDay, Reason> {
        let year = self.number(4, 7)?;
        self.expect(b'-')?;
        let month = self.number(2, 2)?;
        self.expect(b'-')?;
        let day = self.number(2, 2)?;
        Ok(CalendarDay { year, month, day })
    }

    /// A space and a time, or nothing for midnight (a date standing for a timestamp, in column defaults).
    fn clock(&mut self) -> Result<i64, Reason> {
        if self.0.is_empty() {
            return Ok(0);
        }
        self.expect(b' ')?;
        self.time()
    }

    /// `HH:MM[:SS[.ffffff]]` up to 24:00:00, in microseconds.
    fn time(&mut self) -> Result<i64, Reason> {
        let hours = self.number(2, 2)?;
        self.expect(b':')?;
        let minutes = self.number(2, 2)?;
        let seconds = if self.expect(b':').is_ok() { self.number(2, 2)? } else { 0 };
        let fraction = self.fraction()?;
        let micros = (hours * 3600 + minutes * 60 + seconds) * MICROS_PER_SECOND + fraction;
        if minutes > 59 || seconds > 59 || micros > MICROS_PER_DAY {
            return Err("no such time of day");
        }
        Ok(micros)
    }

    pub(super) fn fraction(&mut self) -> Result<i64, Reason> {
        if self.expect(b'.').is_err() {
            return Ok(0);
        }
        let before = self.0.len();
        let digits = self.number(1, 6)?;
        let used = before - self.0.len();
        Ok(digits * 10i64.pow(6u32.saturating_sub(used as u32)))
    }

    /// `+HH[:MM[:SS]]` in seconds, if there is one.
    fn offset(&mut self) -> Result<Option<i64>, Reason> {
        let sign = match self.0 {
            [b'+', ..] => 1,
            [b'-', ..] => -1,
            _ => return Ok(None),
        };
        self.0 = &self.0[1..];
        let mut seconds = self.number(2, 2)? * 3600;
        if self.expect(b':').is_ok() {
            seconds += self.number(2, 2)? * 60;
            if self.expect(b':').is_ok() {
                seconds += self.number(2, 2)?;
            }
        }
        Ok(Some(sign * seconds))
    }

    /// The rest must be ` BC` (true) or nothing (false).
    fn era(&mut self) -> Result<bool, Reason> {
        match self.0 {
            b"" => Ok(false),
            b" BC" => Ok(true),
            _ => Err("unexpected text at the end"),
        }
    }

    pub(super) fn end(&self) -> Result<(), Reason> {
        if self.0.is_empty() { Ok(()) } else { Err("unexpected text at the end") }
    }
}

/// Appends a day as ISO 8601: years outside of 0..=9999 with a sign (`java.time`'s form).
fn push_date(out: &mut Vec<u8>, days: i64) {
    // Howard Hinnant's civil_from_days.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if (0..=9999).contains(&year) {
        push_padded(out, year, 4);
    } else {
        // Writing into a Vec cannot fail.
        let _ = if year > 0 { write!(out, "+{year}") } else { write!(out, "-{:04}", -year) };
    }
    out.push(b'-');
    push_padded(out, month, 2);
    out.push(b'-');
    push_padded(out, day, 2);
}

fn push_time(out: &mut Vec<u8>, micros: i64, digits: u8) {
    let seconds = micros / MICROS_PER_SECOND;
    push_padded(out, seconds / 3600, 2);
    out.push(b':');
    push_padded(out, seconds / 60 % 60, 2);
    out.push(b':');
    push_padded(out, seconds % 60, 2);
    let fraction = micros % MICROS_PER_SECOND;
    if digits > 0 {
        out.push(b'.');
        let digits = digits.min(6);
        push_padded(out, fraction / 10i64.pow(u32::from(6 - digits)), usize::from(digits));
    } else if fraction > 0 {
        out.push(b'.');
        push_padded(out, fraction, 6);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

/// Appends a non-negative number below ten to the `width` (at most 6) with leading zeros.
fn push_padded(out: &mut Vec<u8>, value: i64, width: usize) {
    let mut buffer = [b'0'; 6];
    let mut rest = value;
    for slot in buffer.iter_mut().take(width).rev() {
        *slot = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&buffer[..width.min(6)]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn shown(write: impl FnOnce(&mut Vec<u8>) -> Result<(), Reason>) -> Result<String, Reason> {
        let mut out = Vec::new();
        write(&mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn dates_count_from_1970_in_both_eras() {
        for (text, days) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-03-01", 11_017),
            ("0001-01-01", -719_162),
            ("0001-12-31 BC", -719_163),
            ("0044-03-15 BC", -735_160),
            ("10000-01-01", 2_932_897),
            ("5874897-12-31", 2_145_042_905),
            ("infinity", -2_147_472_692),
        ] {
            assert_eq!(date(text.as_bytes()), Ok(days), "{text}");
        }
        for text in
            ["", "2023-02-29", "2023-13-01", "2023-00-01", "0000-01-01", "2023-1-1", "2023-01-01x", "1900-02-29"]
        {
            assert!(date(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn times_reach_the_end_of_the_day() {
        assert_eq!(time_micros(b"24:00:00"), Ok(MICROS_PER_DAY));
        assert_eq!(time_micros(b"13:14:15.5"), Ok(47_655_500_000));
        for text in ["24:00:01", "12:60:00", "12:00:60", "12:00:00.", "1:00:00", "12:00:00+01"] {
            assert!(time_micros(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn zoned_values_are_shown_in_utc() {
        for (text, digits, expected) in [
            ("2024-02-29 13:14:15.123456+02", 6, "2024-02-29T11:14:15.123456Z"),
            ("2024-01-01 00:00:00+05:30", 6, "2023-12-31T18:30:00.000000Z"),
            ("1890-01-01 00:00:00+00:19:32", 6, "1889-12-31T23:40:28.000000Z"),
            ("2024-01-01 00:00:00.25-01", 3, "2024-01-01T01:00:00.250Z"),
            ("2024-01-01 00:00:00+00", 0, "2024-01-01T00:00:00Z"),
            ("0044-03-15 12:00:00+00 BC", 6, "-0043-03-15T12:00:00.000000Z"),
            ("10000-01-01 00:00:00+00", 6, "+10000-01-01T00:00:00.000000Z"),
            ("-infinity", 6, "-infinity"),
        ] {
            assert_eq!(shown(|out| timestamptz(text.as_bytes(), digits, out)).as_deref(), Ok(expected));
        }
        for (text, expected) in [
            ("00:00:00+14", "10:00:00Z"),
            ("13:14:15.120000+02", "11:14:15.12Z"),
            ("24:00:00+00", "24:00:00Z"),
            ("23:00:00-02:30", "01:30:00Z"),
        ] {
            assert_eq!(shown(|out| timetz(text.as_bytes(), out)).as_deref(), Ok(expected));
        }
    }

    proptest! {
        #[test]
        fn text_that_looks_like_time_never_panics(text in "[-+]?[0-9]{0,11}[-: ]?[0-9:. +-]{0,24}( BC)?( days?| mons)?") {
            let mut out = Vec::new();
            let _ = date(text.as_bytes());
            let _ = time_micros(text.as_bytes());
            let _ = timestamp_micros(text.as_bytes());
            let _ = timestamptz(text.as_bytes(), 6, &mut out);
            let _ = timetz(text.as_bytes(), &mut out);
        }

        #[test]
        fn any_moment_is_shown_as_it_was(micros in -62_135_596_800_000_000i64..253_402_300_800_000_000) {
            let day = micros.div_euclid(MICROS_PER_DAY);
            let text = shown(|out| {
                push_date(out, day);
                out.push(b' ');
                push_time(out, micros.rem_euclid(MICROS_PER_DAY), 6);
                Ok(())
            });
            prop_assert_eq!(timestamp_micros(text.unwrap().as_bytes()), Ok(micros));
        }
    }
}
