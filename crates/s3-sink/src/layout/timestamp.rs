//! The time of a record: by the clock, by Kafka, or by a field of its value.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

use super::{FieldValue, LayoutError, RecordView};
use crate::rotation::Millis;

/// `timestamp.extractor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extractor {
    /// When the record is taken.
    Wallclock,
    /// Kafka's timestamp.
    Record,
    /// `timestamp.field`.
    Field(String),
}

impl Extractor {
    /// A record's time.
    ///
    /// # Errors
    /// [`LayoutError`] when it has none.
    pub fn time(&self, record: &impl RecordView, now: Millis) -> Result<Millis, LayoutError> {
        let none = |extractor, why: String| LayoutError::Time { extractor, why };
        match self {
            Self::Wallclock => Ok(now),
            Self::Record => record.timestamp().ok_or_else(|| none("Record", "the record has no timestamp".into())),
            Self::Field(name) => match record.field(name)? {
                FieldValue::Integer(millis) => Ok(millis),
                FieldValue::Text(text) => parse_time(&text)
                    .ok_or_else(|| none("RecordField", format!("'{text}' in field '{name}' is no time in ISO 8601"))),
                FieldValue::Null => Err(none("RecordField", format!("field '{name}' is null"))),
                FieldValue::Boolean(_) | FieldValue::Other => {
                    Err(none("RecordField", format!("Error extracting timestamp from record field: {name}")))
                }
            },
        }
    }
}

/// Milliseconds, or ISO 8601; without an offset it is UTC.
pub fn parse_time(text: &str) -> Option<Millis> {
    if let Ok(millis) = text.parse() {
        return Some(millis);
    }
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Some(moment.timestamp_millis());
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%dT%H:%M%z"] {
        if let Ok(moment) = DateTime::parse_from_str(text, format) {
            return Some(moment.timestamp_millis());
        }
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"] {
        if let Ok(moment) = NaiveDateTime::parse_from_str(text, format) {
            return Some(moment.and_utc().timestamp_millis());
        }
    }
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_millis_or_iso_8601() {
        for (text, millis) in [
            ("1782862200000", Some(1_782_862_200_000)),
            ("2026-06-30T23:30:00Z", Some(1_782_862_200_000)),
            ("2026-07-01T01:30:00.000+02:00", Some(1_782_862_200_000)),
            ("2026-07-01T01:30:00+0200", Some(1_782_862_200_000)),
            ("2026-06-30T23:30", Some(1_782_862_200_000)),
            ("1970-01-02", Some(86_400_000)),
            ("-1", Some(-1)),
            ("yesterday", None),
        ] {
            assert_eq!(parse_time(text), millis, "{text}");
        }
    }
}
