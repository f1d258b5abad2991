//! One connection to Postgres in the simple query protocol: statements, `COPY … TO STDOUT`, replication commands.

use std::time::Duration;

use bytes::BytesMut;
use model::secret::Secret;
use postgres_protocol::message::frontend;
use tokio::{net::TcpStream, time::timeout};

use super::{
    PgError,
    frames::{FrameReader, server_error},
    login::{self, Channel},
    tls::{self, Attempt, TlsSettings},
    transport::{self, Outgoing},
};

/// How long a connection attempt may take before it counts as failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the database is and who we are there.
#[derive(Debug, Clone)]
pub struct Target {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Secret,
    pub database: String,
    /// Shown in `pg_stat_activity`, so that a person sees whose connection it is.
    pub application_name: String,
    pub tls: TlsSettings,
}

/// One row of an answer, values in text form; `None` is NULL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(Vec<Option<String>>);

impl Row {
    /// The value of a column; `None` when it is NULL or there is no such column.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&str> {
        self.0.get(index).and_then(Option::as_deref)
    }

    /// The value of a column that cannot be NULL, parsed.
    ///
    /// # Errors
    /// When it is NULL or not a `T`.
    pub fn parse<T: std::str::FromStr>(&self, index: usize) -> Result<T, PgError> {
        self.get(index)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| PgError::Protocol(format!("column {index} of an answer is {:?}", self.get(index))))
    }

    /// A text column that cannot be NULL.
    ///
    /// # Errors
    /// When it is NULL.
    pub fn text(&self, index: usize) -> Result<String, PgError> {
        self.parse(index)
    }

    /// A boolean column (`t` / `f`); NULL counts as false.
    #[must_use]
    pub fn flag(&self, index: usize) -> bool {
        self.get(index) == Some("t")
    }
}

/// A logged-in connection.
#[derive(Debug)]
pub struct Connection {
    pub(super) reader: FrameReader,
    pub(super) writer: Outgoing,
}

impl Connection {
    /// Connects for statements.
    ///
    /// # Errors
    /// When the server is away or refuses.
    pub async fn open(target: &Target) -> Result<Self, PgError> {
        Self::open_as(target, false).await
    }

    /// Connects to a walsender, which takes replication commands as well as plain statements.
    ///
    /// # Errors
    /// When the server is away or refuses.
    pub async fn open_replication(target: &Target) -> Result<Self, PgError> {
        Self::open_as(target, true).await
    }

    async fn open_as(target: &Target, replication: bool) -> Result<Self, PgError> {
        let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer within 10 s");
        let (first, second) = target.tls.mode.attempts();
        let attempt = |attempt| async move {
            timeout(CONNECT_TIMEOUT, Self::attempt(target, replication, attempt)).await.map_err(|_| late())?
        };
        match (attempt(first).await, second) {
            // The server's access rules (pg_hba.conf) may take the other kind of connection.
            (Err(PgError::Server(error)), Some(second)) if error.code == "28000" => {
                attempt(second).await.map_err(|_| PgError::Server(error))
            }
            (Err(PgError::Tls(_)), Some(second)) => attempt(second).await,
            (outcome, _) => outcome,
        }
    }

    async fn attempt(target: &Target, replication: bool, attempt: Attempt) -> Result<Self, PgError> {
        let socket = TcpStream::connect((target.host.as_str(), target.port)).await?;
        socket.set_nodelay(true)?;
        let (channel, (incoming, mut writer)) = match attempt {
            Attempt::Plain => (Channel::Plain, transport::plain(socket)),
            Attempt::Encrypted => {
                let stream = tls::encrypt(socket, &target.host, &target.tls).await?;
                (Channel::Encrypted(tls::end_point(stream.ssl())), transport::encrypted(stream))
            }
        };
        let mut reader = FrameReader::new(incoming);
        login::log_in(target, replication, channel, (&mut reader, &mut writer)).await?;
        Ok(Self { reader, writer })
    }

