//! How a snapshot is cut into chunks, and which of them are still to read.
//!
//! A chunk is a range of heap pages of one table. Rows of a chunk are read in the order of their `ctid`, so its progress
//! is one `ctid`: everything up to it is durable in Kafka, recorded in the same Kafka transaction as the rows. Pure.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Place of a row version in its table (`ctid`): page and line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RowPlace {
    pub page: u32,
    pub line: u16,
}

impl fmt::Display for RowPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({},{})", self.page, self.line)
    }
}

/// The text is not of the form `(page,line)`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a ctid")]
pub struct RowPlaceParseError;

impl FromStr for RowPlace {
    type Err = RowPlaceParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).ok_or(RowPlaceParseError)?;
        let (page, line) = inner.split_once(',').ok_or(RowPlaceParseError)?;
        Ok(Self {
            page: page.parse().map_err(|_| RowPlaceParseError)?,
            line: line.parse().map_err(|_| RowPlaceParseError)?,
        })
    }
}

/// One heap to read: a table, or a partition of one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PlannedTable {
    /// Table whose topic the rows go to.
    pub schema: String,
    pub name: String,
    /// Heap that is read: `pg_class.oid`. The same table unless it is partitioned.
    pub heap: u32,
    /// `pg_relation_filenode` of the heap: another number later means that rows have moved.
    pub filenode: u32,
    /// Pages of the heap when the snapshot was taken.
    pub pages: u32,
    /// Rows the server supposes in it (`pg_class.reltuples`); below zero: it does not know.
    #[serde(default)]
    pub rows: i64,
    /// A statement that says which rows to read; such a table is one chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<String>,
    /// A condition that rows must meet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// A whole snapshot, as it is stored while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The stream takes over from here.
    pub consistent_lsn: u64,
    /// What the snapshot sees, `pg_snapshot` text.
    pub pg_snapshot: String,
    /// When it was taken, microseconds since the Unix epoch.
    pub ts_us: i64,
    pub chunk_pages: u32,
    pub tables: Vec<PlannedTable>,
    /// Asked for by a signal: the stream goes on after it from the stored position.
    #[serde(default)]
    pub blocking: bool,
}

/// Names a chunk inside a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId {
    /// Index into [`Plan::tables`].
    pub table: usize,
    pub chunk: u32,
}

/// How far a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Everything up to and including this row is written.
    Upto(RowPlace),
    Done,
}

/// One piece of work for a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    pub id: ChunkId,
    /// Rows after this one; `None`: from `first_page` on.
    pub after: Option<RowPlace>,
    pub first_page: u32,
    /// First page that is not part of it; `None`: to the end of the heap.
    pub end_page: Option<u32>,
}

impl Plan {
    /// Number of chunks of one table; an empty table has one, so that its end is recorded like any other.
    #[must_use]
    pub fn chunk_count(&self, table: &PlannedTable) -> u32 {
        if table.select.is_some() {
            return 1;
        }
        table.pages.div_ceil(self.chunk_pages.max(1)).max(1)
    }

    /// Pages of one table that are done. A table without pages counts as one, so that reading it counts for something.
    #[must_use]
    pub fn pages_done(&self, table: usize, progress: &std::collections::BTreeMap<ChunkId, Progress>) -> f64 {
        let Some(planned) = self.tables.get(table) else { return 0.0 };
        let (count, pages) = (self.chunk_count(planned), planned.weight());
        let chunk_pages = if planned.select.is_some() { planned.pages } else { self.chunk_pages };
        let done = |chunk: u32| {
            let first_page = chunk.saturating_mul(chunk_pages);
            let own = f64::from(planned.pages.saturating_sub(first_page).min(chunk_pages));
            match progress.get(&ChunkId { table, chunk }) {
                Some(Progress::Done) => own,
                Some(Progress::Upto(place)) => f64::from(place.page.saturating_sub(first_page)).min(own),
                None => 0.0,
            }
        };
        let complete = (0..count).all(|chunk| progress.get(&ChunkId { table, chunk }) == Some(&Progress::Done));
        if complete { pages } else { (0..count).map(done).sum() }
    }

