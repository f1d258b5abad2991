//! Where objects lie, and when they end.

use connect::FieldError;

use super::fields::{Fields, is_reference};
use super::formats::Formats;
use super::{FILE_BYTES_MAX_DEFAULT, OnNull};
use crate::layout::{Extractor, Layout, Pattern, TimeLayout};
use crate::rotation::{Millis, Rotation};
use crate::shape::Shape;
use crate::zone::Zone;

#[derive(Clone, Copy)]
enum Partitioner {
    Default,
    Field,
    TimeBased,
    Daily,
    Hourly,
}

const PARTITIONERS: [(&str, Partitioner); 5] = [
    ("io.confluent.connect.storage.partitioner.DefaultPartitioner", Partitioner::Default),
    ("io.confluent.connect.storage.partitioner.FieldPartitioner", Partitioner::Field),
    ("io.confluent.connect.storage.partitioner.TimeBasedPartitioner", Partitioner::TimeBased),
    ("io.confluent.connect.storage.partitioner.DailyPartitioner", Partitioner::Daily),
    ("io.confluent.connect.storage.partitioner.HourlyPartitioner", Partitioner::Hourly),
];
const DAY: Millis = 86_400_000;
const HOUR: Millis = 3_600_000;

pub(super) fn shape(fields: &mut Fields<'_>, formats: Formats, on_null: OnNull) -> Shape {
    let directory_delimiter = fields.text("directory.delim").unwrap_or("/").to_owned();
    let file_delimiter = fields.text("file.delim").unwrap_or("+").to_owned();
    let offset_width = fields.number("filename.offset.zero.pad.width", 10_usize, 0);
    if offset_width > 100 {
        fields.refuse("filename.offset.zero.pad.width", &offset_width.to_string(), "Value must be no more than 100");
    }
    let layout = layout(fields, &directory_delimiter);
    let open_files_max = fields.number("partitioner.max.open.files", -1_i64, -1);
    let default_names = directory_delimiter == "/" && file_delimiter == "+" && offset_width == 10;
    let alone = formats.keys.is_none() && formats.headers.is_none() && on_null != OnNull::Write;
    Shape {
        topics_dir: fields.text("topics.dir").unwrap_or("topics").trim_matches('/').to_owned(),
        planned: layout != Layout::Default || !default_names || !alone,
        directory_delimiter,
        file_delimiter,
        offset_width,
        layout,
        format: formats.values,
        keys: formats.keys,
        headers: formats.headers,
        open_files_max: usize::try_from(open_files_max).ok().filter(|max| *max > 0),
    }
}

fn layout(fields: &mut Fields<'_>, delimiter: &str) -> Layout {
    let why = "this sink knows DefaultPartitioner, FieldPartitioner, TimeBasedPartitioner, DailyPartitioner and \
               HourlyPartitioner";
    match fields.class("partitioner.class", &PARTITIONERS, why) {
        Partitioner::Default => Layout::Default,
        Partitioner::Field => field_layout(fields),
        Partitioner::TimeBased => {
            let duration = fields.number("partition.duration.ms", -1_i64, i64::MIN);
            if duration <= 0 {
                fields.refuse(
                    "partition.duration.ms",
                    &duration.to_string(),
                    "Partition duration needs to be a positive.",
                );
            }
            let format = fields.text("path.format").unwrap_or_default();
            let format = format.strip_suffix(delimiter).unwrap_or(format).to_owned();
            time_layout(fields, duration, &format)
        }
        Partitioner::Daily => time_layout(fields, DAY, &["'year'=YYYY", "'month'=MM", "'day'=dd"].join(delimiter)),
        Partitioner::Hourly => {
            time_layout(fields, HOUR, &["'year'=YYYY", "'month'=MM", "'day'=dd", "'hour'=HH"].join(delimiter))
        }
    }
}

fn field_layout(fields: &mut Fields<'_>) -> Layout {
    let text = fields.text("partition.field.name").unwrap_or_default();
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    if names.iter().any(String::is_empty) {
        fields.refuse("partition.field.name", text, "Field name cannot be null or empty");
    }
    Layout::Field(names)
}

fn time_layout(fields: &mut Fields<'_>, duration: Millis, format: &str) -> Layout {
    let locale = fields.text("locale").unwrap_or_default().to_owned();
    if locale.is_empty() {
        fields.refuse("locale", "", "Locale cannot be empty.");
    }
    if fields.text("timezone").is_none() {
        fields.refuse("timezone", "", "Timezone cannot be empty.");
    }
    if format.is_empty() {
        fields.refuse("path.format", "", "Path format cannot be empty.");
    }
    let pattern = Pattern::parse(format, &locale);
    let pattern = match pattern {
        Ok(pattern) => Some(pattern),
        Err(_) if is_reference(format) || locale.is_empty() => None,
        Err(error) => {
            fields.refuse("path.format", format, &error.to_string());
            None
        }
    };
    let extractor = match fields.known("timestamp.extractor").unwrap_or("Wallclock") {
        "Wallclock" => Extractor::Wallclock,
        "Record" => Extractor::Record,
        "RecordField" => Extractor::Field(fields.text("timestamp.field").unwrap_or("timestamp").to_owned()),
        other => {
            let text = format!("Invalid timestamp extractor: {other}");
            fields.errors.push(FieldError::new("timestamp.extractor", Some(other), text));
            Extractor::Wallclock
        }
    };
    match pattern {
        // A duration that was refused must not be divided by.
        Some(pattern) => Layout::Time(TimeLayout { duration: duration.max(1), pattern, zone: zone(fields), extractor }),
        None => Layout::Default,
    }
}

/// `timezone`; UTC when it is not given or was refused.
fn zone(fields: &Fields<'_>) -> Zone {
    fields.known("timezone").and_then(Zone::parse).unwrap_or(Zone::UTC)
}

pub(super) fn rotation(fields: &mut Fields<'_>) -> Rotation {
    if fields.text("flush.size").is_none() {
        fields.errors.push(FieldError::missing("flush.size"));
    }
    let records_max = fields.number("flush.size", 1_u64, 1);
    let file_bytes_max = fields.number("haus.file.bytes.max", FILE_BYTES_MAX_DEFAULT, 1);
    let interval_ms = fields.interval("rotate.interval.ms");
    let schedule_ms = fields.interval("rotate.schedule.interval.ms");
    if schedule_ms.is_some() && fields.text("timezone").is_none() {
        let text = "timezone configuration must be set when using scheduled rotation";
        fields.errors.push(FieldError::new("timezone", None, text));
    }
    if let Some(text) = fields.known("timezone")
        && Zone::parse(text).is_none()
    {
        fields.refuse("timezone", text, &format!("The datetime zone id '{text}' is not recognised"));
    }
    Rotation { records_max, file_bytes_max, interval_ms, schedule_ms, zone: zone(fields) }
}
