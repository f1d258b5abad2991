//! From the bytes of one payload to one message.

use crate::{
    message::{
        Begin, Commit, Delete, Insert, LogicalMessage, Message, Origin, Prepared, RollbackPrepared, StreamAbort,
        StreamStart, Truncate, TypeName, Update,
    },
    reader::{ParseError, Reader},
    relation::{Relation, namespace},
    tuple::{Tuple, TupleKind},
};

/// Parses a payload outside of a streamed block. This is all of protocol version 1.
///
/// # Errors
/// When the bytes are not exactly one message.
#[inline]
pub fn parse(payload: &[u8]) -> Result<Message<'_>, ParseError> {
    Ok(message(payload, false)?.message)
}

/// A message with the transaction it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Streamed<'a> {
    /// The (sub)transaction, inside of a streamed block only.
    pub xid: Option<u32>,
    pub message: Message<'a>,
}

/// Parses payloads with the option `streaming` on: remembers whether a streamed block is open, for its messages carry a
/// transaction id that others do not.
#[derive(Debug, Clone, Copy, Default)]
pub struct Decoder {
    in_block: bool,
}

impl Decoder {
    /// Parses the next payload of the stream.
    ///
    /// # Errors
    /// When the bytes are not exactly one message.
    pub fn message<'a>(&mut self, payload: &'a [u8]) -> Result<Streamed<'a>, ParseError> {
        let streamed = message(payload, self.in_block)?;
        match streamed.message {
            Message::StreamStart(_) => self.in_block = true,
            Message::StreamStop => self.in_block = false,
            _ => {}
        }
        Ok(streamed)
    }
}

#[inline]
fn message(payload: &[u8], in_block: bool) -> Result<Streamed<'_>, ParseError> {
    let (kind, rest) = payload.split_first().ok_or(ParseError::Empty)?;
    let mut reader = Reader(rest);
    let reader = &mut reader;
    let has_xid = in_block && matches!(kind, b'R' | b'Y' | b'I' | b'U' | b'D' | b'T' | b'M');
    let xid = if has_xid { Some(reader.u32("transaction id")?) } else { None };
    let message = match kind {
        b'I' => Message::Insert(insert(reader)?),
        b'U' => Message::Update(update(reader)?),
        b'D' => Message::Delete(delete(reader)?),
        b'B' => Message::Begin(begin(reader)?),
        b'C' => Message::Commit(commit(reader)?),
        b'R' => Message::Relation(Relation::parse(reader)?),
        b'Y' => Message::Type(type_name(reader)?),
        b'T' => Message::Truncate(truncate(reader)?),
        b'O' => {
            Message::Origin(Origin { commit_lsn: reader.lsn("origin position")?, name: reader.string("origin name")? })
        }
        b'M' => Message::Message(logical_message(reader)?),
        b'S' => Message::StreamStart(StreamStart {
            xid: reader.u32("transaction id")?,
            first: reader.u8("first block mark")? == 1,
        }),
        b'E' => Message::StreamStop,
        b'c' => Message::StreamCommit { xid: reader.u32("transaction id")?, commit: commit(reader)? },
        b'A' => Message::StreamAbort(stream_abort(reader)?),
        b'b' => Message::BeginPrepare(prepared(reader)?),
        b'P' => Message::Prepare(flagged(reader)?),
        b'K' => Message::CommitPrepared(flagged(reader)?),
        b'p' => Message::StreamPrepare(flagged(reader)?),
        b'r' => Message::RollbackPrepared(rollback_prepared(reader)?),
        other => return Err(ParseError::UnknownMessage(*other)),
    };
    reader.end()?;
    Ok(Streamed { xid, message })
}

#[inline]
fn insert<'a>(reader: &mut Reader<'a>) -> Result<Insert<'a>, ParseError> {
    let relation_id = reader.u32("relation id")?;
    Ok(Insert { relation_id, new: new_tuple(reader)? })
}

#[inline]
fn update<'a>(reader: &mut Reader<'a>) -> Result<Update<'a>, ParseError> {
    let relation_id = reader.u32("relation id")?;
    let old = match reader.0.first() {
        Some(b'K' | b'O') => Some(old_tuple(reader)?),
        _ => None,
    };
    Ok(Update { relation_id, old, new: new_tuple(reader)? })
}

