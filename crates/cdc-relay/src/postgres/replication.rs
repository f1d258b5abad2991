//! The replication stream: XLogData and keepalives in, standby status updates out.
//!
//! Formats: manual, "Streaming Replication Protocol".

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{
    PgError,
    connection::Connection,
    frames::{Frame, FrameReader, server_error},
    quote_identifier, quote_literal, slot,
    transport::Outgoing,
};
use model::lsn::Lsn;

/// Seconds from the Unix epoch to Postgres' own (2000-01-01).
const POSTGRES_EPOCH_SECONDS: u64 = 946_684_800;

/// One message of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamMessage<'a> {
    /// Output of the decoding plugin, and the position it belongs to.
    Data { start: Lsn, output: &'a [u8] },
    /// The server has read, and sent everything that committed, up to `wal_end`.
    Keepalive { wal_end: Lsn, reply_requested: bool },
    /// Nothing of interest, such as a notice.
    Other,
}

/// The sending half: reports what is durable.
#[derive(Debug)]
pub struct StatusWriter {
    writer: Outgoing,
}

/// Starts to stream a slot. Succeeds for one client at a time: this is how the slot is taken.
/// The server starts at the slot's own confirmed position, or at `from` if that is later.
///
/// # Errors
/// SQLSTATE 55006 when another client streams the slot.
pub async fn start(
    mut connection: Connection,
    slot: &str,
    publication: &str,
    from: Lsn,
) -> Result<(FrameReader, StatusWriter), PgError> {
    let names = quote_literal(&quote_identifier(publication));
    // Logical messages came with Postgres 14; the option is refused before.
    let messages = if slot::version(&mut connection).await? >= 140_000 { ", messages 'true'" } else { "" };
    let sql = format!(
        "START_REPLICATION SLOT {} LOGICAL {from} (proto_version '1', publication_names {names}{messages})",
        quote_identifier(slot)
    );
    connection.send_query(&sql).await?;
    connection.expect(b'W').await?;
    Ok((connection.reader, StatusWriter { writer: connection.writer }))
}

/// Reads one frame of the stream.
///
/// # Errors
/// When the server ended the stream, with its reason if it gave one.
pub fn parse(frame: Frame<'_>) -> Result<StreamMessage<'_>, PgError> {
    match frame.tag {
        b'd' => parse_copy_data(frame.body),
        b'E' => Err(PgError::Server(Box::new(server_error(frame.body)))),
        // CopyDone: the walsender shuts down in order.
        b'c' | b'Z' => {
            Err(PgError::Io(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the server ended the stream")))
        }
        _ => Ok(StreamMessage::Other),
    }
}

fn parse_copy_data(body: &[u8]) -> Result<StreamMessage<'_>, PgError> {
    let position = |at: usize| {
        body.get(at..).and_then(|rest| rest.first_chunk::<8>()).map(|bytes| Lsn(u64::from_be_bytes(*bytes)))
    };
    let message = match body.first() {
        Some(b'w') => position(1).zip(body.get(25..)).map(|(start, output)| StreamMessage::Data { start, output }),
        Some(b'k') => position(1)
            .zip(body.get(17))
            .map(|(wal_end, reply)| StreamMessage::Keepalive { wal_end, reply_requested: *reply == 1 }),
        _ => Some(StreamMessage::Other),
    };
    message.ok_or_else(|| PgError::Protocol("a cut-off replication message".into()))
}

impl StatusWriter {
    /// Tells the server that everything up to `durable` may be forgotten. Written, flushed and applied are the same
    /// position here: nothing counts before it is durable in Kafka.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn confirm(&mut self, durable: Lsn) -> Result<(), PgError> {
        self.writer.write_all(&status_update(durable, SystemTime::now())).await?;
        Ok(())
    }
}

/// A CopyData message holding a standby status update.
fn status_update(durable: Lsn, now: SystemTime) -> [u8; 39] {
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let clock_us = since_epoch.saturating_sub(Duration::from_secs(POSTGRES_EPOCH_SECONDS)).as_micros();
    let mut out = [0; 39];
    out[0] = b'd';
    out[1..5].copy_from_slice(&38_u32.to_be_bytes());
    out[5] = b'r';
    for field in 0..3 {
        out[6 + field * 8..14 + field * 8].copy_from_slice(&durable.0.to_be_bytes());
    }
    out[30..38].copy_from_slice(&u64::try_from(clock_us).unwrap_or(0).to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn data_and_keepalives_are_told_apart() {
        let mut data = vec![b'w'];
        data.extend(7_u64.to_be_bytes());
        data.extend([0; 16]);
        data.extend(b"B...");
        assert_eq!(parse_copy_data(&data).unwrap(), StreamMessage::Data { start: Lsn(7), output: b"B..." });
        let mut keepalive = vec![b'k'];
        keepalive.extend(9_u64.to_be_bytes());
        keepalive.extend([0; 8]);
        keepalive.push(1);
        assert_eq!(
            parse_copy_data(&keepalive).unwrap(),
            StreamMessage::Keepalive { wal_end: Lsn(9), reply_requested: true }
        );
    }

    #[test]
    fn a_status_update_carries_the_position_three_times() {
        let update = status_update(Lsn(0x0102), UNIX_EPOCH + Duration::from_secs(POSTGRES_EPOCH_SECONDS + 1));
        assert_eq!(&update[..6], &[b'd', 0, 0, 0, 38, b'r']);
        assert_eq!(&update[6..14], &update[22..30]);
        assert_eq!(&update[30..38], &1_000_000_u64.to_be_bytes());
        assert_eq!(update[38], 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_without_panic(bytes: Vec<u8>) {
            let _ = parse_copy_data(&bytes);
        }
    }
}
