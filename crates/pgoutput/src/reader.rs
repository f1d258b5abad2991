//! Reading fields from the front of a payload, and what can be wrong with it.

use model::lsn::Lsn;

/// Microseconds from the Unix epoch to Postgres' own (2000-01-01).
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// The payload is not what the protocol allows. The stream is not to be trusted beyond it: stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("an empty message")]
    Empty,
    #[error("message kind '{}' is not known", .0.escape_ascii())]
    UnknownMessage(u8),
    #[error("the message ends inside of its {0}")]
    CutOff(&'static str),
    #[error("{0} bytes follow the end of the message")]
    TrailingBytes(usize),
    #[error("the {0} is not UTF-8")]
    NotUtf8(&'static str),
    #[error("a row of kind '{}' where none or another was due", .0.escape_ascii())]
    UnexpectedTuple(u8),
    #[error("column value kind '{}' is not known", .0.escape_ascii())]
    UnknownValue(u8),
    #[error("a binary column value; start the stream without the option 'binary'")]
    BinaryValue,
    #[error("replica identity '{}' is not known", .0.escape_ascii())]
    UnknownReplicaIdentity(u8),
}

/// What is left of a payload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn bytes(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], ParseError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ParseError::CutOff(what))?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], ParseError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(ParseError::CutOff(what))?;
        self.0 = rest;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, ParseError> {
        Ok(self.array::<1>(what)?[0])
    }

    #[inline]
    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, ParseError> {
        self.array(what).map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, ParseError> {
        self.array(what).map(u32::from_be_bytes)
    }

    pub(crate) fn i32(&mut self, what: &'static str) -> Result<i32, ParseError> {
        self.array(what).map(i32::from_be_bytes)
    }

    pub(crate) fn lsn(&mut self, what: &'static str) -> Result<Lsn, ParseError> {
        self.array(what).map(u64::from_be_bytes).map(Lsn)
    }

    /// A timestamp as microseconds since the Unix epoch.
    pub(crate) fn timestamp_us(&mut self, what: &'static str) -> Result<i64, ParseError> {
        Ok(self.array(what).map(i64::from_be_bytes)?.saturating_add(POSTGRES_EPOCH_US))
    }

    /// A string that ends with a zero byte.
    pub(crate) fn string(&mut self, what: &'static str) -> Result<&'a str, ParseError> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(ParseError::CutOff(what))?;
        let text = self.bytes(end, what)?;
        self.0 = &self.0[1..];
        std::str::from_utf8(text).map_err(|_| ParseError::NotUtf8(what))
    }

    pub(crate) fn end(&self) -> Result<(), ParseError> {
        if self.0.is_empty() { Ok(()) } else { Err(ParseError::TrailingBytes(self.0.len())) }
    }
}
