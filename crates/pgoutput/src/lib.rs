//! The replication stream's bytes as messages: the output of Postgres' logical decoding plugin `pgoutput`.
//!
//! Stands between the relay's transport, which hands over the payload of one XLogData frame at a time, and the envelope
//! codec, which takes the cells of a row. It promises: no allocation for row changes (tuples borrow the payload), a typed
//! error and never a panic for any bytes, and no I/O.
//!
//! Format: manual, "Logical Replication Message Formats", protocol versions 1 to 4.
//!
//! ```
//! use pgoutput::Message;
//! let payload = [b"I".as_slice(), &7u32.to_be_bytes(), b"N", &1u16.to_be_bytes(), b"t", &2u32.to_be_bytes(), b"42"].concat();
//! let Message::Insert(insert) = pgoutput::parse(&payload)? else { unreachable!() };
//! assert_eq!(insert.relation_id, 7);
//! assert_eq!(insert.new.cells().next(), Some(model::cell::Cell::Text(b"42")));
//! # Ok::<(), pgoutput::ParseError>(())
//! ```

mod message;
mod parse;
mod reader;
mod relation;
mod tuple;

pub use self::{
    message::{
        Begin, Commit, Delete, Insert, LogicalMessage, Message, Origin, Prepared, RollbackPrepared, StreamAbort,
        StreamStart, Truncate, TypeName, Update,
    },
    parse::{Decoder, Streamed, parse},
    reader::ParseError,
    relation::{Relation, RelationColumn, Relations, ReplicaIdentity},
    tuple::{Tuple, TupleKind},
};
