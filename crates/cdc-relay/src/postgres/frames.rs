//! Cuts the byte stream of the server into protocol messages without copying them.
//!
//! Stands between the socket and everything that reads from Postgres. Promise: a frame borrows the one read buffer; the
//! buffer grows to the largest message only and shrinks again, so memory is bounded by the largest row plus
//! [`READ_BYTES`].

use std::io;

use super::{PgError, ServerError, transport::Incoming};

/// How much is asked from the socket at once. Large, because each read costs a system call.
const READ_BYTES: usize = 256 * 1024;
/// Postgres sends no message above 1 GiB; a longer one means the stream is out of step.
const FRAME_BYTES_MAX: usize = (1 << 30) + 1024;

/// One message of the server: its type byte and its body.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    pub tag: u8,
    pub body: &'a [u8],
}

/// Reads messages from the socket into one buffer.
#[derive(Debug)]
pub struct FrameReader {
    socket: Incoming,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl FrameReader {
    pub fn new(socket: Incoming) -> Self {
        Self { socket, buffer: vec![0; READ_BYTES], start: 0, end: 0 }
    }

    /// The next complete message in the buffer; `None` when more bytes are needed. Never touches the socket.
    ///
    /// # Errors
    /// When the stream is out of step.
    pub fn buffered(&mut self) -> Result<Option<Frame<'_>>, PgError> {
        let Some(length) = frame_length(&self.buffer[self.start..self.end])? else { return Ok(None) };
        if self.end - self.start < length {
            return Ok(None);
        }
        let at = self.start;
        self.start += length;
        Ok(Some(Frame { tag: self.buffer[at], body: &self.buffer[at + 5..at + length] }))
    }

    /// Bytes waiting in the buffer.
    pub fn buffered_bytes(&self) -> usize {
        self.end - self.start
    }

    /// Takes what the socket holds right now. `Ok(false)`: nothing, the stream pauses.
    ///
    /// # Errors
    /// When the server closed the connection or the stream is out of step.
    pub fn try_fill(&mut self) -> Result<bool, PgError> {
        self.make_room()?;
        match self.socket.try_read(&mut self.buffer[self.end..]) {
            Ok(0) => Err(closed()),
            Ok(count) => {
                self.end += count;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for more bytes. Cancellation-safe: a dropped call has read nothing.
    ///
    /// # Errors
    /// As [`Self::try_fill`].
    pub async fn fill(&mut self) -> Result<(), PgError> {
        self.make_room()?;
        match self.socket.read(&mut self.buffer[self.end..]).await? {
            0 => Err(closed()),
            count => {
                self.end += count;
                Ok(())
            }
        }
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// As [`Self::try_fill`].
    pub async fn next(&mut self) -> Result<Frame<'_>, PgError> {
        loop {
            // The length is asked first and the frame taken afterwards: a frame returned from inside the loop would
            // keep the buffer borrowed for the read as well.
            let length = frame_length(&self.buffer[self.start..self.end])?;
            if length.is_some_and(|length| self.end - self.start >= length) {
                break;
            }
            self.fill().await?;
        }
        self.buffered()?.ok_or_else(|| PgError::Protocol("a message vanished from the buffer".into()))
    }

    fn make_room(&mut self) -> Result<(), PgError> {
        let wanted = frame_length(&self.buffer[self.start..self.end])?.unwrap_or(0).max(READ_BYTES);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > 4 * READ_BYTES && wanted == READ_BYTES {
                self.buffer = vec![0; READ_BYTES];
            }
        }
        // Moving the rest to the front is cheap: it is less than one message, and happens once per filled buffer.
        if self.buffer.len() - self.start < wanted || self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        Ok(())
    }
}

fn closed() -> PgError {
    PgError::Io(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"))
}

/// Length of the message at the start of `bytes` (type byte included); `None` when its header is not complete.
fn frame_length(bytes: &[u8]) -> Result<Option<usize>, PgError> {
    let Some(header) = bytes.get(1..5) else { return Ok(None) };
    let length = i32::from_be_bytes([header[0], header[1], header[2], header[3]]);
    match usize::try_from(length) {
        Ok(length) if (4..=FRAME_BYTES_MAX).contains(&length) => Ok(Some(length + 1)),
        _ => Err(PgError::Protocol(format!("a message of {length} bytes"))),
    }
}

/// Parses an `ErrorResponse` body.
#[must_use]
pub fn server_error(body: &[u8]) -> ServerError {
    let mut error = ServerError::default();
    for field in body.split(|byte| *byte == 0) {
        let Some((code, text)) = field.split_first() else { continue };
        let text = String::from_utf8_lossy(text).into_owned();
        match code {
            b'C' => error.code = text,
            b'M' => error.message = text,
            b'D' => error.detail = text,
            b'H' => error.hint = text,
            _ => {}
        }
    }
    error
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_length_counts_the_type_byte() {
        assert_eq!(frame_length(&[b'Z', 0, 0, 0, 5, b'I']).unwrap(), Some(6));
        assert_eq!(frame_length(b"Z\0\0").unwrap(), None);
    }

    #[test]
    fn a_length_that_cannot_be_is_refused() {
        assert!(frame_length(&[b'Z', 0, 0, 0, 3]).is_err());
        assert!(frame_length(&[b'Z', 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    #[test]
    fn an_error_response_is_taken_apart() {
        let error = server_error(b"SERROR\0C42P01\0Mrelation \"x\" does not exist\0Hlook again\0\0");
        assert_eq!(error.code, "42P01");
        assert_eq!(error.to_string(), "relation \"x\" does not exist (SQLSTATE 42P01) — hint: look again");
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_without_panic(bytes: Vec<u8>) {
            let _ = frame_length(&bytes);
            let _ = server_error(&bytes);
        }
    }
}