    /// The chunks that are not done, table by table. `progress` holds what is recorded.
    #[must_use]
    pub fn remaining(&self, progress: &std::collections::BTreeMap<ChunkId, Progress>) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        for (table, planned) in self.tables.iter().enumerate() {
            let count = self.chunk_count(planned);
            for chunk in 0..count {
                let id = ChunkId { table, chunk };
                let after = match progress.get(&id) {
                    Some(Progress::Done) => continue,
                    Some(Progress::Upto(place)) => Some(*place),
                    None => None,
                };
                let first_page = chunk * self.chunk_pages;
                // Rows that arrived behind the last planned page are not visible to the snapshot, but a page may have
                // been added between its start and the count: the last chunk is open.
                let end_page = (chunk + 1 < count).then(|| first_page + self.chunk_pages);
                chunks.push(Chunk { id, after, first_page, end_page });
            }
        }
        chunks
    }
}

impl PlannedTable {
    /// What reading it weighs, in pages.
    #[must_use]
    pub fn weight(&self) -> f64 {
        f64::from(self.pages.max(1))
    }
}

impl Chunk {
    /// The `WHERE` condition that cuts this chunk out of its heap.
    #[must_use]
    pub fn condition(&self) -> String {
        let from = match self.after {
            Some(place) => format!("ctid > '{place}'::tid"),
            None => format!("ctid >= '({},0)'::tid", self.first_page),
        };
        match self.end_page {
            Some(end) => format!("{from} AND ctid < '({end},0)'::tid"),
            None => from,
        }
    }

    /// Whether it is the first of its table and nothing of it was read before.
    #[must_use]
    pub fn opens_table(&self) -> bool {
        self.id.chunk == 0 && self.after.is_none()
    }

    /// Whether it is the last of its table.
    #[must_use]
    pub fn closes_table(&self) -> bool {
        self.end_page.is_none()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn plan(chunk_pages: u32, pages: &[u32]) -> Plan {
        let tables = pages
            .iter()
            .map(|pages| PlannedTable {
                schema: "public".into(),
                name: "t".into(),
                heap: 1,
                filenode: 1,
                pages: *pages,
                ..PlannedTable::default()
            })
            .collect();
        Plan { consistent_lsn: 1, pg_snapshot: "1:1:".into(), ts_us: 0, chunk_pages, tables, blocking: false }
    }

    #[test]
    fn an_empty_table_has_one_open_chunk() {
        let chunks = plan(100, &[0]).remaining(&BTreeMap::new());
        assert_eq!(chunks.len(), 1);
        assert_eq!(chunks[0].condition(), "ctid >= '(0,0)'::tid");
        assert!(chunks[0].opens_table() && chunks[0].closes_table());
    }

    #[test]
    fn a_table_read_by_a_statement_is_one_chunk() {
        let mut plan = plan(10, &[95]);
        plan.tables[0].select = Some("SELECT * FROM t".into());
        let chunks = plan.remaining(&BTreeMap::new());
        assert_eq!((chunks.len(), chunks[0].end_page), (1, None));
        let progress = BTreeMap::from([(chunks[0].id, Progress::Upto(RowPlace { page: 19, line: 1 }))]);
        assert!((plan.pages_done(0, &progress) - 19.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_started_chunk_goes_on_after_its_last_written_row() {
        let id = ChunkId { table: 0, chunk: 0 };
        let progress = BTreeMap::from([(id, Progress::Upto(RowPlace { page: 3, line: 7 }))]);
        let chunks = plan(10, &[15]).remaining(&progress);
        assert_eq!(chunks[0].condition(), "ctid > '(3,7)'::tid AND ctid < '(10,0)'::tid");
        assert_eq!(chunks[1].condition(), "ctid >= '(10,0)'::tid");
    }

    proptest! {
        #[test]
        fn the_chunks_of_a_table_cover_every_page_once(chunk_pages in 1_u32..50, pages in 0_u32..500) {
            let chunks = plan(chunk_pages, &[pages]).remaining(&BTreeMap::new());
            let mut next = 0;
            for chunk in &chunks {
                prop_assert_eq!(chunk.first_page, next);
                next = chunk.end_page.unwrap_or(u32::MAX);
            }
            prop_assert_eq!(next, u32::MAX, "the last chunk is open");
        }

        #[test]
        fn a_place_parses_back(page: u32, line: u16) {
            let place = RowPlace { page, line };
            prop_assert_eq!(place.to_string().parse::<RowPlace>().unwrap(), place);
        }

        #[test]
        fn any_text_is_parsed_without_panic(text in ".{0,20}") {
            let _ = text.parse::<RowPlace>();
        }
    }
}
