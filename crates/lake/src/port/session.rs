//! A session: messages in, answers out, as PostgreSQL's simple and extended query protocol have them.
//!
//! A failed message of the extended protocol skips all up to `Sync`. Transactions are kept as a state only, so that drivers
//! find what they expect; each statement sees the tables as of its own start.

mod execute;

use std::{collections::HashMap, sync::Arc};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use super::{
    Current, MESSAGE_BYTES_MAX, Port, answers,
    answers::{Column, Fault},
    commands::{self, Command},
    encode::Layout,
    frames::{self, Bind, Message, Target},
    malformed, params,
    plan::{self, Source},
    portal::{Ends, Portal, Prepared},
    read_body, types,
};

/// Messages read ahead of the one that is answered; together at most this many times `MESSAGE_BYTES_MAX`.
const MESSAGES_WAITING_MAX: usize = 16;
/// Bytes of rows that are written at once.
const WRITE_BYTES: usize = 64 << 10;
/// Prepared statements and portals of a session.
const STATEMENTS_MAX: usize = 1000;
const PORTALS_MAX: usize = 100;

/// A session's state.
pub struct Session<'a> {
    port: &'a Port,
    writer: OwnedWriteHalf,
    out: BytesMut,
    current: Current,
    stop: CancellationToken,
    gone: CancellationToken,
    statements: HashMap<String, Arc<Prepared>>,
    portals: HashMap<String, Portal>,
    /// The plan made by `Parse`, for the `Bind` that follows: most statements are used once.
    planned: Option<(String, Source)>,
    status: u8,
    skipping: bool,
}

type Io<T> = std::io::Result<T>;
/// A fault is told to the client and the session goes on; an I/O error ends it.
type Answered = Io<Result<(), Fault>>;

impl<'a> Session<'a> {
    /// A session that writes to `writer`.
    pub fn new(port: &'a Port, writer: OwnedWriteHalf, current: Current, stop: CancellationToken) -> Self {
        Self {
            port,
            writer,
            out: BytesMut::new(),
            current,
            stop,
            gone: CancellationToken::new(),
            statements: HashMap::new(),
            portals: HashMap::new(),
            planned: None,
            status: b'I',
            skipping: false,
        }
    }

    /// Answers what comes by `reader`, until the client leaves or the lake stops.
    pub async fn run(mut self, reader: OwnedReadHalf) -> Io<()> {
        let (sender, mut messages) = mpsc::channel(MESSAGES_WAITING_MAX);
        let gone = self.gone.clone();
        let _ends_with_the_session = gone.clone().drop_guard();
        let ahead = tokio::spawn(read_ahead(reader, sender, gone));
        let stop = self.stop.clone();
        loop {
            let message = tokio::select! {
                message = messages.recv() => message,
                () = stop.cancelled() => {
                    answers::fault(&mut self.out, "FATAL", &Fault::new("57P01", "the lake is stopping"));
                    None
                }
            };
            let ended = match message {
                None => true,
                Some(Ok(message)) => {
                    self.answer(message).await?;
                    false
                }
                Some(Err(fault)) => {
                    answers::fault(&mut self.out, "FATAL", &fault);
                    true
                }
            };
            // What a pipelining client has sent is answered before anything is written.
            if ended || messages.is_empty() || self.out.len() > WRITE_BYTES {
                self.flush().await?;
            }
            if ended {
                ahead.abort();
                return self.writer.shutdown().await;
            }
        }
    }

    async fn flush(&mut self) -> Io<()> {
        let bytes = self.out.split();
        tokio::select! {
            written = self.writer.write_all(&bytes) => written,
            () = self.gone.cancelled() => Err(std::io::ErrorKind::ConnectionReset.into()),
            () = self.stop.cancelled() => Err(std::io::ErrorKind::ConnectionAborted.into()),
        }
    }

    async fn answer(&mut self, message: Message) -> Io<()> {
        match message {
            Message::Sync => {
                self.skipping = false;
                if self.status == b'I' {
                    self.portals.clear();
                }
                answers::ready(&mut self.out, self.status);
                return Ok(());
            }
            _ if self.skipping => return Ok(()),
            _ => {}
        }
        let simple = matches!(message, Message::Query(_));
        let cancelled = self.current.begin();
        let answered = Box::pin(self.serve(message, &cancelled)).await;
        self.current.end();
        if let Err(fault) = answered? {
            self.planned = None;
            if self.status == b'T' {
                self.status = b'E';
            }
            answers::fault(&mut self.out, "ERROR", &fault);
            self.skipping = !simple;
        }
        if simple {
            if self.status == b'I' {
                self.portals.clear();
            }
            answers::ready(&mut self.out, self.status);
        }
        Ok(())
    }

