//! The messages. Timestamps are microseconds since the Unix epoch.

use model::lsn::Lsn;

use crate::{relation::Relation, tuple::Tuple};

/// One message of the plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    Begin(Begin),
    Commit(Commit),
    Origin(Origin<'a>),
    Relation(Relation),
    Type(TypeName),
    Insert(Insert<'a>),
    Update(Update<'a>),
    Delete(Delete<'a>),
    Truncate(Truncate<'a>),
    /// From `pg_logical_emit_message`; comes with the option `messages` only.
    Message(LogicalMessage<'a>),
    /// Changes of a transaction still running follow, up to the stop (option `streaming`, version 2).
    StreamStart(StreamStart),
    StreamStop,
    StreamCommit {
        xid: u32,
        commit: Commit,
    },
    StreamAbort(StreamAbort),
    /// Start of a prepared transaction (option `two_phase`, version 3).
    BeginPrepare(Prepared<'a>),
    Prepare(Prepared<'a>),
    CommitPrepared(Prepared<'a>),
    RollbackPrepared(RollbackPrepared<'a>),
    StreamPrepare(Prepared<'a>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// Position of the transaction's commit record.
    pub final_lsn: Lsn,
    pub commit_time_us: i64,
    pub xid: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Position of the commit record; the begin message's `final_lsn`.
    pub commit_lsn: Lsn,
    /// First position after the transaction: what may be confirmed once its changes are durable.
    pub end_lsn: Lsn,
    pub commit_time_us: i64,
}

/// The transaction was replicated into this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Position of its commit on the origin.
    pub commit_lsn: Lsn,
    pub name: &'a str,
}

/// Name of a type that is not built in; comes before a relation that uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeName {
    /// `pg_type.oid`
    pub id: u32,
    pub namespace: String,
    pub name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insert<'a> {
    pub relation_id: u32,
    pub new: Tuple<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update<'a> {
    pub relation_id: u32,
    /// Under the default identity only when the key changed; under `FULL` always.
    pub old: Option<Tuple<'a>>,
    pub new: Tuple<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delete<'a> {
    pub relation_id: u32,
    pub old: Tuple<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncate<'a> {
    pub cascade: bool,
    pub restart_identity: bool,
    /// Object ids, four bytes each.
    pub(crate) ids: &'a [u8],
}

impl Truncate<'_> {
    /// The tables emptied by one statement.
    pub fn relation_ids(&self) -> impl Iterator<Item = u32> {
        self.ids.as_chunks().0.iter().map(|id| u32::from_be_bytes(*id))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogicalMessage<'a> {
    /// Part of the transaction around it; otherwise it was sent at once.
    pub transactional: bool,
    pub lsn: Lsn,
    pub prefix: &'a str,
    pub content: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamStart {
    pub xid: u32,
    /// The transaction's first block.
    pub first: bool,
}

/// A streamed transaction, or a subtransaction of it, was rolled back: forget its changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamAbort {
    pub xid: u32,
    /// Equal to `xid` when the whole transaction is gone.
    pub subtransaction_xid: u32,
    /// Position and time of the abort; with `streaming = parallel` (version 4) only.
    pub aborted: Option<(Lsn, i64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prepared<'a> {
    /// Position of the prepare, or of the commit.
    pub lsn: Lsn,
    /// First position after it.
    pub end_lsn: Lsn,
    pub time_us: i64,
    pub xid: u32,
    /// Name given in `PREPARE TRANSACTION`.
    pub gid: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollbackPrepared<'a> {
    pub prepare_end_lsn: Lsn,
    pub rollback_end_lsn: Lsn,
    pub prepare_time_us: i64,
    pub rollback_time_us: i64,
    pub xid: u32,
    pub gid: &'a str,
}
