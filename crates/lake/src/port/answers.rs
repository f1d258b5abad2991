//! What the port sends (PostgreSQL's backend protocol, version 3), appended to a buffer. Pure.

use bytes::{BufMut, BytesMut};

/// An error as clients of PostgreSQL know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// SQLSTATE.
    pub code: &'static str,
    pub text: String,
}

impl Fault {
    /// An error of a class.
    pub fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// A column as `RowDescription` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub oid: u32,
    pub length: i16,
    pub typmod: i32,
    pub binary: bool,
}

/// Appends a message whose body `write` writes; its length is filled in.
pub fn message(out: &mut BytesMut, kind: u8, write: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    let start = out.len();
    out.put_i32(0);
    write(out);
    let length = i32::try_from(out.len() - start).unwrap_or(i32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Text and a zero byte; zeros inside, which would end it early, are left out.
pub fn text(out: &mut BytesMut, text: &str) {
    if text.as_bytes().contains(&0) {
        out.put_slice(text.replace('\0', "").as_bytes());
    } else {
        out.put_slice(text.as_bytes());
    }
    out.put_u8(0);
}

/// `Authentication…` with a code and what belongs to it.
pub fn authentication(out: &mut BytesMut, code: i32, data: &[u8]) {
    message(out, b'R', |out| {
        out.put_i32(code);
        out.put_slice(data);
    });
}

pub fn parameter_status(out: &mut BytesMut, name: &str, value: &str) {
    message(out, b'S', |out| {
        text(out, name);
        text(out, value);
    });
}

pub fn key_data(out: &mut BytesMut, process: i32, key: i32) {
    message(out, b'K', |out| {
        out.put_i32(process);
        out.put_i32(key);
    });
}

/// The newest minor version that is spoken, and options that are not known.
pub fn negotiate(out: &mut BytesMut, unknown: &[&str]) {
    message(out, b'v', |out| {
        out.put_i32(0);
        out.put_i32(i32::try_from(unknown.len()).unwrap_or(0));
        unknown.iter().for_each(|option| text(out, option));
    });
}

/// `I`: idle, `T`: in a transaction, `E`: in one that failed.
pub fn ready(out: &mut BytesMut, status: u8) {
    message(out, b'Z', |out| out.put_u8(status));
}

/// A message without a body, such as `ParseComplete`.
pub fn bare(out: &mut BytesMut, kind: u8) {
    message(out, kind, |_| {});
}

pub fn complete(out: &mut BytesMut, tag: &str) {
    message(out, b'C', |out| text(out, tag));
}

pub fn fault(out: &mut BytesMut, severity: &str, fault: &Fault) {
    message(out, b'E', |out| {
        for (field, value) in [(b'S', severity), (b'V', severity), (b'C', fault.code), (b'M', &fault.text)] {
            out.put_u8(field);
            text(out, value);
        }
        out.put_u8(0);
    });
}

pub fn row_description(out: &mut BytesMut, columns: &[Column]) {
    message(out, b'T', |out| {
        out.put_i16(i16::try_from(columns.len()).unwrap_or(i16::MAX));
        for column in columns {
            text(out, &column.name);
            out.put_i32(0);
            out.put_i16(0);
            out.put_u32(column.oid);
            out.put_i16(column.length);
            out.put_i32(column.typmod);
            out.put_i16(i16::from(column.binary));
        }
    });
}

pub fn parameter_description(out: &mut BytesMut, types: &[u32]) {
    message(out, b't', |out| {
        out.put_i16(i16::try_from(types.len()).unwrap_or(i16::MAX));
        types.iter().for_each(|oid| out.put_u32(*oid));
    });
}

/// A row of one text column.
pub fn text_row(out: &mut BytesMut, value: &str) {
    message(out, b'D', |out| {
        out.put_i16(1);
        out.put_i32(i32::try_from(value.len()).unwrap_or(0));
        out.put_slice(value.as_bytes());
    });
}