    async fn serve(&mut self, message: Message, cancelled: &CancellationToken) -> Answered {
        match message {
            Message::Query(text) => self.simple(&text, cancelled).await,
            Message::Parse { name, sql, types } => Ok(self.parse(name, &sql, &types, cancelled).await),
            Message::Bind(bind) => Ok(self.bind(bind)),
            Message::Describe(target) => Ok(self.describe(&target)),
            Message::Execute { portal, rows_max } => self.execute(&portal, rows_max, cancelled).await,
            Message::Close(target) => {
                match target {
                    Target::Statement(name) => drop(self.statements.remove(&name)),
                    Target::Portal(name) => drop(self.portals.remove(&name)),
                }
                answers::bare(&mut self.out, b'3');
                Ok(Ok(()))
            }
            Message::Flush => self.flush().await.map(Ok),
            Message::Sync | Message::Terminate => Ok(Ok(())),
            Message::Password(_) => Ok(Err(Fault::new("08P01", "no password was asked for"))),
            Message::Other(kind) => {
                Ok(Err(Fault::new("0A000", format!("message {:?} is not served", char::from(kind)))))
            }
        }
    }

    async fn simple(&mut self, text: &str, cancelled: &CancellationToken) -> Answered {
        let statements = match commands::split(text) {
            Ok(statements) => statements,
            Err(fault) => return Ok(Err(fault)),
        };
        if statements.is_empty() {
            answers::bare(&mut self.out, b'I');
        }
        for sql in statements {
            let (prepared, source) = match self.prepare(&sql, &[], cancelled).await {
                Ok(prepared) => prepared,
                Err(fault) => return Ok(Err(fault)),
            };
            if !prepared.parameters.is_empty() {
                return Ok(Err(Fault::new("42P02", "there is no parameter $1")));
            }
            let layout = prepared.layout.clone();
            if let Some(layout) = &layout {
                answers::row_description(&mut self.out, &layout.columns);
            }
            let mut portal = Portal::new(Arc::new(prepared), layout, source, Vec::new());
            if let Err(fault) = self.run_portal(&mut portal, 0, cancelled).await? {
                return Ok(Err(fault));
            }
        }
        Ok(Ok(()))
    }

    /// Reads a statement and plans it if it is a query.
    async fn prepare(
        &mut self,
        sql: &str,
        types: &[u32],
        cancelled: &CancellationToken,
    ) -> Result<(Prepared, Option<Source>), Fault> {
        let command = commands::read(sql)?;
        let ends_failed = matches!(command, Command::Commit | Command::Rollback);
        if self.status == b'E' && !ends_failed {
            let text = "current transaction is aborted, commands ignored until end of transaction block";
            return Err(Fault::new("25P02", text));
        }
        let (engine, mut parameters) = (&self.port.engine, Vec::new());
        let mut source = None;
        let layout = match &command {
            Command::Query(sql) | Command::Declare { query: sql, .. } | Command::Copy { query: sql, .. } => {
                let ends = Ends { cancelled, gone: &self.gone, stop: &self.stop };
                let planned = Box::pin(ends.or(engine, engine.time_max(), plan::query(engine, sql))).await?;
                parameters = planned.parameters(types)?;
                let layout = Layout::of(&planned.schema(&parameters));
                source = Some(planned);
                Some(layout)
            }
            Command::Show(setting) => Some(Layout::texts(setting)),
            Command::Fetch { cursor, .. } => self.portals.get(cursor).and_then(|portal| portal.layout.clone()),
            _ => None,
        };
        let within = matches!(command, Command::Declare { .. } | Command::Copy { .. });
        let (inner, layout) = if within { (layout, None) } else { (None, layout) };
        Ok((Prepared { command, parameters, layout, inner }, source))
    }

