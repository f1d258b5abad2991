//! Where a record's object lies: Confluent's partitioners and timestamp extractors.
//!
//! Pure. A layout gives each record a folder below its topic's; [`RecordView`] is what it may look at.

mod pattern;
mod timestamp;

use std::fmt::Write as _;

pub use pattern::Pattern;
pub use timestamp::Extractor;

use crate::rotation::Millis;
use crate::zone::{Civil, Zone};

/// A field's value, whatever the record's format.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldValue<'a> {
    /// Not there, or null.
    Null,
    /// A number without fraction.
    Integer(i64),
    /// Text.
    Text(std::borrow::Cow<'a, str>),
    /// Yes or no.
    Boolean(bool),
    /// Of a type no partitioner takes.
    Other,
}

/// A record that has no place; the text is Connect's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Its value has no such field.
    #[error("{0}")]
    NoField(String),
    /// The field's type makes no folder.
    #[error("Error encoding partition: field '{0}' is neither a number without fraction, text nor boolean")]
    Type(String),
    /// No time can be had of it.
    #[error("Unable to determine timestamp using timestamp.extractor {extractor}: {why}")]
    Time {
        /// Extractor.
        extractor: &'static str,
        /// What is missing.
        why: String,
    },
    /// Its value has no fields.
    #[error("Value is not Struct type.")]
    NoStruct,
}

/// What a layout may look at.
pub trait RecordView {
    /// Kafka partition.
    fn partition(&self) -> i32;
    /// Kafka's timestamp.
    fn timestamp(&self) -> Option<Millis>;
    /// A field of the value, dots leading inside.
    ///
    /// # Errors
    /// See [`LayoutError`].
    fn field(&self, name: &str) -> Result<FieldValue<'_>, LayoutError>;
}

/// How folders below a topic's are made.
#[derive(Debug, Clone, PartialEq)]
pub enum Layout {
    /// `partition=<p>`.
    Default,
    /// `<field>=<value>` for each.
    Field(Vec<String>),
    /// A pattern of the record's time.
    Time(TimeLayout),
}

/// See [`Layout::Time`].
#[derive(Debug, Clone, PartialEq)]
pub struct TimeLayout {
    /// `partition.duration.ms`.
    pub duration: Millis,
    /// `path.format`.
    pub pattern: Pattern,
    /// `timezone`.
    pub zone: Zone,
    /// `timestamp.extractor`.
    pub extractor: Extractor,
}

impl Layout {
    /// Write a record's folder into `out`; the record's time, where the layout looks at it.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn place(
        &self,
        record: &impl RecordView,
        now: Millis,
        delimiter: &str,
        out: &mut String,
    ) -> Result<Option<Millis>, LayoutError> {
        out.clear();
        match self {
            Self::Default => {
                let _ = write!(out, "partition={}", record.partition());
                Ok(None)
            }
            Self::Field(names) => {
                for (index, name) in names.iter().enumerate() {
                    if index > 0 {
                        out.push_str(delimiter);
                    }
                    let _ = match record.field(name)? {
                        FieldValue::Null => write!(out, "{name}=null"),
                        FieldValue::Integer(number) => write!(out, "{name}={number}"),
                        FieldValue::Text(text) => write!(out, "{name}={text}"),
                        FieldValue::Boolean(yes) => write!(out, "{name}={yes}"),
                        FieldValue::Other => return Err(LayoutError::Type(name.clone())),
                    };
                }
                Ok(None)
            }
            Self::Time(layout) => {
                let time = layout.extractor.time(record, now)?;
                layout.format(time, out);
                Ok(Some(time))
            }
        }
    }

    /// Whether files may also end by the records' own time.
    pub fn follows_record_time(&self) -> bool {
        matches!(self, Self::Time(layout) if layout.extractor != Extractor::Wallclock)
    }
}

impl TimeLayout {
    fn format(&self, time: Millis, out: &mut String) {
        let local = time.saturating_add(self.zone.offset_ms(time));
        // Java's division: towards zero.
        let begin = local / self.duration * self.duration;
        if let Some(civil) = Civil::of_local(begin) {
            self.pattern.format(&civil, self.zone, time, out);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    struct Record {
        timestamp: Option<Millis>,
        field: FieldValue<'static>,
    }

    impl RecordView for Record {
        fn partition(&self) -> i32 {
            3
        }

        fn timestamp(&self) -> Option<Millis> {
            self.timestamp
        }

        fn field(&self, _: &str) -> Result<FieldValue<'_>, LayoutError> {
            Ok(self.field.clone())
        }
    }

    fn placed(layout: &Layout, field: FieldValue<'static>) -> Result<String, LayoutError> {
        let mut out = "old".to_owned();
        // 2026-06-30 23:30 UTC.
        let record = Record { timestamp: Some(1_782_862_200_000), field };
        layout.place(&record, 0, "/", &mut out).map(|_| out)
    }

    fn hourly(extractor: Extractor) -> Layout {
        Layout::Time(TimeLayout {
            duration: 3_600_000,
            pattern: Pattern::parse("'year'=YYYY/'month'=MM/'day'=dd/'hour'=HH", "en").unwrap(),
            zone: Zone::parse("Europe/Berlin").unwrap(),
            extractor,
        })
    }

    #[test]
    fn folders_are_confluents() {
        assert_eq!(placed(&Layout::Default, FieldValue::Null).unwrap(), "partition=3");
        let fields = Layout::Field(vec!["op".into(), "after.id".into()]);
        assert_eq!(placed(&fields, FieldValue::Text("c".into())).unwrap(), "op=c/after.id=c");
        assert_eq!(placed(&fields, FieldValue::Null).unwrap(), "op=null/after.id=null");
        assert!(placed(&fields, FieldValue::Other).unwrap_err().to_string().contains("'op'"));
        let hour = placed(&hourly(Extractor::Record), FieldValue::Null).unwrap();
        assert_eq!(hour, "year=2026/month=07/day=01/hour=01");
    }

    #[test]
    fn time_comes_from_clock_record_or_field() {
        let wall = placed(&hourly(Extractor::Wallclock), FieldValue::Null).unwrap();
        assert_eq!(wall, "year=1970/month=01/day=01/hour=01");
        let by_field = hourly(Extractor::Field("ts".into()));
        for value in [FieldValue::Integer(1_782_862_200_000), FieldValue::Text("2026-06-30T23:30:00Z".into())] {
            assert_eq!(placed(&by_field, value).unwrap(), "year=2026/month=07/day=01/hour=01");
        }
        assert!(placed(&by_field, FieldValue::Null).unwrap_err().to_string().contains("timestamp.extractor"));
    }
}
