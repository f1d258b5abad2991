//! Dates, times and intervals: from Postgres' text (`DateStyle = ISO`, `IntervalStyle = postgres`) to Debezium's numbers.
//!
//! Calendar arithmetic is proleptic Gregorian, like Postgres' and Java's own. Every function refuses what it cannot
//! represent instead of wrapping.

use std::io::Write as _;

/// Why a text is no value of its type; shown in `EncodeError`.
pub(super) type Reason = &'static str;

const MICROS_PER_SECOND: i64 = 1_000_000;
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

/// Microseconds of an `interval`, a month counted as 30.4375 days, computed in double precision as Debezium does.
pub(super) fn interval_micros(text: &[u8]) -> Result<i64, Reason> {
    let (mut months, mut days, mut hours, mut minutes, mut seconds) = (0f64, 0f64, 0f64, 0f64, 0f64);
    let text = std::str::from_utf8(text).map_err(|_| "not UTF-8")?;
    let mut parts = text.split_ascii_whitespace();
    while let Some(part) = parts.next() {
        if part.contains(':') {
            let negative = part.starts_with('-');
            let micros = time_of_interval(part.trim_start_matches(['-', '+']).as_bytes())?;
            let sign = if negative { -1.0 } else { 1.0 };
            let whole_seconds = micros / MICROS_PER_SECOND;
            hours = sign * (whole_seconds / 3600) as f64;
            minutes = sign * (whole_seconds / 60 % 60) as f64;
            seconds = sign * ((whole_seconds % 60) as f64 + (micros % MICROS_PER_SECOND) as f64 / 1e6);
            continue;
        }
        let count = f64::from(part.parse::<i32>().map_err(|_| "not a number of units")?);
        match parts.next() {
            Some("year" | "years") => months += count * 12.0,
            Some("mon" | "mons") => months += count,
            Some("day" | "days") => days += count,
            _ => return Err("unknown interval unit"),
        }
    }
    let total_days = months * 30.4375 + days;
    let total_seconds = ((total_days * 24.0 + hours) * 60.0 + minutes) * 60.0 + seconds;
    // Saturates, as Java's cast does.
    Ok((total_seconds * 1e6) as i64)
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
    Ok((hours * 3600 + minutes * 60 + seconds) * MICROS_PER_SECOND + fraction)
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
struct Scanner<'a>(&'a [u8]);

impl Scanner<'_> {
    fn expect(&mut self, byte: u8) -> Result<(), Reason> {
        match self.0 {
            [first, rest @ ..] if *first == byte => {
                self.0 = rest;
                Ok(())
            }
            _ => Err("unexpected character"),
        }
    }

    /// A run of `min..=max` digits; max is at most 10.
    fn number(&mut self, min: usize, max: usize) -> Result<i64, Reason> {
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

    fn fraction(&mut self) -> Result<i64, Reason> {
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

    fn end(&self) -> Result<(), Reason> {
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