    async fn parse(
        &mut self,
        name: String,
        sql: &str,
        types: &[u32],
        cancelled: &CancellationToken,
    ) -> Result<(), Fault> {
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err(Fault::new("42P05", format!("prepared statement \"{name}\" already exists")));
        }
        if self.statements.len() >= STATEMENTS_MAX {
            return Err(Fault::new("54000", format!("there are {STATEMENTS_MAX} prepared statements")));
        }
        let mut statements = commands::split(sql)?;
        let sql = statements.pop().unwrap_or_default();
        if !statements.is_empty() {
            return Err(Fault::new("42601", "cannot insert multiple commands into a prepared statement"));
        }
        let (prepared, source) = self.prepare(&sql, types, cancelled).await?;
        self.planned = source.map(|source| (name.clone(), source));
        self.statements.insert(name, Arc::new(prepared));
        answers::bare(&mut self.out, b'1');
        Ok(())
    }

    fn bind(&mut self, bind: Bind) -> Result<(), Fault> {
        let broken = |error: frames::Malformed| malformed(&error);
        let prepared = self.statement(&bind.statement)?.clone();
        if self.portals.len() >= PORTALS_MAX {
            return Err(Fault::new("54000", format!("there are {PORTALS_MAX} portals")));
        }
        if !bind.portal.is_empty() && self.portals.contains_key(&bind.portal) {
            return Err(Fault::new("42P03", format!("portal \"{}\" already exists", bind.portal)));
        }
        let (given, wanted) = (bind.values.len(), prepared.parameters.len());
        if given != wanted {
            let text = format!("bind message supplies {given} parameters, but the statement requires {wanted}");
            return Err(Fault::new("08P01", text));
        }
        let mut values = Vec::with_capacity(wanted);
        for (at, (value, parameter)) in bind.values.iter().zip(&prepared.parameters).enumerate() {
            let binary = Bind::binary(&bind.formats, at).map_err(broken)?;
            values.push(match value {
                Some(bytes) => params::decode(parameter.oid, binary, bytes, parameter.inferred.as_ref())?,
                None => params::null(parameter.oid, parameter.inferred.as_ref()),
            });
        }
        let mut layout = prepared.layout.clone();
        for (at, column) in layout.iter_mut().flat_map(|layout| layout.columns.iter_mut()).enumerate() {
            column.binary = Bind::binary(&bind.results, at).map_err(broken)?;
        }
        let source = self.planned.take().filter(|(name, _)| *name == bind.statement).map(|(_, source)| source);
        self.portals.insert(bind.portal, Portal::new(prepared, layout, source, values));
        answers::bare(&mut self.out, b'2');
        Ok(())
    }

    fn statement(&self, name: &str) -> Result<&Arc<Prepared>, Fault> {
        let missing = || Fault::new("26000", format!("prepared statement \"{name}\" does not exist"));
        self.statements.get(name).ok_or_else(missing)
    }

    fn describe(&mut self, target: &Target) -> Result<(), Fault> {
        let layout = match target {
            Target::Statement(name) => {
                let prepared = self.statement(name)?.clone();
                let types: Vec<u32> = prepared.parameters.iter().map(plan::Parameter::described).collect();
                answers::parameter_description(&mut self.out, &types);
                prepared.layout.clone()
            }
            Target::Portal(name) => match self.portals.get(name) {
                Some(portal) => portal.layout.clone(),
                None => return Err(Fault::new("34000", format!("portal \"{name}\" does not exist"))),
            },
        };
        match layout {
            Some(layout) => answers::row_description(&mut self.out, &layout.columns),
            None => answers::bare(&mut self.out, b'n'),
        }
        Ok(())
    }
}

/// Reads messages until the client is gone, and says so.
async fn read_ahead(
    mut reader: OwnedReadHalf,
    messages: mpsc::Sender<Result<Message, Fault>>,
    gone: CancellationToken,
) {
    let _gone = gone.clone().drop_guard();
    loop {
        let read = async {
            let kind = reader.read_u8().await?;
            Ok::<(u8, Bytes), std::io::Error>((kind, read_body(&mut reader, MESSAGE_BYTES_MAX).await?))
        };
        let message = tokio::select! {
            read = read => match read {
                Ok((kind, body)) => frames::message(kind, body).map_err(|error| malformed(&error)),
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(Fault::new("54000", error.to_string())),
                Err(_) => return,
            },
            () = gone.cancelled() => return,
        };
        // Whoever takes leave wants no answer: what still runs is ended.
        if message == Ok(Message::Terminate) {
            return;
        }
        let broken = message.is_err();
        if messages.send(message).await.is_err() {
            return;
        }
        if broken {
            // Not gone before it is told.
            return gone.cancelled().await;
        }
    }
}

impl Layout {
    /// One column of text.
    fn texts(name: &str) -> Self {
        let column = Column { name: name.to_owned(), oid: types::TEXT, length: -1, typmod: -1, binary: false };
        Self::one(column)
    }
}
