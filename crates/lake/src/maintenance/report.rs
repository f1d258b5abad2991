//! What maintenance did to a table, and what neglect had cost: files, bytes, and the time of a scan, before and after.

use std::time::{Duration, Instant};

use futures::TryStreamExt;
use iceberg::TableIdent;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    error::Result,
    sql::format,
    tables::{TableState, read::read_files},
};

/// How much there is of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Extent {
    pub rows: u64,
    pub files: usize,
    pub delete_files: usize,
    pub bytes: u64,
    pub manifests: usize,
    pub snapshots: usize,
    /// Size of the metadata file, which every commit writes anew.
    pub metadata_bytes: u64,
    /// Time to read every row; `None` when not measured.
    pub scan_ms: Option<u64>,
}

impl Extent {
    /// The table as it is at `state`; reads all of it when `measure`.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn of(state: &TableState, measure: bool) -> Result<Self> {
        let location = state.table.metadata_location().unwrap_or_default();
        let metadata_bytes = match state.table.file_io().new_input(location)?.metadata().await {
            Ok(found) => found.size,
            // A commit later it may be gone.
            Err(_) => 0,
        };
        Ok(Self {
            rows: state.rows(),
            files: state.files.len(),
            delete_files: state.deletes.len(),
            bytes: state.bytes(),
            manifests: state.manifests.len(),
            snapshots: state.metadata().snapshots().len(),
            metadata_bytes,
            scan_ms: if measure { Some(scan(state).await?.as_millis() as u64) } else { None },
        })
    }
}

async fn scan(state: &TableState) -> Result<Duration> {
    let started = Instant::now();
    let ids = state.metadata().current_schema().as_struct().fields().iter().map(|field| field.id).collect();
    if !state.files.is_empty() {
        let mut rows = read_files(state, &state.files, ids, None)?;
        while rows.try_next().await?.is_some() {}
    }
    Ok(started.elapsed())
}

/// What was done to a table; of a dry run, what would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableReport {
    pub table: String,
    pub before: Extent,
    pub after: Extent,
    pub would_rewrite: bool,
    /// Old rows of `serve._runs` that went.
    pub rows_forgotten: u64,
    pub files_replaced: usize,
    pub files_written: usize,
    pub snapshots_expired: usize,
    pub refs_expired: usize,
    pub files_deleted: usize,
    pub orphans: usize,
    pub orphan_bytes: u64,
    pub note: Option<String>,
}

impl TableReport {
    #[must_use]
    pub fn new(ident: &TableIdent, before: Extent) -> Self {
        Self {
            table: ident.to_string(),
            before,
            after: before,
            would_rewrite: false,
            rows_forgotten: 0,
            files_replaced: 0,
            files_written: 0,
            snapshots_expired: 0,
            refs_expired: 0,
            files_deleted: 0,
            orphans: 0,
            orphan_bytes: 0,
            note: None,
        }
    }

    /// Something was changed.
    #[must_use]
    pub fn did_something(&self) -> bool {
        self.rows_forgotten > 0
            || self.files_replaced + self.snapshots_expired + self.refs_expired + self.files_deleted + self.orphans > 0
    }
}

/// The reports as a table for people.
#[must_use]
pub fn table(reports: &[TableReport]) -> String {
    let columns =
        ["table", "rows", "files", "kB", "manifests", "snapshots", "metadata kB", "scan ms", "deleted", "orphans"];
    let columns: Vec<Value> = columns.iter().map(|name| json!({"name": name, "type": "Utf8"})).collect();
    let change = |before: String, after: String| if before == after { before } else { format!("{before} -> {after}") };
    let ms = |extent: &Extent| extent.scan_ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string());
    let rows: Vec<Value> = reports
        .iter()
        .map(|report| {
            let of = |value: fn(&Extent) -> u64| {
                Value::from(change(value(&report.before).to_string(), value(&report.after).to_string()))
            };
            json!([
                report.table,
                of(|extent| extent.rows),
                of(|extent| (extent.files + extent.delete_files) as u64),
                of(|extent| extent.bytes / 1000),
                of(|extent| extent.manifests as u64),
                of(|extent| extent.snapshots as u64),
                of(|extent| extent.metadata_bytes / 1000),
                change(ms(&report.before), ms(&report.after)),
                report.files_deleted.to_string(),
                report.orphans.to_string(),
            ])
        })
        .collect();
    format::table(&Value::from(columns), &rows)
}
