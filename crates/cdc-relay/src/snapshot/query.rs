//! The statements that read the rows of a heap: place and `xmin` of each row first, then its columns.
//!
//! A statement of the user's (`snapshot.select.statement.overrides`) has no places. Its rows are joined to the heap by the
//! table's key and read in the heap's order, so that progress is a place there too, and a resumed snapshot neither repeats
//! nor loses rows. Without a key there is nothing to join by: such a statement is read in one go, and again from its
//! beginning after a crash. Pure.

use std::fmt::Write as _;

use super::plan::Chunk;
use crate::postgres::quote_identifier;

/// What is to be read of one heap.
pub(super) struct HeapQuery<'a> {
    /// Name to read from, quoted.
    pub from: &'a str,
    pub columns: &'a [&'a str],
    /// Columns of the table's own key; empty when it has none.
    pub key: &'a [String],
    /// The publication's condition.
    pub row_filter: Option<&'a str>,
    /// The user's statement.
    pub select: Option<&'a str>,
    /// The user's condition.
    pub filter: Option<&'a str>,
}

/// A statement in which only the chunk is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeapStatement {
    before: String,
    /// `None`: a chunk cannot be cut out.
    after: Option<String>,
}

impl HeapStatement {
    /// The statement for one chunk.
    pub fn of(&self, chunk: &Chunk) -> String {
        match &self.after {
            Some(after) => format!("{}{}{after}", self.before, chunk.condition()),
            None => self.before.clone(),
        }
    }
}

impl HeapQuery<'_> {
    pub fn statement(&self) -> HeapStatement {
        let mut conditions = String::new();
        for condition in [self.row_filter, self.filter].into_iter().flatten() {
            // Writing into a String cannot fail. The line break ends a comment that a condition may end with.
            let _ = write!(conditions, " AND ({condition}\n)");
        }
        let Some(select) = self.select else {
            let before = format!("COPY (SELECT ctid, xmin{} FROM ONLY {} WHERE ", self.list(""), self.from);
            return HeapStatement { before, after: Some(format!("{conditions}) TO STDOUT")) };
        };
        let chosen = self.list("o.");
        if self.key.is_empty() {
            let before = format!("COPY (SELECT '(0,1)'::tid, '0'::xid{chosen} FROM ({select}\n) o) TO STDOUT");
            return HeapStatement { before, after: None };
        }
        let key: Vec<String> = self.key.iter().map(|name| quote_identifier(name)).collect();
        let pairs: Vec<String> = key.iter().map(|name| format!("t.{name} = o.{name}")).collect();
        let before = format!(
            "COPY (SELECT t.ctid, t.xmin{chosen} FROM (SELECT ctid, xmin, {} FROM ONLY {} WHERE ",
            key.join(", "),
            self.from
        );
        let after =
            format!("{conditions}) t JOIN ({select}\n) o ON {} ORDER BY t.ctid) TO STDOUT", pairs.join(" AND "));
        HeapStatement { before, after: Some(after) }
    }

    fn list(&self, prefix: &str) -> String {
        self.columns.iter().fold(String::new(), |mut list, name| {
            let _ = write!(list, ", {prefix}{}", quote_identifier(name));
            list
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::plan::{ChunkId, RowPlace};

    const QUERY: HeapQuery<'_> =
        HeapQuery { from: "public.t", columns: &["id", "v"], key: &[], row_filter: None, select: None, filter: None };

    fn chunk(after: Option<RowPlace>) -> Chunk {
        Chunk { id: ChunkId { table: 0, chunk: 0 }, after, first_page: 0, end_page: None }
    }

    #[test]
    fn a_table_is_read_by_place_with_all_conditions() {
        let query = HeapQuery { row_filter: Some("v > 1"), filter: Some("v < 9 -- nine"), ..QUERY };
        assert_eq!(
            query.statement().of(&chunk(None)),
            "COPY (SELECT ctid, xmin, \"id\", \"v\" FROM ONLY public.t WHERE ctid >= '(0,0)'::tid AND (v > 1\n) \
             AND (v < 9 -- nine\n)) TO STDOUT"
        );
    }

    #[test]
    fn a_statement_goes_on_after_a_place_by_the_tables_key() {
        let key = ["id".to_owned()];
        let query = HeapQuery { key: &key, select: Some("SELECT * FROM t"), ..QUERY };
        assert_eq!(
            query.statement().of(&chunk(Some(RowPlace { page: 2, line: 3 }))),
            "COPY (SELECT t.ctid, t.xmin, o.\"id\", o.\"v\" FROM (SELECT ctid, xmin, \"id\" FROM ONLY public.t WHERE \
             ctid > '(2,3)'::tid) t JOIN (SELECT * FROM t\n) o ON t.\"id\" = o.\"id\" ORDER BY t.ctid) TO STDOUT"
        );
    }

    #[test]
    fn without_a_key_a_statement_is_read_in_one_go() {
        let query = HeapQuery { select: Some("SELECT * FROM t"), ..QUERY };
        let statement = query.statement();
        assert_eq!(statement.of(&chunk(None)), statement.of(&chunk(Some(RowPlace { page: 2, line: 3 }))));
    }
}
