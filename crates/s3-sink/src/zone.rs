//! Time zones, by name or as fixed offsets, and the civil time they give.
//!
//! Pure.

use std::str::FromStr;

use chrono::{DateTime, Datelike, NaiveDateTime, Offset, TimeZone, Timelike};
use chrono_tz::Tz;

use crate::rotation::Millis;

/// A zone of `timezone`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// What is added to UTC.
    Fixed(Millis),
    /// By name: the offset changes with the date.
    Named(Tz),
}

impl Zone {
    /// UTC.
    pub const UTC: Self = Self::Fixed(0);

    /// A zone by its name (`Europe/Berlin`) or offset (`+02:00`).
    pub fn parse(text: &str) -> Option<Self> {
        if text == "Z" {
            return Some(Self::UTC);
        }
        if let Ok(named) = Tz::from_str(text) {
            return Some(Self::Named(named));
        }
        let offset = text.strip_prefix("UTC").or_else(|| text.strip_prefix("GMT")).unwrap_or(text);
        let (sign, rest) = match offset.split_at_checked(1)? {
            ("+", rest) => (1, rest),
            ("-", rest) => (-1, rest),
            _ => return None,
        };
        let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
        let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
        let fits = (0..=18).contains(&hours) && (0..60).contains(&minutes);
        fits.then_some(Self::Fixed(sign * (hours * 60 + minutes) * 60_000))
    }

    /// What the zone adds to UTC at a moment.
    pub fn offset_ms(self, utc: Millis) -> Millis {
        match self {
            Self::Fixed(offset) => offset,
            Self::Named(zone) => DateTime::from_timestamp_millis(utc).map_or(0, |moment| {
                i64::from(zone.offset_from_utc_datetime(&moment.naive_utc()).fix().local_minus_utc()) * 1000
            }),
        }
    }

    /// Name of the zone at a moment, and its offset as `+0200`, for patterns.
    pub fn names(self, utc: Millis) -> (String, String) {
        let minutes = self.offset_ms(utc) / 60_000;
        let sign = if minutes < 0 { '-' } else { '+' };
        let offset = format!("{sign}{:02}{:02}", minutes.abs() / 60, minutes.abs() % 60);
        let name = match self {
            Self::Fixed(0) => "UTC".to_owned(),
            Self::Fixed(_) => offset.clone(),
            Self::Named(zone) => zone.name().to_owned(),
        };
        (name, offset)
    }
}

/// A moment's civil time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// Date and time of day.
    pub date: NaiveDateTime,
    /// Year that the week belongs to, and its number.
    pub week: (i32, u32),
}

impl Civil {
    /// Of milliseconds since 1970 in local time; `None` beyond the calendar's ends.
    pub fn of_local(local: Millis) -> Option<Self> {
        let date = DateTime::from_timestamp_millis(local)?.naive_utc();
        let week = date.iso_week();
        Some(Self { date, week: (week.year(), week.week()) })
    }

    /// Hour of the half day, 1 to 12.
    pub fn hour12(&self) -> u32 {
        self.date.hour12().1
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn zones_are_names_or_offsets() {
        assert_eq!(Zone::parse("+02:00"), Some(Zone::Fixed(7_200_000)));
        assert_eq!(Zone::parse("GMT-3"), Some(Zone::Fixed(-10_800_000)));
        assert_eq!(Zone::parse("UTC").unwrap().offset_ms(0), 0);
        assert_eq!(Zone::parse("Mars/Olympus"), None);
    }

    #[test]
    fn a_named_zone_knows_summer_time() {
        let berlin = Zone::parse("Europe/Berlin").unwrap();
        assert_eq!(berlin.offset_ms(1_767_225_600_000), 3_600_000);
        assert_eq!(berlin.offset_ms(1_782_864_000_000), 7_200_000);
        assert_eq!(berlin.names(1_782_864_000_000), ("Europe/Berlin".into(), "+0200".into()));
    }
}
