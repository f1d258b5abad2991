//! A table as it was: which snapshot a query asks for, and the state of the table at it.

use std::{fmt, sync::Arc};

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use iceberg::spec::{MAIN_BRANCH, SnapshotRef, SnapshotReference, SnapshotRetention, TableMetadata};
use iceberg::table::Table;

use super::{TableState, Tables};
use crate::error::{LakeError, Result};

/// The past state of a table that a query asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AsOf {
    /// The snapshot of this id, or the one that the branch or tag of this name stands on.
    Version(String),
    /// The snapshot that was current at this time.
    Time(String),
}

impl fmt::Display for AsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "version {version}"),
            Self::Time(time) => write!(f, "time {time}"),
        }
    }
}

impl Tables {
    /// The table of `state` as it was, with the schema it had then.
    ///
    /// # Errors
    /// [`LakeError::Query`] when there is no such snapshot, which names the oldest and the newest there are.
    pub async fn as_of(&self, state: &TableState, at: &AsOf) -> Result<Arc<TableState>> {
        let snapshot = find(&state.table, at)?;
        let metadata = rolled_back(state.metadata(), &snapshot)?;
        let table = Table::builder()
            .identifier(state.table.identifier().clone())
            .file_io(self.file_io().clone())
            .metadata_location(state.table.metadata_location_result()?)
            .metadata(metadata)
            .runtime(self.inner.runtime.clone())
            .disable_cache()
            .build()?;
        Ok(Arc::new(self.read_state(table).await?))
    }
}

/// The metadata as if the table had been rolled back to `snapshot`, so that whoever reads it needs to know no more.
fn rolled_back(metadata: &TableMetadata, snapshot: &SnapshotRef) -> Result<TableMetadata> {
    let mut builder = metadata.clone().into_builder(None);
    if let Some(schema) = snapshot.schema_id() {
        builder = builder.set_current_schema(schema)?;
    }
    let reference = SnapshotReference::new(snapshot.snapshot_id(), SnapshotRetention::branch(None, None, None));
    Ok(builder.set_ref(MAIN_BRANCH, reference)?.build()?.metadata)
}

fn find(table: &Table, at: &AsOf) -> Result<SnapshotRef> {
    let metadata = table.metadata();
    let found = match at {
        AsOf::Version(version) => {
            let id = metadata.snapshot_for_ref(version).map(|snapshot| snapshot.snapshot_id());
            id.or_else(|| version.parse().ok()).and_then(|id| metadata.snapshot_by_id(id))
        }
        AsOf::Time(time) => {
            let wanted = millis(time)?;
            let made = metadata.history().iter().rev().find(|entry| entry.timestamp_ms() <= wanted);
            made.and_then(|entry| metadata.snapshot_by_id(entry.snapshot_id))
        }
    };
    found.cloned().ok_or_else(|| LakeError::Query(missing(table, at)))
}

/// What there is instead.
fn missing(table: &Table, at: &AsOf) -> String {
    let name = table.identifier();
    let metadata = table.metadata();
    let shown =
        |snapshot: &SnapshotRef| format!("{} of {}", snapshot.snapshot_id(), shown_time(snapshot.timestamp_ms()));
    let made = |snapshot: &&SnapshotRef| (snapshot.timestamp_ms(), snapshot.sequence_number());
    match (metadata.snapshots().min_by_key(made), metadata.snapshots().max_by_key(made)) {
        (Some(oldest), Some(newest)) => format!(
            "table {name} has no snapshot for {at}; the oldest is {}, the newest {}",
            shown(oldest),
            shown(newest)
        ),
        _ => format!("table {name} has no snapshot for {at}: it has none at all"),
    }
}

/// Milliseconds since the epoch as a time in UTC.
#[must_use]
pub fn shown_time(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms)
        .map_or_else(|| ms.to_string(), |time| time.format("%Y-%m-%d %H:%M:%S%.3fZ").to_string())
}

/// The last millisecond at or before a time such as `2024-05-05 10:00:00.5`, in UTC unless it says otherwise.
fn millis(text: &str) -> Result<i64> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(&text.replacen(' ', "T", 1)) {
        return Ok(time.timestamp_millis());
    }
    for format in ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f%#z"] {
        if let Ok(time) = DateTime::parse_from_str(text, format) {
            return Ok(time.timestamp_millis());
        }
    }
    let plain = text.strip_suffix("UTC").map_or(text, str::trim_end);
    for format in ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(plain, format) {
            return Ok(time.and_utc().timestamp_millis());
        }
    }
    match NaiveDate::parse_from_str(plain, "%Y-%m-%d") {
        Ok(day) => Ok(day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis()),
        Err(_) => Err(LakeError::Query(format!(
            "'{text}' is no time such as '2024-05-05 10:00:00' or '2024-05-05T10:00:00+02:00'"
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_are_in_utc_unless_they_say_otherwise() {
        for (text, ms) in [
            ("1970-01-02", 86_400_000),
            ("1970-01-01 00:00:01", 1000),
            ("1970-01-01T00:00:01.5", 1500),
            ("1970-01-01 00:00:01.0019", 1001),
            ("1970-01-01 01:00:00+01:00", 0),
            ("1970-01-01 01:00:00+01", 0),
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01 00:00:00 UTC", 0),
            ("1969-12-31 23:59:59.999", -1),
        ] {
            assert_eq!(millis(text).unwrap(), ms, "{text}");
        }
        assert!(millis("yesterday").is_err());
        assert!(millis("").is_err());
    }
}
