//! A snapshot that a signal asks for, or `snapshot.mode=always`, in the place of the stream.
//!
//! ```text
//!   stream up to here ─▶ slot of a moment (exports a snapshot, consistent point C) ─▶ stream on, exactly to C ─▶ read ─▶ stream from C
//! ```
//!
//! Its rows stand in the topics where the stream stands at C: behind everything the snapshot sees, before everything it
//! does not see. Nothing of the stream is lost or repeated, and a killed relay goes on as it does with an initial snapshot.

use std::collections::BTreeMap;

use super::{
    plan::{ChunkId, Plan, PlannedTable, Progress},
    prepare::{self, View},
    read,
};
use crate::{
    adhoc::signal::SnapshotRequest, error::RelayError, offsets::StreamOffset, outbox::NoLifeline,
    postgres::catalog::PublishedTable, session::Session, settings::SnapshotSettings,
};

/// Readers under one snapshot, before anything is read.
pub struct Opened {
    view: View,
    request: SnapshotRequest,
}

impl Opened {
    /// Where the stream has to get first.
    #[must_use]
    pub fn consistent_point(&self) -> model::lsn::Lsn {
        self.view.consistent_point
    }
}

/// Takes a snapshot for a request. Waits for transactions that are running now.
///
/// # Errors
/// When the server refuses or is away.
pub async fn open(session: &mut Session, request: SnapshotRequest) -> Result<Opened, RelayError> {
    tracing::info!(tables = ?request.tables, "blocking snapshot: waiting for a consistent point");
    Ok(Opened { view: prepare::open_view(session).await?, request })
}

/// Reads it. `offset`: where the stream stands, at the consistent point, with the first request in it.
///
/// # Errors
/// As those of a snapshot; what is committed stays and the next session resumes.
pub async fn run(
    session: &mut Session,
    mut opened: Opened,
    mut offset: StreamOffset,
) -> Result<StreamOffset, RelayError> {
    if !offset.ad_hoc.blocking.is_empty() {
        offset.ad_hoc.blocking.remove(0);
    }
    let published = prepare::published(session, &mut opened.view).await?;
    let tables = planned(&session.settings.snapshot, &opened.request, &published);
    let plan = opened.view.plan(tables, true);
    let entries = [session.keys.streaming(&offset), session.keys.plan(Some(&plan))];
    session.outbox.commit(&entries, &mut NoLifeline).await?;
    tracing::info!(tables = plan.tables.len(), consistent_lsn = plan.consistent_lsn, "blocking snapshot begins");
    let prepared = prepare::job(session, plan, BTreeMap::new(), opened.view.readers, &published, None).await?;
    read(session, prepared, offset).await
}

/// Goes on with one that was interrupted.
///
/// # Errors
/// As [`run`].
pub async fn resume(
    session: &mut Session,
    plan: Plan,
    progress: BTreeMap<ChunkId, Progress>,
    offset: StreamOffset,
) -> Result<StreamOffset, RelayError> {
    let prepared = prepare::prepare_resumed(session, plan, progress).await?;
    read(session, prepared, offset).await
}

/// The tables a request takes. As Debezium has it, the connector's own lists of what a snapshot reads do not count for a
/// request that names tables, and a filter may be a whole statement.
fn planned(settings: &SnapshotSettings, request: &SnapshotRequest, published: &[PublishedTable]) -> Vec<PlannedTable> {
    let as_configured = request.tables.is_empty();
    let taken = published.iter().filter(|table| {
        let name = format!("{}.{}", table.schema, table.name);
        request.takes(&name) && (!as_configured || settings.includes(&table.schema, &table.name))
    });
    let mut tables = prepare::planned(settings, taken);
    for table in tables.iter_mut().filter(|_| !as_configured) {
        (table.select, table.filter) = match request.filter(&format!("{}.{}", table.schema, table.name)) {
            Some(statement) if is_statement(statement) => (Some(statement.to_owned()), None),
            condition => (None, condition.map(str::to_owned)),
        };
    }
    tables
}

fn is_statement(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    first.eq_ignore_ascii_case("select") || first.eq_ignore_ascii_case("with")
}

#[cfg(test)]
mod tests {
    use model::table::TableId;

    use super::*;
    use crate::{adhoc::signal::Condition, postgres::catalog::Heap};

    fn published(name: &str) -> PublishedTable {
        let heap = Heap { oid: 1, name: name.into(), filenode: 1, pages: 1, rows: 1 };
        PublishedTable {
            id: TableId(1),
            schema: "public".into(),
            name: name.into(),
            columns: Vec::new(),
            row_filter: None,
            heaps: vec![heap],
        }
    }

    #[test]
    fn a_filter_may_be_a_condition_or_a_statement() {
        let condition = |table: &str, filter: &str| Condition { table: table.into(), filter: filter.into() };
        let request = SnapshotRequest {
            tables: vec!["public.[ab]".into()],
            conditions: vec![condition("public.a", "v = 1"), condition("public.b", "select * from b")],
            surrogate_key: None,
        };
        let tables = planned(&SnapshotSettings::default(), &request, &["a", "b", "c"].map(published));
        let told: Vec<_> = tables
            .iter()
            .map(|table| (table.name.as_str(), table.filter.as_deref(), table.select.as_deref()))
            .collect();
        assert_eq!(told, [("a", Some("v = 1"), None), ("b", None, Some("select * from b"))]);
    }

    #[test]
    fn a_request_without_tables_takes_what_is_configured() {
        let tables = planned(&SnapshotSettings::default(), &SnapshotRequest::default(), &["a", "b"].map(published));
        assert_eq!(tables.len(), 2);
    }
}
