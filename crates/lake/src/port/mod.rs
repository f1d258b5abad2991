//! The SQL port: PostgreSQL's wire protocol over [`crate::sql::Engine`], for psql, JDBC, psycopg and whatever else speaks it.
//!
//! A connection is two tasks: one reads messages ahead ([`frames`]), so that a client that cancels or goes away is noticed
//! while its query runs; the other answers ([`session`]). Rows are written as the client takes them, so that a result of any
//! size needs the memory of a few batches. Read-only: what would change something is refused with SQLSTATE 25006.
//!
//! The protocol is spoken here, not by a crate: `pgwire` waits for a query's end before it reads on, and its SCRAM brings a
//! second implementation of TLS and certificates; `datafusion-postgres` turns on all of DataFusion's features.

mod answers;
mod catalog;
mod commands;
mod copy;
mod encode;
mod frames;
mod params;
mod plan;
mod portal;
mod rewrite;
mod scram;
mod session;
mod text;
mod types;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use model::secret::Secret;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use self::{
    answers::Fault,
    frames::{Malformed, Opening},
    scram::Verifier,
    session::Session,
};
use crate::sql::Engine;

/// The one user, and the one database.
pub const USER: &str = "haus";
pub const DATABASE: &str = crate::sql::CATALOG;
/// The version of PostgreSQL whose catalog clients may expect.
pub const VERSION: &str = "15.0 (haus-am-see lake)";
pub const VERSION_NUM: &str = "150000";
pub const VERSION_TEXT: &str = concat!("PostgreSQL 15.0 (haus-am-see lake ", env!("CARGO_PKG_VERSION"), ")");

/// Bytes of a message: a statement, or all its parameters.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Bytes of a message before the client is known.
const OPENING_BYTES_MAX: usize = 10_000;
/// How long a client may take to say who it is.
const OPENING_TIME_MAX: Duration = Duration::from_secs(10);
/// Connections that are not sessions (yet): openings, requests to cancel.
const OPENINGS_MAX: usize = 64;

/// What a session may do.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Rows of one result.
    pub rows_max: u64,
    /// Sessions at once.
    pub connections_max: usize,
}

/// The port.
pub struct Port {
    pub engine: Engine,
    pub limits: Limits,
    verifier: Option<Verifier>,
    sessions: Sessions,
}

impl Port {
    /// A port that asks for `password`, if there is one.
    ///
    /// # Errors
    /// When the password cannot be used.
    pub fn new(engine: Engine, limits: Limits, password: Option<&Secret>) -> anyhow::Result<Self> {
        let verifier = password.filter(|password| !password.expose().is_empty()).map(Verifier::new).transpose()?;
        Ok(Self { engine, limits, verifier, sessions: Sessions::default() })
    }

