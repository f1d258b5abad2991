//! The transactional producer's own client: Kafka's wire protocol, from the record to the socket.
//!
//! ```text
//!   caller's thread                          the producer's thread
//!   try_send ─▶ intake (open batches) ─wake─▶ sender ─▶ lane ─▶ connection ─▶ leader of the partition
//!   commit ───▶ command ────────────────────▶ sender ─▶ coordinator
//! ```
//!
//! librdkafka allocates and frees each record and each of its headers, in two threads; here a record is written once, into
//! the batch that is sent. What is pure (batches, queue, sequence numbers, SCRAM) knows no socket and no clock.
//!
//! | module | |
//! |---|---|
//! | `batch`, `murmur2`, `varint` | bytes of a record batch; the partition of a key |
//! | `intake` | what waits, bounded; open batches by partition |
//! | `lane` | one partition's batches under way: sequence numbers, repeating in order |
//! | `sender`, `produce`, `metadata`, `coordinator` | the one task that asks brokers |
//! | `brokers`, `connection`, `tls`, `login`, `scram` | connections and what comes before the first request |
//! | `codes` | what to do about an error code |

mod batch;
mod brokers;
mod codes;
mod connection;
mod coordinator;
mod intake;
mod lane;
mod login;
mod metadata;
mod murmur2;
mod produce;
mod scram;
mod sender;
mod tls;
pub(crate) mod varint;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use self::intake::{Intake, Phase};
use self::sender::{Ask, Command, Sender};
use crate::cluster::Cluster;
use crate::error::{Next, ProduceError};
use crate::record::RecordOut;
use crate::transaction::{SendOutcome, TransactionSettings};

/// One step of a blocking call; between steps the stop token is looked at.
const STEP: Duration = Duration::from_millis(500);
/// One is asked at a time; others wait only when their callers were stopped.
const COMMANDS_MAX: usize = 4;

/// What both threads see.
struct Shared {
    settings: Arc<TransactionSettings>,
    intake: Mutex<Intake>,
    wake: Notify,
}

impl Shared {
    fn intake(&self) -> MutexGuard<'_, Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The caller's end. The producer's thread ends with it.
pub(crate) struct Client {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    stop: CancellationToken,
    closed: CancellationToken,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl Client {
    /// Starts the thread; nothing is connected before the first command.
    ///
    /// # Errors
    /// When the settings for TLS cannot be used, or there is no thread to be had.
    pub(crate) fn new(
        cluster: &Cluster,
        settings: Arc<TransactionSettings>,
        stop: CancellationToken,
    ) -> Result<Self, ProduceError> {
        let refused = |reason: String| ProduceError::Refused { reason };
        tls::check(cluster.security()).map_err(|fault| refused(fault.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| refused(error.to_string()))?;
        let seed = RandomState::new().hash_one(&settings.transactional_id);
        let intake = Mutex::new(Intake::new(Arc::clone(&settings), seed));
        let shared = Arc::new(Shared { settings, intake, wake: Notify::new() });
        let (commands, asked) = mpsc::channel(COMMANDS_MAX);
        let closed = CancellationToken::new();
        let (inner, cluster, closing) = (Arc::clone(&shared), cluster.clone(), closed.clone());
        let run = move || {
            let turn = usize::try_from(seed >> 40).unwrap_or(0);
            let sender = Sender::new(inner, asked, cluster, turn);
            runtime.block_on(async {
                tokio::select! {
                    () = sender.run() => {}
                    () = closing.cancelled() => {}
                }
            });
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("kafka-producer".to_owned()).spawn(run);
        thread.map_err(|error| refused(error.to_string()))?;
        Ok(Self { shared, commands, stop, closed })
    }

    pub(crate) fn settings(&self) -> &TransactionSettings {
        &self.shared.settings
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    pub(crate) fn init(&self) -> Result<(), ProduceError> {
        self.ask(Ask::Init)
    }

    pub(crate) fn begin(&self) -> Result<(), ProduceError> {
        let mut intake = self.shared.intake();
        if let Some(failure) = &intake.failure {
            return Err(failure.to_error(&self.shared.settings.transactional_id));
        }
        match intake.phase {
            Phase::Idle => {
                intake.phase = Phase::Open;
                Ok(())
            }
            Phase::New => Err(refused("the transactional id was not taken over")),
            Phase::Open | Phase::Ending => Err(refused("a transaction is open")),
        }
    }

    #[inline]
    pub(crate) fn try_send(&self, record: &RecordOut<'_>) -> Result<SendOutcome, ProduceError> {
        let offered = self.shared.intake().offer(record, now_ms())?;
        if offered.wake {
            self.shared.wake.notify_one();
        }
        Ok(offered.outcome)
    }

    pub(crate) fn commit(&self) -> Result<(), ProduceError> {
        {
            let mut intake = self.shared.intake();
            if let Some(failure) = &intake.failure {
                return Err(failure.to_error(&self.shared.settings.transactional_id));
            }
            if intake.phase != Phase::Open {
                return Err(refused("no transaction is open"));
            }
            intake.phase = Phase::Ending;
        }
        self.ask(Ask::Commit)
    }

    pub(crate) fn abort(&self) -> Result<(), ProduceError> {
        {
            let mut intake = self.shared.intake();
            if let Some(failure) = intake.failure.as_ref().filter(|failure| failure.is_fatal()) {
                return Err(failure.to_error(&self.shared.settings.transactional_id));
            }
            match intake.phase {
                Phase::Open => intake.phase = Phase::Ending,
                // A commit that nobody waited for; it may still be thrown away.
                Phase::Ending => {}
                Phase::New | Phase::Idle => return Err(refused("no transaction is open")),
            }
        }
        self.ask(Ask::Abort)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.shared.intake().queued_records()
    }

    fn ask(&self, ask: Ask) -> Result<(), ProduceError> {
        let (reply, answered) = sync_channel(1);
        let ended = || ProduceError::Broken { reason: "the producer's thread has ended".to_owned() };
        self.commands.try_send(Command { ask, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                ProduceError::Broken { reason: "what was asked before is not answered".to_owned() }
            }
            mpsc::error::TrySendError::Closed(_) => ended(),
        })?;
        loop {
            match answered.recv_timeout(STEP) {
                Ok(outcome) => return outcome,
                Err(RecvTimeoutError::Disconnected) => return Err(ended()),
                Err(RecvTimeoutError::Timeout) if self.stop.is_cancelled() => return Err(ProduceError::Stopped),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

fn refused(reason: &str) -> ProduceError {
    ProduceError::from_next(Next::GiveUp, "", reason.to_owned())
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
