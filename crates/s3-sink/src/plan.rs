//! Which records go into which file: the planner of one partition.
//!
//! Pure. Works on positions alone; the bytes are in `container::Body`. The position of a partition is the offset
//! at which its next object begins. Objects chain: each one's start is the next offset of the one before, so
//! ignored tombstones, transaction markers and aborted records lie inside some object's range and a gap between
//! two objects is always a fault. A file without records is never published; its offsets go into the next one.

use std::collections::VecDeque;

use objects::OffsetRun;

use crate::rotation::{Millis, Rotation};

/// Where a partition goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    /// Where the next object begins.
    pub position: i64,
    /// Where an object exists already beyond the position, because one before it was deleted: no file may reach
    /// over it.
    pub barrier: Option<i64>,
    /// What is made next ends exactly at the barrier, whatever rotation says: its files are written down in the bucket.
    pub pinned: bool,
}

/// What the planner needs to know of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its offset.
    pub offset: i64,
    /// Writer schema; `None` for a tombstone.
    pub schema_id: Option<u32>,
    /// Bytes of Avro.
    pub bytes: usize,
}

/// What to do with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Already covered by an object: drop it.
    Skip,
    /// Goes into the open file (a tombstone only counts).
    Append,
    /// The open file ends before it; then it goes into a new one.
    SealThenAppend,
}

/// A file that is being filled or waits to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePlan {
    /// Position at which it begins.
    pub start: i64,
    /// Position after its last record so far.
    pub next: i64,
    /// Records in it.
    pub records: u64,
    /// Tombstones passed over.
    pub tombstones: u64,
    /// Writer schema, once there is a record.
    pub schema_id: Option<u32>,
    /// Bytes of Avro.
    pub bytes: usize,
    /// When it ends by time.
    pub deadline: Option<Millis>,
    /// Offsets of its records.
    pub runs: Vec<OffsetRun>,
}

impl FilePlan {
    fn empty(start: i64) -> Self {
        Self {
            start,
            next: start,
            records: 0,
            tombstones: 0,
            schema_id: None,
            bytes: 0,
            deadline: None,
            runs: Vec::new(),
        }
    }
}

/// The files of one partition: one open, sealed ones in order, the first of which may be on its way.
#[derive(Debug)]
pub struct PartitionPlan {
    open: FilePlan,
    sealed: VecDeque<FilePlan>,
    publishing: bool,
    barrier: Option<i64>,
    pinned: bool,
}

impl PartitionPlan {
    /// Begin where `resume` says.
    pub fn new(resume: Resume) -> Self {
        let open = FilePlan::empty(resume.position);
        let Resume { barrier, pinned, .. } = resume;
        Self { open, sealed: VecDeque::new(), publishing: false, barrier, pinned }
    }

    /// Where the open file has to end, when that is written down already.
    pub fn pinned(&self) -> Option<i64> {
        self.barrier.filter(|_| self.pinned)
    }

    /// The open file.
    pub fn open(&self) -> &FilePlan {
        &self.open
    }

    /// Decide about a record.
    pub fn step(&self, record: &Seen) -> Step {
        if record.offset < self.open.next {
            return Step::Skip;
        }
        let beyond = self.barrier.is_some_and(|barrier| record.offset >= barrier);
        match (self.open.schema_id, record.schema_id) {
            _ if beyond => Step::SealThenAppend,
            (Some(open), Some(new)) if open != new => Step::SealThenAppend,
            _ => Step::Append,
        }
    }

    /// Take a record into the open file. True when the file is full and to be sealed.
    pub fn append(&mut self, record: &Seen, rotation: &Rotation, now: Millis) -> bool {
        self.open.next = record.offset + 1;
        let Some(schema_id) = record.schema_id else {
            self.open.tombstones += 1;
            return false;
        };
        if self.open.records == 0 {
            self.open.schema_id = Some(schema_id);
            self.open.deadline = rotation.deadline(now);
        }
        match self.open.runs.last_mut() {
            Some(run) if run.first + run.count == record.offset => run.count += 1,
            _ => self.open.runs.push(OffsetRun { first: record.offset, count: 1 }),
        }
        self.open.records += 1;
        self.open.bytes += record.bytes;
        !self.pinned && (self.open.records >= rotation.records_max || self.open.bytes >= rotation.file_bytes_max)
    }

    /// End the open file; the next one begins at `next` (at the barrier, when that is earlier), or after the last
    /// record when that is later. False when there is nothing to publish: the file stays open.
    pub fn seal(&mut self, next: i64) -> bool {
        let reached = self.barrier.filter(|barrier| next >= *barrier);
        if self.pinned && reached.is_none() {
            return false;
        }
        let next = reached.unwrap_or(next).max(self.open.next);
        if reached.is_some() {
            self.barrier = None;
            self.pinned = false;
        }
        if self.open.records == 0 {
            if reached.is_some() {
                // Nothing but markers before the object that is there: it is the next one.
                self.open = FilePlan::empty(next);
            }
            return false;
        }
        self.open.next = next;
        self.sealed.push_back(std::mem::replace(&mut self.open, FilePlan::empty(next)));
        true
    }

    /// When the open file ends by time.
    pub fn deadline(&self) -> Option<Millis> {
        self.open.deadline.filter(|_| !self.pinned)
    }

    /// The next file to publish, unless one is on its way: objects of a partition are published in order, since
    /// an object that exists already moves the start of those behind it.
    pub fn start_publishing(&mut self) -> Option<&FilePlan> {
        if self.publishing {
            return None;
        }
        let file = self.sealed.front()?;
        self.publishing = true;
        Some(file)
    }

    /// The file on its way is durable as it was planned.
    pub fn published(&mut self) {
        self.publishing = false;
        self.sealed.pop_front();
    }

    /// Whether a file is on its way.
    pub fn publishing(&self) -> bool {
        self.publishing
    }

    /// Bytes of files that wait or are on their way.
    pub fn sealed_bytes(&self) -> usize {
        self.sealed.iter().map(|file| file.bytes).sum()
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
