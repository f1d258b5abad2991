//! The envelope's `source` block, and the frame in front of every record.

use super::{Source, avro};
use crate::lsn::Lsn;

/// Appends the block. `head`: version, connector and name; `db`; `relation`: schema and table; all encoded before.
pub(super) fn push(head: &[u8], db: &[u8], relation: &[u8], source: &Source<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(head);
    avro::long(out, source.ts_us.div_euclid(1000));
    // The enum's branch comes first, because it is the default's.
    out.push(0);
    avro::bytes(out, source.snapshot.as_str().as_bytes());
    out.extend_from_slice(db);
    push_sequence(out, source.sequence);
    push_some(out, source.ts_us);
    push_some(out, source.ts_us.saturating_mul(1000));
    out.extend_from_slice(relation);
    push_option(out, source.tx_id);
    push_option(out, source.lsn.map(|lsn| lsn.0.cast_signed()));
    // xmin: only with `xmin.fetch.interval.ms`.
    out.push(0);
    match source.origin {
        Some((name, lsn)) => {
            out.push(2);
            avro::bytes(out, name.as_bytes());
            push_option(out, lsn.map(|lsn| lsn.0.cast_signed()));
        }
        None => out.extend_from_slice(&[0, 0]),
    }
}

/// Confluent's wire format: magic 0, schema id (4 bytes, big endian).
#[inline]
pub(super) fn push_frame(schema_id: u32, out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(&schema_id.to_be_bytes());
}

/// An optional long that is there.
#[inline]
pub(super) fn push_some(out: &mut Vec<u8>, value: i64) {
    out.push(2);
    avro::long(out, value);
}

#[inline]
fn push_option(out: &mut Vec<u8>, value: Option<i64>) {
    match value {
        Some(value) => push_some(out, value),
        None => out.push(0),
    }
}

/// `source.sequence`: a JSON array of two strings or nulls, as a string.
fn push_sequence(out: &mut Vec<u8>, (last_commit, lsn): (Option<Lsn>, Option<Lsn>)) {
    out.push(2);
    let at = out.len();
    // At most 47 bytes, so the length takes one.
    out.push(0);
    out.push(b'[');
    push_quoted(out, last_commit);
    out.push(b',');
    push_quoted(out, lsn);
    out.push(b']');
    out[at] = ((out.len() - at - 1) << 1) as u8;
}

fn push_quoted(out: &mut Vec<u8>, lsn: Option<Lsn>) {
    let Some(Lsn(mut rest)) = lsn else {
        out.extend_from_slice(b"null");
        return;
    };
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.push(b'"');
    out.extend_from_slice(&digits[at..]);
    out.push(b'"');
}