    /// Runs one or more statements; the rows are those of all of them, in order.
    ///
    /// # Errors
    /// When the connection is lost or the server refuses a statement; in the second case the connection stays usable.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Row>, PgError> {
        self.send_query(sql).await?;
        let mut rows = Vec::new();
        let mut refusal = None;
        loop {
            let frame = self.reader.next().await?;
            match frame.tag {
                b'D' => rows.push(data_row(frame.body)?),
                b'E' => refusal = Some(server_error(frame.body)),
                b'Z' => break,
                _ => {}
            }
        }
        refusal.map_or(Ok(rows), |error| Err(PgError::Server(Box::new(error))))
    }

    /// Runs a statement that gives at most one row.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn query_one(&mut self, sql: &str) -> Result<Option<Row>, PgError> {
        Ok(self.query(sql).await?.into_iter().next())
    }

    /// Starts `COPY … TO STDOUT`; the lines come from [`Self::copy_chunk`].
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn copy_out(&mut self, sql: &str) -> Result<(), PgError> {
        self.send_query(sql).await?;
        self.expect(b'H').await
    }

    /// Waits for more of a copy, then hands every line that is already here to `line`. `Ok(false)`: the copy is complete.
    ///
    /// # Errors
    /// When the connection is lost, the server ends the copy with an error, or `line` fails.
    pub async fn copy_lines<E: From<PgError>>(
        &mut self,
        mut line: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut refusal = None;
        let mut first = true;
        loop {
            // Only the first frame is waited for: afterwards the caller gets a chance to pass on what it has.
            let frame = if first { Some(self.reader.next().await?) } else { self.reader.buffered()? };
            first = false;
            let Some(frame) = frame else {
                if refusal.is_some() {
                    first = true;
                    continue;
                }
                return Ok(true);
            };
            match frame.tag {
                b'd' => line(frame.body.strip_suffix(b"\n").unwrap_or(frame.body))?,
                b'E' => refusal = Some(server_error(frame.body)),
                b'Z' => return refusal.map_or(Ok(false), |error| Err(PgError::Server(Box::new(error)).into())),
                _ => {}
            }
        }
    }

    pub(super) async fn send_query(&mut self, sql: &str) -> Result<(), PgError> {
        let mut out = BytesMut::new();
        frontend::query(sql, &mut out)?;
        self.writer.write_all(&out).await?;
        Ok(())
    }

    /// Waits for the message that opens a copy mode. After a refusal the server's `ReadyForQuery` is taken as well.
    pub(super) async fn expect(&mut self, tag: u8) -> Result<(), PgError> {
        let mut refusal = None;
        loop {
            let frame = self.reader.next().await?;
            match frame.tag {
                found if found == tag => return Ok(()),
                b'E' => refusal = Some(server_error(frame.body)),
                b'Z' => {
                    return Err(refusal.map_or_else(
                        || PgError::Protocol(format!("the server never sent '{}'", char::from(tag))),
                        |error| PgError::Server(Box::new(error)),
                    ));
                }
                _ => {}
            }
        }
    }
}

/// Parses a `DataRow` body.
fn data_row(body: &[u8]) -> Result<Row, PgError> {
    let broken = || PgError::Protocol("a cut-off row".into());
    let (count, mut rest) = body.split_first_chunk::<2>().ok_or_else(broken)?;
    let mut values = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, tail) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
        rest = tail;
        let length = i32::from_be_bytes(*length);
        if length < 0 {
            values.push(None);
            continue;
        }
        let (value, tail) =
            usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length)).ok_or_else(broken)?;
        values.push(Some(String::from_utf8_lossy(value).into_owned()));
        rest = tail;
    }
    Ok(Row(values))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_data_row_keeps_null_and_empty_apart() {
        let row = data_row(b"\0\x03\xff\xff\xff\xff\0\0\0\0\0\0\0\x02hi").unwrap();
        assert_eq!((row.get(0), row.get(1), row.get(2)), (None, Some(""), Some("hi")));
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_without_panic(bytes: Vec<u8>) {
            let _ = data_row(&bytes);
        }
    }
}