    /// Serves until `stop`.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn serve(self, address: SocketAddr, stop: CancellationToken) -> anyhow::Result<()> {
        let listener = service::http::listen(address).await.context("the SQL port")?;
        tracing::info!("the SQL port listens on {address}");
        if self.verifier.is_none() && !address.ip().is_loopback() {
            tracing::warn!("the SQL port asks for no password (LAKE_SQL_PASSWORD) and listens on {}", address.ip());
        }
        self.serve_on(listener, stop).await;
        Ok(())
    }

    /// As [`Self::serve`], on a listener made before.
    pub async fn serve_on(self, listener: TcpListener, stop: CancellationToken) {
        let port = Arc::new(self);
        let open = Arc::new(Semaphore::new(port.limits.connections_max.saturating_add(OPENINGS_MAX)));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                () = stop.cancelled() => break,
            };
            // Too many even to be told so: the connection is closed.
            let (Ok((socket, _)), Ok(permit)) = (accepted, open.clone().try_acquire_owned()) else { continue };
            let (port, stop) = (port.clone(), stop.child_token());
            connections.spawn(async move {
                if let Err(error) = Box::pin(port.connection(socket, stop)).await {
                    tracing::debug!("connection to the SQL port: {error}");
                }
                drop(permit);
            });
        }
        while connections.join_next().await.is_some() {}
    }

    async fn connection(&self, mut socket: TcpStream, stop: CancellationToken) -> std::io::Result<()> {
        socket.set_nodelay(true)?;
        let opened = tokio::time::timeout(OPENING_TIME_MAX, self.open(&mut socket));
        let session = tokio::select! {
            opened = opened => opened.map_err(std::io::Error::other)??,
            () = stop.cancelled() => return Ok(()),
        };
        let Some(running) = session else { return Ok(()) };
        let (reader, writer) = socket.into_split();
        Box::pin(Session::new(self, writer, running.cancel.clone(), stop).run(reader)).await
    }

    /// From the first byte to a session, or to nothing: a request to cancel was served, or the client refused.
    async fn open(&self, socket: &mut TcpStream) -> std::io::Result<Option<Running<'_>>> {
        let (minor, parameters) = loop {
            let body = read_body(socket, OPENING_BYTES_MAX).await?;
            match frames::opening(body) {
                Ok(Opening::Encryption) => socket.write_all(b"N").await?,
                Ok(Opening::Cancel { process, key }) => {
                    self.sessions.cancel(process, key);
                    return Ok(None);
                }
                Ok(Opening::Session { minor, parameters }) => break (minor, parameters),
                Err(error) => return refuse(socket, &malformed(&error)).await,
            }
        };
        let mut out = BytesMut::new();
        let unknown: Vec<&str> =
            parameters.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("_pq_.")).collect();
        if minor > 0 || !unknown.is_empty() {
            answers::negotiate(&mut out, &unknown);
        }
        if let Err(fault) = self.authenticate(socket, &mut out, &parameters).await? {
            return refuse(socket, &fault).await;
        }
        let Some(running) = self.sessions.begin(self.limits.connections_max) else {
            let text = format!(
                "too many connections: there are {} already (LAKE_SQL_CONNECTIONS_MAX)",
                self.limits.connections_max
            );
            return refuse(socket, &Fault::new("53300", text)).await;
        };
        answers::authentication(&mut out, 0, &[]);
        for name in [
            "server_version",
            "server_encoding",
            "client_encoding",
            "DateStyle",
            "IntervalStyle",
            "TimeZone",
            "integer_datetimes",
            "standard_conforming_strings",
            "is_superuser",
            "session_authorization",
            "default_transaction_read_only",
            "in_hot_standby",
            "application_name",
        ] {
            let given = parameters.iter().find(|(given, _)| given == name && name == "application_name");
            let value = given.map_or_else(|| commands::value(&name.to_lowercase()), |(_, value)| Some(value));
            answers::parameter_status(&mut out, name, value.unwrap_or_default());
        }
        answers::key_data(&mut out, running.process, running.key);
        answers::ready(&mut out, b'I');
        socket.write_all(&out).await?;
        Ok(Some(running))
    }

    /// Whether the client is the user; asks for the password if there is one.
    async fn authenticate(
        &self,
        socket: &mut TcpStream,
        out: &mut BytesMut,
        parameters: &[(String, String)],
    ) -> std::io::Result<Result<(), Fault>> {
        let given = |name: &str| parameters.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str());
        let user = given("user").unwrap_or_default();
        if let Some(verifier) = &self.verifier {
            let mut mechanisms = scram::MECHANISM.as_bytes().to_vec();
            mechanisms.extend_from_slice(b"\0\0");
            answers::authentication(out, 10, &mechanisms);
            let right = exchange(socket, out, verifier).await?;
            // The user is looked at only now, so that nobody learns who there is.
            if !right || user != USER {
                let text = format!("password authentication failed for user \"{user}\"");
                return Ok(Err(Fault::new("28P01", text)));
            }
        } else if user != USER {
            return Ok(Err(Fault::new("28000", format!("role \"{user}\" does not exist; the user is {USER}"))));
        }
        let database = given("database").unwrap_or(DATABASE);
        if database != DATABASE {
            let text = format!("database \"{database}\" does not exist; the database is {DATABASE}");
            return Ok(Err(Fault::new("3D000", text)));
        }
        Ok(Ok(()))
    }
}

