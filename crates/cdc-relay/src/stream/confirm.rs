//! What the server is told: the position that is durable in Kafka, and that we are alive.

use std::time::{Duration, Instant};

use model::lsn::Lsn;

use crate::{
    error::RelayError,
    failpoint,
    outbox::Lifeline,
    postgres::{connection::Target, replication::StatusWriter},
};

/// Progress is told at most this often: under load a Kafka transaction ends every few milliseconds.
const TELL_INTERVAL: Duration = Duration::from_millis(50);
/// Told at least this often, far below any sensible `wal_sender_timeout`.
const ALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Sends standby status updates.
pub struct Confirmer {
    target: Target,
    writer: StatusWriter,
    durable: Lsn,
    told: Lsn,
    told_at: Instant,
}

impl Confirmer {
    /// `durable`: the stored position at the start.
    pub fn new(target: Target, writer: StatusWriter, durable: Lsn) -> Self {
        Self { target, writer, durable, told: Lsn::ZERO, told_at: Instant::now() }
    }

    /// The position that is durable in Kafka.
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// The position became durable. The server hears of it soon.
    pub fn advance(&mut self, durable: Lsn) {
        self.durable = self.durable.max(durable);
    }

    /// When [`Self::tell_if_due`] has something to do.
    pub fn due_at(&self) -> Instant {
        self.told_at + if self.durable > self.told { TELL_INTERVAL } else { ALIVE_INTERVAL }
    }

    /// Tells the server if it is time to.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn tell_if_due(&mut self) -> Result<(), RelayError> {
        if Instant::now() >= self.due_at() { self.tell().await } else { Ok(()) }
    }

    /// Tells the server now.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn tell(&mut self) -> Result<(), RelayError> {
        let told = self.writer.confirm(self.durable).await;
        told.map_err(|error| RelayError::postgres(&self.target, "confirm the position", &error))?;
        failpoint::hit(failpoint::FEEDBACK_SENT);
        (self.told, self.told_at) = (self.durable, Instant::now());
        Ok(())
    }
}

impl Lifeline for Confirmer {
    async fn beat(&mut self) -> Result<(), RelayError> {
        self.tell().await
    }
}