#[inline]
fn delete<'a>(reader: &mut Reader<'a>) -> Result<Delete<'a>, ParseError> {
    let relation_id = reader.u32("relation id")?;
    Ok(Delete { relation_id, old: old_tuple(reader)? })
}

#[inline]
fn new_tuple<'a>(reader: &mut Reader<'a>) -> Result<Tuple<'a>, ParseError> {
    match reader.u8("row kind")? {
        b'N' => Tuple::parse(TupleKind::New, reader),
        other => Err(ParseError::UnexpectedTuple(other)),
    }
}

fn old_tuple<'a>(reader: &mut Reader<'a>) -> Result<Tuple<'a>, ParseError> {
    match reader.u8("row kind")? {
        b'K' => Tuple::parse(TupleKind::Key, reader),
        b'O' => Tuple::parse(TupleKind::Old, reader),
        other => Err(ParseError::UnexpectedTuple(other)),
    }
}

fn begin(reader: &mut Reader<'_>) -> Result<Begin, ParseError> {
    Ok(Begin {
        final_lsn: reader.lsn("final position")?,
        commit_time_us: reader.timestamp_us("commit time")?,
        xid: reader.u32("transaction id")?,
    })
}

/// The commit record behind any transaction id. Its flags are unused so far.
fn commit(reader: &mut Reader<'_>) -> Result<Commit, ParseError> {
    reader.u8("flags")?;
    Ok(Commit {
        commit_lsn: reader.lsn("commit position")?,
        end_lsn: reader.lsn("end position")?,
        commit_time_us: reader.timestamp_us("commit time")?,
    })
}

fn type_name(reader: &mut Reader<'_>) -> Result<TypeName, ParseError> {
    Ok(TypeName {
        id: reader.u32("type id")?,
        namespace: namespace(reader)?,
        name: reader.string("type name")?.to_owned(),
    })
}

fn truncate<'a>(reader: &mut Reader<'a>) -> Result<Truncate<'a>, ParseError> {
    let count = reader.u32("relation count")? as usize;
    let options = reader.u8("options")?;
    let length = count.checked_mul(4).ok_or(ParseError::CutOff("relation ids"))?;
    let ids = reader.bytes(length, "relation ids")?;
    Ok(Truncate { cascade: options & 1 != 0, restart_identity: options & 2 != 0, ids })
}

fn logical_message<'a>(reader: &mut Reader<'a>) -> Result<LogicalMessage<'a>, ParseError> {
    let transactional = reader.u8("flags")? & 1 == 1;
    let lsn = reader.lsn("message position")?;
    let prefix = reader.string("prefix")?;
    let length = reader.u32("content length")? as usize;
    Ok(LogicalMessage { transactional, lsn, prefix, content: reader.bytes(length, "content")? })
}

fn stream_abort(reader: &mut Reader<'_>) -> Result<StreamAbort, ParseError> {
    let xid = reader.u32("transaction id")?;
    let subtransaction_xid = reader.u32("subtransaction id")?;
    let aborted = match reader.0 {
        [] => None,
        _ => Some((reader.lsn("abort position")?, reader.timestamp_us("abort time")?)),
    };
    Ok(StreamAbort { xid, subtransaction_xid, aborted })
}

fn prepared<'a>(reader: &mut Reader<'a>) -> Result<Prepared<'a>, ParseError> {
    Ok(Prepared {
        lsn: reader.lsn("position")?,
        end_lsn: reader.lsn("end position")?,
        time_us: reader.timestamp_us("time")?,
        xid: reader.u32("transaction id")?,
        gid: reader.string("transaction name")?,
    })
}

/// As [`prepared`], behind flags that are unused so far.
fn flagged<'a>(reader: &mut Reader<'a>) -> Result<Prepared<'a>, ParseError> {
    reader.u8("flags")?;
    prepared(reader)
}

fn rollback_prepared<'a>(reader: &mut Reader<'a>) -> Result<RollbackPrepared<'a>, ParseError> {
    reader.u8("flags")?;
    Ok(RollbackPrepared {
        prepare_end_lsn: reader.lsn("prepare position")?,
        rollback_end_lsn: reader.lsn("rollback position")?,
        prepare_time_us: reader.timestamp_us("prepare time")?,
        rollback_time_us: reader.timestamp_us("rollback time")?,
        xid: reader.u32("transaction id")?,
        gid: reader.string("transaction name")?,
    })
}
