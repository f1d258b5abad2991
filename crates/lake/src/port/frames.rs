//! What a client sends, as bytes and as messages (PostgreSQL's frontend protocol, version 3). Pure.
//!
//! Outside bytes: any input is a message or an error, never a panic, and nothing is allocated by a length that is not
//! backed by bytes that came.

use bytes::{Buf, Bytes};

/// The bytes are no message of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid message: {0}")]
pub struct Malformed(pub &'static str);

type Result<T> = std::result::Result<T, Malformed>;

/// What opens a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// Asks for encryption by TLS or GSSAPI.
    Encryption,
    /// Ends what another connection runs.
    Cancel { process: i32, key: i32 },
    /// Begins a session with these parameters.
    Session { minor: u16, parameters: Vec<(String, String)> },
}

/// A statement or portal by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Statement(String),
    Portal(String),
}

/// A message of an open session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Query(String),
    Parse {
        name: String,
        sql: String,
        /// Types of the parameters that the client names, as far as it does.
        types: Vec<u32>,
    },
    Bind(Bind),
    Describe(Target),
    Execute {
        portal: String,
        /// 0: all.
        rows_max: u32,
    },
    Close(Target),
    Sync,
    Flush,
    Terminate,
    /// An answer of authentication.
    Password(Bytes),
    /// Something that is not served.
    Other(u8),
}

/// Values for a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    pub portal: String,
    pub statement: String,
    pub formats: Vec<i16>,
    pub values: Vec<Option<Bytes>>,
    pub results: Vec<i16>,
}

impl Bind {
    /// Whether a format, by position, is binary: none given is text, one given is for all.
    ///
    /// # Errors
    /// When it is neither text nor binary, or there are formats for some only.
    pub fn binary(formats: &[i16], position: usize) -> Result<bool> {
        let format = match formats {
            [] => 0,
            [all] => *all,
            each => *each.get(position).ok_or(Malformed("a format is missing"))?,
        };
        match format {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a format is neither text nor binary")),
        }
    }
}

/// Reads the first message, without its length.
///
/// # Errors
/// When it is none.
pub fn opening(mut body: Bytes) -> Result<Opening> {
    let version = int32(&mut body)?;
    match (version >> 16, version & 0xffff) {
        (1234, 5678) => {
            // A key of more than four bytes belongs to a later protocol, which no session here speaks.
            Ok(Opening::Cancel { process: int32(&mut body)?, key: int32(&mut body)? })
        }
        (1234, 5679 | 5680) => Ok(Opening::Encryption),
        (3, minor) => {
            let mut parameters = Vec::new();
            while body.first().is_some_and(|first| *first != 0) {
                parameters.push((text(&mut body)?, text(&mut body)?));
            }
            Ok(Opening::Session { minor: u16::try_from(minor).unwrap_or(u16::MAX), parameters })
        }
        _ => Err(Malformed("unknown version of the protocol")),
    }
}

/// Reads a message by its type, without its length.
///
/// # Errors
/// When the body does not fit the type.
pub fn message(kind: u8, mut body: Bytes) -> Result<Message> {
    let message = match kind {
        b'Q' => Message::Query(text(&mut body)?),
        b'P' => {
            let (name, sql) = (text(&mut body)?, text(&mut body)?);
            let count = count(&mut body, 4)?;
            let types = (0..count).map(|_| int32(&mut body).map(i32::cast_unsigned)).collect::<Result<_>>()?;
            Message::Parse { name, sql, types }
        }
        b'B' => {
            let (portal, statement) = (text(&mut body)?, text(&mut body)?);
            let formats = shorts(&mut body)?;
            let count = count(&mut body, 4)?;
            let values = (0..count).map(|_| value(&mut body)).collect::<Result<_>>()?;
            Message::Bind(Bind { portal, statement, formats, values, results: shorts(&mut body)? })
        }
        b'D' => Message::Describe(target(&mut body)?),
        b'E' => {
            let portal = text(&mut body)?;
            // A negative limit is none, as in PostgreSQL.
            Message::Execute { portal, rows_max: u32::try_from(int32(&mut body)?).unwrap_or(0) }
        }
        b'C' => Message::Close(target(&mut body)?),
        b'S' => Message::Sync,
        b'H' => Message::Flush,
        b'X' => Message::Terminate,
        b'p' => return Ok(Message::Password(body)),
        other => return Ok(Message::Other(other)),
    };
    if body.is_empty() { Ok(message) } else { Err(Malformed("bytes behind its end")) }
}

