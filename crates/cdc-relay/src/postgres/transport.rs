//! The bytes to and from the server, in the clear or in TLS, as two halves that are used apart.
//!
//! Stands below [`frames`](super::frames) and the replication stream's writer. Promise: reading without waiting reads what
//! is here and never loses a byte.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_openssl::SslStream;

/// The reading half.
#[derive(Debug)]
pub enum Incoming {
    Plain(OwnedReadHalf),
    Tls(ReadHalf<SslStream<TcpStream>>),
}

/// The writing half.
#[derive(Debug)]
pub enum Outgoing {
    Plain(OwnedWriteHalf),
    Tls(WriteHalf<SslStream<TcpStream>>),
}

/// The halves of a connection in the clear.
pub fn plain(socket: TcpStream) -> (Incoming, Outgoing) {
    let (read, write) = socket.into_split();
    (Incoming::Plain(read), Outgoing::Plain(write))
}

/// The halves of an encrypted connection.
pub fn encrypted(stream: SslStream<TcpStream>) -> (Incoming, Outgoing) {
    let (read, write) = tokio::io::split(stream);
    (Incoming::Tls(read), Outgoing::Tls(write))
}

impl Incoming {
    /// Takes what is here right now.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing, and when the connection is lost.
    pub fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_read(buffer),
            Self::Tls(stream) => {
                let mut read = ReadBuf::new(buffer);
                // Nobody is to be woken: who wants to wait calls `read`, which asks again with a waker of its own.
                match Pin::new(stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut read) {
                    Poll::Ready(outcome) => outcome.map(|()| read.filled().len()),
                    Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
                }
            }
        }
    }

    /// Waits for bytes. Cancellation-safe: a dropped call has read nothing.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer).await,
            Self::Tls(stream) => stream.read(buffer).await,
        }
    }
}

impl Outgoing {
    /// Sends all of it.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }
}
