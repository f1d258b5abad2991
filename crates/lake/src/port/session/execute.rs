//! Runs what a portal stands for: rows of a query, one by one or in bulk, and the commands of a session.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Answered, Io, Session, WRITE_BYTES};
use crate::port::{
    answers::{self, Fault},
    commands::{self, Command},
    copy::Copy,
    portal::{Ends, Portal, Prepared},
};

impl Session<'_> {
    pub(super) async fn execute(&mut self, name: &str, rows_max: u32, cancelled: &CancellationToken) -> Answered {
        // Taken out, so that a command may change the other portals.
        let Some(mut portal) = self.portals.remove(name) else {
            return Ok(Err(Fault::new("34000", format!("portal \"{name}\" does not exist"))));
        };
        let answered = self.run_portal(&mut portal, rows_max, cancelled).await;
        if matches!(answered, Ok(Ok(()))) {
            self.portals.insert(name.to_owned(), portal);
        }
        answered
    }

    pub(super) async fn run_portal(
        &mut self,
        portal: &mut Portal,
        rows_max: u32,
        cancelled: &CancellationToken,
    ) -> Answered {
        let prepared = portal.prepared.clone();
        match &prepared.command {
            Command::Query(_) => match self.rows(portal, rows_max, cancelled).await? {
                Ok(false) => answers::bare(&mut self.out, b's'),
                Ok(true) => answers::complete(&mut self.out, &format!("SELECT {}", portal.sent)),
                Err(fault) => return Ok(Err(fault)),
            },
            Command::Fetch { cursor, rows } => {
                let Some(mut from) = self.portals.remove(cursor) else {
                    return Ok(Err(Fault::new("34000", format!("cursor \"{cursor}\" does not exist"))));
                };
                if let (Some(layout), Some(asked)) = (&mut from.layout, &portal.layout) {
                    // In the formats this FETCH was bound with.
                    layout.columns.clone_from(&asked.columns);
                }
                let before = from.sent;
                // FETCH 0 gives none, while 0 rows of the protocol are all.
                let given = match rows {
                    Some(0) => Ok(true),
                    rows => self.rows(&mut from, rows.unwrap_or(0), cancelled).await?,
                };
                if let Err(fault) = given {
                    return Ok(Err(fault));
                }
                answers::complete(&mut self.out, &format!("FETCH {}", from.sent - before));
                self.portals.insert(cursor.clone(), from);
            }
            Command::Copy { how, .. } => return self.copy(how, portal, cancelled).await,
            command => return Ok(self.command(command, portal)),
        }
        Ok(Ok(()))
    }

    /// Writes all rows of a portal in bulk; a limit of rows does not count here, as in PostgreSQL.
    async fn copy(&mut self, how: &Copy, portal: &mut Portal, cancelled: &CancellationToken) -> Answered {
        let layout = portal.prepared.inner.as_ref().map(|layout| how.layout(layout));
        // Nothing is promised before the query runs: an error then is a plain one.
        portal.layout.clone_from(&layout);
        let ends = Ends { cancelled, gone: &self.gone, stop: &self.stop };
        if let Err(fault) = Box::pin(portal.advance(&self.port.engine, &ends)).await {
            return Ok(Err(fault));
        }
        if let Some(layout) = &layout {
            how.begin(layout, &mut self.out);
        }
        if let Err(fault) = self.rows(portal, 0, cancelled).await? {
            return Ok(Err(fault));
        }
        how.end(portal.sent, &mut self.out);
        answers::complete(&mut self.out, &format!("COPY {}", portal.sent));
        Ok(Ok(()))
    }

    /// Writes rows of a portal: at most `rows_max` unless it is 0. Whether that was the end.
    async fn rows(
        &mut self,
        portal: &mut Portal,
        rows_max: u32,
        cancelled: &CancellationToken,
    ) -> Io<Result<bool, Fault>> {
        let limit = self.port.limits.rows_max;
        let mut left = if rows_max == 0 { u64::MAX } else { u64::from(rows_max) };
        loop {
            if left == 0 {
                return Ok(Ok(false));
            }
            let ends = Ends { cancelled, gone: &self.gone, stop: &self.stop };
            match Box::pin(portal.advance(&self.port.engine, &ends)).await {
                Ok(true) => {}
                Ok(false) => return Ok(Ok(true)),
                Err(fault) => return Ok(Err(fault)),
            }
            if portal.sent >= limit {
                let text = format!("the result has more than {limit} rows (LAKE_SQL_ROWS_MAX)");
                return Ok(Err(Fault::new("54000", text)));
            }
            left -= portal.take(left.min(limit - portal.sent), WRITE_BYTES, &mut self.out);
            if self.out.len() >= WRITE_BYTES {
                self.flush().await?;
            }
        }
    }

    /// A command of the session itself.
    fn command(&mut self, command: &Command, portal: &mut Portal) -> Result<(), Fault> {
        let tag = match command {
            Command::Empty => {
                answers::bare(&mut self.out, b'I');
                return Ok(());
            }
            Command::Accepted(tag) => tag,
            Command::Begin => {
                self.status = b'T';
                "BEGIN"
            }
            Command::Commit | Command::Rollback => {
                let failed = self.status == b'E';
                self.status = b'I';
                self.portals.clear();
                if failed || *command == Command::Rollback { "ROLLBACK" } else { "COMMIT" }
            }
            Command::Show(setting) => {
                let unknown = || Fault::new("42704", format!("unrecognized configuration parameter \"{setting}\""));
                answers::text_row(&mut self.out, commands::value(setting).ok_or_else(unknown)?);
                "SHOW"
            }
            Command::Declare { cursor, query } => {
                self.declare(cursor, query, portal)?;
                "DECLARE CURSOR"
            }
            Command::CloseCursor(cursor) => {
                match cursor {
                    Some(cursor) => drop(self.portals.remove(cursor)),
                    None => self.portals.clear(),
                }
                "CLOSE CURSOR"
            }
            Command::Deallocate(name) => {
                match name {
                    Some(name) => drop(self.statements.remove(name)),
                    None => self.statements.clear(),
                }
                "DEALLOCATE"
            }
            Command::Query(_) | Command::Fetch { .. } | Command::Copy { .. } => return Ok(()),
        };
        answers::complete(&mut self.out, tag);
        Ok(())
    }

    fn declare(&mut self, cursor: &str, query: &str, declared: &mut Portal) -> Result<(), Fault> {
        if self.status != b'T' {
            return Err(Fault::new("25P01", "DECLARE CURSOR can only be used in transaction blocks"));
        }
        if self.portals.contains_key(cursor) {
            return Err(Fault::new("42P03", format!("cursor \"{cursor}\" already exists")));
        }
        let command = Command::Query(query.to_owned());
        let layout = declared.prepared.inner.clone();
        let prepared = Prepared { command, parameters: Vec::new(), layout: layout.clone(), inner: None };
        let (source, values) = declared.take_ready();
        self.portals.insert(cursor.to_owned(), Portal::new(Arc::new(prepared), layout, source, values));
        Ok(())
    }
}
