//! When maintenance runs: as a command over some or all tables, or behind the loop.

use std::time::{Duration, Instant};

use iceberg::TableIdent;
use tokio_util::sync::CancellationToken;

use super::{Maintenance, Steps, report::TableReport};
use crate::{
    error::{LakeError, Result},
    status::Status,
};

/// Small files side by side that make a rewrite behind the loop worth it.
const FILES_MIN: usize = 8;
/// Orphans are rare; looking for them lists every file.
const ORPHANS_PERIOD: Duration = Duration::from_secs(3600);
/// The part of the status that maintenance reports to.
const PART: &str = "maintenance";

/// Maintains the tables named (`shape.orders`), or all.
///
/// # Errors
/// A name that no table has; the first failure, after the other tables were done.
pub async fn command(maintenance: &Maintenance, names: &[String], steps: Steps) -> Result<Vec<TableReport>> {
    let all = maintenance.idents().await?;
    for name in names {
        if !all.iter().any(|ident| is(ident, name)) {
            return Err(LakeError::definite(format!("there is no table {name} in the lake")));
        }
    }
    let wanted = all.iter().filter(|ident| names.is_empty() || names.iter().any(|name| is(ident, name)));
    let (mut reports, mut failed) = (Vec::new(), None);
    for ident in wanted {
        match maintenance.table(ident, steps).await {
            Ok(report) => reports.push(report),
            Err(error) => {
                tracing::error!(table = %ident, "maintenance: {error}");
                failed.get_or_insert(error);
            }
        }
    }
    failed.map_or(Ok(reports), Err)
}

/// By its full name, or by layer and table as in SQL.
fn is(ident: &TableIdent, name: &str) -> bool {
    let layer = ident.namespace().as_ref().first().map(String::as_str).unwrap_or_default();
    ident.to_string() == name || name.split_once('.') == Some((layer, ident.name()))
}

/// Maintains all tables every `interval` until `stop`.
pub async fn behind(maintenance: Maintenance, interval: Duration, status: Status, stop: CancellationToken) {
    let mut orphans_at: Option<Instant> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
        let orphans = orphans_at.is_none_or(|at| at.elapsed() >= ORPHANS_PERIOD);
        let steps = Steps { dry_run: false, files_min: FILES_MIN, without_key: false, orphans, measure: false };
        let done = tokio::select! {
            () = stop.cancelled() => return,
            done = round(&maintenance, steps) => done,
        };
        if done.is_ok() && orphans {
            orphans_at = Some(Instant::now());
        }
        status.set(PART, done.map_err(|error| error.to_string()));
    }
}

async fn round(maintenance: &Maintenance, steps: Steps) -> Result<()> {
    let mut failed = None;
    for ident in maintenance.idents().await? {
        match maintenance.table(&ident, steps).await {
            Ok(report) if report.did_something() => tracing::debug!(?report, "maintained"),
            // One that was dropped meanwhile is no failure.
            Ok(_) | Err(LakeError::Conflict { .. }) => {}
            Err(error) => {
                failed.get_or_insert(error);
            }
        }
    }
    failed.map_or(Ok(()), Err)
}