/// The messages of SCRAM; whether the password was right.
async fn exchange(socket: &mut TcpStream, out: &mut BytesMut, verifier: &Verifier) -> std::io::Result<bool> {
    socket.write_all(&out.split()).await?;
    let first = password(socket).await?;
    // Name of the mechanism, length, message.
    let name_end = first.iter().position(|byte| *byte == 0).unwrap_or(first.len());
    let message = first.get(name_end + 5..).unwrap_or_default();
    if &first[..name_end] != scram::MECHANISM.as_bytes() {
        return Ok(false);
    }
    let Ok(exchange) = scram::Exchange::begin(verifier, message) else { return Ok(false) };
    answers::authentication(out, 11, exchange.server_first.as_bytes());
    socket.write_all(&out.split()).await?;
    match exchange.finish(verifier, &password(socket).await?) {
        Ok(proof) => answers::authentication(out, 12, proof.as_bytes()),
        Err(_) => return Ok(false),
    }
    Ok(true)
}

async fn password(socket: &mut TcpStream) -> std::io::Result<Bytes> {
    let kind = socket.read_u8().await?;
    let body = read_body(socket, OPENING_BYTES_MAX).await?;
    if kind == b'p' { Ok(body) } else { Err(std::io::Error::other("no password came")) }
}

async fn refuse<T>(socket: &mut TcpStream, fault: &Fault) -> std::io::Result<Option<T>> {
    let mut out = BytesMut::new();
    answers::fault(&mut out, "FATAL", fault);
    socket.write_all(&out).await?;
    socket.shutdown().await?;
    Ok(None)
}

fn malformed(error: &Malformed) -> Fault {
    Fault::new("08P01", error.to_string())
}

/// A message's body, by the length before it.
async fn read_body<R: AsyncRead + Unpin>(reader: &mut R, bytes_max: usize) -> std::io::Result<Bytes> {
    let length = usize::try_from(reader.read_i32().await?).ok().and_then(|length| length.checked_sub(4));
    let Some(length) = length.filter(|length| *length <= bytes_max) else {
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            format!("a message is longer than {bytes_max} bytes"),
        ));
    };
    // Memory follows what has come, not what was announced.
    let mut body = BytesMut::with_capacity(length.min(8192));
    while body.len() < length {
        let mut rest = (&mut *reader).take(u64::try_from(length - body.len()).unwrap_or(0));
        if rest.read_buf(&mut body).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(body.freeze())
}

/// What a session runs at the moment, to be cancelled from outside.
#[derive(Clone, Default)]
pub struct Current(Arc<Mutex<Option<CancellationToken>>>);

impl Current {
    /// Something begins that can be cancelled.
    fn begin(&self) -> CancellationToken {
        let token = CancellationToken::new();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        token
    }

    fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn cancel(&self) {
        if let Some(token) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            token.cancel();
        }
    }
}

/// The sessions there are, by process number.
#[derive(Default)]
struct Sessions {
    open: Mutex<HashMap<i32, (i32, Current)>>,
    next: AtomicUsize,
}

/// A session's entry; it goes with it.
struct Running<'a> {
    sessions: &'a Sessions,
    process: i32,
    key: i32,
    cancel: Current,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.sessions.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.process);
    }
}

impl Sessions {
    /// A new session, unless there are `max`.
    fn begin(&self, max: usize) -> Option<Running<'_>> {
        let mut key = [0; 4];
        openssl::rand::rand_bytes(&mut key).ok()?;
        let key = i32::from_be_bytes(key);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= max {
            return None;
        }
        let process = loop {
            let next = self.next.fetch_add(1, Ordering::Relaxed) % 0x7fff_ffff + 1;
            let process = i32::try_from(next).unwrap_or(1);
            if !open.contains_key(&process) {
                break process;
            }
        };
        let cancel = Current::default();
        open.insert(process, (key, cancel.clone()));
        Some(Running { sessions: self, process, key, cancel })
    }

    fn cancel(&self, process: i32, key: i32) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of_session, current)) = open.get(&process)
            && *of_session == key
        {
            current.cancel();
        }
    }
}
