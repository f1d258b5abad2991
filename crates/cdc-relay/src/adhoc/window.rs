//! Rows of an incremental snapshot that were read and are not written yet, and the rule for when each is written.
//!
//! A chunk is read under a snapshot of its own, while the stream stands somewhere before that. Its rows wait here until
//! the stream has brought everything the snapshot sees (`closes_at`), so no older change can follow them. A change that
//! the snapshot does not see may come earlier than that: then the row is written right before it. That is in order too,
//! because whatever changed the row before was waited for by that change, and so committed and was streamed before it.
//!
//! So every row is written once, as of its place in the stream, and its whole value, TOASTed columns too, stands before
//! any change that leaves them out. Nothing is written to the database for it. Pure.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use model::lsn::Lsn;

use crate::{
    records::{CapturedTable, Encoded, Piece},
    snapshot::visibility::PgSnapshot,
};

/// Chunks read ahead at most: more do not help, since each closes soon after the one before it.
const CHUNKS_MAX: usize = 16;
/// Chunks are read ahead up to this size.
const BYTES_MAX: usize = 8 << 20;

/// One chunk as it was read.
#[derive(Debug)]
pub struct Chunk {
    /// `pg_class.oid`, as the stream names the table.
    pub relation: u32,
    pub table: Arc<CapturedTable>,
    pub snapshot: PgSnapshot,
    /// Whatever the snapshot sees was committed before this.
    pub closes_at: Lsn,
    /// One piece per row.
    pub encoded: Encoded,
    /// What tells rows apart, one per row.
    pub identities: Vec<Vec<u8>>,
    /// Key of the last row; `None` when there was no row.
    pub after: Option<Vec<String>>,
    pub ends_table: bool,
}

/// Chunks that wait, in the order they were read.
#[derive(Debug, Default)]
pub struct Window {
    chunks: VecDeque<Waiting>,
    /// Where the row of an identity is: number of the chunk, and of the row in it.
    rows: HashMap<(u32, Vec<u8>), (u64, usize)>,
    bytes: usize,
    numbered: u64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    chunk: Chunk,
    /// Rows that were written ahead of a change.
    written: Vec<bool>,
}

impl Window {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Whether another chunk may be read. Only one table at a time is read ahead.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let open_end = self.chunks.back().is_none_or(|waiting| !waiting.chunk.ends_table);
        open_end && self.chunks.len() < CHUNKS_MAX && self.bytes < BYTES_MAX
    }

    /// Whether changes of a table matter here.
    #[must_use]
    pub fn holds(&self, relation: u32) -> bool {
        self.chunks.iter().any(|waiting| waiting.chunk.relation == relation)
    }

    /// Where reading goes on: the key of the last row read, if a chunk waits.
    #[must_use]
    pub fn read_up_to(&self) -> Option<&Vec<String>> {
        self.chunks.back().and_then(|waiting| waiting.chunk.after.as_ref())
    }

    /// Takes a chunk.
    pub fn push(&mut self, chunk: Chunk) {
        self.numbered += 1;
        for (row, identity) in chunk.identities.iter().enumerate() {
            self.rows.insert((chunk.relation, identity.clone()), (self.numbered, row));
        }
        self.bytes += chunk.encoded.bytes.len();
        let written = vec![false; chunk.identities.len()];
        self.chunks.push_back(Waiting { number: self.numbered, chunk, written });
    }

    /// The transaction `xid` changes a row. If the row waits and its chunk does not see the transaction, it is to be
    /// written now, before that change.
    pub fn changed(&mut self, relation: u32, identity: Vec<u8>, xid: u32) -> Option<(Arc<CapturedTable>, Encoded)> {
        let key = (relation, identity);
        let (number, row) = *self.rows.get(&key)?;
        let waiting = self.chunks.iter_mut().find(|waiting| waiting.number == number)?;
        if waiting.chunk.snapshot.sees_xid(xid) {
            return None;
        }
        waiting.written[row] = true;
        self.rows.remove(&key);
        let one = cut_out(&waiting.chunk.encoded, row)?;
        Some((Arc::clone(&waiting.chunk.table), one))
    }

    /// The table was emptied by `xid`: rows that were there before are gone.
    pub fn emptied(&mut self, relation: u32, xid: u32) {
        for waiting in &mut self.chunks {
            if waiting.chunk.relation == relation && !waiting.chunk.snapshot.sees_xid(xid) {
                waiting.written.fill(true);
            }
        }
        let chunks = &self.chunks;
        self.rows.retain(|_, (number, row)| {
            chunks.iter().any(|waiting| waiting.number == *number && !waiting.written[*row])
        });
    }

    /// Whether some chunk of the table does not see the transaction.
    #[must_use]
    pub fn unseen_by_some(&self, relation: u32, xid: u32) -> bool {
        let unseen = |waiting: &Waiting| waiting.chunk.relation == relation && !waiting.chunk.snapshot.sees_xid(xid);
        self.chunks.iter().any(unseen)
    }

    /// The first chunk, without the rows that are written already, once the stream has brought everything it sees.
    pub fn close(&mut self, streamed: Lsn) -> Option<Chunk> {
        if self.chunks.front()?.chunk.closes_at > streamed {
            return None;
        }
        let Waiting { number, mut chunk, written } = self.chunks.pop_front()?;
        self.bytes = self.bytes.saturating_sub(chunk.encoded.bytes.len());
        self.rows.retain(|_, (other, _)| *other != number);
        let mut written = written.into_iter();
        chunk.encoded.pieces.retain(|_| !written.next().unwrap_or_default());
        Some(chunk)
    }

    /// Forgets everything; it is read again from the last written key.
    pub fn clear(&mut self) {
        self.chunks.clear();
        self.rows.clear();
        self.bytes = 0;
    }
}

/// A row's record by itself.
fn cut_out(encoded: &Encoded, row: usize) -> Option<Encoded> {
    let piece = encoded.pieces.get(row)?;
    let mut one = Encoded::default();
    let mut copy = |range: &Option<std::ops::Range<usize>>| {
        range.clone().map(|range| {
            let start = one.bytes.len();
            one.bytes.extend_from_slice(&encoded.bytes[range]);
            start..one.bytes.len()
        })
    };
    let (key, value) = (copy(&piece.key), copy(&piece.value));
    one.pieces.push(Piece { key, value, headers: crate::records::RecordHeaders::Context });
    Some(one)
}

#[cfg(test)]
mod tests;