fn target(body: &mut Bytes) -> Result<Target> {
    if body.is_empty() {
        return Err(Malformed("too short"));
    }
    match body.get_u8() {
        b'S' => Ok(Target::Statement(text(body)?)),
        b'P' => Ok(Target::Portal(text(body)?)),
        _ => Err(Malformed("neither statement nor portal")),
    }
}

fn int32(body: &mut Bytes) -> Result<i32> {
    if body.len() < 4 { Err(Malformed("too short")) } else { Ok(body.get_i32()) }
}

fn int16(body: &mut Bytes) -> Result<i16> {
    if body.len() < 2 { Err(Malformed("too short")) } else { Ok(body.get_i16()) }
}

/// A number of things that take at least `each` bytes.
fn count(body: &mut Bytes, each: usize) -> Result<usize> {
    let count = usize::from(int16(body)?.cast_unsigned());
    if count * each > body.len() { Err(Malformed("too short")) } else { Ok(count) }
}

fn shorts(body: &mut Bytes) -> Result<Vec<i16>> {
    let count = count(body, 2)?;
    (0..count).map(|_| int16(body)).collect()
}

fn value(body: &mut Bytes) -> Result<Option<Bytes>> {
    match int32(body)? {
        -1 => Ok(None),
        length => match usize::try_from(length) {
            Ok(length) if length <= body.len() => Ok(Some(body.split_to(length))),
            _ => Err(Malformed("a value's length")),
        },
    }
}

/// Text up to a zero byte.
fn text(body: &mut Bytes) -> Result<String> {
    let end = body.iter().position(|byte| *byte == 0).ok_or(Malformed("a text without its end"))?;
    let bytes = body.split_to(end);
    body.advance(1);
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(Malformed("a text that is no UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_read() {
        let parse = message(b'P', Bytes::from_static(b"s\0SELECT $1\0\0\x01\0\0\0\x17")).unwrap();
        assert_eq!(parse, Message::Parse { name: "s".into(), sql: "SELECT $1".into(), types: vec![23] });
        let bind =
            message(b'B', Bytes::from_static(b"\0s\0\0\x01\0\x01\0\x02\0\0\0\x02ab\xff\xff\xff\xff\0\0")).unwrap();
        let Message::Bind(bind) = bind else { unreachable!("{bind:?}") };
        assert_eq!((bind.values, bind.formats), (vec![Some(Bytes::from_static(b"ab")), None], vec![1]));
        assert_eq!(message(b'D', Bytes::from_static(b"Px\0")).unwrap(), Message::Describe(Target::Portal("x".into())));
        assert!(message(b'S', Bytes::from_static(b"x")).is_err());
        let session = opening(Bytes::from_static(b"\0\x03\0\0user\0haus\0database\0lake\0\0")).unwrap();
        let parameters = vec![("user".into(), "haus".into()), ("database".into(), "lake".into())];
        assert_eq!(session, Opening::Session { minor: 0, parameters });
        assert_eq!(Bind::binary(&[1], 5), Ok(true));
        assert!(Bind::binary(&[0, 1], 2).is_err() && Bind::binary(&[2], 0).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(kind in prop::sample::select(b"QPBDECSHXpf".to_vec()), body in prop::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(255), any::<u8>()], 0..64)) {
            let body = Bytes::from(body);
            let _ = message(kind, body.clone());
            let _ = opening(body);
        }
    }
}
